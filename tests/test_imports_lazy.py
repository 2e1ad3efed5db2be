import subprocess
import sys

import pytest

import turnout

HEAVY = (
    "alembic",
    "asyncio",
    "genai_prices",
    "httpx",
    "prometheus_client",
    "pydantic",
    "re2",
    "sanic",
    "sqlalchemy",
    "tenacity",
    "tiktoken",
    "z3",
)


def loaded_by(code: str) -> set[str]:
    """The heavy packages in memory after running this code in a fresh interpreter."""
    report = f"import sys\nprint(*(n for n in {HEAVY!r} if n in sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import turnout",
        "import turnout.dsl",
        "from turnout import PolicyError",
        "from turnout.dsl.parse import parse_with_warnings",
        "from turnout.dsl.check import compile_policy",
        "import turnout.cli; turnout.cli.main(['--help'])",
        "import turnout.cli; turnout.cli.main(['--version'])",
        "from turnout.engine.catalog import language_schema; "
        "assert language_schema().catalog.find('openai/gpt-4o')",
    ],
)
def test_the_language_does_not_bring_the_gateway(code: str) -> None:
    assert loaded_by(code) == set()


@pytest.mark.parametrize(
    "command",
    [
        ["lint", "policies/first.yml"],
        ["test", "policies/first.yml"],
        ["fmt", "--diff", "policies/tiers.yml"],
        ["show", "policies/first.yml", "--given", "tokens=80"],
        ["explain", "policies/first.yml", "--given", "tokens=80"],
        ["why-not", "default", "policies/first.yml", "--given", "tokens=80"],
        ["simulate", "tests/cli/files/log.jsonl", "--policy", "policies/first.yml"],
        ["schema"],
    ],
    ids=lambda command: command[0],
)
def test_asking_about_a_policy_does_not_bring_the_server_or_the_database(
    command: list[str],
) -> None:
    code = f"import turnout.cli; assert turnout.cli.policy({command!r}) == 0"
    assert loaded_by(code) <= {"re2", "z3"}


@pytest.mark.parametrize(
    "code",
    [
        "import turnout.server, turnout.server.worker, turnout.wiring",
        "import pkgutil, turnout.engine as e; "
        "[__import__(m.name) for m in pkgutil.walk_packages(e.__path__, 'turnout.engine.') "
        "if '.migrations' not in m.name]",
    ],
    ids=["server", "engine"],
)
def test_the_gateway_never_brings_the_solver(code: str) -> None:
    assert "z3" not in loaded_by(code)


def test_the_public_names_are_there_when_asked_for() -> None:
    for name in turnout.__all__:
        assert name in dir(turnout)
        assert getattr(turnout, name) is not None


def test_an_unknown_public_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute `Polcy`"):
        _ = turnout.Polcy
