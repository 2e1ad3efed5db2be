"""Every route is behind the gate: in each mode, for each credential, before its body is read."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from turnout.engine.keys import Key, new_id, new_text
from turnout.engine.request import ADMIN, READ, WRITE
from turnout.engine.state.store import StoreError
from turnout.server.app import ROUTES
from turnout.server.gate import ADMIN_AFAR, PUBLIC, WRITE_OR_ADMIN, gated
from turnout.settings import Auth

from .keyed import ADMIN_KEY, Keys, bearer, serving

# What each route takes. A new route without an entry fails; so does one whose row says otherwise.
TAKES = {
    ("POST", "/v1/chat/completions"): WRITE,
    ("POST", "/v1/completions"): WRITE,
    ("POST", "/v1/responses"): WRITE,
    ("POST", "/v1/messages"): WRITE,
    ("POST", "/v1/messages/count_tokens"): WRITE,
    ("POST", "/v1/embeddings"): WRITE,
    ("POST", "/v1/explain"): READ,
    ("GET", "/v1/models"): READ,
    ("GET", "/v1/models/<name:path>"): READ,
    ("GET", "/v1/traces/<name:str>"): READ,
    ("GET", "/v1/costs"): READ,
    ("GET", "/v1/budgets"): READ,
    ("GET", "/v1/cache"): READ,
    ("POST", "/v1/cache/invalidate"): WRITE_OR_ADMIN,
    ("GET", "/v1/admin/tenants"): ADMIN,
    ("GET", "/v1/admin/tenants/<name:path>"): ADMIN,
    ("PUT", "/v1/admin/tenants/<name:path>"): ADMIN,
    ("PATCH", "/v1/admin/tenants/<name:path>"): ADMIN,
    ("DELETE", "/v1/admin/tenants/<name:path>"): ADMIN,
    ("POST", "/v1/admin/keys"): ADMIN,
    ("GET", "/v1/admin/keys"): ADMIN,
    ("POST", "/v1/admin/keys/<name:str>/rotate"): ADMIN,
    ("POST", "/v1/admin/keys/<name:str>/revoke"): ADMIN,
    ("GET", "/v1/admin/audit"): ADMIN,
    ("GET", "/health"): PUBLIC,
    ("GET", "/ready"): PUBLIC,
    ("GET", "/metrics"): ADMIN_AFAR,
}
# What is presented, and as which scopes or reason it is taken; None: as nobody, for want of a key.
KNOWN = {
    "full": {READ, WRITE, ADMIN},
    "plain": {READ, WRITE},
    "read": {READ},
    "write": {WRITE},
    "admin": {ADMIN},
    "in grace": {READ, WRITE},
    "rotated": {READ, WRITE},
    "TURNOUT_ADMIN_KEY": {READ, ADMIN},
}
UNKNOWN = (
    "expired",
    "revoked",
    "out of grace",
    "wrong secret",
    "unknown",
    "cut",
    "SQL",
)
FAR: Any = {"host": "0.0.0.0"}
BODIES = {
    "/v1/chat/completions": {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]},
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


def sent_to(path: str) -> str:
    return re.sub(r"<name:\w+>", "gpt-4", path)


def is_let_in(response: httpx.Response) -> bool:
    """Whether the route itself answered: well, or because of what was asked of it."""
    if response.status_code in (401, 403):
        return False
    return response.request.method == "HEAD" or "invalid_api_key" not in response.text


async def test_every_route_of_the_router_says_what_it_takes(served: Any) -> None:
    routed = {
        (method, f"/{route.path}")
        for route in served.app.router.routes
        for method in route.methods
        if method != "HEAD"
    }
    assert routed == set(TAKES)
    assert {(route.method, route.path): route.scope for route in ROUTES} == TAKES
    heads = {f"/{r.path}" for r in served.app.router.routes if "HEAD" in r.methods}
    assert heads == {path for method, path in TAKES if method == "GET"}


def test_a_route_that_names_no_scope_is_none() -> None:
    async def handler(incoming: Any) -> None:
        raise AssertionError

    with pytest.raises(ValueError, match="the scope of GET /x is none"):
        gated("GET /x", "", handler, reads_body=False)


@pytest.mark.parametrize("auth", [Auth.KEYS, Auth.PASSTHROUGH])
async def test_a_key_opens_what_its_scopes_say_and_nothing_else(
    serve: Any, stub_gateway: Any, keys: Keys, auth: Auth
) -> None:
    wrong: list[tuple[object, ...]] = []
    async with (
        serving(serve, stub_gateway, keys, auth, **FAR) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        for name in (*KNOWN, *UNKNOWN, None):
            headers = {} if name is None else bearer(keys.texts[name])
            for (method, path), takes in TAKES.items():
                asked = [method, "HEAD"] if method == "GET" else [method]
                for one in asked:
                    body = BODIES.get(path)
                    response = await client.request(one, sent_to(path), json=body, headers=headers)
                    needs = {WRITE_OR_ADMIN: {WRITE, ADMIN}, ADMIN_AFAR: {ADMIN}}.get(
                        takes, {takes}
                    )
                    welcome = takes is PUBLIC or bool(needs & KNOWN.get(name or "", set()))
                    status = 403 if name in KNOWN else 401
                    if is_let_in(response) is not welcome or not (
                        welcome or response.status_code == status
                    ):
                        wrong.append((name, one, path, response.status_code))
                    if name is not None and keys.texts[name] in response.text + str(
                        response.headers
                    ):
                        wrong.append((name, one, path, "echoed"))
    assert wrong == []


@pytest.mark.parametrize("admin", [True, False], ids=["admin key", "no admin key"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("name", [None, "plain", "unknown", "a provider's", "TURNOUT_ADMIN_KEY"])
async def test_without_keys_everybody_may_use_it_and_few_administer(
    serve: Any, stub_gateway: Any, keys: Keys, admin: bool, host: str, name: str | None
) -> None:
    is_operator = name == "TURNOUT_ADMIN_KEY" if admin else host == "127.0.0.1"
    headers = {} if name is None else bearer(keys.texts[name])
    told = {}
    async with (
        serving(serve, stub_gateway, keys, Auth.OFF, admin=admin, host=host, tenant="t") as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        for (method, path), takes in TAKES.items():
            body = BODIES.get(path)
            response = await client.request(method, sent_to(path), json=body, headers=headers)
            welcome = (
                takes in (PUBLIC, READ, WRITE, WRITE_OR_ADMIN)
                or is_operator
                or (takes is ADMIN_AFAR and host == "127.0.0.1")
            )
            if is_let_in(response) is not welcome:
                told[method, path] = response.status_code
    assert told == {}
    assert [one.caller.tenant for one in served.gateway.requests[:1]] == ["t"]


async def test_nobody_gets_further_than_the_method_by_options(
    serve: Any, stub_gateway: Any, keys: Keys
) -> None:
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        told = {
            (await client.request(method, sent_to(path))).status_code
            for _, path in TAKES
            for method in ("OPTIONS", "TRACE", "PATCH")
            if (method, path) not in TAKES
        }
    assert told == {405}


async def test_a_refusal_names_what_is_lacking(serve: Any, stub_gateway: Any, keys: Keys) -> None:
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        missing = await client.get("/v1/models")
        unknown = await client.get("/v1/models", headers=bearer(keys.texts["unknown"]))
        expired = await client.get("/v1/models", headers=bearer(keys.texts["expired"]))
        lacking = await client.get("/v1/models", headers=bearer(keys.texts["write"]))
        anthropic = await client.post("/v1/messages", json={}, headers={"x-api-key": "tk_no"})
        basic = await client.get("/v1/models", headers={"authorization": "Basic YTpi"})
    for response in (missing, unknown, expired, basic):
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (401, "invalid_api_key")
        assert (error["type"], error["param"]) == ("invalid_request_error", None)
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-request-id"].startswith("req_")
    assert keys.keys["expired"].id in expired.json()["error"]["message"]
    assert "Bearer" in basic.json()["error"]["message"]
    error = lacking.json()["error"]
    assert (lacking.status_code, error["code"]) == (403, "insufficient_scope")
    assert "`ai:read`" in error["message"] and keys.keys["write"].id in error["message"]
    envelope = anthropic.json()
    assert (anthropic.status_code, envelope["type"]) == (401, "error")
    assert envelope["error"]["type"] == "authentication_error"
    assert anthropic.headers["request-id"] == envelope["request_id"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("authorization", "Bearer {plain}"), ("x-api-key", "{plain}")], 200),
        ([("authorization", "bearer {plain}")], 200),
        ([("authorization", "Bearer   {plain}")], 200),
        ([("x-api-key", "{plain}")], 200),
        ([("x-turnout-key", "{plain}")], 200),
        ([("x-api-key", ""), ("authorization", "Bearer {plain}")], 200),
        ([("authorization", "Bearer {plain}"), ("x-api-key", "{full}")], 400),
        ([("authorization", "Bearer {plain}"), ("authorization", "Bearer {full}")], 400),
        ([("authorization", "Bearer {plain}"), ("x-turnout-key", "{full}")], 400),
        ([("x-api-key", "{plain}"), ("x-api-key", "{unknown}")], 400),
        ([("x-turnout-key", "{plain}"), ("x-turnout-key", "{full}")], 400),
        ([("authorization", "{plain}")], 401),
        ([("authorization", "Bearer")], 401),
        ([("authorization", "Token {plain}")], 401),
        ([("authorization", "Bearer {plain} {plain}")], 401),
        ([("cookie", "authorization={plain}")], 401),
        ([("proxy-authorization", "Bearer {plain}")], 401),
    ],
    ids=str,
)
async def test_one_key_comes_in_one_of_three_headers(
    serve: Any, stub_gateway: Any, keys: Keys, headers: list[tuple[str, str]], status: int
) -> None:
    filled = [(name, value.format(**keys.texts)) for name, value in headers]
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        response = await client.get("/v1/models", headers=filled)
    assert response.status_code == status, response.text
    if status == 400:
        assert response.json()["error"]["code"] == "conflicting_credentials"
    assert keys.texts["plain"] not in response.text


@pytest.mark.parametrize(
    ("path", "headers", "caller", "provider", "pays"),
    [
        ("/v1/chat/completions", {"authorization": "Bearer sk-proj-1"}, "t", "openai", False),
        ("/v1/chat/completions", {"authorization": "Bearer sk-ant-1"}, "t", "anthropic", False),
        ("/v1/chat/completions", {"authorization": "Bearer sk-or-v1-1"}, "t", "openrouter", False),
        ("/v1/chat/completions", {"authorization": "Bearer gsk_1"}, "t", "groq", False),
        ("/v1/chat/completions", {"authorization": "Bearer xai-1"}, "t", "xai", False),
        ("/v1/chat/completions", {"authorization": "Bearer AIza1"}, "t", "gemini", False),
        ("/v1/chat/completions", {"authorization": "Bearer two words"}, "t", "openai", False),
        ("/v1/messages", {"x-api-key": "whose is it"}, "t", "anthropic", False),
        ("/v1/messages", {"x-api-key": "sk-proj-1"}, "t", "openai", False),
        (
            "/v1/messages",
            {"x-api-key": "sk-ant-1", "x-turnout-key": "{ana}"},
            "acme",
            "anthropic",
            True,
        ),
        ("/v1/messages", {"x-turnout-key": "{ana}"}, "acme", None, True),
        ("/v1/messages", {"x-api-key": "{ana}"}, "acme", None, True),
    ],
    ids=str,
)
async def test_a_providers_key_passes_through_beside_a_turnout_key_or_alone(
    serve: Any,
    stub_gateway: Any,
    keys: Keys,
    path: str,
    headers: dict[str, str],
    caller: str,
    provider: str | None,
    pays: bool,
) -> None:
    filled = {name: value.format(**keys.texts) for name, value in headers.items()}
    body = BODIES["/v1/chat/completions"] | {"max_tokens": 1}
    async with (
        serving(serve, stub_gateway, keys, Auth.PASSTHROUGH, tenant="t") as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        response = await client.post(path, json=body, headers=filled)
        (request,) = served.gateway.requests
    assert response.status_code == 200, response.text
    assert (request.caller.tenant, request.gateway_pays) == (caller, pays)
    assert ADMIN not in request.caller.scopes
    if provider is None:
        assert request.own is None
    else:
        sent = filled.get("x-api-key") or filled["authorization"].removeprefix("Bearer ")
        assert (request.own.provider, request.own.secret) == (provider, sent)
        assert sent not in repr(request)
    assert not {"authorization", "x-api-key", "x-turnout-key"} & set(request.headers)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer sk-1", "x-turnout-key": "{unknown}"}, 401),
        ({"authorization": "Bearer sk-1", "x-turnout-key": "{expired}"}, 401),
        ({"authorization": "Bearer sk-1", "x-turnout-key": "sk-1"}, 401),
        ({"authorization": "Bearer tk_mistyped"}, 401),
        ({"authorization": "Basic c2stMQ=="}, 401),
        ({"authorization": "Bearer sk-1", "x-api-key": "sk-2"}, 400),
        ({"authorization": "Bearer {ana}", "x-turnout-key": "{plain}"}, 400),
        ({"authorization": "Bearer {ana}", "x-api-key": "sk-1"}, 400),
        ({"authorization": "Bearer {TURNOUT_ADMIN_KEY}", "x-turnout-key": "{ana}"}, 400),
        ({"authorization": "Bearer {TURNOUT_ADMIN_KEY}"}, 403),
        # Mistyped keys of ours, which would reach whoever speaks OpenAI's protocol.
        ({"authorization": "Bearer Bearer {ana}"}, 401),
        ({"authorization": 'Bearer "{ana}"'}, 401),
        ({"authorization": "Bearer api-key={ana}"}, 401),
        ({"authorization": "Bearer x{ana}"}, 401),
        ({"authorization": "Bearer sk-1,{ana}"}, 401),
        ({"authorization": "Bearer TK_{ana}"}, 401),
        ({"x-api-key": "'{ana}'"}, 401),
        ({"authorization": "Bearer Bearer {TURNOUT_ADMIN_KEY}"}, 401),
        ({"x-api-key": "'{TURNOUT_ADMIN_KEY}'"}, 401),
    ],
    ids=str,
)
async def test_what_is_wrong_with_a_turnout_key_is_not_passed_over(
    serve: Any, stub_gateway: Any, keys: Keys, headers: dict[str, str], status: int
) -> None:
    filled = {name: value.format(**keys.texts) for name, value in headers.items()}
    async with (
        serving(serve, stub_gateway, keys, Auth.PASSTHROUGH) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        response = await client.post("/v1/chat/completions", json={}, headers=filled)
    assert response.status_code == status, response.text
    assert served.gateway.requests == []


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("plain", ("acme", None, None)),
        ("ana", ("acme", "search", "ana")),
        ("full", (None, None, None)),
        ("TURNOUT_ADMIN_KEY", (None, None, None)),
    ],
)
async def test_a_trace_is_looked_for_among_the_callers_own(
    serve: Any, stub_gateway: Any, keys: Keys, name: str, asked: tuple[str | None, ...]
) -> None:
    class Asked(stub_gateway):  # type: ignore[misc]
        async def trace(self, id: str, *whose: str | None) -> dict[str, Any]:
            return {"whose": (*whose, None, None)[:3]}

    async with (
        serving(serve, Asked, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        response = await client.get("/v1/traces/req_1", headers=bearer(keys.texts[name]))
    assert response.json()["whose"] == list(asked)


async def test_who_brings_a_providers_key_alone_sees_nothing_of_its_tenant(
    serve: Any, stub_gateway: Any, keys: Keys
) -> None:
    class Asked(stub_gateway):  # type: ignore[misc]
        async def trace(self, id: str, *whose: str | None, **more: bool) -> dict[str, Any]:
            return {"whose": whose, **more}

    alone = {"authorization": "Bearer sk-proj-1"}
    beside = alone | {"x-turnout-key": keys.texts["plain"]}
    async with (
        serving(serve, Asked, keys, Auth.PASSTHROUGH, tenant="t") as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        for path in ("/v1/costs", "/v1/costs?tenant=t", "/v1/costs?nonsense=1", "/v1/budgets"):
            refused = await client.get(path, headers=alone)
            code = refused.json()["error"]["code"]
            assert (path, refused.status_code, code) == (path, 403, "insufficient_scope")
        for path in ("/v1/costs", "/v1/budgets"):
            assert (await client.get(path, headers=beside)).status_code == 200
        trace = await client.get("/v1/traces/req_1", headers=alone)
        known = await client.get("/v1/traces/req_1", headers=beside)
    assert trace.json() == {"whose": ["t"], "of_strangers": True}
    assert known.json() == {"whose": ["acme", None, None]}


async def test_strangers_from_afar_see_of_health_only_that_it_is_well(
    serve: Any, stub_gateway: Any, keys: Keys
) -> None:
    told = {}
    for host in ("127.0.0.1", "0.0.0.0"):
        async with (
            serving(serve, stub_gateway, keys, Auth.KEYS, host=host) as served,
            httpx.AsyncClient(base_url=served.url) as client,
        ):
            told[host] = set((await client.get("/health")).json())
            proxied = await client.get("/health", headers={"x-forwarded-for": "10.0.0.1"})
            operator = await client.get("/health", headers=bearer(ADMIN_KEY))
            assert set(proxied.json()) == {"status", "gateway"}
            assert "requests" in operator.json()
    assert "requests" in told["127.0.0.1"]
    assert told["0.0.0.0"] == {"status", "gateway"}


async def test_who_is_refused_sends_no_body_takes_no_seat_and_is_audited(
    serve: Any, stub_gateway: Any, keys: Keys
) -> None:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {keys.texts['revoked']}\r\ncontent-length: 9000000\r\n"
        "expect: 100-continue\r\n\r\n"
    )
    async with serving(serve, stub_gateway, keys, Auth.KEYS) as served:
        answer = await served.raw(head.encode())
        assert served.app.ctx.admission.under_way == 0
        text = served.app.ctx.metrics.render().decode()
    assert answer.startswith(b"HTTP/1.1 401 ")
    (event,) = served.gateway.audit.events
    assert (event.actor, event.action) == (keys.keys["revoked"].id, "request.refuse")
    assert (event.object, event.outcome) == ("POST /v1/chat/completions", "refused")
    assert event.detail["code"] == "key_revoked"
    assert keys.texts["revoked"] not in repr(event)
    assert 'turnout_refused_total{reason="key_revoked"} 1.0' in text


async def test_who_asks_for_what_operators_may_is_audited_as_such(
    serve: Any, stub_gateway: Any, keys: Keys
) -> None:
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        await client.get("/v1/admin/keys", headers=bearer(keys.texts["plain"]))
    (event,) = served.gateway.audit.events
    assert (event.actor, event.action) == (keys.keys["plain"].id, "admin.refuse")
    assert event.detail["code"] == "scope_missing"


async def test_a_database_that_is_down_is_no_401_and_known_keys_go_on(
    serve: Any, stub_gateway: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise StoreError("disk I/O error")

    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        known = bearer(keys.texts["plain"])
        assert (await client.get("/v1/models", headers=known)).status_code == 200
        monkeypatch.setattr(keys.store, "find", broken)
        monkeypatch.setattr(keys.store, "changed", broken)
        await served.gateway.keys.refresh()
        again = await client.get("/v1/models", headers=known)
        unseen = await client.get("/v1/models", headers=bearer(keys.texts["read"]))
        no_key = await client.get("/v1/models", headers=bearer("nonsense"))
    assert (again.status_code, no_key.status_code) == (200, 401)
    assert (unseen.status_code, unseen.json()["error"]["code"]) == (503, "keys_unreadable")
    assert unseen.headers["retry-after"] == "1"
    # Once it can be read, nothing of that is remembered.
    monkeypatch.undo()
    found = await served.gateway.keys.identify(keys.texts["read"])
    assert found == keys.keys["read"]


async def test_junk_does_not_flood_the_database(
    serve: Any, stub_gateway: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    find = keys.store.find

    def counted(ids: Sequence[str]) -> list[Key]:
        asked.append(len(ids))
        return find(ids)

    monkeypatch.setattr(keys.store, "find", counted)
    junk = [new_text(new_id()) for _ in range(60)]
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url, limits=httpx.Limits(max_connections=50)) as client,
    ):
        for _ in range(2):
            told = await asyncio.gather(
                *(client.get("/v1/models", headers=bearer(text)) for text in junk)
            )
            assert {response.status_code for response in told} == {401}
        plain = [await client.get("/v1/models", headers=bearer("tk_junk")) for _ in range(5)]
    assert {response.status_code for response in plain} == {401}
    assert sum(asked) == len(junk)  # each once
    assert len(asked) < len(junk)  # several at a time
