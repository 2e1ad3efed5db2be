"""What is looked up of models: official clients read it; it is counted and faulted apart."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import boto3
import botocore.config
import cohere
import httpx
import ollama
import openai
import pytest
from google import genai
from google.genai.types import HttpOptions
from groq import Groq
from mistralai.client import Mistral

from turnout.simulator.bedrock_signature import ACCESS_KEY_ID, SECRET
from turnout.simulator.process import SimulatorProcess

MANY = [f"m{number:02}" for number in range(47)]
PAGED = ("anthropic", "cohere", "gemini")
BEARER = {"authorization": "Bearer any"}


@pytest.fixture(scope="module")
def crowded() -> Iterator[SimulatorProcess]:
    """Providers with more models than stand on one page."""
    models = [f"--model={provider}/{name}" for provider in PAGED for name in MANY]
    with SimulatorProcess(PAGED, *models) as process:
        yield process


def by_openai(sim: SimulatorProcess, provider: str, path: str = "") -> list[str]:
    base_url = sim.base_url(provider) + path
    with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
        return [model.id for model in client.models.list()]


def by_azure(sim: SimulatorProcess) -> list[str]:
    with openai.AzureOpenAI(
        azure_endpoint=sim.base_url("azure"), api_key="any", api_version="2024-10-21", max_retries=0
    ) as client:
        return [model.id for model in client.models.list()]


def by_anthropic(sim: SimulatorProcess) -> list[str]:
    root = sim.base_url("anthropic").removesuffix("/v1")
    with anthropic.Anthropic(base_url=root, api_key="any", max_retries=0) as client:
        return [model.id for model in client.models.list(limit=5)]


def by_gemini(sim: SimulatorProcess) -> list[str]:
    root = sim.base_url("gemini").removesuffix("/v1beta")
    with contextlib.closing(
        genai.Client(api_key="any", http_options=HttpOptions(base_url=root, api_version="v1beta"))
    ) as client:
        listed = client.models.list(config={"page_size": 5})
        return [str(model.name).removeprefix("models/") for model in listed]


def by_cohere(sim: SimulatorProcess) -> list[str]:
    client = cohere.Client(api_key="any", base_url=sim.base_url("cohere"))
    names: list[str] = []
    token: str | None = None
    while True:
        page = client.models.list(page_size=5, page_token=token)
        names += [str(model.name) for model in page.models]
        token = page.next_page_token
        if not token:
            return names


def by_groq(sim: SimulatorProcess) -> list[str]:
    root = sim.base_url("groq").removesuffix("/openai/v1")
    with Groq(base_url=root, api_key="any", max_retries=0) as client:
        return [model.id for model in client.models.list().data]


def by_mistral(sim: SimulatorProcess) -> list[str]:
    root = sim.base_url("mistral").removesuffix("/v1")
    with Mistral(api_key="any", server_url=root) as client:
        found = client.models.list().data or []
        assert all(model.type == "base" for model in found)
        return [model.id for model in found]


def by_ollama(sim: SimulatorProcess) -> list[str]:
    client = ollama.Client(host=sim.base_url("ollama").removesuffix("/v1"))
    return [str(model.model) for model in client.list().models]


def by_boto3(sim: SimulatorProcess) -> list[str]:
    client: Any = boto3.client(
        "bedrock",
        region_name="us-east-1",
        endpoint_url=sim.base_url("bedrock"),
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET,
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    return [model["modelId"] for model in client.list_foundation_models()["modelSummaries"]]


CLIENTS: list[tuple[Callable[[SimulatorProcess], list[str]], str]] = [
    (lambda sim: by_openai(sim, "openai"), "gpt-4o"),
    (lambda sim: by_openai(sim, "deepseek"), "deepseek-chat"),
    (lambda sim: by_openai(sim, "fireworks"), "accounts/fireworks/models/kimi-k2"),
    (lambda sim: by_openai(sim, "openrouter"), "openai/gpt-4o"),
    (lambda sim: by_openai(sim, "vllm"), "qwen3-8b"),
    (lambda sim: by_openai(sim, "xai"), "grok-4"),
    (lambda sim: by_openai(sim, "azure", "/openai/v1"), "gpt-4o"),
    (by_azure, "gpt-4o"),
    (by_anthropic, "claude-sonnet-4-20250514"),
    (by_gemini, "gemini-2.5-flash"),
    (by_cohere, "command-r-08-2024"),
    (by_groq, "llama-3.1-8b-instant"),
    (by_mistral, "mistral-large-latest"),
    (by_ollama, "qwen3:8b"),
    (by_boto3, "anthropic.claude-sonnet-4-20250514-v1:0"),
]


@pytest.mark.parametrize(("list_by", "known"), CLIENTS, ids=[known for _, known in CLIENTS])
def test_the_official_client_lists_the_models(
    list_by: Callable[[SimulatorProcess], list[str]], known: str, simulator: SimulatorProcess
) -> None:
    listed = list_by(simulator)
    assert known in listed
    assert len(listed) == len(set(listed)) >= 2


@pytest.mark.parametrize("list_by", [by_anthropic, by_cohere, by_gemini])
def test_the_official_client_reads_page_after_page(
    list_by: Callable[[SimulatorProcess], list[str]], crowded: SimulatorProcess
) -> None:
    assert list_by(crowded) == MANY


def test_together_lists_its_models_without_an_object_around(simulator: SimulatorProcess) -> None:
    address = simulator.base_url("together") + "/models"
    listed = httpx.get(address, headers=BEARER).json()
    assert "Qwen/Qwen3-235B-A22B-Thinking" in [model["id"] for model in listed]


def test_openrouter_lists_for_anybody_and_knows_keys() -> None:
    with SimulatorProcess(["openrouter"], "--key", "the-key") as simulator:
        base_url = simulator.base_url("openrouter")
        assert httpx.get(f"{base_url}/models").is_success
        assert httpx.get(f"{base_url}/key").status_code == 401
        for path in ("/key", "/auth/key"):
            assert httpx.get(base_url + path, headers=BEARER).status_code == 401
            right = {"authorization": "Bearer the-key"}
            assert "usage" in httpx.get(base_url + path, headers=right).json()["data"]


def test_bedrock_checks_who_asks_for_its_models() -> None:
    with SimulatorProcess(["bedrock"], "--key", "the-key") as simulator:
        address = simulator.base_url("bedrock") + "/foundation-models"
        assert httpx.get(address).status_code == 403
        assert httpx.get(address, headers=BEARER).status_code == 403
        assert httpx.get(address, headers={"authorization": "Bearer the-key"}).is_success


def test_what_is_looked_up_is_no_call(simulator: SimulatorProcess) -> None:
    by_openai(simulator, "openai")
    by_anthropic(simulator)
    stats = simulator.stats()
    assert stats["lookups"] == {"anthropic": 2, "openai": 1}
    assert stats["total"]["requests"] == 0
    assert stats["models"] == {}
    simulator.clear_stats()
    assert simulator.stats()["lookups"] == {}


def test_a_fault_of_calls_leaves_lists_alone(simulator: SimulatorProcess) -> None:
    simulator.fault({"kind": "status", "status": 503})
    assert by_openai(simulator, "openai")
    assert simulator.faults()[0]["hits"] == 0


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ({"kind": "status", "status": 401}, 401),
        ({"kind": "malformed", "form": "html"}, b"<"),
        ({"kind": "malformed", "form": "empty"}, b""),
        ({"kind": "malformed", "form": "json"}, b"{"),
    ],
)
def test_a_fault_of_models_spoils_lists_and_no_call(
    fault: dict[str, Any], seen: int | bytes, simulator: SimulatorProcess, client: openai.OpenAI
) -> None:
    simulator.fault(fault, what="models", model="openai/*", times=1)
    answer = httpx.get(simulator.base_url("openai") + "/models", headers=BEARER)
    if isinstance(seen, int):
        assert answer.status_code == seen
    else:
        assert answer.status_code == 200
        assert answer.content[: len(seen)] == seen
        assert not answer.content or not answer.content.endswith(b"]}")
    assert by_openai(simulator, "openai")
    simulator.fault(fault, what="models")
    assert client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
    ).choices
