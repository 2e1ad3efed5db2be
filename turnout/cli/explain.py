"""Show which rule takes a request, and the value of every part of every condition before it.

Describe the request by values, or give the body of a chat request:

  policy explain --given tokens=80 --given tier=free
  policy explain --request body.json --given tier=pro

Values are written as in a condition (800ms, $0.02, 8k, "text"); a live value's name is like
p95(openai/gpt-4). What is not given is unknown; the clock is that of now.
"""

import argparse
import json
import sys
import time
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from turnout.dsl.core import Program
from turnout.dsl.schema import Type, Value
from turnout.dsl.snapshot import Snapshot, SnapshotError
from turnout.dsl.units import format_value
from turnout.engine.decide import observe_body
from turnout.engine.policy import Policy

from .dispatch import CommandError
from .files import DEFAULT_POLICY, read_policy, read_source
from .nearest import nearest_change
from .report import printable

# Read again from the values that they follow from, so that a `--given` changes them too.
_DERIVED = frozenset({"time", "weekday", "date", "expected_output", "requested"})


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "file",
        nargs="?",
        default=DEFAULT_POLICY,
        metavar="FILE",
        help=f"the policy file, `-` for standard input (default: {DEFAULT_POLICY})",
    )
    configure_request(parser)
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="how it is printed"
    )


def configure_request(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that describe a request: what `snapshot_of` reads."""
    parser.add_argument(
        "--given",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an attribute and its value; may be repeated",
    )
    parser.add_argument(
        "--request",
        metavar="BODY",
        help="a JSON file with the body of a chat request, `-` for standard input",
    )


def run(arguments: argparse.Namespace) -> int:
    """Explain one decision."""
    if arguments.file == "-" and arguments.request == "-":
        raise CommandError("the policy and the request cannot both be standard input")
    policy = Policy.compile(*read_policy(arguments.file))
    seen, taken = snapshot_of(policy, arguments.request, arguments.given)
    explanation = policy.explain(seen)
    if taken:
        print(f"clock of now: {taken}", file=sys.stderr)
    if arguments.format == "json":
        print(json.dumps(explanation.to_json(), indent=2, ensure_ascii=False))
    else:
        print(explanation)
        if (nearest := nearest_change(policy.program, seen)) is not None:
            print(f"\n  {nearest}")
    return 0


def split_given(text: str) -> tuple[str, str]:
    """A `--given` argument as name and value: split at the first `=` outside quotes and brackets.

    >>> split_given('header["x=y"]=a=b')
    ('header["x=y"]', 'a=b')
    """
    quote: str | None = None
    depth = 0
    for at, character in enumerate(text):
        if quote is not None:
            quote = None if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "=" and depth == 0:
            name, value = text[:at].strip(), text[at + 1 :].strip()
            if name:
                return name, value
            break
    raise CommandError(
        f"`--given {printable(text)}` is not of the form name=value",
        help="write it like `--given tokens=80`",
    )


def snapshot_of(policy: Policy, request: str | None, given: list[str]) -> tuple[Snapshot, str]:
    """The snapshot to decide on, and in words what of the clock was taken from now."""
    program = policy.program
    now_us = time.time_ns() // 1_000
    observed = Snapshot()
    if request is not None:
        observed = observe_body(program, _body_of(request), now_us)
    values = _as_values(observed, program)
    said: set[str] = set()
    for name, value in map(split_given, given):
        if name in said:
            raise CommandError(f"`{printable(name)}` is given twice", help="keep one of the two")
        said.add(name)
        values[name] = _unquoted(value)
    clock = _clock(program, now_us)
    taken: dict[str, str] = {}
    while True:
        try:
            seen = policy.snapshot(values | taken)
            break
        except SnapshotError as error:
            if not error.is_missing or error.key not in clock:
                raise _refused(error) from None
            taken[error.key] = clock.pop(error.key)
    for key, reason in observed.reasons.items():
        if seen[key] is None:
            seen.reasons[key] = reason
    for key, interval in observed.intervals.items():
        if seen[key] == observed[key]:
            seen.intervals[key] = interval
    told = ", ".join(f"{name} {said}" for name, said in taken.items())
    return seen, f"{told} ({program.timezone})" if told else ""


def _as_values(observed: Snapshot, program: Program) -> dict[str, Any]:
    """What was read of a body, in the JSON form; what follows from it or the clock is left out."""
    values: dict[str, Any] = {}
    for key, value in observed.items():
        slot = program.slots.get(key)
        attribute = slot.attribute if slot is not None else program.schema.attributes.get(key)
        if value is None or attribute is None or attribute.name in _DERIVED:
            continue
        plain = attribute.type in (Type.TEXT, Type.ENUM, Type.BOOL)
        values[key] = value if plain else format_value(value, attribute.type)
    return values


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _refused(error: SnapshotError) -> CommandError:
    help = error.help
    if error.is_missing:
        help = f"add `--given {error.key}=80`, or `--request body.json` with a chat body"
    elif help is not None:
        help = help.replace(f"`{error.key}: ", f"`{error.key}=")
    return CommandError(printable(error.message), help=help and printable(help))


def _clock(program: Program, now_us: int) -> dict[str, str]:
    """What the clock says at an instant in the policy's zone, as the language writes it."""
    local = datetime.fromtimestamp(now_us / 1e6, UTC).astimezone(ZoneInfo(program.timezone))
    said: dict[str, tuple[Value, Type]] = {
        "time": (local.hour * 60 + local.minute, Type.TIME),
        "weekday": (local.weekday(), Type.WEEKDAY),
        "date": ((local.date() - date(1970, 1, 1)).days, Type.DATE),
    }
    return {name: format_value(value, type) for name, (value, type) in said.items()}


class _NotJson(ValueError):
    """What Python reads as JSON and nobody else does."""


def _no_constant(word: str) -> None:
    raise _NotJson(f"`{word}` is no value")


def _body_of(name: str) -> dict[str, Any]:
    source = read_source(name)
    try:
        body = json.loads(source.text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise CommandError(
            f"`{source.name}` is not JSON (line {error.lineno}, column {error.colno})"
        ) from None
    except ValueError as error:  # a word that is no JSON, or an integer of thousands of digits
        what = error if isinstance(error, _NotJson) else "a number in it is too large"
        raise CommandError(f"`{source.name}` is not JSON: {what}") from None
    except RecursionError:
        raise CommandError(f"`{source.name}` is nested too deeply") from None
    if not isinstance(body, dict):
        raise CommandError(
            f"`{source.name}` is not the body of a chat request",
            help='write an object such as {"model": "auto", "messages": […]}',
        )
    return body
