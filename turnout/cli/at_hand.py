"""What commands about money read: a gateway's database, and the budgets that hold for it.

The policy is the one that is named, else the one of the environment or of this folder, else the one
that decided last, from the archive. Stored tenants have their budgets in the database.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from turnout.dsl.core import Budget, Program
from turnout.settings import DEFAULT_POLICY, Settings, SettingsError

from .dispatch import CommandError
from .files import read_policy
from .recorded import file_of, policies_of

if TYPE_CHECKING:
    from turnout.engine.state.database import Database
    from turnout.engine.state.sqlite import SqliteStore


@dataclass(frozen=True, slots=True)
class AtHand:
    """An open database, how it is called, and the budgets that hold, in their zone."""

    database: "Database"
    shown: str
    timezone: str
    budgets: Sequence[Budget]


@contextmanager
def at_hand(place: str, policy: str | None) -> Iterator[AtHand]:
    """The database of a home, a file or HERE, with its budgets; it is only read.

    Raises: CommandError, also where it cannot be read within; PolicyError where the policy has
    errors.
    """
    from turnout.engine.accounts import Accounts, default_budget
    from turnout.engine.state.accounts import StoredTenants
    from turnout.engine.state.database import Database, url_of_file
    from turnout.engine.state.sqlite import SqliteStore
    from turnout.engine.state.store import StoreError

    file, shown = file_of(place)
    database = Database(url_of_file(file))
    store = SqliteStore(database)
    try:
        program = _program(policy, store)
        settings = _settings()
        default = None
        if settings is not None and settings.monthly_nano_usd is not None:
            default = default_budget(settings.tenant, settings.monthly_nano_usd)
        accounts = Accounts(StoredTenants(database), default)
        accounts.refresh()
        yield AtHand(database, shown, program.timezone, accounts.budgets(program))
    except StoreError as error:
        help = None
        if "no such" in str(error):
            help = "it is of an older turnout: start this one's gateway with it once"
        raise CommandError(f"cannot use the database `{shown}`: {error}", help=help) from error
    finally:
        store.close()


def _settings() -> Settings | None:
    """The settings of this environment; None where they are not those of a gateway."""
    try:
        return Settings.load(os.environ)
    except SettingsError:
        return None


def _program(named: str | None, store: "SqliteStore") -> Program:
    """The policy whose budgets hold. Raises: CommandError, PolicyError, StoreError."""
    from turnout.engine.policy import Policy
    from turnout.wiring import NO_POLICY

    name = named or os.environ.get("TURNOUT_POLICY", "").strip()
    if name or Path(DEFAULT_POLICY).exists():
        return Policy.compile(*read_policy(name or DEFAULT_POLICY)).program
    digest = store.newest_policy()
    past = None if digest is None else policies_of(store)(digest)
    return Policy.compile(NO_POLICY).program if past is None else past
