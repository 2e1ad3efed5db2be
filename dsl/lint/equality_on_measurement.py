"""A measurement is compared for equality.

A latency or a share of errors is hardly ever exactly a number, so the rule hardly ever fires.
Compare with `<`, `>` or a range.

Avoid:

    targets: {openai/gpt-4: {expected: {p95: 2s}}}
    routing_policy:
      - {name: slow, condition: p95("openai/gpt-4") == 8s, route: groq/llama-3-70b}
      - {name: default, route: openai/gpt-4}

Prefer:

    targets: {openai/gpt-4: {expected: {p95: 2s}}}
    routing_policy:
      - {name: slow, condition: p95("openai/gpt-4") > 8s, route: groq/llama-3-70b, hold: 2m}
      - {name: default, route: openai/gpt-4}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP115"
LEVEL: Severity = "warning"
