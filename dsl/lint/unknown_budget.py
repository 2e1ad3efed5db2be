"""A condition asks for a budget that is not defined.

`budget("x")` is the caller's own counter of the budget `x`. Of an undefined one nothing is ever
known, so the rule would never fire.

Avoid:

    condition: budget("team").left < $5

Prefer:

    budgets:
      - {name: team, scope: team, limit: $100/month}
    routing_policy:
      - {name: spent, condition: budget("team").left < $5, route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP332"
LEVEL: Severity = "error"
