"""Tenants in the database; what is done to them is audited in the same transaction."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from turnout.dsl.core import Tenant
from turnout.engine.accounts import Account, ChangedMeanwhile, Stored
from turnout.engine.audit import Event

from .audit import append_to
from .database import Database
from .revisions import raised, revision
from .tables import TENANTS

_REVISION = "tenants"

_log = logging.getLogger("turnout.tenants")


class StoredTenants:
    """The tenants of one database; used from any thread. All methods block, raise StoreError."""

    def __init__(
        self, database: Database, now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        """Keep tenants in this database."""
        self._database = database
        self._now_us = now_us

    def changed(self, after: int) -> tuple[int, Mapping[str, Account]] | None:
        """The number of the last change, and all tenants; None where it is still `after`."""
        with self._database.reading() as reading:
            number = revision(reading, _REVISION)
            if number == after:
                return None
            rows = reading.execute(select(TENANTS)).all()
        return number, {row.name: _account(row) for row in rows}

    def all(self) -> list[Stored]:
        """Every tenant, by name."""
        with self._database.reading() as reading:
            return [
                _stored(row) for row in reading.execute(select(TENANTS).order_by(TENANTS.c.name))
            ]

    def find(self, name: str) -> Stored | None:
        """A tenant, None where nothing is stored of it."""
        with self._database.reading() as reading:
            return _found(reading, name)

    def put(
        self, name: str, settings: Mapping[str, Any], actor: str, expected: str | None = None
    ) -> tuple[Stored, bool]:
        """Keep a tenant, and whether there was none before: `change` to these settings."""
        return self.change(name, lambda _: settings, actor, expected)

    def change(
        self,
        name: str,
        settings_of: Callable[[Stored | None], Mapping[str, Any]],
        actor: str,
        expected: str | None = None,
    ) -> tuple[Stored, bool]:
        """Keep what is made of a tenant as it is, None where there is none, in one transaction.

        `expected` is the revision that it must have, empty where there must be none, None: any.
        Raises: ChangedMeanwhile.
        """
        with self._database.writing() as writing:
            before = _found(writing, name)
            _check(before, expected)
            # Later than before even where the clock was set back: it is the revision.
            at_us = max(self._now_us(), 0 if before is None else before.changed_us + 1)
            after = Stored(name, settings_of(before), at_us)
            row = {"settings": _json(after.settings), "changed_us": at_us}
            if before is None:
                writing.execute(insert(TENANTS).values(name=name, **row))
            else:
                writing.execute(update(TENANTS).where(TENANTS.c.name == name).values(row))
            _told(writing, actor, "create" if before is None else "change", name, before, after)
        return after, before is None

    def remove(self, name: str, actor: str, expected: str | None = None) -> Stored | None:
        """Forget a tenant; what it was, None where nothing was stored. Raises: ChangedMeanwhile."""
        with self._database.writing() as writing:
            before = _found(writing, name)
            _check(before, expected)
            if before is not None:
                writing.execute(delete(TENANTS).where(TENANTS.c.name == name))
                _told(writing, actor, "delete", name, before, None)
        return before


def _check(before: Stored | None, expected: str | None) -> None:
    if expected is not None and expected != ("" if before is None else before.revision):
        raise ChangedMeanwhile(before)


def _found(connection: Connection, name: str) -> Stored | None:
    row = connection.execute(select(TENANTS).where(TENANTS.c.name == name)).first()
    return None if row is None else _stored(row)


def _stored(row: Row[Any]) -> Stored:
    try:
        settings = json.loads(row.settings)
    except ValueError:
        settings = None
    # One that cannot be read is shown empty: setting it anew mends it.
    is_sound = isinstance(settings, dict)
    return Stored(row.name, settings if is_sound else {}, row.changed_us, is_sound)


def _account(row: Row[Any]) -> Account:
    # pydantic takes 0.2 s to import: only where something is stored.
    from turnout.engine.tenant_settings import WrongSettings, account

    try:
        return account(row.name, row.settings)
    except WrongSettings as wrong:
        _log.error("the stored tenant `%s` cannot be read: %s", row.name, wrong.message)
        return Account(Tenant(row.name), is_sound=False)


def _told(
    writing: Connection,
    actor: str,
    verb: str,
    name: str,
    before: Stored | None,
    after: Stored | None,
) -> None:
    """Raise the number of changes, and have the change in the audit log."""
    raised(writing, _REVISION)
    detail: dict[str, str | int | None] = {}
    for when, state in (("before", before), ("after", after)):
        for key, value in ({} if state is None else state.settings).items():
            for part, text in _parts(key, value):
                detail[f"{when}.{part}"] = text
    append_to(writing, [Event(actor, f"tenant.{verb}", name, detail=detail)])


def _parts(key: str, value: Any) -> list[tuple[str, str | int | None]]:
    if not isinstance(value, list):
        return [(key, value)]
    return [(f"{key}.{number}", _json(one)) for number, one in enumerate(value)]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
