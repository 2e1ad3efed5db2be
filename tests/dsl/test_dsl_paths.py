"""Where requests can go, as terms, is where single requests go."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dsl.chance import (
    CONDITIONS,
    HEAD,
    LIMITS,
    OF_ONE_TARGET,
    TARGETS,
    fitting,
    nested,
    of_files,
    options,
    random_values,
    rules,
)
from turnout.dsl.core import REQUESTED, Program
from turnout.dsl.destination import asked_name, asked_target, reached
from turnout.dsl.interpret.traced import evaluate, trace
from turnout.dsl.limits import Gate
from turnout.dsl.paths import Paths, allowed, fires, paths, worlds
from turnout.dsl.schema import Value
from turnout.dsl.snapshot import Snapshot
from turnout.engine.decide import observe_body

MODELS = ("auto", "house", "cheap", "gpt-4", "openai/gpt-4", "own/any", "llama-3-70b", "nobody")


def policy(some: Any, chain: Any, fallback: str, limits: str) -> str:
    return (
        HEAD.replace("house: openai/gpt-4o", "house: openai/gpt-4o, cheap: groq/llama-3-8b")
        + limits
        + "routing_policy:\n"
        + "".join(
            f"  - {{name: r{i}, condition: '{c}', route: {r}{fitting(r, o)}"
            f"{'' if 'reject' in r else fallback}}}\n"
            for i, ((c, r), o) in enumerate(some)
        )
        + ("fallback_chain:\n" if chain else "")
        + "".join(f"  - {{to: {r}, timeout: 2s, when: '{c}'}}\n" for c, r in chain)
    )


texts = st.builds(
    policy,
    st.lists(st.tuples(rules, options), min_size=1, max_size=3),
    st.lists(
        st.tuples(nested((*CONDITIONS, *OF_ONE_TARGET)), st.sampled_from(TARGETS)), max_size=3
    ),
    st.sampled_from(
        [
            "",
            "",
            ", fallback: [openai/gpt-4o, groq/llama-3-8b]",
            ", fallback: [own/any, openai/gpt-4]",
        ]
    ),
    st.sampled_from(["", LIMITS]),
)


def snapshots(program: Program) -> st.SearchStrategy[list[Snapshot]]:
    """Whatever the slots may hold, and what was asked for."""
    asked = st.fixed_dictionaries(
        {
            "request_type": st.sampled_from(["chat", "embeddings"]),
            "model": st.sampled_from(MODELS),
            "requested": st.none() | st.sampled_from(["auto", "groq/llama-3-8b", "gpt-4o", "x"]),
        }
    )
    one = st.builds(lambda some, more: Snapshot({**some, **more}), random_values(program), asked)
    return st.lists(one, min_size=4, max_size=4)


def tried(program: Program, clause: int | None, seen: Snapshot) -> Iterator[str]:
    """The targets that a request comes to one after the other, if each fails."""
    found = reached(program, clause, seen).found
    met: set[str] = set()
    model: str | None = None
    for hop in found.hops:
        if hop.target == REQUESTED:
            target = asked_target(program, seen)
            if target is None and asked_name(program, seen) is not None:
                yield REQUESTED
                return  # refused
        else:
            target = program.targets.get(hop.target)
        if target is None or target.id in met:
            continue
        met.add(target.id)
        model = model or target.model
        if target.id in found.limits:
            continue
        if seen["request_type"] == "embeddings" and target.model != model:
            continue
        if hop.when is None or evaluate(hop.when, seen).value is True:
            yield target.id


@of_files
@given(st.data(), texts)
def test_the_paths_that_are_true_are_the_hops_of_a_request(
    language: Any, data: st.DataObject, text: str
) -> None:
    program = language.compile(text)
    of_program = Paths(program)
    for seen in data.draw(snapshots(program)):
        index = trace(program, seen).clause
        clause = None if index is None else program.clauses[index]
        true = [path for path in of_program.of(clause) if evaluate(path.when, seen).value is True]
        assert all(evaluate(path.when, seen).value is not None for path in of_program.of(clause))
        wanted = list(tried(program, index, seen))
        got = [path.target for path in true]
        if REQUESTED in wanted and program.limits:
            # The facts of what nobody knows are free: only what comes before it is certain.
            assert got[: wanted.index(REQUESTED)] == wanted[:-1]
        elif REQUESTED in wanted:
            assert got[: len(wanted)] == wanted
        else:
            assert got == wanted
            there = reached(program, index, seen)
            assert there.target == (got[0] if got else None)
            assert not true or true[0].hop == there.first


@of_files
@given(st.data(), texts)
def test_one_rule_fires_as_traced(language: Any, data: st.DataObject, text: str) -> None:
    program = language.compile(text)
    for seen in data.draw(snapshots(program)):
        index = trace(program, seen).clause
        fired = [i for i in range(len(program.clauses)) if evaluate(fires(program, i), seen).value]
        assert fired == ([] if index is None else [index])


@of_files
@given(st.data(), texts)
def test_a_target_is_allowed_where_no_limit_excludes_it(
    language: Any, data: st.DataObject, text: str
) -> None:
    program = language.compile(text)
    gate = Gate(program)
    for seen in data.draw(snapshots(program)):
        value_of = lambda term, seen=seen: evaluate(term, seen).value  # noqa: E731
        for target in program.targets:
            is_out = gate.excluding(target, value_of) is not None
            assert evaluate(allowed(program, target), seen).value is not is_out


# --- what holds of every snapshot ----------------------------------------------------------------

WORLDLY = """
attributes: {tier: [free, pro]}
models: {auto: policy, house: openai/gpt-4o}
tenants: {acme: {tier: pro, region: eu}}
targets:
  openai/gpt-4: {expected: {p95: 900ms, ttft: 300ms, output: 400}}
