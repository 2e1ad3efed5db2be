"""`turnout tenants` by its flags: budgets of a tenant's teams and users beside its own."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnout.engine.state.database import FILE

from .conftest import Ran

Command = Callable[[str], Ran]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, in a folder without a policy."""
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def budgets(command: Command, flags: str) -> list[dict[str, Any]]:
    """What a tenant may spend once it was set so."""
    ran = command(f"turnout tenants set acme {flags} --format json")
    assert (ran.status, ran.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(ran.out)["settings"]["budgets"]
    return found


def test_teams_and_users_have_budgets_by_flags_and_keep_those_that_are_not_named(
    command: Command,
) -> None:
    team = {"name": "acme_team_search", "scope": "team", "of": "search", "limit": "$0.01/day"}
    ana = {"name": "acme_user_ana", "scope": "user", "of": "ana", "limit": "$2/day"}
    users = {"scope": "user", "limit": "$5/day"}
    flags = "--budget $9/month --team-budget search=$0.01/day --user-budget $5/day"
    assert budgets(command, flags) == [{"limit": "$9/month"}, team, users]
    # What is about the same is replaced, the last of it holds; all else stays.
    flags = "--user-budget ana=$1/day --user-budget ana=$2/day --team-budget search=$3/day"
    assert budgets(command, flags) == [
        team | {"limit": "$3/day"},
        ana,
        {"limit": "$9/month"},
        users,
    ]
    assert budgets(command, "--clear budgets --team-budget a=b=$1/week") == [
        {"name": "acme_team_a=b", "scope": "team", "of": "a=b", "limit": "$1/week"}
    ]
    shown = command("turnout tenants show acme").out
    assert "$1/week for a=b (team)" in shown


@pytest.mark.parametrize(
    "flag", ["--team-budget search", "--user-budget ana=", "--team-budget =$1"]
)
def test_a_limit_that_is_none_is_refused(command: Command, flag: str) -> None:
    ran = command(f"turnout tenants set acme {flag}")
    assert ran.status == 2
    assert "limit" in ran.err or "budgets" in ran.err
    assert command("turnout tenants list").out == "no tenants\n"


def test_no_part_of_a_tenant_that_cannot_be_read_is_changed(
    command: Command, tmp_path: Path
) -> None:
    command("turnout tenants set acme --budget $9/month")
    with sqlite3.connect(tmp_path / "home" / FILE) as connection:
        connection.execute("UPDATE tenants SET settings = '{\"budgets'")
    ran = command("turnout tenants set acme --rpm 60")
    assert (ran.status, "cannot be read" in ran.err, "--settings" in ran.err) == (2, True, True)
    assert json.loads(command("turnout tenants show acme --format json").out)["unreadable"] is True
    assert command("""turnout tenants set acme --settings '{"rpm":60}'""").status == 0
    shown = json.loads(command("turnout tenants show acme --format json").out)
    assert (shown["settings"], "unreadable" in shown) == ({"rpm": 60}, False)


def test_a_limit_that_no_counter_holds_is_refused(command: Command) -> None:
    ran = command("turnout tenants set acme --budget $10000000000/month")
    assert (ran.status, "more than can be counted: write at most `$1000000000`" in ran.err) == (
        2,
        True,
    )


def test_settings_are_all_of_it(command: Command) -> None:
    ran = command("turnout tenants set acme --settings {} --user-budget $5/day")
    assert (ran.status, "`--settings` is all of it" in ran.err) == (2, True)
