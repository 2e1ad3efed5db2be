"""The `tests:` of a policy: each is decided like a request and compared with what it expects."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .core import REQUESTED, Program, Reject
from .destination import Reached, kept_out_said, nowhere_said, reached
from .hops import first_hops
from .interpret.compiled import compile_term
from .interpret.traced import Verdict, trace
from .nearest import suggestion
from .schema import Value
from .snapshot import Snapshot, SnapshotError, read_given, read_said, require
from .source import Span
from .tree import TestCase, Text
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


class Problem(NamedTuple):
    """Why a test cannot be right, what to write instead, and where."""

    message: str
    help: str | None
    span: Span


def run(program: Program, tests: Iterable[TestCase]) -> tuple[Outcome, ...]:
    """Decide every test, in the order of the file."""
    decider = _Decider(program)
    return tuple(_run(decider, test, number) for number, test in enumerate(tests, 1))


def broken(program: Program, tests: Iterable[TestCase]) -> Iterator[Problem]:
    """What is wrong with tests whatever is decided: names that are not there, unreadable values."""
    rules = [clause.name for clause in program.clauses]
    names = set(rules)
    routes = set(_routes(program))
    named = {*routes, *(route.partition(" ")[0] for route in routes)}  # `reject` is any of them
    for test in tests:
        rule, route = test.expect_rule, test.expect_route
        if rule is not None and rule.value not in names:
            yield _no_rule(rule, rules)
        # What `requested` stands for may be named: that is up to the client.
        if route is not None and route.value not in named and REQUESTED not in routes:
            help = _routes_meant(route.value, routes)
            yield Problem(f"no rule or fallback goes to `{route.value}`", help, route.span)
        at = test.at.value if test.at else None
        for data, moment in (({}, at), *(({key: v}, None) for key, (v, _) in test.given.items())):
            try:
                read_said(data, program, moment)
            except SnapshotError as error:
                yield _unreadable(error, test)


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
        return failed(*_no_rule(test.expect_rule, decider.rules))
    try:
        given = {key: value for key, (value, _) in test.given.items()}
        snapshot = read_given(given, program, test.at.value if test.at else None)
        place_of_rule, unknown = decider.decide(snapshot)
        _require(program, place_of_rule, unknown, snapshot, test)
    except SnapshotError as error:
        return failed(*_unreadable(error, test))
    clause = None if place_of_rule is None else program.clauses[place_of_rule]
    led = reached(program, place_of_rule, snapshot)
    got_rule = clause.name if clause else None
    got_route = _route(led)
    problem: str | None = None
    hint: str | None = None
    if rule is not None and rule != got_rule:
        problem = f"expected rule `{rule}`, " + (f"got `{got_rule}`" if clause else "none matched")
    elif route is not None and (key := led.found.lacks) is not None:
        problem = nowhere_said(led)
        hint = f"give it in `given`, such as `{key}: 0`, a number of 0 to 9999"
    elif route is not None and route not in _ways_to_say(led):
        got = f"got `{got_route}`" if got_route else "got nothing"
        why = nowhere_said(led) if got_route is None else kept_out_said(led.kept_out)
        problem = f"expected route `{route}`, {got}" + (f": {why}" if why else "")
        place = test.expect_route.span if test.expect_route else place
        routes = set(_routes(program))
        if route not in routes:
            hint = _routes_meant(str(route), routes)
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


def _no_rule(rule: Text, rules: Sequence[str]) -> Problem:
    help = suggestion(rule.value, rules) or f"rules are {', '.join(rules)}"
    return Problem(f"there is no rule `{rule.value}`", help, rule.span)


def _routes_meant(route: str, routes: Iterable[str]) -> str:
    return suggestion(route, routes) or f"routes are {', '.join(sorted(routes))}"


def _unreadable(error: SnapshotError, test: TestCase) -> Problem:
    span = test.given[error.key][1] if error.key in test.given else test.span
    if error.key == "at" and test.at is not None:
        span = test.at.span
    return Problem(error.message, error.help, span)


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


def _routes(program: Program) -> Iterator[str]:
    """Everything that a test may expect as a route."""
    for clause in program.clauses:
        if isinstance(clause.plan.route, Reject):
            yield f"reject {clause.plan.route.status}"
        for hop in (*first_hops(clause.plan), *(clause.plan.fallback or ())):
            yield hop.target
    yield from (hop.target for hop in program.chain)
