"""Chat told again to clients of other protocols: in events what it is whole."""

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.again import IDS, OBJECTS, SAID, Json, asked, cut
from turnout.engine.request import Operation
from turnout.protocols.client import ClientProtocol
from turnout.protocols.completions import COMPLETIONS
from turnout.protocols.forms import FORMS
from turnout.protocols.messages import MESSAGES
from turnout.protocols.responses import RESPONSES

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def completion(message: Json, finish: str, logprobs: Json | None = None) -> Json:
    told = {"role": "assistant", "content": None, "refusal": None, **message}
    choice = {"index": 0, "message": told, "logprobs": logprobs, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4"}
    return {**head, "choices": [choice], "usage": USAGE}


def calls() -> st.SearchStrategy[Json]:
    function = {"name": IDS, "arguments": OBJECTS.map(lambda one: json.dumps(one))}
    return st.fixed_dictionaries(
        {"id": IDS, "type": st.just("function"), "function": st.fixed_dictionaries(function)}
    )


@st.composite
def answers(draw: st.DrawFn) -> Json:
    message: Json = {}
    blocks = [
        {"type": "thinking", "thinking": text, "signature": draw(SAID)}
        for text in draw(st.lists(SAID, max_size=3))
    ]
    if blocks:
        message["reasoning_content"] = "".join(block["thinking"] for block in blocks)
        message["thinking_blocks"] = blocks
    said = draw(st.none() | SAID)
    message["content"] = said
    logprobs = None
    if said is not None and draw(st.booleans()):
        pieces = [piece for piece in cut(draw, said) if piece]
        rows = [{"token": one, "logprob": -0.5, "bytes": [], "top_logprobs": []} for one in pieces]
        logprobs = {"content": rows, "refusal": None}
    some = draw(st.lists(calls(), max_size=3))
    if some:
        message["tool_calls"] = some
    return completion(message, "tool_calls" if some else "stop", logprobs)


def told(protocol: ClientProtocol, body: Json, **native: Any) -> tuple[Json, list[bytes]]:
    """A chat answer in a protocol, whole, and the events in which it is told again."""
    request = asked(protocol.operation, **native)
    raw = orjson.dumps(body)
    voice = protocol.translating(request)
    events = [voice.event(event) for event in FORMS[Operation.CHAT].events(raw, request)]
    return orjson.loads(protocol.translating(request).whole(raw)), [*events, voice.end()]


def whole_of(operation: Operation, events: list[bytes]) -> Json:
    whole = FORMS[operation].whole([event for event in events if event], None)
    assert whole is not None
    parsed = orjson.loads(whole)
    assert isinstance(parsed, dict)
    return parsed


@given(answers())
def test_a_message_in_events_is_the_message(body: Json) -> None:
    whole, events = told(MESSAGES, body, messages=[])
    assert whole_of(Operation.MESSAGES, events) == whole


@given(answers())
def test_a_response_in_events_is_the_response(body: Json) -> None:
    whole, events = told(RESPONSES, body, input="hi")
    assert whole_of(Operation.RESPONSES, events) == whole


@given(answers(), st.booleans())
def test_a_completion_in_events_is_the_completion(body: Json, echo: bool) -> None:
    whole, events = told(COMPLETIONS, body, prompt="hi", echo=echo)
    assert whole_of(Operation.COMPLETIONS, events) == whole
