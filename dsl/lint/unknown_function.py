"""A function that does not exist, or is called in another way.

Functions are few: `known`, `min`, `max`, `cost`, `worst_case`, and the values of targets, such as
`p95("openai/gpt-4")`. Everything else is a value and takes no parentheses.

Avoid:

    condition: knwon(max_tokens)

Prefer:

    condition: known(max_tokens)
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP102"
LEVEL: Severity = "error"
