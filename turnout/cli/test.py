"""Run the tests that are written in policy files.

A failure shows what was expected, what came, and every rule on the way with the value of each
operand below it. `--coverage` lists the rules that no test fired and the conditions that no test
saw true or saw false, with their lines.

  policy test
  policy test policies/*.yml --format junit > tests.xml
  policy test routing.yml --coverage --min 100

Exit code 0 if all passed, 1 if a test failed, coverage is below `--min`, or a policy does not
compile, 2 if a file cannot be read.
"""

# Over 300 lines because the four forms of one report stand beside each other.

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from turnout.dsl.core import Program
from turnout.dsl.coverage import AtomCoverage, Coverage, RuleCoverage, cover
from turnout.dsl.diagnostic import Diagnostic, PolicyError
from turnout.dsl.expect import Outcome
from turnout.dsl.source import Span
from turnout.engine.policy import Policy

from .colour import Palette, palette_of
from .dispatch import FINDINGS
from .exchange import Case, findings_as_cases, render_junit
from .files import DEFAULT_POLICY, read_policy
from .operands import rule_below
from .report import escape_annotation, plural, printable, render_github, render_place

_MARKS = {"true": "✓", "false": "✗", "unknown": "?"}


@dataclass(frozen=True, slots=True)
class _Tested:
    """One file with its outcomes; `coverage` where it was asked for."""

    name: str
    program: Program
    outcomes: tuple[Outcome, ...]
    coverage: Coverage | None


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
        "--coverage",
        action="store_true",
        help="list the rules and conditions that no test has seen",
    )
    parser.add_argument(
        "--min",
        type=_percent,
        metavar="PERCENT",
        help="fail where less is covered, such as 100; means --coverage too",
    )
    parser.add_argument(
        "--format",
        choices=["text", "json", "junit", "github"],
        default="text",
        help="how outcomes are printed (default: text)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the tests of every file that compiles, then show what keeps the others from it."""
    is_covered = arguments.coverage or arguments.min is not None
    tested: list[_Tested] = []
    findings: list[Diagnostic] = []
    for source, load in [read_policy(name) for name in dict.fromkeys(arguments.files)]:
        try:
            policy = Policy.compile(source, load)
        except PolicyError as error:
            findings += error.diagnostics
            continue
        outcomes = policy.test()
        coverage = _cover(policy.program, outcomes) if is_covered else None
        tested.append(_Tested(source.name, policy.program, outcomes, coverage))
    least = arguments.min or 0
    match arguments.format:
        case "json":
            print(json.dumps(_as_json(tested, is_covered), indent=2, ensure_ascii=False))
        case "junit":
            print(_as_junit(tested, findings, least), end="")
        case "github":
            print(_as_github(tested, findings, least), end="")
        case _:
            _print_text(tested, least, palette_of(sys.stdout))
    if findings and arguments.format == "github":
        return FINDINGS
    if findings:
        raise PolicyError(findings)
    has_failed = any(not outcome.passed for one in tested for outcome in one.outcomes)
    return FINDINGS if has_failed or any(_is_below(one, least) for one in tested) else 0


def _percent(text: str) -> int:
    """A share of the coverage: `100`, `85%`."""
    number = text.removesuffix("%")
    if not number.isascii() or not number.isdigit() or int(number) > 100:
        raise argparse.ArgumentTypeError(
            f"`{printable(text)}` is not a percentage: write `--min 80`"
        )
    return int(number)


def _cover(program: Program, outcomes: tuple[Outcome, ...]) -> Coverage:
    return cover(program, [one.snapshot for one in outcomes if one.snapshot is not None])


def _is_below(tested: _Tested, least: int) -> bool:
    return tested.coverage is not None and tested.coverage.percent < least


# --- text ----------------------------------------------------------------------------------------


def _print_text(tested: list[_Tested], least: int, palette: Palette) -> None:
    for one in tested:
        failed = [outcome for outcome in one.outcomes if not outcome.passed]
        for outcome in failed:
            print(_failure(one.program, outcome, palette))
        if one.coverage is not None:
            for span, text in _uncovered(one.coverage):
                label = palette.paint("warning", "not covered")
                print(f"{render_place(span)}: {label} {printable(text)}")
        name = printable(one.name)
        if one.outcomes:
            passed = len(one.outcomes) - len(failed)
            line = f"{passed} passed, {len(failed)} failed" if failed else f"{passed} passed"
            print(palette.paint("error" if failed else "good", f"{line} in {name}"))
        else:
            print(f"no tests in {name}")
        if one.coverage is not None:
            style = "error" if _is_below(one, least) else "good"
            print(palette.paint(style, _coverage_line(one, least)))


def _coverage_line(tested: _Tested, least: int) -> str:
    found = tested.coverage
    if found is None:
        return ""
    fired = sum(bool(rule.fired) for rule in found.rules)
    seen = sum(2 - len(atom.missing) for rule in found.rules for atom in rule.atoms)
    both = sum(2 * len(rule.atoms) for rule in found.rules)
    line = (
        f"{found.percent} % covered: {fired} of {plural(len(found.rules), 'rule')} fired, "
        f"{seen} of {both} truths of conditions seen"
    )
    return f"{line}; below {least} %" if _is_below(tested, least) else line


def _uncovered(found: Coverage) -> Iterator[tuple[Span, str]]:
    for rule in found.rules:
        if not rule.fired:
            yield rule.span, f"rule {rule.rule}: no test fires it"
        for atom in rule.atoms:
            if atom.missing:
                yield atom.span, f"`{atom.text}` of rule {rule.rule}: {_never(atom)}"


def _never(atom: AtomCoverage) -> str:
    return f"never seen {' nor '.join(atom.missing)}"


def _failure(program: Program, outcome: Outcome, palette: Palette) -> str:
    """What was expected, where it is written, and why it came out otherwise."""
    lines = [
        f"{render_place(outcome.span)}: {palette.paint('error', 'failed')}"
        f" {palette.paint('strong', printable(outcome.name))}: {printable(outcome.problem or '')}"
    ]
    if outcome.help:
        lines.append(f"  help: {printable(outcome.help)}")
    lines += _way(program, outcome)
    return "\n".join(lines) + "\n"


def _way(program: Program, outcome: Outcome) -> Iterator[str]:
    """The rules that were tried, each with the values below its condition."""
    verdict, seen = outcome.verdict, outcome.snapshot
    if verdict is None or seen is None:
        return
    tried = [step for step in verdict.steps if step.outcome != "not_tried"]
    width = max((len(printable(step.rule)) for step in tried), default=0)
    for step, clause in zip(verdict.steps, program.clauses, strict=True):
        if step.outcome == "not_tried":
            continue
        below = rule_below(clause, seen)
        head = f"  {_MARKS[step.outcome]} {printable(step.rule):{width}}   "
        yield head + below[0]
        yield from (" " * len(head) + line for line in below[1:])


# --- data ----------------------------------------------------------------------------------------


def _as_json(tested: list[_Tested], is_covered: bool) -> Any:
    """The outcomes; beside them, where it was asked for, what was covered of each file."""
    tests = [_as_data(outcome) for one in tested for outcome in one.outcomes]
    if not is_covered:
        return tests
    coverage = [_coverage_data(one.name, one.coverage) for one in tested if one.coverage]
    return {"tests": tests, "coverage": coverage}


def _as_data(outcome: Outcome) -> dict[str, Any]:
    """One outcome as data; lines and columns count from 1, in code points."""
    verdict = outcome.verdict  # made anew each time
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
        "trail": None if verdict is None else verdict.to_json(),
    }


