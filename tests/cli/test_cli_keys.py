"""`turnout keys`: on the database itself, each secret once, and mistakes told before they count."""

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout.engine.keys import FORM, digest_of
from turnout.engine.state.database import FILE, open_database
from turnout.engine.state.keys import StoredKeys

from .conftest import Ran


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def turnout(
    home: Path, command: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], Ran]:
    monkeypatch.setenv("TURNOUT_HOME", str(home))
    monkeypatch.delenv("TURNOUT_POLICY", raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda line: command(f"turnout keys {line}")


def test_a_key_is_printed_once_and_kept_as_a_hash(
    turnout: Callable[[str], Ran], home: Path
) -> None:
    ran = turnout("create --tenant acme --team search --user ana --models 'openai/*, gpt-4'")
    assert (ran.err, ran.status) == ("", 0)
    text, *rest = ran.out.splitlines()
    assert re.fullmatch(FORM, text)
    id = f"key_{text[3:15]}"
    assert rest == [
        f"  id       {id}",
        "  tenant   acme",
        "  team     search",
        "  user     ana",
        "  scopes   ai:read,ai:write",
        "  models   openai/*,gpt-4",
        "  expires  never",
        "The key is shown this once: only a hash of it is kept.",
    ]
    (kept,) = StoredKeys(open_database(home)).find([id])
    assert kept.digest == digest_of(text)
    listed = turnout("list --tenant acme")
    assert id in listed.out
    for told in (listed.out, turnout("list --all --format json").out):
        assert text[16:] not in told


def test_a_key_is_rotated_and_revoked_by_its_id(turnout: Callable[[str], Ran]) -> None:
    made = json.loads(turnout("create --tenant initech --expires 30d --format json").out)
    rotated = json.loads(turnout(f"rotate {made['id']} --grace 2h --format json").out)
    assert rotated["id"] == made["id"] and rotated["key"] != made["key"]
    assert rotated["previous_until"] and rotated["fingerprint"] != made["fingerprint"]
    assert turnout(f"revoke {made['id']}").status == 0
    assert made["id"] not in turnout("list").out
    assert "revoked" in turnout("list --all --tenant initech").out
    again = turnout(f"rotate {made['id']}")
    assert (again.status, "for good" in again.err) == (1, True)


@pytest.mark.parametrize(
    ("line", "status", "told"),
    [
        ("create --tenant acme --scopes ai:raed", 2, "did you mean `ai:read`?"),
        ("create --tenant acme --scopes ,", 2, "a list of 1"),
        ("create --tenant acmee", 2, "did you mean `acme`? `--as-written` takes the name"),
        ("create --tenant acme --expires tomorrow", 2, "write how long it is good (`30d`)"),
        ("create --tenant acme --rpm none", 2, "above 0"),
        ("create", 2, "--tenant"),
        ("rotate key_none", 1, "there is no key `key_none`"),
        ("rotate key_none --grace never", 2, "write `24h`"),
        ("revoke", 2, "KEY"),
        ("", 2, "ACTION"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_made(
    turnout: Callable[[str], Ran], home: Path, line: str, status: int, told: str
) -> None:
    store = StoredKeys(open_database(home))
    if not any(key.tenant == "acme" for key in store.all()):
        turnout("create --tenant acme")
    before = store.all()
    ran = turnout(line)
    assert (ran.status, ran.out) == (status, "")
    assert told in ran.err
    assert store.all() == before


def test_a_secret_in_the_place_of_an_id_is_not_repeated(turnout: Callable[[str], Ran]) -> None:
    made = json.loads(turnout("create --tenant acme --format json").out)
    ran = turnout(f"revoke {made['key']}")
    assert ran.status == 2
    assert made["key"][16:] not in ran.err


def test_a_tenant_of_the_policy_at_hand_is_known(
    turnout: Callable[[str], Ran], tmp_path: Path
) -> None:
    (tmp_path / "routing.yml").write_text(
        "tenants: {globex: {tier: pro}}\nrouting_policy:\n  - {name: r, route: openai/gpt-4}\n"
    )
    assert "did you mean `globex`?" in turnout("create --tenant globez").err
    assert turnout("create --tenant globez --as-written").status == 0


def test_models_that_nobody_knows_are_warned_of_and_the_key_is_made(
    turnout: Callable[[str], Ran], tmp_path: Path
) -> None:
    known = "gpt-4o,openai/*,*/llama-3-8b,*,openai/gpt-4o"
    unknown = "foo,openai/nosuch,house/*,house-big"
    ran = turnout(f"create --tenant acme --models '{known},{unknown}'")
    assert (ran.status, f"models   {known},{unknown}" in ran.out) == (0, True)
    warned = [line.split("`")[1] for line in ran.err.splitlines() if "warning" in line]
    assert warned == unknown.split(",")
    assert "grants nothing" in ran.err
    (tmp_path / "routing.yml").write_text(
        'providers: {house: {kind: openai, base_url: "http://127.0.0.1:1/v1"}}\n'
        "targets: {house/big: {price: 0}}\nmodels: {house-big: house/big}\n"
        "routing_policy:\n  - {name: r, route: house/big}\n"
    )
    ran = turnout("create --tenant acme --models house/*,house/big,house-big,openai/*")
    assert (ran.status, ran.err) == (0, "")


def test_a_key_that_cannot_be_read_is_not_rotated_but_revoked(
    turnout: Callable[[str], Ran], home: Path
) -> None:
    id = json.loads(turnout("create --tenant hooli --format json").out)["id"]
    with sqlite3.connect(home / FILE) as connection:
        connection.execute("UPDATE keys SET settings = '{' WHERE id = ?", (id,))
    ran = turnout(f"rotate {id}")
    assert (ran.status, ran.out) == (1, "")
    assert f"the key `{id}` cannot be read" in ran.err
    assert f"turnout keys revoke {id}" in ran.err
    assert turnout(f"revoke {id}").status == 0


def test_a_folder_that_cannot_be_is_told(
    turnout: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_HOME", "/dev/null/x")
    ran = turnout("create --tenant acme")
    assert ran.status == 2
    assert "cannot be read or written" in ran.err


@pytest.mark.parametrize(
    "line",
    ["keys list", "keys revoke key_x", "keys rotate key_x", "tenants list", "tenants remove acme"],
)
def test_reading_makes_no_database_in_a_wrong_folder(
    command: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    wrong = tmp_path / "wrong"
    monkeypatch.setenv("TURNOUT_HOME", str(wrong))
    monkeypatch.delenv("TURNOUT_POLICY", raising=False)
    monkeypatch.chdir(tmp_path)
    ran = command(f"turnout {line}")
    assert (ran.status, ran.out) == (2, "")
    assert f"there is no database `{wrong / 'turnout.db'}`" in ran.err
    assert "TURNOUT_HOME" in ran.err
    assert not wrong.exists()
