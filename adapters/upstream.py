"""One provider's address: request bodies go there and nowhere else, answers come back bounded.

Over 300 lines because what may be an address or a header belongs to what is sent with it.
"""

import asyncio
import hashlib
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from copy import copy
from functools import lru_cache
from typing import Protocol
from urllib.parse import unquote

import httpx
import orjson

from turnout.engine.provider import Call, ProviderError

from . import fault, sse
from .limits import limits
from .parameters import refuse_losses
from .transport import clocks

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024

# How long to wait for what may follow the last finish reason (usage, the closing mark), and after
# the closing mark (the end of the body, so that the connection can be used again).
USAGE_WAIT_S = 5.0
END_WAIT_S = 0.25
_INFLATED_BYTES = 1024 * 1024
# As deep as orjson writes, less what answers in other protocols have around a provider's values.
_MOST_AROUND = 32
_DEEPEST = 254 - _MOST_AROUND
_TOO_DEEP = "the provider's answer is nested too deep"
# How long the explanation of a refusal is waited for: its status is known already.
_REFUSAL_WAIT_S = 2.0
# What is written by whoever builds the request, or breaks its framing.
_OWN_HEADERS = frozenset(
    "host content-length content-type transfer-encoding connection te upgrade accept "
    "accept-encoding expect trailer keep-alive proxy-authorization".split()
)

# The headers of kinds' credentials. A credential of the gateway's that is renewed is the same one.
_CREDENTIALS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"})
# What a provider's headers hold that is its wire, and nobody's account.
_OF_THE_WIRE = frozenset({"anthropic-version", "anthropic-beta", "openai-beta"})
# Shorter texts stand in messages by chance.
_SHORTEST_SECRET = 6

_NOTHING: Mapping[str, str] = {}
_QUICK_BYTES = 128 * 1024  # so many are hashed in less than half a millisecond
_UPWARDS = frozenset((".", ".."))
# A name in ASCII, or an address of either version of IP.
_HOST = re.compile(rb"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")

Sign = Callable[[httpx.URL, bytes | None], Mapping[str, str]]
"""The headers that sign a POST of this body to this address; without a body, a GET."""


class Parser(Protocol):
    """Bytes to events, in whatever pieces they arrive."""

    def feed(self, piece: bytes) -> list[sse.Event]:
        """Events completed by this piece. Raises: sse.EventTooLong, ProviderError."""

    def finish(self) -> list[sse.Event]:
        """What the end of the stream completes. Raises: ProviderError."""


