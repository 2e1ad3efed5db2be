"""What a route may be: one class per form, which checks it and lowers it.

A form says whether a written route is of its form, which targets it names, what is wrong with it,
and what it means. The engine runs plans and never hears of forms. To add a form: a class here, in
`FORMS`.

Over 300 lines because the forms stand beside each other, checks and lowering of each together.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from . import tree
from .core import (
    REQUESTED,
    And,
    Arm,
    Candidate,
    Choice,
    Coalesce,
    Compare,
    Const,
    Hop,
    Not,
    Read,
    Reject,
    Route,
    Split,
    Term,
)
from .diagnostic import Diagnostic
from .hops import hop
from .infer import attribute_read, expected_cost, live_value
from .keys import ALIASES
from .nearest import nearest
from .refusal import Poisoned, Refused
from .schema import Target, Type
from .scope import Place, Scope
from .split import bucket_of, problems, uptos
from .targets import Targets

# An ability of a target, and the attribute of a request that needs it.
NEEDS = (
    ("tools", "has_tools"),
    ("vision", "has_images"),
    ("audio", "has_audio"),
    ("json", "has_schema"),
)
BY_DEFAULT = "p95"  # what the fastest is told by


@dataclass(frozen=True, slots=True)
class Lowering:
    """What a form needs to say what it means.

    `condition` reads an expression in a place, None where it was refused (and reported); `take`
    takes a finding down.
    """

    rule: tree.Rule
    defaults: tree.HopOptions
    scope: Scope
    condition: Callable[[tree.Expression, Place], Term | None]
    take: Callable[[Diagnostic], None]

    def hop(self, name: tree.Text) -> Hop:
        """The hop to a target of this rule."""
        return hop(name.value, self.rule.options, self.defaults, None, name)

    def read(self, attribute: str, argument: str | None = None) -> Read:
        """A read of an attribute, in the program's slots."""
        return attribute_read(attribute, self.scope, argument)


class Form(Protocol):
    """A way to write a route."""

    @classmethod
    def reads(cls, route: tree.Route) -> bool:
        """Whether a written route is of this form."""

    def __init__(self, route: Any) -> None:
        """Take a route of this form."""

    @property
    def target(self) -> str | None:
        """What bare `cost` and `latency` are about; None where there is not exactly one target."""

    def check(self, targets: Targets) -> Iterator[Diagnostic]:
        """What is wrong with the targets it names, and with what else it says."""

    def lower(self, lowering: Lowering) -> Route:
        """What it means, where nothing was wrong."""


class Requested:
    """`route: requested`: what the client asked for."""

    @classmethod
    def reads(cls, route: tree.Route) -> bool:
        """Whether the route is the word itself."""
        return isinstance(route, tree.Text) and route.value == REQUESTED

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

    def lower(self, lowering: Lowering) -> Route:
        """One hop, to what was asked for."""
        return lowering.hop(self._route)


class SingleTarget:
    """`route: openai/gpt-4`: one target."""

    @classmethod
    def reads(cls, route: tree.Route) -> bool:
        """Any other word names a target."""
        return isinstance(route, tree.Text)

    def __init__(self, route: tree.Text) -> None:
        """Take the target's name."""
        self._route = route

    @property
    def target(self) -> str | None:
        """The target itself."""
        return self._route.value

    def check(self, targets: Targets) -> Iterator[Diagnostic]:
        """The target has to be known and priced."""
        yield from _unfit(self._route, targets)

    def lower(self, lowering: Lowering) -> Route:
        """One hop, to the target."""
        return lowering.hop(self._route)


class OneOfSeveral:
    """`{cheapest_of: [a, b]}`, `{fastest_of: [a, b], by: ttft.p95}`, `{first_of: [a, b]}`."""

    @classmethod
    def reads(cls, route: tree.Route) -> bool:
        """Whether it is a choice."""
        return isinstance(route, tree.ChoiceRoute)

    def __init__(self, route: tree.ChoiceRoute) -> None:
        """Take the choice."""
        self._route = route

    @property
    def target(self) -> str | None:
        """None: in the rule's condition nothing is chosen yet."""
        return None

    def check(self, targets: Targets) -> Iterator[Diagnostic]:
        """Every candidate has to be a target that is known and priced."""
        yield from _named(self._route.targets, targets)

    def lower(self, lowering: Lowering) -> Route:
        """Each target with what it needs to fit, to be wanted, and to be ranked."""
        candidates: list[Candidate] = []
        for name in self._route.targets:
            target = lowering.scope.targets.found.get(name.value)
            if target is None or name.value in lowering.scope.targets.refused:
                continue  # reported by `check`
            where = None
            if self._route.where is not None:
                place = Place(target.id, target, has_facts=True)
                where = lowering.condition(self._route.where, place)
                if where is None:
                    break  # what is wrong is so for the others, too
            rank = self._rank(name, target, lowering)
            candidates.append(Candidate(lowering.hop(name), _fits(target, lowering), where, rank))
        return Choice(self._route.form, tuple(candidates), self._route.span)

    def _rank(self, name: tree.Text, target: Target, lowering: Lowering) -> Term | None:
        by = self._route.by
        measure = BY_DEFAULT if by is None else by.value
        try:
            match self._route.form:
                case "cheapest_of":
                    return expected_cost(target.id, lowering.scope, name.span)
                case "fastest_of":
                    attribute = lowering.scope.attributes[ALIASES.get(measure, measure)]
                    return live_value(attribute, target.id, lowering.scope, name.span)
                case _:
                    return None
        except Refused as refused:
            lowering.take(refused.diagnostic)
        except Poisoned:
            pass
        return None


