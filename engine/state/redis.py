"""Answers that workers of several machines share, and the numbers of their tenants, in Redis.

All keys begin with `turnout:cache:`. What has to be one step is a script that Redis runs: looking
and claiming, comparing the number and keeping. How much it holds is Redis' own affair (`maxmemory`,
`maxmemory-policy`); whatever it loses is asked for again. No message has its address or password.

Over 300 lines because the scripts are here, beside who calls them.
"""

import logging
import secrets
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from turnout.engine.cached import CachedAnswer, CacheError, Invalidation, Key, Shelved

from .generations import fleeting
from .shelf import HEAD_BYTES, Damaged, Label, label, meant, pack, unpack

READ_TIMEOUT_S = 0.05  # for an answer, and to connect
WRITE_TIMEOUT_S = 1.0  # for whoever keeps, removes and counts: nobody waits for that
CLAIM_S = 10.0  # after which the claim of a process that ended is free
_RENEW_S = CLAIM_S / 4
_LONGEST_CLAIM_S = 900.0  # nobody makes an answer for so long
POLL_S = 0.25  # between two looks at the numbers
STALE_S = 1.0  # after which numbers that cannot be looked at are not believed any more

_PREFIX = "turnout:cache:"
_NUMBERS = _PREFIX + "generations"
_ALL, _OF = "all", "of:"  # fields of `_NUMBERS`: of every tenant, and of one
_SCAN = 500  # keys looked at in one step
_LONGEST_HEAD_BYTES = 1 << 20
_OPTIONS = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})

# The answer; else 1 where the claim is ours now, 0 where it is somebody else's.
_GET_OR_CLAIM = """
local found = redis.call('GET', KEYS[1])
if found then return found end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
"""
# Keeps an answer where the numbers are still those under which it was asked for.
_PUT = """
local now = table.concat({
  redis.call('HGET', KEYS[2], 'base') or '0',
  redis.call('HGET', KEYS[2], 'all') or '0',
  redis.call('HGET', KEYS[2], ARGV[3]) or '0'}, ':')
if now ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
"""
# A time, so that a number never comes again; and one change more.
_RAISE = """
local t = redis.call('TIME')
local raised = t[1] * 1000000 + t[2]
local last = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if raised <= last then raised = last + 1 end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', raised))
redis.call('HINCRBY', KEYS[1], 'changes', 1)
"""
# How many changes there were since which beginning; with all numbers, if that is another than said.
# A Redis that has lost them begins anew, at another time.
_LOOK = """
local t = redis.call('TIME')
redis.call('HSETNX', KEYS[1], 'base', string.format('%.0f', t[1] * 1000000 + t[2]))
local changes = redis.call('HGET', KEYS[1], 'base') .. ':' ..
  (redis.call('HGET', KEYS[1], 'changes') or '0')
if changes == ARGV[1] then return {changes} end
return {changes, redis.call('HGETALL', KEYS[1])}
"""

_log = logging.getLogger("turnout.cache")


def open_redis(url: str) -> "tuple[RedisAnswers, RedisGenerations]":
    """The answers and numbers in the Redis at an address; connects at their first use.

    Raises: ValueError, where the address says what it must not.
    """
    check_url(url)
    return RedisAnswers(url), RedisGenerations(url)


def unreachable(url: str) -> str | None:
    """Why the Redis at an address answers nobody now, and where that is; None: it does.

    Waits a second at most. The user and the password of the address are not told.
    """
    server = _Server(url, WRITE_TIMEOUT_S)
    try:
        server.do("PING")
    except CacheError as error:
        told = urlsplit(url)
        where = told.path if told.hostname is None else f"{told.hostname}:{told.port or 6379}"
        return f"{where}: {str(error).removeprefix('Redis: ')}"
    finally:
        server.close()
    return None


