"""A value that the attribute never has.

Attributes with a declared domain have exactly those values. A misspelt one would make the rule
silently dead.

Avoid:

    attributes: {tier: [free, pro]}
    routing_policy:
      - {name: plain, condition: tier == "fre", route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}

Prefer:

    attributes: {tier: [free, pro]}
    routing_policy:
      - {name: plain, condition: tier == "free", route: groq/llama-3-8b}
      - {name: default, route: openai/gpt-4o}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP112"
LEVEL: Severity = "error"
