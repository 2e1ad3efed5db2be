"""What the cache of answers is made of: the answer, its key, and what keeps and tells it.

A key stands for one question of one tenant to one target; whoever has the key may have the answer,
so that everything that tells two questions or two askers apart is in it (`cache_key`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from .request import Request, Usage


class Key(NamedTuple):
    """Where an answer is kept. `digest` (32 bytes) covers the tenant too."""

    tenant: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """A complete answer that may be given again, as it was given first.

    `body` is whole, also where it was streamed: in chat's wire (embeddings: their list), or where
    `native` in the request's own protocol. `target` gave it, `model` was asked for, under `rule`.
    `tags` are `k=v`, of the request and its rule. `usage` and `cost_nano_usd` are those of the
    attempt that was made for it, `dropped` what that left out. `stored_us` is UTC.
    """

    body: bytes
    native: bool
    target: str
    model: str
    rule: str | None
    tags: tuple[str, ...]
    usage: Usage | None
    cost_nano_usd: int
    dropped: tuple[str, ...]
    stored_us: int

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory."""
        # Tags are the client's own words, up to a whole header of them.
        return len(self.body) + sum(map(len, self.tags)) + 1000


By = Literal["all", "model", "rule", "tag"]


@dataclass(frozen=True, slots=True)
class Invalidation:
    """Which answers are not to be given again.

    `by` what, as `glob` (`*` and `?`) has it: `model` is the target that answered or the name that
    was asked for, `tag` is `k=v`. `before_us` (UTC): only those stored earlier. `tenant` None: of
    all tenants.
    """

    by: By
    glob: str
    tenant: str | None
    before_us: int | None = None


@dataclass(frozen=True, slots=True)
class Shelved:
    """What a store holds of one target's answers: how many, and bytes; times are UTC."""

    target: str
    answers: int
    bytes: int
    oldest_us: int
    newest_us: int
    saves_nano_usd: int  # what giving each once more saves


class CacheError(Exception):
    """A store that cannot be used now."""


class Store(Protocol):
    """Level 2: answers that workers share and that outlive them. Every call blocks.

    It is called from threads of the cache's own. Raises: CacheError, from every call.
    """

    def get(self, key: Key, now_us: int) -> CachedAnswer | None:
        """The answer under a key that has not expired."""

    def get_or_claim(self, key: Key, now_us: int) -> CachedAnswer | bool:
        """The answer, else whether the claim to make it is ours now; False: somebody else's.

        A claim ends with `put` or `release`, and when its process does.
        """

    def put(self, key: Key, answer: CachedAnswer, expires_us: int, generation: int) -> None:
        """Keep an answer, unless its tenant's generation is another one by now.

        All or nothing, whenever the process ends. What has no room is left out, or takes the place
        of older ones.
        """

    def release(self, key: Key) -> None:
        """Give up a claim."""

    def invalidate(self, which: Invalidation) -> int:
        """Remove answers; how many they were."""

    def stats(self, tenant: str | None) -> list[Shelved]:
        """What is there, by target; `tenant` None: of all tenants."""

    def close(self) -> None:
        """Let go of everything."""


class Generations(Protocol):
    """Numbers that rise whenever answers of a tenant are invalidated, for all workers at once.

    An answer that was asked for under another number is not kept, and not given again from memory.
    """

    def of(self, tenant: str) -> int:
        """The number now; nanoseconds."""

    def close(self) -> None:
        """Let go of everything."""

    def raise_(self, tenant: str | None) -> None:
        """Let it be another one; None: of every tenant."""


class Form(Protocol):
    """How a protocol tells an answer at once and in a stream; no I/O."""

    def is_complete(self, body: bytes) -> bool:
        """Whether a whole answer came to its own end: not cut short, filtered or failed."""

    def whole(self, events: Sequence[bytes], usage: Usage | None) -> bytes | None:
        """The whole answer that a stream's events told; None where it cannot be made of them.

        `usage` is what was used, as far as the events may not have said it.
        """

    def events(self, body: bytes, request: Request) -> list[bytes]:
        """The events that tell a whole answer to a request that wants a stream.

        Without what closes the stream (`Voice.end`).
        """
