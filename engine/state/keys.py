"""Clients' keys in the database; what is done to them is audited in the same transaction."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from turnout.engine.audit import Event
from turnout.engine.keys import Key, NoSuchKeyError, RevokedError, SpoiledError

from .audit import append_to
from .database import Database
from .revisions import raised, revision
from .tables import KEYS, TENANTS

_REVISION = "keys"
_AT_ONCE = 500  # ids in one statement
_NEVER_OLDER = 2**63
_MOST_TOLD = 1_000  # ids of rows that are no keys, each told of once

_log = logging.getLogger("turnout.keys")


class StoredKeys:
    """The keys of one database; used from any thread. All methods block and raise StoreError."""

    def __init__(
        self, database: Database, now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        """Keep keys in this database."""
        self._database = database
        self._now_us = now_us
        self._told: set[str] = set()

    def find(self, ids: Sequence[str]) -> list[Key]:
        """The keys of these ids that there are.

        Here and in `changed` a row that cannot be read is a key that no secret fits, so that it
        counts as unknown also where it was known before; it is told of once.
        """
        with self._database.reading() as reading:
            rows: list[Row[Any]] = []
            for start in range(0, len(ids), _AT_ONCE):
                some = KEYS.c.id.in_(ids[start : start + _AT_ONCE])
                rows += reading.execute(select(KEYS).where(some)).all()
        return self._readable(rows)

    def changed(self, after: int, most: int) -> tuple[int, list[Key]]:
        """The number of the last change, and at most so many keys changed after one, newest first.

        Where nothing changed it costs one row.
        """
        with self._database.reading() as reading:
            number = revision(reading, _REVISION)
            if number == after:
                return number, []
            newest = select(KEYS).where(KEYS.c.changed > after).order_by(KEYS.c.changed.desc())
            rows = reading.execute(newest.limit(most)).all()
        return number, self._readable(rows)

    def all(self, tenant: str | None = None) -> list[Key]:
        """Every key, of a tenant or at all, the oldest first."""
        wanted = select(KEYS).order_by(KEYS.c.created_us, KEYS.c.id)
        if tenant is not None:
            wanted = wanted.where(KEYS.c.tenant == tenant)
        with self._database.reading() as reading:
            return [key for key in self._readable(reading.execute(wanted).all()) if key.digest]

    def _readable(self, rows: Iterable[Row[Any]]) -> list[Key]:
        """The keys of rows; one row that somebody spoiled keeps no other from being seen."""
        keys = []
        for row in rows:
            try:
                keys.append(_key(row))
            except _UNREADABLE:
                keys.append(_unfit(row))
                if row.id not in self._told and len(self._told) < _MOST_TOLD:
                    self._told.add(row.id)
                    _log.error(
                        "the key `%s` is refused: its row in the database cannot be read", row.id
                    )
        return keys

    def tenants(self) -> set[str]:
        """The tenants that were made by themselves, through the admin API."""
        with self._database.reading() as reading:
            return set(reading.execute(select(TENANTS.c.name)).scalars())

    def create(self, key: Key, actor: str) -> Key:
        """Add a key. `actor` as in `Event`."""
        with self._database.writing() as writing:
            key = replace(key, changed=raised(writing, _REVISION))
            writing.execute(insert(KEYS).values(_row(key)))
            append_to(writing, [Event(actor, "key.create", key.id, detail=_told(key))])
        return key

    def rotate(self, id: str, digest: str, grace_us: int, actor: str) -> Key:
        """Give a key another secret; the one of before stays good for `grace_us`.

        One of before that is no longer. Raises: NoSuchKeyError, RevokedError, SpoiledError.
        """
        now_us = self._now_us()
        with self._database.writing() as writing:
            key = _found(writing, id)
            if key.revoked_us is not None:
                raise RevokedError(id)
            key = replace(
                key,
                digest=digest,
                previous_digest=key.digest if grace_us else None,
                previous_until_us=now_us + grace_us if grace_us else None,
            )
            return _written(writing, key, actor, "key.rotate", {"grace_s": grace_us // 1_000_000})

    def revoke(self, id: str, actor: str) -> Key:
        """End a key, and its secret of before with it; one that was ended stays as it is.

        Raises: NoSuchKeyError.
        """
        now_us = self._now_us()
        with self._database.writing() as writing:
            try:
                key = _found(writing, id)
            except SpoiledError:
                # Workers that have known it from before it was spoiled must see its end.
                return _ended(writing, id, now_us, actor)
            if key.revoked_us is not None:
                return key
            key = replace(key, revoked_us=now_us, previous_digest=None, previous_until_us=None)
            return _written(writing, key, actor, "key.revoke", {})


def _found(connection: Connection, id: str) -> Key:
    """Raises: NoSuchKeyError, SpoiledError."""
    row = connection.execute(select(KEYS).where(KEYS.c.id == id)).first()
    if row is None:
        raise NoSuchKeyError(id)
    try:
        return _key(row)
    except _UNREADABLE:
        raise SpoiledError(id) from None


def _ended(writing: Connection, id: str, now_us: int, actor: str) -> Key:
    key = Key(id, "", "", "", 0, revoked_us=now_us, changed=raised(writing, _REVISION))
    ended = {"revoked_us": now_us, "changed": key.changed}
    writing.execute(update(KEYS).where(KEYS.c.id == id).values(ended))
    append_to(writing, [Event(actor, "key.revoke", id)])
    return key


def _written(
    writing: Connection, key: Key, actor: str, action: str, more: dict[str, str | int | None]
) -> Key:
    key = replace(key, changed=raised(writing, _REVISION))
    writing.execute(update(KEYS).where(KEYS.c.id == key.id).values(_row(key)))
    append_to(writing, [Event(actor, action, key.id, detail=_told(key) | more)])
    return key


def _told(key: Key) -> dict[str, str | int | None]:
    """What the audit log says of a key: nothing that another could use it with."""
    about = {
        "name": key.name,
        "tenant": key.tenant,
        "team": key.team,
        "user": key.user,
        "scopes": ",".join(sorted(key.scopes)),
        "models": None if key.models is None else ",".join(key.models),
        "expires_us": key.expires_us,
        "fingerprint": key.fingerprint,
    }
    return {name: value for name, value in about.items() if value is not None}


_COLUMNS = (
    "id",
    "name",
    "tenant",
    "team",
    "user",
    "digest",
    "previous_digest",
    "previous_until_us",
    "created_us",
    "expires_us",
    "revoked_us",
    "changed",
)


def _row(key: Key) -> dict[str, Any]:
    settings = {
        "tier": key.tier,
        "scopes": sorted(key.scopes),
        "models": key.models,
        "rpm": key.rpm,
        "tpm": key.tpm,
    }
    return {name: getattr(key, name) for name in _COLUMNS} | {"settings": json.dumps(settings)}


# What `_key` raises of a row that is none.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)


def _key(row: Row[Any]) -> Key:
    """The key of a row. Raises: one of _UNREADABLE."""
    settings = json.loads(row.settings)
    models = settings.get("models")
    key = Key(
        **{name: getattr(row, name) for name in _COLUMNS},
        tier=settings.get("tier"),
        scopes=frozenset(settings["scopes"]),
        models=None if models is None else tuple(models),
        rpm=settings.get("rpm"),
        tpm=settings.get("tpm"),
    )
    # SQLite keeps whatever it is given.
    texts = (key.name, key.tenant, key.digest, *key.scopes, *(models or ()))
    some_texts = (key.team, key.user, key.tier, key.previous_digest)
    numbers = (key.created_us, key.changed)
    some_numbers = (key.expires_us, key.revoked_us, key.previous_until_us, key.rpm, key.tpm)
    if not (
        all(isinstance(one, str) for one in texts)
        and all(one is None or isinstance(one, str) for one in some_texts)
        and all(isinstance(one, int) for one in numbers)
        and all(one is None or isinstance(one, int) for one in some_numbers)
        and not isinstance(settings["scopes"], str)
        and not isinstance(models, str)
        and key.digest
    ):
        raise ValueError("a column is of another type")
    return key


def _unfit(row: Row[Any]) -> Key:
    """What stands for a row that cannot be read: no digest is empty, so no secret fits."""
    changed = row.changed if isinstance(row.changed, int) else _NEVER_OLDER
    return Key(row.id, "", "", "", 0, changed=changed)
