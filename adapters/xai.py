"""xAI: the OpenAI wire; its reasoning models refuse penalties and stop sequences."""

import re
from collections.abc import Mapping
from typing import Any

from turnout.engine.provider import Call

from .dialect_openai import OpenAIDialect
from .kind import Carries
from .openai_request import Departures, Wants
from .parameters import unsupported

_REASONING = re.compile(r"grok-(3-mini|[4-9]|code)(?!.*non-reasoning)")
_REFUSED = frozenset(("presence_penalty", "frequency_penalty", "stop"))


class XAI(OpenAIDialect):
    """xAI's API."""

    kind = "xai"
    default_base_url = "https://api.x.ai/v1"
    key_variable = "XAI_API_KEY"
    carries = Carries(images=True, image_urls=True, reasoning=True)
    lacks = frozenset(
        "functions function_call modalities audio prediction logit_bias top_k thinking verbosity "
        "safety_identifier prompt_cache_key prompt_cache_retention metadata store "
        "service_tier".split()
    )
    wants = Wants()

    def lacking(self, model: str) -> frozenset[str]:
        """More where the model reasons."""
        return self.lacks | _REFUSED if _REASONING.match(model) else self.lacks

    def departures(self, body: Mapping[str, Any], call: Call) -> Departures:
        """Refuse what is answered with a number to ask again with."""
        if body.get("deferred"):
            raise unsupported("deferred", "a deferred answer could not be fetched through here")
        return {}
