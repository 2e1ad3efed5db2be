"""Alerts of budgets: what is due, said once by whoever asks, sent until somebody takes it."""

import asyncio
import logging
import multiprocessing
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.core import Budget
from turnout.dsl.source import Source, Span
from turnout.engine.alerts import Alert, Alerts, Used, Watched, due, text_of
from turnout.engine.board import Alone
from turnout.engine.spent import Period, period_of
from turnout.engine.state.alerts import AlertBook
from turnout.engine.state.database import FILE, Database, open_database, url_of

USD = 1_000_000_000
DAY_US = 86_400_000_000
NOON = 1_795_003_200_000_000  # 2026-11-18 12:00 UTC, a Wednesday
DAY = period_of("day", NOON, "UTC")


def budget(
    *steps: tuple[int, str], name: str = "daily", of: str | None = None, period: str = "day"
) -> Budget:
    span = Span(Source("", ""), 0, 0)
    return Budget(name, "tenant", of, 10 * USD, period, steps, span)  # type: ignore[arg-type]


def whats(alerts: list[Alert]) -> list[str]:
    return [one.what for one in alerts]


# --- what is due ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "cents", "expected"),
    [
        ((), 499, []),
        ((), 500, ["50%"]),
        ((), 799, ["50%"]),
        ((), 800, ["50%", "80%"]),
        ((), 1_000, ["50%", "80%", "100%"]),
        ((), 5_000, ["50%", "80%", "100%"]),
        (((9_000, "alert"), (10_000, "reject")), 899, []),
        (((9_000, "alert"), (10_000, "reject")), 900, ["90%"]),
        (((10_000, "reject"),), 999, []),
        (((10_000, "reject"),), 1_000, ["100%"]),
        (((1_250, "alert"),), 125, ["12.5%"]),
    ],
)
def test_thresholds_are_those_that_are_written_else_50_80_and_100_per_cent(
    steps: tuple[tuple[int, str], ...], cents: int, expected: list[str]
) -> None:
    # At its end a stretch has no projection.
    found = due(budget(*steps), ("", "acme"), DAY, Used(cents * USD // 100, 0), DAY.to_us)
    assert whats(found) == expected


def test_what_may_have_been_spent_counts() -> None:
    assert whats(due(budget(), ("", "acme"), DAY, Used(3 * USD, 2 * USD), DAY.to_us)) == ["50%"]


@pytest.mark.parametrize(
    ("hours", "cents", "is_said"),
    [
        (12, 499, False),  # 9.98 by midnight
        (12, 500, False),  # 10.00: the limit is not exceeded
        (12, 501, True),
        (2, 240, False),  # 28.80, but neither a tenth is over nor a quarter spent
        (2, 250, True),
        (3, 200, True),  # an eighth is over
        (12, 1_000, False),  # it is there already
    ],
)
def test_an_overrun_is_projected_once_enough_is_known(
    hours: int, cents: int, is_said: bool
) -> None:
    at_us = DAY.from_us + hours * 3_600_000_000
    found = due(budget(), ("", "acme"), DAY, Used(cents * USD // 100, 0), at_us)
    assert ("projected" in whats(found)) is is_said


@given(st.integers(0, 30 * USD), st.integers(0, 30 * USD), st.floats(0, 1))
def test_whoever_spends_more_passes_no_fewer_thresholds(
    spent: int, more: int, share: float
) -> None:
    at_us = DAY.from_us + int(DAY_US * share)
    first = set(whats(due(budget(), ("", "acme"), DAY, Used(spent, 0), at_us)))
    second = set(whats(due(budget(), ("", "acme"), DAY, Used(spent, more), at_us)))
    assert first - {"projected"} <= second
    assert "projected" not in first or second & {"projected", "100%"}


# --- said once -----------------------------------------------------------------------------------


class Counted:
    def __init__(self) -> None:
        self.results: list[str] = []

    def alerted(self, result: str) -> None:
        self.results.append(result)

    def know(self, tenants: Collection[str]) -> None:
        pass

    def budget(self, name: str, tenant: str, parts: Mapping[str, int]) -> None:
        pass


class Messenger:
    """Remembers what it was sent; refuses for as long as it is told to."""

    def __init__(self, refusing: str | None = None) -> None:
        self.refusing = refusing
        self.bodies: list[bytes] = []
        self.tries = 0

    async def send(self, body: bytes) -> str | None:
        self.tries += 1
        if self.refusing is None:
            self.bodies.append(body)
        return self.refusing

    async def close(self) -> None:
        pass


class Clock:
    def __init__(self) -> None:
        self.us = NOON

    def __call__(self) -> int:
        return self.us


def spend(
    file: Path, usd: float, who: str = "acme", at_us: int = NOON, payer: str = "gateway"
) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(
            "INSERT INTO ledger (time_us, request, hop, attempt, tenant, model, target,"
            " upstream_model, policy, usage_source, cost_nano_usd, unconfirmed_nano_usd, outcome,"
            " payer) VALUES (?, hex(randomblob(8)), 0, 1, ?, 'auto', 'a/b', 'b', 'x', 'upstream',"
            " ?, 0, 'ok', ?)",
            (at_us, who, int(usd * USD), payer),
        )


class Watch:
    """A gateway's alerts over a database of their own, looked at by hand."""

    def __init__(self, home: Path, *budgets: Budget) -> None:
        self.file = home / FILE
        self.database: Database = open_database(home)
        self.clock, self.counted, self.messenger = Clock(), Counted(), Messenger()
        self.budgets = budgets or (budget(),)
        self.alerts = self.anew()

    def anew(self) -> Alerts:
        """As after a restart."""
        self.alerts = Alerts(
            lambda: Watched("UTC", self.budgets),
            AlertBook(self.database),
            Alone(),
            self.messenger,
            self.counted,
            "here",
            now_us=self.clock,
        )
        return self.alerts

    async def told(self) -> list[str]:
        """What is said and sent now."""
        before = len(self.messenger.bodies)
        self.alerts.look()
        await self.alerts.send(self.messenger)
        new = [orjson.loads(body) for body in self.messenger.bodies[before:]]
        return [f"{one['who']} {one['share'] or one['what']}" for one in new]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    made = Watch(tmp_path)
    yield made
    made.database.close()


async def test_each_threshold_is_said_once(watch: Watch) -> None:
    watch.clock.us = DAY.to_us - 1_000_000
    assert await watch.told() == []
    spend(watch.file, 5.5)
    assert await watch.told() == ["acme 50%"]
    spend(watch.file, 0.1)
    assert await watch.told() == []
    spend(watch.file, 5)
    assert await watch.told() == ["acme 80%", "acme 100%"]
    spend(watch.file, 50)
    assert await watch.told() == []
    assert watch.counted.results == ["said", "sent", "said", "said", "sent", "sent"]


async def test_after_a_restart_nothing_is_said_again(watch: Watch) -> None:
    watch.clock.us = DAY.to_us - 1_000_000
    spend(watch.file, 8)
    assert await watch.told() == ["acme 50%", "acme 80%"]
    watch.anew()
    assert await watch.told() == []
    spend(watch.file, 2)
    assert await watch.told() == ["acme 100%"]


async def test_each_has_a_counter_of_its_own_and_what_callers_pay_counts_in_none(
    watch: Watch,
) -> None:
    watch.clock.us = DAY.to_us - 1_000_000
    spend(watch.file, 5, "acme")
    spend(watch.file, 4.9, "beta")
    spend(watch.file, 40, "beta", payer="caller")
    assert await watch.told() == ["acme 50%"]
    spend(watch.file, 0.1, "beta")
    assert await watch.told() == ["beta 50%"]


async def test_the_next_stretch_begins_anew(watch: Watch) -> None:
    watch.clock.us = DAY.to_us - 1_000_000
    spend(watch.file, 5)
    assert await watch.told() == ["acme 50%"]
    watch.clock.us = DAY.to_us + 23 * 3_600_000_000
    assert await watch.told() == []
    spend(watch.file, 5, at_us=DAY.to_us + 1)
    assert await watch.told() == ["acme 50%"]


async def test_what_was_said_of_stretches_that_are_over_is_not_kept_in_mind(watch: Watch) -> None:
    for day in range(20):
        watch.clock.us = NOON + day * (DAY.to_us - DAY.from_us)
        spend(watch.file, 20, at_us=watch.clock.us)
        assert await watch.told() == ["acme 50%", "acme 80%", "acme 100%"]
        assert await watch.told() == []
    assert len(watch.alerts._said) <= 6


async def test_what_is_written_late_is_said_of_the_stretch_that_is_over(watch: Watch) -> None:
    watch.clock.us = DAY.to_us + 5_000_000
    spend(watch.file, 5, at_us=DAY.to_us - 1)
    assert await watch.told() == ["acme 50%"]


async def test_a_limit_that_was_raised_is_another_one(watch: Watch) -> None:
    watch.clock.us = DAY.to_us - 1_000_000
    spend(watch.file, 5)
    assert await watch.told() == ["acme 50%"]
    watch.budgets = (Budget("daily", "tenant", None, 11 * USD, "day", (), watch.budgets[0].span),)
    assert await watch.told() == []
    spend(watch.file, 0.5)
    assert await watch.told() == ["acme 50%"]


async def test_a_projection_falls_due_by_time_alone(watch: Watch) -> None:
    watch.clock.us = DAY.from_us + 2 * 3_600_000_000
    spend(watch.file, 2.4, at_us=DAY.from_us)
    assert await watch.told() == []
    watch.clock.us = DAY.from_us + 3 * 3_600_000_000
    assert await watch.told() == ["acme projected"]


async def test_what_leases_of_ended_workers_may_have_spent_counts(watch: Watch) -> None:
    watch.clock.us = DAY.to_us - 1_000_000
    spend(watch.file, 3)
    with sqlite3.connect(watch.file) as connection:
        connection.execute("INSERT INTO counters VALUES (7, 'tenant', '', 'acme', ?, ?, 0, 0)", DAY)
        connection.execute("INSERT INTO holders VALUES ('a', 'boot', 0, 0, 1)")
        connection.execute("INSERT INTO leases VALUES ('a', 7, ?)", (2 * USD,))
    assert await watch.told() == ["acme 50%"]
    (body,) = watch.messenger.bodies
    said = orjson.loads(body)
    assert (said["spent"], said["unconfirmed"]) == ("5", "2")


async def test_a_message_says_all_there_is_to_know(watch: Watch) -> None:
    watch.clock.us = DAY.from_us + 12 * 3_600_000_000
    spend(watch.file, 5)
    assert await watch.told() == ["acme 50%"]
    said = orjson.loads(watch.messenger.bodies[0])
    assert said.pop("id").startswith("alert_")
    assert said == {
        "type": "budget.alert",
        "text": "budget `daily` of the tenant `acme` has reached 50%: $5 of $10 is spent, and it "
        "resets at 2026-11-19T00:00:00Z",
        "budget": "daily",
        "scope": "tenant",
        "tenant": None,
        "who": "acme",
        "what": "threshold",
        "share": "50%",
        "spent": "5",
        "unconfirmed": "0",
        "limit": "10",
        "stretch": {"from": "2026-11-18T00:00:00Z", "to": "2026-11-19T00:00:00Z"},
        "projected": "10",
        "gateway": "here",
        "time": "2026-11-18T12:00:00Z",
    }


async def test_an_alert_is_one_line_of_the_log(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.clock.us = DAY.to_us - 1_000_000
    spend(watch.file, 5, "acme\nERROR forged")
    await watch.told()
    (line,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "\n" not in line.getMessage()


# --- sent until somebody takes it ----------------------------------------------------------------


async def test_a_message_is_tried_again_with_growing_pauses_and_sent_once(watch: Watch) -> None:
    watch.clock.us = DAY.to_us - 1_000_000
    watch.messenger.refusing = "down"
    spend(watch.file, 5)
    assert await watch.told() == []
    tried = []
    for second in range(400):
        before = watch.messenger.tries
        await watch.told()
        if watch.messenger.tries > before:
            tried.append(second)
        watch.clock.us += 1_000_000
    assert tried == [1, 3, 7, 15, 31, 63, 127, 255]
    watch.anew()  # a restart in between
    watch.messenger.refusing = None
    assert await watch.told() == ["acme 50%"]
    assert await watch.told() == []


async def test_messages_that_nobody_takes_do_not_hold_up_later_ones(watch: Watch) -> None:
    watch.clock.us = DAY.to_us - 40_000_000_000
    watch.messenger.refusing = "it answers with status 400"
    for number in range(150):  # more than are read at once
        spend(watch.file, 5, f"refused-{number}")
    await watch.told()
    for _ in range(3):
        watch.clock.us += 1_000_000
        await watch.told()
    assert {one for one in watch.counted.results if one != "said"} == {"failed"}
    watch.messenger.refusing = None
    # The webhook takes messages again; those that were refused come when they are due.
    spend(watch.file, 5, "later")
    assert (await watch.told())[0] == "later 50%"
    watch.clock.us += 300_000_000
    told = [one for _ in range(3) for one in await watch.told()]
    assert len({*told}) == len(told) == 150


async def test_a_new_message_goes_before_those_that_hang(watch: Watch) -> None:
    watch.clock.us = DAY.to_us - 40_000_000_000
    watch.messenger.refusing = "it did not answer in time"
    for number in range(20):
        spend(watch.file, 5, f"refused-{number}")
    await watch.told()
    watch.clock.us += 300_000_000  # all of them are due again
    send, tried = watch.messenger.send, []

    async def hangs(body: bytes) -> str | None:
        tried.append(orjson.loads(body)["who"])
        if len(tried) == 3:  # meanwhile there is something to say
            spend(watch.file, 5, "later")
            watch.alerts.look()
        return await send(body)

    watch.messenger.send = hangs  # type: ignore[method-assign]
    await watch.alerts.send(watch.messenger)
    assert tried.index("later") == 3


async def test_a_message_is_given_up_after_a_day(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch.messenger.refusing = "it answers with status 500"
    spend(watch.file, 5)
    await watch.told()
    watch.clock.us += DAY_US + 1
    await watch.told()
    assert watch.counted.results[-1] == "given_up"
    assert "given up" in caplog.text
    tries = watch.messenger.tries
    watch.clock.us += DAY_US
    await watch.told()
    assert watch.messenger.tries == tries


async def test_without_a_messenger_it_is_for_the_log_alone_and_nothing_is_sent_later(
    watch: Watch,
) -> None:
    messenger, watch.messenger = watch.messenger, None  # type: ignore[assignment]
    watch.clock.us = DAY.to_us - 1_000_000
    spend(watch.file, 5)
    assert watch.anew().look() == 1
    watch.messenger = messenger
    watch.anew()
    assert await watch.told() == []


def _look(
    home: str, barrier: "multiprocessing.synchronize.Barrier", said: "multiprocessing.Queue[int]"
) -> None:
    alerts = Alerts(
        lambda: Watched("UTC", (budget(),)),
        AlertBook(Database(url_of(Path(home)))),
        Alone(),
        None,
        Counted(),
        "here",
        now_us=lambda: DAY.to_us - 1_000_000,
    )
    barrier.wait()
    said.put(alerts.look())


def test_four_workers_that_look_at_once_say_it_once(watch: Watch) -> None:
    spend(watch.file, 12)
    spawn = multiprocessing.get_context("spawn")
    barrier, said = spawn.Barrier(4), spawn.Queue()
    home = str(watch.file.parent)
    workers = [spawn.Process(target=_look, args=(home, barrier, said)) for _ in range(4)]
    for worker in workers:
        worker.start()
    counts = [said.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert sum(counts) == 3


async def test_watching_goes_on_beside_until_cancelled(watch: Watch) -> None:
    watch.clock.us = DAY.to_us - 1_000_000
    spend(watch.file, 5)
    task = asyncio.create_task(watch.alerts.run())
    async with asyncio.timeout(20):
        while not watch.messenger.bodies:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(watch.messenger.bodies) == 1


def test_a_stretch_is_one_of_the_budget_s_own() -> None:
    assert DAY == Period(NOON - DAY_US // 2, NOON + DAY_US // 2)


def test_a_small_projection_is_not_rounded_to_cents() -> None:
    small = Alert(
        "team", "acme", "search", DAY, "b", 10_000_000, "projected", Used(9, 0), 11_676_123
    )
    told = {}
    for ahead in (11_676_123, 123_999_999, 61_500, 12_345_678_901):
        text = text_of(small._replace(projected_nano_usd=ahead))
        told[ahead] = text.partition("spent, ")[2].partition(" projected")[0]
    assert list(told.values()) == ["$0.0116", "$0.12", "$0.0000615", "$12.34"]


@pytest.mark.parametrize("of", [None, "search"])
async def test_a_team_is_told_of_with_its_tenant_and_its_namesake_is_not(
    tmp_path: Path, of: str | None
) -> None:
    daily = replace(budget((10_000, "alert")), scope="team", of=of)
    watch = Watch(tmp_path, daily)
    for tenant, usd in (("acme", 11), ("beta", 4)):
        spend(watch.file, usd, tenant)
    with sqlite3.connect(watch.file) as connection:
        connection.execute("UPDATE ledger SET team = 'search'")
    assert await watch.told() == ["search 100%"]
    said = orjson.loads(watch.messenger.bodies[0])
    assert said["tenant"] == "acme"
    assert "of the team `search` of the tenant `acme` has reached" in said["text"]
    spend(watch.file, 7, "beta")
    with sqlite3.connect(watch.file) as connection:
        connection.execute("UPDATE ledger SET team = 'search'")
    assert await watch.told() == ["search 100%"]
    assert orjson.loads(watch.messenger.bodies[1])["tenant"] == "beta"
    # One that is stored with a tenant is about its teams alone.
    for tenant, told in (("beta", "beta"), ("acme", "acme"), ("late", None)):
        stored = replace(watch.budgets[0], name=f"of_{tenant}", tenant=tenant)
        watch.budgets = (stored,)
        before = len(watch.messenger.bodies)
        await watch.told()
        said = [orjson.loads(body) for body in watch.messenger.bodies[before:]]
        assert {one["tenant"] for one in said} == ({told} if told else set())
    watch.database.close()
