"""Make, list, rotate and revoke the keys that clients send.

  turnout keys create --tenant acme --team search --user ana --scopes ai:read,ai:write
  turnout keys list --tenant acme
  turnout keys rotate key_… --grace 24h
  turnout keys revoke key_…

Works on the database under TURNOUT_HOME (by default ~/.turnout), whether a gateway runs or not; one
that does sees a change within a second. A key is printed once, when it is made, and kept as a hash:
who loses it rotates it. `--models` bounds what may answer: targets (`openai/gpt-4o`, `openai/*`) or
names that clients ask for; what nobody here knows is warned of.
"""

# Over 300 lines because the four actions share what they read and how they print it.

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.dsl.nearest import misspelt
from turnout.engine.key_terms import GRACE, WrongTerms, grace_us, moment, new_key, shown, status
from turnout.engine.keys import NoSuchKeyError, RevokedError, SpoiledError, digest_of, new_text
from turnout.engine.state.store import StoreError

from .dispatch import FINDINGS, CommandError
from .recorded import check_there
from .report import printable

if TYPE_CHECKING:
    from turnout.engine.keys import Key
    from turnout.engine.state.keys import StoredKeys

_ACTOR = "cli"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a key, and print it once", allow_abbrev=False)
    create.add_argument("--tenant", required=True, help="whose requests these are")
    create.add_argument("--name", help="what the key is called (default: its user, team or tenant)")
    create.add_argument("--team", help="a team of the tenant, which may have a budget of its own")
    create.add_argument("--user", help="a user of the tenant, who may have one too")
    create.add_argument("--tier", help="in place of the tenant's tier")
    create.add_argument(
        "--scopes", metavar="LIST", help="with commas (default: ai:read,ai:write); also: admin"
    )
    create.add_argument("--models", metavar="LIST", help="with commas (default: all)")
    create.add_argument("--rpm", metavar="N", help="requests a minute, such as 60")
    create.add_argument("--tpm", metavar="N", help="tokens a minute, such as 200k")
    create.add_argument("--expires", metavar="WHEN", help="30d, or a date (default: never)")
    create.add_argument(
        "--as-written", action="store_true", help="take the tenant's name, however like another's"
    )
    _format(create)
    listed = actions.add_parser("list", help="list keys, without their secrets", allow_abbrev=False)
    listed.add_argument("--tenant", help="those of one tenant")
    listed.add_argument("--all", action="store_true", help="expired and revoked ones too")
    _format(listed)
    rotate = actions.add_parser("rotate", help="give a key another secret", allow_abbrev=False)
    rotate.add_argument("id", metavar="KEY", help="the key's id, key_…")
    rotate.add_argument(
        "--grace", default=GRACE, metavar="TIME", help=f"the old one stays good (default {GRACE})"
    )
    _format(rotate)
    revoke = actions.add_parser("revoke", help="end a key for good", allow_abbrev=False)
    revoke.add_argument("id", metavar="KEY", help="the key's id, key_…")
    _format(revoke)


def _format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one of the four."""
    home = Path(os.environ.get("TURNOUT_HOME", "").strip() or "~/.turnout").expanduser()
    action = {"create": _create, "list": _list, "rotate": _rotate, "revoke": _revoke}
    try:
        return action[arguments.action](arguments, home)
    except WrongTerms as wrong:
        raise CommandError(wrong.message, help=wrong.help) from None
    except NoSuchKeyError:
        raise CommandError(
            f"there is no key `{_id(arguments)}` in `{home}`",
            help="`turnout keys list --all` lists them; set TURNOUT_HOME to the gateway's folder",
            status=FINDINGS,
        ) from None
    except RevokedError:
        raise CommandError(
            f"the key `{_id(arguments)}` was revoked, which is for good",
            help="make another one with `turnout keys create`",
            status=FINDINGS,
        ) from None
    except SpoiledError:
        raise CommandError(
            f"what is kept of the key `{_id(arguments)}` cannot be read",
            help=f"`turnout keys revoke {_id(arguments)}` ends it; make another one",
            status=FINDINGS,
        ) from None
    except StoreError as error:
        raise CommandError(f"the keys in `{home}` cannot be read or written: {error}") from None


def _create(arguments: argparse.Namespace, home: Path) -> int:
    terms = {
        "name": arguments.name,
        "tenant": arguments.tenant,
        "team": arguments.team,
        "user": arguments.user,
        "tier": arguments.tier,
        "scopes": _listed(arguments.scopes),
        "models": _listed(arguments.models),
        "rpm": arguments.rpm,
        "tpm": arguments.tpm,
        "expires": arguments.expires,
    }
    key, text = new_key(terms, _now_us())
    keys = _open(home)
    if not arguments.as_written:
        _check_tenant(key.tenant, keys, home)
    for warning in _unknown(key.models or ()):
        print(f"turnout: warning: {warning}", file=sys.stderr)
    _print_new(keys.create(key, _ACTOR), text, arguments.format)
    return 0


def _list(arguments: argparse.Namespace, home: Path) -> int:
    now_us = _now_us()
    check_there(home, "keys")
    found = [
        key
        for key in _open(home).all(arguments.tenant)
        if arguments.all or status(key, now_us) == "active"
    ]
    if arguments.format == "json":
        _print_json([shown(key, now_us) for key in found])
        return 0
    if not found:
        print("no keys")
        return 0
    rows: list[tuple[str, ...]] = [
        ("id", "tenant", "team", "user", "name", "scopes", "models", "status", "expires")
    ]
    rows += [_row(key, now_us) for key in found]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return 0


def _rotate(arguments: argparse.Namespace, home: Path) -> int:
    grace = grace_us(arguments.grace)
    id = _id(arguments)
    check_there(home, "keys")
    text = new_text(id)
    _print_new(_open(home).rotate(id, digest_of(text), grace, _ACTOR), text, arguments.format)
    return 0


def _revoke(arguments: argparse.Namespace, home: Path) -> int:
    id = _id(arguments)
    check_there(home, "keys")
    key = _open(home).revoke(id, _ACTOR)
    if arguments.format == "json":
        _print_json(shown(key, _now_us()))
    else:
        print(f"{key.id} is revoked; running gateways refuse it within a second")
    return 0


# --- what is read --------------------------------------------------------------------------------


def _open(home: Path) -> "StoredKeys":
    # SQLAlchemy takes a while: `--help` and a wrong scope do not wait for it.
    from turnout.engine.state.database import open_database
    from turnout.engine.state.keys import StoredKeys

    return StoredKeys(open_database(home))


def _id(arguments: argparse.Namespace) -> str:
    """The id that was named; nobody's secret is repeated where it was pasted instead."""
    id: str = arguments.id
    if not id.startswith("key_") or len(id) > 40 or not id.isprintable():
        raise CommandError(
            "a key is named by its id, which begins with `key_`",
            help="`turnout keys list` lists them; a secret is never needed to name a key",
        )
    return id


