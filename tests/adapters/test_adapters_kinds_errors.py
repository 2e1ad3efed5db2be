"""What each provider of the OpenAI wire says when it refuses, and what becomes of it."""

import json
from typing import Any

import pytest

from turnout.adapters import fault
from turnout.adapters.reset import reset_us
from turnout.engine.provider import Fault, ProviderError

Row = tuple[str, int, Any, Fault, str | None, str | None]


def error(**members: Any) -> dict[str, Any]:
    return {"error": members}


# kind, status, body, fault, `param`, a word of the message
REFUSALS: list[Row] = [
    # Azure
    (
        "azure",
        400,
        error(
            message="The response was filtered due to the prompt triggering the policy.",
            type=None,
            param="prompt",
            code="content_filter",
            status=400,
            innererror={
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"hate": {"filtered": True, "severity": "high"}},
            },
        ),
        Fault.CONTENT_FILTER,
        "prompt",
        "filtered",
    ),
    (
        "azure",
        401,
        error(code="401", message="Access denied due to invalid subscription key"),
        Fault.AUTH,
        None,
        "credential",
    ),
    ("azure", 401, {"statusCode": 401, "message": "Unauthorized."}, Fault.AUTH, None, "credential"),
    (
        "azure",
        404,
        error(code="DeploymentNotFound", message="The API deployment does not exist."),
        Fault.BAD_OUTPUT,
        None,
        "does not know",
    ),
    (
        "azure",
        400,
        error(code="OperationNotSupported", message="does not work with the specified model"),
        Fault.BAD_OUTPUT,
        None,
        "usable",
    ),
    (
        "azure",
        429,
        error(code="429", message="have exceeded token rate limit of your S0 tier"),
        Fault.RATE_LIMIT,
        None,
        "rate limit",
    ),
    # Mistral
    ("mistral", 401, {"detail": "Unauthorized"}, Fault.AUTH, None, "credential"),
    (
        "mistral",
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "Extra inputs …"}]},
        Fault.UNSUPPORTED,
        "x",
        "x: Extra",
    ),
    (
        "mistral",
        422,
        {
            "object": "error",
            "message": {
                "detail": [
                    {
                        "type": "less_than_equal",
                        "loc": ["body", "messages", 0, "content"],
                        "msg": "Input should be a valid string",
                        "input": {"secret": 1},
                    }
                ]
            },
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
        Fault.BAD_REQUEST,
        "messages.0.content",
        "valid string",
    ),
    (
        "mistral",
        400,
        {
            "object": "error",
            "message": "Prompt contains 200000 tokens, too large for model with 131072 maximum "
            "context length",
            "type": "invalid_request_prompt",
            "code": "3051",
        },
        Fault.CONTEXT_EXCEEDED,
        None,
        "131072",
    ),
    (
        "mistral",
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
        Fault.BAD_OUTPUT,
        None,
        "usable",
    ),
    (
        "mistral",
        429,
        {"object": "error", "message": "Requests rate limit exceeded", "code": "1300"},
        Fault.RATE_LIMIT,
        None,
        "rate limit",
    ),
    # DeepSeek
    (
        "deepseek",
        402,
        error(message="Insufficient Balance", type="unknown_error", code="invalid_request_error"),
        Fault.QUOTA,
        None,
        "quota",
    ),
    (
        "deepseek",
        400,
        error(
            message="This model's maximum context length is 65536 tokens. However, you requested",
            type="invalid_request_error",
            param=None,
            code="invalid_request_error",
        ),
        Fault.CONTEXT_EXCEEDED,
        None,
        "65536",
    ),
    ("deepseek", 503, b"", Fault.OVERLOADED, None, "overloaded"),
    # Together
    (
        "together",
        404,
        {"id": "o1", **error(message="Unable to access model x", code="model_not_available")},
        Fault.BAD_OUTPUT,
        None,
        "does not know the model",
    ),
    (
        "together",
        422,
        error(message="Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097"),
        Fault.CONTEXT_EXCEEDED,
        None,
        "4097",
    ),
    # Fireworks
    (
        "fireworks",
        400,
        error(
            object="error",
            type="invalid_request_error",
            code="invalid_request_error",
            message="Extra inputs are not permitted, field: 'foo', value: 1",
        ),
        Fault.UNSUPPORTED,
        "foo",
        "not permitted",
    ),
    (
        "fireworks",
        404,
        error(code="NOT_FOUND", message="Model not found, inaccessible, and/or not deployed"),
        Fault.BAD_OUTPUT,
        None,
        "does not know",
    ),
    (
        "fireworks",
        412,
        error(message="Account x is suspended, possibly due to reaching the spending limit"),
        Fault.QUOTA,
        None,
        "quota",
    ),
    # OpenRouter
    (
        "openrouter",
        402,
        error(code=402, message="Insufficient credits"),
        Fault.QUOTA,
        None,
        "quota",
    ),
    (
        "openrouter",
        400,
        error(code=400, message="x/y is not a valid model ID"),
        Fault.BAD_OUTPUT,
        None,
        "usable",
    ),
    (
        "openrouter",
        404,
        error(code=404, message="No endpoints found that support tool use."),
        Fault.UNSUPPORTED,
        None,
        "tool use",
    ),
    (
        "openrouter",
        403,
        error(
            code=403,
            message="Input was flagged",
            metadata={"reasons": ["harassment"], "provider_name": "x"},
        ),
        Fault.CONTENT_FILTER,
        None,
        "flagged",
    ),
    (
        "openrouter",
        429,
        error(code=429, message="Provider returned error", metadata={"raw": "x"}),
        Fault.RATE_LIMIT,
        None,
        "rate limit",
    ),
    # xAI: `error` a string, `code` prose
    (
        "xai",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "Incorrect API key provided: xa***12. You can obtain an API key from there.",
        },
        Fault.AUTH,
        None,
        "credential",
    ),
    (
        "xai",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 2.",
        },
        Fault.CONTEXT_EXCEEDED,
        None,
        "131072",
    ),
    (
        "xai",
        400,
        {"code": "x y", "error": "Argument not supported on this model: presencePenalty"},
        Fault.UNSUPPORTED,
        None,
        "presencePenalty",
    ),
    (
        "xai",
        403,
        {"code": "x y", "error": "Your newly created team doesn't have any credits yet."},
        Fault.QUOTA,
        None,
        "quota",
    ),
    # vLLM
    (
        "vllm",
        404,
        {
            "object": "error",
            "message": "The model `x` does not exist.",
            "type": "NotFoundError",
            "param": None,
            "code": 404,
        },
        Fault.BAD_OUTPUT,
        None,
        "does not know the model",
    ),
    (
        "vllm",
        400,
        error(
            message="This model's maximum context length is 4096 tokens.",
            type="BadRequestError",
            param=None,
            code=400,
        ),
        Fault.CONTEXT_EXCEEDED,
        None,
        "4096",
    ),
    # Hugging Face
    (
        "openai",
        422,
        {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"},
        Fault.CONTEXT_EXCEEDED,
        None,
        "1024",
    ),
    ("openai", 429, {"error": "Model is overloaded"}, Fault.RATE_LIMIT, None, "rate limit"),
]


