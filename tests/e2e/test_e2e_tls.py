"""HTTPS as users run it: real clients, several workers, a certificate that changes, a drain."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.certificates import Authority, Pair
from turnout.simulator.process import SimulatorProcess

from .conftest import Served, providers_of, start

ASKED = [{"role": "user", "content": "hello"}]
STREAMS = 100


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(["openai"], "--latency", "*=5ms/20ms") as running:
        yield running


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> Pair:
    made = authority.sign("first")
    pair = Pair(tmp_path / "tls.pem", tmp_path / "tls.key")
    put(pair, made)
    return pair


def put(there: Pair, pair: Pair) -> None:
    for source, file in ((pair.cert, there.cert), (pair.key, there.key)):
        fresh = file.with_suffix(".fresh")
        fresh.write_bytes(source.read_bytes())
        fresh.chmod(0o600)
        os.replace(fresh, file)


@pytest.fixture
def served(simulator: SimulatorProcess, pair: Pair, tmp_path: Path) -> Iterator[Served]:
    policy = providers_of({"openai": simulator}) + (
        "routing_policy:\n  - {name: all, route: openai/gpt-4o}\n"
    )
    flags = ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--workers", "2")
    running = start(tmp_path, policy, *flags)
    yield running
    running.stop()


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


def test_the_sdk_and_curl_speak_https_with_it(served: Served, authority: Authority) -> None:
    with httpx.Client(verify=trusting(authority)) as http:
        client: Any = openai.OpenAI(
            base_url=f"{served.url}/v1",
            api_key="any",
            http_client=http,  # type: ignore[arg-type]
        )
        whole = client.chat.completions.create(model="gpt-4o", messages=ASKED)
        assert whole.choices[0].message.content
        stream = client.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True)
        assert sum(1 for _ in stream) > 1
    asked = [f"{served.url}/health", "--silent", "--show-error", "--cacert", str(authority.file)]
    curl = subprocess.run(["curl", *asked], capture_output=True, timeout=20)
    assert b'"status"' in curl.stdout, curl.stderr
    unknown = subprocess.run(["curl", *asked[:3]], capture_output=True, timeout=20)
    assert unknown.returncode == 60  # nobody trusts it without its authority


def subject(served: Served, authority: Authority) -> str:
    host, port = served.url.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), 10) as plain:
        with trusting(authority).wrap_socket(plain, server_hostname="localhost") as secured:
            certificate: Any = secured.getpeercert()
            return str(dict(certificate["subject"][0])["commonName"])


def test_a_hang_up_shows_a_new_certificate_in_every_worker(
    served: Served, authority: Authority, pair: Pair
) -> None:
    assert subject(served, authority) == "first"
    with httpx.Client(base_url=served.url, verify=trusting(authority)) as client:
        assert client.get("/health").status_code == 200
        put(pair, authority.sign("second"))
        served.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        seen: list[str] = []
        while seen[-12:] != ["second"] * 12:
            assert time.monotonic() < deadline, seen
            seen.append(subject(served, authority))
        assert client.get("/health").status_code == 200  # over the connection of before


async def test_streams_over_tls_come_to_their_end_in_a_drain(
    served: Served, authority: Authority
) -> None:
    limits = httpx.Limits(max_connections=STREAMS)
    async with httpx.AsyncClient(
        base_url=f"{served.url}/v1", verify=trusting(authority), timeout=60, limits=limits
    ) as client:
        begun = asyncio.Semaphore(0)

        async def one() -> bool:
            body = {"model": "gpt-4o", "messages": ASKED, "stream": True}
            whole = b""
            async with client.stream("POST", "/chat/completions", json=body) as answer:
                async for piece in answer.aiter_bytes():
                    if not whole:
                        begun.release()
                    whole += piece
            return whole.endswith(b"data: [DONE]\n\n")

        streams = [asyncio.create_task(one()) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await begun.acquire()
        served.process.send_signal(signal.SIGTERM)
        assert all(await asyncio.gather(*streams))
    assert await asyncio.to_thread(served.stop) == 0


@pytest.mark.parametrize("flag", ["--tls-cert", "--tls-key"])
def test_half_a_pair_stops_the_start(tmp_path: Path, pair: Pair, flag: str) -> None:
    file = pair.cert if flag == "--tls-cert" else pair.key
    with pytest.raises(AssertionError, match="HTTPS needs both"):
        start(tmp_path, "routing_policy: []\n", flag, str(file))
