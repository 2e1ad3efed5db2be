"""Requests to Bedrock are signed as AWS's own client signs them, and the secret stays here."""

import logging
import subprocess
import sys
import threading
from datetime import datetime
from typing import Any
from unittest import mock

import boto3
import httpx
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from turnout.adapters import build
from turnout.adapters.upstream import Upstream
from turnout.engine.provider import Fault, ProviderError

KEY_ID, SECRET, TOKEN = "AKIACANARYEXAMPLE000", "canary/secret+key", "canary/session+token=="
VARIABLES = {
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_SESSION_TOKEN": TOKEN,
    "AWS_REGION": "eu-west-1",
}
NOON = datetime(2026, 3, 1, 12, 0, 0)
MODELS = [
    "amazon.nova-lite-v1:0",
    "us.anthropic.claude-sonnet-4-20250514-v1:0",
    "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-opus-4-1:0",
    "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3d4e5f6",
    "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/my-endpoint",
    "a_b-c.d",
]
BASE_URLS = [None, "http://127.0.0.1:9911", "https://vpce-1.example:8443", "https://gw.example/a/b"]


def of_boto3(model: str, base_url: str | None) -> Any:
    """The request that AWS's client makes for a model, without sending it."""
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=base_url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        aws_session_token=TOKEN,
        config=Config(retries={"total_max_attempts": 1}),
    )
    made: list[Any] = []

    def keep(request: Any, **_: Any) -> AWSResponse:
        made.append(request)
        return AWSResponse(request.url, 500, HTTPHeaders(), mock.Mock(stream=lambda: iter(())))

    client.meta.events.register("before-send.bedrock-runtime.Converse", keep)
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOON):
        try:
            client.converse(modelId=model, messages=[{"role": "user", "content": [{"text": "hi"}]}])
        except Exception:
            assert made
    return made[0]


def text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("base_url", BASE_URLS)
@pytest.mark.parametrize("model", MODELS)
async def test_a_signature_is_the_one_of_the_official_client(
    bench: Any, model: str, base_url: str | None
) -> None:
    theirs = of_boto3(model, base_url)
    signed_at = text(theirs.headers["X-Amz-Date"])
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b'{"output":{"message":{"content":[]}}}')

    made = build("bedrock", None, base_url, {}, None, httpx.MockTransport(answer), VARIABLES)
    call = bench.chat()
    call.upstream_model = model
    # Their body, so that the signatures can be the same: ours differs in white space.
    with (
        mock.patch("turnout.adapters.bedrock.converse_body", return_value=theirs.body),
        mock.patch("botocore.auth.get_current_datetime", return_value=NOON),
    ):
        await made.answer(call)
    ours = seen[0]
    assert str(ours.url) == theirs.url
    assert ours.content == theirs.body
    assert ours.headers["x-amz-date"] == signed_at
    assert ours.headers["x-amz-security-token"] == TOKEN
    assert ours.headers["authorization"] == text(theirs.headers["Authorization"])
    assert "/eu-west-1/bedrock/aws4_request" in ours.headers["authorization"]


async def test_a_key_of_bedrock_goes_before_a_signature(bench: Any) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b'{"output":{"message":{"content":[]}}}')

    transport = httpx.MockTransport(answer)
    made = build("bedrock", None, None, {}, "bedrock-api-key", transport, VARIABLES)
    await made.answer(bench.chat())
    assert seen[0].headers.get_list("authorization") == ["Bearer bedrock-api-key"]
    assert not {name for name in seen[0].headers if name.startswith("x-amz")}


async def test_each_request_is_signed_anew_and_now(bench: Any) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b'{"output":{"message":{"content":[]}}}')

    made = build("bedrock", None, None, {}, None, httpx.MockTransport(answer), VARIABLES)
    for hour in (12, 13):
        moment = NOON.replace(hour=hour)
        with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
            await made.answer(bench.chat())
    assert [r.headers["x-amz-date"] for r in seen] == ["20260301T120000Z", "20260301T130000Z"]
    assert seen[0].headers["authorization"] != seen[1].headers["authorization"]


async def test_a_long_request_is_signed_beside_the_event_loop(bench: Any) -> None:
    signed_in: list[bool] = []
    loop_thread = threading.current_thread()

    def sign(url: httpx.URL, body: bytes | None) -> dict[str, str]:
        signed_in.append(threading.current_thread() is loop_thread)
        return {"authorization": "signed"}

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "signed"
        return httpx.Response(200, content=b"{}")

    upstream = Upstream("https://gw.example", {}, httpx.MockTransport(answer), sign)
    for size in (10, 5_000_000):
        await upstream.fetch("/x", b"x" * size, bench.chat())
    assert signed_in == [True, False]


async def test_a_service_that_echoes_all_that_it_was_sent_does_not_leak_it(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        said = f"{dict(request.headers)} {request.url} secret {SECRET}"
        return httpx.Response(
            400, json={"message": said}, headers={"x-amzn-errortype": "ValidationException"}
        )

    made = build("bedrock", None, None, {}, None, httpx.MockTransport(echo), VARIABLES)
    with caplog.at_level(logging.DEBUG), pytest.raises(ProviderError) as caught:
        await made.answer(bench.chat())
    shown = f"{caught.value!r} {caught.value.message} {caplog.text}"
    assert "canary" not in shown.lower() and "eu-west-1" not in caught.value.message
    assert caught.value.fault is Fault.BAD_REQUEST


def test_without_its_library_it_says_what_to_install_before_any_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    nowhere = httpx.MockTransport(lambda request: httpx.Response(500))
    made = build("bedrock", None, None, {}, None, nowhere, VARIABLES)
    assert not made.usable and made.missing == "no botocore (install `turnout[bedrock]`)"
    assert build("bedrock", None, None, {}, "a-key", nowhere, VARIABLES).usable


def test_who_has_no_keys_of_aws_does_not_load_the_library() -> None:
    code = (
        "import sys, httpx\n"
        "from turnout.adapters import build\n"
        "nowhere = httpx.MockTransport(lambda request: httpx.Response(500))\n"
        "given = {'AWS_REGION': 'us-east-1'}\n"
        "assert build('bedrock', None, None, {}, 'a-key', nowhere, given).usable\n"
        "assert not any(name.startswith('botocore') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
