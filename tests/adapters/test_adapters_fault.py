import socket
import ssl
from email.utils import formatdate
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.adapters import fault
from turnout.engine.provider import Fault

SECRET = "sk-canary-0123456789abcdef"
ANTHROPIC = "anthropic"


def openai(message: str = "x", type: str = "y", code: object = None, param: object = None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": type, "param": param, "code": code}})


def anthropic(type: str, message: str = "x") -> bytes:
    return orjson.dumps({"type": "error", "error": {"type": type, "message": message}})


STATUSES: list[tuple[int, bytes, Fault]] = [
    (400, openai("no", "invalid_request_error"), Fault.BAD_REQUEST),
    (400, openai("m", "invalid_request_error", "context_length_exceeded"), Fault.CONTEXT_EXCEEDED),
    (400, openai("This model's maximum context length is 8192 tokens."), Fault.CONTEXT_EXCEEDED),
    (400, openai("x", "invalid_request_error", "content_filter"), Fault.CONTENT_FILTER),
    (400, openai("x", "invalid_request_error", "unsupported_parameter"), Fault.UNSUPPORTED),
    (400, openai("x", "invalid_request_error", "unsupported_value"), Fault.UNSUPPORTED),
    (400, openai("API key not valid. Please pass a valid API key."), Fault.AUTH),
    (400, openai("x", "invalid_request_error", "model_decommissioned"), Fault.BAD_OUTPUT),
    (400, openai("x", "invalid_request_error", "tool_use_failed"), Fault.BAD_OUTPUT),
    (400, b"<html>", Fault.BAD_REQUEST),
    (401, openai("x", "invalid_request_error", "invalid_api_key"), Fault.AUTH),
    (403, openai("x", "request_forbidden", "unsupported_country_region_territory"), Fault.AUTH),
    (
        403,
        b'{"error":{"code":403,"message":"x","metadata":{"reasons":["h"]}}}',
        Fault.CONTENT_FILTER,
    ),
    (402, b"", Fault.QUOTA),
    (404, openai("x", "invalid_request_error", "model_not_found"), Fault.BAD_OUTPUT),
    (404, b"<html>nginx</html>", Fault.BAD_OUTPUT),
    (405, b"", Fault.BAD_OUTPUT),
    (408, b"", Fault.TIMEOUT),
    (409, b"", Fault.SERVER),
    (413, b"<html>cloudflare</html>", Fault.CONTEXT_EXCEEDED),
    (422, b'{"detail":[{"loc":["body","n"],"msg":"too big"}]}', Fault.BAD_REQUEST),
    (429, openai("x", "tokens", "rate_limit_exceeded"), Fault.RATE_LIMIT),
    (429, openai("x", "insufficient_quota", "insufficient_quota"), Fault.QUOTA),
    (429, openai("x", "insufficient_quota", "credit_balance_exhausted"), Fault.QUOTA),
    (429, b"slow down", Fault.RATE_LIMIT),
    (500, openai("x", "server_error"), Fault.SERVER),
    (500, b"", Fault.SERVER),
    (502, b"<html>", Fault.SERVER),
    (503, b"", Fault.OVERLOADED),
    (503, openai("x", "server_error", "slow_down"), Fault.OVERLOADED),
    (504, b"", Fault.SERVER),
    (529, b"", Fault.OVERLOADED),
    (599, b"", Fault.SERVER),
    (301, b"", Fault.BAD_OUTPUT),
    (204, b"", Fault.BAD_OUTPUT),
    # Anthropic
    (400, anthropic("invalid_request_error", "messages: required"), Fault.BAD_REQUEST),
    (
        400,
        anthropic("invalid_request_error", "prompt is too long: 210000 tokens"),
        Fault.CONTEXT_EXCEEDED,
    ),
    (
        400,
        anthropic("invalid_request_error", "input length and `max_tokens` exceed context limit: 3"),
        Fault.CONTEXT_EXCEEDED,
    ),
    (
        400,
        anthropic("invalid_request_error", "Your credit balance is too low to access"),
        Fault.QUOTA,
    ),
    (
        400,
        anthropic("invalid_request_error", "Output blocked by content filtering policy"),
        Fault.CONTENT_FILTER,
    ),
    (401, anthropic("authentication_error"), Fault.AUTH),
    (402, anthropic("billing_error"), Fault.QUOTA),
    (403, anthropic("permission_error"), Fault.AUTH),
    (404, anthropic("not_found_error", "model: claude-x"), Fault.BAD_OUTPUT),
    (413, anthropic("request_too_large"), Fault.CONTEXT_EXCEEDED),
    (429, anthropic("rate_limit_error"), Fault.RATE_LIMIT),
    (500, anthropic("api_error"), Fault.SERVER),
    (529, anthropic("overloaded_error"), Fault.OVERLOADED),
    # Groq
    (
        413,
        openai("Request too large on tokens per minute", "tokens", "rate_limit_exceeded"),
        Fault.CONTEXT_EXCEEDED,
    ),
    (498, openai("capacity", "capacity_exceeded"), Fault.OVERLOADED),
    # shapes that nobody documents
    (400, b'{"error":"invalid model"}', Fault.BAD_REQUEST),
    (
        400,
        b'[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT"}}]',
        Fault.AUTH,
    ),
    (400, b"null", Fault.BAD_REQUEST),
    (400, b'{"error":{"message":5,"type":[],"code":{},"param":[1]}}', Fault.BAD_REQUEST),
]


@pytest.mark.parametrize(("status", "body", "expected"), STATUSES)
def test_a_status_and_a_body_mean_this_fault(status: int, body: bytes, expected: Fault) -> None:
    error = fault.from_status(status, {}, body)
    assert (error.fault, error.status) == (expected, status)
    assert error.message and error.message == str(error)


INSIDE: list[tuple[object, Fault]] = [
    ({"type": "overloaded_error", "message": "Overloaded"}, Fault.OVERLOADED),
    ({"type": "api_error", "message": "x"}, Fault.SERVER),
    ({"type": "rate_limit_error", "message": "x"}, Fault.RATE_LIMIT),
    ({"message": "x", "type": "server_error", "code": None}, Fault.SERVER),
    ({"message": "x", "code": 502}, Fault.SERVER),
    ({"message": "x", "code": 429}, Fault.RATE_LIMIT),
    ({"message": "x", "status_code": 400, "code": "tool_use_failed"}, Fault.BAD_OUTPUT),
    ({"message": "x", "code": "content_filter"}, Fault.CONTENT_FILTER),
    ({"message": "x", "type": "invalid_request_error"}, Fault.BAD_REQUEST),
    ("out of memory", Fault.SERVER),
    ({}, Fault.SERVER),
    (True, Fault.SERVER),
]


@pytest.mark.parametrize(("error", "expected"), INSIDE)
def test_an_error_inside_a_success_means_this_fault(error: object, expected: Fault) -> None:
    assert fault.from_error(error).fault is expected


def test_what_the_request_did_wrong_is_told_in_the_providers_words() -> None:
    body = openai(
        "Unsupported parameter: 'max_tokens'.",
        "invalid_request_error",
        "unsupported_parameter",
        "max_tokens",
    )
    error = fault.from_status(400, {}, body)
    assert error.message == "Unsupported parameter: 'max_tokens'."
    assert (error.code, error.param) == ("unsupported_parameter", "max_tokens")


@pytest.mark.parametrize("status", [401, 402, 403, 404, 429, 500, 503])
def test_what_is_wrong_between_gateway_and_provider_is_told_in_our_words(status: int) -> None:
    body = openai(
        f"Incorrect key {SECRET} of org-acme123 at https://up.example", code="x", param=SECRET
    )
    error = fault.from_status(status, {}, body)
    assert "acme" not in error.message and "up.example" not in error.message
    assert error.code is None and error.param is None


LEAKS = [
    SECRET,
    "sk-proj-abcdefghijkl",
    "sk-ant-api03-abc_def-ghi",
    "gsk_abcdefghijklmnop",
    "AIzaSyA1234567890abcdefghijklmn",
    "Bearer abc.def",
    "https://up.example/v1/chat?key=hunter2",
    "http://10.0.0.7:8080/x",
    "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln",
    "x-api-key: hunter2hunter2",
    "api_key=hunter2",
    "Authorization: Basic dXNlcjpw",
    "org-AbC123xyz",
    "GET /v1?key=hunter2&x=1",
]


@pytest.mark.parametrize("leak", LEAKS)
def test_nothing_that_looks_like_a_credential_or_an_address_is_shown(leak: str) -> None:
    body = openai(f"bad value: {leak} in request", "invalid_request_error", leak, leak)
    error = fault.from_status(400, {}, body)
    shown = f"{error.message} {error.code} {error.param}"
    for part in (leak, "hunter2", "up.example", "10.0.0.7", "canary"):
        assert part not in shown
    assert error.message.startswith("bad value:")


@given(st.text(max_size=40), st.text(alphabet="abc-_.!0123", min_size=6, max_size=30))
def test_the_providers_own_secrets_are_removed_whatever_they_look_like(
    text: str, secret: str
) -> None:
    if secret not in "[removed]":
        assert secret not in fault.scrubbed(f"{text} {secret} {text}", [secret]).replace(
            "[removed]", ""
        )


def test_ordinary_words_are_kept_and_long_ones_are_cut() -> None:
    text = "'tool_choice' must be one of none, auto; see the key `messages[0].role`"
    assert fault.scrubbed(text) == text
    assert len(fault.scrubbed("word " * 10_000)) == fault.MAX_MESSAGE
    assert fault.scrubbed("two\nlines\tand\x00") == "two lines and\x00"


NOW = 1_755_000_000
WAITS: list[tuple[dict[str, str], int | None]] = [
    ({}, None),
    ({"retry-after": "2"}, 2_000_000),
    ({"retry-after": "0"}, 0),
    ({"retry-after": "1.5"}, 1_500_000),
    ({"retry-after": "-1"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": ""}, None),
    ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30_000_000),
    ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0),
    ({"retry-after": "Fri, 99 Foo 2025"}, None),
    ({"retry-after": "999999999"}, 24 * 3600 * 1_000_000),
    ({"retry-after-ms": "250", "retry-after": "9"}, 250_000),
    ({"retry-after-ms": "x", "retry-after": "9"}, 9_000_000),
    ({"retry-after": "1e305"}, 86_400_000_000),
]


@pytest.mark.parametrize(("headers", "expected"), WAITS)
def test_the_wait_asked_for_is_read_in_all_its_forms(
    headers: dict[str, str], expected: int | None
) -> None:
    assert fault.retry_after_us(headers, NOW) == expected


def test_the_wait_is_in_the_error() -> None:
    error = fault.from_status(429, httpx.Headers({"Retry-After": "3"}), b"")
    assert error.retry_after_us == 3_000_000


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


EXCEPTIONS: list[tuple[Exception, Fault, str]] = [
    (httpx.ConnectTimeout(SECRET), Fault.TIMEOUT, "reached in time"),
    (httpx.PoolTimeout(SECRET), Fault.TIMEOUT, "free in time"),
    (httpx.ReadTimeout(SECRET), Fault.TIMEOUT, "silent"),
    (httpx.WriteTimeout(SECRET), Fault.TIMEOUT, "silent"),
    (TimeoutError(SECRET), Fault.TIMEOUT, "silent"),
    (httpx.ConnectError(SECRET), Fault.CONNECT, "failed"),
    (caused(httpx.ConnectError(SECRET), ConnectionRefusedError()), Fault.CONNECT, "refused"),
    (caused(httpx.ConnectError(SECRET), socket.gaierror()), Fault.CONNECT, "resolved"),
    (caused(httpx.ConnectError(SECRET), ssl.SSLError()), Fault.CONNECT, "TLS"),
    (
        caused(httpx.ConnectError(SECRET), ExceptionGroup("x", [ConnectionRefusedError()])),
        Fault.CONNECT,
        "refused",
    ),
    (httpx.ReadError(SECRET), Fault.CONNECT, "broke"),
    (httpx.RemoteProtocolError(SECRET), Fault.CONNECT, "broke"),
    (httpx.LocalProtocolError(SECRET), Fault.CONNECT, "broke"),
    (httpx.DecodingError(SECRET), Fault.BAD_OUTPUT, "decompressed"),
    (httpx.StreamClosed(), Fault.CONNECT, "broke"),
    (ConnectionResetError(SECRET), Fault.CONNECT, "failed"),
]


@pytest.mark.parametrize(("error", "expected", "word"), EXCEPTIONS)
def test_an_exception_of_the_transport_means_this_fault(
    error: Exception, expected: Fault, word: str
) -> None:
    assert isinstance(error, fault.FAILURES)
    explained = fault.from_exception(error)
    assert explained.fault is expected and word in explained.message
    assert SECRET not in explained.message


@given(
    st.binary(max_size=200),
    st.integers(100, 599),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
)
def test_no_answer_can_break_the_explanation(
    body: bytes, status: int, headers: dict[str, str]
) -> None:
    assert fault.from_status(status, headers, body).message


JSON: Any = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda s: (
        st.lists(s, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "type", "code", "param", "detail", "metadata"]),
            s,
            max_size=4,
        )
    ),
)


@given(JSON)
def test_no_error_object_can_break_the_explanation(error: object) -> None:
    assert fault.from_error(error).message
