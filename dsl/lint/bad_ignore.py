"""A comment that ignores findings is not in the form that works.

A finding is taken back by `# turnout: ignore RP403 because <reason>`, at the end of its line or
alone on the line above. Without a reason, with an unknown code, or for an error, the comment has
no effect: the next reader would not know why it is right to look away.

Avoid:

    condition: tokens < 100   # turnout: ignore RP601

Prefer:

    condition: 100 > tokens   # turnout: ignore RP601 because our reports say it like this
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP011"
LEVEL: Severity = "warning"
