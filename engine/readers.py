"""How the gateway reads each attribute of `attributes.ATTRIBUTES` for a live request.

A reader is asked once, when a condition first needs the value; it says why where there is none.
Whatever is bound once per program (patterns, lists, salts) is bound by `reader_of`.
Over 300 lines because the readers of one table stand beside each other.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from turnout.dsl.core import REQUESTED, Program, Slot
from turnout.dsl.pattern import finder, finder_of_any
from turnout.dsl.schema import Attribute, Parameter, Value
from turnout.dsl.units import quote

from . import complexity, tokens
from .attributes import BY_NAME
from .language import language_of
from .observed import Observed, Reader
from .prompt import last_user_text
from .pulse import DEFAULTS
from .request import HOTTEST, Operation
from .session import bucket, kept_by
from .task import task_of

EPOCH = date(1970, 1, 1)


class NotFetched(Exception):
    """A value that costs a call was asked for, and nobody has made the call yet.

    `key` is the slot. Whoever decides catches this, lets `embedding` fill the snapshot in, and
    decides again; `embedding.leave_out` makes it unknown instead.
    """

    def __init__(self, key: str) -> None:
        """Hold which slot it was."""
        super().__init__(key)
        self.key = key


# What a client writes may be any JSON number; a snapshot holds integers of 64 bits.
_LARGEST = 2**63 - 1
DEFAULT = "default"  # the tier and the tenant of a caller without one


def _whole(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST:
        return value
    return None


def _tokens(seen: Observed, key: str) -> int:
    low, high = tokens.bounds(seen.request)
    cuts = seen.program.token_cuts
    if low == high or (cuts is not None and tokens.between(cuts, low, high)):
        if low != high:
            seen.intervals[key] = (low, high)
        return low
    return tokens.count(seen.request)


def _max_tokens(seen: Observed, key: str) -> int | None:
    limit = seen.request.output_limit
    if limit is None:
        seen.reasons[key] = "the request names no output limit"
    elif limit < 0:
        seen.reasons[key] = "the request names an output limit below 0"
        return None
    return limit


def _temperature(seen: Observed, key: str) -> int | None:
    value = seen.request.body.get("temperature")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        seen.reasons[key] = "the request names no temperature"
    elif 0 <= value <= HOTTEST:
        return round(value * 10_000)
    else:
        seen.reasons[key] = f"the request names a temperature that is not within 0 to {HOTTEST}"
    return None


def _messages(seen: Observed, key: str) -> int:
    messages = seen.request.body.get("messages")
    return len(messages) if isinstance(messages, list) else 0


def _count_of_answers(seen: Observed, key: str) -> int:
    # Who asks for embeddings asks for one answer; a field of that name is not the gateway's.
    is_asked = seen.request.operation is not Operation.EMBEDDINGS
    value = _whole(seen.request.body.get("n")) if is_asked else None
    return 1 if value is None or value < 0 else value


def _has_part(*kinds: str) -> Reader:
    def read(seen: Observed, key: str) -> bool:
        messages = seen.request.body.get("messages")
        if not isinstance(messages, list):
            return False
        for message in messages:
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, list):
                for part in content:
                    if isinstance(part, dict) and part.get("type") in kinds:
                        return True
        return False

    return read


def _has_schema(seen: Observed, key: str) -> bool:
    wanted = seen.request.body.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_schema", "json_object")


def _caller(field: str, name: str) -> Reader:
    def read(seen: Observed, key: str) -> str | None:
        value: str | None = getattr(seen.request.caller, field)
        if value is None:
            seen.reasons[key] = f"the caller has no {name}"
        return value

    return read


def _tier(seen: Observed, key: str) -> str:
    """The caller's tier: its own, else its tenant's under `tenants:`, else `default`."""
    if seen.request.caller.tier != DEFAULT:
        return seen.request.caller.tier
    tenant = seen.program.tenants.get(str(seen["tenant"]))
    return DEFAULT if tenant is None or tenant.tier is None else tenant.tier


def _tenant_region(seen: Observed, key: str) -> str | None:
    if seen.request.caller.region is not None:
        return seen.request.caller.region
    name = str(seen["tenant"])
    tenant = seen.program.tenants.get(name)
    if tenant is None or tenant.region is None:
        seen.reasons[key] = f"the policy names no region of the tenant `{name}`"
        return None
    return tenant.region


def _header(name: str) -> Reader:
    def read(seen: Observed, key: str) -> str | None:
        value = seen.request.headers.get(name)
        if value is None:
            seen.reasons[key] = "the request has no such header"
        return value

    return read


def _meta(name: str) -> Reader:
    def read(seen: Observed, key: str) -> str | None:
        value = _tag(seen.request.headers.get("x-turnout-tags"), name)
        if value is None:
            value = _metadata(seen.request.body.get("metadata"), name)
        if value is None:
            seen.reasons[key] = "the request has no such tag"
        return value

    return read


def tags_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The tags of a request as `k=v`, the names in lower case."""
    found = []
    for entry in (headers.get("x-turnout-tags") or "").split(","):
        key, equals, value = entry.partition("=")
        if equals and key.strip():
            found.append(f"{key.strip().lower()}={value.strip()}")
    return tuple(found)


