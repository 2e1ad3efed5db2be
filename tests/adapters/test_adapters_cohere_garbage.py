"""Whatever JSON Cohere or a client sends, an answer or a `ProviderError` comes of it."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from turnout.adapters.cohere_request import chat_body
from turnout.adapters.dialect_cohere import Translation, read_chat
from turnout.adapters.ollama import Ollama
from turnout.adapters.sse import Event
from turnout.engine.provider import Fault, ProviderError

NAMES = (
    "type text thinking content role tool_calls id function name arguments strict parameters "
    "url image_url detail document data json_schema schema message tool_plan citations usage "
    "billed_units tokens input_tokens output_tokens cached_tokens logprobs token_ids error"
).split()
WORDS = ("text", "function", "json_schema", "COMPLETE", "TOOL_CALL", "ERROR", "enabled", "{}", "")
SCALAR = st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(WORDS) | st.floats(0, 1)
GARBAGE: Any = st.recursive(
    SCALAR,
    lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(NAMES), s, max_size=4),
    max_leaves=12,
)
NESTED = st.dictionaries(st.sampled_from(NAMES), GARBAGE, max_size=4)
KINDS = (
    "message-start content-start content-delta content-end tool-plan-delta tool-call-start "
    "tool-call-delta tool-call-end citation-start message-end debug error"
).split()
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "delta": st.fixed_dictionaries({"message": NESTED}) | NESTED | GARBAGE,
        "index": GARBAGE,
        "logprobs": NESTED | GARBAGE,
        "message": GARBAGE,
    },
)
ANSWERS = st.fixed_dictionaries(
    {"message": NESTED},
    optional={name: GARBAGE for name in ("id", "finish_reason", "usage", "logprobs")},
)
MEMBERS = (
    "tools tool_choice stop response_format temperature top_p top_k seed presence_penalty "
    "reasoning_effort thinking max_tokens documents strict_tools logprobs n user cache_control"
).split()
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool", "system", "developer", "function"])},
        optional={
            name: GARBAGE | st.lists(NESTED, max_size=2)
            for name in ("content", "tool_calls", "reasoning_content", "refusal", "name")
        },
    ),
    max_size=3,
)
BODIES = st.fixed_dictionaries(
    {"messages": MESSAGES | GARBAGE},
    optional={name: GARBAGE | st.lists(NESTED, max_size=2) for name in MEMBERS},
)


@given(events=st.lists(EVENTS | GARBAGE, max_size=5))
def test_streams(bench: Any, events: list[Any]) -> None:
    translation = Translation(bench.chat(stream=True, asked=True), ())
    try:
        for event in [{"type": "message-start"}, *events]:
            chunk = translation.take(Event(b"", orjson.dumps(event)))
            assert chunk is None or orjson.loads(chunk.data[6:])
        translation.finish()
    except ProviderError as error:
        assert error.message


@given(body=ANSWERS | GARBAGE)
def test_whole_answers(bench: Any, body: Any) -> None:
    try:
        assert orjson.loads(read_chat(orjson.dumps(body), bench.chat(), ()).body)
    except ProviderError as error:
        assert error.message


@given(body=BODIES)
def test_requests(bench: Any, body: dict[str, Any]) -> None:
    try:
        assert orjson.loads(chat_body(bench.call({"model": "m", **body})))
    except ProviderError as error:
        assert error.fault in (Fault.UNSUPPORTED, Fault.BAD_REQUEST)


@given(body=BODIES.filter(lambda body: isinstance(body["messages"], list)))
def test_requests_for_ollama(bench: Any, body: dict[str, Any]) -> None:
    provider = bench.answering("ollama", b"{}")
    assert isinstance(provider, Ollama)
    if not all(isinstance(one, dict) for one in body["messages"]):
        return
    try:
        assert orjson.loads(provider.chat_body(bench.call({"model": "m", **body})))
    except ProviderError as error:
        assert error.fault in (Fault.UNSUPPORTED, Fault.BAD_REQUEST)
