"""Whatever JSON a provider sends, an answer or a `ProviderError` comes of it, nothing else."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.adapters.anthropic_request import messages_body
from turnout.adapters.dialect_anthropic import Translation, read_message
from turnout.adapters.dialect_openai import Relay, read_chat
from turnout.adapters.ollama import Ollama
from turnout.adapters.sse import Event
from turnout.adapters.vectors import read_embeddings
from turnout.engine.provider import ProviderError

NAMES = (
    "id model choices message delta content role index finish_reason tool_calls function name "
    "arguments text type thinking usage prompt_tokens completion_tokens x_groq error embedding "
    "data content_block partial_json stop_reason input_tokens output_tokens input"
).split()
WORDS = ("text", "tool_use", "thinking", "stop", "content_block_start", "content_block_delta")
SCALAR = st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(WORDS) | st.floats(0, 1)
GARBAGE: Any = st.recursive(
    SCALAR,
    lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(NAMES), s, max_size=4),
    max_leaves=12,
)
CHOICES = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({}, optional={
        "index": GARBAGE, "message": GARBAGE, "delta": GARBAGE, "finish_reason": GARBAGE,
    }), max_size=2)},
    optional={"id": GARBAGE, "model": GARBAGE, "usage": GARBAGE, "x_groq": GARBAGE},
)  # fmt: skip
DELTAS = st.fixed_dictionaries(
    {
        "choices": st.tuples(
            st.fixed_dictionaries(
                {
                    "delta": st.fixed_dictionaries(
                        {},
                        optional=dict.fromkeys(
                            ("content", "tool_calls", "reasoning", "role"), GARBAGE
                        ),
                    )
                }
            )
        )
    }
)
KINDS = (
    "message_start content_block_start content_block_delta content_block_stop message_delta "
    "message_stop error"
).split()
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional=dict.fromkeys(
        ("index", "message", "content_block", "delta", "usage", "error"), GARBAGE
    ),
)


@given(events=st.lists(CHOICES | DELTAS | GARBAGE, max_size=4))
def test_streams_of_the_openai_wire(bench: Any, events: list[Any]) -> None:
    relay = Relay(bench.chat(stream=True, asked=True), (), Ollama.finish)
    try:
        for event in events:
            chunk = relay.take(Event(b"", orjson.dumps(event)))
            assert chunk is None or chunk.data == b"" or orjson.loads(chunk.data[6:])
        relay.finish()
    except ProviderError as error:
        assert error.message


@given(events=st.lists(EVENTS | GARBAGE, max_size=5))
def test_streams_of_the_anthropic_wire(bench: Any, events: list[Any]) -> None:
    translation = Translation(bench.chat(stream=True, asked=True), ())
    try:
        for event in events:
            chunk = translation.take(Event(b"", orjson.dumps(event)))
            assert chunk is None or chunk.data == b"" or orjson.loads(chunk.data[6:])
        translation.finish()
    except ProviderError as error:
        assert error.message


CONTENT = st.fixed_dictionaries(
    {"content": st.lists(GARBAGE, max_size=3)},
    optional={"usage": GARBAGE, "stop_reason": GARBAGE, "id": GARBAGE},
)
ROWS = st.fixed_dictionaries(
    {
        "data": st.lists(
            st.fixed_dictionaries({"embedding": GARBAGE}, optional={"index": GARBAGE}), max_size=2
        )
    }
)


@pytest.mark.parametrize("read", ["chat", "message", "embeddings"])
@given(body=CHOICES | CONTENT | ROWS | GARBAGE)
def test_whole_answers(bench: Any, read: str, body: Any) -> None:
    raw = orjson.dumps(body)
    try:
        if read == "chat":
            answer = read_chat(raw, bench.chat(stream=True, asked=True), (), Ollama.finish)
        elif read == "message":
            answer = read_message(raw, bench.chat(stream=True, asked=True), ())
        else:
            asked = bench.call(
                {"model": "m", "input": "a", "encoding_format": "base64"}, embeddings=True
            )
            answer = read_embeddings(raw, asked, ())
        assert orjson.loads(answer.body)
    except ProviderError as error:
        assert error.message


@given(
    body=st.dictionaries(
        st.sampled_from(
            [
                "messages",
                "tools",
                "tool_choice",
                "stop",
                "n",
                "user",
                "temperature",
                "max_tokens",
                "stream_options",
                "response_format",
            ]
        ),
        st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "assistant", "tool", "system"])},
                optional={"content": GARBAGE, "tool_calls": GARBAGE},
            ),
            max_size=3,
        )
        | GARBAGE,
    )
)
def test_requests_for_the_anthropic_wire(bench: Any, body: dict[str, Any]) -> None:
    try:
        assert orjson.loads(messages_body(bench.call({"model": "m", **body})).encoded())
    except ProviderError as error:
        assert error.message and error.param
