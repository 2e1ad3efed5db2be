"""Show what is left of a policy where some values are known: the rules that can still match.

  policy show --given tier=free --given 'tokens=80'
  policy show routing.yml --given 'at=Sat 10:00' --given max_tokens=unknown --all

Values are written as in `policy explain`; `unknown` says that there is none. Nothing is assumed of
what is not given. `--all` names the rules that are dropped, too, each with its reason.
"""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from turnout.dsl.core import Arm, Choice, Clause, Const, Hop, Program, Reject, Route
from turnout.dsl.interpret.traced import evaluate
from turnout.dsl.keys import written_key
from turnout.dsl.residual import Residual, residual
from turnout.dsl.schema import Type, Value
from turnout.dsl.snapshot import SnapshotError, read_said
from turnout.dsl.units import format_value, quote
from turnout.engine.attributes import GENERATION
from turnout.engine.policy import Policy

from .dispatch import CommandError
from .explain import split_given
from .files import DEFAULT_POLICY, read_policy
from .report import printable

_UNKNOWN = "unknown"
_ALWAYS = "always"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "file",
        nargs="?",
        default=DEFAULT_POLICY,
        metavar="FILE",
        help=f"the policy file, `-` for standard input (default: {DEFAULT_POLICY})",
    )
    parser.add_argument(
        "--given",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an attribute and its value; may be repeated",
    )
    parser.add_argument(
        "--all", action="store_true", help="name the rules that can match no more, and why"
    )
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="how it is printed"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show what is left of one policy."""
    policy = Policy.compile(*read_policy(arguments.file))
    program = policy.program
    known = _known(program, arguments.given)
    left = residual(program, known)
    if arguments.format == "json":
        print(json.dumps(_data(policy, known, left), indent=2, ensure_ascii=False))
    else:
        print(_text(program, known, left, everything=arguments.all))
    return 0


def _known(program: Program, given: list[str]) -> dict[str, Value | None]:
    data: dict[str, Any] = {}
    for name, value in map(split_given, given):
        if name in data:
            raise CommandError(f"`{printable(name)}` is given twice", help="keep one of the two")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        data[name] = value[1:-1] if quoted else None if value == _UNKNOWN else value
    try:
        return read_said(data, program)
    except SnapshotError as error:
        help = error.help and error.help.replace(f"`{error.key}: ", f"`{error.key}=")
        raise CommandError(printable(error.message), help=help and printable(help)) from None


# --- as data -------------------------------------------------------------------------------------


def _data(policy: Policy, known: Mapping[str, Value | None], left: Residual) -> dict[str, Any]:
    """Shape: `{policy, given, rules: [{rule, number, condition, route}], dropped, otherwise}`.

    `condition` is None where the rule takes every request that comes to it. `otherwise`: the
    targets of the fallback chain, which take what no rule does.
    """
    return {
        "policy": policy.digest,
        "given": dict(_shown(policy.program, known)),
        "rules": [
            {
                "rule": clause.name,
                "number": clause.index + 1,
                "condition": _condition(clause),
                "route": route_text(clause.plan.route),
            }
            for clause in left.rules
        ],
        "dropped": [
            {"rule": one.clause.name, "number": one.clause.index + 1, "reason": one.reason}
            for one in left.dropped
        ],
        "otherwise": [hop.target for hop in policy.program.chain],
    }


def _shown(program: Program, known: Mapping[str, Value | None]) -> list[tuple[str, str | None]]:
    shown: list[tuple[str, str | None]] = []
    for key, value in known.items():
        slot = program.slots.get(key)
        attribute = slot.attribute if slot is not None else program.schema.attributes.get(key)
        kind = Type.TEXT if attribute is None else attribute.type
        shown.append((written_key(key), None if value is None else format_value(value, kind)))
    return shown


def _condition(clause: Clause) -> str | None:
    return None if clause.test is None else evaluate(clause.test, {}).text


# --- for people ----------------------------------------------------------------------------------


def _text(
    program: Program, known: Mapping[str, Value | None], left: Residual, *, everything: bool
) -> str:
    told = ", ".join(f"{name} = {value or _UNKNOWN}" for name, value in _shown(program, known))
    of = len(program.clauses)
    head = f"{len(left.rules)} of {of} rules can match" + (f", given {told}" if told else "")
    numbers = len(str(of)) + 2
    width = max((len(clause.name) for clause in program.clauses), default=0)
    rows: dict[int, list[str]] = {}
    for clause in left.rules:
        test = _condition(clause) or _ALWAYS
        rows[clause.index] = [test, f"→ {route_text(clause.plan.route)}"]
    if everything:
        rows |= {one.clause.index: [f"dropped: {one.reason}"] for one in left.dropped}
    lines = [printable(head), ""]
    for index, (first, *rest) in sorted(rows.items()):
        name = printable(program.clauses[index].name)
        lines.append(f"{index + 1:>{numbers}}  {name:{width}}  {printable(first)}")
        lines += [f"{'':{numbers}}  {'':{width}}  {printable(line)}" for line in rest]
    if not left.rules:
        lines.append(f"  → {_otherwise(program, known)}")
    return "\n".join(lines)


def _otherwise(program: Program, known: Mapping[str, Value | None]) -> str:
    """Where a request goes that no rule takes."""
    if known.get("request_type") not in (None, *GENERATION):
        return f"{program.requested.target}: what the client asked for"
    chain = ", then ".join(hop.target for hop in program.chain)
    return f"{chain}: the fallback chain" if chain else "nothing: there is no fallback chain"


def route_text(route: Route) -> str:
    """A route in a line."""
    match route:
        case Hop(target):
            return target
        case Choice(form, candidates):
            names = ", ".join(one.hop.target for one in candidates)
            where = candidates[0].where
            return f"{form} {names}" + (f" where {evaluate(where, {}).text}" if where else "")
        case Reject(status, message):
            return f"reject {status}" + (f" {quote(message)}" if message else "")
        case _:
            return f"split {', '.join(_shares(route.arms))}"


def _shares(arms: tuple[Arm, ...]) -> list[str]:
    """The arms of a split; their shares are known where they do not move with time."""
    shares: list[str] = []
    before = 0
    for arm in arms:
        upto = arm.upto.value if isinstance(arm.upto, Const) else None
        if not isinstance(upto, int):
            return [f"{one.hop.target}" for one in arms] + ["by shares that move with time"]
        shares.append(f"{arm.hop.target} {format_value(upto - before, Type.PERCENT)}")
        before = upto
    return shares
