"""What `policy simulate` counted, as data and as text for people.

Over 300 lines because what one of the two tells, the other has to tell as well.
"""

from collections import Counter
from typing import Any, Protocol

from turnout.dsl.keys import written_key
from turnout.dsl.units import format_usd
from turnout.engine.replay import EMPTY_CHAT, IDLE, PRIOR
from turnout.engine.simulate import Simulated, Sum

from .recorded import Reading, Refused
from .report import plural, printable

_MOVES_SHOWN = 12
_LISTED = 12
# What is said of a value that was not given, by what stands in for it.
_STANDS_IN = {
    EMPTY_CHAT: "taken as in an empty chat",
    PRIOR: "its target's prior stands in, `expected:` under `targets:`",
    IDLE: "taken as of a target that nobody has called yet",
}


class Values(Protocol):
    """What recorded requests lacked: of a simulation, or of two versions compared."""

    decided: int
    complete: int
    missing: Counter[str]
    assumed: Counter[str]
    assumed_from: dict[str, str]


def as_data(
    result: Simulated, reading: Reading, policy: str, against: str | None
) -> dict[str, Any]:
    """Everything that was counted, with the digests of the two policies.

    Shape: `requests rules targets cost` are for scripts to rely on. Shares are of the decided
    requests, 0 to 1. `cost.now` and `cost.then` are decimal USD over the same `cost.requests` rows,
    None where there are none; those under `rules` and `targets` cover all rows that have a price.
    `mirrors` are the copies, which are in none of the other costs.
    """
    has_cost = result.compared > 0
    return {
        "requests": result.requests,
        "decided": result.decided,
        "rules": {name: _sum_data(one, result) for name, one in result.rules.items()},
        "unmatched": _sum_data(result.unmatched, result),
        "targets": {name: _sum_data(one, result) for name, one in sorted(result.targets.items())},
        "rejected": result.rejected,
        "refused": result.refused,
        "unknown_models": result.unknown_models,
        "skipped": result.skipped,
        "cost": {
            "now": format_usd(result.now) if has_cost else None,
            "then": format_usd(result.then if has_cost else result.then_all)
            if result.priced
            else None,
            "requests": result.compared,
            "now_from": dict(result.now_from),
            "then_of_all": format_usd(result.then_all),
            "priced": result.priced,
            "observed_outputs": result.observed_outputs,
        },
        "mirrors": {name: _sum_data(one, result) for name, one in sorted(result.mirrors.items())},
        "limits": [
            {"limit": limit, "target": target, "requests": count}
            for (limit, target), count in result.kept_out.most_common()
        ],
        "moves": [
            {"old": old, "new": new, "requests": count, "share": _share(count, result.moved_from)}
            for (old, new), count in sorted(result.moves.items(), key=_by_count)
        ],
        "complete": {"requests": result.complete, "share": _share(result.complete, result.decided)},
        "undecidable": {
            "requests": result.requests - result.decided,
            "lacking": dict(result.undecidable),
        },
        "undecided_splits": dict(result.undecided_splits),
        "undecided_mirrors": dict(result.unsampled),
        "missing": _shares(result.missing, result),
        "assumed": {
            key: said | {"from": result.assumed_from[key]}
            for key, said in _shares(result.assumed, result).items()
        },
        "converted": reading.converted,
        "ignored": dict(reading.ignored),
        "unreadable": _unread_data(reading.unreadable),
        "against_refused": {
            "undecidable": dict(result.old_undecidable),
            "unreadable": _unread_data(reading.old_unreadable),
        },
        "policy": policy,
        "against": against,
    }


def _unread_data(refused: Refused) -> dict[str, Any]:
    return {"rows": refused.rows, "first": [one._asdict() for one in refused.first]}


def _sum_data(one: Sum, result: Simulated) -> dict[str, Any]:
    return {
        "requests": one.requests,
        "share": _share(one.requests, result.decided),
        "cost": format_usd(one.cost) if one.priced or not one.requests else None,
        "priced": one.priced,
    }


