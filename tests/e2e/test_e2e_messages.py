"""Anthropic's own client through the gateway, over sockets, with strict types.

Anthropic answers in the protocol itself, OpenAI and Groq in translation: the client cannot tell.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from anthropic.types import Message, TextBlock, ToolUseBlock
from pydantic import BaseModel

from tests.e2e.conftest import Served
from turnout.simulator.anthropic_answer import REFUSE, SEAL
from turnout.simulator.process import SimulatorProcess

NATIVE, OPENAI, GROQ = "anthropic/claude-haiku-4-5", "openai/gpt-4o", "groq/llama-3.1-8b-instant"
TARGETS = (NATIVE, OPENAI, GROQ)
TRANSLATED = (OPENAI, GROQ)
SEEING = (NATIVE, OPENAI)
POLICY = """
version: 1
timezone: UTC
defaults: {retries: 0, backoff: 10ms}
breakers: {failures: 1000}
routing_policy:
  - name: chained
    condition: header["x-form"] == "chain"
    route: anthropic/claude-haiku-4-5
    fallback: [groq/llama-3.1-8b-instant]
  - name: set
    condition: header["x-form"] == "set"
    route: anthropic/claude-haiku-4-5
    set: {max_tokens: 20, temperature: 0.5}
  - {name: default, route: requested}
