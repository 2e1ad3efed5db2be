"""Every route, every status: the same envelope, the same request id."""

import re
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from turnout.engine.request import Reply, Request, RequestError
from turnout.server.app import ROUTES

CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = CHAT | {"max_tokens": 9}
EMBED = {"model": "text-embedding-3-small", "input": "hi"}


@dataclass(frozen=True)
class Case:
    method: str
    path: str
    status: int
    body: Any = None
    route: str | None = None
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None


GOOD = [
    Case("POST", "/v1/chat/completions", 200, CHAT, "/v1/chat/completions"),
    Case("POST", "/v1/completions", 200, {"model": "m", "prompt": "hi"}, "/v1/completions"),
    Case("POST", "/v1/responses", 200, {"model": "m", "input": "hi"}, "/v1/responses"),
    Case("POST", "/v1/messages", 200, MESSAGE, "/v1/messages"),
    Case("POST", "/v1/messages/count_tokens", 200, CHAT, "/v1/messages/count_tokens"),
    Case("POST", "/v1/embeddings", 200, EMBED, "/v1/embeddings"),
    Case("POST", "/v1/explain", 200, CHAT, "/v1/explain"),
    Case("GET", "/v1/models", 200, route="/v1/models"),
    Case("GET", "/v1/models/gpt-4", 200, route="/v1/models/<name:path>"),
    Case("GET", "/v1/traces/req_known", 200, route="/v1/traces/<name:str>"),
    Case("GET", "/v1/costs?by=model", 200, route="/v1/costs"),
    Case("GET", "/v1/budgets", 200, route="/v1/budgets"),
    Case("GET", "/v1/cache", 200, route="/v1/cache"),
    Case("POST", "/v1/cache/invalidate", 200, {"pattern": "*"}, "/v1/cache/invalidate"),
    Case("GET", "/health", 200, route="/health"),
    Case("GET", "/ready", 200, route="/ready"),
    Case("GET", "/metrics", 200, route="/metrics"),
]

BAD = [
    Case("GET", "/nope", 404),
    Case("GET", "/", 404),
    Case("POST", "/v1/chat/completions/more", 404, CHAT),
    Case("GET", "/v1/models/nope", 404, code="model_not_found"),
    Case("GET", "/v1/traces/req_unknown", 404, code="trace_not_found"),
    Case("GET", "/v1/costs?order=up", 400, code="unknown_parameter", param="order"),
    Case("GET", "/v1/costs?tenant=other", 403, code="insufficient_scope", param="tenant"),
    Case("GET", "/v1/chat/completions", 405),
    Case("DELETE", "/health", 405),
    Case("OPTIONS", "/v1/models", 405),
    Case("PUT", "/v1/embeddings", 405, EMBED),
    Case("BREW", "/health", 405),
    Case(
        "POST",
        "/v1/embeddings",
        400,
        {"model": "m"},
        code="missing_required_parameter",
        param="input",
    ),
    Case("POST", "/v1/explain", 400, [], code="invalid_type"),
    Case(
        "POST",
        "/v1/chat/completions",
        400,
        {"messages": CHAT["messages"]},
        code="missing_required_parameter",
        param="model",
    ),
]


def assert_envelope(response: httpx.Response, case: Case) -> None:
    assert response.status_code == case.status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert (error["type"], error["code"], error["param"]) == (case.type, case.code, case.param)


@pytest.mark.parametrize("case", GOOD, ids=lambda case: f"{case.method} {case.path}")
async def test_a_route_answers_and_names_the_request(client: httpx.AsyncClient, case: Case) -> None:
    response = await client.request(case.method, case.path, json=case.body)
    assert response.status_code == 200
    assert re.fullmatch(r"req_[0-9a-hjkmnp-tv-z]{26}", response.headers["x-request-id"])
    assert "alt-svc" not in response.headers


def test_every_route_has_a_case(served: Any) -> None:
    """A new route without a case fails here; those of operators have their own."""
    own = ("v1/admin/",)
    routed = {
        (method, route.path)
        for route in served.app.router.routes
        for method in route.methods
        if not route.path.startswith(own)
    }
    wanted = {(c.method, (c.route or "").lstrip("/")) for c in GOOD}
    wanted |= {("HEAD", path) for method, path in wanted if method == "GET"}
    assert routed == wanted
    assert {case.route for case in GOOD} < {route.path for route in ROUTES}


