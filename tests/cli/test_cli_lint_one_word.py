"""One word of a whole policy is changed: lint names the rules that die of it, and what kills them.

The policy is a copy: who edits the example of the same text does not weaken the test.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ran

FILES = Path(__file__).parent / "one_word"
POLICY = (FILES / "routing.yml").read_text(encoding="utf-8")
BEFORE, AFTER = 'condition: tier == "pro"', 'condition: tier != "free"'
Command = Callable[[str], Ran]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)


def edited(before: str = BEFORE, after: str = AFTER) -> None:
    assert POLICY.count(before) == 1
    Path("routing.yml").write_text(POLICY.replace(before, after))


def test_as_it_is_nothing_is_found_that_a_proof_says(command: Command) -> None:
    ran = command("policy lint --format json")
    assert ran.status == 0
    codes = {finding["code"] for finding in json.loads(ran.out)}
    assert not {code for code in codes if code.startswith(("RP2", "RP31", "RP32"))}


def test_the_two_rules_that_die_and_the_two_that_kill_them_together_are_named(
    command: Command,
) -> None:
    edited()
    ran = command("policy lint --format json")
    dead = [finding for finding in json.loads(ran.out) if finding["code"] == "RP202"]
    assert ran.status == 1
    assert [name_of(finding) for finding in dead] == ["slow_primary", "default"]
    for finding in dead:
        assert "`free_peak` and `sonnet_canary` before it together" in finding["message"]
    text = command("policy lint").out
    assert text.count("error[RP202") == 2


def name_of(finding: dict[str, str]) -> str:
    """The rule that a finding is about."""
    return finding["message"].split("`")[1]


def test_diff_shows_a_request_of_each_rule_that_loses_its_requests(command: Command) -> None:
    Path("old.yml").write_text(POLICY)
    edited()
    data = json.loads(command("policy diff old.yml routing.yml --format json").out)
    assert data["verdict"] == "changed"
    pairs = {(change["old"], change["new"]) for change in data["changes"]}
    assert pairs == {("slow_primary", "sonnet_canary"), ("default", "sonnet_canary")}
    for change in data["changes"]:
        assert change["witness"].get("tier") != "free"


def test_the_tests_of_the_file_notice_it_too(command: Command) -> None:
    assert command("policy test").status == 0
    edited()
    assert command("policy test").status == 1


# --- limits and invariants -----------------------------------------------------------------------

EU = """never tenant.region == "eu" and region != "eu" """


def test_that_europe_stays_in_europe_is_proved_and_without_the_limit_a_request_breaks_it(
    command: Command,
) -> None:
    assert command(f"policy prove '{EU}' --timeout 100s").out.startswith("proved")
    limit = next(line for line in POLICY.splitlines() if "eu_stays_in_eu" in line)
    edited(limit + "\n", "")
    ran = command(f"policy prove '{EU}' --timeout 100s --format json")
    data = json.loads(ran.out)
    assert (ran.status, data["verdict"]) == (1, "broken")
    assert data["witness"]["tenant.region"] == "eu"


def test_a_fallback_that_leaves_europe_is_found_with_the_request_that_comes_to_it(
    command: Command,
) -> None:
    """A limit that lets long documents pass, and a last fallback that is elsewhere."""
    edited_limit = POLICY.replace('"eu", target:', '"eu" and not long_doc, target:')
    invariant = EU.replace("never", "never:")
    text = edited_limit.replace("deadline: 20s", "  - {to: openai/gpt-4}\ndeadline: 20s").replace(
        "\n  - {name: ent", f"\n  - {{name: eu_stays, {invariant}}}\n  - {{name: ent"
    )
    assert text.count("not long_doc") == text.count("eu_stays,") == 1
    Path("routing.yml").write_text(text)
    found = json.loads(command("policy lint --format json --prove-timeout 100s").out)
    (broken,) = [finding for finding in found if finding["code"] == "RP320"]
    assert "falls back to `openai/gpt-4`" in broken["message"]
    assert broken["witness"]["tenant.region"] == "eu"
    assert broken["witness"]["tokens"] > 128_000
    given = " ".join(f"--given '{key}={value}'" for key, value in broken["witness"].items())
    explained = json.loads(command(f"policy explain {given} --format json").out)
    assert f"`{explained['rule']}`" in broken["message"]