routing_policy:
  - {name: a, condition: 'cost < $0.1 and p95(requested) > 1s', route: requested}
  - {name: b, condition: 'p95("openai/gpt-4") > 1s', route: openai/gpt-4}
  - {name: slow, condition: 'ttft.p50("openai/gpt-4", 5m) > 1s', route: openai/gpt-4}
  - {name: c, condition: 'provider == "openai"', route: openai/gpt-4}
  - {name: eu, condition: 'tenant.region == "eu" and tier == "pro"', route: openai/gpt-4}
  - {name: d, condition: 'healthy(requested) and cost("openai/gpt-4") < $1', route: openai/gpt-4}
"""


@pytest.mark.parametrize("model", ["auto", "house", "gpt-4", "openai/gpt-4o", "llama-3-70b"])
@pytest.mark.parametrize("limit", [None, 7, 1_000])
def test_a_gateway_s_snapshot_is_of_the_worlds(
    language: Any, model: str, limit: int | None
) -> None:
    program = language.compile(WORLDLY)
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    body |= {} if limit is None else {"max_tokens": limit}
    seen = observe_body(program, body, 1_790_000_000_000_000)
    for term in worlds(program):
        assert evaluate(term, seen).value is True, term


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "auto", "requested": "openai/gpt-4"},
        {"model": "house", "requested": None},
        {"model": "house", "requested": "openai/gpt-4"},
        {"model": "gpt-4", "requested": "openai/gpt-4", "provider": "groq"},
        {"provider": "openai"},
        {"model": "house", "requested": "openai/gpt-4o", "provider": None},
        {"model": "gpt-4", "requested": "openai/gpt-4", "p95(requested)": None},
        {"p95(requested)": 7},
        {"healthy(requested)": True},
        {"p95(openai/gpt-4)": None},
        {"ttft.p50(openai/gpt-4, 5m)": None},
        {"expected_output(openai/gpt-4)": None},
        {"max_tokens": 7},
        {"tenant": "acme"},
        {"tenant": "acme", "tenant.region": "us", "tier": "pro"},
        {"tenant": "acme", "tenant.region": "eu", "tier": "default"},
        {"tenant.region": "eu"},
    ],
)
def test_what_no_gateway_says_is_of_no_world(
    language: Any, changes: dict[str, Value | None]
) -> None:
    program = language.compile(WORLDLY)
    seen = observe_body(program, {"model": "auto", "messages": []}, 1_790_000_000_000_000)
    plain = Snapshot({**{key: seen[key] for key in ("model", "tenant", "max_tokens")}, **seen})
    assert all(evaluate(term, plain).value is True for term in worlds(program))
    plain.update(changes)
    assert any(evaluate(term, plain).value is False for term in worlds(program))


def test_what_two_programs_do_not_agree_on_holds_of_neither(language: Any) -> None:
    one = language.compile(WORLDLY)
    other = language.compile(WORLDLY.replace("house: openai/gpt-4o", "house: openai/gpt-4"))
    common = worlds(one, other)
    assert set(common) < set(worlds(one))
    seen = Snapshot({"model": "house", "requested": "openai/gpt-4", "provider": "openai"})
    house = [term for term in worlds(one) if "house" in str(term) and term not in common]
    assert any(evaluate(term, seen).value is False for term in house)
    assert worlds(one, one) == worlds(one)


def test_a_rejection_has_no_paths_and_no_rule_means_the_chain(language: Any) -> None:
    program = language.compile(
        "routing_policy:\n"
        "  - {name: no, condition: tokens > 8k, route: {reject: 413, message: too long}}\n"
        "  - {name: yes, condition: tokens < 100, route: groq/llama-3-8b}\n"
        "fallback_chain: [openai/gpt-4, groq/llama-3-8b]\n"
    )
    no, yes = program.clauses
    assert paths(program, no) == ()
    assert [(p.target, p.is_fallback) for p in paths(program, yes)] == [
        ("groq/llama-3-8b", False),
        ("openai/gpt-4", True),
    ]
    chat = Snapshot({"request_type": "chat", "model": "gpt-4"})
    assert [
        (p.target, p.is_fallback)
        for p in paths(program, None)
        if evaluate(p.when, chat).value is True
    ] == [("openai/gpt-4", True), ("groq/llama-3-8b", True)]
    embeddings = Snapshot({"request_type": "embeddings", "model": "gpt-4o"})
    assert [
        (p.target, p.is_fallback)
        for p in paths(program, None)
        if evaluate(p.when, embeddings).value is True
    ] == [("openai/gpt-4o", False)]
