"""What a policy may reach: addresses and headers, with their variables, against those of before."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from turnout.addresses import news, ways
from turnout.dsl.core import Program
from turnout.engine.policy import Policy
from turnout.settings import Settings

RULES = "routing_policy:\n  - {name: all, route: openai/gpt-4}\n"
HEADER = "the header `x-a` of the provider `openai`"
HOUSE = "targets: {house/m: {price: 0, context_window: 8k}}\n"


def program(providers: str) -> Program:
    targets = HOUSE if "house:" in providers else ""
    return Policy.parse(f"providers: {{{providers}}}\n{targets}{RULES}").program


def settings(environment: Mapping[str, str] | None = None) -> Settings:
    return Settings(home=Path("unused"), environment=dict(environment or {}))


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ("", "", []),
        # A provider's own address is no news, whoever names it first.
        ("", "openai: {}, groq: {}", []),
        (
            "",
            "house: {kind: openai, base_url: 'https://a.example/v1'}",
            ["the address of the provider `house`"],
        ),
        (
            "openai: {base_url: 'https://a.example/v1'}",
            "",
            ["the address of the provider `openai`"],
        ),
        (
            "openai: {base_url: 'https://a.example/v1'}",
            "openai: {base_url: 'https://A.example:443/v2'}",
            [],
        ),
        (
            "openai: {base_url: 'https://a.example/v1'}",
            "openai: {base_url: 'https://a.example:444/v1'}",
            ["the address of the provider `openai`"],
        ),
        (
            "openai: {base_url: 'https://a.example/v1'}",
            "openai: {base_url: 'http://a.example/v1'}",
            ["the address of the provider `openai`"],
        ),
        # The address of another one: this one's key would go there.
        (
            "house: {kind: openai, base_url: 'https://a.example/v1'}",
            "house: {kind: openai, base_url: 'https://a.example/v1'}, "
            "openai: {base_url: 'https://a.example/v1'}",
            ["the address of the provider `openai`"],
        ),
        ("openai: {}", "openai: {headers: {x-a: b}}", [HEADER]),
        ("openai: {headers: {X-A: b}}", "openai: {headers: {x-a: b}}", []),
        ("openai: {headers: {x-a: b}}", "openai: {headers: {x-a: c}}", [HEADER]),
        ("openai: {headers: {x-a: b, x-b: c}}", "openai: {headers: {x-b: c}}", []),
        (
            "openai: {headers: {x-a: '${TURNOUT_VAR_A}'}}",
            "openai: {headers: {x-a: '${TURNOUT_VAR_B}'}}",
            [HEADER],
        ),
        (
            "house: {kind: openai, base_url: 'https://${TURNOUT_VAR_A}.example/v1'}",
            "house: {kind: openai, base_url: 'https://${TURNOUT_VAR_B}.example/v1'}",
            ["the address of the provider `house`"],
        ),
        # A path is sent there too.
        (
            "house: {kind: openai, base_url: 'https://a.example/v1', "
            "headers: {x-a: '${TURNOUT_VAR_A}'}}",
            "house: {kind: openai, base_url: 'https://a.example/${TURNOUT_VAR_B}'}",
            ["`${TURNOUT_VAR_B}` in the address of the provider `house`"],
        ),
        (
            "house: {kind: openai, base_url: 'https://a.example/${TURNOUT_VAR_B}/v1'}",
            "house: {kind: openai, base_url: 'https://a.example/v2/${TURNOUT_VAR_B}'}",
            [],
        ),
        # Kinds read keys of their own, and what is signed with them goes along.
        (
            "house: {kind: openai, base_url: 'https://a.example/v1'}",
            "house: {kind: azure, base_url: 'https://a.example/v1'}",
            ["`AZURE_OPENAI_ENDPOINT` for the provider `house`"],
        ),
        (
            "openai: {base_url: 'https://a.example/v1'}",
            "openai: {kind: anthropic, base_url: 'https://a.example/v1'}",
            [],
        ),
        (
            "groq: {base_url: 'https://a.example/v1'}",
            "groq: {kind: openai, base_url: 'https://a.example/v1'}",
            [],
        ),
        (
            "house: {kind: openai, base_url: 'https://[2001:db8::1]:8443/v1'}",
            "house: {kind: openai, base_url: 'https://[2001:db8::1:8443]/v1'}",
            ["the address of the provider `house`"],
        ),
        (
            "house: {kind: openai, base_url: 'https://${TURNOUT_VAR_A}.example/v1'}",
            "house: {kind: anthropic, base_url: 'https://a.example/v1'}",
            [],
        ),
    ],
)
def test_what_is_new_is_named_and_nothing_else(before: str, after: str, new: list[str]) -> None:
    given = settings({"TURNOUT_VAR_A": "a", "TURNOUT_VAR_B": "b"})
    found = news(ways(given, program(before)), ways(given, program(after)))
    assert [str(way) for way in found] == new


def test_an_address_that_the_environment_makes_is_known_by_it() -> None:
    azure = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://one.example"}
    with_azure = ways(settings(azure), program(""))
    assert any(
        way.provider == "azure" and way.origin == "https://one.example" for way in with_azure
    )
    assert not any(way.provider == "azure" for way in ways(settings(), program("")))


def test_where_providers_are_played_nothing_is_reached() -> None:
    played = replace(settings(), played={"openai": "http://127.0.0.1:1/v1"})
    found = ways(played, program("house: {kind: openai, base_url: 'https://a.example/v1'}"))
    assert not {way.provider for way in found} & {"openai", "house"}


def test_no_address_is_told_to_anybody() -> None:
    given = settings({"TURNOUT_VAR_A": "secret"})
    text = (
        "house: {kind: openai, base_url: 'https://h.example/v1', headers: {x: '${TURNOUT_VAR_A}'}}"
    )
    for way in ways(given, program(text)):
        assert "example" not in str(way)
        assert "secret" not in repr(way)
