"""`turnout costs` and `turnout budget`, on a ledger of their own."""

import csv
import io
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from turnout.engine.bank import Ask
from turnout.engine.counter import Counter
from turnout.engine.state.bank import SqlBank
from turnout.engine.state.database import FILE, Database, url_of_file

from .conftest import Ran
from .spent import keep_ledger

POLICY = """
timezone: Europe/Berlin
routing_policy: [{name: all, route: groq/llama-3-8b}]
tenants: {acme: {budget: $1/month}}
budgets:
  - {name: each_user, scope: user, limit: $0.4/month}
  - {name: alone, scope: tenant, of: beta, limit: $7/day, at: {50%: alert}}
"""
JANUARY = "--month 2025-01"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[[str], Ran]) -> Path:
    for name in ("TURNOUT_POLICY", "TURNOUT_BUDGET_MONTHLY_USD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TURNOUT_HOME", str(keep_ledger(tmp_path / "home")))
    (tmp_path / "routing.yml").write_text(POLICY)
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        f"turnout costs {JANUARY}",
        f"turnout costs {JANUARY} --by user",
        f"turnout costs {JANUARY} --by rule --team search",
        f"turnout costs {JANUARY} --by target --format csv",
        f"turnout costs {JANUARY} --by target --limit 1",
        "turnout costs --month 2024-02",
        "turnout budget reconcile --dry-run",
        "turnout budget reconcile --dry-run --charge 4=$0.02 --tenant acme",
        "turnout budget reconcile --release-all --older-than 1d",
    ],
)
def test_it_is_printed_as_reviewed(
    here: Path, command: Callable[[str], Ran], line: str, snapshot: SnapshotAssertion
) -> None:
    ran = command(line)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == snapshot


def test_what_csv_has_adds_up_to_what_json_says(here: Path, command: Callable[[str], Ran]) -> None:
    rows = list(csv.DictReader(io.StringIO(command(f"turnout costs {JANUARY} --format csv").out)))
    said = json.loads(command(f"turnout costs {JANUARY} --format json").out)
    assert [row["cost"] for row in rows if row["payer"] == "gateway"] == [
        row["cost"] for row in said["rows"]
    ]
    assert sum(int(row["calls"]) for row in rows) == 7


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--since soon", "`--since`: write a day"),
        ("--timezone Mars", "`--timezone`: write the name"),
        ("--month 2025-01 --until 2025-01-02", "`--month`: write either"),
        ("--journal nowhere", "there is no journal `nowhere`"),
        ("--policy missing.yml", "there is no file `missing.yml`"),
    ],
)
def test_a_wrong_question_is_refused(
    here: Path, command: Callable[[str], Ran], words: str, told: str
) -> None:
    ran = command(f"turnout costs {words}")
    assert ran.status == 2 and told in ran.err


def test_no_name_of_a_row_becomes_a_formula_of_a_spreadsheet(
    here: Path, command: Callable[[str], Ran]
) -> None:
    with sqlite3.connect(here / "home" / FILE) as connection:
        connection.execute("UPDATE ledger SET model = '=1+1'")
    ran = command(f"turnout costs {JANUARY} --by model --format csv")
    assert "'=1+1" in ran.out


def test_looking_changes_nothing(here: Path, command: Callable[[str], Ran]) -> None:
    file = here / "home" / FILE

    def content() -> list[str]:
        with sqlite3.connect(file) as connection:
            return list(connection.iterdump())

    before = content()
    for line in ("costs", "budget", "budget reconcile --dry-run --release 4"):
        assert command(f"turnout {line}").status == 0
    assert content() == before


