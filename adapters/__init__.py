"""Providers: one small file each over shared dialects.

To add one: a file with a class over a dialect that names its `kind`, `default_base_url`,
`key_variable` and what it `lacks` and `carries`, and its line in `PROVIDERS`. What it does
otherwise than its dialect goes into the hooks of the dialect (`departures`, `finish`, `prefix`).
"""

from collections.abc import Mapping

import httpx

from turnout.engine.provider import Provider

from .anthropic import Anthropic
from .azure import Azure
from .bedrock import Bedrock
from .cohere import Cohere
from .deepseek import DeepSeek
from .fireworks import Fireworks
from .gemini import Gemini
from .groq import Groq
from .kind import Kind
from .mistral import Mistral
from .ollama import Ollama
from .openai import OpenAI, OpenAICompatible
from .openrouter import OpenRouter
from .together import Together
from .transport import Transport, pooled
from .upstream import Upstream
from .vllm import VLLM
from .webhook import Webhook
from .xai import XAI

__all__ = ["PROVIDERS", "Transport", "Webhook", "build", "key_variable", "pooled", "variables"]

# Where a provider is that has no address yet: nothing is sent to one that is not usable.
_NOWHERE = "http://unset.invalid"

PROVIDERS: dict[str, type[Kind]] = {
    kind.kind: kind
    for kind in (
        OpenAI,
        Anthropic,
        Azure,
        Bedrock,
        Cohere,
        DeepSeek,
        Fireworks,
        Gemini,
        Groq,
        Mistral,
        Ollama,
        OpenRouter,
        Together,
        VLLM,
        XAI,
    )
}


def key_variable(name: str, kind: str | None = None) -> str:
    """The environment variable with the credential of the provider `name`.

    The kind's own for the provider of that name (`OPENAI_API_KEY`), else `X_API_KEY` for `x`.
    """
    known = PROVIDERS.get(name)
    if known is not None and kind in (None, name):
        return known.key_variable
    return "".join(c if c.isalnum() else "_" for c in name).upper() + "_API_KEY"


def variables(name: str, kind: str | None = None) -> tuple[str, ...]:
    """The environment variables that a provider's kind reads beside its credential's."""
    known = PROVIDERS.get(kind or name)
    return () if known is None else known.variables


def build(
    name: str,
    kind: str | None,
    base_url: str | None,
    headers: Mapping[str, str],
    credential: str | None,
    transport: httpx.AsyncBaseTransport,
    variables: Mapping[str, str] | None = None,
) -> Provider:
    """Make the provider `name`; without `kind` it is its name's, or OpenAI-compatible.

    `base_url` None: the kind's own address, which may depend on `variables` (those of
    `variables()` that are set). `headers` (variables expanded) go to this address
    only, and win over the credential's header of the same name. A provider whose kind needs a
    credential is unusable with neither that nor headers of its own, wherever it is; for a server
    that asks for none, set the variable to any word.

    Raises: ValueError, fit to be shown, for a kind, address or header that cannot be used.
    """
    wire = PROVIDERS.get(kind or name) if kind or name in PROVIDERS else OpenAICompatible
    if wire is None:
        known = ", ".join(f"`{known}`" for known in PROVIDERS)
        raise ValueError(f"`{kind}` is not a kind of provider; known are {known}")
    if base_url is None and (name not in PROVIDERS or kind not in (None, name)):
        # The kind's own address is another company's: what was meant for `name` would go there.
        raise ValueError(f"the provider `{name}` needs a `base_url`")
    given = variables or {}
    address = base_url or wire.address(given)
    upstream_url = wire.prefix(address) if address is not None else _NOWHERE
    credential = (credential or "").strip()
    sign = None if credential else wire.sign(given)
    sent = dict(wire.fixed_headers)
    if credential:
        sent |= wire.authorization(credential)
    sent |= {header.lower(): value for header, value in headers.items()}
    secrets = tuple(value.strip() for value in given.values())
    advice = _advice(wire, upstream_url)
    upstream = Upstream(upstream_url, sent, transport, sign, secrets, advice)
    missing = None
    if wire.needs_credential and not (credential or headers or sign):
        missing = wire.uncredentialed(given)
    elif address is None:
        missing = wire.unplaced(given)
    return wire(name, upstream, missing)


def _advice(wire: type[Kind], url: str) -> str:
    """What to look at where the provider does not know an address that has not its own path."""
    path = wire.own_path()
    if url.rstrip("/").endswith(path):
        return ""
    return f": is the path of `base_url` right? `{wire.kind}` wants `…{path}`"
