"""Answers in a real Redis: shared by machines, given to whom they belong, lost without harm."""

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.engine.answering import FOREVER_US, a_body, a_key, an_answer
from turnout.engine.cached import CacheError, Invalidation, Store
from turnout.engine.state import redis as module
from turnout.engine.state.redis import (
    RedisAnswers,
    RedisGenerations,
    check_url,
    open_redis,
    unreachable,
)

KEY = a_key(0)
ANSWER = an_answer(a_body(KEY, 0))
PASSWORD = "canary-of-the-password"


def now_us() -> int:
    return time.time_ns() // 1000


class Server:
    """A Redis of our own, on a socket in a folder, or a port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "redis.sock"
        self._command = [
            *("redis-server", "--port", "0", "--unixsocket", str(self.socket), "--save", ""),
            *("--appendonly", "no", "--dir", str(folder), "--daemonize", "no", *options),
        ]
        self.begin()

    def begin(self) -> None:
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, start_new_session=True
        )
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            try:
                with socket.socket(socket.AF_UNIX) as tried:
                    tried.connect(str(self.socket))
                return
            except OSError:
                assert self.process.poll() is None, "redis-server does not start"
                time.sleep(0.01)
        raise AssertionError("redis-server does not answer")

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self.socket.unlink(missing_ok=True)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long this machine takes says nothing; one test looks at the bound itself."""
    assert module.READ_TIMEOUT_S == 0.05
    monkeypatch.setattr(module, "READ_TIMEOUT_S", 5.0)
    monkeypatch.setattr(module, "WRITE_TIMEOUT_S", 5.0)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.end()


@pytest.fixture
def server(running: Server) -> Server:
    with redis.Redis.from_url(running.url) as client:
        client.flushall()
    return running


@pytest.fixture
def opened(server: Server) -> Iterator[Callable[[], tuple[RedisAnswers, RedisGenerations]]]:
    all_opened = []

    def one() -> tuple[RedisAnswers, RedisGenerations]:
        found = open_redis(server.url)
        all_opened.append(found)
        seen(found[1])
        return found

    yield one
    for answers, numbers in all_opened:
        answers.close()
        numbers.close()


Opened = Callable[[], tuple[RedisAnswers, RedisGenerations]]


def seen(numbers: RedisGenerations) -> int:
    """A number that was read, as soon as there is one."""
    give_up = time.monotonic() + 10
    while (number := numbers.of("acme")) < 0:
        assert time.monotonic() < give_up
        time.sleep(0.001)
    return number


def within(seconds: float, is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.002)


# --- answers and claims --------------------------------------------------------------------------


def test_an_answer_comes_back_as_it_was_put(opened: Opened) -> None:
    (one, numbers), (other, _) = opened(), opened()
    for number in range(20):
        key = a_key(number)
        answer = an_answer(a_body(key, 1), rule="r", tags=("a=b",))
        one.put(key, answer, FOREVER_US, numbers.of("acme"))
        assert other.get(key, now_us()) == answer
        assert other.get_or_claim(key, now_us()) == answer
    assert other.get(a_key("none"), now_us()) is None


def test_an_answer_is_given_until_it_expires(opened: Opened, server: Server) -> None:
    answers, numbers = opened()
    now = now_us()
    answer = an_answer(b"body", stored_us=now)
    answers.put(KEY, answer, now + 3_600_000_000, numbers.of("acme"))
    assert answers.get(KEY, now + 3_600_000_000 - 1) == answer
    assert answers.get(KEY, now + 3_600_000_000) is None
    # And Redis lets go of it by itself.
    with redis.Redis.from_url(server.url) as client:
        (name,) = client.scan_iter("turnout:cache:answer:*")
        assert 3_500_000 < client.pttl(name) <= 3_600_000


def test_one_of_all_who_ask_makes_the_answer(opened: Opened) -> None:
    (one, numbers), (other, _) = opened(), opened()
    assert one.get_or_claim(KEY, 0) is True
    assert one.get_or_claim(KEY, 0) is False
    assert other.get_or_claim(KEY, 0) is False
    other.release(KEY)  # not its own
    assert other.get_or_claim(KEY, 0) is False
    one.release(KEY)
    assert other.get_or_claim(KEY, 0) is True
    other.put(KEY, ANSWER, FOREVER_US, numbers.of("acme"))
    assert one.get_or_claim(KEY, 0) == ANSWER
    assert other.get_or_claim(a_key(1), 0) is True
    other.close()
    assert one.get_or_claim(a_key(1), 0) is True


