"""List, show, set and remove stored tenants: their tier, rates and budgets.

  turnout tenants list
  turnout tenants set acme --tier pro --rpm 600 --tpm 200k --budget '$100/month'
  turnout tenants set acme --team-budget 'search=$0.50/day' --user-budget '$5/month'
  turnout tenants show acme
  turnout tenants remove acme

Works on the database under TURNOUT_HOME (by default ~/.turnout), whether a gateway runs or not; one
that does sees a change within a second. `set` keeps what is not named as it is; `--clear` takes
something away, `--settings` puts a whole JSON object in place of what there is. A tenant that the
policy file names is changed there: what the file says wins.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turnout.dsl.core import Program
from turnout.dsl.diagnostic import PolicyError
from turnout.engine.audit import Event
from turnout.engine.request import RequestError
from turnout.engine.state.store import StoreError
from turnout.engine.tenants import Tenants

from .dispatch import FINDINGS, INPUT_ERROR, CommandError
from .recorded import check_there
from .report import printable

_ACTOR = "cli"
_FIELDS = ("tier", "region", "rpm", "tpm", "concurrency")
_PARTS = ("team", "user")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _common(actions.add_parser("list", help="list tenants", allow_abbrev=False))
    _common(_named(actions.add_parser("show", help="show a tenant", allow_abbrev=False)))
    put = _named(actions.add_parser("set", help="make or change a tenant", allow_abbrev=False))
    put.add_argument("--tier", help="the tier of its callers")
    put.add_argument("--region", help="`tenant.region` of its callers")
    put.add_argument("--rpm", metavar="N", help="requests a minute, such as 600")
    put.add_argument("--tpm", metavar="N", help="tokens a minute, such as 200k")
    put.add_argument("--concurrency", metavar="N", help="requests under way at a time")
    put.add_argument(
        "--budget",
        metavar="LIMIT",
        help="what it may spend, such as $100/month, in place of what it might so far",
    )
    for scope in _PARTS:
        put.add_argument(
            f"--{scope}-budget",
            metavar="LIMIT",
            action="append",
            default=[],
            help=f"what each {scope} of it may spend, or NAME=LIMIT for one; may be repeated",
        )
    put.add_argument(
        "--clear", metavar="LIST", help="take these away, with commas: tier,rpm,budgets …"
    )
    put.add_argument(
        "--settings", metavar="JSON", help="all of it as one object, - reads it from the input"
    )
    _common(put)
    _common(_named(actions.add_parser("remove", help="forget a tenant", allow_abbrev=False)))


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("name", metavar="TENANT", help="its name")
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="the gateway's policy (default: TURNOUT_POLICY, or routing.yml if there is one here)",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one of the four."""
    home = Path(os.environ.get("TURNOUT_HOME", "").strip() or "~/.turnout").expanduser()
    action = {"list": _list, "show": _show, "set": _set, "remove": _remove}
    if arguments.action != "set":
        check_there(home, "stored tenants")
    try:
        with _Opened(home, _program(arguments.policy)) as tenants:
            return action[arguments.action](arguments, tenants)
    except RequestError as error:
        status = INPUT_ERROR if error.status == 400 else FINDINGS
        raise CommandError(printable(error.message.rstrip(".")), status=status) from None
    except StoreError as error:
        raise CommandError(f"the tenants in `{home}` cannot be used: {error}") from None


class _Opened:
    """The tenants of a folder; refusals are in its audit log too."""

    def __init__(self, home: Path, program: Program | None) -> None:
        # These take half a second to import: not for `--help`.
        from turnout.engine.state.accounts import StoredTenants
        from turnout.engine.state.audit import AuditLog
        from turnout.engine.state.database import open_database

        self._database = open_database(home)
        self._log = AuditLog(self._database)
        self._tenants = Tenants(StoredTenants(self._database), lambda: program, self)

    def note(self, event: Event) -> None:
        """Keep what was refused; what cannot be written is not worth another error."""
        try:
            self._log.append([event])
        except StoreError as error:
            print(f"turnout: warning: the audit log cannot be written: {error}", file=sys.stderr)

    def close(self) -> None:
        """There is nothing that waits."""

    def __enter__(self) -> Tenants:
        return self._tenants

    def __exit__(self, *_: object) -> None:
        self._database.close()


def _program(flag: str | None) -> Program | None:
    """The policy that the gateway would serve, None where there is none. Raises: CommandError."""
    from turnout.settings import DEFAULT_POLICY, Settings
    from turnout.wiring import load_program

    named = flag or os.environ.get("TURNOUT_POLICY", "").strip()
    if not named and not Path(DEFAULT_POLICY).exists():
        return None
    path = Path(named or DEFAULT_POLICY)
    try:
        return load_program(Settings(Path(), policy=path))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(
            f"the policy `{printable(str(path))}` cannot be read: {reason}"
        ) from None
    except PolicyError:
        raise CommandError(
            f"the policy `{printable(str(path))}` has errors, so nobody knows which tenants it "
            "names",
            help=f"see `policy lint {printable(str(path))}`",
        ) from None


