"""The audit log as a file: a line for each row, and a last line that says where the log ended.

Two forms, from which rows are read back exactly: JSON lines for programs, CSV for spreadsheets.
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from .audit_chain import Checking, Fault, Head, Row, Verdict, row_of

Form = Literal["jsonl", "csv"]
_COLUMNS = ("number", "time", *Row._fields[1:])
_TRAILER = "#head"
_END = '{"trailer":'
_END_FORM = "turnout-audit-end-1"
_FIRST = re.compile(r'\{"(?:number|trailer)":')
# What a spreadsheet takes for a formula; a quote before it makes it text, and is taken off again.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True, slots=True)
class Trailer:
    """The last line of a file: the log's newest row then, and how many rows were written.

    `is_whole` False: only some rows were asked for.
    """

    head: Head
    rows: int
    is_whole: bool

    @property
    def digest(self) -> str:
        """What binds these to each other, so that a change of one of them is found."""
        text = json.dumps([_END_FORM, *self.head, self.rows, self.is_whole], separators=(",", ":"))
        return sha256(text.encode("ascii")).hexdigest()


def instant(time_us: int) -> str:
    """A time as people read it, to the microsecond; of what is no time, the number."""
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    except OverflowError:
        return str(time_us)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def as_data(row: Row) -> dict[str, Any]:
    """A row as JSON has it; `detail` is an object, or text where it is not as we write it."""
    detail: Any = row.detail
    try:
        found = json.loads(row.detail)
        if isinstance(found, dict) and _text(found) == row.detail:
            detail = found
    except ValueError:
        pass
    values = row._asdict()
    return {
        "number": row.number,
        "time": instant(row.time_us),
        **{name: values[name] for name in Row._fields[1:]},
        "detail": detail,
    }


def lines(rows: Iterable[Row], head: Head, form: Form, is_whole: bool) -> Iterator[str]:
    """The lines of a file, each with its end, as rows come in."""
    write = _jsonl if form == "jsonl" else _csv
    count = 0
    if form == "csv":
        yield _csv_line(_COLUMNS)
    for row in rows:
        count += 1
        yield write(row)
    end = Trailer(head, count, is_whole)
    if form == "csv":
        selection = "whole" if is_whole else "selection"
        yield _csv_line((_TRAILER, str(head), str(count), selection, end.digest))
    else:
        told = {"head": head._asdict(), "rows": count, "whole": is_whole, "digest": end.digest}
        yield json.dumps({"trailer": told}) + "\n"


def _jsonl(row: Row) -> str:
    return json.dumps(as_data(row), ensure_ascii=False, separators=(",", ":")) + "\n"


def _csv(row: Row) -> str:
    values = [str(value) for value in row]
    return _csv_line((values[0], instant(row.time_us), *values[1:]))


def _csv_line(cells: Iterable[str]) -> str:
    written = io.StringIO()
    quoted = [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells]
    csv.writer(written, lineterminator="\n").writerow(quoted)
    return written.getvalue()


def verified(file: Iterable[str], head: Head | None = None) -> Verdict:
    """Check a file that `lines` wrote, whichever its form.

    `head` is a row as it was noted elsewhere. A line that is no row, and a last line that is not
    there, are faults like any other. Raises: ValueError where it is no such file at all.
    """
    checking = Checking(head)
    rows = 0
    trailer: Trailer | None = None
    broken: Fault | None = None
    ends_badly = False
    try:
        for number, found in enumerate(_read(file), 1):
            if trailer is not None:
                raise _NoRow(number, "follows the last one")
            if isinstance(found, Trailer):
                trailer = found
            elif checking.add(found):
                rows += 1
            else:
                break
    except _NoRow as error:
        broken, ends_badly = Fault(rows + 1, "changed", str(error)), error.is_end
    # Whether rows may be missing cannot be told where the line that says so was changed.
    is_whole = trailer.is_whole if trailer is not None else not (broken and ends_badly)
    whole = checking.verdict(is_whole=is_whole)
    if whole.fault is not None:
        return whole
    return replace(whole, fault=broken or _at_end(whole, trailer, rows))


def _at_end(verdict: Verdict, trailer: Trailer | None, rows: int) -> Fault | None:
    last = verdict.head
    if trailer is None:
        said = f"the file ends after row {last.number}, without the line that says it is the end"
        return Fault(last.number + 1, "truncated", said)
    if trailer.is_whole and trailer.head != last:
        said = f"the file ends with row {last.number}, and the log ended with row "
        return Fault(last.number + 1, "truncated", said + str(trailer.head.number))
    if trailer.rows != rows:
        said = f"{trailer.rows} rows were written and {rows} are here"
        return Fault(last.number + 1, "missing", said)
    return None


class _NoRow(Exception):
    """A line that is none of a row, nor the last one."""

    def __init__(self, line: int, what: str, is_end: bool = False) -> None:
        self.line, self.is_end = line, is_end
        super().__init__(f"line {line} {what}")


def _unread(line: int, *, is_end: bool) -> _NoRow:
    if not is_end:
        return _NoRow(line, "is no row of the log")
    said = "says where the log ended, and was changed: whether rows are missing cannot be told"
    return _NoRow(line, said, is_end)


def _read(file: Iterable[str]) -> Iterator[Row | Trailer]:
    """Rows, and what the last line says. Raises: _NoRow, ValueError."""
    rest = iter(file)
    first = next(rest, "")
    if _FIRST.match(first):
        for number, line in enumerate(itertools.chain((first,), rest), 1):
            yield _of_json(line, number)
        return
    if first.rstrip("\r\n") != ",".join(_COLUMNS):
        raise ValueError("its first line is of no audit log")
    cells = csv.reader(rest, strict=True)
    while True:
        try:
            row = next(cells, None)
        except csv.Error:
            raise _NoRow(cells.line_num + 1, "is no row of the log") from None
        if row is None:
            return
        yield _of_cells(row, cells.line_num + 1)


def _of_json(line: str, number: int) -> Row | Trailer:
    try:
        data = json.loads(line)
        if "trailer" in data:
            told = data["trailer"]
            head = Head(int(told["head"]["number"]), str(told["head"]["digest"]))
            return _bound(Trailer(head, int(told["rows"]), told["whole"] is True), told["digest"])
        detail = data["detail"]
        text = detail if isinstance(detail, str) else _text(detail)
        row = row_of({**data, "detail": text})
        if as_data(row) != data:
            raise ValueError("it says more, or other, than the row")
    except (ValueError, KeyError, TypeError):
        raise _unread(number, is_end=line.startswith(_END)) from None
    return row


def _of_cells(cells: list[str], number: int) -> Row | Trailer:
    plain = [cell.removeprefix("'") for cell in cells]
    try:
        if plain[:1] == [_TRAILER]:
            _, head, rows, selection, digest = plain
            return _bound(Trailer(head_from(head), int(rows), selection == "whole"), digest)
        row = row_of(dict(zip(_COLUMNS, plain, strict=True)))
        if instant(row.time_us) != plain[1]:
            raise ValueError("a time that is another than the row's")
    except ValueError:
        raise _unread(number, is_end=plain[:1] == [_TRAILER]) from None
    return row


def _bound(trailer: Trailer, digest: object) -> Trailer:
    """The trailer, if this is its digest. Raises: ValueError."""
    if trailer.digest != digest:
        raise ValueError("the last line says something else than when it was written")
    return trailer


def head_from(text: str) -> Head:
    """A head as it is written, `NUMBER:DIGEST`. Raises: ValueError."""
    number, _, digest = text.partition(":")
    digest = digest.removeprefix("sha256:").lower()
    if not (number.isascii() and number.isdigit() and re.fullmatch("[0-9a-f]{64}", digest)):
        raise ValueError("write a row's number and its digest, such as `120:9f86d0…`")
    return Head(int(number), digest)


def _text(detail: Any) -> str:
    return json.dumps(detail, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
