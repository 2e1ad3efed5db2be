"""Looks into an answer; whatever is not as expected is raised as `Failed`, with what was seen."""

import json
from collections.abc import Collection
from typing import Any

from .case import Failed

_SHOWN = 120


def require(holds: bool, seen: str) -> None:
    """Fail with what was seen unless it holds."""
    if not holds:
        raise Failed(seen)


def at(value: Any, *path: str | int) -> Any:
    """The value at a path, such as `at(body, "choices", 0, "message")`."""
    here = value
    for number, step in enumerate(path):
        where = _written(path[: number + 1])
        if isinstance(step, str):
            require(isinstance(here, dict), f"`{_written(path[:number])}` is {shown(here)}")
            require(step in here, f"`{where}` is missing")
        else:
            require(isinstance(here, list), f"`{_written(path[:number])}` is {shown(here)}")
            require(-len(here) <= step < len(here), f"`{where}` is missing")
        here = here[step]
    return here


def text(value: Any, *path: str | int) -> str:
    """The string at a path."""
    found = at(value, *path)
    if not isinstance(found, str):
        raise Failed(f"`{_written(path)}` is {shown(found)}, not a string")
    return found


def filled(value: Any, *path: str | int) -> str:
    """The string at a path, which is not empty."""
    found = text(value, *path)
    require(found != "", f"`{_written(path)}` is empty")
    return found


def whole(value: Any, *path: str | int) -> int:
    """The whole number at a path, not negative."""
    found = at(value, *path)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise Failed(f"`{_written(path)}` is {shown(found)}, not a whole number")
    return found


def array(value: Any, *path: str | int) -> list[Any]:
    """The array at a path."""
    found = at(value, *path)
    if not isinstance(found, list):
        raise Failed(f"`{_written(path)}` is {shown(found)}, not an array")
    return found


def mapping(value: Any, *path: str | int) -> dict[str, Any]:
    """The object at a path."""
    found = at(value, *path)
    if not isinstance(found, dict):
        raise Failed(f"`{_written(path)}` is {shown(found)}, not an object")
    return found


def same(found: object, wanted: object, what: str) -> None:
    """Fail unless both are equal."""
    require(found == wanted, f"{what} is {shown(found)}, not {shown(wanted)}")


def one_of(found: object, wanted: Collection[object], what: str) -> None:
    """Fail unless it is one of those."""
    listed = ", ".join(map(shown, wanted))
    require(found in wanted, f"{what} is {shown(found)}, none of {listed}")


def parsed(words: str, what: str) -> Any:
    """JSON in a string. The constants NaN and Infinity are none."""
    try:
        return json.loads(words, parse_constant=_refuse)
    except ValueError as error:
        raise Failed(f"{what} is no JSON ({error}): {shown(words)}") from None


def shown(value: object) -> str:
    """A value as JSON, short enough to be read."""
    try:
        written = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        written = repr(value)
    return written if len(written) <= _SHOWN else written[:_SHOWN] + "…"


def _written(path: tuple[str | int, ...]) -> str:
    written = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return written.removeprefix(".") or "the body"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
