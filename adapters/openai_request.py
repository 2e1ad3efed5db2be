"""A chat request as one provider of the OpenAI wire wants it, in the client's own bytes.

Only what a provider is known to take otherwise is touched: parameters that it lacks go, the output
limit gets its one name, and messages lose what would be refused. All else is spliced byte by byte.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from turnout.engine.provider import Call
from turnout.engine.request import OUTPUT_LIMITS

from .kind import Carries
from .parameters import asks_nothing, left_out, unsupported
from .splice import splice

Json = dict[str, Any]
Departures = Mapping[str, bytes | None]
"""Members (as JSON) that a provider wants otherwise than they were written; None: not at all."""

_REASONING = "reasoning_content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What a provider of this wire takes otherwise than OpenAI.

    `limit`: the one name of the output limit that it knows; None: both. `system`: the role of
    instructions where it does not know `developer`. `history`: under which name it takes earlier
    reasoning; None: under none. `refuses`: it refuses messages that hold what the gateway itself
    put into earlier answers of others. `members`: what a message may hold, for one that refuses all
    else; what others put there and left empty goes. `names`: messages may have a `name`. `caches`:
    it knows `cache_control`. `signs`: it takes thoughts with their signatures. `tiers`: the values
    of `service_tier` that it knows; None: any. `usage_option`: it knows `stream_options`.
    `foreign`: parameters that it lacks and that are taken out of translated requests only, because
    the server behind may know them after all.
    """

    limit: str | None = None
    system: str | None = None
    history: str | None = _REASONING
    refuses: bool = False
    members: frozenset[str] | None = None
    names: bool = True
    caches: bool = False
    signs: bool = False
    tiers: frozenset[str] | None = None
    usage_option: bool = True
    foreign: frozenset[str] = frozenset()

    @property
    def takes_messages_as_they_are(self) -> bool:
        """Whether no message of a chat client has to change."""
        return (
            self.system is None
            and self.history in (None, _REASONING)
            and self.members is None
            and self.names
        )


# Parts of messages by what a provider has to carry for them.
_PARTS = {"image_url": "images", "input_audio": "audio", "file": "documents"}
# What only other wires know, in messages, their parts, tools and their calls.
_PROOFS = frozenset(("thinking_blocks", "extra_content"))
# Earlier reasoning under the names of providers whose answers pass as they are.
_ECHOES = frozenset(("reasoning", "reasoning_details"))
_CACHING = "cache_control"


def chat_body(
    call: Call,
    departures: Departures,
    lacks: frozenset[str] = frozenset(),
    wants: Wants | None = None,
) -> bytes:
    """The request's own bytes with the upstream's model, what the policy sets and departures.

    A stream also asks for usage. Adds to `call.dropped`. Raises: ProviderError UNSUPPORTED.
    """
    request = call.request
    wants = wants or Wants()
    body = call.body
    translated = request.native is not None
    gone = left_out(call, lacks | wants.foreign if translated else lacks)
    members: dict[str, bytes | None] = {
        **overrides(call),
        **_limited(body, wants.limit),
        **_tiered(call, body, wants.tiers),
        **dict.fromkeys(gone),
        **(_uncached(call, body) if translated and not wants.caches else {}),
        "model": orjson.dumps(call.upstream_model),
        **departures,
    }
    options = request.body.get("stream_options")
    if not wants.usage_option or not request.stream:
        # Clients send it without streaming, and OpenAI refuses that.
        if "stream_options" in request.body:
            members["stream_options"] = None
    elif not wants_usage(request.body):
        written = options if isinstance(options, dict) else {}
        members["stream_options"] = orjson.dumps({**written, "include_usage": True})
    return splice(request.raw, request.body, members)


def overrides(call: Call) -> dict[str, bytes | None]:
    """Members (as JSON) that the policy writes over the client's; None where one gives way."""
    if not call.sets:
        return {}
    return {
        name: None if value is None else orjson.dumps(value)
        for name, value in call.body.items()
        if name in call.sets or value is not call.request.body[name]
    }


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether the client asked for the usage of its stream."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _limited(body: Mapping[str, Any], name: str | None) -> Departures:
    """The output limit under its one name, whichever the client and the policy gave it."""
    if name is None:
        return {}
    given = [body[one] for one in OUTPUT_LIMITS if body.get(one) is not None]
    others = {one: None for one in OUTPUT_LIMITS if one != name and one in body}
    return others | {name: orjson.dumps(given[0])} if given and others else others


