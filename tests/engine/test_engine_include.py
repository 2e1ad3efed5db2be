"""Included files on a real disk: found beside the policy, and nowhere else."""

import os
from pathlib import Path

import pytest

from turnout.dsl.diagnostic import Diagnostic, PolicyError
from turnout.engine.include import MAX_BYTES
from turnout.engine.policy import Policy

RULES = "routing_policy:\n  - {name: small, condition: tiny, route: openai/gpt-4o}\n"
RULES += "  - {name: default, route: openai/gpt-4o}\n"
TINY = "let: {tiny: tokens < 100}\n"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "routing.yml").write_text(f"include: names.yml\n{RULES}", encoding="utf-8")
    return folder


def refusal(conf: Path) -> Diagnostic:
    with pytest.raises(PolicyError) as raised:
        Policy.load(conf / "routing.yml")
    (finding,) = [d for d in raised.value.diagnostics if d.code == "RP006"]
    assert (finding.span.line, finding.span.excerpt) == (1, "names.yml")
    return finding


def test_an_included_file_is_read_from_beside_the_policy(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (conf / "names.yml").write_bytes(b"\xef\xbb\xbf" + TINY.encode())
    assert Policy.load(conf / "routing.yml").decide({"tokens": 80}).rule == "small"
    monkeypatch.chdir(conf)
    assert Policy.load("routing.yml").decide({"tokens": 800}).rule == "default"


def test_a_missing_file_has_its_suggestion(conf: Path) -> None:
    (conf / "name.yml").write_text(TINY, encoding="utf-8")
    finding = refusal(conf)
    assert "there is no file" in finding.message
    assert finding.help == "did you mean `name.yml`?"


def test_a_link_inside_the_folder_is_followed(conf: Path) -> None:
    (conf / "real").mkdir()
    (conf / "real" / "names.yml").write_text(TINY, encoding="utf-8")
    (conf / "names.yml").symlink_to(conf / "real" / "names.yml")
    assert Policy.load(conf / "routing.yml").decide({"tokens": 80}).rule == "small"


def test_a_link_out_of_the_folder_is_refused(conf: Path) -> None:
    outside = conf.parent / "names.yml"
    outside.write_text("let: {secret: sk-0123456789abcdef}\n", encoding="utf-8")
    (conf / "names.yml").symlink_to(outside)
    finding = refusal(conf)
    assert "leads out of" in finding.message
    assert "0123456789" not in f"{finding.message}{finding.help}"


def test_a_circle_of_links_is_refused(conf: Path) -> None:
    (conf / "names.yml").symlink_to(conf / "names.yml")
    assert "cannot be read" in refusal(conf).message


def test_a_folder_is_refused(conf: Path) -> None:
    (conf / "names.yml").mkdir()
    refusal(conf)


def test_a_pipe_is_refused_and_not_waited_for(conf: Path) -> None:
    os.mkfifo(conf / "names.yml")
    assert "is no file" in refusal(conf).message


def test_a_file_that_is_too_large_is_refused(conf: Path) -> None:
    (conf / "names.yml").write_bytes(b" " * (MAX_BYTES + 1))
    assert "larger than 4 MiB" in refusal(conf).message


def test_a_file_that_is_not_text_is_refused(conf: Path) -> None:
    (conf / "names.yml").write_bytes(b"# caf\xe9\n")
    assert "is not UTF-8 text (byte 6)" in refusal(conf).message
