"""The policy as it was written, with the span of every part. Two trees exist: this one and `core`.

Expressions here are untyped: names are not resolved, literals keep their text. `check` turns a
`Policy` into a `core.Program`; nothing after that looks at this tree again, but for its spans.

Over 300 lines because it has a class for everything that can be written, and little else.
"""

from dataclasses import dataclass, field
from typing import Literal as OneOf

from .source import Source, Span

# --- expressions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: `100`, `32k`, `800ms`, `$0.02`, `$5/Mtok`, `5%`, `09:00`, `"text"`, `true`.

    `text` is the literal as written (a string without its quotes, escapes resolved).
    """

    kind: OneOf["number", "quantity", "money", "rate", "percent", "time", "date", "string", "bool"]
    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Name:
    """A dotted name: an attribute, a `let`, a bare enum word such as `Mon`."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Index:
    """`header["x"]`: an attribute with a key."""

    name: Name
    key: Literal
    span: Span


@dataclass(frozen=True, slots=True)
class Call:
    """`p95("openai/gpt-4")`, `known(x)`; `part` is the `left` of `budget("team").left`."""

    name: Name
    arguments: tuple["Expression", ...]
    span: Span
    part: Name | None = None


@dataclass(frozen=True, slots=True)
class Negate:
    """`-x`."""

    operand: "Expression"
    span: Span


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`a + b`, `a - b`, `a * b`, `a / b`."""

    operator: OneOf["+", "-", "*", "/"]
    left: "Expression"
    right: "Expression"
    span: Span


@dataclass(frozen=True, slots=True)
class Default:
    """`x ?? d`: d where x is unknown."""

    operand: "Expression"
    default: "Expression"
    span: Span


@dataclass(frozen=True, slots=True)
class Comparison:
    """`a < b` and the like; `starts_with`, `ends_with`, `has`, `matches` compare text."""

    operator: OneOf["==", "!=", "<", "<=", ">", ">=", "starts_with", "ends_with", "has", "matches"]
    left: "Expression"
    right: "Expression"
    span: Span
    operator_span: Span


@dataclass(frozen=True, slots=True)
class Range:
    """`lo..hi`: half-open for numbers and times; both ends in for weekdays."""

    low: "Expression"
    high: "Expression"
    span: Span


@dataclass(frozen=True, slots=True)
class Listing:
    """`[a, b, c]`."""

    items: tuple["Expression", ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Membership:
    """`x in [a, b]`, `x not in lo..hi`."""

    operand: "Expression"
    collection: Range | Listing | Name
    negated: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Not:
    """`not a`."""

    operand: "Expression"
    span: Span


@dataclass(frozen=True, slots=True)
class Junction:
    """`a and b and c`, `a or b`."""

    operator: OneOf["and", "or"]
    operands: tuple["Expression", ...]
    span: Span


Expression = (
    Literal
    | Name
    | Index
    | Call
    | Negate
    | Arithmetic
    | Default
    | Comparison
    | Membership
    | Not
    | Junction
)

# --- the document --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """A plain word of the file with its place: a name, a target, a unit-carrying value."""

    value: str
    span: Span


@dataclass(frozen=True, slots=True)
class HopOptions:
    """The written clocks and counts of a hop; None where nothing was written.

    Unit: the `_us` fields are integer microseconds.
    """

    timeout_us: int | None = None
    connect_us: int | None = None
    ttft_us: int | None = None
    idle_us: int | None = None
    retries: int | None = None
    catch: tuple[Text, ...] | None = None
    backoff_us: int | None = None
    spans: dict[str, Span] = field(default_factory=dict, compare=False, hash=False)


@dataclass(frozen=True, slots=True)
class HopEntry:
    """An entry of `fallback_chain` or of a rule's `fallback`: a target with its options."""

    to: Text
    options: HopOptions
    when: Expression | None
    span: Span


@dataclass(frozen=True, slots=True)
class ChoiceRoute:
    """`{cheapest_of: [a, b], where: p95 < 8s}`, `{fastest_of: [a, b], by: ttft.p95}`."""

    form: OneOf["cheapest_of", "fastest_of", "first_of"]
    targets: tuple[Text, ...]
    by: Text | None
    where: Expression | None
    span: Span


@dataclass(frozen=True, slots=True)
class Share:
    """A target and its share of a split, of 10 000; `share_span` is where the share stands."""

    target: Text
    share: int
    share_span: Span


@dataclass(frozen=True, slots=True)
class Ramp:
    """Shares that are reached step by step between two days (each at 00:00 in the timezone).

    `starts` and `ends` are days since 1970-01-01.
    """

    shares: tuple[Share, ...]
    starts: int
    ends: int
    span: Span


@dataclass(frozen=True, slots=True)
class SplitRoute:
    """`{split: {a: 95%, b: 5%}, sticky: session, ramp: {b: 50%, from: …, to: …}}`."""

    shares: tuple[Share, ...]
    sticky: Text | None
    ramp: Ramp | None
    span: Span


@dataclass(frozen=True, slots=True)
class RejectRoute:
    """`{reject: 429, message: "…", retry_after: 1h}`."""

    status: int
    message: Text | None
    retry_after_us: int | None
    span: Span


Route = Text | ChoiceRoute | SplitRoute | RejectRoute


@dataclass(frozen=True, slots=True)
class MirrorEntry:
    """`{to: x, sample: 5%}`; `sample` of 10 000."""

    to: Text
    sample: int
    span: Span


