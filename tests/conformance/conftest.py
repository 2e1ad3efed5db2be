"""One gateway over simulated providers, and what it answers to the whole suite."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Served, start
from turnout.adapters import PROVIDERS
from turnout.conformance.api import Target
from turnout.conformance.run import Result, run
from turnout.conformance.suite import cases
from turnout.simulator.process import SimulatorProcess

from .spoiling import Recorder

# A model of each kind with tools, one that makes embeddings where the kind has any, and how many
# cases are passed over for which reason. `WRITE_GOLDEN=1` writes the last; read the diff.
KINDS_FILE = Path(__file__).with_name("kinds.json")
KINDS: dict[str, dict[str, Any]] = json.loads(KINDS_FILE.read_text())
KEY = "tk-conformance-key-of-these-tests"


@pytest.fixture(scope="session")
def simulated() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(list(PROVIDERS), "--latency", "*=0ms") as simulator:
        yield simulator


@pytest.fixture(scope="session")
def gateway(
    simulated: SimulatorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    rows = [f"  {n}: {{base_url: '{simulated.base_url(n)}'}}\n" for n in PROVIDERS]
    deployments = f"{simulated.base_url('azure')}/openai"
    rows.append(f"  deployed: {{kind: azure, base_url: '{deployments}'}}\n")
    policy = "routing_policy:\n  - {name: all, route: requested}\nproviders:\n" + "".join(rows)
    # A deployment of Azure's, or a model that the price list has not, has no price of its own.
    models = ["deployed/gpt-4o", *(f"{name}/{row['model']}" for name, row in KINDS.items())]
    models += [f"{n}/{one}" for n, row in KINDS.items() if (one := row["embedding_model"])]
    policy += "targets:\n" + "".join(f"  '{one}': {{price: 0}}\n" for one in models)
    keys = {kind.key_variable: "simulated" for kind in PROVIDERS.values()}
    keys["DEPLOYED_API_KEY"] = "simulated"
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
