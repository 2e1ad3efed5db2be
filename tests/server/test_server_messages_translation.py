"""Anthropic's Messages said as chat, and chat told as Messages: what was meant is still there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from turnout.adapters.anthropic_native import Relay
from turnout.adapters.anthropic_request import messages_body
from turnout.adapters.dialect_anthropic import Translation, read_message
from turnout.adapters.sse import Parser
from turnout.engine.provider import Call
from turnout.engine.request import Caller, Operation, Request, RequestError
from turnout.protocols.messages import Translating
from turnout.protocols.messages_request import as_chat
from turnout.protocols.messages_shape import check

GOLDEN = Path(__file__).parents[1] / "adapters" / "golden"
STREAMS = sorted((GOLDEN / "streams" / "anthropic").glob("*.upstream.sse"))
ANSWERS = sorted((GOLDEN / "answers" / "anthropic").glob("*.upstream.json"))
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def request_of(body: dict[str, Any]) -> Request:
    return Request(
        id="req_1",
        operation=Operation.MESSAGES,
        body=body,
        raw=orjson.dumps(body),
        model="auto",
        stream=True,
        caller=Caller(),
        headers={},
        received_us=0,
        started_ns=0,
    )


def call_of(body: dict[str, Any]) -> Call:
    return Call(request_of(body), "claude-haiku-4-5", "auto", None, 1, 1)


def chat_of(*content: Any, role: str = "user", **members: Any) -> list[Any]:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": role, "content": [*content]}]}
    check(body | members)
    messages: list[Any] = as_chat(body | members).body["messages"]
    return messages


# --- requests ------------------------------------------------------------------------------------

BASE64 = {"type": "base64", "media_type": "image/png", "data": "aQ=="}
MARK = {"type": "ephemeral"}
PARTS: list[tuple[dict[str, Any], Any]] = [
    ({"type": "text", "text": "a"}, "a"),
    (
        {"type": "text", "text": "a", "cache_control": MARK},
        [{"type": "text", "text": "a", "cache_control": MARK}],
    ),
    (
        {"type": "image", "source": BASE64},
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aQ=="}}],
    ),
    (
        {"type": "image", "source": {"type": "url", "url": "https://a.example/i"}},
        [{"type": "image_url", "image_url": {"url": "https://a.example/i"}}],
    ),
    (
        {"type": "document", "source": BASE64 | {"media_type": "application/pdf"}, "title": "t"},
        [
            {
                "type": "file",
                "file": {"filename": "t", "file_data": "data:application/pdf;base64,aQ=="},
            }
        ],
    ),
    ({"type": "document", "source": {"type": "text", "data": "words"}}, "words"),
    ({"type": "document", "source": {"type": "content", "content": "words"}}, "words"),
    (
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "text", "text": "words"}]},
        },
        "words",
    ),
]


@pytest.mark.parametrize(("block", "content"), PARTS)
def test_a_block_of_the_user_is_a_part_of_chat(block: dict[str, Any], content: Any) -> None:
    assert chat_of(block) == [{"role": "user", "content": content}]


def test_results_come_first_and_their_images_after_them() -> None:
    image = {"type": "image", "source": BASE64}
    told = chat_of(
        {"type": "tool_result", "tool_use_id": "a", "content": [image]},
        {"type": "tool_result", "tool_use_id": "b", "content": "no", "is_error": True},
        {"type": "tool_result", "tool_use_id": "c"},
        {"type": "text", "text": "so?"},
    )
    assert [message["role"] for message in told] == ["tool", "tool", "tool", "user"]
    assert [message.get("tool_call_id") for message in told] == ["a", "b", "c", None]
    assert [message["content"] for message in told[:3]] == [
        "The result is shown in the next message.",
        "Error: no",
        "",
    ]
    assert [part["type"] for part in told[3]["content"]] == ["image_url", "text"]


def test_thoughts_and_calls_go_along_with_what_was_said() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    unsigned = {"type": "thinking", "thinking": "!", "signature": ""}
    sealed = {"type": "redacted_thinking", "data": "d"}
    used = {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}}
    (told,) = chat_of(
        thought, sealed, unsigned, {"type": "text", "text": "x"}, used, role="assistant"
    )
    function = {"name": "look", "arguments": '{"a":1}'}
    assert told == {
        "role": "assistant",
        "content": "x",
        "thinking_blocks": [thought, sealed],
        "reasoning_content": "hm!",
        "tool_calls": [{"id": "t", "type": "function", "function": function}],
    }
    assert chat_of(used, role="assistant")[0]["content"] is None
    assert chat_of(sealed, role="assistant")[0]["content"] == ""


# Members of a body, what chat has for them, what nobody else can do, what only steers Anthropic.
MEMBERS: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...], tuple[str, ...]]] = [
    ({"stop_sequences": ["a"], "top_k": 3}, {"stop": ["a"], "top_k": 3}, (), ()),
    ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, (), ()),
    ({"metadata": {"user_id": "u", "x": 1}}, {"user": "u"}, (), ("metadata.x",)),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 4000}},
        {"thinking": {"type": "enabled", "budget_tokens": 4000}, "reasoning_effort": "medium"},
        (),
        (),
    ),
    ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}, (), ()),
    ({"output_config": {"effort": "max"}}, {"reasoning_effort": "xhigh"}, (), ()),
    ({"output_config": {"new": 1}}, {}, (), ("output_config.new",)),
    ({"output_config": {"format": {"type": "odd"}}}, {}, ("output_config.format",), ()),
    (
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
            }
        },
        (),
        (),
    ),
    (
        {"container": "c", "mcp_servers": [{"name": "m", "authorization_token": "t"}]},
        {"tools": [{"type": "mcp", "name": "m"}]},
        ("container", "mcp_servers"),
        (),
    ),
    ({"compaction": {"a": 1}, "thread": None}, {}, ("compaction",), ()),
    ({"mcp_servers": [], "context_management": {}, "container": None}, {}, (), ()),
    ({"service_tier": "auto", "speed": "fast", "new": 1}, {}, (), ("speed", "new")),
    (
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        ("tools[0]",),
        (),
    ),
    (
        {
            "tools": [
                {
                    "name": "look",
                    "input_schema": {"type": "object"},
                    "strict": True,
                    "cache_control": MARK,
                    "defer_loading": True,
                }
            ],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        },
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "look", "parameters": {"type": "object"}, "strict": True},
                    "cache_control": MARK,
                }
            ],
            "tool_choice": "required",
            "parallel_tool_calls": False,
        },
        (),
        ("tools.defer_loading",),
    ),
]


@pytest.mark.parametrize(
    ("members", "chat", "only", "lost"), MEMBERS, ids=[",".join(case[0]) for case in MEMBERS]
)
def test_a_member_is_said_or_named(
    members: Any, chat: Any, only: tuple[str, ...], lost: tuple[str, ...]
) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}
    check(body | members)
    said = as_chat(body | members)
    assert said.body == body | chat
    assert (said.only, said.lost) == (only, lost)


def test_what_chat_has_other_names_for_keeps_the_clients_own() -> None:
    def named(**members: Any) -> Any:
        turns = [{"role": "user", "content": "a"}]
        return as_chat({"model": "m", "max_tokens": 9, "messages": turns, **members}).named

    thinking = {"type": "enabled", "budget_tokens": 4000}
    assert named() == {}
    assert named(thinking=thinking) == {"reasoning_effort": "thinking"}
    both = named(thinking=thinking, output_config={"effort": "low"})
    assert both == {"reasoning_effort": "output_config.effort"}
    assert named(metadata={"user_id": "u"}) == {"user": "metadata.user_id"}


@pytest.mark.parametrize("kind", ["any", "auto", "none", "tool"])
def test_a_choice_of_tool_is_the_same_choice(kind: str) -> None:
    tools = [{"name": "look", "input_schema": {}}]
    choice = {"type": kind, "name": "look"}
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    told = as_chat(body | {"tools": tools, "tool_choice": choice}).body["tool_choice"]
    named = {"type": "function", "function": {"name": "look"}}
    assert told == {"any": "required", "tool": named}.get(kind, kind)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "search_result", "content": []},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "document", "source": {"type": "url", "url": "https://a.example"}},
        {"type": "document"},
        {"type": "container_upload", "file_id": "f"},
    ],
    ids=lambda block: block["type"],
)
def test_what_nobody_else_can_read_is_named_by_its_place(block: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": ["", block][1:]}]}
    assert as_chat(body).only == ("messages[0].content[0]",)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": 3}, "model"),
    ({"model": "m" * 300}, "model"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"messages": None}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [3]}, "messages.0"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [3]}]}, "messages.0.content.0"),
    ({"messages": [{"role": "user", "content": [{}]}]}, "messages.0.content.0.type"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages.0.content.0.text",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [1]}]}]},
        "messages.0.content.0.content.0",
    ),
    ({"system": 3}, "system"),
    ({"system": [3]}, "system.0"),
    ({"stream": "yes"}, "stream"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 1.5}, "temperature"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"stop_sequences": [1]}, "stop_sequences"),
    ({"tools": {}}, "tools"),
    ({"tools": [{}]}, "tools.0.name"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"metadata": "x"}, "metadata"),
    ({"thinking": True}, "thinking"),
    ({"thread": {"type": "create"}}, "thread"),
]


@pytest.mark.parametrize(("members", "where"), BAD, ids=[str(case[0])[:60] for case in BAD])
def test_a_body_of_the_wrong_shape_says_where(members: dict[str, Any], where: str) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}
    with pytest.raises(RequestError) as caught:
        check(body | members)
    assert (caught.value.status, caught.value.param) == (400, where)
    assert caught.value.message.startswith(f"{where}: ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(
    "type text source content citations title tool_use_id input id name thinking data".split()
)
BLOCKS = st.dictionaries(NAMES, JSON | st.sampled_from(["text", "image", "document"]), max_size=4)


@given(
    members=st.dictionaries(
        st.sampled_from(
            "system tools tool_choice metadata thinking output_config stop_sequences stream".split()
        ),
        JSON | st.lists(BLOCKS, max_size=2),
        max_size=3,
    ),
    content=st.text(max_size=3) | st.lists(BLOCKS, max_size=3),
    role=st.sampled_from(["user", "assistant", "system"]),
)
def test_whatever_passes_the_check_can_be_said(members: Any, content: Any, role: str) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": role, "content": content}]}
    try:
        check(body | members)
    except RequestError:
        return
    assert orjson.dumps(as_chat(body | members).body)


# --- there and back ------------------------------------------------------------------------------

TEXT = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]), min_size=1, max_size=5
)
IMAGE = st.builds(
    lambda data: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
    st.sampled_from(["aQ==", "aGk="]),
)
USER = st.one_of(
    TEXT, st.lists(IMAGE | TEXT.map(lambda text: {"type": "text", "text": text}), min_size=2)
)
THOUGHT = st.builds(
    lambda text: {"type": "thinking", "thinking": text, "signature": f"of {text}"}, TEXT
)


@st.composite
def turns(draw: st.DrawFn) -> list[Any]:
    """A conversation as chat has it: what the user says, and what the model does about it."""
    messages: list[Any] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(TEXT)})
    for number in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(USER)})
        answer: dict[str, Any] = {"role": "assistant", "content": draw(st.none() | TEXT)}
        if thoughts := draw(st.lists(THOUGHT, max_size=2)):
            answer["thinking_blocks"] = thoughts
            answer["reasoning_content"] = "".join(one["thinking"] for one in thoughts)
        inputs = draw(st.lists(st.dictionaries(TEXT, st.integers(0, 9), max_size=2), max_size=3))
        if not inputs and answer["content"] is None:
            answer["content"] = "nothing"
        calls = [
            {
                "id": f"call_{number}_{index}",
                "type": "function",
                "function": {"name": draw(TEXT), "arguments": orjson.dumps(given).decode()},
            }
            for index, given in enumerate(inputs)
        ]
        messages.append(answer | ({"tool_calls": calls} if calls else {}))
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": draw(TEXT)} for call in calls
        ]
    return messages


@given(turns())
def test_a_chat_is_the_same_after_a_way_through_messages(messages: list[Any]) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": messages}
    call = call_of(body)
    translated = messages_body(call).body
    check(translated)
    said = as_chat(translated)
    assert (said.only, said.lost, call.dropped) == ((), (), [])
    assert _merged(said.body["messages"]) == _merged(messages)


def _merged(messages: list[Any]) -> list[Any]:
    """The messages with neighbours of the user's put together, as Anthropic's turns have them."""
    merged: list[Any] = []
    for message in messages:
        if merged and message["role"] == merged[-1]["role"] == "user":
            both = [_parts(merged.pop()["content"]), _parts(message["content"])]
            message = {"role": "user", "content": [*both[0], *both[1]]}
        merged.append(message)
    return merged


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


# --- answers -------------------------------------------------------------------------------------


def told(body: bytes) -> dict[str, Any]:
    voice = Translating(request_of({"model": "auto"}))
    message: dict[str, Any] = orjson.loads(voice.whole(body))
    Message.model_validate(message, strict=True)
    return message


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.name.split(".")[0])
def test_an_answer_is_the_same_after_a_way_through_chat(path: Path) -> None:
    raw = orjson.loads(path.read_bytes())
    message = told(read_message(path.read_bytes(), call_of({"model": "auto"}), ()).body)
    reasons = {"pause_turn": "end_turn"}
    given = raw["stop_reason"]
    known = ("end_turn", "tool_use", "refusal", "max_tokens", "pause_turn")
    if given in known:
        assert message["stop_reason"] == reasons.get(given, given)
    used = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, **raw["usage"]}
    assert message["usage"] == {name: used[name] for name in message["usage"]}
    assert _essence(message["content"]) == _essence(raw["content"])
    if given == "refusal":
        said = raw["stop_details"]["explanation"]
        assert message["stop_details"]["explanation"] == said


def _essence(blocks: list[Any]) -> list[Any]:
    """Blocks without what chat has no place for, and texts in one piece."""
    texts = "".join(block["text"] for block in blocks if block["type"] == "text")
    kept = [
        {name: value for name, value in block.items() if name != "citations"}
        for block in blocks
        if block["type"] in ("thinking", "redacted_thinking", "tool_use")
    ]
    return [texts, *kept]


def test_what_is_missing_in_a_chat_answer_is_no_failure() -> None:
    answers: list[dict[str, Any]] = [{}, {"choices": []}, {"choices": [{"message": None}]}]
    for answer in answers:
        message = told(orjson.dumps(answer))
        assert (message["content"], message["stop_reason"]) == ([], "end_turn")
        assert message["id"] == "msg_req_1"


def test_reasoning_without_a_signature_is_shown_as_thinking() -> None:
    answer = {"choices": [{"message": {"reasoning_content": "hm", "content": "a"}}]}
    content = told(orjson.dumps(answer))["content"]
    assert content[0] == {"type": "thinking", "thinking": "hm", "signature": ""}


def test_arguments_that_are_no_object_are_not_lost() -> None:
    for arguments, expected in [("[1]", {"arguments": "[1]"}), ("{", {"arguments": "{"}), ("", {})]:
        function = {"name": "look", "arguments": arguments}
        answer = {"choices": [{"message": {"tool_calls": [{"id": "t", "function": function}]}}]}
        message = told(orjson.dumps(answer))
        assert message["content"][0]["input"] == expected
        assert message["stop_reason"] == "tool_use"


# --- streams -------------------------------------------------------------------------------------


def voiced(chunks: list[bytes]) -> list[bytes]:
    voice = Translating(request_of({"model": "auto"}))
    return [*(voice.event(chunk) for chunk in chunks), voice.end()]


def events_of(written: bytes) -> Iterator[Any]:
    for event in Parser().feed(written):
        parsed = orjson.loads(event.data)
        assert event.name.decode() == parsed["type"]
        if parsed["type"] != "ping":
            yield EVENT.validate_python(parsed)


def added_up(written: bytes) -> dict[str, Any]:
    """What Anthropic's own client makes of a stream; blocks stand one after the other."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    open_block: int | None = None
    kinds = []
    for event in events_of(written):
        kinds.append(event.type)
        if event.type == "content_block_start":
            assert open_block is None
            open_block = event.index
        elif event.type in ("content_block_delta", "content_block_stop"):
            assert event.index == open_block
            if event.type == "content_block_stop":
                open_block = None
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    return cast(dict[str, Any], snapshot.to_dict())


