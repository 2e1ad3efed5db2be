"""Explain a request that went through the gateway.

Prints every rule that was tried with the value of each part of its condition, the hops, tokens and
cost. REQ is the `x-request-id` of the answer. Reads the journal under TURNOUT_HOME (by default
~/.turnout) and the demo's in the folder `demo` of it, so the gateway need not be running.
"""

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

from turnout.engine import trace
from turnout.engine.catalog import language_schema
from turnout.engine.journal import Journal
from turnout.engine.state.database import FILE, Database, url_of
from turnout.engine.state.sqlite import SqliteStore
from turnout.engine.state.store import StoreError
from turnout.settings import DEMO_FOLDER

from .dispatch import FINDINGS, CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("request", metavar="REQ", help="the request id, such as req_…")
    parser.add_argument("--json", action="store_true", help="print the document as JSON")
    parser.add_argument(
        "--shadow",
        action="store_true",
        help="explain what the policy beside said too, with every value that it read",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the trace of a request; 1 if there is none."""
    home = Path(os.environ.get("TURNOUT_HOME", "").strip() or "~/.turnout").expanduser()
    homes = [place for place in (home, home / DEMO_FOLDER) if (place / FILE).exists()]
    if not homes:
        raise CommandError(
            f"there is no journal in `{home}`",
            help="set TURNOUT_HOME to the folder that the gateway runs with",
        )
    found = (_find(place, arguments.request, arguments.shadow) for place in homes)
    document = next(filter(None, found), None)
    if document is None:
        raise CommandError(
            f"there is no trace of the request `{arguments.request}` in `{home}`",
            help="take the id from the answer's `x-request-id` header, and the TURNOUT_HOME that "
            "the gateway runs with; a request that was refused before a decision (unknown model, "
            "bad body) or turned away has no trace",
            status=FINDINGS,
        )
    if arguments.json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print(trace.render(document))
    return 0


def _find(home: Path, id: str, explains_shadow: bool) -> dict[str, Any] | None:
    journal = Journal(SqliteStore(Database(url_of(home))))
    try:
        return asyncio.run(_document(journal, id, explains_shadow))
    except StoreError as error:
        raise CommandError(f"cannot read the journal in `{home}`: {error}") from error
    finally:
        journal.close()


async def _document(journal: Journal, id: str, explains_shadow: bool) -> dict[str, Any] | None:
    record = await journal.find(id, tenant=None)
    if record is None:
        return None
    programs = trace.Programs(language_schema())
    pulse = journal.pulse(record.pulse_id) if record.pulse_id is not None else None
    shadow = None
    if explains_shadow and record.shadow is not None:
        shadow = programs.get(record.shadow.policy, journal.archived)
    program = programs.get(record.digest, journal.archived)
    return trace.document(record, program, pulse, shadow=shadow)
