"""A store of answers that is opened when somebody first asks it for something.

Most policies have no `cache:`; for them no file is made and no server is reached. A policy may come
that has one while the gateway serves.
"""

import threading
from collections.abc import Callable

from .cached import CachedAnswer, Invalidation, Key, Shelved, Store


class Deferred:
    """A `Store` in front of another one, which `make` opens once; used from any thread."""

    def __init__(self, make: Callable[[], Store]) -> None:
        """Open nothing yet. `make` may raise CacheError, and is then tried again."""
        self._make = make
        self._store: Store | None = None
        self._making = threading.Lock()

    def get(self, key: Key, now_us: int) -> CachedAnswer | None:
        """The answer under a key that has not expired."""
        return self._opened().get(key, now_us)

    def get_or_claim(self, key: Key, now_us: int) -> CachedAnswer | bool:
        """The answer, else whether the claim to make it is ours now."""
        return self._opened().get_or_claim(key, now_us)

    def put(self, key: Key, answer: CachedAnswer, expires_us: int, generation: int) -> None:
        """Keep an answer."""
        self._opened().put(key, answer, expires_us, generation)

    def release(self, key: Key) -> None:
        """Give up a claim; there is none where nothing was asked."""
        if self._store is not None:
            self._store.release(key)

    def invalidate(self, which: Invalidation) -> int:
        """Remove answers; how many they were."""
        return self._opened().invalidate(which)

    def stats(self, tenant: str | None) -> list[Shelved]:
        """What is there, by target."""
        return self._opened().stats(tenant)

    def close(self) -> None:
        """Let go of everything."""
        if self._store is not None:
            self._store.close()

    def _opened(self) -> Store:
        if self._store is None:
            with self._making:
                if self._store is None:
                    self._store = self._make()
        return self._store
