"""The hooks that pre-commit runs: their entries work as they are written."""

import re
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from turnout.cli import POLICY_COMMANDS

ROOT = Path(__file__).parents[2]
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
BROKEN = {
    "policy-lint": "routing_policy:\n  - {name: a, route: openai/gpt4o}\n",
    "policy-fmt": (
        "routing_policy:\n  - {name: a, route: openai/gpt-4o}\n"
        "fallback_chain:\n  - openai/gpt-4 (timeout: 2s)\n"
    ),
    "policy-test": (
        "routing_policy:\n  - {name: a, route: openai/gpt-4o}\n"
        "tests:\n  - {given: {tokens: 1}, expect: b}\n"
    ),
}


def run(hook: dict[str, Any], *files: Path) -> "subprocess.CompletedProcess[str]":
    """Run a hook's entry on files, as pre-commit does: split like a shell, in an environment."""
    program, *words = shlex.split(hook["entry"])
    line = [f"{sysconfig.get_path('scripts')}/{program}", *words, *hook.get("args", [])]
    return subprocess.run([*line, *map(str, files)], capture_output=True, text=True, timeout=60)


def named(hook: dict[str, Any]) -> str:
    return str(hook["id"])


def test_there_is_a_hook_for_linting_formatting_and_testing() -> None:
    assert [hook["id"] for hook in HOOKS] == ["policy-lint", "policy-fmt", "policy-test"]


@pytest.mark.parametrize("hook", HOOKS, ids=named)
def test_a_hook_has_what_pre_commit_asks_for(hook: dict[str, Any]) -> None:
    assert {"id", "name", "entry", "language"} <= hook.keys()
    assert shlex.split(hook["entry"])[1] in POLICY_COMMANDS
    for name in ("routing.yml", "deploy/routing.yaml", "routing.eu.yml"):
        assert re.search(hook["files"], name)
    for name in ("ci.yml", "my_routing.yml", "routing.yml.orig"):
        assert not re.search(hook["files"], name)


@pytest.mark.parametrize("hook", HOOKS, ids=named)
def test_a_hook_passes_good_policies_and_leaves_them_alone(
    hook: dict[str, Any], tmp_path: Path
) -> None:
    files = [tmp_path / "routing.yml", tmp_path / "routing.eu.yml"]
    text = (ROOT / "policies" / "minimal.yml").read_text()
    for file in files:
        file.write_text(text)
    ran = run(hook, *files)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [file.read_text() for file in files] == [text, text]


@pytest.mark.parametrize("hook", HOOKS, ids=named)
def test_a_hook_stops_a_commit_of_a_bad_policy(hook: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(BROKEN[hook["id"]])
    ran = run(hook, file)
    # pre-commit also stops a commit whose files a hook has changed
    assert ran.returncode == 1 or file.read_text() != BROKEN[hook["id"]], ran.stdout + ran.stderr