"""
ROAD = "data:image/png;base64,iVBORw0KGgo="


def tool(name: str, parameter: str) -> Any:
    return {
        "name": name,
        "description": f"Tells the {name}.",
        "input_schema": {
            "type": "object",
            "properties": {parameter: {"type": "string"}},
            "required": [parameter],
        },
    }


TOOLS: Any = [tool("weather", "city"), tool("clock", "zone")]


@pytest.fixture(scope="module")
def url(addresses: str, serve_for_all: Callable[..., Served]) -> str:
    return serve_for_all(POLICY + addresses).url


@pytest.fixture(autouse=True)
def no_faults(simulators: dict[str, SimulatorProcess]) -> Iterator[None]:
    yield
    for simulator in simulators.values():
        simulator.clear_faults()


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=url, api_key="k", max_retries=0, timeout=20, _strict_response_validation=True
    ) as made:
        yield made


@pytest.fixture(scope="module")
def chat(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=20) as made:
        yield made


def asked(model: str, prompt: str = "hello brave world", **members: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": prompt}]
    return {"model": model, "max_tokens": 300, "messages": turns, **members}


def whole_and_streamed(
    client: anthropic.Anthropic, body: dict[str, Any]
) -> tuple[Message, Message]:
    """The answer in one piece, and as the client adds it up from its events."""
    whole = client.messages.create(**body)
    open_block = None
    with client.messages.stream(**body) as stream:
        for event in stream:
            if event.type == "content_block_start":
                assert open_block is None, "a block begins in another one"
                open_block = event.index
            elif event.type == "content_block_delta":
                assert event.index == open_block
            elif event.type == "content_block_stop":
                assert event.index == open_block
                open_block = None
        streamed = stream.get_final_message()
    return whole, streamed


def shape(message: Message) -> Any:
    """What two answers to one request have in common: all but ids and what is counted."""
    told = message.to_dict()
    blocks: Any = [
        {name: value for name, value in block.items() if name != "id" and value is not None}
        for block in told["content"]  # type: ignore[attr-defined]
    ]
    usage: Any = told["usage"]
    counted = (usage["input_tokens"], usage["output_tokens"])
    return (blocks, message.stop_reason, message.model, message.role, counted)


def last_body(simulators: dict[str, SimulatorProcess], target: str) -> Any:
    provider = target.partition("/")[0]
    body = simulators[provider].requests(1)[0]["body"]
    return json.loads(body) if isinstance(body, str) else body


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", TARGETS)
def test_a_message_and_its_stream_are_the_same(client: anthropic.Anthropic, model: str) -> None:
    whole, streamed = whole_and_streamed(client, asked(model, system="Be brief."))
    assert shape(whole) == shape(streamed)
    block = whole.content[0]
    assert isinstance(block, TextBlock) and "brave world" in block.text
    assert whole.model == model and whole.id.startswith("msg_")
    assert whole.stop_reason == "end_turn"
    assert whole.usage.input_tokens > 0 and whole.usage.output_tokens > 0
    assert whole._request_id is not None and whole._request_id.startswith("req_")


@pytest.mark.parametrize("model", TARGETS)
def test_a_limit_cuts_and_says_so(client: anthropic.Anthropic, model: str) -> None:
    whole, streamed = whole_and_streamed(client, {**asked(model), "max_tokens": 4})
    assert whole.stop_reason == streamed.stop_reason == "max_tokens"
    assert whole.usage.output_tokens == streamed.usage.output_tokens == 4


@pytest.mark.parametrize("model", TARGETS)
def test_a_tool_is_called_and_its_result_answered(client: anthropic.Anthropic, model: str) -> None:
    body = asked(model, "call weather in Oslo", tools=TOOLS)
    for message in whole_and_streamed(client, body):
        used = message.content[-1]
        assert isinstance(used, ToolUseBlock) and message.stop_reason == "tool_use"
        assert (used.name, used.input) == ("weather", {"city": "Oslo"})
        shown: list[Any] = [{"type": "text", "text": "rain in Oslo"}]
        if model in SEEING:
            source = {"type": "url", "url": "https://img.example/a.png"}
            shown.append({"type": "image", "source": source})
        result = {"type": "tool_result", "tool_use_id": used.id, "content": shown}
        turns = [
            *body["messages"],
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [result]},
        ]
        after = client.messages.create(**{**body, "messages": turns})
        assert after.stop_reason == "end_turn"


def test_several_tools_are_called_at_once(client: anthropic.Anthropic) -> None:
    body = asked(NATIVE, "call weather and clock in Oslo", tools=TOOLS)
    for message in whole_and_streamed(client, body):
        used = [block for block in message.content if isinstance(block, ToolUseBlock)]
        assert [block.name for block in used] == ["weather", "clock"]
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "x"} for block in used
        ]
        turns = [
            *body["messages"],
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": results},
        ]
        for model in TARGETS:
            after = client.messages.create(**{**body, "model": model, "messages": turns})
            assert after.stop_reason == "end_turn"


@pytest.mark.parametrize("model", TARGETS)
def test_a_tool_can_be_forced_and_forbidden(client: anthropic.Anthropic, model: str) -> None:
    forced = asked(model, "in Oslo", tools=TOOLS, tool_choice={"type": "tool", "name": "clock"})
    used = client.messages.create(**forced).content[-1]
    assert isinstance(used, ToolUseBlock) and used.name == "clock"
    none = asked(model, "call clock", tools=TOOLS, tool_choice={"type": "none"})
    assert client.messages.create(**none).stop_reason == "end_turn"


@pytest.mark.parametrize("model", SEEING)
def test_an_image_and_a_form_are_understood(
    client: anthropic.Anthropic, simulators: dict[str, SimulatorProcess], model: str
) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "what is it"}]
    schema = {
        "type": "object",
        "properties": {"thing": {"type": "string"}},
        "required": ["thing"],
        "additionalProperties": False,
    }
    body = asked(model, output_config={"format": {"type": "json_schema", "schema": schema}})
    body["messages"] = [{"role": "user", "content": content}]
    for message in whole_and_streamed(client, body):
        block = message.content[0]
        assert isinstance(block, TextBlock)
        assert json.loads(block.text) == {"thing": "it"}
    if model in TRANSLATED:
        part = last_body(simulators, model)["messages"][0]["content"][0]
        assert part == {"type": "image_url", "image_url": {"url": ROAD}}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", TARGETS)
def test_what_was_used_is_paid_for(
    client: anthropic.Anthropic, url: str, model: str, stream: bool
) -> None:
    raw = client.messages.with_raw_response.create(**asked(model), stream=stream)
    answered: Any = raw.parse()
    usage = client.messages.create(**asked(model)).usage if stream else answered.usage
    if stream:
        assert raw.headers["x-turnout-model"] == model
        told = [event.usage for event in answered if event.type == "message_delta"]
        assert told[-1].output_tokens == usage.output_tokens
    counted = (usage.input_tokens, usage.output_tokens)
    trace = httpx.get(f"{url}/v1/traces/{raw.headers['request-id']}", timeout=20).json()
    assert (trace["tokens"]["input"], trace["tokens"]["output"]) == counted
    assert float(trace["cost"]) > 0
    assert trace["target"] == model


class Place(BaseModel):
    city: str


@pytest.mark.parametrize("model", (NATIVE, OPENAI))
def test_the_clients_helpers_for_forms_and_tools_work(
    client: anthropic.Anthropic, model: str
) -> None:
    parsed = client.messages.parse(**asked(model, "where is Oslo"), output_format=Place)
    assert parsed.parsed_output == Place(city="Oslo")
    seen: list[str] = []

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Tells the weather."""
        seen.append(city)
        return f"rain in {city}"

    runner = client.beta.messages.tool_runner(
        **asked(model, "call weather in Oslo"), tools=[weather]
    )
    last = runner.until_done()
    assert seen == ["Oslo"] and last.stop_reason == "end_turn"


