"""Chat told again: the same whole and in chunks, to a person and to an official client."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from tests.protocols.again import EXTRAS, IDS, SAID, TEXTS, Json, asked, cut, data_of
from turnout.engine.request import Operation, Usage
from turnout.protocols.again import LONGEST_PIECE
from turnout.protocols.forms import FORMS

CHAT = FORMS[Operation.CHAT]
GOLDEN = Path(__file__).parents[1] / "adapters" / "golden"
ANSWERS = sorted(GOLDEN.glob("answers/*/*.client.json"))
STREAMS = sorted([*GOLDEN.glob("streams/*/*.plain.sse"), *GOLDEN.glob("streams/*/*.usage.sse")])
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.name.partition('.')[0]}-{path.name.split('.')[1]}"


def completion(message: Json | None = None, **choice: Any) -> Json:
    told = {"role": "assistant", "content": "Hello", "refusal": None} | (message or {})
    one = {"index": 0, "message": told, "logprobs": None, "finish_reason": "stop", **choice}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_755_000_000,
        "model": "gpt-4",
        "choices": [one],
        "usage": USAGE,
    }


def again(body: Json, usage: bool = True) -> Json | None:
    events = CHAT.events(json.dumps(body).encode(), asked(usage=usage))
    whole = CHAT.whole(events, None)
    return None if whole is None else json.loads(whole)


# --- by chance -----------------------------------------------------------------------------------


@st.composite
def calls(draw: st.DrawFn) -> Json:
    function = {"name": draw(IDS), "arguments": draw(TEXTS)}
    call: Json = {"id": draw(IDS), "type": "function", "function": function}
    if draw(st.booleans()):
        call["extra_content"] = {"google": {"thought_signature": draw(TEXTS)}}
    return call


@st.composite
def logprobs(draw: st.DrawFn, text: str) -> Json | None:
    if not text or draw(st.booleans()):
        return None
    rows: list[Json] = [
        {"token": piece, "logprob": -0.5, "bytes": None, "top_logprobs": []}
        for piece in cut(draw, text)
    ]
    return {"content": rows, "refusal": None}


@st.composite
def messages(draw: st.DrawFn) -> Json:
    message: Json = {
        "role": "assistant",
        "content": draw(st.none() | SAID | st.just("")),
        "refusal": draw(st.none() | SAID),
    }
    if draw(st.booleans()):
        message["reasoning_content"] = draw(SAID)
    if draw(st.booleans()):
        block = {"type": "thinking", "signature": draw(TEXTS)}
        texts = cut(draw, message.get("reasoning_content", ""))
        message["thinking_blocks"] = [{**block, "thinking": text} for text in texts]
    if some := draw(st.lists(calls(), max_size=3)):
        message["tool_calls"] = some
    if draw(st.booleans()):
        message["annotations"] = draw(st.lists(st.fixed_dictionaries({"type": IDS}), max_size=2))
    if draw(st.booleans()):
        message["audio"] = {"id": draw(IDS), "data": "QUJD", "transcript": "a", "expires_at": 7}
    if draw(st.booleans()):
        message["function_call"] = {"name": draw(IDS), "arguments": draw(TEXTS)}
    return message | draw(EXTRAS)


@st.composite
def completions(draw: st.DrawFn) -> Json:
    choices = []
    for index in range(draw(st.integers(1, 3))):
        message = draw(messages())
        choice: Json = {"index": index, "message": message, **draw(EXTRAS)}
        choice["logprobs"] = draw(logprobs(message["content"] or ""))
        choice["finish_reason"] = draw(st.sampled_from(["stop", "tool_calls", "function_call"]))
        choices.append(choice)
    body = completion() | draw(EXTRAS) | {"choices": choices}
    if draw(st.booleans()):
        body["system_fingerprint"] = draw(st.none() | IDS)
    return body


@given(completions())
def test_the_chunks_of_a_completion_add_up_to_it(body: Json) -> None:
    assert again(body) == body


@given(completions())
def test_the_chunks_of_a_completion_tell_no_usage_to_who_did_not_ask(body: Json) -> None:
    events = CHAT.events(json.dumps(body).encode(), asked(usage=False))
    assert not any("usage" in chunk for chunk in data_of(events))
    del body["usage"]
    whole = CHAT.whole(events, None)
    assert whole is not None
    assert json.loads(whole) == body


@st.composite
def streamed(draw: st.DrawFn) -> tuple[Json, list[bytes]]:
    """A completion, and a stream that a provider might have told it in."""
    body = draw(completions())
    head = {name: body[name] for name in ("id", "created", "model")}
    lanes = []
    for choice in body["choices"]:
        message = choice["message"]
        first = {name: value for name, value in message.items() if name != "tool_calls"}
        texts = [name for name in ("content", "reasoning_content") if first.get(name)]
        deltas: list[Json] = [{**first, **{name: "" for name in texts}}]
        deltas += [{name: piece} for name in texts for piece in cut(draw, first[name])]
        for number, call in enumerate(message.get("tool_calls", ())):
            pieces = cut(draw, call["function"]["arguments"])
            begun = {**call, "index": number, "function": {**call["function"], "arguments": ""}}
            deltas.append({"tool_calls": [begun]})
            deltas += [
                {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}
                for piece in pieces
            ]
        lane = [{"index": choice["index"], "delta": one, "finish_reason": None} for one in deltas]
        extras = {name: choice[name] for name in choice if name not in ("message", "index")}
        lane.append({"index": choice["index"], "delta": {}, **extras})
        lanes.append(lane)
    chunks = []
    while lanes:
        lane = lanes[draw(st.integers(0, len(lanes) - 1))]
        chunks.append({**head, "object": "chat.completion.chunk", "choices": [lane.pop(0)]})
        lanes = [lane for lane in lanes if lane]
    known = ("object", "choices", "usage")
    chunks[0] |= {name: body[name] for name in body if name not in known}
    chunks.append({**head, "choices": [], "usage": body["usage"]})
    return body, [b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks]


@given(streamed())
def test_a_completion_is_whole_however_its_stream_was_cut(told: tuple[Json, list[bytes]]) -> None:
    body, events = told
    whole = CHAT.whole(events, None)
    assert whole is not None
    assert json.loads(whole) == body


# --- recorded ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ANSWERS, ids=named)
def test_what_a_provider_answered_is_the_same_in_chunks(path: Path) -> None:
    body = orjson.loads(path.read_bytes())
    told = again(body)
    for choice in body["choices"]:
        for call in choice["message"].get("tool_calls") or ():
            call.pop("index", None)  # what chunks number, whole answers do not
    assert told == body


@pytest.mark.parametrize("path", STREAMS, ids=named)
def test_what_a_provider_streamed_is_the_same_for_an_official_client(path: Path) -> None:
    first = [block + b"\n\n" for block in path.read_bytes().split(b"\n\n") if block.strip()]
    first = [event for event in first if event != b"data: [DONE]\n\n"]
    usage = "usage" in path.name
    whole = CHAT.whole(first, None)
    assert whole is not None
    assert accumulated(CHAT.events(whole, asked(usage=usage))) == accumulated(first)


def accumulated(events: list[bytes]) -> Json:
    """What the official client makes of a stream, but for what it adds up to nonsense."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in data_of(events):
        for choice in chunk["choices"]:
            # It asks for an index here, which these have not, and joins what is said twice.
            for name in ("thinking_blocks", "reasoning_details", "token_id"):
                choice["delta"].pop(name, None)
            choice["delta"].setdefault("content", "")
            if isinstance(rows := choice.get("logprobs"), dict) and "refusal" not in rows:
                rows["refusal"] = None
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    completion = state.current_completion_snapshot.model_dump(exclude_none=True)
    # Of members that it does not know it takes the first chunk's only.
    told = {name: completion.get(name) for name in ("id", "created", "model", "usage", "choices")}
    for choice in completion["choices"]:
        for name in choice.keys() - {"index", "message", "logprobs", "finish_reason"}:
            del choice[name]
        choice["message"]["content"] = choice["message"].get("content") or None
    return told


