"""How many upstream calls one call of the real SDK can become: its retries, ours and the hops."""

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.e2e.conftest import Served, providers_of, start
from turnout.simulator.process import SimulatorProcess

SDK_RETRIES = 2  # the SDK's own default
RETRIES = 2
POLICY = f"""\
defaults: {{retries: {RETRIES}, backoff: 1ms}}
breakers: {{failures: 1000}}
routing_policy:
  - {{name: one, condition: model == "gpt-4", route: openai/gpt-4, retries: 0}}
  - {{name: more, condition: true, route: openai/gpt-4o}}
fallback_chain:
  - {{to: groq/llama-3-70b, when: model != "gpt-4"}}
  - {{to: anthropic/claude-sonnet-4-5, when: model != "gpt-4"}}
"""
PLAYED = ("openai", "groq", "anthropic")
# One gateway request: (1 + retries) at each of three hops. The SDK is then told not to ask again.
AT_MOST = (1 + RETRIES) * len(PLAYED)


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(PLAYED, "--latency", "*=1ms/100us") as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: SimulatorProcess
) -> Iterator[Served]:
    addresses = providers_of(dict.fromkeys(PLAYED, simulator))
    served = start(tmp_path_factory.mktemp("amplified"), POLICY + addresses)
    yield served
    assert served.stop() == 0


@pytest.fixture
def asked(gateway: Served, simulator: SimulatorProcess) -> Iterator[Callable[..., int]]:
    """Call the SDK once while every provider fails so; how many calls went upstream."""

    def ask(model: str, stream: bool, **fault: Any) -> int:
        simulator.clear_stats()
        simulator.fault({"kind": "status", **fault})
        with OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=SDK_RETRIES) as client:
            with pytest.raises(openai.APIStatusError):
                client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": "hello"}], stream=stream
                )
        return sum(one["requests"] for one in simulator.stats()["models"].values())

    yield ask
    simulator.clear_faults()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_upstream_that_always_fails_is_called_no_more_than_the_policy_says(
    asked: Callable[..., int], stream: bool
) -> None:
    assert asked("gpt-4o", stream, status=500) == AT_MOST


def test_what_was_tried_once_only_is_left_to_the_sdk(asked: Callable[..., int]) -> None:
    assert asked("gpt-4", False, status=500) == 1 + SDK_RETRIES


def test_what_the_sdk_repeats_is_tried_once_at_each_hop(asked: Callable[..., int]) -> None:
    # It is told when to come back, and does; from then on it is the one that tries again.
    calls = asked("gpt-4o", False, status=503, retry_after=1)
    assert calls <= AT_MOST + SDK_RETRIES * len(PLAYED)
