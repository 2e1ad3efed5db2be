"""Run the tests that are written in policy files.

A failure shows every rule that was tried, with the value of each part of its condition. Exit code
1 if a test failed or a policy does not compile.
"""

import argparse
import json
import sys
from typing import Any

from turnout.dsl.diagnostic import Diagnostic, PolicyError
from turnout.dsl.expect import Outcome
from turnout.engine.policy import Policy
from turnout.engine.trace import render_trail

from .colour import Palette, palette_of
from .exchange import Case, findings_as_cases, render_junit
from .files import DEFAULT_POLICY, read_source
from .report import printable, render_place

_Tested = dict[str, tuple[Outcome, ...]]


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
        choices=["text", "json", "junit"],
        default="text",
        help="how outcomes are printed (default: text)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the tests of every file that compiles, then show what keeps the others from it."""
    tested: _Tested = {}
    findings: list[Diagnostic] = []
    for source in [read_source(name) for name in dict.fromkeys(arguments.files)]:
        try:
            tested[source.name] = Policy.compile(source).test()
        except PolicyError as error:
            findings += error.diagnostics
    match arguments.format:
        case "json":
            rows = [_as_data(outcome) for outcomes in tested.values() for outcome in outcomes]
            print(json.dumps(rows, indent=2, ensure_ascii=False))
        case "junit":
            cases = [_as_case(outcome) for outcomes in tested.values() for outcome in outcomes]
            broken = dict.fromkeys(finding.span.source.name for finding in findings)
            cases += findings_as_cases(findings, list(broken), frozenset({"error"}))
            print(render_junit(cases), end="")
        case _:
            _print_text(tested, palette_of(sys.stdout))
    if findings:
        raise PolicyError(findings)
    return int(any(not outcome.passed for outcomes in tested.values() for outcome in outcomes))


def _print_text(tested: _Tested, palette: Palette) -> None:
    for name, outcomes in tested.items():
        failed = [outcome for outcome in outcomes if not outcome.passed]
        for outcome in failed:
            print(_failure(outcome, palette))
        if not outcomes:
            print(f"no tests in {printable(name)}")
            continue
        passed = len(outcomes) - len(failed)
        line = f"{passed} passed, {len(failed)} failed" if failed else f"{passed} passed"
        print(palette.paint("error" if failed else "good", f"{line} in {printable(name)}"))


def _failure(outcome: Outcome, palette: Palette) -> str:
    """What was expected, where it is written, and why it came out otherwise."""
    lines = [
        f"{render_place(outcome.span)}: {palette.paint('error', 'failed')}"
        f" {palette.paint('strong', printable(outcome.name))}: {printable(outcome.problem or '')}"
    ]
    if outcome.help:
        lines.append(f"  help: {printable(outcome.help)}")
    if outcome.verdict is not None:
        lines.append(render_trail(outcome.verdict.to_json()))
    return "\n".join(lines) + "\n"


def _as_data(outcome: Outcome) -> dict[str, Any]:
    """One outcome as data; lines and columns count from 1, in code points."""
    return {
        "file": outcome.span.source.name,
        "name": outcome.name,
        "passed": outcome.passed,
        "expected": {"rule": outcome.expected_rule, "route": outcome.expected_route},
        "got": {"rule": outcome.rule, "route": outcome.route},
        "problem": outcome.problem,
        "help": outcome.help,
        "line": outcome.span.line,
        "column": outcome.span.column,
        "trail": None if outcome.verdict is None else outcome.verdict.to_json(),
    }


def _as_case(outcome: Outcome) -> Case:
    return Case(
        suite=outcome.span.source.name,
        name=outcome.name,
        failure=outcome.problem,
        detail="" if outcome.verdict is None else render_trail(outcome.verdict.to_json()),
    )
