"""One way from a source to everything there is to say of it: reading, typing, lint, ignores.

Errors stand in the way of the rules of lint that need the program; the others still run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from turnout.dsl import tree
from turnout.dsl.check import check
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, sort
from turnout.dsl.ignore import Ignored, ignore
from turnout.dsl.include import Load, no_files
from turnout.dsl.parse import parse_with_warnings
from turnout.dsl.schema import Schema
from turnout.dsl.source import Source

from .registry import FINDERS


@dataclass(frozen=True, slots=True)
class Linted:
    """What became of a source.

    `policy` is None where it could not be read, `program` where a finding is an error. `ignored`
    are the findings that an inline comment takes back, each with its reason.
    """

    policy: tree.Policy | None
    program: Program | None
    findings: tuple[Diagnostic, ...]
    ignored: tuple[Ignored, ...] = ()


def lint(source: Source, schema: Schema, today: int | None = None, load: Load = no_files) -> Linted:
    """Read, type and lint a policy. `today` is in days since 1970-01-01, None if nobody knows."""
    policy, found = parse_with_warnings(source, load)
    program = None
    findings = list(found)
    if policy is not None:
        program, found = check(policy, schema)
        findings += found
        findings += find(policy, program, today)
    # Of a policy that could not be read, the files with findings are those whose comments count.
    sources = (source, *(f.span.source for f in findings)) if policy is None else policy.sources
    kept, ignored = ignore(sort(findings), sources)
    if any(finding.severity == "error" for finding in kept):
        program = None
    return Linted(policy, program, kept, ignored)


def find(
    policy: tree.Policy, program: Program | None, today: int | None = None
) -> Iterator[Diagnostic]:
    """What the rules of lint find in a policy that was read."""
    for rule in FINDERS:
        yield from rule.find(policy, program, today)
