"""Clients' keys for operators: `POST` and `GET /v1/admin/keys`, and to rotate or revoke one.

A secret is in the answer that makes it, and in no other.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

from sanic import HTTPResponse

from turnout.engine.key_terms import GRACE, WrongTerms, grace_us, new_key, shown
from turnout.engine.keys import NoSuchKeyError, RevokedError, SpoiledError, digest_of, new_text
from turnout.engine.request import RequestError
from turnout.engine.state.store import StoreError

from .body import parse_strictly, read_body
from .guard import check_json
from .identity import identity_of
from .wire import Incoming, json_value, refusal, station

_log = logging.getLogger("turnout.keys")
_T = TypeVar("_T")


async def create_key(incoming: Incoming) -> HTTPResponse:
    """Make a key on the terms of the body; 201, with its text as `key`."""
    terms = await _body(incoming)
    now_us = time.time_ns() // 1000
    try:
        key, text = new_key(terms, now_us)
    except WrongTerms as wrong:
        raise _wrong(wrong) from None
    store, actor = station(incoming).gateway.keys.store, identity_of(incoming).actor
    made = await _kept(lambda: store.create(key, actor))
    return _secret(incoming, shown(made, now_us) | {"key": text}, 201)


async def list_keys(incoming: Incoming) -> HTTPResponse:
    """Every key, `?tenant=` those of one; no secret is among it."""
    store = station(incoming).gateway.keys.store
    found = await _kept(lambda: store.all(incoming.args.get("tenant")))
    now_us = time.time_ns() // 1000
    return json_value(incoming, {"object": "list", "data": [shown(key, now_us) for key in found]})


async def rotate_key(incoming: Incoming, name: str) -> HTTPResponse:
    """Give a key another secret; the one of before stays good for `grace`."""
    terms = await _body(incoming)
    try:
        if unknown := [word for word in terms if word != "grace"]:
            raise WrongTerms("the only word of a rotation is `grace`", unknown[0])
        grace = grace_us(_grace(terms.get("grace", GRACE)))
    except WrongTerms as wrong:
        raise _wrong(wrong) from None
    store, actor = station(incoming).gateway.keys.store, identity_of(incoming).actor
    id = unquote(name)
    text = new_text(id)
    key = await _kept(lambda: store.rotate(id, digest_of(text), grace, actor))
    return _secret(incoming, shown(key, time.time_ns() // 1000) | {"key": text})


def _grace(value: object) -> str:
    """A stretch of time as it was written, or the number 0. Raises: WrongTerms."""
    if not isinstance(value, str) and value != 0:
        raise WrongTerms("`grace` must be a text", "grace", "write `24h`, at most `90d`, or `0`")
    return str(value)


async def revoke_key(incoming: Incoming, name: str) -> HTTPResponse:
    """End a key; all workers know within a second."""
    await _body(incoming)
    store, actor = station(incoming).gateway.keys.store, identity_of(incoming).actor
    key = await _kept(lambda: store.revoke(unquote(name), actor))
    return json_value(incoming, shown(key, time.time_ns() // 1000))


async def _body(incoming: Incoming) -> Mapping[str, Any]:
    """The JSON object that was sent, if any. Raises: RequestError."""
    raw = await read_body(incoming, station(incoming))
    # A page in a browser may send what is not said to be JSON without asking first.
    check_json(incoming)
    return parse_strictly(raw) if raw.strip() else {}


async def _kept(work: Callable[[], _T]) -> _T:
    """What a store answers, off the event loop. Raises: RequestError 404, 409, 503."""
    try:
        return await asyncio.to_thread(work)
    except NoSuchKeyError:
        raise refusal(404, "key_not_found", "There is no key of this id.") from None
    except RevokedError:
        raise refusal(
            400, "key_revoked", "The key was revoked, which is for good; make another one."
        ) from None
    except SpoiledError:
        raise refusal(
            400,
            "key_spoiled",
            "What is kept of the key cannot be read; revoke it and make another one.",
        ) from None
    except StoreError as error:
        _log.error("keys cannot be read or written: %s", error)
        raise RequestError(
            503,
            "service_unavailable_error",
            "keys_unreadable",
            "The gateway cannot read or write its keys at the moment.",
            retry_after_us=1_000_000,
        ) from None


def _secret(incoming: Incoming, value: Mapping[str, Any], status: int = 200) -> HTTPResponse:
    """An answer that nobody on the way may keep."""
    response = json_value(incoming, value, status)
    response.headers["cache-control"] = "no-store"
    return response


def _wrong(wrong: WrongTerms) -> RequestError:
    told = f"{wrong.message[:1].upper()}{wrong.message[1:]}"
    told = f"{told}: {wrong.help}." if wrong.help else f"{told}."
    return refusal(400, "invalid_value", told, wrong.param)
