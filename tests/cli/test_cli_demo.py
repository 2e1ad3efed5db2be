"""The demo's own parts; as a process it is run by the README's snippets and in `tests/e2e`."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnout.adapters import PROVIDERS
from turnout.cli.demo import PLAYED, not_looked_at, sample_policy
from turnout.engine.policy import Policy


def test_the_demo_plays_every_kind_of_provider() -> None:
    assert set(PLAYED) == set(PROVIDERS)


def test_the_sample_is_a_policy_over_known_providers() -> None:
    policy = Policy.load(sample_policy())
    assert {target.provider for target in policy.program.targets.values()} <= set(PLAYED)


def test_a_home_that_cannot_be_made_is_refused_with_what_to_do(
    command: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "file"))
    ran = command("turnout demo --port 0")
    assert ran.status == 2
    assert "cannot be made" in ran.err
    assert "set TURNOUT_HOME to a folder" in ran.err
    assert ran.out == ""


def test_a_port_that_is_taken_is_refused_and_nothing_of_a_running_demo_is_touched(
    command: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path))
    (tmp_path / "demo").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = command(f"turnout demo --port {taken.getsockname()[1]}")
    assert ran.status == 2
    assert "cannot listen on port" in ran.err
    assert list((tmp_path / "demo").iterdir()) == []


def test_a_policy_that_does_not_compile_is_refused_with_its_findings(
    command: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "home"))
    (tmp_path / "mine.yml").write_text("routing_policy:\n  - {name: a, route: openai/gpt4o}\n")
    ran = command(f"turnout demo --port 0 --policy {tmp_path / 'mine.yml'}")
    assert ran.status == 1
    assert "openai/gpt4o" in ran.err


def test_what_the_demo_does_not_look_at_is_said_at_its_start(
    command: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TURNOUT_AUTH", "keys")
    ran = command("turnout demo --port 0")
    said = "turnout: the demo asks for no keys: TURNOUT_AUTH is not looked at"
    assert ran.err.splitlines()[0] == said
    assert not_looked_at({"TURNOUT_AUTH": "off", "TURNOUT_TENANT_ID": "acme"}) == []
    (line,) = not_looked_at({"TURNOUT_POLICY": "mine.yml", "TURNOUT_WORKERS": "4"})
    assert line.endswith(": TURNOUT_POLICY, TURNOUT_WORKERS are not looked at")
