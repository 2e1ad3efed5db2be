"""Server-sent events as the WHATWG parses them, with the lines that they were made of."""

import re
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, None where no `event:` line gave one, and its data lines."""

    name: str | None
    data: tuple[str, ...]

    @property
    def text(self) -> str:
        """The data as a client gets it."""
        return "\n".join(self.data)


@dataclass(frozen=True, slots=True)
class EventStream:
    """A body as an event stream.

    `lines` are all lines; `events` those with data that a blank line ended; `rest` what followed
    the last blank line, which a client throws away.
    """

    lines: tuple[str, ...]
    events: tuple[Event, ...]
    rest: str


def read_events(text: str) -> EventStream:
    """Parse a whole body."""
    lines = _LINE_END.split(text)
    events: list[Event] = []
    name: str | None = None
    data: list[str] = []
    last_blank = -1
    for number, line in enumerate(lines[:-1]):
        if not line:
            if data:
                events.append(Event(name, tuple(data)))
            name, data, last_blank = None, [], number
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return EventStream(tuple(lines), tuple(events), "\n".join(lines[last_blank + 1 :]))
