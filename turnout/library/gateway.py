"""The gateway in process: `async with Gateway.open("routing.yml") as gateway`.

The same engine, policy language and journal as behind HTTP, in the caller's own event loop: no
server, no signal handlers, and nothing that two gateways of a process would share but the folder of
their journal.

Over 300 lines because who may be asked what stands beside how a gateway is opened and closed.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet, WeakValueDictionary

import orjson

from turnout.engine.fallback import Fallback
from turnout.engine.gateway import Gateway as Engine
from turnout.engine.names import AUTO
from turnout.engine.policy import Policy
from turnout.engine.record import DecisionRecord, Late, Vitals
from turnout.engine.request import (
    Caller,
    Operation,
    Request,
    RequestError,
    StreamReply,
    new_request_id,
)
from turnout.engine.seats import Leave, all_taken
from turnout.protocols.chat_shape import check_chat, check_embeddings
from turnout.protocols.fields import check_depth, refused
from turnout.settings import Settings
from turnout.wiring import assemble, load_program, make_transport

from .completion import (
    Account,
    Completion,
    CompletionError,
    CompletionStream,
    completed,
    failed,
)
from .fallback import Entry, read_fallback

T = TypeVar("T")

# What of the environment's own variables is about a gateway without HTTP. Those that ask for what
# is not built yet are among them: they are refused, not passed over.
_READ = (
    "TURNOUT_HOME",
    "TURNOUT_TENANT_ID",
    "TURNOUT_POLICY_VARS",
    "TURNOUT_BUDGET_MONTHLY_USD",
    "TURNOUT_CACHE_MEMORY_BYTES",
    "TURNOUT_CACHE_DISK_BYTES",
    "TURNOUT_DATABASE_URL",
    "TURNOUT_MODE",
    "TURNOUT_REDIS_URL",
)
# Headers that hold credentials: policies have no use for them, so they stay outside.
_CREDENTIALS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-turnout-key"}
)
_KEPT_FALLBACKS = 256
_SEAT_S = 1.0  # how long a request waits for a seat of its tenant
DEFAULT = "default"  # the tenant and the tier of a caller that names none


class Gateway:
    """A gateway in process; `open` makes one. Used from the event loop that opened it."""

    def __init__(
        self, engine: Engine, tenant: str, accounts: "_Accounts", *, has_policy: bool
    ) -> None:
        """Stand before an engine that was started; `open` is the way to one."""
        self._has_policy = has_policy
        self._engine = engine
        self._tenant = tenant
        self._accounts = accounts
        self._streams: WeakSet[CompletionStream] = WeakSet()
        self._dropped: set[asyncio.Task[None]] = set()  # streams that nobody held any more
        self._fallbacks: dict[tuple[str, str, str], Fallback] = {}
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._loop = asyncio.get_running_loop()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        policy: "str | PathLike[str] | Policy | None" = None,
        environment: Mapping[str, str] | None = None,
        home: str | PathLike[str] | None = None,
        *,
        keep: bool = True,
    ) -> AsyncIterator["Gateway"]:
        """A gateway that serves until the block ends; then open streams are ended, all is written.

        `policy` is a file, a loaded policy, or None: every known model as requested. `environment`
        has the providers' keys under their usual names (default: the process' own). The journal is
        in `home` (default: TURNOUT_HOME, or ~/.turnout) unless `keep` is false: then it is in a
        folder of its own, and gone with the block. Opening takes about a second.

        Raises: PolicyError, SettingsError; OSError where the file cannot be read.
        """
        found = os.environ if environment is None else environment
        async with AsyncExitStack() as stack:
            if not keep:
                home = stack.enter_context(tempfile.TemporaryDirectory(prefix="turnout-"))
            settings = _settings(found, policy, home)
            if isinstance(policy, Policy):
                program = policy.program
            else:
                program = await asyncio.to_thread(load_program, settings)
            accounts = _Accounts()
            transport = await asyncio.to_thread(make_transport)
            stack.push_async_callback(transport.aclose)
            making = asyncio.create_task(
                asyncio.to_thread(assemble, settings, program, accounts, transport=transport)
            )
            try:
                engine = await asyncio.shield(making)
            except asyncio.CancelledError:
                # A thread cannot be stopped; what it makes would be left open.
                with suppress(Exception):
                    await (await making).close()
                raise
            stack.push_async_callback(engine.close)
            await engine.start()
            gateway = cls(engine, settings.tenant, accounts, has_policy=policy is not None)
            stack.push_async_callback(gateway._close)
            yield gateway

    async def complete(
        self,
        body: Mapping[str, Any],
        fallback: Sequence[Entry] | None = None,
        *,
        tenant: str | None = None,
        tier: str = DEFAULT,
        team: str | None = None,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Completion | CompletionStream:
        """Answer a chat body: a `Completion`, or with `stream: true` a `CompletionStream`.

        The policy decides where it goes. `fallback` is tried after that, in place of the policy's
        own: entries `{"provider": "groq/llama-3-70b", "timeout": "2s", "retries": 1}`, or as the
        policy writes them. Where the body names no model the policy chooses; without one the list
        is all there is. Who asks (`tenant`, `tier`, `team`, `user`) is taken at its word, as are
        `tags` and `headers`, which conditions may read.

        Cancelling it ends the call at the provider, like a client that leaves.
        Raises: CompletionError; FallbackError where the list cannot be tried.
        """
        self._check_open()
        caller = self._caller(tenant, tier, team, user)
        sent = _mapping("body", body)
        if sent.get("model") in (None, "") and (fallback is not None or self._has_policy):
            sent["model"] = AUTO
        request, account = self._request(
            Operation.CHAT, sent, check_chat, caller, _headers(headers, tags)
        )
        instead = None if fallback is None else self._fallback(fallback, request.model)
        leave = await self._admitted(request, account)
        try:
            reply = await self._carried_out(self._engine.generate(request, instead), account)
        except BaseException:
            leave()
            raise
        if isinstance(reply, StreamReply):
            stream = CompletionStream(reply, account, leave, self._drop)
            self._streams.add(stream)
            return stream
        leave()
        return completed(reply, account)

    async def embeddings(
        self,
        body: Mapping[str, Any],
        *,
        tenant: str | None = None,
        tier: str = DEFAULT,
        team: str | None = None,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Completion:
        """Answer an embeddings body. Raises: CompletionError."""
        self._check_open()
        caller = self._caller(tenant, tier, team, user)
        request, account = self._request(
            Operation.EMBEDDINGS,
            _mapping("body", body),
            check_embeddings,
            caller,
            _headers(headers, tags),
        )
        leave = await self._admitted(request, account)
        try:
            reply = await self._carried_out(self._engine.embeddings(request), account)
        finally:
            leave()
        return completed(reply, account)

    async def explain(
        self,
        body: Mapping[str, Any],
        *,
        tenant: str | None = None,
        tier: str = DEFAULT,
        team: str | None = None,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The decision on a chat body and every value on the way to it; nobody is called.

        Raises: CompletionError.
        """
        self._check_open()
        caller = self._caller(tenant, tier, team, user)
        sent = _mapping("body", body)
        if sent.get("model") in (None, ""):
            sent["model"] = AUTO
        request, account = self._request(
            Operation.CHAT, sent, check_chat, caller, _headers(headers, tags)
        )
        return await self._carried_out(self._engine.explain(request), account)

    @property
    def policy(self) -> str:
        """The hash of the policy in force."""
        return self._engine.digest

    # --- on the way ------------------------------------------------------------------------------

    def _request(
        self,
        operation: Operation,
        body: Mapping[str, Any],
        check: Callable[[dict[str, Any]], None],
        caller: Caller,
        headers: Mapping[str, str],
    ) -> tuple[Request, Account]:
        """A body as the engine takes it: a copy, so that nobody changes it meanwhile.

        Raises: CompletionError 400.
        """
        received_us, started_ns = time.time_ns() // 1000, time.monotonic_ns()
        account = self._accounts.expect(new_request_id())
        try:
            raw = _written(body)
            read = orjson.loads(raw)
            check_depth(read)
            check(read)
            self._check_domain("tenant", caller.tenant)
            self._check_domain("tier", caller.tier)
        except RequestError as error:
            raise failed(error, account) from None
        request = Request(
            id=account.id,
            operation=operation,
            body=read,
            raw=raw,
            model=read["model"],
            stream=read.get("stream") is True and operation is Operation.CHAT,
            caller=caller,
            headers=headers,
            received_us=received_us,
            started_ns=started_ns,
        )
        return request, account

    def _check_domain(self, name: str, value: str) -> None:
        """Refuse a tenant or tier that the policy says there is none of. Raises: RequestError."""
        domain = self._engine.live.program.schema.attributes[name].domain
        if domain is not None and value not in domain and value != DEFAULT:
            told = f"The policy does not list `{value}` among the values of `{name}`."
            raise refused(f"unknown_{name}", told, name)

    def _fallback(self, entries: Sequence[Entry], model: str) -> Fallback:
        """The hops of a list; the same list is read once. Raises: FallbackError."""
        live = self._engine.live
        key = (live.program.digest, model, repr(entries))
        # Of other classes `repr` need not say what they hold.
        is_plain = _is_plain(entries)
        found = self._fallbacks.get(key) if is_plain else None
        if found is None:
            found = read_fallback(entries, live, model)
            if len(self._fallbacks) >= _KEPT_FALLBACKS:
                self._fallbacks.clear()
            if is_plain:
                self._fallbacks[key] = found
        return found

    async def _admitted(self, request: Request, account: Account) -> Leave:
        """Take a seat and a request of the caller's rates; what is returned ends both.

        Raises: CompletionError.
        """
        leave = await self._seat(request.caller.tenant, account)
        try:
            draw = request.draw = await self._engine.draw(request.caller)
        except BaseException as error:
            leave()
            if isinstance(error, RequestError):
                raise failed(error, account) from None
            raise
        if draw is None:
            return leave

        def end() -> None:
            draw.close()
            leave()

        return end

    async def _seat(self, tenant: str, account: Account) -> Leave:
        """A seat among those that the tenant may have (`concurrency:`). Raises: CompletionError."""
        leave = await self._engine.seat(tenant, _SEAT_S)
        if leave is None:
            raise CompletionError(
                429,
                "concurrency_exceeded",
                all_taken(self._engine.seats_of(tenant)),
                id=account.id,
                type="rate_limit_error",
                retry_after_us=1_000_000,
            )
        if self._closed:  # while it waited
            leave()
            self._check_open()
        return leave

    async def _carried_out(self, work: Awaitable[T], account: Account) -> T:
        """Await the engine; what it raises becomes the library's own. Raises: CompletionError."""
        self._under_way += 1
        self._idle.clear()
        try:
            return await work
        except RequestError as error:
            raise failed(error, account) from None
        except Exception as error:
            raise CompletionError(
                500,
                "internal_error",
                "The gateway failed.",
                id=account.id,
                type="server_error",
                attempts=account.attempts,
            ) from error
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this gateway is closed: use it within its `async with` block")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this gateway belongs to another event loop: open one in this loop")

    async def _close(self) -> None:
        """Take no more, end open streams, and wait for requests under way."""
        self._closed = True
        await self._end_streams()
        await self._idle.wait()
        await self._end_streams()  # those that began meanwhile

    async def _end_streams(self) -> None:
        await asyncio.sleep(0)  # what was dropped just now says so
        ended = [stream.aclose() for stream in self._streams]
        await asyncio.gather(*ended, *self._dropped, return_exceptions=True)

    def _drop(self, chunks: AsyncGenerator[bytes, None]) -> None:
        task = self._loop.create_task(chunks.aclose())
        self._dropped.add(task)
        task.add_done_callback(self._dropped.discard)

    def _caller(self, tenant: str | None, tier: str, team: str | None, user: str | None) -> Caller:
        """Who asks. Raises: TypeError, ValueError for what could not be written down."""
        for name, value in (("tenant", tenant), ("team", team), ("user", user)):
            if value is not None:
                _check_text(f"`{name}`", value)
        _check_text("`tier`", tier)
        return Caller(tenant or self._tenant, tier, team, user)


