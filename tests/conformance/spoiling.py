"""Answers of a server that behaves, with one thing spoilt."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx

DONE = "[DONE]"


@dataclass(frozen=True)
class Answer:
    """What came back: header names in lower case; `breaks` where the body ends before its end."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    breaks: bool = False

    @property
    def streams(self) -> bool:
        return any(n == "content-type" and v.startswith("text/event") for n, v in self.headers)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def with_json(self, value: Any) -> "Answer":
        return replace(self, body=json.dumps(value).encode())

    def without(self, *names: str) -> "Answer":
        return replace(self, headers=tuple(h for h in self.headers if h[0] not in names))

    def having(self, name: str, value: str) -> "Answer":
        return replace(self, headers=(*self.headers, (name, value)))


Spoil = Callable[[httpx.Request, Answer], Answer]


class Recorder(httpx.AsyncBaseTransport):
    """Passes requests on and keeps the answers, one after the other for each request."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.kept: dict[bytes, list[Answer]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        key = await key_of(request)
        response = await self._inner.handle_async_request(request)
        body = b"".join([piece async for piece in response.stream])  # type: ignore[union-attr]
        await response.aclose()
        answer = Answer(response.status_code, plain(response.headers), body)
        self.kept.setdefault(key, []).append(answer)
        return as_response(answer)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Replay(httpx.AsyncBaseTransport):
    """Gives the answers that were kept, spoilt."""

    def __init__(self, recorder: Recorder, spoil: Spoil) -> None:
        self._kept = recorder.kept
        self._spoil = spoil
        self._asked: Counter[bytes] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        key = await key_of(request)
        kept = self._kept[key]
        answer = kept[min(self._asked[key], len(kept) - 1)]
        self._asked[key] += 1
        return as_response(self._spoil(request, answer))


async def key_of(request: httpx.Request) -> bytes:
    body = await request.aread()
    headers = sorted(f"{n}:{v}" for n, v in request.headers.items() if n != "host")
    return b"\n".join((request.method.encode(), request.url.raw_path, body, repr(headers).encode()))


def plain(headers: httpx.Headers) -> tuple[tuple[str, str], ...]:
    pairs = [(n.decode().lower(), v.decode("latin-1")) for n, v in headers.raw]
    return tuple(h for h in pairs if h[0] not in ("content-length", "transfer-encoding"))


class Breaking(httpx.AsyncByteStream):
    """A body after which the connection breaks."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
        raise httpx.RemoteProtocolError("incomplete chunked read")


def as_response(answer: Answer) -> httpx.Response:
    body = Breaking(answer.body) if answer.breaks else httpx.ByteStream(answer.body)
    return httpx.Response(answer.status, headers=list(answer.headers), stream=body)


def at(path: str, spoil: Callable[[Answer], Answer]) -> Spoil:
    """Spoil what was granted at a path."""

    def choose(request: httpx.Request, answer: Answer) -> Answer:
        if request.url.path != f"/v1/{path}" or answer.status != 200 or not answer.body:
            return answer
        return spoil(answer)

    return choose


def whole(path: str, change: Callable[[Any], None]) -> Spoil:
    """Change the JSON of whole answers at a path, in place."""

    def spoil(answer: Answer) -> Answer:
        if answer.streams:
            return answer
        value = answer.json
        change(value)
        return answer.with_json(value)

    return at(path, spoil)


def refused(change: Callable[[Any], None], path: str = "chat/completions") -> Spoil:
    """Change the JSON of refusals at a path, in place."""

    def spoil(request: httpx.Request, answer: Answer) -> Answer:
        if request.url.path != f"/v1/{path}" or answer.status < 400 or not answer.body:
            return answer
        value = answer.json
        change(value)
        return answer.with_json(value)

    return spoil


def events(path: str, change: Callable[[list[str]], list[str]]) -> Spoil:
    """Change the events of streams at a path, each as its text without the blank line."""

    def spoil(answer: Answer) -> Answer:
        if not answer.streams:
            return answer
        given = answer.body.decode().removesuffix("\n\n").split("\n\n")
        return replace(answer, body="".join(e + "\n\n" for e in change(given)).encode())

    return at(path, spoil)


def chunks(
    change: Callable[[list[Any]], list[Any] | None], path: str = "chat/completions"
) -> Spoil:
    """Change the chunks of streams, as values; `[DONE]` stays where it is."""

    def change_events(given: list[str]) -> list[str]:
        values = [json.loads(e.removeprefix("data: ")) for e in given if e != f"data: {DONE}"]
        changed = change(values)
        kept = values if changed is None else changed
        return [*("data: " + json.dumps(value) for value in kept), f"data: {DONE}"]

    return events(path, change_events)


def typed(path: str, change: Callable[[list[Any]], list[Any] | None]) -> Spoil:
    """Change events that have names, as values; each keeps its type as its name."""

    def change_events(given: list[str]) -> list[str]:
        values = [json.loads(e.partition("data: ")[2]) for e in given]
        changed = change(values)
        kept = values if changed is None else changed
        return [f"event: {value['type']}\ndata: {json.dumps(value)}" for value in kept]

    return events(path, change_events)
