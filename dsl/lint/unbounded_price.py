"""Nothing bounds how much of a priced target one call can use.

Before a call its worst case is reserved from the budget. Without a window or an output maximum
there is no worst case.

Avoid:

    targets:
      openai/house-model: {price: {input: $1/Mtok, output: $2/Mtok}}
    routing_policy:
      - {name: default, route: openai/house-model}

Prefer:

    targets:
      openai/house-model: {price: {input: $1/Mtok, output: $2/Mtok}, context_window: 32k}
    routing_policy:
      - {name: default, route: openai/house-model}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP333"
LEVEL: Severity = "error"
