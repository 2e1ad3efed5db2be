"""What is said of providers, kinds and models that people name as elsewhere."""

import pytest

from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.lint.run import lint
from turnout.dsl.source import Source
from turnout.engine.catalog import KINDS, language_schema

SCHEMA = language_schema()


def errors(text: str) -> list[Diagnostic]:
    found = lint(Source("routing.yml", text), SCHEMA).findings
    return [finding for finding in found if finding.severity == "error"]


def routed(target: str) -> str:
    return f"routing_policy:\n  - {{name: all, route: '{target}'}}\n"


@pytest.mark.parametrize(
    "target",
    [
        "azure/gpt-4o",
        "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/eu.amazon.nova-pro-v1:0",
        "fireworks/llama-v3p1-8b-instruct",
    ],
)
def test_a_providers_own_way_to_name_a_model_needs_no_declaration(target: str) -> None:
    assert errors(routed(target)) == []


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("bedrock/nova-pro", "bedrock/amazon.nova-pro-v1:0"),
        ("google/gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("gemini/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("aws/amazon.nova-pro-v1:0", "bedrock/amazon.nova-pro-v1:0"),
    ],
)
def test_a_name_of_elsewhere_leads_to_ours(target: str, meant: str) -> None:
    (found,) = errors(routed(target))
    assert (found.code, found.help) == ("RP301", f"did you mean `{meant}`?")


def test_an_unknown_kind_is_told_every_kind_there_is() -> None:
    providers = "providers:\n  house: {kind: zzzzzz, base_url: 'https://llm.example/v1'}\n"
    (found,) = errors(providers + routed("groq/llama-3-8b"))
    assert found.help is not None
    assert [kind for kind in KINDS if f"`{kind}`" not in found.help] == []
    assert "…" not in found.help


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("bedrock: {region: us-east-1}", "`AWS_REGION`"),
        ("bedrock: {aws_region: us-east-1}", "`AWS_REGION`"),
        ("azure: {api_version: 2024-10-21}", "`/openai/v1`"),
        ("azure: {deployment: mine}", "`azure/my-deployment`"),
    ],
)
def test_what_is_no_key_of_a_provider_has_its_place_told(entry: str, told: str) -> None:
    (found,) = errors(f"providers:\n  {entry}\n" + routed("groq/llama-3-8b"))
    assert found.code == "RP005"
    assert found.help is not None and told in found.help
