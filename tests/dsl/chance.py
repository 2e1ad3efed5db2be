"""Terms, programs, policies and snapshots by chance, for the laws.

`truth_terms` and `number_terms` have every term of `core`, nested; `rule_terms` are conditions as
people write them, wide and flat, for many rules. `snapshots` answers all their keys, unknown too.
`policies` are texts in the language that compile without an error; `random_values(program)` are
snapshots for one.
"""

import os
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from turnout.dsl import kleene
from turnout.dsl.core import (
    LIMIT,
    And,
    Arithmetic,
    Arm,
    Candidate,
    CeilDiv,
    Choice,
    Clause,
    Coalesce,
    Compare,
    Const,
    Hop,
    If,
    Known,
    Member,
    Named,
    Not,
    Or,
    Program,
    Read,
    Reject,
    Route,
    Slot,
    Split,
    Switch,
    Term,
    TextTest,
)
from turnout.dsl.schema import Attribute, Type, Value
from turnout.dsl.snapshot import LARGEST
from turnout.dsl.walk import reads

EXAMPLES = int(os.environ.get("TURNOUT_EXAMPLES", "120"))
thorough = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# A law about written files: reading one costs as much as ten decisions, so each is decided on
# several snapshots, and there are that many fewer files.
SNAPSHOTS_OF_A_FILE = 4
of_files = settings(thorough, max_examples=max(20, EXAMPLES // SNAPSHOTS_OF_A_FILE))

NUMBERS = ("n1", "n2", "n3")
WORDS = ("w1", "w2")
FLAGS = ("b1", "b2")
TEXTS = ("", "a", "ab", "free", "pro", "é\n'\"", "half \ud800")
PATTERNS = ("", "^a", "(?i)FREE|pro$", "\\bab?\\b", "[^a-z]", "^$")
KINDS: tuple[Any, ...] = ("starts_with", "ends_with", "has")
TRUTHS = (True, False, None)

whole = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([100, 10_000, 2**31, 2**62, LARGEST, -LARGEST]),
    st.integers(-LARGEST, LARGEST),
)
constants = st.one_of(whole, st.sampled_from([LIMIT, -LIMIT, LIMIT + 1, 2**126, 2**64]))
snapshots = st.fixed_dictionaries(
    {name: st.none() | whole for name in NUMBERS}
    | {name: st.none() | st.sampled_from(TEXTS) for name in WORDS}
    | {name: st.none() | st.booleans() for name in FLAGS}
)

leaf_numbers: st.SearchStrategy[Term] = st.one_of(
    st.sampled_from(NUMBERS).map(lambda key: Read(key, Type.NUMBER)),
    constants.map(lambda value: Const(value, Type.NUMBER)),
    st.just(Const(None, Type.NUMBER)),
)
words: st.SearchStrategy[Term] = st.one_of(
    st.sampled_from(WORDS).map(lambda key: Read(key, Type.TEXT)),
    st.sampled_from(TEXTS).map(lambda value: Const(value, Type.TEXT)),
    st.builds(
        lambda a, b: Coalesce(Read(a, Type.TEXT), Read(b, Type.TEXT), Type.TEXT),
        st.sampled_from(WORDS),
        st.sampled_from(WORDS),
    ),
)
leaf_truths: st.SearchStrategy[Term] = st.one_of(
    st.sampled_from(FLAGS).map(lambda key: Read(key, Type.BOOL)),
    st.sampled_from(TRUTHS).map(lambda value: Const(value, Type.BOOL)),
)


def numbers_of(numbers: Any, truths: Any) -> st.SearchStrategy[Term]:
    two = st.tuples(numbers, numbers)
    return st.one_of(
        st.builds(
            lambda operator, pair: Arithmetic(operator, pair[0], pair[1], Type.NUMBER),
            st.sampled_from(["+", "-", "*", "*", "min", "max"]),
            two,
        ),
        two.map(lambda pair: Coalesce(pair[0], pair[1], Type.NUMBER)),
        st.builds(
            lambda part, divisor: CeilDiv(part, divisor, Type.NUMBER),
            numbers,
            st.sampled_from([1, 2, 1_000_000]),
        ),
        st.builds(lambda test, pair: If(test, pair[0], pair[1], Type.NUMBER), truths, two),
        st.builds(
            lambda word, cases: Switch(word, tuple(cases), Type.NUMBER),
            words,
            st.lists(st.tuples(st.sampled_from(TEXTS), numbers), max_size=4),
        ),
        numbers.map(lambda part: Named("x", part, Type.NUMBER)),
    )


def truths_of(numbers: Any, truths: Any) -> st.SearchStrategy[Term]:
    several = st.lists(truths, max_size=4).map(tuple)
    return st.one_of(
        truths.map(Not),
        several.map(And),
        several.map(Or),
        st.builds(Compare, st.sampled_from(sorted(kleene.COMPARISONS)), numbers, numbers),
        st.builds(Compare, st.sampled_from(["==", "!="]), words, words),
        st.builds(Compare, st.sampled_from(["==", "!="]), truths, truths),
        st.builds(Member, numbers, st.frozensets(whole, max_size=4)),
        st.builds(Member, words, st.frozensets(st.sampled_from(TEXTS), max_size=4)),
        st.builds(TextTest, st.sampled_from(KINDS), words, st.sampled_from(TEXTS)),
        st.builds(TextTest, st.just("matches"), words, st.sampled_from(PATTERNS)),
        (numbers | truths | words).map(Known),
        st.builds(lambda a, b: Coalesce(a, b, Type.BOOL), truths, truths),
        st.builds(lambda a, b, c: If(a, b, c, Type.BOOL), truths, truths, truths),
        st.builds(
            lambda word, cases: Switch(word, tuple(cases), Type.BOOL),
            words,
            st.lists(st.tuples(st.sampled_from(TEXTS), truths), max_size=3),
        ),
        truths.map(lambda part: Named("y", part, Type.BOOL)),
    )


def layers(depth: int) -> tuple[st.SearchStrategy[Term], st.SearchStrategy[Term]]:
    numbers, truths = leaf_numbers, leaf_truths
    for _ in range(depth):
        numbers, truths = (
            st.one_of(leaf_numbers, numbers_of(numbers, truths)),
            st.one_of(leaf_truths, truths_of(numbers, truths)),
        )
    return numbers, truths


number_terms, truth_terms = layers(4)

# --- conditions of many rules --------------------------------------------------------------------

TYPES = {
    **dict.fromkeys(NUMBERS, Type.NUMBER),
    **dict.fromkeys(WORDS, Type.TEXT),
    **dict.fromkeys(FLAGS, Type.BOOL),
}
FETCHED = ("n3", "b2")
SLOTS = {
    key: Slot(key, Attribute(key, type_, "", fetched=key in FETCHED), None)
    for key, type_ in TYPES.items()
}
small = st.integers(-3, 8)
numeric = st.one_of(
    st.sampled_from(NUMBERS).map(lambda key: Read(key, Type.NUMBER)),
    st.builds(
        lambda key, value: Coalesce(Read(key, Type.NUMBER), Const(value, Type.NUMBER), Type.NUMBER),
        st.sampled_from(NUMBERS),
        small,
    ),
)
simple: st.SearchStrategy[Term] = st.one_of(
    st.builds(
        lambda operator, left, right: Compare(operator, left, Const(right, Type.NUMBER)),
        st.sampled_from(sorted(kleene.COMPARISONS)),
        numeric,
        small,
    ),
    st.builds(
        lambda operator, left, right: Compare(operator, Const(left, Type.NUMBER), right),
        st.sampled_from(sorted(kleene.COMPARISONS)),
        small,
        numeric,
    ),
    st.builds(Member, numeric, st.frozensets(small, max_size=4)),
    st.builds(
        lambda operator, word, text: Compare(operator, word, Const(text, Type.TEXT)),
        st.sampled_from(["==", "!="]),
        words,
        st.sampled_from(TEXTS),
    ),
    st.builds(Member, words, st.frozensets(st.sampled_from(TEXTS), max_size=3)),
    st.builds(TextTest, st.sampled_from(KINDS), words, st.sampled_from(TEXTS)),
    (numeric | words).map(Known),
    leaf_truths,
    leaf_truths.map(Known),
    st.builds(
        lambda flag, default: Coalesce(flag, Const(default, Type.BOOL), Type.BOOL),
        leaf_truths,
        st.booleans(),
    ),
)
rule_terms: st.SearchStrategy[Term] = st.recursive(
    simple,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=4).map(lambda some: And(tuple(some))),
        st.lists(inner, min_size=2, max_size=3).map(lambda some: Or(tuple(some))),
        st.builds(Compare, st.sampled_from(["==", "!="]), inner, inner),
        st.builds(lambda a, b, c: If(a, b, c, Type.BOOL), inner, inner, inner),
        inner.map(lambda part: Named("z", part, Type.BOOL)),
    ),
    max_leaves=6,
)
near = st.fixed_dictionaries(
    {name: st.none() | small for name in NUMBERS}
    | {name: st.none() | st.sampled_from((*TEXTS, "other")) for name in WORDS}
    | {name: st.none() | st.booleans() for name in FLAGS}
)