# --- thinking ------------------------------------------------------------------------------------

THINKING: dict[str, Any] = {"type": "enabled", "budget_tokens": 1024}


def thinking_body(model: str, prompt: str) -> dict[str, Any]:
    return {**asked(model, prompt, tools=TOOLS, thinking=THINKING), "max_tokens": 3000}


@pytest.mark.parametrize("prompt", ["call weather in Oslo", f"{SEAL}46C9 call weather in Oslo"])
def test_a_thought_goes_out_and_comes_back_in_its_own_protocol(
    client: anthropic.Anthropic, prompt: str
) -> None:
    body = thinking_body(NATIVE, prompt)
    for message in whole_and_streamed(client, body):
        assert message.content[0].type in ("thinking", "redacted_thinking")
        used = message.content[-1]
        assert isinstance(used, ToolUseBlock)
        result = {"type": "tool_result", "tool_use_id": used.id, "content": "rain"}
        turns = [
            *body["messages"],
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [result]},
        ]
        after = client.messages.create(**{**body, "messages": turns})
        assert after.content[0].type == "thinking"


@pytest.mark.parametrize("prompt", ["call weather in Oslo", f"{SEAL}46C9 call weather in Oslo"])
def test_a_thought_goes_out_and_comes_back_through_chat(
    chat: openai.OpenAI, simulators: dict[str, SimulatorProcess], prompt: str
) -> None:
    function = {**TOOLS[0], "parameters": TOOLS[0]["input_schema"]}
    del function["input_schema"]
    body: dict[str, Any] = {
        "model": NATIVE,
        "max_completion_tokens": 3000,
        "reasoning_effort": "minimal",
        "messages": [{"role": "user", "content": prompt}],
        "tools": [{"type": "function", "function": function}],
    }
    whole = chat.chat.completions.create(**body).choices[0].message.to_dict()
    with chat.chat.completions.stream(**body) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_completion().choices[0].message.to_dict()
    assert whole["thinking_blocks"] == streamed["thinking_blocks"]
    for message in (whole, streamed):
        calls: Any = message["tool_calls"]
        answer = {
            name: message[name] for name in ("role", "content", "tool_calls", "thinking_blocks")
        }
        result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": "rain"}
        turns = [*body["messages"], answer, result]
        after = chat.chat.completions.with_raw_response.create(**{**body, "messages": turns})
        assert "x-turnout-dropped" not in after.headers
        assert last_body(simulators, NATIVE)["thinking"] == THINKING
        # Without its blocks the model cannot think on, and the request is answered all the same.
        del answer["thinking_blocks"]
        turns = [*body["messages"], answer, result]
        after = chat.chat.completions.with_raw_response.create(**{**body, "messages": turns})
        assert after.headers["x-turnout-dropped"] == "reasoning_effort"


def test_anothers_thought_does_not_reach_anthropic(
    client: anthropic.Anthropic, simulators: dict[str, SimulatorProcess]
) -> None:
    unsigned = {"type": "thinking", "thinking": "hm", "signature": ""}
    body = asked(NATIVE)
    body["messages"] = [
        *body["messages"],
        {"role": "assistant", "content": [unsigned, {"type": "text", "text": "well"}]},
        *body["messages"],
    ]
    assert client.messages.create(**body).stop_reason == "end_turn"
    sent = last_body(simulators, NATIVE)["messages"][1]["content"]
    assert [block["type"] for block in sent] == ["text"]


# --- what passes through -------------------------------------------------------------------------


