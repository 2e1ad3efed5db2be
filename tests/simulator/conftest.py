from collections.abc import Iterator

import anthropic
import openai
import pytest

from turnout.simulator.process import SimulatorProcess


@pytest.fixture(scope="session")
def running_simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess([], "--latency", "*=0") as process:
        yield process


@pytest.fixture
def simulator(running_simulator: SimulatorProcess) -> Iterator[SimulatorProcess]:
    running_simulator.clear_faults()
    running_simulator.clear_stats()
    yield running_simulator
    running_simulator.clear_faults()


@pytest.fixture
def client(simulator: SimulatorProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=simulator.base_url("openai"), api_key="sk-anything", max_retries=0, timeout=10
    ) as client:
        yield client


@pytest.fixture
def claude(simulator: SimulatorProcess) -> Iterator[anthropic.Anthropic]:
    root = simulator.base_url("anthropic").removesuffix("/v1")
    with anthropic.Anthropic(
        base_url=root,
        api_key="sk-ant-anything",
        max_retries=0,
        timeout=10,
        _strict_response_validation=True,
    ) as client:
        yield client
