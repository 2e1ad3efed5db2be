"""`policy fmt` over real files: what is written, what is not, and the exit codes."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout.dsl.format import MeaningChanged, formatted
from turnout.dsl.source import Source

from .conftest import Ran

UGLY = """\
routing_policy:
- name: "a"   # the only one
  condition: tokens<100
  route: openai/gpt-4o
"""
FORM = """\
routing_policy:
  - name: a     # the only one
    condition: tokens < 100
    route: openai/gpt-4o
"""
Command = Callable[[str], Ran]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "routing.yml"
    path.write_text(UGLY)
    return path


def test_a_file_is_put_into_form_in_place_and_keeps_its_mode(file: Path, command: Command) -> None:
    file.chmod(0o640)
    ran = command(f"policy fmt {file}")
    assert (ran.status, ran.out, ran.err) == (0, "", f"{file}: formatted\n")
    assert file.read_text() == FORM
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_a_file_in_form_is_not_touched(file: Path, command: Command) -> None:
    file.write_text(FORM)
    os.utime(file, ns=(1, 1))
    assert command(f"policy fmt {file}") == Ran("", "", 0)
    assert file.stat().st_mtime_ns == 1


def test_check_writes_nothing_and_tells_which_files_are_not_in_form(
    file: Path, command: Command
) -> None:
    good = file.with_name("good.yml")
    good.write_text(FORM)
    ran = command(f"policy fmt --check {good} {file}")
    assert (ran.status, ran.err) == (1, f"{file}: not in form\n")
    assert file.read_text() == UGLY
    assert command(f"policy fmt --check {good}").status == 0


def test_a_diff_is_printed_and_nothing_written(file: Path, command: Command) -> None:
    ran = command(f"policy fmt --diff {file}")
    assert ran.status == 0
    assert f"--- {file}\n+++ {file}\n@@ -1,4 +1,4 @@\n" in ran.out
    assert "-  condition: tokens<100\n" in ran.out
    assert "+    condition: tokens < 100\n" in ran.out
    assert file.read_text() == UGLY
    assert command(f"policy fmt --diff --check {file}").status == 1


def test_standard_input_goes_to_standard_output(file: Path, command: Command) -> None:
    assert command(f"policy fmt - < {file}") == Ran(FORM, "", 0)
    assert command(f"policy fmt --check - < {file}").status == 1


def test_a_byte_order_mark_is_not_in_form(file: Path, command: Command) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + FORM.encode())
    assert command(f"policy fmt --check {file}").status == 1
    assert command(f"policy fmt {file}").status == 0
    assert file.read_bytes() == FORM.encode()


def test_a_file_with_an_error_of_syntax_stays_and_the_others_are_formatted(
    file: Path, command: Command
) -> None:
    broken = file.with_name("broken.yml")
    text = UGLY.replace("tokens<100", "tokens <")
    broken.write_text(text)
    ran = command(f"policy fmt {broken} {file}")
    assert ran.status == 2
    assert "error[RP001 syntax-error]" in ran.err
    assert f"1 error in {broken}, left as it is" in ran.err
    assert broken.read_text() == text
    assert file.read_text() == FORM


def test_a_file_that_is_not_there_is_told(command: Command) -> None:
    ran = command("policy fmt nowhere.yml")
    assert (ran.status, ran.err) == (2, "policy: there is no file `nowhere.yml`\n")


def test_a_link_stays_a_link(file: Path, command: Command) -> None:
    link = file.with_name("link.yml")
    link.symlink_to(file)
    assert command(f"policy fmt {link}").status == 0
    assert link.is_symlink()
    assert file.read_text() == FORM


def test_what_cannot_be_written_leaves_the_file_and_no_other(
    file: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    ran = command(f"policy fmt {file}")
    assert (ran.status, ran.err) == (
        2,
        f"policy: `{file}` cannot be written: no space left on device\n",
    )
    assert file.read_text() == UGLY
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_was_changed_meanwhile_is_left(
    file: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(source: Source) -> str:
        file.write_text(f"# new\n{UGLY}")
        return formatted(source)

    monkeypatch.setattr("turnout.cli.fmt.formatted", slow)
    ran = command(f"policy fmt {file}")
    assert (ran.status, "was changed meanwhile" in ran.err) == (2, True)
    assert file.read_text() == f"# new\n{UGLY}"
    assert list(file.parent.iterdir()) == [file]


def test_a_formatter_that_would_change_the_meaning_writes_nothing(
    file: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.dsl.format.laid_out", lambda text: text.replace("100", "200"))
    ran = command(f"policy fmt --debug {file}")
    assert ran.status == 3
    assert MeaningChanged.__name__ in ran.err
    assert file.read_text() == UGLY
