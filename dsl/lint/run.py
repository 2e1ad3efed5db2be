"""One way from a source to everything there is to say of it: reading, typing, lint, ignores.

Errors stand in the way of the rules of lint that need the program; the others still run. What has
to be proved is asked only where a prover is handed in: this module knows none.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from turnout.dsl import tree
from turnout.dsl.check import check
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, sort
from turnout.dsl.ignore import Ignored, ignore
from turnout.dsl.include import Load, no_files
from turnout.dsl.parse import parse_with_warnings
from turnout.dsl.prove import Prover
from turnout.dsl.schema import Schema
from turnout.dsl.source import Source

from .registry import FINDERS, PROOFS, UNPROVED
from .survey import Survey

# Codes that say already that a part of a condition is the same for every request.
_OF_CONSTANTS = frozenset({"RP113", "RP118"})


@dataclass(frozen=True, slots=True)
class Linted:
    """What became of a source.

    `policy` is None where it could not be read, `program` where a finding is an error. `ignored`
    are the findings that an inline comment takes back, each with its reason. `is_proved`: what has
    to be proved was asked.
    """

    policy: tree.Policy | None
    program: Program | None
    findings: tuple[Diagnostic, ...]
    ignored: tuple[Ignored, ...] = ()
    is_proved: bool = False


def lint(
    source: Source,
    schema: Schema,
    today: int | None = None,
    load: Load = no_files,
    prover: Callable[[Program], Prover] | None = None,
    notes: bool = False,
) -> Linted:
    """Read, type and lint a policy. `today` is in days since 1970-01-01, None if nobody knows.

    With a `prover` it is proved, too; `notes`: what is worth it only on request is looked for.
    """
    policy, found = parse_with_warnings(source, load)
    program = None
    is_proved = False
    findings = list(found)
    if policy is not None:
        program, found = check(policy, schema)
        findings += found
        findings += find(policy, program, today)
        is_proved = program is not None and prover is not None
        if program is None or prover is None:
            findings += [one for rule in UNPROVED for one in rule.find(policy, program, today)]
        else:
            told = frozenset(one.span for one in findings if one.code in _OF_CONSTANTS)
            findings += prove(Survey(policy, program, prover(program), told, notes))
    # Of a policy that could not be read, the files with findings are those whose comments count.
    sources = (source, *(f.span.source for f in findings)) if policy is None else policy.sources
    kept, ignored = ignore(sort(findings), sources)
    if any(finding.severity == "error" for finding in kept):
        program = None
    return Linted(policy, program, kept, ignored, is_proved)


def find(
    policy: tree.Policy, program: Program | None, today: int | None = None
) -> Iterator[Diagnostic]:
    """What the rules of lint find in a policy that was read."""
    for rule in FINDERS:
        yield from rule.find(policy, program, today)


def prove(survey: Survey) -> Iterable[Diagnostic]:
    """What the rules of lint prove of a policy, or find a request for."""
    # Each is done before the next one starts: what it assumes of the requests ends with it.
    return [finding for rule in PROOFS for finding in list(rule.prove(survey))]
