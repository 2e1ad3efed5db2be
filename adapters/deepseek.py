"""DeepSeek: the OpenAI wire; what it does not know it ignores, so that it must not get there.

Earlier reasoning belongs to the tools called in the turn at hand: before the last question it is
refused by some models and ignored by others. A connection that waits is kept open by comments and
empty lines. JSON comes as an object of any form, never held to a schema.
"""

from collections.abc import Mapping
from typing import Any

from turnout.engine.provider import Call, Fault, ProviderError

from .dialect_openai import Json, OpenAIDialect
from .kind import Carries
from .openai_request import Departures, Wants
from .parameters import unsupported


class DeepSeek(OpenAIDialect):
    """DeepSeek's API."""

    kind = "deepseek"
    default_base_url = "https://api.deepseek.com/v1"
    key_variable = "DEEPSEEK_API_KEY"
    carries = Carries(reasoning=True, schemas=False)
    lacks = frozenset(
        "n functions function_call modalities audio prediction web_search_options seed logit_bias "
        "top_k parallel_tool_calls verbosity user safety_identifier prompt_cache_key "
        "prompt_cache_retention metadata store service_tier".split()
    )
    wants = Wants(limit="max_tokens", system="system")
    partly = ("`response_format` with a `json_schema`",)

    def departures(self, body: Mapping[str, Any], call: Call) -> Departures:
        """Refuse what would be answered as if it had not been asked."""
        written = body.get("response_format")
        if isinstance(written, dict) and written.get("type") == "json_schema":
            raise unsupported("response_format", "this provider does not keep to a JSON schema")
        return {}

    def messages(self, messages: list[Json]) -> list[Json]:
        """Reasoning only of the turn at hand: what came after the last question."""
        roles = [message.get("role") for message in messages]
        asked = len(roles) - roles[::-1].index("user") if "user" in roles else 0
        if not any("reasoning_content" in message for message in messages[:asked]):
            return messages
        return [
            {name: value for name, value in message.items() if name != "reasoning_content"}
            for message in messages[:asked]
        ] + messages[asked:]

    @staticmethod
    def finish(reason: str, tools: bool) -> str:
        """An answer that it broke off for want of machines is no answer."""
        if reason == "insufficient_system_resource":
            raise ProviderError(Fault.OVERLOADED, "the provider broke its answer off: overloaded")
        return reason
