"""Amazon Bedrock: chat by Converse, embeddings by the models of Titan and Cohere.

Credentials are a Bedrock API key, else AWS's own (`AWS_ACCESS_KEY_ID` …), which sign each request.
The address needs a region. A profile or a role is not looked up: give the gateway its variables.
"""

import re
from collections.abc import AsyncGenerator, Collection, Mapping
from functools import partial
from typing import Any

from turnout.engine.provider import Answer, Call, Chunk, Fault, ProviderError
from turnout.engine.request import Operation

from . import event_stream
from .bedrock_embeddings import embed
from .bedrock_request import LACKS, converse_body, count_body, model_path
from .bedrock_signature import NO_SIGNING, signer
from .dialect_bedrock import Translation, parsed_object, read_converse
from .kind import Carries, Kind
from .listing import Page, listed, named
from .relayed import Relay, relayed
from .upstream import Events, Sign

_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}")
# The models of a region are listed by another service, beside that which runs them.
_OWN_ADDRESS = re.compile(r"https://bedrock-runtime(-fips)?\.([a-z0-9-]+\.amazonaws\.com(?:\.cn)?)")
# Tokens are counted by a model, not by a profile that spreads its requests over regions.
_PROFILE = re.compile(r"^(us|us-gov|eu|apac|jp|au|ca|global)\.(?=[a-z0-9-]+\.)")


class Bedrock(Kind):
    """Amazon Bedrock's runtime API."""

    kind = "bedrock"
    lists = "`ListFoundationModels` of its region; behind a `base_url` of its own, nothing"
    default_base_url = None
    key_variable = "AWS_BEARER_TOKEN_BEDROCK"
    variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", *_REGIONS)
    lacks = LACKS
    partly = (
        "`response_format` with `json_object` (with a `json_schema` it is carried)",
        "`tool_choice: none` in a conversation with tool calls, and such a one without its `tools`",
        "images, documents and sound by their address",
    )
    example = """\
# AWS_REGION=us-east-1, and one of these:
# AWS_BEARER_TOKEN_BEDROCK=… (a Bedrock API key)
# AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… (with `turnout[bedrock]`)
targets:
  bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0:
    {price: {input: $3/Mtok, output: $15/Mtok, cached: $0.30/Mtok}, context_window: 200k}
routing_policy:
  - {name: all, route: "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0"}
"""
    carries = Carries(
        embeddings=True,
        images=True,
        audio=True,
        documents=True,
        reasoning=True,
        signatures=True,
        counts=True,
    )

    @classmethod
    def address(cls, variables: Mapping[str, str]) -> str | None:
        """The region's endpoint; None where no variable names a region that can be one."""
        region = _region(variables)
        if region is None:
            return None
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return f"https://bedrock-runtime.{region}.{domain}"

    @classmethod
    def sign(cls, variables: Mapping[str, str]) -> Sign | None:
        """AWS's signature, where the key, its secret and the region are there."""
        key_id, secret = variables.get("AWS_ACCESS_KEY_ID"), variables.get("AWS_SECRET_ACCESS_KEY")
        region = _region(variables)
        if not key_id or not secret or region is None:
            return None
        return signer(key_id, secret, variables.get("AWS_SESSION_TOKEN") or None, region)

    @classmethod
    def uncredentialed(cls, variables: Mapping[str, str]) -> str:
        """Of AWS's own keys the part that is not there, or what signs with them."""
        parts = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        unset = [name for name in parts if not variables.get(name)]
        if len(unset) == len(parts):
            return "no credential"
        if unset:
            return f"no `{unset[0]}`"
        return cls.unplaced(variables) if _region(variables) is None else NO_SIGNING

    @classmethod
    def unplaced(cls, variables: Mapping[str, str]) -> str:
        """Its region, or one that can be."""
        name = next((name for name in _REGIONS if variables.get(name, "").strip()), None)
        return f"no `{_REGIONS[0]}`" if name is None else f"no region in `{name}`"

    async def answer(self, call: Call) -> Answer:
        """Generation without streaming, or embeddings. Raises: ProviderError."""
        if call.request.operation is Operation.EMBEDDINGS:
            path = model_path(call.upstream_model, "invoke")
            return await embed(call, partial(self._upstream.fetch, path))
        path = model_path(call.upstream_model, "converse")
        raw = await self._upstream.fetch(path, converse_body(call), call)
        return read_converse(raw, call, self._upstream.secrets)

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Generation as chunks. Raises: ProviderError, at any point."""
        return relayed(partial(self._open, call))

    async def _open(self, call: Call) -> tuple[Events, Relay]:
        translation = Translation(call, self._upstream.secrets)
        events = await self._upstream.open(
            model_path(call.upstream_model, "converse-stream"),
            converse_body(call),
            call,
            event_stream.Parser,
            b"application/vnd.amazon.eventstream",
        )
        return events, translation

    async def models(self, patience_us: int) -> list[str] | None:
        """The models of its region; None where an address of one's own stands before it."""
        own = _OWN_ADDRESS.fullmatch(self._upstream.origin)
        if own is None or self._upstream.path:
            return None
        control = self._upstream.at(f"https://bedrock{own[1] or ''}.{own[2]}")
        return await listed(control, "/foundation-models", _page, patience_us)

    @classmethod
    def offers(cls, model: str, listed: Collection[str]) -> bool:
        """Profiles by the model that they spread; what has an address of its own is not listed."""
        return model.startswith("arn:") or super().offers(_PROFILE.sub("", model), listed)

    async def count(self, call: Call) -> int | None:
        """The model's own count; None where it has none. Raises: ProviderError."""
        path = model_path(_PROFILE.sub("", call.upstream_model), "count-tokens")
        try:
            raw = await self._upstream.fetch(path, count_body(call), call)
        except ProviderError as error:
            if error.fault is Fault.UNSUPPORTED and error.status is not None:
                return None
            raise
        counted = parsed_object(raw).get("inputTokens")
        return counted if type(counted) is int and counted >= 0 else None


def _page(parsed: Any) -> Page | None:
    names = named(parsed, "modelSummaries", "modelId")
    return None if names is None else Page(names)


def _region(variables: Mapping[str, str]) -> str | None:
    """The region to ask; it becomes part of the address, so nothing else may be in it.

    Not an error: a machine may have the variable for something else than this gateway.
    """
    region = next((found for n in _REGIONS if (found := variables.get(n, "").strip())), "")
    return region if _REGION.fullmatch(region) else None
