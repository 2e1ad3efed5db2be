"""The key of the cache: whatever tells two questions or two askers apart tells their keys apart."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaMessages
from anthropic.types.message_create_params import MessageCreateParamsBase as Messages
from hypothesis import assume, given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as Chat
from openai.types.completion_create_params import CompletionCreateParamsBase as Completions
from openai.types.embedding_create_params import EmbeddingCreateParams as Embeddings
from openai.types.responses.response_create_params import ResponseCreateParamsBase as Responses

from turnout.adapters.scripted import Scripted
from turnout.dsl.check import compile_policy
from turnout.dsl.core import Program
from turnout.dsl.schema import Target
from turnout.dsl.source import Source
from turnout.engine.cache_key import (
    is_exact,
    key,
    outside,
    shared_part,
    target_part,
)
from turnout.engine.cached import Key
from turnout.engine.catalog import language_schema
from turnout.engine.request import NOTHING_SET, Caller, Native, Operation, OwnKey, Request, Sets
from turnout.protocols.fields import DEEPEST

from .benches import request_of

POLICY = """
routing_policy:
  - {name: a, route: groq/llama-3-8b}
providers:
  near: {kind: vllm, base_url: "http://127.0.0.1:1/v1", headers: {x-pool: one}}
targets:
  near/small: {price: 0, max_output: 8k}
