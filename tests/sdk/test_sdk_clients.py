"""Clients that people have, each against the gateway in a process of its own.

A client's checks are functions in its file (`python/`, `node/`); here is which checks each has.
They run against each of three targets (see `conftest`), so that what a client is shown does not
depend on where the policy sent it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from tests.e2e.conftest import Served

HERE = Path(__file__).parent
CLIENTS = HERE.parents[1] / ".cache" / "clients"
NODE = "node"  # the environment of the clients in node/; the others are virtual environments
PATIENCE_S = 120.0

Told = dict[str, str | None]


class Client(NamedTuple):
    """A file of checks, and the environment that it runs in."""

    environment: str
    checks: tuple[str, ...]


TABLE = {
    "openai_node": Client(
        NODE,
        (
            "chat",
            "stream",
            "tools",
            "streamed_tools",
            "typed",
            "responses",
            "completions",
            "embeddings",
            "models",
            "unfinished",
            "unknown",
        ),
    ),
    "vercel": Client(
        NODE, ("chat", "stream", "tools", "typed", "embeddings", "unfinished", "unknown")
    ),
    "openai_legacy": Client(
        "legacy",
        (
            "chat",
            "stream",
            "tools",
            "completion",
            "embeddings",
            "models",
            "variable",
            "unfinished",
            "unknown",
        ),
    ),
    "langchain_chat": Client(
        "frameworks",
        ("chat", "stream", "tools", "typed", "embeddings", "token_ids", "unfinished", "unknown"),
    ),
    "llama_index_llm": Client(
        "frameworks",
        ("chat", "stream", "tools", "typed", "embeddings", "names", "unfinished", "unknown"),
    ),
    "pydantic_ai_agent": Client(
        "frameworks",
        ("chat", "stream", "tools", "typed", "responses", "variable", "unfinished", "unknown"),
    ),
    "instructor_typed": Client("frameworks", ("tools", "typed", "stream", "unfinished", "unknown")),
    "litellm_client": Client(
        "frameworks", ("chat", "stream", "tools", "embeddings", "variable", "unfinished", "unknown")
    ),
    "llm_command": Client(
        "frameworks", ("chat", "stream", "tools", "typed", "unfinished", "unknown")
    ),
}
CHECKS = [
    pytest.param(name, check, id=f"{name}-{check}")
    for name, client in TABLE.items()
    for check in client.checks
]


def command_of(name: str, environment: str) -> list[str]:
    if environment == NODE:
        node = shutil.which("node")
        assert node is not None, "run `make test`: it installs Node"
        return [node, str(HERE / "node" / f"{name}.mjs")]
    python = CLIENTS / environment / "bin" / "python"
    assert python.exists(), "run `make test`: it installs the clients"
    return [str(python), str(HERE / "python" / f"{name}.py")]


def environment_of(url: str, tables: Path) -> dict[str, str]:
    return os.environ | {
        "TURNOUT_URL": url,
        "TIKTOKEN_CACHE_DIR": str(tables),  # nothing is fetched
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PYTHONDONTWRITEBYTECODE": "",  # what is imported again and again is compiled once
    }


def run(name: str, environment: str, url: str, tables: Path) -> Told:
    done = subprocess.run(
        command_of(name, environment),
        env=environment_of(url, tables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=tables,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told: Told = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest, gateway: Served, tables: Path
) -> Iterator[Callable[[str], Told]]:
    """What came of a client's checks; the clients of this run start at once, two at a time."""
    asked = [getattr(item, "callspec", None) for item in request.session.items]
    named = [str(one.params.get("name")) for one in asked if one is not None]
    wanted = [name for name in dict.fromkeys(named) if name in TABLE]
    with ThreadPoolExecutor(2) as pool:
        started: dict[str, Future[Told]] = {
            name: pool.submit(run, name, TABLE[name].environment, gateway.url, tables)
            for name in wanted
        }
        yield lambda name: started[name].result()
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("name", "check"), CHECKS)
def test_the_client_gets_what_it_expects(
    outcomes: Callable[[str], Told], name: str, check: str
) -> None:
    told = {full: why for full, why in outcomes(name).items() if full.split()[0] == check}
    assert told, f"{name} has no check `{check}`"
    failed = {full: why for full, why in told.items() if why is not None}
    assert not failed, "\n\n".join(f"{full}:\n{why}" for full, why in failed.items())


@pytest.mark.parametrize("name", TABLE)
def test_no_check_of_a_client_goes_unread(outcomes: Callable[[str], Told], name: str) -> None:
    assert {full.split()[0] for full in outcomes(name)} == set(TABLE[name].checks)


# What LangChain's suite may leave out: what it asks for only where a provider's class has it.
LEFT_OUT = {
    "Model does not support PDF inputs.",
    "Model does not support audio inputs.",
    "Model does not support image message.",
    "Model does not support image tool message.",
    "Model does not support PDF tool message.",
    "Model does not explicitly support Anthropic inputs.",
    "VCR not set up.",  # it measures the time of a recording
    "model_override_value not specified.",  # asked of one target
    "Test requires json mode support.",  # Anthropic has JSON by a schema only
}


def test_langchains_own_suite_passes(gateway: Served, tables: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    python = CLIENTS / "frameworks" / "bin" / "python"
    suite = HERE / "python" / "langchain_standard.py"
    options: tuple[str, ...] = (
        "-q",
        "-c",
        os.devnull,
        "--rootdir",
        str(suite.parent),
        "-p",
        "no:cacheprovider",
    )
    options += ("--confcutdir", str(suite.parent), "-o", "asyncio_mode=auto", "--no-header")
    options += ("-o", "junit_family=xunit2", f"--junit-xml={report}")
    done = subprocess.run(
        [str(python), "-m", "pytest", *options, str(suite)],
        env=environment_of(gateway.url, tables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr}"
    cases = ElementTree.parse(report).getroot().iter("testcase")
    reasons = [case.findtext("skipped") for case in cases]
    assert reasons.count(None) >= 120
    left_out = ElementTree.parse(report).getroot().iter("skipped")
    assert {skipped.get("message") for skipped in left_out} <= LEFT_OUT
