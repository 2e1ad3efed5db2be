"""The pulse: how targets have been doing lately, as this worker has seen it.

Attempts are recorded on the hot path into rings of fixed size; once a second `tick` makes a table
of them, and decisions read the table. Latencies are those of attempts that succeeded: a target that
fails fast is not a fast target. What a breaker makes of failures is not kept here.

The usual window keeps its samples themselves; a window that a policy names (`p95("x", 5m)`) is
counted by `window`, from the first tick that was asked for it.
Over 300 lines because what is recorded and what a tick makes of it stand side by side.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from turnout.dsl.core import REQUESTED, Slot
from turnout.dsl.schema import Expected, Target, Value

from .record import PulseTable
from .window import Window, percentile

_RING = 512  # samples kept of a target; more in the window means the newest of them
# Beyond those of the policy, clients can name any number of targets (`ft:` models).
_MOST_UNLISTED = 500

# What holds where a table says nothing: these stand in a table only where they are otherwise.
DEFAULTS: Mapping[str, Value] = {
    "healthy": True,
    "breaker": "closed",
    "rate_limited": False,
    "inflight": 0,
    "usable": True,
    "held": False,
}


class _Sample(NamedTuple):
    at_ns: int
    took_us: int
    ttft_us: int | None
    output_tokens: int | None
    failed: bool


class _Ring:
    """The last samples, oldest overwritten first."""

    __slots__ = ("_next", "_samples")

    def __init__(self) -> None:
        self._samples: list[_Sample] = []
        self._next = 0

    def add(self, sample: _Sample) -> None:
        if len(self._samples) < _RING:
            self._samples.append(sample)
        else:
            self._samples[self._next] = sample
        self._next = (self._next + 1) % _RING

    def since(self, from_ns: int) -> list[_Sample]:
        return [sample for sample in self._samples if sample.at_ns >= from_ns]


class _Course:
    """How one target has been doing: samples, and what is true of it at this moment."""

    __slots__ = ("inflight", "ring", "windows")

    def __init__(self, windows_us: Iterable[int]) -> None:
        self.ring = _Ring()
        self.windows = {us: Window(us * 1_000) for us in windows_us}
        self.inflight = 0

    def add(self, sample: _Sample) -> None:
        self.ring.add(sample)
        for window in self.windows.values():
            window.add(sample.at_ns, sample.took_us, sample.ttft_us, sample.failed)


class Pulse:
    """Live values of targets over a sliding window; one per worker, used from its event loop.

    Cost: `record` 1 µs, and 1.5 µs for each window that the policy names; `tick` 0.3 ms for each
    target with `_RING` attempts in the window, 5 µs for one with none.
    """

    def __init__(
        self,
        now_ns: Callable[[], int] = time.monotonic_ns,
        *,
        utc_ns: Callable[[], int] = time.time_ns,
        min_samples: int = 20,
        window_s: int = 60,
    ) -> None:
        """Measure the window by `now_ns`, a clock that never goes back; `utc_ns` dates tables."""
        self._now_ns = now_ns
        self._utc_ns = utc_ns
        self._min_samples = min_samples
        self._window_ns = window_s * 1_000_000_000
        self._courses: dict[str, _Course] = {}
        self._windows_us: frozenset[int] = frozenset()
        self._listed: frozenset[str] = frozenset()
        self._own = _Ring()
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
            course.add(_Sample(self._now_ns(), took_us, ttft_us, output_tokens, failed))

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
        self._own.add(_Sample(self._now_ns(), max(took_us, 0), None, None, False))

    def gateway_latency(self) -> int | None:
        """The recent median of what the gateway itself adds, in µs; None without traffic."""
        return _percentile(sorted(sample.took_us for sample in self._recent(self._own)), 50)

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
        self._watch(frozenset(slot.window_us for slot in slots if slot.window_us is not None))
        for target in targets.values():
            self._measure(target.id, target.expected, values, reasons)
        asked = [slot for slot in slots if slot.argument == REQUESTED]
        if asked:
            for id in self._courses.keys() - self._listed:
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

    def _meant(self, slot: Slot) -> Iterable[str]:
        """The targets that a slot is about: of `requested` any there is."""
        if slot.argument == REQUESTED:
            return self._listed | self._courses.keys()
        return (slot.argument or "",)

    def _measure(
        self, id: str, expected: Expected, values: dict[str, Value], reasons: dict[str, str]
    ) -> None:
        """The values of a target over the usual window, and its state."""
        course = self._courses.get(id)
        samples = self._recent(course.ring) if course is not None else []
        good = [sample for sample in samples if not sample.failed]
        took = sorted(sample.took_us for sample in good)
        ttft = sorted(sample.ttft_us for sample in good if sample.ttft_us is not None)
        outputs = sorted(s.output_tokens for s in good if s.output_tokens is not None)
        for name, count, measured, prior in (
            ("p50", len(took), _percentile(took, 50), None),
            ("p90", len(took), _percentile(took, 90), None),
            ("p95", len(took), _percentile(took, 95), expected.p95_us),
            ("p99", len(took), _percentile(took, 99), None),
            ("ttft.p50", len(ttft), _percentile(ttft, 50), expected.ttft_us),
            ("ttft.p95", len(ttft), _percentile(ttft, 95), expected.ttft_us),
            ("error_rate", len(samples), _share(len(samples) - len(good), len(samples)), None),
            ("expected_output", len(outputs), _percentile(outputs, 50), expected.output),
        ):
            self._put(f"{name}({id})", count, measured, prior, values, reasons)
        if course is not None and course.inflight:
            values[f"inflight({id})"] = course.inflight

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
        course = self._courses.get(id)
        window = course.windows.get(slot.window_us or 0) if course is not None else None
        seen = (window or Window(1)).sums(self._now_ns())
        name = slot.attribute.name
        if name == "error_rate":
            rate = _share(seen.failed, seen.attempts)
            self._put(key, seen.attempts, rate, None, values, reasons)
            return
        of_ttft = name.startswith("ttft.")
        counts = seen.ttft if of_ttft else seen.took
        prior = expected.ttft_us if of_ttft else expected.p95_us if name == "p95" else None
        measured = percentile(counts, int(name.rpartition("p")[2]))
        self._put(key, counts.total(), measured, prior, values, reasons)

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

    def _recent(self, ring: _Ring) -> list[_Sample]:
        return ring.since(self._now_ns() - self._window_ns)


def _share(part: int, whole: int) -> int | None:
    """A part as so many of 10 000, to the nearest; None of nothing."""
    return (part * 10_000 + whole // 2) // whole if whole else None


def _percentile(ordered: list[int], percent: int) -> int | None:
    """The smallest value that at least so many percent of all do not exceed (nearest rank)."""
    if not ordered:
        return None
    return ordered[-(-len(ordered) * percent // 100) - 1]
