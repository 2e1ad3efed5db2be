"""Providers: one small file each over shared dialects.

To add one: a file with a class over `OpenAIDialect` or `AnthropicDialect` that names its `kind`,
`default_base_url` and `key_variable`, and its line in `PROVIDERS`. What it does otherwise than its
dialect goes into the hooks of the dialect (`departures`, `finish`, `prefix`).
"""

from collections.abc import Mapping

import httpx

from turnout.engine.provider import Provider

from .anthropic import Anthropic
from .dialect_anthropic import AnthropicDialect
from .dialect_openai import OpenAIDialect
from .groq import Groq
from .ollama import Ollama
from .openai import OpenAI
from .transport import pooled
from .upstream import Upstream

__all__ = ["PROVIDERS", "build", "key_variable", "pooled"]

PROVIDERS: dict[str, type[OpenAIDialect] | type[AnthropicDialect]] = {
    kind.kind: kind for kind in (OpenAI, Anthropic, Groq, Ollama)
}


def key_variable(name: str, kind: str | None = None) -> str:
    """The environment variable with the credential of the provider `name`.

    The kind's own for the provider of that name (`OPENAI_API_KEY`), else `X_API_KEY` for `x`.
    """
    known = PROVIDERS.get(name)
    if known is not None and kind in (None, name):
        return known.key_variable
    return "".join(c if c.isalnum() else "_" for c in name).upper() + "_API_KEY"


def build(
    name: str,
    kind: str | None,
    base_url: str | None,
    headers: Mapping[str, str],
    credential: str | None,
    transport: httpx.AsyncBaseTransport,
) -> Provider:
    """Make the provider `name`; without `kind` it is its name's, or OpenAI-compatible.

    `base_url` None: the kind's own address. `headers` (variables expanded) go to this address
    only, and win over the credential's header of the same name. A provider whose kind needs a
    credential is unusable with neither that nor headers of its own, wherever it is; for a server
    that asks for none, set the variable to any word.

    Raises: ValueError, fit to be shown, for a kind, address or header that cannot be used.
    """
    wire = PROVIDERS.get(kind or name) if kind or name in PROVIDERS else OpenAI
    if wire is None:
        known = ", ".join(f"`{known}`" for known in PROVIDERS)
        raise ValueError(f"`{kind}` is not a kind of provider; known are {known}")
    if base_url is None and (name not in PROVIDERS or kind not in (None, name)):
        # The kind's own address is another company's: what was meant for `name` would go there.
        raise ValueError(f"the provider `{name}` needs a `base_url`")
    upstream_url = wire.prefix(base_url or wire.default_base_url)
    credential = (credential or "").strip()
    sent = dict(wire.fixed_headers)
    if credential:
        sent |= wire.authorization(credential)
    sent |= {header.lower(): value for header, value in headers.items()}
    upstream = Upstream(upstream_url, sent, transport)
    usable = bool(credential or headers) or not wire.needs_credential
    return wire(name, upstream, usable)
