"""From a live request to a decision: reads the attributes a program asks for, and no others.

`READERS` says how the gateway reads each attribute of `attributes.ATTRIBUTES`. Values are read when
the compiled program first asks for them and stay in the snapshot, so that the snapshot is the
record of what was read. Over 300 lines because the readers of one table stand beside each other.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from turnout.dsl.classes import TextClasses, text_classes
from turnout.dsl.core import REQUESTED, Clause, Hop, Plan, Program, Slot
from turnout.dsl.interpret.compiled import compile_program, compile_term
from turnout.dsl.schema import Value
from turnout.dsl.snapshot import Snapshot

from . import tokens
from .names import Names
from .pulse import Pulse
from .record import PulseTable
from .request import Caller, Operation, Request, RequestError

# A count of this many UTF-8 bytes takes about a millisecond; longer ones leave the event loop.
INLINE_COUNT_BYTES = 16_384

EPOCH = date(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)


class Observed(Snapshot):
    """The snapshot of a live request: a value is read on the first question for it."""

    __slots__ = ("classes", "live", "program", "readers", "request", "requested", "zone")

    request: Request
    requested: str | None
    live: PulseTable
    program: Program
    zone: ZoneInfo
    readers: Mapping[str, "Reader"]
    classes: Mapping[str, TextClasses]

    def __missing__(self, key: str) -> Value | None:
        """Read the value now and keep it, unknown included."""
        reader = self.readers.get(key)
        value = reader(self, key) if reader is not None else None
        self[key] = value
        return value

    @property
    def local(self) -> datetime:
        """The instant of the request in the program's zone."""
        return (_EPOCH_UTC + timedelta(microseconds=self.request.received_us)).astimezone(self.zone)


Reader = Callable[[Observed, str], Value | None]


# What a client writes may be any JSON number; a snapshot holds integers of 64 bits.
_LARGEST = 2**63 - 1


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
    return limit


def _temperature(seen: Observed, key: str) -> int | None:
    value = seen.request.body.get("temperature")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9:
        return round(value * 10_000)
    seen.reasons[key] = "the request names no temperature"
    return None


def _messages(seen: Observed, key: str) -> int:
    messages = seen.request.body.get("messages")
    return len(messages) if isinstance(messages, list) else 0


def _count_of_answers(seen: Observed, key: str) -> int:
    value = _whole(seen.request.body.get("n"))
    return 1 if value is None else value


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


def _caller(field: str) -> Reader:
    def read(seen: Observed, key: str) -> str | None:
        value: str | None = getattr(seen.request.caller, field)
        if value is None:
            seen.reasons[key] = f"the caller has no {field}"
        return value

    return read


def _header(name: str) -> Reader:
    def read(seen: Observed, key: str) -> str | None:
        value = seen.request.headers.get(name)
        if value is None:
            seen.reasons[key] = "the request has no such header"
        return value

    return read


def _live(attribute: str, target: str) -> Reader:
    def read(seen: Observed, key: str) -> Value | None:
        if target != REQUESTED:
            source = key
        elif seen.requested is None:
            seen.reasons[key] = "the client left the choice to the policy"
            return None
        else:
            source = f"{attribute}({seen.requested})"
        value = seen.live.values.get(source)
        if value is None:
            seen.reasons[key] = seen.live.reasons.get(source, "no traffic yet")
        return value

    return read


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
    "tier": _caller("tier"),
    "tenant": _caller("tenant"),
    "team": _caller("team"),
    "user": _caller("user"),
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
)


