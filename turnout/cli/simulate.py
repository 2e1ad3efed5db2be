"""Decide recorded requests with a policy: how many of which rule, to where, and for how much.

LOG holds one JSON object per line, plain or gzipped (`-` for standard input): a snapshot as tests
write it, and beside it, where it is known, what became of the request.

  {"tokens": 80, "tier": "free", "at": "2026-03-02T09:30:00Z", "p95(openai/gpt-4)": "900ms",
   "rule": "default", "target": "openai/gpt-4", "cost": "$0.0042", "output_tokens": 57}

  policy simulate log.jsonl --policy routing.yml
  policy simulate march/*.jsonl.gz --policy new.yml --against routing.yml
  policy simulate --journal --since 7d --policy new.yml --format json

A decision is exact for the values that were recorded. Rows that lack what the policy cannot do
without (`tokens`, the clock, a bucket) are counted as undecidable; values that it asked for and did
not find are listed. Exit code 0, 1 if a policy does not compile, 2 if a log cannot be read, 130
after Ctrl-C, which prints what was seen so far.
"""

# Over 300 lines because what is counted and how it is told belong beside each other.

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from turnout.dsl.core import Program
from turnout.dsl.keys import written_key
from turnout.dsl.schema import Type
from turnout.dsl.units import format_usd, parse_quantity
from turnout.engine.policy import Policy
from turnout.engine.recorded_rows import JournalRows, JsonRows, RowError, past_of, past_of_record
from turnout.engine.simulate import Past, Replay, Row, Simulated, Simulation, Sum

from .colour import palette_of
from .dispatch import INTERRUPTED, CommandError
from .files import DEFAULT_POLICY, read_policy
from .log_files import lines, total_bytes
from .progress import Progress
from .report import plural, printable

if TYPE_CHECKING:
    from turnout.engine.state.sqlite import SqliteStore

_FIRST_UNREADABLE = 5
_MOVES_SHOWN = 12
_LISTED = 12
_TELL_EVERY = 256  # rows
_PULSES_KEPT = 256
_HERE = "~here"  # what `--journal` without a place stands for


@dataclass(slots=True)
class _Seen:
    """What came of reading, beside what was decided."""

    unreadable: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    interrupted: bool = False
    converted: int = 0
    ignored: Counter[str] = field(default_factory=Counter)

    def refuse(self, file: str, line: int, reason: str) -> None:
        """One row that cannot be read."""
        self.unreadable += 1
        if len(self.first) < _FIRST_UNREADABLE:
            self.first.append({"file": file, "line": line, "reason": reason})


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "logs", nargs="*", metavar="LOG", help="logs of JSON lines, also gzipped; `-` for stdin"
    )
    parser.add_argument(
        "--policy",
        default=DEFAULT_POLICY,
        metavar="FILE",
        help=f"the policy to decide with (default: {DEFAULT_POLICY})",
    )
    parser.add_argument(
        "--against",
        metavar="FILE",
        help="the policy to compare with (default: the rules that the log names)",
    )
    parser.add_argument(
        "--journal",
        nargs="?",
        const=_HERE,
        metavar="PLACE",
        help="read the journal of a gateway: its TURNOUT_HOME, or the SQLite file in it",
    )
    parser.add_argument(
        "--since", metavar="TIME", help="of the journal, only so far back, such as 7d or 12h"
    )
    parser.add_argument(
        "--limit", type=_positive, metavar="N", help="decide no more than so many requests"
    )
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="how it is printed"
    )


def run(arguments: argparse.Namespace) -> int:
    """Decide every row, then print what came of it."""
    _check(arguments)
    policy = Policy.compile(*read_policy(arguments.policy))
    against = None
    if arguments.against is not None:
        against = Policy.compile(*read_policy(arguments.against))
    replay = Replay(policy.program)
    old = None if against is None else Replay(against.program)
    simulation = Simulation(replay, old)
    seen = _Seen()
    if arguments.journal is not None:
        _run_journal(arguments, replay, old, simulation, seen)
    else:
        _run_logs(arguments, replay, old, simulation, seen)
    result = simulation.result
    if not result.requests and seen.unreadable and not seen.interrupted:
        first = seen.first[0]
        raise CommandError(
            f"no row can be read; {first['file']}:{first['line']}: {first['reason']}",
            help='write one JSON object per line, such as `{"tokens": 80, "tier": "free"}`',
        )
    digest = None if against is None else against.digest
    if arguments.format == "json":
        print(json.dumps(_as_json(result, seen, policy, digest), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_as_text(result, seen, policy.program)))
    return INTERRUPTED if seen.interrupted else 0


