"""The deadline comes before the last hop has its turn.

Route and fallbacks share one `deadline`. Where the timeouts before a hop add up to it, that hop may
never be tried; where the written ones alone reach it, it surely is not, and that is an error.

Avoid:

    deadline: 12s
    routing_policy:
      - {name: default, route: openai/gpt-4o, timeout: 10s}
    fallback_chain:
      - {to: groq/llama-3-70b, timeout: 5s}

Prefer:

    deadline: 20s
    routing_policy:
      - {name: default, route: openai/gpt-4o, timeout: 10s}
    fallback_chain:
      - {to: groq/llama-3-70b, timeout: 5s}
"""

from collections.abc import Iterator, Sequence

from turnout.dsl import tree
from turnout.dsl.core import Hop, Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.hops import plans_of
from turnout.dsl.refusal import warning
from turnout.dsl.schema import Type
from turnout.dsl.units import format_value

CODE = "RP305"
LEVEL: Severity = "warning"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Hops that the deadline may keep, or surely keeps, from being tried.

    Each is found once for a rule, for the first hop of its route that it is true of.
    """
    if program is None:
        return
    for clause in program.clauses:
        seen: set[tuple[int, str]] = set()
        for hops in plans_of(program, clause.plan):
            for finding in _too_slow(hops, program.deadline_us):
                key = (finding.span.start, finding.message)
                if key not in seen:
                    seen.add(key)
                    yield finding


def _too_slow(hops: Sequence[Hop], deadline_us: int) -> Iterator[Diagnostic]:
    """The same of hops in a row, each target once.

    Surely: the timeouts written for the hops before it use the deadline up, one attempt each, and
    none of these hops has a condition to be entered. A hop's timeout covers its retries.
    """
    deadline = format_value(deadline_us, Type.DURATION)
    spent_us = written_us = 0
    for position, entry in enumerate(hops):
        if written_us >= deadline_us:
            yield Diagnostic(
                CODE,
                "error",
                f"`{entry.target}` is never tried: the timeouts before it reach the deadline "
                f"of {deadline}",
                entry.span,
                "shorten the timeouts before it, or raise `deadline:`",
            )
            return
        if position and spent_us >= deadline_us:
            yield warning(
                CODE,
                f"`{entry.target}` may never be tried: the timeouts before it can add up to "
                f"{format_value(spent_us, Type.DURATION)}, the deadline is {deadline}",
                entry.span,
                "write shorter timeouts before it, or raise `deadline:`",
            )
            return
        is_conditional = position > 0 and (entry.when is not None or entry.catch is not None)
        clocks = entry.clocks
        spent_us += clocks.timeout_us
        if clocks.written_timeout and not is_conditional:
            written_us += clocks.timeout_us
        if position == len(hops) - 1 and clocks.written_timeout and spent_us > deadline_us:
            yield warning(
                CODE,
                f"the timeouts up to `{entry.target}` add up to "
                f"{format_value(spent_us, Type.DURATION)}, the deadline is {deadline}",
                entry.span,
                "write shorter timeouts, or raise `deadline:`",
            )
