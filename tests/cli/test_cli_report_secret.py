"""A secret written into a policy is pointed at, never repeated."""

from pathlib import Path

import pytest

from turnout.cli import policy

SECRET = "sk-" + "abcdefghijklmnop1234567890"
TEXT = f"""\
providers:
  openai: {{headers: {{x-key: "Bearer {SECRET}"}}}}
routing_policy:
  - {{name: a, route: openai/gpt-4}}
"""


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif", "junit"])
def test_no_format_repeats_a_literal_secret(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(TEXT)
    assert policy(["lint", str(file), "--format", form]) == 1
    printed = "".join(capsys.readouterr())
    assert "RP007" in printed
    assert SECRET not in printed


def test_another_finding_beside_a_secret_does_not_show_it_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(
        f"providers:\n  acme: {{kidn: openai, api_key: {SECRET}}}\n"
        "routing_policy:\n  - {name: a, route: openai/gpt-4}\n"
    )
    assert policy(["lint", str(file)]) == 1
    printed = "".join(capsys.readouterr())
    assert "RP007" in printed and "`kidn`" in printed
    assert SECRET not in printed