def chunk(delta: Any, finish: str | None = None, **members: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %b\n\n" % orjson.dumps(
        {"id": "chatcmpl-1", "model": "auto", "choices": [choice], **members}
    )


def piece(index: int, arguments: str, name: str | None = None) -> bytes:
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name is not None:
        call |= {"id": f"t{index}", "type": "function"}
        call["function"]["name"] = name
    return chunk({"tool_calls": [call]})


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name.split(".")[0])
def test_a_stream_through_chat_adds_up_to_the_message_that_was_sent(path: Path) -> None:
    whole = path.read_bytes()
    through = added_up(b"".join(_translated([whole])))
    relay = Relay(call_of({"model": "auto"}), ())
    direct = added_up(
        b"".join(made.data for event in Parser().feed(whole) if (made := relay.take(event)))
    )
    assert _essence(through["content"]) == _essence(direct["content"])
    assert through["stop_reason"] == direct["stop_reason"]
    for name in ("input_tokens", "output_tokens"):
        assert through["usage"][name] == direct["usage"][name]


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name.split(".")[0])
def test_a_stream_is_told_the_same_wherever_its_bytes_are_split(path: Path) -> None:
    whole = path.read_bytes()
    expected = b"".join(_translated([whole]))
    for at in range(1, len(whole), 2):
        assert b"".join(_translated([whole[:at], whole[at:]])) == expected, at