def _check(arguments: argparse.Namespace) -> None:
    if not arguments.logs and arguments.journal is None:
        raise CommandError(
            "there is no log to read",
            help="name one, such as `policy simulate log.jsonl`, or write `--journal`",
        )
    if arguments.logs and arguments.journal is not None:
        raise CommandError(
            "logs and the journal cannot be read together", help="run it once for each"
        )
    if arguments.since is not None and arguments.journal is None:
        raise CommandError(
            "`--since` is about the journal", help="write `--journal --since 7d`, or cut the log"
        )
    stdin = [arguments.policy, arguments.against, *arguments.logs].count("-")
    if stdin > 1:
        raise CommandError(
            "standard input can be read once only", help="name a file for the others"
        )


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**15:
        raise argparse.ArgumentTypeError(
            f"`{printable(text)}` is not a count: write `--limit 1000`"
        )
    return int(text)


# --- reading -------------------------------------------------------------------------------------


def _run_logs(
    arguments: argparse.Namespace,
    replay: Replay,
    old: Replay | None,
    simulation: Simulation,
    seen: _Seen,
) -> None:
    names = list(dict.fromkeys(arguments.logs))
    progress = Progress(total_bytes(names))
    rows = JsonRows(replay)
    old_rows = None if old is None else JsonRows(old)

    def each() -> Iterator[tuple[Row, Past, Row | None]]:
        for name in names:
            shown = "<stdin>" if name == "-" else printable(name)
            for number, line in lines(name, progress.moved):
                if line is None:
                    seen.refuse(shown, number, "the line is longer than 1 MiB")
                    continue
                try:
                    data = orjson.loads(line)
                    if not isinstance(data, dict):
                        seen.refuse(shown, number, "it is not a JSON object")
                        continue
                    past = past_of(data)
                    row = rows.read(data)
                    old_row = None if old_rows is None else old_rows.read(data)
                except orjson.JSONDecodeError as error:
                    seen.refuse(shown, number, f"it is not JSON: {error.msg}")
                except RowError as error:
                    seen.refuse(shown, number, printable(str(error)))
                else:
                    yield row, past, old_row

    try:
        _take(each(), arguments.limit, simulation, seen, progress)
    finally:
        seen.ignored = rows.ignored


def _run_journal(
    arguments: argparse.Namespace,
    replay: Replay,
    old: Replay | None,
    simulation: Simulation,
    seen: _Seen,
) -> None:
    from turnout.engine.state.store import StoreError

    since_us = 0
    if arguments.since is not None:
        since_us = time.time_ns() // 1_000 - _duration_us(arguments.since)
    store, shown = _journal(arguments.journal)
    policies = _policies(store)
    rows = JournalRows(replay, policies)
    old_rows = None if old is None else JournalRows(old, policies)
    pulse_of = lru_cache(_PULSES_KEPT)(store.pulse)

    def each(progress: Progress) -> Iterator[tuple[Row, Past, Row | None]]:
        for record in store.records(since_us):
            progress.moved(1)
            pulse = None if record.pulse_id is None else pulse_of(record.pulse_id)
            past = past_of_record(record)
            row = rows.read(record, pulse, past)
            yield row, past, None if old_rows is None else old_rows.read(record, pulse, past)

    try:
        progress = Progress(store.count(since_us))
        _take(each(progress), arguments.limit, simulation, seen, progress)
    except StoreError as error:
        raise CommandError(f"cannot read the journal `{shown}`: {error}") from error
    finally:
        seen.converted = rows.converted
        store.close()


def _take(
    each: Iterator[tuple[Row, Past, Row | None]],
    limit: int | None,
    simulation: Simulation,
    seen: _Seen,
    progress: Progress,
) -> None:
    """Decide rows until there are no more, or somebody has seen enough."""
    take = simulation.take
    number = 0
    try:
        for number, (row, past, old_row) in enumerate(islice(each, limit), 1):
            take(row, past, old_row)
            if number % _TELL_EVERY == 0:
                progress.tell(number)
    except KeyboardInterrupt:
        seen.interrupted = True
    finally:
        seen.rows = number
        progress.close()


def _duration_us(text: str) -> int:
    try:
        found, amount = parse_quantity(text)
    except ValueError:
        found, amount = Type.NUMBER, 0
    if found is not Type.DURATION or amount <= 0:
        raise CommandError(
            f"`--since {printable(text)}` is not a stretch of time", help="write `--since 7d`"
        )
    return amount


