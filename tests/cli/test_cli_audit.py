"""`turnout audit` and `turnout trim` on real homes and real files."""

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout.engine.audit import ACTIONS, Event
from turnout.engine.audit_chain import Head
from turnout.engine.state.audit import AuditLog
from turnout.engine.state.database import FILE, open_database

from .conftest import Ran

Command = Callable[[str], Ran]
SAMPLE = Path(__file__).parents[2] / "docs" / "samples" / "audit.jsonl"


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Head:
    """The last of eight rows of the home that commands work on, in the folder they run in."""
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    database = open_database(tmp_path)
    names = ["acme", "=1+1", 'a"b', "two\nlines", "né\u2028e", "-x", "'quoted", ","]
    written = AuditLog(database).append(
        [Event("cli", "tenant.create", name, detail={"tier": name, "n": 1}) for name in names]
    )
    database.close()
    return written


def test_the_log_is_verified_and_its_head_told(head: Head, command: Command) -> None:
    ran = command("turnout audit verify")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[:2] == ["rows 1 to 8 fit", f"head {head}"]
    ran = command(f"turnout audit verify --head {head} --format json")
    assert json.loads(ran.out) == {
        "rows": 8,
        "first": 1,
        "head": str(head),
        "fault": None,
        "unsure": None,
        "fits": True,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("update audit set object = 'x' where number = 3", "changed: row 3 was changed"),
        ("update audit set detail = '{}' where number = 8", "changed: row 8 was changed"),
        ("delete from audit where number in (4, 5)", "missing: rows 4 to 5 are missing"),
        ("delete from audit where number = 1", "missing: row 1 is missing, and no trim"),
        ("update audit set previous = digest where number = 2", "changed: row 2 was changed"),
    ],
)
def test_the_first_row_that_was_tampered_with_is_named(
    head: Head, command: Command, tmp_path: Path, change: str, said: str
) -> None:
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute(change)
    ran = command("turnout audit verify")
    assert ran.status == 1
    assert ran.out.startswith(said)


