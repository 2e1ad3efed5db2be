"""Every key that a policy may hold: where it stands, what kind of value it takes, what it is for.

The one source for three readers: `parse` refuses what is not here, `json_schema` tells editors,
`format` finds conditions and hops by it. To add a key: a line here, and a line where its section is
read.

What does not belong here: reading (`parse`), and what values mean (`check`). Over 300 lines because
it is one table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

FAULTS = (
    "timeout",
    "ttft_timeout",
    "connect",
    "5xx",
    "overloaded",
    "rate_limit",
    "quota",
    "context_exceeded",
    "content_filter",
    "bad_output",
    "auth",
    "own_key",
    "breaker_open",
    "budget",
    "bad_request",
    "unsupported_parameter",
)
"""What `catch` may name; each is the value of a `Fault` of the engine."""

BREAKER_OPEN = "breaker_open"
COUNTED = frozenset(
    ("timeout", "ttft_timeout", "connect", "5xx", "overloaded", "rate_limit", "bad_output")
)
"""The faults that count against a target, so that its breaker opens after so many of them."""

ABILITIES = ("vision", "audio", "tools", "json", "embeddings", "sampling")
"""What a target may be declared able to do, or not."""

Period = Literal["day", "week", "month"]
PERIODS: tuple[Period, ...] = ("day", "week", "month")
CLOCKS = ("timeout", "connect", "ttft", "idle")
FORMS = ("cheapest_of", "fastest_of", "first_of", "split", "reject")
"""The words that make a mapping under `route` a form of its own."""


class Value(Enum):
    """A kind of single value."""

    TEXT = "a text"
    NAME = "a name: letters, digits and `_`"
    TARGET = "a target, `provider/model`"
    HOP = "a target, `provider/model`, with options in parentheses where it needs some"
    FLAG = "`true` or `false`"
    COUNT = "a whole number, such as `100` or `32k`"
    INTEGER = "a whole number, such as `7`"
    NUMBER = "a number, such as `0.7`"
    VERSION = "`1`"
    STATUS = "an HTTP status from 400 to 599"
    DURATION = "a duration, such as `800ms`, `2s` or `5m`"
    DATE = "a day, such as `2026-10-01`"
    SHARE = "a percentage, such as `5%`"
    MONEY = "an amount, such as `$0.01`"
    RATE = "a price per million tokens, such as `$2.50/Mtok`"
    ALLOWANCE = "an amount for a time, such as `$20/day`, `/week` or `/month`"
    FREE = "`0`"
    CONDITION = "a condition, such as `tokens < 100`"
    GIVEN = "a value as conditions write it"


@dataclass(frozen=True, slots=True)
class Words:
    """One word of a closed list; `meant` says what people write for one."""

    words: tuple[str, ...]
    meant: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list with items of one kind."""

    item: "Kind"
    least: int = 0


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping whose keys are the author's words."""

    key: Value
    value: "Kind"


@dataclass(frozen=True, slots=True)
class Either:
    """One of several kinds."""

    kinds: tuple["Kind", ...]


@dataclass(frozen=True, slots=True)
class Key:
    """A key with what it is for, in one line."""

    name: str
    kind: "Kind"
    doc: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping with keys of the language; `what` is its name in messages.

    `meant`: what people write for a key, however far the spelling is; `misplaced`: what has its
    place elsewhere, and where; `later`: keys that only a later version knows; `rest`: what keys of
    the author's own hold, where a section takes any beside its own.
    """

    what: str
    keys: tuple[Key, ...]
    meant: Mapping[str, str] = field(default_factory=dict)
    misplaced: Mapping[str, str] = field(default_factory=dict)
    later: tuple[str, ...] = ()
    rest: MapOf | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The keys in the order in which people write them."""
        return tuple(key.name for key in self.keys)

    def called(self, what: str) -> "Section":
        """The same section under a name that says which one it is."""
        return replace(self, what=what)

    def without(self, *names: str) -> "Section":
        """The same section without some of its keys."""
        return replace(self, keys=tuple(key for key in self.keys if key.name not in names))


Kind = Value | Words | ListOf | MapOf | Either | Section

# --- hops ----------------------------------------------------------------------------------------

