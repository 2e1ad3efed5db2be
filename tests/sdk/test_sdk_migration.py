"""docs/migration.md: its snippets run as they stand, and again with the change taken back.

`gpt-4o-mini` is answered by Claude through the gateway, and by itself without it. The simulated
OpenAI stands in for OpenAI's own address wherever a program goes back to it.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import openai
import pytest

from tests.e2e.conftest import Served, providers_of, start
from turnout.simulator.process import SimulatorProcess

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".cache" / "clients"
NODE_MODULES = ROOT / "tests" / "sdk" / "node" / "node_modules"
PARITY = ROOT / "docs" / "parity" / "parity.test.cjs"
PAGE = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"<!-- run: (\w+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
# Which language, in which environment, and where the client looks without the line.
PROGRAMS = {
    "python": (".py", ".venv", "OPENAI_BASE_URL"),
    "node": (".mjs", "node", "OPENAI_BASE_URL"),
    "langchain": (".py", "frameworks", "OPENAI_BASE_URL"),
    "llama_index": (".py", "frameworks", "OPENAI_API_BASE"),
    "vercel": (".mjs", "node", "OPENAI_BASE_URL"),
    "curl": (".sh", "bash", "nothing"),
}
THROUGH, DIRECT = "simulated answer by claude-sonnet-4-5", "simulated answer by gpt-4o-mini"
THE_GATEWAY, OPENAI = "http://127.0.0.1:8080", "https://api.openai.com/v1"
NOT_OFFERED = {
    "files": lambda client: client.files.list(),
    "batches": lambda client: client.batches.list(),
    "assistants": lambda client: client.get("/assistants", cast_to=object),
    "threads": lambda client: client.post("/threads", cast_to=object),
    "vector_stores": lambda client: client.vector_stores.list(),
    "fine_tuning": lambda client: client.fine_tuning.jobs.list(),
    "images": lambda client: client.images.generate(prompt="a train"),
    "audio": lambda client: client.audio.speech.create(input="hi", model="tts-1", voice="alloy"),
    "moderations": lambda client: client.moderations.create(input="hi"),
}


def command(environment: str) -> str:
    if environment == ".venv":
        return sys.executable
    if environment in ("node", "bash"):
        found = shutil.which(environment)
        assert found is not None, "run `make test`: it installs Node"
        return found
    python = CLIENTS / environment / "bin" / "python"
    assert python.exists(), "run `make test`: it installs the clients"
    return str(python)


def run(*words: str, cwd: Path, **environment: str) -> str:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    done = subprocess.run(
        words,
        cwd=cwd,
        env=bare | {"OPENAI_API_KEY": "any", "PYTHONDONTWRITEBYTECODE": ""} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def program(name: str, folder: Path, text: str) -> list[str]:
    ending, environment, _ = PROGRAMS[name]
    file = folder / f"snippet{ending}"
    file.write_text(text)
    if environment == "node":
        (folder / "node_modules").symlink_to(NODE_MODULES)
    return [command(environment), str(file)]


def unchanged(text: str) -> str:
    """A snippet without its one line."""
    kept = [
        line for line in text.splitlines() if not line.endswith(("# the change", "// the change"))
    ]
    assert len(kept) == len(text.splitlines()) - 1
    return "\n".join(kept) + "\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_change_brings_a_program_to_the_gateway(
    gateway: Served, tmp_path: Path, name: str
) -> None:
    assert THE_GATEWAY in SNIPPETS[name]
    text = SNIPPETS[name].replace(THE_GATEWAY, gateway.url)
    assert THROUGH in run(*program(name, tmp_path, text), cwd=tmp_path)


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_the_line_the_program_is_back_at_its_provider(
    simulator: SimulatorProcess, tmp_path: Path, name: str
) -> None:
    provider = simulator.base_url("openai")
    text = unchanged(SNIPPETS[name]).replace(OPENAI, provider)
    variable = PROGRAMS[name][2]
    told = run(*program(name, tmp_path, text), cwd=tmp_path, **{variable: provider})
    assert DIRECT in told


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "curl"])
def test_the_variable_alone_brings_a_program_to_the_gateway(
    gateway: Served, tmp_path: Path, name: str
) -> None:
    words = program(name, tmp_path, unchanged(SNIPPETS[name]))
    variable = PROGRAMS[name][2]
    exported = SNIPPETS["environment"].replace(THE_GATEWAY, gateway.url)
    exported = exported.replace("OPENAI_BASE_URL", variable)
    assert THROUGH in run("bash", "-ec", f'{exported}\n"$@"', "bash", *words, cwd=tmp_path)


def test_the_variable_of_anthropics_sdk_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    import anthropic

    monkeypatch.setenv("ANTHROPIC_BASE_URL", THE_GATEWAY)
    assert str(anthropic.Anthropic(api_key="any").base_url).rstrip("/") == THE_GATEWAY


def test_conformance_runs_as_the_page_says(gateway: Served, tmp_path: Path) -> None:
    text = SNIPPETS["conformance"].replace(THE_GATEWAY, gateway.url)
    told = run("bash", "-ec", text, cwd=tmp_path, PATH=path_with_commands())
    assert " 0 failed" in told


def test_a_sample_before_and_after_has_the_same_fields(
    gateway: Served, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    file = tmp_path / "compare.py"
    file.write_text(SNIPPETS["compare"].replace(THE_GATEWAY, gateway.url))
    told = run(sys.executable, str(file), cwd=tmp_path, BEFORE=simulator.base_url("openai"))
    assert told.count("the same fields") == 2
    assert "gpt-4o, " in told and "only" not in told


def test_a_sample_from_another_provider_names_the_fields_that_differ(
    gateway: Served, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    file = tmp_path / "compare.py"
    file.write_text(SNIPPETS["compare"].replace(THE_GATEWAY, gateway.url))
    told = run(sys.executable, str(file), cwd=tmp_path, BEFORE=simulator.base_url("groq"))
    assert told.count("other fields") == 2
    assert "\n  only before: answer.usage.queue_time: float\n" in told
    assert "\n  only now: answer.choices[].message.annotations[]" not in told
    assert "\n  only now: answer.usage.prompt_tokens_details.cached_tokens: int\n" in told


def test_the_trace_of_a_request_is_told(gateway: Served, tmp_path: Path) -> None:
    text = SNIPPETS["trace"].replace(THE_GATEWAY, gateway.url)
    home = str(gateway.home)
    told = run("bash", "-ec", text, cwd=tmp_path, PATH=path_with_commands(), TURNOUT_HOME=home)
    assert "openai/gpt-4o" in told


def path_with_commands() -> str:
    return f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"


def test_a_thousand_calls_of_the_script_cost_one_where_answers_are_given_again(
    simulator: SimulatorProcess, tmp_path: Path
) -> None:
    policy = "cache: {ttl: 1h}\nrouting_policy: [{name: asked, route: requested}]\n"
    served = start(tmp_path, policy + providers_of({"openai": simulator}))
    try:
        assert f'"{THE_GATEWAY}/v1"' in SNIPPETS["cache"]
        file = tmp_path / "cache.mjs"
        file.write_text(SNIPPETS["cache"].replace(THE_GATEWAY, served.url))
        (tmp_path / "node_modules").symlink_to(NODE_MODULES)
        first, more, times, cost, answers = run(
            command("node"), str(file), cwd=tmp_path
        ).splitlines()
    finally:
        assert served.stop() == 0
    assert re.fullmatch(r"first call: MISS, [0-9.]+ ms, \$0\.[0-9]+", first)
    assert more == "1000 more: 1000 hits (100.0 %)"
    assert re.fullmatch(r"  p50 [0-9.]+ ms, p95 [0-9.]+ ms, p99 [0-9.]+ ms", times)
    assert re.fullmatch(r"  cost \$0; without a cache about \$0\.[0-9]+", cost)
    assert answers == "  1 answer in all"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of somebody's own with the parity tests in it."""
    shutil.copy(PARITY, tmp_path)
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    return tmp_path


