"""Tenants, for operators: `/v1/admin/tenants`. What is changed is in force everywhere in a second.

A tenant has a revision, which is its `ETag`: `If-Match` with it changes nothing that somebody else
has changed meanwhile, `If-None-Match: *` nothing that is there.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import orjson
from sanic import HTTPResponse

from turnout.engine.request import RequestError
from turnout.engine.tenants import Tenants

from .body import parse_strictly, read_body
from .guard import check_json
from .identity import identity_of
from .wire import Incoming, json_bytes, refusal, station


async def list_tenants(incoming: Incoming) -> HTTPResponse:
    """Every tenant that the policy names or that is stored."""
    found = await asyncio.to_thread(_tenants(incoming).all)
    return _json(incoming, {"object": "list", "data": found})


async def show_tenant(incoming: Incoming, name: str) -> HTTPResponse:
    """One tenant."""
    found = await asyncio.to_thread(_tenants(incoming).show, unquote(name))
    return _json(incoming, found)


async def put_tenant(incoming: Incoming, name: str) -> HTTPResponse:
    """Keep the settings in the body as those of a tenant, in place of what it had."""
    raw = await read_body(incoming, station(incoming))
    check_json(incoming)
    body = parse_strictly(raw)
    expected = _expected(incoming)
    found, is_new = await asyncio.to_thread(
        _tenants(incoming).put, unquote(name), body, identity_of(incoming).actor, expected
    )
    return _json(incoming, found, 201 if is_new else 200)


async def patch_tenant(incoming: Incoming, name: str) -> HTTPResponse:
    """Keep the settings in the body beside the others of a tenant; null takes one away."""
    raw = await read_body(incoming, station(incoming))
    check_json(incoming)
    body = parse_strictly(raw)
    found = await asyncio.to_thread(
        _tenants(incoming).patch,
        unquote(name),
        body,
        identity_of(incoming).actor,
        _expected(incoming),
    )
    return _json(incoming, found)


async def remove_tenant(incoming: Incoming, name: str) -> HTTPResponse:
    """Forget a stored tenant; the answer is what it was."""
    found = await asyncio.to_thread(
        _tenants(incoming).remove,
        unquote(name),
        identity_of(incoming).actor,
        _expected(incoming),
    )
    return _json(incoming, {**found, "deleted": True})


def _tenants(incoming: Incoming) -> Tenants:
    tenants = station(incoming).gateway.tenants
    if tenants is None:
        raise RequestError(
            503, "service_unavailable_error", "tenants_unavailable", "Nothing is stored here."
        )
    return tenants


def _expected(incoming: Incoming) -> str | None:
    """The revision that a tenant must have, empty: there must be none. Raises: RequestError 400."""
    match, none_match = (
        incoming.headers.getall(name, []) for name in ("if-match", "if-none-match")
    )
    if not match and not none_match:
        return None
    if none_match:
        if match or [one.strip() for one in none_match] != ["*"]:
            raise refusal(400, "bad_precondition", "`If-None-Match` may be `*`, and stand alone.")
        return ""
    tag: str = match[0].strip()
    if len(match) > 1 or len(tag) < 3 or not (tag[0] == tag[-1] == '"') or '"' in tag[1:-1]:
        raise refusal(
            400,
            "bad_precondition",
            "`If-Match` must be one `ETag` as it was sent, with its quotes.",
        )
    return tag[1:-1]


def _json(incoming: Incoming, value: Mapping[str, Any], status: int = 200) -> HTTPResponse:
    headers = {"cache-control": "no-store"}
    if "revision" in value and "deleted" not in value:
        headers["etag"] = f'"{value["revision"]}"'
    return json_bytes(incoming, orjson.dumps(value), status, headers)
