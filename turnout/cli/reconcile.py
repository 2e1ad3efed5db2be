"""`turnout budget reconcile`: what is unconfirmed, what counters say wrong, and what it was.

An id is the number of a ledger row, or `lease:…` of what a worker that ended had on lease. A
correction's own number says anew what it has said.
Over 300 lines because what can be said, what is done and what is told of it are one table of ids.
"""

import argparse
import csv
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.dsl.schema import Type
from turnout.dsl.units import format_usd, parse_quantity
from turnout.engine.costs import told_instant
from turnout.engine.ledger import MOST_NANO_USD

from .at_hand import at_hand
from .dispatch import CommandError
from .recorded import duration_us
from .report import plural, printable

if TYPE_CHECKING:
    from turnout.engine.books import Books, Correction, Drift, Loss, Unconfirmed

_MOST_SHOWN = 50  # of a kind, as text
_MOST_COUNTERS = 6  # of one lost worker


@dataclass(frozen=True, slots=True)
class _Open:
    """Something unconfirmed: a ledger row, or what a lost worker had; or a correction."""

    id: str
    time_us: int
    left_nano_usd: int
    about: str
    tenant: str | None
    request: str | None
    of: "Unconfirmed | Loss | Correction"


@dataclass(frozen=True, slots=True)
class _Said:
    """What something unconfirmed has cost."""

    one: _Open
    nano_usd: int
    by: str


def reconcile(arguments: argparse.Namespace, place: str, as_json: bool) -> int:
    """Look, or set right, and say what that was."""
    from turnout.engine.audit import Event
    from turnout.engine.state.audit import AuditLog
    from turnout.engine.state.books import SqlBooks

    now_us = time.time_ns() // 1_000
    with at_hand(place, getattr(arguments, "policy", None)) as here:
        books = SqlBooks(here.database)
        found = _open_ones(books, arguments.tenant)
        known = {one.id: one for one in found}
        known |= {one.id: one for one in _corrections(books, arguments, known)}
        said = _said(arguments, known, found, now_us)
        rows: dict[str, int] = {}
        drifts = books.recount() if arguments.dry_run else books.repair()
        if not arguments.dry_run:
            audit = AuditLog(here.database)
            try:
                for drift in drifts:
                    audit.note(Event("cli", "budget.repair", _whose(drift)))
                for one in said:
                    rows[one.one.id] = _settle(books, one)
                    detail: dict[str, str | int | None] = {
                        "cost": format_usd(one.nano_usd),
                        "unconfirmed": format_usd(one.one.left_nano_usd),
                        "request": one.one.request,
                        "by": one.by,
                        "row": rows[one.one.id],
                    }
                    audit.note(Event("cli", "budget.correct", one.one.id, detail=detail))
            finally:
                audit.close()
    done = {one.one.id for one in said}
    left = [one for one in found if one.id not in done]
    if as_json:
        print(
            json.dumps(_as_data(arguments, drifts, said, rows, left), indent=2, ensure_ascii=False)
        )
    else:
        print("\n".join(_lines(arguments, drifts, said, rows, left)))
    return 0


def _open_ones(books: "Books", tenant: str | None) -> list[_Open]:
    found = [
        _Open(
            str(one.number),
            one.entry.time_us,
            one.left_nano_usd,
            f"{one.entry.tenant}, {one.entry.target}, {one.entry.fault or one.entry.outcome}",
            one.entry.tenant or None,
            one.entry.request,
            one,
        )
        for one in books.unconfirmed(tenant=tenant)
    ]
    found += [
        _Open(loss.id, loss.lost_us, loss.nano_usd, _about(loss), loss.tenant, None, loss)
        for loss in books.losses()
        if tenant is None or loss.tenant == tenant
    ]
    return found


def _about(loss: "Loss") -> str:
    counters = dict.fromkeys(f"{one.scope} {one.who}" for one in (*loss.leases, *loss.follow))
    shown = list(counters)[:_MOST_COUNTERS]
    if len(counters) > len(shown):
        shown.append(f"{len(counters) - len(shown)} more")
    whose = f"{loss.tenant}, " if loss.tenant is not None else ""
    return f"{whose}a worker that was killed, the largest of its leases: {', '.join(shown)}"


