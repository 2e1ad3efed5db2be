"""What answers from the cache saved: added up once, by who and what, and told apart from costs."""

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.engine.costs import BY, ask, statement
from turnout.engine.record import Attempt, DecisionRecord
from turnout.engine.recorded_rows import past_of_record
from turnout.engine.request import Usage
from turnout.engine.savings import MOST_SAVED, SLOT_US, Saving, savings
from turnout.engine.state.costs import LedgerSums
from turnout.engine.state.database import FILE
from turnout.engine.state.sqlite import SqliteStore, open_store
from turnout.engine.state.store import Group

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON_US = (datetime(2026, 11, 21, 12, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def hit(number: int = 0, **more: Any) -> DecisionRecord:
    """A request that was answered from the cache."""
    recalled = Attempt("openai/gpt-4o", "gpt-4o", "cached", 0, 0, NOON_US, 90)
    made = DecisionRecord(
        id=f"req_{number}",
        received_us=NOON_US,
        took_us=200,
        digest="sha256:x",
        operation="chat",
        tenant="acme",
        tier="default",
        team="search",
        user=None,
        key_id="key_1",
        session_hash="s",
        model="auto",
        stream=False,
        clause=0,
        rule="all",
        route="openai/gpt-4o",
        target="openai/gpt-4o",
        values={},
        reasons={},
        intervals={},
        attempts=[recalled],
        status=200,
        cache="HIT",
        served=Usage(input=10, output=20),
        saved_nano_usd=1_000,
    )
    return replace(made, **more)


def paid_by_caller(number: int) -> DecisionRecord:
    made = hit(number)
    return replace(made, attempts=[replace(made.attempts[0], payer="caller")])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = open_store(tmp_path)
    yield made
    made.close()


def told(store: SqliteStore, **asked: str) -> dict[str, Any]:
    question = ask({"month": "2026-11", **asked}, "UTC", NOON_US + 3_600_000_000)
    return statement(question, [], LedgerSums(store._database))


def rows_of(home: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(home / FILE) as connection:
        return connection.execute("SELECT * FROM savings").fetchall()


def test_a_record_of_a_hit_is_read_as_it_was_written(store: SqliteStore) -> None:
    for record in (hit(1), hit(2, served=None, saved_nano_usd=0)):
        store.write(Group(records=[record]))
        assert store.record(record.id) == record


def test_a_thousand_identical_calls_are_one_row(store: SqliteStore, tmp_path: Path) -> None:
    for at in range(0, 1000, 250):
        store.write(Group(records=[hit(at + number) for number in range(250)]))
    (row,) = rows_of(tmp_path)
    assert Saving(*row)[-4:] == (1000, 10_000, 20_000, 1_000_000)


def test_a_group_that_is_written_again_saves_nothing_more(
    store: SqliteStore, tmp_path: Path
) -> None:
    first = [hit(number) for number in range(3)]
    store.write(Group(records=first))
    store.write(Group(records=[*first, hit(3)]))
    (row,) = rows_of(tmp_path)
    assert Saving(*row).calls == 4


def test_misses_failures_and_plain_answers_save_nothing(store: SqliteStore, tmp_path: Path) -> None:
    others = [
        hit(1, cache="MISS", served=None, saved_nano_usd=0),
        hit(2, cache="BYPASS", served=None, saved_nano_usd=0),
        hit(3, outcome="error", status=500),
    ]
    store.write(Group(records=others))
    assert rows_of(tmp_path) == []


def test_a_text_that_is_no_unicode_is_kept_with_its_savings(
    store: SqliteStore, tmp_path: Path
) -> None:
    store.write(Group(records=[hit(1, model="\ud800"), hit(2, model="?")]))
    (row,) = rows_of(tmp_path)
    assert Saving(*row).calls == 2


def test_whatever_was_reported_there_is_a_sum(store: SqliteStore) -> None:
    huge = hit(0, served=Usage(10**30, 10**30), saved_nano_usd=10**30)
    for number in range(3):
        store.write(Group(records=[replace(huge, id=f"req_{number}")]))
    total = told(store)["total"]["from_cache"]
    assert total["tokens"]["input"] == MOST_SAVED and total["calls"] == 3


def test_savings_stand_apart_from_cost_and_from_what_callers_saved(store: SqliteStore) -> None:
    store.write(Group(records=[hit(0), hit(1), paid_by_caller(2)]))
    document = told(store, by="target")
    (row,) = document["rows"]
    assert (row["name"], row["calls"], row["cost"]) == ("openai/gpt-4o", 0, "0")
    assert row["tokens"]["input"] == row["tokens"]["output"] == 0
    saved = {"calls": 2, "tokens": {"input": 20, "output": 40}, "saved": "0.000002"}
    assert row["from_cache"] == document["total"]["from_cache"] == saved
    (theirs,) = document["caller_paid"]["rows"]
    assert theirs["from_cache"]["calls"] == 1


@pytest.mark.parametrize(
    ("asked", "calls"),
    [
        ({"tenant": "acme"}, 2),
        ({"tenant": "beta"}, 1),
        ({"team": "search"}, 2),
        ({"user": "ana"}, 1),
        ({"key": "key_1"}, 3),
        ({"since": "2026-11-21T12:15:00Z"}, 0),
        ({"since": "2026-11-21T12:00:00Z", "until": "2026-11-21T12:15:00Z"}, 3),
    ],
)
def test_savings_are_filtered_as_costs_are(
    store: SqliteStore, asked: dict[str, str], calls: int
) -> None:
    store.write(Group(records=[hit(0), hit(1, user="ana"), hit(2, tenant="beta", team=None)]))
    if "since" in asked:
        asked = {**asked}
        question = ask(asked, "UTC", NOON_US + 3_600_000_000)
        document = statement(question, [], LedgerSums(store._database))
    else:
        document = told(store, **asked)
    assert document["total"]["from_cache"]["calls"] == calls


@pytest.mark.parametrize("by", BY)
def test_rows_of_every_kind_add_up_to_the_total(store: SqliteStore, by: str) -> None:
    drawn = random.Random(7)
    records = [
        hit(
            number,
            tenant=drawn.choice(("acme", "beta")),
            team=drawn.choice(("search", None)),
            user=drawn.choice(("ana", "bob", None)),
            key_id=drawn.choice(("key_1", None)),
            rule=drawn.choice(("all", None)),
            received_us=NOON_US - drawn.randrange(10) * 86_400_000_000,
        )
        for number in range(60)
    ]
    store.write(Group(records=records))
    document = told(store, by=by)
    assert sum(row["from_cache"]["calls"] for row in document["rows"]) == 60
    assert document["total"]["from_cache"]["calls"] == 60


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4 * SLOT_US)), max_size=20))
def test_rows_are_of_a_quarter_of_an_hour_each(asked: list[tuple[str, int]]) -> None:
    records = [hit(n, tenant=who, received_us=at) for n, (who, at) in enumerate(asked)]
    rows = savings(records)
    assert len({row[:9] for row in rows}) == len(rows)
    assert sum(row.calls for row in rows) == len(asked)
    for row in rows:
        assert row.from_us % SLOT_US == 0
        within = [
            at for who, at in asked if who == row.tenant and at // SLOT_US * SLOT_US == row[0]
        ]
        assert row.calls == len(within)


def test_a_replay_takes_a_hit_for_an_answer_of_its_target() -> None:
    past = past_of_record(hit())
    assert (past.target, past.cost, past.input, past.output) == ("openai/gpt-4o", None, 10, 20)
