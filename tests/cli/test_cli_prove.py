"""`policy prove`: what a claim may say, and the answers to it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout.cli import proofs

from .conftest import Ran

POLICY = """attributes: {tier: [free, pro]}
let: {small: tokens < 100}
routing_policy:
  - {name: free, condition: tier == "free", route: groq/llama-3-8b}
  - {name: rest, route: openai/gpt-4}
fallback_chain: [groq/llama-3-70b]
"""
Command = Callable[[str], Ran]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "routing.yml").write_text(POLICY)


def test_a_claim_that_holds_is_proved(command: Command) -> None:
    ran = command("""policy prove 'never tier == "free" and route == "openai/gpt-4"'""")
    assert ran.status == 0
    assert ran.out.startswith("proved")


def test_a_claim_that_does_not_hold_is_broken_by_a_request(command: Command) -> None:
    line = """policy prove 'never small and route == "groq/llama-3-70b"' --format json"""
    ran = command(line)
    assert ran.status == 1
    data = json.loads(ran.out)
    assert (data["verdict"], data["rule"], data["target"]) == ("broken", "free", "groq/llama-3-70b")
    assert data["is_fallback"] is True
    assert data["witness"]["tokens"] < 100


def test_the_request_that_breaks_it_can_be_explained(command: Command) -> None:
    data = json.loads(command("""policy prove 'always tier == "free"' --format json""").out)
    given = " ".join(f"--given '{key}={value}'" for key, value in data["witness"].items())
    told = json.loads(command(f"policy explain {given} --format json").out)
    assert (told["rule"], told["target"]) == (data["rule"], data["target"])


MISTAKES = (
    ('never tier == "fre"', "<claim>:1:15: error[RP112", 'did you mean `"free"`?'),
    ("never tokns < 5", "<claim>:1:7: error[RP101", "did you mean `tokens`?"),
    ("always  smal", "<claim>:1:9: error[RP101", "did you mean `small`?"),
    ('never route == "openai/gpt-5x" and', "<claim>:1:", "RP001"),
    ("never tokens", "<claim>:1:7: error[RP103", ""),
)


@pytest.mark.parametrize(("claim", "place", "help"), MISTAKES)
def test_a_mistake_in_a_claim_is_shown_at_its_place(
    claim: str, place: str, help: str, command: Command
) -> None:
    ran = command(f"policy prove '{claim}'")
    assert ran.status == 1
    assert place in ran.err
    assert "^" in ran.err
    assert help in ran.err


@pytest.mark.parametrize(
    ("words", "help"),
    [("nevr small", "did you mean `never`?"), ("small", "write `never`"), ("", "write `never`")],
)
def test_a_claim_begins_with_its_kind(words: str, help: str, command: Command) -> None:
    ran = command(f"policy prove '{words}'")
    assert ran.status == 2
    assert help in ran.err


def test_the_names_that_a_claim_may_read_are_listed(command: Command) -> None:
    names = [line.split()[0] for line in command("policy prove --names").out.splitlines()]
    assert {"route", "region", "price_out", "small", "tokens", "tier", "latency"} <= {*names}
    assert not {"usable", "held", "cached_tokens"} & {*names}
    assert len(names) == len({*names})


def test_out_of_time_it_is_not_decided_and_fails(command: Command) -> None:
    ran = command("""policy prove 'never tokens > 5 and tier == "pro"' --timeout 1ms""")
    assert ran.status == 1
    assert ran.out.startswith("not decided")


def test_without_z3_the_extra_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "is_installed", lambda: False)
    ran = command("policy prove 'never small'")
    assert ran.status == 2
    assert "pip install 'turnout[prove]'" in ran.err


TYPOS = (
    ('never route == "openai/gpt-4oo"', "there is no target `openai/gpt-4oo`", "openai/gpt-4o"),
    ('never provider == "opnai"', "no target has the provider `opnai`", '"openai"'),
)


@pytest.mark.parametrize(("claim", "message", "meant"), TYPOS)
def test_a_name_that_no_target_has_is_warned_of(
    claim: str, message: str, meant: str, command: Command
) -> None:
    ran = command(f"policy prove '{claim}'")
    assert ran.status == 0
    assert message in ran.err
    assert meant in ran.err
    assert json.loads(command(f"policy prove '{claim}' --format json").out)["warnings"] == [message]


def test_what_is_not_known_of_a_target_is_told_beside_a_never_that_holds(command: Command) -> None:
    Path("regions.yml").write_text(
        "targets: {openai/gpt-4o: {region: us}}\n"
        "routing_policy:\n"
        "  - {name: a, condition: tokens < 5, route: openai/gpt-4o-mini}\n"
        "  - {name: b, route: openai/gpt-4o}\n"
    )
    ran = command("""policy prove 'never region != "us"' regions.yml""")
    assert ran.status == 0
    assert ran.out.splitlines()[1] == (
        "nothing is known of the region of openai/gpt-4o-mini: "
        "there the claim is not broken; `always` would be"
    )
    data = json.loads(
        command("""policy prove 'never region != "us"' regions.yml --format json""").out
    )
    assert data["unknown"] == {"region": ["openai/gpt-4o-mini"]}
    assert len(command("policy prove 'never tokens < 0' regions.yml").out.splitlines()) == 1


def test_what_the_claim_compares_is_shown_beside_the_request(command: Command) -> None:
    line = "policy prove 'never worst_case(cost) > $0.1 and n == 1 and max_tokens == 1000'"
    ran = command(line)
    assert "worst_case(cost) = $" in ran.out.splitlines()[2]
    data = json.loads(command(f"{line} --format json").out)
    assert data["values"]["worst_case(cost)"].startswith("$")


def test_a_request_like_any_other_is_said_to_be_one(command: Command) -> None:
    assert "any request" not in command("""policy prove 'never route == "openai/gpt-4"'""").out


def test_budgets_are_listed_as_they_are_written(command: Command) -> None:
    assert 'budget("…").left' in command("policy prove --names").out


def test_a_hop_before_which_nothing_is_tried_needs_no_failure(command: Command) -> None:
    Path("none.yml").write_text(
        "routing_policy: [{name: a, condition: tokens < 5, route: openai/gpt-4}]\n"
        "fallback_chain: [groq/llama-3-70b]\n"
    )
    claim = """'never tokens > 5 and route == "groq/llama-3-70b"'"""
    out = command(f"policy prove {claim} none.yml").out
    assert "no rule takes it, and it goes to groq/llama-3-70b" in out
