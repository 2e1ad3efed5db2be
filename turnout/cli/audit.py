"""Export the audit log, check that nobody has changed it, or show its newest rows.

The log says who changed what, and who was refused. Each row is bound to the one before it, so that
a row that was changed, removed, inserted or moved is found. Reads the log under TURNOUT_HOME (by
default ~/.turnout); the gateway need not be running.

Exit codes of `verify`: 0 it fits, 1 it does not, 2 it cannot be read or the head cannot be told.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from .dispatch import FINDINGS, INPUT_ERROR, CommandError
from .recorded import HERE, duration_us, file_of
from .report import printable

if TYPE_CHECKING:
    from turnout.engine.audit_chain import Head, Verdict
    from turnout.engine.state.audit import AuditLog

_MOST_LISTED = 1_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what can be done, and the arguments of each."""
    doing = parser.add_subparsers(dest="doing", metavar="export|verify|list", required=True)
    export = doing.add_parser("export", help="write it to a file", allow_abbrev=False)
    export.add_argument("--since", metavar="TIME", help="from here on: `7d` ago, or 2026-11-01")
    export.add_argument("--until", metavar="TIME", help="before this, in the same forms")
    export.add_argument("--actor", help="only what this key, `admin`, `cli`, `file`, … did")
    export.add_argument("--action", help="only this action, such as `key.create`")
    export.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="how")
    export.add_argument("-o", "--output", metavar="FILE", help="where to (default: here)")
    verify = doing.add_parser("verify", help="find the first row that does not fit")
    verify.add_argument("file", nargs="?", metavar="FILE", help="an export (default: the log)")
    verify.add_argument(
        "--head",
        metavar="NUMBER:DIGEST",
        help="a row as it was noted elsewhere; only this tells that the end was cut off, or that "
        "everything was written anew",
    )
    verify.add_argument("--format", choices=("text", "json"), default="text", help="how to print")
    newest = doing.add_parser("list", help="print the newest rows", allow_abbrev=False)
    newest.add_argument("--limit", type=_many, default=20, metavar="N", help="so many (default 20)")
    for one in (export, verify, newest):
        one.add_argument(
            "--journal",
            default=HERE,
            metavar="HOME",
            help="the TURNOUT_HOME of the gateway, or its file (default: this machine's)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    doing: dict[str, Callable[[argparse.Namespace], int]] = {
        "export": _export,
        "verify": _verify,
        "list": _list,
    }
    return doing[arguments.doing](arguments)