def _shares(counted: Counter[str], result: Simulated) -> dict[str, Any]:
    return {
        key: {"requests": count, "share": _share(count, result.decided)}
        for key, count in counted.most_common()
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _by_count(item: tuple[tuple[str | None, str | None], int]) -> tuple[int, str, str]:
    (old, new), count = item
    return -count, old or "", new or ""


def as_lines(result: Simulated, reading: Reading) -> list[str]:
    """The same for people; the first line says how many there were."""
    lines = [f"{_requests(result.requests)}, {_count(result.decided)} decided", ""]
    rows = [(printable(name), one) for name, one in result.rules.items()]
    if result.unmatched.requests:
        rows.append(("(no rule)", result.unmatched))
    lines += _sums("rule", rows, result)
    rows = [
        (printable(name), one)
        for name, one in sorted(result.targets.items(), key=lambda item: -item[1].requests)
    ]
    for name, count in (
        ("(rejected)", result.rejected),
        ("(no target allowed)", result.refused),
        ("(unknown model)", result.unknown_models),
        ("(split undecided)", result.undecided_splits.total()),
    ):
        if count:
            rows.append((name, Sum(count, 0, 0)))
    lines += ["", *_sums("target", rows, result), "", *_cost(result)]
    lines += _mirrored(result)
    lines += _limited(result)
    lines += _moved(result)
    lines += _lacking(result, reading)
    lines += ["", "not predicted: faults, latency and quality of targets that were not called"]
    return lines


def _sums(title: str, rows: list[tuple[str, Sum]], result: Simulated) -> list[str]:
    table = [[title, "requests", "share", "cost"]]
    for name, one in rows:
        cost = f"${_dollars(one.cost)}" if one.priced else "-" if not one.requests else "unknown"
        if one.requests and one.priced == 0 and name.startswith("("):
            cost = "-"
        elif 0 < one.priced < one.requests:
            cost += f"  ({_count(one.requests - one.priced)} without a price)"
        table.append([name, _count(one.requests), _percent(one.requests, result.decided), cost])
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    return [
        f"{name:{widths[0]}}  {requests:>{widths[1]}}  {share:>{widths[2]}}  {cost}".rstrip()
        for name, requests, share, cost in table
    ]


def _cost(result: Simulated) -> list[str]:
    if not result.priced:
        return ["cost: unknown, for no row has both tokens and an output that can be expected"]
    if not result.compared:
        return [
            f"cost: ${_dollars(result.then_all)} then; what it is now is not in the log",
            *_how_priced(result),
        ]
    change = ""
    if result.now:
        change = f" ({100 * (result.then - result.now) / result.now:+.1f} %)"
    of = _requests(result.compared)
    return [
        f"cost: ${_dollars(result.now)} now, ${_dollars(result.then)} then{change}, "
        f"of the {of} with both",
        *_how_priced(result),
    ]


def _how_priced(result: Simulated) -> list[str]:
    lines = []
    if result.now_from:
        words = ", ".join(f"{word} {_count(n)}" for word, n in result.now_from.most_common())
        lines.append(
            f"  now: by what was {words}" if "spent" in words else f"  now: by the {words}"
        )
    lines.append(
        f"  then: output as observed for {_requests(result.observed_outputs)} (another model "
        "may write more or less), else as it is to be expected"
    )
    return lines


def _mirrored(result: Simulated) -> list[str]:
    lines = []
    for name, one in sorted(result.mirrors.items()):
        cost = f"${_dollars(one.cost)} more" if one.priced else "of unknown cost"
        if 0 < one.priced < one.requests:
            cost += f" ({_count(one.requests - one.priced)} without a price)"
        copies = f"{_count(one.requests)} {'copy' if one.requests == 1 else 'copies'}"
        lines.append(f"mirrored: {copies} to {printable(name)}, {cost}")
    lacking: Counter[str] = Counter()
    for key, count in result.unsampled.items():  # a bucket of a request is made of its id
        lacking["`id`" if key.startswith("bucket.request(") else name_of(key)] += count
    return lines + [
        f"undecided: {_requests(count)} without {name}, so no telling whether it is mirrored"
        for name, count in lacking.most_common()
    ]


def _limited(result: Simulated) -> list[str]:
    lines = []
    for (limit, target), count in result.kept_out.most_common(_LISTED):
        lines.append(f"limit {printable(limit)}: keeps {_requests(count)} from {printable(target)}")
    if len(result.kept_out) > _LISTED:
        lines.append(f"  and {len(result.kept_out) - _LISTED} more pairs")
    return ["", *lines] if lines else []


def _moved(result: Simulated) -> list[str]:
    if not result.moved_from:
        return []
    moves = [(pair, n) for pair, n in sorted(result.moves.items(), key=_by_count)]
    moved = [((old, new), n) for (old, new), n in moves if old != new]
    total = sum(n for _, n in moved)
    lines = [
        "",
        f"moved: {_count(total)} of {_requests(result.moved_from)} to another rule "
        f"({_percent(total, result.moved_from)})",
    ]
    names = [f"{_rule(old)} → {_rule(new)}" for (old, new), _ in moved[:_MOVES_SHOWN]]
    width = max(map(len, names), default=0)
    for name, (_, count) in zip(names, moved, strict=False):
        lines.append(f"  {name:{width}}  {_count(count)}")
    if len(moved) > _MOVES_SHOWN:
        lines.append(f"  and {len(moved) - _MOVES_SHOWN} more pairs")
    return lines


def _rule(name: str | None) -> str:
    return "(no rule)" if name is None else printable(name)


def _lacking(result: Simulated, reading: Reading) -> list[str]:
    """What the numbers above do not cover, and why."""
    lines: list[str] = []
    for key, count in result.undecidable.most_common():
        lines.append(
            f"undecidable: {_requests(count)} without {name_of(key)}, which the policy reads"
        )
    for key, count in result.undecided_splits.most_common():
        lines.append(f"undecided: {_requests(count)} without {name_of(key)}, so no arm is theirs")
    lines += values_lines(result)
    if result.unknown_models:
        lines.append(
            f"unknown model: {_requests(result.unknown_models)} would be refused, for nobody knows "
            "the model that was asked for"
        )
    if result.skipped:
        lines.append(
            f"skipped: for {_requests(result.skipped)} a target's window is too small or it "
            "lacks what they need; the next one counts"
        )
    if reading.converted:
        lines.append(
            f"converted: for {_requests(reading.converted)} the provider's own count of tokens "
            "is used"
        )
    if reading.ignored:
        names = ", ".join(
            f"`{printable(name)}`" for name, _ in reading.ignored.most_common(_LISTED)
        )
        lines.append(f"left out: {names} (no attribute of the language)")
    lines += [
        f"not compared: {_requests(count)} without {name_of(key)}, which the other policy reads"
        for key, count in result.old_undecidable.most_common()
    ]
    if reading.old_unreadable.rows:
        rows = _requests(reading.old_unreadable.rows)
        lines.append(f"not compared: {rows} whose values the other policy does not know")
        lines += _unread_lines(reading.old_unreadable)
    if reading.unreadable.rows:
        lines.append(f"unreadable: {plural(reading.unreadable.rows, 'row')}")
        lines += _unread_lines(reading.unreadable)
    return ["", *lines] if lines else []


def values_lines(result: Values) -> list[str]:
    """Which values the requests lacked, and what was taken in their place."""
    lines = []
    if result.missing:
        share = _percent(result.complete, result.decided)
        lines.append(f"complete: {share} of the requests have all that the policy asked for")
        lines += [
            f"missing: {name_of(key)} in {_percent(count, result.decided)} of the requests, "
            "taken as unknown"
            for key, count in result.missing.most_common(_LISTED)
        ]
    return lines + [
        f"assumed: {name_of(key)} is not given in {_percent(count, result.decided)} of the "
        f"requests: {_STANDS_IN[result.assumed_from[key]]}"
        for key, count in result.assumed.most_common(_LISTED)
    ]


def _unread_lines(refused: Refused) -> list[str]:
    return [f"  {one.file}:{one.line}: {one.reason}" for one in refused.first]


def name_of(key: str) -> str:
    """A value as a policy names it."""
    return f"`{printable(written_key(key))}`"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _requests(number: int) -> str:
    return f"{_count(number)} request{'' if number == 1 else 's'}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0.0 %"


def _dollars(nano_usd: int) -> str:
    """Money for people: cents, or as many places as a small sum needs."""
    if nano_usd < 10_000_000:
        return format_usd(nano_usd)
    places = 2 if nano_usd >= 10_000_000_000 else 4
    return f"{nano_usd / 1e9:,.{places}f}".replace(",", " ")
