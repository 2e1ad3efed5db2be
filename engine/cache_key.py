"""Which answers may be given again to whom: the key of the cache.

Two requests have the same key only if whoever answered the first would have been asked the very
same by the second, on behalf of the same tenant and with the same credential. Every member of a
body counts, those that we do not know among them; what only says how to tell the answer does not.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from turnout.dsl.core import Program
from turnout.dsl.schema import Target

from .cached import Key
from .provider import Provider
from .request import Operation, Request, Sets

_VERSION = 1  # of what is digested, and of what is kept under it

# How to tell an answer, not what to answer.
_TELLING = ("stream", "stream_options")
# Headers of clients that go upstream with a request in its own protocol.
_SENT = ("anthropic-beta", "anthropic-version", "openai-beta")
# Members that refer to what a provider keeps, or has it look something up, also where they are
# empty objects: the same words ask another thing another day.
_ELSEWHERE: Mapping[Operation, tuple[str, ...]] = {
    Operation.CHAT: ("web_search_options", "search_parameters", "search_settings", "plugins"),
    Operation.RESPONSES: ("previous_response_id", "conversation", "background", "prompt"),
    Operation.MESSAGES: ("container", "mcp_servers", "thread"),
}
_NO: tuple[object, ...] = (None, False, "", [])
# Members in which messages stand; and of their parts, those that are a client's own words.
_SAYING = ("messages", "input")
_WORDS = frozenset({"type", "text", "input", "arguments", "function"})
# Members that have the provider keep the answer, where they are true.
_STORING = (Operation.CHAT, Operation.RESPONSES)
# What stands in the names of tools that a provider runs by itself: they look at the world outside.
_LOOKING = re.compile("search|fetch|retriev|brows|code_|mcp|url_context|maps")
# One that looks through the request's own tools.
_LOOKING_WITHIN = "tool_search"
# Members in which objects have no order. In others a model reads their members as they stand: it
# writes those of a schema in the schema's order.
_UNORDERED = frozenset({"messages", "input", "metadata", "logit_bias"})
# What a parser of JSON holds exactly; beyond it there is a float, which several numbers share.
_EXACT = range(-(2**63), 2**64)
_EXACT_DIGITS = 20


def outside(request: Request) -> str | None:
    """What a request asks for beside an answer to what stands in it, for people; None: nothing.

    Something else asks one that goes on with what its provider keeps, one whose provider is to keep
    the answer because the client said so, and one whose provider looks something up for it, or
    looks at what stands at an address.
    """
    body = request.body if request.native is None else request.native.body
    operation = request.operation
    for name in _ELSEWHERE.get(operation, ()):
        if body.get(name) not in _NO:
            return f"`{name}` has its provider use what it keeps or looks up"
    if operation in _STORING and body.get("store") is True:
        return "`store` has its provider keep the answer"
    tools = body.get("tools")
    if isinstance(tools, list) and any(map(_looks, tools)):
        return "one of `tools` is run by its provider"
    if any(_points_elsewhere(body.get(name)) for name in _SAYING):
        return "a message shows what stands at an address"
    return None


def _looks(tool: object) -> bool:
    if not isinstance(tool, dict):
        return False
    kind = tool.get("type")
    if isinstance(kind, str):
        return not kind.startswith(_LOOKING_WITHIN) and _LOOKING.search(kind) is not None
    # Those of clients have a name; others are called by their only member (`google_search`).
    return "name" not in tool and any(map(_LOOKING.search, tool))


def _points_elsewhere(turns: object) -> bool:
    """Whether messages show what stands at an address, where another thing stands tomorrow."""
    if not isinstance(turns, list):
        return False
    for turn in turns:
        if not isinstance(turn, dict):
            continue
        # A result of a tool has parts of its own, under one of these names.
        for name in ("content", "output"):
            parts = turn.get(name)
            if isinstance(parts, list) and (
                _points_elsewhere(parts) or any(_is_remote(part) for part in parts)
            ):
                return True
    return False


def _is_remote(part: object) -> bool:
    """Whether a part of a message is an address: of an image, a file, a video, a sound."""
    if not isinstance(part, dict):
        return False
    for name, value in part.items():
        if name in _WORDS:
            continue
        at = value.get("url") if isinstance(value, dict) else value if "url" in name else None
        if isinstance(at, str) and not at.startswith("data:"):
            return True
    return False


def is_exact(request: Request) -> bool:
    """Whether what was read of a body is all that its bytes say; they are what goes upstream.

    Not where a member stands twice in an object (whoever reads it next may believe the other), nor
    where a number is longer than what was read of it: such bodies would share a key with others.
    2 to 15 µs for 1 to 20 KB; up to six times as much where there is space between the members.
    """
    raw, body = request.raw, request.body
    if request.native is not None:
        raw, body = request.native.raw, request.native.body
    # Most clients write JSON as we do.
    if orjson.dumps(body) == raw:
        return True
    try:
        _EXACTLY.decode(raw.decode())
    except (_Inexact, ValueError, RecursionError):
        return False
    return True


class _Inexact(Exception):
    """A body says more than what was read of it."""


def _each_once(members: list[tuple[str, Any]]) -> None:
    if len(members) > 1 and len(dict(members)) < len(members):
        raise _Inexact


def _exact_integer(digits: str) -> None:
    if len(digits) > _EXACT_DIGITS or int(digits) not in _EXACT:
        raise _Inexact


_EXACTLY = json.JSONDecoder(object_pairs_hook=_each_once, parse_int=_exact_integer)


def shared_part(request: Request, sets: Sets) -> bytes:
    """What the keys of all targets have in common for one request; 5 to 30 µs for 1 to 20 KB."""
    caller = request.caller
    said = request.body if request.native is None else request.native.body
    loose, ordered = {}, []
    for name in sorted(said):
        if name in _UNORDERED:
            loose[name] = said[name]
        elif name not in _TELLING:
            ordered.append((name, said[name]))
    headers = [request.headers.get(name) for name in _SENT]
    asked = [_VERSION, caller.tenant, request.operation.value, headers, dict(sets), loose]
    # Two texts of JSON, one after the other, can be read in one way only.
    return orjson.dumps(asked, option=orjson.OPT_SORT_KEYS) + orjson.dumps(ordered)


def key(shared: bytes, request: Request, target: bytes, *, of_caller: bool) -> Key:
    """The key of a request at one target (`target_part`); `of_caller`: with the caller's own key.

    A caller's key tells its answers from everybody's; no one can get it back from the digest.
    """
    digest = hashlib.sha256(shared)
    digest.update(b"\x00%d\x00" % len(target) + target)
    if of_caller and request.own is not None:
        own = f"{request.own.provider}\x00{request.own.secret}"
        digest.update(b"own" + hashlib.sha256(own.encode("utf-8", "surrogatepass")).digest())
    return Key(request.caller.tenant, digest.digest())


def target_part(program: Program, target: Target, provider: Provider) -> bytes:
    """Who answers, and what is changed of a request for it: another address is somebody else."""
    entry = program.providers.get(target.provider)
    written: list[Any] = [] if entry is None else [entry.kind, dict(entry.headers)]
    told = [
        target.id,
        target.model,
        target.max_output,
        dict(target.abilities),
        program.strict if target.strict is None else target.strict,
        provider.place,
        written,
    ]
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
