"""A tool loop with thinking that changes its provider in the middle, by Anthropic's own client."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.e2e.conftest import Served, providers_of, start
from turnout.simulator.process import SimulatorProcess

ANTHROPIC = "anthropic/claude-haiku-4-5"
GEMINI = "gemini/gemini-2.5-flash"
BEDROCK = "bedrock/anthropic.claude-haiku-4-5-20251001-v1:0"
POLICY = f"""\
routing_policy:
  - name: chained
    condition: header["x-form"] == "chain"
    route: {ANTHROPIC}
    fallback: [{GEMINI}]
  - {{name: asked, route: requested}}
targets:
  "{BEDROCK}": {{price: 0, context_window: 200k}}
"""
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
TOOLS: Any = [
    {
        "name": "weather",
        "description": "Tells the weather.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(["anthropic", "gemini", "bedrock"], "--latency", "*=0") as playing:
        yield playing


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: SimulatorProcess
) -> Iterator[Served]:
    providers = providers_of(dict.fromkeys(("anthropic", "gemini", "bedrock"), simulator))
    environment = {
        "GEMINI_API_KEY": "simulated",
        "AWS_BEARER_TOKEN_BEDROCK": "simulated",
        "AWS_REGION": "us-east-1",
    }
    served = start(tmp_path_factory.mktemp("thinking"), POLICY + providers, **environment)
    yield served
    assert served.stop() == 0


@pytest.fixture
def client(gateway: Served, simulator: SimulatorProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0) as made:
        yield made
    simulator.clear_faults()


def asked(model: str, *more: Any, **extra: Any) -> dict[str, Any]:
    first = {"role": "user", "content": "call weather in Oslo"}
    told: dict[str, Any] = {"model": model, "max_tokens": 2000, "tools": TOOLS}
    return {**told, "thinking": THINKING, "messages": [first, *more], **extra}


def went_on(message: Any) -> list[Any]:
    """The turns after a call: the model's, as its client keeps it, and the tool's result."""
    (used,) = [block for block in message.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": used.id, "content": "sunny"}
    return [
        {"role": "assistant", "content": [block.to_dict() for block in message.content]},
        {"role": "user", "content": [result]},
    ]


def test_a_loop_that_gemini_began_goes_on_at_anthropic_without_thinking(
    client: anthropic.Anthropic, simulator: SimulatorProcess, gateway: Served
) -> None:
    simulator.fault({"kind": "status", "status": 500}, model="anthropic/*")
    chained = {"extra_headers": {"x-form": "chain"}}
    first = client.messages.with_raw_response.create(**asked(ANTHROPIC, **chained))
    assert first.headers["x-turnout-model"] == GEMINI
    assert f"{ANTHROPIC} failed: 5xx, status 500" in gateway.log.read_text()
    simulator.clear_faults()
    again = client.messages.with_raw_response.create(
        **asked(ANTHROPIC, *went_on(first.parse()), **chained)
    )
    assert again.headers["x-turnout-model"] == ANTHROPIC
    assert again.headers["x-turnout-dropped"] == "thinking"
    assert again.parse().stop_reason == "end_turn"


@pytest.mark.parametrize(("begins", "ends"), [(ANTHROPIC, BEDROCK), (BEDROCK, ANTHROPIC)])
def test_claudes_signatures_count_wherever_claude_is(
    client: anthropic.Anthropic, begins: str, ends: str
) -> None:
    first = client.messages.with_raw_response.create(**asked(begins))
    assert "x-turnout-dropped" not in first.headers
    message = first.parse()
    assert message.content[0].type == "thinking" and message.content[0].signature
    again = client.messages.with_raw_response.create(**asked(ends, *went_on(message)))
    assert "x-turnout-dropped" not in again.headers
    assert again.headers["x-turnout-model"] == ends
    assert again.parse().stop_reason == "end_turn"
