"""Calls of tools, thoughts and refusals given again: the official SDKs see the very same answer.

Whether the first answer was streamed or not, and whether the second is.
"""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest

from benchmarks.processes import GatewayProcess
from turnout.simulator.process import SimulatorProcess

MODELS = {"openai": "openai/gpt-4o", "anthropic": "anthropic/claude-sonnet-4-5"}
POLICY = """
breakers: {{failures: 1000}}
cache: {{ttl: 1h, only: tokens >= 0}}
routing_policy:
  - {{name: asked, route: requested}}
providers:
  openai: {{base_url: '{openai}'}}
  anthropic: {{base_url: '{anthropic}'}}
"""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NAMES = ("weather", "news")
CHAT_TOOLS = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in NAMES]
FLAT_TOOLS = [{"type": "function", "name": n, "parameters": SCHEMA} for n in NAMES]
GIVEN_TOOLS = [{"name": n, "input_schema": SCHEMA} for n in NAMES]
# Made anew by the gateway for each request, where it translates, or by an SDK.
_FRESH = frozenset(("id", "created_at", "parsed", "parsed_arguments", "parsed_output"))


class Client:
    """The official SDKs over one gateway; `results` is what each answer says of the cache."""

    def __init__(self, url: str) -> None:
        self.results: list[str] = []
        hooks: Any = {"response": [self._note]}
        self._openai: Any = openai.OpenAI(
            base_url=f"{url}/v1",
            api_key="none",
            http_client=openai.DefaultHttpxClient(event_hooks=hooks),
            max_retries=0,
        )
        self._anthropic: Any = anthropic.Anthropic(
            base_url=url,
            api_key="none",
            http_client=anthropic.DefaultHttpxClient(event_hooks=hooks),
            max_retries=0,
        )

    def _note(self, response: Any) -> None:
        self.results.append(response.headers.get("x-turnout-cache", str(response.status_code)))

    def chat(self, stream: bool, text: str, **more: Any) -> Any:
        asked = {"messages": [{"role": "user", "content": text}], **more}
        completions = self._openai.chat.completions
        if not stream:
            return completions.create(**asked)
        with completions.stream(**asked, stream_options={"include_usage": True}) as events:
            return events.get_final_completion()

    def responses(self, stream: bool, text: str, **more: Any) -> Any:
        if not stream:
            return self._openai.responses.create(input=text, **more)
        with self._openai.responses.stream(input=text, **more) as events:
            return events.get_final_response()

    def messages(self, stream: bool, text: str, **more: Any) -> Any:
        asked = {"messages": [{"role": "user", "content": text}], "max_tokens": 4096, **more}
        if not stream:
            return self._anthropic.messages.create(**asked)
        with self._anthropic.messages.stream(**asked) as events:
            return events.get_final_message()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with SimulatorProcess([*MODELS], "--latency", "*=5ms/1ms") as simulator:
        urls = {name: simulator.base_url(name) for name in MODELS}
        with GatewayProcess(POLICY.format(**urls)) as gateway:
            yield Client(f"http://127.0.0.1:{gateway.port}")


THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
EFFORT = {"reasoning": {"effort": "low", "summary": "auto"}}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "chat": ("chat", "hello", {}),
    "chat_that_calls": ("chat", "call weather and call news", {"tools": CHAT_TOOLS}),
    "chat_of_two": ("chat", "hello", {"n": 2}),
    "responses": ("responses", "hello", {}),
    "responses_that_call": ("responses", "call weather and call news", {"tools": FLAT_TOOLS}),
    "responses_that_refuse": ("responses", "refuse", {}),
    "messages": ("messages", "hello", {}),
    "messages_that_call": ("messages", "call weather and call news", {"tools": GIVEN_TOOLS}),
    "messages_that_think": ("messages", "hello", THINKING),
}
ONLY_NATIVE = {"chat_of_two": "openai", "responses_that_refuse": "openai"}
ASKED = [
    pytest.param(case, provider, id=f"{case}-{provider}")
    for case in CASES
    for provider in MODELS
    if ONLY_NATIVE.get(case, provider) == provider
    and (case, provider) != ("messages_that_think", "openai")
]


@pytest.mark.parametrize("first", [False, True], ids=["first_whole", "first_streamed"])
@pytest.mark.parametrize(("case", "provider"), ASKED)
def test_an_answer_given_again_is_the_same_to_the_official_sdk(
    client: Client, case: str, provider: str, first: bool
) -> None:
    protocol, text, more = CASES[case]
    ask: Callable[..., Any] = getattr(client, protocol)
    text = f"{text} ({case} of {provider}, {first})"
    client.results.clear()
    answers = [
        settled(ask(stream, text, model=MODELS[provider], **more).model_dump(warnings=False))
        for stream in (first, not first, first)
    ]
    assert client.results == ["MISS", "HIT", "HIT"]
    assert answers[0] == answers[1] == answers[2]


def settled(value: Any) -> Any:
    """Without what is made anew each time, and what is not there."""
    if isinstance(value, list):
        return [settled(one) for one in value]
    if not isinstance(value, dict):
        return value
    told = {name: settled(one) for name, one in value.items() if name not in _FRESH}
    if "arguments" in told and "name" in told:
        told.pop("index", None)  # of a call, as the SDK leaves it in what was streamed
    if isinstance(told.get("function"), dict):
        told.pop("index", None)
    return {name: one for name, one in told.items() if one not in (None, [])}
