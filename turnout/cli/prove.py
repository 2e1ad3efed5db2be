"""Prove that something never, or always, holds of every request and where it goes.

  policy prove 'never tier == "free" and route == "openai/gpt-4"'
  policy prove 'always region == "eu"' routing.yml
  policy prove --names

The claim is a condition over the request, `route` (the target's id) and the target's facts. It is
about every target that a request may come to: the route, its fallbacks, a mirror. Exit code 0 where
it is proved, 1 where a request breaks it, which is printed, or where it was not decided.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from turnout.dsl import tree
from turnout.dsl.check import check
from turnout.dsl.claims import Breach, breach_of, unknown_facts
from turnout.dsl.core import REQUESTED, Invariant, Program
from turnout.dsl.diagnostic import Diagnostic, PolicyError
from turnout.dsl.expression import parse_expression
from turnout.dsl.facts import FACTS
from turnout.dsl.given import as_given, said
from turnout.dsl.keys import ALIASES
from turnout.dsl.lint import fact_of_no_target
from turnout.dsl.nearest import nearest
from turnout.dsl.parse import parse
from turnout.dsl.prove import NotDecided, Proved
from turnout.dsl.schema import Attribute, Parameter, Type, Value
from turnout.dsl.scope import ROUTE, TAGS
from turnout.dsl.source import Source, Span
from turnout.dsl.units import format_usd, format_value, quote
from turnout.engine.catalog import language_schema

from .colour import palette_of
from .dispatch import FINDINGS, CommandError
from .files import DEFAULT_POLICY, read_policy
from .proofs import configure_timeout, prover_within, reason_of
from .report import printable, render_text

KINDS = ("never", "always")
_NAMED = 3  # targets of which something is not known that are named

_HELP = 'write `never` or `always` in front, such as `never tier == "free" and route == "…"`'


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "claim", nargs="?", metavar="CLAIM", help="`never …` or `always …`, as one argument"
    )
    parser.add_argument(
        "file",
        nargs="?",
        default=DEFAULT_POLICY,
        metavar="FILE",
        help=f"the policy file, `-` for standard input (default: {DEFAULT_POLICY})",
    )
    parser.add_argument(
        "--names", action="store_true", help="list the names that a claim may read, prove nothing"
    )
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="how it is printed"
    )
    configure_timeout(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prove one claim, or print what breaks it."""
    if arguments.names:
        file = arguments.file if arguments.claim is None else arguments.claim
        policy = parse(*read_policy(file))
        print("\n".join(_names(policy)))
        return 0
    if arguments.claim is None:
        raise CommandError("there is nothing to prove", help=_HELP)
    kind, place = _kind_of(arguments.claim)
    policy = parse(*read_policy(arguments.file))
    program, claim, warnings = _typed(policy, kind, place)
    if warnings:
        print(render_text(warnings, palette_of(sys.stderr)), file=sys.stderr)
    answer = breach_of(program, claim, prover_within(arguments.timeout)(program))
    unknown = {}
    if isinstance(answer, Proved) and claim.kind == "never":
        unknown = unknown_facts(program, claim)
    if arguments.format == "json":
        told = {"unknown": unknown, "warnings": [warning.message for warning in warnings]}
        print(json.dumps(_data(program, answer) | told, indent=2, ensure_ascii=False))
    else:
        print("\n".join((*_text(program, answer), *_not_known(unknown))))
    return 0 if isinstance(answer, Proved) else FINDINGS


def _kind_of(text: str) -> tuple[str, Span]:
    """The kind of a claim, and the place of its condition. Raises: CommandError."""
    word = (text.split() or [""])[0]
    if word not in KINDS:
        close = nearest(word, KINDS)
        help = f"did you mean `{close}`?" if close else _HELP
        raise CommandError(f"`{printable(text)}` is no claim", help=help)
    start = text.index(word) + len(word)
    source = Source("<claim>", text)
    condition = text[start:]
    blank = len(condition) - len(condition.lstrip())
    return word, Span(source, start + blank, len(text.rstrip()))


