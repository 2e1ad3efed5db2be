"""Remove records past their days, as the gateway does by itself at night.

How long each kind is kept is set by TURNOUT_KEEP_LEDGER_DAYS, TURNOUT_KEEP_JOURNAL_DAYS and
TURNOUT_KEEP_AUDIT_DAYS. It goes in small steps, so that a gateway that runs meanwhile hardly waits.
Works on TURNOUT_HOME (by default ~/.turnout).
"""

import argparse
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from turnout.settings import Settings, SettingsError

from .dispatch import CommandError
from .recorded import HERE, file_of

if TYPE_CHECKING:
    from turnout.engine.keeping import Keeping

_VARIABLES = ("TURNOUT_KEEP_LEDGER_DAYS", "TURNOUT_KEEP_JOURNAL_DAYS", "TURNOUT_KEEP_AUDIT_DAYS")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would go, and remove nothing"
    )
    parser.add_argument(
        "--journal",
        default=HERE,
        metavar="HOME",
        help="the TURNOUT_HOME of the gateway, or its file (default: this machine's)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Remove, and print how many rows went."""
    from turnout.engine.state.database import Database, check_known, migrate, url_of_file
    from turnout.engine.state.store import StoreError
    from turnout.engine.state.trim import KINDS, SqliteTrimmer

    file, shown = file_of(arguments.journal)
    try:
        keeping = Settings.keeping_of(os.environ)
    except SettingsError as error:
        raise CommandError(error.problems[0]) from None
    url = url_of_file(file)
    database = Database(url)
    trimmer = SqliteTrimmer(database)
    try:
        if arguments.dry_run:
            check_known(database)
        else:
            migrate(url)
        cut, rows = trimmer.preview(keeping)
        if not arguments.dry_run and (done := trimmer.trim(keeping, "cli")) is not None:
            rows = dict(done.rows)
    except StoreError as error:
        help = None
        if "no such" in str(error):
            help = "it is of an older turnout, whose tables a dry run leaves as they are"
        raise CommandError(f"`{shown}` cannot be trimmed: {error}", help=help) from None
    finally:
        database.close()
    before = {"ledger": cut.ledger_us, "journal": cut.journal_us, "audit": cut.audit_us}
    print(_days(keeping))
    verb = "would go" if arguments.dry_run else "removed"
    for kind, of in KINDS.items():
        if not before[of]:
            print(f"{kind:10} kept for ever")
        else:
            day = datetime.fromtimestamp(before[of] / 1e6, UTC).strftime("%Y-%m-%d %H:%MZ")
            print(f"{kind:10} {rows[kind]:>10} {verb}, older than {day}")
    return 0


def _days(keeping: "Keeping") -> str:
    """By which days it goes, and where each comes from."""
    days = (keeping.ledger_days, keeping.journal_days, keeping.audit_days)
    told = []
    for name, many in zip(_VARIABLES, days, strict=True):
        origin = "set" if os.environ.get(name, "").strip() else "default"
        told.append(f"{name}={many} ({origin})")
    return f"by {', '.join(told)}"
