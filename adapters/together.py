"""Together: the OpenAI wire, with log probabilities of another shape, which are hence refused."""

from typing import Any

from turnout.engine.provider import Call

from .dialect_openai import OpenAIDialect
from .kind import Carries
from .listing import Page
from .openai_request import Departures, Wants
from .vectors import input_as_texts


class Together(OpenAIDialect):
    """Together's API."""

    kind = "together"
    default_base_url = "https://api.together.xyz/v1"
    key_variable = "TOGETHER_API_KEY"
    carries = Carries(embeddings=True, images=True, image_urls=True, reasoning=True)
    lacks = frozenset(
        "logprobs top_logprobs functions function_call modalities audio prediction thinking "
        "web_search_options parallel_tool_calls verbosity user safety_identifier prompt_cache_key "
        "prompt_cache_retention metadata store service_tier".split()
    )
    wants = Wants(limit="max_tokens", system="system")

    @staticmethod
    def page(parsed: Any) -> Page | None:
        """Its list is bare."""
        return OpenAIDialect.page({"data": parsed} if isinstance(parsed, list) else parsed)

    async def embedded(self, call: Call) -> Departures:
        """Texts only: token ids would be those of another vocabulary."""
        return await input_as_texts(call)
