"""The keys that a worker knows, so that a presented one is found without asking the database.

All keys are read at the start, and what changed twice a second: every worker sees a change within
a second. A key that is not there yet is looked up, one question at a time for all who wait, so that
made-up keys keep the database busy with one short query and no more. What is known goes on working
while the database cannot be read.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from .keys import Key, NoSuchKeyError, digest_of, id_of, is_well_formed
from .state.store import StoreError

Reason = Literal["malformed", "unknown", "expired", "revoked", "unreadable"]

LOOK_S = 0.5  # between two looks for changes
PATIENCE_S = 2.0  # how long a lookup is waited for

_MOST_KNOWN = 100_000  # keys in memory, about 1 KB each
_MOST_ABSENT = 10_000  # ids of which it is remembered that there is no such key
_MOST_WAITING = 1_000  # ids that are looked up, or wait to be
_AT_ONCE = 250  # ids in one question

_log = logging.getLogger("turnout.keys")


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a presented text is no key; `key` where it was one, with the right secret."""

    reason: Reason
    key: Key | None = None


MALFORMED, UNKNOWN, UNREADABLE = Refused("malformed"), Refused("unknown"), Refused("unreadable")


class KeyStore(Protocol):
    """Where keys are kept. All methods block and may raise StoreError.

    `actor`, as in `Event`, is who does what is done: it goes into the audit log.
    """

    def find(self, ids: Sequence[str]) -> list[Key]:
        """The keys of these ids that there are."""

    def changed(self, after: int, most: int) -> tuple[int, list[Key]]:
        """The number of the last change, and at most so many keys changed after one, newest first.

        A key's own number is `Key.changed`.
        """

    def all(self, tenant: str | None = None) -> list[Key]:
        """Every key, of a tenant or at all, the oldest first."""

    def create(self, key: Key, actor: str) -> Key:
        """Add a key."""

    def rotate(self, id: str, digest: str, grace_us: int, actor: str) -> Key:
        """Give a key another secret; the one of before stays good for `grace_us`.

        Raises: NoSuchKeyError, RevokedError, SpoiledError.
        """

    def revoke(self, id: str, actor: str) -> Key:
        """End a key. Raises: NoSuchKeyError."""


class NoKeys:
    """A store of a gateway that has no keys, as its operator is its only caller."""

    def find(self, ids: Sequence[str]) -> list[Key]:
        """None."""
        return []

    def changed(self, after: int, most: int) -> tuple[int, list[Key]]:
        """None, ever."""
        return 0, []

    def all(self, tenant: str | None = None) -> list[Key]:
        """None."""
        return []

    def create(self, key: Key, actor: str) -> Key:
        """Refuse to. Raises: StoreError."""
        raise StoreError("this gateway keeps no keys")

    def rotate(self, id: str, digest: str, grace_us: int, actor: str) -> Key:
        """Refuse to. Raises: NoSuchKeyError."""
        raise NoSuchKeyError(id)

    def revoke(self, id: str, actor: str) -> Key:
        """Refuse to. Raises: NoSuchKeyError."""
        raise NoSuchKeyError(id)


class Keyring:
    """Tells whose key a text is; used from one event loop. A companion of the gateway.

    Identifying a known key costs about 2 µs.
    """

    name = "keys"

    def __init__(
        self,
        store: KeyStore,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Know nothing yet; `run` reads what there is."""
        self.store = store
        self._now_us = now_us
        self._patience_s = patience_s
        self._known: dict[str, Key] = {}
        self._absent: dict[str, None] = {}
        self._waiting: dict[str, asyncio.Future[Key | Refused]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._seen = 0
        self._failing = False

    async def run(self) -> None:
        """Follow what changes until cancelled."""
        await self.refresh()
        if not self._known and not self._failing:
            _log.warning("there are no keys yet: `turnout keys create --tenant NAME` makes one")
        while True:
            await asyncio.sleep(LOOK_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Read what has changed; where that cannot be, what is known stays."""
        try:
            number, keys = await asyncio.to_thread(self.store.changed, self._seen, _MOST_KNOWN)
            if number < self._seen or (self._seen and len(keys) == _MOST_KNOWN):
                # Another database than before, or more news than are read at once.
                number, keys = await asyncio.to_thread(self.store.changed, 0, _MOST_KNOWN)
                self._known.clear()
                self._absent.clear()
        except StoreError as error:
            if not self._failing:
                self._failing = True
                _log.error("keys cannot be read; those that are known go on working: %s", error)
            return
        if self._failing:
            self._failing = False
            _log.warning("keys can be read again")
        self._seen = number
        for key in reversed(keys):  # the oldest first: they are the first to be forgotten
            self._put(key)

    def get(self, id: str) -> Key | None:
        """A key by its id, if this worker knows it."""
        return self._known.get(id)

    async def identify(self, text: str) -> Key | Refused:
        """The key of a presented text, or why there is none; never raises for what was presented.

        Only an id that was never seen here is waited for.
        """
        id = id_of(text)
        if id is None:
            return MALFORMED
        key = self._known.get(id)
        if key is None:
            if id in self._absent:
                return UNKNOWN
            if not is_well_formed(text):
                return MALFORMED
            found = await self._look_up(id)
            if isinstance(found, Refused):
                return found
            key = found
        now_us = self._now_us()
        if not key.matches(digest_of(text), now_us):
            return UNKNOWN
        if key.revoked_us is not None:
            return Refused("revoked", key)
        if key.is_expired(now_us):
            return Refused("expired", key)
        return key

    async def _look_up(self, id: str) -> Key | Refused:
        waiting = self._waiting.get(id)
        if waiting is None:
            if len(self._waiting) >= _MOST_WAITING:
                return UNREADABLE
            waiting = self._waiting[id] = asyncio.get_running_loop().create_future()
            if self._looking is None:
                self._looking = asyncio.create_task(self._look(), name="keys looked up")
        try:
            async with asyncio.timeout(self._patience_s):
                return await asyncio.shield(waiting)
        except TimeoutError:
            return UNREADABLE

    async def _look(self) -> None:
        """Look up what is waited for, until nothing is."""
        try:
            while self._waiting:
                ids = list(self._waiting)[:_AT_ONCE]
                found: dict[str, Key | Refused]
                try:
                    for key in await asyncio.to_thread(self.store.find, ids):
                        self._put(key)
                    # Where a refresh came in between, what it read is newer.
                    found = {id: self._known.get(id, UNKNOWN) for id in ids}
                except StoreError as error:
                    _log.warning("keys cannot be looked up: %s", error)
                    found = dict.fromkeys(ids, UNREADABLE)
                for id, outcome in found.items():
                    if outcome is UNKNOWN:
                        self._forget(id)
                    self._tell(id, outcome)
        finally:
            self._looking = None
            for id in list(self._waiting):
                self._tell(id, UNREADABLE)

    def _tell(self, id: str, outcome: Key | Refused) -> None:
        waiting = self._waiting.pop(id)
        if not waiting.done():
            waiting.set_result(outcome)

    def _forget(self, id: str) -> None:
        """Remember that there is no such key."""
        if len(self._absent) >= _MOST_ABSENT:
            del self._absent[next(iter(self._absent))]
        self._absent[id] = None

    def _put(self, key: Key) -> None:
        before = self._known.get(key.id)
        if before is not None and before.changed > key.changed:
            return
        if before is None and len(self._known) >= _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[key.id] = key
        self._absent.pop(key.id, None)
