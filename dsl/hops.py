"""Hops: a target with its clocks resolved, and those that a plan may begin with."""

from . import tree
from .core import Choice, Clocks, Hop, Plan, Split, Term

# The built-in clocks of a hop, in microseconds, and the number of retries.
CONNECT_US = 5_000_000
TTFT_US = 30_000_000
IDLE_US = 120_000_000
TIMEOUT_US = 30_000_000
BACKOFF_US = 250_000
RETRIES = 1
DEADLINE_US = 600_000_000


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

    catch = options.catch if options.catch is not None else defaults.catch
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
        None if catch is None else frozenset(text.value for text in catch),
        when,
        place.span,
        clock("backoff_us", BACKOFF_US),
    )


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