def test_many_at_once_make_one_answer(opened: Opened) -> None:
    stores = [opened()[0] for _ in range(4)]
    for number in range(20):
        got: list[object] = []

        def ask(store: Store, key: object = number, got: list[object] = got) -> None:
            got.append(store.get_or_claim(a_key(key), 0))

        threads = [threading.Thread(target=ask, args=(store,)) for store in stores * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(bool, got)) == [False] * 7 + [True]


def test_a_claim_lasts_while_its_process_lives_and_ends_a_moment_after(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLAIM_S", 0.5)
    monkeypatch.setattr(module, "_RENEW_S", 0.05)
    (one, _), (other, _) = opened(), opened()
    assert one.get_or_claim(KEY, 0) is True
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert other.get_or_claim(KEY, 0) is False
    one._closing.set()  # its process ends: nobody renews
    within(10, lambda: other.get_or_claim(KEY, 0) is True)
    one.release(KEY)  # that of the other stays
    assert opened()[0].get_or_claim(KEY, 0) is False


def test_what_is_damaged_is_none_and_may_be_made_anew(opened: Opened, server: Server) -> None:
    answers, numbers = opened()
    answers.put(KEY, ANSWER, FOREVER_US, numbers.of("acme"))
    with redis.Redis.from_url(server.url) as client:
        (name,) = client.scan_iter("turnout:cache:answer:*")
        client.setrange(name, 60, b"damaged")
    assert answers.get(KEY, 0) is None
    assert answers.get_or_claim(KEY, 0) is True
    assert answers.get_or_claim(KEY, 0) is False
    answers.put(KEY, ANSWER, FOREVER_US, numbers.of("acme"))
    assert answers.get_or_claim(KEY, 0) == ANSWER


# --- generations ---------------------------------------------------------------------------------


def test_a_raised_number_is_another_one_for_everybody_within_a_second(opened: Opened) -> None:
    (_, one), (_, other) = opened(), opened()
    before = {name: one.of(name) for name in ("acme", "globex")}
    assert {name: other.of(name) for name in before} == before
    one.raise_("acme")
    assert one.of("acme") != before["acme"]
    assert one.of("globex") == before["globex"]
    within(1, lambda: other.of("acme") != before["acme"])
    within(10, lambda: other.of("acme") == one.of("acme"))
    assert other.of("globex") == before["globex"]
    other.raise_(None)
    within(1, lambda: one.of("globex") != before["globex"])
    within(10, lambda: one.of("globex") == other.of("globex"))


def test_an_answer_that_was_asked_for_under_another_number_is_not_kept(opened: Opened) -> None:
    (answers, numbers), (_, other) = opened(), opened()
    old = numbers.of("acme")
    assert answers.get_or_claim(KEY, 0) is True
    other.raise_("acme")
    # Whether or not this process knows of it already.
    answers.put(KEY, ANSWER, FOREVER_US, old)
    assert answers.get_or_claim(KEY, 0) is True
    other.raise_(None)
    answers.put(KEY, ANSWER, FOREVER_US, -5)
    assert answers.get(KEY, 0) is None
    answers.put(KEY, ANSWER, FOREVER_US, other.of("acme"))
    assert answers.get(KEY, 0) == ANSWER


def test_a_redis_that_lost_everything_has_numbers_that_never_were(
    opened: Opened, server: Server
) -> None:
    _, numbers = opened()
    old = {seen(numbers)}
    for _ in range(3):
        numbers.raise_("acme")
        old.add(numbers.of("acme"))
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    within(10, lambda: numbers.of("acme") not in old and numbers.of("acme") >= 0)


# --- invalidation --------------------------------------------------------------------------------

SHELF = {
    "a": ("acme", an_answer(b"", target="openai/gpt-4o", model="fast", rule="cheap")),
    "b": ("acme", an_answer(b"", target="openai/gpt-4", model="gpt-4", tags=("team=x", "v=1"))),
    "c": ("acme", an_answer(b"", target="anthropic/claude", model="fast", stored_us=5_000_000)),
    "d": ("globex", an_answer(b"", target="openai/gpt-4o", model="fast", rule="cheap")),
    "e": ("a*", an_answer(b"", target="o/[x]", model="long", tags=("t=" + "x" * 9000,))),
}


@pytest.mark.parametrize(
    ("which", "removed"),
    [
        (Invalidation("all", "*", None), "abcde"),
        (Invalidation("all", "*", "acme"), "abc"),
        (Invalidation("all", "*", "a*"), "e"),
        (Invalidation("all", "*", "acme", before_us=5_000_000), "ab"),
        (Invalidation("model", "openai/*", None), "abd"),
        (Invalidation("model", "fast", "acme"), "ac"),
        (Invalidation("model", "o/[x]", None), "e"),
        (Invalidation("rule", "cheap", "globex"), "d"),
        (Invalidation("tag", "team=*", None), "b"),
        (Invalidation("tag", "t=*x", None), "e"),
    ],
)
def test_what_an_invalidation_means_is_removed_and_nothing_else(
    opened: Opened, server: Server, which: Invalidation, removed: str
) -> None:
    answers, numbers = opened()
    with redis.Redis.from_url(server.url) as client:
        client.set("somebody:else", "kept")
        for name, (tenant, answer) in SHELF.items():
            answers.put(a_key(name, tenant), answer, FOREVER_US, numbers.of(tenant))
        assert answers.invalidate(which) == len(removed)
        left = [name for name, (of, _) in SHELF.items() if answers.get(a_key(name, of), 0)]
        assert left == [name for name in SHELF if name not in removed]
        assert client.get("somebody:else") == b"kept"


def test_more_than_one_step_is_gone_through(opened: Opened) -> None:
    answers, numbers = opened()
    for number in range(1200):
        answer = an_answer(b"a", rule=f"r{number % 3}")
        answers.put(a_key(number), answer, FOREVER_US, numbers.of("acme"))
    assert answers.invalidate(Invalidation("rule", "r1", "acme")) == 400
    assert [one.answers for one in answers.stats("acme")] == [800]


def test_stats_tell_what_is_there_by_target(opened: Opened) -> None:
    answers, numbers = opened()
    for name, (tenant, answer) in SHELF.items():
        answers.put(a_key(name, tenant), answer, FOREVER_US, numbers.of(tenant))
    told = {one.target: one for one in answers.stats(None)}
    assert {name: one.answers for name, one in told.items()} == {
        "anthropic/claude": 1,
        "o/[x]": 1,
        "openai/gpt-4": 1,
        "openai/gpt-4o": 2,
    }
    assert told["openai/gpt-4o"].saves_nano_usd == 140
    assert told["anthropic/claude"].oldest_us == told["anthropic/claude"].newest_us == 5_000_000
    assert told["o/[x]"].bytes > 9000
    assert [one.target for one in answers.stats("globex")] == ["openai/gpt-4o"]
    assert answers.stats("nobody") == []


# --- a Redis that does not work ------------------------------------------------------------------


def test_a_redis_that_hangs_is_given_up_in_time_and_taken_up_again(
    opened: Opened, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, numbers = opened()
    answers.put(KEY, ANSWER, FOREVER_US, seen(numbers))
    monkeypatch.setattr(module, "READ_TIMEOUT_S", 0.05)
    other = RedisAnswers(server.url)
    assert other.get(KEY, 0) == ANSWER
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(CacheError, match="no answer in time"):
            other.get_or_claim(KEY, 0)
        assert 0.04 < time.monotonic() - began < 1
        # What is not known to hold is not given from memory.
        within(10, lambda: numbers.of("acme") < 0)
        fleeting = numbers.of("acme")
        within(10, lambda: numbers.of("acme") != fleeting)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert answers.get_or_claim(KEY, 0) == ANSWER
    assert seen(numbers) > 0
    other.close()


def test_a_redis_that_ends_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    server = Server(tmp_path)
    answers, numbers = open_redis(server.url)
    old = seen(numbers)
    assert answers.get_or_claim(KEY, 0) is True
    server.end()
    for use in (answers.get, answers.get_or_claim):
        with pytest.raises(CacheError, match="cannot be reached"):
            use(KEY, 0)
    with pytest.raises(CacheError):
        answers.put(KEY, ANSWER, FOREVER_US, old)
    with pytest.raises(CacheError):
        numbers.raise_("acme")
    with pytest.raises(CacheError):
        answers.invalidate(Invalidation("all", "*", None))
    server.begin()
    assert answers.get_or_claim(KEY, 0) is True
    # It has lost its numbers: what was asked for before it ended is not kept.
    answers.put(KEY, ANSWER, FOREVER_US, old)
    within(10, lambda: numbers.of("acme") not in (old, -1) and numbers.of("acme") > 0)
    answers.put(KEY, ANSWER, FOREVER_US, numbers.of("acme"))
    assert answers.get(KEY, 0) == ANSWER
    answers.close()
    numbers.close()
    assert numbers.of("acme") < 0
    server.end()


def test_a_redis_that_nobody_answers_for_is_told_without_its_password(tmp_path: Path) -> None:
    server = Server(tmp_path)
    assert unreachable(server.url) is None
    server.end()
    assert unreachable("redis://me:secret@127.0.0.1:1/2") == "127.0.0.1:1: it cannot be reached"
    assert unreachable("unix://me:secret@/no/such") == "/no/such: it cannot be reached"


def test_a_redis_that_is_full_is_an_error(tmp_path: Path) -> None:
    server = Server(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    answers, numbers = open_redis(server.url)
    number = seen(numbers)
    big = an_answer(os.urandom(1_000_000))
    with pytest.raises(CacheError, match="it is full"):
        for count in range(5):
            answers.put(a_key(count), big, FOREVER_US, number)
    answers.close()
    numbers.close()
    server.end()


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def test_a_password_is_used_and_never_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port = free_port()
    server = Server(tmp_path, "--port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD)
    answers, numbers = open_redis(f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
    answers.put(KEY, ANSWER, FOREVER_US, seen(numbers))
    assert answers.get(KEY, 0) == ANSWER
    told = [repr(answers), repr(numbers)]
    wrong, _ = open_redis(f"redis://:{PASSWORD}-not@127.0.0.1:{port}/0")
    with pytest.raises(CacheError, match="password") as refused:
        wrong.get(KEY, 0)
    told.append(repr(refused.value))
    assert refused.value.__suppress_context__
    server.end()
    with pytest.raises(CacheError) as unreachable:
        answers.get(KEY, 0)
    told += [repr(unreachable.value), caplog.text]
    assert not [one for one in told if PASSWORD in one or str(port) in one]
    for one in (answers, numbers, wrong):
        one.close()


def test_tls_is_spoken_and_certificates_are_looked_at(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    port = free_port()
    server = Server(
        tmp_path,
        *("--tls-port", str(port), "--bind", "127.0.0.1", "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-ca-cert-file", str(certificate)),
    )
    url = f"rediss://127.0.0.1:{port}/0"
    answers, numbers = open_redis(f"{url}?ssl_ca_certs={certificate}")
    answers.put(KEY, ANSWER, FOREVER_US, seen(numbers))
    assert answers.get(KEY, 0) == ANSWER
    unknown, _ = open_redis(url)
    with pytest.raises(CacheError):
        unknown.get(KEY, 0)
    for one in (answers, numbers, unknown):
        one.close()
    server.end()


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("http://secret@host", "does not begin with"),
        ("host:6379", "does not begin with"),
        ("", "does not begin with"),
        ("redis://:secret@host:port", "not an address"),
        ("redis://:secret@[::1", "not an address"),
        ("rediss://:secret@host?ssl_cert_reqs=none", "`ssl_cert_reqs`"),
        ("rediss://:secret@host?ssl_check_hostname=no", "`ssl_check_hostname`"),
        ("redis://:secret@host?socket_timeout=60", "`socket_timeout`"),
        ("redis://:secret@host?db=x", "not an address"),
    ],
)
def test_an_address_that_says_what_it_must_not_is_refused(url: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as refused:
        open_redis(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["redis://host", "rediss://u:p@host:1/3", "unix:///run/r.sock?db=2", "redis://[::1]:1"]
)
def test_addresses_of_redis_are_taken(url: str) -> None:
    check_url(url)
