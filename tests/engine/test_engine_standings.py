"""How budgets are at a moment, for everybody and for one caller."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turnout.dsl.core import Budget
from turnout.dsl.source import Source, Span
from turnout.engine.request import Caller
from turnout.engine.spent import period_of
from turnout.engine.standings import of_caller, of_everybody
from turnout.engine.state.alerts import AlertBook
from turnout.engine.state.bank import SqlBank
from turnout.engine.state.books import SqlBooks
from turnout.engine.state.database import FILE, Database, open_database

USD = 1_000_000_000
NOON = 1_795_003_200_000_000  # 2026-11-18 12:00 UTC
DAY = period_of("day", NOON, "UTC")


def budget(name: str, scope: str, of: str | None, *steps: tuple[int, str]) -> Budget:
    span = Span(Source("", ""), 0, 0)
    return Budget(name, scope, of, 10 * USD, "day", steps, span)  # type: ignore[arg-type]


BUDGETS = (
    budget("each", "tenant", None),
    budget("beta", "tenant", "beta", (8_000, "reject")),
    budget("team", "team", None, (5_000, "alert")),
    budget("big", "model", "a/b"),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path)
    living = SqlBank(opened).join()
    with sqlite3.connect(tmp_path / FILE) as connection:
        for tenant, team, usd, unconfirmed in (("acme", "ads", 6, 1), ("gamma", None, 2, 0)):
            connection.execute(
                "INSERT INTO ledger (time_us, request, hop, attempt, tenant, team, model, target,"
                " upstream_model, policy, usage_source, cost_nano_usd, unconfirmed_nano_usd,"
                " outcome) VALUES (?, ?, 0, 1, ?, ?, 'auto', 'a/b', 'b', 'x', 'upstream', ?, ?,"
                " 'ok')",
                (NOON, tenant, tenant, team, usd * USD, unconfirmed * USD),
            )
        connection.execute(
            "INSERT INTO counters VALUES (7, 'tenant', '', 'acme', ?, ?, ?, ?)",
            (*DAY, 6 * USD, 1 * USD),
        )
        connection.execute("INSERT INTO leases VALUES (?, 7, ?)", (living, 2 * USD))
    yield opened
    opened.close()


def test_each_budget_is_told_of_each_who_has_spent_or_was_named(database: Database) -> None:
    found = of_everybody(SqlBooks(database), AlertBook(database), BUDGETS, "UTC", NOON)
    parts = ("name", "who", "settled", "unconfirmed", "reserved", "left", "percent", "projected")
    assert [tuple(one[part] for part in parts) for one in found] == [
        ("each", "acme", "6", "1", "2", "1", 70.0, "14"),
        ("each", "gamma", "2", "0", "0", "8", 20.0, "4"),
        ("beta", "beta", "0", "0", "0", "8", 0.0, "0"),
        ("team", "ads", "6", "1", "0", "3", 70.0, "14"),
        ("big", "a/b", "8", "1", "0", "1", 90.0, "18"),
    ]
    assert [one["rejects_at"] for one in found] == ["10", "10", "8", None, "10"]


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        (Caller("acme", team="ads"), [("each", "1"), ("team", "3")]),
        (Caller("acme"), [("each", "1")]),
        (Caller("gamma"), [("each", "8")]),
        (Caller("beta"), [("each", "10"), ("beta", "8")]),
    ],
)
def test_a_caller_is_told_of_its_own(
    database: Database, caller: Caller, expected: list[tuple[str, str]]
) -> None:
    found = of_caller(SqlBooks(database), BUDGETS, "UTC", caller, NOON)
    assert [(one["name"], one["left"]) for one in found] == expected


def test_the_ledger_is_read_once_however_many_budgets_there_are(database: Database) -> None:
    reads = []

    class Book(AlertBook):
        def spent(self, *of: Any) -> list[tuple[str, str, int, int]]:
            reads.append(of[0])
            return super().spent(*of)

    many = [budget(f"b{n}", "tenant", f"t{n}") for n in range(50)]
    found = of_everybody(SqlBooks(database), Book(database), [*BUDGETS, *many], "UTC", NOON)
    assert sorted(reads) == ["model", "team", "tenant"]
    assert {one["who"] for one in found if one["name"].startswith("b")} >= {"t0", "t49", "beta"}


def test_a_budget_stored_with_a_tenant_is_told_of_it_alone(database: Database) -> None:
    of_acme, of_gamma = (
        replace(budget(f"{tenant}_team", "team", named), tenant=tenant)
        for tenant, named in (("acme", None), ("gamma", "ads"))
    )
    found = of_everybody(SqlBooks(database), AlertBook(database), [of_gamma, of_acme], "UTC", NOON)
    assert [(one["name"], one["tenant"], one["who"], one["left"]) for one in found] == [
        ("gamma_team", "gamma", "ads", "10"),
        ("acme_team", "acme", "ads", "3"),
    ]


def test_a_team_of_another_tenant_is_another_team(database: Database) -> None:
    books = SqlBooks(database)
    for named in (None, "ads"):
        budgets = [budget("team", "team", named)]
        all_of_them = of_everybody(books, AlertBook(database), budgets, "UTC", NOON)
        assert [(one["tenant"], one["who"], one["left"]) for one in all_of_them] == [
            ("acme", "ads", "3")
        ]
        left = {
            tenant: of_caller(books, budgets, "UTC", Caller(tenant, team="ads"), NOON)[0]["left"]
            for tenant in ("acme", "gamma")
        }
        assert left == {"acme": "3", "gamma": "10"}
