import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import turnout
from turnout import cli
from turnout.cli import COMMANDS, POLICY_COMMANDS, dispatch
from turnout.cli.dispatch import CommandError
from turnout.cli.files import read_source

TURNOUT = [sys.executable, "-m", "turnout"]


def pretend(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make every command fail with this."""

    class Command:
        """Fail."""

        @staticmethod
        def configure(parser: argparse.ArgumentParser) -> None: ...

        @staticmethod
        def run(arguments: argparse.Namespace) -> int:
            raise error

    monkeypatch.setattr(dispatch, "_load", lambda name: Command)


@pytest.mark.parametrize("name", sorted({*COMMANDS, *POLICY_COMMANDS}))
def test_every_command_has_a_help_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = cli.policy if name in POLICY_COMMANDS else cli.main
    assert run([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f" {name} " in shown.splitlines()[0] and "--debug" in shown


@pytest.mark.parametrize("program", ["turnout", "policy"])
def test_the_version_says_of_what_day_the_prices_are(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = cli.main if program == "turnout" else cli.policy
    assert run(["--version"]) == 0
    own, prices = capsys.readouterr().out.splitlines()
    assert own == f"{program} {turnout.__version__}"
    assert re.fullmatch(r"prices of genai-prices \d\S+, taken on 20\d\d-\d\d-\d\d", prices)


def test_the_overview_names_every_command_with_its_purpose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["--help"]) == 0
    rows = capsys.readouterr().out.partition("commands:\n")[2].splitlines()
    told = {row.split()[0]: row.split()[1:] for row in rows if row.startswith("  ")}
    assert set(told) == {*COMMANDS, "policy"}
    assert all(len(words) > 2 for words in told.values())


def test_no_command_shows_the_overview_and_is_a_wrong_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["srve"], "turnout: unknown command `srve`\n  help: did you mean `turnout serve`?\n"),
        (
            ["lint"],
            "turnout: unknown command `lint`\n  help: did you mean `turnout policy lint`?\n",
        ),
        (
            ["policy", "lnt"],
            "turnout: unknown command `lnt`\n  help: did you mean `policy lint`?\n",
        ),
    ],
)
def test_an_unknown_command_is_answered_with_the_one_meant(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    assert capsys.readouterr().err == told


def test_a_defect_is_one_line_and_a_filed_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pretend(monkeypatch, ZeroDivisionError("by\nzero"))
    assert cli.policy(["lint"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    (filed,) = tmp_path.iterdir()
    assert line == (
        f"policy: internal error: ZeroDivisionError: by (the traceback is in {filed}; "
        "`--debug` shows it)"
    )
    assert filed.read_text().startswith("Traceback")
    assert filed.stat().st_mode & 0o077 == 0


def test_debug_shows_the_traceback_of_a_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, ZeroDivisionError("zero"))
    assert cli.policy(["lint", "--debug"]) == 3
    assert capsys.readouterr().err.startswith("Traceback")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (CommandError("there is no journal", status=2), 2),
        (SystemExit(5), 5),
        (SystemExit(), 0),
    ],
)
def test_the_ways_a_command_ends(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, error)
    assert cli.main(["trace"]) == status


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    rules = "".join(f"  - name: rule_{i}\n    conditon: x\n" for i in range(3_000))
    file = tmp_path / "many.yml"
    file.write_text(f"routing_policy:\n{rules}")
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [*TURNOUT, "policy", "lint", str(file)], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    os.close(reading)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (141, b"")


def open_when_read(fifo: Path, process: "subprocess.Popen[bytes]") -> int:
    """The fifo, opened to write once the process has opened it to read."""
    while process.poll() is None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.01)
    raise AssertionError(f"the command ended early with {process.returncode}")


def test_an_interrupted_command_ends_with_130(tmp_path: Path) -> None:
    fifo = tmp_path / "policy.yml"
    os.mkfifo(fifo)  # reading it blocks until somebody writes
    process = subprocess.Popen(
        [*TURNOUT, "policy", "lint", str(fifo)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A shell that runs the tests in its background has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    writing = open_when_read(fifo, process)
    # A signal between opening and reading is seen only after the read: a person presses again.
    for _ in range(60):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=1)
            break
        except subprocess.TimeoutExpired:
            continue
    _, told = process.communicate(timeout=60)
    os.close(writing)
    assert (process.returncode, told) == (130, b"\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file `{}`"),
        (b"name: caf\xe9\n", "`{}` is not UTF-8 text (byte 10, line 1)"),
        (b"#" * (4 * 1024 * 1024 + 1), "`{}` is larger than 4 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_words(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "routing.yml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CommandError) as refused:
        read_source(str(file))
    assert refused.value.message == message.format(file)
    assert refused.value.status == 2


def test_a_folder_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is a folder"):
        read_source(str(tmp_path))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "routing.yml"
    file.write_bytes(b"\xef\xbb\xbfversion: 1\r\n")
    assert read_source(str(file)).text == "version: 1\r\n"


def test_a_missing_file_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.policy(["lint", "nowhere.yml"]) == 2
    assert capsys.readouterr().err == "policy: there is no file `nowhere.yml`\n"


def test_a_full_disk_is_told_and_is_no_defect() -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*TURNOUT, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ran.returncode == 2
    assert ran.stderr == "turnout: the output cannot be written: no space left on device\n"


def test_a_closed_standard_output_is_no_defect() -> None:
    shell = ["sh", "-c", '"$0" "$@" >&-', *TURNOUT, "--help"]
    ran = subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_process_ends_with_the_status_and_all_that_was_said(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text("routing_policy: [{name: a, route: openai/gpt-4}]\n")
    words = ["bounds", "one.yml", "--max-attempts", "1"]
    code = (
        f"import sys; sys.argv = ['policy', *{words!r}]; from turnout.cli import policy; policy()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, ran.stderr
    assert "more than is allowed: 1" in ran.stdout