def _tiered(call: Call, body: Mapping[str, Any], tiers: frozenset[str] | None) -> Departures:
    tier = body.get("service_tier")
    if tier is None or tiers is None or (isinstance(tier, str) and tier in tiers):
        return {}
    if not asks_nothing("service_tier", tier):
        call.dropped.append("service_tier")
    return {"service_tier": None}


# --- messages ------------------------------------------------------------------------------------


def messages_for(call: Call, messages: list[Json], wants: Wants, carries: Carries) -> list[Json]:
    """The messages as a provider takes them; the client's own list where nothing has to change.

    Adds to `call.dropped`. Raises: ProviderError UNSUPPORTED for parts that it cannot carry.
    """
    _refuse_parts(messages, carries)
    translated = call.request.native is not None
    strange = _PROOFS if translated or wants.refuses else frozenset[str]()
    if wants.signs:
        strange -= {"thinking_blocks"}
    if translated and not wants.caches:
        strange |= {_CACHING}
    if wants.history is None and (translated or wants.refuses):
        strange |= {_REASONING}
    if wants.refuses:
        strange |= _ECHOES - {wants.history}
    if not strange and wants.takes_messages_as_they_are:
        return messages
    mended = [_message(message, wants, strange) for message in messages]
    if not wants.names and any(map(_is_named, messages)):
        call.dropped.append("name")
    changed = any(one is not other for one, other in zip(mended, messages, strict=True))
    return mended if changed else messages


def _refuse_parts(messages: Sequence[Json], carries: Carries) -> None:
    lacking = {kind: what for kind, what in _PARTS.items() if not getattr(carries, what)}
    if not lacking:
        return
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind in lacking:
                told = f"this provider does not take {lacking[kind]} in messages"
                raise unsupported("messages", told)


def _message(message: Json, wants: Wants, strange: frozenset[str]) -> Json:
    """One message without what is strange to the provider; the same object where nothing is."""
    gone = message.keys() & strange
    changes: Json = {}
    if wants.system is not None and message.get("role") == "developer":
        changes["role"] = wants.system
    if not wants.names and _is_named(message):
        gone.add("name")
    if wants.refuses and wants.members is None and message.get("prefix") is False:
        gone.add("prefix")  # all of Mistral's answers have it
    if wants.members is not None:
        gone |= {name for name in message.keys() - wants.members if not message[name]}
        refusal = message.get("refusal")
        if "refusal" not in wants.members and isinstance(refusal, str) and refusal:
            # The text that the client was shown; where it stands is no matter to the model.
            gone.add("refusal")
            changes["content"] = _with(message.get("content"), refusal)
    if wants.history not in (None, _REASONING) and _REASONING in message:
        gone.add(_REASONING)
        changes[wants.history] = message.get(wants.history) or message[_REASONING]
    for name in ("content", "tool_calls"):
        if (plain := _plain(message.get(name), strange)) is not None:
            changes[name] = plain
    if not changes and not gone:
        return message
    return {name: value for name, value in message.items() if name not in gone} | changes


def _with(content: object, refusal: str) -> object:
    if isinstance(content, list):
        return [*content, {"type": "text", "text": refusal}]
    return f"{content}\n{refusal}" if content else refusal


def _is_named(message: Json) -> bool:
    return "name" in message and message.get("role") != "tool"


def _plain(items: object, strange: frozenset[str]) -> list[Any] | None:
    """Parts, tools or tool calls without these members; None where none has any."""
    if not isinstance(items, list) or not any(
        isinstance(item, dict) and not strange.isdisjoint(item) for item in items
    ):
        return None
    return [
        {name: value for name, value in item.items() if name not in strange}
        if isinstance(item, dict)
        else item
        for item in items
    ]


def _uncached(call: Call, body: Mapping[str, Any]) -> Departures:
    """Body and tools without marks of what to cache, of a request in another protocol.

    Adds to `call.dropped` where there are any, in messages too: they change the price.
    """
    tools = _plain(body.get("tools"), frozenset((_CACHING,)))
    if _CACHING not in body and tools is None and not _marks(body.get("messages")):
        return {}
    call.dropped.append(_CACHING)
    departures: dict[str, bytes | None] = {_CACHING: None}
    if tools is not None:
        departures["tools"] = orjson.dumps(tools)
    return departures


def _marks(items: object) -> bool:
    return isinstance(items, list) and any(
        isinstance(item, dict) and (_CACHING in item or _marks(item.get("content")))
        for item in items
    )
