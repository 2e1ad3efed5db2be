"""The policies in the documents are linted and their tests run."""

import re
from pathlib import Path

import pytest

from turnout.cli import policy

ROOT = Path(__file__).parents[2]
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in ("README.md", "docs/policy.md")
    for number, block in enumerate(
        re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_policy_in_the_documents_has_no_finding_and_passes_its_tests(
    block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(block)
    assert policy(["lint", str(file), "--fail-on", "warning"]) == 0, capsys.readouterr().out
    assert policy(["test", str(file)]) == 0, capsys.readouterr().out
