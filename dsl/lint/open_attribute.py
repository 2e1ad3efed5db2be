"""The values of a text attribute are not declared.

With a domain, a misspelt value is an error, and proofs know every case. Without one, `"fre"` is
just another tier that nobody has.

Avoid:

    condition: tier == "free"

Prefer:

    attributes: {tier: [free, pro]}
    routing_policy:
      - {name: plain, condition: tier == "free", route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP117"
LEVEL: Severity = "info"