def test_a_body_leaves_for_anthropic_as_it_came_but_for_its_model(
    url: str, simulators: dict[str, SimulatorProcess]
) -> None:
    body = (
        '{ "max_tokens":30 , "model" : "anthropic/claude-haiku-4-5",\n "messages": [{"role":'
        '"user","content":"h\\u00e9"}],"future_thing":{"a":1.0,"b":[1e2]}}'
    )
    answer = httpx.post(
        f"{url}/v1/messages",
        content=body,
        headers={
            "content-type": "application/json",
            "anthropic-beta": "a-2026-01-01,b-2026-02-02",
            "anthropic-version": "2023-06-01",
            "anthropic-dangerous": "x",
            "x-api-key": "tk_mine",
        },
        timeout=20,
    )
    assert answer.status_code == 200
    request = simulators["anthropic"].requests(1)[0]
    sent = request["body"]
    expected = body.replace("anthropic/claude-haiku-4-5", "claude-haiku-4-5")
    assert sent == (expected if isinstance(sent, str) else json.loads(expected))
    assert request["headers"]["anthropic-beta"] == "a-2026-01-01,b-2026-02-02"
    assert "tk_mine" not in str(request)
    assert "anthropic-dangerous" not in request["headers"]
    assert answer.json()["model"] == "anthropic/claude-haiku-4-5"
    assert answer.headers["request-id"] == answer.headers["x-request-id"]


def test_a_policy_sets_what_anthropic_calls_otherwise(
    client: anthropic.Anthropic, simulators: dict[str, SimulatorProcess]
) -> None:
    client.messages.create(**asked("auto"), extra_headers={"x-form": "set"})
    body = last_body(simulators, NATIVE)
    assert (body["max_tokens"], body["temperature"]) == (20, 0.5)


def test_a_server_tool_is_anthropics_alone(client: anthropic.Anthropic) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    assert client.messages.create(**asked(NATIVE, tools=[search])).stop_reason == "end_turn"
    for model in TRANSLATED:
        with pytest.raises(anthropic.BadRequestError, match=r"`tools\[0\]` is not supported"):
            client.messages.create(**asked(model, tools=[search]))


def test_what_only_steers_anthropic_is_named_elsewhere(client: anthropic.Anthropic) -> None:
    body = asked(GROQ, service_tier="standard_only", speed="fast")
    answer = client.messages.with_raw_response.create(**body)
    assert answer.headers["x-turnout-dropped"].split(",") == ["service_tier", "speed"]


def test_a_cached_prompt_is_counted_in_both_conventions(
    client: anthropic.Anthropic, chat: openai.OpenAI
) -> None:
    long = " ".join(f"phrase{number}" for number in range(700))
    mark = {"type": "ephemeral"}
    body = asked(NATIVE, system=[{"type": "text", "text": long, "cache_control": mark}])
    first, second = (client.messages.create(**body).usage for _ in range(2))
    assert first.cache_creation_input_tokens == second.cache_read_input_tokens
    part: Any = {"type": "text", "text": long, "cache_control": mark}
    usage = chat.chat.completions.create(
        model=NATIVE,
        messages=[
            {"role": "system", "content": [part]},
            {"role": "user", "content": "hello brave world"},
        ],
    ).usage
    assert usage is not None and usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == second.cache_read_input_tokens
    assert usage.prompt_tokens == second.input_tokens + (second.cache_read_input_tokens or 0)


def test_a_refusal_is_one_in_both_protocols(
    client: anthropic.Anthropic, chat: openai.OpenAI
) -> None:
    prompt = f"{REFUSE}1FAE please"
    for message in whole_and_streamed(client, asked(NATIVE, prompt)):
        assert message.stop_reason == "refusal" and message.stop_details is not None
    choice = chat.chat.completions.create(
        model=NATIVE, messages=[{"role": "user", "content": prompt}]
    ).choices[0]
    assert choice.finish_reason == "content_filter" and choice.message.refusal


# --- counts and models ---------------------------------------------------------------------------


def test_tokens_are_counted_by_the_provider_or_by_us(client: anthropic.Anthropic) -> None:
    members = {name: value for name, value in asked(NATIVE).items() if name != "max_tokens"}
    theirs = client.messages.with_raw_response.count_tokens(**members)
    used = client.messages.create(**asked(NATIVE)).usage
    assert theirs.headers["x-turnout-count"] == "provider"
    assert theirs.parse().input_tokens == used.input_tokens
    ours = client.messages.with_raw_response.count_tokens(**{**members, "model": GROQ})
    assert ours.headers["x-turnout-count"] == "estimated"
    assert abs(ours.parse().input_tokens - used.input_tokens) <= 1