@pytest.mark.parametrize("case", BAD, ids=lambda case: f"{case.method} {case.path} {case.status}")
async def test_a_refusal_has_the_whole_envelope(client: httpx.AsyncClient, case: Case) -> None:
    response = await client.request(case.method, case.path, json=case.body)
    assert_envelope(response, case)
    assert response.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/health", "GET, HEAD"), ("/v1/models/a/b", "GET, HEAD"), ("/v1/chat/completions", "POST")],
)
async def test_a_wrong_method_is_told_the_right_ones(
    client: httpx.AsyncClient, path: str, allowed: str
) -> None:
    response = await client.request("PATCH", path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize("case", [c for c in GOOD if c.method == "GET"], ids=lambda c: c.path)
async def test_head_is_get_without_its_body(client: httpx.AsyncClient, case: Case) -> None:
    response = await client.head(case.path)
    assert response.status_code == 200
    assert response.content == b""
    assert int(response.headers["content-length"]) > 0
    # The connection is still in step.
    assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/groq/llama-3:8b",
        "/v1/models/groq%2Fllama-3:8b",
        "/v1/models/groq%2fllama-3%3A8b",
        "/v1/models/a%20b%2F%C3%BC",
    ],
)
async def test_a_model_id_may_be_escaped(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    assert response.json()["id"] in ("groq/llama-3:8b", "a b/ü")


async def test_request_ids_sort_by_time_and_ignore_the_clients(client: httpx.AsyncClient) -> None:
    ids = []
    for _ in range(5):
        response = await client.get("/health", headers={"x-request-id": "req_mine"})
        ids.append(response.headers["x-request-id"][:14])
    assert ids == sorted(ids)
    assert not any("mine" in id for id in ids)


async def test_an_error_of_the_engine_keeps_its_headers(serve: Any, stub_gateway: Any) -> None:
    async def refuse(request: Request) -> Any:
        error = RequestError(
            429,
            "rate_limit_error",
            "rate_limit_exceeded",
            "slow down",
            param="model",
            retry_after_us=1_500_001,
            should_retry=False,
        )
        error.headers["x-turnout-rule"] = "cheap"
        raise error

    async with serve(stub_gateway(refuse)) as served, httpx.AsyncClient() as client:
        response = await client.post(f"{served.url}/v1/chat/completions", json=CHAT)
    assert response.status_code == 429
    assert response.json()["error"]["param"] == "model"
    assert response.headers["x-turnout-rule"] == "cheap"
    assert response.headers["retry-after"] == "2"
    assert response.headers["retry-after-ms"] == "1501"
    assert response.headers["x-should-retry"] == "false"


async def test_a_defect_is_a_500_that_gives_nothing_away(
    serve: Any, stub_gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def break_down(request: Request) -> Any:
        raise ZeroDivisionError("sk-secret at /home/somebody")

    async with serve(stub_gateway(break_down)) as served, httpx.AsyncClient() as client:
        response = await client.post(f"{served.url}/v1/chat/completions", json=CHAT)
        again = await client.get(f"{served.url}/health")
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    id = response.headers["x-request-id"]
    assert id in response.text
    assert "secret" not in response.text and "Zero" not in response.text
    assert [r.exc_info is not None for r in caplog.records if id in r.getMessage()] == [True]
    assert again.status_code == 200


async def test_ready_only_while_the_gateway_takes_requests(served: Any) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:
        assert (await client.get("/ready")).status_code == 200
        served.gateway.ready = False
        starting = await client.get("/ready")
        served.gateway.ready = True
        served.app.ctx.draining = True
        draining = await client.get("/ready")
    for response, code in ((starting, "starting"), (draining, "draining")):
        assert response.status_code == 503
        assert response.json()["error"]["code"] == code
    assert draining.headers["connection"] == "close"


async def test_the_gateway_lives_as_long_as_the_server(serve: Any) -> None:
    async with serve() as served:
        gateway = served.gateway
        assert (gateway.started, gateway.closed, gateway.ready) == (1, 0, True)
    assert (gateway.started, gateway.closed) == (1, 1)


async def test_the_engine_gets_lower_case_headers_without_credentials(
    client: httpx.AsyncClient, served: Any
) -> None:
    await client.post(
        "/v1/chat/completions",
        json=CHAT,
        headers=[
            ("Authorization", "Bearer sk-secret"),
            ("X-API-Key", "sk-secret"),
            ("Cookie", "a=sk-secret"),
            ("X-Turnout-Key", "sk-secret"),
            ("Proxy-Authorization", "sk-secret"),
            ("X-Team", "search"),
            ("X-Many", "1"),
            ("X-Many", "2"),
        ],
    )
    (request,) = served.gateway.requests
    assert request.headers["x-team"] == "search"
    assert request.headers["x-many"] == "1, 2"
    assert "sk-secret" not in str(dict(request.headers))
    assert request.raw.startswith(b'{"model"')
    assert request.caller.tenant == "default"


async def test_no_header_can_end_its_line(serve: Any, stub_gateway: Any) -> None:
    """Names of rules and targets come from files and clients."""

    async def answer(request: Request) -> Any:
        return Reply(
            200, b"{}", {"x-turnout-rule": "a\r\nset-cookie: x=1\x00", "x-turnout-model": "ü"}
        )

    async with serve(stub_gateway(answer)) as served, httpx.AsyncClient() as client:
        response = await client.post(f"{served.url}/v1/chat/completions", json=CHAT)
    assert "set-cookie" not in response.headers
    assert "set-cookie" in response.headers["x-turnout-rule"]
    assert response.status_code == 200
