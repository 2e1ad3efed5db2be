"""Bedrock's golden cases, both directions; what leaves fits AWS's own model of the service."""

from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.model
import botocore.validate
import httpx
import orjson
import pytest

from turnout.adapters import PROVIDERS, build, fault
from turnout.adapters.bedrock_request import LACKS, converse_body, model_path
from turnout.adapters.dialect_bedrock import Translation
from turnout.adapters.event_stream import Parser
from turnout.adapters.parameters import PARAMETERS
from turnout.engine.provider import Call, Chunk, Fault, ProviderError
from turnout.simulator.bedrock_frames import event_frame, exception_frame

GOLDEN = Path(__file__).parent / "golden"
REQUESTS = sorted(p for p in (GOLDEN / "bedrock").glob("*.json") if p.name.count(".") == 1)
STREAMS = sorted((GOLDEN / "streams" / "bedrock").glob("*.upstream.jsonl"))

Occurrence = tuple[str, dict[str, Any]]

SERVICE = botocore.model.ServiceModel(
    botocore.loaders.Loader().load_service_model("bedrock-runtime", "service-2"),
    "bedrock-runtime",
)
CONVERSE: Any = SERVICE.operation_model("Converse").input_shape


def of(bench: Any, model: str, body: dict[str, Any], **more: Any) -> Call:
    call: Call = bench.call({"model": "gpt-4", **body}, **more)
    call.upstream_model = model
    return call


def written(events: list[Occurrence]) -> bytes:
    return b"".join(event_frame(name, data) for name, data in events)


def recorded(path: Path) -> bytes:
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return written([(name, data) for line in lines for name, data in line.items()])


def relayed(bench: Any, asked: bool, *pieces: bytes) -> list[Chunk]:
    translation, parser = Translation(bench.chat(stream=True, asked=asked), ()), Parser()
    chunks = [translation.take(e) for piece in pieces for e in parser.feed(piece)]
    chunks += [translation.take(e) for e in parser.finish()]
    return [chunk for chunk in [*chunks, translation.finish()] if chunk is not None]


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", REQUESTS, ids=lambda p: p.stem)
def test_a_request_leaves_in_exactly_this_shape(bench: Any, path: Path) -> None:
    case = orjson.loads(path.read_bytes())
    call = of(bench, case["model"], case["body"])
    expected = path.with_suffix(".converse.json")
    try:
        body = orjson.loads(converse_body(call))
    except ProviderError as error:
        told = {"fault": error.fault.value, "param": error.param, "message": error.message}
        bench.check(expected, orjson.dumps({"refused": told}, option=orjson.OPT_INDENT_2))
        return
    shown = {"body": body, "dropped": call.dropped}
    bench.check(expected, orjson.dumps(shown, option=orjson.OPT_INDENT_2))


@pytest.mark.parametrize("path", REQUESTS, ids=lambda p: p.stem)
def test_a_request_fits_the_model_that_aws_gives_its_clients(bench: Any, path: Path) -> None:
    case = orjson.loads(path.read_bytes())
    try:
        body = orjson.loads(converse_body(of(bench, case["model"], case["body"])))
    except ProviderError:
        return
    report = botocore.validate.ParamValidator().validate(
        {"modelId": case["model"], **body}, CONVERSE
    )
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("amazon.nova-lite-v1:0", "/model/amazon.nova-lite-v1%3A0/converse"),
        ("anthropic.claude-opus-4-7", "/model/anthropic.claude-opus-4-7/converse"),
        (
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.x-y_z",
            "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Feu.x-y_z/converse",
        ),
    ],
)
def test_a_model_is_one_segment_of_the_path(model: str, path: str) -> None:
    assert model_path(model, "converse") == path


@pytest.mark.parametrize("model", ["", ".", "..", "a b", "a?b", "a#b", "a%2fb", "a\n", "ü"])
def test_a_name_that_no_model_has_goes_nowhere(model: str) -> None:
    with pytest.raises(ProviderError) as caught:
        model_path(model, "converse")
    assert caught.value.fault is Fault.BAD_OUTPUT


