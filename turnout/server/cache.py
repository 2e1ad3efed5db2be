"""`GET /v1/cache` and `POST /v1/cache/invalidate`: what is kept of answers, and how it goes.

A caller sees and removes what is its own tenant's. An operator's key sees all tenants' or the one
that `tenant` names, and removes its own tenant's, or whose `tenant` names; `*` is all. Who brought
a provider's key and no other does neither: the tenant of strangers is not theirs.
"""

import time
from collections.abc import Mapping
from typing import Any

from sanic import HTTPResponse

from turnout.engine.cache_terms import EVERYBODY, WrongPattern, invalidation, removed

from .body import parse_strictly, read_body
from .guard import check_json
from .identity import Identity, identity_of
from .wire import Incoming, json_value, refusal, station

_WORDS = ("pattern", "older_than", "tenant")


async def show_cache(incoming: Incoming) -> HTTPResponse:
    """What is kept, by target."""
    identity = _known(incoming)
    asked = incoming.get_query_args(keep_blank_values=True)
    if unknown := [name for name, _ in asked if name != "tenant"]:
        raise refusal(400, "unknown_parameter", "The parameter is `tenant`.", unknown[0][:64])
    if len(asked) > 1:
        raise refusal(400, "invalid_value", "`tenant` is given twice.", "tenant")
    tenant = asked[0][1] if asked else EVERYBODY if identity.sees_all else identity.caller.tenant
    whose = _whose(identity, tenant)
    return json_value(incoming, await station(incoming).gateway.shelved(whose))


async def invalidate(incoming: Incoming) -> HTTPResponse:
    """Give the answers that a pattern means to nobody any more."""
    raw = await read_body(incoming, station(incoming))
    check_json(incoming)
    identity = _known(incoming)
    body = parse_strictly(raw)
    if unknown := [word for word in body if word not in _WORDS]:
        told = ", ".join(f"`{word}`" for word in _WORDS)
        raise refusal(400, "unknown_parameter", f"What can be said is {told}.", unknown[0][:64])
    whose = _whose(identity, _tenant(body, identity))
    now_us = time.time_ns() // 1000
    try:
        which = invalidation(body.get("pattern"), body.get("older_than"), whose, now_us)
    except WrongPattern as wrong:
        told = f"{wrong.message[:1].upper()}{wrong.message[1:]}: {wrong.help}."
        raise refusal(400, "invalid_value", told, wrong.param) from None
    pattern = body["pattern"].strip()
    count = await station(incoming).gateway.invalidate(which, pattern, identity.actor)
    return json_value(incoming, removed(count))


def _tenant(body: Mapping[str, Any], identity: Identity) -> str:
    tenant = body.get("tenant", identity.caller.tenant)
    if not isinstance(tenant, str) or not tenant:
        raise refusal(400, "invalid_value", "`tenant` must be a name, or `*` for all.", "tenant")
    return tenant


def _whose(identity: Identity, tenant: str) -> str | None:
    """The tenant that is meant, None: all. Raises: RequestError 403."""
    if not identity.sees_all and tenant != identity.caller.tenant:
        raise refusal(
            403,
            "insufficient_scope",
            "This key is about the answers of its own tenant; others' take the scope `admin`.",
            "tenant",
        )
    return None if identity.sees_all and tenant == EVERYBODY else tenant


def _known(incoming: Incoming) -> Identity:
    """Who asks, where it is known who that is. Raises: RequestError 403."""
    identity = identity_of(incoming)
    if identity.is_stranger:
        raise refusal(
            403,
            "insufficient_scope",
            "What is kept of answers is for keys of this gateway; send one in `x-turnout-key`.",
        )
    return identity