FAULT = Words(
    FAULTS,
    {
        "500": "5xx",
        "502": "5xx",
        "503": "overloaded",
        "504": "timeout",
        "529": "overloaded",
        "429": "rate_limit",
        "401": "auth",
        "403": "auth",
        "400": "bad_request",
        "server_error": "5xx",
        "error": "5xx",
        "rate_limited": "rate_limit",
        "ttft": "ttft_timeout",
        "connection": "connect",
    },
)
_HOP_OPTIONS = (
    Key("timeout", Value.DURATION, "bound on the hop as a whole, retries and waits included"),
    Key("connect", Value.DURATION, "bound on the connection to the provider"),
    Key("ttft", Value.DURATION, "bound on the wait for the first content"),
    Key("idle", Value.DURATION, "bound on the gap between two pieces of a stream"),
    Key("retries", Value.COUNT, "how often the same target is tried again"),
    Key("backoff", Value.DURATION, "the first wait before a retry; later ones grow"),
    Key("catch", Either((FAULT, ListOf(FAULT))), "the faults that lead here, or on from here"),
)
OPTIONS = tuple(key.name for key in _HOP_OPTIONS)

_OF_A_RULE = "write it in the rule, beside `route:`"
_HOP_MEANT = {
    "target": "to",
    "model": "to",
    "route": "to",
    "condition": "when",
    "if": "when",
    "on": "catch",
    "retry": "retries",
}
_HOP_MISPLACED = dict.fromkeys(("hold", "set", "mirror", "expires", "tags"), _OF_A_RULE)
_HOP_MISPLACED["provider"] = "write it in front of the model, as in `to: openai/gpt-4`"
_WHEN = Key("when", Value.CONDITION, "the hop is entered only where this is true")
_TO = Key("to", Value.TARGET, "the target to try", required=True)

HOP = Section("an entry of a chain", (_TO, *_HOP_OPTIONS, _WHEN), _HOP_MEANT, _HOP_MISPLACED)
"""An entry of a chain as a mapping."""

HOP_OPTIONS = Section("the options of a target", (*_HOP_OPTIONS, _WHEN), _HOP_MEANT, _HOP_MISPLACED)
"""What may stand in `target (…)`."""

CHAIN = ListOf(Either((Value.HOP, HOP)))

# --- routes --------------------------------------------------------------------------------------

MEASURE = Words(
    ("p50", "p90", "p95", "p99", "ttft.p50", "ttft.p95", "latency"), {"ttft": "ttft.p95"}
)
"""What `fastest_of` may go by."""

STICKY = Words(("session", "user", "tenant"))
_WHERE = Key("where", Value.CONDITION, "which candidates count; names without a target mean them")
_CANDIDATES = ListOf(Value.TARGET, 2)

CHOICE: Mapping[str, Section] = {
    "cheapest_of": Section(
        "a route by cost",
        (
            Key("cheapest_of", _CANDIDATES, "the candidate with the least expected cost", True),
            _WHERE,
        ),
    ),
    "fastest_of": Section(
        "a route by latency",
        (
            Key("fastest_of", _CANDIDATES, "the candidate that was the fastest lately", True),
            Key("by", MEASURE, "what is compared; `p95` if left out"),
            _WHERE,
        ),
    ),
    "first_of": Section(
        "a route by preference",
        (Key("first_of", _CANDIDATES, "the first candidate that counts", True), _WHERE),
    ),
}
RAMP = Section(
    "`ramp`",
    (
        Key("from", Value.DATE, "the day on which the shares start to move", True),
        Key("to", Value.DATE, "the day on which they are reached", True),
    ),
    {"start": "from", "begin": "from", "end": "to", "until": "to"},
    rest=MapOf(Value.TARGET, Value.SHARE),
)
"""The fixed keys of `ramp`; beside them stand targets with the shares they come to."""

SPLIT = Section(
    "a split",
    (
        Key("split", MapOf(Value.TARGET, Value.SHARE), "the share of each target", True),
        Key("sticky", STICKY, "what stays with its target"),
        Key("ramp", RAMP, "shares that are reached step by step between two days"),
    ),
)
REJECT = Section(
    "a refusal",
    (
        Key("reject", Value.STATUS, "the status of the answer", True),
        Key("message", Value.TEXT, "what the client is told"),
        Key("retry_after", Value.DURATION, "when the client may come again"),
    ),
)
ROUTED = HOP.without("when").called("a route")
"""A route to one target with options, as a mapping."""

ROUTES: Mapping[str, Section] = {**CHOICE, "split": SPLIT, "reject": REJECT}
"""The forms of a route by the word that makes them."""