# --- one by one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finish", "complete"),
    [
        ("stop", True),
        ("tool_calls", True),
        ("function_call", True),
        ("length", False),
        ("content_filter", False),
        ("something", False),
        (None, False),
        (7, False),
        ([], False),
    ],
)
def test_only_what_came_to_its_own_end_is_complete(finish: object, complete: bool) -> None:
    body = completion(finish_reason=finish)
    assert CHAT.is_complete(orjson.dumps(body)) is complete


@pytest.mark.parametrize(
    "choices",
    [
        [],
        None,
        [None],
        [{"finish_reason": "stop"}],
        [{"index": 0, "finish_reason": "stop"}, {"index": 0, "finish_reason": "stop"}],
        [{"index": 0, "finish_reason": "stop"}, {"index": 1, "finish_reason": "length"}],
    ],
    ids=["none", "null", "no_object", "no_number", "one_number_twice", "one_cut_short"],
)
def test_an_answer_is_complete_only_with_all_of_its_choices(choices: object) -> None:
    assert not CHAT.is_complete(orjson.dumps(completion() | {"choices": choices}))


def test_an_answer_too_deep_to_be_written_again_is_not_complete() -> None:
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    body = orjson.dumps(completion()).replace(b'"usage"', b'"deep":%b,"usage"' % deep)
    assert not CHAT.is_complete(body)


