"""Groq: the OpenAI wire, with usage and late errors also under `x_groq` (read by the dialect).

What it lacks is what its own client library calls unsupported; anything else that it does not know
it refuses with 400.
"""

from .dialect_openai import OpenAIDialect
from .kind import Carries
from .openai_request import Wants


class Groq(OpenAIDialect):
    """Groq's OpenAI-compatible API."""

    kind = "groq"
    default_base_url = "https://api.groq.com/openai/v1"
    key_variable = "GROQ_API_KEY"
    carries = Carries(images=True, image_urls=True, reasoning=True)
    lacks = frozenset(
        "n logprobs top_logprobs logit_bias presence_penalty frequency_penalty modalities audio "
        "prediction web_search_options top_k thinking verbosity safety_identifier "
        "prompt_cache_key prompt_cache_retention metadata store".split()
    )
    wants = Wants(
        history="reasoning",
        refuses=True,
        members=frozenset(
            "role content name tool_calls tool_call_id function_call reasoning".split()
        ),
        tiers=frozenset(("auto", "on_demand", "flex", "performance")),
    )
