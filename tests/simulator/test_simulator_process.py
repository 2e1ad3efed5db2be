"""The simulator as a program: ports, counts, what it received, and its end."""

import json
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from turnout.simulator.latency import Latency, LatencyTable, duration_us, parse_latency
from turnout.simulator.process import SimulatorProcess

BODY: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": "hello world"}]}
KEY = {"authorization": "Bearer sk-secret-canary"}
MODULE = [sys.executable, "-m", "turnout.simulator"]


def test_counts_tell_how_every_request_ended(simulator: SimulatorProcess) -> None:
    url = simulator.base_url("openai") + "/chat/completions"
    httpx.post(url, json=BODY, headers=KEY)
    httpx.post(url, json={**BODY, "messages": []}, headers=KEY)
    simulator.fault({"kind": "status", "status": 500})
    httpx.post(url, json=BODY, headers=KEY)
    stats = simulator.stats()
    counts = stats["models"]["openai/gpt-4"]
    ends = {name: counts[name] for name in ("completed", "refused", "faulted", "cut_by_client")}
    assert counts["requests"] == 3
    assert ends == {"completed": 1, "refused": 1, "faulted": 1, "cut_by_client": 0}
    assert counts == stats["total"]
    assert counts["bytes_in"] > 100 and counts["bytes_out"] > 500


def test_a_client_that_leaves_early_is_counted(simulator: SimulatorProcess) -> None:
    simulator.fault({"kind": "delay", "at": "chunk", "after": 2})
    url = simulator.base_url("openai") + "/chat/completions"
    with httpx.stream("POST", url, json={**BODY, "stream": True}, headers=KEY) as response:
        next(response.iter_raw())
    deadline = time.monotonic() + 5
    while simulator.stats()["total"]["cut_by_client"] != 1:
        assert time.monotonic() < deadline


def test_what_was_received_is_shown_without_credentials(simulator: SimulatorProcess) -> None:
    headers = {**KEY, "x-api-key": "sk-secret-canary", "x-other": "shown"}
    for words in ("one", "two"):
        body = {**BODY, "user": words}
        httpx.post(simulator.base_url("groq") + "/chat/completions", json=body, headers=headers)
    (last,) = simulator.requests(last=1)
    assert last["body"] == {**BODY, "user": "two"}
    assert last["path"] == "/openai/v1/chat/completions"
    assert (last["provider"], last["model"]) == ("groq", "gpt-4")
    assert last["headers"]["x-other"] == "shown"
    assert last["headers"]["authorization"].startswith("Bearer [redacted sha256:")
    assert "canary" not in json.dumps(last)
    assert [one["body"]["user"] for one in simulator.requests()] == ["one", "two"]


