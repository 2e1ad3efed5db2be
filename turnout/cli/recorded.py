"""Recorded requests for `policy simulate`: the rows of logs, or of a gateway's journal.

What cannot be read is counted with its line and passed over, never guessed.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from turnout.dsl.core import Program
from turnout.dsl.schema import Type
from turnout.dsl.units import parse_quantity
from turnout.engine.recorded_rows import JournalRows, JsonRows, RowError, past_of, past_of_record
from turnout.engine.replay import Past, Replay, Row
from turnout.settings import DEMO_FOLDER

from .dispatch import CommandError
from .log_files import lines, total_bytes
from .progress import Progress
from .report import printable

if TYPE_CHECKING:
    from turnout.engine.state.sqlite import SqliteStore

HERE = "~here"  # stands for the journal of this machine's gateway

_FIRST_KEPT = 5
_PULSES_KEPT = 256


class Recorded(NamedTuple):
    """A row as each policy asks for it, and what became of it; `old_row` None where it cannot."""

    row: Row
    past: Past
    old_row: Row | None


class Unread(NamedTuple):
    """A row that cannot be read."""

    file: str
    line: int
    reason: str


@dataclass(slots=True)
class Refused:
    """How many rows could not be read, and the first of them."""

    rows: int = 0
    first: list[Unread] = field(default_factory=list)

    def add(self, file: str, line: int, reason: str) -> None:
        """One more."""
        self.rows += 1
        if len(self.first) < _FIRST_KEPT:
            self.first.append(Unread(file, line, reason))


@dataclass(slots=True)
class Reading:
    """What came of reading: rows that nobody can read, and those that only the old policy cannot.

    `converted` rows have the provider's count of tokens for an interval; `ignored` keys are no
    attributes. Both are complete once the rows are at their end.
    """

    unreadable: Refused = field(default_factory=Refused)
    old_unreadable: Refused = field(default_factory=Refused)
    converted: int = 0
    ignored: Counter[str] = field(default_factory=Counter)


class Logs:
    """The rows of logs of JSON lines."""

    def __init__(self, names: list[str]) -> None:
        """Look whether they are all there. Raises: CommandError."""
        self._names = list(dict.fromkeys(names))
        self.progress = Progress(total_bytes(self._names))

    def rows(self, replay: Replay, old: Replay | None, reading: Reading) -> Iterator[Recorded]:
        """Row after row. Raises: CommandError."""
        new_rows = JsonRows(replay)
        old_rows = None if old is None else JsonRows(old)
        reading.ignored = new_rows.ignored
        for name in self._names:
            shown = "<stdin>" if name == "-" else printable(name)
            for number, line in lines(name, self.progress.moved):
                if line is None:
                    reading.unreadable.add(shown, number, "the line is longer than 1 MiB")
                    continue
                try:
                    data = orjson.loads(line)
                    if not isinstance(data, dict):
                        reading.unreadable.add(shown, number, "it is not a JSON object")
                        continue
                    past = past_of(data)
                    row = new_rows.read(data)
                except orjson.JSONDecodeError as error:
                    reading.unreadable.add(shown, number, f"it is not JSON: {error.msg}")
                    continue
                except RowError as error:
                    reading.unreadable.add(shown, number, printable(str(error)))
                    continue
                old_row = None
                try:
                    old_row = None if old_rows is None else old_rows.read(data)
                except RowError as error:
                    reading.old_unreadable.add(shown, number, printable(str(error)))
                yield Recorded(row, past, old_row)


class Journal:
    """The records of a gateway's journal."""

    def __init__(self, place: str, since: str | None) -> None:
        """Open it: a TURNOUT_HOME, the SQLite file in it, or HERE. Raises: CommandError."""
        self._since_us = 0
        if since is not None:
            self._since_us = time.time_ns() // 1_000 - duration_us(since)
        self._store, self._shown = open_journal(place)
        self.progress = Progress(self._asked(lambda: self._store.count(self._since_us)))

    def rows(self, replay: Replay, old: Replay | None, reading: Reading) -> Iterator[Recorded]:
        """Row after row; the journal is closed behind the last. Raises: CommandError."""
        from turnout.engine.state.store import StoreError

        policies = policies_of(self._store)
        new_rows = JournalRows(replay, policies)
        old_rows = None if old is None else JournalRows(old, policies)
        pulse_of = lru_cache(_PULSES_KEPT)(self._store.pulse)
        try:
            for record in self._store.records(self._since_us):
                self.progress.moved(1)
                pulse = None if record.pulse_id is None else pulse_of(record.pulse_id)
                past = past_of_record(record)
                row = new_rows.read(record, pulse, past)
                reading.converted = new_rows.converted
                old_row = None if old_rows is None else old_rows.read(record, pulse, past)
                yield Recorded(row, past, old_row)
        except StoreError as error:
            raise self._unreadable(error) from error
        finally:
            self._store.close()

    def _asked(self, question: Callable[[], int]) -> int:
        from turnout.engine.state.store import StoreError

        try:
            return question()
        except StoreError as error:
            self._store.close()
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> CommandError:
        return CommandError(f"cannot read the journal `{self._shown}`: {error}")


