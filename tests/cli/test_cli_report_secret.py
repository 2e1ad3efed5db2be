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
