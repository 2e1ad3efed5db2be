"""The demo's own parts; as a process it is run by the README's snippets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from turnout.cli.demo import PLAYED, sample_policy
from turnout.engine.policy import Policy
from turnout.simulator.process import SimulatorProcess


class Addresses:
    """A simulator's addresses without a simulator."""

    def base_url(self, provider: str) -> str:
        return f"http://127.0.0.1:1/{provider}/v1"


@pytest.fixture
def sample() -> str:
    return sample_policy(cast(SimulatorProcess, Addresses()))


def test_the_demo_runs_the_first_policy_over_simulated_providers(sample: str) -> None:
    policy = Policy.parse(sample)
    entries = policy.program.providers
    assert {name: entries[name].base_url for name in PLAYED} == {
        name: f"http://127.0.0.1:1/{name}/v1" for name in PLAYED
    }
    assert {target.provider for target in policy.program.targets.values()} <= set(PLAYED)
    assert all(outcome.passed for outcome in policy.test())


def test_a_home_that_cannot_be_made_is_refused_with_what_to_do(
    command: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "file"))
    ran = command("turnout demo --port 0")
    assert ran.status == 2
    assert "cannot be made" in ran.err
    assert "point `TURNOUT_HOME` at a folder" in ran.err
    assert ran.out == ""
