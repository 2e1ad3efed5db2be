"""What the readers of one expression share: where it stands, what it may use up, its slots.

`infer` dispatches; `infer_values` reads names and calls, `infer_compare` comparisons and what is
calculated. They know each other through this class only.
"""

from abc import ABC, abstractmethod

from . import tree
from .agree import WORDS, shown
from .core import REQUESTED, Read, Slot, Term
from .diagnostic import Diagnostic
from .keys import ALIASES, attribute_of, key_of
from .refusal import Poisoned, Refused
from .schema import Attribute, Parameter
from .scope import Place, Scope
from .source import Span
from .walk import reads

MAX_DEPTH = 100  # levels of nesting in a condition, `let` names included
MAX_SIZE = 20_000  # parts of a condition, `let` names spelled out
MAX_PARTS = 500_000  # parts of all conditions of a policy; a `where` counts for each candidate


class Reading(ABC):
    """One expression being read in one place.

    `is_definition`: a `let` on its own, read for whatever target a rule will have: bare values are
    let through, nothing becomes a slot. `has_default`: inside `known(…)` or the left of `??`.
    `is_beside_text`: what is read is compared with a text.
    """

    def __init__(self, scope: Scope, place: Place, *, is_definition: bool = False) -> None:
        """Start at the top of an expression."""
        self.scope = scope
        self.place = place
        self.is_definition = is_definition
        self.has_default = False
        self.is_beside_text = False
        self.open: list[str] = []  # the definitions being read, outermost first
        self.made: dict[str, tuple[Term, int]] = {}  # terms of definitions and their sizes
        self.size = 0
        self._depth = 0
        self._fetches = False

    def value(self, expression: tree.Expression) -> Term:
        """Any expression."""
        self._depth += 1
        self.size += 1
        if self._depth > MAX_DEPTH or self.size > MAX_SIZE:
            raise Refused(
                "RP001",
                "the condition is nested too deeply"
                if self._depth > MAX_DEPTH
                else "the condition is too large",
                expression.span,
                "write it as several rules",
            )
        try:
            return self.read(expression)
        finally:
            self._depth -= 1

    def beside(self, other: Term, expression: tree.Expression) -> Term:
        """An expression that is compared with a term."""
        before, self.is_beside_text = self.is_beside_text, other.type in WORDS
        term = self.value(expression)
        self.is_beside_text = before
        return term

    @abstractmethod
    def read(self, expression: tree.Expression) -> Term:
        """The term of an expression, whatever its kind."""

    def find(self, finding: Diagnostic) -> None:
        """Take a finding down; what stands in a definition is found once, where that is checked."""
        if self.is_definition or not self.open:
            self.scope.findings.append(finding)

    def attribute(self, name: str) -> Attribute | None:
        """The attribute of a name as written, aliases resolved; hidden ones are for no one."""
        found = self.scope.attributes.get(ALIASES.get(name, name))
        return None if found is None or found.hidden else found

    def slot(
        self,
        attribute: Attribute,
        argument: str | None,
        span: Span | None,
        window_us: int | None = None,
    ) -> Read:
        """A read of an attribute, whose slot the program then has."""
        if attribute.too_late is not None and span is not None:
            raise Refused(
                "RP114",
                f"`{shown(span)}` cannot be read when a request is routed: {attribute.too_late}",
                span,
                "use `tokens`, which is known before"
                if attribute.name == "cached_tokens"
                else "remove it",
            )
        key = key_of(attribute, argument, window_us)
        if not self.is_definition:
            self.scope.slots.setdefault(key, Slot(key, attribute, argument, window_us))
        self._fetches = self._fetches or attribute.fetched
        return Read(key, attribute.type, span)

    def fetched_last(self, terms: tuple[Term, ...]) -> tuple[Term, ...]:
        """The operands of `and` or `or`, those that cost a call behind the others.

        Kleene's `and` and `or` commute, and what stands first may spare the rest.
        """
        if not self._fetches:
            return terms
        return tuple(sorted(terms, key=self._is_fetched))

    def bare(self, name: tree.Name) -> str:
        """The target that a bare value is about."""
        target = self.place.target
        if target is None and not self.is_definition:
            raise Refused(
                "RP116",
                f"it is not clear which target's `{name.text}` is meant",
                name.span,
                f'name the target, such as `{name.text}("openai/gpt-4")`, or use `where:`',
            )
        if target in self.scope.targets.refused:
            raise Poisoned(target)
        return target or REQUESTED

    def _is_fetched(self, term: Term) -> bool:
        attributes = self.scope.attributes
        names = (attribute_of(key) for key in reads([term]))
        return any(name in attributes and attributes[name].fetched for name in names)


def takes(attribute: Attribute) -> str:
    """How an attribute is written with what it is asked with."""
    name = attribute.name
    match attribute.parameter:
        case Parameter.NONE:
            return name
        case Parameter.HEADER:
            return f'{name}["x-team"]'
        case Parameter.META:
            return f'{name}["project"]'
        case Parameter.TARGET:
            return f'{name}("openai/gpt-4")'
        case Parameter.SALT:
            return f'{name}("canary")'
        case Parameter.LIST:
            return f'{name}("words")'
        case Parameter.PATTERN:
            return f'{name}("^fix ")'
        case Parameter.BUDGET:
            whole, _, part = name.partition(".")
            return f'{whole}("team").{part}'
