"""The purse that leases: a holding in memory, filled from the bank off the path.

A booking that its slices have enough for takes two microseconds and waits for nobody. One that
they have not waits for the bank, which is asked for all that wait at once; and where only what
others hold is in the way, until they give it back. They learn of it from the board: whoever holds a
free part of a wanted counter returns it at once.

Over 300 lines because who waits and when the bank is asked are one state.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from .bank import TERM_US, Ask, Bank, LostHolder, Room, Stretch
from .board import Alone, Board
from .boot import boot_us
from .counter import Counter
from .holding import Booked, Holding
from .purse import Booking, Exceeded, Figures, Slip, Unavailable
from .state.store import StoreError

TOPIC = "wanted"
MOST_WAITING = 2_000  # in one worker; more would wait for nothing
RENEW_S = 1.0  # between two renewals, and two looks at what is not needed
LOOK_S = 0.025  # between two looks at what others want, while there is something to give
POLL_S = 0.03  # between two questions for what others have
PAUSE_S = 0.25  # after the bank could not be used
BANK_PATIENCE_S = 2.0  # for its first answer, where a request would not wait as long

_FRESH_US = TERM_US // 2

_log = logging.getLogger("turnout.purse")
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Waiter:
    """A booking that waits.

    `verdict`: what the bank last said of it; `wants`: the counters that others have to give of.
    `short`: those whose slices have not enough, where later bookings stand behind it.
    """

    ask: Ask
    booked: asyncio.Future[Booked]
    ends_at: float  # by the loop's clock
    patience: asyncio.TimerHandle | None = None
    verdict: Exceeded | None = None
    wants: tuple[Stretch, ...] = ()
    short: list[Stretch] = field(default_factory=list)


class Slices:
    """A `Purse` over a bank; one per worker, used from its event loop.

    Its bank's work runs in one thread. Cost of a booking that finds enough, with its settling:
    1.4 µs for one counter, 0.4 µs for each one more.
    """

    name = "purse"

    def __init__(
        self,
        bank: Bank,
        board: Board | None = None,
        executor: Executor | None = None,
        since_boot_us: Callable[[], int] = boot_us,
    ) -> None:
        """Lease from this bank, and say on the board what is wanted.

        `executor` runs what blocks, one after another; None: a thread of its own.
        """
        self._bank = bank
        self._board = board or Alone()
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="purse")
        self._since_boot_us = since_boot_us
        self._holder: str | None = None
        self._fresh_until_us = 0
        self._holding = Holding(self._wake)
        self._waiting: dict[_Waiter, None] = {}
        self._told: bytes = b""
        self._news = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._closed = False
        self._lost = 0
        self._trouble: str | None = None

    # --- bookings --------------------------------------------------------------------------------

    async def book(self, counters: Sequence[Counter], nano_usd: int, patience_s: float) -> Booking:
        """Set an amount aside in all of these counters, or in none.

        Raises: Exceeded, Unavailable.
        """
        if self._since_boot_us() < self._fresh_until_us:
            booked = self._holding.take(counters, nano_usd)
            if booked is not None:
                return booked
        if self._closed or len(self._waiting) >= MOST_WAITING:
            raise Unavailable
        return await self._wait(Ask(tuple(counters), nano_usd), patience_s)

    def settle(self, booking: Booking, nano_usd: int) -> Sequence[Slip]:
        """Say what a booking has cost; the rest is free again."""
        assert isinstance(booking, Booked)
        slips, is_awaited = self._holding.settle(booking, nano_usd)
        if is_awaited:
            self._serve()
        return slips

    # --- those who wait --------------------------------------------------------------------------

    async def _wait(self, ask: Ask, patience_s: float) -> Booking:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(ask, loop.create_future(), loop.time() + patience_s)
        waiter.patience = loop.call_at(waiter.ends_at, self._give_up, waiter)
        waiter.short = self._holding.mark(ask)
        self._waiting[waiter] = None
        self._wake()
        try:
            return await waiter.booked
        except asyncio.CancelledError:
            self._remove(waiter)
            if waiter.booked.done() and not waiter.booked.cancelled():
                if waiter.booked.exception() is None:
                    self.settle(waiter.booked.result(), 0)
            else:
                self._serve()
            raise

    def _unmark(self, waiter: _Waiter) -> None:
        self._holding.unmark(waiter.short)
        waiter.short = []

    def _remove(self, waiter: _Waiter) -> None:
        if waiter.patience is not None:
            waiter.patience.cancel()
            waiter.patience = None
        self._waiting.pop(waiter, None)
        self._unmark(waiter)

    def _give_up(self, waiter: _Waiter) -> None:
        """A request's patience has ended."""
        now = asyncio.get_running_loop().time()
        if waiter.verdict is None and now < waiter.ends_at + BANK_PATIENCE_S:
            # The bank has not said anything yet: that takes a moment.
            due = waiter.ends_at + BANK_PATIENCE_S
            waiter.patience = asyncio.get_running_loop().call_at(due, self._give_up, waiter)
            return
        self._refuse(waiter, waiter.verdict or Unavailable())

    def _refuse(self, waiter: _Waiter, error: Exception) -> None:
        self._remove(waiter)
        if not waiter.booked.done():
            waiter.booked.set_exception(error)

    def _serve(self) -> None:
        """Book for those who wait, in their order, from what is in memory."""
        if self._since_boot_us() >= self._fresh_until_us:
            return  # soon, when the lease is renewed
        blocked: set[Stretch] = set()
        for waiter in list(self._waiting):
            lacking = self._holding.lacking(waiter.ask)
            is_behind = any(counter.stretch in blocked for counter in waiter.ask.counters)
            blocked.update(lacking)
            self._unmark(waiter)
            if lacking or is_behind:
                waiter.short = self._holding.mark(waiter.ask)
                continue
            self._remove(waiter)
            if not waiter.booked.done():
                waiter.booked.set_result(self._holding.take_waited(waiter.ask))

    # --- the bank --------------------------------------------------------------------------------

    def _wake(self) -> None:
        """See to it that the bank is asked."""
        self._news.set()
        if self._closed:
            return
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._keep_asking(), name="purse")

    async def _keep_asking(self) -> None:
        """Ask the bank until nobody waits and nothing is to be given back."""
        # Never cancelled: what the bank has leased by then would be nobody's.
        while (self._waiting or self._holding.returns) and not self._closed:
            self._news.clear()
            try:
                await self._ask()
                self._trouble = None
            except LostHolder as lost:
                self._lose(lost)
                continue
            except Exception as error:
                self._fail(error)
                await asyncio.sleep(PAUSE_S)
                continue
            self._tell()
            if self._waiting and not self._news.is_set():
                await self._sleep(POLL_S)
        self._tell()

    async def _sleep(self, seconds: float) -> None:
        """Sleep until there is news, or so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _ask(self) -> None:
        """One round: give back, renew where that is due, and lease for those who wait."""
        holding = self._holding
        for waiter in self._waiting:
            for counter in waiter.ask.counters:
                holding.lower(counter)
        returns, holding.returns = holding.returns, []
        if returns:
            try:
                await self._off(partial(self._bank.give_back, returns))
            except StoreError:
                holding.returns = returns + holding.returns
                raise
        if not self._waiting:
            return
        if self._holder is None:
            await self._join()
        elif self._since_boot_us() >= self._fresh_until_us:
            await self._renew()
        self._serve()
        waiting = list(self._waiting)
        if not waiting:
            return
        asks = [one.ask for one in waiting]
        held = {
            counter.stretch: holding.held(counter.stretch)
            for ask in asks
            for counter in ask.counters
        }
        assert self._holder is not None
        rooms = await self._off(partial(self._bank.lease, self._holder, asks, held))
        if self._holder is not None:
            holding.put(self._holder, asks, rooms)
        self._judge(waiting, rooms)
        self._serve()
        # Again: what was free a moment ago is others' now.
        self._judge(waiting, rooms)
        self._dismiss()

    def _judge(self, waiting: Sequence[_Waiter], rooms: dict[Stretch, Room]) -> None:
        """Tell those who cannot be served whatever others give back; note what the others lack."""
        for waiter in waiting:
            if waiter not in self._waiting:
                continue
            ask = waiter.ask
            verdict = None
            wants = []
            for counter in ask.counters:
                room = rooms[counter.stretch]
                free = self._holding.free(counter.stretch)
                most = counter.ceiling_nano_usd - room.used_nano_usd
                left = most - room.leased_nano_usd + free
                if left >= ask.nano_usd:
                    continue
                wants.append(counter.stretch)
                # What will not fit whatever others give back tells more than what might.
                if verdict is None or (verdict.is_reserved and most < ask.nano_usd):
                    verdict = Exceeded(counter, left, most >= ask.nano_usd)
            waiter.wants = tuple(wants)
            # Where everything would fit, others stand before it.
            waiter.verdict = verdict or Exceeded(ask.counters[0], ask.nano_usd, True)
            if not waiter.verdict.is_reserved:
                self._refuse(waiter, waiter.verdict)

    def _dismiss(self) -> None:
        """Tell those whose patience has ended."""
        now = asyncio.get_running_loop().time()
        for waiter in list(self._waiting):
            if waiter.verdict is not None and now >= waiter.ends_at:
                self._refuse(waiter, waiter.verdict)

    def _tell(self) -> None:
        """Say what is wanted of others, or that nothing is."""
        wanted = dict.fromkeys(one for waiter in self._waiting for one in waiter.wants)
        told = json.dumps(list(wanted)).encode() if wanted else b""
        if told != self._told:
            self._told = told
            self._board.post(TOPIC, told)

    def _fail(self, error: Exception) -> None:
        """The bank cannot be used: who waits is told so."""
        self._stumble(error)
        for waiter in list(self._waiting):
            self._refuse(waiter, Unavailable())

    def _stumble(self, error: Exception) -> None:
        """Say once, until it is over, that the bank cannot be used."""
        if self._trouble is None:
            _log.warning(
                "budgets cannot be leased from: %s",
                error,
                exc_info=None if isinstance(error, StoreError) else error,
            )
        self._trouble = str(error)

    async def _join(self) -> None:
        asked_us = self._since_boot_us()
        await self._off(self._bank.reap)
        self._holder = await self._off(self._bank.join)
        self._fresh_until_us = asked_us + _FRESH_US

    async def _renew(self) -> None:
        """Raises: LostHolder, StoreError."""
        holder = self._holder
        assert holder is not None
        asked_us = self._since_boot_us()
        await self._off(partial(self._bank.renew, holder))
        if self._holder == holder and not self._closed:
            self._fresh_until_us = asked_us + _FRESH_US

    def _lose(self, lost: LostHolder) -> None:
        """Begin anew: what is known to be free goes back, what is open settles as it was booked."""
        if lost.holder != self._holder:
            return  # known by now
        self._lost += 1
        _log.warning("this worker was taken for ended, and leases from budgets anew")
        self._holder, self._fresh_until_us = None, 0
        self._holding.lose()
        for waiter in self._waiting:
            waiter.short.clear()

    async def _off(self, work: Callable[[], T]) -> T:
        """Do what blocks in the purse's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    # --- life ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Renew the lease, look who wants what is free here, and give back what nobody needs."""
        now = asyncio.get_running_loop().time
        due_at = now()
        while True:
            if now() >= due_at:
                due_at = now() + RENEW_S
                await self.tick()
            await asyncio.sleep(RENEW_S if self._holding.is_empty else LOOK_S)
            self.look()

    async def tick(self) -> None:
        """Renew the lease, find out who ended, and give back what nobody needs: once a second."""
        try:
            if self._holder is not None:
                await self._renew()
            await self._off(self._bank.reap)
            self._trouble = None
        except LostHolder as lost:
            self._lose(lost)
        except StoreError as error:
            self._stumble(error)
        self._holding.trim()

    def look(self) -> None:
        """Give back at once what other workers want."""
        told = self._board.look(TOPIC)
        if told is not None:
            self._holding.wanted = {stretch for one in told for stretch in _stretches(one)}
        self._holding.yield_wanted()

    async def close(self) -> None:
        """Book nothing any more, and give back what is free."""
        self._closed = True
        self._fresh_until_us = 0
        for waiter in list(self._waiting):
            self._refuse(waiter, Unavailable())
        await self._return_free()
        self._tell()

    async def leave(self) -> None:
        """Let go of everything; what no ledger row has accounted for may have been spent."""
        await self._return_free()  # what was settled since
        try:
            if self._holder is not None:
                await self._off(partial(self._bank.leave, self._holder))
            await self._off(self._bank.close)
        except StoreError as error:
            _log.warning("leases of budgets cannot be given up: %s; they expire", error)
        self._holder = None
        self._executor.shutdown(wait=False)

    async def _return_free(self) -> None:
        self._news.set()
        if self._pump is not None:
            await asyncio.gather(self._pump, return_exceptions=True)
        holding = self._holding
        holding.clear()
        returns, holding.returns = holding.returns, []
        try:
            await self._off(partial(self._bank.give_back, returns))
        except StoreError as error:
            holding.returns = returns
            _log.warning("what is free of budgets cannot be given back: %s", error)

    def figures(self) -> Figures:
        """How it stands."""
        renewed_us = None
        if self._holder is not None and self._fresh_until_us:
            renewed_us = max(self._since_boot_us() - self._fresh_until_us + _FRESH_US, 0)
        return Figures(
            self._holding.open_nano_usd,
            self._holding.free_nano_usd,
            len(self._waiting),
            renewed_us,
            self._lost,
            self._trouble,
        )

    def health(self) -> dict[str, object]:
        """How it stands, for `/health`; amounts are the metrics' affair."""
        figures = self.figures()
        return {
            "waiting": figures.waiting,
            "renewed_ms": None if figures.renewed_us is None else figures.renewed_us // 1_000,
            "available": figures.trouble is None,
        }


def _stretches(told: bytes) -> Iterable[Stretch]:
    """What a fellow wants; nothing where that cannot be read."""
    try:
        for scope, tenant, who, from_us, to_us in json.loads(told or b"[]"):
            yield (str(scope), str(tenant), str(who), int(from_us), int(to_us))
    except (ValueError, TypeError):
        return
