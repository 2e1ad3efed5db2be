"""What budgets have used, from a real ledger."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import pytest

from turnout.dsl.check import compile_policy
from turnout.dsl.core import Budget, Program
from turnout.dsl.source import Source
from turnout.engine.bank import TERM_US, Ask
from turnout.engine.catalog import language_schema
from turnout.engine.counter import counters_of
from turnout.engine.request import Caller, Operation, Request
from turnout.engine.spent import NOTHING_SPENT, Spent, period_of
from turnout.engine.state.bank import SqlBank
from turnout.engine.state.database import Database, open_database
from turnout.engine.state.holders import Clocks
from turnout.engine.state.sqlite import SqliteStore
from turnout.engine.state.store import Group

from .vault import paid

BARE = compile_policy(
    Source("test", "routing_policy:\n  - {name: all, route: openai/gpt-4}\n"), language_schema()
)
USD = 1_000_000_000
DAY_US = 86_400_000_000
NOON = 1_795_003_200_000_000  # 2026-11-18 12:00 UTC, a Wednesday


def budget(name: str, scope: str, of: str | None = None, period: str = "day") -> Budget:
    return Budget(name, scope, of, 10 * USD, period, (), BARE.clauses[0].span)  # type: ignore[arg-type]


def program(*budgets: Budget) -> Program:
    return replace(BARE, budgets=budgets)


def request(caller: Caller, at_us: int = NOON, model: str = "auto") -> Request:
    return Request("req_1", Operation.CHAT, {}, b"", model, False, caller, {}, at_us, 0)


class Ledger:
    """A store with rows made one by one."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = SqliteStore(database)
        self.count = 0

    def spend(
        self,
        nano_usd: int,
        caller: Caller,
        at_us: int = NOON,
        unconfirmed: int = 0,
        payer: Literal["gateway", "caller"] = "gateway",
    ) -> None:
        self.count += 1
        record = paid(
            f"req_{self.count}",
            nano_usd,
            unconfirmed,
            caller.tenant,
            caller.user,
            caller.team,
            at_us=at_us,
            key_id=caller.key_id,
            payer=payer,
        )
        self.store.write(Group([record]))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    database = open_database(tmp_path)
    yield Ledger(database)
    database.close()