def _coverage_data(name: str, found: Coverage) -> dict[str, Any]:
    return {
        "file": name,
        "percent": found.percent,
        "covered": found.covered,
        "total": found.total,
        "rules": [_rule_data(rule) for rule in found.rules],
    }


def _rule_data(rule: RuleCoverage) -> dict[str, Any]:
    return {
        "rule": rule.rule,
        "file": rule.span.source.name,
        "line": rule.span.line,
        "fired": rule.fired,
        "conditions": [
            {
                "text": atom.text,
                "file": atom.span.source.name,
                "line": atom.span.line,
                "column": atom.span.column,
                "seen_true": atom.seen_true,
                "seen_false": atom.seen_false,
            }
            for atom in rule.atoms
        ],
    }


def _as_junit(tested: list[_Tested], findings: list[Diagnostic], least: int) -> str:
    cases: list[Case] = []
    for one in tested:
        cases += [
            Case(
                suite=one.name,
                name=outcome.name,
                failure=outcome.problem,
                detail="\n".join(_way(one.program, outcome)),
            )
            for outcome in one.outcomes
        ]
        if one.coverage is not None:
            missing = [f"{render_place(at)}: {text}" for at, text in _uncovered(one.coverage)]
            line = _coverage_line(one, least)
            failure = line if _is_below(one, least) else None
            cases.append(Case(one.name, "coverage", failure, "\n".join(missing)))
    broken = dict.fromkeys(finding.span.source.name for finding in findings)
    cases += findings_as_cases(findings, list(broken), frozenset({"error"}))
    return render_junit(cases)


def _as_github(tested: list[_Tested], findings: list[Diagnostic], least: int) -> str:
    """Failed tests as errors beside their lines; uncovered ones as notices, or as errors too."""
    lines = [render_github(findings)] if findings else []
    for one in tested:
        for outcome in one.outcomes:
            if not outcome.passed:
                text = "\n".join([outcome.problem or "", *_way(one.program, outcome)])
                lines.append(_annotation("error", outcome.span, outcome.name, text))
        if one.coverage is None:
            continue
        level = "error" if _is_below(one, least) else "notice"
        for span, text in _uncovered(one.coverage):
            lines.append(_annotation(level, span, "not covered", text))
    return "".join(lines)


def _annotation(level: str, span: Span, title: str, text: str) -> str:
    listed = ",".join(
        f"{key}={escape_annotation(str(value), ':,')}"
        for key, value in {
            "file": span.source.name,
            "line": span.line,
            "title": title,
        }.items()
    )
    return f"::{level} {listed}::{escape_annotation(text)}\n"
