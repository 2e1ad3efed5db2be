"""What a policy means: typed, resolved, desugared. Every interpretation reads only this.

A `Program` is immutable. `let` names, units, bare `cost` and `latency`, ranges, percentages and
`/` are gone: terms compute with integers, text and three-valued truth, nothing else. A term's
`span` points at what was written; terms that lowering made up have none.

To add an operator: a term here, a case in each interpretation, a law in tests/dsl/test_dsl_laws.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .schema import Attribute, Schema, Target, Type, Value
from .source import Span

# --- terms ---------------------------------------------------------------------------------------
# Invariant: every term has `type` and `span`. The value of a term is a Value or unknown (None).
# Invariant: an integer whose magnitude exceeds 2**127 - 1 is unknown (LIMIT below).

LIMIT = 2**127 - 1


@dataclass(frozen=True, slots=True)
class Const:
    """A constant; `value` None is the unknown itself."""

    value: Value | None
    type: Type
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """A value of the snapshot, by its key (`tokens`, `header.x-team`, `p95(openai/gpt-4)`)."""

    key: str
    type: Type
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """Kleene negation: unknown stays unknown."""

    operand: "Term"
    span: Span | None = None
    type: Type = Type.BOOL


@dataclass(frozen=True, slots=True)
class And:
    """Kleene conjunction: false wins over unknown."""

    operands: tuple["Term", ...]
    span: Span | None = None
    type: Type = Type.BOOL


@dataclass(frozen=True, slots=True)
class Or:
    """Kleene disjunction: true wins over unknown."""

    operands: tuple["Term", ...]
    span: Span | None = None
    type: Type = Type.BOOL


@dataclass(frozen=True, slots=True)
class Compare:
    """Two values of one type; unknown if either side is."""

    operator: Literal["==", "!=", "<", "<=", ">", ">="]
    left: "Term"
    right: "Term"
    span: Span | None = None
    type: Type = Type.BOOL


@dataclass(frozen=True, slots=True)
class Member:
    """Whether the operand is one of some constants; unknown if the operand is."""

    operand: "Term"
    values: frozenset[Value]
    span: Span | None = None
    type: Type = Type.BOOL


@dataclass(frozen=True, slots=True)
class TextTest:
    """A test of text against a constant."""

    kind: Literal["starts_with", "ends_with", "has"]
    operand: "Term"
    text: str
    span: Span | None = None
    type: Type = Type.BOOL


@dataclass(frozen=True, slots=True)
class Known:
    """Whether the operand has a value. Never unknown itself."""

    operand: "Term"
    span: Span | None = None
    type: Type = Type.BOOL


@dataclass(frozen=True, slots=True)
class Coalesce:
    """The operand, or the default where the operand is unknown."""

    operand: "Term"
    default: "Term"
    type: Type
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Exact integer arithmetic; unknown if a side is, or past LIMIT."""

    operator: Literal["+", "-", "*", "min", "max"]
    left: "Term"
    right: "Term"
    type: Type
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class CeilDiv:
    """The operand divided by a positive constant, rounded up (towards plus infinity)."""

    operand: "Term"
    divisor: int
    type: Type
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class If:
    """One of two values by a truth; unknown if the truth is."""

    test: "Term"
    then: "Term"
    otherwise: "Term"
    type: Type
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """The case whose key equals the operand; unknown where none does or the operand is unknown."""

    operand: "Term"
    cases: tuple[tuple[Value, "Term"], ...]
    type: Type
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A `let` name with what it stands for; means exactly its operand."""

    name: str
    operand: "Term"
    type: Type
    span: Span | None = None


Term = (
    Const
    | Read
    | Not
    | And
    | Or
    | Compare
    | Member
    | TextTest
    | Known
    | Coalesce
    | Arithmetic
    | CeilDiv
    | If
    | Switch
    | Named
)

# --- plans ---------------------------------------------------------------------------------------

REQUESTED = "requested"  # the pseudo-target: what the client asked for


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of a hop, in microseconds. All are resolved: rule over defaults over built-in.

    `written_timeout` and `written_ttft` say whether the file gave them for this very hop: a default
    holds only while another hop is left.
    """

    connect_us: int
    ttft_us: int
    idle_us: int
    timeout_us: int
    written_timeout: bool
    written_ttft: bool


@dataclass(frozen=True, slots=True)
class Hop:
    """A target to try, with its clocks.

    `target` is a key of `Program.targets`, or REQUESTED. `catch` None means the default table of
    faults; otherwise the faults for which this hop (of a chain: is entered; of a route: is left).
    `when` guards entry: the hop is entered only where it is true.
    """

    target: str
    clocks: Clocks
    retries: int
    catch: frozenset[str] | None
    when: Term | None
    span: Span


@dataclass(frozen=True, slots=True)
class Plan:
    """What a clause does: the route first, then its own fallback, else the program's chain."""

    route: Hop
    fallback: tuple[Hop, ...] | None


@dataclass(frozen=True, slots=True)
class Clause:
    """A compiled rule.

    `applies` is what decides: the rule about `request_type` (generation only, unless the rule
    tests it itself) conjoined in front of the written condition, `test`.
    """

    index: int
    name: str
    test: Term | None
    applies: Term
    plan: Plan
    reads: tuple[str, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Slot:
    """A snapshot key that a program may read: which attribute, asked with what.

    `argument` is a target id, REQUESTED, a lower-case header name, or None.
    """

    key: str
    attribute: Attribute
    argument: str | None


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider the policy can reach: its kind and what the file says beyond the kind's own."""

    name: str
    kind: str
    base_url: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Program:
    """A whole compiled policy.

    `requested` is where a request goes that no rule is about (embeddings): to what was asked for.
    `targets`: every target a plan or a term may name, by id. `models`: client-facing names to a
    target id, or None for `policy`. `token_cuts`: the sorted numbers that `tokens` is compared
    with, or None where some term needs the exact count. `digest` is `sha256:…` of `canonical`,
    the JSON text (policy document and resolved catalogue rows) from which `check.restore` builds
    the same program again.
    """

    clauses: tuple[Clause, ...]
    chain: tuple[Hop, ...]
    requested: Hop
    deadline_us: int
    timezone: str
    slots: Mapping[str, Slot]
    targets: Mapping[str, Target]
    models: Mapping[str, str | None]
    providers: Mapping[str, Provider]
    token_cuts: tuple[int, ...] | None
    schema: Schema = field(repr=False)
    canonical: str = field(repr=False)
    digest: str = ""