def _reader(slot: Slot) -> Reader:
    name = slot.attribute.name
    if name == "header":
        return _header(slot.argument or "")
    if name == "expected_output":
        return _expected_output(slot.argument or "")
    if slot.attribute.live:
        return _live(name, slot.argument or "")
    return READERS[name]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of one request.

    `clause` None: no rule matched, and `plan` is made of the program's chain (None if that is
    empty too).
    """

    program: Program
    snapshot: Observed
    clause: Clause | None
    plan: Plan | None


class Decider:
    """A program made ready to decide live requests.

    `guards` are the compiled `when` conditions of its hops, by the hop's identity.
    """

    def __init__(self, program: Program) -> None:
        """Compile the program and bind a reader to every slot it may read."""
        self.program = program
        self._index_of = compile_program(program)
        self._zone = ZoneInfo(program.timezone)
        self._readers = READERS | {key: _reader(slot) for key, slot in program.slots.items()}
        headers = [key for key, slot in program.slots.items() if slot.attribute.name == "header"]
        self._classes = text_classes(program, headers)
        self._reads_tokens = "tokens" in program.slots
        self._no_match = _chain_as_plan(program.chain)
        self.guards = {id(hop): compile_term(hop.when) for hop in _hops(program) if hop.when}

    def observe(self, request: Request, requested: str | None, live: PulseTable) -> Observed:
        """An empty snapshot of a live request, filled by the questions put to it."""
        seen = Observed()
        seen.request = request
        seen.requested = requested
        seen.live = live
        seen.program = self.program
        seen.zone = self._zone
        seen.readers = self._readers
        seen.classes = self._classes
        return seen

    def decide(self, seen: Observed) -> Decision:
        """The clause and the plan for a snapshot."""
        index = self._index_of(seen)
        if index < 0:
            return Decision(self.program, seen, None, self._no_match)
        clause = self.program.clauses[index]
        return Decision(self.program, seen, clause, clause.plan)

    def must_count_first(self, seen: Observed) -> bool:
        """Whether the token count is needed and too long to be made on the event loop."""
        if not self._reads_tokens or len(seen.request.raw) <= INLINE_COUNT_BYTES:
            return False
        low, high = tokens.bounds(seen.request)
        cuts = self.program.token_cuts
        return low != high and (cuts is None or not tokens.between(cuts, low, high))


def _hops(program: Program) -> Iterator[Hop]:
    yield from program.chain
    for clause in program.clauses:
        yield clause.plan.route
        yield from clause.plan.fallback or ()


def _chain_as_plan(chain: tuple[Hop, ...]) -> Plan | None:
    # An entry's `catch` looks at the fault before it; here nothing comes before.
    return Plan(replace(chain[0], catch=None), chain[1:]) if chain else None


def recorded(seen: Observed) -> None:
    """Complete a snapshot with the base set, for the record.

    A caller's header is kept as its class only: a text that decides the same, made of the policy's
    own words.
    """
    for key, classes in seen.classes.items():
        text = seen.get(key)
        if isinstance(text, str):
            seen[key] = classes.representative(text)
            if seen[key] is None:
                seen.reasons[key] = "not kept"
    for key in BASE_SET:
        seen[key]
    if "tokens" not in seen:
        low, high = tokens.bounds(seen.request)
        if low != high:
            seen.intervals["tokens"] = (low, high)
        seen["tokens"] = low


def observe_body(program: Program, body: dict[str, Any], received_us: int) -> Snapshot:
    """The snapshot of a chat body without a gateway around it, as a cold one would see it.

    Reads every slot of the program; live values are the declared priors, or unknown.
    `received_us` is the instant to decide at, UTC.
    """
    request = Request(
        id="",
        operation=Operation.CHAT,
        body=body,
        raw=b"",
        model=str(body.get("model", "auto")),
        stream=body.get("stream") is True,
        caller=Caller(),
        headers={},
        received_us=received_us,
        started_ns=0,
    )
    decider = Decider(program)
    try:
        target = Names(program, program.schema.catalog).resolve(request.model).target
    except RequestError:
        target = None
    requested = target.id if target is not None else None
    seen = decider.observe(request, requested, Pulse().tick(program.targets))
    for key in program.slots:
        seen[key]
    return seen
