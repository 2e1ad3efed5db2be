"""The `tests:` of a policy: each is decided like a request and compared with what it expects."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .core import REQUESTED, Program, Reject, Split, Term
from .hops import first_hops
from .interpret.traced import Verdict, evaluate, trace
from .limits import Destination, destination
from .nearest import suggestion
from .schema import Value
from .snapshot import Snapshot, SnapshotError, read_given, require
from .source import Span
from .tree import TestCase
from .walk import plan_terms, reads


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test.

    `rule` and `route` are what was got: None where no rule fired, or where the test could not be
    read; then `problem` and `help` say why. A route is the target that the request goes to first,
    limits considered: what a choice or a split came to, the first of the chain where no rule fired,
    `requested` where the client decides, or `reject 429`.
    `verdict` has the values under every operand. `span` is the line to look at: of what was
    expected, or of the value that cannot be read.
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
    snapshot: Snapshot | None = None  # what was decided on; None where it could not be read
    destination: Destination | None = None


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
        _require(program, verdict, snapshot, test)
    except SnapshotError as error:
        span = test.given[error.key][1] if error.key in test.given else test.span
        if error.key == "at" and test.at is not None:
            span = test.at.span
        return failed(error.message, error.help, span)
    clause = None if verdict.clause is None else program.clauses[verdict.clause]

    def value(term: Term) -> Value | None:
        return evaluate(term, snapshot).value

    reached = destination(program, verdict.clause, snapshot, value)
    got_rule = clause.name if clause else None
    got_route = _route(reached)
    problem: str | None = None
    hint: str | None = None
    if rule is not None and rule != got_rule:
        problem = f"expected rule `{rule}`, " + (f"got `{got_rule}`" if clause else "none matched")
    elif route is not None and route not in _ways_to_say(reached):
        problem = f"expected route `{route}`, " + (
            f"got `{got_route}`" if got_route else _nowhere(reached, program)
        )
        place = test.expect_route.span if test.expect_route else place
        routes = set(_routes(program))
        if route not in routes:
            hint = suggestion(str(route), routes) or f"routes are {', '.join(sorted(routes))}"
    return Outcome(
        name,
        problem is None,
        rule,
        route,
        got_rule,
        got_route,
        verdict,
        problem,
        hint,
        place,
        snapshot,
        reached,
    )


def _require(program: Program, verdict: Verdict, snapshot: Snapshot, test: TestCase) -> None:
    """Refuse a test that does not give what its answer hangs on. Raises: SnapshotError."""
    for clause, step in zip(program.clauses, verdict.steps, strict=True):
        if step.outcome == "unknown":  # where it is sure anyway, nothing hangs on what is missing
            require(snapshot, sorted(clause.reads))
    if test.expect_route is None or verdict.clause is None:
        return
    plan = program.clauses[verdict.clause].plan
    limits = (term for limit in program.limits for term in (limit.when, limit.target) if term)
    require(snapshot, sorted(reads((*plan_terms(plan), *limits))))
    if isinstance(plan.route, Split) and evaluate(plan.route.bucket, snapshot).value is None:
        (key,) = reads([plan.route.bucket])
        raise SnapshotError(
            key,
            f"the split reads `{key}`, which is not given",
            f"give it in `given`, such as `{key}: 0`, a number of 0 to 9999",
            is_missing=True,
        )


def _route(reached: Destination) -> str | None:
    if reached.reject is not None:
        return f"reject {reached.reject.status}"
    if reached.first is None:
        return None
    return REQUESTED if reached.first.target == REQUESTED else reached.target


def _ways_to_say(reached: Destination) -> tuple[str | None, ...]:
    """`reject` is any rejection, and what `requested` stands for may be named."""
    return (_route(reached), reached.target, "reject" if reached.reject is not None else None)


def _nowhere(reached: Destination, program: Program) -> str:
    if reached.excluded:
        target, limit = reached.excluded[0]
        return f"got nothing: the limit `{limit}` keeps it from `{target}`"
    if reached.clause is None:
        return "no rule matched"
    return f"nothing is left of the choice of `{program.clauses[reached.clause].name}`"


def _routes(program: Program) -> Iterator[str]:
    """Everything that a test may expect as a route."""
    for clause in program.clauses:
        if isinstance(clause.plan.route, Reject):
            yield f"reject {clause.plan.route.status}"
        for hop in (*first_hops(clause.plan), *(clause.plan.fallback or ())):
            yield hop.target
    yield from (hop.target for hop in program.chain)