def _export(arguments: argparse.Namespace) -> int:
    from turnout.engine.audit import Event
    from turnout.engine.audit_file import lines
    from turnout.engine.state.audit import Wanted
    from turnout.engine.state.store import StoreError

    wanted = Wanted(
        _instant_us("--since", arguments.since),
        _instant_us("--until", arguments.until),
        arguments.actor,
        arguments.action,
    )
    detail = {name: getattr(arguments, name) for name in ("since", "until", "actor", "action")}
    detail = {name: value for name, value in detail.items() if value is not None}
    with _log_of(arguments.journal) as log, _written(arguments.output) as file:
        try:
            head = log.append(
                [Event("cli", "audit.export", arguments.output or "-", detail=detail)]
            )
        except StoreError as error:
            print(f"turnout: warning: the log cannot note this export: {error}", file=sys.stderr)
            head = log.head()
        rows = log.rows(wanted, until=head.number)
        for line in lines(rows, head, arguments.format, wanted.is_all):
            file.write(line)
    if arguments.output is not None:
        print(f"head {head}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from turnout.engine.audit_chain import check
    from turnout.engine.audit_file import head_from, verified

    head: Head | None = None
    if arguments.head is not None:
        try:
            head = head_from(arguments.head)
        except ValueError as error:
            raise CommandError("`--head` is no row", help=str(error)) from None
    if arguments.file is None:
        with _log_of(arguments.journal) as log:
            verdict = check(log.rows(), head=head)
    else:
        shown = printable(arguments.file)
        try:
            with open(arguments.file, encoding="utf-8", newline="") as file:
                verdict = verified(file, head)
        except ValueError as error:  # also of text that is not UTF-8
            raise CommandError(f"`{shown}` is no export of the audit log: {error}") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CommandError(f"`{shown}` cannot be read: {reason}") from None
    if arguments.format == "json":
        print(json.dumps(_as_data(verdict), indent=2))
    else:
        print("\n".join(_told(verdict, head is not None)))
    if verdict.fault is not None:
        return FINDINGS
    return 0 if verdict.unsure is None else INPUT_ERROR


def _as_data(verdict: "Verdict") -> dict[str, object]:
    data = asdict(verdict)
    return {**data, "head": str(verdict.head), "fits": verdict.fault is None}


def _told(verdict: "Verdict", has_head: bool) -> list[str]:
    if (fault := verdict.fault) is not None:
        rows = f"{verdict.rows} row{'' if verdict.rows == 1 else 's'} before it fit"
        return [f"{fault.kind}: {fault.said}", rows]
    if not verdict.rows:
        said = ["no rows"]
    else:
        some = f"row {verdict.first}" if verdict.rows == 1 else f"rows {verdict.first} to "
        said = [some + ("" if verdict.rows == 1 else str(verdict.head.number)) + " fit"]
        said.append(f"head {verdict.head}")
    if verdict.unsure is not None:
        said.append(f"not told: {verdict.unsure}")
    elif not has_head:
        said.append("whether rows were cut off at the end only a head noted elsewhere can tell")
    return said


def _many(text: str) -> int:
    """How many rows. Raises: ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:10]) <= _MOST_LISTED:
        raise argparse.ArgumentTypeError(f"write a number from 1 to {_MOST_LISTED}")
    return int(text[:10])


def _list(arguments: argparse.Namespace) -> int:
    from turnout.engine.audit_file import as_data, instant

    with _log_of(arguments.journal) as log:
        rows = log.latest(arguments.limit)
    for row in reversed(rows):
        at = instant(row.time_us)[:19].replace("T", " ") + "Z"
        detail = as_data(row)["detail"]  # text where somebody has spoiled it
        more = detail
        if isinstance(detail, dict):
            known = {name: value for name, value in detail.items() if value is not None}
            more = ", ".join(f"{name} {value}" for name, value in known.items())
        words = (str(row.number), at, row.actor, row.action, row.object, row.outcome, more)
        print(printable("  ".join(word for word in words if word)))
    return 0


@contextmanager
def _log_of(place: str) -> "Iterator[AuditLog]":
    from turnout.engine.state.audit import AuditLog
    from turnout.engine.state.database import Database, check_known, url_of_file
    from turnout.engine.state.store import StoreError

    file, shown = file_of(place)
    database = Database(url_of_file(file))
    try:
        check_known(database)
        yield AuditLog(database)
    except StoreError as error:
        help = None
        if "no such" in str(error):
            help = "it is of an older turnout: start this one's gateway with it once"
        raise CommandError(f"cannot read the audit log in `{shown}`: {error}", help=help) from None
    finally:
        database.close()


@contextmanager
def _written(name: str | None) -> Iterator[TextIO]:
    """Where an export goes to; a file that is there is not written over."""
    if name is None:
        yield sys.stdout
        return
    try:
        file = open(name, "x", encoding="utf-8", newline="")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(
            f"`{printable(name)}` cannot be written: {reason}", help="name a file that is not there"
        ) from None
    with file:
        yield file


def _instant_us(flag: str, text: str | None) -> int | None:
    """What a flag names: an instant, or so long ago. Raises: CommandError."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return time.time_ns() // 1_000 - duration_us(text)
        except CommandError:
            raise CommandError(
                f"`{flag} {printable(text)}` is no time",
                help=f"write `{flag} 7d`, `{flag} 2026-11-01` or `{flag} 2026-11-01T08:00:00Z`",
            ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)