def test_a_policy_that_decided_last_stands_in_where_none_is_at_hand(
    here: Path, command: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    from turnout.engine.policy import Policy

    program = Policy.parse(POLICY).program
    (here / "routing.yml").unlink()
    with sqlite3.connect(here / "home" / FILE) as connection:
        connection.execute(
            "INSERT INTO policies VALUES (?, 0, ?)", (program.digest, program.canonical)
        )
        connection.execute(
            "INSERT INTO decisions (id, time_us, tenant, policy, record)"
            " VALUES ('a', 1, 'x', ?, '')",
            (program.digest,),
        )
    said = json.loads(command(f"turnout costs {JANUARY} --format json").out)
    assert said["timezone"] == "Europe/Berlin"
    assert said["total"]["budget"]["name"] == "acme"


# --- reconcile -----------------------------------------------------------------------------------


def ledger(here: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(here / "home" / FILE) as connection:
        return connection.execute(
            "SELECT kind, corrects, cost_nano_usd, unconfirmed_nano_usd FROM ledger WHERE id > 7"
        ).fetchall()


@pytest.mark.parametrize(
    ("words", "cost"),
    [
        ("--charge 4=$0.02", 20_000_000),
        ("--release 4", 0),
        ("--bill bill.csv", 30_000_000),
        ("--release-all --older-than 1d", 0),
    ],
)
def test_what_it_was_is_appended_and_nothing_is_edited(
    here: Path, command: Callable[[str], Ran], words: str, cost: int
) -> None:
    (here / "bill.csv").write_text("request,cost\nreq_3,0.03\nreq_other,9\n")
    ran = command(f"turnout budget reconcile {words}")
    assert (ran.status, ran.err) == (0, "")
    assert ledger(here) == [("correction", 4, cost, -250_000_000)]
    assert "nothing is unconfirmed" in command("turnout budget reconcile").out
    said = json.loads(command(f"turnout costs {JANUARY} --format json").out)["total"]
    assert (said["calls"], said["unconfirmed"]) == (6, "0")
    with sqlite3.connect(here / "home" / FILE) as connection:
        audited = connection.execute("SELECT actor, action, object FROM audit").fetchall()
    assert audited == [("cli", "budget.correct", "4")]


def test_what_was_charged_over_its_maximum_or_wrongly_can_be_said_anew(
    here: Path, command: Callable[[str], Ran]
) -> None:
    ran = command("turnout budget reconcile --over --charge 4=$5")
    assert "4 charged with $5, of $0.25 at most: row 8 of the ledger" in ran.out
    ran = command("turnout budget reconcile --charge 8=$0.1")
    assert "8 charged with $0.1, $5 before: row 9 of the ledger" in ran.out
    assert "9 released, $0.1 before: row 10" in command("turnout budget reconcile --release 9").out
    assert ledger(here) == [
        ("correction", 4, 5_000_000_000, -250_000_000),
        ("correction", 8, -4_900_000_000, 0),
        ("correction", 8, -100_000_000, 0),
    ]


def test_a_killed_worker_is_one_item_and_one_row_and_told_beside_the_costs(
    here: Path, command: Callable[[str], Ran]
) -> None:
    home = here / "home"
    database = Database(url_of_file(home / FILE))
    try:
        bank, now_us = SqlBank(database), time.time_ns() // 1_000
        holder = bank.join()
        whose = [("tenant", "", "acme"), ("team", "acme", "ads"), ("user", "acme", "eve")]
        counters = [Counter(*one, now_us - 9, now_us + 10**9, 10**9, "b") for one in whose]
        bank.lease(holder, [Ask(tuple(counters), 12_950_000)], {})
        with database.writing() as writing:
            writing.exec_driver_sql("UPDATE holders SET lost_us = ?", (now_us,))
    finally:
        database.close()
    id = f"lease:{holder}:acme"
    told = command("turnout budget reconcile --dry-run --tenant acme").out
    assert "unconfirmed: 1 attempt and 1 killed worker, $0.26295 at most" in told
    assert f"{id}  " in told and "  acme, a worker that was killed" in told
    assert "the largest of its leases: tenant acme, team ads, user eve" in told
    assert "+ $0.01295 that a killed worker may have spent" in command("turnout costs").out
    assert "killed" not in command("turnout costs --tenant beta").out
    assert "killed" not in command(f"turnout costs {JANUARY}").out
    said = json.loads(command("turnout costs --user eve --format json").out)
    assert said["lost"] == "0.01295"
    *_, last = csv.DictReader(io.StringIO(command("turnout costs --by user --format csv").out))
    assert (last["user"], last["calls"], last["cost"], last["lost"]) == ("", "0", "0", "0.01295")
    assert command(f"turnout budget reconcile --charge {id}=$5").status == 2
    assert command(f"turnout budget reconcile --charge {id}=$0.01").status == 0
    with sqlite3.connect(home / FILE) as connection:
        rows = connection.execute(
            'SELECT tenant, team, "user", cost_nano_usd FROM ledger WHERE id > 7'
        ).fetchall()
    assert rows == [("acme", "ads", "eve", 10_000_000)]
    assert "killed" not in command("turnout costs").out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--charge 99=$1", "nothing unconfirmed has the id `99`"),
        ("--charge 1=$1", "nothing unconfirmed has the id `1`"),
        ("--charge 4", "write `--charge 4=$0.02`"),
        ("--charge 4=lots", "`lots` is no amount"),
        ("--charge 4=-1", "is no amount"),
        ("--charge 4=$0.1 --release 4", "said twice"),
        ("--release 4 --release 5", "nothing unconfirmed has the id `5`"),
        ("--release 5 --release 4", "nothing unconfirmed has the id `5`"),
        ("--charge 5=$1 --charge 4=$0.1", "nothing unconfirmed has the id `5`"),
        ("--charge 4=$0.26", "`4` has cost $0.25 at most, not $0.26"),
        ("--release-all", "go together"),
        ("--bill missing.csv", "cannot be read"),
        ("--bill routing.yml", "has not the columns"),
    ],
)
def test_what_cannot_be_settled_is_refused_and_nothing_is_done(
    here: Path, command: Callable[[str], Ran], words: str, told: str
) -> None:
    ran = command(f"turnout budget reconcile {words}")
    assert ran.status == 2
    assert told.replace("--charge 4=$0.02", "--charge 17=$0.02") in ran.err
    assert ledger(here) == []


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("req_3,99999999999999999999", "is no amount"),
        ("req_3,1000000.01", "is no amount"),
        ("req_3,NaN", "is no amount"),
        ("req_3,-0.5", "is no amount"),
        ("req_3,", "is no amount"),
        ("req_3", "is no amount"),
        ("req_3,=HYPERLINK(1)", "is no amount"),
        ("req_3,0.1\nreq_3,0.1", "said twice"),
        (f'req_3,"{"a" * 140_000}"', "is no CSV: field larger"),
    ],
    ids=lambda said: str(said)[:30],
)
def test_a_bill_that_makes_no_sense_is_refused_and_nothing_is_done(
    here: Path, command: Callable[[str], Ran], row: str, told: str
) -> None:
    (here / "bill.csv").write_text(f"request,cost\n{row}\n")
    ran = command("turnout budget reconcile --bill bill.csv")
    assert ran.status == 2
    assert told in ran.err
    assert ledger(here) == []


