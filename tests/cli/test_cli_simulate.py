"""`policy simulate`: logs in, sums out; what cannot be read is counted with its line."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnout import Policy, cli
from turnout.cli import log_files
from turnout.cli import simulate as simulate_command
from turnout.cli.progress import Progress
from turnout.engine.record import DecisionRecord, PulseTable
from turnout.engine.simulate import Simulation
from turnout.engine.state.sqlite import open_store
from turnout.engine.state.store import Group

from .conftest import Ran

Command = Callable[[str], Ran]
FIRST = "../../policies/first.yml"
FIRST_PATH = Path(__file__).parents[2] / "policies" / "first.yml"
ROWS = [
    {"tokens": 80, "rule": "default", "target": "openai/gpt-4", "output_tokens": 50},
    {"tokens": 300, "rule": "default", "target": "openai/gpt-4", "output_tokens": 50},
    {"tokens": 800, "rule": "default", "target": "openai/gpt-4", "output_tokens": 50},
    {"tier": "free"},
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of four rows, one of them without tokens."""
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def simulated(command: Command, line: str, status: int = 0) -> dict[str, Any]:
    ran = command(f"policy simulate {line} --format json")
    assert ran.status == status, ran.err
    document = json.loads(ran.out)
    assert isinstance(document, dict)
    return document


def test_json_has_the_keys_that_scripts_rely_on(command: Command, log: Path) -> None:
    document = simulated(command, f"{log} --policy {FIRST}")
    assert (document["requests"], document["decided"]) == (4, 3)
    assert list(document["rules"]) == ["cheap_for_simple", "smart_for_complex", "default"]
    assert {"requests", "share", "cost"} <= document["rules"]["default"].keys()
    assert document["rules"]["default"]["share"] == pytest.approx(1 / 3, abs=1e-6)
    assert document["targets"]["openai/gpt-4"]["requests"] == 1
    # $30 and $60 a million: 1 180 tokens in, 150 out
    assert document["cost"]["now"] == "0.0444"
    assert float(document["cost"]["then"]) < 0.0444
    assert document["undecidable"] == {"requests": 1, "lacking": {"tokens": 1}}
    assert {(move["old"], move["new"]) for move in document["moves"]} == {
        ("default", "cheap_for_simple"),
        ("default", "default"),
        ("default", "smart_for_complex"),
    }


def test_text_says_what_the_numbers_do_not_cover(command: Command, log: Path) -> None:
    ran = command(f"policy simulate {log} --policy {FIRST}")
    assert ran.status == 0
    assert ran.err == ""  # no progress where nobody looks
    assert ran.out.startswith("4 requests, 3 decided\n")
    assert "undecidable: 1 request without `tokens`, which the policy reads" in ran.out
    assert "moved: 2 of 3 requests to another rule (66.7 %)" in ran.out
    assert "not predicted: faults, latency and quality" in ran.out


