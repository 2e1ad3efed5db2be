"""HTTPS: real handshakes, bounds on slow ones, and certificates that change while serving."""

import asyncio
import os
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.certificates import Authority, Pair
from turnout.engine.metrics import Metrics
from turnout.server import tls
from turnout.server.app import App, create_app
from turnout.server.stop import Stop
from turnout.server.tls import Certificate
from turnout.server.worker import drain, open_server
from turnout.settings import Limits, Settings, SettingsError

BODY = {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def one(authority: Authority) -> Pair:
    return authority.sign("one")


@pytest.fixture(scope="module")
def two(authority: Authority) -> Pair:
    return authority.sign("two")


class Https:
    def __init__(self, app: App, server: Any, certificate: Certificate, trusted: Path) -> None:
        self.app = app
        self.server = server
        self.certificate = certificate
        self.trusted = ssl.create_default_context(cafile=str(trusted))
        self.port: int = server.server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        return self.app.ctx.connections.open

    async def subject(self, host: str = "localhost") -> str:
        """Whose the certificate is that a new connection is shown."""
        _, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.trusted, server_hostname=host
        )
        found = writer.get_extra_info("peercert")["subject"]
        writer.close()
        return str(found[0][0][1])

    async def left_with(self, number: int) -> None:
        """Wait until so many connections are open."""
        async with asyncio.timeout(10):
            while self.open != number:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def https(
    home: Path, stub: Any, authority: Authority, pair: Pair, **limits: int
) -> AsyncIterator[Https]:
    app = create_app(Settings(home=home, limits=Limits(**limits)), lambda _: stub, Metrics())
    certificate = Certificate(pair.cert, pair.key)
    server = await open_server(app, certificate, sock=socket.create_server(("127.0.0.1", 0)))
    try:
        yield Https(app, server, certificate, authority.file)
    finally:
        await drain(app, server, 0, Stop())
        await server.after_stop()


@pytest.fixture
async def served(
    tmp_path: Path, stub_gateway: Any, authority: Authority, one: Pair
) -> AsyncIterator[Https]:
    async with https(tmp_path, stub_gateway(), authority, one) as running:
        yield running


async def test_a_request_over_tls_is_answered_and_the_connection_is_kept(served: Https) -> None:
    async with httpx.AsyncClient(base_url=served.url, verify=served.trusted) as client:
        for _ in range(3):
            answer = await client.post("/v1/chat/completions", json=BODY)
            assert answer.status_code == 200
        assert served.open == 1
        stream = await client.post("/v1/chat/completions", json=BODY | {"stream": True})
        assert stream.text.endswith("data: [DONE]\n\n")


async def test_each_of_many_handshakes_at_a_time_comes_to_an_end(served: Https) -> None:
    # What a client says first is read before TLS is there: none of it may be lost.
    shown = await asyncio.gather(*(served.subject() for _ in range(200)))
    assert set(shown) == {"one"}
    await served.left_with(0)


async def test_a_hello_in_pieces_is_put_together(served: Https) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = served.trusted.wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    for byte in outgoing.read():
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    while True:
        incoming.write(await asyncio.wait_for(reader.read(65536), 5))
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            continue
    assert client.version() == "TLSv1.3"
    writer.close()


async def test_what_follows_the_hello_at_once_is_not_lost(served: Https) -> None:
    # Python's own client sends its last message and the request in one go, without waiting.
    for _ in range(50):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", served.port, ssl=served.trusted, server_hostname="localhost"
        )
        writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_what_is_older_than_tls_1_2_is_refused(
    served: Https, version: ssl.TLSVersion
) -> None:
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = version
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", served.port, ssl=old, server_hostname="x")
    await served.left_with(0)


async def test_tls_1_2_is_taken(served: Https) -> None:
    served.trusted.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await served.subject() == "one"


async def test_plain_http_is_told_that_https_is_spoken_here(served: Https) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"https_required" in answer
    writer.close()
    await served.left_with(0)


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"], ids=str)
async def test_a_client_that_does_not_go_on_with_its_handshake_is_let_go(
    tmp_path: Path, stub_gateway: Any, authority: Authority, one: Pair, said: bytes
) -> None:
    async with https(tmp_path, stub_gateway(), authority, one, header_us=200_000) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(said)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
        await served.left_with(0)
        writer.close()


async def test_rubbish_that_begins_like_tls_ends_the_connection(served: Https) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"\x16\x03\x01\x00\x05" + b"\xff" * 500)
    try:
        await asyncio.wait_for(reader.read(), 5)  # an alert, perhaps
    except ConnectionError:
        pass
    writer.close()
    await served.left_with(0)


async def test_clients_that_only_begin_do_not_take_the_room_of_others(
    tmp_path: Path, stub_gateway: Any, authority: Authority, one: Pair
) -> None:
    async with https(tmp_path, stub_gateway(), authority, one, connections=4) as served:
        idle = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(4)]
        await served.left_with(4)
        await asyncio.sleep(1.1)  # so long they may be silent without being in anybody's way
        assert await served.subject() == "one"
        for _, writer in idle:
            writer.close()


