"""The Messages routes on a real socket: headers, errors and streams as Anthropic has them."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import orjson
import pytest

from turnout.engine.request import Operation, Reply, Request, RequestError, StreamReply

BODY: dict[str, Any] = {
    "model": "gpt-4",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
}
PATHS = ("/v1/messages", "/v1/messages/count_tokens")


def assert_error(response: httpx.Response, status: int, kind: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    told = response.json()
    assert (told["type"], told["error"]["type"]) == ("error", kind)
    assert isinstance(told["error"]["message"], str)
    assert told["request_id"] == response.headers["request-id"]
    assert response.headers["request-id"] == response.headers["x-request-id"]


async def test_a_message_is_answered_in_its_own_protocol(
    client: httpx.AsyncClient, served: Any
) -> None:
    response = await client.post("/v1/messages", json=BODY)
    message = response.json()
    assert (message["type"], message["content"]) == (
        "message",
        [{"type": "text", "text": "hello"}],
    )
    assert message["usage"]["input_tokens"] == 3
    assert response.headers["request-id"] == response.headers["x-request-id"]
    (request,) = served.gateway.requests
    assert request.operation is Operation.MESSAGES
    assert request.native.raw == response.request.content
    assert request.body == {**BODY}
    assert request.raw == orjson.dumps(BODY)


async def test_a_stream_is_told_in_named_events(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/messages", json={**BODY, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["request-id"].startswith("req_")
    names = [line[7:] for line in response.text.splitlines() if line.startswith("event: ")]
    assert names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "[DONE]" not in response.text


async def test_what_is_in_the_protocol_already_passes(serve: Any, stub_gateway: Any) -> None:
    event = b'event: message_stop\ndata: {"type" : "message_stop"}\n\n'

    async def answer(request: Request) -> Reply | StreamReply:
        if not request.stream:
            return Reply(200, b'{ "any":1.0 }', {}, native=True)

        async def events() -> AsyncGenerator[bytes, None]:
            yield event

        return StreamReply(200, {}, events(), native=True)

    async with serve(stub_gateway(answer)) as served, httpx.AsyncClient() as client:
        url = f"{served.url}/v1/messages"
        whole = await client.post(url, json=BODY)
        streamed = await client.post(url, json={**BODY, "stream": True})
    assert whole.content == b'{ "any":1.0 }'
    assert streamed.content == event


@pytest.mark.parametrize("native", [True, False])
async def test_a_stream_that_broke_off_ends_in_an_error_event(
    serve: Any, stub_gateway: Any, native: bool
) -> None:
    async def answer(request: Request) -> StreamReply:
        async def events() -> AsyncGenerator[bytes, None]:
            reply.failure = RequestError(503, "x", "overloaded", "too much")
            return
            yield

        reply = StreamReply(200, {}, events(), native=native)
        return reply

    async with serve(stub_gateway(answer)) as served, httpx.AsyncClient() as client:
        response = await client.post(f"{served.url}/v1/messages", json={**BODY, "stream": True})
    assert response.text.startswith("event: error\ndata: ")
    told = orjson.loads(response.text.splitlines()[1].removeprefix("data: "))
    assert told["error"]["type"] == "overloaded_error"
    assert told["request_id"] == response.headers["request-id"]


async def test_tokens_are_counted_without_a_limit(client: httpx.AsyncClient, served: Any) -> None:
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    response = await client.post("/v1/messages/count_tokens", json=body)
    assert response.json() == {"input_tokens": 7}
    assert response.headers["request-id"] == response.headers["x-request-id"]
    assert served.gateway.requests[0].native.body == body


STATUSES = [
    (400, "x", "invalid_request_error"),
    (401, "x", "authentication_error"),
    (402, "budget_exceeded", "billing_error"),
    (403, "x", "permission_error"),
    (404, "model_not_found", "not_found_error"),
    (409, "x", "conflict_error"),
    (413, "x", "request_too_large"),
    (422, "x", "invalid_request_error"),
    (429, "x", "rate_limit_error"),
    (500, "x", "api_error"),
    (502, "bad_gateway", "api_error"),
    (503, "overloaded", "overloaded_error"),
    (503, "shutting_down", "api_error"),
    (504, "x", "timeout_error"),
]


@pytest.mark.parametrize(("status", "code", "kind"), STATUSES)
async def test_every_status_has_the_type_that_anthropic_gives_it(
    serve: Any, stub_gateway: Any, status: int, code: str, kind: str
) -> None:
    async def refuse(request: Request) -> Any:
        raise RequestError(
            status, "t", code, "no", param="p", retry_after_us=2_000_000, should_retry=False
        )

    async with serve(stub_gateway(refuse)) as served, httpx.AsyncClient() as client:
        response = await client.post(f"{served.url}/v1/messages", json=BODY)
    assert_error(response, status, kind)
    assert response.json()["error"]["details"] == {"error_code": code, "param": "p"}
    assert response.headers["retry-after"] == "2"
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("path", PATHS)
async def test_whatever_is_wrong_below_messages_is_told_as_anthropic_does(
    client: httpx.AsyncClient, path: str
) -> None:
    assert_error(await client.get(path), 405, "invalid_request_error")
    assert_error(await client.post(f"{path}/more", json=BODY), 404, "not_found_error")
    assert_error(await client.post(path, json=[]), 400, "invalid_request_error")
    assert_error(await client.post(path, content=b"{}"), 415, "invalid_request_error")
    elsewhere = {"host": "evil.example"}
    answer = await client.post(path, json=BODY, headers=elsewhere)
    assert_error(answer, 403, "permission_error")


async def test_a_defect_gives_nothing_away(serve: Any, stub_gateway: Any) -> None:
    async def break_down(request: Request) -> Any:
        raise ZeroDivisionError("sk-secret")

    async with serve(stub_gateway(break_down)) as served, httpx.AsyncClient() as client:
        response = await client.post(f"{served.url}/v1/messages", json=BODY)
    assert_error(response, 500, "api_error")
    assert "secret" not in response.text


# --- models --------------------------------------------------------------------------------------

VERSION = {"anthropic-version": "2023-06-01"}


async def test_anthropics_client_gets_its_own_form_of_the_models(
    client: httpx.AsyncClient,
) -> None:
    listed = (await client.get("/v1/models", headers=VERSION)).json()
    assert [model["id"] for model in listed["data"]] == ["gpt-4", "groq/llama-3:8b"]
    assert {model["type"] for model in listed["data"]} == {"model"}
    assert (listed["has_more"], listed["first_id"]) == (False, "gpt-4")
    one = await client.get("/v1/models/gpt-4", headers=VERSION)
    assert one.json()["display_name"] == "gpt-4"
    assert one.headers["request-id"] == one.headers["x-request-id"]
    missing = await client.get("/v1/models/nope", headers=VERSION)
    assert_error(missing, 404, "not_found_error")


async def test_models_come_in_pages_forwards_and_backwards(client: httpx.AsyncClient) -> None:
    async def page(**query: str) -> tuple[list[str], bool]:
        listed = (await client.get("/v1/models", headers=VERSION, params=query)).json()
        return [model["id"] for model in listed["data"]], listed["has_more"]

    assert await page(limit="1") == (["gpt-4"], True)
    assert await page(limit="1", after_id="gpt-4") == (["groq/llama-3:8b"], False)
    assert await page(limit="1", before_id="groq/llama-3:8b") == (["gpt-4"], False)
    assert await page(after_id="groq/llama-3:8b") == ([], False)
    for limit in ("0", "x", "1001", "-1"):
        answer = await client.get("/v1/models", headers=VERSION, params={"limit": limit})
        assert_error(answer, 400, "invalid_request_error")


@pytest.mark.parametrize(
    ("path", "theirs"),
    [("/v1/messages/batches", True), ("/v1/messages/", True), ("/v1/messagesfoo", False)],
)
async def test_errors_are_anthropics_below_its_path_and_nowhere_else(
    client: Any, path: str, theirs: bool
) -> None:
    response = await client.post(path, json=BODY)
    assert ("request-id" in response.headers) is theirs
    assert ("type" in response.json()) is theirs
