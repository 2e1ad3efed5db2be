"""Gemini without a socket: requests by family of model, errors, streams cut and spoilt."""

import base64
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from turnout.adapters import build, variables
from turnout.adapters.dialect_gemini import GeminiParser, Translation
from turnout.adapters.gemini_answer import read_generation
from turnout.adapters.gemini_embeddings import read_vectors
from turnout.adapters.gemini_request import generation
from turnout.adapters.gemini_thinking import family
from turnout.adapters.sse import Event
from turnout.engine.provider import Call, Chunk, Fault, ProviderError
from turnout.simulator.gemini_body import check

GOLDEN = Path(__file__).parent / "golden"
TABLES = GOLDEN / "gemini"
THINKING = orjson.loads((TABLES / "thinking.json").read_bytes())
PARAMETERS = orjson.loads((TABLES / "parameters.json").read_bytes())
ERRORS = orjson.loads((TABLES / "errors.json").read_bytes())
ANSWER = b'{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}'
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object"}},
}
PNG = "data:image/png;base64,iVBORw0KGgo="


def called(call_id: str, name: str = "get_weather", **members: Any) -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": "{}"},
        **members,
    }


def signed(signature: str) -> dict[str, Any]:
    return {"extra_content": {"google": {"thought_signature": signature}}}


def translated(bench: Any, model: str, **members: Any) -> tuple[dict[str, Any], list[str]]:
    call = bench.chat(**members)
    call.upstream_model = model
    body = generation(call)
    return body, call.dropped


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted(GOLDEN.glob("requests/*.gemini.json")), ids=lambda p: p.name
)
def test_every_golden_request_is_one_that_google_knows(path: Path) -> None:
    body = orjson.loads(path.read_bytes())
    if "refused" in body:
        return
    check(body, "gemini-2.5-flash")
    for content in (*body["contents"], *filter(None, [body.get("systemInstruction")])):
        types.Content.model_validate(content)
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("gemini-2.0-flash", (2, 0)),
        ("gemini-2.5-pro", (2, 5)),
        ("gemini-2.5-flash-lite-preview-09-2025", (2, 5)),
        ("gemini-3-pro-preview", (3, 0)),
        ("gemini-3.1-pro-preview", (3, 1)),
        ("models/gemini-3.5-flash", (3, 5)),
        ("gemini-4-argon", (4, 0)),
        ("gemini-flash-latest", (3, 1)),
        ("gemma-3-27b-it", (0, 0)),
        ("tunedModels/mine", (0, 0)),
    ],
)
def test_a_models_name_says_its_family(model: str, version: tuple[int, int]) -> None:
    assert family(model) == version


@pytest.mark.parametrize("case", THINKING, ids=lambda c: f"{c['model']}-{sorted(c['asked'])}")
def test_thinking_is_asked_for_as_the_family_knows_it(bench: Any, case: Any) -> None:
    body, told = translated(bench, case["model"], **case["asked"])
    assert body.get("generationConfig", {}).get("thinkingConfig") == case["config"]
    assert told == case["dropped"]
    check(body, case["model"])


@pytest.mark.parametrize("case", PARAMETERS, ids=lambda case: "-".join(case["asked"]))
def test_parameters_go_under_googles_names_or_are_named_as_dropped(bench: Any, case: Any) -> None:
    body, told = translated(bench, "gemini-2.5-flash", **case["asked"])
    assert body.get("generationConfig", {}) == case["config"]
    assert told == case["dropped"]
    check(body, "gemini-2.5-flash")


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"stop": list("abcdef")}, "stop"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "messages[0]"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom", "id": "a"}]}]},
            "messages[0].tool_calls[0]",
        ),
        (
            {
                "messages": [
                    {
                        "role": "system",
                        "content": [{"type": "image_url", "image_url": {"url": PNG}}],
                    }
                ]
            },
            "messages[0]",
        ),
        ({"tools": {"f": 1}}, "tools"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}
                ]
            },
            "messages[0]",
        ),
    ],
)
def test_what_shapes_the_answer_and_is_lacking_refuses_the_hop(
    bench: Any, asked: dict[str, Any], param: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        translated(bench, "gemini-2.5-flash", **asked)
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, param)