ROUTE = Section(
    "a route",
    tuple({k.name: k for s in (ROUTED, *ROUTES.values()) for k in s.keys}.values()),
    {
        **_HOP_MEANT,
        "cheapest": "cheapest_of",
        "fastest": "fastest_of",
        "first": "first_of",
        "status": "reject",
        "weights": "split",
        "condition": "where",
        "if": "where",
        "when": "where",
        "targets": "first_of",
    },
    {**_HOP_MISPLACED, "fallback": _OF_A_RULE},
)
"""All keys of all forms of a route: what a misspelt one is compared with."""

_ROUTE_KIND = Either((Value.HOP, ROUTED, *ROUTES.values()))

# --- rules ---------------------------------------------------------------------------------------

MIRROR = Section(
    "`mirror`",
    (
        Key("to", Value.TARGET, "the target that gets a copy", True),
        Key("sample", Value.SHARE, "the share of requests that are copied", True),
    ),
    {"target": "to", "share": "sample", "percent": "sample", "rate": "sample"},
)
SET = Section(
    "`set`",
    (
        Key("max_tokens", Value.COUNT, "the most tokens of the answer"),
        Key("temperature", Value.NUMBER, "how much chance is in the answer, 0 to 2"),
        Key("top_p", Value.NUMBER, "the share of likely tokens to choose from, 0 to 1"),
        Key("seed", Value.INTEGER, "the number that makes answers repeatable"),
        Key("stop", Value.TEXT, "the text at which the answer ends"),
        Key("user", Value.TEXT, "the end user, as the provider is told"),
        Key(
            "reasoning_effort",
            Words(("none", "minimal", "low", "medium", "high", "xhigh")),
            "how long a model that reasons may think",
        ),
        Key("presence_penalty", Value.NUMBER, "less of what was mentioned, -2 to 2"),
        Key("frequency_penalty", Value.NUMBER, "less of what was repeated, -2 to 2"),
        Key("parallel_tool_calls", Value.FLAG, "whether tools may be called side by side"),
        Key(
            "service_tier",
            Words(("auto", "default", "flex", "scale", "priority")),
            "the provider's class of service",
        ),
    ),
    {"max_completion_tokens": "max_tokens", "max_output_tokens": "max_tokens"},
)
_RULE_OPTIONS = (
    Key("hold", Value.DURATION, "once true, the live part of the condition stays true that long"),
    Key("set", SET, "fields of the request, written over the client's"),
    Key("mirror", MIRROR, "a copy of some requests whose answer is thrown away"),
    Key("expires", Value.DATE, "the day from which lint warns of this rule"),
    Key("tags", ListOf(Value.TEXT), "words for reports"),
)
RULE_OPTIONS = tuple(key.name for key in _RULE_OPTIONS)
DEFAULTS = Section(
    "`defaults`",
    (*_HOP_OPTIONS, *_RULE_OPTIONS),
    {"retry": "retries", "on": "catch", "deadline": "timeout"},
    {"fallback": "write `fallback_chain:`, it is every rule's without a fallback of its own"},
)
_INTO_ROUTE = "write it in the route, such as `{cheapest_of: [a/x, b/y], where: p95 < 8s}`"
RULE = Section(
    "a rule",
    (
        Key("name", Value.TEXT, "what the rule is called in traces, tests and reports", True),
        Key("condition", Value.CONDITION, "when the rule takes a request; always if left out"),
        Key("route", _ROUTE_KIND, "where it sends the request", True),
        *_HOP_OPTIONS,
        Key("fallback", CHAIN, "what is tried after the route, in place of `fallback_chain`"),
        *_RULE_OPTIONS,
    ),
    {
        "when": "condition",
        "if": "condition",
        "match": "condition",
        "target": "route",
        "to": "route",
        "model": "route",
        "then": "route",
        "id": "name",
        "rule": "name",
        "fallback_chain": "fallback",
        "on": "catch",
        "retry": "retries",
        "shadow": "mirror",
    },
    {
        "where": _INTO_ROUTE,
        "by": _INTO_ROUTE,
        "require": "limits are for all rules: write them under `require:` at the top",
        **{
            word: f"write it in the route: `route: {{{word}: …}}`"
            for word in (*FORMS, "sticky", "ramp")
        },
        "message": "write it in the route: `route: {reject: 429, message: …}`",
        "retry_after": "write it in the route: `route: {reject: 429, retry_after: 1h}`",
        **dict.fromkeys(
            ("description", "comment", "note"), "write it as a comment, with `#` in front"
        ),
        **dict.fromkeys(
            ("enabled", "active", "disabled"), "a rule that is written counts: remove it"
        ),
        "priority": "remove it and order the rules: the first that matches wins",
    },
)

