"""Without keys, a hostile web page must neither spend nor read."""

from typing import Any

import httpx
import pytest

from turnout.server.guard import _is_reached

CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]}
APP = "https://app.example.com"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1", 200),
        ("127.8.9.10:1", 200),
        ("[::1]:8080", 200),
        ("gw.example.com", 200),
        ("GW.example.com:443", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("gw.example.com.evil.example", 403),
        ("evil.example:127", 403),
        ("127.0.0.1.evil.example", 403),
        ("128.0.0.1", 403),
        ("0.0.0.0", 403),
        ("[::2]", 403),
        ("evil@localhost", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("GET", "/health")],
)
async def test_only_our_own_hosts_are_answered(
    serve: Any, host: str, status: int, method: str, path: str
) -> None:
    sent = (
        f"{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n"
        "content-type: application/json\r\ncontent-length: 70\r\n\r\n"
        '{"model": "gpt-4", "messages": [{"role": "user", "content": "hihi"}]}'
    )
    async with serve(allowed_hosts=frozenset({"gw.example.com"}), host="0.0.0.0") as served:
        answer = await served.raw(sent.encode() + b" ")
        asked = len(served.gateway.requests)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    if status == 403:
        assert b'"code":"host_not_allowed"' in answer
        assert b"x-request-id: req_" in answer
        assert asked == 0


@pytest.mark.parametrize("hosts", ["", "host: localhost\r\nhost: localhost\r\n"])
async def test_a_request_has_exactly_one_host(served: Any, hosts: str) -> None:
    answer = await served.raw(f"GET /health HTTP/1.1\r\n{hosts}connection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"bad_host"' in answer


async def test_another_host_learns_nothing_of_routes(served: Any) -> None:
    answers = [
        await served.raw(
            b"GET %b HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n" % path
        )
        for path in (b"/nope", b"/health")
    ]
    assert [answer[9:12] for answer in answers] == [b"403", b"403"]


async def test_the_address_that_is_served_is_a_name_of_its_own(serve: Any) -> None:
    async with serve(host="10.1.2.3") as served, httpx.AsyncClient() as client:
        response = await client.get(f"{served.url}/health", headers={"host": "10.1.2.3:8080"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("host", "reached", "is_ours"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:8080", "10.1.2.3", True),
        ("10.1.2.3:8080", "::ffff:10.1.2.3", True),
        ("[::ffff:10.1.2.3]", "10.1.2.3", True),
        ("[fd00::7]:8080", "fd00::7", True),
        ("[FD00:0:0::7]", "fd00::7", True),
        ("[fe80::1]:8080", "fe80::1%eth0", True),
        ("[fe80::1%25eth0]:8080", "fe80::1%eth0", True),
        ("10.1.2.4", "10.1.2.3", False),
        ("[fd00::8]", "fd00::7", False),
        ("0.0.0.0", "10.1.2.3", False),
        ("10.1.2.3.evil.example", "10.1.2.3", False),
        ("10.1.2.3%evil.example", "10.1.2.3", False),
        ("167838211", "10.1.2.3", False),
        ("010.1.2.3", "10.1.2.3", False),
        ("pod.example", "10.1.2.3", False),
        ("", "", False),
        ("localhost", "", False),
    ],
)
def test_an_address_is_ours_where_the_connection_was_made_to_it(
    host: str, reached: str, is_ours: bool
) -> None:
    assert _is_reached(host, reached) is is_ours


async def test_a_probe_names_the_address_that_it_connects_to(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if this machine's address were one that others can reach too."""
    monkeypatch.setattr("turnout.server.guard.is_loopback", lambda _: False)
    # Settings that no other test has: who is ours is remembered.
    async with (
        serve(host="0.0.0.0", allowed_hosts=frozenset({"probed.example"})) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        told = [
            (await client.get("/ready", headers={"host": host})).status_code
            for host in (f"127.0.0.1:{served.port}", "127.0.0.2", "localhost", "probed.example")
        ]
    assert told == [200, 403, 403, 200]


async def test_without_listed_origins_there_is_no_cors(client: httpx.AsyncClient) -> None:
    asked = {"origin": APP, "access-control-request-method": "POST"}
    preflight = await client.options("/v1/chat/completions", headers=asked)
    answer = await client.get("/v1/models", headers={"origin": APP})
    assert preflight.status_code == 405
    assert not [name for r in (preflight, answer) for name in r.headers if "control-allow" in name]


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (APP, True),
        ("https://evil.example", False),
        ("https://app.example.com.evil.example", False),
        ("http://app.example.com", False),
        ("null", False),
    ],
)
async def test_a_listed_origin_may_ask(serve: Any, origin: str, welcome: bool) -> None:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type, x-stainless-lang",
    }
    async with (
        serve(cors_origins=frozenset({APP})) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        preflight = await client.options("/v1/chat/completions", headers=asked)
        plain = await client.post("/v1/chat/completions", json=CHAT, headers={"origin": origin})
        stream = await client.post(
            "/v1/chat/completions", json=CHAT | {"stream": True}, headers={"origin": origin}
        )
        missing = await client.get("/nope", headers={"origin": origin})
    assert preflight.status_code == (204 if welcome else 405)
    if welcome:
        allowed = preflight.headers["access-control-allow-headers"]
        assert allowed == "content-type, x-stainless-lang"
    for response in (preflight, plain, stream, missing):
        granted = response.headers.get("access-control-allow-origin")
        assert granted == (origin if welcome else None)
        assert "origin" in response.headers["vary"]
        assert response.headers["x-request-id"].startswith("req_")