def test_every_parameter_is_carried_or_said_to_lack(bench: Any) -> None:
    given: dict[str, Any] = {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}},
        },
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "stop": ["x"],
        "thinking": {"type": "adaptive"},
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "reasoning_effort": "low",
    }
    for name in PARAMETERS.keys() - LACKS:
        call = of(
            bench,
            "anthropic.claude-opus-4-7",
            {name: given.get(name, 0.5), "messages": [{"role": "user", "content": "x"}]},
        )
        bare = of(bench, "anthropic.claude-opus-4-7", {"messages": call.body["messages"]})
        assert converse_body(call) != converse_body(bare) and not call.dropped, name


# --- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [False, True], ids=["plain", "usage"])
@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.name.split(".")[0])
def test_a_stream_reaches_the_client_in_exactly_these_bytes(
    bench: Any, path: Path, asked: bool
) -> None:
    chunks = relayed(bench, asked, recorded(path))
    stem = path.name.split(".")[0]
    suffix = "usage" if asked else "plain"
    bench.check(path.parent / f"{stem}.{suffix}.sse", b"".join(c.data for c in chunks))
    usages = [c.usage for c in chunks if c.usage is not None]
    notes = {
        "usage": usages[-1] if usages else None,
        "text": "".join(c.text for c in chunks),
        "finish_reason": [c.finish_reason for c in chunks if c.finish_reason],
        "chunks_before_content": next(i for i, c in enumerate(chunks) if c.content),
    }
    bench.check(path.parent / f"{stem}.notes.json", orjson.dumps(notes, option=orjson.OPT_INDENT_2))


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.name.split(".")[0])
def test_a_stream_is_the_same_wherever_its_bytes_are_split(bench: Any, path: Path) -> None:
    whole = recorded(path)
    expected = relayed(bench, True, whole)
    for at in range(1, len(whole)):
        assert relayed(bench, True, whole[:at], whole[at:]) == expected, at
    assert relayed(bench, True, *(whole[i : i + 1] for i in range(len(whole)))) == expected


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: p.name.split(".")[0])
def test_a_stream_that_is_cut_is_an_answer_only_once_it_said_that_it_ended(
    bench: Any, path: Path
) -> None:
    whole = recorded(path)
    stop = whole.index(b"messageStop")
    ended = stop + len(whole[stop:].split(b'"}', 1)[0]) + 2 + 4
    for at in range(0, len(whole), 3):
        if at >= ended:
            assert relayed(bench, False, whole[:at])[-1].content
            continue
        with pytest.raises(ProviderError) as caught:
            relayed(bench, False, whole[:at])
        assert caught.value.fault is Fault.BAD_OUTPUT, at


