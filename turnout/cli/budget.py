"""Show how budgets are, and set right what nobody could know when it happened.

Without a word behind it: each budget with what is settled, unconfirmed and reserved of it, what is
left, and where that leads. A request that timed out or was cut off, and a worker that was killed,
leave *unconfirmed* spend, at worst case, which budgets count until somebody says what it was:

  turnout budget
  turnout budget reconcile --dry-run
  turnout budget reconcile --charge 17=$0.02 --release 18
  turnout budget reconcile --bill bill.csv
  turnout budget reconcile --release-all --older-than 1d

`reconcile` sets counters right where they differ from the ledger, and lists what is unconfirmed
with its id. What a killed worker may have spent is one line for each tenant. Nothing is charged
with more than it can have cost, unless `--over` says so; the number of a correction says anew what
it has said (`--charge 20=$0.01`). `--bill` reads a CSV file with the columns `id` (or `request`,
the `x-request-id`) and `cost` in dollars. Nothing is edited: a correction is a row of the ledger of
its own, and is noted in the audit log. The gateway may run meanwhile.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .at_hand import at_hand
from .colour import Palette, palette_of
from .costs import cents
from .recorded import HERE
from .report import printable

_HEADS = (
    "budget", "of", "limit", "settled", "unconfirmed", "reserved", "left", "used", "projected",
    "resets",
)  # fmt: skip
_WORDS = 2  # columns that are not numbers


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _common(parser)
    words = parser.add_subparsers(dest="word", metavar="reconcile")
    reconcile = words.add_parser(
        "reconcile",
        help="set counters right, and say what unconfirmed spend was",
        description="Set counters right, and say what unconfirmed spend was.",
        allow_abbrev=False,
    )
    _common(reconcile)
    reconcile.add_argument("--dry-run", action="store_true", help="only say what would be done")
    reconcile.add_argument("--tenant", metavar="NAME", help="only unconfirmed spend of this tenant")
    reconcile.add_argument(
        "--release",
        nargs="+",
        action="extend",
        default=[],
        metavar="ID",
        help="these have cost nothing",
    )
    reconcile.add_argument(
        "--charge",
        nargs="+",
        action="extend",
        default=[],
        metavar="ID=$AMOUNT",
        help="these have cost so much",
    )
    reconcile.add_argument(
        "--over", action="store_true", help="also where it is more than it can have been"
    )
    reconcile.add_argument("--bill", metavar="FILE", help="a CSV file says what they have cost")
    reconcile.add_argument(
        "--release-all", action="store_true", help="all that is `--older-than` has cost nothing"
    )
    reconcile.add_argument("--older-than", metavar="TIME", help="such as `1d`")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="the policy whose budgets hold (default: as of `turnout costs`)",
    )
    parser.add_argument(
        "--journal",
        default=argparse.SUPPRESS,
        metavar="HOME",
        help="the TURNOUT_HOME of the gateway, or its file (default: this machine's)",
    )
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default=argparse.SUPPRESS,
        help="how to print (default: text)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print how budgets are, or reconcile."""
    place = getattr(arguments, "journal", HERE)
    policy = getattr(arguments, "policy", None)
    as_json = getattr(arguments, "format", "text") == "json"
    if arguments.word == "reconcile":
        from .reconcile import reconcile

        return reconcile(arguments, place, as_json)
    from turnout.engine.standings import of_everybody
    from turnout.engine.state.alerts import AlertBook
    from turnout.engine.state.books import SqlBooks

    with at_hand(place, policy) as here:
        now_us = time.time_ns() // 1_000
        found = of_everybody(
            SqlBooks(here.database), AlertBook(here.database), here.budgets, here.timezone, now_us
        )
    if as_json:
        document = {"object": "budgets", "timezone": here.timezone, "budgets": found}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(found, here.timezone, palette_of(sys.stdout))))
    return 0


def _lines(found: Sequence[Mapping[str, Any]], zone: str, palette: Palette) -> Iterator[str]:
    if not found:
        yield "no budget holds, or nobody has spent of one"
        return
    table = [_HEADS, *(_cells(one) for one in found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for at, cells in enumerate(table):
        padded = [
            cell.ljust(width) if place < _WORDS else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        line = "  ".join(padded).rstrip()
        style = "strong" if at == 0 else _style(found[at - 1])
        yield palette.paint(style, line) if style else line
    yield ""
    yield f"stretches begin at midnight of {zone}; `left` is less what workers have reserved"


def _style(one: Mapping[str, Any]) -> str:
    percent = one["percent"]
    if percent is None or percent < 80:
        return ""
    return "error" if percent >= 100 else "warning"


def _cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    projected = one["projected"]
    return (
        printable(one["name"]),
        f"{one['scope']} {printable(one['who'])}"
        + (f" of {printable(one['tenant'])}" if one["tenant"] is not None else ""),
        f"${one['limit']}/{one['period']}",
        f"${one['settled']}",
        *("-" if one[part] == "0" else f"${one[part]}" for part in ("unconfirmed", "reserved")),
        f"-${one['left'][1:]}" if one["left"].startswith("-") else f"${one['left']}",
        "-" if one["percent"] is None else f"{one['percent']:.1f} %",
        "-" if projected is None else f"${cents(projected)}",
        one["resets_at"].replace("T", " ").replace(":00Z", " UTC"),
    )
