"""A name or a key stands twice.

Only one of the two could count, and tests, traces and metrics could not tell two rules of one name
apart. YAML itself would keep the last and say nothing.

Avoid:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
    - {name: short, condition: tokens < 200, route: groq/llama-3-70b}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
    - {name: medium, condition: tokens < 200, route: groq/llama-3-70b}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP004"
LEVEL: Severity = "error"
