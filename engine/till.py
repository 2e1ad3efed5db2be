"""Where a request pays: reserves before each attempt, settles after it, on every way out.

One per request, and one for each copy of it. What attempts have cost is the ledger's affair; here
is what may be spent at all, and what a client is told where that is not enough.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from turnout.dsl.core import Budget, Program
from turnout.dsl.schema import Target
from turnout.dsl.units import format_usd

from .budget import output_that_fits, worst_case
from .counter import Counter, counters_of
from .provider import Fault
from .purse import Booking, Exceeded, Purse, Slip, Unavailable
from .record import Attempt
from .request import NOTHING_SET, Request, Sets
from .retries import KeptOut
from .settle import settle

# When to come back where nobody can say what is left.
_UNAVAILABLE_US = 1_000_000


class Till:
    """One request's payments, attempt by attempt."""

    def __init__(
        self,
        purse: Purse,
        request: Request,
        program: Program,
        budgets: Sequence[Budget],
        sets: Sets = NOTHING_SET,
    ) -> None:
        """Pay from this purse what counts against these budgets.

        `sets` is written over the client's body, which may bound the answer.
        """
        self._purse = purse
        self._request = request
        self._program = program
        self._budgets = budgets
        self._sets = sets
        self._open: dict[int, Booking] = {}  # by the identity of the attempt
        self._slips: list[Slip] = []
        self.refused_by: Counter | None = None
        """The counter that had not as much left when it was last asked, with its budget."""

    def beside(self) -> "Till":
        """Another one, for a copy of the request."""
        return Till(self._purse, self._request, self._program, self._budgets, self._sets)

    def of(self, request: Request) -> "Till":
        """Another one, for a request that is made on behalf of this one: a call for embeddings."""
        return Till(self._purse, request, self._program, self._budgets)

    def free(self) -> "Till":
        """Another one, for what providers do for nothing: counting a prompt."""
        return Till(self._purse, self._request, self._program, ())

    async def book(self, target: Target, patience_s: float) -> Booking | None:
        """Set aside the most that an attempt at a target may cost; None: nothing counts it.

        Raises: KeptOut, where a budget has not as much left within `patience_s`.
        """
        if not self._budgets:
            return None
        at_us = self._now_us()
        caller = self._request.caller
        counters = counters_of(self._budgets, self._program.timezone, caller, target.id, at_us)
        if not counters:
            return None
        most = worst_case(target, self._request, self._sets)
        if most == 0:
            return None
        patience_s = min(patience_s, self._program.budget_wait_us / 1e6)
        try:
            booking = await self._purse.book(counters, most, max(patience_s, 0.0))
        except Exceeded as exceeded:
            raise self._kept_out(target, most, exceeded) from None
        except Unavailable:
            raise KeptOut(
                Fault.OVERLOADED,
                "what its budget has left cannot be told at the moment",
                _UNAVAILABLE_US,
                code="budget_unavailable",
            ) from None
        booking.at_us = at_us
        return booking

    def hold(self, attempt: Attempt, booking: Booking | None) -> None:
        """Let a booking be an attempt's, from its beginning on."""
        if booking is not None:
            attempt.reserved_nano_usd, attempt.booked_us = booking.nano_usd, booking.at_us
            self._open[id(attempt)] = booking

    def give_back(self, booking: Booking | None) -> None:
        """Take back what was booked for an attempt that was not made."""
        if booking is not None:
            self._slips += self._purse.settle(booking, 0)

    def settle(self, attempt: Attempt, target: Target | None) -> None:
        """Say that an attempt is over; what it has not cost is free again. More often is no harm.

        One that failed is priced first: by what was reported, or the worst case if nobody can say.
        """
        settle(attempt, target, self._request, self._sets)
        booking = self._open.pop(id(attempt), None)
        if booking is not None:
            spent = attempt.cost_nano_usd + attempt.unconfirmed_nano_usd
            self._slips += self._purse.settle(booking, spent)

    def slips(self) -> tuple[Slip, ...]:
        """What leases are to be taken off when the ledger has what was settled; each once."""
        slips, self._slips = tuple(self._slips), []
        return slips

    def _kept_out(self, target: Target, most: int, exceeded: Exceeded) -> KeptOut:
        self.refused_by = exceeded.counter
        left = max(exceeded.left_nano_usd, 0)
        told = (
            f"the budget `{exceeded.counter.budget}` has ${format_usd(left)} left, and this "
            f"request may cost up to ${format_usd(most)}"
        )
        fits = output_that_fits(target, self._request, self._sets, left)
        if fits is not None:
            told += f"; with `max_tokens` of {fits} or less it would fit"
        elif exceeded.is_reserved:
            told += "; other requests have the rest of it reserved"
        zone = self._program.timezone
        anew = datetime.fromtimestamp(exceeded.counter.to_us / 1e6, ZoneInfo(zone))
        told += f"; the budget starts anew on {anew:%Y-%m-%d %H:%M} {zone}"
        return KeptOut(Fault.BUDGET, told)

    def _now_us(self) -> int:
        request = self._request
        return request.received_us + (time.monotonic_ns() - request.started_ns) // 1000
