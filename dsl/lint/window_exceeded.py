"""A rule sends prompts to a target whose context window they do not fit into.

The hop is passed over then, and only the fallbacks are tried. It is found where the rule says
itself how long prompts are: all of them are too long, or the longest that it lets through is. Where
nothing bounds a prompt, any window can be exceeded, and nothing is said.

Avoid:

    targets: {groq/llama-3-70b: {context_window: 128k}}
    routing_policy:
      - {name: long, condition: tokens > 128k, route: groq/llama-3-70b}
      - {name: default, route: openai/gpt-4o}

Prefer:

    routing_policy:
      - {name: long, condition: tokens > 128k, route: anthropic/claude-sonnet}
      - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl.core import Arithmetic, Choice, Clause, Compare, Const, Term
from turnout.dsl.cost import TOKENS
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.hops import first_hops
from turnout.dsl.logic import TRUE, all_of, any_of, is_true, negation
from turnout.dsl.paths import Path
from turnout.dsl.regions import Numbers, outcomes
from turnout.dsl.schema import Type
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.source import Span
from turnout.dsl.walk import leaves_first, reads

from .abilities import is_within
from .survey import Survey, holds, listed

CODE = "RP312"
LEVEL: Severity = "warning"

_ENDLESS = 10**9  # tokens; a rule that takes a prompt as long has no bound for them
_IS_ENDLESS = is_true(Compare(">", TOKENS, Const(_ENDLESS, Type.NUMBER)))


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Targets too small for all that a rule sends them, or for the longest that it bounds."""
    for clause in survey.live():
        for ids, group in _groups(survey, clause).items():
            finding = _look(survey, clause, ids, group)
            if finding is not None:
                yield finding


def _groups(survey: Survey, clause: Clause) -> dict[tuple[str, ...], list[Path]]:
    """The targets of a route by themselves; a choice passes over what is too small by itself."""
    first = [path for path in survey.paths(clause) if not path.is_fallback]
    if isinstance(clause.plan.route, Choice):
        known = {hop.target for hop in first_hops(clause.plan)}
        return {tuple(sorted(known)): first} if first else {}
    found: dict[tuple[str, ...], list[Path]] = {}
    for path in first:
        if path.row is not None and path.hop.target == path.target:
            found.setdefault((path.target,), []).append(path)
    return found


def _look(
    survey: Survey, clause: Clause, ids: tuple[str, ...], group: list[Path]
) -> Diagnostic | None:
    rows = [survey.program.targets[id] for id in ids]
    fits = any_of(is_within(row) for row in rows)
    if fits is TRUE:
        return None
    window = max(row.context_window or 0 for row in rows)
    if _is_plainly_fine(survey, clause, window):
        return None
    is_choice = isinstance(clause.plan.route, Choice)
    tried = TRUE if is_choice else any_of(path.when for path in group)
    sent = (*survey.fires(clause.index), *survey.usable, tried)
    place = _place(survey, clause, ids)
    subject = f"whether prompts of `{clause.name}` fit into {listed(ids)}"
    seen = survey.ask(CODE, subject, place, *sent, negation(fits))
    if seen is None:
        return None
    is_all = survey.never(*sent, fits)
    if not is_all and not (survey.never(*sent, _IS_ENDLESS) and _says_so(survey, clause, tried)):
        return None
    which = "no prompt" if is_all else "not every prompt"
    name = survey.rule(clause.index).name
    return Diagnostic(
        CODE,
        LEVEL,
        f"{which} that `{name.value}` takes fits into {listed(ids)}: the window is {window} tokens",
        place,
        "route to a target with a larger window, or let the rule take shorter prompts",
        witness=survey.example(seen, *sent, negation(fits)),
    )


def _is_plainly_fine(survey: Survey, clause: Clause, window: int) -> bool:
    """Whether the rule itself bounds prompts to the window, or a known request needs no bound."""
    region = _tokens(clause.applies)
    if region is not None and region.cuts and _ENDLESS not in region:
        return region.cuts[-1] <= window + 1
    first = survey.paths(clause)[0].when
    for seen in survey.taking(clause.index, first):
        tokens = seen["tokens"]
        if not isinstance(tokens, int) or tokens > window or not holds(first, seen):
            continue
        endless = Snapshot({**seen, "tokens": 2 * _ENDLESS})
        if survey.decide(endless) == clause.index:
            return True  # nothing bounds it
        if _is_calculated(clause.applies) and not holds(clause.applies, endless):
            return True  # it is what it costs that bounds it
    return False


def _says_so(survey: Survey, clause: Clause, tried: Term) -> bool:
    """Whether it is comparisons of `tokens` that bound the prompt, not what it would cost."""
    if _is_bounded(survey.program.clauses[clause.index].applies):
        return True
    endless = all_of((survey.taken[clause.index], tried, _IS_ENDLESS))
    blockers = survey.blockers(endless, clause.index) or ()
    return any(_is_about_long(survey.program.clauses[index].applies) for index in blockers)


def _is_bounded(condition: Term) -> bool:
    region = _tokens(condition)
    return region is not None and bool(region.cuts) and _ENDLESS not in region


def _is_about_long(condition: Term) -> bool:
    region = _tokens(condition)
    return region is not None and bool(region.cuts) and _ENDLESS in region


def _is_calculated(condition: Term) -> bool:
    """Whether something is computed of the length of the prompt."""
    return any(
        isinstance(part, Arithmetic) and "tokens" in reads([part])
        for part in leaves_first([condition])
    )


def _tokens(condition: Term) -> Numbers | None:
    """The lengths of prompts that a condition can be true for, where it compares them."""
    region = (outcomes(condition).true or {}).get("tokens")
    return region if isinstance(region, Numbers) else None


def _place(survey: Survey, clause: Clause, ids: tuple[str, ...]) -> Span:
    route = clause.plan.route
    if isinstance(route, Choice):
        return route.span
    hops = first_hops(clause.plan)
    return next((hop.span for hop in hops if hop.target in ids), clause.span)
