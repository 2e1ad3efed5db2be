"""The hooks that pre-commit runs: their entries work as they are written, and as the docs show."""

import re
import shlex
import subprocess
import sysconfig
import tomllib
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
INCLUDING = (
    "include: [models.yml]\n"
    "routing_policy:\n  - {name: a, route: house/big}\n"
    "tests:\n  - {given: {tokens: 1}, expect: a}\n"
)
MODELS = (
    'providers:\n  house: {kind: openai, base_url: "https://llm.example/v1"}\n'
    "targets:\n  house/big: {price: 0, context_window: 8k}\n"
)


def run(
    hook: dict[str, Any], folder: Path, args: list[str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a hook as pre-commit does: its entry split like a shell, at the top of a repository.

    `args` are those of a `.pre-commit-config.yaml`, instead of the hook's own.
    """
    program, *words = shlex.split(hook["entry"])
    line = [f"{sysconfig.get_path('scripts')}/{program}", *words, *(args or hook["args"])]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60)


def named(hook: dict[str, Any]) -> str:
    return str(hook["id"])


def test_there_is_a_hook_for_linting_formatting_and_testing() -> None:
    assert [hook["id"] for hook in HOOKS] == ["policy-lint", "policy-fmt", "policy-test"]


@pytest.mark.parametrize("hook", HOOKS, ids=named)
def test_a_hook_has_what_pre_commit_asks_for(hook: dict[str, Any]) -> None:
    assert {"id", "name", "entry", "language"} <= hook.keys()
    assert shlex.split(hook["entry"])[1] in POLICY_COMMANDS


def test_the_hook_of_lint_brings_what_the_extra_brings() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (lint,) = (hook for hook in HOOKS if hook["id"] == "policy-lint")
    assert lint["additional_dependencies"] == project["optional-dependencies"]["prove"]


@pytest.mark.parametrize("hook", HOOKS, ids=named)
def test_a_hook_runs_when_any_yaml_file_changes_and_on_the_policy_alone(
    hook: dict[str, Any],
) -> None:
    assert hook["types"] == ["yaml"] and "files" not in hook
    assert hook["pass_filenames"] is False
    assert hook["args"] == ["routing.yml"]


@pytest.mark.parametrize("hook", HOOKS, ids=named)
def test_a_hook_passes_good_policies_and_leaves_them_alone(
    hook: dict[str, Any], tmp_path: Path
) -> None:
    files = [tmp_path / "routing.yml", tmp_path / "routing.eu.yml"]
    text = (ROOT / "policies" / "minimal.yml").read_text()
    for file in files:
        file.write_text(text)
    for args in (None, [file.name for file in files]):
        ran = run(hook, tmp_path, args)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [file.read_text() for file in files] == [text, text]


@pytest.mark.parametrize("hook", HOOKS, ids=named)
def test_a_hook_stops_a_commit_of_a_bad_policy(hook: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(BROKEN[hook["id"]])
    ran = run(hook, tmp_path)
    # pre-commit also stops a commit whose files a hook has changed
    assert ran.returncode == 1 or file.read_text() != BROKEN[hook["id"]], ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "broken", [MODELS.replace("price: 0", "price: nothing"), "targets: {", None], ids=repr
)
@pytest.mark.parametrize("hook", [HOOKS[0], HOOKS[2]], ids=named)
def test_a_hook_stops_a_commit_that_breaks_an_included_file(
    hook: dict[str, Any], broken: str | None, tmp_path: Path
) -> None:
    (tmp_path / "routing.yml").write_text(INCLUDING)
    models = tmp_path / "models.yml"
    models.write_text(MODELS)
    sound = run(hook, tmp_path)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    if broken is None:
        models.unlink()
    else:
        models.write_text(broken)
    ran = run(hook, tmp_path)
    assert ran.returncode == 1 and "models.yml" in ran.stdout + ran.stderr


def test_a_policy_that_is_elsewhere_is_asked_for(tmp_path: Path) -> None:
    ran = run(HOOKS[0], tmp_path)
    assert ran.returncode == 2 and "routing.yml" in ran.stderr


def test_the_hooks_run_as_the_page_about_ci_configures_them(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yml\n# \.pre-commit-config\.yaml\n(.*?)```", page, re.DOTALL)
    ((repository),) = yaml.safe_load(text)["repos"]
    assert [hook["id"] for hook in repository["hooks"]] == [hook["id"] for hook in HOOKS]
    place = tmp_path / "deploy"
    place.mkdir()
    (place / "routing.yml").write_text(INCLUDING)
    (place / "models.yml").write_text(MODELS)
    for hook, configured in zip(HOOKS, repository["hooks"], strict=True):
        assert re.search(configured["files"], "deploy/models.yml")
        assert not re.search(configured["files"], "docs/models.yml")
        ran = run(hook, tmp_path, configured["args"])
        assert ran.returncode == 0, ran.stdout + ran.stderr
