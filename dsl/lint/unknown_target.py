"""A target, or its provider, is not known.

A target is `provider/model`: one of the catalogue, or one that the file declares under `targets:`,
at a provider that is known or declared under `providers:`.

Avoid:

    - {name: short, condition: tokens < 100, route: grok/llama-3-8b}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP301"
LEVEL: Severity = "error"