def _translated(pieces: list[bytes]) -> list[bytes]:
    asked = {"model": "auto", "stream_options": {"include_usage": True}}
    translation = Translation(call_of(asked), ())
    parser = Parser()
    made = [translation.take(event) for part in pieces for event in parser.feed(part)]
    made.append(translation.finish())
    return voiced([one.data for one in made if one is not None and one.data])


def test_a_stream_starts_at_once_and_tells_its_usage_at_the_end() -> None:
    first, second, usage, end = voiced(
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "a"}, "stop"),
            b"data: %b\n\n"
            % orjson.dumps(
                {
                    "choices": [],
                    "usage": {
                        "prompt_tokens": 9,
                        "completion_tokens": 2,
                        "prompt_tokens_details": {"cached_tokens": 4},
                    },
                }
            ),
        ]
    )
    assert [event.type for event in events_of(first)] == ["message_start"]
    assert [event.type for event in events_of(second)] == [
        "content_block_start",
        "content_block_delta",
    ]
    assert usage == b""
    message = added_up(first + second + usage + end)
    assert message["usage"]["input_tokens"] == 5
    assert message["usage"]["cache_read_input_tokens"] == 4
    assert message["usage"]["output_tokens"] == 2


INTERLEAVED = [
    piece(0, "", "a"),
    piece(1, '{"y"', "b"),
    piece(0, '{"x"'),
    piece(1, ":2}"),
    piece(2, "", "c"),
    piece(0, ":1}"),
    piece(2, '{"z":3}'),
]


