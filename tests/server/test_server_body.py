"""What a body may look like, how large it may be, and what is said of a wrong one."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.engine.request import RequestError
from turnout.protocols import chat_shape as shape
from turnout.server import body as bodies
from turnout.settings import Limits

HI = {"role": "user", "content": "hi"}
CHAT = {"model": "gpt-4", "messages": [HI]}
JSON = {"content-type": "application/json"}

WRONG_CHATS: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": [HI]}, "missing_required_parameter", "model"),
    ({"model": None, "messages": [HI]}, "missing_required_parameter", "model"),
    ({"model": "", "messages": [HI]}, "missing_required_parameter", "model"),
    ({"model": 4, "messages": [HI]}, "invalid_type", "model"),
    ({"model": "x" * 257, "messages": [HI]}, "string_above_max_length", "model"),
    ({"model": "m"}, "missing_required_parameter", "messages"),
    ({"model": "m", "messages": None}, "missing_required_parameter", "messages"),
    ({"model": "m", "messages": []}, "empty_array", "messages"),
    ({"model": "m", "messages": "hi"}, "invalid_type", "messages"),
    ({"model": "m", "messages": HI}, "invalid_type", "messages"),
    ({"model": "m", "messages": ["hi"]}, "invalid_type", "messages[0]"),
    ({"model": "m", "messages": [HI, {}]}, "missing_required_parameter", "messages[1].role"),
    ({"model": "m", "messages": [{"role": 1}]}, "invalid_type", "messages[0].role"),
    (
        {"model": "m", "messages": [{"role": "user", "content": 5}]},
        "invalid_type",
        "messages[0].content",
    ),
    (
        {"model": "m", "messages": [{"role": "user", "content": ["hi"]}]},
        "invalid_type",
        "messages[0].content[0]",
    ),
    (
        {"model": "m", "messages": [{"role": "user", "content": [{"text": "hi"}]}]},
        "missing_required_parameter",
        "messages[0].content[0].type",
    ),
    (
        {"model": "m", "messages": [{"role": "assistant", "tool_calls": "x"}]},
        "invalid_type",
        "messages[0].tool_calls",
    ),
    (CHAT | {"stream": "true"}, "invalid_type", "stream"),
    (CHAT | {"stream": 1}, "invalid_type", "stream"),
    (CHAT | {"stream_options": True}, "invalid_type", "stream_options"),
    (CHAT | {"n": 0}, "invalid_type", "n"),
    (CHAT | {"n": "2"}, "invalid_type", "n"),
    (CHAT | {"n": True}, "invalid_type", "n"),
    (CHAT | {"max_tokens": -1}, "invalid_type", "max_tokens"),
    (CHAT | {"max_completion_tokens": 1.5}, "invalid_type", "max_completion_tokens"),
    (CHAT | {"temperature": "hot"}, "invalid_type", "temperature"),
    (CHAT | {"temperature": -0.1}, "invalid_value", "temperature"),
    (CHAT | {"temperature": 2.000_000_1}, "invalid_value", "temperature"),
    (CHAT | {"temperature": 10**400}, "invalid_value", "temperature"),
    (CHAT | {"tools": {}}, "invalid_type", "tools"),
    (CHAT | {"tools": ["x"]}, "invalid_type", "tools"),
    (CHAT | {"response_format": "json"}, "invalid_type", "response_format"),
    (CHAT | {"user": 7}, "invalid_type", "user"),
    (CHAT | {"prompt_cache_key": {}}, "invalid_type", "prompt_cache_key"),
]

# Sent by real clients, or by SDKs' own tests.
RIGHT_CHATS: list[dict[str, Any]] = [
    CHAT,
    CHAT | {"stream": None, "n": None, "max_tokens": None, "response_format": None},
    CHAT | {"stream": False, "stream_options": {"include_usage": True}},
    CHAT | {"max_tokens": 0, "temperature": 0, "n": 1},
    CHAT | {"temperature": 2, "unknown_field": [1, {"x": None}]},
    {"model": "m", "messages": [{"role": "assistant", "content": None, "tool_calls": []}]},
    {"model": "m", "messages": [{"role": "developer", "content": [{"type": "text"}]}]},
    {"model": "groq/llama-3:8b", "messages": [{"role": "tool", "content": "1"}]},
]

WRONG_EMBEDDINGS: list[tuple[dict[str, Any], str, str]] = [
    ({"input": "hi"}, "missing_required_parameter", "model"),
    ({"model": "m"}, "missing_required_parameter", "input"),
    ({"model": "m", "input": ""}, "empty_input", "input"),
    ({"model": "m", "input": []}, "empty_input", "input"),
    ({"model": "m", "input": ["a", ""]}, "empty_input", "input[1]"),
    ({"model": "m", "input": ["a", 1]}, "invalid_type", "input[1]"),
    ({"model": "m", "input": [1, "a"]}, "invalid_type", "input[1]"),
    ({"model": "m", "input": [[1], 2]}, "invalid_type", "input[1]"),
    ({"model": "m", "input": [[]]}, "empty_input", "input[0]"),
    ({"model": "m", "input": {}}, "invalid_type", "input"),
    ({"model": "m", "input": "a", "dimensions": 0}, "invalid_type", "dimensions"),
    ({"model": "m", "input": "a", "encoding_format": "hex"}, "invalid_type", "encoding_format"),
]


@pytest.mark.parametrize(("body", "code", "param"), WRONG_CHATS, ids=str)
def test_a_wrong_chat_is_refused_by_field(body: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        shape.check_chat(body)
    error = caught.value
    assert (error.status, error.code, error.param) == (400, code, param)
    assert f"`{param}`" in error.message


@pytest.mark.parametrize("body", RIGHT_CHATS, ids=str)
def test_what_real_clients_send_is_accepted(body: dict[str, Any]) -> None:
    parsed = bodies.parse(json.dumps(body).encode())
    shape.check_chat(parsed)
    assert parsed == body


@pytest.mark.parametrize(("body", "code", "param"), WRONG_EMBEDDINGS, ids=str)
def test_wrong_embeddings_are_refused_by_field(body: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        shape.check_embeddings(body)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


@pytest.mark.parametrize("given", ["hi", ["a", "b"], [1, 2], [[64], [65]]], ids=str)
def test_texts_and_tokens_may_be_embedded(given: Any) -> None:
    body = {"model": "m", "input": given, "encoding_format": None}
    shape.check_embeddings(body)
    assert body["input"] == given


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "input", "stream", "n", "tools", "temperature"]),
        JSON_VALUES,
    ),
    st.sampled_from([shape.check_chat, shape.check_embeddings]),
)
def test_no_shape_of_body_is_a_defect(body: dict[str, Any], check: Any) -> None:
    try:
        check(body)
    except RequestError as error:
        assert error.status == 400 and error.param
    else:
        assert isinstance(body["model"], str)


@given(st.binary(max_size=40))
def test_no_bytes_are_a_defect(raw: bytes) -> None:
    try:
        assert isinstance(bodies.parse(raw), dict)
    except RequestError as error:
        assert error.code in ("invalid_json", "invalid_type")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "empty"),
        (b'{"model": x}', "line 1, column 11"),
        (b'{\n  "model": "m",\n}', "line 2, column 15"),
        (b"[1]", "an array"),
        (b"null", "null"),
        (b'"hi"', "a string"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
async def test_bad_json_is_told_where_it_is_bad(
    client: httpx.AsyncClient, raw: bytes, told: str
) -> None:
    response = await client.post("/v1/chat/completions", content=raw, headers=JSON)
    assert response.status_code == 400
    assert told in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unsupported_media_type"),
        ({"content-type": "text/plain"}, "unsupported_media_type"),
        ({"content-type": "application/x-www-form-urlencoded"}, "unsupported_media_type"),
        ({"content-type": "text/json"}, "unsupported_media_type"),
        ({"content-type": "application/jsonx"}, "unsupported_media_type"),
        (JSON | {"content-encoding": "gzip"}, "unsupported_encoding"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/explain"])
async def test_only_plain_json_is_taken(
    client: httpx.AsyncClient, served: Any, path: str, headers: dict[str, str], code: str
) -> None:
    response = await client.post(path, content=json.dumps(CHAT), headers=headers)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == code
    assert served.gateway.requests == []


@pytest.mark.parametrize(
    "kind",
    ["application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"],
)
async def test_json_by_its_other_names_is_taken(client: httpx.AsyncClient, kind: str) -> None:
    response = await client.post(
        "/v1/chat/completions", content=json.dumps(CHAT), headers={"content-type": kind}
    )
    assert response.status_code == 200


def padded(size: int) -> bytes:
    frame = json.dumps(CHAT | {"pad": ""}).encode()
    return frame[:-2] + b"x" * (size - len(frame)) + frame[-2:]


async def in_pieces(raw: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), size):
        yield raw[start : start + size]


LIMIT = 300_000


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("size", "status"), [(LIMIT - 1, 200), (LIMIT, 200), (LIMIT + 1, 413), (10 * LIMIT, 413)]
)
async def test_the_size_limit_holds_to_the_byte(
    serve: Any, chunked: bool, size: int, status: int
) -> None:
    raw = padded(size)
    content: Any = in_pieces(raw) if chunked else raw
    async with serve(limits=Limits(body_bytes=LIMIT)) as served, httpx.AsyncClient() as client:
        response = await client.post(
            f"{served.url}/v1/chat/completions", content=content, headers=JSON
        )
        again = await client.get(f"{served.url}/health")
        received = [len(request.raw) for request in served.gateway.requests]
    assert response.status_code == status
    assert again.status_code == 200
    if status == 413:
        assert response.json()["error"]["code"] == "request_too_large"
        assert str(LIMIT) in response.json()["error"]["message"]
        assert response.headers["connection"] == "close"
        assert received == []
    else:
        assert received == [size]


async def test_a_body_that_is_too_large_is_not_asked_for(serve: Any) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"
        b"\r\ncontent-length: 1000000\r\nexpect: 100-continue\r\n\r\n"
    )
    async with serve(limits=Limits(body_bytes=LIMIT)) as served:
        answer = await served.raw(head)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_is_expected_is_asked_for(served: Any) -> None:
    raw = json.dumps(CHAT).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\nexpect: 100-continue\r\n\r\n"
        % len(raw)
    )
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.write(raw)
    assert b"HTTP/1.1 200 OK\r\n" in await reader.read()
    writer.close()


async def test_a_body_that_does_not_come_is_given_up(serve: Any) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        b'content-type: application/json\r\ncontent-length: 100\r\n\r\n{"model"'
    )
    async with serve(limits=Limits(receive_us=100_000)) as served:
        answer = await served.raw(head)
        assert served.gateway.requests == []
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer
    assert b"x-request-id: req_" in answer


@pytest.mark.parametrize("path", ["/nope", "/v1/models", "/health"])
async def test_a_large_body_where_none_is_wanted_leaves_the_server_well(
    serve: Any, path: str
) -> None:
    async with serve(limits=Limits(body_bytes=LIMIT)) as served, httpx.AsyncClient() as client:
        response = await client.post(f"{served.url}{path}", content=padded(LIMIT - 5))
        again = await client.get(f"{served.url}/health")
    assert response.status_code in (404, 405)
    assert again.status_code == 200