@pytest.mark.parametrize(
    ("model", "choice", "strict", "calling", "dropped"),
    [
        ("gemini-2.5-flash", "auto", False, None, []),
        ("gemini-2.5-flash", "none", False, {"mode": "NONE"}, []),
        ("gemini-2.5-flash", "required", True, {"mode": "ANY"}, []),
        ("gemini-2.5-flash", None, True, {"mode": "VALIDATED"}, []),
        ("gemini-2.0-flash", None, True, None, ["tools.strict"]),
        (
            "gemini-2.5-flash",
            {"type": "function", "function": {"name": "get_weather"}},
            False,
            {"mode": "ANY", "allowedFunctionNames": ["get_weather"]},
            [],
        ),
    ],
)
def test_the_choice_of_tools_is_a_mode(
    bench: Any,
    model: str,
    choice: Any,
    strict: bool,
    calling: dict[str, Any] | None,
    dropped: list[str],
) -> None:
    function = {**WEATHER["function"], "strict": strict}  # type: ignore[dict-item]
    tools = [{"type": "function", "function": function}]
    body, told = translated(bench, model, tools=tools, tool_choice=choice)
    assert body.get("toolConfig", {}).get("functionCallingConfig") == calling
    assert told == dropped
    check(body, model)


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_restrict_what_can_be_called(bench: Any, mode: str) -> None:
    tools = [WEATHER, {"type": "function", "function": {"name": "other"}}]
    named = [{"type": "function", "function": {"name": "other"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
    body, _ = translated(bench, "gemini-2.5-flash", tools=tools, tool_choice=choice)
    declared = [one["name"] for one in body["tools"][0]["functionDeclarations"]]
    if mode == "auto":
        assert declared == ["other"] and "toolConfig" not in body
    else:
        calling = body["toolConfig"]["functionCallingConfig"]
        assert calling == {"mode": "ANY", "allowedFunctionNames": ["other"]}
    check(body, "gemini-2.5-flash")


@pytest.mark.parametrize(
    ("model", "first", "expected"),
    [
        ("gemini-3-pro-preview", signed("c2ln"), ["c2ln", None]),
        ("gemini-3-pro-preview", {}, ["skip_thought_signature_validator", None]),
        ("gemini-2.5-flash", {}, [None, None]),
        ("gemini-2.5-flash", signed("c2ln"), ["c2ln", None]),
    ],
)
def test_signatures_go_back_and_history_of_others_is_let_through(
    bench: Any, model: str, first: dict[str, Any], expected: list[str | None]
) -> None:
    messages = [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "shown before",
            "thinking_blocks": [{"type": "thinking", "thinking": "x", "signature": "y"}],
            "tool_calls": [called("a", **first), called("b", "other")],
        },
        {"role": "tool", "tool_call_id": "b", "content": '{"rain": true}'},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "[1]"}]},
    ]
    body, dropped = translated(bench, model, messages=messages)
    said, *calls = body["contents"][1]["parts"]
    assert said == {"text": "Let me see."}
    assert [part.get("thoughtSignature") for part in calls] == expected
    results = [part["functionResponse"] for part in body["contents"][2]["parts"]]
    assert results == [
        {"name": "other", "response": {"rain": True}, "id": "b"},
        {"name": "get_weather", "response": {"result": "[1]"}, "id": "a"},
    ]
    assert dropped == []


def test_the_signature_of_a_text_goes_back_with_it(bench: Any) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", **signed("c2ln")},
        {"role": "user", "content": "c"},
    ]
    body, _ = translated(bench, "gemini-3-pro-preview", messages=messages)
    assert body["contents"][1]["parts"] == [{"text": "b", "thoughtSignature": "c2ln"}]


def test_a_refusal_in_history_is_what_the_model_said(bench: Any) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "refusal": "I will not."},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "b"},
    ]
    body, _ = translated(bench, "gemini-2.5-flash", messages=messages)
    assert body["contents"][1] == {"role": "model", "parts": [{"text": "I will not."}]}
    assert len(body["contents"]) == 3


def test_what_is_cached_and_the_tier_go_beside_the_messages(bench: Any) -> None:
    extra = {"google": {"cached_content": "cachedContents/1"}}
    body, dropped = translated(bench, "gemini-2.5-flash", extra_body=extra, service_tier="flex")
    assert (body["cachedContent"], body["serviceTier"]) == ("cachedContents/1", "flex")
    assert dropped == []


