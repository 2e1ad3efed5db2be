import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from turnout.cli.dispatch import CommandError
from turnout.cli.given import split_given

from .conftest import Ran

Command = Callable[[str], Ran]


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("tokens=80", "tokens", "80"),
        (" tokens = 80 ", "tokens", "80"),
        ("p95(openai/gpt-4)=9s", "p95(openai/gpt-4)", "9s"),
        ('p95("openai/gpt-4")=9s', 'p95("openai/gpt-4")', "9s"),
        ('header["x=y"]=a=b', 'header["x=y"]', "a=b"),
        ("header['a]=b']=c", "header['a]=b']", "c"),
        ("model=", "model", ""),
    ],
)
def test_given_splits_at_the_first_equals_outside_quotes_and_brackets(
    argument: str, name: str, value: str
) -> None:
    assert split_given(argument) == (name, value)


@pytest.mark.parametrize("argument", ["tokens", "=80", "", 'header["x=y]', "p95(a=b"])
def test_given_without_a_name_and_a_value_is_refused(argument: str) -> None:
    with pytest.raises(CommandError, match="is not of the form name=value"):
        split_given(argument)


@given(st.from_regex(r"[a-z_]+(\([a-z/=]*\)|\[\"[a-z=\]]*\"\])?", fullmatch=True), st.text())
def test_given_gives_back_what_was_joined(name: str, value: str) -> None:
    assert split_given(f"{name}={value}") == (name, value.strip())


def explained(command: Command, line: str) -> dict[str, Any]:
    ran = command(f"policy explain {line} --format json")
    assert ran.status == 0, ran.err
    document = json.loads(ran.out)
    assert isinstance(document, dict)
    return document


def test_json_has_exactly_the_keys_that_scripts_rely_on(command: Command) -> None:
    document = explained(command, "../../policies/first.yml --given tokens=300")
    assert list(document)[:5] == ["rule", "route", "target", "policy", "trail"]
    assert {key: document[key] for key in list(document)[5:]} == {
        "choice": [],
        "bucket": None,
        "limits": [],
        "set": {},
        "mirror": None,
        "tags": [],
        "expired": False,
        "why_no_target": None,
    }
    assert (document["rule"], document["route"], document["target"]) == (
        "default",
        "openai/gpt-4",
        "openai/gpt-4",
    )
    assert document["policy"].startswith("sha256:")
    assert [(step["rule"], step["outcome"]) for step in document["trail"]] == [
        ("cheap_for_simple", "false"),
        ("smart_for_complex", "false"),
        ("default", "true"),
    ]
    condition = document["trail"][0]["expression"]
    assert (condition["text"], condition["value"]) == ("tokens < 100", "false")
    assert [(part["text"], part["value"]) for part in condition["children"]] == [("tokens", "300")]


@pytest.mark.parametrize(
    ("tokens", "rule", "target"),
    [
        (80, "cheap_for_simple", "groq/llama-3-8b"),
        (300, "default", "openai/gpt-4"),
        (700, "smart_for_complex", "anthropic/claude-sonnet"),
    ],
)
def test_the_first_file_in_the_world_routes_by_size(
    tokens: int, rule: str, target: str, command: Command
) -> None:
    document = explained(command, f"../../policies/first.yml --given tokens={tokens}")
    assert (document["rule"], document["target"]) == (rule, target)


def test_what_is_not_given_is_unknown_with_a_reason(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(
        "routing_policy:\n"
        '  - {name: staff, condition: \'header["x-team"] == "search"\', route: openai/gpt-4}\n'
        "  - {name: default, route: groq/llama-3-8b}\n"
    )
    step = explained(command, f"{file} --given tokens=1")["trail"][0]
    assert (step["outcome"], step["expression"]["value"]) == ("unknown", None)
    assert step["expression"]["reason"]
    named = explained(command, f"{file} --given 'header[\"x-team\"]=search'")
    assert named["rule"] == "staff"


def test_the_clock_of_now_is_taken_and_said_so(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(
        "routing_policy:\n"
        "  - {name: late, condition: time >= 22:00, route: groq/llama-3-8b}\n"
        "  - {name: default, route: openai/gpt-4}\n"
    )
    ran = command(f"policy explain {file}")
    assert ran.status == 0
    assert ran.err.startswith("clock of now: time ") and ran.err.endswith("(UTC)\n")
    given_ = command(f"policy explain {file} --given time=22:30")
    assert given_.err == "" and "rule late" in given_.out


def test_a_chat_body_is_explained(command: Command, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(
        json.dumps({"model": "auto", "messages": [{"role": "user", "content": "word " * 700}]})
    )
    document = explained(command, f"../../policies/first.yml --request {body}")
    assert document["rule"] == "smart_for_complex"
    document = explained(command, f"../../policies/first.yml --request - < {body}")
    assert document["rule"] == "smart_for_complex"


def test_values_are_laid_over_a_chat_body(command: Command, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"messages": [{"role": "user", "content": "word " * 700}]}))
    document = explained(
        command,
        f"../../policies/tiers.yml --request {body} --given tier=free --given time=10:00 "
        "--given weekday=Tue",
    )
    assert document["rule"] == "free_at_peak"


def test_requested_stands_for_the_model_that_was_asked_for(command: Command) -> None:
    document = explained(
        command,
        "../../policies/local_first.yml --given tokens=10 --given model=house/big",
    )
    assert (document["rule"], document["route"], document["target"]) == (
        "by_name",
        "requested",
        "openai/gpt-4o",
    )


def test_no_match_is_the_fallback_chain(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(
        "routing_policy:\n"
        "  - {name: late, condition: tokens < 10, route: groq/llama-3-8b}\n"
        "fallback_chain: [openai/gpt-4]\n"
    )
    document = explained(command, f"{file} --given tokens=20")
    assert (document["rule"], document["route"], document["target"]) == (
        None,
        "openai/gpt-4",
        "openai/gpt-4",
    )


@pytest.mark.parametrize(
    "line",
    [
        "../../policies/first.yml --given tokens=80",
        "../../policies/tiers.yml --given tokens=900 --given tier=pro"
        " --given 'p95(openai/gpt-4o)=9s' --given time=10:00 --given weekday=Tue",
        "../../policies/local_first.yml --given tokens=900 --given model=house/big",
    ],
    ids=["first", "tiers", "local_first"],
)
def test_the_text_is_fit_to_be_read(
    line: str, command: Command, snapshot: SnapshotAssertion
) -> None:
    ran = command(f"policy explain {line}")
    assert (ran.status, ran.err) == (0, "")
    assert snapshot == ran.out


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "is not JSON (line 1, column 2)"),
        ("[]", "is not the body of a chat request"),
    ],
)
def test_a_body_that_is_none_is_refused(
    body: str, message: str, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "body.json"
    file.write_text(body)
    ran = command(f"policy explain ../../policies/first.yml --request {file}")
    assert ran.status == 2
    assert message in ran.err


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ("", "tokens"),
        ("--given tokns=80", "`tokns`"),
        ("--given tokens=many", "many"),
        ("--given tokens=80s", "80s"),
        ("--given tokens", "name=value"),
    ],
)
def test_values_that_cannot_be_read_are_refused_with_exit_code_2(
    given_: str, message: str, command: Command
) -> None:
    ran = command(f"policy explain ../../policies/first.yml {given_}")
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err


def test_a_broken_policy_is_shown_with_its_finding(command: Command) -> None:
    ran = command("policy explain broken/typo_in_attribute.yml --given tokens=80")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("broken/typo_in_attribute.yml:4:16: error[RP101")
