"""A second policy that decides beside the one in force: what it says, and that it does nothing."""

import asyncio
import itertools
import logging
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.test_engine_decide import NOTHING_LIVE, PROGRAM, bodies, live_values, request
from turnout.adapters.scripted import Scripted, said
from turnout.dsl.check import compile_policy
from turnout.dsl.core import Program
from turnout.dsl.source import Source
from turnout.engine import shadow as shadows
from turnout.engine import tokens, trace
from turnout.engine.catalog import language_schema
from turnout.engine.decide import Decider, recorded
from turnout.engine.embedding import Fetched, put
from turnout.engine.gateway import Gateway
from turnout.engine.journal import Journal
from turnout.engine.live import make_live
from turnout.engine.names import Names
from turnout.engine.provider import Answer
from turnout.engine.pulse import Pulse
from turnout.engine.record import DecisionRecord, PulseTable, Shadowed
from turnout.engine.request import Operation, Request, Usage
from turnout.engine.shadow import Shadow
from turnout.engine.spent import NOTHING_SPENT
from turnout.engine.state.rows import decision_row, read_record
from turnout.engine.state.sqlite import open_store

from .benches import benches

SCHEMA = language_schema()
ACTING = """
routing_policy:
  - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
  - {name: rest, route: openai/gpt-4}
"""


