"""A value that this place cannot hold.

It has the right form, but not a meaning here: a version that does not exist, an unknown timezone,
a name with a space in it.

Avoid:

    timezone: Europe/Berln

Prefer:

    timezone: Europe/Berlin
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP010"
LEVEL: Severity = "error"
