"""Responses told again: the same whole and in events, to a person and to an official client."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from tests.protocols.again import EXTRAS, IDS, OBJECTS, SAID, TEXTS, Json, asked, cut, data_of
from turnout.engine.request import Operation
from turnout.protocols.forms import FORMS

RESPONSES = FORMS[Operation.RESPONSES]
ASKED = asked(Operation.RESPONSES)
GOLDEN = Path(__file__).parents[1] / "adapters" / "golden" / "responses"
STREAMS = sorted(GOLDEN.glob("*.upstream.sse"))


def response(*output: Json, **members: Any) -> Json:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_755_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "gpt-4",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        **members,
    }


# --- by chance -----------------------------------------------------------------------------------


@st.composite
def texts(draw: st.DrawFn) -> Json:
    text = draw(SAID)
    rows = [{"token": one, "logprob": -0.5} for one in cut(draw, text)]
    return {
        "type": "output_text",
        "text": text,
        "annotations": draw(st.lists(st.fixed_dictionaries({"type": IDS}), max_size=2)),
        "logprobs": draw(st.sampled_from([[], rows])),
    }


PARTS = texts() | st.fixed_dictionaries({"type": st.just("refusal"), "refusal": TEXTS})
SUMMARIES = st.fixed_dictionaries({"type": st.just("summary_text"), "text": TEXTS})
ITEMS = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("message"),
            "role": st.just("assistant"),
            "status": st.just("completed"),
            "content": st.lists(PARTS, max_size=2),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("function_call"),
            "status": st.just("completed"),
            "name": IDS,
            "call_id": IDS,
            "arguments": TEXTS,
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("custom_tool_call"), "name": IDS, "call_id": IDS, "input": TEXTS}
    ),
    st.fixed_dictionaries(
        {"type": st.just("reasoning"), "summary": st.lists(SUMMARIES, max_size=2)},
        optional={"encrypted_content": TEXTS},
    ),
    st.fixed_dictionaries({"type": st.just("web_search_call"), "action": OBJECTS}),
)


@st.composite
def responses(draw: st.DrawFn) -> Json:
    output = [
        {"id": f"item_{number}", **item, **draw(EXTRAS)}
        for number, item in enumerate(draw(st.lists(ITEMS, max_size=4)))
    ]
    return response(*output) | draw(EXTRAS)


@given(responses())
def test_the_events_of_a_response_end_in_it(body: Json) -> None:
    events = RESPONSES.events(json.dumps(body).encode(), ASKED)
    whole = RESPONSES.whole(events, None)
    assert whole is not None
    assert json.loads(whole) == body


@given(responses())
def test_the_deltas_of_a_response_add_up_to_it(body: Json) -> None:
    told = [json.loads(one) for one in raw(RESPONSES.events(json.dumps(body).encode(), ASKED))]
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    for index, item in enumerate(body["output"]):
        events = [one for one in told if one.get("output_index") == index]
        assert events[-1]["item"] == item
        said = "".join(one["delta"] for one in events if "delta" in one)
        assert said == spoken(item)
        rows = [row for one in events if "delta" in one for row in one.get("logprobs", ())]
        parts = item.get("content", ())
        assert rows == [row for part in parts for row in part.get("logprobs", ())]
        cited = [one["annotation"] for one in events if "annotation" in one]
        assert cited == [one for part in parts for one in part.get("annotations", ())]


def raw(events: list[bytes]) -> list[str]:
    return [event.decode().split("\n")[1].removeprefix("data: ") for event in events]


def spoken(item: Json) -> str:
    parts = [*item.get("summary", ()), *item.get("content", ())]
    texts = [item.get("arguments") or item.get("input") or ""]
    texts += [part.get("text") or part.get("refusal") or "" for part in parts]
    return "".join(texts)


# --- recorded, and an official client ------------------------------------------------------------


def named(path: Path) -> str:
    return path.name.partition(".")[0]


def events_of(path: Path) -> list[bytes]:
    return [block + b"\n\n" for block in path.read_bytes().split(b"\n\n") if block.strip()]


@pytest.mark.parametrize("path", STREAMS, ids=named)
def test_what_a_provider_streamed_is_told_in_the_same_events(path: Path) -> None:
    first = events_of(path)
    whole = RESPONSES.whole(first, None)
    assert whole is not None
    assert kinds(RESPONSES.events(whole, ASKED)) == kinds(first)


def kinds(events: list[bytes]) -> list[str]:
    """What happens, whatever the number of pieces; how far a search is, only the first tells."""
    told = [str(one["type"]) for one in data_of(events)]
    return [kind for kind, _ in groupby(told) if "search_call" not in kind]


@pytest.mark.parametrize("path", STREAMS, ids=named)
def test_what_a_provider_streamed_is_the_same_for_an_official_client(path: Path) -> None:
    first = events_of(path)
    whole = RESPONSES.whole(first, None)
    assert whole is not None
    assert accumulated(RESPONSES.events(whole, ASKED)) == accumulated(first)


def accumulated(events: list[bytes]) -> Json:
    """What the official client has of a stream: at its end, and before."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    last: Json = {}
    for one in data_of(events):
        typed = cast(Any, construct_type(type_=cast(Any, ResponseStreamEvent), value=one))
        for event in state.handle_event(typed):
            if event.type in ("response.completed", "response.incomplete"):
                last = event.response.model_dump(mode="json", warnings=False)
    assert last
    return last


# --- one by one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["incomplete", "failed", "in_progress", "queued", "cancelled", None, 7]
)
def test_only_a_completed_response_is_complete(status: object) -> None:
    assert RESPONSES.is_complete(orjson.dumps(response()))
    assert not RESPONSES.is_complete(orjson.dumps(response(status=status)))


def event(kind: str, **members: Any) -> bytes:
    return b"event: x\ndata: " + orjson.dumps({"type": kind, **members}) + b"\n\n"


ITEM = {"id": "msg_1", "type": "message", "content": []}
DONE = event("response.output_item.done", output_index=0, item=ITEM)


@pytest.mark.parametrize(
    "events",
    [
        [event("response.created", response=response())],
        [event("response.completed")],
        [DONE],
        [DONE, event("response.completed", response=response())],
        [],
    ],
    ids=["no_end", "an_end_without_a_response", "an_item", "an_end_without_the_item", "nothing"],
)
def test_what_cannot_be_put_together_is_not(events: list[bytes]) -> None:
    assert RESPONSES.whole(events, None) is None


def test_an_end_that_leaves_the_output_to_its_items_has_them() -> None:
    whole = RESPONSES.whole(
        [DONE, event("response.completed", response=response(output=None))], None
    )
    assert whole is not None
    assert orjson.loads(whole)["output"] == [ITEM]


def test_a_response_that_was_printed_in_lines_is_told_in_one_line_per_event() -> None:
    printed = json.dumps(response(ITEM), indent=2).encode()
    for told in RESPONSES.events(printed, ASKED):
        assert told.count(b"\n") == 3
