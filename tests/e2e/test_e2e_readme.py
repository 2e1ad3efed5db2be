"""README's own snippets, run as they stand; only the port is put in."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NODE_MODULES = ROOT / "tests" / "sdk" / "node" / "node_modules"
SNIPPETS = dict(
    re.findall(
        r"<!-- run: (\w+) -->\n```\w+\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
)


def snippet(name: str, url: str) -> str:
    text = str(SNIPPETS[name])
    assert "http://127.0.0.1:8080" in text
    return text.replace("http://127.0.0.1:8080", url)


def run(command: list[str], **more: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **more)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def trace(demo: Any, request: str) -> str:
    environment = os.environ | {"TURNOUT_HOME": str(demo.home)}
    return run([sys.executable, "-m", "turnout", "trace", request], env=environment)


def test_the_policy_in_the_readme_is_the_first_example() -> None:
    text = (ROOT / "README.md").read_text()
    assert f"```yaml\n{(ROOT / 'policies' / 'first.yml').read_text()}```" in text


def test_curl_gets_an_answer_and_the_trace_explains_it(demo: Any) -> None:
    head, _, body = run(["bash", "-c", snippet("curl", demo.url)]).partition("\n\n")
    assert head.startswith("HTTP/1.1 200")
    headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line.strip())
    assert headers["x-turnout-rule"] == "cheap_for_simple"
    assert headers["x-turnout-model"] == "groq/llama-3-8b"
    assert '"chat.completion"' in body

    text = trace(demo, headers["x-request-id"])
    for wanted in ("cheap_for_simple", "tokens < 100", "groq/llama-3-8b", "tokens", "cost"):
        assert wanted in text


def test_the_cost_shown_in_the_readme_is_what_the_demo_charges(demo: Any) -> None:
    head = run(["bash", "-c", snippet("curl", demo.url)]).partition("\n\n")[0].lower()
    cost = re.search(r"x-turnout-cost: (\S+)", head)
    shown = re.search(r"x-turnout-cost: (\S+)", (ROOT / "README.md").read_text())
    assert cost is not None and shown is not None
    assert cost.group(1) == shown.group(1)


def test_a_policy_of_ones_own_is_checked_tested_and_simulated(demo: Any, tmp_path: Path) -> None:
    run(["bash", "-c", snippet("curl", demo.url)])
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(sysconfig.get_path("scripts"))
    (tmp_path / "policies").symlink_to(ROOT / "policies")
    (tmp_path / ".turnout").symlink_to(demo.home)  # where the demo of the README keeps it
    environment = os.environ | {"HOME": str(tmp_path)}
    told = run(["bash", "-ec", SNIPPETS["mine"]], cwd=tmp_path, env=environment)
    for wanted in (
        "no findings in routing.yml (3 rules)",
        "5 passed in routing.yml",
        "100 % covered",
        "→ anthropic/claude-sonnet   rule smart_for_complex",
        "groq/llama-3-8b",
        "moved: 0 of",
    ):
        assert wanted in told


def test_a_key_is_made_and_what_the_demo_has_spent_is_told(demo: Any, tmp_path: Path) -> None:
    head = run(["bash", "-c", snippet("curl", demo.url)]).partition("\n\n")[0].lower()
    request = re.search(r"x-request-id: (\S+)", head)
    assert request is not None
    trace(demo, request.group(1))  # it waits until that is written
    (tmp_path / ".turnout").symlink_to(demo.home)
    scripts = sysconfig.get_path("scripts")
    environment = os.environ | {"HOME": str(tmp_path), "PATH": f"{scripts}:{os.environ['PATH']}"}
    told = run(["bash", "-ec", SNIPPETS["money"]], cwd=tmp_path, env=environment)
    for wanted in ("tk_", "tenant   acme", "openai/*,groq/*", "cheap_for_simple", "$"):
        assert wanted in told


def test_python_answers_whole_and_streamed(demo: Any, tmp_path: Path) -> None:
    file = tmp_path / "snippet.py"
    file.write_text(snippet("python", demo.url))
    whole, streamed = run([sys.executable, str(file)]).strip().splitlines()[:2]
    assert "hello" in whole.lower()
    assert "count" in streamed.lower()


def test_node_answers_whole_and_streamed(demo: Any, tmp_path: Path) -> None:
    assert NODE_MODULES.is_dir(), "run `make test`: it installs the Node SDK"
    node = shutil.which("node")
    assert node is not None, "run `make test`: it installs Node"
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    file = tmp_path / "snippet.mjs"
    file.write_text(snippet("node", demo.url))
    whole, streamed = run([node, str(file)], cwd=tmp_path).strip().splitlines()[:2]
    assert "hello" in whole.lower()
    assert "count" in streamed.lower()
