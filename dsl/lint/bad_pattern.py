"""A pattern that cannot be searched for safely.

Patterns are RE2: searched in time that grows with the text and nothing else, so that no request can
stall the gateway. Look-around and back references are not part of it.

Avoid:

    condition: model matches "(?=gpt)4"

Prefer:

    condition: model matches "^gpt-4"
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP120"
LEVEL: Severity = "error"
