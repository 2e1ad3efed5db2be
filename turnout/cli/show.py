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

from turnout.dsl.core import Clause, Program, Term
from turnout.dsl.destination import following, kept_out_said
from turnout.dsl.hops import first_hops
from turnout.dsl.interpret.traced import evaluate
from turnout.dsl.keys import written_key
from turnout.dsl.limits import Gate
from turnout.dsl.residual import Residual, residual, simplify
from turnout.dsl.schema import Type, Value
from turnout.dsl.snapshot import SnapshotError, read_said
from turnout.dsl.units import format_value
from turnout.dsl.walk import reads
from turnout.engine.attributes import GENERATION
from turnout.engine.destination import written
from turnout.engine.policy import Policy

from .files import read_policy
from .given import (
    configure_format,
    configure_given,
    configure_policy,
    given_values,
    refused,
)
from .report import printable

_UNKNOWN = "unknown"
_ALWAYS = "always"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    configure_policy(parser)
    configure_given(parser)
    parser.add_argument(
        "--all", action="store_true", help="name the rules that can match no more, and why"
    )
    configure_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show what is left of one policy."""
    policy = Policy.compile(*read_policy(arguments.file))
    program = policy.program
    known = _known(program, given_values(arguments))
    left = residual(program, known)
    if arguments.format == "json":
        print(json.dumps(_data(policy, known, left), indent=2, ensure_ascii=False))
    else:
        print(_text(program, known, left, everything=arguments.all))
    return 0


def _known(program: Program, given: Mapping[str, str | None]) -> dict[str, Value | None]:
    try:
        return read_said(given, program)
    except SnapshotError as error:
        raise refused(error) from None


# --- as data -------------------------------------------------------------------------------------


def _data(policy: Policy, known: Mapping[str, Value | None], left: Residual) -> dict[str, Any]:
    """Shape: `{policy, given, rules, dropped, otherwise}`.

    `rules: [{rule, number, condition, route, limits}]`: `condition` is None where the rule takes
    every request that comes to it, `limits: [{limit, target}]` are those of its targets that are
    kept out whatever else is given. `otherwise`: the targets of the fallback chain, which take what
    no rule does.
    """
    return {
        "policy": policy.digest,
        "given": dict(_shown(policy.program, known)),
        "rules": [
            {
                "rule": clause.name,
                "number": clause.index + 1,
                "condition": _condition(clause),
                "route": written(clause.plan.route),
                "limits": [
                    {"limit": limit, "target": target}
                    for target, limit in _kept_out(policy.program, clause, known)
                ],
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


def _kept_out(
    program: Program, clause: Clause, known: Mapping[str, Value | None]
) -> tuple[tuple[str, str], ...]:
    """The rule's targets that a limit keeps out whatever else is given, each with the limit."""
    gate = Gate(program)
    hops = (*first_hops(clause.plan), *following(program, clause.plan))
    found: dict[str, str] = {}
    for target in dict.fromkeys(hop.target for hop in hops if hop.target in program.targets):
        for limit in gate.limits_of(target):
            applies = limit.when is None or _outcome(limit.when, known) == "true"
            if applies and _outcome(limit.target, known) in ("false", "unknown"):
                found.setdefault(target, limit.name)
    return tuple(found.items())


def _outcome(term: Term, known: Mapping[str, Value | None]) -> str | None:
    """What a truth comes to whatever else is given; None where that may change it."""
    left = simplify(term, known)
    if next(iter(reads([left])), None) is not None:
        return None
    return evaluate(left, {}).written or "unknown"


# --- for people ----------------------------------------------------------------------------------


def _text(
    program: Program, known: Mapping[str, Value | None], left: Residual, *, everything: bool
) -> str:
    given = ", ".join(f"{name} = {value or _UNKNOWN}" for name, value in _shown(program, known))
    of = len(program.clauses)
    head = f"{len(left.rules)} of {of} rules can match" + (f", given {given}" if given else "")
    numbers = len(str(of)) + 2
    width = max((len(clause.name) for clause in program.clauses), default=0)
    rows: dict[int, list[str]] = {}
    for clause in left.rules:
        test = _condition(clause) or _ALWAYS
        told = kept_out_said(_kept_out(program, clause, known))
        rows[clause.index] = [test, f"→ {written(clause.plan.route)}", *([told] if told else [])]
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
