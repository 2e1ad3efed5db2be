"""Keys as operators and clients meet them: the command, four workers, the official SDKs."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.e2e.conftest import Served
from turnout.engine.state.database import FILE
from turnout.simulator.process import SimulatorProcess

POLICY = """\
breakers: {failures: 1000}
tenants:
  acme: {tier: pro}
routing_policy:
  - {name: asked, condition: 'model != "auto"', route: requested}
  - {name: rest, condition: true, route: openai/gpt-4o}
"""
HELLO: Any = [{"role": "user", "content": "Say hello."}]
ADMIN = "an-admin-key-of-30-characters!"
WITHIN_S = 2.0


def turnout(home: Path, *words: str) -> Any:
    """What a command prints as JSON."""
    ran = subprocess.run(
        [sys.executable, "-m", "turnout", *words, "--format", "json"],
        env=os.environ | {"TURNOUT_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def gateway(
    serve_for_all: Callable[..., Served],
    simulators: dict[str, SimulatorProcess],
    addresses: str,
) -> Iterator[Served]:
    settings = {"TURNOUT_AUTH": "keys", "TURNOUT_ADMIN_KEY": ADMIN}
    yield serve_for_all(POLICY + addresses, "--workers", "4", **settings)


def seen_by_all(url: str, key: str, status: int, until: float) -> bool:
    """Whether, before that moment, 24 connections in a row get this status."""
    headers = {"authorization": f"Bearer {key}"}
    # Each request over a connection of its own: some worker's.
    one_each = httpx.Limits(max_keepalive_connections=0)
    with (
        httpx.Client(base_url=url, headers=headers, limits=one_each) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        while time.monotonic() < until:
            told = pool.map(lambda _: client.get("/v1/models").status_code, range(24))
            if set(told) == {status}:
                return True
    return False


def created(gateway: Served, **terms: Any) -> Any:
    """A key made through the admin API."""
    response = httpx.post(
        f"{gateway.url}/v1/admin/keys",
        json={"tenant": "acme"} | terms,
        headers={"authorization": f"Bearer {ADMIN}"},
    )
    assert response.status_code == 201, response.text
    return response.json()


def test_a_revocation_is_seen_by_all_workers_within_two_seconds(gateway: Served) -> None:
    made = turnout(gateway.home, "keys", "create", "--tenant", "acme")
    assert seen_by_all(gateway.url, made["key"], 200, time.monotonic() + 30)
    turnout(gateway.home, "keys", "revoke", made["id"])
    assert seen_by_all(gateway.url, made["key"], 401, time.monotonic() + WITHIN_S)


def test_a_key_rotated_through_the_api_works_at_once_and_the_old_one_in_its_grace(
    gateway: Served,
) -> None:
    with httpx.Client(
        base_url=gateway.url, headers={"authorization": f"Bearer {ADMIN}"}
    ) as operator:
        wrong = operator.post("/v1/admin/keys", json={"tenant": "acme", "scopes": ["ai:raed"]})
        made = operator.post("/v1/admin/keys", json={"tenant": "acme", "expires": "30d"})
        first = made.json()
        path = f"/v1/admin/keys/{first['id']}"
        kept = operator.post(f"{path}/rotate", json={"grace": "1h"}).json()
        assert seen_by_all(gateway.url, kept["key"], 200, time.monotonic() + WITHIN_S)
        assert seen_by_all(gateway.url, first["key"], 200, time.monotonic() + WITHIN_S)
        cut = operator.post(f"{path}/rotate", json={"grace": "0"}).json()
        assert seen_by_all(gateway.url, kept["key"], 401, time.monotonic() + WITHIN_S)
        assert seen_by_all(gateway.url, cut["key"], 200, time.monotonic() + WITHIN_S)
        listed = operator.get("/v1/admin/keys?tenant=acme")
        revoked = operator.post(f"{path}/revoke", json={})
        missing = operator.post("/v1/admin/keys/key_none/revoke", json={})
        again = operator.post(f"{path}/rotate", json={})
        unsaid = operator.post("/v1/admin/keys", content=b'{"tenant": "x"}')
        with sqlite3.connect(gateway.home / FILE) as database:
            database.execute("UPDATE keys SET settings = '{' WHERE id = ?", (first["id"],))
        spoiled = operator.post(f"{path}/rotate", json={})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "scopes")
    assert "did you mean `ai:read`" in wrong.json()["error"]["message"]
    assert first["id"] in [key["id"] for key in listed.json()["data"]]
    for text in (first["key"], kept["key"], cut["key"]):
        assert text not in listed.text + revoked.text
    assert revoked.json()["status"] == "revoked"
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "key_not_found")
    assert (again.status_code, again.json()["error"]["code"]) == (400, "key_revoked")
    assert (spoiled.status_code, spoiled.json()["error"]["code"]) == (400, "key_spoiled")
    assert unsaid.status_code == 415


def test_the_official_clients_send_a_key_as_they_send_their_own(gateway: Served) -> None:
    made, other = created(gateway, user="ana"), created(gateway, tenant="initech")
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=made["key"], max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
        assert raw.parse().choices[0].message.content
        id = raw.headers["x-request-id"]
    with anthropic.Anthropic(base_url=gateway.url, api_key=made["key"], max_retries=0) as claude:
        said = claude.messages.create(model="claude-sonnet-4-5", messages=HELLO, max_tokens=50)
        assert said.content
    # Its trace is its tenant's, and nobody else's.
    told = {
        who: httpx.get(f"{gateway.url}/v1/traces/{id}", headers={"authorization": f"Bearer {key}"})
        for who, key in (("own", made["key"]), ("other", other["key"]), ("admin", ADMIN))
    }
    assert {who: one.status_code for who, one in told.items()} == {
        "own": 200,
        "other": 404,
        "admin": 200,
    }
    assert made["key"] not in "".join(one.text for one in told.values())


def test_the_official_clients_raise_what_they_raise_for_a_wrong_key(gateway: Served) -> None:
    read = created(gateway, scopes=["ai:read"])
    wrong = "tk_000000000000_" + 46 * "0"
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=wrong) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert caught.value.code == "invalid_api_key"
    assert wrong not in str(caught.value)
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=wrong) as claude,
        pytest.raises(anthropic.AuthenticationError),
    ):
        claude.messages.create(model="claude-sonnet-4-5", messages=HELLO, max_tokens=50)
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=read["key"]) as client,
        pytest.raises(openai.PermissionDeniedError) as kept_out,
    ):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert kept_out.value.code == "insufficient_scope"


def test_what_was_done_and_refused_is_in_the_log_without_a_secret(gateway: Served) -> None:
    made = created(gateway)
    assert seen_by_all(gateway.url, made["key"], 200, time.monotonic() + WITHIN_S)
    assert seen_by_all(gateway.url, f"{made['key']}x", 401, time.monotonic() + WITHIN_S)
    for file in (*gateway.home.glob("turnout.db*"), gateway.log):
        held = file.read_bytes()
        assert made["key"][16:].encode() not in held
        assert ADMIN.encode() not in held
