"""`policy diff` in text: each difference is one that can be seen, and said once."""

import json
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from .conftest import Ran

Diff = Callable[..., Ran]
Command = Callable[[str], Ran]

CHAIN = """attributes: {tier: [free, pro, vip]}
routing_policy:
  - {name: small, condition: tokens < 100, route: groq/llama-3-8b}
  - {name: paid, condition: tier == "pro", route: openai/gpt-4o}
  - {name: own, condition: tier == "vip", route: openai/gpt-4o, fallback: [openai/gpt-4o-mini]}
  - {name: rest, route: openai/gpt-4.1}
fallback_chain:
  - {to: groq/llama-3-70b, timeout: 10s}
  - {to: anthropic/claude-sonnet, timeout: 20s}
"""


def blocks(out: str) -> list[list[str]]:
    """The parts of a report between empty lines, without the headline."""
    return [part.splitlines() for part in out.rstrip("\n").split("\n\n")[1:]]


def test_one_change_of_the_chain_is_told_once_with_its_place(diff: Diff) -> None:
    ran = diff(CHAIN, CHAIN.replace("timeout: 10s", "timeout: 5s"))
    assert ran.out.splitlines()[0].endswith(
        "4 pairs of rules with requests that are treated otherwise, no others (proved)"
    )
    of_rules = blocks(ran.out)[0]
    assert of_rules[:3] == [
        "~ 3 rules, which fall back to the chain: small, paid, rest",
        "    - fallback 1: groq/llama-3-70b (timeout: 10s)",
        "    + fallback 1: groq/llama-3-70b (timeout: 5s)",
    ]
    assert of_rules[3].startswith("    for example, of small: ")
    # where no rule matches the chain is no fallback
    assert blocks(ran.out)[1][:2] == ["~ (no rule)", "    - groq/llama-3-70b (timeout: 10s)"]


def test_all_pairs_are_in_the_data_though_text_groups_them(diff: Diff) -> None:
    ran = diff(CHAIN, CHAIN.replace("timeout: 10s", "timeout: 5s"), "--format json")
    changes = json.loads(ran.out)["changes"]
    assert {change["old"] for change in changes} == {"small", "paid", "rest", None}


def test_another_fallback_is_told_by_the_fallbacks_alone(diff: Diff) -> None:
    new = CHAIN.replace("[openai/gpt-4o-mini]", "[openai/gpt-4.1, groq/llama-3-8b]")
    (change, *_) = blocks(diff(CHAIN, new).out)
    assert change[:3] == [
        "~ own",
        "    - fallback openai/gpt-4o-mini",
        "    + fallback openai/gpt-4.1, then groq/llama-3-8b",
    ]


ONE = """attributes: {tier: [free, pro]}
routing_policy:
  - {name: one, condition: tokens < 100, ROUTE}
  - {name: rest, route: openai/gpt-4o}
"""
SLOW = 'condition: p95("openai/gpt-4o") > 8s, route: groq/llama-3-8b'
DIFFERENCES = (
    # the rest of a rule before and after, and what is said of it
    (
        "route: {reject: 429, message: later, retry_after: 1m}",
        "route: {reject: 429, message: later, retry_after: 2m}",
        'reject 429 "later", again after 1m',
        'reject 429 "later", again after 2m',
    ),
    (
        "route: openai/gpt-4o, set: {temperature: 1, stop: a}",
        "route: openai/gpt-4o, set: {temperature: 0, stop: a, seed: 7}",
        "seed not set, set temperature: 1",
        "set seed: 7, set temperature: 0",
    ),
    (
        "route: openai/gpt-4o, retries: 1, catch: [timeout]",
        "route: openai/gpt-4o, retries: 2, catch: [timeout, overloaded]",
        "openai/gpt-4o (retries: 1, catch: [breaker_open, timeout])",
        "openai/gpt-4o (retries: 2, catch: [breaker_open, overloaded, timeout])",
    ),
    (
        "route: openai/gpt-4o",
        "route: openai/gpt-4o, mirror: {to: groq/llama-3-8b, sample: 100%}",
        "no copy",
        "a copy to groq/llama-3-8b",
    ),
)