def test_media_go_as_data_or_as_an_address_that_google_fetches(bench: Any) -> None:
    content = [
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.webp?size=2"}},
        {"type": "image_url", "image_url": {"url": "https://x.example/pic"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "f"},
        },
    ]
    body, dropped = translated(
        bench, "gemini-2.5-flash", messages=[{"role": "user", "content": content}]
    )
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://x.example/a.webp?size=2"}},
        {"fileData": {"fileUri": "https://x.example/pic"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "AA=="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AA=="}},
    ]
    assert dropped == []
    check(body, "gemini-2.5-flash")


@pytest.mark.parametrize("model", ["gemini-3-pro-preview", "gemini-2.5-flash"])
def test_a_picture_as_a_tools_result_goes_to_models_that_see_it(bench: Any, model: str) -> None:
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [called("a")]},
        {
            "role": "tool",
            "tool_call_id": "a",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": PNG}},
            ],
        },
    ]
    if model == "gemini-2.5-flash":
        with pytest.raises(ProviderError) as caught:
            translated(bench, model, messages=messages)
        assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, "messages[2]")
        return
    body, _ = translated(bench, model, messages=messages)
    result = body["contents"][2]["parts"][0]["functionResponse"]
    assert result["response"] == {"result": "see"}
    types.FunctionResponse.model_validate(result)
    assert result["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "tool_call_id": "none", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "wizard", "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": [5]}, "messages[0].content"),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA=="}}]},
            "messages[0].content",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]},
            "messages[0].tool_calls[0].function.name",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]},
            "messages[0].content",
        ),
        ({"role": "user", "content": "\ud800"}, "messages"),
    ],
)
async def test_a_malformed_message_is_the_callers_own(
    bench: Any, message: dict[str, Any], param: str
) -> None:
    call = bench.chat()
    call.request.body["messages"] = [message]
    with pytest.raises(ProviderError) as caught:
        await bench.answering("gemini", ANSWER).answer(call)
    assert (caught.value.fault, caught.value.param) == (Fault.BAD_REQUEST, param)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("models/gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("tunedModels/mine-1", "/v1beta/tunedModels/mine-1:generateContent"),
        ("v9/x?key=1#y", "/v1beta/models/v9%2Fx%3Fkey%3D1%23y:generateContent"),
        ("ü:a", "/v1beta/models/%C3%BC%3Aa:generateContent"),
    ],
)
async def test_a_models_name_cannot_leave_its_place_in_the_path(
    bench: Any, model: str, path: str
) -> None:
    seen: list[httpx.Request] = []
    call = bench.chat()
    call.upstream_model = model
    await bench.answering("gemini", ANSWER, seen=seen).answer(call)
    assert seen[0].url.raw_path == path.encode()


async def test_a_models_name_that_leads_upwards_goes_nowhere(bench: Any) -> None:
    seen: list[httpx.Request] = []
    call = bench.chat()
    call.upstream_model = "../../v9/x"
    with pytest.raises(ProviderError):
        await bench.answering("gemini", ANSWER, seen=seen).answer(call)
    assert seen == []


# --- the key -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credential", "google", "base_url", "sent"),
    [
        ("own-key-1", "google-key-2", None, "own-key-1"),
        (None, "google-key-2", None, "google-key-2"),
        (None, "google-key-2", "https://generativelanguage.googleapis.com.evil.example", None),
        (None, "google-key-2", "http://generativelanguage.googleapis.com/v1beta", None),
        (None, "google-key-2", "https://generativelanguage.googleapis.com:8443/v1beta", None),
        ("own-key-1", None, "https://proxy.example/gemini", "own-key-1"),
    ],
)
async def test_the_key_stands_in_a_header_and_googles_goes_to_google_only(
    bench: Any, credential: str | None, google: str | None, base_url: str | None, sent: str | None
) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=ANSWER)

    given_variables = {"GOOGLE_API_KEY": google} if google else {}
    assert variables("gemini") == ("GOOGLE_API_KEY",)
    provider = build(
        "gemini", None, base_url, {}, credential, httpx.MockTransport(answer), given_variables
    )
    assert provider.usable
    await provider.answer(bench.chat())
    assert seen[0].headers.get("x-goog-api-key") == sent
    assert "key" not in str(seen[0].url) and "authorization" not in seen[0].headers


