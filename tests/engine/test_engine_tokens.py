import base64
import importlib
import struct
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.engine import tokens
from turnout.engine.encodings import CL100K, O200K, Table
from turnout.engine.media import audio_tokens
from turnout.engine.request import Caller, Operation, Request
from turnout.engine.tokenizers import POLICY, tokenizer_of
from turnout.engine.tokens import Measured


def request(body: Any, operation: Operation = Operation.CHAT) -> Request:
    return Request("req_1", operation, body, b"", "auto", False, Caller(), {}, 0, 0)


def chat(*contents: Any, **more: Any) -> Request:
    return request({"messages": [{"role": "user", "content": c} for c in contents], **more})


def embed(value: Any) -> Request:
    return request({"input": value}, Operation.EMBEDDINGS)


def cost_of(content: Any) -> int:
    """Tokens of a content beyond those of an empty one."""
    return tokens.count(chat(content)) - tokens.count(chat(None))


JARGON = [
    ("system", None, "You are a helpful, pattern-following assistant that translates corporate "
     "jargon into plain English."),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    ("system", "example_user", "Let's circle back when we have more bandwidth to touch base on "
     "opportunities for increased leverage."),
    ("system", "example_assistant", "Let's talk later when we're less busy about how to do "
     "better."),
    ("user", None, "This late pivot means we don't have time to boil the ocean for the client "
     "deliverable."),
]  # fmt: skip

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {
                    "type": "string",
                    "description": "The city and state, e.g. San Francisco, CA",
                },
                "unit": {
                    "type": "string",
                    "description": "The unit of temperature to return",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["location"],
        },
    },
}
ABOUT_WEATHER = [
    {
        "role": "system",
        "content": "You are a helpful assistant that can answer to questions about the weather.",
    },
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]


def test_messages_count_what_the_cookbook_publishes_for_gpt_4o() -> None:
    messages = [
        {"role": role, "content": content, **({"name": name} if name else {})}
        for role, name, content in JARGON
    ]
    assert tokens.count(request({"messages": messages})) == 124


def test_tools_count_what_the_cookbook_publishes_for_gpt_4o() -> None:
    assert tokens.count(request({"messages": ABOUT_WEATHER, "tools": [WEATHER]})) == 101
    legacy = {"messages": ABOUT_WEATHER, "functions": [WEATHER["function"]]}
    assert tokens.count(request(legacy)) == 101


def test_content_in_parts_counts_as_the_same_text() -> None:
    assert cost_of([{"type": "text", "text": "Hello there"}]) == cost_of("Hello there") == 2


def test_names_of_special_tokens_are_plain_text() -> None:
    assert tokens.count_text("<|endoftext|>") > 1


def test_tool_calls_and_tool_answers_are_counted() -> None:
    call = {"id": "call_1", "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'}}
    plain = {"messages": [{"role": "assistant", "content": None}]}
    calling = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    added = tokens.count(request(calling)) - tokens.count(request(plain))
    assert added == 3 + tokens.count_text("get_weather") + tokens.count_text('{"city":"Rome"}')


def test_a_nested_tool_schema_counts_more_than_a_flat_one() -> None:
    inner = {"type": "object", "properties": {"street": {"type": "string", "description": "s"}}}
    flat = {"type": "object", "description": "home"}
    counts = [
        tokens.count(
            chat("hi", tools=[{"function": {"name": "f", "parameters": {"properties": {"a": a}}}}])
        )
        for a in (flat, {**inner, "description": "home"})
    ]
    assert counts[0] < counts[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Hello there", 2),
        (["Hello there", "Hello there"], 4),
        ([1, 2, 3], 3),
        ([[1, 2, 3], [4]], 4),
        ([], 0),
        (None, 0),
    ],
)
def test_embeddings_input_is_counted_in_each_of_its_forms(value: Any, expected: int) -> None:
    assert tokens.count(embed(value)) == expected


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x02"


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\xf7\x00\x00"


def jpeg(width: int, height: int) -> bytes:
    preview = b"\xff\xe1" + struct.pack(">H", 60_000) + bytes(59_998)
    tables = b"\xff\xdb" + struct.pack(">H", 67) + bytes(65)
    frame = b"\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + bytes(10)
    return b"\xff\xd8" + preview + tables + frame


def webp(kind: bytes, payload: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(payload)) + payload
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def webp_lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", width, height))


def webp_lossless(width: int, height: int) -> bytes:
    packed = (width - 1) | (height - 1) << 14
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", packed) + bytes(8))


def webp_extended(width: int, height: int) -> bytes:
    sizes = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return webp(b"VP8X", b"\x10\x00\x00\x00" + sizes)