@pytest.mark.parametrize(("was", "is_", "before", "after"), DIFFERENCES)
def test_what_differs_is_what_is_shown(
    was: str, is_: str, before: str, after: str, diff: Diff
) -> None:
    (change, *_) = blocks(diff(ONE.replace("ROUTE", was), ONE.replace("ROUTE", is_)).out)
    assert change[1:3] == [f"    - {before}", f"    + {after}"]


HELD = """routing_policy:
  - {name: slow, condition: p95("openai/gpt-4o") > 8s, route: groq/llama-3-8b, hold: 2m}
  - {name: rest, route: openai/gpt-4o}
"""


def test_another_hold_says_how_long_and_after_what(diff: Diff) -> None:
    (change, *_) = blocks(diff(HELD, HELD.replace("hold: 2m", "hold: 5m")).out)
    assert change[1:3] == [
        '    - held for 2m after p95("openai/gpt-4o") > 8s',
        '    + held for 5m after p95("openai/gpt-4o") > 8s',
    ]


LIMITED = """attributes: {tier: [free, pro]}
targets: {openai/gpt-4o: {region: us}}
require: [{name: at_home, when: tier == "pro", target: region == "us"}]
routing_policy: [{name: all, route: openai/gpt-4o}]
"""


def test_a_limit_that_leaves_nothing_is_named(diff: Diff) -> None:
    (change, *_) = blocks(diff(LIMITED, LIMITED.replace('region == "us"}', 'region == "eu"}')).out)
    assert change[1:3] == [
        "    - openai/gpt-4o",
        "    + no target is allowed: the limit `at_home` keeps out `openai/gpt-4o`",
    ]


ASKED = """attributes: {tier: [free, pro]}
routing_policy:
  - {name: asked, condition: tier == "pro", route: requested, fallback: [groq/llama-3-8b]}
  - {name: rest, route: openai/gpt-4o}
"""


@pytest.mark.parametrize(
    "new",
    [
        ASKED.replace("[groq/llama-3-8b]", "[groq/llama-3-70b]"),
        ASKED.replace("route: requested", "timeout: 3s, route: requested"),
        ASKED + "models: {other: groq/llama-3-8b}\n",
        CHAIN.replace("timeout: 10s", "catch: [timeout], timeout: 10s"),
    ],
)
def test_no_difference_is_shown_that_cannot_be_seen(new: str, diff: Diff) -> None:
    old = CHAIN if new.startswith(CHAIN[:60]) else ASKED
    lines = diff(old, new).out.splitlines()
    shown = [(before, after) for before, after in pairwise(lines) if before.startswith("    - ")]
    assert shown
    assert all(before[6:] != after[6:] for before, after in shown)


SPLIT = """attributes: {tier: [free, pro]}
routing_policy:
  - name: canary
    condition: tier == "pro"
    route: {split: {openai/gpt-4o: 95%, openai/gpt-4.1: 5%}, sticky: session}
  - {name: rest, route: openai/gpt-4o}
"""


def test_the_shares_of_a_split_are_shown_before_and_after(diff: Diff) -> None:
    new = SPLIT.replace("95%", "80%").replace(" 5%", " 20%")
    (change, *_) = blocks(diff(SPLIT, new).out)
    assert change[3] == "    split: openai/gpt-4o 95 % → 80 %, openai/gpt-4.1 5 % → 20 %"
    (data,) = json.loads(diff(SPLIT, new, "--format json").out)["changes"]
    assert data["shares"] == {
        "openai/gpt-4o": {"before": 0.95, "after": 0.8},
        "openai/gpt-4.1": {"before": 0.05, "after": 0.2},
    }


SETTINGS = (
    (ONE.replace("ROUTE", "route: groq/llama-3-8b") + "deadline: 1m\n", "deadline: 1m"),
    (
        ONE.replace("ROUTE", "route: groq/llama-3-8b")
        + "providers: {openai: {base_url: 'https://a.example/v1'}}\n",
        "a.example",
    ),
)


@pytest.mark.parametrize(("old", "part"), SETTINGS)
@pytest.mark.parametrize("form", ["text", "markdown"])
def test_a_changed_setting_is_in_the_headline(old: str, part: str, form: str, diff: Diff) -> None:
    new = old.replace(part, "deadline: 30s" if "deadline" in part else "b.example")
    out = diff(old, new, f"--format {form}").out
    assert "the routing is the same (proved), but 1 setting changed" in out
    assert "equivalent" not in out


