"""What a client's `model` stands for."""

import pytest

from turnout.dsl.check import compile_policy
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema
from turnout.engine.names import NAMES_KEPT, Names
from turnout.engine.request import RequestError

SCHEMA = language_schema()
POLICY = """
providers:
  openai: {}
  local: {kind: ollama, base_url: "http://localhost:11434"}
targets:
  local/tiny: {price: 0, context_window: 8k}
models:
  small: local/tiny
  house: policy
  gpt-4: local/tiny
routing_policy:
  - {name: all, route: requested}
"""


def names(policy: str = POLICY) -> Names:
    program = compile_policy(Source("test", policy), SCHEMA)
    return Names(program, program.schema.catalog)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("auto", None),
        ("house", None),
        ("small", "local/tiny"),
        ("gpt-4", "local/tiny"),  # the file wins over the built-in name
        ("openai/gpt-4", "openai/gpt-4"),
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("local/tiny", "local/tiny"),
    ],
)
def test_a_known_name_stands_for_its_target_or_for_the_policy(
    name: str, target: str | None
) -> None:
    found = names().resolve(name).target
    assert (None if found is None else found.id) == target


@pytest.mark.parametrize(
    "name", ["", "gpt-5-imaginary", "nowhere/gpt-4", "Small", "auto ", "gpt-4 ", "policy"]
)
def test_an_unknown_name_is_refused_and_never_a_default(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        names().resolve(name)
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert f"`{name}`" in caught.value.message


@pytest.mark.parametrize("name", ["openai/whisper-1", "ft:gpt-4.1-2025-04-14:acme::abc"])
def test_a_model_without_a_price_is_refused_with_what_to_declare(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        names().resolve(name)
    assert (caught.value.status, caught.value.code) == (400, "model_unpriced")
    assert caught.value.param == "model"
    assert "`price: 0`" in caught.value.message


def test_a_refused_name_is_refused_again() -> None:
    known = names()
    for _ in range(2):
        with pytest.raises(RequestError, match="does not exist"):
            known.resolve("made-up")


def test_names_made_up_by_callers_do_not_pile_up() -> None:
    known = names()
    for number in range(NAMES_KEPT + 10):
        known.resolve(f"ft:gpt-4o-mini-2024-07-18:acme::{number}")
    assert len(known._seen) == NAMES_KEPT


def test_only_names_of_usable_providers_are_listed_with_their_owners() -> None:
    known = names()
    local = known.listed(frozenset({"local"}))
    assert local["auto"] == local["house"] == "turnout"
    assert local["small"] == local["gpt-4"] == local["local/tiny"] == "local"
    assert "gpt-4o-mini" not in local
    everything = known.listed(frozenset({"local", "openai"}))
    assert everything["gpt-4o-mini"] == "openai"
    assert set(local) < set(everything)


def test_everything_that_is_listed_can_be_asked_for() -> None:
    known = names()
    for name in known.listed(frozenset({"local", "openai"})):
        assert known.resolve(name).name == name


def test_names_of_the_policy_are_listed_whoever_is_usable() -> None:
    listed = names().listed(frozenset({"openai"}))
    assert "local/tiny" not in listed
    assert {"small", "gpt-4", "house"} <= set(listed)
