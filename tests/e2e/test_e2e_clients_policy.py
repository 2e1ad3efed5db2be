"""Whatever protocol a client speaks: the policy sees the same, and its word is what counts."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Served
from turnout.simulator.process import SimulatorProcess

POLICY = """
version: 1
timezone: UTC
defaults: {retries: 0, backoff: 10ms}
routing_policy:
  - name: from_native
    condition: header["x-form"] == "from-native"
    route: anthropic/claude-haiku-4-5
    fallback: [openai/gpt-4o]
  - name: to_native
    condition: header["x-form"] == "to-native"
    route: openai/gpt-4o
    fallback: [anthropic/claude-haiku-4-5]
  - name: set
    condition: header["x-form"] == "set"
    route: requested
    set: {max_tokens: 20, user: chosen, reasoning_effort: none}
  - name: long
    condition: header["x-form"] == "seen" and tokens > 2000
    route: requested
  - name: shown
    condition: header["x-form"] == "seen" and has_images == true
    route: requested
  - name: armed
    condition: header["x-form"] == "seen" and has_tools == true
    route: requested
  - name: copied
    condition: header["x-form"] == "copy"
    route: requested
    mirror: {to: openai/gpt-4o, sample: 100%}
  - {name: default, route: requested}
"""
CLAUDE, GPT, TEXT = (
    "anthropic/claude-haiku-4-5",
    "openai/gpt-4o",
    "openai/gpt-3.5-turbo-instruct",
)
LONG = "word " * 3000


@pytest.fixture(scope="module")
def url(addresses: str, serve_for_all: Callable[..., Served]) -> str:
    return serve_for_all(POLICY + addresses).url


@pytest.fixture(autouse=True)
def no_faults(simulators: dict[str, SimulatorProcess]) -> Iterator[None]:
    yield
    for simulator in simulators.values():
        simulator.clear_faults()


def messages(model: str = CLAUDE, **members: Any) -> tuple[str, dict[str, Any]]:
    turns = [{"role": "user", "content": "hello brave world"}]
    return "/v1/messages", {"model": model, "max_tokens": 3000, "messages": turns, **members}


def responses(model: str = GPT, **members: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/responses", {"model": model, "input": "hello brave world", **members}


def completions(model: str = TEXT, **members: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/completions", {"model": model, "prompt": "hello brave world", **members}


def chat(model: str = GPT, **members: Any) -> tuple[str, dict[str, Any]]:
    turns = [{"role": "user", "content": "hello brave world"}]
    return "/v1/chat/completions", {"model": model, "messages": turns, **members}


def post(url: str, asked: tuple[str, dict[str, Any]], form: str = "") -> httpx.Response:
    path, body = asked
    return httpx.post(f"{url}{path}", json=body, headers={"x-form": form}, timeout=20)


def sent_to(simulators: dict[str, SimulatorProcess], provider: str) -> Any:
    body = simulators[provider].requests(1)[0]["body"]
    return json.loads(body) if isinstance(body, str) else body


def turn(*content: Any) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": "hi"}, *content]}]


def searched(text: str) -> dict[str, Any]:
    told = [{"type": "text", "text": text}]
    return {"type": "search_result", "source": "s", "title": "t", "content": told}


OUTPUT = {"type": "custom_tool_call_output", "call_id": "c", "output": LONG}
SEEN = [
    (messages(messages=turn(searched(LONG))), "long"),
    (responses(input=[{"role": "user", "content": "hi"}, OUTPUT]), "long"),
    (completions(suffix=LONG), "long"),
    (
        messages(messages=turn({"type": "image", "source": {"type": "file", "file_id": "f"}})),
        "shown",
    ),
    (
        responses(input=[{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]),
        "shown",
    ),
    (messages(tools=[{"type": "web_search_20250305", "name": "web_search"}]), "armed"),
    (responses(tools=[{"type": "web_search"}]), "armed"),
    (messages(), "default"),
]


@pytest.mark.parametrize(("asked", "rule"), SEEN, ids=lambda value: str(value)[:40])
def test_a_rule_sees_what_only_the_clients_protocol_has(
    url: str, asked: tuple[str, dict[str, Any]], rule: str
) -> None:
    assert post(url, asked, "seen").headers["x-turnout-rule"] == rule


def test_what_a_policy_sets_reaches_a_provider_in_its_own_words(
    url: str, simulators: dict[str, SimulatorProcess]
) -> None:
    thinking = {"type": "enabled", "budget_tokens": 2048}
    asked = messages(thinking=thinking, metadata={"user_id": "client"})
    assert post(url, asked, "set").status_code == 200
    body = sent_to(simulators, "anthropic")
    assert body["max_tokens"] == 20 and body["metadata"] == {"user_id": "chosen"}
    assert body["thinking"] == {"type": "disabled"}

    asked = responses(user="client", max_output_tokens=999, reasoning={"effort": "high"})
    assert post(url, asked, "set").status_code == 200
    body = sent_to(simulators, "openai")
    assert (body["max_output_tokens"], body["user"]) == (20, "chosen")
    assert body["reasoning"] == {"effort": "none"}

    answer = post(url, completions(user="client", max_tokens=999), "set")
    assert answer.headers["x-turnout-dropped"] == "reasoning_effort"
    body = sent_to(simulators, "openai")
    assert (body["max_tokens"], body["user"]) == (20, "chosen")


ASKED = {"messages": messages, "responses": responses, "completions": completions, "chat": chat}


def events_of(answer: httpx.Response) -> tuple[list[str], list[Any]]:
    """The names of the events and their data."""
    names: list[str] = []
    data: list[Any] = []
    for block in answer.text.strip().split("\n\n"):
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            (names if name == "event" else data).append(value)
    return names, data


@pytest.mark.parametrize("fault", ["status", "cut", "html"])
@pytest.mark.parametrize("form", ["from-native", "to-native"])
@pytest.mark.parametrize("protocol", ASKED)
def test_another_provider_answers_in_the_clients_protocol_alone(
    url: str, simulators: dict[str, SimulatorProcess], protocol: str, form: str, fault: str
) -> None:
    first = "anthropic" if form == "from-native" else "openai"
    last = GPT if form == "from-native" else CLAUDE
    faults: dict[str, Any] = {
        "status": {"kind": "status", "status": 503},
        "cut": {"kind": "cut", "after": 0},
        "html": {"kind": "malformed", "form": "html"},
    }
    for stream in (False, True):
        simulators[first].fault(faults[fault], times=1)
        answer = post(url, ASKED[protocol]("auto", stream=stream), form)
        assert answer.status_code == 200
        assert answer.headers["x-turnout-model"] == last
        assert answer.headers["x-turnout-attempts"] == "2"
        trace = httpx.get(f"{url}/v1/traces/{answer.headers['x-request-id']}", timeout=20).json()
        assert (trace["target"], trace["outcome"]) == (last, "ok")
        assert trace["tokens"]["output"] > 0 and float(trace["cost"]) > 0
        if not stream:
            kind = {"messages": "message", "responses": "response"}.get(protocol)
            told = answer.json()
            assert kind in (None, told.get("type"), told.get("object"))
            continue
        names, data = events_of(answer)
        if protocol == "messages":
            assert (names[0], names[-1]) == ("message_start", "message_stop")
            assert names.count("message_start") == 1
        elif protocol == "responses":
            assert (names[0], names[-1]) == ("response.created", "response.completed")
            numbers = [json.loads(one)["sequence_number"] for one in data]
            assert numbers == list(range(len(numbers)))
        else:
            assert not names and data[-1] == "[DONE]"
            kinds = {json.loads(one)["object"] for one in data[:-1]}
            expected = "chat.completion.chunk" if protocol == "chat" else "text_completion"
            assert kinds == {expected}


COPIES = {
    "messages": "/v1/chat/completions",
    "completions": "/v1/chat/completions",
    "responses": "/v1/responses",
}


@pytest.mark.parametrize(("protocol", "path"), COPIES.items())
def test_a_copy_goes_out_in_a_protocol_of_its_own_target(
    url: str, simulators: dict[str, SimulatorProcess], protocol: str, path: str
) -> None:
    marked = f"copy of {protocol}"
    prompts: dict[str, Any] = {
        "messages": {"messages": [{"role": "user", "content": marked}]},
        "completions": {"prompt": marked},
        "responses": {"input": marked},
    }
    answer = post(url, ASKED[protocol](CLAUDE, **prompts[protocol]), "copy")
    assert answer.status_code == 200 and answer.headers["x-turnout-model"] == CLAUDE
    for _ in range(500):
        copies = [one for one in simulators["openai"].requests(5) if marked in str(one["body"])]
        if copies:
            break
    assert [one["path"] for one in copies] == [path]
    # What the client is told is the answer itself.
    assert "claude-haiku-4-5" in answer.text


def test_a_body_that_says_it_twice_or_too_deep_is_refused_in_the_clients_protocol(
    url: str,
) -> None:
    deep = {"a": json.loads("[" * 230 + "]" * 230)}
    for asked in (messages(extra=deep), responses(extra=deep), completions(extra=deep)):
        answer = post(url, asked)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
    for path, body in (messages(), responses(), completions(), chat()):
        raw = json.dumps(body)[:-1] + ', "stream": true, "stream": false}'
        headers = {"content-type": "application/json"}
        answer = httpx.post(f"{url}{path}", content=raw, headers=headers, timeout=20)
        assert answer.status_code == 400
        assert "`stream` stands in the body more than once" in answer.json()["error"]["message"]
        assert (answer.json().get("type") == "error") is (path == "/v1/messages")
