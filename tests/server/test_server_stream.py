"""Streams as the official SDK and a bare socket see them."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import openai
import pytest

from turnout.engine.request import Request, RequestError, StreamReply

CHAT: Any = {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]}


def event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4"}
    return b"data: %b\n\n" % json.dumps(value | {"choices": [choice]}).encode()


def sdk(served: Any, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{served.url}/v1", api_key="any", max_retries=0, timeout=10, **options
    )


async def test_the_sdk_reads_answers_streams_models_and_vectors(served: Any) -> None:
    async with sdk(served) as client:
        answer = await client.chat.completions.create(**CHAT)
        assert answer.choices[0].message.content == "hello"
        assert answer._request_id is not None and answer._request_id.startswith("req_")
        stream = await client.chat.completions.create(**CHAT, stream=True)
        assert stream.response.headers["x-request-id"].startswith("req_")
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert text == "hello"
        assert [model.id async for model in await client.models.list()] == [
            "gpt-4",
            "groq/llama-3:8b",
        ]
        assert (await client.models.retrieve("groq/llama-3:8b")).id == "groq/llama-3:8b"
        vectors = await client.embeddings.create(model="m", input="hi")
        assert vectors.data[0].embedding == [0.5, 0.25]


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (402, openai.APIStatusError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (502, openai.InternalServerError),
        (503, openai.InternalServerError),
        (504, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_sdk_raises_its_own_class_for_each_status(
    serve: Any, stub_gateway: Any, status: int, raised: type[openai.APIStatusError], stream: bool
) -> None:
    """Also on a stream: a failure before the first event has a status of its own."""

    async def refuse(request: Request) -> Any:
        raise RequestError(status, "some_type", "some_code", "because", param="model")

    async with serve(stub_gateway(refuse)) as served, sdk(served) as client:
        with pytest.raises(raised) as caught:
            await client.chat.completions.create(**CHAT, stream=stream)
    error = caught.value
    assert error.status_code == status
    assert (error.type, error.code, error.param) == ("some_type", "some_code", "model")
    assert error.request_id is not None and error.request_id.startswith("req_")


async def test_the_head_of_a_stream_says_what_it_is(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", json=CHAT | {"stream": True})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-turnout-model"] == "openai/gpt-4"
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.content.endswith(b"data: [DONE]\n\n")


async def test_each_event_is_written_as_it_comes(serve: Any, stub_gateway: Any) -> None:
    """No event waits for the next one, nor for a delayed acknowledgement."""
    pace = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes, None]:
        for number in range(20):
            yield event(str(number))
            await asyncio.wait_for(pace.wait(), 5)
            pace.clear()

    async def answer(request: Request) -> StreamReply:
        return StreamReply(200, {}, chunks())

    raw = json.dumps(CHAT | {"stream": True}).encode()
    gaps = []
    async with serve(stub_gateway(answer)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: "
            b"application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(raw), raw)
        )
        for number in range(20):
            began = time.monotonic()
            await asyncio.wait_for(reader.readuntil(event(str(number))), 5)
            gaps.append(time.monotonic() - began)
            pace.set()
        assert b"[DONE]" in await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)
        writer.close()
    # A delayed acknowledgement would cost 40 ms each time.
    assert sorted(gaps)[10] < 0.03


async def test_a_failed_stream_ends_in_its_error_and_no_done(serve: Any, stub_gateway: Any) -> None:
    async def answer(request: Request) -> StreamReply:
        reply: StreamReply

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield event("hel")
            reply.failure = RequestError(502, "t", "c", "gone")

        reply = StreamReply(200, {}, chunks())
        return reply

    async with serve(stub_gateway(answer)) as served:
        async with httpx.AsyncClient() as client:
            response = await client.post(
                f"{served.url}/v1/chat/completions", json=CHAT | {"stream": True}
            )
            again = await client.get(f"{served.url}/health")
        async with sdk(served) as typed:
            stream = await typed.chat.completions.create(**CHAT, stream=True)
            with pytest.raises(openai.APIError, match="gone"):
                [chunk async for chunk in stream]
    assert b"[DONE]" not in response.content
    assert response.content.count(b"data: ") == 2
    assert again.status_code == 200


async def test_a_defect_within_a_stream_becomes_an_error_event(
    serve: Any, stub_gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield event("hel")
        raise ZeroDivisionError("sk-secret")

    async def answer(request: Request) -> StreamReply:
        return StreamReply(200, {}, chunks())

    async with serve(stub_gateway(answer)) as served, httpx.AsyncClient() as client:
        response = await client.post(
            f"{served.url}/v1/chat/completions", json=CHAT | {"stream": True}
        )
    last = json.loads(response.content.rstrip().rpartition(b"data: ")[2])
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert last["error"]["code"] == "internal_error"
    assert b"secret" not in response.content and b"[DONE]" not in response.content
    assert response.headers["x-request-id"] in caplog.text


async def test_what_no_event_of_the_protocol_can_tell_ends_the_stream_in_an_error(
    serve: Any, stub_gateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A tool call that never ends, and more words beside it than are kept until it does."""
    function = {"name": "f", "arguments": '{"a":'}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}

    async def chunks() -> AsyncGenerator[bytes, None]:
        choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
        yield b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()
        for _ in range(10):
            yield event("a" * 1_000_000)

    async def answer(request: Request) -> StreamReply:
        return StreamReply(200, {}, chunks())

    async with serve(stub_gateway(answer)) as served, httpx.AsyncClient() as client:
        asked = CHAT | {"stream": True, "max_tokens": 9}
        response = await client.post(f"{served.url}/v1/messages", json=asked)
    name, _, last = response.content.rstrip().rpartition(b"\n\n")[2].partition(b"\ndata: ")
    assert name == b"event: error"
    assert json.loads(last)["error"]["details"] == {"error_code": "bad_gateway"}
    assert "broke inside" not in caplog.text


async def test_many_streams_at_once_keep_to_themselves(serve: Any, stub_gateway: Any) -> None:
    async def answer(request: Request) -> StreamReply:
        name = request.body["user"]

        async def chunks() -> AsyncGenerator[bytes, None]:
            for number in range(10):
                await asyncio.sleep(0.001)
                yield event(f"{name}-{number} ")

        return StreamReply(200, {}, chunks())

    async with serve(stub_gateway(answer)) as served, sdk(served) as client:

        async def read(name: str) -> str:
            stream = await client.chat.completions.create(**CHAT, stream=True, user=name)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        texts = await asyncio.gather(*(read(f"u{i}") for i in range(40)))
    assert texts == ["".join(f"u{i}-{n} " for n in range(10)) for i in range(40)]