def _typed(
    policy: tree.Policy, kind: str, place: Span
) -> tuple[Program, Invariant, list[Diagnostic]]:
    """The program, the claim in its words as if it stood in the file, and names nobody knows in it.

    Raises: PolicyError, also where the claim cannot be read.
    """
    name = tree.Text("claim", place)
    test = parse_expression(place.source, place)
    entry = tree.InvariantEntry(name, kind, test, place)  # type: ignore[arg-type]
    claimed = replace(policy, invariants=(entry,))
    program, findings = check(claimed, language_schema())
    if program is None:
        errors = [finding for finding in findings if finding.severity == "error"]
        own = [finding for finding in errors if finding.span.source is place.source]
        raise PolicyError(own or errors)
    strange = fact_of_no_target.find(claimed, program, None)
    warnings = [finding for finding in strange if finding.span.source is place.source]
    return program, program.invariants[0], warnings


def _data(program: Program, answer: Breach | Proved | NotDecided) -> dict[str, Any]:
    """Shape: `{verdict, witness, rule, target, is_fallback, is_copy, values, reason}`.

    `values`: what the claim compares of the target, as the language writes it.
    """
    match answer:
        case Breach():
            return {
                "verdict": "broken",
                "witness": as_given(answer.witness, program),
                "rule": _rule(program, answer),
                "target": answer.target,
                "is_fallback": answer.is_fallback,
                "is_copy": answer.is_copy,
                "values": {name: _written(value, type_) for name, value, type_ in answer.values},
                "reason": None,
            }
        case NotDecided(reason):
            return {"verdict": "not_decided", "witness": None, "reason": reason}
        case _:
            return {"verdict": "proved", "witness": None, "reason": None}


def _text(program: Program, answer: Breach | Proved | NotDecided) -> Iterator[str]:
    match answer:
        case Breach():
            request = printable(said(as_given(answer.witness, program)))
            yield f"broken by a request {f'with {request}' if request else 'like any other'}"
            yield f"  {_way(program, answer)}"
            if answer.values:
                named = (f"{name} = {_written(v, type_)}" for name, v, type_ in answer.values)
                yield f"  there {printable(', '.join(named))}"
        case NotDecided(reason):
            yield f"not decided: {reason_of(reason)}"
        case _:
            rules = len(program.clauses)
            yield f"proved: no request breaks it ({rules} rules, their fallbacks and copies)"


def _way(program: Program, breach: Breach) -> str:
    rule = _rule(program, breach)
    taken = "no rule takes it" if rule is None else f"the rule {printable(rule)} takes it"
    target = printable(breach.target)
    if breach.target == REQUESTED:
        target = "what the client asked for, which nobody listed"
    if breach.is_copy:
        return f"{taken}, and a copy goes to {target}"
    if breach.is_after_others:
        return f"{taken}, and if those before it fail it comes to {target}"
    return f"{taken}, and it goes to {target}"


def _written(value: Value | None, type_: Type) -> str:
    """A value as the language writes it."""
    if value is None:
        return "unknown"
    if type_ is Type.MONEY and isinstance(value, int):
        return f"${format_usd(value)}"
    return quote(value) if isinstance(value, str) else format_value(value, type_)


def _not_known(unknown: Mapping[str, list[str]]) -> Iterator[str]:
    """Where a `never` holds only because nothing is known."""
    for fact, ids in unknown.items():
        named = ", ".join(ids[:_NAMED]) + (" …" if len(ids) > _NAMED else "")
        yield (
            f"nothing is known of the {fact} of {printable(named)}: "
            "there the claim is not broken; `always` would be"
        )


def _rule(program: Program, breach: Breach) -> str | None:
    return None if breach.clause is None else program.clauses[breach.clause].name


def _asked_as(attribute: Attribute) -> str:
    """An attribute's name as a condition writes it."""
    whole, _, part = attribute.name.partition(".")
    return f'{whole}("…").{part}' if attribute.parameter is Parameter.BUDGET else attribute.name


def _names(policy: tree.Policy) -> Iterator[str]:
    """What a claim may read, with a word of each."""
    rows = [(ROUTE, "The id of the target that a request goes to.")]
    rows += [(fact.name, f"Of that target: {fact.doc}") for fact in FACTS.values()]
    rows.append((f'"…" in {TAGS}', "Whether that target has a tag."))
    rows += [(entry.name.value, "A name of `let:`.") for entry in policy.definitions]
    rows += [
        (_asked_as(attribute), attribute.doc)
        for attribute in language_schema().attributes.values()
        if not attribute.hidden and attribute.too_late is None
    ]
    rows += [(alias, f"The same as `{name}`.") for alias, name in ALIASES.items()]
    names = dict(reversed(rows))  # the first of each name counts
    width = max(map(len, names))
    for name, doc in rows:
        if names.pop(name, None) is not None:
            yield f"{printable(name):{width}}  {doc}"