def _tag(header: str | None, name: str) -> str | None:
    """The value of `k=v,…`; of a name given twice the first counts."""
    for entry in (header or "").split(","):
        key, equals, value = entry.partition("=")
        if equals and key.strip().lower() == name:
            return value.strip()
    return None


def _metadata(metadata: Any, name: str) -> str | None:
    if isinstance(metadata, dict):
        for key, value in metadata.items():
            if key.lower() == name and isinstance(value, str):
                return value
    return None


def _bucket(attribute: str, salt: str) -> Reader:
    def read(seen: Observed, key: str) -> int:
        request = seen.request
        caller = request.caller
        kept = {"session": request.session_hash, "user": caller.user, "tenant": caller.tenant}
        return bucket(salt, kept_by(attribute, kept, request.id))

    return read


def _live(attribute: str, target: str) -> Reader:
    """A live value of a target, of whatever window its key names."""

    def read(seen: Observed, key: str) -> Value | None:
        if target != REQUESTED:
            source = key
        elif seen.requested is None:
            seen.reasons[key] = "the client left the choice to the policy"
            return None
        else:
            source = key.replace(f"({REQUESTED}", f"({seen.requested}", 1)
        value = seen.live.values.get(source, DEFAULTS.get(attribute))
        if value is None:
            seen.reasons[key] = seen.live.reasons.get(source, "no traffic yet")
        return value

    return read


def _budget(part: str, name: str) -> Reader:
    def read(seen: Observed, key: str) -> int | None:
        if not seen.request.gateway_pays:
            # Nor would it be theirs to read: the trace shows every value.
            seen.reasons[key] = "the caller pays by itself, out of no budget"
            return None
        value, reason = seen.spent.value(seen.program, name, part, seen.request)
        if reason is not None:
            seen.reasons[key] = reason
        return value

    return read


# --- the text of the last user message -----------------------------------------------------------


def _matches(written: str) -> Reader:
    is_found = finder(written)

    def read(seen: Observed, key: str) -> bool | None:
        text = _text(seen, key)
        return None if text is None else is_found(text)

    return read


def _contains_any(words: Iterable[str]) -> Reader:
    is_found = finder_of_any(words)

    def read(seen: Observed, key: str) -> bool | None:
        text = _text(seen, key)
        return None if text is None else is_found(text)

    return read


def _text(seen: Observed, key: str) -> str | None:
    text = last_user_text(seen.request)
    if text is None:
        seen.reasons[key] = "there is no text of a user"
    return text


def _score(seen: Observed, key: str) -> int | None:
    return None if _text(seen, key) is None else complexity.score(seen.request)


def _level(seen: Observed, key: str) -> str | None:
    score = seen["complexity.score"]
    if not isinstance(score, int):
        seen.reasons[key] = seen.reasons.get("complexity.score", "there is no score")
        return None
    return complexity.level(score)


def _task(seen: Observed, key: str) -> str | None:
    return None if _text(seen, key) is None else task_of(seen.request)


def _language(seen: Observed, key: str) -> str | None:
    text = _text(seen, key)
    code = None if text is None else language_of(text)
    if text is not None and code is None:
        seen.reasons[key] = "the language cannot be told"
    return code


def _fetched(seen: Observed, key: str) -> Value | None:
    raise NotFetched(key)


