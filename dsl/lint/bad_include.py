"""A file that `include` names cannot be included.

It is missing, names itself in a circle, or lies outside the folder of the main file. Paths are
relative to the file that names them; a policy is whole only with all its files.

Avoid:

    include: [modles.yml]

Prefer:

    include: [models.yml]
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP006"
LEVEL: Severity = "error"
