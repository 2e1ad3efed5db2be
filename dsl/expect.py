"""The `tests:` of a policy: each is decided like a request and compared with what it expects."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .core import REQUESTED, Program, Reject, Split
from .destination import Reached, reached
from .hops import first_hops
from .interpret.compiled import compile_term
from .interpret.traced import Verdict, evaluate, trace
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
    `verdict` has the values under every operand; it is made when it is asked for. `span` is the
    line to look at: of what was expected, or of the value that cannot be read.
    """

    name: str
    passed: bool
    expected_rule: str | None
    expected_route: str | None
    rule: str | None
    route: str | None
    problem: str | None
    help: str | None
    span: Span
    snapshot: Snapshot | None = None  # what was decided on; None where it could not be read
    destination: Reached | None = None
    program: Program | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Every value on the way to the answer; None where the test could not be read."""
        if self.program is None or self.snapshot is None:
            return None
        return trace(self.program, self.snapshot)


def run(program: Program, tests: Iterable[TestCase]) -> tuple[Outcome, ...]:
    """Decide every test, in the order of the file."""
    decider = _Decider(program)
    return tuple(_run(decider, test, number) for number, test in enumerate(tests, 1))


class _Decider:
    """Decides many snapshots with one program: each condition is compiled once, if it is met.

    What is compiled says the same as what is traced, and says it a hundred times as fast.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.rules = [clause.name for clause in program.clauses]
        self._truths: dict[int, Callable[[Snapshot], Value | None]] = {}

    def decide(self, snapshot: Snapshot) -> tuple[int | None, list[int]]:
        """The place of the rule that fires, and of those before it whose truth is unknown."""
        unknown: list[int] = []
        for place, clause in enumerate(self.program.clauses):
            if place not in self._truths:
                self._truths[place] = compile_term(clause.applies)
            truth = self._truths[place](snapshot)
            if truth is True:
                return place, unknown
            if truth is None:
                unknown.append(place)
        return None, unknown


def _run(decider: _Decider, test: TestCase, number: int) -> Outcome:
    program = decider.program
    rule = test.expect_rule.value if test.expect_rule else None
    route = test.expect_route.value if test.expect_route else None
    name = test.name.value if test.name else f"test {number}"
    wanted = test.expect_rule or test.expect_route
    place = wanted.span if wanted else test.span

    def failed(problem: str, help: str | None, span: Span) -> Outcome:
        return Outcome(name, False, rule, route, None, None, problem, help, span)

    if test.expect_rule is not None and rule not in decider.rules:
        help = suggestion(str(rule), decider.rules) or f"rules are {', '.join(decider.rules)}"
        return failed(f"there is no rule `{rule}`", help, test.expect_rule.span)
    try:
        given = {key: value for key, (value, _) in test.given.items()}
        snapshot = read_given(given, program, test.at.value if test.at else None)
        place_of_rule, unknown = decider.decide(snapshot)
        _require(program, place_of_rule, unknown, snapshot, test)
    except SnapshotError as error:
        span = test.given[error.key][1] if error.key in test.given else test.span
        if error.key == "at" and test.at is not None:
            span = test.at.span
        return failed(error.message, error.help, span)
    clause = None if place_of_rule is None else program.clauses[place_of_rule]
    led = reached(program, place_of_rule, snapshot)
    got_rule = clause.name if clause else None
    got_route = _route(led)
    problem: str | None = None
    hint: str | None = None
    if rule is not None and rule != got_rule:
        problem = f"expected rule `{rule}`, " + (f"got `{got_rule}`" if clause else "none matched")
    elif route is not None and route not in _ways_to_say(led):
        problem = f"expected route `{route}`, " + (
            f"got `{got_route}`" if got_route else _nowhere(led, program)
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
        problem,
        hint,
        place,
        snapshot,
        led,
        program,
    )


def _require(
    program: Program, fired: int | None, unknown: list[int], snapshot: Snapshot, test: TestCase
) -> None:
    """Refuse a test that does not give what its answer hangs on. Raises: SnapshotError."""
    for place in unknown:  # where it is sure anyway, nothing hangs on what is missing
        require(snapshot, sorted(program.clauses[place].reads))
    if test.expect_route is None or fired is None:
        return
    plan = program.clauses[fired].plan
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


def _route(reached: Reached) -> str | None:
    if reached.reject is not None:
        return f"reject {reached.reject.status}"
    if reached.first is not None and reached.first.target == REQUESTED:
        return REQUESTED
    return reached.target


def _ways_to_say(reached: Reached) -> tuple[str | None, ...]:
    """`reject` is any rejection, and what `requested` stands for may be named.

    `requested` is what a rule gives where nothing was asked for, too: then the client decided.
    """
    route = reached.found.route
    gives = route is not None and route.target == REQUESTED
    is_kept_out = gives and any(name == REQUESTED for name, _ in reached.excluded)
    return (
        _route(reached),
        reached.target,
        "reject" if reached.reject is not None else None,
        REQUESTED if gives and not is_kept_out else None,
    )


def _nowhere(reached: Reached, program: Program) -> str:
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
