"""An attribute that is known too late for this condition.

A route is chosen before anything is sent. What only the answer tells, such as how many tokens came
from the provider's cache, cannot decide where the question goes.

Avoid:

    condition: cached_tokens > 1k

Prefer:

    condition: tokens > 1k
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP114"
LEVEL: Severity = "error"
