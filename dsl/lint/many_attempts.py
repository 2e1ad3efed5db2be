"""Retries use up the attempts that a request has.

A request is tried 16 times at most, over all hops and their retries, so that an outage is not made
worse by those who wait for it. Where the hops before one can use them up, that one may never be
tried: a retry at a target that fails is worth less than another target.

Avoid:

    defaults: {retries: 5}
    routing_policy:
      - name: default
        route: openai/gpt-4o
        fallback: [groq/llama-3-70b, anthropic/claude-sonnet, openai/gpt-4]

Prefer:

    defaults: {retries: 2}
    routing_policy:
      - name: default
        route: openai/gpt-4o
        fallback: [groq/llama-3-70b, anthropic/claude-sonnet, openai/gpt-4]
"""

from collections.abc import Iterator, Sequence

from turnout.dsl import tree
from turnout.dsl.core import Hop, Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.hops import MOST_ATTEMPTS, plans_of

from .survey import listed
from .written import hop_options

CODE = "RP316"
LEVEL: Severity = "warning"

FEW = 5  # retries of one hop, beyond which another target is always worth more


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Each count of retries that is large by itself, and each hop that may be left without one."""
    for options in hop_options(policy):
        if options.retries is not None and options.retries > FEW:
            yield Diagnostic(
                CODE,
                LEVEL,
                f"{options.retries} retries use up {options.retries + 1} of the {MOST_ATTEMPTS} "
                "attempts of a request",
                options.spans["retries"],
                "write 1 or 2, and name another target behind this one",
            )
    if program is None:
        return
    seen: set[tuple[int, str]] = set()
    for clause in program.clauses:
        for hops in plans_of(program, clause.plan):
            left = _beyond(hops)
            if not left:
                continue
            entry = left[0]
            names = listed(list(dict.fromkeys(hop.target for hop in left)))
            message = (
                f"{names} may never be tried for `{clause.name}`: the hops before can use up the "
                f"{MOST_ATTEMPTS} attempts of a request"
            )
            key = (entry.span.start, names)
            if key not in seen:
                seen.add(key)
                yield Diagnostic(
                    CODE, LEVEL, message, entry.span, "write fewer retries for the hops before"
                )


def _beyond(hops: Sequence[Hop]) -> tuple[Hop, ...]:
    """The hops before which so many attempts may have been made that none is left."""
    made = 0
    for place, hop in enumerate(hops):
        if made >= MOST_ATTEMPTS:
            return tuple(hops[place:])
        made += 1 + hop.retries
    return ()