class _Accounts:
    """Hands finished records to the requests that wait for them."""

    def __init__(self) -> None:
        self._expected: WeakValueDictionary[str, Account] = WeakValueDictionary()

    def expect(self, id: str) -> Account:
        """The place where the record of a request of this id will arrive."""
        account = self._expected[id] = Account(id)
        return account

    def observe(self, record: DecisionRecord) -> None:
        """Take a finished record."""
        account = self._expected.get(record.id)
        if account is not None:
            account.record = record

    def observe_late(self, late: Late) -> None:
        """A copy that ended later is not the caller's affair."""

    def tick(self, vitals: Vitals) -> None:
        """Nobody looks at how this worker is."""


def _settings(
    environment: Mapping[str, str],
    policy: "str | PathLike[str] | Policy | None",
    home: str | PathLike[str] | None,
) -> Settings:
    """Settings of what is left without HTTP. Raises: SettingsError."""
    read = {
        name: value
        for name, value in environment.items()
        if not name.startswith("TURNOUT_") or name in _READ
    }
    path = None if policy is None or isinstance(policy, Policy) else os.fspath(policy)
    settings = Settings.load(read, policy="" if path is None else path)
    return replace(
        settings,
        policy=None if path is None else Path(path),
        home=settings.home if home is None else Path(home),
        environment=dict(environment),
    )


