"""`policy bounds`: the table, what it fails on, and what cannot be asked."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ran

POLICY = """deadline: 50s
routing_policy:
  - {name: small, condition: tokens < 100, route: groq/llama-3-8b, timeout: 5s, retries: 0}
  - {name: no, condition: tokens > 5000, route: {reject: 413}}
  - {name: rest, route: openai/gpt-4, timeout: 5s}
fallback_chain: [{to: groq/llama-3-70b, timeout: 7s}]
"""
Command = Callable[[str], Ran]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "routing.yml").write_text(POLICY)


def test_every_rule_has_its_worst_and_the_whole_too(command: Command) -> None:
    data = json.loads(command("policy bounds --format json").out)
    table = {row["rule"]: (row["time"]["value"], row["attempts"]["value"]) for row in data["rules"]}
    assert table["small"] == ("12s", 3)
    assert table["no"] == ("0s", 0)
    assert table["rest"] == ("12s", 4)
    assert data["worst"]["attempts"]["rule"] == "rest"
    assert data["worst"]["attempts"]["witness"]["tokens"] in range(100, 5_001)


ALLOWED = (
    ("--max-attempts 4", 0),
    ("--max-attempts 3", 1),
    ("--max-time 12s", 0),
    ("--max-time 11s", 1),
    ("--max-cost '$100'", 0),
    ("--max-cost '$0.01'", 1),
    ("""--max-attempts 3 --where 'tokens < 100'""", 0),
    ("--max-attempts 4 --timeout 1ms", 1),
)


@pytest.mark.parametrize(("words", "status"), ALLOWED)
def test_more_than_is_allowed_fails(words: str, status: int, command: Command) -> None:
    assert command(f"policy bounds {words}").status == status


REFUSED = (
    ("--max-cost 5s", "is no dollars: write it as `$0.50`"),
    ("--max-time $5", "is no time: write it as `60s`"),
    ("--max-attempts many", "is no attempts: write it as `6`"),
)


@pytest.mark.parametrize(("words", "told"), REFUSED)
def test_an_amount_of_another_kind_is_refused(words: str, told: str, command: Command) -> None:
    ran = command(f"policy bounds {words}")
    assert ran.status == 2
    assert told in ran.err


def test_a_mistake_in_the_condition_is_shown_at_its_place(command: Command) -> None:
    ran = command("policy bounds --where 'tokns < 5'")
    assert ran.status == 1
    assert "<where>:1:1" in ran.err
    assert "did you mean `tokens`?" in ran.err


def test_it_says_what_is_assumed_of_a_request(command: Command) -> None:
    assert "of generation for one answer" in command("policy bounds").out
    assert "for one answer" not in command("policy bounds --where 'n <= 2'").out


@pytest.mark.parametrize("name", ["route", "region", "cost"])
def test_what_only_a_target_has_is_no_name_for_requests(name: str, command: Command) -> None:
    literal = "$1" if name == "cost" else '"x"'
    ran = command(f"policy bounds --where '{name} != {literal}'")
    assert ran.status == 2
    assert f"`{name}` is known of a target" in ran.err
