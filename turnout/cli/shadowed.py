"""What `turnout shadow` counted, as data and as text for people."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from turnout.dsl.units import format_usd

from .report import plural, printable, width_of

NONE = "none"  # stands for no rule, on the command line and in tables
Pair = tuple[str | None, str | None]

_MOST_PAIRS = 40


@dataclass(slots=True)
class Sum:
    """What came of one pair of rules; money in nano-USD, over those `priced`."""

    requests: int = 0
    priced: int = 0
    now: int = 0
    then: int = 0


@dataclass(slots=True)
class Seen:
    """What was decided in one shadow; `listed` are the newest requests of the pair asked for."""

    requests: int = 0
    agree: int = 0
    undecided: Counter[str] = field(default_factory=Counter)
    pairs: dict[Pair, Sum] = field(default_factory=dict)
    acting: set[str] = field(default_factory=set)
    listed: deque[dict[str, Any]] = field(default_factory=deque)

    @property
    def differ(self) -> int:
        """The requests on which the two differ."""
        return sum(one.requests for one in self.pairs.values())

    def add(self, other: "Seen", most: int) -> None:
        """Count what was decided in another shadow, later than all of this one."""
        self.requests += other.requests
        self.agree += other.agree
        self.undecided += other.undecided
        self.acting |= other.acting
        for pair, one in other.pairs.items():
            mine = self.pairs.setdefault(pair, Sum())
            mine.requests += one.requests
            mine.priced += one.priced
            mine.now += one.now
            mine.then += one.then
        self.listed = deque([*self.listed, *other.listed], maxlen=most)


def _sorted(seen: Seen) -> list[tuple[Pair, Sum]]:
    """The pairs, those of most requests first."""

    def order(item: tuple[Pair, Sum]) -> tuple[int, str, str]:
        (old, new), one = item
        return (-one.requests, old or "", new or "")

    return sorted(seen.pairs.items(), key=order)


def as_data(
    seen: Seen, shadows: list[str], earlier: int, pair: tuple[str | None, ...] | None
) -> dict[str, Any]:
    """What was counted, for scripts; `differing` lists the requests of a pair, newest first."""
    return {
        "shadow": shadows,
        "policy": sorted(seen.acting),
        "requests": seen.requests,
        "agree": seen.agree,
        "differ": seen.differ,
        "undecided": dict(seen.undecided.most_common()),
        "earlier": earlier,
        "pairs": [
            {
                "rule": old,
                "shadow_rule": new,
                "requests": one.requests,
                "share": round(one.requests / seen.requests, 6),
                "priced": one.priced,
                "cost": {"now": format_usd(one.now), "then": format_usd(one.then)}
                if one.priced
                else None,
            }
            for (old, new), one in _sorted(seen)
        ],
        "differing": [] if pair is None else list(reversed(seen.listed)),
    }


def as_lines(
    seen: Seen,
    shadows: list[str],
    earlier: int,
    pair: tuple[str | None, ...] | None,
    since: str,
) -> Iterator[str]:
    """What was counted: the table of pairs, or the requests of one."""
    if not shadows:
        yield f"no request of the last {printable(since)} was decided with a shadow beside it"
        yield "  help: start the gateway with `turnout serve --shadow FILE`"
        return
    undecided = seen.undecided.total()
    yield (
        f"{plural(seen.requests, 'request')} of the last {printable(since)}: "
        f"{seen.agree} the same, {seen.differ} otherwise, {undecided} undecided"
    )
    for digest in shadows:
        yield f"shadow {digest[:19]}"
    if earlier:
        yield f"{plural(earlier, 'request')} with earlier shadows left out (`--all` counts them)"
    if pair is not None:
        yield ""
        yield from _listed(seen)
        return
    if seen.pairs:
        yield ""
        head = ["rule", "in the shadow", "requests", "share", "cost now", "then"]
        rows = [_pair_row(both, one, seen) for both, one in _sorted(seen)[:_MOST_PAIRS]]
        yield from _table([head, *rows], right=(2, 3, 4, 5))
        if len(seen.pairs) > _MOST_PAIRS:
            yield f"  and {plural(len(seen.pairs) - _MOST_PAIRS, 'pair')} more (`--format json`)"
    for reason, count in seen.undecided.most_common():
        yield f"undecided {count}: {printable(reason)}"


def _pair_row(both: Pair, one: Sum, seen: Seen) -> list[str]:
    shown = [printable(name) if name is not None else NONE for name in both]
    share = f"{100 * one.requests / seen.requests:.1f} %"
    costs = ["", ""] if not one.priced else [f"${format_usd(sum)}" for sum in (one.now, one.then)]
    return [*shown, str(one.requests), share, *costs]


def _listed(seen: Seen) -> Iterator[str]:
    if not seen.listed:
        yield "no such request; the pairs are in the table without `--pair`"
        return
    rows = [["request", "time", "model", "tokens", "target", "in the shadow"]]
    for one in reversed(seen.listed):
        refused = None if one["refused"] is None else f"refused: {one['refused']}"
        rows.append(
            [
                printable(one["id"]),
                one["time"],
                printable(one["model"]),
                str(one["tokens"]),
                printable(one["target"] or NONE),
                printable(one["shadow_target"] or refused or NONE),
            ]
        )
    yield from _table(rows, right=(3,))


def _table(rows: list[list[str]], right: tuple[int, ...]) -> Iterator[str]:
    """Rows of cells in columns; those of `right` end together."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - width_of(cell))
            cells.append(space + cell if place in right else cell + space)
        yield "  " + "  ".join(cells).rstrip()
