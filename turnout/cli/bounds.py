"""The worst that one request can cost and take, rule by rule, with the request that reaches it.

  policy bounds
  policy bounds --where 'tier == "free"' --max-cost '$0.50' --max-time 60s --max-attempts 6

Every hop is tried with all its retries, each billed like its worst case: the prompt at most the
window, the output at its bound. A timeout that is not written bounds no hop: the breakers of all
others may be open. It is about generation, and one answer (`n == 1`, for nothing bounds it), unless
`--where` says otherwise. Exit code 1 where a bound is above what is allowed, has no end, or was not
decided.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from turnout.dsl import tree
from turnout.dsl.attempts import KIND
from turnout.dsl.bounds import MEASURES, Bound, Measure, N, Worst, bounds, worst_of
from turnout.dsl.check import check
from turnout.dsl.core import Program, Term
from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.expression import parse_expression
from turnout.dsl.facts import PREFIX, TAG
from turnout.dsl.given import as_given, said
from turnout.dsl.logic import TRUE
from turnout.dsl.parse import parse
from turnout.dsl.schema import Type
from turnout.dsl.scope import ROUTE, TAGS
from turnout.dsl.source import Source, Span
from turnout.dsl.units import format_usd, format_value, parse_quantity
from turnout.dsl.walk import reads
from turnout.engine.catalog import language_schema

from .dispatch import FINDINGS, CommandError
from .files import DEFAULT_POLICY, read_policy
from .proofs import configure_timeout, prover_within
from .report import printable

_TYPES: dict[Measure, Type] = {
    "dollars": Type.MONEY,
    "time": Type.DURATION,
    "attempts": Type.NUMBER,
}
_NAMED = 3  # targets without a window that are named
_EXAMPLES: dict[Measure, str] = {"dollars": "$0.50", "time": "60s", "attempts": "6"}
_OPTIONS: dict[Measure, str] = {"dollars": "cost", "time": "time", "attempts": "attempts"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "file",
        nargs="?",
        default=DEFAULT_POLICY,
        metavar="FILE",
        help=f"the policy file, `-` for standard input (default: {DEFAULT_POLICY})",
    )
    parser.add_argument("--where", metavar="CONDITION", help="ask about these requests only")
    for measure, option in _OPTIONS.items():
        parser.add_argument(
            f"--max-{option}",
            type=_amount(measure),
            metavar=_EXAMPLES[measure],
            help=f"fail where a request can come to more {measure}",
        )
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="how it is printed"
    )
    configure_timeout(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the bounds of one policy."""
    policy = parse(*read_policy(arguments.file))
    program, assumed = _typed(policy, arguments.where)
    rows = bounds(program, prover_within(arguments.timeout)(program), assumed)
    limits: dict[Measure, int | None] = {
        measure: getattr(arguments, f"max_{option}") for measure, option in _OPTIONS.items()
    }
    broken = [measure for measure in MEASURES if _is_broken(rows, measure, limits[measure])]
    where = _said(assumed, arguments.where)
    if arguments.format == "json":
        print(json.dumps(_data(program, rows, where, broken), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_text(program, rows, where, limits, broken)))
    return FINDINGS if broken else 0


def _amount(measure: Measure) -> "_Amount":
    return _Amount(measure)