def compiled(policy: str) -> Program:
    return compile_policy(Source("test", policy), SCHEMA)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any request that a gateway could take."""
    team = draw(st.none() | st.sampled_from(["search", "ads"]))
    minute = draw(st.integers(0, 60 * 24 * 14))
    headers = {} if team is None else {"x-team": team}
    asked = request({}, 1_795_000_000_000_000 + minute * 60_000_000, headers=headers)
    asked.body = draw(bodies)
    asked.model = draw(st.sampled_from(["auto", "gpt-4o", "openai/gpt-4", "llama-3-70b"]))
    return asked


def looked(
    acting: Program,
    beside: Program,
    asked: Request,
    live: PulseTable = NOTHING_LIVE,
    **fetched: int,
) -> Shadowed:
    """What a shadow says of one request, as it is kept; `fetched` are scores by list."""
    decider = Decider(acting)
    shadow = Shadow(beside)
    shadow.beside(acting)
    shadow.tick(live)
    target = Names(acting, SCHEMA.catalog).resolve(asked.model).target
    seen = decider.observe(asked, target, live)
    put(seen, Fetched({f"similar_to({name})": score for name, score in fetched.items()}))
    decision = decider.decide(seen)
    before = dict(decision.snapshot)
    look = shadow.look(decision, NOTHING_SPENT)
    assert dict(decision.snapshot) == before
    recorded(decision.snapshot)
    clause = decision.clause
    return look.kept(None if clause is None else clause.name)


def chat(words: int = 5, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "word " * words}]} | more


NEIGHBOURS = [compiled(ACTING.replace("100", cut)) for cut in ("7", "20", "200")]

# --- what it says --------------------------------------------------------------------------------


@given(requests(), live_values)
def test_the_same_policy_never_differs_from_itself(asked: Request, live: dict[str, Any]) -> None:
    kept = looked(PROGRAM, PROGRAM, asked, PulseTable("p", 0, live, {}))
    assert (kept.agrees, kept.undecided, kept.values) == (True, None, {})


@given(requests(), st.sampled_from(NEIGHBOURS))
def test_a_shadow_says_what_the_policy_would_have_said_in_force(
    asked: Request, beside: Program
) -> None:
    kept = looked(PROGRAM, beside, asked)
    alone = Decider(beside)
    target = Names(beside, SCHEMA.catalog).resolve(asked.model).target
    decision = alone.decide(alone.observe(asked, target, NOTHING_LIVE))
    assert kept.rule == (None if decision.clause is None else decision.clause.name)
    assert kept.target == alone.target_of(decision)


DIFFERENCES = [
    (ACTING.replace("100", "50"), "short", "groq/llama-3-8b", True),
    (ACTING.replace("100", "3"), "rest", "openai/gpt-4", False),
    (ACTING.replace("short", "tiny"), "tiny", "groq/llama-3-8b", False),
    (ACTING.replace("groq/llama-3-8b", "groq/llama-3-70b"), "short", "groq/llama-3-70b", False),
    (ACTING.replace("route: groq/llama-3-8b", "route: {reject: 400}"), "short", None, False),
    ("routing_policy: [{name: n, condition: n > 5, route: openai/gpt-4}]", None, None, False),
]


@pytest.mark.parametrize(
    ("beside", "rule", "target", "agrees"), DIFFERENCES, ids=map(str, range(len(DIFFERENCES)))
)
def test_they_agree_where_rule_and_target_are_the_same(
    beside: str, rule: str | None, target: str | None, agrees: bool
) -> None:
    kept = looked(compiled(ACTING), compiled(beside), request(chat()))
    assert (kept.rule, kept.target, kept.agrees) == (rule, target, agrees)
    assert kept.acting == "groq/llama-3-8b"


def test_what_it_read_beside_is_kept_and_explains_it_later() -> None:
    beside = compiled(
        "routing_policy:\n"
        '  - {name: warm, condition: \'temperature > 0.5 and header["x-a"] == "b"\','
        " route: openai/gpt-4}\n"
        "  - {name: rest, route: groq/llama-3-8b}\n"
    )
    asked = request(chat(temperature=0.9), headers={"x-a": "a secret of the caller"})
    kept = looked(compiled(ACTING), beside, asked)
    assert (kept.rule, kept.agrees) == ("rest", False)
    assert kept.values["temperature"] == 9_000
    assert "secret" not in repr(kept)
    record = record_of(asked, kept)
    record.values["request_type"] = "chat"
    trail = trace.document(record, None, shadow=beside)["shadow"]["trail"]
    assert [step["outcome"] for step in trail] == ["false", "true"]


def test_a_name_that_only_the_shadow_does_not_know_would_have_been_refused() -> None:
    acting = compiled(ACTING + "models: {house: policy}\n")
    asked = request(chat())
    asked.model = "house"
    kept = looked(acting, compiled(ACTING), asked)
    assert (kept.refused, kept.agrees) == ("model_not_found", False)


SIMILAR = (
    "lists: {code: [fix my code]}\nembed: {target: openai/text-embedding-3-small}\n"
    "routing_policy:\n"
    '  - {name: code, condition: similar_to("code") > 0.8, route: openai/gpt-4}\n'
    "  - {name: rest, route: groq/llama-3-8b}\n"
)


def test_what_takes_a_call_that_nobody_made_is_undecided() -> None:
    kept = looked(compiled(ACTING), compiled(SIMILAR), request(chat()))
    assert kept.agrees is None
    assert kept.undecided == "`similar_to(code)` takes a call that the policy in force did not make"


def test_what_was_fetched_for_the_same_list_is_good_for_both() -> None:
    acting = compiled(SIMILAR)
    assert looked(acting, acting, request(chat()), code=9_000).agrees is True
    closer = compiled(SIMILAR.replace("0.8", "0.95"))
    kept = looked(acting, closer, request(chat()), code=9_000)
    assert (kept.rule, kept.agrees) == ("rest", False)
    other = compiled(SIMILAR.replace("fix my code", "write a poem"))
    assert looked(acting, other, request(chat()), code=9_000).agrees is None


def test_what_is_held_is_the_same_for_both() -> None:
    policy = compiled(
        "targets: {openai/gpt-4: {expected: {p95: 1s}}}\nrouting_policy:\n"
        '  - {name: slow, condition: p95("openai/gpt-4") > 5s, hold: 5m, route: groq/llama-3-8b}\n'
        "  - {name: rest, route: openai/gpt-4}\n"
    )
    key = policy.latches[0].key
    live = PulseTable("p", 0, {"p95(openai/gpt-4)": 1_000, key: True}, {})
    kept = looked(policy, policy, request(chat()), live)
    assert (kept.rule, kept.agrees) == ("slow", True)


def test_records_without_a_shadow_are_read_and_those_with_one_come_back_whole() -> None:
    record = record_of(request(chat()), None)
    bare = decision_row(record)[-1]
    assert isinstance(bare, bytes)
    assert read_record(bare.replace(b',"shadow":null', b"")) == record
    shadow = Shadowed("sha256:b", "r", "t", "t", None, False, None, None, {"x": 2**70}, {}, {})
    shadow.intervals["tokens"] = (1, 2)
    record.shadow = shadow
    full = decision_row(record)[-1]
    assert isinstance(full, bytes)
    assert read_record(full) == record


def record_of(asked: Request, shadow: Shadowed | None) -> DecisionRecord:
    return DecisionRecord(
        asked.id, asked.received_us, 1, "sha256:a", "chat", "default", "default", None, None, None,
        "", "auto", False, None, None, None, None, {"tokens": 12}, {}, {}, shadow=shadow,
    )  # fmt: skip


# --- in a gateway --------------------------------------------------------------------------------


class Bench:
    """A gateway with a shadow, and what it recorded."""

    def __init__(self, home: Path, policy: str, *providers: Scripted) -> None:
        self.records: list[DecisionRecord] = []
        self.journal = Journal(open_store(home))
        self.gateway = Gateway(
            make_live(compiled(policy), {provider.name: provider for provider in providers}),
            self.journal,
            Pulse(),
            self.records.append,
            lambda _: None,
        )

    async def ask(self, words: int = 5, **more: Any) -> DecisionRecord:
        asked = request(chat(words, **more))
        asked.id = f"req_{len(self.records)}"
        if "model" in more:
            asked.model = more["model"]
        if more.get("input"):
            asked.operation = Operation.EMBEDDINGS
            await self.gateway.embeddings(asked)
        else:
            await self.gateway.generate(asked)
        return self.records[-1]


def answers(name: str, count: int) -> Scripted:
    return Scripted(name, [said("hello", usage=Usage(5, 5)) for _ in range(count)])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    count = itertools.count()

    def make(*providers: Scripted, policy: str = ACTING) -> Bench:
        return Bench(tmp_path / str(next(count)), policy, *providers)

    async with benches(make) as opened:
        yield opened


async def test_without_a_shadow_nothing_is_said(bench: Any) -> None:
    one = await bench(answers("groq", 1))
    assert (await one.ask()).shadow is None


async def test_the_shadow_is_recorded_archived_and_changes_nothing(bench: Any) -> None:
    plain = await bench(answers("groq", 2), answers("openai", 1))
    shady = await bench(answers("groq", 2), answers("openai", 1))
    beside = compiled(ACTING.replace("100", "3"))
    shady.gateway.shadow_with(Shadow(beside))
    for words in (5, 300, 7):
        without, with_one = await plain.ask(words), await shady.ask(words)
        for field in ("rule", "route", "target", "values", "reasons", "intervals", "outcome"):
            assert getattr(without, field) == getattr(with_one, field)
        assert with_one.shadow.rule == "rest"
        assert with_one.shadow.agrees is (words == 300)
    assert shady.journal.archived(beside.digest) == beside.canonical


async def test_a_shadow_that_breaks_is_told_once_per_kind_and_reaches_no_request(
    bench: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await bench(answers("groq", 3))
    shadow = Shadow(compiled(ACTING))
    one.gateway.shadow_with(shadow)

    def broken(seen: Any) -> Any:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(shadow._decider, "decide", broken)
    with caplog.at_level(logging.ERROR, "turnout.shadow"):
        for _ in range(3):
            record = await one.ask()
    assert (record.outcome, record.shadow.agrees) == ("ok", None)
    assert record.shadow.undecided == "it broke: ZeroDivisionError"
    assert shadow.broke == {"ZeroDivisionError": 3}
    assert len(caplog.records) == 1


async def test_a_target_that_only_the_shadow_names_needs_no_key(bench: Any) -> None:
    keyless = Scripted("anthropic", [], usable=False)
    one = await bench(answers("groq", 2), keyless)
    first_of = "routing_policy:\n  - {name: short, route: {first_of: [%s, groq/llama-3-8b]}}\n"
    one.gateway.shadow_with(Shadow(compiled(first_of % "anthropic/claude-sonnet")))
    record = await one.ask()
    assert (record.target, record.shadow.target) == ("groq/llama-3-8b", "anthropic/claude-sonnet")
    # What both name is for both as it is: the same policy comes to the same.
    same = await bench(answers("groq", 1), keyless, policy=first_of % "anthropic/claude-sonnet")
    same.gateway.shadow_with(Shadow(compiled(first_of % "anthropic/claude-sonnet")))
    record = await same.ask()
    assert (record.target, record.shadow.target) == ("groq/llama-3-8b", "groq/llama-3-8b")
    assert record.shadow.agrees is True


async def test_a_shadow_that_breaks_when_it_is_kept_costs_no_record(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await bench(answers("groq", 1))
    one.gateway.shadow_with(Shadow(compiled(ACTING)))

    def broken(seen: Any) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(shadows, "classed", broken)
    record = await one.ask()
    assert (record.outcome, record.shadow.agrees) == ("ok", None)
    assert record.shadow.undecided == "it broke: ZeroDivisionError"


async def test_values_that_only_the_shadow_asks_for_are_measured_for_it(bench: Any) -> None:
    beside = compiled(
        "targets: {anthropic/claude-sonnet: {expected: {p95: 9s}}}\nrouting_policy:\n"
        '  - {name: slow, condition: p95("anthropic/claude-sonnet") > 5s, route: openai/gpt-4}\n'
        "  - {name: rest, route: groq/llama-3-8b}\n"
    )
    one = await bench(answers("groq", 1))
    one.gateway.shadow_with(Shadow(beside))
    record = await one.ask()
    assert record.shadow.rule == "slow"
    assert record.shadow.values["p95(anthropic/claude-sonnet)"] == 9_000_000


async def test_a_long_count_for_the_shadow_alone_is_made_beside(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = "routing_policy: [{name: all, route: groq/llama-3-8b}]"
    counted_in: list[str] = []
    count = tokens.count
    done = threading.Event()

    def noted(asked: Request) -> int:
        counted_in.append(threading.current_thread().name)
        done.wait(10)
        return count(asked)

    monkeypatch.setattr(tokens, "count", noted)
    beside = "routing_policy: [{name: odd, condition: cost > $9, route: groq/llama-3-8b}]"
    one = await bench(answers("groq", 1), policy=policy)
    one.gateway.shadow_with(Shadow(compiled(beside)))
    late = await one.ask(20_000)
    assert late.shadow.undecided == shadows.LATE
    done.set()
    live = one.gateway.live
    seen = live.decider.observe(request(chat(20_000)), None, NOTHING_LIVE)
    look = Shadow(compiled(beside)).look(live.decider.decide(seen), NOTHING_SPENT)
    assert not look.is_decided
    while not look.is_decided:
        await asyncio.sleep(0.001)
    assert threading.main_thread().name not in counted_in and len(counted_in) == 2
    recorded(seen)
    assert look.kept("all").values["tokens"] == count(seen.request)


async def test_embeddings_are_looked_at_too(bench: Any) -> None:
    answer = Answer(b'{"data": []}', Usage(3, 0), "", None, None)
    one = await bench(Scripted("openai", [answer]))
    one.gateway.shadow_with(
        Shadow(
            compiled(
                ACTING.replace(
                    "routing_policy:",
                    "routing_policy:\n  - {name: none, condition: "
                    'request_type == "embeddings", route: {reject: 403}}',
                )
            )
        )
    )
    record = await one.ask(model="text-embedding-3-small", input=["a"])
    assert record.target == "openai/text-embedding-3-small"
    assert (record.shadow.rule, record.shadow.target, record.shadow.agrees) == ("none", None, False)


async def test_shadows_are_replaced_and_taken_away_at_once(bench: Any) -> None:
    one = await bench(answers("groq", 3))
    for policy in (ACTING, ACTING.replace("100", "3"), None):
        one.gateway.shadow_with(None if policy is None else Shadow(compiled(policy)))
        record = await one.ask()
        assert (None if record.shadow is None else record.shadow.agrees) is (
            None if policy is None else policy == ACTING
        )
    await asyncio.sleep(0)
