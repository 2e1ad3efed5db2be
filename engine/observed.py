"""The snapshot of a live request, which reads a value when it is first asked for."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from turnout.dsl.classes import TextClasses
from turnout.dsl.core import Program
from turnout.dsl.schema import Target, Value
from turnout.dsl.snapshot import Snapshot

from .record import PulseTable
from .request import Request
from .spent import Spent

# Asked for a key of the snapshot, a reader gives its value; where there is none it says why.
Reader = Callable[["Observed", str], Value | None]

_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)


class Observed(Snapshot):
    """The snapshot of a live request: a value is read on the first question for it."""

    __slots__ = (
        "classes",
        "live",
        "program",
        "readers",
        "request",
        "requested",
        "spent",
        "target",
        "zone",
    )

    request: Request
    requested: str | None
    target: Target | None
    live: PulseTable
    spent: Spent
    program: Program
    zone: ZoneInfo
    readers: Mapping[str, Reader]
    classes: Mapping[str, TextClasses]

    def __missing__(self, key: str) -> Value | None:
        """Read the value now and keep it, unknown included."""
        reader = self.readers.get(key)
        value = reader(self, key) if reader is not None else None
        self[key] = value
        return value

    @property
    def local(self) -> datetime:
        """The instant of the request in the program's zone."""
        return (_EPOCH_UTC + timedelta(microseconds=self.request.received_us)).astimezone(self.zone)

    @property
    def today(self) -> int:
        """The calendar day of the request in the program's zone, in days since 1970-01-01."""
        return (self.local.date() - _EPOCH_UTC.date()).days
