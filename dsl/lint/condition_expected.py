"""A value stands where a condition is expected.

A rule fires where its condition is *true*; a number or a text is neither true nor false. Compare
it with something.

Avoid:

    condition: tokens

Prefer:

    condition: tokens > 500
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP103"
LEVEL: Severity = "error"