def _journal(place: str) -> "tuple[SqliteStore, str]":
    from turnout.engine.state.sqlite import FILE, SqliteStore, url_of_file

    if place == _HERE:
        place = os.environ.get("TURNOUT_HOME", "").strip() or "~/.turnout"
    path = Path(place).expanduser()
    file = path / FILE if path.is_dir() else path
    shown = printable(str(file))
    if not file.is_file():
        raise CommandError(
            f"there is no journal `{shown}`",
            help="name the TURNOUT_HOME that the gateway runs with, such as `--journal ~/.turnout`",
        )
    return SqliteStore(url_of_file(file)), shown


def _policies(store: "SqliteStore") -> Callable[[str], Program | None]:
    """Policies of the past by their digest; None of one that cannot be built again."""
    from turnout.engine.catalog import language_schema
    from turnout.engine.trace import Programs

    programs = Programs(language_schema())

    def find(digest: str) -> Program | None:
        try:
            return programs.get(digest, store.policy)
        except ValueError:  # written by another version of the language
            return None

    return find


# --- telling -------------------------------------------------------------------------------------


def _as_json(result: Simulated, seen: _Seen, policy: Policy, against: str | None) -> dict[str, Any]:
    """Everything that was counted.

    Shape: `requests rules targets cost` are for scripts to rely on. Shares are of the decided
    requests, 0 to 1. `cost.now` and `cost.then` are decimal USD over the same `cost.requests` rows,
    None where there are none; those under `rules` and `targets` cover all rows that have a price.
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
        "missing": _shares(result.missing, result),
        "assumed": _shares(result.assumed, result),
        "converted": seen.converted,
        "ignored": dict(seen.ignored),
        "unreadable": {"rows": seen.unreadable, "first": seen.first},
        "policy": policy.digest,
        "against": against,
        "interrupted": seen.interrupted,
    }


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


def _as_text(result: Simulated, seen: _Seen, program: Program) -> list[str]:
    palette = palette_of(sys.stdout)
    head = f"{_requests(result.requests)}, {_count(result.decided)} decided"
    if seen.interrupted:
        head = f"interrupted: {head} so far"
    lines = [palette.paint("strong", head), ""]
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
        ("(split undecided)", result.undecided_splits.total()),
    ):
        if count:
            rows.append((name, Sum(count, 0, 0)))
    lines += ["", *_sums("target", rows, result), "", *_cost(result)]
    lines += _moved(result)
    lines += _lacking(result, seen)
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


def _lacking(result: Simulated, seen: _Seen) -> list[str]:
    """What the numbers above do not cover, and why."""
    lines: list[str] = []
    for key, count in result.undecidable.most_common():
        lines.append(
            f"undecidable: {_requests(count)} without {_name(key)}, which the policy reads"
        )
    for key, count in result.undecided_splits.most_common():
        lines.append(f"undecided: {_requests(count)} without {_name(key)}, so no arm is theirs")
    share = _percent(result.complete, result.decided)
    if result.missing:
        lines.append(f"complete: {share} of the requests have all that the policy asked for")
        lines += _listing("missing", "unknown", result.missing, result)
    lines += _listing("assumed", "", result.assumed, result)
    if result.skipped:
        lines.append(
            f"skipped: for {_requests(result.skipped)} a target's window is too small or it "
            "lacks what they need; the next one counts"
        )
    if seen.converted:
        lines.append(
            f"converted: for {_requests(seen.converted)} the provider's own count of tokens is used"
        )
    if seen.ignored:
        names = ", ".join(f"`{printable(name)}`" for name, _ in seen.ignored.most_common(_LISTED))
        lines.append(f"left out: {names} (no attribute of the language)")
    if seen.unreadable:
        lines.append(f"unreadable: {plural(seen.unreadable, 'row')}")
        lines += [f"  {one['file']}:{one['line']}: {one['reason']}" for one in seen.first]
    return ["", *lines] if lines else []


def _listing(word: str, value: str, counted: Counter[str], result: Simulated) -> list[str]:
    lines = []
    for key, count in counted.most_common(_LISTED):
        share = _percent(count, result.decided)
        taken = f", taken as {value}" if value else " is not given: as in an empty chat"
        lines.append(f"{word}: {_name(key)} in {share} of the requests{taken}")
    return lines


def _name(key: str) -> str:
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
