"""Our own table of models: names, aliases, windows, output maxima, abilities. No prices.

Over 300 lines because it is a table: a model is a row, grouped by provider.

Prices come from the price list (see `prices`), which has neither output maxima nor abilities and
lacks four windows in ten; what is here wins over it. The figures are the makers' published ones as
of `AS_OF`. A row's key is a name that the price list knows exactly. A model without a row still
works: it has its price, the price list's window, and no declared ability.

To add a model: a row. To move a short name such as `claude-sonnet` to a newer model: `ALIASES`.
A move changes the policy hash of every policy that uses the name, as it should.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

AS_OF = date(2026, 11, 21)


@dataclass(frozen=True, slots=True)
class Model:
    """What we know of a model beyond its price.

    Windows in tokens; `output` None means not known. `abilities` holds only what is known either
    way: `vision`, `tools`, `json` (a JSON answer can be asked for), `embeddings`, and `sampling`
    (False: a temperature or top_p other than the default is refused). `upstream` is the name that
    goes to the provider where it is not the row's own. `dated` are the suffixes of the snapshots
    that cost the same and that the price list does not name itself.
    """

    window: int | None = None
    output: int | None = None
    abilities: Mapping[str, bool] = field(default_factory=dict)
    upstream: str | None = None
    dated: tuple[str, ...] = ()


def _abilities(vision: bool, tools: bool, json: bool | None, **more: bool) -> Mapping[str, bool]:
    known = {"vision": vision, "tools": tools, **more}
    return known if json is None else {**known, "json": json}


_TEXT = _abilities(vision=False, tools=False, json=False)
_TOOLS = _abilities(vision=False, tools=True, json=False)
_TOOLS_JSON = _abilities(vision=False, tools=True, json=True)
_ALL = _abilities(vision=True, tools=True, json=True)
_CHAT_ONLY = _abilities(vision=True, tools=False, json=True)
_REASONS = _abilities(vision=True, tools=True, json=True, sampling=False)
_REASONS_TEXT = _abilities(vision=False, tools=True, json=True, sampling=False)
_SEES = _abilities(vision=True, tools=True, json=None)  # JSON differs by wire: not declared
_SEES_REASONS = _abilities(vision=True, tools=True, json=None, sampling=False)
_EMBEDS = _abilities(vision=False, tools=False, json=False, embeddings=True)

_K = 1024
_M = 1024 * 1024

_OPENAI: dict[str, Model] = {
    "gpt-3.5-turbo": Model(16_385, 4_096, _TOOLS_JSON),
    "gpt-3.5-turbo-1106": Model(16_385, 4_096, _TOOLS_JSON),
    "gpt-4": Model(8_192, 8_192, _TOOLS),
    "gpt-4-turbo": Model(128_000, 4_096, _ALL),
    "gpt-4-turbo-preview": Model(128_000, 4_096, _TOOLS_JSON),
    "gpt-4-0125-preview": Model(128_000, 4_096, _TOOLS_JSON),
    "gpt-4-1106-preview": Model(128_000, 4_096, _TOOLS_JSON),
    "gpt-4o": Model(128_000, 16_384, _ALL),
    "gpt-4o-2024-05-13": Model(128_000, 4_096, _ALL),
    "gpt-4o-mini": Model(128_000, 16_384, _ALL),
    "gpt-4o-search-preview": Model(128_000, 16_384, _TEXT),
    "chatgpt-4o-latest": Model(128_000, 16_384, _CHAT_ONLY),
    "gpt-4.1": Model(1_047_576, 32_768, _ALL),
    "gpt-4.1-mini": Model(1_047_576, 32_768, _ALL),
    "gpt-4.1-nano": Model(1_047_576, 32_768, _ALL),
    "o1": Model(200_000, 100_000, _REASONS),
    "o1-mini": Model(128_000, 65_536, _abilities(False, False, False, sampling=False)),
    "o1-pro": Model(200_000, 100_000, _REASONS),
    "o3": Model(200_000, 100_000, _REASONS),
    "o3-mini": Model(200_000, 100_000, _REASONS_TEXT),
    "o3-pro": Model(200_000, 100_000, _REASONS),
    "o4-mini": Model(200_000, 100_000, _REASONS),
    "gpt-5": Model(400_000, 128_000, _REASONS),
    "gpt-5-mini": Model(400_000, 128_000, _REASONS),
    "gpt-5-nano": Model(400_000, 128_000, _REASONS),
    "gpt-5-pro": Model(400_000, 272_000, _REASONS),
    "gpt-5-chat-latest": Model(128_000, 16_384, _CHAT_ONLY),
    "gpt-5.1": Model(400_000, 128_000, _REASONS),
    "gpt-5.1-chat-latest": Model(128_000, 16_384, _REASONS),
    "gpt-5.1-codex-mini": Model(400_000, 128_000, _REASONS),
    "gpt-5.2": Model(400_000, 128_000, _REASONS),
    "gpt-5.2-chat-latest": Model(128_000, 16_384, _REASONS),
    "gpt-5.2-pro": Model(400_000, 128_000, _SEES_REASONS),
    "gpt-5.3-chat-latest": Model(128_000, 16_384, _ALL),
    "gpt-5.3-codex": Model(400_000, 128_000, _REASONS),
    "gpt-5.4": Model(1_050_000, 128_000, _REASONS),
    "gpt-5.4-mini": Model(400_000, 128_000, _REASONS),
    "gpt-5.4-nano": Model(400_000, 128_000, _REASONS),
    "gpt-5.4-pro": Model(1_050_000, 128_000, _SEES_REASONS),
    "gpt-5.5": Model(1_050_000, 128_000, _REASONS),
    "gpt-5.5-pro": Model(1_050_000, 128_000, _REASONS),
    "gpt-5.6-luna": Model(1_050_000, 128_000, _REASONS),
    "gpt-5.6-sol": Model(1_050_000, 128_000, _REASONS),
    "gpt-5.6-terra": Model(1_050_000, 128_000, _REASONS),
    "gpt-6-astra": Model(1_050_000, 128_000, _REASONS),
    "gpt-6-luna": Model(1_050_000, 128_000, _REASONS),
    "gpt-6-sol": Model(1_050_000, 128_000, _REASONS),
    "gpt-6.1-sol": Model(1_050_000, 128_000, _REASONS),
    "gpt-6.1-terra": Model(1_050_000, 128_000, _REASONS),
    "text-embedding-3-small": Model(8_191, 0, _EMBEDS),
    "text-embedding-3-large": Model(8_191, 0, _EMBEDS),
    "text-embedding-ada-002": Model(8_191, 0, _EMBEDS),
}

_ANTHROPIC: dict[str, Model] = {
    "claude-3-haiku": Model(
        200_000, 4_096, _SEES, upstream="claude-3-haiku-20240307", dated=("20240307",)
    ),
    "claude-3-sonnet": Model(
        200_000, 4_096, _SEES, upstream="claude-3-sonnet-20240229", dated=("20240229",)
    ),
    "claude-3-opus-latest": Model(200_000, 4_096, _SEES),
    "claude-3-5-haiku-latest": Model(200_000, 8_192, _SEES),
    "claude-3-5-sonnet": Model(
        200_000,
        8_192,
        _SEES,
        upstream="claude-3-5-sonnet-20241022",
        dated=("20240620", "20241022", "latest"),
    ),
    "claude-3-7-sonnet-latest": Model(200_000, 64_000, _SEES),
    "claude-sonnet-4-0": Model(200_000, 64_000, _SEES),
    "claude-opus-4-0": Model(200_000, 32_000, _SEES),
    "claude-opus-4-1": Model(200_000, 32_000, _SEES, dated=("20250805",)),
    "claude-opus-4-5": Model(200_000, 64_000, _SEES, dated=("20251101",)),
    "claude-opus-4-6": Model(1_000_000, 128_000, _SEES),
    "claude-opus-4-7": Model(1_000_000, 128_000, _SEES_REASONS),
    "claude-opus-4-8": Model(1_000_000, 128_000, _SEES_REASONS),
    "claude-opus-5": Model(1_000_000, 128_000, _SEES_REASONS),
    "claude-opus-5-5": Model(1_000_000, 128_000, _SEES_REASONS),
    "claude-sonnet-4-5": Model(200_000, 64_000, _SEES, dated=("20250929",)),
    "claude-sonnet-4-6": Model(1_000_000, 64_000, _SEES),
    "claude-sonnet-5": Model(1_000_000, 128_000, _SEES_REASONS),
    "claude-sonnet-5-5": Model(1_000_000, 128_000, _SEES_REASONS),
    "claude-haiku-4-5": Model(200_000, 64_000, _SEES, dated=("20251001",)),
    "claude-haiku-5-5": Model(1_000_000, 128_000, _SEES_REASONS),
    "claude-fable-5": Model(1_000_000, 128_000, _SEES_REASONS),
    "claude-fable-5-1": Model(1_000_000, 128_000, _SEES_REASONS),
    "claude-fable-5-2": Model(1_000_000, 128_000, _SEES_REASONS),
}

_GROQ: dict[str, Model] = {
    "llama-3.1-8b-instant": Model(128 * _K, 128 * _K, _TOOLS_JSON),
    "llama-3.3-70b-versatile": Model(128 * _K, 32_768, _TOOLS_JSON),
    "llama3-8b-8192": Model(8_192, 8_192, _TOOLS_JSON),
    "llama3-70b-8192": Model(8_192, 8_192, _TOOLS_JSON),
    "meta-llama/llama-4-scout-17b-16e-instruct": Model(128 * _K, 8_192, _ALL),
    "meta-llama/llama-4-maverick-17b-128e-instruct": Model(128 * _K, 8_192, _ALL),
    "openai/gpt-oss-20b": Model(128 * _K, 65_536, _TOOLS_JSON),
    "openai/gpt-oss-120b": Model(128 * _K, 65_536, _TOOLS_JSON),
    "qwen/qwen3-32b": Model(128 * _K, 40_960, _TOOLS_JSON),
    "gemma2-9b-it": Model(8_192, 8_192, _TOOLS_JSON),
    "mixtral-8x7b-32768": Model(32_768, 32_768, _TOOLS_JSON),
}

_GOOGLE: dict[str, Model] = {
    "gemini-2.0-flash": Model(_M, 8_192, _ALL),
    "gemini-2.0-flash-lite": Model(_M, 8_192, _ALL),
    "gemini-2.5-flash": Model(_M, 65_536, _ALL),
    "gemini-2.5-flash-lite": Model(_M, 65_536, _ALL),
    "gemini-2.5-pro": Model(_M, 65_536, _ALL),
    "gemini-3-flash-preview": Model(_M, 65_536, _ALL),
    "gemini-3-pro-preview": Model(_M, 65_536, _ALL),
    "gemini-3.1-flash-lite": Model(_M, 65_536, _ALL),
    "gemini-3.1-pro-preview": Model(_M, 65_536, _ALL),
    "gemini-3.5-flash": Model(_M, 65_536, _ALL),
    "gemini-embedding-001": Model(2_048, 0, _EMBEDS),
}

_MISTRAL: dict[str, Model] = {
    "codestral-latest": Model(256_000, None, _TOOLS_JSON),
    "mistral-large-latest": Model(256 * _K, None, _ALL),
    "mistral-large-2512": Model(256 * _K, None, _ALL),
    "mistral-medium-latest": Model(256 * _K, None, _ALL),
    "mistral-small-latest": Model(256_000, None, _ALL),
    "open-mistral-nemo": Model(128_000, None, _TOOLS_JSON),
    "mistral-embed": Model(8_000, 0, _EMBEDS),
}

_DEEPSEEK: dict[str, Model] = {
    "deepseek-chat": Model(1_000_000, 384_000, _TOOLS_JSON),
    "deepseek-reasoner": Model(1_000_000, 384_000, _TOOLS_JSON),
    "deepseek-v4-flash": Model(1_000_000, 384_000, _TOOLS_JSON),
    "deepseek-v4-pro": Model(1_000_000, 384_000, _TOOLS_JSON),
}

_XAI: dict[str, Model] = {
    "grok-3": Model(131_072, None, _TOOLS_JSON),
    "grok-3-mini": Model(131_072, None, _TOOLS_JSON),
    "grok-4-0709": Model(256_000, None, _ALL),
    "grok-4.3": Model(1_000_000, None, _ALL),
}

_COHERE: dict[str, Model] = {
    "command-a": Model(256_000, 8_000, _TOOLS_JSON, upstream="command-a-03-2025"),
    "command-r": Model(128_000, 4_000, _TOOLS_JSON, upstream="command-r-08-2024"),
    "command-r-plus": Model(128_000, 4_000, _TOOLS_JSON, upstream="command-r-plus-08-2024"),
    "command-r7b": Model(128_000, 4_000, _TOOLS_JSON, upstream="command-r7b-12-2024"),
    "embed-v4.0": Model(128_000, 0, _EMBEDS),
}

# Free of charge as a provider, so no price list; windows are the models' own. What a server really
# offers (`num_ctx`) is the operator's to declare under `targets:`.
_OLLAMA: dict[str, Model] = {
    "qwen2.5:3b": Model(32_768, None, _TOOLS_JSON),
    "qwen2.5:7b": Model(32_768, None, _TOOLS_JSON),
    "qwen2.5:14b": Model(32_768, None, _TOOLS_JSON),
    "qwen2.5:32b": Model(32_768, None, _TOOLS_JSON),
    "llama3.1:8b": Model(128 * _K, None, _TOOLS_JSON),
    "llama3.2:3b": Model(128 * _K, None, _TOOLS_JSON),
    "llama3.3:70b": Model(128 * _K, None, _TOOLS_JSON),
    "mistral:7b": Model(32_768, None, _TOOLS_JSON),
    "nomic-embed-text": Model(2_048, 0, _EMBEDS),
}

MODELS: Mapping[str, Mapping[str, Model]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "groq": _GROQ,
    "google": _GOOGLE,
    "mistral": _MISTRAL,
    "deepseek": _DEEPSEEK,
    "x-ai": _XAI,
    "cohere": _COHERE,
    "ollama": _OLLAMA,
}

# A short or older name -> (the priced row, the provider's own name for it where that is another).
ALIASES: Mapping[str, Mapping[str, tuple[str, str | None]]] = {
    "openai": {
        "gpt-4-mini": ("gpt-4o-mini", None),
        "gpt-5.6": ("gpt-5.6-sol", None),
        "gpt-6": ("gpt-6-sol", None),
    },
    "anthropic": {
        "claude-sonnet": ("claude-sonnet-5-5", None),
        "claude-opus": ("claude-opus-5-5", None),
        "claude-haiku": ("claude-haiku-5-5", None),
        "claude-sonnet-4": ("claude-sonnet-4-0", "claude-sonnet-4-20250514"),
        "claude-sonnet-4-20250514": ("claude-sonnet-4-0", "claude-sonnet-4-20250514"),
        "claude-opus-4": ("claude-opus-4-0", "claude-opus-4-20250514"),
        "claude-3-opus": ("claude-3-opus-latest", "claude-3-opus-20240229"),
        "claude-3-opus-20240229": ("claude-3-opus-latest", "claude-3-opus-20240229"),
        "claude-3-5-haiku": ("claude-3-5-haiku-latest", None),
        "claude-3-5-haiku-20241022": ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"),
        "claude-3-7-sonnet": ("claude-3-7-sonnet-latest", None),
        "claude-3-7-sonnet-20250219": ("claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219"),
    },
    "groq": {
        "llama-3-8b": ("llama-3.1-8b-instant", None),
        "llama-3-70b": ("llama-3.3-70b-versatile", None),
        "llama-3.1-8b": ("llama-3.1-8b-instant", None),
        "llama-3.3-70b": ("llama-3.3-70b-versatile", None),
    },
    "google": {
        "gemini-flash": ("gemini-2.5-flash", None),
        "gemini-pro": ("gemini-2.5-pro", None),
    },
    "mistral": {
        "codestral": ("codestral-latest", None),
        "mistral-large": ("mistral-large-latest", None),
        "mistral-medium": ("mistral-medium-latest", None),
        "mistral-small": ("mistral-small-latest", None),
    },
}

# Providers as a policy names them, where the price list or this table has another word.
PROVIDER_ALIASES: Mapping[str, str] = {"bedrock": "aws", "gemini": "google", "xai": "x-ai"}

# Providers with an adapter, and whether their targets are free of charge as a whole.
PROVIDERS: Mapping[str, bool] = {
    "openai": False,
    "anthropic": False,
    "gemini": False,
    "groq": False,
    "azure": False,
    "bedrock": False,
    "cohere": False,
    "deepseek": False,
    "fireworks": False,
    "mistral": False,
    "openrouter": False,
    "together": False,
    "xai": False,
    "ollama": True,
    "vllm": True,
}

# The dialects that a provider of the policy's own may speak.
KINDS: tuple[str, ...] = (
    "openai",
    "anthropic",
    "azure",
    "bedrock",
    "cohere",
    "deepseek",
    "fireworks",
    "gemini",
    "groq",
    "mistral",
    "ollama",
    "openrouter",
    "together",
    "vllm",
    "xai",
)

# Who makes models and serves them: a bare name goes to its maker.
MAKERS: tuple[str, ...] = (
    "openai",
    "anthropic",
    "google",
    "gemini",
    "mistral",
    "deepseek",
    "x-ai",
    "xai",
    "cohere",
    "voyageai",
)

# Who serves what others make: never meant by a bare name.
HOSTS = frozenset(("azure", "bedrock", "fireworks", "openrouter", "together", "vllm"))

# Bare names that the built-in mapping sends elsewhere, or names first.
BARE: Mapping[str, str] = {
    "gpt-4o": "openai/gpt-4o",
    "gpt-4o-mini": "openai/gpt-4o-mini",
    "o3-mini": "openai/o3-mini",
    "text-embedding-3-small": "openai/text-embedding-3-small",
    "claude-sonnet-4": "anthropic/claude-sonnet-4",
    "llama-3-70b": "groq/llama-3-70b",
}

# Families of models -> who makes them, None where nobody does who serves them under bare names. The
# price list has others' models in makers' rows (Vertex' Claudes, what Mistral hosts): a bare name
# of theirs goes to its own maker or to nobody.
FAMILIES: Mapping[str, str | None] = {
    **dict.fromkeys(("gpt", "chatgpt", "dall", "whisper"), "openai"),
    "claude": "anthropic",
    **dict.fromkeys(("gemini", "gemma"), "google"),
    **dict.fromkeys(
        "mistral ministral mixtral codestral devstral magistral pixtral voxtral".split(), "mistral"
    ),
    "deepseek": "deepseek",
    "grok": "x-ai",
    "command": "cohere",
    "voyage": "voyageai",
    **dict.fromkeys("llama meta qwen qwq kimi glm zai minimax nova titan phi jamba".split()),
}

# Whose price counts, and whose row, for a model that a provider's own part of the price list lacks:
# Azure's OpenAI models cost what OpenAI's do.
PRICED_LIKE: Mapping[str, str] = {"azure": "openai"}

# What a provider's own models may be named without (the price list has it).
LONG_NAMES: Mapping[str, str] = {"fireworks": "accounts/fireworks/models/"}

# Names of the price list that the maker's own API does not serve: models that others host, other
# hosts' spellings (`gpt-5-1` for `gpt-5.1`), and its keys for groups of names.
NOT_SERVED = re.compile(
    r"openai/(gpt-oss-.*|gpt-4o:extended|gpt-\d-\d(-.*)?|gpt-35-.*|o\d-mini-high|.*\.ft-)"
    r"|(google|gemini)/(claude-.*|.*-maas|.*/.*)"
    r"|(x-ai|xai)/x-ai/.*"
    r"|(aws|bedrock)/(regional\..*|claude-.*)"
    r"|azure/(ft:.*|.*\.ft-|gpt-oss-.*|gpt-4o:extended|gpt-\d-\d(-.*)?|o\d-mini-high)"
)