class _Amount:
    """Reads an amount of a measure from the command line."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def __call__(self, text: str) -> int:
        try:
            type_, amount = parse_quantity(text)
        except ValueError:
            type_, amount = Type.BOOL, 0
        if type_ is not _TYPES[self._measure] or amount < 0:
            raise argparse.ArgumentTypeError(
                f"`{printable(text)}` is no {self._measure}: write it as "
                f"`{_EXAMPLES[self._measure]}`"
            )
        return amount


def _typed(policy: tree.Policy, where: str | None) -> tuple[Program, Term]:
    """The program, and which requests are asked about. Raises: PolicyError."""
    if where is None:
        program, findings = check(policy, language_schema())
        if program is None:
            raise PolicyError(findings)
        return program, TRUE
    source = Source("<where>", where)
    place = Span(source, 0, len(where))
    test = parse_expression(source, place)
    entry = tree.InvariantEntry(tree.Text("where", place), "always", test, place)
    program, findings = check(replace(policy, invariants=(entry,)), language_schema())
    if program is None:
        own = [finding for finding in findings if finding.span.source is source]
        raise PolicyError(own or findings)
    asked = program.invariants[0].test
    if (name := _of_targets(asked)) is not None:
        raise CommandError(
            f"`{name}` is known of a target, and `--where` is about requests",
            help="name what the request has, such as `tokens`, `tier` or `model`",
        )
    return program, asked


def _of_targets(test: Term) -> str | None:
    """A name that a claim may read and a request does not have."""
    for key in reads([test]):
        if key == ROUTE:
            return key
        if key.startswith(TAG):
            return TAGS
        if key.startswith(PREFIX):
            return key.removeprefix(PREFIX)
    return None


def _said(where: Term, written: str | None) -> str:
    """Which requests it is about, in words."""
    said = reads([where])
    parts = [] if KIND.key in said else ["of generation"]
    parts += [] if N.key in said else ["for one answer"]
    parts += [] if written is None else [f"where {written}"]
    return " ".join(("a request", *parts))


def _is_broken(rows: tuple[Bound, ...], measure: Measure, most: int | None) -> bool:
    if most is None:
        return False
    _, worst = worst_of(rows, measure)
    return worst.kind in ("unbounded", "open") or worst.value > most


# --- telling -------------------------------------------------------------------------------------


def _data(
    program: Program, rows: tuple[Bound, ...], where: str, broken: list[Measure]
) -> dict[str, Any]:
    """Shape: `{where, rules: [{rule, dollars, time, attempts}], worst, broken}`.

    A bound is `{kind, value, witness, because}`, kind `exact | unbounded | open | never`.
    """
    return {
        "where": where,
        "rules": [
            {"rule": row.rule, "asks_others": row.asks_others}
            | {m: _worst_data(program, m, row.of(m)) for m in MEASURES}
            for row in rows
        ],
        "worst": {
            measure: {"rule": name, **_worst_data(program, measure, worst)}
            for measure in MEASURES
            for name, worst in [worst_of(rows, measure)]
        },
        "broken": list(broken),
    }


def _worst_data(program: Program, measure: Measure, worst: Worst) -> dict[str, Any]:
    return {
        "kind": worst.kind,
        "value": _value(measure, worst.value) if worst.kind == "exact" else None,
        "witness": None if worst.witness is None else as_given(worst.witness, program),
        "because": worst.because,
    }


def _value(measure: Measure, value: int) -> str | int:
    """Money and times as text, a count as it is."""
    if measure == "dollars":
        return format_usd(value)
    return format_value(value, Type.DURATION) if measure == "time" else value


def _text(
    program: Program,
    rows: tuple[Bound, ...],
    where: str,
    limits: dict[Measure, int | None],
    broken: list[Measure],
) -> Iterator[str]:
    table = [["rule", "dollars", "time", "attempts"]]
    for row in rows:
        cells = [_shown(measure, row.of(measure)) for measure in MEASURES]
        if row.asks_others:
            cells[0] += " *"
        table.append([_rule(row.rule), *cells])
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    yield f"the worst of {printable(where)}"
    yield ""
    for title, *cells in table:
        numbers = "  ".join(f"{cell:>{widths[i + 1]}}" for i, cell in enumerate(cells))
        yield f"{title:{widths[0]}}  {numbers}".rstrip()
    yield ""
    for measure in MEASURES:
        name, worst = worst_of(rows, measure)
        request = ""
        if worst.witness is not None:
            given = as_given(worst.witness, program)
            told = printable(said(given)) or "any request"
            request = f", {_rule(name)}: {told}"
        yield f"{measure}: {_shown(measure, worst)}{request}"
        most = limits[measure]
        if most is not None:
            allowed = format_value(most, _TYPES[measure])
            word = "more than is allowed" if measure in broken else "within what is allowed"
            yield f"  {word}: {allowed}"
    yield from _notes(program, rows, where)


def _notes(program: Program, rows: tuple[Bound, ...], where: str) -> Iterator[str]:
    yield ""
    if "one answer" in where:
        yield "nothing bounds n: each further answer costs its output again; see --where"
    endless = dict.fromkeys(printable(r.dollars.because) for r in rows if r.dollars.because)
    if endless:
        named = ", ".join([*endless][:_NAMED]) + (" …" if len(endless) > _NAMED else "")
        yield f"no end: nothing bounds what is read or written by {named}; declare a window"
    if any(row.asks_others for row in rows):
        yield "* without models that a client may ask for and nobody lists"
    yield "time is to the first content; a stream may go on until the deadline of " + format_value(
        program.deadline_us, Type.DURATION
    )


def _shown(measure: Measure, worst: Worst) -> str:
    match worst.kind:
        case "never":
            return "-"
        case "unbounded":
            return "no end"
        case "open" if worst.witness is not None:
            return f"not decided, at least {_amount_of(measure, worst)}"
        case "open":
            return "not decided"
        case _:
            return _amount_of(measure, worst)


def _amount_of(measure: Measure, worst: Worst) -> str:
    if measure == "dollars":
        return f"${format_usd(worst.value)}"
    return format_value(worst.value, _TYPES[measure])


def _rule(name: str | None) -> str:
    return "(no rule)" if name is None else printable(name)
