"""The complete example policy with its includes, served as it stands over the simulators.

Only the addresses of its providers are replaced, and a caller's tier is given by `tenants:`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Served
from turnout.simulator.process import SimulatorProcess

COMPLETE = Path(__file__).parents[2] / "policies" / "complete"
HARD = (
    "Prove, step by step, that every finite integral domain is a field; then derive the complexity "
    "of the algorithm below, compare it with two alternatives, and justify each trade-off.\n"
    "```python\ndef f(n):\n    return 1 if n < 2 else f(n - 1) + f(n - 2)\n```"
)
TENANTS = """
tenants:
  free:    {tier: free, region: us}
  pro:     {tier: pro, region: us}
  large:   {tier: enterprise, region: eu}
  unsaid:  {tier: enterprise}
"""


@pytest.fixture(scope="module")
def complete(
    tmp_path_factory: pytest.TempPathFactory, simulators: dict[str, SimulatorProcess]
) -> Path:
    """The folder of the example, its providers at the simulators' addresses."""
    folder = tmp_path_factory.mktemp("complete")
    for file in COMPLETE.glob("*.yml"):
        (folder / file.name).write_bytes(file.read_bytes())
    models = (folder / "models.yml").read_text()
    openai = simulators["openai"].base_url("openai")
    models = re.sub(r'base_url: "https://[^"]+"', f'base_url: "{openai}"', models)
    known = "".join(f"  {n}: {{base_url: '{s.base_url(n)}'}}\n" for n, s in simulators.items())
    models = re.sub(r"(providers:.*\n)", lambda line: line[0] + known, models, count=1)
    (folder / "models.yml").write_text(models + TENANTS)
    return folder


@pytest.fixture(scope="module")
def ask(complete: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Ask as a tenant; one gateway for each, as the tenant of a gateway is its own."""
    running: dict[str, Served] = {}
    keys = ("openai", "groq", "anthropic", "google", "deepseek")
    environment = {f"{name.upper()}_API_KEY": "simulated" for name in keys}

    def asked(tenant: str, content: str, **body: Any) -> tuple[httpx.Response, dict[str, Any]]:
        if tenant not in running:
            running[tenant] = Served(
                *("serve", "--policy", str(complete / "routing.yml"), "--port", "0"),
                home=tmp_path_factory.mktemp(tenant) / "home",
                TURNOUT_TENANT_ID=tenant,
                **environment,
            )
        url = running[tenant].url
        body = {"model": "auto", "messages": [{"role": "user", "content": content}], **body}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        trace = httpx.get(f"{url}/v1/traces/{answer.headers['x-request-id']}", timeout=60)
        return answer, trace.json()

    yield asked
    for served in running.values():
        assert served.stop() == 0


Ask = Callable[..., tuple[httpx.Response, dict[str, Any]]]


def test_a_short_question_of_a_free_caller_goes_to_the_single_target(ask: Ask) -> None:
    answer, trace = ask("free", "Say hello.")
    assert (answer.status_code, trace["rule"]) == (200, "cheap_for_simple")
    assert trace["target"] == "groq/llama-3-8b"


def test_a_long_document_of_a_free_caller_is_rejected(ask: Ask) -> None:
    answer, trace = ask("free", "word " * 135_000)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "policy_rejected"
    assert answer.json()["error"]["message"] == "long documents need a paid plan"
    assert (trace["rule"], trace["hops"]) == ("free_too_long", [])


def test_a_long_document_of_a_paying_caller_goes_to_the_cheapest_that_it_fits(ask: Ask) -> None:
    answer, trace = ask("pro", "word " * 135_000, max_tokens=20)
    assert (answer.status_code, trace["rule"]) == (200, "long_context")
    assert [option["target"] for option in trace["choice"]] == [
        "google/gemini-pro",
        "anthropic/claude-sonnet",
    ]
    assert trace["target"] == "google/gemini-pro"


def test_a_hard_question_goes_to_the_fastest(ask: Ask) -> None:
    answer, trace = ask("pro", HARD, max_tokens=50)
    assert (answer.status_code, trace["rule"]) == (200, "hard_for_paying")
    assert trace["target"] == "openai/gpt-4"
    assert {option["target"] for option in trace["choice"]} == {
        "anthropic/claude-sonnet",
        "openai/gpt-4",
    }


def test_a_session_keeps_its_arm_of_the_split(ask: Ask) -> None:
    arms = set()
    for _ in range(3):
        answer, trace = ask("pro", "Say hello.", user="somebody", stream=True)
        assert (answer.status_code, trace["rule"]) == (200, "sonnet_canary")
        assert 0 <= trace["bucket"] < 10_000
        is_canary = trace["bucket"] < 500
        assert trace["target"] == ("anthropic/claude-sonnet-next" if is_canary else "openai/gpt-4")
        arms.add(trace["target"])
    assert len(arms) == 1


def test_the_default_of_a_caller_in_the_union_stays_in_it(ask: Ask) -> None:
    """openai/gpt-4 is in the US: the hard limit skips it, and the chain answers from the EU."""
    answer, trace = ask("large", "Say hello.")
    assert (answer.status_code, trace["rule"]) == (200, "default")
    assert trace["hops"][0]["target"] == "openai/gpt-4"
    assert trace["hops"][0]["outcome"] == "skipped"
    assert "eu_stays_in_eu" in str(trace["limits"])
    assert trace["target"] == "groq/llama-3-70b"


def test_a_caller_of_an_unknown_region_is_kept_in_the_union_too(ask: Ask) -> None:
    """A limit applies unless its `when` is false: what nobody knows does not lift it."""
    answer, trace = ask("unsaid", "Say hello.")
    assert (answer.status_code, trace["rule"]) == (200, "default")
    assert "eu_stays_in_eu" in str(trace["limits"])
    assert trace["target"] == "groq/llama-3-70b"
