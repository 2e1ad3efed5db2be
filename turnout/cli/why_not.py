"""Show why a rule did not fire on a request, and the nearest change with which it would.

The rule's own condition did not hold: then the parts that decided it are named with their values.
Or an earlier rule took the request. The nearest change is the smallest set of other values (at most
three) with which the rule fires; it is decided again before it is shown.

  policy why-not cheap_for_simple --given tokens=500
  policy why-not free_peak routing.yml --request body.json --given tier=free --given time=10:00

Values are written as in `policy explain`. Exit code 0 whatever the answer is, 1 if the policy does
not compile, 2 if the rule or a file is not there or a value cannot be read.
"""

import argparse
import json
import sys
from typing import Any

from turnout.dsl.atoms import deciding
from turnout.dsl.core import Clause, Program, Read, Term
from turnout.dsl.destination import kept_out_said, nowhere_said, reached
from turnout.dsl.flip import Search, nearest_flip_to
from turnout.dsl.interpret.traced import Node, evaluate, trace
from turnout.dsl.keys import written_key
from turnout.dsl.nearest import suggestion
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.units import format_value
from turnout.dsl.walk import leaves_first

from .dispatch import CommandError
from .given import configure_format, configure_policy, configure_request, policy_of, snapshot_of
from .operands import rule_below
from .report import printable

_WORDS = {True: "true", False: "false", None: "unknown"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("rule", metavar="RULE", help="the name of the rule")
    configure_policy(parser)
    configure_request(parser)
    configure_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Answer for one rule and one request."""
    policy = policy_of(arguments)
    clause = _clause(policy.program, arguments.rule)
    seen, taken = snapshot_of(policy, arguments)
    if taken:
        print(f"clock of now: {taken}", file=sys.stderr)
    answer = _answer(policy.program, clause, seen)
    if arguments.format == "json":
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_text(policy.program, clause, seen, answer)))
    return 0


def _clause(program: Program, name: str) -> Clause:
    for clause in program.clauses:
        if clause.name == name:
            return clause
    names = [clause.name for clause in program.clauses]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    help = suggestion(name, names) or f"rules are {shown}"
    raise CommandError(f"there is no rule `{printable(name)}`", help=printable(help))


def _answer(program: Program, clause: Clause, seen: Snapshot) -> dict[str, Any]:
    """What is known of the rule on this request, as data.

    Shape: `outcome` is what the rule's condition is by itself; `taken_by` the rule that fired;
    `decided_by` the parts of the condition that made it so, empty where it is true; `nearest` the
    smallest change that makes the rule fire, None where none was found. `target` is where the rule
    leads such a request, `limits` what keeps it from other targets of its.
    """
    fired = trace(program, seen).clause
    truth = evaluate(clause.applies, seen)
    is_first = fired == clause.index
    decided = [] if truth.value is True else _decided(clause, seen)
    led = reached(program, clause.index, seen)
    search = None if is_first else nearest_flip_to(program, seen, clause.index)
    return {
        "rule": clause.name,
        "fires": is_first,
        "outcome": _WORDS[None if truth.value is None else bool(truth.value)],
        "taken_by": None if fired is None else program.clauses[fired].name,
        "decided_by": [_part(node, reads) for node, reads in decided],
        "expression": None if clause.test is None else evaluate(clause.test, seen).to_json(),
        "nearest": _nearest(search),
        "searched": None
        if search is None
        else {"values_at_once": search.changes, "tries": search.tries},
        "note": None if search is None or search.flip is not None else search.failure,
        "target": led.target,
        "limits": [{"limit": limit, "target": target} for target, limit in led.kept_out],
    }


def _decided(clause: Clause, seen: Snapshot) -> list[tuple[Node, list[Node]]]:
    """The deciding parts, each with what it read."""
    found: list[tuple[Node, list[Node]]] = []
    for atom in deciding(clause.applies, lambda term: evaluate(term, seen).value):
        reads: dict[str, Term] = {}
        for term in leaves_first([atom]):
            if isinstance(term, Read):
                reads.setdefault(term.key, term)
        found.append((evaluate(atom, seen), [evaluate(term, seen) for term in reads.values()]))
    return found


def _part(node: Node, reads: list[Node]) -> dict[str, Any]:
    return {
        "text": node.text,
        "value": node.written,
        "reason": node.reason,
        "values": {read.text: read.written for read in reads},
    }


def _nearest(search: Search | None) -> dict[str, Any] | None:
    if search is None or search.flip is None:
        return None
    return {
        "text": str(search.flip),
        "changes": [
            {
                "attribute": written_key(change.key),
                "before": None
                if change.before is None
                else format_value(change.before, change.type),
                "after": None if change.after is None else format_value(change.after, change.type),
                "text": str(change),
            }
            for change in search.flip.changes
        ],
    }


def _text(program: Program, clause: Clause, seen: Snapshot, answer: dict[str, Any]) -> list[str]:
    name = printable(clause.name)
    place = f"rule {clause.index + 1} of {len(program.clauses)}"
    if answer["fires"]:
        lines = [f"{name} fires on this request ({place})", *_below(clause, seen)]
        return lines + _led(program, clause, seen)
    taker = "no rule took the request"
    if answer["taken_by"] is not None:
        taker = f"{printable(answer['taken_by'])} took the request"
    if answer["outcome"] == "true":
        lines = [f"{name} did not fire ({place}): its condition is true, but {taker} before it"]
    else:
        lines = [f"{name} did not fire ({place}): its condition is {answer['outcome']}; {taker}"]
    lines += _below(clause, seen)
    if answer["outcome"] == "true":
        earlier = next(one for one in program.clauses if one.name == answer["taken_by"])
        lines += [f"  {printable(earlier.name)}", *_below(earlier, seen)]
    for part in answer["decided_by"]:
        lines.append(f"  decided by   {_deciding_line(part)}")
    lines.append("")
    if answer["nearest"] is not None:
        lines.append(f"nearest change: with {printable(answer['nearest']['text'])} it would fire")
    else:
        lines.append(f"nearest change: {answer['note']}")
    return lines


def _led(program: Program, clause: Clause, seen: Snapshot) -> list[str]:
    """Where the rule leads where that is not what its route says: a limit, or nothing is left."""
    led = reached(program, clause.index, seen)
    if (why := nowhere_said(led)) is not None:
        return ["", f"no target: {printable(why)}"]
    if led.kept_out:
        return ["", f"it goes to {led.target}: {printable(kept_out_said(led.kept_out))}"]
    return []


def _deciding_line(part: dict[str, Any]) -> str:
    values = ", ".join(
        f"{printable(text)} is {'unknown' if value is None else printable(value)}"
        for text, value in part["values"].items()
        if text != part["text"]
    )
    if not values:
        values = f"it is {part['value'] or 'unknown'}"
    if part["value"] is None and part["reason"]:
        values += f": {printable(part['reason'])}"
    return f"{printable(part['text'])}   ({values})"


def _below(clause: Clause, seen: Snapshot) -> list[str]:
    return [f"    {line}" for line in rule_below(clause, seen)]