START: Occurrence = ("messageStart", {"role": "assistant"})
WORD: Occurrence = ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "w"}})
STOP: Occurrence = ("messageStop", {"stopReason": "end_turn"})
META: Occurrence = ("metadata", {"usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}})


@pytest.mark.parametrize("position", range(8, len(written([WORD])), 5))
def test_a_damaged_frame_is_no_answer_but_after_the_end_it_is_only_lost(
    bench: Any, position: int
) -> None:
    events = [START, WORD, STOP, META]
    for ended in (False, True):
        data = bytearray(written(events))
        first = len(written(events[:3])) if ended else len(written(events[:1]))
        data[first + position] ^= 0x10
        if ended:
            chunks = relayed(bench, True, bytes(data))
            assert [c.usage for c in chunks if c.usage] == []
            assert "".join(c.text for c in chunks) == "w"
            continue
        with pytest.raises(ProviderError) as caught:
            relayed(bench, True, bytes(data))
        assert caught.value.fault is Fault.BAD_OUTPUT


@pytest.mark.parametrize(
    "events",
    [
        [WORD],
        [STOP],
        [START, ("messageStop", {"stopReason": "malformed_tool_use"})],
        [START, WORD, ("messageStop", {"stopReason": "malformed_model_output"})],
        [START, WORD],
        [START, WORD, META],
        [],
    ],
)
def test_a_stream_that_is_out_of_order_or_malformed_is_no_answer(
    bench: Any, events: list[Any]
) -> None:
    with pytest.raises(ProviderError) as caught:
        relayed(bench, False, written(events))
    assert caught.value.fault is Fault.BAD_OUTPUT


EXCEPTIONS = {
    "throttlingException": Fault.RATE_LIMIT,
    "modelStreamErrorException": Fault.SERVER,
    "internalServerException": Fault.SERVER,
    "serviceUnavailableException": Fault.OVERLOADED,
    "validationException": Fault.BAD_REQUEST,
    "modelTimeoutException": Fault.TIMEOUT,
    "noveltyException": Fault.SERVER,
}


@pytest.mark.parametrize("name", EXCEPTIONS)
@pytest.mark.parametrize("before", [[], [START, WORD]], ids=["first", "amid"])
def test_an_exception_in_a_stream_is_this_fault(bench: Any, name: str, before: list[Any]) -> None:
    message = "arn:aws:bedrock:eu-west-1:123456789012:x/y of account 210987654321 is ill"
    with pytest.raises(ProviderError) as caught:
        relayed(bench, False, written(before) + exception_frame(name, message))
    assert caught.value.fault is EXCEPTIONS[name]
    for secret in ("123456789012", "210987654321", "arn:", "xception"):
        assert secret not in f"{caught.value.message} {caught.value.code} {caught.value.param}"


# --- refusals ------------------------------------------------------------------------------------

REFUSALS: list[tuple[int, str, str, Fault]] = [
    (400, "ValidationException", "temperature must be less than 1", Fault.BAD_REQUEST),
    (400, "ValidationException", "The provided model identifier is invalid.", Fault.BAD_OUTPUT),
    (
        400,
        "ValidationException",
        "Invocation of model ID x with on-demand throughput isn\u2019t supported. Retry your "
        "request with the ID or ARN of an inference profile that contains this model.",
        Fault.BAD_OUTPUT,
    ),
    (
        400,
        "ValidationException",
        "Input is too long for requested model.",
        Fault.CONTEXT_EXCEEDED,
    ),
    (
        400,
        "ValidationException",
        "The model returned the following errors: input length and `max_tokens` exceed context "
        "limit: 199000 + 4096 > 200000, decrease input length",
        Fault.CONTEXT_EXCEEDED,
    ),
    (
        400,
        "ValidationException",
        "The model returned the following errors: prompt is too long: 201 tokens > 200 maximum",
        Fault.CONTEXT_EXCEEDED,
    ),
    (
        400,
        "ValidationException",
        "This model doesn't support tool use in streaming mode.",
        Fault.UNSUPPORTED,
    ),
    (400, "ServiceQuotaExceededException", "Too many", Fault.QUOTA),
    (400, "ThrottlingException", "Too many requests", Fault.RATE_LIMIT),
    (400, "IncompleteSignatureException", "Authorization header requires", Fault.AUTH),
    (400, "ExpiredTokenException", "expired", Fault.AUTH),
    (403, "ExpiredTokenException", "expired", Fault.AUTH),
    (403, "UnrecognizedClientException", "invalid", Fault.AUTH),
    (403, "InvalidSignatureException", "The Canonical String was", Fault.AUTH),
    (403, "AccessDeniedException", "You don't have access", Fault.AUTH),
    (404, "ResourceNotFoundException", "The model is past the end of its life", Fault.BAD_OUTPUT),
    (408, "ModelTimeoutException", "took too long", Fault.TIMEOUT),
    (424, "ModelErrorException", "The model failed", Fault.SERVER),
    (429, "ThrottlingException", "Too many tokens, please wait", Fault.RATE_LIMIT),
    (429, "ModelNotReadyException", "not ready", Fault.OVERLOADED),
    (500, "InternalServerException", "oh", Fault.SERVER),
    (503, "ServiceUnavailableException", "oh", Fault.OVERLOADED),
    (413, "RequestEntityTooLargeException", "too large", Fault.CONTEXT_EXCEEDED),
    (418, "NoveltyException", "new", Fault.BAD_REQUEST),
]


@pytest.mark.parametrize(("status", "name", "message", "expected"), REFUSALS)
@pytest.mark.parametrize("form", ["header", "address", "type", "namespace"])
async def test_a_refusal_is_this_fault_and_names_no_account(
    bench: Any, status: int, name: str, message: str, expected: Fault, form: str
) -> None:
    told = f"{message} (arn:aws:iam::123456789012:user/ops of account 123456789012, AKIA{'X' * 16})"
    headers: dict[str, str] = {}
    body: dict[str, str] = {"Message" if form == "type" else "message": told}
    if form == "header":
        headers["x-amzn-errortype"] = name
    elif form == "address":
        headers["x-amzn-errortype"] = f"{name}:http://internal.amazon.com/coral/com.amazon.x/"
    else:
        body["__type"] = name if form == "type" else f"com.amazon.coral.service#{name}"
    provider = bench.answering("bedrock", orjson.dumps(body), status=status, headers=headers)
    with pytest.raises(ProviderError) as caught:
        await provider.answer(bench.chat())
    error = caught.value
    assert (error.fault, error.status) == (expected, status)
    shown = f"{error.message} {error.code} {error.param}"
    for secret in ("123456789012", "arn:", "AKIA", "xception", "amazon"):
        assert secret not in shown


def test_a_retry_after_of_amazon_is_kept() -> None:
    headers = {"x-amzn-errortype": "ThrottlingException", "retry-after": "3"}
    error = fault.from_status(429, headers, b'{"message":"x"}')
    assert (error.fault, error.retry_after_us) == (Fault.RATE_LIMIT, 3_000_000)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b"<html>", b'{"output":{"message":{"content":["x"]}}}', b'{"output":1}'],
)
async def test_an_answer_that_is_none_is_no_answer(bench: Any, raw: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        await bench.answering("bedrock", raw).answer(bench.chat())
    assert caught.value.fault is Fault.BAD_OUTPUT


@pytest.mark.parametrize("reason", ["malformed_tool_use", "malformed_model_output"])
async def test_an_answer_that_aws_could_not_read_is_no_answer(bench: Any, reason: str) -> None:
    raw = {"output": {"message": {"content": [{"text": "x"}]}}, "stopReason": reason}
    with pytest.raises(ProviderError) as caught:
        await bench.answering("bedrock", orjson.dumps(raw)).answer(bench.chat())
    assert caught.value.fault is Fault.BAD_OUTPUT


# --- address -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"AWS_REGION": "us-east-1"}, "https://bedrock-runtime.us-east-1.amazonaws.com"),
        (
            {"AWS_DEFAULT_REGION": "us-gov-west-1"},
            "https://bedrock-runtime.us-gov-west-1.amazonaws.com",
        ),
        (
            {"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "us-east-1"},
            "https://bedrock-runtime.eu-north-1.amazonaws.com",
        ),
        ({"AWS_REGION": "cn-north-1"}, "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ({"AWS_REGION": "evil.example/"}, None),
        ({"AWS_REGION": "us-east-1.evil.example#"}, None),
        ({"AWS_REGION": "a@b"}, None),
        ({"AWS_REGION": "local"}, None),
    ],
)
def test_a_region_makes_the_address_and_nothing_else_can(
    variables: dict[str, str], expected: str | None
) -> None:
    assert PROVIDERS["bedrock"].address(variables) == expected


@pytest.mark.parametrize(
    ("credential", "variables", "usable"),
    [
        ("bearer", {"AWS_REGION": "us-east-1"}, True),
        ("bearer", {}, False),
        (None, {"AWS_REGION": "us-east-1"}, False),
        (None, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, False),
        (
            None,
            {
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
            },
            True,
        ),
        (None, {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "a"}, False),
    ],
)
def test_it_is_usable_with_a_region_and_one_kind_of_credential(
    credential: str | None, variables: dict[str, str], usable: bool
) -> None:
    nowhere = httpx.MockTransport(lambda request: httpx.Response(500))
    made = build("bedrock", "bedrock", None, {}, credential, nowhere, variables)
    assert made.usable is usable
