"""`turnout conformance`, as it is typed."""

import json
import socket
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.e2e.conftest import Served
from turnout.cli import main
from turnout.conformance.suite import cases

KEY = "tk-canary-of-the-command"


def ask(gateway: Served, *words: str) -> int:
    return main(["conformance", "--base-url", f"{gateway.url}/v1", "--model", "gpt-4o", *words])


def test_all_passed_is_exit_code_0(gateway: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(gateway, "--only", "models", "tools") == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1].startswith("41 cases in ")
    assert told.rstrip().endswith("41 passed, 0 failed, 0 skipped, 0 not offered")


def test_a_failure_is_exit_code_1_and_says_what_was_seen(
    gateway: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    case = "embeddings.a-string-is-embedded"
    words = ("--embedding-model", "no-such-model", "--case", case, "--key", KEY)
    assert ask(gateway, *words) == 1
    told = capsys.readouterr().out
    assert f"failed {case}" in told
    assert "expected  " in told
    assert "seen      status 404" in told
    assert "source    OpenAI" in told
    assert KEY not in told


def test_a_model_that_nobody_knows_ends_the_run_with_one_line_and_exit_code_2(
    gateway: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--base-url", f"{gateway.url}/v1", "--model", "nonsense", "--key", KEY)
    assert main(["conformance", *words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "the model `nonsense` is not known there (status 404: " in told.err
    assert len(told.err.strip().splitlines()) == 2
    assert KEY not in told.err
    # What asks nothing of the model is asked all the same.
    assert main(["conformance", *words, "--only", "models"]) == 0


def test_it_is_told_which_targets_answered(
    gateway: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(gateway, "--case", "request.a-seed-is-taken") == 0
    assert "answered by: openai/gpt-4o (1 case)\n" in capsys.readouterr().out
    assert ask(gateway, "--case", "request.a-seed-is-taken", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["answered_by"] == {"openai/gpt-4o": 1}


def test_the_forms_are_written_to_a_file(
    gateway: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form, read in (
        ("json", lambda text: json.loads(text)["cases"]),
        ("junit", lambda text: ElementTree.fromstring(text).findall(".//testcase")),
        ("html", lambda text: text.split("<details")[1:]),
    ):
        file = tmp_path / f"out.{form}"
        assert ask(gateway, "--only", "models", "--format", form, "--output", str(file)) == 0
        assert len(read(file.read_text())) == 12
        assert f"written to {file}" in capsys.readouterr().out


def test_the_list_asks_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(cases()) + 1
    assert main(["conformance", "--list", "--only", "models"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "12 cases"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "`--base-url` and `--model` are needed"),
        (("--base-url", "localhost:1", "--model", "m"), "is no base URL"),
        (("--base-url", "http://[", "--model", "m"), "is no base URL"),
        (("--base-url", "http://a:b@c/v1", "--model", "m"), "holds no user"),
        (("--only", "toys", "--list"), "there is no area and no case `toys`"),
        (("--case", "tools.toys", "--list"), "there is no area and no case `tools.toys`"),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conformance", *words]) == 2
    assert said in capsys.readouterr().err


def test_nobody_there_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        assert main(["conformance", "--base-url", url, "--model", "m", "--key", KEY]) == 2
    told = capsys.readouterr()
    assert "nothing can be asked at" in told.err
    assert KEY not in told.out + told.err


def test_a_base_url_that_leads_nowhere_is_exit_code_2(
    gateway: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conformance", "--base-url", gateway.url + "/v2", "--model", "gpt-4o"]) == 2
    assert "nothing that was asked for is offered there" in capsys.readouterr().err


def test_the_key_is_taken_from_the_environment(
    gateway: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TURNOUT_CONFORMANCE_KEY", "a key\nof two lines")
    assert ask(gateway, "--only", "models") == 2
    assert "the key has characters that no header can carry" in capsys.readouterr().err
