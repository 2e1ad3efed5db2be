"""YAML reads this line as something else than it looks like.

A policy is YAML, and YAML gives `!`, `:`, `{`, `"` and tabs a meaning of their own before the
language sees the text. Quote the whole value, or say it with words.

Avoid:

    condition: !has_tools

Prefer:

    condition: not has_tools
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP002"
LEVEL: Severity = "error"
