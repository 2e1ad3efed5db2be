"""Show what was spent, by day or by who and what it was spent for, and where that leads.

Each row has its calls, tokens and cost, what may have been spent and nobody has confirmed, the
budget that it counts against, how much of that is used up to the row's date, and what will be
spent by the end of the budget's stretch (without one: of the month) if it goes on like this. What
callers paid with keys of their own stands apart, and so does what was answered from the cache:
the calls, and what they would have cost. Only reads, so the gateway may run meanwhile. What the
demo spent is in its own home: `--journal ~/.turnout/demo`.

  turnout costs
  turnout costs --by model --tenant acme --since 2026-11-01 --until 2026-11-15
  turnout costs --month 2026-10 --by user --format csv
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from turnout.engine.costs import BY, FILTERS, ROWS, Unclear, ask, statement, zone_of

from .at_hand import at_hand
from .colour import Palette, palette_of
from .dispatch import CommandError
from .recorded import HERE
from .report import printable

_TOKENS = ("input", "output", "cached", "cache_write", "reasoning")
_FROM_CACHE = ("cached_calls", "cached_tokens_input", "cached_tokens_output", "saved")
_BUDGET = ("budget", "limit", "period", "spent", "percent", "projected")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--by", choices=BY, default="day", help="what rows are of (default: day)")
    for name in FILTERS:
        parser.add_argument(f"--{name}", metavar="NAME", help=f"only what this {name} spent")
    parser.add_argument("--month", metavar="MONTH", help="as in `2026-11` (default: this month)")
    parser.add_argument("--since", metavar="DAY", help="a day or a moment: from its beginning on")
    parser.add_argument("--until", metavar="DAY", help="a day, to its end, or a moment")
    parser.add_argument(
        "--timezone", metavar="ZONE", help="whose days they are (default: the policy's)"
    )
    parser.add_argument(
        "--limit", default=str(ROWS), metavar="N", help=f"so many rows at most (default: {ROWS})"
    )
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="the policy whose budgets hold (default: TURNOUT_POLICY, routing.yml if there is one "
        "here, else the one that decided last)",
    )
    parser.add_argument(
        "--journal",
        default=HERE,
        metavar="HOME",
        help="the TURNOUT_HOME of the gateway, or its file (default: this machine's)",
    )
    parser.add_argument(
        "--format", choices=("text", "json", "csv"), default="text", help="how to print"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what was spent."""
    from turnout.engine.state.books import SqlBooks
    from turnout.engine.state.costs import LedgerSums

    names = ("by", "month", "since", "until", "limit", *FILTERS)
    given = {name: getattr(arguments, name) for name in names}
    with at_hand(arguments.journal, arguments.policy) as here:
        try:
            timezone = arguments.timezone or here.timezone
            zone_of(timezone)
            written = {name: value for name, value in given.items() if value is not None}
            question = ask(written, timezone, time.time_ns() // 1_000)
        except Unclear as unclear:
            raise CommandError(f"`--{unclear.param}`: {unclear.message}") from None
        losses = SqlBooks(here.database).losses()
        document = statement(question, here.budgets, LedgerSums(here.database), losses)
    if arguments.format == "json":
        print(json.dumps(document, indent=2, ensure_ascii=False))
    elif arguments.format == "csv":
        _print_csv(document)
    else:
        print("\n".join(lines(document, palette_of(sys.stdout))))
    return 0


# --- as CSV --------------------------------------------------------------------------------------


def _print_csv(document: Mapping[str, Any]) -> None:
    """The rows, those that callers paid last; no total, so that columns can be added up.

    What killed workers may have spent is known of no row, and stands in one of its own.
    """
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(
        (
            "date",
            document["by"],
            *_tenant(document),
            "payer",
            "calls",
            *(f"tokens_{name}" for name in _TOKENS),
            "cost",
            "unconfirmed",
            *_BUDGET,
            "lost",
            *_FROM_CACHE,
        )
    )
    for row in (*document["rows"], *document["caller_paid"]["rows"]):
        budget = row["budget"] or {}
        out.writerow(
            (
                row["date"],
                _for_a_sheet(row["name"] or ""),
                *(_for_a_sheet(row[name] or "") for name in _tenant(document)),
                row["payer"],
                row["calls"],
                *(row["tokens"][name] for name in _TOKENS),
                row["cost"],
                row["unconfirmed"],
                _for_a_sheet(budget.get("name", "")),
                *(budget.get(name, "") for name in ("limit", "period", "spent", "percent")),
                row["projected"] or "",
                0,
                row["from_cache"]["calls"],
                *row["from_cache"]["tokens"].values(),
                row["from_cache"]["saved"],
            )
        )
    if document["lost"] != "0":
        whose = ("", *("" for _ in _tenant(document)), "gateway")
        nothing = (0 for _ in ("calls", *_TOKENS, "cost", "unconfirmed"))
        unknown = ("" for _ in _BUDGET)
        saved = (0 for _ in _FROM_CACHE)
        date = document["total"]["date"]
        out.writerow((date, *whose, *nothing, *unknown, document["lost"], *saved))


def _tenant(document: Mapping[str, Any]) -> Sequence[str]:
    """The column of tenants, where rows are of names within one."""
    return ("tenant",) if document["by"] in ("team", "user") else ()


def _for_a_sheet(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


# --- as text -------------------------------------------------------------------------------------


def lines(document: Mapping[str, Any], palette: Palette) -> Iterator[str]:
    """A table, with a total where there is more than one row."""
    about = "".join(f", {name} {printable(who)}" for name, who in document["filters"].items())
    zone = document["timezone"]
    yield palette.paint("strong", f"costs of {document['total']['date']} ({zone}){about}")
    theirs = document["caller_paid"]["rows"]
    if not document["rows"] and not theirs:
        yield "nothing was spent"
    if document["rows"]:
        yield from _table(document, document["rows"], document["total"], palette)
    if theirs:
        yield ""
        yield palette.paint("strong", "paid by callers with keys of their own")
        yield from _table(document, theirs, document["caller_paid"]["total"], palette)
    if document["lost"] != "0":
        yield ""
        yield (
            f"+ ${document['lost']} that a killed worker may have spent: `turnout budget reconcile`"
        )
    if document["more"]:
        yield ""
        yield f"{document['more']} more rows: `--limit` shows more of them"


def _table(
    document: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    total: Mapping[str, Any],
    palette: Palette,
) -> Iterator[str]:
    by = document["by"]
    names = [] if by == "day" else [*_tenant(document), by]
    ours = total["payer"] == "gateway"
    heads = ["date", *names, "calls", "tokens in", "tokens out", "cost"]
    heads += ["unconfirmed", "budget", "used", "projected"] if ours else []
    told = [*rows]
    if len(rows) > 1 or by == "day" or document["more"]:
        told.append({**total, "date": "total", "name": "", "tenant": ""})
    table = [_cells(row, names, ours) for row in told]
    if total["from_cache"]["calls"]:
        heads += ["from cache", "saved"]
        table = [[*cells, *_from_cache(row)] for cells, row in zip(table, told, strict=True)]
    table.insert(0, heads)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    words = 1 + len(names)
    for at, cells in enumerate(table):
        padded = [
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        line = "  ".join(padded).rstrip()
        yield palette.paint("strong", line) if at == 0 else line


def _cells(row: Mapping[str, Any], names: Sequence[str], ours: bool) -> list[str]:
    told = [row["tenant"] if name == "tenant" and len(names) > 1 else row["name"] for name in names]
    cells = [row["date"], *("-" if one is None else printable(one) for one in told)]
    cells += [_count(row["calls"])]
    cells += [_count(row["tokens"][kind]) for kind in ("input", "output")]
    cells += [f"${row['cost']}"]
    if not ours:
        return cells
    budget = row["budget"]
    limit = "-" if budget is None else f"${budget['limit']}/{budget['period']}"
    percent = None if budget is None else budget["percent"]
    return [
        *cells,
        "-" if row["unconfirmed"] == "0" else f"${row['unconfirmed']}",
        limit,
        "-" if percent is None else f"{percent:.1f} %",
        "-" if row["projected"] is None else f"${cents(row['projected'])}",
    ]


def _from_cache(row: Mapping[str, Any]) -> list[str]:
    found = row["from_cache"]
    return [_count(found["calls"]), f"${found['saved']}"] if found["calls"] else ["-", "-"]


def cents(amount: str) -> str:
    """A projected amount of dollars: in cents from ten of them on, else with three digits of it."""
    value = Decimal(amount)
    if value >= Decimal("0.1"):
        return f"{value:.2f}"
    if value == 0:
        return amount
    rounded = value.quantize(Decimal(1).scaleb(value.adjusted() - 2))
    return f"{rounded.normalize():f}"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")
