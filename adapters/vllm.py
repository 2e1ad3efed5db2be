"""vLLM, or whatever serves models of one's own with it: the OpenAI wire without a key.

It ignores what it does not know, so that this must not get there in silence.
"""

from turnout.engine.request import Operation

from .dialect_openai import OpenAIDialect
from .kind import Carries
from .openai_request import Wants


class VLLM(OpenAIDialect):
    """A vLLM server of one's own; its address has to be given."""

    kind = "vllm"
    default_base_url = None
    key_variable = "VLLM_API_KEY"
    needs_credential = False
    carries = Carries(
        embeddings=True,
        images=True,
        image_urls=True,
        audio=True,
        reasoning=True,
        native=frozenset((Operation.COMPLETIONS,)),
    )
    lacks = frozenset(
        "functions function_call modalities audio prediction web_search_options thinking verbosity "
        "user safety_identifier prompt_cache_key prompt_cache_retention metadata store "
        "service_tier".split()
    )
    wants = Wants(system="system")

    @classmethod
    def own_path(cls) -> str:
        """Where vLLM serves it."""
        return "/v1"
