"""Laws over whole policy files as people write them: text in, decisions out."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from turnout.dsl.check import restore
from turnout.dsl.core import Program, Read
from turnout.dsl.cost import expected_cost, worst_case_cost
from turnout.dsl.interpret.compiled import compile_program, compile_term
from turnout.dsl.interpret.traced import Node, evaluate, trace
from turnout.dsl.schema import Target, Tariff, Type, Value
from turnout.dsl.snapshot import LARGEST, Snapshot
from turnout.engine.tokens import between

thorough = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

TARGETS = ("openai/gpt-4", "groq/llama-3-8b", "anthropic/claude-sonnet", "own/tiered")
PLACES = st.sampled_from(TARGETS)


def count() -> st.SearchStrategy[str]:
    near = st.sampled_from(["0", "1", "100", "200k", "8k", "2M", "9223372036854775807"])
    return st.one_of(near, st.integers(0, 300_000).map(str))


def joined(form: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda values: form.format(*values))


plain_numbers = st.sampled_from(["tokens", "prompt_tokens", "max_tokens", "messages", "n"])
numbers = st.recursive(
    plain_numbers | count(),
    lambda inner: st.one_of(
        joined("({} + {})", inner, inner),
        joined("({} - {})", inner, inner),
        joined("{} * {}", plain_numbers, count()),
        joined("-{}", plain_numbers),
        joined("min({}, {}, 7)", inner, inner),
        joined("max({}, {})", inner, inner),
        joined("({} ?? {})", inner, count()),
    ),
    max_leaves=4,
)
divisors = plain_numbers | st.integers(1, 9).map(str) | joined("max({}, 1)", numbers)
money = st.one_of(
    st.sampled_from(["cost", "worst_case(cost)", "$0", "$0.02", "$0.000000001", "$123456789"]),
    joined('cost("{}")', PLACES),
    joined('worst_case(cost("{}"))', PLACES),
)
durations = st.one_of(
    st.sampled_from(["latency", "latency.p50", "800ms", "2s", "0s", "5m"]),
    joined('p95("{}")', PLACES),
    joined('(p50("{}") ?? 1s)', PLACES),
)
shares = st.sampled_from(["0%", "5%", "0.01%"]) | joined('error_rate("{}")', PLACES)
scores = st.sampled_from(["temperature", "0.7", "0", "2", "0.0001"])
times = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda t: f"{t[0]:02}:{t[1]:02}")
days = st.sampled_from(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
dates = st.dates().map(lambda day: day.isoformat())
words = st.sampled_from(['"a"', '"it\'s"', '"say \\"x\\""', '""', '"ü漢"', "'#'"])
texts = st.sampled_from(['header["x-a"]', "model", "user", "tenant"])
compare = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
order = st.sampled_from(["<", "<=", ">", ">="])

atoms = st.one_of(
    joined("{} {} {}", numbers, compare, numbers),
    joined("{} / {} {} {}", numbers, divisors, order, numbers),
    joined("{} / {} {} {} / {}", numbers, divisors, order, numbers, divisors),
    joined("{} / {} >= 0.5", plain_numbers, divisors),
    joined("{} in {}..{}", plain_numbers, numbers, numbers),
    joined("{} in [{}, {}]", plain_numbers, count(), numbers),
    joined("{} not in [{}]", plain_numbers, count()),
    joined("{} {} {}", money, order, money),
    joined("{} + {} {} {}", money, money, order, money),
    joined("{} / {} {} {}", money, divisors, order, money),
    joined("{} {} {}", durations, order, durations),
    joined("{} {} {}", shares, order, shares),
    joined("temperature {} {}", compare, scores),
    joined("time in {}..{}", times, times),
    joined("time {} {}", order, times),
    joined("weekday in {}..{}", days, days),
    joined("weekday not in [{}, {}]", days, days),
    joined("date {} {}", compare, dates),
    joined("{} {} {}", texts, st.sampled_from(["==", "!=", "has", "starts_with"]), words),
    joined("{} in [{}, {}]", texts, words, words),
    st.sampled_from(
        ["stream", "has_tools == false", "(stream ?? true)", 'tier == "free"', "known(max_tokens)"]
    ),
    st.sampled_from(
        ['request_type == "embeddings"', "small", "busy", "known(busy)", '(team ?? "ads") == "ads"']
    ),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        joined("not ({})", inner),
        joined("({}) and {}", inner, atoms),
        joined("{} or ({})", atoms, inner),
        joined("({} or {})", inner, inner),
        joined("known({})", inner),
    ),
    max_leaves=5,
)


def in_style(condition: str, style: str) -> str:
    """A condition as a YAML value in one of the ways that hold any text."""
    if style == "single":
        return "'" + condition.replace("'", "''") + "'"
    if style == "double":
        return '"' + condition.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{style}\n      " + condition.replace(" and ", "\n      and ")


styles = st.sampled_from(["single", "double", "|", ">-", "|-"])
routes = PLACES | st.just("requested")
HEAD = """# as people write it
version: 1
attributes: {tier: [free, pro]}
let:
  small: tokens < 200 and not has_tools
  busy: error_rate("own/tiered") > 20% or small
