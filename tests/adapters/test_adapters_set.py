"""What a policy sets, on every wire: written over the client's, the rest byte for byte."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from turnout.adapters.anthropic_request import messages_body
from turnout.adapters.dialect_openai import OpenAIDialect
from turnout.adapters.groq import Groq
from turnout.adapters.ollama import Ollama
from turnout.adapters.openai import OpenAI
from turnout.adapters.openai_request import chat_body
from turnout.adapters.vectors import embeddings_body
from turnout.engine.provider import Call


def body_of(dialect: type[OpenAIDialect], call: Call) -> dict[str, Any]:
    provider = dialect.__new__(dialect)
    sent: dict[str, Any] = orjson.loads(chat_body(call, provider.departures(call.body, call)))
    return {name: value for name, value in sent.items() if value is not None}


def setting(call: Call, upstream_model: str = "upstream-model", **sets: Any) -> Call:
    return replace(call, sets=sets, upstream_model=upstream_model, dropped=[])


LIMITS: list[tuple[type[OpenAIDialect], str, str]] = [
    (OpenAI, "gpt-4o", "max_tokens"),
    (OpenAI, "o3-mini", "max_completion_tokens"),
    (OpenAI, "gpt-5-mini", "max_completion_tokens"),
    (Groq, "llama-3-8b", "max_tokens"),
    (Ollama, "qwen2.5:14b", "max_tokens"),
]


@pytest.mark.parametrize(("dialect", "model", "field"), LIMITS)
@pytest.mark.parametrize(
    "written", [{}, {"max_tokens": 900}, {"max_completion_tokens": 900}, {"max_tokens": None}]
)
def test_an_output_limit_goes_under_the_one_field_that_the_target_accepts(
    bench: Any, dialect: type[OpenAIDialect], model: str, field: str, written: dict[str, Any]
) -> None:
    sent = body_of(dialect, setting(bench.chat(**written), model, max_tokens=50))
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    assert {name: sent[name] for name in names if name in sent} == {field: 50}


def test_what_is_set_wins_and_the_rest_stays_byte_for_byte(bench: Any) -> None:
    raw = b'{"model": "gpt-4", "temperature":1.50, "seed": 123456789012345678901, "x": [1.0]}'
    body = chat_body(setting(bench.call(raw), temperature=0.25, top_p=0.5), {})
    assert b'"temperature":0.25' in body
    assert b'"seed": 123456789012345678901, "x": [1.0]}' in body
    assert orjson.loads(body)["top_p"] == 0.5


def test_without_anything_set_nothing_changes(bench: Any) -> None:
    call = bench.chat(max_completion_tokens=5, temperature=1.5)
    assert call.body is call.request.body
    assert chat_body(setting(call), {}) == chat_body(call, {})


def test_a_target_that_refuses_what_is_set_does_not_get_it(bench: Any) -> None:
    call = replace(setting(bench.chat(), temperature=0.2), refused=frozenset({"temperature"}))
    assert orjson.loads(chat_body(call, {})).get("temperature") is None
    assert call.dropped == ["temperature"]


def test_anthropics_wire_gets_it_translated(bench: Any) -> None:
    call = setting(
        bench.chat(max_completion_tokens=900, stop=["a"]), max_tokens=50, stop="b", user="u"
    )
    sent = messages_body(call).body
    assert (sent["max_tokens"], sent["stop_sequences"]) == (50, ["b"])
    assert sent["metadata"] == {"user_id": "u"}


def test_of_embeddings_only_the_user_can_be_set(bench: Any) -> None:
    call = bench.call({"model": "e", "input": "x"}, embeddings=True)
    sent = orjson.loads(embeddings_body(setting(call, user="u", max_tokens=5)))
    assert sent == {"model": "upstream-model", "input": "x", "user": "u"}