def _listed(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [one.strip() for one in text.split(",") if one.strip()]


def _check_tenant(tenant: str, keys: "StoredKeys", home: Path) -> None:
    """Refuse a name one letter away from one that is known. Raises: CommandError."""
    known = _tenants(keys, home)
    if tenant in known:
        return
    meant = misspelt(tenant, known)
    if meant is not None:
        raise CommandError(
            f"there is no tenant `{printable(tenant)}` yet, and one that is called almost the same",
            help=f"did you mean `{printable(meant)}`? `--as-written` takes the name as it is",
        )


def _tenants(keys: "StoredKeys", home: Path) -> set[str]:
    """The tenants that keys, the admin API and the policy at hand name."""
    from turnout.settings import Settings, SettingsError

    known = {key.tenant for key in keys.all()} | keys.tenants()
    try:
        settings = Settings.load(os.environ)
        known.add(settings.tenant)
        if settings.policy is not None:
            known |= _declared(settings)
    except SettingsError:
        pass  # what a gateway would be told is not for this command
    return known


def _unknown(models: tuple[str, ...]) -> Iterator[str]:
    """Entries of a list of models that grant nothing now, as warnings."""
    if not models:
        return
    from turnout.dsl.diagnostic import PolicyError
    from turnout.engine.names import Names
    from turnout.engine.request import RequestError
    from turnout.settings import Settings, SettingsError
    from turnout.wiring import load_program

    # A policy may come that knows it: nothing is refused.
    try:
        program = load_program(Settings.load(os.environ))
    except (OSError, SettingsError, PolicyError):
        return
    names = Names(program, program.schema.catalog)
    for one in models:
        provider, _, _ = one.partition("/")
        if "*" in one:
            if "*" not in provider and provider not in program.providers:
                yield f"`{printable(one)}` grants nothing: no provider is called so here"
            continue
        try:
            names.resolve(one, lambda: frozenset(program.providers))
        except RequestError as error:
            yield f"`{printable(one)}` grants nothing as it is: {printable(error.message)}"


def _declared(settings: Any) -> set[str]:
    from turnout.dsl.diagnostic import PolicyError
    from turnout.wiring import load_program

    try:
        program = load_program(settings)
    except (OSError, PolicyError):
        return set()
    domain = program.schema.attributes["tenant"].domain
    return set(program.tenants) | set(domain or ())


# --- what is printed -----------------------------------------------------------------------------


def _print_new(key: "Key", text: str, format: str) -> None:
    now_us = _now_us()
    if format == "json":
        _print_json(shown(key, now_us) | {"key": text})
        return
    print(text)
    rows = [("id", key.id), ("tenant", key.tenant)]
    rows += [("team", key.team)] if key.team else []
    rows += [("user", key.user)] if key.user else []
    rows.append(("scopes", ",".join(sorted(key.scopes))))
    rows += [] if key.models is None else [("models", ",".join(key.models))]
    rows.append(("expires", moment(key.expires_us) or "never"))
    if key.previous_until_us is not None:
        rows.append(("the old one", f"good until {moment(key.previous_until_us)}"))
    for name, value in rows:
        print(f"  {name:8} {printable(value)}")
    print("The key is shown this once: only a hash of it is kept.")


def _row(key: "Key", now_us: int) -> tuple[str, ...]:
    cells = (
        key.id,
        key.tenant,
        key.team or "-",
        key.user or "-",
        key.name,
        ",".join(sorted(key.scopes)),
        "all" if key.models is None else ",".join(key.models),
        status(key, now_us),
        moment(key.expires_us) or "never",
    )
    return tuple(map(printable, cells))


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _now_us() -> int:
    return time.time_ns() // 1000
