"""Where the providers of the OpenAI wire differ: one row each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CLOUDFLARE = {
    "server": "cloudflare",
    "cf-ray": "9a2f3c4d5e6f7a8b-FRA",
    "cf-cache-status": "DYNAMIC",
    "alt-svc": 'h3=":443"; ma=86400',
    "set-cookie": "__cf_bm=simulated; path=/; HttpOnly; Secure; SameSite=None",
}
_RATE = {
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "1999970",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "0s",
}


@dataclass(frozen=True, slots=True)
class Manners:
    """Where the providers of this wire differ; `more`: what they have beside chat.

    `deploys`: its addresses may name what is deployed, and then a version of the API. `public`:
    anybody may read its list of models; what is known of a key is told apart from it.
    """

    prefix: str
    models: tuple[str, ...]
    headers: Mapping[str, str]
    extra: Mapping[str, Any]
    keyless: bool = False
    dated: Mapping[str, str] | None = None
    more: frozenset[str] = frozenset()
    embeds: bool = True
    deploys: bool = False
    public: bool = False


MANNERS: dict[str, Manners] = {
    "openai": Manners(
        "/v1",
        (
            "gpt-4",
            "gpt-4-turbo",
            "gpt-4o",
            "gpt-4o-mini",
            "gpt-3.5-turbo",
            "gpt-3.5-turbo-instruct",
            "davinci-002",
            "o3-mini",
            "text-embedding-3-small",
            "text-embedding-3-large",
        ),
        {
            "openai-version": "2020-10-01",
            "openai-organization": "simulated",
            "openai-project": "proj_simulated",
            **_RATE,
            "x-content-type-options": "nosniff",
            "access-control-expose-headers": "X-Request-ID",
            **_CLOUDFLARE,
        },
        {"service_tier": "default", "system_fingerprint": "fp_51d3a1f0a2"},
        dated={
            "gpt-4": "gpt-4-0613",
            "gpt-4-turbo": "gpt-4-turbo-2024-04-09",
            "gpt-4o": "gpt-4o-2024-08-06",
            "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
            "gpt-3.5-turbo": "gpt-3.5-turbo-0125",
            "o3-mini": "o3-mini-2025-01-31",
        },
        more=frozenset(("responses", "completions")),
    ),
    "groq": Manners(
        "/openai/v1",
        ("llama-3.1-8b-instant", "llama-3.3-70b-versatile", "llama3-8b-8192", "llama3-70b-8192"),
        {"x-groq-region": "fra", "vary": "Origin", **_RATE, **_CLOUDFLARE},
        {"service_tier": "on_demand", "system_fingerprint": "fp_179b0f92c9"},
    ),
    "azure": Manners(
        "",
        ("gpt-4o", "gpt-4o-mini", "o3-mini", "text-embedding-3-small"),
        {"apim-request-id": "a1b2", "x-ms-region": "Sweden Central", **_RATE},
        {"system_fingerprint": "fp_b705f0c291"},
        more=frozenset(("responses",)),
        deploys=True,
    ),
    "deepseek": Manners(
        "/v1",
        ("deepseek-chat", "deepseek-reasoner"),
        {"x-ds-trace-id": "5d8c", **_CLOUDFLARE},
        {"system_fingerprint": "fp_eaab8d114b"},
        embeds=False,
    ),
    "fireworks": Manners(
        "/inference/v1",
        ("accounts/fireworks/models/deepseek-v3", "accounts/fireworks/models/kimi-k2"),
        {"fireworks-prompt-tokens": "1", **_RATE},
        {},
    ),
    "mistral": Manners(
        "/v1",
        ("mistral-large-latest", "mistral-small-latest", "magistral-medium-latest"),
        {"mistral-correlation-id": "0198", "ratelimitbysize-reset": "31", **_CLOUDFLARE},
        {},
    ),
    "openrouter": Manners(
        "/api/v1",
        ("anthropic/claude-sonnet-4", "openai/gpt-4o", "deepseek/deepseek-r1"),
        _CLOUDFLARE,
        {},
        public=True,
    ),
    "together": Manners(
        "/v1",
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "Qwen/Qwen3-235B-A22B-Thinking"),
        {"x-ratelimit-limit": "60", "x-ratelimit-reset": "1", **_CLOUDFLARE},
        {},
    ),
    "vllm": Manners(
        "/v1",
        ("qwen3-8b", "llama-3.1-8b"),
        {"server": "uvicorn"},
        {},
        keyless=True,
        more=frozenset(("completions",)),
    ),
    "xai": Manners(
        "/v1",
        ("grok-4", "grok-3", "grok-3-mini"),
        {"x-zero-data-retention": "false", **_RATE, **_CLOUDFLARE},
        {"system_fingerprint": "fp_156d35dcaa"},
        embeds=False,
    ),
}
