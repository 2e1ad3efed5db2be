"""A beat: what one worker tells the others of targets at a tick, as bytes.

Only targets with something to tell are in it. A row takes its classes from the first to the last
that were counted, 4 bytes each: 1 to 2 KB for the latencies of a busy target.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .window import Sums, added, trimmed, untrimmed

_FORM = 1  # of these bytes; a worker of another version may write another
_HEAD = struct.Struct("<BqI")  # form, at_ns, targets
_TARGET = struct.Struct("<IIH")  # bytes of its id, inflight, windows
_WINDOW = struct.Struct("<QQQ")  # length in µs, attempts, failed
_ROW = struct.Struct("<HH")  # first class, classes


class Count(NamedTuple):
    """What was counted of a target: attempts under way, and sums by the window's length in µs."""

    inflight: int
    windows: Mapping[int, Sums]


NEVER_CALLED = Count(0, {})


class Beat(NamedTuple):
    """What a worker counted up to an instant of this machine's monotonic clock."""

    at_ns: int
    counts: Mapping[str, Count]


def together(told: Sequence[Mapping[str, Count]]) -> Mapping[str, Count]:
    """What several workers counted, as if one had."""
    if len(told) == 1:
        return told[0]
    found: dict[str, list[Count]] = {}
    for counts in told:
        for id, count in counts.items():
            found.setdefault(id, []).append(count)
    return {id: counts[0] if len(counts) == 1 else _sum(counts) for id, counts in found.items()}


def _sum(counts: Sequence[Count]) -> Count:
    windows: dict[int, list[Sums]] = {}
    for count in counts:
        for length_us, sums in count.windows.items():
            windows.setdefault(length_us, []).append(sums)
    return Count(
        sum(count.inflight for count in counts),
        {length_us: added(sums) for length_us, sums in windows.items()},
    )


def packed(beat: Beat) -> bytes:
    """A beat as bytes, 4 µs for each row."""
    parts = [_HEAD.pack(_FORM, beat.at_ns, len(beat.counts))]
    for id, count in beat.counts.items():
        name = id.encode(errors="surrogatepass")
        parts += _TARGET.pack(len(name), count.inflight, len(count.windows)), name
        for length_us, sums in count.windows.items():
            parts.append(_WINDOW.pack(length_us, sums.attempts, sums.failed))
            for row in (sums.took, sums.ttft, sums.output):
                first, counts = trimmed(row)
                parts += _ROW.pack(first, len(counts) // 4), counts
    return b"".join(parts)


def unpacked(told: bytes) -> Beat | None:
    """The beat that `packed` made these bytes of; None if it was another version's."""
    try:
        return _unpacked(told)
    except (struct.error, UnicodeDecodeError):
        return None


def _unpacked(told: bytes) -> Beat | None:
    form, at_ns, targets = _HEAD.unpack_from(told)
    if form != _FORM:
        return None
    at = _HEAD.size
    counts: dict[str, Count] = {}
    for _ in range(targets):
        length, inflight, number = _TARGET.unpack_from(told, at)
        at += _TARGET.size
        id = told[at : at + length].decode(errors="surrogatepass")
        at += length
        windows: dict[int, Sums] = {}
        for _ in range(number):
            length_us, attempts, failed = _WINDOW.unpack_from(told, at)
            at += _WINDOW.size
            rows = []
            for _ in range(3):
                first, classes = _ROW.unpack_from(told, at)
                at += _ROW.size
                rows.append(untrimmed(first, told[at : at + classes * 4]))
                at += classes * 4
            windows[length_us] = Sums(attempts, failed, *rows)
        counts[id] = Count(inflight, windows)
    return Beat(at_ns, counts)
