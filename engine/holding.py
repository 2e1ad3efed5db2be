"""What a worker has of counters, in memory: a slice of each, and what was booked from them.

Nothing here waits or asks anybody. What is to go back to the bank is out of the slices at once, and
lies in `returns`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .bank import Ask, Held, Room, Stretch
from .counter import Counter
from .purse import Booking, Slip


@dataclass(slots=True, eq=False)
class Slice:
    """What one holder has of one counter.

    `number` is the bank's. `is_lost`: the holder was taken for ended; what becomes free goes back.
    `ceiling_nano_usd`: the lowest that any of the free part was leased below. `short`: how many
    wait for more of it. `booked_nano_usd` and `least_nano_usd` (the least that was free) are of the
    present tick, `before_nano_usd` was booked in the last one.
    """

    holder: str
    number: int
    stretch: Stretch
    free_nano_usd: int = 0
    open_nano_usd: int = 0
    ceiling_nano_usd: int = 0
    short: int = 0
    is_lost: bool = False
    booked_nano_usd: int = 0
    before_nano_usd: int = 0
    least_nano_usd: int = 0

    def has(self, counter: Counter, nano_usd: int) -> bool:
        """Whether so much is free, below this counter's ceiling."""
        return self.free_nano_usd >= nano_usd and counter.ceiling_nano_usd >= self.ceiling_nano_usd


@dataclass(slots=True)
class Booked(Booking):
    """A booking with the slices that it is of."""

    slices: tuple[Slice, ...] = ()


