"""The pulse: how targets have been doing lately, as all workers have seen them.

Attempts are counted on the hot path; once a second `tick` makes a table of the counts, and
decisions read the table. Latencies are those of attempts that succeeded: a target that fails fast
is not a fast target. What a breaker makes of failures is not kept here.

At each tick a worker tells the others what it counted, over the usual window and over those that
the policy names (`p95("x", 5m)`, from the first tick that was asked for it), and adds what the
others told at theirs: what one saw, all know a second later. What a worker told that ended, or that
has not ticked for a while, no longer counts.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping

from turnout.dsl.core import REQUESTED, Slot
from turnout.dsl.schema import Expected, Target, Value

from .beat import NEVER_CALLED, Beat, Count, packed, together, unpacked
from .board import Alone, Board
from .record import PulseTable
from .window import NOTHING, Sums, Window, percentiles

TOPIC = "pulse"

# Beyond those of the policy, clients can name any number of targets (`ft:` models).
_MOST_UNLISTED = 500
# A worker that has not ticked for so long is stuck: what it counted stands for no recent time.
_STALE_NS = 5_000_000_000

# What holds where a table says nothing: these stand in a table only where they are otherwise.
DEFAULTS: Mapping[str, Value] = {
    "healthy": True,
    "breaker": "closed",
    "rate_limited": False,
    "inflight": 0,
    "usable": True,
    "held": False,
}


class _Course:
    """How one target has been doing here, by the length of the window in µs."""

    __slots__ = ("inflight", "windows")

    def __init__(self, windows_us: Iterable[int]) -> None:
        self.windows = {us: Window(us * 1_000) for us in windows_us}
        self.inflight = 0

    def count(self, now_ns: int) -> Count:
        windows = {us: window.sums(now_ns) for us, window in self.windows.items()}
        return Count(self.inflight, {us: sums for us, sums in windows.items() if sums.attempts})


class Pulse:
    """Live values of targets over sliding windows; one per worker, used from its event loop.

    Times and numbers of tokens are told to within 1/64, see `window`. Cost: `record` 1 µs, and
    0.8 µs for each window that the policy names beside the usual one; `tick` 55 µs for each busy
    target, and 15 µs for each other worker that calls it; 5 µs for a target that nobody calls.
    """

    def __init__(
        self,
        now_ns: Callable[[], int] = time.monotonic_ns,
        *,
        board: Board | None = None,
        utc_ns: Callable[[], int] = time.time_ns,
        min_samples: int = 20,
        window_s: int = 60,
    ) -> None:
        """Measure by `now_ns`, a clock that never goes back and that all workers share.

        `window_s` is the usual window. `min_samples` counts those of all workers. `utc_ns` dates
        tables.
        """
        self._now_ns = now_ns
        self._board = board or Alone()
        self._utc_ns = utc_ns
        self._min_samples = min_samples
        self._usual_us = window_s * 1_000_000
        self._courses: dict[str, _Course] = {}
        self._windows_us = frozenset((self._usual_us,))
        self._listed: frozenset[str] = frozenset()
        self._own = Window(self._usual_us * 1_000)
        self._others: list[Beat] = []
        self._counts: Mapping[str, Count] = {}  # of all workers, as of the last tick
        self._told = False  # whether the others were told of any target
        self._table = PulseTable("", 0, {}, {})
        self._ticks = 0
        self._worker = uuid.uuid4().hex[:12]

    def record(
        self,
        target: str,
        took_us: int,
        ttft_us: int | None,
        output_tokens: int | None,
        failed: bool,
    ) -> None:
        """Note how one attempt at a target went; `target` is its id."""
        course = self._course(target)
        if course is not None:
            now_ns = self._now_ns()
            for window in course.windows.values():
                window.add(now_ns, took_us, ttft_us, output_tokens, failed)

    def entered(self, target: str) -> None:
        """Note that an attempt at a target begins; `left` must follow, however it ends."""
        course = self._course(target)
        if course is not None:
            course.inflight += 1

    def left(self, target: str) -> None:
        """Note that an attempt that `entered` is over: answered, failed, cut or left."""
        course = self._courses.get(target)
        if course is not None and course.inflight:
            course.inflight -= 1

    @property
    def inflight(self) -> Mapping[str, int]:
        """How many attempts of this worker are under way, by target, where there are any."""
        return {id: course.inflight for id, course in self._courses.items() if course.inflight}

    def _course(self, target: str) -> _Course | None:
        """The course of a target; None where clients made up too many."""
        course = self._courses.get(target)
        if course is None:
            most = len(self._listed) + _MOST_UNLISTED
            if target not in self._listed and len(self._courses) >= most:
                return None
            course = self._courses[target] = _Course(self._windows_us)
        return course

    def record_own(self, took_us: int) -> None:
        """Note how long the gateway itself worked on a request, without waiting for providers."""
        self._own.add(self._now_ns(), took_us, None, None, False)

    def gateway_latency(self) -> int | None:
        """The recent median of what the gateway itself adds, in µs; None without traffic.

        Of this worker alone.
        """
        _, (median,) = percentiles(self._own.sums(self._now_ns()).took, 50)
        return median

    def tick(
        self,
        targets: Mapping[str, Target],
        slots: Iterable[Slot] = (),
        states: Mapping[str, Value] | None = None,
    ) -> PulseTable:
        """The live values of these targets now; the same table as before if nothing changed.

        `slots` are those that the program may read: they say which windows are wanted beside the
        usual one, and whether targets that only clients named are wanted too (`requested`).
        `states` are values of targets that are not measured, by key: they go into the table as
        they are (`breaker(…)`, `healthy(…)`, `rate_limited(…)`, `usable(…)`).

        Shape: keys `p50(…)` to `p99(…)`, `ttft.p50(…)`, `ttft.p95(…)`, `error_rate(…)` and
        `expected_output(…)`, the last being the median of output tokens, not yet limited by what a
        request allows. Below the least number of samples a declared prior stands in, else there is
        a reason and no value. Keys of `DEFAULTS` are there only where the value is another.
        """
        values: dict[str, Value] = {}
        reasons: dict[str, str] = {}
        slots = [slot for slot in slots if slot.attribute.live]
        self._listed = frozenset(target.id for target in targets.values())
        windows_us = {slot.window_us for slot in slots if slot.window_us is not None}
        self._watch(frozenset({self._usual_us, *windows_us}))
        self._exchange()
        for target in targets.values():
            self._measure(target.id, target.expected, values, reasons)
        asked = [slot for slot in slots if slot.argument == REQUESTED]
        if asked:
            for id in self._unlisted():
                self._measure(id, Expected(), values, reasons)
        for slot in slots:
            if slot.window_us is not None:
                for id in self._meant(slot):
                    target_row = targets.get(id)
                    expected = target_row.expected if target_row is not None else Expected()
                    self._measure_window(slot, id, expected, values, reasons)
        values |= states or {}
        if values != self._table.values or reasons != self._table.reasons or not self._ticks:
            self._ticks += 1
            id = f"pulse_{self._worker}_{self._ticks}"
            self._table = PulseTable(id, self._utc_ns() // 1_000, values, reasons)
        return self._table

    def _watch(self, windows_us: frozenset[int]) -> None:
        """Count for these windows from now on, and for no others."""
        if windows_us == self._windows_us:
            return
        self._windows_us = windows_us
        for course in self._courses.values():
            course.windows = {us: course.windows.get(us) or Window(us * 1_000) for us in windows_us}

    def _exchange(self) -> None:
        """Tell the others what was counted here, and learn what they counted."""
        now_ns = self._now_ns()
        counted = {id: course.count(now_ns) for id, course in self._courses.items()}
        told = {id: count for id, count in counted.items() if count.inflight or count.windows}
        for id in counted.keys() - told.keys() - self._listed:
            del self._courses[id]
        if told or self._told:
            self._told = bool(told)
            self._board.post(TOPIC, packed(Beat(now_ns, told)))
        heard = self._board.look(TOPIC)
        if heard is not None:
            self._others = [beat for one in heard if (beat := unpacked(one)) is not None]
        recent = [beat.counts for beat in self._others if beat.at_ns >= now_ns - _STALE_NS]
        self._counts = together([told, *recent])

    def _unlisted(self) -> list[str]:
        """The targets beside those of the policy that somebody calls; a bounded number."""
        return sorted(self._counts.keys() - self._listed)[:_MOST_UNLISTED]

    def _sums(self, id: str, window_us: int) -> Sums:
        """What all workers counted of a target over a window."""
        count = self._counts.get(id, NEVER_CALLED)
        return count.windows.get(window_us, NOTHING)

    def _meant(self, slot: Slot) -> Iterable[str]:
        """The targets that a slot is about: of `requested` any there is."""
        if slot.argument == REQUESTED:
            return (*self._listed, *self._unlisted())
        return (slot.argument or "",)

    def _measure(
        self, id: str, expected: Expected, values: dict[str, Value], reasons: dict[str, str]
    ) -> None:
        """The values of a target over the usual window, and its state."""
        seen = self._sums(id, self._usual_us)
        times, (p50, p90, p95, p99) = percentiles(seen.took, 50, 90, 95, 99)
        firsts, (ttft_p50, ttft_p95) = percentiles(seen.ttft, 50, 95)
        outputs, (output,) = percentiles(seen.output, 50)
        for name, count, measured, prior in (
            ("p50", times, p50, None),
            ("p90", times, p90, None),
            ("p95", times, p95, expected.p95_us),
            ("p99", times, p99, None),
            ("ttft.p50", firsts, ttft_p50, expected.ttft_us),
            ("ttft.p95", firsts, ttft_p95, expected.ttft_us),
            ("error_rate", seen.attempts, _share(seen.failed, seen.attempts), None),
            ("expected_output", outputs, output, expected.output),
        ):
            self._put(f"{name}({id})", count, measured, prior, values, reasons)
        inflight = self._counts.get(id, NEVER_CALLED).inflight
        if inflight:
            values[f"inflight({id})"] = inflight

    def _measure_window(
        self,
        slot: Slot,
        id: str,
        expected: Expected,
        values: dict[str, Value],
        reasons: dict[str, str],
    ) -> None:
        """The value of a windowed slot for a target."""
        key = slot.key.replace(f"({slot.argument}", f"({id}", 1)
        seen = self._sums(id, slot.window_us or 0)
        name = slot.attribute.name
        if name == "error_rate":
            rate = _share(seen.failed, seen.attempts)
            self._put(key, seen.attempts, rate, None, values, reasons)
            return
        of_ttft = name.startswith("ttft.")
        prior = expected.ttft_us if of_ttft else expected.p95_us if name == "p95" else None
        percent = int(name.rpartition("p")[2])
        count, (measured,) = percentiles(seen.ttft if of_ttft else seen.took, percent)
        self._put(key, count, measured, prior, values, reasons)

    def _put(
        self,
        key: str,
        count: int,
        measured: int | None,
        prior: int | None,
        values: dict[str, Value],
        reasons: dict[str, str],
    ) -> None:
        value = measured if count >= self._min_samples else prior
        if value is None:
            reasons[key] = f"{count} of {self._min_samples} samples"
        else:
            values[key] = value


def _share(part: int, whole: int) -> int | None:
    """A part as so many of 10 000, to the nearest; None of nothing."""
    return (part * 10_000 + whole // 2) // whole if whole else None
