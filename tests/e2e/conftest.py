"""The product as its users run it: processes, sockets, the official SDKs."""

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from turnout.simulator.process import SimulatorProcess

PATIENCE_S = 60.0
PROVIDERS = ("openai", "anthropic", "groq")
# Of the simulators: what takes as long as real models do would be waited for by every test.
QUICK = ("--latency", "*=15ms/2ms")


class Served:
    """A `turnout` process that serves; `url` is its address."""

    def __init__(self, *command: str, home: Path, **environment: str) -> None:
        self.home = home
        self.log = home.parent / "gateway.log"
        bare = {k: v for k, v in os.environ.items() if not k.startswith(("TURNOUT_", "OPENAI_"))}
        self._log_file = self.log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "turnout", *command],
            stdout=subprocess.PIPE,
            stderr=self._log_file,
            text=True,
            start_new_session=True,
            env=bare | {"TURNOUT_HOME": str(home)} | environment,
        )
        self.lines: list[str] = []
        self.url = self._read_address()

    def _read_address(self) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline and selector.select(1.0) is not None:
                line = self.process.stdout.readline()
                if not line:
                    break
                self.lines.append(line)
                found = re.search(r"turnout serves (https?://\S+)", line)
                if found:
                    return found.group(1)
        self.stop()
        raise AssertionError(f"it did not serve: {self.lines} {self.log.read_text()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
            self._log_file.close()


def start(folder: Path, policy: str, *flags: str, **environment: str) -> Served:
    """`turnout serve` on a policy text, with what it keeps in a folder."""
    file = folder / "routing.yml"
    file.write_text(policy)
    keys = {f"{name.upper()}_API_KEY": "simulated" for name in PROVIDERS}
    command = ("serve", "--policy", str(file), "--port", "0", *flags)
    return Served(*command, home=folder / "home", **(keys | environment))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start `turnout serve` on a policy text; every one of them ends with the test."""
    running: list[Served] = []

    def start_here(policy: str, *flags: str, **environment: str) -> Served:
        served = start(tmp_path, policy, *flags, **environment)
        running.append(served)
        return served

    yield start_here
    for served in running:
        served.stop()


@pytest.fixture(scope="module")
def simulators() -> Iterator[dict[str, SimulatorProcess]]:
    """One simulator process per provider, so that one can be ended alone."""
    prepared = [SimulatorProcess([name], *QUICK) for name in PROVIDERS]
    with ThreadPoolExecutor(len(prepared)) as hands:  # each takes a second or two to start
        started = dict(zip(PROVIDERS, hands.map(SimulatorProcess.start, prepared), strict=True))
    yield started
    for simulator in started.values():
        simulator.stop()


def providers_of(simulators: dict[str, Any]) -> str:
    """A `providers:` section that names the simulators' addresses."""
    rows = [f"  {n}: {{base_url: '{s.base_url(n)}'}}\n" for n, s in simulators.items()]
    return "providers:\n" + "".join(rows)


@pytest.fixture(scope="module")
def addresses(simulators: dict[str, SimulatorProcess]) -> str:
    """The `providers:` section of a policy over the simulators."""
    return providers_of(simulators)


@pytest.fixture(scope="module")
def serve_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Start `turnout serve` on a policy text for all tests of a module; it must end well."""
    running: list[Served] = []

    def start_here(policy: str, *flags: str, **environment: str) -> Served:
        served = start(tmp_path_factory.mktemp("served"), policy, *flags, **environment)
        running.append(served)
        return served

    yield start_here
    for served in running:
        assert served.stop() == 0


@pytest.fixture(scope="module")
def first_policy(simulators: dict[str, SimulatorProcess]) -> str:
    """The first policy of the examples over the simulators."""
    first = Path(__file__).parents[2] / "policies" / "first.yml"
    return first.read_text() + "\n" + providers_of(simulators)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, first_policy: str) -> Iterator[Served]:
    """The gateway on the first policy, for tests that leave it as it was."""
    served = start(tmp_path_factory.mktemp("gateway"), first_policy)
    yield served
    assert served.stop() == 0
    assert "ERROR" not in served.log.read_text()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`turnout demo` on a free port, as README starts it."""
    served = Served("demo", "--port", "0", home=tmp_path_factory.mktemp("demo") / "home")
    yield served
    assert served.stop() == 0
