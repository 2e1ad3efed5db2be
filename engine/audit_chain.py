"""How the rows of the audit log are bound to each other, and how that is checked.

A row's digest is the SHA-256 of a canonical text of all its columns and of the digest before it:
whoever changes, removes, inserts or moves a row has to make every later digest anew. Nothing here
knows a database or a file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple, Protocol, runtime_checkable

from .audit import Event

ORIGIN = "0" * 64  # in place of a digest before the first row
TRIM = "audit.trim"
_FORM = "turnout-audit-1"


class Row(NamedTuple):
    """A row of the log; `detail` is a JSON object as text, digests are hex."""

    number: int
    time_us: int
    actor: str
    action: str
    object: str
    outcome: str
    detail: str
    previous: str
    digest: str


class Head(NamedTuple):
    """A row by its number and digest: the last one, or one that was written down once."""

    number: int
    digest: str

    def __str__(self) -> str:
        """As `--head` takes it."""
        return f"{self.number}:{self.digest}"


NOTHING = Head(0, ORIGIN)


@runtime_checkable
class Readable(Protocol):
    """A log whose newest rows can be read."""

    def latest(self, many: int, before: int | None = None) -> Sequence[Row]:
        """The newest rows before a number, newest first. Blocks. Raises: StoreError."""


def digest_of(row: Row) -> str:
    """The digest that a row has to have."""
    text = json.dumps([_FORM, *row[:-1]], ensure_ascii=True, separators=(",", ":"))
    return sha256(text.encode("ascii")).hexdigest()


def sealed(event: Event, head: Head) -> Row:
    """The row of an event after this one; the event must be fit to be kept."""
    detail = json.dumps(event.detail, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    row = Row(
        head.number + 1,
        event.time_us,
        event.actor,
        event.action,
        event.object,
        event.outcome,
        detail,
        head.digest,
        "",
    )
    return row._replace(digest=digest_of(row))


def head_of(row: Row) -> Head:
    """A row as what the next one follows."""
    return Head(row.number, row.digest)


def trimmed_to(row: Row) -> Head | None:
    """The last of the rows that a trim removed; None of rows that tell of no trim."""
    if row.action != TRIM:
        return None
    try:
        detail = json.loads(row.detail)
        return Head(int(detail["number"]), str(detail["digest"]).removeprefix("sha256:"))
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row that does not fit.

    `kind` is `changed`, `missing`, `inserted`, `replaced` or `truncated`.
    """

    number: int
    kind: str
    said: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of checking rows: how many fit, and what is wrong, if anything is.

    `unsure` says what could not be told.
    """

    rows: int
    first: int | None
    head: Head
    fault: Fault | None
    unsure: str | None = None


class Checking:
    """Checks rows one after another, in a single pass and in constant memory."""

    def __init__(self, head: Head | None = None) -> None:
        """`head`: a row as it was noted elsewhere, which must be among them as it was."""
        self._noted = head
        self._gap: Fault | None = None
        self._rows = 0
        self._first: Row | None = None
        self._last: Head | None = None
        self._trimmed: Head | None = None  # as the newest trim says
        self._noted_is: str | None = None
        self.fault: Fault | None = None

    def add(self, row: Row) -> bool:
        """Take the next row; False once one does not fit, and what follows is not looked at."""
        if self.fault is not None:
            return False
        self.fault = self._wrong(row)
        if self.fault is not None:
            return False
        if self._first is None:
            self._first = row
        self._rows += 1
        self._last = head_of(row)
        if self._noted is not None and row.number == self._noted.number:
            self._noted_is = row.digest
            if row.digest != self._noted.digest:
                self.fault = Fault(row.number, "changed", _other_than_noted(row.number))
        if (trimmed := trimmed_to(row)) is not None and (
            self._trimmed is None or trimmed.number >= self._trimmed.number
        ):
            self._trimmed = trimmed
        return self.fault is None

    def _wrong(self, row: Row) -> Fault | None:
        before, number = self._last, row.number
        if before is not None and number <= before.number:
            return Fault(
                number, "inserted", f"row {number} stands after row {before.number}: inserted there"
            )
        follows = before is not None and number == before.number + 1
        if before is not None and not follows and self._gap is None:
            said = _missing(before.number + 1, number - 1)
            self._gap = Fault(before.number + 1, "missing", said)
        if digest_of(row) != row.digest:
            return Fault(number, "changed", f"row {number} was changed: its digest is of another")
        if follows and before is not None and row.previous != before.digest:
            return Fault(
                number,
                "replaced",
                f"row {number} was written after another row {before.number} than the one that is "
                "here: one of the two was replaced",
            )
        return None

    def verdict(self, is_whole: bool = True) -> Verdict:
        """What came of all rows.

        `is_whole` False: they are a selection, where what stands between two is not known.
        """
        last = self._last or NOTHING
        first = None if self._first is None else self._first.number
        fault = self.fault
        if is_whole:
            fault = self._gap or fault or self._at_front() or self._at_end(last)
        unsure = None
        if self._noted is not None and self._noted_is is None and fault is None:
            unsure = f"row {self._noted.number} is not among them, so the head tells nothing"
        return Verdict(self._rows, first, last, fault, unsure)

    def _at_front(self) -> Fault | None:
        first = self._first
        if first is None:
            return None
        trimmed = self._trimmed or NOTHING
        if first.number > trimmed.number + 1:
            return Fault(
                trimmed.number + 1,
                "missing",
                _missing(trimmed.number + 1, first.number - 1) + ", and no trim accounts for them",
            )
        if first.number == trimmed.number + 1 and first.previous != trimmed.digest:
            return Fault(
                first.number,
                "replaced",
                f"row {first.number} does not follow the last row that was trimmed"
                if trimmed.number
                else "row 1 does not begin the log",
            )
        return None

    def _at_end(self, last: Head) -> Fault | None:
        noted = self._noted
        if noted is None or last.number >= noted.number:
            return None
        return Fault(
            last.number + 1,
            "truncated",
            f"the log ends with row {last.number}, and row {noted.number} was noted: "
            + _missing(last.number + 1, noted.number),
        )


def check(rows: Iterable[Row], *, head: Head | None = None, is_whole: bool = True) -> Verdict:
    """Check rows in the order of their numbers."""
    checking = Checking(head)
    for row in rows:
        if not checking.add(row):
            break
    return checking.verdict(is_whole)


def row_of(values: Mapping[str, Any]) -> Row:
    """A row from its columns by name; numbers may be text. Raises: ValueError, KeyError."""
    texts = [values[name] for name in Row._fields[2:]]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a column that is no text")
    return Row(int(values["number"]), int(values["time_us"]), *texts)


def _missing(first: int, last: int) -> str:
    return f"row {first} is missing" if first == last else f"rows {first} to {last} are missing"


def _other_than_noted(number: int) -> str:
    return f"row {number} is another than the one that was noted: it, or one before it, was changed"
