"""What a route may be: one class per form, which checks it and lowers it to a plan.

A form says how it is written (`keys`: the words of its mapping; a bare word has none), whether a
written route is of its form, what is wrong with it, and which plan it means. The engine runs plans
and never hears of forms. To add a form: a class here, in `FORMS`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

from . import tree
from .core import REQUESTED, Clocks, Hop, Plan, Term
from .diagnostic import Diagnostic, Related
from .refusal import Refused, warning
from .schema import Type
from .targets import Targets
from .units import format_value

# The built-in clocks of a hop, in microseconds, and the number of retries.
CONNECT_US = 5_000_000
TTFT_US = 30_000_000
IDLE_US = 120_000_000
TIMEOUT_US = 30_000_000
RETRIES = 1
DEADLINE_US = 600_000_000


class Form(Protocol):
    """A way to write a route."""

    keys: ClassVar[tuple[str, ...]]

    @classmethod
    def reads(cls, route: tree.Text) -> bool:
        """Whether a written route is of this form."""

    def __init__(self, route: tree.Text) -> None:
        """Take a route of this form."""

    @property
    def target(self) -> str | None:
        """What bare `cost` and `latency` are about; None where there is not exactly one target."""

    def check(self, targets: Targets) -> Iterator[Diagnostic]:
        """What is wrong with the targets it names."""

    def lower(self, rule: tree.Rule, defaults: tree.HopOptions) -> Plan:
        """The plan without the rule's own fallback."""


class Requested:
    """`route: requested`: what the client asked for."""

    keys: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def reads(cls, route: tree.Text) -> bool:
        """Whether the route is the word itself."""
        return route.value == REQUESTED

    def __init__(self, route: tree.Text) -> None:
        """Take the word."""
        self._route = route

    @property
    def target(self) -> str | None:
        """The pseudo-target: one, whichever it will be."""
        return REQUESTED

    def check(self, targets: Targets) -> Iterator[Diagnostic]:
        """Nothing can be wrong here: an unknown model is refused when it is asked for."""
        return iter(())

    def lower(self, rule: tree.Rule, defaults: tree.HopOptions) -> Plan:
        """One hop, to what was asked for."""
        return Plan(hop(REQUESTED, rule.options, defaults, None, rule.route), None)


class SingleTarget:
    """`route: openai/gpt-4`: one target."""

    keys: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def reads(cls, route: tree.Text) -> bool:
        """Any other word names a target."""
        return route.value != REQUESTED

    def __init__(self, route: tree.Text) -> None:
        """Take the target's name."""
        self._route = route

    @property
    def target(self) -> str | None:
        """The target itself."""
        return self._route.value

    def check(self, targets: Targets) -> Iterator[Diagnostic]:
        """The target has to be known and priced."""
        try:
            targets.resolve_priced(self._route.value, self._route.span)
        except Refused as refused:
            yield refused.diagnostic

    def lower(self, rule: tree.Rule, defaults: tree.HopOptions) -> Plan:
        """One hop, to the target."""
        return Plan(hop(self._route.value, rule.options, defaults, None, rule.route), None)


FORMS: tuple[type[Form], ...] = (Requested, SingleTarget)


def form_of(route: tree.Text) -> Form:
    """The form that a route is written in."""
    return next(form for form in FORMS if form.reads(route))(route)


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
    )


def duplicates(rule: tree.Rule) -> Iterator[Diagnostic]:
    """Targets that a rule's own fallback names again (RP303)."""
    seen = {rule.route.value: rule.route.span}
    for entry in rule.fallback or ():
        name = entry.to.value
        if name in seen:
            yield Diagnostic(
                "RP303",
                "error",
                f"`{name}` is tried already, so this entry never runs",
                entry.to.span,
                "remove it, or name another target",
                (Related("it is named here first", seen[name]),),
            )
        else:
            seen[name] = entry.to.span


def too_slow(plan: Plan, chain: Sequence[Hop], deadline_us: int) -> Iterator[Diagnostic]:
    """Hops that the deadline may keep, or surely keeps, from being tried (RP305).

    Surely: the timeouts written for the hops before it use the deadline up, one attempt each, and
    none of these hops has a condition to be entered. A hop's timeout covers its retries.
    """
    deadline = format_value(deadline_us, Type.DURATION)
    hops = _untried((plan.route, *(chain if plan.fallback is None else plan.fallback)))
    spent_us = written_us = 0
    for position, entry in enumerate(hops):
        if written_us >= deadline_us:
            yield Diagnostic(
                "RP305",
                "error",
                f"`{entry.target}` is never tried: the timeouts before it reach the deadline "
                f"of {deadline}",
                entry.span,
                "shorten the timeouts before it, or raise `deadline:`",
            )
            return
        if position and spent_us >= deadline_us:
            yield warning(
                "RP305",
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
                "RP305",
                f"the timeouts up to `{entry.target}` add up to "
                f"{format_value(spent_us, Type.DURATION)}, the deadline is {deadline}",
                entry.span,
                "write shorter timeouts, or raise `deadline:`",
            )


def _untried(hops: Sequence[Hop]) -> list[Hop]:
    """The hops in order, each target once: those tried are skipped."""
    seen: dict[str, Hop] = {}
    for entry in hops:
        seen.setdefault(entry.target, entry)
    return list(seen.values())


def with_fallback(plan: Plan, fallback: tuple[Hop, ...] | None) -> Plan:
    """The plan with a rule's own fallback in place of the program's chain."""
    return replace(plan, fallback=fallback)
