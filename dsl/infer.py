"""Types and units: an expression as written becomes a term, or the first error in it.

Strict on purpose: nothing is converted but a bare number beside a score. What an expression means
(a range, a bare `cost`, `/`) is decided here; afterwards only terms are left.

This file is over 300 lines because the cases of one language belong beside each other; when two
values agree is told in `agree`, what a cost is in `cost`.
"""

import re
from collections.abc import Iterable
from typing import assert_never

from . import tree
from .agree import (
    EXAMPLES,
    NOUNS,
    ORDERED,
    SIZES,
    WORDS,
    agree,
    as_condition,
    disagree,
    no_size,
    note_open,
    shown,
)
from .core import (
    REQUESTED,
    And,
    Arithmetic,
    CeilDiv,
    Coalesce,
    Compare,
    Const,
    If,
    Known,
    Member,
    Named,
    Not,
    Or,
    Read,
    Slot,
    Switch,
    Term,
    TextTest,
)
from .cost import PER_MTOK, expected_cost, worst_case_cost
from .diagnostic import Diagnostic
from .interval import bounds
from .nearest import suggestion
from .refusal import Poisoned, Refused, warning
from .schema import WEEKDAYS, Attribute, Parameter, Target, Type, Value
from .scope import ALIASES, FUNCTIONS, REQUESTED_ATTRIBUTE, Scope
from .source import Span
from .units import format_value, literal_value, quote

MAX_DEPTH = 100  # levels of nesting in a condition, `let` names included
MAX_SIZE = 20_000  # parts of a condition, `let` names spelled out

_DOTTED_HEADER = re.compile(r"headers?\.([A-Za-z0-9][\w.-]*)")

CREDENTIALS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-turnout-key",
        "cookie",
        "set-cookie",
    }
)


def infer(expression: tree.Expression, scope: Scope, target: str | None) -> Term | Diagnostic:
    """A condition as a term, or its first error.

    `target` is what bare `cost` and `latency` are about: a target, REQUESTED, or None where there
    is not exactly one.
    Raises: Poisoned where the condition uses a `let` name whose own error is reported already.
    """
    before = len(scope.findings)
    try:
        return _Reader(scope, target).condition(expression)
    except Refused as refused:
        del scope.findings[before:]  # one finding for a condition that has to be rewritten
        return refused.diagnostic


def define(name: str, scope: Scope) -> Diagnostic | None:
    """Check a `let` on its own, used or not; its error, if it has one."""
    reader = _Reader(scope, None, is_definition=True)
    definition = scope.definitions[name]
    try:
        reader.definition(tree.Name(name, definition.name.span))
    except Poisoned:
        scope.poisoned.add(name)
    except Refused as refused:
        scope.poisoned.add(name)
        return refused.diagnostic
    return None


