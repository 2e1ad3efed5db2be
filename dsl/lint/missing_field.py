"""Something that has to be there is missing.

A rule needs a name and a route, a hop needs a target, a policy needs rules: without them there is
nothing to decide or nowhere to go.

Avoid:

    - {name: short, condition: tokens < 100}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP008"
LEVEL: Severity = "error"
