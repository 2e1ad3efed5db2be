"""`policy why-not`: what decided, who took the request, and what would have to be otherwise."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Ran

Command = Callable[[str], Ran]
TIERS = "../../policies/tiers.yml"
AT_WORK = "--given tier=pro --given 'at=Tue 10:00'"


def answer(command: Command, line: str) -> dict[str, Any]:
    ran = command(f"policy why-not {line} --format json")
    assert ran.status == 0, ran.err
    document = json.loads(ran.out)
    assert isinstance(document, dict)
    return document


def test_the_operand_that_decided_is_named_with_its_value(command: Command) -> None:
    document = answer(command, f"small_talk {TIERS} --given tokens=900 {AT_WORK}")
    assert (document["fires"], document["outcome"]) == (False, "false")
    assert document["decided_by"] == [
        {"text": "tokens < 200", "value": "false", "reason": None, "values": {"tokens": "900"}}
    ]
    assert document["nearest"]["text"] == "tokens < 200"
    assert document["nearest"]["changes"] == [
        {"attribute": "tokens", "before": "900", "after": "199", "text": "tokens < 200"}
    ]


def test_an_earlier_rule_that_took_the_request_is_named(command: Command) -> None:
    line = f"paying {TIERS} --given tokens=900 {AT_WORK} --given 'p95(openai/gpt-4o)=9s'"
    document = answer(command, line)
    assert (document["outcome"], document["taken_by"]) == ("true", "around_a_slow_provider")
    assert document["decided_by"] == []
    assert document["nearest"]["text"] == 'p95("openai/gpt-4o") <= 8s'
    text = command(f"policy why-not {line}").out
    assert "its condition is true, but around_a_slow_provider took the request before it" in text
    assert text.endswith('nearest change: with p95("openai/gpt-4o") <= 8s it would fire\n')


def test_a_rule_that_fires_is_said_to_fire(command: Command) -> None:
    line = f"small_talk {TIERS} --given tokens=50 {AT_WORK}"
    assert answer(command, line)["fires"] is True
    assert command(f"policy why-not {line}").out.startswith("small_talk fires on this request")


def test_what_is_unknown_decides_with_its_reason(command: Command, tmp_path: Any) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(
        "routing_policy:\n"
        '  - {name: staff, condition: \'header["x-team"] == "search"\', route: openai/gpt-4}\n'
        "  - {name: rest, route: openai/gpt-4}\n"
    )
    document = answer(command, f"staff {file} --given tokens=1")
    (part,) = document["decided_by"]
    assert (document["outcome"], part["value"], part["reason"]) == ("unknown", None, "not given")
    assert document["nearest"]["text"] == 'header["x-team"] == "search"'


def test_no_change_is_offered_where_there_is_none(command: Command, tmp_path: Any) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(
        "routing_policy:\n"
        "  - {name: first, condition: tokens < 10, route: openai/gpt-4}\n"
        "  - {name: behind, condition: tokens < 10 and has_tools, route: openai/gpt-4}\n"
        "  - {name: rest, route: openai/gpt-4}\n"
    )
    document = answer(command, f"behind {file} --given tokens=5")
    assert document["nearest"] is None
    assert document["note"].startswith("no change of up to three values makes it fire")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"smal_talk {TIERS}", "did you mean `small_talk`?"),
        (f"zzz {TIERS}", "rules are as_asked, small_talk"),
        (f"paying {TIERS} --given tokens=many", "is not a number"),
        ("paying nowhere.yml", "there is no file `nowhere.yml`"),
        (f"paying {TIERS} --given tokens", "is not of the form name=value"),
        ("paying - --request -", "cannot both be standard input"),
        (f"paying {TIERS} --request files/cut.yml", "is not JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(line: str, told: str, command: Command) -> None:
    ran = command(f"policy why-not {line}")
    assert ran.status == 2
    assert told in ran.err
    assert "Traceback" not in ran.err
