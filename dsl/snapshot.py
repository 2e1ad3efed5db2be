"""The attribute values that one request is decided on.

A snapshot is a mapping from slot key to value; a key that is missing or None is unknown. A plain
`Snapshot` is data. The gateway's own subclass fills values in as they are first read.

Reading one from JSON (`read_snapshot`) is here too, since tests, logs and `explain` share the form.
"""

from .schema import Value


class Snapshot(dict[str, Value | None]):
    """Values by slot key; asking for a key that is not there gives None, the unknown.

    `reasons` says why a value is unknown, where that is known. `intervals` holds (low, high) of
    a count that was only bounded: its low end stands in the mapping.
    """

    __slots__ = ("intervals", "reasons")

    reasons: dict[str, str]
    intervals: dict[str, tuple[int, int]]

    def __init__(self, values: dict[str, Value | None] | None = None) -> None:
        """Start from values; None counts as unknown."""
        super().__init__(values or {})
        self.reasons = {}
        self.intervals = {}

    def __missing__(self, key: str) -> Value | None:
        """Unknown, until a subclass knows better."""
        return None
