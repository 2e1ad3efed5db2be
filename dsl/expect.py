"""The `tests:` of a policy: each is decided like a request and compared with what it expects."""

from collections.abc import Iterable
from dataclasses import dataclass

from .core import Program
from .interpret.traced import Verdict, trace
from .nearest import suggestion
from .snapshot import SnapshotError, read_given, require
from .source import Span
from .tree import TestCase


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test.

    `rule` and `route` are what was got: None where no rule fired, or where the test could not be
    read; then `problem` and `help` say why. `verdict` has the values under every operand. `span`
    is the line to look at: of what was expected, or of the value that cannot be read.
    """

    name: str
    passed: bool
    expected_rule: str | None
    expected_route: str | None
    rule: str | None
    route: str | None
    verdict: Verdict | None
    problem: str | None
    help: str | None
    span: Span


def run(program: Program, tests: Iterable[TestCase]) -> tuple[Outcome, ...]:
    """Decide every test, in the order of the file."""
    return tuple(_run(program, test, number) for number, test in enumerate(tests, 1))


def _run(program: Program, test: TestCase, number: int) -> Outcome:
    rule = test.expect_rule.value if test.expect_rule else None
    route = test.expect_route.value if test.expect_route else None
    name = test.name.value if test.name else f"test {number}"
    wanted = test.expect_rule or test.expect_route
    place = wanted.span if wanted else test.span

    def failed(problem: str, help: str | None, span: Span) -> Outcome:
        return Outcome(name, False, rule, route, None, None, None, problem, help, span)

    rules = [clause.name for clause in program.clauses]
    if test.expect_rule is not None and rule not in rules:
        help = suggestion(str(rule), rules) or f"rules are {', '.join(rules)}"
        return failed(f"there is no rule `{rule}`", help, test.expect_rule.span)
    try:
        given = {key: value for key, (value, _) in test.given.items()}
        snapshot = read_given(given, program, test.at.value if test.at else None)
        verdict = trace(program, snapshot)
        last = len(program.clauses) if verdict.clause is None else verdict.clause + 1
        for tried in program.clauses[:last]:  # a rule that was not tried asks for nothing
            require(snapshot, sorted(tried.reads))
    except SnapshotError as error:
        span = test.given[error.key][1] if error.key in test.given else test.span
        if error.key == "at" and test.at is not None:
            span = test.at.span
        return failed(error.message, error.help, span)
    clause = None if verdict.clause is None else program.clauses[verdict.clause]
    got_rule = clause.name if clause else None
    got_route = clause.plan.route.target if clause else None
    problem: str | None = None
    hint: str | None = None
    if rule is not None and rule != got_rule:
        problem = f"expected rule `{rule}`, " + (f"got `{got_rule}`" if clause else "none matched")
    elif route is not None and route != got_route:
        problem = f"expected route `{route}`, " + (
            f"got `{got_route}`" if clause else "no rule matched"
        )
        place = test.expect_route.span if test.expect_route else place
        routes = {known.plan.route.target for known in program.clauses}
        if route not in routes:
            hint = suggestion(str(route), routes) or f"routes are {', '.join(sorted(routes))}"
    return Outcome(
        name, problem is None, rule, route, got_rule, got_route, verdict, problem, hint, place
    )