def test_calls_that_are_written_at_once_are_told_one_after_the_other() -> None:
    chunks = [chunk({"content": "I look."}), *INTERLEAVED, chunk({}, "tool_calls")]
    message = added_up(b"".join(voiced(chunks)))
    used = [block for block in message["content"] if block["type"] == "tool_use"]
    assert [(one["id"], one["name"], one["input"]) for one in used] == [
        ("t0", "a", {"x": 1}),
        ("t1", "b", {"y": 2}),
        ("t2", "c", {"z": 3}),
    ]
    assert message["stop_reason"] == "tool_use"


@given(st.permutations(range(6)))
def test_no_order_of_pieces_mixes_two_calls(order: list[int]) -> None:
    texts = ['{"a":1', "1}", '{"b":2', "2}", '{"c":3', "3}"]
    seen: dict[int, int] = {}
    chunks = []
    for turn in order:
        index = turn // 2
        begun = seen.get(index, 0)
        seen[index] = begun + 1
        chunks.append(piece(index, texts[2 * index + begun], None if begun else f"n{index}"))
    message = added_up(b"".join(voiced([*chunks, chunk({}, "tool_calls")])))
    assert {one["name"]: one["input"] for one in message["content"]} == {
        "n0": {"a": 11},
        "n1": {"b": 22},
        "n2": {"c": 33},
    }