def _expected_output(target: str) -> Reader:
    recent = _live("expected_output", target)

    def read(seen: Observed, key: str) -> int | None:
        value = recent(seen, key)
        allowed = _whole(seen["max_tokens"])
        known = [v for v in (value, allowed) if isinstance(v, int)]
        if known:
            seen.reasons.pop(key, None)
            return min(known)
        return None

    return read


def _provider(seen: Observed, key: str) -> str | None:
    return None if _requested(seen, key) is None or seen.target is None else seen.target.provider


def _requested(seen: Observed, key: str) -> str | None:
    if seen.requested is None:
        seen.reasons[key] = "the client left the choice to the policy"
    return seen.requested


READERS: dict[str, Reader] = {
    "request_type": lambda seen, key: seen.request.operation.value,
    "tokens": _tokens,
    "prompt_tokens": _tokens,
    "max_tokens": _max_tokens,
    "temperature": _temperature,
    "messages": _messages,
    "n": _count_of_answers,
    "model": lambda seen, key: seen.request.model,
    "stream": lambda seen, key: seen.request.stream,
    "has_tools": lambda seen, key: bool(
        seen.request.body.get("tools") or seen.request.body.get("functions")
    ),
    "has_images": _has_part("image_url", "input_image"),
    "has_audio": _has_part("input_audio"),
    "has_schema": _has_schema,
    "tier": _tier,
    "tenant": _caller("tenant", "tenant"),
    "tenant.region": _tenant_region,
    "team": _caller("team", "team"),
    "user": _caller("user", "user"),
    "key": _caller("key_id", "key"),
    "session": lambda seen, key: seen.request.session_hash,
    "provider": _provider,
    "complexity": _level,
    "complexity.score": _score,
    "task": _task,
    "language": _language,
    "time": lambda seen, key: seen.local.hour * 60 + seen.local.minute,
    "weekday": lambda seen, key: seen.local.weekday(),
    "date": lambda seen, key: (seen.local.date() - EPOCH).days,
    "requested": _requested,
}

# What every record holds, whatever the policy read. `tokens` is kept as its bounds if not counted.
BASE_SET = (
    "request_type",
    "model",
    "max_tokens",
    "n",
    "messages",
    "stream",
    "has_tools",
    "has_images",
    "has_audio",
    "has_schema",
    "tenant",
    "tier",
    "team",
    "user",
    "key",
    "session",
)


def readers_of(program: Program) -> dict[str, Reader]:
    """The readers of all that a program may read, and of the base set, by slot key."""
    found = READERS | {key: reader_of(slot, program) for key, slot in program.slots.items()}
    for name, attribute in program.schema.attributes.items():
        if attribute.domain is not None and BY_NAME[name].domain is None:
            found[name] = _declared(attribute, found[name])
    return found


def _declared(attribute: Attribute, read_any: Reader) -> Reader:
    """A reader of what the policy lists the values of: any other is as if it were not there."""
    domain = frozenset(attribute.domain or ())

    def read(seen: Observed, key: str) -> Value | None:
        value = read_any(seen, key)
        if value is None or value in domain:
            return value
        seen.reasons[key] = f"`{quote(str(value))}` is given, which `attributes:` does not list"
        return DEFAULT if attribute.always_known else None

    return read


def reader_of(slot: Slot, program: Program) -> Reader:
    """The reader of a slot of a program, whatever values the policy lists."""
    attribute, argument = slot.attribute, slot.argument or ""
    name = attribute.name
    if attribute.too_late is not None:
        return _unknown(attribute.too_late)
    if attribute.fetched:
        return _fetched
    match attribute.parameter:
        case Parameter.NONE:
            return READERS[name]
        case Parameter.HEADER:
            return _header(argument)
        case Parameter.META:
            return _meta(argument)
        case Parameter.PATTERN:
            return _matches(argument)
        case Parameter.LIST:
            return _contains_any(program.lists.get(argument, ()))
        case Parameter.BUDGET:
            return _budget(name.removeprefix("budget."), argument)
    match name:
        case "held":
            return lambda seen, key: seen.live.values.get(key, False)
        case "usable":
            return lambda seen, key: seen.live.values.get(key, True)
        case "expected_output":
            return _expected_output(argument)
    return _live(name, argument) if attribute.live else _bucket(name, argument)


def _unknown(reason: str) -> Reader:
    def read(seen: Observed, key: str) -> None:
        seen.reasons[key] = reason

    return read