def _corrections(
    books: "Books", arguments: argparse.Namespace, known: Mapping[str, _Open]
) -> Iterator[_Open]:
    """The corrections that are named to be said anew."""
    for written in (*arguments.release, *(one.rpartition("=")[0] for one in arguments.charge)):
        if written in known or not (written.isascii() and written.isdecimal()):
            continue
        try:
            found = books.correction(int(written[:18]))
        except LookupError:
            continue
        entry = found.entry
        about = f"{entry.tenant}, a correction"
        whose = entry.tenant or None
        yield _Open(written, entry.time_us, found.cost_nano_usd, about, whose, entry.request, found)


def _whose(one: "Drift") -> str:
    of = f" of {one.tenant}" if one.tenant else ""
    return f"{one.scope} {one.who}{of}"


def _settle(books: "Books", said: _Said) -> int:
    """Write it down; the number of the ledger's row."""
    from turnout.engine.books import Correction, Loss

    try:
        if isinstance(said.one.of, Loss):
            return books.settle_lost(said.one.of, said.nano_usd)
        if isinstance(said.one.of, Correction):
            return books.correct_again(said.one.of.number, said.nano_usd)
        return books.correct(said.one.of.number, said.nano_usd)
    except LookupError:
        raise CommandError(
            f"`{said.one.id}` was settled by somebody else meanwhile; what came before it is done"
        ) from None


# --- what was said of them -----------------------------------------------------------------------


def _said(
    arguments: argparse.Namespace,
    by_id: Mapping[str, _Open],
    found: Sequence[_Open],
    now_us: int,
) -> list[_Said]:
    """What each is said to have cost. Raises: CommandError."""
    from turnout.engine.books import Correction

    said: dict[str, _Said] = {}

    def say(one: _Open, nano_usd: int, by: str) -> None:
        if one.id in said:
            raise CommandError(f"`{printable(one.id)}` is said twice")
        is_over = nano_usd > one.left_nano_usd and not isinstance(one.of, Correction)
        if is_over and not arguments.over:
            raise CommandError(
                f"`{printable(one.id)}` has cost ${format_usd(one.left_nano_usd)} at most, not "
                f"${format_usd(nano_usd)}",
                help="if it really has cost more than was reserved for it, add `--over`",
            )
        said[one.id] = _Said(one, nano_usd, by)

    for id in arguments.release:
        say(_known(by_id, id), 0, "release")
    for written in arguments.charge:
        id, equals, amount = written.rpartition("=")
        if not equals:
            raise CommandError(
                f"`--charge {printable(written)}` has no amount", help="write `--charge 17=$0.02`"
            )
        say(_known(by_id, id), _money(amount), "charge")
    if arguments.bill is not None:
        for one, nano_usd in _billed(arguments.bill, found):
            say(one, nano_usd, "bill")
    if arguments.release_all != (arguments.older_than is not None):
        raise CommandError("`--release-all` and `--older-than` go together")
    if arguments.release_all:
        before_us = now_us - duration_us(arguments.older_than)
        for one in found:
            if one.time_us < before_us and one.id not in said:
                say(one, 0, "release")
    return list(said.values())


def _known(by_id: Mapping[str, _Open], id: str) -> _Open:
    if id not in by_id:
        raise CommandError(
            f"nothing unconfirmed has the id `{printable(id)}`",
            help="`turnout budget reconcile --dry-run` lists what is",
        )
    return by_id[id]


def _money(text: str) -> int:
    try:
        type, nano_usd = parse_quantity(text if text.startswith("$") else f"${text}")
    except ValueError:
        type, nano_usd = Type.NUMBER, 0
    if type is not Type.MONEY or not 0 <= nano_usd <= MOST_NANO_USD:
        raise CommandError(f"`{printable(text)}` is no amount", help="write one such as `$0.02`")
    return nano_usd


def _billed(name: str, found: Sequence[_Open]) -> Iterator[tuple[_Open, int]]:
    """What a bill says of what is unconfirmed; its other rows are passed over."""
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise CommandError(f"`{printable(name)}` cannot be read: {reason.lower()}") from None
    reader = csv.DictReader(text.splitlines())
    try:
        rows, heads = list(reader), set(reader.fieldnames or ())
    except csv.Error as error:
        raise CommandError(f"`{printable(name)}` is no CSV: {error}") from None
    if "cost" not in heads or not heads & {"id", "request"}:
        raise CommandError(
            f"`{printable(name)}` has not the columns of a bill",
            help="write a first line with `id,cost` or `request,cost`",
        )
    by_id = {one.id: one for one in found}
    by_request: dict[str, list[_Open]] = {}
    for one in found:
        if one.request is not None:
            by_request.setdefault(one.request, []).append(one)
    for row in rows:
        if (id := (row.get("id") or "").strip()) in by_id:
            yield by_id[id], _money((row["cost"] or "").strip())
            continue
        request = (row.get("request") or "").strip()
        attempts = by_request.get(request, [])
        if len(attempts) > 1:
            ids = ", ".join(one.id for one in attempts)
            raise CommandError(
                f"`{printable(request)}` has {len(attempts)} unconfirmed attempts: {ids}",
                help="name each by its `id`",
            )
        if attempts:
            yield attempts[0], _money((row["cost"] or "").strip())


