"""Failures in a row, of attempts that run side by side: how many there are, and whether they count.

Failures are fast and successes are slow. Where many attempts begin together, those that fail are
over long before the first of the others could have succeeded, so ten failures one after another say
little. A row counts once it is *ripe*: nothing is under way any more that was when the row began.
What would take too long to wait for is waited for only so long; then it is enough that of the
attempts that began along with the failed ones at least half have failed.

What a worker tells of its part (`Tally`) is a state: heard late or twice it says the same.
"""

from typing import NamedTuple

PATIENCE_NS = 1_000_000_000
"""How long a row waits for what was under way when it began."""

# Of a part that does not count, however long one waits.
_NEVER_NS = 1 << 62


class Tally(NamedTuple):
    """One worker's part of a row; instants by the clock that all workers share.

    `failures`: when they happened. `ripe_ns`: from when on they count.
    """

    failures: tuple[int, ...] = ()
    ripe_ns: int = 0
    succeeded_ns: int = 0


class Row:
    """One worker's part of a row of one target.

    `under_way` are the attempts that may yet end the row, by when they began, in that order.
    """

    def __init__(self) -> None:
        """Nothing happened."""
        self.under_way: dict[int, None] = {}
        self.succeeded_ns = 0
        self._failed: list[tuple[int, int]] = []  # when it was over, when it began
        self._count = 0
        self._told: tuple[tuple[int, ...], int] | None = None  # until something changes it

    def __bool__(self) -> bool:
        """Whether anything failed since this worker's last success."""
        return bool(self._failed)

    def end(self, since_ns: int) -> None:
        """Take an attempt that is over, whatever became of it."""
        self.under_way.pop(since_ns, None)
        self._told = None

    def succeed(self, now_ns: int) -> None:
        """End the row."""
        self._told = None
        self.succeeded_ns = now_ns
        self._failed.clear()

    def fail(self, now_ns: int, since_ns: int | None, floor_ns: int, most: int) -> None:
        """Note a failure of an attempt that began then.

        What failed up to `floor_ns` is forgiven. Of a longer row its first and its latest are kept,
        `most` in all.
        """
        self._told = None
        kept = [one for one in self._failed if one[0] > floor_ns]
        if len(kept) < len(self._failed):
            self._count = len(kept)
        self._count = self._count + 1 if kept else 1
        kept.append((now_ns, now_ns if since_ns is None else since_ns))
        if len(kept) > max(most, 2):
            del kept[1]
        self._failed = kept

    def forget(self, until_ns: int) -> None:
        """What began until then can end no row any more."""
        for since_ns in [one for one in self.under_way if one <= until_ns]:
            del self.under_way[since_ns]
        self._told = None

    @property
    def latest_ns(self) -> int:
        """When something happened last."""
        return max(self.succeeded_ns, *(at for at, _ in self._failed[-1:]), 0)

    @property
    def tally(self) -> Tally:
        """What the others are told."""
        if self._told is None:
            self._told = tuple(at for at, _ in self._failed), self._ripe_ns
        return Tally(*self._told, self.succeeded_ns)

    @property
    def _ripe_ns(self) -> int:
        if not self._failed:
            return 0
        began_ns = self._failed[0][0]
        oldest = next(iter(self.under_way), None)
        if oldest is None or oldest > began_ns:
            return 0
        # Those that began between the first and the last of the failed. What hangs fails in the
        # order of its beginning, so that nothing is left between; what is slow is.
        first = min(since for _, since in self._failed)
        last = max(since for _, since in self._failed)
        left = self._count
        for since in self.under_way:
            if since >= last:
                break
            left -= since > first
            if left < 0:
                return _NEVER_NS
        return began_ns + PATIENCE_NS
