"""What was spent, from a real ledger; and where it leads, as properties over zones and months."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.core import Budget
from turnout.dsl.source import Source, Span
from turnout.dsl.units import format_usd
from turnout.engine.costs import BY, MOST_DAYS, Unclear, ask, projected, statement
from turnout.engine.ledger import Entry
from turnout.engine.spent import Period, period_of
from turnout.engine.state.costs import LedgerSums
from turnout.engine.state.database import FILE, Database, open_database

USD = 1_000_000_000
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
INSTANTS = st.integers(
    min_value=int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()),
    max_value=int(datetime(2032, 1, 1, tzinfo=UTC).timestamp()),
).map(lambda seconds: seconds * 1_000_000)
STRETCHES = st.builds(
    period_of, st.sampled_from(("day", "week", "month")), INSTANTS, st.sampled_from(ZONES)
)


def at(text: str, zone: str = "UTC") -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


NOW = at("2026-11-21T12:00")


def budget(
    name: str, scope: str = "tenant", of: str | None = None, limit: int = 100, period: str = "month"
) -> Budget:
    return Budget(name, scope, of, limit * USD, period, (), Span(Source("", ""), 0, 0))  # type: ignore[arg-type]


class Ledger:
    """A ledger that is written row by row."""

    def __init__(self, home: Path) -> None:
        self.file = home / FILE
        self.database: Database = open_database(home)
        self.rows: list[Entry] = []

    def add(self, when: str, cost: int, **more: object) -> None:
        row = Entry(
            time_us=at(when),
            request=f"req_{len(self.rows)}",
            hop=0,
            attempt=1,
            tenant="acme",
            team="search",
            user="ana",
            key_id="key_1",
            model="auto",
            target="openai/gpt-4o",
            upstream_model="gpt-4o",
            rule="all",
            policy="sha256:x",
            tokens_in=10,
            tokens_out=20,
            tokens_cached=1,
            tokens_cache_write=2,
            tokens_reasoning=3,
            usage_source="upstream",
            cost_nano_usd=cost,
            unconfirmed_nano_usd=0,
            outcome="ok",
            fault=None,
            kind="answer",
        )
        row = row._replace(**more)  # type: ignore[arg-type]
        self.rows.append(row)
        columns = ",".join(f'"{name}"' for name in Entry._fields)
        marks = ",".join("?" * len(row))
        with sqlite3.connect(self.file) as connection:
            connection.execute(f"INSERT INTO ledger ({columns}) VALUES ({marks})", row)

    def ask(
        self, *budgets: Budget, timezone: str = "UTC", now: int = NOW, **given: str
    ) -> dict[str, object]:
        return statement(ask(given, timezone, now), budgets, LedgerSums(self.database))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    yield made
    made.database.close()


def of(document: dict[str, object], *names: str) -> list[tuple[object, ...]]:
    rows = document["rows"]
    assert isinstance(rows, list)
    return [tuple(row[name] for name in names) for row in rows]


# --- projections ---------------------------------------------------------------------------------


@given(STRETCHES, st.integers(0, 10**15), st.integers(1, 10**6))
def test_at_its_end_a_stretch_has_cost_what_was_spent(
    stretch: Period, spent: int, later: int
) -> None:
    assert projected(spent, stretch, stretch.to_us) == spent
    assert projected(spent, stretch, stretch.to_us + later) == spent


@given(STRETCHES, st.integers(0, 10**15), st.floats(0, 1))
def test_a_projection_is_never_below_what_was_spent_and_exact_to_a_nano_dollar(
    stretch: Period, spent: int, share: float
) -> None:
    whole = stretch.to_us - stretch.from_us
    now = stretch.from_us + int(whole * share)
    ahead = projected(spent, stretch, now)
    if (now - stretch.from_us) * 100 < whole or now == stretch.from_us:
        assert ahead is None
    else:
        assert ahead is not None and ahead >= spent
        gone = now - stretch.from_us
        assert ahead * gone <= spent * whole < (ahead + 1) * gone


@given(STRETCHES, st.integers(0, 10**12), st.integers(0, 10**12))
def test_who_spends_more_is_projected_to_spend_more(stretch: Period, spent: int, more: int) -> None:
    now = (stretch.from_us + stretch.to_us) // 2
    first, second = projected(spent, stretch, now), projected(spent + more, stretch, now)
    assert first is not None and second is not None and first <= second


@pytest.mark.parametrize(
    ("month", "zone", "days", "hours"),
    [
        ("2026-02", "UTC", 28, 0),
        ("2028-02", "UTC", 29, 0),
        ("2026-04", "UTC", 30, 0),
        ("2026-12", "UTC", 31, 0),
        ("2026-03", "Europe/Berlin", 31, -1),
        ("2026-10", "Europe/Berlin", 31, 1),
        ("2026-11", "America/New_York", 30, 1),
    ],
)
def test_half_of_what_a_month_has_makes_twice_its_spend(
    month: str, zone: str, days: int, hours: int
) -> None:
    asked = ask({"month": month}, zone, NOW)
    assert asked.to_us - asked.from_us == (days * 24 + hours) * 3_600_000_000
    middle = (asked.from_us + asked.to_us) // 2
    assert projected(7 * USD, Period(asked.from_us, asked.to_us), middle) == 14 * USD


# --- the question --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "from_", "to"),
    [
        ({}, "2026-11-01", "2026-12-01"),
        ({"month": "2026-02"}, "2026-02-01", "2026-03-01"),
        ({"since": "2026-10-20"}, "2026-10-20", "2026-11-21T12:00"),
        ({"since": "2026-10-20", "until": "2026-10-21"}, "2026-10-20", "2026-10-22"),
        ({"until": "2026-10-21"}, "2026-10-01", "2026-10-22"),
        ({"since": "2026-10-20T10:00", "until": "2026-10-20T12:00:00Z"}, None, None),
    ],
)
def test_a_time_is_read_as_people_write_it(
    written: dict[str, str], from_: str | None, to: str | None
) -> None:
    asked = ask(written, "UTC", NOW)
    expected = (from_ or "2026-10-20T10:00", to or "2026-10-20T12:00")
    assert (asked.from_us, asked.to_us) == tuple(map(at, expected))


def test_days_are_those_of_the_zone() -> None:
    asked = ask({"since": "2026-10-25", "until": "2026-10-25"}, "Europe/Berlin", NOW)
    assert asked.to_us - asked.from_us == 25 * 3_600_000_000


@pytest.mark.parametrize(
    ("written", "param", "told"),
    [
        ({"by": "hour"}, "by", "`day`, `model`, `target`"),
        ({"month": "November"}, "month", "`2026-11`"),
        ({"month": "2026-11", "since": "2026-11-01"}, "month", "either"),
        ({"since": "yesterday"}, "since", "`2026-11-01`"),
        ({"since": "2026-11-02", "until": "2026-10-01"}, "until", "before"),
        ({"since": "2020-01-01"}, "since", f"{MOST_DAYS} days"),
        ({"since": "2026-11-01", "until": "2026-11-01T00:00"}, "until", "before"),
        ({"since": "0001-01-01", "until": "0001-01-01T00:00"}, "since", "`2026-11-01`"),
        ({"since": "9999-12-31"}, "since", "`2026-11-01`"),
        ({"since": "9999-12-31T23:59:59.9"}, "since", "`2026-11-01`"),
        ({"until": "9999-12-30"}, "until", "`2026-11-01`"),
        ({"month": "0001-01"}, "month", "`2026-11`"),
        ({"until": "9999-12-31"}, "until", "`2026-11-01`"),
        ({"month": "9999-12"}, "month", "`2026-11`"),
        ({"limit": "0"}, "limit", "1 to 10000"),
        ({"limit": "9" * 400}, "limit", "1 to 10000"),
        ({"limit": "²"}, "limit", "1 to 10000"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_what_to_write(
    written: dict[str, str], param: str, told: str
) -> None:
    with pytest.raises(Unclear) as refused:
        ask(written, "UTC", NOW)
    assert refused.value.param == param
    assert told in refused.value.message


@pytest.mark.parametrize("zone", ["Nowhere", "../etc/passwd", "", "a\0b"])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(Unclear) as refused:
        ask({}, zone, NOW)
    assert refused.value.param == "timezone"


# --- the document --------------------------------------------------------------------------------


def test_a_day_has_the_calls_of_the_zone_s_own_day(ledger: Ledger) -> None:
    ledger.add("2026-11-10T22:59:59", 1)
    ledger.add("2026-11-10T23:00:00", 2)
    ledger.add("2026-11-11T22:59:59", 4)
    rows = of(ledger.ask(timezone="Europe/Berlin"), "date", "calls", "cost")
    assert rows == [("2026-11-10", 1, "0.000000001"), ("2026-11-11", 2, "0.000000006")]


def test_a_row_of_a_day_says_how_the_budget_stood_at_its_end(ledger: Ledger) -> None:
    ledger.add("2026-11-10T10:00", 10 * USD)
    ledger.add("2026-11-20T10:00", 20 * USD)
    document = ledger.ask(budget("monthly"))
    rows = document["rows"]
    assert isinstance(rows, list)
    assert [(row["budget"]["percent"], row["budget"]["spent"]) for row in rows] == [
        (10.0, "10"),
        (30.0, "30"),
    ]
    assert [row["projected"] for row in rows] == ["30", "45"]
    total = document["total"]
    assert isinstance(total, dict)
    assert total["budget"]["spent"] == "30" and total["date"] == "2026-11"


def test_a_budget_of_a_day_begins_anew_each_day(ledger: Ledger) -> None:
    for day in ("2026-11-10", "2026-11-11"):
        ledger.add(f"{day}T10:00", 10 * USD)
    rows = ledger.ask(budget("daily", limit=40, period="day"))["rows"]
    assert isinstance(rows, list)
    assert [row["budget"]["percent"] for row in rows] == [25.0, 25.0]


def test_what_came_before_the_question_s_time_counts_for_the_budget(ledger: Ledger) -> None:
    ledger.add("2026-11-01T00:00", 50 * USD)
    ledger.add("2026-11-20T00:00", 10 * USD)
    document = ledger.ask(budget("monthly"), since="2026-11-20")
    assert of(document, "cost") == [("10",)]
    total = document["total"]
    assert isinstance(total, dict)
    assert (total["cost"], total["budget"]["spent"]) == ("10", "60")


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("model", [("gpt-4o", 3), ("auto", 4)]),
        ("target", [("groq/llama", 3), ("openai/gpt-4o", 4)]),
        ("rule", [("all", 5), (None, 2)]),
        ("tenant", [("acme", 4), ("beta", 3)]),
        ("team", [("ads", 3), ("search", 4)]),
        ("user", [("ana", 4), (None, 3)]),
        ("key", [("key_1", 4), (None, 3)]),
    ],
)
def test_rows_are_of_what_was_asked_for(
    ledger: Ledger, by: str, expected: list[tuple[str | None, int]]
) -> None:
    ledger.add("2026-11-10T10:00", 2, rule=None)
    ledger.add("2026-11-10T10:00", 2)
    ledger.add(
        "2026-11-11T10:00",
        3,
        model="gpt-4o",
        target="groq/llama",
        tenant="beta",
        team="ads",
        user=None,
        key_id=None,
    )
    found = of(ledger.ask(by=by), "name", "cost")
    told = [(name, f"0.00000000{nano}") for name, nano in expected]
    assert sorted(found, key=str) == sorted(told, key=str)
    assert found[0][1] == max(cost for _, cost in told)  # the dearest first


@pytest.mark.parametrize(
    ("by", "budgets", "name"),
    [
        ("user", [budget("each_user", "user"), budget("acme", "tenant", "acme")], "each_user"),
        ("user", [budget("other", "user", "bob"), budget("acme", "tenant", "acme")], "acme"),
        ("target", [budget("gpt", "model", "openai/gpt-4o")], "gpt"),
        ("day", [budget("wide", limit=100), budget("narrow", limit=50)], "narrow"),
        ("day", [budget("of_beta", of="beta")], None),
    ],
)
def test_a_row_shows_the_narrowest_budget_that_is_about_it(
    ledger: Ledger, by: str, budgets: list[Budget], name: str | None
) -> None:
    ledger.add("2026-11-10T10:00", USD)
    rows = ledger.ask(*budgets, by=by)["rows"]
    assert isinstance(rows, list)
    assert [row["budget"] and row["budget"]["name"] for row in rows] == [name]


def test_of_several_tenants_together_no_tenant_s_budget_is_told(ledger: Ledger) -> None:
    ledger.add("2026-11-10T10:00", USD)
    ledger.add("2026-11-10T10:00", USD, tenant="beta")
    document = ledger.ask(budget("each"))
    assert of(document, "cost", "budget") == [("2", None)]
    filtered = ledger.ask(budget("each"), tenant="beta")["rows"]
    assert isinstance(filtered, list)
    assert filtered[0]["budget"]["who"] == "beta"


def test_what_callers_paid_stands_apart_and_counts_against_no_budget(ledger: Ledger) -> None:
    ledger.add("2026-11-10T10:00", USD)
    ledger.add("2026-11-10T10:00", 5 * USD, payer="caller")
    document = ledger.ask(budget("monthly"))
    rows, theirs = document["rows"], document["caller_paid"]
    assert isinstance(rows, list) and isinstance(theirs, dict)
    assert rows[0]["budget"]["spent"] == rows[0]["cost"] == "1"
    (row,) = theirs["rows"]
    assert (row["cost"], row["budget"], row["projected"]) == ("5", None, None)
    assert theirs["total"]["cost"] == "5"


def test_corrections_count_as_money_and_not_as_calls(ledger: Ledger) -> None:
    ledger.add("2026-11-10T10:00", 0, unconfirmed_nano_usd=3 * USD)
    ledger.add(
        "2026-11-10T10:00",
        USD,
        unconfirmed_nano_usd=-3 * USD,
        kind="correction",
        corrects=1,
        attempt=-1,
        tokens_in=None,
    )
    assert of(ledger.ask(), "calls", "cost", "unconfirmed") == [(1, "1", "0")]


def test_what_belongs_to_no_tenant_has_no_name_and_is_in_the_sum(ledger: Ledger) -> None:
    ledger.add("2026-11-10T10:00", USD, tenant="", kind="correction")
    ledger.add("2026-11-10T10:00", 2 * USD)
    document = ledger.ask(budget("monthly"), by="tenant")
    assert of(document, "name", "cost") == [("acme", "2"), (None, "1")]
    by_day = ledger.ask(budget("monthly"))["total"]
    assert isinstance(by_day, dict) and by_day["cost"] == "3"


def test_copies_and_embeddings_are_counted_in(ledger: Ledger) -> None:
    for kind, hop in (("answer", 0), ("mirror", -1), ("embedding", -2)):
        ledger.add("2026-11-10T10:00", USD, kind=kind, hop=hop)
    assert of(ledger.ask(), "calls", "cost") == [(3, "3")]


def test_more_rows_than_asked_for_are_counted_and_left_out(ledger: Ledger) -> None:
    for number in range(5):
        ledger.add("2026-11-10T10:00", number, user=f"user{number}")
    document = ledger.ask(by="user", limit="2")
    assert (len(of(document, "name")), document["more"]) == (2, 3)
    total = document["total"]
    assert isinstance(total, dict) and total["calls"] == 5


def test_without_anything_spent_there_are_no_rows(ledger: Ledger) -> None:
    document = ledger.ask(budget("monthly"))
    assert document["rows"] == []
    total = document["total"]
    assert isinstance(total, dict) and (total["calls"], total["cost"]) == (0, "0")


DAYS = st.dates(date(2026, 10, 20), date(2026, 11, 30))
SPENT = st.tuples(
    DAYS,
    st.integers(0, 86_399),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.sampled_from(("gateway", "caller")),
    st.sampled_from((None, "ana", "bob")),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    made = Ledger(tmp_path_factory.mktemp("ledger"))
    yield made
    made.database.close()


def emptied(ledger: Ledger) -> Ledger:
    with sqlite3.connect(ledger.file) as connection:
        connection.execute("DELETE FROM ledger")
    ledger.rows.clear()
    return ledger


@given(
    st.lists(SPENT, max_size=12),
    st.sampled_from(BY),
    st.sampled_from(ZONES),
    st.tuples(DAYS, DAYS).map(sorted),
)
def test_whatever_is_asked_the_document_is_the_sum_of_the_ledger(
    shared: Ledger,
    spent: list[tuple[date, int, int, int, str, str | None]],
    by: str,
    zone: str,
    days: list[date],
) -> None:
    ledger = emptied(shared)
    for day, second, cost, unconfirmed, payer, user in spent:
        when = (datetime.combine(day, datetime.min.time()) + timedelta(seconds=second)).isoformat()
        ledger.add(when, cost, unconfirmed_nano_usd=unconfirmed, payer=payer, user=user)
    since, until = (day.isoformat() for day in days)
    document = ledger.ask(
        budget("monthly"), budget("weekly", period="week"), timezone=zone, by=by, since=since,
        until=until,
    )  # fmt: skip
    first = at(since, zone)
    end = at((days[1] + timedelta(days=1)).isoformat(), zone)
    theirs = document["caller_paid"]
    assert isinstance(theirs, dict)
    for payer, rows, total in (
        ("gateway", document["rows"], document["total"]),
        ("caller", theirs["rows"], theirs["total"]),
    ):
        asked = [r for r in ledger.rows if r.payer == payer and first <= r.time_us < end]
        cost = sum(row.cost_nano_usd for row in asked)
        unconfirmed = sum(row.unconfirmed_nano_usd for row in asked)
        assert isinstance(total, dict) and isinstance(rows, list)
        assert (total["cost"], total["unconfirmed"], total["calls"]) == (
            format_usd(cost),
            format_usd(unconfirmed),
            len(asked),
        )
        assert sum(row["calls"] for row in rows) == len(asked)
        assert sum(Decimal(row["cost"]) * USD for row in rows) == cost


@pytest.mark.parametrize("by", ["team", "user", "key"])
def test_a_budget_stored_with_a_tenant_is_told_with_its_rows_alone(ledger: Ledger, by: str) -> None:
    ledger.add("2026-11-10T10:00", 4)
    ledger.add("2026-11-10T10:00", 3, tenant="beta", key_id="key_2")
    each = replace(budget("of_beta", by), tenant="beta")
    found = ledger.ask(each, by=by)
    rows = found["rows"]
    assert isinstance(rows, list)
    told = [(row["tenant"], (row["budget"] or {}).get("name")) for row in rows]
    assert told == [("acme", None), ("beta", "of_beta")]
    # Of one who is of one tenant alone that tenant's is told, whoever else has spent.
    total = ledger.ask(each, key="key_2")["total"]
    assert isinstance(total, dict)
    assert (total["budget"] or {}).get("name") == ("of_beta" if by == "key" else None)


def test_teams_of_one_name_are_told_apart_by_their_tenants(ledger: Ledger) -> None:
    ledger.add("2026-11-10T10:00", 4)
    ledger.add("2026-11-10T10:00", 3, tenant="beta")
    document = ledger.ask(budget("search", "team", "search"), by="team")
    found = [
        (row["tenant"], row["name"], row["budget"]["spent"])
        for row in document["rows"]  # type: ignore[attr-defined]
    ]
    assert found == [("acme", "search", "0.000000004"), ("beta", "search", "0.000000003")]
    assert document["total"]["budget"] is None  # type: ignore[index]
