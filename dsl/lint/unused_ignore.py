"""A comment ignores a finding that is not there.

What it excused was mended or has moved. Left standing it would hide the next finding of that code
in this line, which nobody has judged.

Avoid:

    # turnout: ignore RP403 because the route is tried by hand
    let: {short: tokens < 100}

Prefer:

    let: {short: tokens < 100}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP012"
LEVEL: Severity = "warning"