# --- what rules refer to -------------------------------------------------------------------------

PROVIDER = Section(
    "a provider",
    (
        Key("kind", Value.TEXT, "whose wire it speaks: a known provider's name"),
        Key("base_url", Value.TEXT, "where it is; adapters append only the path of the call"),
        Key(
            "headers",
            MapOf(Value.TEXT, Value.TEXT),
            "headers sent along; they may hold `${TURNOUT_VAR_…}`",
        ),
    ),
    {"url": "base_url", "type": "kind", "api_base": "base_url", "endpoint": "base_url"},
    {
        **dict.fromkeys(
            ("region", "aws_region", "region_name"),
            "set `AWS_REGION` where the gateway runs; where a target runs is its `region:` under "
            "`targets:`",
        ),
        **dict.fromkeys(
            ("api_version", "version"),
            "remove it: an Azure address alone or with `/openai/v1` has no versions, and one with "
            "`/openai` is asked for the version that the gateway speaks",
        ),
        **dict.fromkeys(
            ("deployment", "deployments", "deployment_id"),
            "a target's model is the deployment's name, as in `azure/my-deployment`",
        ),
    },
    later=("price", "regions", "timeout"),
)
_RATES = (
    Key("input", Value.RATE, "of a prompt's tokens"),
    Key("output", Value.RATE, "of an answer's tokens"),
    Key("cached", Value.RATE, "of prompt tokens the provider had in its cache"),
    Key("cache_write", Value.RATE, "of prompt tokens that go into its cache"),
    Key("request", Value.MONEY, "of each call"),
)
_PRICE_LATER = ("image", "audio", "from", "until", "hours")
_RATES_MEANT = {
    "prompt": "input",
    "in": "input",
    "completion": "output",
    "out": "output",
    "cache_read": "cached",
    "cached_input": "cached",
    "per_request": "request",
}
PRICE_STEP = Section("a step of a price", _RATES, _RATES_MEANT, later=_PRICE_LATER)
PRICE = Section(
    "a price",
    (
        *_RATES,
        Key(
            "above",
            MapOf(Value.COUNT, Either((Value.FREE, PRICE_STEP))),
            "what counts in its place above so many prompt tokens",
        ),
    ),
    _RATES_MEANT,
    later=_PRICE_LATER,
)
EXPECTED = Section(
    "`expected`",
    (
        Key("p95", Value.DURATION, "its latency, until there are enough samples"),
        Key("ttft", Value.DURATION, "its time to the first token, until then"),
        Key("output", Value.COUNT, "how many tokens it answers with, until then"),
    ),
    {"latency": "p95", "tokens": "output", "output_tokens": "output"},
)
PARAMETERS = Words(
    ("lenient", "strict"),
    {"drop": "lenient", "loose": "lenient", "ignore": "lenient", "refuse": "strict"},
)
_AT_A_TIME = dict.fromkeys(
    ("max_parallel_requests", "max_concurrency", "parallel", "max_concurrent", "parallel_requests"),
    "concurrency",
)
_TO_THE_TOP = "write it at the top of the file, for all targets: `breakers: {failures: 10}`"
_BREAKERS_MISPLACED = dict.fromkeys(
    ("breakers", "breaker", "circuit_breaker", "cool_down", "cooldown", "allowed_fails"),
    _TO_THE_TOP,
)
_TARGET_KEYS = (
    Key("price", Either((Value.FREE, PRICE)), "what its tokens cost, over the catalogue"),
    Key("context_window", Value.COUNT, "how many tokens go in and come out at most"),
    Key("max_output", Value.COUNT, "how many tokens come out at most"),
    Key("region", Value.TEXT, "where it answers"),
    Key("owner", Value.TEXT, "who answers for it"),
    Key("tags", ListOf(Value.TEXT), 'words for limits: `"fast" in tags`'),
    Key("expected", EXPECTED, "live values that stand in until there are enough samples"),
    Key("vision", Value.FLAG, "whether it sees images"),
    Key("audio", Value.FLAG, "whether it hears audio"),
    Key("tools", Value.FLAG, "whether it calls tools"),
    Key("json", Value.FLAG, "whether it keeps to a schema"),
    Key("embeddings", Value.FLAG, "whether it makes embeddings"),
    Key("sampling", Value.FLAG, "whether it takes `temperature` and the like"),
    Key("parameters", PARAMETERS, "what becomes of parameters it lacks, over the policy's"),
    Key("concurrency", Value.COUNT, "how many attempts it gets at a time, from all workers"),
)
_TARGET_MEANT = {
    **_AT_A_TIME,
    "window": "context_window",
    "context": "context_window",
    "max_tokens": "max_output",
    "prices": "price",
    "cost": "price",
    "images": "vision",
}
TARGET = Section("a target", _TARGET_KEYS, _TARGET_MEANT, _BREAKERS_MISPLACED)
MODEL = Section(
    "a model",
    (Key("target", Value.TARGET, "the target it stands for", True), *_TARGET_KEYS),
    {"to": "target", "model": "target", "route": "target", **_TARGET_MEANT},
    _BREAKERS_MISPLACED,
)
TENANT = Section(
    "a tenant",
    (
        Key("tier", Value.TEXT, "the tier of its callers"),
        Key("region", Value.TEXT, "`tenant.region` of its callers"),
        Key("rpm", Value.COUNT, "how many requests a minute it may make"),
        Key("tpm", Value.COUNT, "how many tokens a minute it may use"),
        Key("concurrency", Value.COUNT, "how many requests it may have under way at a time"),
        Key("budget", Value.ALLOWANCE, "what it may spend: short for an entry of `budgets`"),
    ),
    _AT_A_TIME,
)
SCOPE = Words(
    ("tenant", "team", "user", "key", "model"),
    {"api_key": "key", "organization": "tenant", "org": "tenant"},
)
ACTION = Words(
    ("alert", "reject"), {"warn": "alert", "notify": "alert", "block": "reject", "deny": "reject"}
)
BUDGET = Section(
    "a budget",
    (
        Key("name", Value.TEXT, 'what conditions call it: `budget("team").left`', True),
        Key("scope", SCOPE, "whose spending it counts", True),
        Key("of", Value.TEXT, "the one it is for; without it each has a counter of its own"),
        Key("limit", Value.ALLOWANCE, "what may be spent", True),
        Key("at", MapOf(Value.SHARE, ACTION), "what happens at which share of it"),
    ),
    {"amount": "limit", "id": "name", "for": "of", "max": "limit", "steps": "at"},
)
BREAKERS = Section(
    "`breakers`",
    (
        Key("failures", Value.COUNT, "how many failures in a row open a target's breaker"),
        Key("cool_down", Value.DURATION, "how long it stays open before one attempt may try"),
    ),
    {
        "threshold": "failures",
        "failure_threshold": "failures",
        "fail_max": "failures",
        "allowed_fails": "failures",
        "max_failures": "failures",
        "cooldown": "cool_down",
        "cooldown_time": "cool_down",
        "recovery_timeout": "cool_down",
        "reset_timeout": "cool_down",
        "open_for": "cool_down",
        "timeout": "cool_down",
    },
)
CACHE = Section(
    "`cache`",
    (
        Key("ttl", Value.DURATION, "how long an answer may be given again"),
        Key("only", Value.CONDITION, "which requests may be answered from it"),
        Key("never", Value.CONDITION, "which requests may not"),
    ),
)
EMBED = Section(
    "`embed`",
    (
        Key("target", Value.TARGET, "the target that makes the vectors", True),
        Key("timeout", Value.DURATION, "how long a decision may wait for them"),
    ),
    {"to": "target", "model": "target"},
)
LIMIT = Section(
    "a limit",
    (
        Key("name", Value.TEXT, "what it is called in traces", True),
        Key("when", Value.CONDITION, "the requests it is for; all if left out"),
        Key("target", Value.CONDITION, "what must be true of a target that serves them", True),
    ),
    {"condition": "when", "if": "when", "to": "target"},
)
INVARIANT = Section(
    "an invariant",
    (
        Key("name", Value.TEXT, "what it is called in findings", True),
        Key("never", Value.CONDITION, "what must be true of no request"),
        Key("always", Value.CONDITION, "what must be true of every request"),
    ),
)
EXPECT = Section(
    "`expect`",
    (
        Key("rule", Value.TEXT, "the rule that takes the request"),
        Key("route", Value.TEXT, "the target it is sent to"),
    ),
    {"target": "route", "name": "rule"},
)
TEST = Section(
    "a test",
    (
        Key("name", Value.TEXT, "what the test is called"),
        Key("given", MapOf(Value.TEXT, Value.GIVEN), "the snapshot to decide on"),
        Key("at", Value.TEXT, "when the request comes, such as `Sat 10:00`"),
        Key("expect", Either((Value.TEXT, EXPECT)), "the rule that takes it", True),
    ),
    {"expected": "expect", "input": "given", "when": "given", "snapshot": "given"},
)