@dataclass(frozen=True, slots=True)
class RuleOptions:
    """What a rule may say beyond the clocks of its hop; None where nothing was written.

    `sets`: field of the request, its value (text, truth, or number as written) and its place.
    `expires` is in days since 1970-01-01.
    """

    hold_us: int | None = None
    sets: tuple[tuple[Text, bool | int | float | str, Span], ...] | None = None
    mirror: MirrorEntry | None = None
    expires: int | None = None
    tags: tuple[Text, ...] | None = None
    spans: dict[str, Span] = field(default_factory=dict, compare=False, hash=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `routing_policy`, in the order of the file."""

    name: Text
    condition: Expression | None
    route: Route
    options: HopOptions
    fallback: tuple[HopEntry, ...] | None
    span: Span
    extra: RuleOptions = field(default_factory=RuleOptions)


@dataclass(frozen=True, slots=True)
class Definition:
    """An entry of `let`: a name for an expression."""

    name: Text
    expression: Expression


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """An entry of `providers`. Header values may hold `${TURNOUT_VAR_X}`, unexpanded here."""

    name: Text
    kind: Text | None
    base_url: Text | None
    headers: dict[str, Text]
    span: Span


@dataclass(frozen=True, slots=True)
class Price:
    """A price as written. Rates are integer nano-USD per million tokens, fees nano-USD.

    `above` holds (prompt tokens, price) steps: above so many prompt tokens, that price applies.
    None: not written.
    """

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    request: int | None = None
    above: tuple[tuple[int, "Price"], ...] = ()


@dataclass(frozen=True, slots=True)
class TargetEntry:
    """An entry of `targets`: what is declared beyond, or over, the catalogue."""

    name: Text
    price: Price | None
    context_window: int | None
    max_output: int | None
    region: str | None
    expected_p95_us: int | None
    expected_ttft_us: int | None
    expected_output: int | None
    abilities: dict[str, bool]
    span: Span
    owner: str | None = None
    tags: tuple[Text, ...] = ()
    parameters: str | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class LimitEntry:
    """An entry of `require`: `{name, when, target}`."""

    name: Text
    when: Expression | None
    target: Expression
    span: Span


@dataclass(frozen=True, slots=True)
class InvariantEntry:
    """An entry of `invariants`: `{name, never: …}` or `{name, always: …}`."""

    name: Text
    kind: OneOf["never", "always"]
    test: Expression
    span: Span


@dataclass(frozen=True, slots=True)
class ListEntry:
    """An entry of `lists`: a name for texts."""

    name: Text
    items: tuple[Text, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class EmbedEntry:
    """`embed: {target: …, timeout: 300ms}`."""

    target: Text
    timeout_us: int | None
    span: Span


@dataclass(frozen=True, slots=True)
class BudgetEntry:
    """An entry of `budgets`, or the `budget:` of a tenant. Money in nano-USD."""

    name: Text
    scope: OneOf["tenant", "team", "user", "key", "model"]
    of: Text | None
    limit_nano_usd: int
    period: OneOf["day", "week", "month"]
    steps: tuple[tuple[int, OneOf["alert", "reject"]], ...]
    span: Span


@dataclass(frozen=True, slots=True)
class TenantEntry:
    """An entry of `tenants`; `budget` is a `BudgetEntry` of scope tenant, named as the tenant."""

    name: Text
    tier: Text | None
    region: Text | None
    rpm: int | None
    tpm: int | None
    budget: BudgetEntry | None
    span: Span
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class BreakersEntry:
    """The section `breakers`: `{failures: 10, cool_down: 15s}`; None where nothing was written."""

    failures: int | None
    cool_down_us: int | None
    span: Span


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The section `cache`."""

    ttl_us: int | None
    only: Expression | None
    never: Expression | None
    span: Span


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """An entry of `models`: what a client may ask for, and the target or the word `policy`."""

    name: Text
    to: Text
    span: Span


@dataclass(frozen=True, slots=True)
class TestCase:
    """An entry of `tests`: a snapshot by hand and what is expected of it.

    `given` and `at` stay as written; `expect` reads them against the program's types.
    """

    __test__ = False  # a policy's test, none of pytest's

    name: Text | None
    given: dict[str, tuple[object, Span]]
    at: Text | None
    expect_rule: Text | None
    expect_route: Text | None
    span: Span


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy file as written.

    `attributes` maps an attribute to its declared domain. `document` is the plain data of the file
    after recovery (a `target (timeout: 2s)` entry is a mapping there): the canonical form and the
    archive are made from it.
    """

    source_span: Span
    version: int
    timezone: Text | None
    attributes: dict[str, tuple[Text, ...]]
    definitions: tuple[Definition, ...]
    defaults: HopOptions
    deadline_us: int | None
    providers: tuple[ProviderEntry, ...]
    targets: tuple[TargetEntry, ...]
    models: tuple[ModelEntry, ...]
    rules: tuple[Rule, ...]
    fallback_chain: tuple[HopEntry, ...]
    tests: tuple[TestCase, ...]
    document: dict[str, object]
    key_spans: dict[str, Span]
    rule_defaults: RuleOptions = field(default_factory=RuleOptions)
    limits: tuple[LimitEntry, ...] = ()
    invariants: tuple[InvariantEntry, ...] = ()
    lists: tuple[ListEntry, ...] = ()
    embed: EmbedEntry | None = None
    tenants: tuple[TenantEntry, ...] = ()
    budgets: tuple[BudgetEntry, ...] = ()
    budget_wait_us: int | None = None
    parameters: str | None = None
    cache: CacheEntry | None = None
    breakers: BreakersEntry | None = None
    sources: tuple[Source, ...] = ()  # the main file first, then the included ones