class SplitTraffic:
    """`{split: {a: 95%, b: 5%}, sticky: session, ramp: {b: 50%, from: …, to: …}}`."""

    @classmethod
    def reads(cls, route: tree.Route) -> bool:
        """Whether it is a split."""
        return isinstance(route, tree.SplitRoute)

    def __init__(self, route: tree.SplitRoute) -> None:
        """Take the split."""
        self._route = route

    @property
    def target(self) -> str | None:
        """None: each arm has its own."""
        return None

    def check(self, targets: Targets) -> Iterator[Diagnostic]:
        """Every arm has to be a target that is known and priced, and the shares add up."""
        yield from _named(tuple(share.target for share in self._route.shares), targets)
        yield from problems(self._route)

    def lower(self, lowering: Lowering) -> Route:
        """Arms in the order written; the salt of the bucket is the rule's name."""
        salt = lowering.rule.name.value
        bucket = lowering.read(bucket_of(self._route.sticky), salt)
        ends = uptos(self._route, lowering.read)
        arms = tuple(
            Arm(lowering.hop(share.target), end)
            for share, end in zip(self._route.shares, ends, strict=True)
        )
        return Split(bucket, arms, self._route.span)


class Refusal:
    """`{reject: 429, message: "…", retry_after: 1h}`."""

    @classmethod
    def reads(cls, route: tree.Route) -> bool:
        """Whether it is a rejection."""
        return isinstance(route, tree.RejectRoute)

    def __init__(self, route: tree.RejectRoute) -> None:
        """Take the rejection."""
        self._route = route

    @property
    def target(self) -> str | None:
        """None: nothing is asked."""
        return None

    def check(self, targets: Targets) -> Iterator[Diagnostic]:
        """Nothing: it asks nobody."""
        return iter(())

    def lower(self, lowering: Lowering) -> Route:
        """What the client is told."""
        route = self._route
        message = f"the rule `{lowering.rule.name.value}` refuses this request"
        if route.message is not None:
            message = route.message.value
        return Reject(route.status, message, route.retry_after_us, route.span)


FORMS: tuple[type[Form], ...] = (Requested, SingleTarget, OneOfSeveral, SplitTraffic, Refusal)


def form_of(route: tree.Route) -> Form:
    """The form that a route is written in."""
    return next(form for form in FORMS if form.reads(route))(route)


def _fits(target: Target, lowering: Lowering) -> Term:
    """Whether a target can serve a request at all, by what is declared or catalogued of it."""
    is_usable = lowering.read("usable", target.id)
    tests: list[Term] = [Coalesce(is_usable, Const(True, Type.BOOL), Type.BOOL)]
    if target.context_window is not None:
        window = Const(target.context_window, Type.NUMBER)
        tests.append(Compare("<=", lowering.read("tokens"), window))
    for ability, attribute in NEEDS:
        if target.abilities.get(ability) is False:
            tests.append(Not(lowering.read(attribute)))
    return And(tuple(tests))


def _unfit(name: tree.Text, targets: Targets) -> Iterator[Diagnostic]:
    try:
        targets.resolve_priced(name.value, name.span)
    except Refused as refused:
        yield refused.diagnostic


def _named(names: tuple[tree.Text, ...], targets: Targets) -> Iterator[Diagnostic]:
    """What is wrong with the targets of a choice or a split."""
    for name in names:
        if name.value == REQUESTED or nearest(name.value, (REQUESTED,)):
            yield Diagnostic(
                "RP301",
                "error",
                f"several targets are named here, `{name.value}` is none",
                name.span,
                "write `provider/model`, such as `openai/gpt-4`",
            )
        else:
            yield from _unfit(name, targets)