providers: {own: {kind: openai, base_url: "https://own.example/v1"}}
targets:
  own/tiered:
    price: {input: $1.5/Mtok, output: $2/Mtok, request: $0.001, above: {1k: {input: $3/Mtok,
            output: $5/Mtok}, 200k: {input: $7.000000001/Mtok, output: $9/Mtok}}}
    context_window: 1M
    max_output: 4k
    expected: {p95: 900ms, output: 300}
models: {auto: policy, house: own/tiered}
routing_policy:
"""


@st.composite
def files(draw: st.DrawFn, conditions: st.SearchStrategy[str] = conditions) -> str:
    """A whole policy file, with either kind of line end."""
    text = HEAD
    written = draw(st.lists(st.tuples(conditions, styles, routes), min_size=1, max_size=4))
    for number, (condition, style, route) in enumerate(written):
        text += f"  - name: r{number}   # a rule\n    condition: {in_style(condition, style)}\n"
        text += f"    route: {route}\n"
    text += "  - {name: default, route: openai/gpt-4}\n"
    chain = draw(st.lists(st.tuples(PLACES, conditions), max_size=2))
    if chain:
        text += "fallback_chain:\n"
    for target, condition in chain:
        text += f"  - {{to: {target}, timeout: 2s, when: {in_style(condition, 'single')}}}\n"
    return draw(st.sampled_from([text, text.replace("\n", "\r\n")]))


compared = st.recursive(
    st.one_of(
        joined("{} {} {}", st.sampled_from(["tokens", "prompt_tokens"]), compare, count()),
        joined("{} {} tokens", count(), compare),
        joined("tokens in {}..9M", count()),
        joined("tokens in [{}, {}, 7]", count(), count()),
        st.sampled_from(["small", "busy", "stream", "known(tokens)", "max_tokens > 5", "n == 1"]),
    ),
    lambda inner: st.one_of(
        joined("not ({})", inner),
        joined("({}) and {}", inner, inner),
        joined("({} or {})", inner, inner),
    ),
    max_leaves=5,
)


def values_for(program: Program, key: str) -> st.SearchStrategy[Value | None]:
    attribute = program.slots[key].attribute
    match attribute.type:
        case Type.BOOL:
            return st.none() | st.booleans()
        case Type.ENUM:
            return st.none() | st.sampled_from(attribute.domain or ("x",))
        case Type.TEXT:
            return st.none() | st.sampled_from(["a", "it's", "", "ads", *program.targets])
    low = attribute.minimum or 0
    high = LARGEST if attribute.maximum is None else attribute.maximum
    cuts = [cut for cut in (0, 1, 100, 1_000, 1_001, 200_000, 200_001, high) if low <= cut <= high]
    near = st.sampled_from(cuts) | st.integers(low, min(high, 300_000))
    return st.none() | near | st.integers(low, high)


def drawn(program: Program, data: st.DataObject) -> Snapshot:
    return Snapshot({key: data.draw(values_for(program, key), key) for key in program.slots})


@pytest.mark.uncounted
@thorough
@given(text=files(), data=st.data())
def test_a_written_file_decides_alike_compiled_traced_and_restored(
    language: Any, text: str, data: st.DataObject
) -> None:
    program, findings = language.examine(text)
    refused = [finding for finding in findings if finding.severity == "error"]
    # What is left to refuse in these files: a range that runs backwards, a date, a circle of sizes.
    assert all(finding.code in ("RP111", "RP113") for finding in refused), findings
    assume(program is not None)
    again = restore(program.canonical, language.schema)
    decide, decide_again = compile_program(program), compile_program(again)
    assert again.digest == program.digest
    for _ in range(4):
        snapshot = drawn(program, data)
        verdict = trace(program, snapshot)
        index = -1 if verdict.clause is None else verdict.clause
        assert decide(snapshot) == index
        assert decide_again(snapshot) == index
        for entry, same in zip(program.chain, again.chain, strict=True):
            assert entry.when is not None and same.when is not None
            value = evaluate(entry.when, snapshot).value
            assert compile_term(entry.when)(snapshot) is value
            assert compile_term(same.when)(snapshot) is value
        for step in verdict.steps:
            assert '\\"' not in (step.expression.text if step.expression else "") or "say" in text


@thorough
@given(text=files(compared), data=st.data(), width=st.integers(0, 2_000))
def test_an_interval_that_no_cut_divides_decides_like_every_count_in_it(
    language: Any, text: str, data: st.DataObject, width: int
) -> None:
    program, _ = language.examine(text)
    assume(program is not None and "tokens" in program.slots)
    cuts = program.token_cuts
    assert cuts is not None
    # Beside a cut is where it could go wrong.
    near = [max(0, cut + side) for cut in (*cuts, 80) for side in (-2, -1, 0, 1)]
    low = data.draw(st.sampled_from(near))
    high = next((cut - 1 for cut in cuts if low < cut <= low + width), low + width)
    high = low if low in cuts else high
    assert between(cuts, low, high)
    snapshot = drawn(program, data)
    decide = compile_program(program)
    counts = (low, min(low + 1, high), (low + high) // 2, high)
    assert len({decide(Snapshot({**snapshot, "tokens": count})) for count in counts}) == 1


@given(cuts=st.lists(st.integers(0, 40), max_size=4).map(sorted), low=st.integers(0, 40),
       width=st.integers(0, 10))  # fmt: skip
def test_between_says_whether_all_counts_compare_alike(
    cuts: list[int], low: int, width: int
) -> None:
    def seen(number: int) -> list[tuple[bool, bool]]:
        return [(number < cut, number == cut) for cut in cuts]

    alike = all(seen(number) == seen(low) for number in range(low, low + width + 1))
    assert between(cuts, low, low + width) is alike


rates = st.integers(0, 20 * 10**9)
tariffs = st.builds(
    lambda base, steps: replace(Tariff(*base), above=tuple(sorted(dict(steps).items()))),
    st.tuples(rates, rates, st.none() | rates, st.none() | rates, st.integers(0, 10**7)),
    st.lists(
        st.tuples(st.sampled_from([1_000, 128_000, 200_000]), st.builds(Tariff, rates, rates)),
        max_size=3,
    ),
)


@given(
    tariff=tariffs,
    tokens=st.sampled_from([0, 1, 999, 1_000, 1_001, 200_000, 200_001]) | st.integers(0, 10**7),
    output=st.none() | st.integers(0, 10**6),
    n=st.integers(0, 200),
    window=st.none() | st.integers(1, 10**6),
    longest=st.none() | st.integers(1, 10**6),
)
def test_costs_are_the_exact_sum_of_their_parts_rounded_up_once(
    tariff: Tariff,
    tokens: int,
    output: int | None,
    n: int,
    window: int | None,
    longest: int | None,
) -> None:
    step = tariff
    for start, dearer in tariff.above:
        if tokens > start:
            step = dearer
    target = Target("a/b", "a", "b", tariff, window, longest)

    def sum_of(prompt: int, rate: int, answer: int | None) -> int | None:
        if answer is None and step.output:
            return None
        exact = prompt * rate + (answer or 0) * step.output
        return step.request + -(-exact // 1_000_000)

    snapshot = Snapshot({"tokens": tokens, "max_tokens": output, "n": n, "out": output})
    expected = expected_cost(target, tariff, Read("out", Type.NUMBER))
    assert compile_term(expected)(snapshot) == sum_of(tokens, step.input, output)
    bound = longest if longest is not None else window
    answer = output if bound is None else min(bound if output is None else output, bound)
    worst = worst_case_cost(target, tariff)
    dearest = max(step.input, step.cache_write or 0)
    prompt = tokens if window is None else min(tokens, window)
    assert compile_term(worst)(snapshot) == sum_of(
        prompt, dearest, None if answer is None else n * answer
    )


@pytest.mark.parametrize("below", [-5, 0])
def test_what_divides_by_nothing_or_less_is_unknown(language: Any, below: int) -> None:
    program = language.compile(language.one_rule("tokens / max_tokens > 3"))
    clause = program.clauses[0]
    snapshot = Snapshot({"tokens": 80, "max_tokens": below})
    assert clause.test is not None
    assert compile_term(clause.test)(snapshot) is None
    assert evaluate(clause.test, snapshot).value is None


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ("stream or has_tools", "(stream or has_tools)"),
        ("(stream or has_tools)", "(stream or has_tools)"),
        ("(stream) or (has_tools)", "((stream) or (has_tools))"),
        ('model == "(" or model == ")"', '(model == "(" or model == ")")'),
        ("stream and has_tools", "stream and has_tools"),
    ],
)
def test_what_was_written_keeps_its_meaning_beside_the_guard(
    language: Any, condition: str, shown: str
) -> None:
    program = language.compile(language.one_rule(condition))
    values: dict[str, Value | None] = {
        "request_type": "embeddings",
        "stream": True,
        "has_tools": True,
        "model": "(",
    }
    first = trace(program, Snapshot(values)).steps[0].expression
    assert first is not None
    assert first.text.endswith(f" and {shown}")


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ("tokens / 2 > max_tokens + 1", "tokens > (max_tokens + 1) * 2"),
        ("tokens / 2 > max_tokens ?? 5", "tokens > (max_tokens ?? 5) * 2"),
        ("tokens / 2 > min(n, 5)", "tokens > min(n, 5) * 2"),
        ("tokens / (n + 1) > 3", "tokens > 3 * (n + 1)"),
    ],
)
def test_a_quotient_made_plain_keeps_its_parentheses(
    language: Any, condition: str, shown: str
) -> None:
    program = language.compile(language.one_rule(condition))
    first = trace(program, Snapshot({"tokens": 80, "request_type": "chat"})).steps[0].expression
    assert first is not None
    assert shown in all_texts(first)


def all_texts(node: Node) -> list[str]:
    return [node.text, *(text for child in node.children for text in all_texts(child))]


@pytest.mark.parametrize(
    "written",
    ["'p95(\"openai/gpt-4\") > 8s'", '"p95(\\"openai/gpt-4\\") > 8s"', 'p95("openai/gpt-4") > 8s'],
)
def test_a_trail_shows_the_condition_and_not_its_yaml_escapes(language: Any, written: str) -> None:
    program = language.compile(
        f"routing_policy:\n  - name: a\n    condition: {written}\n    route: openai/gpt-4\n"
        "  - {name: default, route: openai/gpt-4}\n"
    )
    first = trace(program, Snapshot({"request_type": "chat"})).steps[0].expression
    assert first is not None
    assert all_texts(first) == ['p95("openai/gpt-4") > 8s', 'p95("openai/gpt-4")']