def test_without_any_key_it_is_not_usable() -> None:
    made = build("gemini", None, None, {}, None, httpx.MockTransport(lambda r: httpx.Response(200)))
    assert not made.usable


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case["name"])
async def test_an_error_of_googles_is_the_right_fault(bench: Any, case: Any, stream: bool) -> None:
    body = case["body"] if isinstance(case["body"], str) else orjson.dumps(case["body"])
    provider = bench.answering("gemini", body, status=case["status"])
    with pytest.raises(ProviderError) as caught:
        if stream:
            await bench.read(provider.stream(bench.chat(stream=True)))
        else:
            await provider.answer(bench.chat())
    assert (caught.value.fault.value, caught.value.status) == (case["fault"], case["status"])
    assert caught.value.retry_after_us == case["waits_us"]
    # Google's own words reach the client only where they are about the request.
    words = ("role", "exceeds", "array", "mime", "Logprobs")
    theirs = caught.value.fault in (Fault.BAD_REQUEST, Fault.CONTEXT_EXCEEDED, Fault.UNSUPPORTED)
    assert theirs is any(word in caught.value.message for word in words)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_blocked_prompt_is_refused_as_filtered(bench: Any, stream: bool) -> None:
    feedback = {"blockReason": "PROHIBITED_CONTENT"}
    told = orjson.dumps({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 9}})
    body = b"data: " + told + b"\r\n\r\n" if stream else told
    headers = {"content-type": "text/event-stream" if stream else "application/json"}
    provider = bench.answering("gemini", body, headers=headers)
    with pytest.raises(ProviderError) as caught:
        if stream:
            await bench.read(provider.stream(bench.chat(stream=True)))
        else:
            await provider.answer(bench.chat())
    assert caught.value.fault is Fault.CONTENT_FILTER
    assert caught.value.usage is not None and caught.value.usage.input == 9


FINISHES = {
    "STOP": "stop", "MAX_TOKENS": "length", "CONTINUATION": "length", "SAFETY": "content_filter",
    "RECITATION": "content_filter", "BLOCKLIST": "content_filter", "OTHER": "content_filter",
    "PROHIBITED_CONTENT": "content_filter", "SPII": "content_filter", "NEW_ONE": "stop",
    "MALFORMED_FUNCTION_CALL": None, "UNEXPECTED_TOOL_CALL": None, "MALFORMED_RESPONSE": None,
}  # fmt: skip


@pytest.mark.parametrize("reason", sorted(FINISHES))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_finish_reason_is_told_in_openais_words(
    bench: Any, reason: str, stream: bool
) -> None:
    raw = orjson.dumps({"candidates": [{"finishReason": reason}]})
    call = bench.chat(stream=stream)
    provider = bench.answering("gemini", b"data: " + raw + b"\n\n" if stream else raw)
    told: list[str | None] = []
    try:
        if stream:
            told = [c.finish_reason for c in await bench.read(provider.stream(call))]
        else:
            told = [(await provider.answer(call)).finish_reason]
    except ProviderError as caught:
        assert caught.fault is Fault.BAD_OUTPUT and FINISHES[reason] is None
    else:
        assert [one for one in told if one] == [FINISHES[reason]]