def test_what_the_cache_saved_stands_beside_what_was_spent(
    here: Path, command: Callable[[str], Ran]
) -> None:
    noon_us = 1_736_251_200_000_000  # of 7 January 2025
    row = (noon_us, "acme", "search", "ana", "", "auto", "openai/gpt-4o", "big", "gateway")
    with sqlite3.connect(here / "home" / FILE) as connection:
        marks = ",".join("?" * 13)
        saved = (*row, 1_400, 9_800, 21_000, 1_250_000_000)
        connection.execute(f"INSERT INTO savings VALUES ({marks})", saved)
    lines = [one.split() for one in command(f"turnout costs {JANUARY}").out.splitlines()]
    told = {words[0]: words for words in reversed(lines) if words}  # the first table wins
    assert told["date"][-3:] == ["from", "cache", "saved"]
    assert told["2025-01-06"][-2:] == ["-", "-"]
    assert told["2025-01-07"][-3:] == told["total"][-3:] == ["1", "400", "$1.25"]
    rows = csv.DictReader(io.StringIO(command(f"turnout costs {JANUARY} --format csv").out))
    (found,) = [row for row in rows if row["cached_calls"] != "0"]
    assert [found[name] for name in ("date", "cached_calls", "saved")] == [
        "2025-01-07",
        "1400",
        "1.25",
    ]
    tokens = [found[f"cached_tokens_{kind}"] for kind in ("input", "output")]
    assert tokens == ["9800", "21000"]
