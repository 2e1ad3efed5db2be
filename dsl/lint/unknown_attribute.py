"""A name that means nothing in a condition.

Attributes, `let` names, lists and the keys of headers are all known before a request comes; a name
that is none of them could never be true.

Avoid:

    condition: tokns < 100

Prefer:

    condition: tokens < 100
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP101"
LEVEL: Severity = "error"
