"""No price is known for a target.

Budgets, `cost` and the ledger need one: a call that costs an unknown amount would spend money that
nobody counts. Declare the price, or `price: 0`.

Avoid:

    targets:
      openai/house-model: {context_window: 32k}
    routing_policy:
      - {name: default, route: openai/house-model}

Prefer:

    targets:
      openai/house-model: {context_window: 32k, price: {input: $1/Mtok, output: $2/Mtok}}
    routing_policy:
      - {name: default, route: openai/house-model}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP331"
LEVEL: Severity = "error"
