"""A key that a policy does not have.

A misspelt key would otherwise be silently without effect. Nothing that is written is ignored: what
has no meaning is refused.

Avoid:

    - {name: short, conditon: tokens < 100, route: groq/llama-3-8b}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP005"
LEVEL: Severity = "error"