def image(data: bytes, **more: str) -> list[dict[str, Any]]:
    url = "data:image/x;base64," + base64.b64encode(data).decode()
    return [{"type": "image_url", "image_url": {"url": url, **more}}]


FORMATS = [png, gif, jpeg, webp_lossy, webp_lossless, webp_extended]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1, 1, 255),
        (512, 512, 255),
        (513, 512, 425),
        (1024, 1024, 765),  # published
        (2048, 4096, 1105),  # published
        (4096, 2048, 1105),
        (768, 2048, 1445),
        (8192, 100, 765),
        (1280, 720, 1105),
    ],
)
def test_an_image_counts_by_its_tiles(form: Any, width: int, height: int, expected: int) -> None:
    assert cost_of(image(form(width, height), detail="high")) == expected


def test_an_image_in_low_detail_costs_85() -> None:
    assert cost_of(image(png(4000, 4000), detail="low")) == 85


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        "data:image/png;base64," + base64.b64encode(png(0, 0)).decode(),
        "data:image/png;base64," + base64.b64encode(png(9, 9)[:18]).decode(),
        "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8\xff\xe0\x00\x00").decode(),
        "data:nonsense",
        "",
        None,
        7,
    ],
)
def test_an_image_whose_size_cannot_be_seen_counts_as_the_largest(url: Any) -> None:
    assert cost_of([{"type": "image_url", "image_url": {"url": url}}]) == 1445


def test_no_image_costs_more_than_the_largest() -> None:
    sides = (1, 511, 513, 767, 769, 2047, 2049, 2730, 2731, 65_535)
    found = [cost_of(image(png(w, h))) for w in sides for h in sides]
    assert min(found) == 255
    assert max(found) == 1445


def test_audio_counts_ten_tokens_a_second() -> None:
    wave = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 24_000, 48_000, 2, 16)
    three_seconds = base64.b64encode(wave + bytes(3 * 48_000 - len(wave))).decode()
    assert audio_tokens(three_seconds) == 30
    assert audio_tokens(base64.b64encode(bytes(8_000)).decode()) == 21
    assert audio_tokens("") == 0


WORDS = st.text(max_size=60) | st.text(alphabet="ab \n\t/.;}é中 \u00a0😀\ud800", max_size=200)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
PART = (
    st.fixed_dictionaries({"type": st.just("text"), "text": WORDS})
    | st.fixed_dictionaries(
        {
            "type": st.just("image_url"),
            "image_url": st.fixed_dictionaries(
                {"url": WORDS, "detail": st.sampled_from(["low", "high", "auto"])}
            ),
        }
    )
    | st.fixed_dictionaries({"type": st.just("input_audio"), "input_audio": JSON})
    | st.fixed_dictionaries({"type": st.sampled_from(["refusal", "file", "x"]), "refusal": JSON})
    | JSON
)
MESSAGE = (
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "tool"]), "content": WORDS | st.lists(PART, max_size=3)},
        optional={"name": WORDS, "tool_calls": JSON, "function_call": JSON, "refusal": WORDS},
    )
    | JSON
)
SCHEMA = st.recursive(
    JSON,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": WORDS,
            "description": WORDS,
            "enum": st.lists(JSON, max_size=3),
            "properties": st.dictionaries(WORDS, inner, max_size=2),
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
        },
    ),
    max_leaves=5,
)
TOOL = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": WORDS, "parameters": SCHEMA})}
) | JSON  # fmt: skip
BODY = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, max_size=4) | JSON},
    optional={
        "tools": st.lists(TOOL, max_size=2) | JSON,
        "input": JSON,
        "functions": JSON,
        "response_format": JSON,
    },
)


@settings(max_examples=300, deadline=None)
@given(BODY | JSON, st.sampled_from(Operation))
def test_the_bounds_hold_the_count_of_any_body(body: Any, operation: Operation) -> None:
    seen = request(body, operation)
    low, high = tokens.bounds(seen)
    assert 0 <= low <= tokens.count(seen) <= high


def test_a_body_is_looked_at_once_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Request] = []
    measure = tokens.measure

    def noted(one: Request) -> Measured:
        looks.append(one)
        return measure(one)

    monkeypatch.setattr(tokens, "measure", noted)
    seen, again = chat("hello there", tools=[WEATHER]), chat("hello there", tools=[WEATHER])
    tokenizers = [POLICY, tokenizer_of("claude-sonnet-4-5"), tokenizer_of("gpt-4")]
    told = [(tokens.bounds(seen, by), tokens.count(seen, by)) for by in tokenizers]
    assert looks == [seen]
    assert told == [
        (tokens.bounds(replace(again), by), tokens.count(replace(again), by)) for by in tokenizers
    ]


