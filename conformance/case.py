"""What a case is, and the three ways out of one: it returns, it fails, it is skipped."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .sources import Source

if TYPE_CHECKING:
    from .api import Api

Check = Callable[["Api"], Awaitable[None]]


class Failed(Exception):
    """What was seen is not what is expected; the message says what was seen."""


class Skipped(Exception):
    """The question does not arise here; the message says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """One expectation.

    `id` is `area.what-is-expected`, `expects` one sentence, `sources` where that is written.
    """

    id: str
    area: str
    expects: str
    sources: tuple[Source, ...]
    check: Check


@dataclass(frozen=True, slots=True)
class Area:
    """Cases that belong together.

    `endpoint` is the path below the base URL: where every request to it is answered with 404, 405
    or 501, the area is not offered.
    """

    name: str
    about: str
    endpoint: str
    cases: list[Case] = field(default_factory=list)

    def case(self, *sources: Source) -> Callable[[Check], Check]:
        """Take in a function: its name is the id, its docstring what is expected."""

        def take(check: Check) -> Check:
            name = getattr(check, "__name__", "").replace("_", "-")
            expects = " ".join((inspect.getdoc(check) or "").split())
            self.cases.append(Case(f"{self.name}.{name}", self.name, expects, sources, check))
            return check

        return take