def _list(arguments: argparse.Namespace, tenants: Tenants) -> int:
    found = tenants.all()
    if arguments.format == "json":
        _print_json(found)
        return 0
    if not found:
        print("no tenants")
        return 0
    rows: list[tuple[str, ...]] = [("tenant", "from", *_FIELDS, "budgets")]
    rows += [_row(one) for one in found]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    settings = one["settings"]
    told = [str(settings.get(name, "-")) for name in _FIELDS]
    budgets = ", ".join(map(_budget, settings.get("budgets", ()))) or "-"
    cells = (one["name"], one["source"], *told, budgets)
    return tuple(printable(cell) for cell in cells)


def _budget(one: Mapping[str, Any]) -> str:
    scope = one.get("scope", "tenant")
    if scope == "tenant":
        return str(one["limit"])
    return f"{one['limit']} for {one.get('of', 'each')} ({scope})"


def _show(arguments: argparse.Namespace, tenants: Tenants) -> int:
    _print(tenants.show(arguments.name), arguments.format)
    return 0


def _set(arguments: argparse.Namespace, tenants: Tenants) -> int:
    settings, expected = _wanted(arguments, tenants)
    found, is_new = tenants.put(arguments.name, settings, _ACTOR, expected)
    if arguments.format == "text":
        print(f"{'made' if is_new else 'changed'} the tenant {printable(found['name'])}")
    _print(found, arguments.format)
    return 0


def _wanted(arguments: argparse.Namespace, tenants: Tenants) -> tuple[dict[str, Any], str | None]:
    """The settings that a tenant is to have, and the revision that they are a change of."""
    named = {name: value for name in _FIELDS if (value := getattr(arguments, name)) is not None}
    budgets = _budgets(arguments)
    if arguments.settings is not None:
        if named or budgets or arguments.clear:
            raise CommandError("`--settings` is all of it: leave out the other options")
        return _read(arguments.settings), None
    cleared = [word.strip() for word in (arguments.clear or "").split(",") if word.strip()]
    if not (named or budgets or cleared):
        raise CommandError(
            "nothing is said of the tenant", help="name what to set, such as `--rpm 600`"
        )
    if wrong := [word for word in cleared if word not in (*_FIELDS, "budgets")]:
        raise CommandError(
            f"`{printable(wrong[0])}` cannot be cleared",
            help=f"these can: {', '.join((*_FIELDS, 'budgets'))}",
        )
    settings: dict[str, Any] = {}
    expected = ""
    try:
        before = tenants.show(arguments.name)
        if "unreadable" in before:
            raise CommandError(
                f"what is stored of the tenant `{printable(arguments.name)}` cannot be read, so "
                "that no part of it can be changed",
                help="set it anew with `--settings '{…}'`",
            )
        settings, expected = dict(before["settings"]), str(before.get("revision", ""))
    except RequestError as error:
        if error.status != 404:
            raise
    for word in cleared:
        settings.pop(word, None)
    settings |= named
    if budgets:
        replaced = {_about(one) for one in budgets}
        others = [one for one in settings.get("budgets", ()) if _about(one) not in replaced]
        settings["budgets"] = [*budgets, *others]
    return settings, expected


def _budgets(arguments: argparse.Namespace) -> list[dict[str, str]]:
    """The budgets that flags name; of several about the same, the last one."""
    budgets: list[dict[str, str]] = [{"limit": arguments.budget}] if arguments.budget else []
    for scope in _PARTS:
        for text in getattr(arguments, f"{scope}_budget"):
            of, is_named, limit = text.rpartition("=")
            # A name of its own, since those that are given none are all called alike.
            one = {"name": f"{arguments.name}_{scope}_{of}", "of": of} if is_named else {}
            budgets.append({"scope": scope, "limit": limit} | one)
    return list({_about(one): one for one in budgets}.values())


def _about(budget: Mapping[str, Any]) -> tuple[str, str | None]:
    """Whose a budget is: of its scope and its `of`; all of a tenant's own are alike."""
    scope = budget.get("scope") or "tenant"
    return scope, None if scope == "tenant" else budget.get("of")


def _read(text: str) -> dict[str, Any]:
    try:
        read = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise CommandError(f"the settings are no JSON: {printable(str(error))}") from None
    if not isinstance(read, dict):
        raise CommandError("the settings must be one JSON object")
    return read


def _remove(arguments: argparse.Namespace, tenants: Tenants) -> int:
    found = tenants.remove(arguments.name, _ACTOR)
    if arguments.format == "json":
        _print_json(found)
    else:
        print(f"removed the tenant {printable(found['name'])}")
    return 0


def _print(found: Mapping[str, Any], form: str) -> None:
    if form == "json":
        _print_json(found)
        return
    rows = {"tenant": found["name"], "from": found["source"], **found["settings"]}
    budgets = rows.pop("budgets", ())
    for name, value in rows.items():
        print(f"{name:12} {printable(str(value))}")
    for one in budgets:
        steps = ", ".join(f"{share} {what}" for share, what in one.get("at", {}).items())
        print(f"{'budget':12} {printable(_budget(one))}{f' at {steps}' if steps else ''}")


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
