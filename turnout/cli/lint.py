"""Check policy files: every finding with its place and its fix.

Exit code 0 if there is no finding at or above --fail-on, 1 if there is one, 2 if a file cannot
be read.
"""

import argparse
import sys
from collections.abc import Callable, Iterable

from turnout.dsl.check import check
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.parse import parse_with_warnings
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema

from .colour import palette_of
from .exchange import findings_as_cases, render_junit, render_sarif
from .files import DEFAULT_POLICY, read_source
from .report import (
    SEVERITIES,
    plural,
    render_github,
    render_json,
    render_text,
    summary,
)

_DATA: dict[str, Callable[[Iterable[Diagnostic]], str]] = {
    "json": render_json,
    "github": render_github,
    "sarif": render_sarif,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "files",
        nargs="*",
        default=[DEFAULT_POLICY],
        metavar="FILE",
        help=f"policy files, `-` for standard input (default: {DEFAULT_POLICY})",
    )
    parser.add_argument(
        "--format",
        choices=["text", *_DATA, "junit"],
        default="text",
        help="how findings are printed (default: text)",
    )
    parser.add_argument(
        "--fail-on",
        choices=SEVERITIES,
        default="error",
        help="the least severity that makes the exit code 1 (default: error)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Lint every file and print what was found in all of them."""
    sources = [read_source(name) for name in dict.fromkeys(arguments.files)]
    findings: list[Diagnostic] = []
    programs: list[Program | None] = []
    unparsed = tests = 0
    schema = language_schema()
    for source in sources:
        written, found = parse_with_warnings(source)
        findings += found
        program = None
        if written is None:
            unparsed += 1
        else:
            tests += len(written.tests)
            program, found = check(written, schema)
            findings += found
        programs.append(program)

    counted = frozenset(SEVERITIES[: SEVERITIES.index(arguments.fail_on) + 1])
    names = [source.name for source in sources]
    if arguments.format == "text":
        _print_text(findings, sources, programs)
        print(palette_of(sys.stdout).paint("faint", _not_checked(unparsed, tests)))
    elif arguments.format == "junit":
        print(render_junit(findings_as_cases(findings, names, counted)), end="")
    else:
        print(_DATA[arguments.format](findings), end="")
    return int(any(finding.severity in counted for finding in findings))


def _print_text(
    findings: list[Diagnostic], sources: list[Source], programs: list[Program | None]
) -> None:
    palette = palette_of(sys.stdout)
    if findings:
        print(render_text(findings, palette))
    line = summary(findings, [source.name for source in sources])
    worst = next((s for s in SEVERITIES if any(f.severity == s for f in findings)), "good")
    usable = [program for program in programs if program is not None]
    if usable and len(usable) == len(programs):
        rules = sum(len(program.clauses) for program in usable)
        line += f" ({plural(rules, 'rule')})"
    print(palette.paint(worst, line))


def _not_checked(unparsed: int, tests: int) -> str:
    """What a clean report does not promise, and what errors of form stood in the way of."""
    missing = []
    if unparsed:
        where = f" of {plural(unparsed, 'file')}" if unparsed > 1 else ""
        missing.append(f"types, units and targets{where} (fix the errors above first)")
    missing.append("proofs over all requests (rules that never match, requests no rule takes)")
    if tests:
        missing.append(f"{plural(tests, 'test')} of the policy (`policy test`)")
    return f"not checked: {'; '.join(missing)}"