# --- the file ------------------------------------------------------------------------------------

_TEXTS = ListOf(Value.TEXT, 1)
POLICY = Section(
    "a policy",
    (
        Key("version", Value.VERSION, "the version of the language"),
        Key("timezone", Value.TEXT, "the zone of `time`, `weekday` and `date`; UTC if left out"),
        Key("include", Either((Value.TEXT, ListOf(Value.TEXT))), "files with what rules refer to"),
        Key("attributes", MapOf(Value.TEXT, _TEXTS), "the values that an attribute can have"),
        Key("let", MapOf(Value.NAME, Value.CONDITION), "names for conditions and values"),
        Key("lists", MapOf(Value.NAME, _TEXTS), "named lists of texts"),
        Key("defaults", DEFAULTS, "options of every rule that does not write its own"),
        Key("deadline", Value.DURATION, "bound on a request: route and fallbacks together"),
        Key("parameters", PARAMETERS, "what becomes of parameters that a target lacks"),
        Key("breakers", BREAKERS, "when a target that fails is left alone, and for how long"),
        Key("providers", MapOf(Value.TEXT, PROVIDER), "who answers: addresses and wires"),
        Key("targets", MapOf(Value.TARGET, TARGET), "prices, windows and facts of targets"),
        Key(
            "models",
            MapOf(Value.TEXT, Either((Value.TEXT, MODEL))),
            "what a client may ask for: a target, or `policy`",
        ),
        Key("tenants", MapOf(Value.TEXT, TENANT), "who calls: tiers, rates and budgets"),
        Key("budgets", ListOf(BUDGET), "what may be spent, by whom"),
        Key("budget_wait", Value.DURATION, "how long a request waits for open reservations"),
        Key("cache", CACHE, "when an answer may be given again"),
        Key("embed", EMBED, "what makes the vectors of `similar_to`"),
        Key("require", ListOf(LIMIT), "limits on the targets of every route and fallback"),
        Key("routing_policy", ListOf(RULE, 1), "the rules; the first that matches wins", True),
        Key("fallback_chain", CHAIN, "what is tried where a rule has no fallback of its own"),
        Key("invariants", ListOf(INVARIANT), "what must hold for all requests"),
        Key("tests", ListOf(TEST), "requests by hand, and the rule expected"),
    ),
    {
        "rules": "routing_policy",
        "routes": "routing_policy",
        "routing": "routing_policy",
        "policy": "routing_policy",
        "fallback": "fallback_chain",
        "fallbacks": "fallback_chain",
        "chain": "fallback_chain",
        "lets": "let",
        "definitions": "let",
        "tz": "timezone",
        "timeout": "deadline",
        "includes": "include",
        "import": "include",
        "limits": "require",
        "requires": "require",
        "aliases": "models",
        "sets": "lists",
        "breaker": "breakers",
        "circuit_breaker": "breakers",
        "circuit_breakers": "breakers",
    },
    {
        **dict.fromkeys(
            ("name", "condition", "route"), "indent it below the rule that it belongs to"
        ),
        "shadow": "name the second policy where the gateway starts: `turnout serve --shadow FILE`",
    },
)
MAIN_ONLY = (
    "version", "timezone", "deadline", "parameters", "defaults", "routing_policy",
    "fallback_chain", "tests",
)  # fmt: skip
"""What stands in the file that is served, never in one that it includes."""

INCLUDED = replace(
    POLICY.without(*MAIN_ONLY),
    what="an included file",
    meant={word: key for word, key in POLICY.meant.items() if key not in MAIN_ONLY},
    misplaced=dict.fromkeys(MAIN_ONLY, "write it in the file that includes this one"),
)
"""What an included file may hold."""


def places() -> Iterator[tuple[tuple[str, ...], Kind]]:
    """Every place of a policy, as keys from the top, with each kind of value that it takes.

    `*` stands for any item of a list and any key of the author's own.
    """

    def below(path: tuple[str, ...], kind: Kind) -> Iterator[tuple[tuple[str, ...], Kind]]:
        yield path, kind
        match kind:
            case Section(keys=keys):
                for key in keys:
                    yield from below((*path, key.name), key.kind)
            case ListOf(item):
                yield from below((*path, "*"), item)
            case MapOf(_, value):
                yield from below((*path, "*"), value)
            case Either(kinds):
                for one in kinds:
                    yield from below(path, one)

    yield from below((), POLICY)