GARBAGE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b"{}",
    b'{"choices":7}',
    b'{"choices":[7]}',
]


@pytest.mark.parametrize("form", list(FORMS.values()), ids=[one.value for one in FORMS])
@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_of_garbage_nothing_is_told(form: Any, body: bytes) -> None:
    assert not form.is_complete(body)
    assert form.whole([body], None) is None
    assert form.whole([b"data: %b\n\n" % body], Usage(1, 1)) is None
    assert form.events(body, asked(Operation.COMPLETIONS)) == []


@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from(sorted(FORMS, key=str)))
def test_no_bytes_break_a_form(events: list[bytes], operation: Operation) -> None:
    form = FORMS[operation]
    form.whole(events, None)
    form.whole([b"data: " + event + b"\n\n" for event in events], None)
    for event in events:
        form.is_complete(event)
        form.events(event, asked(operation))


@given(streamed(), st.integers(0, 40), st.integers(0, 200), st.binary(max_size=3))
def test_no_damage_to_a_stream_breaks_chat(
    told: tuple[Json, list[bytes]], which: int, at: int, put: bytes
) -> None:
    _, events = told
    hit = events[which % len(events)]
    events[which % len(events)] = hit[: at % len(hit)] + put + hit[at % len(hit) + 1 :]
    CHAT.whole(events, None)


def chunk(delta: Json, **choice: Any) -> bytes:
    one = {"index": 0, "delta": delta, "finish_reason": None, **choice}
    return b"data: " + orjson.dumps({"id": "chatcmpl-1", "choices": [one]}) + b"\n\n"


def whole_of(*events: bytes) -> Json:
    whole = CHAT.whole(list(events), None)
    assert whole is not None
    parsed = orjson.loads(whole)
    assert isinstance(parsed, dict)
    return parsed


