"""A comment cuts a condition short.

Behind a space, `#` starts a comment in YAML. What follows reads like the rest of the condition,
yet it decides nothing: the rule takes more requests than it seems to.

Avoid:

    condition: tokens < 100 # and not has_tools

Prefer:

    condition: tokens < 100 and not has_tools   # short and plain
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP003"
LEVEL: Severity = "warning"