async def test_a_client_that_says_nothing_after_the_handshake_is_let_go(
    tmp_path: Path, stub_gateway: Any, authority: Authority, one: Pair
) -> None:
    async with https(tmp_path, stub_gateway(), authority, one, header_us=200_000) as served:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", served.port, ssl=served.trusted, server_hostname="localhost"
        )
        assert await asyncio.wait_for(reader.read(), 5) is not None
        await served.left_with(0)
        writer.close()


async def test_a_client_that_never_reads_is_cut_off_over_tls_too(
    tmp_path: Path, stub_gateway: Any, authority: Authority, one: Pair
) -> None:
    from turnout.engine.request import Reply

    async def long(_: Any) -> Reply:
        return Reply(200, b"x" * 30_000_000, {})

    stub = stub_gateway(answer=long)
    async with https(tmp_path, stub, authority, one, stall_us=200_000) as served:
        body = b'{"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]}'
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", served.port, ssl=served.trusted, server_hostname="localhost", limit=1024
        )
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        await served.left_with(0)
        writer.close()
        del reader


# --- certificates that change ---------------------------------------------------------------------


def put(files: Pair, pair: Pair) -> None:
    """Put a pair in the place of another, as a rename does it."""
    for source, there in ((pair.cert, files.cert), (pair.key, files.key)):
        fresh = there.with_suffix(".fresh")
        fresh.write_bytes(source.read_bytes())
        os.replace(fresh, there)


@pytest.fixture
def files(tmp_path: Path, one: Pair) -> Pair:
    files = Pair(tmp_path / "tls.pem", tmp_path / "tls.key")
    put(files, one)
    return files


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_new_certificate_is_shown_and_connections_that_are_open_go_on(
    tmp_path: Path,
    stub_gateway: Any,
    authority: Authority,
    files: Pair,
    two: Pair,
    host: str,
) -> None:
    # A client that asks for an address names no host in its hello.
    async with https(tmp_path, stub_gateway(), authority, files) as served:
        async with httpx.AsyncClient(base_url=served.url, verify=served.trusted) as client:
            assert (await client.get("/health")).status_code == 200
            assert await served.subject(host) == "one"
            put(files, two)
            served.certificate.look()
            assert await served.subject(host) == "two"
            assert (await client.get("/health")).status_code == 200
            await served.left_with(1)


async def test_a_bad_new_certificate_is_told_and_the_one_before_stays(
    tmp_path: Path,
    stub_gateway: Any,
    authority: Authority,
    files: Pair,
    two: Pair,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with https(tmp_path, stub_gateway(), authority, files) as served:
        files.cert.write_bytes(two.cert.read_bytes())  # and the key not yet
        served.certificate.look()
        assert "is not the key of the certificate" in caplog.text
        assert await served.subject() == "one"
        served.certificate.look()
        assert caplog.text.count("is not shown") == 1
        files.cert.unlink()
        served.certificate.look()
        assert "no such file" in caplog.text
        assert await served.subject() == "one"
        put(files, two)
        served.certificate.look()
        assert await served.subject() == "two"


async def test_the_files_are_looked_at_by_themselves_and_when_somebody_asks(
    files: Pair, two: Pair
) -> None:
    for look_s in (0.01, 3600.0):
        certificate = Certificate(files.cert, files.key, look_s)
        before = certificate._now
        watching = asyncio.create_task(certificate.run())
        put(files, two)
        if look_s > 1:
            certificate.ask()
        async with asyncio.timeout(5):
            while certificate._now is before:
                await asyncio.sleep(0.005)
        watching.cancel()


# --- what is told at the start --------------------------------------------------------------------


def told(cert: Path, key: Path) -> str:
    with pytest.raises(SettingsError) as raised:
        Certificate(cert, key)
    return str(raised.value)


def test_files_that_cannot_be_used_are_told_in_plain_words(
    tmp_path: Path, authority: Authority, one: Pair, two: Pair
) -> None:
    nowhere, rubbish = tmp_path / "nowhere", tmp_path / "rubbish"
    rubbish.write_text("-----BEGIN NOTHING-----\nsecret\n")
    cases = {
        told(nowhere, one.key): "`--tls-cert` (`TURNOUT_TLS_CERT`): `",
        told(one.cert, nowhere): "`--tls-key` (`TURNOUT_TLS_KEY`): `",
        told(one.cert, two.key): "is not the key of the certificate in",
        told(rubbish, one.key): "holds no certificate (its chain after it) in PEM",
        told(one.cert, rubbish): "holds no private key in PEM",
        told(one.key, one.cert): "`--tls-cert`",
        told(one.cert, authority.encrypted(one)): "is encrypted: give one without a password",
    }
    for said, expected in cases.items():
        assert expected in said
        assert "secret" not in said
    assert all("no such file" in said for said in list(cases)[:2])


def test_a_key_that_everybody_can_read_is_warned_of(tmp_path: Path, one: Pair) -> None:
    assert tls.warnings(one.key) == ()
    open_to_all = tmp_path / "open.key"
    open_to_all.write_bytes(one.key.read_bytes())
    open_to_all.chmod(0o644)
    assert "can be read by everybody" in tls.warnings(open_to_all)[0]
