"""One gateway before every provider of OpenAI's wire: nothing changes but the model's name."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Served, providers_of, start
from turnout.simulator.process import SimulatorProcess

# Each with a model, and what is left out there of what is sent below.
KINDS = {
    "openai": ("gpt-4o", []),
    "azure": ("gpt-4o", []),
    "deepseek": ("deepseek-chat", ["logit_bias", "store", "user"]),
    "fireworks": ("kimi-k2", ["store"]),
    "groq": ("llama-3.3-70b-versatile", ["logit_bias", "store"]),
    "mistral": ("mistral-large-latest", ["logit_bias", "store", "user"]),
    "openrouter": ("openai/gpt-4o", ["store"]),
    "together": ("meta-llama/Llama-3.3-70B-Instruct-Turbo", ["store", "user"]),
    "vllm": ("qwen3-8b", ["store", "user"]),
    "xai": ("grok-3", ["logit_bias", "store"]),
}
SENT: dict[str, Any] = {"logit_bias": {"50256": -100}, "store": True, "user": "u1"}
ASKED: Any = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hello"}]
STRICT = "mistral/mistral-small-latest"
POLICY = """\
parameters: strict
routing_policy:
  - name: asked
    condition: model != "auto"
    route: requested
  - name: strict
    condition: true
    route: mistral/mistral-small-latest
    fallback: [openai/gpt-4o]
targets:
  mistral/mistral-small-latest: {price: 0, context_window: 128k}
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(list(KINDS), "--latency", "*=0") as playing:
        yield playing


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: SimulatorProcess
) -> Iterator[Served]:
    lenient = "{price: 0, context_window: 128k, parameters: lenient}"
    targets = "".join(f"  '{kind}/{model}': {lenient}\n" for kind, (model, _) in KINDS.items())
    # Azure's address comes out of its own variable.
    providers = providers_of({kind: simulator for kind in KINDS if kind != "azure"})
    environment = {f"{kind.upper()}_API_KEY": "simulated" for kind in KINDS}
    environment |= {
        "AZURE_OPENAI_API_KEY": "simulated",
        "AZURE_OPENAI_ENDPOINT": simulator.base_url("azure"),
    }
    folder = tmp_path_factory.mktemp("kinds")
    served = start(folder, POLICY + targets + providers, **environment)
    yield served
    assert served.stop() == 0
    assert "ERROR" not in served.log.read_text()


@pytest.fixture
def client(gateway: Served, simulator: SimulatorProcess) -> Iterator[openai.OpenAI]:
    simulator.clear_stats()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_name_of_the_model_changes(client: openai.OpenAI, kind: str, stream: bool) -> None:
    model, dropped = KINDS[kind]
    asked: Any = {"model": f"{kind}/{model}", "messages": ASKED, **SENT}
    if stream:
        with client.chat.completions.with_streaming_response.create(stream=True, **asked) as raw:
            headers = raw.headers
            text = "".join(raw.iter_text())
        assert "you said" in text.replace('"}', "") or "hello" in text
        assert text.endswith("data: [DONE]\n\n")
    else:
        whole = client.chat.completions.with_raw_response.create(**asked)
        headers = whole.headers
        answer = whole.parse()
        assert (answer.choices[0].message.content or "").endswith("you said: hello")
        assert answer.model == f"{kind}/{model}"
    assert headers["x-turnout-model"] == f"{kind}/{model}"
    assert sorted(filter(None, headers.get("x-turnout-dropped", "").split(","))) == dropped


def test_under_strict_a_parameter_that_a_target_lacks_is_refused_and_nothing_leaves(
    client: openai.OpenAI, simulator: SimulatorProcess
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=STRICT, messages=ASKED, logit_bias={"1": 1})
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "logit_bias")
    assert simulator.requests(5) == []


def test_under_strict_another_target_that_has_it_answers(
    client: openai.OpenAI, simulator: SimulatorProcess
) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="auto", messages=ASKED, logit_bias={"1": 1}
    )
    assert answer.headers["x-turnout-model"] == "openai/gpt-4o"
    assert "x-turnout-dropped" not in answer.headers
    (request,) = simulator.requests(5)
    assert request["body"]["logit_bias"] == {"1": 1}