class Holding:
    """The slices of one worker.

    `returns`: what is free and nobody's any more here, to be taken to the bank by whoever empties
    the list; `returning` is called when something is added. `wanted`: the counters of which other
    workers want what is free; set by whoever knows.
    """

    def __init__(self, returning: Callable[[], None]) -> None:
        """Have nothing."""
        self.returns: list[Slip] = []
        self.wanted: set[Stretch] = set()
        self._returning = returning
        self._slices: dict[Stretch, Slice] = {}

    # --- bookings --------------------------------------------------------------------------------

    def take(self, counters: Sequence[Counter], nano_usd: int) -> Booked | None:
        """Book an amount; None where that is not there, or others wait for it."""
        found = []
        for counter in counters:
            one = self._slices.get(counter[:5])
            if (  # as `has`, without the call: every attempt comes by here
                one is None
                or one.free_nano_usd < nano_usd
                or one.short
                or counter.ceiling_nano_usd < one.ceiling_nano_usd
            ):
                return None
            found.append(one)
        return _set_aside(counters, nano_usd, found)

    def take_waited(self, ask: Ask) -> Booked:
        """Book what was waited for, and lacks nothing."""
        return _set_aside(ask.counters, ask.nano_usd, [self._slices[c[:5]] for c in ask.counters])

    def lacking(self, ask: Ask) -> list[Stretch]:
        """The counters of which there is not enough for a booking."""
        lacking = []
        for counter in ask.counters:
            one = self._slices.get(counter.stretch)
            if one is None or not one.has(counter, ask.nano_usd):
                lacking.append(counter.stretch)
        return lacking

    def settle(self, booking: Booked, nano_usd: int) -> tuple[Sequence[Slip], bool]:
        """Say what a booking has cost; the rest is free again.

        The slips of what was spent, and whether somebody waits for what is free now.
        """
        if not booking.open:
            return (), False
        booking.open = False
        reserved = booking.nano_usd
        spent = min(max(nano_usd, 0), reserved)
        rest = reserved - spent
        is_awaited = False
        for one in booking.slices:
            one.open_nano_usd -= reserved
            if rest:
                if one.is_lost or one.stretch in self.wanted:
                    self._give_back(one, rest)
                else:
                    one.free_nano_usd += rest
                    is_awaited = is_awaited or one.short > 0
        if not spent:
            return (), is_awaited
        return [Slip(one.holder, one.number, spent) for one in booking.slices], is_awaited

    # --- those who wait --------------------------------------------------------------------------

    def mark(self, ask: Ask) -> list[Stretch]:
        """Let later bookings stand behind this one where it lacks something; where that is."""
        short = []
        for counter in ask.counters:
            one = self._slices.get(counter.stretch)
            if one is not None and one.free_nano_usd < ask.nano_usd:
                one.short += 1
                short.append(one.stretch)
        return short

    def unmark(self, short: Iterable[Stretch]) -> None:
        """Take back what `mark` has said."""
        for stretch in short:
            one = self._slices.get(stretch)
            if one is not None:
                one.short = max(one.short - 1, 0)

    def free(self, stretch: Stretch) -> int:
        """What is free of a counter, in nano-USD."""
        one = self._slices.get(stretch)
        return 0 if one is None else one.free_nano_usd

    def held(self, stretch: Stretch) -> Held:
        """What the bank is told of a counter when more of it is asked for."""
        one = self._slices.get(stretch)
        if one is None:
            return Held(0, 0)
        # What is booked in half a second, so that the bank is asked a few times in one.
        extra = 0 if stretch in self.wanted else max(one.booked_nano_usd, one.before_nano_usd) // 2
        return Held(one.free_nano_usd, extra)

    def put(self, holder: str, asks: Iterable[Ask], rooms: Mapping[Stretch, Room]) -> None:
        """Put what was leased for these bookings into the slices."""
        ceilings: dict[Stretch, int] = {}
        for ask in asks:
            for counter in ask.counters:
                ceilings[counter.stretch] = max(
                    ceilings.get(counter.stretch, 0), counter.ceiling_nano_usd
                )
        for stretch, room in rooms.items():
            if room.number is None:
                continue
            one = self._slices.get(stretch)
            if one is None:
                one = self._slices[stretch] = Slice(holder, room.number, stretch)
            if room.granted_nano_usd:
                if not one.free_nano_usd:
                    one.ceiling_nano_usd = 0
                one.free_nano_usd += room.granted_nano_usd
                one.ceiling_nano_usd = max(one.ceiling_nano_usd, ceilings[stretch])

    # --- what goes back --------------------------------------------------------------------------

    def lower(self, counter: Counter) -> None:
        """Give back what was leased below a higher ceiling than this one."""
        one = self._slices.get(counter.stretch)
        if one is not None and counter.ceiling_nano_usd < one.ceiling_nano_usd:
            one.ceiling_nano_usd = counter.ceiling_nano_usd
            self._empty(one, one.free_nano_usd)

    def yield_wanted(self) -> None:
        """Give back what other workers want."""
        for stretch in self.wanted:
            one = self._slices.get(stretch)
            if one is not None:
                self._empty(one, one.free_nano_usd)

    def trim(self) -> None:
        """Give back what was not needed since the last time, and forget empty slices."""
        for stretch, one in list(self._slices.items()):
            unneeded = min(one.least_nano_usd, one.free_nano_usd) - one.booked_nano_usd // 2
            if not one.short:
                self._empty(one, unneeded)
            is_idle = not one.booked_nano_usd and not one.before_nano_usd and not one.short
            if is_idle and not one.free_nano_usd and not one.open_nano_usd:
                del self._slices[stretch]
            one.before_nano_usd, one.booked_nano_usd = one.booked_nano_usd, 0
            one.least_nano_usd = one.free_nano_usd

    def clear(self) -> None:
        """Give back all that is free."""
        for one in self._slices.values():
            self._empty(one, one.free_nano_usd)

    def lose(self) -> None:
        """Begin anew: what is free goes back, and what is open when it is settled."""
        slices, self._slices = self._slices, {}
        for one in slices.values():
            one.is_lost = True
            self._empty(one, one.free_nano_usd)

    def _empty(self, one: Slice, nano_usd: int) -> None:
        if nano_usd > 0:
            one.free_nano_usd -= nano_usd
            one.least_nano_usd = min(one.least_nano_usd, one.free_nano_usd)
            self._give_back(one, nano_usd)

    def _give_back(self, one: Slice, nano_usd: int) -> None:
        self.returns.append(Slip(one.holder, one.number, nano_usd))
        self._returning()

    # --- how it stands ---------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether there is no slice."""
        return not self._slices

    @property
    def open_nano_usd(self) -> int:
        """What is booked, of all counters."""
        return sum(one.open_nano_usd for one in self._slices.values())

    @property
    def free_nano_usd(self) -> int:
        """What is free, of all counters."""
        return sum(one.free_nano_usd for one in self._slices.values())


def _set_aside(counters: Sequence[Counter], nano_usd: int, found: Iterable[Slice]) -> Booked:
    slices = tuple(found)
    for one in slices:
        one.free_nano_usd -= nano_usd
        one.open_nano_usd += nano_usd
        one.booked_nano_usd += nano_usd
        one.least_nano_usd = min(one.least_nano_usd, one.free_nano_usd)
    return Booked(nano_usd, 0, tuple(counters), True, slices)
