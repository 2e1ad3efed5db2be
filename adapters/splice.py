r"""Members of a JSON object, replaced or removed in its bytes: the rest stays as it was written.

Number formats, integers of any size, unknown members and their order survive. The text is known to
be valid JSON (it was parsed before); a member is found where the bytes prove what it is:

- A `"key":` whose first quote has no backslash before it opens a string (after a closing quote
  there is a `,`, `:`, `}` or `]`), so it *is* a member's name. If there is exactly one, no letter
  is written as `\u00..`, and the object is known to have that member, it is the object's own.
- Otherwise the text is walked once, string by string and bracket by bracket. Every occurrence of a
  doubled name is replaced: which one the reader believes is anybody's guess.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_INNER = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_OUTER = re.compile(_STRING + rb"|[{}\[\],:]", re.DOTALL)
_COLON = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*(" + _STRING + rb")?", re.DOTALL)
# Every other spelling of a name of letters and `_` has one of these.
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
_SPACE = b" \t\n\r"


class _Member(NamedTuple):
    """One member of the object: its name, and where the name and its value stand."""

    name: str
    at: int
    value_at: int
    end: int


def splice(raw: bytes, parsed: Mapping[str, Any], members: Mapping[str, bytes | None]) -> bytes:
    """The object `raw` with these members set to these JSON values, or without them (None).

    `parsed` is what `raw` parses to. Members that it does not have come first.
    """
    edits: list[tuple[int, int, bytes]] = []
    added: list[bytes] = []
    gone: set[str] = set()
    walked: list[_Member] | None = None
    plain = _ESCAPED_LETTER.search(raw) is None
    for name, value in members.items():
        if name not in parsed:
            if value is not None:
                added.append(orjson.dumps(name) + b":" + value + b",")
            continue
        if value is None:
            gone.add(name)
            continue
        span = _only_string(raw, name) if plain and isinstance(parsed[name], str) else None
        if span is not None:
            edits.append((*span, value))
            continue
        if walked is None:
            walked = list(_members(raw))
        edits += [(one.value_at, one.end, value) for one in walked if one.name == name]
    if gone:
        edits += _removals(list(_members(raw)) if walked is None else walked, gone)
    pieces: list[bytes] = []
    position = 0
    if added:
        position = raw.index(b"{") + 1
        pieces += (raw[:position], *added)
        if gone.issuperset(parsed):
            pieces[-1] = pieces[-1][:-1]
    for start, end, value in sorted(edits):
        pieces += (raw[position:start], value)
        position = end
    pieces.append(raw[position:])
    return b"".join(pieces)


def value_span(raw: bytes, name: str) -> tuple[int, int] | None:
    """Where the value of the object's own member of this name starts and ends; None without one."""
    found = [(one.value_at, one.end) for one in _members(raw) if one.name == name]
    return found[-1] if found else None


def splice_inside(
    raw: bytes, parsed: Mapping[str, Any], holder: str, members: Mapping[str, bytes | None]
) -> bytes:
    """The object `raw` with members set in the object that its member `holder` is."""
    pieces: list[bytes] = []
    position = 0
    for one in _members(raw):
        if one.name == holder:
            inner = splice(raw[one.value_at : one.end], parsed[holder], members)
            pieces += (raw[position : one.value_at], inner)
            position = one.end
    pieces.append(raw[position:])
    return b"".join(pieces)


def _removals(members: list[_Member], gone: set[str]) -> Iterator[tuple[int, int, bytes]]:
    """The cuts that leave these members out, each with the one comma that goes with it."""
    kept = [position for position, one in enumerate(members) if one.name not in gone]
    last = kept[-1] if kept else -1
    for one, following in pairwise(members[: last + 1]):
        if one.name in gone:
            yield one.at, following.at, b""
    if last < len(members) - 1:
        start = members[last].end if kept else members[0].at
        yield start, members[-1].end, b""


def _only_string(raw: bytes, name: str) -> tuple[int, int] | None:
    """Where the string value of the only member of this name stands, wherever that member is."""
    quoted = orjson.dumps(name)
    span: tuple[int, int] | None = None
    at = raw.find(quoted)
    while at > 0:
        if raw[at - 1] != 0x5C and (colon := _COLON.match(raw, at + len(quoted))) is not None:
            if span is not None or colon[1] is None:
                return None
            span = colon.span(1)
        at = raw.find(quoted, at + 1)
    return span


def _members(raw: bytes) -> Iterator[_Member]:
    """The object's own members, in order."""
    depth = 0
    position = 0
    name: str | None = None
    at = value_at = -1
    last_string: re.Match[bytes] | None = None
    while (token := (_OUTER if depth < 2 else _INNER).search(raw, position)) is not None:
        position = token.end()
        mark = raw[token.start()]
        if mark == 0x22:  # a string
            last_string = token if depth == 1 else last_string
        elif mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
            if depth == 0 and name is not None:
                yield _Member(name, at, value_at, _trimmed(raw, token.start()))
                return
        elif depth == 1 and mark == 0x3A and name is None:  # a colon
            assert last_string is not None
            name = orjson.loads(last_string[0])
            at = last_string.start()
            value_at = position
            while raw[value_at] in _SPACE:
                value_at += 1
        elif depth == 1 and mark == 0x2C and name is not None:  # a comma
            yield _Member(name, at, value_at, _trimmed(raw, token.start()))
            name = None


def _trimmed(raw: bytes, end: int) -> int:
    while raw[end - 1] in _SPACE:
        end -= 1
    return end