def program_of(terms: list[Term], like: Program) -> Program:
    """A program whose rules have these conditions; its slots are those of the keys above."""
    clauses = tuple(
        Clause(i, f"r{i}", t, t, like.clauses[0].plan, reads([t]), like.clauses[0].span)
        for i, t in enumerate(terms)
    )
    return replace(like, clauses=clauses, slots=SLOTS)


# --- routes --------------------------------------------------------------------------------------


def routes_like(hop: Hop) -> st.SearchStrategy[Route]:
    """Routes of every form over targets `a`, `b` and `c`, their terms by chance."""
    hops = [replace(hop, target=name) for name in "abc"]
    candidates = st.tuples(
        *(
            st.builds(Candidate, st.just(one), rule_terms, st.none() | rule_terms, ranks)
            for one in hops
        )
    )
    shares = st.one_of(
        st.integers(0, 10_000).map(lambda value: Const(value, Type.NUMBER)), number_terms
    )
    arms = st.tuples(*(st.builds(Arm, st.just(one), shares) for one in hops))
    return st.one_of(
        st.just(hops[0]),
        st.builds(
            Choice,
            st.sampled_from(["cheapest_of", "fastest_of", "first_of"]),
            candidates,
            st.just(hop.span),
        ),
        st.builds(Split, numeric, arms, st.just(hop.span)),
        st.builds(Reject, st.just(429), st.just("no"), st.none(), st.just(hop.span)),
    )


