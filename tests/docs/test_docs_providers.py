"""The page of providers: its examples can be served as they stand, and say what is true."""

from pathlib import Path

import pytest

from turnout.adapters import PROVIDERS
from turnout.adapters.azure import API_VERSION
from turnout.engine.policy import Policy

PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
EXAMPLES = {kind.kind: kind.example for kind in PROVIDERS.values() if kind.example}


@pytest.mark.parametrize("kind", ["azure", "bedrock"])
def test_an_address_of_ones_own_has_an_example_that_lint_has_nothing_to_say_of(
    kind: str, tmp_path: Path
) -> None:
    written = EXAMPLES[kind]
    assert f"```yaml\n{written}```\n" in PAGE
    path = tmp_path / "routing.yml"
    path.write_text(written)
    assert Policy.load(path).diagnostics == ()
    named = (PROVIDERS[kind].key_variable, *PROVIDERS[kind].variables)
    assert any(variable in written for variable in named)


def test_the_page_names_the_version_that_azure_is_asked_with() -> None:
    assert f"`api-version={API_VERSION}`" in PAGE


def test_the_page_says_what_a_kind_refuses_of_a_parameter_that_it_has() -> None:
    for kind in PROVIDERS.values():
        for told in kind.partly:
            assert told in PAGE
    assert "`json_object`" in PAGE.partition("### `bedrock`")[2].partition("###")[0]
    assert "forces a tool" in PAGE.partition("### `ollama`")[2].partition("###")[0]
