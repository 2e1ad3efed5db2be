"""`policy show`: what is left of a policy where some values are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[[str], Any]

POLICY = """
attributes: {tier: [free, pro]}
let: {tiny: tokens < 100 and not has_tools}
routing_policy:
  - {name: cheap, condition: tiny and tier == "free", route: groq/llama-3-8b}
  - {name: pro, condition: 'tier == "pro"', route: openai/gpt-4}
  - {name: slow, condition: 'p95("openai/gpt-4") > 8s and max_tokens < 4k', route: requested}
  - {name: free, condition: 'tier == "free"', route: groq/llama-3-70b}
  - {name: default, route: openai/gpt-4}
fallback_chain: [anthropic/claude-sonnet]
"""


@pytest.fixture
def show(command: Command, tmp_path: Path) -> Command:
    """Runs `policy show` on the policy above."""
    path = tmp_path / "routing.yml"
    path.write_text(POLICY, encoding="utf-8")
    return lambda rest: command(f"policy show {path} {rest}")


def test_the_rules_that_can_still_match_are_shown_with_what_is_left_of_them(show: Command) -> None:
    ran = show("--given tier=free --given tokens=80")
    assert ran.out == (
        '3 of 5 rules can match, given tier = "free", tokens = 80\n'
        "\n"
        "  1  cheap    not has_tools\n"
        "              → groq/llama-3-8b\n"
        '  3  slow     p95("openai/gpt-4") > 8s and max_tokens < 4k\n'
        "              → requested\n"
        "  4  free     always\n"
        "              → groq/llama-3-70b\n"
    )
    assert (ran.err, ran.status) == ("", 0)


def test_all_names_the_dropped_rules_with_their_reasons(show: Command) -> None:
    ran = show('--given tier="free" --given max_tokens=unknown --given tokens=100 --all')
    assert ran.out == (
        '1 of 5 rules can match, given tier = "free", max_tokens = unknown, tokens = 100\n'
        "\n"
        "  1  cheap    dropped: `tokens < 100` is false\n"
        '  2  pro      dropped: `tier == "pro"` is false\n'
        "  3  slow     dropped: `max_tokens < 4k` is unknown\n"
        "  4  free     always\n"
        "              → groq/llama-3-70b\n"
        "  5  default  dropped: `free` takes these requests before it\n"
    )


def test_nothing_given_shows_the_whole_policy(show: Command) -> None:
    out = show("").out
    assert out.startswith("5 of 5 rules can match\n")
    assert 'tiny and tier == "free"' in out


def test_a_rule_that_surely_matches_ends_the_list(show: Command) -> None:
    data = json.loads(show("--given tier=pro --given request_type=chat --format json").out)
    assert data["given"] == {"tier": '"pro"', "request_type": '"chat"'}
    assert data["rules"] == [
        {"rule": "pro", "number": 2, "condition": None, "route": "openai/gpt-4", "limits": []}
    ]
    assert data["dropped"][1:] == [
        {"rule": name, "number": number, "reason": "`pro` takes every request before it"}
        for number, name in ((3, "slow"), (4, "free"), (5, "default"))
    ]
    assert data["otherwise"] == ["anthropic/claude-sonnet"]
    assert data["policy"].startswith("sha256:")


def test_where_no_rule_is_left_it_says_where_the_request_goes(show: Command) -> None:
    out = show("--given request_type=embeddings").out
    assert out.startswith("0 of 5 rules can match")
    assert "→ requested: what the client asked for" in out


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("--given tier=fre", '`tier` is never `"fre"`'),
        ("--given token=8", "unknown attribute `token`"),
        ("--given tokens", "`--given tokens` is not of the form name=value"),
        ("--given tokens=1 --given tokens=2", "`tokens` is given twice"),
        ("--given tokens=many", "many"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused(show: Command, rest: str, message: str) -> None:
    ran = show(rest)
    assert (ran.out, ran.status) == ("", 2)
    assert message in ran.err
    assert "help:" in ran.err
