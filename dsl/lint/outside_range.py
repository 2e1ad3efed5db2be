"""A comparison that is always true, or never.

The value lies outside what the attribute can be, or a range is empty or runs backwards. The rule
takes everything, or nothing, and does not say so.

Avoid:

    condition: tokens >= 0

Prefer:

    condition: tokens >= 500
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP113"
LEVEL: Severity = "warning"