def test_models_are_listed_page_by_page(client: anthropic.Anthropic) -> None:
    names = [model.id for model in client.models.list(limit=7)]
    assert {"auto", NATIVE} <= set(names) and len(set(names)) == len(names) > 14
    assert client.models.retrieve(NATIVE).id == NATIVE
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("no/such")


# --- failures ------------------------------------------------------------------------------------

FAILURES: list[tuple[str, dict[str, Any], type[anthropic.APIStatusError], str]] = [
    ("no-such-model", {}, anthropic.NotFoundError, "not_found_error"),
    (NATIVE, {"status": 429, "retry_after": 7}, anthropic.RateLimitError, "rate_limit_error"),
    (NATIVE, {"status": 529}, anthropic.ServiceUnavailableError, "overloaded_error"),
    (OPENAI, {"status": 503}, anthropic.ServiceUnavailableError, "overloaded_error"),
    (NATIVE, {"status": 500}, anthropic.InternalServerError, "api_error"),
    (GROQ, {"status": 401}, anthropic.InternalServerError, "api_error"),
    (OPENAI, {"status": 400}, anthropic.BadRequestError, "invalid_request_error"),
    (NATIVE, {"status": 413}, anthropic.BadRequestError, "invalid_request_error"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("model", "status", "raised", "kind"), FAILURES, ids=[f"{c[0]}-{c[1]}" for c in FAILURES]
)
def test_a_failure_is_told_as_anthropic_tells_it(
    client: anthropic.Anthropic,
    simulators: dict[str, SimulatorProcess],
    model: str,
    status: dict[str, Any],
    raised: type[anthropic.APIStatusError],
    kind: str,
    stream: bool,
) -> None:
    if "retry_after" in status:
        # A target that asks for a pause is left alone meanwhile: one for each way of asking.
        model = "anthropic/claude-opus-4-1" if stream else "anthropic/claude-sonnet-4-5"
    if status:
        simulators[model.partition("/")[0]].fault({"kind": "status", **status})
    with pytest.raises(raised) as caught:
        client.messages.create(**asked(model), stream=stream)
    error = caught.value
    assert error.type == kind
    assert error.request_id is not None and error.request_id.startswith("req_")
    body: Any = error.body
    assert body["type"] == "error" and body["request_id"] == error.request_id
    assert set(body["error"]) <= {"type", "message", "details"}
    if "retry_after" in status:
        assert error.response.headers["retry-after"] == "7"


def test_a_body_of_the_wrong_shape_is_refused_by_the_gateway_itself(url: str) -> None:
    for body, where in [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'{"model":"auto"}', "messages: Field required"),
        (b'{"model":"auto","messages":[{"role":"user","content":"x"}]}', "max_tokens"),
        (b'{"model":"auto","max_tokens":1,"messages":[{"role":"x"}]}', "messages.0.role"),
    ]:
        answer = httpx.post(
            f"{url}/v1/messages", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400
        told = answer.json()
        assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
        assert where in told["error"]["message"]
        assert told["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize("model", TARGETS)
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "unfinished", "after": 6},
        {"kind": "cut", "after": 6},
        {"kind": "cut", "after": 6, "by": "rst"},
        {"kind": "error_event", "after": 6},
        {"kind": "malformed", "form": "chunk", "after": 6},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_a_stream_that_breaks_off_raises(
    client: anthropic.Anthropic,
    simulators: dict[str, SimulatorProcess],
    model: str,
    fault: dict[str, Any],
) -> None:
    simulators[model.partition("/")[0]].fault(fault)
    seen = 0
    with pytest.raises(anthropic.APIStatusError) as caught:
        for _ in client.messages.create(**asked(model), stream=True):
            seen += 1
    assert seen >= 3, "the client saw how it began"
    assert caught.value.type in ("api_error", "overloaded_error")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_next_hop_answers_in_translation_where_anthropic_is_down(
    client: anthropic.Anthropic, simulators: dict[str, SimulatorProcess], stream: bool
) -> None:
    simulators["anthropic"].fault({"kind": "status", "status": 500})
    body = asked("auto", extra_headers={"x-form": "chain"})
    if stream:
        with client.messages.stream(**body) as events:
            message = events.get_final_message()
    else:
        message = client.messages.create(**body)
    block = message.content[0]
    assert isinstance(block, TextBlock) and "llama" in block.text
    assert message.model == "auto"