def test_every_reason_that_googles_client_knows_is_decided() -> None:
    from turnout.adapters.gemini_answer import _FINISH, _NO_ANSWER

    known = {one.value for one in types.FinishReason} - {"FINISH_REASON_UNSPECIFIED"}
    assert known == _FINISH.keys() | _NO_ANSWER


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"candidates":[]}', b'{"candidates":[{}]}', b'{"candidates":7}',
     b'{"candidates":[{"finishReason":"STOP","content":{"parts":[7]}}]}',
     b'{"candidates":[{"finishReason":"STOP","content":{"parts":[{"functionCall":{}}]}}]}',
     b'{"candidates":[{"finishReason":"STOP","content":{"parts":[{"functionCall":{"name":"f","args":[1]}}]}}]}',
     b"<html>"],
)  # fmt: skip
async def test_what_is_no_answer_is_bad_output(bench: Any, body: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        await bench.answering("gemini", body).answer(bench.chat())
    assert caught.value.fault is Fault.BAD_OUTPUT


# --- streams -------------------------------------------------------------------------------------


def streamed(call: Call, pieces: list[bytes]) -> list[Chunk]:
    translation, parser = Translation(call, ()), GeminiParser()
    events = [event for piece in pieces for event in parser.feed(piece)] + parser.finish()
    return [chunk for event in events for chunk in translation.take(event)] + [translation.finish()]


def event(*candidates: dict[str, Any], **members: Any) -> bytes:
    told = {"candidates": list(candidates), "responseId": "r", **members}
    return b"data: " + orjson.dumps(told) + b"\r\n\r\n"


def text(words: str, index: int = 0, finish: str | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"content": {"parts": [{"text": words}]}}
    return {
        **told,
        **({"index": index} if index else {}),
        **({"finishReason": finish} if finish else {}),
    }


BROKEN = b"""{
  "error": {
    "code": 503,
    "message": "busy",
    "status": "UNAVAILABLE"
  }
}
"""


@pytest.mark.parametrize(
    "end",
    [
        BROKEN,
        BROKEN.replace(b"\n", b"\r\n"),
        b"[" + BROKEN + b"]",
        b"data: " + orjson.dumps(orjson.loads(BROKEN)) + b"\n\n",
    ],
    ids=["bare", "bare-crlf", "array", "event"],
)
def test_an_error_in_the_middle_of_a_stream_is_told_wherever_it_is_cut(
    bench: Any, end: bytes
) -> None:
    whole = event(text("Grüße")) + end
    for at in range(1, len(whole)):
        with pytest.raises(ProviderError) as caught:
            streamed(bench.chat(stream=True), [whole[:at], whole[at:]])
        assert caught.value.fault is Fault.OVERLOADED, at


def test_the_candidates_of_a_stream_are_kept_apart(bench: Any) -> None:
    whole = (
        event(text("a"), text("b", 1))
        + event({"index": 1, "content": {"parts": [{"functionCall": {"name": "f"}}]}})
        + event(text("c", 0, "STOP"))
        + event({"index": 1, "finishReason": "STOP"}, usageMetadata={"promptTokenCount": 3})
    )
    chunks = streamed(bench.chat(stream=True, asked=True, n=2), [whole])
    told: dict[int, list[Any]] = {0: [], 1: []}
    for chunk in chunks[:-1]:
        (choice,) = orjson.loads(chunk.data[6:])["choices"]
        told[choice["index"]].append(choice["finish_reason"] or [*choice["delta"]])
    opening = ["role", "content", "refusal"]
    assert told[0] == [opening, ["content"], ["content"], "stop"]
    assert told[1] == [opening, ["content"], ["tool_calls"], "tool_calls"]
    assert chunks[-1].usage is not None and chunks[-1].usage.input == 3
    with pytest.raises(ProviderError, match="ended early"):
        streamed(
            bench.chat(stream=True, n=2),
            [event(text("a"), text("b", 1)), event(text("c", 0, "STOP"))],
        )


def test_a_stream_that_breaks_says_what_was_used_only_where_google_did(bench: Any) -> None:
    for counts, known in (
        ({"promptTokenCount": 5}, None),
        ({"promptTokenCount": 5, "candidatesTokenCount": 2}, 2),
    ):
        translation = Translation(bench.chat(stream=True), ())
        list(translation.take(Event(b"", event(text("a"), usageMetadata=counts)[6:])))
        assert (translation.usage and translation.usage.output) == known


@pytest.mark.parametrize(
    "spoilt",
    [b"data: {\n\n", b"data: 7\n\n", b"data: []\n\n", b'data: {"candidates":[7]}\n\n',
     b'data: {"candidates":[{"content":{"parts":{}}}]}\n\n', b"data: [DONE]\n\n", b""],
)  # fmt: skip
def test_a_spoilt_or_unfinished_stream_is_bad_output(bench: Any, spoilt: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        streamed(bench.chat(stream=True), [event(text("a")) + spoilt])
    assert caught.value.fault is Fault.BAD_OUTPUT


NAMES = (
    "candidates content parts text thought thoughtSignature functionCall name args id index "
    "finishReason logprobsResult chosenCandidates topCandidates token logProbability usageMetadata "
    "promptTokenCount candidatesTokenCount promptFeedback blockReason error responseId inlineData "
    "mimeType data modelVersion embeddings values status details"
).split()
SCALAR = (
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["STOP", "x"]) | st.floats()
)
GARBAGE: Any = st.recursive(
    SCALAR,
    lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(NAMES), s, max_size=4),
    max_leaves=12,
)
PART = st.dictionaries(st.sampled_from(NAMES), GARBAGE, max_size=3)
CANDIDATE = st.fixed_dictionaries(
    {},
    optional={
        "content": st.fixed_dictionaries({"parts": st.lists(PART, max_size=2)}) | GARBAGE,
        "finishReason": st.just("STOP") | GARBAGE,
        "index": GARBAGE,
        "logprobsResult": GARBAGE,
    },
)  # fmt: skip
TOLD = st.fixed_dictionaries(
    {},
    optional={
        "candidates": st.lists(CANDIDATE, max_size=2),
        **dict.fromkeys(("usageMetadata", "promptFeedback", "error", "responseId"), GARBAGE),
    },
)


