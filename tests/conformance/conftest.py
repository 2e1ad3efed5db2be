"""One gateway over simulated providers, and what it answers to the whole suite."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from tests.e2e.conftest import Served, start
from turnout.conformance.api import Target
from turnout.conformance.run import Result, run
from turnout.conformance.suite import cases
from turnout.simulator.process import SimulatorProcess

from .spoiling import Recorder

PROVIDERS = ("openai", "anthropic", "gemini", "cohere", "bedrock", "groq", "ollama")
KEY = "tk-conformance-key-of-these-tests"


@pytest.fixture(scope="session")
def simulated() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(PROVIDERS, "--latency", "*=0ms") as simulator:
        yield simulator


@pytest.fixture(scope="session")
def gateway(
    simulated: SimulatorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    rows = [f"  {n}: {{base_url: '{simulated.base_url(n)}'}}\n" for n in PROVIDERS]
    policy = "routing_policy:\n  - {name: all, route: requested}\nproviders:\n" + "".join(rows)
    names = [*(f"{n.upper()}_API_KEY" for n in PROVIDERS), "AWS_BEARER_TOKEN_BEDROCK"]
    keys = dict.fromkeys(names, "simulated")
    served = start(tmp_path_factory.mktemp("conformance"), policy, **keys)
    yield served
    assert served.stop() == 0
    assert "ERROR" not in served.log.read_text()


@dataclass
class Clean:
    """The suite's outcome in front of the gateway, and every answer it was made of."""

    target: Target
    results: list[Result]
    recorder: Recorder = field(repr=False)


@pytest.fixture(scope="session")
def clean(gateway: Served) -> Clean:
    target = Target(f"{gateway.url}/v1", "gpt-4o", KEY, "text-embedding-3-small")
    recorder = Recorder(httpx.AsyncHTTPTransport())
    return Clean(target, asyncio.run(run(target, cases(), transport=recorder)), recorder)
