"""Legacy completions as clients speak them: prompts said as chat, answers told as text."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion

from turnout.engine import tokens
from turnout.engine.request import Caller, Native, Operation, Request, RequestError
from turnout.protocols.chat_shape import check_chat
from turnout.protocols.completions import COMPLETIONS

GOLDEN = Path(__file__).parent / "completions" / "requests.json"
REQUESTS = orjson.loads(GOLDEN.read_bytes())
USAGE = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


def request_of(asked: Any = None) -> Request:
    body = {"model": "gpt-4", "prompt": "hi", **(asked or {})}
    COMPLETIONS.check(body)
    assert COMPLETIONS.as_chat is not None
    said = COMPLETIONS.as_chat(body)
    return Request(
        id="req_1",
        operation=Operation.COMPLETIONS,
        body=said.body,
        raw=orjson.dumps(said.body),
        model="gpt-4",
        stream=body.get("stream") is True,
        caller=Caller(),
        headers={},
        received_us=1,
        started_ns=0,
        native=Native(orjson.dumps(body), body, said.only, said.lost),
    )


def test_a_request_is_said_as_exactly_this_chat() -> None:
    told = []
    for case in REQUESTS:
        request = request_of(case["asked"])
        assert request.native is not None
        chat = {name: value for name, value in request.body.items() if name != "model"}
        beyond = {"only": list(request.native.only), "lost": list(request.native.lost)}
        told.append(
            {"name": case["name"], "asked": case["asked"], "chat": chat}
            | {name: members for name, members in beyond.items() if members}
        )
    written = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(written)
    assert written == GOLDEN.read_text()


VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-2, 300) | st.text(max_size=3) | st.just({})
)
TEXTS = st.lists(st.text(max_size=4) | st.integers(-1, 9) | st.lists(st.integers(0, 9)), max_size=3)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            "n best_of logprobs echo suffix max_tokens temperature stop stream stream_options "
            "user seed logit_bias x".split()
        ),
        VALUES | st.lists(VALUES, max_size=2),
    ),
    VALUES | TEXTS,
)
def test_whatever_is_not_refused_is_a_chat_of_the_right_shape(asked: Any, prompt: Any) -> None:
    body = {"model": "gpt-4", "prompt": prompt, **asked}
    try:
        COMPLETIONS.check(body)
    except RequestError as error:
        assert error.status == 400 and error.param and error.message.endswith(".")
        return
    check_chat(request_of({"prompt": prompt, **asked}).body)


@pytest.mark.parametrize("number", [1, 7, 100])
def test_token_numbers_are_counted_as_so_many_tokens(number: int) -> None:
    plain = tokens.count(request_of({"prompt": ""}))
    assert tokens.count(request_of({"prompt": list(range(number))})) - plain == number


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        ({"model": None}, "missing_required_parameter", "model"),
        ({"prompt": 7}, "invalid_type", "prompt"),
        ({"prompt": []}, "empty_array", "prompt"),
        ({"prompt": ["a", 1]}, "invalid_type", "prompt[0]"),
        ({"prompt": [[1], []]}, "invalid_type", "prompt[1]"),
        ({"best_of": 0}, "invalid_type", "best_of"),
        ({"logprobs": True}, "invalid_type", "logprobs"),
        ({"temperature": 2.5}, "invalid_value", "temperature"),
        ({"stop": 7}, "invalid_type", "stop"),
    ],
)
async def test_a_body_of_the_wrong_shape_is_refused_in_the_envelope(
    client: httpx.AsyncClient, asked: Any, code: str, param: str
) -> None:
    response = await client.post("/v1/completions", json={"model": "m", "prompt": "hi", **asked})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)


def completion(message: Any, finish: str = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish, **more}
    value = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4"}
    return orjson.dumps(value | {"choices": [choice], "usage": USAGE})


def told(message: Any, finish: str = "stop", asked: Any = None, **more: Any) -> Completion:
    voice = COMPLETIONS.translating(request_of(asked))
    whole = voice.whole(completion(message, finish, **more))
    return Completion.model_validate_json(whole, strict=True)


def test_an_answer_is_told_as_a_completion() -> None:
    made = told({"content": "x y", "reasoning_content": "hmm"})
    assert (made.id, made.object, made.model) == ("cmpl-1", "text_completion", "gpt-4")
    (choice,) = made.choices
    assert (choice.text, choice.index, choice.logprobs) == ("x y", 0, None)
    assert made.usage is not None and made.usage.total_tokens == 5


@pytest.mark.parametrize(
    ("finish", "shown"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "stop"),
        ("other", "stop"),
    ],
)
def test_a_finish_reason_is_one_of_three(finish: str, shown: str) -> None:
    assert told({"content": "x"}, finish).choices[0].finish_reason == shown


def test_a_refusal_is_the_text() -> None:
    assert told({"content": None, "refusal": "no"}).choices[0].text == "no"


def row(token: str) -> Any:
    return {"token": token, "logprob": -1.5, "top_logprobs": [{"token": token, "logprob": -1.5}]}


def test_probabilities_have_the_names_of_this_protocol() -> None:
    made = told({"content": "ab"}, logprobs={"content": [row("a"), row("b")]})
    assert made.choices[0].logprobs is not None
    assert made.choices[0].logprobs.to_dict() == {
        "tokens": ["a", "b"],
        "token_logprobs": [-1.5, -1.5],
        "top_logprobs": [{"a": -1.5}, {"b": -1.5}],
        "text_offset": [0, 1],
    }


def chunk_of(delta: Any, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4"}
    return b"data: %b\n\n" % orjson.dumps(value | {"choices": [choice]})


def read(event: bytes) -> Any:
    assert event.startswith(b"data: ") and event.endswith(b"\n\n")
    return orjson.loads(event[6:])


def test_a_stream_is_told_in_chunks_of_text() -> None:
    voice = COMPLETIONS.translating(request_of({"stream": True, "n": 2}))
    assert voice.event(chunk_of({"role": "assistant", "content": ""})) == b""
    assert voice.event(chunk_of({"reasoning_content": "hmm"})) == b""
    first = read(voice.event(chunk_of({"content": "ab"}, logprobs={"content": [row("ab")]})))
    assert first == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "gpt-4",
        "choices": [
            {
                "text": "ab",
                "index": 0,
                "logprobs": {
                    "tokens": ["ab"],
                    "token_logprobs": [-1.5],
                    "top_logprobs": [{"ab": -1.5}],
                    "text_offset": [0],
                },
                "finish_reason": None,
            }
        ],
    }
    second = read(voice.event(chunk_of({"content": "c"}, logprobs={"content": [row("c")]})))
    assert second["choices"][0]["logprobs"]["text_offset"] == [2]
    other = read(voice.event(chunk_of({"content": "z"}, index=1, logprobs=None)))
    assert (other["choices"][0]["index"], other["choices"][0]["text"]) == (1, "z")
    last = read(voice.event(chunk_of({}, "length")))
    assert last["choices"][0] | {"logprobs": 0} == {
        "text": "",
        "index": 0,
        "logprobs": 0,
        "finish_reason": "length",
    }
    used = b"data: %b\n\n" % orjson.dumps({"id": "chatcmpl-1", "choices": [], "usage": USAGE})
    assert read(voice.event(used))["usage"] == USAGE
    assert voice.end() == b"data: [DONE]\n\n"


def test_a_prompt_is_echoed_once_before_each_choice() -> None:
    assert told({"content": " there"}, asked={"echo": True}).choices[0].text == "hi there"
    voice = COMPLETIONS.translating(request_of({"echo": True, "stream": True, "n": 2}))
    events = [
        chunk_of({"content": " a"}),
        chunk_of({"content": "b"}),
        chunk_of({}, "stop", index=1),
    ]
    texts = [read(voice.event(event))["choices"][0]["text"] for event in events]
    assert texts == ["hi a", "b", "hi"]


def test_a_stream_that_breaks_off_ends_in_the_envelope() -> None:
    error = RequestError(502, "upstream_error", "bad_gateway", "it failed")
    for voice in (COMPLETIONS.translating(request_of()), COMPLETIONS.passing(request_of())):
        assert read(voice.failed(error))["error"]["code"] == "bad_gateway"


async def test_the_client_reads_answers_and_streams(served: Any) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{served.url}/v1", api_key="any", max_retries=0, timeout=10
    ) as client:
        whole = await client.completions.create(model="gpt-4", prompt="hi")
        assert whole.choices[0].text == "hello" and whole.id == "cmpl-1"
        stream = await client.completions.create(model="gpt-4", prompt="hi", stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "hello"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert served.gateway.requests[0].operation is Operation.COMPLETIONS