# --- what is printed -----------------------------------------------------------------------------


def _as_data(
    arguments: argparse.Namespace,
    drifts: Sequence["Drift"],
    said: Sequence[_Said],
    rows: Mapping[str, int],
    left: Sequence[_Open],
) -> dict[str, Any]:
    return {
        "object": "reconciliation",
        "dry_run": arguments.dry_run,
        "counters": [
            {
                "scope": one.scope,
                "tenant": one.tenant or None,
                "who": one.who,
                "from": told_instant(one.from_us),
                "to": told_instant(one.to_us),
                "settled": format_usd(one.settled_nano_usd),
                "unconfirmed": format_usd(one.unconfirmed_nano_usd),
                "ledger_settled": format_usd(one.ledger_settled_nano_usd),
                "ledger_unconfirmed": format_usd(one.ledger_unconfirmed_nano_usd),
            }
            for one in drifts
        ],
        "corrected": [
            {
                **_open_data(one.one),
                "cost": format_usd(one.nano_usd),
                "by": one.by,
                "row": rows.get(one.one.id),
            }
            for one in said
        ],
        "unconfirmed": [_open_data(one) for one in left],
    }


def _open_data(one: _Open) -> dict[str, Any]:
    return {
        "id": one.id,
        "time": told_instant(one.time_us),
        "at_most": format_usd(one.left_nano_usd),
        "about": one.about,
        "tenant": one.tenant,
        "request": one.request,
    }


def _lines(
    arguments: argparse.Namespace,
    drifts: Sequence["Drift"],
    said: Sequence[_Said],
    rows: Mapping[str, int],
    left: Sequence[_Open],
) -> Iterator[str]:
    would = "would be " if arguments.dry_run else ""
    if not drifts:
        yield "all counters are as the ledger says"
    for drift in drifts[:_MOST_SHOWN]:
        yield (
            f"the counter of {printable(_whose(drift))} {would}set right: "
            f"${format_usd(drift.settled_nano_usd)} settled and "
            f"${format_usd(drift.unconfirmed_nano_usd)} unconfirmed, which the ledger has as "
            f"${format_usd(drift.ledger_settled_nano_usd)} and "
            f"${format_usd(drift.ledger_unconfirmed_nano_usd)}"
        )
    for one in said[:_MOST_SHOWN]:
        what = f"charged with ${format_usd(one.nano_usd)}" if one.nano_usd else "released"
        row = f": row {rows[one.one.id]} of the ledger" if one.one.id in rows else ""
        yield f"{printable(one.one.id)} {would}{what}, {_before(one.one)}{row}"
    if len(said) > _MOST_SHOWN:
        yield f"and {len(said) - _MOST_SHOWN} more"
    if not left:
        yield "nothing is unconfirmed"
        return
    total = format_usd(sum(one.left_nano_usd for one in left))
    yield f"unconfirmed: {_counts(left)}, ${total} at most"
    for open in left[:_MOST_SHOWN]:
        yield (
            f"  {printable(open.id)}  {told_instant(open.time_us)}  at most "
            f"${format_usd(open.left_nano_usd)}  {printable(open.about)}"
            + (f"  {open.request}" if open.request is not None else "")
        )
    if len(left) > _MOST_SHOWN:
        yield f"  and {len(left) - _MOST_SHOWN} more; `--format json` has all"


def _before(one: _Open) -> str:
    from turnout.engine.books import Correction

    told = format_usd(one.left_nano_usd)
    return f"${told} before" if isinstance(one.of, Correction) else f"of ${told} at most"


def _counts(left: Sequence[_Open]) -> str:
    from turnout.engine.books import Loss

    lost = sum(isinstance(one.of, Loss) for one in left)
    counts = [(len(left) - lost, "attempt"), (lost, "killed worker")]
    return " and ".join(plural(number, name) for number, name in counts if number)
