"""How records become rows, and rows the same records again.

A record is kept whole, as JSON, so that a field added to it needs no migration: reading leaves out
keys it does not know, and fields that an old row lacks take their defaults.
"""

import json
from dataclasses import fields
from typing import Any

import orjson

from turnout.engine.record import Attempt, DecisionRecord, Late, PulseTable, Shadowed
from turnout.engine.request import Usage

Row = tuple[object, ...]


def decision_row(record: DecisionRecord) -> Row:
    """A record as a row of `decisions`, in the order of its columns; the JSON is the last."""
    return (
        record.id,
        record.received_us,
        record.tenant,
        record.digest,
        record.rule,
        record.target,
        record.pulse_id,
        _to_json(record),
    )


def pulse_row(table: PulseTable) -> Row:
    """A table of live values as a row of `pulses`; the JSON is the last."""
    return (table.id, table.at_us, _to_json(table))


def late_row(late: Late) -> Row:
    """An attempt that ended after its record as a row of `late`; the JSON is the last."""
    return (late.record.id, late.attempt.started_us, _to_json(late.attempt))


def read_attempt(data: bytes) -> Attempt:
    """The attempt of a row of `late`."""
    return _attempt(json.loads(data))


def read_record(data: bytes) -> DecisionRecord:
    """The record of a row. Law: `read_record(decision_row(r)[-1]) == r`."""
    given = _known(DecisionRecord, json.loads(data))
    given["intervals"] = {key: (low, high) for key, (low, high) in given["intervals"].items()}
    given["attempts"] = [_attempt(one) for one in given["attempts"]]
    if given.get("served") is not None:
        given["served"] = Usage(**_known(Usage, given["served"]))
    if given.get("shadow") is not None:
        given["shadow"] = _shadowed(given["shadow"])
    return DecisionRecord(**given)


def read_pulse(data: bytes) -> PulseTable:
    """The table of live values of a row."""
    return PulseTable(**_known(PulseTable, json.loads(data)))


def encodable(row: Row) -> Row:
    """A row whose text every database takes: half a surrogate pair becomes `?`."""
    return tuple(column_text(value) if isinstance(value, str) else value for value in row)


def column_text(text: str) -> str:
    """Text as it stands in a column; see `encodable`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _attempt(given: dict[str, Any]) -> Attempt:
    given = _known(Attempt, given)
    if given["usage"] is not None:
        given["usage"] = Usage(**_known(Usage, given["usage"]))
    given["dropped"] = tuple(given["dropped"])
    return Attempt(**given)


def _shadowed(given: dict[str, Any]) -> Shadowed:
    given = _known(Shadowed, given)
    given["intervals"] = {key: (low, high) for key, (low, high) in given["intervals"].items()}
    return Shadowed(**given)


def _known(type: type[Any], given: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(type)}
    return {name: value for name, value in given.items() if name in names}


def _to_json(value: DecisionRecord | PulseTable | Attempt) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        # Integers over 64 bits and half surrogate pairs, both of which a client can cause. For the
        # sake of the former, reading is always left to the standard library.
        return json.dumps(_plain(value)).encode()


def _plain(value: object) -> object:
    """Dataclasses as mappings, all the way down."""
    match value:
        case DecisionRecord() | PulseTable() | Attempt() | Usage() | Shadowed():
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case _:
            return value
