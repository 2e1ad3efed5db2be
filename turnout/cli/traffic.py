"""What recorded requests do when a policy changes, as `policy diff --traffic` tells it."""

from collections.abc import Iterator

from turnout.dsl.units import format_usd

from .compared import Traffic, percent
from .report import plural, printable
from .simulated import name_of, values_lines

_SHOWN = 40  # pairs of targets


def traffic_lines(traffic: Traffic) -> Iterator[str]:
    """What recorded requests do, what that costs, and what the figures do not cover."""
    moved, unread = traffic.moved, traffic.reading.unreadable
    otherwise = moved.otherwise.total()
    yield (
        f"traffic: {_count(moved.moved)} of {_requests(moved.decided, 'recorded request')} move to "
        f"another target ({percent(moved.moved, moved.decided)})"
    )
    for (old, new), count in moved.targets.most_common(_SHOWN):
        yield f"  {printable(old or '(none)')} → {printable(new or '(none)')}  {_count(count)}"
    if otherwise > moved.moved:
        rest = otherwise - moved.moved
        yield (
            f"  {_count(rest)} more {'is' if rest == 1 else 'are'} treated otherwise at the same "
            f"target ({percent(rest, moved.decided)})"
        )
    if moved.priced:
        change = f" ({100 * (moved.then - moved.now) / moved.now:+.1f} %)" if moved.now else ""
        yield (
            f"cost: ${format_usd(moved.now)} before, ${format_usd(moved.then)} after{change}, of "
            f"{_requests(moved.priced)}"
        )
    else:
        yield "cost: unknown, for no row has both tokens and an output that can be expected"
    for key, count in moved.undecidable.most_common():
        yield f"undecidable: {_requests(count)} without {name_of(key)}, which one of the two reads"
    for key, count in moved.read_otherwise.most_common():
        yield (
            f"undecided: {_requests(count)} of tenants with another {name_of(key)} now, "
            "decided by the recorded one"
        )
    for key, count in moved.untold.most_common():
        yield (
            f"undecided: {_requests(count)} without {name_of(key)}, so no telling whether more "
            "than the target changes"
        )
    yield from values_lines(moved)
    if moved.not_compared:
        count = moved.not_compared
        yield f"not compared: {_requests(count)} whose values the old version does not know"
    if unread.rows:
        yield f"unreadable: {plural(unread.rows, 'row')}"
        yield from (f"  {one.file}:{one.line}: {one.reason}" for one in unread.first)


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _requests(number: int, noun: str = "request") -> str:
    return f"{_count(number)} {noun}{'' if number == 1 else 's'}"
