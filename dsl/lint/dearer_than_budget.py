"""A single request can cost more than a whole budget that it counts against.

The worst case is reserved before a request is sent: the prompt at most the window, the answer at
its longest. A request whose worst case is above the limit is refused even where nothing was spent.

Avoid:

    targets:
      openai/gpt-4: {price: {input: $30/Mtok, output: $60/Mtok}, context_window: 8k}
    budgets:
      - {name: team, scope: team, limit: $0.10/day}
    routing_policy:
      - {name: default, route: openai/gpt-4}

Prefer:

    targets:
      openai/gpt-4: {price: {input: $30/Mtok, output: $60/Mtok}, context_window: 8k}
    budgets:
      - {name: team, scope: team, limit: $10/day}
    routing_policy:
      - {name: default, route: openai/gpt-4}
"""

from collections.abc import Iterator
from dataclasses import dataclass

from turnout.dsl.core import Budget, Clause, Compare, Const, Member, Read, Term
from turnout.dsl.cost import TOKENS, worst_case_cost
from turnout.dsl.declared import OF
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.interpret.traced import value_of
from turnout.dsl.logic import all_of, is_true
from turnout.dsl.paths import Path
from turnout.dsl.schema import Type
from turnout.dsl.snapshot import read_given
from turnout.dsl.units import format_value
from turnout.dsl.walk import rewrite

from .abilities import can_serve
from .survey import Survey

CODE = "RP330"
LEVEL: Severity = "warning"

N = Read("n", Type.NUMBER)
MAX_TOKENS = Read("max_tokens", Type.NUMBER)
ONE_ANSWER = Compare("==", N, Const(1, Type.NUMBER))
_LONGEST = 10**7  # tokens of a prompt, where no window bounds it


@dataclass(frozen=True, slots=True)
class _Bill:
    """What a request can cost at a hop of a rule; `most` is what it is at its very worst."""

    clause: Clause
    path: Path
    cost: Term
    most: int


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Of each budget the dearest request that counts against it, where it is above the limit."""
    least = min((budget.limit_nano_usd for budget in survey.program.budgets), default=None)
    if least is None:
        return
    found: dict[str, tuple[_Bill, Diagnostic]] = {}
    for clause in survey.live():
        bills = sorted(_bills(survey, clause), key=lambda bill: -bill.most)
        for budget in survey.program.budgets:
            for bill in bills:
                best = found.get(budget.name)
                if bill.most <= budget.limit_nano_usd or (best and best[0].most >= bill.most):
                    break
                finding = _look(survey, budget, bill)
                if finding is not None:
                    found[budget.name] = (bill, finding)
                    break
    for _, finding in found.values():
        yield finding


def _bills(survey: Survey, clause: Clause) -> Iterator[_Bill]:
    limit = clause.plan.sets.get("max_tokens")

    def told(read: Read) -> Term:
        if read.key == N.key:
            return Const(1, Type.NUMBER)
        if read.key == MAX_TOKENS.key and isinstance(limit, int):
            return Const(limit, Type.NUMBER)
        return read

    for path in survey.paths(clause):
        if path.row is None or path.row.tariff is None:
            continue
        cost = rewrite(worst_case_cost(path.row, path.row.tariff), told)
        longest = path.row.context_window or _LONGEST
        most = value_of(cost, {TOKENS.key: longest})
        if isinstance(most, int):
            yield _Bill(clause, path, cost, most)


def _look(survey: Survey, budget: Budget, bill: _Bill) -> Diagnostic | None:
    limit = Const(budget.limit_nano_usd, Type.MONEY)
    too_much = all_of(
        (
            bill.path.when,
            can_serve(bill.path.row),
            is_true(Compare(">", bill.cost, limit)),
            _counts(survey, budget),
        )
    )
    subject = f"whether one request can use up the budget `{budget.name}`"
    terms = (*survey.fires(bill.clause.index), is_true(ONE_ANSWER), too_much)
    seen = survey.ask(CODE, subject, budget.span, *terms)
    if seen is None:
        return None
    example = survey.example(seen, *terms)
    cost = value_of(bill.cost, read_given(example, survey.program))
    assert isinstance(cost, int)
    each = format_value(budget.limit_nano_usd, Type.MONEY)
    return Diagnostic(
        CODE,
        LEVEL,
        f"one request can cost {format_value(cost, Type.MONEY)} at `{bill.path.target}`, more than "
        f"the whole budget `{budget.name}` of {each} a {budget.period}",
        budget.span,
        "raise the limit, or bound the request: `set: {max_tokens: 1k}`, a rule on `tokens`",
        (Related("this rule sends it there", survey.rule(bill.clause.index).name.span),),
        example,
    )


def _counts(survey: Survey, budget: Budget) -> Term:
    """Whether a request counts against a budget, as far as the policy reads what says so."""
    key = OF.get(budget.scope)
    slot = survey.program.slots.get(key or "")
    if slot is None or budget.of is None:
        return all_of(())
    return is_true(Member(Read(slot.key, slot.attribute.type), frozenset({budget.of})))
