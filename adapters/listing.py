"""A provider's list of models: read page by page, bounded, and refused where it is none."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from turnout.engine.provider import Fault, ProviderError

from . import fault
from .upstream import Upstream

MOST_BYTES = 8 * 1024 * 1024  # of one page
MOST_PAGES = 32
MOST_NAMES = 20_000
_LONGEST_NAME = 512
# What a refusal says of a request that a client wrote; nobody wrote this one.
_OF_REQUESTS = (
    Fault.BAD_REQUEST,
    Fault.CONTEXT_EXCEEDED,
    Fault.CONTENT_FILTER,
    Fault.UNSUPPORTED,
)


class Page(NamedTuple):
    """The names of one page, and the path of the next one; None: it was the last."""

    names: list[str]
    following: str | None = None


Read = Callable[[Any], Page | None]
"""What a page of JSON holds; None where it is no list of models."""


async def listed(upstream: Upstream, path: str, read: Read, patience_us: int) -> list[str]:
    """The names that a list holds, each once, in its order.

    `patience_us` bounds all its pages together. Raises: ProviderError, for a list that does not end
    too.
    """
    names: dict[str, None] = {}
    at = path
    try:
        async with asyncio.timeout(patience_us / 1_000_000):
            for _ in range(MOST_PAGES):
                page = await _page(upstream, at, read, patience_us)
                names |= dict.fromkeys(page.names)
                if page.following is None:
                    return list(names)
                if len(names) > MOST_NAMES:
                    break
                at = page.following
    except TimeoutError:
        message = "the provider did not list its models in time"
        raise ProviderError(Fault.TIMEOUT, message) from None
    raise fault.bad_output("the provider's list of models does not end", status=200)


async def _page(upstream: Upstream, path: str, read: Read, patience_us: int) -> Page:
    try:
        raw = await upstream.look_up(path, patience_us, MOST_BYTES)
    except ProviderError as error:
        if error.fault not in _OF_REQUESTS:
            raise
        message = f"the provider does not list its models (status {error.status})"
        raise fault.bad_output(message, status=error.status) from None
    try:
        page = read(orjson.loads(raw))
    except orjson.JSONDecodeError:
        page = None
    if page is None:
        raise fault.no_answer(raw, "a list of models", upstream.secrets)
    return page


@dataclass(frozen=True, slots=True)
class Paged:
    """A list at `/models` that comes in pages, as one provider writes them.

    `key` is the name in each object of the list `member`. `size` and `after` are parameters: how
    many stand on a page, and where it begins, which is the `token` of the page before. `more`: only
    where this member is true there is another page.
    """

    member: str
    key: str
    size: str
    after: str
    token: str
    more: str | None = None

    async def every(self, upstream: Upstream, patience_us: int) -> list[str]:
        """All that are listed. Raises: ProviderError."""
        path = f"/models?{self.size}=1000"
        return await listed(upstream, path, partial(self._page, path), patience_us)

    async def one(self, upstream: Upstream, patience_us: int) -> None:
        """Ask for the first one. Raises: ProviderError."""
        await listed(upstream, f"/models?{self.size}=1", self._first, patience_us)

    def _page(self, path: str, parsed: Any) -> Page | None:
        page = self._first(parsed)
        if page is None or (self.more is not None and parsed.get(self.more) is not True):
            return page
        token = text(parsed, self.token)
        if token is None:
            return page
        return Page(page.names, f"{path}&{self.after}={quote(token, safe='')}")

    def _first(self, parsed: Any) -> Page | None:
        names = named(parsed, self.member, self.key)
        return None if names is None else Page(names)


def named(parsed: Any, member: str, key: str) -> list[str] | None:
    """The `key` of each object in the list that is a `member`; None where there is no such list.

    What has no name is left out, unless nothing has one.
    """
    found = parsed.get(member) if isinstance(parsed, dict) else None
    if not isinstance(found, list):
        return None
    names = [name for one in found if (name := text(one, key)) is not None]
    return names if names or not found else None


def text(parsed: Any, key: str) -> str | None:
    """A member that is a text and could be a name; None: there is none."""
    value = parsed.get(key) if isinstance(parsed, dict) else None
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME else None
