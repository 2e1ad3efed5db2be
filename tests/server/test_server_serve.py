"""`turnout serve` as a process: what it prints, and how it ends."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

POLICY = """
routing_policy:
  - name: default
    route: openai/gpt-4
"""
OFF = {"TURNOUT_AUTH": "off"}
CONFIRMED = OFF | {"TURNOUT_AUTH_OFF_CONFIRM": "yes"}
PATIENCE_S = 60

Launch = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    launched: list[asyncio.subprocess.Process] = []
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "turnout",
            "serve",
            *arguments,
            cwd=tmp_path,
            env=kept | {"TURNOUT_HOME": str(tmp_path / "state")} | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        launched.append(process)
        return process

    yield start
    for process in launched:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_it_says_in_one_line_what_it_serves_and_stops_when_told(
    tmp_path: Path, launch: Launch, workers: str
) -> None:
    (tmp_path / "routing.yml").write_text(POLICY)
    process = await launch(
        "--port",
        "0",
        "--workers",
        workers,
        OPENAI_API_KEY="sk-canary",
        # Meant for another program; it is not even there.
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "elsewhere"),
    )
    assert process.stdout is not None and process.stderr is not None
    line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).decode()
    assert line.startswith("turnout serves http://127.0.0.1:"), await process.stderr.read()
    url = line.split()[2]
    assert "policy routing.yml (sha256:" in line
    assert "openai" in line
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/ready")).json() == {"status": "ready"}
        response = await client.get("/v1/models")
        assert "alt-svc" not in response.headers
        assert b"turnout_open_streams 0.0" in (await client.get("/metrics")).content
    process.send_signal(signal.SIGTERM)
    out, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0, errors
    assert out == b""
    assert b"ERROR" not in errors and b"sk-canary" not in errors
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("policy", "arguments", "environment", "status", "told"),
    [
        (POLICY, ["--policy", "nope.yml"], {}, 2, "there is no file `nope.yml`"),
        (
            POLICY.replace("openai/gpt-4", "openai/gtp-4"),
            [],
            {},
            1,
            "routing.yml:4:12: error[RP301",
        ),
        (
            "attributes: {tenant: [acme, initech]}\n" + POLICY,
            [],
            {"TURNOUT_TENANT_ID": "acmee"},
            2,
            "TURNOUT_TENANT_ID is `acmee`, which the policy does not list among the values of "
            "`tenant`\n  help: did you mean `acme`?",
        ),
        (POLICY, [], {"TURNOUT_PORT": "x"}, 2, "`TURNOUT_PORT` is `x`"),
        (POLICY, ["--host", "0.0.0.0"], OFF, 2, "TURNOUT_AUTH_OFF_CONFIRM"),
        (POLICY, [], {}, 2, "OPENAI_API_KEY"),
        (POLICY, ["--host", "no.such.host.invalid"], OFF, 2, "TURNOUT_AUTH_OFF_CONFIRM"),
        (POLICY, [], {"TURNOUT_HOME": "/dev/null/x"}, 2, "TURNOUT_HOME"),
        (POLICY, [], {"TURNOUT_PORT": "9" * 5000}, 2, "write a number from 0 to 65535"),
        (POLICY, [], {"TURNOUT_MAX_BODY_BYTES": "9" * 5000}, 2, "at most 18 digits"),
        (POLICY, ["--host", "a..b"], CONFIRMED, 2, "there is no address `a..b`"),
        (POLICY, ["--host", "x" * 300], CONFIRMED, 2, "there is no address `xxx"),
        (
            POLICY,
            [],
            {"SSL_CERT_FILE": "/nonexistent", "OPENAI_API_KEY": "x"},
            2,
            "`SSL_CERT_FILE` or `SSL_CERT_DIR` names certificates that cannot be read",
        ),
    ],
    ids=lambda value: str(value)[:40].strip(),
)
async def test_what_cannot_be_served_is_refused_in_words(
    tmp_path: Path,
    launch: Launch,
    policy: str,
    arguments: list[str],
    environment: dict[str, str],
    status: int,
    told: str,
) -> None:
    (tmp_path / "routing.yml").write_text(policy)
    port = [] if "TURNOUT_PORT" in environment else ["--port", "0"]
    process = await launch(*port, *arguments, **environment)
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert told in errors.decode()
    assert "Traceback" not in errors.decode()
    assert process.returncode == status


async def test_a_port_in_use_is_told(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        process = await launch("--port", port, OPENAI_API_KEY="x")
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 2
    assert f"cannot listen on port {port}" in errors.decode()
    assert "--port 0" in errors.decode()
