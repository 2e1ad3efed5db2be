"""`policy diff --traffic`: which recorded requests are treated otherwise, and how many."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ran

Diff = Callable[..., Ran]

OLD = """attributes: {tier: [free, pro]}
routing_policy:
  - {name: paid, condition: tier == "pro", route: openai/gpt-4o, fallback: [openai/gpt-4.1]}
  - {name: rest, route: openai/gpt-4o}
"""
ROWS = [
    {"tokens": tokens, "tier": tier, "output_tokens": 10, "id": f"r{tokens}", "session": "ab" * 32}
    for tokens, tier in ((10, "pro"), (300, "pro"), (20, "free"), (400, "free"))
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


NEW = (
    # what of `paid` changes, and how many of its two requests are treated otherwise
    ("route: openai/gpt-4o, fallback", "route: openai/gpt-4.1, fallback", 2),
    (
        "route: openai/gpt-4o, fallback",
        "route: {cheapest_of: [openai/gpt-4o, openai/gpt-4.1], where: tokens < 100}, fallback",
        1,  # the small one still comes to the first, which is cheaper for no output
    ),
    ("[openai/gpt-4.1]", "[{to: openai/gpt-4.1, when: tokens < 100}]", 1),
    ("[openai/gpt-4.1]", "[{to: openai/gpt-4.1, timeout: 3s}]", 2),
    ("fallback", "set: {seed: 7}, fallback", 2),
    ("[openai/gpt-4.1]", "[{to: openai/gpt-4.1, when: tokens > 1000}, groq/llama-3-8b]", 2),
)


@pytest.mark.parametrize(("was", "is_", "count"), NEW)
def test_those_are_counted_that_are_treated_otherwise(
    was: str, is_: str, count: int, log: Path, diff: Diff
) -> None:
    new = OLD.replace(was, is_, 1)
    data = json.loads(diff(OLD, new, "--traffic log.jsonl --format json").out)
    (change,) = data["changes"]
    assert (change["traffic"], change["met"]) == (count, 2)
    assert data["traffic"]["otherwise"] == {"requests": count, "share": count / 4}
    assert (
        f"~ paid  ({100 * count / 4} % of the traffic)" in diff(OLD, new, "--traffic log.jsonl").out
    )


def test_of_a_split_only_those_count_whose_arm_is_another(tmp_path: Path, diff: Diff) -> None:
    rows = [{"tokens": 9, "tier": "pro", "session": f"{n:064x}"} for n in range(400)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    split = "route: {split: {openai/gpt-4o: 95%, openai/gpt-4.1: 5%}, sticky: session}"
    old = OLD.replace("route: openai/gpt-4o, fallback: [openai/gpt-4.1]", split)
    new = old.replace("95%", "80%").replace(" 5%", " 20%")
    data = json.loads(diff(old, new, "--traffic log.jsonl --format json").out)
    (change,) = data["changes"]
    assert change["met"] == 400
    assert change["traffic"] == data["traffic"]["moved"]
    assert 30 < change["traffic"] < 90  # 15 % of them


def test_a_limit_that_changes_counts_those_whose_fallback_it_takes(log: Path, diff: Diff) -> None:
    old = OLD + "targets: {openai/gpt-4o: {region: us}, openai/gpt-4.1: {region: us}}\n"
    limit = "require: [{name: r, when: tokens < 100, target: region == 'us'}]\n"
    new = old.replace("4.1: {region: us}", "4.1: {region: eu}") + limit
    data = json.loads(diff(old + limit, new, "--traffic log.jsonl --format json").out)
    counts = {change["old"]: (change["traffic"], change["met"]) for change in data["changes"]}
    assert counts["paid"] == (1, 2)


def test_a_row_that_cannot_be_read_ends_like_simulate(log: Path, diff: Diff) -> None:
    log.write_text(log.read_text() + '{"tokens": "many"}\n')
    ran = diff(OLD, OLD.replace("4.1", "4"), "--traffic log.jsonl")
    assert ran.status == 2
    assert ran.err == "policy: 1 row cannot be read\n"
    assert "unreadable: 1 row\n  log.jsonl:5: " in ran.out
    data = json.loads(diff(OLD, OLD, "--traffic log.jsonl --format json").out)
    assert data["traffic"]["unreadable"]["rows"] == 1


def test_a_broken_gate_weighs_more_than_a_row_that_cannot_be_read(log: Path, diff: Diff) -> None:
    log.write_text(log.read_text() + "nonsense\n")
    words = "--traffic log.jsonl --gate no-new:groq/*"
    assert diff(OLD, OLD.replace("openai/gpt-4.1", "groq/llama-3-8b"), words).status == 1


def test_a_log_that_is_not_there_is_told_before_anything_else(
    diff: Diff, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.cli.diff.compare", lambda *_: pytest.fail("it was compared"))
    ran = diff(OLD, OLD.replace("4.1", "4"), "--traffic nowhere.jsonl")
    assert (ran.status, ran.out) == (2, "")
    assert "there is no file `nowhere.jsonl`" in ran.err


def test_what_the_rows_lack_is_told_as_simulate_tells_it(log: Path, diff: Diff) -> None:
    new = OLD.replace("[openai/gpt-4.1]", "[{to: openai/gpt-4.1, when: team == 'a'}]")
    out = diff(OLD, new, "--traffic log.jsonl").out
    assert "complete: 50.0 % of the requests have all that the policy asked for" in out
    assert "missing: `team` in 50.0 % of the requests, taken as unknown" in out


def test_rows_of_a_tenant_with_another_tier_are_told(tmp_path: Path, diff: Diff) -> None:
    rows: list[dict[str, str]] = [
        {"tenant": "acme", "tier": "free"},
        {"tenant": "acme", "tier": "pro"},
        {"tenant": "acme"},
        {},
    ]
    lines = (json.dumps({"tokens": 10} | row) + "\n" for row in rows)
    (tmp_path / "log.jsonl").write_text("".join(lines))
    old = "tenants: {acme: {tier: free}}\n" + OLD
    new = old.replace("{tier: free}", "{tier: pro}")
    told = "undecided: 2 requests of tenants with another `tier` now, decided by the"
    assert told in diff(old, new, "--traffic log.jsonl").out
    assert "another `tier` now" not in diff(old, old, "--traffic log.jsonl").out