def duration_us(text: str) -> int:
    """The stretch of time that `--since` names. Raises: CommandError."""
    try:
        found, amount = parse_quantity(text)
    except ValueError:
        found, amount = Type.NUMBER, 0
    if found is not Type.DURATION or amount <= 0:
        raise CommandError(
            f"`--since {printable(text)}` is not a stretch of time", help="write `--since 7d`"
        )
    return amount


def open_journal(place: str) -> "tuple[SqliteStore, str]":
    """The journal of a home, a file or HERE, and how it is called. Raises: CommandError."""
    from turnout.engine.state.database import Database, url_of_file
    from turnout.engine.state.sqlite import SqliteStore

    file, shown = file_of(place)
    return SqliteStore(Database(url_of_file(file))), shown


def file_of(place: str) -> tuple[Path, str]:
    """The SQLite file of a home, a file or HERE, and how it is called. Raises: CommandError."""
    from turnout.engine.state.database import FILE

    if place == HERE:
        place = os.environ.get("TURNOUT_HOME", "").strip() or "~/.turnout"
    path = Path(place).expanduser()
    file = path / FILE if path.is_dir() else path
    shown = printable(str(file))
    if not file.is_file():
        raise CommandError(
            f"there is no journal `{shown}`",
            help=_demo_at(path, "`--journal {}`")
            or "name the TURNOUT_HOME that the gateway runs with, such as `--journal ~/.turnout`",
        )
    return file, shown


def check_there(home: Path, what: str) -> None:
    """Check that a home has a database: reading must not make one. Raises: CommandError."""
    from turnout.engine.state.database import FILE

    if not (home / FILE).is_file():
        raise CommandError(
            f"there are no {what}, as there is no database `{printable(str(home / FILE))}`",
            help=_demo_at(home, "`TURNOUT_HOME={}`")
            or "set TURNOUT_HOME to the folder that the gateway runs with",
        )


def _demo_at(home: Path, written: str) -> str | None:
    """Where the demo keeps its own, if it ran under this home."""
    from turnout.engine.state.database import FILE

    demo = home / DEMO_FOLDER
    if not (demo / FILE).is_file():
        return None
    named = written.format(printable(str(demo)))
    return f"only the demo ran under this home, and keeps its own in a folder of it: {named}"


def policies_of(store: "SqliteStore") -> Callable[[str], Program | None]:
    """Policies of the past by their digest; None of one that cannot be built again."""
    from turnout.engine.catalog import language_schema
    from turnout.engine.trace import Programs

    programs = Programs(language_schema())

    def find(digest: str) -> Program | None:
        try:
            return programs.get(digest, store.policy)
        except ValueError:  # written by another version of the language
            return None

    return find
