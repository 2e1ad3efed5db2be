"""Hops: a target with its clocks resolved, and those that a plan may begin with."""

from collections.abc import Iterable, Iterator

from . import tree
from .core import Choice, Clocks, Hop, Plan, Program, Split, Term
from .vocabulary import BREAKER_OPEN, COUNTED

# The built-in clocks of a hop, in microseconds, and the number of retries.
CONNECT_US = 5_000_000
TTFT_US = 30_000_000
IDLE_US = 120_000_000
TIMEOUT_US = 30_000_000
BACKOFF_US = 250_000
RETRIES = 1
DEADLINE_US = 600_000_000
# A request is tried this often at most, over all its hops and their retries.
MOST_ATTEMPTS = 16


def hop(
    target: str,
    options: tree.HopOptions,
    defaults: tree.HopOptions,
    when: Term | None,
    place: tree.Text,
) -> Hop:
    """A hop with its clocks resolved: its own over the defaults of the file over the built-in."""

    def clock(name: str, built_in: int) -> int:
        own, default = getattr(options, name), getattr(defaults, name)
        return int(own if own is not None else default if default is not None else built_in)

    written = options.catch if options.catch is not None else defaults.catch
    clocks = Clocks(
        connect_us=clock("connect_us", CONNECT_US),
        ttft_us=clock("ttft_us", TTFT_US),
        idle_us=clock("idle_us", IDLE_US),
        timeout_us=clock("timeout_us", TIMEOUT_US),
        written_timeout=options.timeout_us is not None,
        written_ttft=options.ttft_us is not None,
    )
    return Hop(
        target,
        clocks,
        clock("retries", RETRIES),
        None if written is None else _caught(text.value for text in written),
        when,
        place.span,
        clock("backoff_us", BACKOFF_US),
    )


def _caught(faults: Iterable[str]) -> frozenset[str]:
    """The faults of a `catch`: who goes on after what opens a breaker does so while it is open."""
    caught = frozenset(faults)
    return caught if caught.isdisjoint(COUNTED) else caught | {BREAKER_OPEN}


def first_hops(plan: Plan) -> tuple[Hop, ...]:
    """The hops that a plan's route may come to; none of a rejection."""
    match plan.route:
        case Hop():
            return (plan.route,)
        case Choice(_, candidates):
            return tuple(candidate.hop for candidate in candidates)
        case Split(_, arms):
            return tuple(arm.hop for arm in arms)
        case _:
            return ()


def plans_of(program: Program, plan: Plan) -> Iterator[tuple[Hop, ...]]:
    """The hops that a plan may come to in a row, for each that its route may begin with.

    Each target once: one that was tried is skipped.
    """
    after = program.chain if plan.fallback is None else plan.fallback
    for first in first_hops(plan):
        untried: dict[str, Hop] = {}
        for entry in (first, *after):
            untried.setdefault(entry.target, entry)
        yield tuple(untried.values())