def _is_plain(value: object) -> bool:
    """Whether a value is of the built-in classes through and through."""
    kind = type(value)
    if kind is dict:
        return all(map(_is_plain, value.values()))  # type: ignore[attr-defined]
    if kind in (list, tuple):
        return all(map(_is_plain, value))  # type: ignore[call-overload]
    return kind in (str, int, float, bool, type(None))


def _mapping(name: str, value: Any) -> dict[str, Any]:
    """A mapping as a dict of its own. Raises: TypeError."""
    if not isinstance(value, Mapping):
        raise TypeError(f"`{name}` must be a mapping, not {type(value).__name__}")
    return dict(value)


def _check_text(what: str, value: object) -> None:
    """Raises: TypeError for what is no text; ValueError for a text that is not Unicode."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} has half a character in it (a lone surrogate)") from None


def _texts(name: str, value: Mapping[str, str] | None) -> dict[str, str]:
    """A mapping of texts. Raises: TypeError, ValueError."""
    found = {} if value is None else _mapping(name, value)
    for key, text in found.items():
        _check_text(f"a key of `{name}`", key)
        _check_text(f"`{key}` of `{name}`", text)
    return found


def _written(body: Mapping[str, Any]) -> bytes:
    """A body as JSON. Raises: RequestError 400."""
    try:
        return orjson.dumps(dict(body))
    except (TypeError, ValueError) as error:
        shown = f"The body cannot be written as JSON: {error}."
        raise refused("invalid_json", shown, "body") from None


def _headers(
    headers: Mapping[str, str] | None, tags: Mapping[str, str] | None
) -> Mapping[str, str]:
    """What conditions read as headers: lower-case, without credentials, the tags among them."""
    read = {
        name.lower(): value
        for name, value in _texts("headers", headers).items()
        if name.lower() not in _CREDENTIALS
    }
    if tags := _texts("tags", tags):
        for name, value in tags.items():
            if any(mark in name for mark in ",=") or "," in value:
                raise ValueError(f"the tag `{name}` has a `,` or `=` in it: write it without")
        read["x-turnout-tags"] = ",".join(f"{name}={value}" for name, value in tags.items())
    return read
