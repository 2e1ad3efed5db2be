"""A rule that can never run.

Rules are tried in order and the first match wins. What the rules before it take, one or several
together, never comes to a rule; where that is all it is about, it is dead. A last rule without a
condition that the others leave nothing for is fine (RP208).

Avoid:

    - {name: default, route: openai/gpt-4o}
    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
    - {name: default, route: openai/gpt-4o}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.walk import reads

from .constants import takes_all
from .survey import Dead, Survey, listed

CODE = "RP202"
LEVEL: Severity = "error"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """What is certain without a proof: rules behind one that takes every request."""
    if program is None:
        return
    rules = list(zip(policy.rules, program.clauses, strict=True))
    first = next((i for i, (_, clause) in enumerate(rules) if takes_all(clause)), len(rules))
    why = ""
    if first < len(rules):
        why = "has no condition" if rules[first][0].condition is None else "is always true"
    for rule, clause in rules[first + 1 :]:
        # A rule about the request's kind may be about what the unconditional one leaves.
        if clause.test is not None and "request_type" in reads([clause.test]):
            continue
        all_taken = rules[first][0].name
        yield Diagnostic(
            CODE,
            LEVEL,
            f"the rule `{rule.name.value}` can never run: `{all_taken.value}` {why} and "
            "takes every request before it",
            rule.name.span,
            f"move it above `{all_taken.value}`",
            (Related("takes every request", all_taken.span),),
        )


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """Rules that others before them, together, leave nothing for; the fewest that do so."""
    for dead in survey.dead:
        if dead.blockers != () and dead is not survey.spare_default:
            yield _behind(survey, dead)


def _behind(survey: Survey, dead: Dead) -> Diagnostic:
    rule = survey.rule(dead.index)
    if dead.blockers is None:
        return Diagnostic(
            CODE,
            LEVEL,
            f"the rule `{rule.name.value}` can never run: the rules before it take every request "
            "that it matches",
            rule.name.span,
            "move it up, or remove it",
        )
    before = [survey.rule(index).name for index in dead.blockers]
    names = [name.value for name in before]
    elsewhere = any(survey.plans[i] != survey.plans[dead.index] for i in dead.blockers)
    if len(names) == 1:
        who = f"`{names[0]}` before it takes every request that it matches"
        told = "takes every request that it matches"
    else:
        who = f"{listed(names)} before it together take every request that it matches"
        told = "takes a part of them"
    return Diagnostic(
        CODE,
        LEVEL,
        f"the rule `{rule.name.value}` can never run: {who}"
        + (", and send it elsewhere" if elsewhere and len(names) > 1 else "")
        + (", and sends it elsewhere" if elsewhere and len(names) == 1 else ""),
        rule.name.span,
        _help(survey, dead, names[0]) if elsewhere else "remove it",
        tuple(Related(told, name.span) for name in before),
    )


def _help(survey: Survey, dead: Dead, first: str) -> str:
    if survey.rule(dead.index).condition is None:
        return f"narrow `{first}`, or remove one of them"
    return f"move it above `{first}`"
