"""Show which answers are kept to be given again, and take some of them back.

  turnout cache stats
  turnout cache invalidate 'model:openai/*' --older-than 2h
  turnout cache invalidate tag:purpose=faq --tenant acme
  turnout cache invalidate '*' --all-tenants

A pattern names what is meant: `model:` (the target that answered, or the name that was asked for),
`rule:` or `tag:`, where `*` is any text and `?` one character; `*` alone means all. It is about the
answers of one tenant (default: TURNOUT_TENANT_ID, else `default`) unless it says all. Works on
what is kept under TURNOUT_HOME (by default ~/.turnout; what the demo keeps is in the folder `demo`
of it: TURNOUT_HOME=~/.turnout/demo), or in Redis, whether a gateway runs or not; one that does
gives no such answer from then on.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.engine.cache_terms import WrongPattern, document, invalidation, removed
from turnout.engine.cached import CacheError
from turnout.settings import DEMO_FOLDER, REDIS_URL, Settings, SettingsError

from .dispatch import CommandError
from .recorded import check_there
from .report import printable

if TYPE_CHECKING:
    from turnout.engine.cache import Cache

_ACTOR = "cli"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    taken = actions.add_parser("invalidate", help="give answers to nobody any more")
    taken.add_argument("pattern", metavar="PATTERN", help="such as model:openai/*, or *")
    taken.add_argument("--older-than", metavar="AGE", help="only those stored so long ago: 2h")
    whose = taken.add_mutually_exclusive_group()
    whose.add_argument("--tenant", metavar="NAME", help="whose (default: the gateway's own)")
    whose.add_argument("--all-tenants", action="store_true", help="everybody's")
    shown = actions.add_parser("stats", help="show what is kept, by target")
    shown.add_argument("--tenant", metavar="NAME", help="of one tenant (default: of all)")
    for action in (taken, shown):
        action.allow_abbrev = False
        action.add_argument(
            "--format", choices=("text", "json"), default="text", help="how to print"
        )


def run(arguments: argparse.Namespace) -> int:
    """Carry out one of the two."""
    home = Path(os.environ.get("TURNOUT_HOME", "").strip() or "~/.turnout").expanduser()
    try:
        if arguments.action == "stats":
            return _stats(arguments, home)
        return _invalidate(arguments, home)
    except CacheError as error:
        raise CommandError(f"what is kept cannot be reached: {error}") from None
    except SettingsError as error:
        raise CommandError(error.problems[0]) from None


def _invalidate(arguments: argparse.Namespace, home: Path) -> int:
    tenant = None if arguments.all_tenants else arguments.tenant or _own_tenant()
    try:
        now_us = time.time_ns() // 1000
        which = invalidation(arguments.pattern, arguments.older_than, tenant, now_us)
    except WrongPattern as wrong:
        raise CommandError(wrong.message, help=wrong.help) from None
    check_there(home, "answers")
    with _opened(_settings(home)) as cache:
        count = cache.invalidate(which)
        kept_by_others = _kept_by_others(cache, tenant) if count == 0 else 0
    detail: dict[str, str | int | None] = {"tenant": tenant or "*", "removed": count}
    if arguments.older_than is not None:
        detail["older_than"] = arguments.older_than
    _note(home, arguments.pattern.strip(), detail)
    if arguments.format == "json":
        print(json.dumps(removed(count), indent=2))
        return 0
    whose = "all tenants" if tenant is None else f"the tenant `{printable(tenant)}`"
    if count is None:
        print(f"nothing of {whose} is kept but in memory, which workers forget now")
    else:
        print(f"removed {_answers(count)} of {whose}")
    if kept_by_others:
        print(
            f"{whose} has no answers, and others have {_answers(kept_by_others)}: name whose with "
            "`--tenant`, or take `--all-tenants`"
        )
    return 0


def _kept_by_others(cache: "Cache", tenant: str | None) -> int:
    """How many answers there are of other tenants, where this one has none at all."""
    if tenant is None or any(one.answers for one in cache.stats(tenant)):
        return 0
    return sum(one.answers for one in cache.stats(None))


def _answers(count: int) -> str:
    return f"{count} {'answer' if count == 1 else 'answers'}"


def _stats(arguments: argparse.Namespace, home: Path) -> int:
    settings = _settings(home)
    if settings.source(REDIS_URL) is None:
        check_there(home, "answers")
    told = document((), arguments.tenant)
    if _is_there(settings):  # looking must not make a file
        with _opened(settings) as cache:
            told = document(cache.stats(arguments.tenant), arguments.tenant)
    if arguments.format == "json":
        print(json.dumps(told, indent=2, ensure_ascii=False))
    elif not told["answers"]:
        print("no answers are kept" + _of_the_demo(home))
    else:
        print("\n".join(_table(told)))
    return 0


def _of_the_demo(home: Path) -> str:
    """Where the demo's answers are, if there are any: whoever looks here may mean those."""
    from turnout.engine.state.answers import FILE

    demo = home / DEMO_FOLDER
    if not (demo / FILE).is_file():
        return ""
    return f"; the demo's are in a folder of this home: `TURNOUT_HOME={printable(str(demo))}`"


def _table(told: dict[str, Any]) -> Iterator[str]:
    rows = [("target", "answers", "bytes", "saves", "oldest", "newest")]
    total = {**told, "target": "total", "oldest": "", "newest": ""}
    for row in [*told["targets"], *([total] if len(told["targets"]) > 1 else [])]:
        numbers = (f"{row['answers']:,}", f"{row['bytes']:,}")
        rows.append(
            (
                printable(row["target"]),
                *(number.replace(",", " ") for number in numbers),
                f"${row['saves']}",
                row["oldest"],
                row["newest"],
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if 0 < at < 4 else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


# --- what is there -------------------------------------------------------------------------------


def _own_tenant() -> str:
    return os.environ.get("TURNOUT_TENANT_ID", "").strip() or "default"


def _settings(home: Path) -> Settings:
    # No more of them is looked at: what only a gateway needs may be wrong here.
    return Settings(home=home, environment=dict(os.environ))


def _is_there(settings: Settings) -> bool:
    """Whether there is anything that workers share. Raises: SettingsError."""
    from turnout.engine.state.answers import FILE

    return settings.source(REDIS_URL) is not None or (settings.home / FILE).exists()


@contextmanager
def _opened(settings: Settings) -> "Iterator[Cache]":
    """What a gateway with these settings keeps. Raises: SettingsError."""
    from turnout.engine.cache import Cache
    from turnout.wiring import shared_answers

    store, generations = shared_answers(settings)
    cache = Cache(store if _is_there(settings) else None, generations, {})
    try:
        yield cache
    finally:
        cache.close()


def _note(home: Path, pattern: str, detail: dict[str, str | int | None]) -> None:
    from turnout.engine.audit import Event
    from turnout.engine.state.audit import AuditLog
    from turnout.engine.state.database import open_database
    from turnout.engine.state.store import StoreError

    try:
        database = open_database(home)
    except StoreError as error:
        raise CommandError(f"it is done, and cannot be noted in the audit log: {error}") from None
    audit = AuditLog(database)
    audit.note(Event(_ACTOR, "cache.invalidate", pattern, detail=detail))
    audit.close()
    database.close()
