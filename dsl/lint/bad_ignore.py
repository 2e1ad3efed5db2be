"""A comment that ignores findings is not in the form that works.

A finding is taken back by `# turnout: ignore RP403 because <reason>`, at the end of its line or
alone on the line above. Without a reason, with an unknown code, or for an error, the comment has
no effect: the next reader would not know why it is right to look away.

Avoid:

    targets: {openai/gpt-4o: {expected: {p95: 2s}}}
    let: {slow: tokens < 100}   # turnout: ignore RP117

Prefer:

    attributes: {tier: [free, pro]}
    let: {slow: tokens < 100}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP011"
LEVEL: Severity = "warning"
