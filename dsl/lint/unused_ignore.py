"""A comment ignores a finding that is not there.

What it excused was mended or has moved. Left standing it would hide the next finding of that code
in this line, which nobody has judged.

Avoid:

    condition: tokens < 100   # turnout: ignore RP403 because the route is tried by hand

Prefer:

    condition: tokens < 100
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP012"
LEVEL: Severity = "warning"