def jest(repository: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["npx", "jest", "parity"],
        cwd=repository,
        env=os.environ | {"PARITY_API_KEY": "any", "CI": "true"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1", "gpt-4o-mini"])
def test_the_parity_tests_pass_against_the_gateway(
    gateway: Served, repository: Path, model: str
) -> None:
    text = SNIPPETS["jest"].replace(THE_GATEWAY, gateway.url)
    done = subprocess.run(
        ["bash", "-ec", text],
        cwd=repository,
        env=os.environ | {"PARITY_MODEL": model, "CI": "true"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "5 passed" in done.stderr


def test_the_parity_tests_pass_against_the_provider_itself(
    simulator: SimulatorProcess, repository: Path
) -> None:
    # One that knows its models: the simulator of the other tests accepts any name.
    with SimulatorProcess(
        ["openai"], "--model", "openai/gpt-4o-mini", "--model", "openai/text-embedding-3-small"
    ) as strict:
        done = jest(repository, PARITY_BASE_URL=strict.base_url("openai"))
    assert "5 passed" in done.stderr, done.stderr


def test_the_parity_tests_fail_where_a_provider_is_another(
    simulator: SimulatorProcess, repository: Path
) -> None:
    done = jest(repository, PARITY_BASE_URL=simulator.base_url("anthropic"))
    assert done.returncode == 1
    assert "5 failed" in done.stderr


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_what_is_not_offered_is_not_found(gateway: Served, name: str) -> None:
    assert name.replace("_", " ").split()[0] in PAGE
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client,
        pytest.raises(openai.NotFoundError),
    ):
        NOT_OFFERED[name](client)


def test_the_account_of_a_client_is_not_sent_on(
    gateway: Served, simulator: SimulatorProcess
) -> None:
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1",
        api_key="the client's own",
        organization="org-of-the-client",
        project="proj-of-the-client",
    ) as client:
        client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "whose account is it?"}]
        )
    (seen,) = [one for one in simulator.requests(50) if "whose account" in str(one["body"])]
    assert not {"openai-organization", "openai-project"} & set(seen["headers"])
    assert "of-the-client" not in str(seen)
