"""The gateway in process, over simulators that are processes: what failed, what answered."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from turnout import (
    Completion,
    CompletionError,
    CompletionStream,
    FallbackError,
    Gateway,
    Policy,
    PolicyError,
    SettingsError,
)
from turnout.simulator.process import SimulatorProcess

KEYS = {f"{name}_API_KEY": "simulated" for name in ("OPENAI", "ANTHROPIC", "GROQ")}
HELLO = [{"role": "user", "content": "Say hello."}]
RULES = """
routing_policy:
  - {name: asked, condition: 'model == "asked"', route: requested}
  - {name: short, condition: tokens < 100, route: groq/llama-3-8b, retries: 0}
  - {name: long, route: openai/gpt-4}
fallback_chain: [anthropic/claude-sonnet]
models: {asked: policy}
"""


def opened(home: Path, addresses: str, rules: str = RULES) -> AbstractAsyncContextManager[Gateway]:
    file = home / "routing.yml"
    file.write_text(rules + addresses)
    return Gateway.open(file, environment=KEYS, home=home)


@pytest.fixture
async def gateway(tmp_path: Path, addresses: str) -> AsyncIterator[Gateway]:
    async with opened(tmp_path, addresses) as one:
        yield one


@pytest.fixture
def faulty(simulators: dict[str, SimulatorProcess]) -> Iterator[dict[str, SimulatorProcess]]:
    yield simulators
    for simulator in simulators.values():
        simulator.clear_faults()


async def whole(gateway: Gateway, fallback: Any = None, **more: Any) -> Completion:
    answer = await gateway.complete({"messages": HELLO} | more, fallback)
    assert isinstance(answer, Completion)
    return answer


async def streamed(gateway: Gateway, fallback: Any = None) -> CompletionStream:
    answer = await gateway.complete({"messages": HELLO, "stream": True}, fallback)
    assert isinstance(answer, CompletionStream)
    return answer


async def refused(work: Any) -> CompletionError:
    with pytest.raises(CompletionError) as caught:
        await work
    return caught.value


def tried(answer: Completion | CompletionStream | CompletionError) -> list[tuple[Any, ...]]:
    return [(a.target, a.outcome, a.fault) for a in answer.attempts]


def kept(home: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(home / "turnout.db") as database:
        select = "select request, target, outcome, fault from ledger order by time_us"
        return database.execute(select).fetchall()


async def test_the_policy_decides_and_the_answer_says_how(gateway: Gateway) -> None:
    answer = await whole(gateway)
    assert (answer.rule, answer.target) == ("short", "groq/llama-3-8b")
    assert answer.body["object"] == "chat.completion"
    assert answer.text == answer.body["choices"][0]["message"]["content"] != ""
    assert tried(answer) == [("groq/llama-3-8b", "ok", None)]
    assert answer.usage is not None and answer.usage.input > 0
    assert answer.cost > Decimal(0)
    assert answer.policy == gateway.policy
    assert answer.attempts[0].took.total_seconds() > 0


FAULTS = [
    ({"kind": "refuse"}, "connect", None),
    ({"kind": "status", "status": 429}, "rate_limit", 429),
    ({"kind": "status", "status": 500}, "5xx", 500),
    ({"kind": "delay", "at": "headers"}, "timeout", None),
    ({"kind": "malformed", "form": "json"}, "bad_output", None),
]


@pytest.mark.parametrize(("fault", "told", "status"), FAULTS, ids=[row[1] for row in FAULTS])
async def test_what_failed_and_what_answered_is_told(
    gateway: Gateway,
    faulty: dict[str, SimulatorProcess],
    fault: dict[str, Any],
    told: str,
    status: int | None,
) -> None:
    faulty["groq"].fault(fault)
    fallback = [
        {"provider": "groq", "model": "llama-3-70b", "timeout": 0.4, "retries": 0},
        {"provider": "openai/gpt-4o-mini", "timeout": "30s"},
    ]
    answer = await whole(gateway, fallback, model="asked")
    assert tried(answer) == [
        ("groq/llama-3-70b", "failed", told),
        ("openai/gpt-4o-mini", "ok", None),
    ]
    assert answer.target == "openai/gpt-4o-mini"
    assert answer.attempts[0].status in (status, 200)
    assert answer.attempts[0].reason


async def test_the_list_replaces_what_the_policy_says_follows(
    gateway: Gateway, faulty: dict[str, SimulatorProcess]
) -> None:
    faulty["groq"].fault({"kind": "status", "status": 500})
    as_written = await whole(gateway)
    assert as_written.target == "anthropic/claude-sonnet"
    replaced = await whole(gateway, ["openai/gpt-4o-mini (timeout: 20s)"])
    assert tried(replaced) == [
        ("groq/llama-3-8b", "failed", "5xx"),
        ("openai/gpt-4o-mini", "ok", None),
    ]
    assert replaced.rule == "short"


async def test_retries_are_tries_of_their_own_and_as_many_as_asked_for(
    gateway: Gateway, faulty: dict[str, SimulatorProcess]
) -> None:
    faulty["groq"].fault({"kind": "status", "status": 503})
    fallback = [{"provider": "groq/llama-3-70b", "retries": 2, "backoff": "1ms"}, "openai/gpt-4"]
    answer = await whole(gateway, fallback, model="asked")
    assert [(a.target, a.number) for a in answer.attempts] == [
        ("groq/llama-3-70b", 1),
        ("groq/llama-3-70b", 2),
        ("groq/llama-3-70b", 3),
        ("openai/gpt-4", 1),
    ]


async def test_catch_says_for_which_faults_an_entry_is_tried(
    gateway: Gateway, faulty: dict[str, SimulatorProcess]
) -> None:
    faulty["groq"].fault({"kind": "status", "status": 500})
    fallback = [
        {"provider": "openai/gpt-4", "catch": ["timeout"]},
        {"provider": "openai/gpt-4o-mini", "catch": "5xx"},
    ]
    answer = await whole(gateway, fallback)
    assert tried(answer)[1:] == [
        ("openai/gpt-4", "skipped", None),
        ("openai/gpt-4o-mini", "ok", None),
    ]
    assert "catch" in (answer.attempts[1].reason or "")


async def test_the_catch_of_a_rule_is_for_what_the_policy_says_follows_not_for_the_list(
    tmp_path: Path, addresses: str, faulty: dict[str, SimulatorProcess]
) -> None:
    rules = RULES.replace("retries: 0", "retries: 0, timeout: 300ms, catch: [5xx]")
    faulty["groq"].fault({"kind": "delay", "at": "headers"})
    async with opened(tmp_path, addresses, rules) as one:
        error = await refused(one.complete({"messages": HELLO}))
        assert tried(error)[1] == ("anthropic/claude-sonnet", "skipped", None)
        fallback = [{"provider": "openai/gpt-4", "catch": ["5xx"]}, "openai/gpt-4o-mini"]
        answer = await whole(one, fallback)
        assert tried(answer) == [
            ("groq/llama-3-8b", "failed", "timeout"),
            ("openai/gpt-4", "skipped", None),
            ("openai/gpt-4o-mini", "ok", None),
        ]
        assert answer.attempts[1].reason == "its `catch` does not name timeout"


async def test_limits_of_the_policy_hold_for_the_list_too(tmp_path: Path, addresses: str) -> None:
    rules = (
        'require: [{name: near, target: region == "eu"}]\n'
        "targets: {anthropic/claude-sonnet: {region: eu}}\n"
        "routing_policy: [{name: all, route: requested}]\n"
    )
    async with opened(tmp_path, addresses, rules) as one:
        answer = await whole(one, ["openai/gpt-4", "anthropic/claude-sonnet"])
    assert [(a.target, a.outcome) for a in answer.attempts] == [
        ("openai/gpt-4", "skipped"),
        ("anthropic/claude-sonnet", "ok"),
    ]
    assert answer.attempts[0].reason == "the limit `near` keeps it out"


async def test_a_provider_alone_stands_for_the_model_of_the_body(
    gateway: Gateway, faulty: dict[str, SimulatorProcess]
) -> None:
    faulty["groq"].fault({"kind": "status", "status": 500})
    answer = await whole(gateway, ["openai"], model="gpt-4o-mini")
    assert answer.target == "openai/gpt-4o-mini"
    with pytest.raises(FallbackError, match=r"fallback\[0\]: the target `groq/gpt-4o-mini`"):
        await whole(gateway, ["groq"], model="gpt-4o-mini")


async def test_where_nothing_answers_the_error_lists_what_was_tried(
    gateway: Gateway, faulty: dict[str, SimulatorProcess]
) -> None:
    for name in ("groq", "openai"):
        faulty[name].fault({"kind": "status", "status": 429, "retry_after": 7})
    fallback = [{"provider": "openai/gpt-4", "retries": 0}]
    error = await refused(gateway.complete({"messages": HELLO}, fallback))
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert tried(error) == [
        ("groq/llama-3-8b", "failed", "rate_limit"),
        ("openai/gpt-4", "failed", "rate_limit"),
    ]
    assert error.retry_after_us is not None and 5_000_000 <= error.retry_after_us <= 7_000_000
    assert error.id.startswith("req_")
    told = "(tried groq/llama-3-8b: rate_limit; openai/gpt-4: rate_limit)"
    assert str(error) == f"{error.message} {told}"


async def test_without_a_policy_the_list_alone_is_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "routing.yml").write_text("not read: nobody named it")
    async with Gateway.open(None, environment={"OPENAI_API_KEY": "k"}, keep=False) as one:
        error = await refused(one.complete({"messages": HELLO}, [{"provider": "groq/llama-3-8b"}]))
        assert (error.status, error.code) == (403, "no_target_allowed")
        assert tried(error) == [("groq/llama-3-8b", "skipped", None)]
        assert str(error) == error.message  # which says why already
        error = await refused(one.complete({"messages": HELLO}))
        assert (error.status, error.param) == (400, "model")


async def test_a_stream_is_parsed_chunks_and_then_the_account(
    gateway: Gateway, faulty: dict[str, SimulatorProcess]
) -> None:
    faulty["groq"].fault({"kind": "status", "status": 500})
    stream = await streamed(gateway, ["openai/gpt-4o-mini"])
    assert (stream.target, stream.rule) == ("openai/gpt-4o-mini", "short")
    assert tried(stream)[1] == ("openai/gpt-4o-mini", "open", None)
    assert stream.cost is None and stream.usage is None
    chunks = [chunk async for chunk in stream]
    said = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert said == stream.text != ""
    assert tried(stream) == [
        ("groq/llama-3-8b", "failed", "5xx"),
        ("openai/gpt-4o-mini", "ok", None),
    ]
    assert stream.cost is not None and stream.cost > 0
    assert stream.usage is not None and stream.usage.output > 0


async def test_a_stream_that_is_closed_early_is_paid_for_as_far_as_it_came(
    gateway: Gateway, faulty: dict[str, SimulatorProcess]
) -> None:
    faulty["groq"].fault({"kind": "delay", "at": "chunk", "after": 4})
    async with await streamed(gateway) as stream:
        await anext(stream)
    assert tried(stream) == [("groq/llama-3-8b", "failed", None)]
    assert stream.attempts[0].reason == "the client left"
    assert stream.cost is not None and stream.cost > 0


async def test_a_stream_that_nobody_holds_any_more_is_settled(
    gateway: Gateway, faulty: dict[str, SimulatorProcess], tmp_path: Path
) -> None:
    faulty["groq"].fault({"kind": "delay", "at": "chunk", "after": 4})
    stream = await streamed(gateway)
    del stream
    while not kept(tmp_path):
        await asyncio.sleep(0.01)
    assert kept(tmp_path)[0][1:3] == ("groq/llama-3-8b", "failed")


async def test_a_stream_that_breaks_off_raises_once_what_came_was_given(
    gateway: Gateway, faulty: dict[str, SimulatorProcess]
) -> None:
    faulty["groq"].fault({"kind": "cut", "after": 4}, times=1)
    stream = await streamed(gateway)
    with pytest.raises(CompletionError) as caught:
        async for _ in stream:
            pass
    assert stream.text != ""
    assert tried(caught.value) == [("groq/llama-3-8b", "failed", "connect")]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_task_that_is_cancelled_leaves_like_a_client(
    gateway: Gateway, faulty: dict[str, SimulatorProcess], tmp_path: Path, stream: bool
) -> None:
    groq = faulty["groq"]
    groq.clear_stats()
    groq.fault({"kind": "delay", "at": "headers"})
    work = asyncio.ensure_future(gateway.complete({"messages": HELLO, "stream": stream}))
    while groq.stats()["total"]["requests"] == 0:
        await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    while not kept(tmp_path):
        await asyncio.sleep(0.01)
    assert [row[1:] for row in kept(tmp_path)] == [("groq/llama-3-8b", "failed", None)]


async def test_what_was_open_when_the_block_ends_is_settled_and_written(
    tmp_path: Path, addresses: str
) -> None:
    async with opened(tmp_path, addresses) as one:
        answer = await whole(one)
        stream = await streamed(one)
    rows = kept(tmp_path)
    assert [row[0] for row in rows] == [answer.id, stream.id]
    assert [row[2] for row in rows] == ["ok", "failed"]
    with pytest.raises(RuntimeError, match="closed"):
        await one.complete({"messages": HELLO})


async def test_a_tenant_has_no_more_under_way_than_its_seats(
    tmp_path: Path, addresses: str, faulty: dict[str, SimulatorProcess]
) -> None:
    async with opened(tmp_path, addresses, RULES + "tenants: {default: {concurrency: 1}}\n") as one:
        faulty["groq"].fault({"kind": "delay", "at": "chunk", "after": 4})
        async with await streamed(one):
            error = await refused(one.complete({"messages": HELLO}))
            assert (error.status, error.code) == (429, "concurrency_exceeded")
        faulty["groq"].clear_faults()
        dropped = await streamed(one)
        del dropped
        assert (await whole(one)).target == "groq/llama-3-8b"


async def test_who_waits_for_a_seat_when_the_block_ends_is_told_so(
    tmp_path: Path, addresses: str
) -> None:
    rules = RULES + "tenants: {acme: {concurrency: 1}}\n"
    async with opened(tmp_path, addresses, rules) as one:
        stream = await one.complete({"messages": HELLO, "stream": True}, tenant="acme")
        waiting = asyncio.create_task(one.complete({"messages": HELLO}, tenant="acme"))
        await asyncio.sleep(0)
        assert not waiting.done()
    with pytest.raises(RuntimeError, match="closed"):
        await waiting
    assert [row[0] for row in kept(tmp_path)] == [stream.id]


async def test_fifty_at_once_each_get_their_own_account(
    gateway: Gateway, faulty: dict[str, SimulatorProcess]
) -> None:
    faulty["groq"].fault({"kind": "malformed", "form": "json"}, rate=0.3)

    async def one(number: int) -> tuple[int, Completion]:
        said = [{"role": "user", "content": f"number {number}."}]
        return number, await whole(gateway, ["openai/gpt-4o-mini"], messages=said)

    answers = await asyncio.gather(*(one(number) for number in range(50)))
    assert len({answer.id for _, answer in answers}) == 50
    for number, answer in answers:
        assert f"number {number}." in answer.text
        assert (answer.attempts[-1].target, answer.attempts[-1].outcome) == (answer.target, "ok")
        assert len(answer.attempts) == (2 if answer.target == "openai/gpt-4o-mini" else 1)


async def test_two_gateways_of_a_process_share_nothing(tmp_path: Path, addresses: str) -> None:
    other = "routing_policy: [{name: other, route: openai/gpt-4o-mini}]\n"
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    async with opened(homes[0], addresses) as a, opened(homes[1], addresses, other) as b:
        answers = await asyncio.gather(whole(a), whole(b))
    assert [answer.rule for answer in answers] == ["short", "other"]
    assert [[row[0] for row in kept(home)] for home in homes] == [[one.id] for one in answers]


async def test_a_loaded_policy_serves_and_reads_who_asks(addresses: str) -> None:
    policy = Policy.parse(
        "attributes: {tier: [free, pro], tenant: [default, acme]}\n"
        "routing_policy:\n"
        '  - {name: paying, condition: tier == "pro", route: openai/gpt-4}\n'
        '  - {name: tagged, condition: \'meta["job"] == "batch"\', route: openai/gpt-4o-mini}\n'
        '  - {name: led, condition: \'header["x-team"] == "search"\', route: groq/llama-3-8b}\n'
        "  - {name: rest, route: anthropic/claude-sonnet}\n" + addresses
    )
    body = {"messages": HELLO}
    async with Gateway.open(policy, environment=KEYS, keep=False) as one:
        asked = [
            await one.complete(body, tier="pro", tenant="acme"),
            await one.complete(body, tags={"job": "batch"}),
            await one.complete(body, headers={"X-Team": "search"}),
            await one.complete(body),
        ]
        assert [answer.rule for answer in asked] == ["paying", "tagged", "led", "rest"]
        explained = await one.explain(body, tier="pro")
        assert (explained["rule"], explained["target"]) == ("paying", "openai/gpt-4")
        error = await refused(one.complete(body, tenant="stranger"))
        assert (error.status, error.code) == (400, "unknown_tenant")
        with pytest.raises(ValueError, match="the tag `a,b`"):
            await one.complete(body, tags={"a,b": "c"})


async def test_embeddings_are_answered_too(gateway: Gateway) -> None:
    body = {"model": "text-embedding-3-small", "input": ["a", "b"]}
    answer = await gateway.embeddings(body)
    assert [row["index"] for row in answer.body["data"]] == [0, 1]
    assert (answer.text, answer.target) == ("", "openai/text-embedding-3-small")


BODIES: list[tuple[Any, str | None]] = [
    ({}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": HELLO, "n": "two"}, "n"),
    ({"messages": HELLO, "tools": {1, 2}}, "body"),
    ({"messages": HELLO, "model": "gpt-nothing"}, None),
]


@pytest.mark.parametrize(("body", "param"), BODIES, ids=["none", "empty", "n", "set", "model"])
async def test_a_body_that_is_none_is_refused_as_over_http(
    gateway: Gateway, body: Any, param: str | None
) -> None:
    error = await refused(gateway.complete(body))
    assert error.status in (400, 404)
    assert error.param == param
    assert error.attempts == ()


WRONG: list[tuple[Any, str]] = [
    ({"provider": "openai"}, r"fallback: this is not a list: write `\["),
    ([3], r"fallback\[0\]: this is int, not a mapping or a text"),
    ([{"model": "gpt-4"}], r"fallback\[0\]: there is no `provider`: write `\{"),
    ([{"provider": 3}], r"fallback\[0\]: `provider` is no text"),
    ([{"provider": "openai/gpt-4", "modle": "x"}], "unknown key `modle`: did you mean `model`"),
    ([{"to": "openai/gpt-4"}], "unknown key `to`: did you mean `provider`"),
    ([{"provider": "openai/gpt-4", "model": "gpt-4"}], "write the model in one of the two"),
    (["openai/gpt-4", "grok/llama-3-70b"], r"fallback\[1\].*Did you mean `groq/llama-3-70b`"),
    (["grq/x"], r"unknown provider `grq`: did you mean `groq`\?$"),
    (["zzz/x"], "unknown provider `zzz`: providers here: .*`groq`"),
    (["grq"], r"unknown provider `grq`: did you mean `groq`\?"),
    (["groq"], "the body names none: write `groq/` and the model"),
    (["openai/gpt-nothing"], "has no known price"),
    (["auto"], "leaves the choice to the policy"),
    (["openai/gpt-4", "openai/gpt-4"], r"fallback\[1\]: `openai/gpt-4` stands at 0 already"),
    (["openai/gpt-4 (timout: 2s)"], "unknown key `timout`.*did you mean `timeout`"),
    (["openai/gpt-4 (when: tokens < 9)"], "`when` has no place here"),
    ([{"provider": "openai/gpt-4", "timeout": "2x"}], "unknown unit `x`.*write one such as `2s`"),
    ([{"provider": "openai/gpt-4", "timeout": True}], "a number of seconds"),
    ([{"provider": "openai/gpt-4", "ttft": -1}], "write from 0.001 to"),
    ([{"provider": "openai/gpt-4", "idle": float("nan")}], "write from 0.001 to"),
    ([{"provider": "openai/gpt-4", "retries": 99}], "must be at most 10"),
    ([{"provider": "openai/gpt-4", "retries": 1.5}], "write a small whole number"),
    ([{"provider": "openai/gpt-4", "catch": ["timeot"]}], "did you mean `timeout`"),
    ([{"provider": "openai/gpt-4", "catch": 5}], "write a list of faults"),
    (["openai/gpt-4"] * 33, "33 entries are too many"),
]


async def test_a_wrong_entry_is_named_with_what_to_write(gateway: Gateway) -> None:
    for fallback, told in WRONG:
        with pytest.raises(FallbackError, match=told):
            await gateway.complete({"messages": HELLO}, fallback)


def test_the_example_of_the_page_runs_as_it_stands(tmp_path: Path, first_policy: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "library.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "routing.yml").write_text(first_policy)
    (tmp_path / "example.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env=os.environ | KEYS | {"TURNOUT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer, by, tried, *streamed = done.stdout.splitlines()
    assert "Say hello" in answer
    assert by.startswith("by groq/llama-3-8b for 0.00")
    assert tried == "tried groq/llama-3-8b ok None"
    assert "Say hello" in streamed[0] and streamed[-1].endswith("USD")


async def test_what_cannot_serve_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text("routing_policy: [{name: a, condition: tokns < 1, route: openai/gpt-4}]\n")
    with pytest.raises(PolicyError, match="tokns"):
        async with Gateway.open(bad, environment=KEYS, keep=False):
            raise AssertionError("it opened")
    good = Policy.parse("routing_policy: [{name: a, route: openai/gpt-4}]\n")
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        async with Gateway.open(good, environment={}, keep=False):
            raise AssertionError("it opened")
    with pytest.raises(OSError):
        async with Gateway.open(tmp_path / "none.yml", environment=KEYS, keep=False):
            raise AssertionError("it opened")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"body": None}, "`body` must be a mapping, not NoneType"),
        ({"body": [("messages", HELLO)]}, "`body` must be a mapping, not list"),
        ({"tenant": b"acme"}, "`tenant` must be a text, not bytes"),
        ({"user": {"id": 1}}, "`user` must be a text, not dict"),
        ({"tier": None}, "`tier` must be a text, not NoneType"),
        ({"team": "\ud800"}, "`team` has half a character in it"),
        ({"tags": {"a": 5}}, "`a` of `tags` must be a text, not int"),
        ({"tags": ["a"]}, "`tags` must be a mapping, not list"),
        ({"headers": {1: "a"}}, "a key of `headers` must be a text, not int"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_could_not_be_written_down_is_refused_before_it_costs_anything(
    gateway: Gateway, tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(told)):
        await gateway.complete(**({"body": {"messages": HELLO}} | given))
    assert kept(tmp_path) == []


class Shown(dict[str, object]):
    """A mapping that does not show what it holds."""

    def __repr__(self) -> str:
        return "<entry>"


async def test_lists_that_look_alike_are_told_apart(gateway: Gateway) -> None:
    names = ["openai/gpt-4", "groq/llama-3-8b"]
    found = [gateway._fallback([Shown(provider=name)], "auto").hops[0].target for name in names]
    assert found == names


async def test_a_block_that_ends_leaves_no_reader_and_no_connection(
    tmp_path: Path, addresses: str, faulty: dict[str, SimulatorProcess]
) -> None:
    async def read(stream: CompletionStream) -> None:
        async for _ in stream:
            pass

    before = len(os.listdir("/proc/self/fd"))
    async with opened(tmp_path, addresses) as gateway:
        await whole(gateway)
        faulty["groq"].fault({"kind": "delay", "at": "chunk", "after": 2}, times=1)
        stream = await streamed(gateway)
        task = asyncio.create_task(read(stream))
        while stream._reader is None:
            await asyncio.sleep(0)
    with pytest.raises(CompletionError, match="closed while it was read"):
        await task
    assert len(os.listdir("/proc/self/fd")) <= before
    assert len(kept(tmp_path)) == 2
