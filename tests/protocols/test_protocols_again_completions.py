"""Legacy completions told again in their own protocol."""

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.again import EXTRAS, SAID, Json, asked, cut, data_of
from turnout.engine.request import Operation
from turnout.protocols.forms import FORMS

COMPLETIONS = FORMS[Operation.COMPLETIONS]
GOLDEN = Path(__file__).parents[1] / "adapters" / "golden" / "completions"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def completion(*choices: Json) -> Json:
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "gpt-4"}
    return {**head, "choices": list(choices), "usage": USAGE}


@st.composite
def choices(draw: st.DrawFn, index: int) -> Json:
    text = draw(SAID | st.just(""))
    known = draw(st.booleans()) and text
    tokens = cut(draw, text)
    rows = {
        "tokens": tokens,
        "token_logprobs": [-0.5] * len(tokens),
        "top_logprobs": [None] * len(tokens),
        "text_offset": list(range(len(tokens))),
    }
    told: Json = {"text": text, "index": index, "logprobs": rows if known else None}
    return {**told, "finish_reason": "stop", **draw(EXTRAS)}


@st.composite
def completions(draw: st.DrawFn) -> Json:
    several = [draw(choices(index)) for index in range(draw(st.integers(1, 3)))]
    return completion(*several) | draw(EXTRAS)


@given(completions())
def test_the_chunks_of_a_completion_add_up_to_it(body: Json) -> None:
    events = COMPLETIONS.events(json.dumps(body).encode(), asked(Operation.COMPLETIONS))
    whole = COMPLETIONS.whole(events, None)
    assert whole is not None
    assert json.loads(whole) == body


@st.composite
def streamed(draw: st.DrawFn) -> tuple[Json, list[bytes]]:
    """A completion, and a stream that a provider might have told it in."""
    body = draw(completions())
    lanes = []
    for choice in body["choices"]:
        rows = choice["logprobs"]
        texts = rows["tokens"] if rows else cut(draw, choice["text"])
        lane: list[Json] = []
        for number, text in enumerate(texts):
            some = rows and {name: values[number : number + 1] for name, values in rows.items()}
            told = {"text": text, "index": choice["index"], "logprobs": some}
            lane.append({**told, "finish_reason": None})
        lane.append({**choice, "text": "", "logprobs": None})
        lanes.append(lane)
    chunks = []
    while lanes:
        lane = lanes[draw(st.integers(0, len(lanes) - 1))]
        chunks.append({**body, "choices": [lane.pop(0)], "usage": None})
        lanes = [lane for lane in lanes if lane]
    chunks.append({**body, "choices": []})
    return body, [b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks]


@given(streamed())
def test_a_completion_is_whole_however_its_stream_was_cut(told: tuple[Json, list[bytes]]) -> None:
    body, events = told
    whole = COMPLETIONS.whole(events, None)
    assert whole is not None
    assert json.loads(whole) == body


def test_what_a_provider_streams_and_what_it_answers_is_the_same() -> None:
    events = [
        block + b"\n\n" for block in (GOLDEN / "text.upstream.sse").read_bytes().split(b"\n\n")
    ]
    whole = COMPLETIONS.whole([event for event in events if event.strip()], None)
    assert whole is not None
    assert b"123456789012345678901234567890" in whole  # no float
    assert COMPLETIONS.is_complete(whole)


@pytest.mark.parametrize("finish", ["length", "content_filter", None])
def test_what_was_cut_short_is_not_complete(finish: str | None) -> None:
    choice = {"text": "a", "index": 0, "logprobs": None}
    whole = completion({**choice, "finish_reason": "stop"})
    assert COMPLETIONS.is_complete(orjson.dumps(whole))
    cut_short = completion({**choice, "finish_reason": finish})
    assert not COMPLETIONS.is_complete(orjson.dumps(cut_short))


@pytest.mark.parametrize("usage", [True, False], ids=["asked", "not_asked"])
def test_usage_comes_only_to_who_asks(usage: bool) -> None:
    choice = {"text": "a", "index": 0, "logprobs": None, "finish_reason": "stop"}
    request = asked(Operation.COMPLETIONS, usage=usage)
    told = list(data_of(COMPLETIONS.events(orjson.dumps(completion(choice)), request)))
    assert [one.get("usage", "none") for one in told] == (
        [None, None, USAGE] if usage else ["none", "none"]
    )