class Upstream:
    """An origin and path prefix with the headers that belong to it, over a transport.

    The headers go to requests built here, which all have this origin by construction: a path is
    appended, redirects are not followed, and nothing of a client's request names an address.
    `path` is what every address has before what is appended, `origin` what stands before that.
    `beside` stands for the headers that are no credential: others may lead to other answers.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        transport: httpx.AsyncBaseTransport,
        sign: Sign | None = None,
        secrets: tuple[str, ...] = (),
        advice: str = "",
    ) -> None:
        """Fix address and headers; `secrets` are those that stand in none of the headers.

        `advice` is what to tell where the provider does not know the address.
        Raises: ValueError for an address or header that cannot be.
        """
        address = _address(base_url)
        self._prefix = str(address).rstrip("/")
        self.path = address.path.rstrip("/")
        self.origin = _origin(address)
        self._transport = transport
        self._given = headers
        self.beside = _beside(headers)
        # What no message may hold, because a provider may echo what it was sent.
        told = [
            address.netloc.decode("ascii"),
            address.host,
            *_of_path(self.path),
            *_secrets(headers),
            *secrets,
        ]
        self._sign = sign
        self._advice = advice
        self.secrets = tuple(value for value in told if len(value) >= _SHORTEST_SECRET)
        self._authority = address.netloc
        self._headers = [*_fixed(address.netloc), *_checked(headers)]
        # Bounded: a path may hold the name of a model, and clients can make up names.
        self._url = lru_cache(256)(self._joined)

    def header(self, name: str) -> str | None:
        """The value of a header (lower-case) that belongs to this address; None without one."""
        values = [value.decode() for known, value in self._headers if known == name.encode()]
        return ",".join(values) if values else None

    def owned(self, headers: Mapping[str, str]) -> "Upstream":
        """The same address for a caller with a key of its own, which stands in these headers.

        Nothing of the gateway's goes along: what authorizes is replaced, what signs is left out,
        and of other headers only those that belong to the wire.
        Raises: ValueError for a header that cannot be.
        """
        # Not made anew: an address is parsed once, and its paths are kept.
        theirs = copy(self)
        given = {n: v for n, v in self._given.items() if n.lower() in _OF_THE_WIRE} | dict(headers)
        theirs._given, theirs._sign = given, None
        theirs.beside = _beside(given)
        theirs._headers = [*_fixed(self._authority), *_checked(given)]
        told = (*self.secrets, *_secrets(headers))
        theirs.secrets = tuple(value for value in told if len(value) >= _SHORTEST_SECRET)
        return theirs

    def at(self, base_url: str) -> "Upstream":
        """The same provider at another address of its own: its headers go there too."""
        return Upstream(
            base_url, self._given, self._transport, self._sign, self.secrets, self._advice
        )

    async def look_up(self, path: str, patience_us: int, most_bytes: int) -> bytes:
        """Read what is to be seen at a path, whole. Raises: ProviderError.

        `patience_us` bounds the connection and every gap between bytes.
        """
        url = self._url(path)
        patience_s = patience_us / 1_000_000
        request = httpx.Request(
            "GET",
            url,
            headers=[
                *(pair for pair in self._headers if pair[0] != b"content-type"),
                *_encoded(await self._signed(url, None)),
                (b"accept", b"application/json"),
            ],
            stream=httpx.ByteStream(b""),
            extensions={"timeout": dict.fromkeys(("connect", "pool", "write", "read"), patience_s)},
        )
        response = await self._exchanged(request)
        try:
            return await self._read(response, most_bytes)
        finally:
            await _let_go(response)

    async def fetch(
        self, path: str, body: bytes, call: Call, headers: Mapping[str, str] = _NOTHING
    ) -> bytes:
        """Send a body and read the whole answer. Raises: ProviderError.

        `headers` (lower-case names) are this call's own, and win over those of the address.
        """
        response = await self._send(path, body, call, b"application/json", headers)
        try:
            return await self._read(response, MAX_ANSWER_BYTES)
        finally:
            await _let_go(response)

    async def open(
        self,
        path: str,
        body: bytes,
        call: Call,
        parser: Callable[[], Parser] = sse.Parser,
        accept: bytes = b"text/event-stream",
        headers: Mapping[str, str] = _NOTHING,
    ) -> "Events":
        """Send a body and read the answer's head: a stream of events. Raises: ProviderError.

        `parser` is for a stream of another form than an event stream, which `accept` names;
        `headers` as in `fetch`.
        """
        response = await self._send(path, body, call, accept, headers)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/json"):
            try:
                whole = await self._read(response, MAX_ERROR_BYTES)
            finally:
                await _let_go(response)
            raise fault.no_answer(whole, "a stream", self.secrets)
        return Events(response, parser())

    async def _send(
        self, path: str, body: bytes, call: Call, accept: bytes, more: Mapping[str, str]
    ) -> httpx.Response:
        refuse_losses(call)
        url = self._url(path)
        signed = await self._signed(url, body)
        request = httpx.Request(
            "POST",
            url,
            headers=[
                *(pair for pair in self._headers if not more or pair[0].decode() not in more),
                *_encoded(more),
                *_encoded(signed),
                (b"accept", accept),
                (b"content-length", str(len(body)).encode()),
            ],
            stream=_Body(body, call),
            extensions={"timeout": clocks(call)},
        )
        return await self._exchanged(request, call)

    async def _exchanged(self, request: httpx.Request, call: Call | None = None) -> httpx.Response:
        """The head of a good answer; what it says of limits is noted in the call."""
        try:
            response = await self._transport.handle_async_request(request)
        except fault.FAILURES as error:
            raise fault.from_exception(error) from None
        if call is not None:
            call.limits = limits(response.headers.raw, call.request.operation, time.time())
        if response.status_code == 200:
            return response
        refusal = b""
        try:
            async with asyncio.timeout(_REFUSAL_WAIT_S):
                refusal = await self._read(response, MAX_ERROR_BYTES)
        except (ProviderError, TimeoutError):
            # The status alone says enough.
            pass
        finally:
            await _let_go(response)
        raise fault.from_status(
            response.status_code, response.headers, refusal, self.secrets, self._advice
        )

    async def _signed(self, url: httpx.URL, body: bytes | None) -> Mapping[str, str]:
        """What signs a request; a long one is hashed beside the event loop."""
        if self._sign is None:
            return _NOTHING
        if body is None or len(body) <= _QUICK_BYTES:
            return self._sign(url, body)
        return await asyncio.to_thread(self._sign, url, body)

    def _joined(self, path: str) -> httpx.URL:
        """The address of a path. Raises: ProviderError for one that would lead elsewhere."""
        written = self._prefix + path
        # Names of models are part of paths, and clients can make up names. What is read otherwise
        # than it was written, here or by whoever decodes it once more, goes nowhere.
        segments = unquote(path.partition("?")[0]).split("/")
        with suppress(httpx.InvalidURL):
            url = httpx.URL(written)
            is_read_so = str(url) == written and not url.fragment
            if is_read_so and path.startswith("/") and not _UPWARDS & set(segments):
                return url
        raise fault.bad_output(
            "the provider does not know the address that the gateway asked for", should_retry=False
        )

    @staticmethod
    async def _read(response: httpx.Response, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        try:
            async for piece in _pieces(response):
                size += len(piece)
                if size > limit:
                    raise fault.bad_output(
                        "the provider's answer is too long", status=response.status_code
                    )
                pieces.append(piece)
        except fault.FAILURES as error:
            raise fault.from_exception(error) from None
        whole = b"".join(pieces)
        if _is_deep(whole):
            raise fault.bad_output(_TOO_DEEP, status=response.status_code)
        return whole


class Events:
    """The events of one open answer, as many at a time as one read brings.

    Be `patient` once everything that matters has come: from then on a failure, or more to wait for,
    is just the end.
    """

    def __init__(self, response: httpx.Response, parser: Parser) -> None:
        """Take over the response; `aclose` lets go of it."""
        self._until: float | None = None
        self._response = response
        self._pieces = _pieces(response)
        self._parser = parser
        self._ended = False

    def patient(self, wait_s: float) -> None:
        """Wait this long from now, if not less already, whatever still comes."""
        until = asyncio.get_running_loop().time() + wait_s
        self._until = until if self._until is None else min(self._until, until)

    async def next(self) -> list[sse.Event]:
        """At least one event; the empty list is the end. Raises: ProviderError."""
        events: list[sse.Event] = []
        try:
            while not events and not self._ended:
                if self._until is None:
                    piece = await anext(self._pieces, None)
                else:
                    async with asyncio.timeout_at(self._until):
                        piece = await anext(self._pieces, None)
                if piece is None:
                    self._ended = True
                    events = self._parser.finish()
                else:
                    events = self._parser.feed(piece)
        except sse.EventTooLong:
            raise fault.bad_output("an event of the provider's stream is too long") from None
        except fault.FAILURES as error:
            self._ended = True
            if self._until is None:
                raise fault.from_exception(error) from None
        if any(_is_deep(event.data) for event in events):
            raise fault.bad_output(_TOO_DEEP)
        return events

    async def aclose(self) -> None:
        """Let go of the connection; closes it unless the answer was read to its end."""
        await _let_go(self._response)


_closing: set[asyncio.Task[None]] = set()


async def _let_go(response: httpx.Response) -> None:
    """Close a response whatever happens to who waits for it.

    A client that leaves cancels the request's task, sometimes while the task is closing already. A
    close that is cut short would leave the connection open, and the provider writing into it.
    """
    task = asyncio.ensure_future(response.aclose())
    # The loop itself only holds tasks weakly.
    _closing.add(task)
    task.add_done_callback(_closing.discard)
    await asyncio.shield(task)


def _is_deep(written: bytes) -> bool:
    """Whether it is JSON that could not be written again, with what is told around it.

    Only looks closer where there are as many brackets.
    """
    if written.count(b"{") + written.count(b"[") < _DEEPEST:
        return False
    try:
        value = orjson.loads(written)
        for _ in range(_MOST_AROUND):
            value = [value]
        orjson.dumps(value)
    except orjson.JSONDecodeError:
        return False
    except orjson.JSONEncodeError:
        return True
    return False


class _Body(httpx.AsyncByteStream):
    """A request body that notes in the call when it leaves: only then is there a connection."""

    def __init__(self, body: bytes, call: Call) -> None:
        self._body = body
        self._call = call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._call.sent = True
        yield self._body


def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes. Compression was not asked for; a provider may do it all the same."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return aiter(response.stream)
    return _inflated(response.stream, encoding)


async def _inflated(stream: httpx.AsyncByteStream, encoding: str) -> AsyncIterator[bytes]:
    """A compressed body, in pieces of a bounded size however well it was compressed.

    Raises: httpx.DecodingError.
    """
    if encoding not in ("gzip", "deflate"):
        raise httpx.DecodingError("compressed otherwise than with gzip or deflate")
    inflate = zlib.decompressobj(wbits=47)  # gzip or zlib, by its first bytes
    room = MAX_ANSWER_BYTES + _INFLATED_BYTES  # whoever reads it whole says so first
    try:
        async for piece in stream:
            left = piece
            while left and not inflate.eof:
                inflated = inflate.decompress(left, _INFLATED_BYTES)
                room -= len(inflated)
                if room < 0:
                    # A stream too: nobody writes that much, and it costs its sender nothing.
                    raise httpx.DecodingError("far longer than what was sent")
                yield inflated
                left = inflate.unconsumed_tail
                # A whole body may be in one piece: others have their turn in between.
                await asyncio.sleep(0)
    except zlib.error as error:
        raise httpx.DecodingError("not what its content-encoding says") from error
    if not inflate.eof:
        raise httpx.DecodingError("the compressed body ends early")


@lru_cache(64)
def origin_of(base_url: str) -> str:
    """Scheme, host and port of an address, as they are compared. Raises: ValueError."""
    return _origin(_address(base_url))


def _origin(address: httpx.URL) -> str:
    return f"{address.scheme}://{address.netloc.decode('ascii')}"


def _address(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise ValueError("`base_url` is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("`base_url` must start with `http://` or `https://` and name a host")
    authority = base_url.partition("//")[2].partition("/")[0]
    if "@" in authority or url.query or url.fragment:
        raise ValueError("`base_url` is a prefix: no user, `?` or `#` in it; use `headers`")
    if not _HOST.fullmatch(url.raw_host) or not 1 <= (1 if url.port is None else url.port) <= 65535:
        raise ValueError("`base_url` names a host or a port that cannot be")
    return url


def _of_path(path: str) -> list[str]:
    """What of an address's path says whose it is: gateways have accounts and their ids in it."""
    ids = [step for step in path.split("/") if len(step) >= 8 and not step.isalpha()]
    return ids if path.count("/") <= 1 else [path, *ids]


def _fixed(authority: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of every request to an address."""
    return [
        (b"host", authority),
        (b"user-agent", b"turnout"),
        (b"accept-encoding", b"identity"),
        (b"content-type", b"application/json"),
    ]


def _checked(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), _header_value(name, value)) for name, value in headers.items()]


def _beside(headers: Mapping[str, str]) -> str:
    """What headers say beside credentials, as a digest; empty where they say nothing."""
    said = sorted((name.lower(), value) for name, value in headers.items())
    said = [pair for pair in said if pair[0] not in _CREDENTIALS]
    return hashlib.sha256(orjson.dumps(said)).hexdigest() if said else ""


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _header_value(name: str, value: str) -> bytes:
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"the header `{name}` is written by the gateway itself")
    if not name or not all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in name):
        raise ValueError(f"`{name}` is not the name of a header")
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"the value of the header `{name}` holds characters that cannot be sent")
    return value.strip().encode()


def _secrets(headers: Mapping[str, str]) -> list[str]:
    """Every header value, and what follows its scheme (`Bearer …`): an error may echo either."""
    values = [value.strip() for value in headers.values()]
    return values + [value.partition(" ")[2].strip() for value in values if " " in value]