@given(events=st.lists(TOLD | GARBAGE, max_size=4))
def test_whatever_comes_is_a_stream_or_a_fault(bench: Any, events: list[Any]) -> None:
    translation = Translation(bench.chat(stream=True, asked=True), ())
    try:
        for one in events:
            for chunk in translation.take(Event(b"", orjson.dumps(one))):
                assert orjson.loads(chunk.data[6:])
        translation.finish()
    except ProviderError as caught:
        assert caught.message


@given(body=TOLD | GARBAGE)
def test_whatever_comes_is_an_answer_or_a_fault(bench: Any, body: Any) -> None:
    readers: list[Callable[[bytes], object]] = [
        lambda raw: orjson.loads(read_generation(raw, bench.chat(), ()).body),
        lambda raw: read_vectors(raw, 1, ()),
    ]
    for read in readers:
        try:
            assert read(orjson.dumps(body))
        except ProviderError as caught:
            assert caught.message


@given(
    members=st.dictionaries(
        st.sampled_from(
            "messages tools tool_choice stop n seed max_tokens response_format reasoning_effort "
            "thinking logprobs extra_body service_tier".split()
        ),
        GARBAGE
        | st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "assistant", "tool", "system"])},
                optional={
                    "content": GARBAGE,
                    "tool_calls": GARBAGE,
                    "extra_content": GARBAGE,
                },
            ),
            max_size=3,
        ),
    ),
    model=st.sampled_from(["gemini-2.0-flash", "gemini-2.5-pro", "gemini-3-flash"]),
)
def test_whatever_is_asked_is_a_request_or_a_fault(
    bench: Any, members: dict[str, Any], model: str
) -> None:
    call = bench.chat(**members)
    call.upstream_model = model
    try:
        assert orjson.dumps(generation(call))
    except ProviderError as caught:
        assert caught.message and caught.param


@pytest.mark.parametrize("body", [b"{}", b'{"totalTokens":"7"}', b"<html>", b""])
async def test_a_count_that_is_none_is_bad_output(bench: Any, body: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        await bench.answering("gemini", body).count(bench.chat())
    assert caught.value.fault is Fault.BAD_OUTPUT


def test_a_stream_is_complete_once_its_counts_came_with_its_end(bench: Any) -> None:
    translation = Translation(bench.chat(stream=True), ())
    told = []
    counts = {"promptTokenCount": 1, "candidatesTokenCount": 2}
    for one in (
        event(text("a"), usageMetadata=counts),
        event(text("b", 0, "STOP")),
        event(usageMetadata=counts),
    ):
        translation.take(Event(b"", one[6:]))
        told.append((translation.ended, translation.complete))
    assert told == [(False, False), (True, False), (True, True)]


# --- embeddings ----------------------------------------------------------------------------------


async def test_a_shortened_vector_has_the_length_of_one_again_and_base64_if_asked(
    bench: Any,
) -> None:
    body = b'{"embeddings":[{"values":[3.0,4.0]}]}'
    asked = {"model": "m", "input": "a", "dimensions": 2, "encoding_format": "base64"}
    answer = await bench.answering("gemini", body).answer(bench.call(asked, embeddings=True))
    packed = orjson.loads(answer.body)["data"][0]["embedding"]
    assert struct.unpack("<2f", base64.b64decode(packed)) == pytest.approx((0.6, 0.8))
    assert answer.usage is None
    plain = bench.call({"model": "m", "input": "a"}, embeddings=True)
    answer = await bench.answering("gemini", body).answer(plain)
    assert orjson.loads(answer.body)["data"][0]["embedding"] == [3.0, 4.0]


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"embeddings":[]}', b'{"embeddings":[{}]}', b'{"embeddings":[{"values":["x"]}]}',
     b'{"embeddings":[{"values":[1]},{"values":[2]}]}'],
)  # fmt: skip
async def test_vectors_that_are_none_are_bad_output(bench: Any, body: bytes) -> None:
    call = bench.call({"model": "m", "input": "a"}, embeddings=True)
    with pytest.raises(ProviderError) as caught:
        await bench.answering("gemini", body).answer(call)
    assert caught.value.fault is Fault.BAD_OUTPUT
