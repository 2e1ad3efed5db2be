"""It is not clear which target's `cost` or `latency` is meant.

Bare `cost` and `latency` are those of the rule's one target. Where a rule may go to several, or to
none, name the target; in `where:` they are the candidate's.

Avoid:

    condition: cost > $0.05
    route: {cheapest_of: [openai/gpt-4, anthropic/claude-sonnet]}

Prefer:

    condition: cost("openai/gpt-4") > $0.05
    route: {cheapest_of: [openai/gpt-4, anthropic/claude-sonnet]}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP116"
LEVEL: Severity = "error"
