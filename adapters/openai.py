"""OpenAI itself, and whatever imitates it under a `base_url` of its own."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from turnout.engine.provider import Call
from turnout.engine.request import Operation

from .dialect_openai import OpenAIDialect
from .openai_native import NativeWire
from .openai_request import Wants

# Reasoning models refuse `max_tokens`.
_REASONING = re.compile(r"(o\d|gpt-[5-9])")
# What the models before those take no word of: they know neither of the two.
UNREASONING = re.compile(r"(ft:)?(chatgpt-4o|gpt-3\.5|gpt-4)")
OF_REASONING = frozenset(("reasoning_effort", "verbosity"))
# The models that still have the legacy completions, and what was tuned from them.
_LEGACY = re.compile(r"(ft:)?(gpt-3\.5-turbo-instruct|davinci-002|babbage-002)")


class OpenAI(OpenAIDialect):
    """The OpenAI wire as it is."""

    kind = "openai"
    default_base_url = "https://api.openai.com/v1"
    key_variable = "OPENAI_API_KEY"
    carries = replace(
        OpenAIDialect.carries, native=frozenset((Operation.RESPONSES, Operation.COMPLETIONS))
    )

    wants = Wants(history=None, refuses=True, foreign=frozenset(("thinking", "top_k")))

    def native(self, call: Call) -> NativeWire | None:
        """Responses for every model, completions for those that were made for them."""
        is_legacy = call.request.operation is Operation.COMPLETIONS
        if is_legacy and not _LEGACY.match(call.upstream_model):
            return None
        return super().native(call)

    def lacking(self, model: str) -> frozenset[str]:
        """More where the model does not reason."""
        return self.lacks | OF_REASONING if UNREASONING.match(model) else self.lacks

    def departures(self, body: Mapping[str, Any], call: Call) -> Mapping[str, bytes]:
        """Name the output limit as the target accepts it: the client may not know the target."""
        limit = body.get("max_tokens")
        if (
            limit is None
            or body.get("max_completion_tokens") is not None
            or not _REASONING.match(call.upstream_model)
        ):
            return {}
        return {"max_tokens": b"null", "max_completion_tokens": orjson.dumps(limit)}


class OpenAICompatible(OpenAI):
    """A server that imitates OpenAI, of a provider that says no more than its address.

    Nobody knows whether it has more than chat, so that everything goes there as chat; nor whether
    it knows what the gateway put into earlier answers, so that chat goes there as it came.
    """

    carries = OpenAIDialect.carries
    wants = replace(OpenAI.wants, refuses=False)

    def lacking(self, model: str) -> frozenset[str]:
        """The same for each model: a name says nothing of who answers to it."""
        return self.lacks
