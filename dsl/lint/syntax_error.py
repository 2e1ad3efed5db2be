"""A condition, or a value, is not written as the language has it.

The text cannot be read, so nobody can say what it would decide. What stands there and what was
expected are named; operators are words: `and`, `or`, `not`, and equality is `==`.

Avoid:

    condition: tokens < 100 && has_tools

Prefer:

    condition: tokens < 100 and has_tools
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP001"
LEVEL: Severity = "error"