def test_a_policy_that_is_written_otherwise_is_equivalent(diff: Diff) -> None:
    old = ONE.replace("ROUTE", "route: groq/llama-3-8b")
    out = diff(old, old.replace("tokens < 100", "not (tokens >= 100)")).out
    assert out == "old.yml → new.yml: equivalent, every request is treated as before (proved)\n"


def test_a_split_under_another_name_moves_people_and_says_so(diff: Diff) -> None:
    out = diff(SPLIT, SPLIT.replace("name: canary", "name: canary2")).out
    assert "equivalent" not in out
    assert "so they move arms" in out


def test_what_is_not_decided_is_said_once_with_a_count(diff: Diff) -> None:
    rules = [
        f"  - {{name: r{n}, condition: tenant == 't{n}', route: groq/llama-3-8b}}\n"
        for n in range(9)
    ]
    old = "routing_policy:\n" + "".join(rules) + "  - {name: rest, route: openai/gpt-4o}\n"
    out = diff(old, old.replace("llama-3-8b", "llama-3-70b"), "--timeout 1ms").out
    told = [line for line in out.splitlines() if line.startswith("? ")]
    assert told
    assert len(told) == len(set(told))


def test_the_last_line_is_a_command_that_explains_the_first_example(
    diff: Diff, command: Command, tmp_path: Path
) -> None:
    old = ONE.replace("ROUTE", 'route: groq/llama-3-8b, catch: ["timeout"]')
    for new in (old.replace("8b", "70b"), SPLIT.replace(" 5%", " 20%").replace("95%", "80%")):
        out = diff(SPLIT if "canary" in new else old, new).out
        told = out.splitlines()[-1]
        example = next(line for line in out.splitlines() if "for example" in line)
        assert told.startswith("to see why: policy explain new.yml --given ")
        assert shlex.split(told)[-1] == example.partition(": ")[2]
        ran = command(told.removeprefix("to see why: "))
        assert (ran.status, ran.err) == (0, "")


LISTED = """attributes: {tier: [free, pro]}
routing_policy:
  - {name: paid, condition: tier == "pro", route: groq/llama-3-8b}
  - {name: rest, route: groq/llama-3-70b}
"""
MORE = LISTED.replace("[free, pro]", "[free, pro, team]").replace(
    "  - {name: rest",
    '  - {name: team, condition: tier == "team", route: openai/gpt-4o}\n  - {name: rest',
)


@pytest.mark.parametrize(
    ("old", "new", "rules"), [(LISTED, MORE, "+ rest → team"), (MORE, LISTED, "- team → rest")]
)
def test_a_value_that_only_one_version_lists_is_an_example(
    old: str, new: str, rules: str, diff: Diff, command: Command
) -> None:
    ran = diff(old, new)
    assert (ran.status, ran.err) == (0, "")
    (change, *_) = blocks(ran.out)
    assert change[0] == rules
    assert 'tier = "team"' in change[-1]
    assert command(ran.out.splitlines()[-1].removeprefix("to see why: ")).status == 0


TENANTS = """tenants: {acme: {tier: free}}
routing_policy:
  - {name: paid, condition: tier == "pro", route: groq/llama-3-8b}
  - {name: rest, route: groq/llama-3-70b}
"""


@pytest.mark.parametrize(
    ("old", "new", "example"),
    [
        (
            TENANTS,
            TENANTS.replace("free", "pro"),
            'tenant = "acme", tier = "free" before, "pro" after',
        ),
        (
            TENANTS.replace("free", "pro"),
            TENANTS.replace("tier: free", ""),
            'tier = "pro" before, "default" after',
        ),
    ],
)
def test_what_the_versions_read_otherwise_is_told_of_both_and_explained_of_the_new(
    old: str, new: str, example: str, diff: Diff, command: Command
) -> None:
    ran = diff(old, new)
    (change, *_) = blocks(ran.out)
    assert example in change[-1]
    told = command(ran.out.splitlines()[-1].removeprefix("to see why: "))
    assert told.status == 0
    assert change[-2].removeprefix("    + ") in told.out


def test_where_nothing_changes_there_is_no_command_to_explain_it(diff: Diff) -> None:
    assert "policy explain" not in diff(CHAIN, CHAIN).out