class _Reader:
    """Reads one condition for one target."""

    def __init__(self, scope: Scope, target: str | None, *, is_definition: bool = False) -> None:
        self._scope = scope
        self._target = target
        # A definition is read for whatever target a rule will have: bare values are let through.
        self._is_definition = is_definition
        self._open: list[str] = []  # the definitions being read, outermost first
        self._made: dict[str, tuple[Term, int]] = {}  # terms of definitions and their sizes
        self._depth = 0
        self._size = 0
        self._has_default = False  # inside `known(…)` or the left of `??`

    def condition(self, expression: tree.Expression) -> Term:
        """An expression that must be true or false."""
        term = self.value(expression)
        if term.type is not Type.BOOL:
            raise Refused(
                "RP103",
                f"a condition is expected here, `{shown(expression.span)}` is {NOUNS[term.type]}",
                expression.span,
                as_condition(expression, term),
            )
        return term

    def value(self, expression: tree.Expression) -> Term:
        """Any expression."""
        self._depth += 1
        self._size += 1
        if self._depth > MAX_DEPTH or self._size > MAX_SIZE:
            raise Refused(
                "RP001",
                "the condition is nested too deeply"
                if self._depth > MAX_DEPTH
                else "the condition is too large",
                expression.span,
                "write it as several rules",
            )
        try:
            return self._read(expression)
        finally:
            self._depth -= 1

    def _read(self, expression: tree.Expression) -> Term:
        match expression:
            case tree.Literal():
                return _literal(expression)
            case tree.Name():
                return self._name(expression)
            case tree.Index():
                return self._index(expression)
            case tree.Call():
                return self._call(expression)
            case tree.Negate(operand, span):
                return self._negate(operand, span)
            case tree.Arithmetic():
                return self._arithmetic(expression)
            case tree.Default(operand, default, span):
                before, self._has_default = self._has_default, True
                left = self.value(operand)
                self._has_default = before
                left, right = agree(self._scope, left, self.value(default), operand, default, span)
                return Coalesce(left, right, left.type, span)
            case tree.Comparison():
                return self._comparison(expression)
            case tree.Membership():
                return self._membership(expression)
            case tree.Not(operand, span):
                return Not(self.condition(operand), span)
            case tree.Junction(operator, operands, span):
                terms = tuple(self.condition(operand) for operand in operands)
                return And(terms, span) if operator == "and" else Or(terms, span)
            case _:
                assert_never(expression)

    # --- names -----------------------------------------------------------------------------------

    def _name(self, name: tree.Name) -> Term:
        text = name.text
        if text in self._scope.definitions:
            return self.definition(name)
        if text == "cost":
            return self._cost(self._bare(name), name.span, "cost")
        if text == REQUESTED:
            raise Refused(
                "RP101",
                "`requested` is a target, not a value",
                name.span,
                f'write `latency({REQUESTED})`, or `model == "…"`',
            )
        attribute = self._attribute(text)
        if attribute is not None and attribute.parameter is Parameter.NONE:
            return self._slot(attribute, None, name.span)
        if attribute is not None and attribute.parameter is Parameter.HEADER:
            raise Refused(
                "RP101",
                f"`{text}` needs the name of a header",
                name.span,
                f'write `{text}["x-team"]`',
            )
        if attribute is not None:
            return self._of_target(attribute, self._bare(name), name.span)
        if text in WEEKDAYS:
            return Const(WEEKDAYS.index(text), Type.WEEKDAY, name.span)
        header = _DOTTED_HEADER.match(name.span.source.text, name.span.start)
        if header is not None and "header" in self._scope.attributes:
            start = name.span.start
            span = Span(name.span.source, start, start + len(header[0]))
            help = f'write `header["{header[1]}"]`'
            raise Refused("RP101", f"`{header[0]}` is not how a header is read", span, help)
        raise Refused(
            "RP101", f"unknown attribute `{text}`", name.span, self._unknown_name_help(text)
        )

    def definition(self, name: tree.Name) -> Term:
        """A `let` name, with what it stands for below it."""
        text = name.text
        if text in self._open:
            cycle = " → ".join((*self._open[self._open.index(text) :], text))
            raise Refused(
                "RP101",
                f"`{text}` is defined by itself",
                self._scope.definitions[text].name.span,
                f"break the circle {cycle}",
            )
        if text in self._scope.poisoned:
            raise Poisoned(text)
        if text not in self._made:
            size = self._size
            self._open.append(text)
            term = self.value(self._scope.definitions[text].expression)
            self._open.pop()
            self._made[text] = (term, self._size - size)
        else:
            self._size += self._made[text][1]
        term = self._made[text][0]
        return Named(text, term, term.type, name.span)

    def _attribute(self, text: str) -> Attribute | None:
        return self._scope.attributes.get(ALIASES.get(text, text))

    def _unknown_name_help(self, text: str) -> str:
        known = [*self._scope.attributes, *self._scope.definitions, *ALIASES, "cost", *WEEKDAYS]
        known += ["true", "false"]
        truth = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(text.lower())
        if truth is not None:
            return f"write `{truth}`"
        if text.capitalize()[:3] in WEEKDAYS and text.lower().endswith("day"):
            return f"weekdays are written `{text.capitalize()[:3]}`"
        for attribute in self._scope.attributes.values():
            if attribute.domain and text in attribute.domain:
                return f"write `{quote(text)}`, text stands in quotes"
        names = ", ".join(sorted(self._scope.attributes))
        return suggestion(text, known) or f"attributes are {names}"

    def _bare(self, name: tree.Name) -> str:
        if self._target is None and not self._is_definition:
            raise Refused(
                "RP116",
                f"it is not clear which target's `{name.text}` is meant",
                name.span,
                f'name the target, such as `{name.text}("openai/gpt-4")`, or use `where:`',
            )
        if self._target in self._scope.targets.refused:
            raise Poisoned(self._target)
        return self._target or REQUESTED

    def _slot(self, attribute: Attribute, argument: str | None, span: Span | None) -> Read:
        name = attribute.name
        if argument is None:
            key = name
        elif attribute.parameter is Parameter.HEADER:
            key = f"{name}.{argument}"
        else:
            key = f"{name}({argument})"
        if not self._is_definition:
            self._scope.slots.setdefault(key, Slot(key, attribute, argument))
        return Read(key, attribute.type, span)

    def _of_target(self, attribute: Attribute, argument: str, span: Span) -> Read:
        if attribute.live and argument != REQUESTED and not self._has_default:
            target = self._scope.targets.resolve(argument, span)
            if target.expected.p95_us is None:
                # In a definition too: which target is meant is known only where it is used.
                self._scope.findings.append(
                    warning(
                        "RP405",
                        f"`{attribute.name}` of `{argument}` is unknown until there was enough "
                        "traffic, and no prior is declared",
                        span,
                        f"write `expected: {{p95: 900ms}}` for `{argument}` under `targets:`"
                        if attribute.type is Type.DURATION
                        else f"say what counts meanwhile, such as `{shown(span)} ?? 0%`",
                    )
                )
        return self._slot(attribute, argument, span)

    def _find(self, finding: Diagnostic) -> None:
        # What stands in a definition is found once, where the definition is checked.
        if self._is_definition or not self._open:
            self._scope.findings.append(finding)

    def _index(self, index: tree.Index) -> Term:
        attribute = self._scope.attributes.get(index.name.text)
        if attribute is None or attribute.parameter is not Parameter.HEADER:
            is_known = attribute is not None or index.name.text in self._scope.definitions
            headers = [
                a.name for a in self._scope.attributes.values() if a.parameter is Parameter.HEADER
            ]
            raise Refused(
                "RP101",
                f"`{index.name.text}` takes no key in brackets"
                if is_known
                else f"unknown attribute `{index.name.text}`",
                index.name.span,
                suggestion(index.name.text, headers)
                or (
                    f"write `{index.name.text}` alone"
                    if is_known
                    else f'only `{"`, `".join(headers)}` takes a key, as in `header["x-team"]`'
                ),
            )
        header = index.key.text.strip().lower()
        if header in CREDENTIALS:
            raise Refused(
                "RP101",
                f"`{shown(index.span)}` is a credential, which no condition may read",
                index.span,
                "use `tenant`, `team` or `user`: they come from the caller's key",
            )
        return self._slot(attribute, header, index.span)

    # --- calls -----------------------------------------------------------------------------------

    def _call(self, call: tree.Call) -> Term:
        text, arguments = call.name.text, call.arguments
        match text:
            case "known":
                operand = self._only(call)
                before, self._has_default = self._has_default, True
                term = self.value(operand)
                self._has_default = before
                return Known(term, call.span)
            case "min" | "max":
                return self._extreme(call, text)
            case "cost":
                name = self._target_name(call, self._only(call))
                return self._cost(name, call.span, "cost")
            case "worst_case":
                return self._worst_case(call)
        attribute = self._attribute(text)
        if attribute is None or attribute.parameter is not Parameter.TARGET:
            if attribute is not None or text in self._scope.definitions:
                raise Refused(
                    "RP102",
                    f"`{text}` is a value, not a function",
                    call.name.span,
                    f'write `{text}["x-team"]`'
                    if attribute is not None and attribute.parameter is Parameter.HEADER
                    else f"write `{text}` alone",
                )
            functions = [
                *FUNCTIONS,
                "not",  # `nto (a or b)` reads as a call
                *(
                    name
                    for name in (*self._scope.attributes, *ALIASES)
                    if (a := self._attribute(name)) and a.parameter is Parameter.TARGET
                ),
            ]
            raise Refused(
                "RP102",
                f"unknown function `{text}`",
                call.name.span,
                suggestion(text, functions)
                or f"functions are {', '.join(sorted({*functions} - {'not'}))}",
            )
        if len(arguments) != 1:
            raise self._one_target(call)
        return self._of_target(attribute, self._target_name(call, arguments[0]), call.span)

    def _only(self, call: tree.Call) -> tree.Expression:
        if len(call.arguments) != 1:
            raise Refused(
                "RP102",
                f"`{call.name.text}` takes one value, not {len(call.arguments)}",
                call.span,
                f"write `{call.name.text}(…)` with one value",
            )
        return call.arguments[0]

    def _one_target(self, call: tree.Call) -> Refused:
        return Refused(
            "RP102",
            f"`{call.name.text}` takes one target",
            call.span,
            f'write `{call.name.text}("openai/gpt-4")`',
        )

    def _target_name(self, call: tree.Call, argument: tree.Expression) -> str:
        """The target that a call names, resolved; REQUESTED for what the client asked for."""
        if isinstance(argument, tree.Name) and argument.text == REQUESTED:
            return REQUESTED
        if not isinstance(argument, tree.Literal) or argument.kind != "string":
            raise Refused(
                "RP301",
                f"`{call.name.text}` takes a target in quotes",
                argument.span,
                f"write `{call.name.text}({quote(shown(argument.span))})`",
            )
        if argument.text == REQUESTED:
            return REQUESTED
        return self._scope.targets.resolve(argument.text, argument.span).id

    def _extreme(self, call: tree.Call, operator: str) -> Term:
        if len(call.arguments) < 2:
            raise Refused(
                "RP102",
                f"`{operator}` takes two values or more",
                call.span,
                f"write `{operator}(a, b)`",
            )
        first, *rest = call.arguments
        result = self.value(first)
        for argument in rest:
            result, right = agree(
                self._scope, result, self.value(argument), first, argument, call.span
            )
            if result.type not in ORDERED:
                raise no_size(first.span, result.type)
            span = call.span if argument is rest[-1] else None
            kind = "min" if operator == "min" else "max"
            result = Arithmetic(kind, result, right, result.type, span)  # type: ignore[arg-type]
        return result

    def _worst_case(self, call: tree.Call) -> Term:
        operand = self._only(call)
        if isinstance(operand, tree.Name) and operand.text == "cost":
            return self._cost(self._bare(operand), call.span, "worst_case")
        if isinstance(operand, tree.Call) and operand.name.text == "cost":
            name = self._target_name(operand, self._only(operand))
            return self._cost(name, call.span, "worst_case")
        raise Refused(
            "RP102",
            "`worst_case` is known of `cost` only",
            operand.span,
            "write `worst_case(cost)`",
        )

    def _cost(self, name: str, span: Span, kind: str) -> Term:
        """The cost of the request on a target, as a sum that carries its ingredients."""
        if self._is_definition and name == REQUESTED:
            return Const(None, Type.MONEY, span)  # which target it is of is not known yet
        for read in ("tokens",) if kind == "cost" else ("tokens", "n", "max_tokens"):
            self._slot(self._scope.attributes[read], None, None)
        if kind == "cost":
            output = self._slot(self._scope.attributes["expected_output"], name, None)

        def of(target: Target) -> Term:
            tariff = self._scope.targets.tariff(target, span)
            if kind == "cost":
                return expected_cost(target, tariff, output)
            return worst_case_cost(target, tariff)

        term = self._scope.costs.get((kind, name))
        if term is not None:
            return Named(shown(span), term, Type.MONEY, span)
        if name == REQUESTED:
            targets = self._scope.targets
            targets.requestable()
            requested = self._slot(REQUESTED_ATTRIBUTE, None, None)
            priced = {id: t for id, t in sorted(targets.found.items()) if t.tariff is not None}
            cases = tuple((id, of(target)) for id, target in priced.items())
            term = Switch(requested, cases, Type.MONEY)
        else:
            term = of(self._scope.targets.resolve(name, span))
        self._scope.costs[kind, name] = term
        return Named(shown(span), term, Type.MONEY, span)

    # --- arithmetic ------------------------------------------------------------------------------

    def _negate(self, operand: tree.Expression, span: Span) -> Term:
        term = self.value(operand)
        if term.type not in SIZES:
            raise no_size(operand.span, term.type)
        if isinstance(term, Const) and isinstance(term.value, int):
            return Const(-term.value, term.type, span)
        return Arithmetic("-", Const(0, term.type), term, term.type, span)

    def _arithmetic(self, written: tree.Arithmetic) -> Term:
        operator, span = written.operator, written.span
        if operator == "/":
            raise Refused(
                "RP111",
                "`/` can only be a whole side of a comparison, where it is exact",
                span,
                "multiply instead: `a > 3 * b` says what `a / b > 3` says",
            )
        left, right = self.value(written.left), self.value(written.right)
        if operator == "*":
            return self._product(left, right, written)
        left, right = agree(self._scope, left, right, written.left, written.right, span)
        if left.type not in SIZES:
            raise no_size(written.left.span, left.type)
        return Arithmetic(operator, left, right, left.type, span)

    def _product(self, left: Term, right: Term, written: tree.Arithmetic) -> Term:
        for term, part in ((left, written.left), (right, written.right)):
            if term.type not in SIZES:
                raise no_size(part.span, term.type)
        kinds = {left.type, right.type}
        if Type.NUMBER not in kinds:
            raise Refused(
                "RP111",
                f"{NOUNS[left.type]} cannot be multiplied by {NOUNS[right.type]}",
                written.span,
                "one side of `*` has to be a plain whole number",
            )
        if Type.RATE in kinds:
            # Tokens times a price per million tokens is money.
            product = Arithmetic("*", left, right, Type.NUMBER)
            return CeilDiv(product, PER_MTOK, Type.MONEY, written.span)
        type_ = right.type if left.type is Type.NUMBER else left.type
        return Arithmetic("*", left, right, type_, written.span)

    # --- comparisons -----------------------------------------------------------------------------

    def _comparison(self, written: tree.Comparison) -> Term:
        operator, span = written.operator, written.span
        if operator in ("starts_with", "ends_with", "has"):
            return self._text_test(written)
        if _is_quotient(written.left) or _is_quotient(written.right):
            return self._quotients(written)
        left, right = self.value(written.left), self.value(written.right)
        if Type.BOOL in (left.type, right.type):
            return self._truths(written, left, right)
        left, right = agree(self._scope, left, right, written.left, written.right, span)
        is_equality = operator in ("==", "!=")
        if not is_equality and left.type in WORDS:
            raise Refused(
                "RP111",
                f"`{shown(written.left.span)}` is text, which has no order",
                written.operator_span,
                "compare text with `==`, `!=`, `in`, `starts_with`, `ends_with` or `has`",
            )
        if is_equality:
            self._measured(left, right, span)
        self._always(operator, left, right, span)
        return Compare(operator, left, right, span)  # type: ignore[arg-type]

    def _truths(self, written: tree.Comparison, left: Term, right: Term) -> Term:
        if left.type is not right.type:
            word, other = (
                (written.left, written.right)
                if left.type is Type.BOOL
                else (written.right, written.left)
            )
            raise Refused(
                "RP111",
                f"`{shown(word.span)}` is true or false, `{shown(other.span)}` is not",
                other.span,
                f"write `{shown(word.span)} == true` or `{shown(word.span)}` alone",
            )
        if written.operator not in ("==", "!="):
            raise Refused(
                "RP111",
                f"`{written.operator}` does not compare what is true or false",
                written.operator_span,
                "booleans take only `==` and `!=` with `true` or `false`",
            )
        if not any(isinstance(term, Const) for term in (left, right)):
            raise Refused(
                "RP111",
                "two conditions cannot be compared with each other",
                written.span,
                "booleans take only `==` and `!=` with `true` or `false`",
            )
        return Compare(written.operator, left, right, written.span)

    def _text_test(self, written: tree.Comparison) -> Term:
        operand = self.value(written.left)
        if operand.type not in WORDS:
            raise Refused(
                "RP111",
                f"`{written.operator}` looks into text, `{shown(written.left.span)}` is "
                f"{NOUNS[operand.type]}",
                written.left.span,
                'only text can be looked into, such as `model` or `header["x-team"]`',
            )
        if not isinstance(written.right, tree.Literal) or written.right.kind != "string":
            raise Refused(
                "RP111",
                f"`{written.operator}` takes text in quotes",
                written.right.span,
                f"write `{quote(shown(written.right.span))}`",
            )
        note_open(self._scope, operand)
        return TextTest(
            written.operator,  # type: ignore[arg-type]
            operand,
            written.right.text,
            written.span,
        )

    def _quotients(self, written: tree.Comparison) -> Term:
        """`a / b < c` as `a < c * b`, unknown where `b` is 0; both sides may be quotients."""
        (left, below_left), (right, below_right) = (
            self._split(side) for side in (written.left, written.right)
        )
        span = written.span
        # The scales make both sides whole: `max_tokens / tokens > 0.5` is max_tokens * 10000 > …
        left_unit = _quotient_unit(left, below_left)
        right_unit = _quotient_unit(right, below_right)
        pair = {left_unit, right_unit}
        scales = {Type.SCORE: 10_000, Type.PERCENT: 10_000, Type.RATE: PER_MTOK}
        left_scale = right_scale = 1
        if left_unit is not right_unit:
            plain = Type.MONEY if Type.RATE in pair else Type.NUMBER
            unit = next((u for u in pair if u is not plain), None)
            if plain not in pair or unit not in scales:
                raise disagree(
                    _typed(left_unit), _typed(right_unit), written.left, written.right, span
                )
            scale = scales[unit]
            left_scale, right_scale = (scale, 1) if left_unit is plain else (1, scale)
        left_side = _times(_times(left, below_right), _number_or_none(left_scale))
        right_side = _times(_times(right, below_left), _number_or_none(right_scale))
        result: Term = Compare(written.operator, left_side, right_side)  # type: ignore[arg-type]
        for below in (below_left, below_right):
            if below is not None and not (isinstance(below, Const) and below.value):
                is_there = Compare(">", below, Const(0, below.type))
                result = If(is_there, result, Const(None, Type.BOOL), Type.BOOL)
        return Named(shown(span), result, Type.BOOL, span)

    def _split(self, side: tree.Expression) -> tuple[Term, Term | None]:
        if not _is_quotient(side):
            term = self.value(side)
            if term.type not in SIZES:
                raise no_size(side.span, term.type)
            return term, None
        assert isinstance(side, tree.Arithmetic)
        above, below = self.value(side.left), self.value(side.right)
        for term, part in ((above, side.left), (below, side.right)):
            if term.type not in SIZES:
                raise no_size(part.span, term.type)
        if _quotient_unit(above, below) is None:
            raise Refused(
                "RP111",
                f"{NOUNS[above.type]} cannot be divided by {NOUNS[below.type]}",
                side.span,
                "divide by a plain number, or by something of the same kind",
            )
        if bounds(below, self._scope.attributes)[0] < 0:
            raise Refused(
                "RP111",
                f"`{shown(side.right.span)}` could be negative, so it cannot divide",
                side.right.span,
                "multiply instead, or divide by something that is never negative",
            )
        return above, below

    def _measured(self, left: Term, right: Term, span: Span) -> None:
        """Warn of equality with what was measured."""
        for term in (left, right):
            name = term.key.partition("(")[0] if isinstance(term, Read) else ""
            attribute = self._scope.attributes.get(name)
            if attribute is not None and attribute.live:
                self._find(
                    warning(
                        "RP115",
                        f"`{shown(span)}` compares a measurement for equality: it is almost "
                        "never true",
                        span,
                        "write `<`, `>` or a range",
                    )
                )
                return

    def _always(self, operator: str, left: Term, right: Term, span: Span) -> None:
        """Warn of a comparison that the attribute's own range decides."""
        turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
        if isinstance(left, Const):
            left, right, operator = right, left, turned.get(operator, operator)
        if not isinstance(left, Read) or not isinstance(right, Const) or right.span is None:
            return
        limit = right.value
        attribute = self._scope.attributes.get(left.key.partition("(")[0])
        if attribute is None or isinstance(limit, str) or limit is None:
            return
        low, high = bounds(left, {attribute.name: attribute})
        match operator:
            case "<":
                always, never = high < limit, low >= limit
            case "<=":
                always, never = high <= limit, low > limit
            case ">":
                always, never = low > limit, high <= limit
            case ">=":
                always, never = low >= limit, high < limit
            case "==":
                always, never = False, not low <= limit <= high
            case _:
                always, never = not low <= limit <= high, False
        if always or never:
            if attribute.maximum is None:
                range_ = f"is never below {format_value(low, left.type)}"
            else:
                ends = (format_value(end, left.type) for end in (low, high))
                range_ = "goes from {} to {}".format(*ends)
            self._find(
                warning(
                    "RP113",
                    f"this is {'always' if always else 'never'} true: "
                    f"`{shown(left.span)}` {range_}",
                    span,
                    "remove it, or compare with a value in between",
                )
            )

    # --- membership ------------------------------------------------------------------------------

    def _membership(self, written: tree.Membership) -> Term:
        operand = self.value(written.operand)
        if operand.type is Type.BOOL:
            raise Refused(
                "RP111",
                f"`{shown(written.operand.span)}` is true or false, which is in no list",
                written.operand.span,
                "booleans take only `==` and `!=` with `true` or `false`",
            )
        span = None if written.negated else written.span
        match written.collection:
            case tree.Range():
                term = self._range(operand, written.operand, written.collection, span)
            case tree.Listing(items):
                term = self._listing(operand, written.operand, items, span)
            case tree.Name(text, place):
                raise Refused(
                    "RP103",
                    f"`in` takes a list or a range, `{text}` is neither",
                    place,
                    f"write `[{text}]`" if text in WEEKDAYS else "write `[a, b]` or `low..high`",
                )
        return Not(term, written.span) if written.negated else term

    def _listing(
        self,
        operand: Term,
        place: tree.Expression,
        items: Iterable[tree.Expression],
        span: Span | None,
    ) -> Term:
        constants: list[Value] = []
        others: list[Term] = []
        for item in items:
            left, right = agree(self._scope, operand, self.value(item), place, item, item.span)
            self._measured(left, right, item.span)
            if isinstance(right, Const) and right.value is not None:
                constants.append(right.value)
            else:
                others.append(Compare("==", left, right, item.span))
        if not others:
            return Member(operand, frozenset(constants), span)
        if constants:
            others.insert(0, Member(operand, frozenset(constants)))
        return Or(tuple(others), span)

    def _range(
        self, operand: Term, place: tree.Expression, range_: tree.Range, span: Span | None
    ) -> Term:
        _, low = agree(self._scope, operand, self.value(range_.low), place, range_.low, range_.span)
        _, high = agree(
            self._scope, operand, self.value(range_.high), place, range_.high, range_.span
        )
        if operand.type not in ORDERED:
            raise Refused(
                "RP111",
                f"`{shown(place.span)}` is {NOUNS[operand.type]}, which has no ranges",
                range_.span,
                "write a list: `[…, …]`",
            )
        is_fixed = isinstance(low, Const) and isinstance(high, Const)
        if operand.type is Type.WEEKDAY or operand.type is Type.TIME:
            if not is_fixed:
                raise Refused(
                    "RP111",
                    "the ends of this range have to be constants",
                    range_.span,
                    f"write it as `{EXAMPLES[operand.type]}..…`",
                )
            assert isinstance(low, Const) and isinstance(high, Const)
            start, end = int(low.value or 0), int(high.value or 0)
            if operand.type is Type.WEEKDAY:
                days = frozenset((start + i) % 7 for i in range((end - start) % 7 + 1))
                return Member(operand, days, span)
            if start > end:
                sides = (Compare(">=", operand, low), Compare("<", operand, high))
                return Or(sides, span)
        elif isinstance(low, Const) and isinstance(high, Const):
            start, end = int(low.value or 0), int(high.value or 0)
            if start > end:
                raise Refused(
                    "RP113",
                    f"the range `{shown(range_.span)}` runs backwards",
                    range_.span,
                    f"write `{shown(range_.high.span)}..{shown(range_.low.span)}`",
                )
        if is_fixed and start == end:
            self._find(
                warning(
                    "RP113",
                    f"the range `{shown(range_.span)}` is empty: its end is not part of it",
                    range_.span,
                    "write an end after the start, or `==` for a single value",
                )
            )
        return And((Compare(">=", operand, low), Compare("<", operand, high)), span)


# --- small questions -----------------------------------------------------------------------------


def _literal(literal: tree.Literal) -> Const:
    try:
        type_, value = literal_value(literal)
    except ValueError as error:
        raise Refused("RP001", str(error), literal.span) from None
    return Const(value, type_, literal.span)


def _is_quotient(expression: tree.Expression) -> bool:
    return isinstance(expression, tree.Arithmetic) and expression.operator == "/"


def _quotient_unit(above: Term, below: Term | None) -> Type | None:
    """The type of a quotient: of like by like a plain number, by a number what it was."""
    if below is None:
        return above.type
    if above.type is below.type:
        return Type.NUMBER
    return above.type if below.type is Type.NUMBER else None


def _typed(type_: Type | None) -> Term:
    return Const(None, type_ or Type.NUMBER)


def _number_or_none(scale: int) -> Term | None:
    return None if scale == 1 else Const(scale, Type.NUMBER)


def _times(left: Term, right: Term | None) -> Term:
    return left if right is None else Arithmetic("*", left, right, left.type)