ranks = st.none() | number_terms

# --- policies as people write them ---------------------------------------------------------------

# Of every rule; and of those that have exactly one target.
CONDITIONS = (
    "tokens < 100",
    "100 <= tokens",
    "tokens in 200..4k",
    "max_tokens > 1k",
    "(max_tokens ?? 1k) > tokens",
    "max_tokens / tokens > 0.5",
    "tokens / messages <= 30",
    "temperature == 0",
    "temperature in [0, 0.7]",
    'tier == "free"',
    'tier in ["pro", "default"]',
    "has_tools",
    "stream == false",
    "known(max_tokens)",
    "time in 22:00..06:00",
    "weekday in Fri..Mon",
    "date >= 2026-10-01",
    'p95("openai/gpt-4") > 8s',
    'p95("openai/gpt-4", 5m) > 8s',
    'ttft.p95("groq/llama-3-8b") ?? 1s > 500ms',
    'error_rate("groq/llama-3-8b") > 5%',
    'healthy("openai/gpt-4") and not rate_limited("openai/gpt-4")',
    'breaker("openai/gpt-4") == "open"',
    'breaker("groq/llama-3-8b") in ["closed", "half_open"]',
    'inflight("openai/gpt-4") >= 3',
    'cost("groq/llama-3-8b") < $0.01',
    'header["X-Team"] starts_with "a"',
    'header["X-Team"] matches "^a[d-s]*$"',
    'meta["project"] in words',
    "user not in words",
    'contains_any("words")',
    'matches("(?i)^fix")',
    'similar_to("words") >= 0.8',
    'complexity == "high"',
    "complexity.score > 0.5",
    'budget("team").left < $5',
    'budget("team").resets_in > 2h',
    'bucket("canary") < 500',
    "tiny",
    "min(tokens, max_tokens) * 2 > 300",
    'request_type == "chat"',
)
OF_ONE_TARGET = (
    "latency > 800ms",
    "cost < $0.01",
    "worst_case(cost) < $0.2",
    'cost("groq/llama-3-8b") < cost',
    "p95 > 2s",
)
TARGETS = ("openai/gpt-4", "groq/llama-3-8b", "anthropic/claude-sonnet", "own/any")


