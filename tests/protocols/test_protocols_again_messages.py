"""Messages told again: the same whole and in events, to a person and to an official client."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.protocols.again import EXTRAS, IDS, OBJECTS, SAID, TEXTS, Json, asked, cut, data_of
from turnout.engine.request import Operation, Usage
from turnout.protocols.forms import FORMS

MESSAGES = FORMS[Operation.MESSAGES]
ASKED = asked(Operation.MESSAGES)
GOLDEN = Path(__file__).parents[1] / "adapters" / "golden" / "streams" / "anthropic"
STREAMS = sorted(GOLDEN.glob("*.upstream.sse"))
EVENTS: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


def message(*content: Json, **members: Any) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
        **members,
    }


def again(body: Json) -> Json | None:
    whole = MESSAGES.whole(MESSAGES.events(json.dumps(body).encode(), ASKED), None)
    return None if whole is None else json.loads(whole)


# --- by chance -----------------------------------------------------------------------------------

CITED = st.fixed_dictionaries({"type": st.just("char_location"), "cited_text": TEXTS})
BLOCKS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("text"), "text": SAID | st.just("")},
        optional={"citations": st.none() | st.lists(CITED, max_size=2)},
    ),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": TEXTS, "signature": TEXTS}),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": TEXTS}),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["tool_use", "server_tool_use", "mcp_tool_use"]),
            "id": IDS,
            "name": IDS,
            "input": OBJECTS,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("web_search_tool_result"),
            "tool_use_id": IDS,
            "content": st.lists(OBJECTS, max_size=2),
        }
    ),
)
COUNTS = st.integers(0, 2**29)
USED = st.fixed_dictionaries(
    {"input_tokens": COUNTS, "output_tokens": COUNTS},
    optional={
        "cache_creation_input_tokens": COUNTS,
        "cache_read_input_tokens": COUNTS,
        "cache_creation": st.fixed_dictionaries({"ephemeral_5m_input_tokens": COUNTS}),
        "output_tokens_details": st.fixed_dictionaries({"thinking_tokens": COUNTS}),
        "server_tool_use": st.none() | st.fixed_dictionaries({"web_search_requests": COUNTS}),
        "service_tier": st.sampled_from(["standard", "priority"]),
    },
)


@st.composite
def messages(draw: st.DrawFn) -> Json:
    content = [{**block, **draw(EXTRAS)} for block in draw(st.lists(BLOCKS, max_size=4))]
    body = message(*content, usage=draw(USED)) | draw(EXTRAS)
    body["stop_reason"] = draw(st.sampled_from(["end_turn", "tool_use", "stop_sequence"]))
    body["stop_sequence"] = draw(st.none() | TEXTS)
    more = st.fixed_dictionaries(
        {}, optional={name: st.none() | OBJECTS for name in ("container", "context_management")}
    )
    return body | draw(more)


@given(messages())
def test_the_events_of_a_message_add_up_to_it(body: Json) -> None:
    assert again(body) == body


@st.composite
def streamed(draw: st.DrawFn) -> tuple[Json, list[bytes]]:
    """A message, and a stream that a provider might have told it in."""
    body = draw(messages())
    used = body["usage"]
    told: list[Json] = [{"type": "ping"}]
    ending = {"stop_reason": body["stop_reason"], "stop_sequence": body["stop_sequence"]}
    begun = {**body, "content": [], "stop_reason": None, "stop_sequence": None}
    told = [{"type": "message_start", "message": {**begun, "usage": {**used, "output_tokens": 1}}}]
    for index, block in enumerate(body["content"]):
        opened, deltas = dict(block), []
        match block:
            case {"type": "text", "text": text}:
                opened["text"] = ""
                deltas = [{"type": "text_delta", "text": one} for one in cut(draw, text)]
                if block.get("citations"):
                    opened["citations"] = None
                    deltas += [
                        {"type": "citations_delta", "citation": one} for one in block["citations"]
                    ]
            case {"type": "thinking", "thinking": text, "signature": signature}:
                opened |= {"thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": one} for one in cut(draw, text)]
                deltas.append({"type": "signature_delta", "signature": signature})
            case {"input": given_}:
                opened["input"] = {}
                text = json.dumps(given_) if given_ else ""
                pieces = ["", *cut(draw, text)]
                deltas = [{"type": "input_json_delta", "partial_json": one} for one in pieces]
        told.append({"type": "content_block_start", "index": index, "content_block": opened})
        told += [{"type": "content_block_delta", "index": index, "delta": one} for one in deltas]
        told.append({"type": "content_block_stop", "index": index})
    told.append({"type": "ping"})
    told.append(
        {
            "type": "message_delta",
            "delta": ending,
            "usage": {"output_tokens": used["output_tokens"]},
        }
    )
    told.append({"type": "message_stop"})
    return body, [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told]


@given(streamed())
def test_a_message_is_whole_however_its_stream_was_cut(told: tuple[Json, list[bytes]]) -> None:
    body, events = told
    whole = MESSAGES.whole(events, None)
    assert whole is not None
    assert json.loads(whole) == body


@given(streamed(), st.integers(0, 40), st.integers(0, 200), st.binary(max_size=3))
def test_no_damage_to_a_stream_breaks_messages(
    told: tuple[Json, list[bytes]], which: int, at: int, put: bytes
) -> None:
    _, events = told
    hit = events[which % len(events)]
    events[which % len(events)] = hit[: at % len(hit)] + put + hit[at % len(hit) + 1 :]
    MESSAGES.whole(events, None)


# --- an official client --------------------------------------------------------------------------


def accumulated(events: list[bytes]) -> Json:
    """What the official client makes of a stream."""
    snapshot = None
    buffers: dict[int, bytes] = {}
    for event in data_of(events):
        if event["type"] != "ping":
            snapshot = accumulate_event(
                event=EVENTS.validate_python(event),
                current_snapshot=snapshot,
                json_bufs=buffers,
            )
    assert snapshot is not None
    told = snapshot.model_dump(mode="json", exclude_none=True, warnings=False)
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name.partition(".")[0])
def test_what_a_provider_streamed_is_the_same_for_an_official_client(path: Path) -> None:
    first = [block + b"\n\n" for block in path.read_bytes().split(b"\n\n") if block.strip()]
    whole = MESSAGES.whole(first, None)
    assert whole is not None
    assert accumulated(MESSAGES.events(whole, ASKED)) == accumulated(first)


# --- one by one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "complete"),
    [
        ("end_turn", True),
        ("tool_use", True),
        ("stop_sequence", True),
        ("max_tokens", False),
        ("refusal", False),
        ("pause_turn", False),
        ("model_context_window_exceeded", False),
        (None, False),
        (7, False),
    ],
)
def test_only_what_came_to_its_own_end_is_complete(reason: object, complete: bool) -> None:
    assert MESSAGES.is_complete(orjson.dumps(message(stop_reason=reason))) is complete


def event(kind: str, **members: Any) -> bytes:
    return b"event: x\ndata: " + orjson.dumps({"type": kind, **members}) + b"\n\n"


START = event("message_start", message=message(stop_reason=None))
TEXT = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
TOOL = event(
    "content_block_start",
    index=0,
    content_block={"type": "tool_use", "id": "a", "name": "f", "input": {}},
)
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})


def delta(**members: Any) -> bytes:
    return event("content_block_delta", index=0, delta=members)


@pytest.mark.parametrize(
    "events",
    [
        [TEXT, END],
        [START, START],
        [START, TEXT, TEXT, END],
        [START, delta(type="text_delta", text="a"), END],
        [START, TEXT, delta(type="text_delta", text=7), END],
        [START, TEXT, delta(type="new_delta", text="a"), END],
        [START, TOOL, delta(type="input_json_delta", partial_json='{"a"'), END],
        [START, TOOL, delta(type="input_json_delta", partial_json="[]"), END],
        [START, event("new_event"), END],
        [START, event("error", error={"message": "no"})],
        [],
    ],
    ids=[
        "no_start",
        "two_starts",
        "one_place_twice",
        "no_block",
        "no_text",
        "an_unknown_delta",
        "half_an_input",
        "an_input_that_is_none",
        "an_unknown_event",
        "an_error",
        "nothing",
    ],
)
def test_what_cannot_be_put_together_is_not(events: list[bytes]) -> None:
    assert MESSAGES.whole(events, None) is None


def test_what_was_used_is_what_was_said_last() -> None:
    whole = MESSAGES.whole([START, END], Usage(1, 1))
    assert whole is not None
    assert orjson.loads(whole)["usage"] == {"input_tokens": 3, "output_tokens": 9}


def test_what_was_used_is_known_where_no_event_says_it() -> None:
    end = event("message_delta", delta={"stop_reason": "end_turn"})
    whole = MESSAGES.whole([START, end], Usage(3, 7))
    assert whole is not None
    assert orjson.loads(whole)["usage"] == {"input_tokens": 3, "output_tokens": 7}


def test_a_call_without_anything_is_told_as_an_empty_object() -> None:
    block = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    told = data_of(MESSAGES.events(orjson.dumps(message(block)), ASKED))
    given_ = [one["delta"]["partial_json"] for one in told if one["type"] == "content_block_delta"]
    assert given_ == ["{}"]


def test_the_last_event_is_the_closing_mark() -> None:
    events = MESSAGES.events(orjson.dumps(message({"type": "text", "text": "a"})), ASKED)
    assert events[-1] == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
