"""The members of a body: what each must be, and the refusal of one that is something else.

Nulls count as absent, as real clients send them for every optional member.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from turnout.engine.request import HOTTEST, RequestError

Check = Callable[[Any], str | None]
"""Of a value: what it should be, where it is not."""

_LONGEST_MODEL = 256

_MOST_WRITTEN = 254  # as deep as orjson writes

DEEPEST = 200
"""How deep a member may be nested: with all that is written around it, it is still written."""


def refused(code: str, message: str, param: str) -> RequestError:
    """A 400 that is about one member."""
    return RequestError(400, "invalid_request_error", code, message, param=param)


def missing(where: str, instead: str) -> RequestError:
    """The refusal of a body without a member that it needs; `instead`: what to write."""
    return refused("missing_required_parameter", f"`{where}` is missing; {instead}.", where)


def wrong_type(where: str, expected: str, value: object) -> RequestError:
    """The refusal of a member that is something else than `expected`."""
    shown = kind_of(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        shown = f"`{value}`"
    return refused("invalid_type", f"`{where}` must be {expected}, not {shown}.", where)


def check_depth(body: Mapping[str, Any]) -> None:
    """Check that a body can be written again, in the answer too. Raises: RequestError 400."""
    if not is_deep(body):
        return
    for name, value in body.items():
        if is_deep(value):
            told = f"`{name}` is nested deeper than {DEEPEST} levels."
            raise refused("invalid_value", told, name)


def is_deep(value: Any) -> bool:
    """Tell whether a value that was JSON is nested so deep that it may not be written again.

    Writing it is the fastest way to find out, whatever it is.
    """
    for _ in range(_MOST_WRITTEN - DEEPEST):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def check_model(body: Mapping[str, Any]) -> None:
    """Check that a model is named. Raises: RequestError 400."""
    model = body.get("model")
    if model is None or model == "":
        raise missing("model", "name a model, or `auto` to let the policy choose")
    if not isinstance(model, str):
        raise wrong_type("model", "a string", model)
    if len(model) > _LONGEST_MODEL:
        told = f"`model` is longer than {_LONGEST_MODEL} characters."
        raise refused("string_above_max_length", told, "model")


def check_members(holder: Mapping[str, Any], checks: Mapping[str, Check], where: str = "") -> None:
    """Check the members that are there; `where` is the path before their names.

    Raises: RequestError 400.
    """
    for name, check in checks.items():
        value = holder.get(name)
        if value is not None and (expected := check(value)) is not None:
            raise wrong_type(where + name, expected, value)


def check_temperature(body: Mapping[str, Any]) -> None:
    """Check that a temperature is one that chat knows. Raises: RequestError 400."""
    temperature = body.get("temperature")
    if temperature is not None and not 0 <= temperature <= HOTTEST:
        told = f"`temperature` must be from 0 to {HOTTEST}, not `{temperature}`."
        raise refused("invalid_value", told, "temperature")


def boolean(value: Any) -> str | None:
    """Check for true or false."""
    return None if isinstance(value, bool) else "a boolean"


def string(value: Any) -> str | None:
    """Check for a text."""
    return None if isinstance(value, str) else "a string"


def strings(value: Any) -> str | None:
    """Check for a list of texts."""
    held = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return None if held else "an array of strings"


def text_or_texts(value: Any) -> str | None:
    """Check for a text or a list of them."""
    return None if isinstance(value, str) or strings(value) is None else "a string or an array"


def an_object(value: Any) -> str | None:
    """Check for an object."""
    return None if isinstance(value, dict) else "an object"


def objects(value: Any) -> str | None:
    """Check for a list of objects."""
    held = isinstance(value, list) and all(isinstance(one, dict) for one in value)
    return None if held else "an array of objects"


def name_or_object(value: Any) -> str | None:
    """Check for a text or an object."""
    return None if isinstance(value, str | dict) else "a string or an object"


def number(value: Any) -> str | None:
    """Check for a number."""
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if numeric else "a number"


def is_whole(value: object) -> bool:
    """Tell whether it is a whole number that is not negative."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def count(value: Any) -> str | None:
    """Check for a whole number that is not negative."""
    return None if is_whole(value) else "a whole number that is not negative"


def whole_up_to(most: int, least: int = 0) -> Check:
    """A check for a whole number of a range."""

    def check(value: Any) -> str | None:
        held = is_whole(value) and least <= value <= most
        return None if held else f"a whole number from {least} to {most}"

    return check


def kind_of(value: object) -> str:
    """What JSON calls a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
