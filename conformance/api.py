"""Whatever answers at a base URL, as a case sees it: requests go out as they are written here.

The same request is sent once and its answer shared: a dozen cases look at one plain chat answer.
A case that needs another answer to the same request says `occasion=1`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from .case import Failed
from .exchange import Exchange

ABSENT: Final = object()
"""In place of a value: leave this member out of the body."""

UNKNOWN_MODEL = "no-such-model-anywhere"
WRONG_KEY = "tk-wrong-key-of-the-conformance-suite"

_PATIENCE = 2  # times that a 429 is waited out
_LONGEST_WAIT_S = 20.0
_MOST_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked: an address as SDKs take it (`…/v1`), a key and the models to ask for."""

    base_url: str
    model: str
    key: str | None = None
    embedding_model: str | None = None


class Exchanges:
    """The requests of one run and their answers, each request sent once."""

    def __init__(self, target: Target, client: httpx.AsyncClient, timeout_s: float) -> None:
        """Send through `client`; an answer that takes longer than `timeout_s` is none."""
        self._base = target.base_url.rstrip("/")
        self._client = client
        self._timeout_s = timeout_s
        self._asked: dict[str, asyncio.Task[Exchange]] = {}

    async def get(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], occasion: int
    ) -> Exchange:
        """The answer to a request. Raises: Failed where none came."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        key = repr((method, path, content, sorted(headers.items()), occasion))
        if key not in self._asked:
            sending = self._send(method, path, body, content, headers)
            self._asked[key] = asyncio.create_task(sending)
        return await self._asked[key]

    async def leave(self, path: str, body: Any, headers: Mapping[str, str]) -> None:
        """Send a request and close the connection at the first bytes of its answer."""
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(
                    "POST", f"{self._base}/{path}", json=body, headers=headers
                ) as a,
            ):
                async for _ in a.aiter_bytes():
                    break
        except (httpx.HTTPError, TimeoutError) as error:
            raise Failed(f"no answer: {_named(error)}") from None

    async def upload(self, path: str, pieces: list[bytes], headers: Mapping[str, str]) -> Exchange:
        """Send a body in chunks, its length unknown beforehand."""

        async def body() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        return await self._send("POST", path, b"".join(pieces), body(), headers)

    async def _send(
        self, method: str, path: str, sent: Any, content: Any, headers: Mapping[str, str]
    ) -> Exchange:
        answer = await self._once(method, path, sent, content, headers)
        for _ in range(_PATIENCE):
            if answer.status != 429 or not isinstance(content, bytes | None):
                break
            await asyncio.sleep(_wait_s(answer))
            answer = await self._once(method, path, sent, content, headers)
        return answer

    async def _once(
        self, method: str, path: str, sent: Any, content: Any, headers: Mapping[str, str]
    ) -> Exchange:
        body, broken = b"", None
        try:
            async with asyncio.timeout(self._timeout_s):
                request = self._client.build_request(
                    method, f"{self._base}/{path}", content=content, headers=headers
                )
                response = await self._client.send(request, stream=True)
                try:
                    async for piece in response.aiter_bytes():
                        body += piece
                        if len(body) > _MOST_BYTES:
                            broken = "it went on for more than 32 MB"
                            break
                except (httpx.HTTPError, TimeoutError) as error:
                    broken = _named(error)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise Failed(f"no whole answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failed(f"no answer: {_named(error)}") from None
        raw = tuple(
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in response.headers.raw
        )
        return Exchange(method, path, sent, response.status_code, raw, body, broken)


class Api:
    """What one case talks to. `seen` are the exchanges that it has looked at."""

    def __init__(self, target: Target, exchanges: Exchanges) -> None:
        """Ask `target` through the exchanges of the run."""
        self.target = target
        self.seen: list[Exchange] = []
        self._exchanges = exchanges

    @property
    def credentials(self) -> dict[str, str]:
        """The header that carries the key, as OpenAI's SDKs send it."""
        return {"authorization": f"Bearer {self.target.key}"} if self.target.key else {}

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
        occasion: int = 0,
    ) -> Exchange:
        """Send a request: `body` as JSON, or as it is where it is bytes."""
        all_headers = {"accept": "application/json", "accept-encoding": "identity"}
        if body is not None:
            all_headers["content-type"] = "application/json"
        all_headers |= self.credentials if credentials is None else credentials
        all_headers |= headers or {}
        answer = await self._exchanges.get(method, path, body, all_headers, occasion)
        self.seen.append(answer)
        return answer

    async def post(self, path: str, body: Any, **how: Any) -> Exchange:
        """Send a `POST`."""
        return await self.send("POST", path, body, **how)

    async def chat(self, occasion: int = 0, **members: Any) -> Exchange:
        """A chat completion of the words "Say hello."; members are added to the body."""
        base = {"model": self.target.model, "messages": [user("Say hello.")]}
        return await self.post("chat/completions", _body(base, members), occasion=occasion)

    async def stream(self, occasion: int = 0, **members: Any) -> Exchange:
        """The same, streamed."""
        return await self.chat(occasion, **{"stream": True, **members})

    async def upload(self, path: str, pieces: list[bytes]) -> Exchange:
        """Send a JSON body in chunks, its length unknown beforehand."""
        headers = {"content-type": "application/json", **self.credentials}
        answer = await self._exchanges.upload(path, pieces, headers)
        self.seen.append(answer)
        return answer

    async def leave(self, path: str, body: Any) -> None:
        """Ask, and close the connection at the first bytes of the answer."""
        await self._exchanges.leave(path, body, self.credentials)


def user(content: Any) -> dict[str, Any]:
    """A message of the user."""
    return {"role": "user", "content": content}


def _body(base: dict[str, Any], members: Mapping[str, Any]) -> dict[str, Any]:
    """The body with members added or, where they are `ABSENT`, taken out."""
    return {name: value for name, value in {**base, **members}.items() if value is not ABSENT}


def _wait_s(answer: Exchange) -> float:
    try:
        asked = float(answer.header("retry-after") or 1)
    except ValueError:
        asked = 1.0
    return min(max(asked, 0.1), _LONGEST_WAIT_S)


def _named(error: Exception) -> str:
    said = str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
