"""Check policy files: every finding with its place and its fix.

What holds for all requests is proved: rules that never run, requests that no rule takes, limits
that leave no target, invariants. Such a finding comes with a request that shows it. The proofs
need z3; without one that works lint says what it did not check.

Exit code 0 if there is no finding at or above --fail-on, 1 if there is one, 2 if a file cannot
be read. A finding that is right to stay is taken back in the file, with the reason:
`# turnout: ignore RP403 because <reason>`; errors cannot be.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable

from turnout.dsl.diagnostic import NAMES, Diagnostic
from turnout.dsl.ignore import Ignored
from turnout.dsl.lint import not_decided
from turnout.dsl.lint.page import Page
from turnout.dsl.lint.registry import PROOFS, pages
from turnout.dsl.lint.run import Linted, lint
from turnout.dsl.nearest import suggestion
from turnout.engine.catalog import language_schema

from .colour import palette_of
from .dispatch import CommandError
from .exchange import findings_as_cases, render_junit, render_sarif
from .files import DEFAULT_POLICY, read_policy
from .proofs import advice, duration, obstacle, prover_within
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
}
_DAY_S = 24 * 60 * 60


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
        choices=["text", *_DATA, "sarif", "junit"],
        default="text",
        help="how findings are printed (default: text)",
    )
    parser.add_argument(
        "--fail-on",
        choices=SEVERITIES,
        default="error",
        help="the least severity that makes the exit code 1 (default: error)",
    )
    parser.add_argument(
        "--explain",
        metavar="CODE",
        help="print the page of a code, such as RP403, and lint nothing",
    )
    proving = parser.add_mutually_exclusive_group()
    proving.add_argument("--no-prove", action="store_true", help="leave the proofs out")
    proving.add_argument(
        "--require-proofs",
        action="store_true",
        help="fail where something could not be proved: there is no z3 that works, or it was not "
        "done in time",
    )
    parser.add_argument(
        "--prove-timeout",
        type=duration,
        default="30s",
        metavar="TIME",
        help="how long the proofs of all files may take together (default: 30s)",
    )
    parser.add_argument(
        "--notes",
        action="store_true",
        help="prove also what is only worth a note: rules whose order decides, rules to be joined",
    )


def run(arguments: argparse.Namespace) -> int:
    """Lint every file and print what was found in all of them."""
    if arguments.explain is not None:
        print(_page(arguments.explain).markdown, end="")
        return 0
    policies = [read_policy(name) for name in dict.fromkeys(arguments.files)]
    schema = language_schema()
    today = int(time.time()) // _DAY_S
    why = None if arguments.no_prove else obstacle()
    is_proved = not arguments.no_prove and why is None
    if arguments.require_proofs and why is not None:
        raise CommandError(f"the proofs need z3, and {why}", help=advice())
    prover_of = prover_within(arguments.prove_timeout) if is_proved else None
    linted = [
        lint(source, schema, today, load, prover_of, arguments.notes) for source, load in policies
    ]
    findings = [finding for one in linted for finding in one.findings]
    ignored = [row for one in linted for row in one.ignored]

    counted = frozenset(SEVERITIES[: SEVERITIES.index(arguments.fail_on) + 1])
    named = [source.name for source, _ in policies]
    included = [s.name for one in linted if one.policy is not None for s in one.policy.sources]
    names = list(dict.fromkeys([*named, *included, *(f.span.source.name for f in findings)]))
    match arguments.format:
        case "text":
            _print_text(findings, ignored, names, linted, is_proved)
            if why is not None:
                codes = ", ".join(sorted(rule.CODE for rule in PROOFS))
                print(f"{why}, so it is not checked: {codes}; {advice()}", file=sys.stderr)
        case "junit":
            print(render_junit(findings_as_cases(findings, names, counted)), end="")
        case "sarif":
            print(render_sarif(findings, ignored), end="")
        case known:
            print(_DATA[known](findings), end="")
    is_open = any(finding.code == not_decided.CODE for finding in findings)
    is_found = any(finding.severity in counted for finding in findings)
    return int(is_found or (arguments.require_proofs and is_open))


def _page(asked: str) -> Page:
    """The page of a code or of its short name. Raises: CommandError."""
    codes = {name: code for code, name in NAMES.items()}
    code = codes.get(asked.lower(), asked.upper())
    if code not in pages():
        raise CommandError(
            f"there is no code `{asked}`",
            help=suggestion(asked.upper(), NAMES)
            or suggestion(asked.lower(), codes)
            or "codes are printed beside each finding, such as `RP403`",
        )
    return pages()[code]


def _print_text(
    findings: list[Diagnostic],
    ignored: list[Ignored],
    names: list[str],
    linted: list[Linted],
    is_proved: bool,
) -> None:
    palette = palette_of(sys.stdout)
    if findings:
        print(render_text(findings, palette))
    line = summary(findings, names)
    worst = next((s for s in SEVERITIES if any(f.severity == s for f in findings)), "good")
    programs = [one.program for one in linted if one.program is not None]
    extra = []
    if len(programs) == len(linted):
        extra.append(plural(sum(len(program.clauses) for program in programs), "rule"))
    if ignored:
        extra.append(f"{plural(len(ignored), 'finding')} ignored")
    line += f" ({', '.join(extra)})" if extra else ""
    print(palette.paint(worst, line))
    if findings:
        print(palette.paint("faint", f"why: `policy lint --explain {findings[0].code}`"))
    if missing := _not_checked(linted, is_proved):
        print(palette.paint("faint", f"not checked: {'; '.join(missing)}"))


def _not_checked(linted: list[Linted], is_proved: bool) -> list[str]:
    """What a clean report does not promise, and what errors of form stood in the way of."""
    unparsed = sum(one.policy is None for one in linted)
    tests = sum(len(one.policy.tests) for one in linted if one.policy is not None)
    missing = []
    if unparsed:
        where = f" of {plural(unparsed, 'file')}" if unparsed > 1 else ""
        what = "types, units, targets and proofs" if is_proved else "types, units and targets"
        missing.append(f"{what}{where} (fix the errors above first)")
    if not is_proved:
        missing.append("proofs over all requests (rules that never match, requests no rule takes)")
    elif any(not one.is_proved for one in linted if one.policy is not None):
        missing.append("proofs over all requests (fix the errors above first)")
    if tests:
        missing.append(f"{plural(tests, 'test')} of the policy (`policy test`)")
    return missing