"""
PLACE = b"groq/llama-3-8b at its place"

# Of each protocol: its members, as its official client has them, and a body.
SCHEMAS: Mapping[Operation, tuple[tuple[Any, ...], dict[str, Any]]] = {
    Operation.CHAT: ((Chat,), {"messages": [{"role": "user", "content": "hello"}]}),
    Operation.COMPLETIONS: ((Completions,), {"prompt": "hello"}),
    Operation.EMBEDDINGS: ((Embeddings,), {"input": ["hello"]}),
    Operation.RESPONSES: ((Responses,), {"input": "hello"}),
    Operation.MESSAGES: (
        (Messages, BetaMessages),
        {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10},
    ),
}
MEMBERS = [
    (operation, name)
    for operation, (schemas, _) in SCHEMAS.items()
    for name in sorted({name for schema in schemas for name in schema.__annotations__})
    if name != "stream_options"
]


def asked(
    body: Mapping[str, Any],
    operation: Operation = Operation.CHAT,
    raw: bytes | None = None,
    **more: Any,
) -> Request:
    """A request as it came in this protocol; what is not chat has its chat body beside."""
    body = {"model": "auto"} | dict(body)
    raw = raw or orjson.dumps(body)
    if operation in (Operation.CHAT, Operation.EMBEDDINGS):
        request = request_of(body, operation=operation)
        return replace(request, raw=raw, **more)
    said = request_of({"messages": []}, operation=operation)
    return replace(said, model=body["model"], native=Native(raw, body), **more)


def key_of(request: Request, sets: Sets = NOTHING_SET, *, of_caller: bool = False) -> Key:
    return key(shared_part(request, sets), request, PLACE, of_caller=of_caller)


def digest(body: Mapping[str, Any], operation: Operation = Operation.CHAT, **more: Any) -> bytes:
    return key_of(asked(body, operation, **more)).digest


# --- members -------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def written(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def test_every_member_of_every_schema_is_looked_at() -> None:
    assert {operation for operation, _ in MEMBERS} == set(Operation)
    assert len(MEMBERS) > 100
    assert (Operation.CHAT, "logit_bias") in MEMBERS
    assert (Operation.MESSAGES, "thinking") in MEMBERS


@pytest.mark.parametrize(
    ("operation", "name"), MEMBERS, ids=[f"{operation.value}-{name}" for operation, name in MEMBERS]
)
def test_each_value_of_a_member_is_another_question(operation: Operation, name: str) -> None:
    _, body = SCHEMAS[operation]
    told = [None, False, 0, 0.0, "", "0", [], {}, [0], ["0"], {"a": 0}, {"a": {"b": [0]}}, 1, 1.0]
    if name == "model":
        told = ["gpt-4o", "gpt-4o-mini", "openai/gpt-4o"]
    keys = [digest(body | {name: value}, operation) for value in told]
    if name not in body and name != "model":
        keys.append(digest(body, operation))
    assert len(set(keys)) == len(keys)


@given(st.sampled_from(MEMBERS), values, values)
def test_two_values_of_a_member_share_a_key_only_if_they_are_equal(
    member: tuple[Operation, str], one: Any, other: Any
) -> None:
    operation, name = member
    assume(name != "model")
    _, body = SCHEMAS[operation]
    same = digest(body | {name: one}, operation) == digest(body | {name: other}, operation)
    if same:
        assert written(one) == written(other)
    elif orjson.dumps(one) == orjson.dumps(other):
        pytest.fail("the same bytes have two keys")


@given(st.sampled_from(Operation), names, values)
def test_members_that_nobody_knows_count(operation: Operation, name: str, value: Any) -> None:
    _, body = SCHEMAS[operation]
    assume(name not in ("model", "stream", "stream_options", *body))
    assert digest(body | {name: value}, operation) != digest(body, operation)


@given(st.dictionaries(names, values, max_size=4), st.dictionaries(names, values, max_size=4))
def test_two_bodies_share_a_key_only_if_they_ask_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    for body in (one, other):
        for name in ("model", "stream", "stream_options"):
            body.pop(name, None)
    if digest(one) == digest(other):
        assert written(one) == written(other)


@pytest.mark.parametrize("operation", Operation)
def test_how_an_answer_is_told_is_no_part_of_the_question(operation: Operation) -> None:
    _, body = SCHEMAS[operation]
    plain = digest(body, operation)
    assert digest(body | {"stream": True}, operation) == plain
    told = {"stream": True, "stream_options": {"include_usage": True}}
    assert digest(body | told, operation) == plain


def test_the_order_of_members_is_none_where_it_says_nothing() -> None:
    one = asked({}, raw=b'{"model":"auto","seed":1,"messages":[{"role":"user","content":"a"}]}')
    other = asked({}, raw=b'{"messages":[{"content":"a","role":"user"}],"seed":1,"model":"auto"}')
    for request in (one, other):
        request.body = orjson.loads(request.raw)
    assert key_of(one) == key_of(other)
    reversed_ = asked({"messages": [{"role": "user", "content": "a"}]} | {"seed": 1})
    assert key_of(reversed_) == key_of(one)


@pytest.mark.parametrize("name", ["tools", "functions", "response_format", "guided_json"])
def test_the_order_of_a_schema_counts_because_a_model_writes_in_it(name: str) -> None:
    first: Any = {"properties": {"reason": {}, "verdict": {}}}
    second: Any = {"properties": {"verdict": {}, "reason": {}}}
    assert digest({name: [first]}) != digest({name: [second]})
    assert digest({name: first}) != digest({name: second})


APART = [
    # two texts of JSON that are two questions
    ('{"seed":1}', '{"seed":1.0}'),
    ('{"seed":1}', '{"seed":true}'),
    ('{"seed":1}', '{"seed":"1"}'),
    ('{"seed":0}', '{"seed":false}'),
    ('{"seed":0}', '{"seed":null}'),
    ('{"seed":null}', "{}"),
    ('{"seed":0.0}', '{"seed":-0.0}'),
    ('{"stop":"a"}', '{"stop":["a"]}'),
    ('{"stop":["a","b"]}', '{"stop":["b","a"]}'),
    ('{"stop":["a,b"]}', '{"stop":["a","b"]}'),
    ('{"user":"\u00e9"}', '{"user":"e\u0301"}'),  # not normalized: not the same tokens
    ('{"user":"a"}', '{"user":"a "}'),
    ('{"user":"A"}', '{"user":"a"}'),
    ('{"user":"a\\u0000"}', '{"user":"a"}'),
    ('{"a":{"b":1}}', '{"a.b":1}'),
    ('{"a":{"b":{}}}', '{"a":{},"b":{}}'),
    ('{"seed":9007199254740993}', '{"seed":9007199254740992}'),
    ('{"seed":18446744073709551615}', '{"seed":18446744073709551614}'),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_is_almost_the_same_is_not(one: str, other: str) -> None:
    assert digest(orjson.loads(one)) != digest(orjson.loads(other))


SAME = [
    ('{"user":"\\u00e9"}', '{"user":"\u00e9"}'),
    ('{ "seed" : 1 }', '{"seed":1}'),
    ('{"top_p":1e-1}', '{"top_p":0.1}'),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_only_written_otherwise_is_the_same(one: str, other: str) -> None:
    assert digest(orjson.loads(one)) == digest(orjson.loads(other))


# --- what was read is what goes upstream ---------------------------------------------------------

INEXACT = [
    '{"seed":18446744073709551616}',
    '{"seed":18446744073709551617}',
    '{"seed":-9223372036854775809}',
    '{"messages":[],"extra":{"const":123456789012345678901234567890}}',
    '{"seed":%s}' % ("9" * 300),
    '{"seed":1,"seed":2}',
    '{"seed":1,"seed":1}',
    '{"seed":1,"se\\u0065d":2}',
    '{"messages":[{"role":"user","content":"evil","content":"good"}]}',
    '{"tools":[{"function":{"parameters":{"a":{"b":1,"b":2}}}}]}',
]


@pytest.mark.parametrize("text", INEXACT, ids=range(len(INEXACT)))
@pytest.mark.parametrize("operation", Operation)
def test_a_body_that_says_more_than_what_was_read_has_no_part_in_the_cache(
    text: str, operation: Operation
) -> None:
    read = orjson.loads(text)
    for raw in (text.encode(), text.replace(":", " : ").encode()):
        request = asked(read, operation, raw=raw)
        if request.native is None:
            request.body = read
        else:
            request.native.body.pop("model")
        assert not is_exact(request)


@given(values, st.sampled_from([0, 1, 2]))
def test_every_other_body_is_read_exactly(value: Any, spaces: int) -> None:
    body = {"model": "auto", "x": value}
    text = json.dumps(body, indent=spaces or None, ensure_ascii=spaces == 1)
    assert is_exact(asked(orjson.loads(text), raw=text.encode()))


def test_a_body_nested_as_deep_as_is_let_in_has_a_key() -> None:
    value: Any = 0
    for _ in range(DEEPEST):
        value = {"a": value}
    request = asked({"messages": [], "extra": value})
    assert is_exact(request)
    assert key_of(request) != key_of(asked({"messages": [], "extra": 0}))


# --- who asks ------------------------------------------------------------------------------------

NAMES = ["a", "b", "a,b", 'a"', 'a","chat', "a\u0000", "", "\u00e9", "e\u0301", "A", "a ", "null"]


def test_tenants_never_share_whatever_they_are_called() -> None:
    keys = {name: key_of(asked({}, caller=Caller(tenant=name))) for name in NAMES}
    assert len({one.digest for one in keys.values()}) == len(NAMES)
    assert all(one.tenant == name for name, one in keys.items())


@given(names, names, names, names)
def test_no_name_of_a_tenant_can_be_continued_in_the_question(
    tenant: str, model: str, other_tenant: str, other_model: str
) -> None:
    assume((tenant, model) != (other_tenant, other_model))
    one = asked({"model": model}, caller=Caller(tenant=tenant))
    other = asked({"model": other_model}, caller=Caller(tenant=other_tenant))
    assert key_of(one).digest != key_of(other).digest


def test_the_body_cannot_say_whose_it_is() -> None:
    mine = asked({"user": "b", "tenant": "b"}, caller=Caller(tenant="a"))
    theirs = asked({"user": "b", "tenant": "b"}, caller=Caller(tenant="b"))
    assert key_of(mine) != key_of(theirs)


OWN = [
    None,
    OwnKey("openai", "sk-one"),
    OwnKey("openai", "sk-two"),
    OwnKey("openai", "sk-one "),
    OwnKey("groq", "sk-one"),
    OwnKey("openai\x00sk", "-one"),
    OwnKey("openai", "sk-\ud800"),
]


def test_own_keys_never_share() -> None:
    keys = {key_of(asked({}, own=own), of_caller=True).digest for own in OWN}
    assert len(keys) == len(OWN)


def test_a_key_that_is_not_used_does_not_count() -> None:
    own = asked({}, own=OwnKey("openai", "sk-one"))
    assert key_of(own, of_caller=False) == key_of(asked({}))


def test_the_secret_is_in_no_part_of_the_key() -> None:
    own = asked({}, own=OwnKey("openai", "sk-canary"))
    assert b"sk-canary" not in shared_part(own, {})
    assert "sk-canary" not in repr(key_of(own, of_caller=True))


def test_whose_answers_one_may_have_does_not_depend_on_user_team_and_tier() -> None:
    mine = asked({}, caller=Caller(user="u", team="t", tier="pro", key_id="k", models=("*",)))
    assert key_of(mine) == key_of(asked({}))


# --- what is changed on the way ------------------------------------------------------------------

SETS: list[Sets] = [
    {},
    {"temperature": 0},
    {"temperature": 0.0},
    {"temperature": False},
    {"temperature": "0"},
    {"max_tokens": 0},
    {"max_tokens": 1},
    {"max_tokens": 1, "temperature": 0},
]


def test_what_the_policy_writes_counts() -> None:
    keys = {key_of(asked({}), sets).digest for sets in SETS}
    assert len(keys) == len(SETS)
    assert key_of(asked({"temperature": 0})) != key_of(asked({}), {"temperature": 0})


@pytest.mark.parametrize("name", ["anthropic-beta", "anthropic-version", "openai-beta"])
def test_headers_that_go_upstream_count(name: str) -> None:
    keys = {
        digest({}, headers=headers)
        for headers in ({}, {name: ""}, {name: "a"}, {name: "b"}, {name: "a,b"}, {"x-other": "a"})
    }
    assert len(keys) == 5


def test_one_header_is_not_taken_for_another() -> None:
    one = digest({}, headers={"anthropic-beta": "a"})
    assert one != digest({}, headers={"openai-beta": "a"})
    assert one != digest({}, headers={"anthropic-version": "a"})


def test_a_protocol_is_part_of_the_question() -> None:
    keys = {digest({"messages": []}, operation) for operation in Operation}
    assert len(keys) == len(Operation)


# --- who is asked --------------------------------------------------------------------------------


def compiled(policy: str) -> Program:
    return compile_policy(Source("test", policy), language_schema())


PROGRAM = compiled(POLICY)
NEAR = Target("near/small", "near", "small", None, max_output=8_000)


class At(Scripted):
    """A provider at a place."""

    def __init__(self, place: str) -> None:
        super().__init__("near", [])
        self._place = place

    @property
    def place(self) -> str:
        return self._place


OTHERS = [
    # the same target, with one thing of it changed
    replace(NEAR, id="near/other"),
    replace(NEAR, model="other"),
    replace(NEAR, max_output=9_000),
    replace(NEAR, max_output=None),
    replace(NEAR, abilities={"sampling": False}),
    replace(NEAR, strict=True),
]


def test_each_target_has_answers_of_its_own() -> None:
    parts = {target_part(PROGRAM, one, At("vllm here")) for one in (NEAR, *OTHERS)}
    assert len(parts) == len(OTHERS) + 1


def test_the_same_target_at_another_place_is_somebody_else() -> None:
    here, there = (target_part(PROGRAM, NEAR, At(place)) for place in ("vllm here", "vllm there"))
    assert here != there


CHANGED = [
    POLICY.replace("x-pool: one", "x-pool: two"),
    POLICY.replace("x-pool: one", "x-pool: one, x-more: one"),
    POLICY.replace("kind: vllm", "kind: openai"),
    POLICY + "parameters: strict\n",
]


@pytest.mark.parametrize("policy", CHANGED, ids=["value", "header", "kind", "strict"])
def test_a_provider_that_is_called_otherwise_is_somebody_else(policy: str) -> None:
    changed = compiled(policy)
    assert target_part(changed, NEAR, At("here")) != target_part(PROGRAM, NEAR, At("here"))


def test_what_says_nothing_of_the_answer_is_no_part_of_the_target() -> None:
    renamed = compiled(POLICY.replace("name: a", "name: b"))
    same = replace(NEAR, owner="somebody", tags=("x",), region="eu", concurrency=3)
    before = target_part(PROGRAM, NEAR, At("here"))
    assert target_part(renamed, NEAR, At("here")) == before
    assert target_part(PROGRAM, same, At("here")) == before


# --- what asks for more than an answer -----------------------------------------------------------


def said(type: str, **part: Any) -> dict[str, Any]:
    """A body with a message of one part."""
    return {"messages": [{"role": "user", "content": [{"type": type, **part}]}]}


ELSEWHERE: list[tuple[Operation, dict[str, Any]]] = [
    (Operation.CHAT, {"store": True}),
    (Operation.CHAT, {"web_search_options": {"search_context_size": "low"}}),
    (Operation.CHAT, {"web_search_options": {}}),
    (Operation.CHAT, {"search_parameters": {}}),
    (Operation.CHAT, {"plugins": [{"id": "web"}]}),
    (Operation.CHAT, {"tools": [{"google_search": {}}]}),
    (Operation.CHAT, {"tools": [{"type": "browser_search"}]}),
    (Operation.RESPONSES, {"tools": [{"type": "x_search"}]}),
    (Operation.CHAT, said("image_url", image_url={"url": "https://a.test/now.png"})),
    (Operation.CHAT, said("image_url", image_url="http://a.test/now.png")),
    (Operation.CHAT, said("video_url", video_url={"url": "HTTPS://a.test/now.mp4"})),
    (Operation.RESPONSES, {"input": said("input_image", image_url="s3://a/b")["messages"]}),
    (Operation.RESPONSES, {"input": said("input_file", file_url="https://a.test")["messages"]}),
    (
        Operation.RESPONSES,
        {"input": [{"output": [{"type": "input_image", "image_url": "https://a.test"}]}]},
    ),
    (Operation.MESSAGES, said("image", source={"type": "url", "url": "https://a.test/now.png"})),
    (
        Operation.MESSAGES,
        said(
            "tool_result",
            content=[{"type": "document", "source": {"type": "url", "url": "https://a.test"}}],
        ),
    ),
    (Operation.RESPONSES, {"previous_response_id": "resp_1"}),
    (Operation.RESPONSES, {"conversation": "conv_1"}),
    (Operation.RESPONSES, {"conversation": {"id": "conv_1"}}),
    (Operation.RESPONSES, {"background": True}),
    (Operation.RESPONSES, {"prompt": {"id": "pmpt_1"}}),
    (Operation.RESPONSES, {"store": True}),
    (Operation.RESPONSES, {"tools": [{"type": "function"}, {"type": "web_search_preview"}]}),
    (Operation.RESPONSES, {"tools": [{"type": "file_search"}]}),
    (Operation.RESPONSES, {"tools": [{"type": "mcp"}]}),
    (Operation.MESSAGES, {"container": "container_1"}),
    (Operation.MESSAGES, {"thread": {"type": "create"}}),
    (Operation.MESSAGES, {"mcp_servers": [{"name": "a"}]}),
    (Operation.MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    (Operation.MESSAGES, {"tools": [{"type": "code_execution_20250825"}]}),
]


@pytest.mark.parametrize(("operation", "body"), ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_what_goes_on_elsewhere_is_never_kept(operation: Operation, body: dict[str, Any]) -> None:
    assert outside(asked(body, operation)) is not None


WITHIN: list[tuple[Operation, dict[str, Any]]] = [
    *((operation, {}) for operation in Operation),
    (Operation.CHAT, {"store": False}),
    (Operation.CHAT, {"store": None, "web_search_options": None}),
    (Operation.CHAT, {"tools": [{"type": "function", "function": {"name": "web_search"}}]}),
    (Operation.CHAT, {"tools": "web_search"}),
    (Operation.CHAT, {"tools": [None, "web_search", {"type": None}]}),
    (Operation.COMPLETIONS, {"prompt": "of a completion"}),
    (Operation.RESPONSES, {"previous_response_id": None, "background": False, "store": False}),
    (Operation.CHAT, said("image_url", image_url={"url": "data:image/png;base64,AA=="})),
    (Operation.CHAT, said("text", text="https://a.test")),
    (Operation.CHAT, {"messages": "x", "plugins": [], "tools": [{"functions": {}}]}),
    (Operation.CHAT, {"messages": [1, {"content": [1, {"image_url": None}]}]}),
    (Operation.MESSAGES, said("tool_use", name="a", input={"url": "https://a.test"})),
    (Operation.MESSAGES, said("image", source={"type": "base64", "data": "AA=="})),
    (Operation.MESSAGES, {"tools": [{"type": "tool_search_tool_bm25_20251119"}]}),
    (Operation.MESSAGES, {"tools": [{"name": "web_search", "input_schema": {}}]}),
    (Operation.MESSAGES, {"tools": [{"type": "custom", "name": "a"}, {"type": "bash_20250124"}]}),
]


@pytest.mark.parametrize(("operation", "body"), WITHIN, ids=range(len(WITHIN)))
def test_what_stands_all_in_the_request_may_be_kept(
    operation: Operation, body: dict[str, Any]
) -> None:
    assert outside(asked(body, operation)) is None
