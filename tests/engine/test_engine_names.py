"""What a client's `model` stands for."""

import pytest

from turnout.dsl.check import compile_policy
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema
from turnout.engine.names import NAMES_KEPT, Names, reached
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


BOTH = frozenset({"local", "openai"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gpt-4o-mni", "gpt-4o-mini"),
        ("GPT4o", "gpt-4o"),
        ("Small", "small"),
        ("auto ", "auto"),
        ("openai/gpt-4o-mni", "openai/gpt-4o-mini"),
        ("local/tinny", None),  # whoever answers for free has any model
        ("zzzzz", None),
        ("gpt-4o-mini" * 20, None),
    ],
)
def test_a_refused_name_comes_with_the_one_most_like_it(name: str, meant: str | None) -> None:
    known = names()
    if name.startswith("local/"):
        assert known.resolve(name, lambda: BOTH).target is not None
        return
    with pytest.raises(RequestError) as caught:
        known.resolve(name, lambda: BOTH)
    expected = "" if meant is None else f" Did you mean `{meant}`?"
    assert caught.value.message.endswith(expected or ".")
    assert ("Did you mean" in caught.value.message) == bool(expected)
    assert meant is None or known.resolve(meant).name == meant


@pytest.mark.parametrize(
    ("name", "usable", "meant"),
    [
        ("claude-4-sonnet", ("anthropic",), "claude-sonnet-4"),
        ("claude-sonet-4", ("openai",), None),
        ("google/gemini-2.5-flash", ("gemini", "openrouter"), "gemini/gemini-2.5-flash"),
        ("bedrock/nova-pro", ("bedrock",), "bedrock/amazon.nova-pro-v1:0"),
        ("bedrock/nova-pro", ("openai",), None),
    ],
)
def test_only_what_can_be_asked_for_is_suggested(
    name: str, usable: tuple[str, ...], meant: str | None
) -> None:
    with pytest.raises(RequestError) as caught:
        names().resolve(name, lambda: frozenset(usable))
    assert ("Did you mean" in caught.value.message) == (meant is not None)
    assert meant is None or f"Did you mean `{meant}`?" in caught.value.message


REQUESTED = "  - {name: rest, route: requested}\n"
FIXED = "  - {name: fixed, condition: tokens < 100, route: groq/llama-3-8b}\n"


@pytest.mark.parametrize(
    "rest",
    [
        REQUESTED,
        "  - {name: rest, route: openai/gpt-4o}\nfallback_chain: [{to: requested}]\n",
        "  - {name: rest, route: openai/gpt-4o, fallback: [requested]}\n",
    ],
)
def test_where_the_requested_model_is_given_the_makers_are_needed_too(rest: str) -> None:
    program = compile_policy(Source("test", f"routing_policy:\n{FIXED}{rest}"), SCHEMA)
    needed = reached(program, frozenset({"together", "ollama"}))
    assert {"groq", "openai", "anthropic", "gemini", "together"} <= needed
    assert needed.isdisjoint({"ollama", "vllm", "azure", "bedrock", "openrouter"})


def test_a_policy_of_fixed_targets_needs_their_providers_alone() -> None:
    program = compile_policy(
        Source("test", f"routing_policy:\n{FIXED}  - {{name: rest, route: openai/gpt-4o}}\n"),
        SCHEMA,
    )
    assert reached(program, frozenset({"together"})) == {"groq", "openai"}
