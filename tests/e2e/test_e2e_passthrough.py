"""Callers' own keys through a real gateway, over real sockets: each goes to its provider alone."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.adapters.test_adapters_origin import COMPLETION, Listener, listening, told
from tests.e2e.conftest import Served, start

POLICY = """
routing_policy:
  - {name: all, route: requested, retries: 0}
fallback_chain:
  - {to: openai/gpt-4o, retries: 0}
  - {to: groq/llama-3-8b, retries: 0}
  - {to: house/big, retries: 0}
providers:
  house: {kind: openai, base_url: "HOUSE"}
targets:
  house/big: {price: 0}
"""
# A provider's own origin is fixed; here it is on this machine, in whichever process asks for it.
SITE = """
from turnout.adapters import PROVIDERS
for kind, port in {ports!r}.items():
    PROVIDERS[kind].default_base_url = f"http://127.0.0.1:{{port}}/v1"
"""
A, B = "sk-canary-of-a-0123456789abcdef", "gsk_canary-of-b-0123456789abcdef"
GATEWAYS = "gsk_canary-of-the-gateway-012345"
ASKED = {A: "openai/gpt-4o", B: "groq/llama-3-8b"}


@dataclass
class Track:
    gateway: Served
    openai: Listener
    groq: Listener
    house: Listener

    async def post(self, client: httpx.AsyncClient, key: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", **more.pop("headers", {})}
        body = {
            "model": more.pop("model", None) or ASKED[key],
            "messages": [{"role": "user", "content": more.pop("text", "hi")}],
            **more.pop("body", {}),
        }
        url = f"{self.gateway.url}/v1/{more.pop('path', 'chat/completions')}"
        return await client.post(url, json=body, headers=headers, **more)


@asynccontextmanager
async def tracks(folder: Path) -> AsyncIterator[Track]:
    async with (
        listening(told(200, COMPLETION)) as openai,
        listening(told(200, COMPLETION)) as groq,
        listening(told(200, COMPLETION)) as house,
    ):
        site = folder / "site"
        site.mkdir()
        ports = {"openai": openai.port, "groq": groq.port}
        (site / "sitecustomize.py").write_text(SITE.format(ports=ports))
        before = os.environ.get("PYTHONPATH")
        environment = {
            "TURNOUT_AUTH": "passthrough",
            "TURNOUT_LOG_LEVEL": "debug",
            "OPENAI_API_KEY": "",
            "ANTHROPIC_API_KEY": "",
            "GROQ_API_KEY": GATEWAYS,
            "HOUSE_API_KEY": GATEWAYS,
            "PYTHONPATH": f"{site}:{before}" if before else str(site),
        }
        policy = POLICY.replace("HOUSE", f"http://127.0.0.1:{house.port}/v1")
        flags = ("--workers", "2")
        served = await asyncio.to_thread(partial(start, folder, policy, *flags, **environment))
        try:
            yield Track(served, openai, groq, house)
        finally:
            assert await asyncio.to_thread(served.stop) == 0


def keys_of(listener: Listener) -> dict[str, str]:
    """The key that came with each text."""
    found: dict[str, str] = {}
    for head, body in listener.requests:
        (line,) = [one for one in head.decode().split("\r\n") if one.startswith("authorization:")]
        found[orjson.loads(body)["messages"][0]["content"]] = line.partition("Bearer ")[2]
    return found


async def test_each_key_goes_to_its_own_provider_and_stays_nowhere(tmp_path: Path) -> None:
    limits = httpx.Limits(max_connections=64)
    async with (
        tracks(tmp_path) as track,
        httpx.AsyncClient(timeout=60, limits=limits) as client,
    ):
        # Two callers at the same time: no key is seen by the other's provider, none by a third.
        keys = [(A, B)[number % 2] for number in range(200)]
        answers = await asyncio.gather(
            *(track.post(client, key, text=f"{at} of {key[-20:]}") for at, key in enumerate(keys))
        )
        assert {answer.status_code for answer in answers} == {200}
        for listener, key in ((track.openai, A), (track.groq, B)):
            seen = keys_of(listener)
            assert len(listener.requests) == len(seen) == 100
            assert set(seen.values()) == {key}
            assert all(text.endswith(key[-20:]) for text in seen)

        # A fails: B's provider and the gateway's own are not asked in its place.
        track.openai.answer = told(500, b'{"error":{"message":"down","type":"server_error"}}')
        failed = await track.post(client, A)
        assert failed.status_code == 502
        trace = await client.get(
            f"{track.gateway.url}/v1/traces/{failed.headers['x-request-id']}",
            headers={"authorization": f"Bearer {A}"},
        )
        hops = [(hop["target"], hop["outcome"], hop["payer"]) for hop in trace.json()["hops"]]
        assert hops[0] == ("openai/gpt-4o", "failed", "caller")
        reasons = {hop["target"]: hop["reason"] for hop in trace.json()["hops"][2:]}
        assert set(reasons) == {"groq/llama-3-8b", "house/big"}
        assert reasons["groq/llama-3-8b"] == "the caller's own key is not for it"
        # Of the key's own kind, but at another address.
        assert reasons["house/big"].endswith(
            "not for it: its address is not that of `openai` itself"
        )
        assert "canary" not in trace.text

        # A refused key is its caller's affair, told without the key that the provider repeats.
        echo = {"error": {"message": f"Incorrect API key provided: {A}.", "code": A, "param": A}}
        track.openai.answer = told(401, orjson.dumps(echo))
        refused = await track.post(client, A)
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
        assert "canary" not in refused.text + str(refused.headers)

        # What a client sends beside its key changes nothing, and a wrong key of ours is refused.
        track.openai.answer = told(200, COMPLETION)
        evil = f"http://127.0.0.1:{track.house.port}"
        names = ("api_base", "base_url", "x-prefiller-url", "x-base-url", "host_override", "model")
        track.openai.requests.clear()
        for more in (
            {"headers": {name: evil for name in names if name != "model"}},
            {"params": dict.fromkeys(names, evil)},
            {"body": {**dict.fromkeys(names[:2], evil), "extra_headers": {"x-evil": "1"}}},
            {"headers": {"cookie": "canary", "proxy-authorization": "Basic canary"}},
        ):
            assert (await track.post(client, A, **more)).status_code == 200
        for head in track.openai.heads:
            named = {line.partition(":")[0] for line in head.split("\r\n")[1:] if line}
            assert named <= {
                "host", "user-agent", "accept-encoding", "content-type", "authorization", "accept",
                "content-length",
            }  # fmt: skip
            assert head.count("canary") == 1
        wrong = await track.post(client, A, headers={"x-turnout-key": "tk_canary_wrong"})
        assert wrong.status_code == 401 and "canary" not in wrong.text

        # It sees what it is for.
        url = f"{track.gateway.url}/v1/models"
        listed = await client.get(url, headers={"authorization": f"Bearer {B}"})
        assert {model["owned_by"] for model in listed.json()["data"]} == {"turnout", "groq"}

        assert track.house.connections == 0
        assert len(track.groq.requests) == 100
    for file in (tmp_path / "home").rglob("*"):
        if file.is_file():
            assert b"canary" not in file.read_bytes(), file.name
    assert b"canary" not in (tmp_path / "gateway.log").read_bytes()
    with sqlite3.connect(next((tmp_path / "home").glob("*.db"))) as database:
        payers = {payer for (payer,) in database.execute("SELECT DISTINCT payer FROM ledger")}
        rows = database.execute("SELECT count(*) FROM ledger").fetchone()
    assert payers == {"caller"}
    assert rows == (206,)
