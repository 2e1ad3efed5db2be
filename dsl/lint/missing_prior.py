"""A live value has no prior, so it is unknown at first.

Latency and errors are measured; below enough samples they are unknown, and a rule that needs them
does not fire. A prior under `expected:` stands in, or `??` says what counts meanwhile.

Avoid:

    condition: p95("openai/gpt-4") > 8s
    hold: 2m

Prefer:

    targets: {openai/gpt-4: {expected: {p95: 4s}}}
    routing_policy:
      - {name: slow, condition: p95("openai/gpt-4") > 8s, route: openai/gpt-4o, hold: 2m}
      - {name: default, route: openai/gpt-4}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP405"
LEVEL: Severity = "warning"
