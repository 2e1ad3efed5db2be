"""A list, a mapping or a single value stands where another form is expected.

The place says what belongs there, and the help shows how it is written. A frequent one is a rule
that lost its `-`.

Avoid:

    routing_policy:
      - {name: default, route: [openai/gpt-4, openai/gpt-4o]}

Prefer:

    routing_policy:
      - {name: default, route: openai/gpt-4, fallback: [openai/gpt-4o]}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP009"
LEVEL: Severity = "error"
