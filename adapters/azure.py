"""Azure OpenAI: OpenAI's wire at an address of one's own, with the key in a header of its own.

Without a path, or ending in `/openai/v1`, an address means the API that has no versions. One that
ends in `/openai`, `/openai/deployments` or a deployment's name means the older one, whose address
names deployment and version: for all of them `api-version=2025-04-01-preview`, which the gateway
adds and which does not stand in the address. A target's model is the name of its deployment, which
is anybody's: its price is to be declared unless it is the name of a model that the price list has.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from turnout.engine.provider import Call
from turnout.engine.request import Operation

from .dialect_openai import OpenAIDialect
from .listing import listed
from .openai import OF_REASONING, UNREASONING
from .openai_native import NativeWire
from .openai_request import Departures, Wants

API_VERSION = "2025-04-01-preview"
_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
# Deployments are mostly named after their model; those refuse `max_tokens`.
_REASONING = re.compile(r"(o\d|gpt-[5-9])")


class Azure(OpenAIDialect):
    """Azure OpenAI."""

    kind = "azure"
    lists = "`GET /models`: what could be deployed, not what is"
    default_base_url = None
    key_variable = "AZURE_OPENAI_API_KEY"
    variables = (_ENDPOINT,)
    carries = replace(OpenAIDialect.carries, native=frozenset((Operation.RESPONSES,)))
    lacks = frozenset(("web_search_options", "top_k", "thinking"))
    example = """\
# AZURE_OPENAI_API_KEY=…
# AZURE_OPENAI_ENDPOINT=https://NAME.openai.azure.com; a `base_url` here wins over it
targets:
  azure/gpt-4o: {}                # a deployment named after its model: priced as that
  azure/our-deployment:           # any other name: say what it costs and holds
    {price: {input: $2.50/Mtok, output: $10/Mtok}, context_window: 128k, max_output: 16k}
  azure-eu/our-deployment: {price: {input: $2.50/Mtok, output: $10/Mtok}, context_window: 128k}
providers:
  azure-eu:                       # a second resource, with AZURE_EU_API_KEY
    {kind: azure, base_url: "https://OTHER.openai.azure.com/openai/v1"}
routing_policy:
  - {name: all, route: azure/gpt-4o, fallback: [azure/our-deployment, azure-eu/our-deployment]}
"""
    wants = Wants(history=None, refuses=True)

    @classmethod
    def authorization(cls, credential: str) -> dict[str, str]:
        """Its key is no bearer token."""
        return {"api-key": credential}

    @classmethod
    def address(cls, variables: Mapping[str, str]) -> str | None:
        """The resource that its variable names."""
        return variables.get(_ENDPOINT) or None

    @classmethod
    def unplaced(cls, variables: Mapping[str, str]) -> str:
        """Its resource."""
        return f"no `{_ENDPOINT}`"

    @classmethod
    def own_path(cls) -> str:
        """That of the API without versions."""
        return "/openai/v1"

    @classmethod
    def prefix(cls, base_url: str) -> str:
        """The resource alone is an address too, as its own clients take it."""
        bare = urlsplit(base_url).path in ("", "/")
        return base_url.rstrip("/") + "/openai/v1" if bare else base_url

    def native(self, call: Call) -> NativeWire | None:
        """Responses, in the API without versions."""
        return super().native(call) if self._upstream.path.endswith("/v1") else None

    def path(self, path: str, call: Call) -> str:
        """With deployment and version where the address is the older API's."""
        prefix = self._upstream.path
        if prefix.endswith("/openai"):
            path = f"/deployments/{quote(call.upstream_model, safe='')}{path}"
        elif prefix.endswith("/openai/deployments"):
            path = f"/{quote(call.upstream_model, safe='')}{path}"
        elif "/openai/deployments/" not in prefix:
            return path
        return f"{path}?api-version={API_VERSION}"

    async def models(self, patience_us: int) -> list[str] | None:
        """The models that the resource could deploy, which says that its key is taken."""
        upstream, path = self._upstream, "/models"
        before, old, _ = upstream.path.partition("/openai/deployments")
        if old or upstream.path.endswith("/openai"):
            upstream = upstream.at(f"{upstream.origin}{before.removesuffix('/openai')}/openai")
            path += f"?api-version={API_VERSION}"
        return await listed(upstream, path, self.page, patience_us)

    @classmethod
    def offers(cls, model: str, listed: Collection[str]) -> bool:
        """Nobody lists deployments."""
        return True

    def lacking(self, model: str) -> frozenset[str]:
        """More where the deployment is named after a model that does not reason."""
        return self.lacks | OF_REASONING if UNREASONING.match(model) else self.lacks

    def departures(self, body: Mapping[str, Any], call: Call) -> Departures:
        """Name the output limit as reasoning models take it."""
        limit = body.get("max_tokens")
        if (
            limit is None
            or body.get("max_completion_tokens") is not None
            or not _REASONING.match(call.upstream_model)
        ):
            return {}
        return {"max_tokens": None, "max_completion_tokens": orjson.dumps(limit)}