def test_gzip_standard_input_and_several_logs_are_read_alike(
    command: Command, log: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    plain = simulated(command, f"{log} --policy {FIRST}")
    assert simulated(command, f"{packed} --policy {FIRST}") == plain
    assert simulated(command, f"- --policy {FIRST} < {log}") == plain
    assert simulated(command, f"- --policy {FIRST} < {packed}") == plain
    assert simulated(command, f"{log} {packed} --policy {FIRST}")["requests"] == 8
    assert simulated(command, f"{log} --policy {FIRST} --limit 2")["requests"] == 2


def test_rows_that_cannot_be_read_are_counted_with_their_lines(
    command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(
        b'\xef\xbb\xbf{"tokens": 80}\n\n{"tokens": "many"}\n[1]\nnope\r\n'
        b'{"tokens": 80, "cost": 0.02}\n' + b'{"x": "' + b"y" * 2_000_000 + b'"}\n'
        b'{"tokens": \xff}\n{"tokens": 5}'
    )
    document = simulated(command, f"{file} --policy {FIRST}", status=2)
    assert document["requests"] == 2
    assert document["unreadable"]["rows"] == 6
    assert [one["line"] for one in document["unreadable"]["first"]] == [3, 4, 5, 6, 7]
    assert all(one["file"] == str(file) for one in document["unreadable"]["first"])


@pytest.mark.parametrize("block", [1, 7, 64])
def test_lines_are_the_same_whatever_the_size_of_blocks(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b'{"a": 1}\n\n  \n{"b": "\xc3\xa9"}\r\n' + b"z" * 40 + b'\n{"c": 3}'
    file = tmp_path / "log.jsonl"
    file.write_bytes(text)
    monkeypatch.setattr(log_files, "_BLOCK_BYTES", block)
    monkeypatch.setattr(log_files, "LONGEST_LINE_BYTES", 30)
    moved: list[int] = []
    found = list(log_files.lines(str(file), moved.append))
    assert found == [(1, b'{"a": 1}'), (4, b'{"b": "\xc3\xa9"}\r'), (5, None), (6, b'{"c": 3}')]
    assert sum(moved) == len(text)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "there is no log to read"),
        ("nowhere.jsonl", "there is no file `nowhere.jsonl`"),
        ("files", "`files` is a folder"),
        ("files/body.json --since 7d", "`--since` is about the journal"),
        ("files/body.json --journal", "cannot be read together"),
        ("- --policy -", "standard input can be read once only"),
        ("--journal nowhere", "there is no journal `nowhere`"),
        ("--journal files/body.json", "cannot read the journal"),
        ("files/body.json --limit 0", "is not a count"),
        ("files/cut.yml", "no row can be read; files/cut.yml:1"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(line: str, told: str, command: Command) -> None:
    policy = "" if "--policy" in line else f"--policy {FIRST}"
    ran = command(f"policy simulate {line} {policy}")
    assert ran.status == 2
    assert told in ran.err
    assert "internal error" not in ran.err


def test_a_damaged_gzip_file_says_how_far_it_was_read(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl.gz"
    rows = "".join(json.dumps({"tokens": n, "id": f"{n * 7919}"}) + "\n" for n in range(9_000))
    file.write_bytes(gzip.compress(rows.encode())[:20_000])
    ran = command(f"policy simulate {file} --policy {FIRST}")
    assert ran.status == 2
    assert "is damaged after line" in ran.err


def test_since_has_to_be_a_stretch_of_time(command: Command, tmp_path: Path) -> None:
    open_store(tmp_path).close()
    for since, status in (("7d", 0), ("12h", 0), ("7", 2), ("soon", 2), ("-1d", 2)):
        ran = command(f"policy simulate --journal {tmp_path} --policy {FIRST} --since={since}")
        assert ran.status == status, (since, ran.err)


def test_a_journal_is_decided_by_what_its_records_and_pulse_tables_hold(
    command: Command, tmp_path: Path
) -> None:
    old = Policy.load(FIRST_PATH)
    records = [
        DecisionRecord(
            id=f"req_{number}",
            received_us=1_772_440_200_000_000 + number,
            took_us=1,
            digest=old.digest,
            operation="chat",
            tenant="default",
            tier="default",
            team=None,
            user=None,
            key_id=None,
            session_hash="ab" * 32,
            model="auto",
            stream=False,
            clause=2,
            rule="default",
            route="openai/gpt-4",
            target="openai/gpt-4",
            values={"request_type": "chat", "tokens": 300, "model": "auto", "max_tokens": 100},
            reasons={},
            intervals={},
            status=200,
            pulse_id=f"pulse_{number % 2}",
        )
        for number in range(4)
    ]
    pulses = [
        PulseTable("pulse_0", 0, {"p95(openai/gpt-4)": 9_000_000}, {}),
        PulseTable("pulse_1", 0, {"p95(openai/gpt-4)": 1_000_000}, {}),
    ]
    store = open_store(tmp_path)
    store.write(Group(records, pulses, [(old.digest, old.program.canonical)]))
    store.close()
    new = tmp_path / "new.yml"
    new.write_text(
        "routing_policy:\n"
        "  - {name: slow, condition: 'p95(\"openai/gpt-4\") > 8s', route: groq/llama-3-8b}\n"
        "  - {name: default, route: openai/gpt-4}\n"
    )
    for place in (tmp_path, tmp_path / "turnout.db"):
        document = simulated(command, f"--journal {place} --policy {new} --against {FIRST}")
        assert {name: one["requests"] for name, one in document["rules"].items()} == {
            "slow": 2,
            "default": 2,
        }
        assert [(move["old"], move["new"]) for move in document["moves"]] == [
            ("default", "default"),
            ("default", "slow"),
        ]
        assert document["missing"] == {}
    assert simulated(command, f"--journal {tmp_path} --policy {new} --since 1m")["requests"] == 0


def test_an_interrupt_prints_what_was_seen_so_far(
    command: Command, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Simulation):
        def take(self, *arguments: Any) -> None:
            if self.result.requests == 2:
                raise KeyboardInterrupt
            super().take(*arguments)

    monkeypatch.setattr(simulate_command, "Simulation", Interrupted)
    ran = command(f"policy simulate {log} --policy {FIRST}")
    assert ran.status == 130
    assert ran.out.startswith("interrupted: 2 requests, 2 decided so far\n")


def test_progress_is_shown_to_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("turnout.cli.progress._EVERY_S", 0)
    monkeypatch.setenv("TERM", "xterm")
    for stream, is_shown in ((Terminal(), True), (io.StringIO(), False)):
        progress = Progress(100, stream)
        progress.moved(50)
        progress.tell(1_234)
        progress.close()
        assert ("1 234 rows" in stream.getvalue()) == is_shown
        assert (" 50%" in stream.getvalue()) == is_shown


def test_the_command_is_the_same_under_turnout_policy(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["policy", "simulate", str(log), "--policy", str(FIRST_PATH)]) == 0
    assert capsys.readouterr().out.startswith("4 requests, 3 decided")
