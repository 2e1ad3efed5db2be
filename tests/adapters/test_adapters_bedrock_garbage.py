"""Whatever JSON Bedrock sends or clients write, an answer or a `ProviderError` comes of it."""

from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.adapters.bedrock_request import converse_body
from turnout.adapters.dialect_bedrock import Translation, read_converse
from turnout.adapters.event_stream import BROKEN, EXCEPTION
from turnout.adapters.sse import Event
from turnout.engine.provider import ProviderError

NAMES = (
    "text toolUse toolUseId name input reasoningContent reasoningText signature redactedContent "
    "citationsContent content start delta stopReason usage inputTokens outputTokens type message "
    "contentBlockIndex cacheReadInputTokens embedding embeddings float inputTextTokenCount"
).split()
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.sampled_from(["x", "", "tool_use", "end_turn", "AA==", "server_tool_use"])
    | st.floats(0, 1)
)
GARBAGE: Any = st.recursive(
    SCALAR,
    lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(NAMES), s, max_size=4),
    max_leaves=12,
)
BLOCK = st.dictionaries(
    st.sampled_from(["text", "toolUse", "reasoningContent", "citationsContent"]),
    GARBAGE,
    max_size=2,
)
ANSWERS = st.fixed_dictionaries(
    {
        "output": st.fixed_dictionaries(
            {"message": st.fixed_dictionaries({"content": st.lists(BLOCK | GARBAGE, max_size=3)})}
        )
    },
    optional={"stopReason": GARBAGE, "usage": GARBAGE},
)
EVENTS = st.tuples(
    st.sampled_from(
        [
            b"messageStart",
            b"contentBlockStart",
            b"contentBlockDelta",
            b"contentBlockStop",
            b"messageStop",
            b"metadata",
            b"novelty",
            b"",
            BROKEN,
            EXCEPTION,
            EXCEPTION + b"throttlingException",
            EXCEPTION + b"\xff",
        ]
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "contentBlockIndex": GARBAGE,
            "start": st.fixed_dictionaries({"toolUse": GARBAGE}) | GARBAGE,
            "delta": BLOCK | GARBAGE,
            "stopReason": GARBAGE,
            "usage": GARBAGE,
            "message": GARBAGE,
        },
    )
    | GARBAGE,
)


@given(body=ANSWERS | GARBAGE)
def test_whole_answers(bench: Any, body: Any) -> None:
    try:
        assert orjson.loads(read_converse(orjson.dumps(body), bench.chat(), ()).body)
    except ProviderError as error:
        assert error.message


@given(events=st.lists(EVENTS, max_size=6), starts=st.booleans())
def test_streams(bench: Any, events: list[Any], starts: bool) -> None:
    translation = Translation(bench.chat(stream=True, asked=True), ())
    first = [(b"messageStart", {"role": "assistant"})] if starts else []
    try:
        for name, data in [*first, *events]:
            chunk = translation.take(Event(name, orjson.dumps(data)))
            assert chunk is None or chunk.data == b"" or orjson.loads(chunk.data[6:])
        translation.finish()
    except ProviderError as error:
        assert error.message


@pytest.mark.parametrize("model", ["amazon.titan-embed-text-v2:0", "cohere.embed-english-v3"])
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"embedding":"x"}',
        b'{"embedding":["x"]}',
        b'{"embedding":[[1]]}',
        b'{"embeddings":[1]}',
        b'{"embeddings":{"float":[]}}',
        b'{"embeddings":{"float":[[1],[2]]}}',
        b'{"embeddings":{"float":[[null]]}}',
    ],
)
@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings_that_are_none(bench: Any, model: str, raw: bytes, encoding: str) -> None:
    body = {"model": "m", "input": ["a"], "encoding_format": encoding}
    call = bench.call(body, embeddings=True)
    call.upstream_model = model
    with pytest.raises(ProviderError) as caught:
        await bench.answering("bedrock", raw).answer(call)
    assert caught.value.message


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"inputTokens":"3"}', b'{"inputTokens":-1}'])
async def test_counts_that_are_none(bench: Any, raw: bytes) -> None:
    provider = bench.provider(
        "bedrock", httpx.MockTransport(lambda r: httpx.Response(200, content=raw))
    )
    assert await provider.count(bench.chat()) is None


MEMBERS = (
    "messages tools tool_choice stop n user temperature max_tokens max_completion_tokens top_p "
    "top_k thinking reasoning_effort response_format metadata service_tier"
).split()
MODELS = [
    "anthropic.claude-sonnet-4-20250514-v1:0",
    "anthropic.claude-opus-4-7",
    "us.amazon.nova-2-lite-v1:0",
    "openai.gpt-oss-20b-1:0",
    "cohere.command-r-v1:0",
]
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "file", "input_audio", "refusal"])},
    optional={
        "text": GARBAGE,
        "image_url": GARBAGE | st.fixed_dictionaries({"url": GARBAGE}),
        "file": GARBAGE | st.fixed_dictionaries({"file_data": GARBAGE, "filename": GARBAGE}),
        "input_audio": GARBAGE,
        "refusal": GARBAGE,
        "cache_control": GARBAGE,
    },
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool", "system"])},
        optional={
            "content": GARBAGE | st.lists(PARTS, max_size=3),
            "tool_calls": GARBAGE
            | st.lists(st.fixed_dictionaries({"function": GARBAGE, "id": GARBAGE}), max_size=2),
            "thinking_blocks": GARBAGE | st.lists(GARBAGE, max_size=2),
            "tool_call_id": GARBAGE,
        },
    ),
    max_size=4,
)


@given(
    body=st.dictionaries(st.sampled_from(MEMBERS), GARBAGE, max_size=5),
    messages=MESSAGES | GARBAGE,
    model=st.sampled_from(MODELS),
)
def test_requests(bench: Any, body: dict[str, Any], messages: Any, model: str) -> None:
    call = bench.call({"model": "m", **body, "messages": messages})
    call.upstream_model = model
    try:
        assert orjson.loads(converse_body(call))["messages"]
    except ProviderError as error:
        assert error.message and error.param