def test_what_is_left_is_the_limit_less_what_was_and_may_have_been_spent(ledger: Ledger) -> None:
    search = Caller(team="search")
    ledger.spend(2 * USD, search)
    ledger.spend(1 * USD, search, unconfirmed=USD // 2)
    ledger.spend(9 * USD, Caller(team="ads"))
    asked = program(budget("team", "team"))
    spent = Spent(ledger.store)
    spent.refresh(asked, NOON)
    values = {
        part: spent.value(asked, "team", part, request(search))[0]
        for part in ("left", "used", "limit", "resets_in")
    }
    assert values == {
        "left": 13 * USD // 2,
        "used": 7 * USD // 2,
        "limit": 10 * USD,
        "resets_in": DAY_US // 2,
    }


def test_only_what_is_new_is_added_and_nothing_is_counted_twice(ledger: Ledger) -> None:
    caller = Caller()
    asked = program(budget("all", "tenant"))
    spent = Spent(ledger.store)
    for expected in (1, 2, 3):
        ledger.spend(USD, caller)
        spent.refresh(asked, NOON)
        spent.refresh(asked, NOON)
        assert spent.value(asked, "all", "used", request(caller)) == (expected * USD, None)


def test_more_than_the_limit_leaves_less_than_nothing(ledger: Ledger) -> None:
    ledger.spend(12 * USD, Caller())
    asked = program(budget("all", "tenant"))
    spent = Spent(ledger.store)
    spent.refresh(asked, NOON)
    assert spent.value(asked, "all", "left", request(Caller())) == (-2 * USD, None)


def test_a_new_period_begins_with_nothing_spent(ledger: Ledger) -> None:
    ledger.spend(4 * USD, Caller(), NOON - DAY_US)
    ledger.spend(USD, Caller())
    asked = program(budget("daily", "tenant"), budget("weekly", "tenant", period="week"))
    spent = Spent(ledger.store)
    spent.refresh(asked, NOON)
    assert spent.value(asked, "daily", "used", request(Caller())) == (USD, None)
    assert spent.value(asked, "weekly", "used", request(Caller())) == (5 * USD, None)
    tomorrow = request(Caller(), NOON + DAY_US)
    assert spent.value(asked, "daily", "used", tomorrow) == (0, None)
    spent.refresh(asked, NOON + DAY_US)
    assert spent.value(asked, "daily", "used", tomorrow) == (0, None)
    assert spent.value(asked, "weekly", "used", tomorrow) == (5 * USD, None)


NONE_APPLIES = [
    (budget("x", "team"), Caller(), "the caller has no team"),
    (budget("x", "key"), Caller(), "the caller has no key"),
    (budget("x", "team", "search"), Caller(team="ads"), "the budget is of the team `search`"),
    (budget("y", "tenant"), Caller(), "there is no budget `x`"),
]


@pytest.mark.parametrize(("one", "caller", "reason"), NONE_APPLIES)
def test_where_no_budget_applies_nothing_is_known_not_zero(
    one: Budget, caller: Caller, reason: str
) -> None:
    for part in ("left", "used", "limit", "resets_in"):
        assert NOTHING_SPENT.value(program(one), "x", part, request(caller)) == (None, reason)


def test_before_the_ledger_was_read_only_what_the_file_says_is_known() -> None:
    asked = program(budget("x", "tenant"))
    assert NOTHING_SPENT.value(asked, "x", "limit", request(Caller())) == (10 * USD, None)
    assert NOTHING_SPENT.value(asked, "x", "left", request(Caller())) == (
        None,
        "the ledger was not read yet",
    )


def test_a_budget_of_a_model_counts_what_was_sent_to_that_target(ledger: Ledger) -> None:
    ledger.spend(USD, Caller())
    asked = program(budget("x", "model", "openai/gpt-4"), budget("y", "model", "openai/gpt-4o"))
    spent = Spent(ledger.store)
    spent.refresh(asked, NOON)
    assert spent.value(asked, "x", "used", request(Caller())) == (USD, None)
    assert spent.value(asked, "x", "used", request(Caller(), model="gpt-4o")) == (USD, None)
    assert spent.value(asked, "y", "used", request(Caller())) == (0, None)


def test_which_targets_counter_is_meant_is_not_known_without_of(ledger: Ledger) -> None:
    asked = program(budget("x", "model"))
    spent = Spent(ledger.store)
    spent.refresh(asked, NOON)
    value, reason = spent.value(asked, "x", "left", request(Caller()))
    assert value is None and reason is not None and "`of`" in reason


def test_what_callers_pay_with_their_own_keys_is_not_spent(ledger: Ledger) -> None:
    ledger.spend(USD, Caller())
    ledger.spend(7 * USD, Caller(), payer="caller")
    asked = program(budget("x", "tenant"))
    spent = Spent(ledger.store)
    spent.refresh(asked, NOON)
    assert spent.value(asked, "x", "used", request(Caller())) == (USD, None)


def test_what_a_worker_that_ended_may_have_spent_is_used(ledger: Ledger) -> None:
    one = budget("x", "tenant")
    asked = program(one)
    (counter,) = counters_of([one], "UTC", Caller(), "openai/gpt-4", NOON)
    clock = [0]
    bank = SqlBank(ledger.database, Clocks(since_boot_us=lambda: clock[0]))
    bank.lease(bank.join(), [Ask((counter,), 3 * USD)], {})
    spent = Spent(ledger.store)
    spent.refresh(asked, NOON)
    assert spent.value(asked, "x", "used", request(Caller())) == (0, None)
    clock[0] += TERM_US + 1
    assert bank.reap() == 1
    spent.refresh(asked, NOON)
    assert spent.value(asked, "x", "left", request(Caller())) == (7 * USD, None)


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("kind", "first", "after"),
    [
        ("day", (2026, 3, 29), (2026, 3, 30)),
        ("week", (2026, 3, 23), (2026, 3, 30)),
        ("month", (2026, 3, 1), (2026, 4, 1)),
    ],
)
def test_periods_follow_the_zones_own_calendar(
    kind: str, first: tuple[int, int, int], after: tuple[int, int, int]
) -> None:
    # The clocks go forward at 01:00 UTC of that Sunday.
    at_us = int(datetime(2026, 3, 29, 23, 59, tzinfo=BERLIN).timestamp()) * 1_000_000
    period = period_of(kind, at_us, "Europe/Berlin")
    assert period == tuple(
        int(datetime(*day, tzinfo=BERLIN).timestamp()) * 1_000_000 for day in (first, after)
    )
    assert period_of(kind, period.to_us, "Europe/Berlin").from_us == period.to_us
