"""Two values of different kinds stand together.

A duration cannot be compared with money, nor text with a number. Where it was meant, one of the two
sides is another attribute or another unit.

Avoid:

    condition: tokens > $5

Prefer:

    condition: cost("openai/gpt-4") > $5
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP111"
LEVEL: Severity = "error"
