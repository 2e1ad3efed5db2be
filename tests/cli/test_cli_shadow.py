"""`turnout shadow` over a journal that was written by hand."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout.dsl.check import compile_policy
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema
from turnout.engine.record import Attempt, DecisionRecord, Shadowed
from turnout.engine.request import Usage
from turnout.engine.state.sqlite import open_store
from turnout.engine.state.store import Group

from .conftest import Ran

PROGRAM = compile_policy(
    Source("test", "routing_policy: [{name: all, route: openai/gpt-4o-mini}]\n"), language_schema()
)
OLDER = "sha256:older"
Command = Callable[[str], Ran]


def record(
    number: int, rule: str | None, shadow: Shadowed | None, ago_s: int = 60
) -> DecisionRecord:
    """A request that gpt-4 answered for a thousand tokens and a hundred."""
    now_us = time.time_ns() // 1_000 - ago_s * 1_000_000 + number
    answered = Attempt(
        "openai/gpt-4", "gpt-4", "ok", 0, 1, now_us, 5, usage=Usage(1_000, 100),
        cost_nano_usd=36_000_000,
    )  # fmt: skip
    return DecisionRecord(
        f"req_{number}", now_us, 5, "sha256:acting", "chat", "default", "default", None, None,
        None, "", "auto", False, 0, rule, rule, "openai/gpt-4", {"tokens": 1_000}, {}, {},
        attempts=[answered], status=200, shadow=shadow,
    )  # fmt: skip


def said(rule: str | None, target: str | None, agrees: bool | None, **more: str) -> Shadowed:
    policy = more.pop("policy", PROGRAM.digest)
    shadowed = Shadowed(policy, rule, rule, target, "openai/gpt-4", agrees)
    shadowed.undecided = more.get("undecided")
    shadowed.refused = more.get("refused")
    return shadowed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path))
    mini = "openai/gpt-4o-mini"
    records = [
        record(1, "a", said("b", mini, False, policy=OLDER), ago_s=7200),
        record(2, "a", None),
        record(3, "a", said("a", "openai/gpt-4", True)),
        record(4, "a", said("b", mini, False)),
        record(5, "a", said("b", mini, False)),
        record(6, None, said("b", mini, False)),
        record(7, "a", said(None, None, False, refused="model_not_found")),
        record(8, "a", said(None, None, None, undecided="`similar_to(code)` takes a call")),
    ]
    store = open_store(tmp_path)
    store.write(Group(records=records, policies=[(PROGRAM.digest, PROGRAM.canonical)]))
    store.close()
    return tmp_path


def test_pairs_are_counted_with_their_share_and_what_they_cost(
    home: Path, command: Command
) -> None:
    ran = command("turnout shadow --since 30m")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "6 requests of the last 30m: 1 the same, 4 otherwise, 1 undecided",
        f"shadow {PROGRAM.digest[:19]}",
        "",
        "  rule  in the shadow  requests   share  cost now      then",
        "  a     b                     2  33.3 %    $0.072  $0.00042",
        "  none  b                     1  16.7 %    $0.036  $0.00021",
        "  a     none                  1  16.7 %",
        "undecided 1: `similar_to(code)` takes a call",
    ]


def test_earlier_shadows_are_left_out_unless_asked_for(home: Path, command: Command) -> None:
    told = json.loads(command("turnout shadow --format json").out)
    assert (told["requests"], told["earlier"], told["shadow"]) == (6, 1, ["sha256:…"])
    told = json.loads(command("turnout shadow --format json --all").out)
    assert (told["requests"], told["earlier"]) == (7, 0)
    assert told["shadow"] == [OLDER, "sha256:…"]
    pair = told["pairs"][0]
    assert (pair["rule"], pair["shadow_rule"], pair["requests"], pair["priced"]) == ("a", "b", 3, 2)


def test_the_requests_of_a_pair_are_listed_newest_first(home: Path, command: Command) -> None:
    told = json.loads(command("turnout shadow --format json --pair a b").out)
    assert [one["id"] for one in told["differing"]] == ["req_5", "req_4"]
    told = json.loads(command("turnout shadow --format json --pair none b").out)
    assert [one["id"] for one in told["differing"]] == ["req_6"]
    ran = command("turnout shadow --pair a none")
    assert "refused: model_not_found" in ran.out and "req_7" in ran.out
    ran = command("turnout shadow --pair a b --limit 1")
    assert "req_5" in ran.out and "req_4" not in ran.out
    assert "no such request" in command("turnout shadow --pair a nobody").out


def test_where_there_was_no_shadow_it_says_how_to_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path))
    ran = command("turnout shadow")
    assert ran.status == 2 and "there is no journal" in ran.err
    store = open_store(tmp_path)
    store.write(Group(records=[record(1, "a", None)]))
    store.close()
    ran = command("turnout shadow --since 1h")
    assert ran.status == 0 and "turnout serve --shadow FILE" in ran.out
    ran = command("turnout shadow --since yesterday")
    assert ran.status == 2 and "--since 7d" in ran.err
