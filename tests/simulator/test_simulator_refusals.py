"""What the simulated OpenAI refuses, as OpenAI does, and two answers that once were wrong."""

import http.client
from typing import Any

import httpx
import pytest

from turnout.simulator.process import SimulatorProcess

MESSAGES = [{"role": "user", "content": "Say hello."}]
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": 3}, "temperature", "decimal_above_max_value"),
    ({"temperature": -1}, "temperature", "decimal_below_min_value"),
    ({"temperature": "hot"}, "temperature", "invalid_type"),
    ({"n": 0}, "n", "integer_below_min_value"),
    ({"n": 129}, "n", "integer_above_max_value"),
    ({"n": True}, "n", "invalid_type"),
    ({"stream": "yes"}, "stream", "invalid_type"),
    ({"tools": "get_weather"}, "tools", "invalid_type"),
    ({"response_format": "json"}, "response_format", "invalid_type"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "invalid_type"),
]


def ask(simulator: SimulatorProcess, **members: Any) -> httpx.Response:
    body = {"model": "gpt-4o", "messages": MESSAGES, **members}
    url = f"{simulator.base_url('openai')}/chat/completions"
    return httpx.post(url, json=body, headers={"authorization": "Bearer any"}, trust_env=False)


@pytest.mark.parametrize(("members", "param", "code"), REFUSED)
def test_what_openai_refuses_is_refused_by_name(
    members: dict[str, Any], param: str, code: str, simulator: SimulatorProcess
) -> None:
    answer = ask(simulator, **members)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)


def test_nulls_and_bounds_are_taken(simulator: SimulatorProcess) -> None:
    assert ask(simulator, temperature=2, n=None, stream=None, tools=None).status_code == 200


def test_log_probabilities_come_when_they_are_asked_for(simulator: SimulatorProcess) -> None:
    choice = ask(simulator, logprobs=True, top_logprobs=2).json()["choices"][0]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    assert {len(token["top_logprobs"]) for token in tokens} == {2}
    assert ask(simulator).json()["choices"][0]["logprobs"] is None


def test_a_connection_is_of_use_after_head(simulator: SimulatorProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port("openai"), timeout=10)
    for _ in range(2):
        connection.request("HEAD", "/v1/models")
        assert connection.getresponse().read() == b""
    connection.request("GET", "/v1/models", headers={"authorization": "Bearer any"})
    assert connection.getresponse().status == 200
    connection.close()
