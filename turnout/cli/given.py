"""The request that a command is asked about: its arguments, and the snapshot that they describe.

`--given NAME=VALUE`, `--at MOMENT` and `--request BODY`; what `explain` and `why-not` share, and of
`--given` what `show` does, too. `--given` also takes what follows `for example:` in a report.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from turnout.dsl.core import Program
from turnout.dsl.given import heard
from turnout.dsl.moment import clock_of
from turnout.dsl.schema import Type
from turnout.dsl.snapshot import Snapshot, SnapshotError
from turnout.dsl.units import format_value
from turnout.engine.policy import Policy

from .dispatch import CommandError
from .files import DEFAULT_POLICY, read_policy, read_source
from .report import printable

# Read again from the values that they follow from, so that a `--given` changes them too.
_DERIVED = frozenset({"time", "weekday", "date", "expected_output", "requested"})
_UNKNOWN = "unknown"
_CLOCK = {"time": Type.TIME, "weekday": Type.WEEKDAY, "date": Type.DATE}


def configure_policy(parser: argparse.ArgumentParser) -> None:
    """Declare the one policy that a command is about."""
    parser.add_argument(
        "file",
        nargs="?",
        default=DEFAULT_POLICY,
        metavar="FILE",
        help=f"the policy file, `-` for standard input (default: {DEFAULT_POLICY})",
    )


def configure_given(parser: argparse.ArgumentParser) -> None:
    """Declare the values of attributes: what `given_values` reads."""
    parser.add_argument(
        "--given",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an attribute and its value, or all that a report gives `for example:`; may be "
        "repeated",
    )
    parser.add_argument(
        "--at",
        metavar="MOMENT",
        help='the clock: "Sat 10:00", "2026-03-27 14:30", or an instant with `Z` or an offset',
    )


def configure_request(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that describe a request: what `snapshot_of` reads."""
    configure_given(parser)
    parser.add_argument(
        "--request",
        metavar="BODY",
        help="a JSON file with the body of a chat request, `-` for standard input",
    )


def configure_format(parser: argparse.ArgumentParser) -> None:
    """Declare how an answer is printed."""
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="how it is printed"
    )


def given_values(arguments: argparse.Namespace) -> dict[str, str | None]:
    """What `--given` and `--at` say, by the names as written; None is unknown.

    Raises: CommandError.
    """
    values: dict[str, str | None] = {}
    pairs = [pair for text in arguments.given for pair in _pairs(text)]
    if arguments.at is not None:
        pairs.append(("at", arguments.at))
    for name, value in pairs:
        if name in values:
            raise CommandError(f"`{printable(name)}` is given twice", help="keep one of the two")
        values[name] = value
    return values


def _pairs(text: str) -> list[tuple[str, str | None]]:
    """What one `--given` says: a request as a report shows it, or one name and its value."""
    request = heard(text.strip())
    if request is not None:
        return list(request.items())
    name, value = split_given(text)
    return [(name, None if value == _UNKNOWN else unquoted(value))]


def refused(error: SnapshotError) -> CommandError:
    """A value that cannot be read, as the command line would have it written."""
    help = error.help and error.help.replace(f"`{error.key}: ", f"`{error.key}=")
    return CommandError(printable(error.message), help=help and printable(help))


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


def policy_of(arguments: argparse.Namespace) -> Policy:
    """The policy that a request is asked about. Raises: PolicyError, CommandError."""
    if arguments.file == "-" and arguments.request == "-":
        raise CommandError("the policy and the request cannot both be standard input")
    return Policy.compile(*read_policy(arguments.file))


def snapshot_of(policy: Policy, arguments: argparse.Namespace) -> tuple[Snapshot, str]:
    """The snapshot to decide on, and in words what of the clock was taken from now.

    Raises: CommandError.
    """
    program = policy.program
    now_us = time.time_ns() // 1_000
    observed = Snapshot()
    if arguments.request is not None:
        from turnout.engine.decide import observe_body  # the gateway's readers, for a body alone

        observed = observe_body(program, _body_of(arguments.request), now_us)
    values = _as_values(observed, program)
    values |= given_values(arguments)
    clock = _clock(program, now_us)
    taken: dict[str, str] = {}
    while True:
        try:
            seen = policy.snapshot(values | taken)
            break
        except SnapshotError as error:
            if not error.is_missing:
                raise refused(error) from None
            if error.key not in clock:
                help = f"add `--given {error.key}=80`, or `--request body.json` with a chat body"
                raise CommandError(printable(error.message), help=printable(help)) from None
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


def unquoted(value: str) -> str:
    """A value without the quotes around it, if there are any."""
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value


def _clock(program: Program, now_us: int) -> dict[str, str]:
    """What the clock says at an instant in the policy's zone, as the language writes it."""
    local = datetime.fromtimestamp(now_us / 1e6, UTC).astimezone(ZoneInfo(program.timezone))
    return {name: format_value(value, _CLOCK[name]) for name, value in clock_of(local).items()}


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
    _check(body, source.name)
    return body


def _check(body: dict[str, Any], name: str) -> None:
    """Refuse what the gateway would refuse as no chat request."""
    # The server's own check, read in only where a body is: it brings the server.
    from turnout.engine.request import RequestError
    from turnout.protocols.chat_shape import check_chat

    try:
        check_chat({"model": "auto"} | body)
    except RequestError as error:
        raise CommandError(
            f"`{name}` is no chat request: {printable(error.message).rstrip('.')}",
            help="the gateway would answer it with status 400",
        ) from None