def nested(written: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Conditions made of these by every connective."""
    return st.recursive(
        st.sampled_from(written),
        lambda inner: st.one_of(
            inner.map(lambda c: f"not ({c})"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) and ({pair[1]})"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) or ({pair[1]})"),
            inner.map(lambda c: f"known({c})"),
        ),
        max_leaves=6,
    )


def choices(form: str, options: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Routes that choose among two or three targets."""
    several = st.lists(st.sampled_from(TARGETS), min_size=2, max_size=3, unique=True)
    return st.builds(
        lambda targets, option: f"{{{form}: [{', '.join(targets)}]{option}}}", several, options
    )


where = st.sampled_from(
    ["", ", where: p95 < 8s", ", where: cost <= $0.05 or not healthy", ", where: tokens < 2k"]
)
by = st.sampled_from(["", ", by: ttft.p95", ", by: p50"])
routes = st.one_of(
    choices("cheapest_of", where),
    choices("fastest_of", st.builds(str.__add__, by, where)),
    choices("first_of", where),
    st.sampled_from(
        [
            "{split: {openai/gpt-4: 95%, own/any: 5%}, sticky: session}",
            "{split: {openai/gpt-4: 20%, groq/llama-3-8b: 30%, own/any: 50%}, sticky: user}",
            "{split: {openai/gpt-4: 100%, own/any: 0%}, "
            "ramp: {own/any: 50%, from: 2026-10-01, to: 2026-10-08}}",
            '{reject: 429, message: "no", retry_after: 1h}',
        ]
    ),
)
one_target = st.sampled_from((*TARGETS, "requested"))
rules = st.one_of(
    st.tuples(nested(CONDITIONS), routes),
    st.tuples(nested((*CONDITIONS, *OF_ONE_TARGET)), one_target),
)
options = st.sampled_from(
    ["", "", ", hold: 2m", ", set: {max_tokens: 1k}", ", mirror: {to: own/any, sample: 5%}"]
)
HEAD = """
attributes: {tier: [free, pro]}
let: {tiny: tokens < 100 and not has_tools}
lists: {words: [fix, ads, "b c"]}
embed: {target: openai/gpt-4o, timeout: 300ms}
budgets:
  - {name: team, scope: team, limit: $20/day, at: {100%: reject}}
providers: {own: {kind: openai, base_url: "https://own.example/v1"}}
targets:
  own/any:
    price: {input: $1/Mtok, output: $2/Mtok, request: $0.001}
    max_output: 4k
    concurrency: 8
models: {auto: policy, house: openai/gpt-4o}
"""
SURVIVAL = """breakers: {failures: 3, cool_down: 30s}
deadline: 60s
tenants: {acme: {tier: pro, concurrency: 4}}
"""
LIMITS = """require:
  - {name: eu, when: tier == "free", target: region == "eu"}
  - {name: cheap, target: price_out <= $5/Mtok or tokens < 1k}
"""


def fitting(route: str, option: str) -> str:
    """The option of a rule, where it has an effect: a rejection asks no target."""
    return "" if "reject" in route and "hold" not in option else option


policies = st.builds(
    lambda rules, chain, limits, survival: (
        HEAD
        + survival
        + limits
        + "routing_policy:\n"
        + "".join(
            f"  - {{name: r{i}, condition: '{c}', route: {r}{fitting(r, o)}}}\n"
            for i, ((c, r), o) in enumerate(rules)
        )
        + "  - {name: default, route: openai/gpt-4}\n"
        + ("fallback_chain:\n" if chain else "")
        + "".join(f"  - {{to: {r}, timeout: 2s, when: '{c}'}}\n" for c, r in chain)
    ),
    st.lists(st.tuples(rules, options), min_size=1, max_size=4),
    st.lists(
        st.tuples(nested((*CONDITIONS, *OF_ONE_TARGET)), st.sampled_from(TARGETS)), max_size=2
    ),
    st.sampled_from(["", LIMITS]),
    st.sampled_from(["", SURVIVAL]),
)


def several_values(program: Program) -> st.SearchStrategy[list[dict[str, Value | None]]]:
    """As many snapshots as a law about written files decides each file on."""
    one = random_values(program)
    return st.lists(one, min_size=SNAPSHOTS_OF_A_FILE, max_size=SNAPSHOTS_OF_A_FILE)


def random_values(program: Program) -> st.SearchStrategy[dict[str, Value | None]]:
    def values_of(key: str) -> st.SearchStrategy[Value | None]:
        attribute = program.slots[key].attribute
        match attribute.type:
            case Type.BOOL:
                return st.none() | st.booleans()
            case Type.ENUM:
                return st.none() | st.sampled_from(attribute.domain or ("x",))
            case Type.TEXT:
                return st.none() | st.sampled_from(["ads", "b", *program.targets])
            case Type.WEEKDAY | Type.TIME as kind:
                return st.none() | st.integers(0, 6 if kind is Type.WEEKDAY else 1_439)
            case _:
                low = attribute.minimum or 0
                high = LARGEST if attribute.maximum is None else attribute.maximum
                return st.none() | st.integers(low, min(high, 20_000)) | st.integers(low, high)

    return st.fixed_dictionaries({key: values_of(key) for key in program.slots})