def test_another_body_is_looked_at_anew() -> None:
    seen = chat("hello there")
    before = tokens.bounds(seen), tokens.count(seen)
    seen.body = chat("hello there, and much more of it").body
    assert tokens.bounds(seen)[1] > before[0][1]
    assert tokens.count(seen) > before[1]


def test_a_schema_for_the_answer_raises_only_the_upper_bound() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    plain, formed = chat("hi"), chat("hi", response_format=schema)
    assert tokens.count(formed) == tokens.count(plain)
    assert tokens.bounds(formed)[0] == tokens.bounds(plain)[0]
    assert tokens.bounds(formed)[1] > tokens.bounds(plain)[1] + 20


@given(WORDS)
def test_text_counts_as_tiktoken_counts_it(text: str) -> None:
    assert cost_of(text) == tokens.count_text(text)


MEGABYTE = 1_000_000


@pytest.mark.uncounted
@pytest.mark.parametrize("unit", [" ", "\n", "a", "^", "中文", "The quick brown fox. ", " \t", "9"])
def test_a_megabyte_is_counted_within_its_bounds(unit: str) -> None:
    seen = chat(unit * (MEGABYTE // len(unit)))
    low, high = tokens.bounds(seen)
    assert low <= tokens.count(seen) <= high


def test_a_long_text_is_cut_only_where_a_token_ends_anyway() -> None:
    text = "The quick brown fox jumps over the lazy dog, 1234 times; doesn't it? " * 6000
    whole = len(O200K.encoding().encode_ordinary(text))
    assert len(text) > 3 * tokens._CHUNK
    assert tokens.count_text(text) == whole


def test_a_body_nested_too_deep_for_json_is_still_counted() -> None:
    nested: Any = "end"
    for _ in range(50_000):
        nested = [nested]
    seen = chat(nested, [nested], tools=[{"function": {"name": nested, "parameters": nested}}])
    low, high = tokens.bounds(seen)
    assert low <= tokens.count(seen) <= high


def test_no_token_holds_two_starts_of_words_and_none_is_longer_than_the_bound_assumes() -> None:
    table = [
        O200K.encoding().decode_single_token_bytes(rank)
        for rank in O200K.encoding()._mergeable_ranks.values()
    ]
    classes = [token.translate(tokens._CLASSES) for token in table]
    assert max(c.count(b" a") + c.startswith(b"a") for c in classes) == 1
    assert max(map(len, table)) == tokens._LONGEST_TOKEN


@pytest.mark.parametrize("table", [O200K, CL100K], ids=lambda table: table.name)
def test_an_encoding_is_the_one_that_tiktoken_defines(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = importlib.import_module("tiktoken_ext.openai_public")
    asked: list[str | None] = []

    def ranks(url: str, expected_hash: str | None = None) -> dict[bytes, int]:
        asked.append(expected_hash)
        return {}

    monkeypatch.setattr(published, "load_tiktoken_bpe", ranks)
    theirs = getattr(published, table.name)()
    assert theirs["pat_str"] == table.pattern
    assert theirs["special_tokens"] == table.special
    assert asked == [table.sha256]


def test_nothing_is_fetched_from_the_network() -> None:
    code = (
        "import socket, sys\n"
        "def no(*a, **k): raise AssertionError('network')\n"
        "socket.socket = socket.create_connection = socket.getaddrinfo = no\n"
        "from turnout.engine import tokens\n"
        "tokens.warm(); assert tokens.count_text('Hello there') == 2\n"
        "assert 'requests' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_table_that_is_not_openais_is_refused() -> None:
    other = replace(O200K, sha256="0" * 64)
    with pytest.raises(RuntimeError, match="o200k_base"):
        other.encoding()


OPERATORS = ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__")


@given(
    st.lists(st.integers(0, 30), max_size=4, unique=True).map(sorted),
    st.integers(0, 30),
    st.integers(0, 12),
)
def test_an_interval_is_between_cuts_exactly_when_its_low_end_may_stand_in(
    cuts: list[int], low: int, width: int
) -> None:
    high = low + width
    alike = all(
        getattr(value, operator)(cut) == getattr(low, operator)(cut)
        for cut in cuts
        for operator in OPERATORS
        for value in range(low, high + 1)
    )
    assert tokens.between(tuple(cuts), low, high) == alike


def test_where_the_exact_number_is_needed_only_a_single_number_is_between() -> None:
    assert not tokens.between(None, 3, 4)
    assert tokens.between(None, 3, 3)