@pytest.mark.parametrize(
    ("kind", "status", "body", "expected", "param", "word"),
    REFUSALS,
    ids=[f"{row[0]}-{row[1]}-{row[3].value}-{n}" for n, row in enumerate(REFUSALS)],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_of_this_provider_means_this(
    bench: Any,
    kind: str,
    status: int,
    body: Any,
    expected: Fault,
    param: str | None,
    word: str,
    stream: bool,
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    base_url = "https://upstream.test/v1" if kind in ("azure", "vllm") else None
    provider = bench.answering(kind, raw, status=status, base_url=base_url)
    with pytest.raises(ProviderError) as caught:
        if stream:
            await bench.read(provider.stream(bench.chat(stream=True)))
        else:
            await provider.answer(bench.chat())
    assert (caught.value.fault, caught.value.status) == (expected, status)
    assert caught.value.param == param
    assert word in caught.value.message
    assert caught.value.code is None or " " not in caught.value.code
    assert "secret" not in caught.value.message and "xa***" not in caught.value.message


BROKEN_OFF: list[tuple[str, str, Fault]] = [
    (
        "groq",
        'event: error\ndata: {"error":{"message":"x","type":"server_error"}}\n\n',
        Fault.SERVER,
    ),
    (
        "groq",
        'data: {"choices":[],"x_groq":{"error":"over capacity"}}\n\n',
        Fault.SERVER,
    ),
    (
        "openrouter",
        'data: {"id":"g","error":{"code":429,"message":"x"},"choices":[{"index":0,"delta":'
        '{"content":""},"finish_reason":"error"}]}\n\n',
        Fault.RATE_LIMIT,
    ),
    (
        "openrouter",
        'data: {"id":"g","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error",'
        '"native_finish_reason":"error","error":{"code":503,"message":"x"}}]}\n\n',
        Fault.OVERLOADED,
    ),
    (
        "mistral",
        'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}\n\n',
        Fault.SERVER,
    ),
    (
        "vllm",
        'data: {"choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}\n\n',
        Fault.SERVER,
    ),
    (
        "vllm",
        'data: {"error":{"message":"EngineDead","type":"InternalServerError","code":500}}\n\n',
        Fault.SERVER,
    ),
    (
        "deepseek",
        'data: {"choices":[{"index":0,"delta":{},'
        '"finish_reason":"insufficient_system_resource"}]}\n\n',
        Fault.OVERLOADED,
    ),
    ("openai", 'data: {"error":"Model is overloaded","error_type":"overloaded"}\n\n', Fault.SERVER),
    ("xai", "", Fault.BAD_OUTPUT),
]


@pytest.mark.parametrize(
    ("kind", "end", "expected"),
    BROKEN_OFF,
    ids=[f"{row[0]}-{n}" for n, row in enumerate(BROKEN_OFF)],
)
async def test_a_stream_that_breaks_off_is_an_error_after_what_it_brought(
    bench: Any, kind: str, end: str, expected: Fault
) -> None:
    begun = 'data: {"id":"g","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
    base_url = "https://upstream.test/v1" if kind == "vllm" else None
    headers = {"content-type": "text/event-stream"}
    provider = bench.answering(kind, begun + end, headers=headers, base_url=base_url)
    chunks = []
    with pytest.raises(ProviderError) as caught:
        async for chunk in provider.stream(bench.chat(stream=True)):
            chunks.append(chunk)
    assert [chunk.text for chunk in chunks] == ["Hi"]
    assert caught.value.fault is expected


NO_ANSWERS: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b"<html><body>Bad gateway</body></html>", "not a chat completion"),
    (b'{"object":"chat.completion"}', "JSON, but not"),
    (b'{"choices":[]}', "JSON, but not"),
    (b'{"choices":null,"error":null}', "JSON, but not"),
    (b'{"choices":[{"message":null}]}', "JSON, but not"),
    (b'{"choices":[{"message":{"content":"x","tool_calls":["x"]}}]}', "no object"),
    (b"\n\n\n", "chat completion"),
    (b"null", "not a chat completion"),
]


