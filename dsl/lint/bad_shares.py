"""The shares of a split do not add up.

Together they are exactly 100 %: with less, nobody says where the rest goes. A share of 0 % only
makes sense where a `ramp` raises it.

Avoid:

    condition: tokens < 100
    route: {split: {groq/llama-3-8b: 5%, groq/llama-3-70b: 90%}, sticky: session}

Prefer:

    condition: tokens < 100
    route: {split: {groq/llama-3-8b: 5%, groq/llama-3-70b: 95%}, sticky: session}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP302"
LEVEL: Severity = "error"