@pytest.mark.parametrize("prefix", ["", "/openai", "/groq/openai", "/a/b"])
def test_any_prefix_before_v1_is_served(simulator: SimulatorProcess, prefix: str) -> None:
    origin = f"http://127.0.0.1:{simulator.port('openai')}"
    assert httpx.post(f"{origin}{prefix}/v1/chat/completions", json=BODY, headers=KEY).is_success
    assert httpx.get(f"{origin}{prefix}/v1/models", headers=KEY).is_success


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/nothing"), ("GET", "/v1/chat/completions"), ("GET", "/")]
)
def test_an_unknown_url_is_a_404_in_the_providers_shape(
    simulator: SimulatorProcess, method: str, path: str
) -> None:
    answer = httpx.request(method, f"http://127.0.0.1:{simulator.port('openai')}{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"


def test_requests_come_in_any_pieces_chunked_and_pipelined(simulator: SimulatorProcess) -> None:
    body = json.dumps(BODY).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nAuthorization: Bearer k\r\n"
    plain = head + b"content-length: %d\r\n\r\n" % len(body) + body
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    chunked = head + b"transfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
    closing = plain.replace(b"host: x", b"host: x\r\nconnection: close")
    with socket.create_connection(("127.0.0.1", simulator.port("openai")), timeout=5) as peer:
        for at in range(0, len(chunked), 11):
            peer.sendall(chunked[at : at + 11])
        peer.sendall(plain + closing)
        received = b""
        while more := peer.recv(65536):
            received += more
    assert received.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("bad", [b"rubbish\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"])
def test_what_is_no_http_is_turned_away(simulator: SimulatorProcess, bad: bytes) -> None:
    with socket.create_connection(("127.0.0.1", simulator.port("openai")), timeout=5) as peer:
        peer.sendall(bad)
        assert peer.recv(100).startswith(b"HTTP/1.1 400")


def test_only_the_key_and_models_it_was_given_are_accepted() -> None:
    options = ["--key", "sk-right", "--model", "openai/gpt-4"]
    with SimulatorProcess(["openai"], *options) as simulator:
        url = simulator.base_url("openai") + "/chat/completions"
        wrong = httpx.post(url, json=BODY, headers=KEY)
        right = {"authorization": "Bearer sk-right"}
        unknown = httpx.post(url, json={**BODY, "model": "gpt-5"}, headers=right)
        good = httpx.post(url, json=BODY, headers=right)
        assert simulator.providers == ["openai"]
    assert [wrong.status_code, unknown.status_code, good.status_code] == [401, 404, 200]
    assert unknown.json()["error"]["code"] == "model_not_found"


def test_the_first_token_takes_the_models_latency() -> None:
    with SimulatorProcess(["openai"], "--latency", "slow-*=120ms/5ms") as simulator:
        url = simulator.base_url("openai") + "/chat/completions"
        body = {**BODY, "model": "slow-one", "max_tokens": 10}
        whole = httpx.post(url, json=body, headers=KEY)
        assert whole.elapsed.total_seconds() >= 0.17
        started = time.monotonic()
        with httpx.stream("POST", url, json={**body, "stream": True}, headers=KEY) as response:
            stream = response.iter_raw()
            next(stream)
            first = time.monotonic() - started
            for _ in stream:
                pass
        assert 0.12 <= first
        assert time.monotonic() - started >= 0.12 + 0.045  # the first may come late, not early


@pytest.mark.parametrize(
    ("text", "us"), [("20ms", 20_000), ("1.5s", 1_500_000), ("7us", 7), ("0", 0), ("3", 3_000)]
)
def test_durations_are_read(text: str, us: int) -> None:
    assert duration_us(text) == us


@pytest.mark.parametrize("text", ["fast", "-1ms", "1h", ""])
def test_what_is_no_duration_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration_us(text)


def test_the_first_pattern_that_fits_gives_the_latency() -> None:
    table = LatencyTable([parse_latency("groq/*=1ms"), parse_latency("gpt-4=2ms/1ms")])
    assert table.of("groq", "gpt-4") == Latency(1_000, 0)
    assert table.of("openai", "gpt-4") == Latency(2_000, 1_000)
    assert table.of("openai", "claude-sonnet").first_us > 2_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_promptly_with_code_0_even_with_a_client_that_waits(number: int) -> None:
    command = [*MODULE, "--provider", "openai", "--provider", "groq", "--port", "0"]
    with subprocess.Popen(
        [*command, "--print-ports", "json"], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        assert set(ports) == {"openai", "groq"}
        with socket.create_connection(("127.0.0.1", ports["groq"]["port"]), timeout=5):
            started = time.monotonic()
            process.send_signal(number)
            assert process.wait(5) == 0
            assert time.monotonic() - started < 2


def test_it_ends_with_the_program_that_started_it() -> None:
    command = [*MODULE, "--provider", "openai", "--port", "0", "--until-stdin-closes"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        line = process.stdout.readline().decode()
        assert line.startswith("openai  http://127.0.0.1:")
        process.stdin.close()
        assert process.wait(5) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--provider", "oopsai"], "`oopsai` is not simulated"),
        (["--provider", "groq", "--provider", "groq"], "named twice"),
        (["--provider", "groq:x"], "port must be a number"),
        (["--latency", "groq"], "is no latency"),
    ],
)
def test_options_that_mean_nothing_end_it_with_code_2(options: list[str], words: str) -> None:
    done = subprocess.run([*MODULE, *options], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_port_in_use_ends_it_with_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [*MODULE, "--provider", "openai", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "cannot listen" in done.stderr