@pytest.mark.parametrize(("body", "told"), NO_ANSWERS)
@pytest.mark.parametrize("kind", ["openai", "groq", "mistral", "deepseek", "openrouter"])
async def test_a_success_that_is_no_answer_is_bad_output(
    bench: Any, kind: str, body: bytes, told: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        await bench.answering(kind, body).answer(bench.chat())
    assert caught.value.fault is Fault.BAD_OUTPUT
    assert told in caught.value.message


async def test_an_error_inside_a_choice_is_the_answers_error(bench: Any) -> None:
    body = {
        "choices": [
            {
                "message": {"role": "assistant", "content": "Hal"},
                "finish_reason": "error",
                "error": {"code": 502, "message": "x"},
            }
        ]
    }
    with pytest.raises(ProviderError) as caught:
        await bench.answering("openrouter", json.dumps(body)).answer(bench.chat())
    assert (caught.value.fault, caught.value.status) == (Fault.SERVER, 502)


NOW = 1_755_000_000.0
RESETS: list[tuple[dict[str, str], int | None]] = [
    ({}, None),
    ({"x-ratelimit-reset-requests": "6ms"}, 6_000),
    ({"x-ratelimit-reset-tokens": "1m2.5s"}, 62_500_000),
    ({"x-ratelimit-reset-tokens": "2m59.56s", "x-ratelimit-reset-requests": "7.66s"}, 179_560_000),
    (
        {
            "x-ratelimit-reset-tokens": "10ms",
            "x-ratelimit-reset-requests": "7s",
            "x-ratelimit-remaining-requests": "0",
        },
        7_000_000,
    ),
    ({"x-ratelimit-reset": "1755000030000"}, 30_000_000),
    ({"x-ratelimit-reset": "1755000030"}, 30_000_000),
    ({"x-ratelimit-reset": "12"}, 12_000_000),
    ({"ratelimitbysize-reset": "31"}, 31_000_000),
    ({"x-ratelimit-reset": "1754990000"}, None),
    ({"x-ratelimit-reset-tokens": "soon"}, None),
    ({"x-ratelimit-reset-tokens": "9" * 400 + "s"}, None),
    ({"x-ratelimit-reset": "0"}, None),
    ({"x-ratelimit-reset": "1e300"}, None),
]


@pytest.mark.parametrize(("headers", "expected"), RESETS)
def test_a_reset_says_how_long_to_wait_where_nothing_else_does(
    headers: dict[str, str], expected: int | None
) -> None:
    assert reset_us(headers, NOW) == expected


def test_retry_after_is_believed_before_any_reset() -> None:
    headers = {"retry-after": "3", "x-ratelimit-reset-tokens": "50s"}
    assert fault.from_status(429, headers, b"").retry_after_us == 3_000_000
    del headers["retry-after"]
    assert fault.from_status(429, headers, b"").retry_after_us == 50_000_000
    assert fault.from_status(500, headers, b"").retry_after_us is None
