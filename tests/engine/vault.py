"""Workers of one test that lease from one database, with clocks that the test turns."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal, TypeVar

from turnout.engine.counter import Counter
from turnout.engine.purse import Slip
from turnout.engine.record import Attempt, DecisionRecord
from turnout.engine.slices import Slices
from turnout.engine.spent import tenant_of
from turnout.engine.state.bank import SqlBank
from turnout.engine.state.books import SqlBooks
from turnout.engine.state.database import FILE, Database, open_database, url_of_file
from turnout.engine.state.holders import Clocks
from turnout.engine.state.sqlite import SqliteStore
from turnout.engine.state.store import Group

from .turned import TurnedLoop
from .wall import Wall

T = TypeVar("T")
NOW_US = 1_795_003_200_000_000  # 2026-11-18 12:00 UTC
FROM_US, TO_US = NOW_US - 10**12, NOW_US + 10**15


class Inline(Executor):
    """Does what it is given at once."""

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


def counter(scope: str, who: str, ceiling: int, tenant: str = "acme") -> Counter:
    """A counter of a long stretch."""
    return Counter(scope, tenant_of(scope, tenant), who, FROM_US, TO_US, ceiling, f"{scope}_{who}")


class Vault:
    """A database with its bank; time is `now_s` since the machine was started, and the loop's."""

    def __init__(self, folder: Path) -> None:
        shutil.copy(_empty(), folder / FILE)
        self.database = Database(url_of_file(folder / FILE))
        self.loop = TurnedLoop(1_000.0)
        self.boot = "boot"
        self.clocks = Clocks(self.now_us, self.since_boot_us, lambda: self.boot)
        self.store = SqliteStore(self.database)
        self.books = SqlBooks(self.database, self.clocks)
        self.wall = Wall()
        self.written = 0

    def since_boot_us(self) -> int:
        return int(self.loop.time() * 1e6)

    def now_us(self) -> int:
        return NOW_US

    def bank(self) -> SqlBank:
        return SqlBank(self.database, self.clocks)

    def worker(self) -> Slices:
        return Slices(self.bank(), self.wall.board(), Inline(), self.since_boot_us)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    def group(self, slips: Sequence[Slip], cost: int, **whose: Any) -> Group:
        """What the journal writes of a request that cost this much."""
        record = paid(f"req_{self.written}", cost, **whose)
        self.written += 1
        return Group([record], slips={record.id: slips})

    def leases(self) -> dict[str, int]:
        """What each holder has on lease, of all counters."""
        with self.database.reading() as reading:
            rows = reading.exec_driver_sql(
                "SELECT holder, sum(nano_usd) FROM leases GROUP BY holder"
            ).all()
        return {holder: total for holder, total in rows if total}

    def close(self) -> None:
        self.loop.close()
        self.database.close()


def paid(
    id: str,
    cost: int,
    unconfirmed: int = 0,
    tenant: str = "acme",
    user: str | None = None,
    team: str | None = None,
    target: str = "openai/gpt-4",
    at_us: int = NOW_US,
    key_id: str | None = None,
    payer: Literal["gateway", "caller"] = "gateway",
) -> DecisionRecord:
    """The record of a request with one attempt that cost this much."""
    attempt = Attempt(target, "gpt-4", "ok", 0, 1, at_us, 5, sent=True)
    attempt.payer = payer
    attempt.cost_nano_usd, attempt.unconfirmed_nano_usd = cost, unconfirmed
    return DecisionRecord(
        id=id,
        received_us=at_us,
        took_us=1,
        digest="sha256:x",
        operation="chat",
        tenant=tenant,
        tier="default",
        team=team,
        user=user,
        key_id=key_id,
        session_hash="",
        model="auto",
        stream=False,
        clause=0,
        rule="all",
        route=None,
        target=None,
        values={},
        reasons={},
        intervals={},
        attempts=[attempt],
    )


@cache
def _empty() -> Path:
    """A file with all tables and no rows; making one takes longer than a test."""
    home = Path(mkdtemp())
    open_database(home).close()
    return home / FILE