def test_usage_that_no_chunk_told_is_told_by_the_whole() -> None:
    whole = CHAT.whole([chunk({"content": "a"})], Usage(5, 3, 2, 1, 1))
    assert whole is not None
    assert orjson.loads(whole)["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def test_usage_that_nobody_knows_is_not_told_to_who_asks() -> None:
    body = completion()
    del body["usage"]
    chunks = list(data_of(CHAT.events(orjson.dumps(body), asked())))
    assert all(one["usage"] is None and one["choices"] for one in chunks)


def test_usage_comes_once_and_last_to_who_asks() -> None:
    chunks = list(data_of(CHAT.events(orjson.dumps(completion()), asked())))
    assert [one["usage"] for one in chunks] == [None] * (len(chunks) - 1) + [USAGE]
    assert chunks[-1]["choices"] == []


def test_padding_is_not_told_again() -> None:
    padded = chunk({"content": "a"}).replace(b'"choices"', b'"obfuscation":"x7Qd3","choices"')
    assert "obfuscation" not in whole_of(padded)


@pytest.mark.parametrize(
    "events",
    [
        [
            chunk({"tool_calls": [{"index": 0, "id": "a"}]}),
            chunk({"tool_calls": [{"index": 0, "id": "b"}]}),
        ],
        [chunk({"content": "a"}), chunk({"content": {"b": 1}})],
        [
            chunk({"images": [{"index": 0, "url": "a"}]}),
            chunk({"images": [{"index": 0, "url": "b"}]}),
        ],
        [chunk({"content": "a"}), b'data: {"error":{"message":"no"}}\n\n'],
        [chunk({"content": "a"}), b'data: {"choices":{}}\n\n'],
        [b'data: {"choices":[]}\n\n'],
        [],
    ],
    ids=["two_ids", "two_kinds", "two_of_one_index", "an_error", "no_choices", "no_choice", "none"],
)
def test_what_cannot_be_put_together_is_not(events: list[bytes]) -> None:
    assert CHAT.whole(events, None) is None


@pytest.mark.parametrize(
    ("reasons", "complete"),
    [(["length", "stop"], False), (["stop", "stop"], True), (["stop", "length"], False)],
)
def test_what_was_cut_short_once_stays_so(reasons: list[str], complete: bool) -> None:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [
        b"data: %b\n\n"
        % orjson.dumps(
            {**head, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": one}]}
        )
        for one in [None, *reasons]
    ]
    whole = CHAT.whole(events, None)
    assert whole is not None and CHAT.is_complete(whole) is complete


def test_calls_that_come_in_turns_are_told_apart() -> None:
    def call(index: int, arguments: str, **members: Any) -> bytes:
        function = {"arguments": arguments, **members.pop("function", {})}
        return chunk({"tool_calls": [{"index": index, **members, "function": function}]})

    whole = whole_of(
        call(1, "", id="b", type="function", function={"name": "two"}),
        call(0, "", id="a", type="function", function={"name": "one"}),
        call(0, '{"x"'),
        call(1, '{"y"'),
        call(0, ":1}"),
        call(1, ":2}"),
    )
    assert whole["choices"][0]["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "one", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "two", "arguments": '{"y":2}'}},
    ]


def test_audio_in_pieces_that_were_encoded_each_by_itself_is_one() -> None:
    whole = whole_of(
        chunk({"audio": {"id": "a", "data": "QQ=="}}),
        chunk({"audio": {"data": "QkM=", "transcript": "x"}}),
        chunk({"audio": {"data": "", "transcript": "y", "expires_at": 7}}),
    )
    audio = whole["choices"][0]["message"]["audio"]
    assert audio == {"id": "a", "data": "QUJD", "transcript": "xy", "expires_at": 7}


def test_the_tokens_of_a_text_come_with_it() -> None:
    words = [f"word{number} " for number in range(400)]
    rows = [{"token": word, "logprob": -0.5} for word in words]
    body = completion({"content": "".join(words)}, logprobs={"content": rows, "refusal": None})
    for one in data_of(CHAT.events(orjson.dumps(body), asked())):
        for choice in one["choices"]:
            text, known = choice["delta"].get("content"), choice["logprobs"]
            if text or known:
                assert "".join(row["token"] for row in known["content"]) == text


def test_a_proof_follows_the_thought_that_it_is_the_proof_of() -> None:
    blocks = [
        {"type": "thinking", "thinking": "one", "signature": "s1"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "two", "signature": "s2"},
    ]
    body = completion({"reasoning_content": "onetwo", "thinking_blocks": blocks})
    deltas = [
        choice["delta"]
        for one in data_of(CHAT.events(orjson.dumps(body), asked()))
        for choice in one["choices"]
    ]
    assert deltas[1:6] == [
        {"reasoning_content": "one"},
        {"thinking_blocks": [blocks[0]]},
        {"thinking_blocks": [blocks[1]]},
        {"reasoning_content": "two"},
        {"thinking_blocks": [blocks[2]]},
    ]


def test_a_thought_of_two_names_is_told_once_under_both() -> None:
    body = completion({"reasoning_content": "a" * 3000, "reasoning": "a" * 3000})
    deltas = [
        choice["delta"]
        for one in data_of(CHAT.events(orjson.dumps(body), asked()))
        for choice in one["choices"]
    ]
    thoughts = [one for one in deltas if "reasoning" in one]
    assert len(thoughts) == 2
    assert all(one["reasoning"] == one["reasoning_content"] for one in thoughts)


def test_no_event_has_a_line_that_clients_cannot_read() -> None:
    arguments = json.dumps({"text": "é" * 100_000}, ensure_ascii=False)
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    audio = {"id": "a", "data": "QUJD" * 50_000, "transcript": "", "expires_at": 7}
    message = {"content": "🐘" * 100_000, "tool_calls": [call], "audio": audio}
    events = CHAT.events(orjson.dumps(completion(message)), asked())
    assert max(map(len, events)) < 64 * 1024
    assert LONGEST_PIECE * 6 < 64 * 1024  # escaped, a character is six bytes at most