def check_url(url: str) -> None:
    """Check an address: `redis://`, `rediss://` (TLS) or `unix://`.

    Its options are `db` and the files of certificates; how long is waited, and that certificates
    are looked at, is not for it to say. Raises: ValueError, without the address.
    """
    try:
        told = urlsplit(url)
        options = [name for name, _ in parse_qsl(told.query, keep_blank_values=True)]
        _ = told.port
    except ValueError:
        raise ValueError("it is not an address") from None
    if told.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("it does not begin with `redis://`, `rediss://` or `unix://`")
    if wrong := sorted({*options} - _OPTIONS):
        raise ValueError(f"it has an option `{wrong[0]}`; there are {', '.join(sorted(_OPTIONS))}")
    try:
        redis.Redis.from_url(url).close()
    except (ValueError, redis.RedisError):
        raise ValueError("it is not an address of Redis") from None


class RedisAnswers:
    """A `Store` in Redis; used from any thread.

    A get is one round trip, 60 to 200 µs where Redis is beside it; a claim is part of it, and
    renewed while its process lives, and free 10 s after it ended. `invalidate` and `stats` look
    through all keys of the database that they are in.
    """

    def __init__(self, url: str) -> None:
        """Connect at the first use."""
        self._reading = _Server(url, READ_TIMEOUT_S)
        self._writing = _Server(url, WRITE_TIMEOUT_S)
        self._get_or_claim = self._reading.script(_GET_OR_CLAIM)
        self._put = self._writing.script(_PUT)
        self._release = self._writing.script(_RELEASE)
        self._renew = self._writing.script(_RENEW)
        self._token = secrets.token_hex(16)
        self._guard = threading.Lock()
        self._claims: dict[str, float] = {}  # until when each is renewed
        self._closing = threading.Event()
        self._renewing: threading.Thread | None = None

    def get(self, key: Key, now_us: int) -> CachedAnswer | None:
        """The answer under a key that has not expired."""
        return _read(key, self._reading.do("GET", _answer_name(key)), now_us)

    def get_or_claim(self, key: Key, now_us: int) -> CachedAnswer | bool:
        """The answer, else whether the claim to make it is ours now; False: somebody else's."""
        name = _claim_name(key)
        answer_and_claim = [_answer_name(key), name]
        args = (self._token, int(CLAIM_S * 1000))
        found = self._reading.run(self._get_or_claim, answer_and_claim, args)
        if isinstance(found, bytes):
            answer = _read(key, found, now_us)
            if answer is not None:
                return answer
            # It is there and of no use: whoever comes makes it, and what is kept replaces it.
            found = self._reading.do("SET", name, self._token, "NX", "PX", args[1])
        if not found:
            return False
        with self._guard:
            self._claims[name] = time.monotonic() + _LONGEST_CLAIM_S
            if self._renewing is None and not self._closing.is_set():
                self._renewing = threading.Thread(
                    target=self._keep_claims, name="cache-claims", daemon=True
                )
                self._renewing.start()
        return True

    def put(self, key: Key, answer: CachedAnswer, expires_us: int, generation: int) -> None:
        """Keep an answer, unless its tenant's generation is another one by now."""
        try:
            value = expires_us.to_bytes(8) + pack(key, answer)
            life_ms = max((expires_us - answer.stored_us) // 1000, 1)
            names = [_answer_name(key), _NUMBERS]
            args = (value, life_ms, _OF + key.tenant, _told(generation))
            self._writing.run(self._put, names, args)
        except (TypeError, ValueError, OverflowError) as error:
            raise CacheError(f"an answer cannot be written: {error}") from error
        finally:
            self.release(key)

    def release(self, key: Key) -> None:
        """Give up a claim, if it is ours."""
        name = _claim_name(key)
        with self._guard:
            if self._claims.pop(name, None) is None:
                return
        self._writing.run(self._release, [name], (self._token,))

    def invalidate(self, which: Invalidation) -> int:
        """Remove answers; how many they were. Their tenant's number was raised before."""
        is_meant = meant(which)
        count = 0
        for names, heads in self._walk(which.tenant):
            wanted = []
            for name, head in zip(names, heads, strict=True):
                known = label(head[8:])
                # What cannot be read is of no use to anybody.
                if known is None or is_meant(known[1]):
                    wanted.append(name)
            if wanted:
                count += self._writing.do("UNLINK", *wanted)
        return count

    def stats(self, tenant: str | None) -> list[Shelved]:
        """What is there, by target; `tenant` None: of all tenants."""
        found: dict[str, Shelved] = {}
        for names, heads in self._walk(tenant):
            sizes = self._writing.do_all([("STRLEN", name) for name in names])
            for head, size in zip(heads, sizes, strict=True):
                known = label(head[8:])
                if known is not None and size:
                    _, told, saves = known
                    _count(found, told, size, saves)
        return [found[target] for target in sorted(found)]

    def close(self) -> None:
        """Give up every claim, and let go of the connections."""
        self._closing.set()
        with self._guard:
            names = list(self._claims)
            self._claims.clear()
        try:
            for name in names:
                self._writing.run(self._release, [name], (self._token,))
        except CacheError:
            pass  # then they end by themselves
        self._reading.close()
        self._writing.close()

    def _walk(self, tenant: str | None) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """The names of answers and their first bytes, some at a time; those of one tenant only."""
        pattern = f"{_PREFIX}answer:{'*' if tenant is None else _short(tenant)}:*"
        cursor = 0
        while True:
            step = ("MATCH", pattern, "COUNT", _SCAN)
            cursor, names = self._writing.do("SCAN", cursor, *step)
            if names:
                found = self._heads(names, HEAD_BYTES)
                for at, head in enumerate(found):
                    if len(head) == HEAD_BYTES and label(head[8:]) is None:
                        (found[at],) = self._heads([names[at]], _LONGEST_HEAD_BYTES)
                yield names, found
            if cursor == 0:
                return

    def _heads(self, names: Sequence[bytes], size: int) -> list[bytes]:
        return self._writing.do_all([("GETRANGE", name, 0, size - 1) for name in names])

    def _keep_claims(self) -> None:
        while not self._closing.wait(_RENEW_S):
            now = time.monotonic()
            with self._guard:
                self._claims = {name: end for name, end in self._claims.items() if end > now}
                names = list(self._claims)
            try:
                for name in names:
                    self._writing.run(self._renew, [name], (self._token, int(CLAIM_S * 1000)))
            except CacheError:
                continue  # whoever else makes the same meanwhile does no harm
            except Exception:
                _log.exception("claims cannot be renewed")


class RedisGenerations:
    """`Generations` for all that use the same Redis; used from any thread.

    `of` costs 400 ns: a thread of its own looks at the numbers four times a second. What another
    process raised is seen 250 ms later. Where Redis cannot be asked, numbers are `fleeting` after a
    second: nothing is given from memory that may have been void for longer than that.
    """

    def __init__(self, url: str) -> None:
        """Begin to look."""
        self._server = _Server(url, WRITE_TIMEOUT_S / 2)
        self._look = self._server.script(_LOOK)
        self._raise = self._server.script(_RAISE)
        self._guard = threading.Lock()
        self._view = _View("", {})
        self._seen_at = float("-inf")
        self._closing = threading.Event()
        looking = (weakref.ref(self), self._closing)
        threading.Thread(target=_look_on, args=looking, name="cache-numbers", daemon=True).start()

    def of(self, tenant: str) -> int:
        """The number, as it was a moment ago."""
        if time.monotonic() - self._seen_at > STALE_S:
            return fleeting()
        return self._view.of(tenant)

    def raise_(self, tenant: str | None) -> None:
        """Let it be another one. Raises: CacheError."""
        field = _ALL if tenant is None else _OF + tenant
        self._server.run(self._raise, [_NUMBERS], (field,))
        self.see()

    def close(self) -> None:
        """Let go of the connections; numbers are fleeting from here on."""
        self._closing.set()
        self._seen_at = float("-inf")
        self._server.close()

    def see(self) -> None:
        """Look at the numbers now. Raises: CacheError."""
        with self._guard:
            before = time.monotonic()
            told = self._server.run(self._look, [_NUMBERS], (self._view.changes,))
            if len(told) == 2:
                pairs = iter(told[1])
                numbers = {
                    name.decode("utf-8", "surrogatepass"): int(number)
                    for name, number in zip(pairs, pairs, strict=True)
                }
                self._view = _View(told[0].decode(), numbers)
            if not self._closing.is_set():
                self._seen_at = before


def _look_on(numbers: "weakref.ref[RedisGenerations]", closing: threading.Event) -> None:
    """Look at numbers while anybody has a use for them."""
    while (looked := numbers()) is not None and not closing.is_set():
        try:
            looked.see()
        except CacheError:
            pass  # `of` says so, a second later
        except Exception:
            _log.exception("the numbers of tenants cannot be read")
        del looked
        closing.wait(POLL_S)


class _View:
    """The numbers as they were at one look."""

    __slots__ = ("_all", "_numbers", "changes")

    def __init__(self, changes: str, numbers: dict[str, int]) -> None:
        self.changes = changes
        self._numbers = numbers
        self._all = (numbers.get("base", 0) << 64 | numbers.get(_ALL, 0)) << 64

    def of(self, tenant: str) -> int:
        return self._all | self._numbers.get(_OF + tenant, 0)


def _told(number: int) -> str:
    """A number as the script of `put` compares it."""
    low = (1 << 64) - 1
    return f"{number >> 128}:{number >> 64 & low}:{number & low}"


class _Server:
    """One way to ask Redis: with a bound on how long that takes."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._client: Any = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # Who asks decides what follows, and would wait for all tries.
            retry=Retry(NoBackoff(), 0),
            max_connections=16,
        )

    def script(self, text: str) -> Script:
        """A script, which is sent by its hash once Redis knows it."""
        script: Script = self._client.register_script(text)
        return script

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What a script answers. Raises: CacheError."""
        with _mapped():
            return script(keys, args)

    def do(self, *command: Any) -> Any:
        """What a command answers. Raises: CacheError."""
        with _mapped():
            return self._client.execute_command(*command)

    def do_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What several commands answer, sent together. Raises: CacheError."""
        with _mapped(), self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute()
        return answers

    def close(self) -> None:
        self._client.close()


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        # Not its own words, which have the address.
        raise CacheError(f"Redis: {_said(error)}") from None


def _said(error: Exception) -> str:
    # The more telling ones are subclasses of those that follow.
    for kind, said in (
        (redis.AuthenticationError, "it does not take the password"),
        (redis.exceptions.NoPermissionError, "its user may not do this"),
        (redis.exceptions.OutOfMemoryError, "it is full"),
        (redis.exceptions.ReadOnlyError, "it is a replica, and takes nothing"),
        (redis.BusyLoadingError, "it is still loading what it has"),
        (redis.exceptions.MaxConnectionsError, "all connections are in use"),
        (redis.TimeoutError, "no answer in time"),
        (redis.ConnectionError, "it cannot be reached"),
        (OSError, "it cannot be reached"),
    ):
        if isinstance(error, kind):
            return said
    return f"it refuses ({type(error).__name__})"


def _short(tenant: str) -> str:
    """A tenant in a name: nothing in it means anything to Redis."""
    return sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _answer_name(key: Key) -> str:
    return f"{_PREFIX}answer:{_short(key.tenant)}:{key.digest.hex()}"


def _claim_name(key: Key) -> str:
    return f"{_PREFIX}claim:{key.digest.hex()}"


def _read(key: Key, value: bytes | None, now_us: int) -> CachedAnswer | None:
    """The answer in what Redis has; None where it has expired or is damaged."""
    if value is None or int.from_bytes(value[:8]) <= now_us:
        return None
    try:
        return unpack(key, value[8:])
    except Damaged as error:
        _log.warning("an answer in Redis is left out: %s", error)
        return None


def _count(found: dict[str, Shelved], told: Label, size: int, saves: int) -> None:
    known = found.get(told.target)
    if known is None:
        known = Shelved(told.target, 0, 0, told.stored_us, told.stored_us, 0)
    found[told.target] = Shelved(
        told.target,
        known.answers + 1,
        known.bytes + size,
        min(known.oldest_us, told.stored_us),
        max(known.newest_us, told.stored_us),
        known.saves_nano_usd + saves,
    )
