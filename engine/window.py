"""What happened over a stretch of time of any length, in bounded memory.

The stretch is cut into slices, each with counts by size: values are known to within 1/64 of
themselves (the upper end of their class is told), whatever traffic there is. The oldest slice
leaves as a whole, so a window is up to a slice longer than asked.
"""

from collections import Counter, deque

SLICES = 30
_EXACT_BITS = 6  # values are told apart by so many bits behind their first


class Slice:
    """Counts of one slice; `began_ns` by the clock of whoever fills it."""

    __slots__ = ("attempts", "began_ns", "failed", "took", "ttft")

    def __init__(self, began_ns: int) -> None:
        """Begin with nothing."""
        self.began_ns = began_ns
        self.attempts = 0
        self.failed = 0
        self.took: Counter[int] = Counter()
        self.ttft: Counter[int] = Counter()


class Window:
    """Attempts at one target over the last `length_ns`."""

    __slots__ = ("_length_ns", "_slice_ns", "_slices")

    def __init__(self, length_ns: int) -> None:
        """Begin with nothing; memory is bounded whatever the length."""
        self._length_ns = length_ns
        self._slice_ns = max(length_ns // SLICES, 1)
        self._slices: deque[Slice] = deque(maxlen=SLICES + 2)

    def add(self, now_ns: int, took_us: int, ttft_us: int | None, failed: bool) -> None:
        """Note an attempt."""
        if not self._slices or now_ns - self._slices[-1].began_ns >= self._slice_ns:
            self._slices.append(Slice(now_ns - now_ns % self._slice_ns))
        last = self._slices[-1]
        last.attempts += 1
        if failed:
            last.failed += 1
            return
        last.took[class_of(took_us)] += 1
        if ttft_us is not None:
            last.ttft[class_of(ttft_us)] += 1

    def sums(self, now_ns: int) -> Slice:
        """All slices that reach into the window, added up."""
        whole = Slice(now_ns - self._length_ns)
        while self._slices and self._slices[0].began_ns + self._slice_ns <= whole.began_ns:
            self._slices.popleft()
        for one in self._slices:
            whole.attempts += one.attempts
            whole.failed += one.failed
            whole.took.update(one.took)
            whole.ttft.update(one.ttft)
        return whole


def class_of(value: int) -> int:
    """The upper end of the class of a value: the value itself below 128.

    >>> class_of(100), class_of(1_000_000)
    (100, 1007615)
    """
    spare = max(value, 0).bit_length() - 1 - _EXACT_BITS
    return max(value, 0) if spare <= 0 else value | ((1 << spare) - 1)


def percentile(counts: Counter[int], percent: int) -> int | None:
    """The smallest class that at least so many percent of all do not exceed (nearest rank)."""
    rank = -(-counts.total() * percent // 100)
    for value in sorted(counts):
        rank -= counts[value]
        if rank <= 0:
            return value
    return None