def test_a_cut_off_end_is_told_by_a_head(head: Head, command: Command, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("delete from audit where number > 6")
    assert command("turnout audit verify").status == 0
    ran = command(f"turnout audit verify --head {head}")
    assert ran.status == 1
    assert ran.out.startswith("truncated: the log ends with row 6, and row 8 was noted")
    assert command("turnout audit verify --head 8:beef").status == 2


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_has_every_row_with_itself_and_is_verified(
    head: Head, command: Command, form: str
) -> None:
    ran = command(f"turnout audit export --format {form} -o out")
    assert (ran.status, ran.err) == (0, "")
    shown = ran.out.split()[1]
    assert shown.startswith("9:")
    ran = command(f"turnout audit verify out --head {shown}")
    assert (ran.status, ran.out.splitlines()[0]) == (0, "rows 1 to 9 fit")
    text = Path("out").read_text(encoding="utf-8")
    if form == "jsonl":
        rows = [json.loads(line) for line in text.split("\n") if line]
        assert rows[1]["object"] == "=1+1"
        assert rows[1]["detail"] == {"tier": "=1+1", "n": 1}
        assert rows[8]["action"] == "audit.export"
        assert rows[9]["trailer"]["head"]["number"] == 9
    else:
        cells = list(csv.DictReader(io.StringIO(text)))
        assert [cells[at]["object"] for at in (1, 5, 6)] == ["'=1+1", "'-x", "''quoted"]
        assert cells[9]["number"] == "#head"
    assert command("turnout audit export -o out").status == 2  # it is there


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_that_was_tampered_with_is_found(
    head: Head, command: Command, form: str, tmp_path: Path
) -> None:
    command(f"turnout audit export --format {form} -o out")
    kept = Path("out").read_text(encoding="utf-8").split("\n")
    first = 0 if form == "jsonl" else 1
    # The row with a line break in it takes two lines of a CSV file.
    fifth, end = (first + 4, 9) if form == "jsonl" else (first + 5, 11)

    def said(lines: list[str]) -> str:
        Path("forged").write_text("\n".join(lines), encoding="utf-8")
        ran = command("turnout audit verify forged")
        assert ran.status == 1
        return ran.out

    changed = list(kept)
    changed[first] = changed[first].replace("acme", "evil")
    assert said(changed).startswith("changed: row 1 was changed")
    assert said(kept[:fifth] + kept[fifth + 1 :]).startswith("missing: row 5 is missing")
    assert said(kept[: fifth + 1] + kept[fifth:]).startswith("inserted: row 5")
    assert said(kept[: end - 1] + kept[end:]).startswith("truncated")
    assert said(kept[:end]).startswith("truncated: the file ends after row 9")
    assert said([*kept[: first + 1], "x", *kept[first + 1 :]]).startswith("changed: line")
    retimed = list(kept)
    retimed[first] = retimed[first].replace("Z", "+", 1)
    assert said(retimed).startswith("changed: ")  # what people read, too


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize(
    ("asked", "was", "now"),
    [
        ("", '"whole": true', '"whole": false'),
        ("--action audit.export", '"whole": false', '"whole": true'),
        ("", '"rows": 9', '"rows": 8'),
        ("", '"number": 9', '"number": 8'),
        ("", '"head": ', '"heed": '),
    ],
)
def test_a_last_line_that_was_changed_is_told_as_such(
    head: Head, command: Command, form: str, asked: str, was: str, now: str
) -> None:
    command(f"turnout audit export {asked} --format {form} -o out")
    *rows, end = Path("out").read_text(encoding="utf-8").rstrip("\n").split("\n")
    if form == "csv":
        was, now = {
            '"whole": true': (",whole", ",selection"),
            '"whole": false': (",selection", ",whole"),
            '"rows": 9': (",9,", ",8,"),
            '"number": 9': ("#head,9:", "#head,8:"),
            '"head": ': ("#head,", "#head,,"),
        }[was]
    assert was in end
    forged = "\n".join([*rows, end.replace(was, now)]) + "\n"
    Path("forged").write_text(forged, encoding="utf-8")
    ran = command("turnout audit verify forged")
    assert ran.status == 1
    assert "says where the log ended, and was changed" in ran.out
    assert ran.out.startswith("changed: line ")


def test_what_an_event_leaves_open_is_not_listed(
    head: Head, command: Command, tmp_path: Path
) -> None:
    database = open_database(tmp_path)
    AuditLog(database).append(
        [Event("file", "policy.load", "p.yml", detail={"shadow": None, "revision": 2})]
    )
    database.close()
    assert command("turnout audit list --limit 1").out.endswith("done  revision 2\n")


def test_a_selection_is_exported_and_its_rows_are_checked(head: Head, command: Command) -> None:
    ran = command("turnout audit export --action audit.export --since 1h -o some")
    assert ran.status == 0
    ran = command("turnout audit verify some")
    assert (ran.status, ran.out.splitlines()[0]) == (0, "row 9 fit")
    assert command("turnout audit export --until 2020-01-01").out.count("\n") == 1
    ran = command("turnout audit export --since yesterday")
    assert (ran.status, "is no time" in ran.err) == (2, True)


@pytest.mark.parametrize("text", ["", "hello\n", '{"a": 1}\n', "a,b\n1,2\n", "\x00\n"])
def test_a_file_that_is_no_export_is_refused(text: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(text)
    ran = command(f"turnout audit verify {tmp_path / 'f'}")
    assert (ran.status, "is no export of the audit log" in ran.err) == (2, True)


def test_the_newest_rows_are_listed_oldest_first(head: Head, command: Command) -> None:
    lines = command("turnout audit list --limit 2").out.splitlines()
    assert [line.split()[0] for line in lines] == ["7", "8"]


@pytest.mark.parametrize("limit", ["0", "-1", "9" * 30, "many"])
def test_a_number_of_rows_that_cannot_be_is_refused(
    limit: str, head: Head, command: Command
) -> None:
    ran = command(f"turnout audit list --limit {limit}")
    assert (ran.status, ran.out) == (2, "")
    assert "1000000" in ran.err


@pytest.mark.parametrize("column", ["time_us", "actor", "action", "object", "outcome", "detail"])
@pytest.mark.parametrize("value", ["'soon'", "x'ff'", "9223372036854775807", "''", "'[]'"])
def test_whatever_was_put_into_a_row_it_is_told_and_listed(
    column: str, value: str, head: Head, command: Command, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute(f"update audit set {column} = {value} where number = 3")
    ran = command("turnout audit verify")
    assert (ran.status, ran.out.splitlines()[0]) == (
        1,
        "changed: row 3 was changed: its digest is of another",
    )
    listed = command("turnout audit list --limit 20")
    assert (listed.status, len(listed.out.splitlines())) == (0, 8)
    assert command("turnout audit export").status == 0


def test_a_database_that_has_no_log_yet_is_told_what_to_do(
    command: Command, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("create table decisions (id text)")
    ran = command(f"turnout audit list --journal {tmp_path}")
    assert ran.status == 2
    assert "help: it is of an older turnout" in ran.err


def test_the_sample_of_the_docs_fits_and_its_actions_are_known(command: Command) -> None:
    assert command(f"turnout audit verify {SAMPLE}").status == 0
    rows = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    assert {row["action"] for row in rows if "action" in row} <= ACTIONS.keys()


def test_the_docs_have_every_action() -> None:
    page = (SAMPLE.parents[1] / "audit.md").read_text(encoding="utf-8")
    for action, meaning in ACTIONS.items():
        assert f"| `{action}` | {meaning} |" in page


# --- turnout trim -------------------------------------------------------------------------------


def test_a_dry_run_says_what_goes_and_removes_nothing(
    head: Head, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("insert into pulses values ('p', 5, '')")
    assert "pulses              1 would go" in command("turnout trim --dry-run").out
    monkeypatch.setenv("TURNOUT_KEEP_LEDGER_DAYS", "0")
    ran = command("turnout trim")
    assert (ran.status, ran.err) == (0, "")
    assert "pulses              1 removed" in ran.out
    assert "ledger     kept for ever" in ran.out
    assert ran.out.splitlines()[0] == (
        "by TURNOUT_KEEP_LEDGER_DAYS=0 (set), TURNOUT_KEEP_JOURNAL_DAYS=30 (default), "
        "TURNOUT_KEEP_AUDIT_DAYS=90 (default)"
    )
    with sqlite3.connect(tmp_path / FILE) as database:
        assert database.execute("select count(*) from pulses").fetchone() == (0,)
    assert command("turnout audit verify").status == 0
    assert " cli  trim.run  records  done  " in command("turnout audit list --limit 1").out


def test_a_dry_run_leaves_the_tables_of_an_older_turnout(command: Command, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("create table decisions (id text)")
    before = (tmp_path / FILE).read_bytes()
    ran = command(f"turnout trim --dry-run --journal {tmp_path}")
    assert (ran.status, ran.out) == (2, "")
    assert "help: it is of an older turnout" in ran.err
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize(
    "line", ["audit export", "audit list", "audit verify", "trim --dry-run", "trim"]
)
def test_a_database_of_a_newer_turnout_is_refused(
    head: Head, command: Command, tmp_path: Path, line: str
) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    ran = command(f"turnout {line} --journal {tmp_path}")
    assert (ran.status, ran.out) == (2, "")
    assert "belongs to a newer turnout" in ran.err


@pytest.mark.parametrize("days", ["34", "-1", "a", "1.5"])
def test_days_that_cannot_be_are_refused(
    head: Head, command: Command, monkeypatch: pytest.MonkeyPatch, days: str
) -> None:
    monkeypatch.setenv("TURNOUT_KEEP_LEDGER_DAYS", days)
    ran = command("turnout trim --dry-run")
    assert ran.status == 2
    assert f"`TURNOUT_KEEP_LEDGER_DAYS` is `{days}`" in ran.err