def test_a_call_is_told_as_soon_as_its_name_is_known() -> None:
    voice = Translating(request_of({"model": "auto"}))
    begun = voice.event(piece(0, "", "a"))
    assert b'"tool_use"' in begun
    assert b'"partial_json":"{"' in voice.event(piece(0, "{"))
    second = voice.event(piece(1, "", "b"))
    assert second == b""
    closed = voice.event(piece(0, "}"))
    assert [event.type for event in events_of(closed)] == [
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
    ]


SAID: list[Any] = [
    {"reasoning": "Hm."},
    {"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]},
    {"content": "I look."},
]


@pytest.mark.parametrize("said", SAID, ids=lambda said: next(iter(said)))
@pytest.mark.parametrize("at", range(1, 1 + len(INTERLEAVED)))
def test_what_is_said_amid_calls_is_told_and_leaves_the_calls_whole(said: Any, at: int) -> None:
    chunks = [*INTERLEAVED[:at], chunk(said), *INTERLEAVED[at:], chunk({}, "tool_calls")]
    message = added_up(b"".join(voiced(chunks)))
    used = [block["input"] for block in message["content"] if block["type"] == "tool_use"]
    assert used == [{"x": 1}, {"y": 2}, {"z": 3}]
    (other,) = [block for block in message["content"] if block["type"] != "tool_use"]
    assert (other.get("text") or other.get("thinking")) in ("Hm.", "I look.")
    assert other.get("signature") == ("s" if "thinking_blocks" in said else other.get("signature"))


def test_what_is_said_amid_a_call_is_told_as_soon_as_the_call_is_whole() -> None:
    voice = Translating(request_of({"model": "auto"}))
    voice.event(piece(0, '{"x":', "a"))
    assert voice.event(chunk({"content": "I "})) == b""
    assert voice.event(chunk({"content": "look."})) == b""
    told = [event.type for event in events_of(voice.event(piece(0, "1}")))]
    added = "content_block_delta"
    assert told == [added, "content_block_stop", "content_block_start", added, added]


def test_a_call_without_arguments_does_not_keep_what_follows_for_itself() -> None:
    chunks = [piece(0, "", "a"), chunk({"content": "Done."}), chunk({}, "tool_calls")]
    message = added_up(b"".join(voiced(chunks)))
    assert [block["type"] for block in message["content"]] == ["tool_use", "text"]
    assert (message["content"][0]["input"], message["content"][1]["text"]) == ({}, "Done.")


def test_no_more_than_a_bounded_part_of_an_answer_waits_for_a_call() -> None:
    voice = Translating(request_of({"model": "auto"}))
    voice.event(piece(0, '{"x":', "a"))
    with pytest.raises(RequestError) as caught:
        for _ in range(100):
            voice.event(chunk({"content": "a" * 1_000_000}))
    assert (caught.value.status, caught.value.code) == (502, "bad_gateway")


def test_thinking_text_and_a_refusal_are_blocks_of_their_own() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "s"}
    chunks = [
        chunk({"role": "assistant", "reasoning_content": "h"}),
        chunk({"reasoning_content": "m"}),
        chunk({"thinking_blocks": [signed]}),
        chunk({"thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]}),
        chunk({"thinking_blocks": [signed]}),
        chunk({"reasoning": "loose"}),
        chunk({"content": "a"}),
        chunk({"refusal": "no"}, "stop"),
    ]
    message = added_up(b"".join(voiced(chunks)))
    assert [block["type"] for block in message["content"]] == [
        "thinking",
        "redacted_thinking",
        "thinking",
        "thinking",
        "text",
    ]
    assert message["content"][0] == message["content"][2] == signed
    assert message["content"][3]["signature"] == ""
    assert message["content"][4]["text"] == "a"
    assert message["stop_reason"] == "refusal"
    assert message["stop_details"]["explanation"] == "no"


def test_a_stream_without_a_chunk_is_a_message_without_content() -> None:
    assert added_up(b"".join(voiced([])))["content"] == []


def test_a_stream_that_broke_off_ends_in_its_error() -> None:
    voice = Translating(request_of({"model": "auto"}))
    voice.event(chunk({"content": "a"}))
    (event,) = Parser().feed(
        voice.failed(RequestError(502, "upstream_error", "bad_gateway", "it broke"))
    )
    assert event.name == b"error"
    assert orjson.loads(event.data) == {
        "type": "error",
        "error": {
            "type": "api_error",
            "message": "it broke",
            "details": {"error_code": "bad_gateway"},
        },
        "request_id": "req_1",
    }
