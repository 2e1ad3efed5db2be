"""What a policy means: typed, resolved, desugared. Every interpretation reads only this.

A `Program` is immutable. `let` names, units, bare `cost` and `latency`, ranges, percentages and
`/` are gone: terms compute with integers, text and three-valued truth, nothing else. A term's
`span` points at what was written; terms that lowering made up have none.

To add an operator: a term here, a case in each interpretation, a law in tests/dsl/test_dsl_laws.py.

Over 300 lines because it is one vocabulary: the interpretations know a program by this file alone.
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
    """A test of text against a constant; of `matches` that is an RE2 pattern, found anywhere."""

    kind: Literal["starts_with", "ends_with", "has", "matches"]
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
    backoff_us: int = 250_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target that a choice may fall on.

    `fits` is whether the target can serve the request at all: usable, its window large enough, its
    abilities those needed. False drops the candidate. `where` drops it only where it is false.
    `rank` is what the choice minimises; None where the order of the list decides.
    """

    hop: Hop
    fits: Term
    where: Term | None
    rank: Term | None


@dataclass(frozen=True, slots=True)
class Choice:
    """`cheapest_of`, `fastest_of`, `first_of`: one of several targets; `choose` says which."""

    form: Literal["cheapest_of", "fastest_of", "first_of"]
    candidates: tuple[Candidate, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Arm:
    """A share of a split: the buckets below `upto` that no earlier arm has.

    `upto` is a number of 0..10 000: a constant, or with a ramp a term over `date` and `time`.
    """

    hop: Hop
    upto: Term


@dataclass(frozen=True, slots=True)
class Split:
    """Traffic by shares: the first arm whose `upto` is above the bucket (0..9 999).

    `bucket` is a Read of a `bucket…(salt)` key. The last arm reaches up to 10 000.
    """

    bucket: Term
    arms: tuple[Arm, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Reject:
    """A refusal: the HTTP status, what the client is told, and when it may come again."""

    status: int
    message: str
    retry_after_us: int | None
    span: Span


Route = Hop | Choice | Split | Reject


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of the request to a target whose answer is thrown away, where `sampled` is true."""

    hop: Hop
    sampled: Term
    span: Span


@dataclass(frozen=True, slots=True)
class Plan:
    """What a clause does: the route first, then its own fallback, else the program's chain.

    `sets`: fields of the request and the values that are written over the client's, for every hop
    (`max_tokens` stands for whatever field the target accepts).
    """

    route: Route
    fallback: tuple[Hop, ...] | None
    sets: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    mirror: Mirror | None = None


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
    tags: tuple[str, ...] = ()
    expires: int | None = None  # days since 1970-01-01; the rule still runs then, and warns


@dataclass(frozen=True, slots=True)
class Slot:
    """A snapshot key that a program may read: which attribute, asked with what.

    `argument` is a target id, REQUESTED, a lower-case header or metadata name, a salt, the name of
    a list or a budget, a pattern, or None. `window_us` is the stretch of time a live value is
    about, None for the usual one.
    """

    key: str
    attribute: Attribute
    argument: str | None
    window_us: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """An entry of `require`: which targets may serve a request, wherever it goes.

    It applies unless `when` is false (None: always), and lets a target pass only where `target` is
    true. `target` reads the facts of the target in question (`facts`), keys `target.region` and
    the like, and may read the request too.
    """

    name: str
    when: Term | None
    target: Term
    span: Span


@dataclass(frozen=True, slots=True)
class Latch:
    """A comparison of live values that stays true for `hold_us` once it was.

    The condition reads `key`: a truth that is in the snapshot where it is latched. `test` is over
    live values of named targets only, so it can be tried at every tick, without any request.
    """

    key: str
    test: Term
    hold_us: int


@dataclass(frozen=True, slots=True)
class Invariant:
    """What must never (or always) hold of a request and where it goes. Typed here, proved by lint.

    `test` may read `route` (the target's id) beside the request.
    """

    name: str
    kind: Literal["never", "always"]
    test: Term
    span: Span


@dataclass(frozen=True, slots=True)
class Embedding:
    """What makes the embeddings that `similar_to` compares."""

    target: str
    timeout_us: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """What the file says of a tenant. Money in nano-USD; rates per minute.

    `concurrency`: its requests under way at a time, of all workers together.
    """

    name: str
    tier: str | None = None
    region: str | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Breaking:
    """When a target's breaker opens, and for how long: the section `breakers`.

    `failures` in a row open it; after `cool_down_us` one attempt may try whether it can close.
    """

    failures: int = 10
    cool_down_us: int = 15_000_000


@dataclass(frozen=True, slots=True)
class Budget:
    """A spending limit. `of` None: each tenant (team, user …) its own counter.

    `steps`: (share of the limit in 10 000, what happens there), rising. `tenant`: whose teams,
    users and keys it is about alone; None, as in every policy: those of all.
    """

    name: str
    scope: Literal["tenant", "team", "user", "key", "model"]
    of: str | None
    limit_nano_usd: int
    period: Literal["day", "week", "month"]
    steps: tuple[tuple[int, Literal["alert", "reject"]], ...]
    span: Span
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Cache:
    """What may be answered from the cache; conditions None where nothing was written."""

    ttl_us: int
    only: Term | None
    never: Term | None


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider the policy can reach: its kind and what the file says beyond the kind's own.

    `variables`: the environment variables that its address and headers name, each with the place of
    its first `${`.
    """

    name: str
    kind: str
    base_url: str | None
    headers: Mapping[str, str]
    variables: Mapping[str, Span] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Program:
    """A whole compiled policy.

    `requested` is where a request goes that no rule is about (embeddings): to what was asked for.
    `targets`: every target a plan or a term may name, by id. `models`: client-facing names to a
    target id, or None for `policy`. `token_cuts`: the sorted numbers that `tokens` is compared
    with, or None where some term needs the exact count. `lists`: named lists of texts. `strict`: a
    target that lacks a parameter does not get the request, unless it says otherwise. `digest` is
    `sha256:…` of `canonical`,
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
    limits: tuple[Limit, ...] = ()
    latches: tuple[Latch, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    embedding: Embedding | None = None
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    budgets: tuple[Budget, ...] = ()
    budget_wait_us: int = 2_000_000
    strict: bool = False
    cache: Cache | None = None
    breaking: Breaking = Breaking()
