"""Comparisons, membership and what is calculated: the types have to agree, the rest is lowered.

Over 300 lines because an operator's cases and its refusals belong beside each other; when two
values agree is told in `agree`.
"""

from collections.abc import Iterable

from . import tree
from .agree import (
    EXAMPLES,
    NOUNS,
    ORDERED,
    SIZES,
    WORDS,
    agree,
    disagree,
    no_size,
    note_open,
    shown,
)
from .core import (
    And,
    Arithmetic,
    CeilDiv,
    Compare,
    Const,
    If,
    Member,
    Named,
    Not,
    Or,
    Read,
    Term,
    TextTest,
)
from .cost import PER_MTOK
from .infer_values import has_tag, is_nothing, is_tags, known_list, sound_pattern
from .interval import bounds
from .keys import attribute_of
from .reading import Reading
from .refusal import Refused, warning
from .schema import WEEKDAYS, Type, Value
from .source import Span
from .units import format_value, literal_value, quote

# What a target is measured in; other live values are counts, states and truths.
_MEASURES = (Type.DURATION, Type.PERCENT, Type.SCORE)

# --- arithmetic ------------------------------------------------------------------------------


def negate(reading: Reading, operand: tree.Expression, span: Span) -> Term:
    """`-x`."""
    term = reading.value(operand)
    if term.type not in SIZES:
        raise no_size(operand.span, term.type)
    if isinstance(term, Const) and isinstance(term.value, int):
        return Const(-term.value, term.type, span)
    return Arithmetic("-", Const(0, term.type), term, term.type, span)


def arithmetic(reading: Reading, written: tree.Arithmetic) -> Term:
    """`a + b`, `a - b`, `a * b`; `/` stands in comparisons only."""
    operator, span = written.operator, written.span
    if operator == "/":
        raise Refused(
            "RP111",
            "`/` can only be a whole side of a comparison, where it is exact",
            span,
            "multiply instead: `a > 3 * b` says what `a / b > 3` says",
        )
    left, right = reading.value(written.left), reading.value(written.right)
    if operator == "*":
        return _product(left, right, written)
    left, right = agree(reading.scope, left, right, written.left, written.right, span)
    if left.type not in SIZES:
        raise no_size(written.left.span, left.type)
    return Arithmetic(operator, left, right, left.type, span)


def _product(left: Term, right: Term, written: tree.Arithmetic) -> Term:
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


def comparison(reading: Reading, written: tree.Comparison) -> Term:
    """`a < b` and the like, and the tests of text."""
    operator, span = written.operator, written.span
    if operator in ("starts_with", "ends_with", "has", "matches"):
        return _text_test(reading, written)
    if _is_quotient(written.left) or _is_quotient(written.right):
        return _quotients(reading, written)
    if operator in ("==", "!="):
        _refuse_nothing(reading, written)
    left = reading.value(written.left)
    right = reading.beside(left, written.right)
    if Type.BOOL in (left.type, right.type):
        return _truths(written, left, right)
    left, right = agree(reading.scope, left, right, written.left, written.right, span)
    is_equality = operator in ("==", "!=")
    if not is_equality and left.type in WORDS:
        raise Refused(
            "RP111",
            f"`{shown(written.left.span)}` is text, which has no order",
            written.operator_span,
            "compare text with `==`, `!=`, `in`, `starts_with`, `ends_with`, `has` or `matches`",
        )
    if is_equality:
        _measured(reading, left, right, span)
    _always(reading, operator, left, right, span)
    return Compare(operator, left, right, span)  # type: ignore[arg-type]


def _refuse_nothing(reading: Reading, written: tree.Comparison) -> None:
    """Refuse `x == null`, which is a question for `known`. Raises: Refused RP101."""
    pair = ((written.left, written.right), (written.right, written.left))
    for word, other in pair:
        if is_nothing(reading, word):
            test = f"known({shown(other.span)})"
            raise Refused(
                "RP101",
                f"there is no `{shown(word.span)}`: a value that is missing is unknown",
                written.left.span.to(written.right.span),
                f"write `{test if written.operator == '!=' else f'not {test}'}`",
            )


def _truths(written: tree.Comparison, left: Term, right: Term) -> Term:
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


def _text_test(reading: Reading, written: tree.Comparison) -> Term:
    operand = reading.value(written.left)
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
    if written.operator == "matches":
        sound_pattern(written.right)
    note_open(reading.scope, operand)
    return TextTest(
        written.operator,  # type: ignore[arg-type]
        operand,
        written.right.text,
        written.span,
    )


def _quotients(reading: Reading, written: tree.Comparison) -> Term:
    """`a / b < c` as `a < c * b`, unknown where `b` is 0; both sides may be quotients."""
    (left, below_left), (right, below_right) = (
        _split(reading, side) for side in (written.left, written.right)
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
            raise disagree(_typed(left_unit), _typed(right_unit), written.left, written.right, span)
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


def _split(reading: Reading, side: tree.Expression) -> tuple[Term, Term | None]:
    if not _is_quotient(side):
        term = reading.value(side)
        if term.type not in SIZES:
            raise no_size(side.span, term.type)
        return term, None
    assert isinstance(side, tree.Arithmetic)
    above, below = reading.value(side.left), reading.value(side.right)
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
    if bounds(below, reading.scope.attributes)[0] < 0:
        raise Refused(
            "RP111",
            f"`{shown(side.right.span)}` could be negative, so it cannot divide",
            side.right.span,
            "multiply instead, or divide by something that is never negative",
        )
    return above, below


def _measured(reading: Reading, left: Term, right: Term, span: Span) -> None:
    """Warn of equality with what was measured."""
    for term in (left, right):
        name = attribute_of(term.key) if isinstance(term, Read) else ""
        attribute = reading.scope.attributes.get(name)
        # What is counted or named may well be equal to something.
        if attribute is not None and attribute.live and attribute.type in _MEASURES:
            reading.find(
                warning(
                    "RP115",
                    f"`{shown(span)}` compares a measurement for equality: it is almost never true",
                    span,
                    "write `<`, `>` or a range",
                )
            )
            return


def _always(reading: Reading, operator: str, left: Term, right: Term, span: Span) -> None:
    """Warn of a comparison that the attribute's own range decides."""
    turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
    if isinstance(left, Const):
        left, right, operator = right, left, turned.get(operator, operator)
    if not isinstance(left, Read) or not isinstance(right, Const) or right.span is None:
        return
    limit = right.value
    attribute = reading.scope.attributes.get(attribute_of(left.key))
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
        reading.find(
            warning(
                "RP113",
                f"this is {'always' if always else 'never'} true: `{shown(left.span)}` {range_}",
                span,
                "remove it, or compare with a value in between",
            )
        )


# --- membership ------------------------------------------------------------------------------


def membership(reading: Reading, written: tree.Membership) -> Term:
    """`x in [a, b]`, `x in low..high`, `x in a_list`, `"fast" in tags`."""
    collection = written.collection
    if isinstance(collection, tree.Name) and is_tags(collection):
        tag = has_tag(reading, written)
        return Not(tag, written.span) if written.negated else tag
    operand = reading.value(written.operand)
    if operand.type is Type.BOOL:
        raise Refused(
            "RP111",
            f"`{shown(written.operand.span)}` is true or false, which is in no list",
            written.operand.span,
            "booleans take only `==` and `!=` with `true` or `false`",
        )
    span = None if written.negated else written.span
    match collection:
        case tree.Range():
            term = _range(reading, operand, written.operand, collection, span)
        case tree.Listing(items):
            term = _listing(reading, operand, written.operand, items, span)
        case tree.Name():
            term = _named_list(reading, operand, written.operand, collection, span)
    return Not(term, written.span) if written.negated else term


def _named_list(
    reading: Reading, operand: Term, place: tree.Expression, name: tree.Name, span: Span | None
) -> Term:
    """`tenant in vips`: one of the texts of a list."""
    text = name.text
    is_value = reading.attribute(text) is not None or text in reading.scope.definitions
    if text not in reading.scope.lists and (is_value or text in WEEKDAYS):
        raise Refused(
            "RP103",
            f"`in` takes a list or a range, `{text}` is neither",
            name.span,
            f"write `[{text}]`"
            if text in WEEKDAYS
            else f"write `{text} has {shown(place.span)}`"
            if isinstance(place, tree.Literal) and place.kind == "string"
            else "write `[a, b]` or `low..high`",
        )
    entry = known_list(reading, text, name.span)
    if operand.type not in WORDS:
        raise Refused(
            "RP111",
            f"the list `{text}` holds texts, `{shown(place.span)}` is {NOUNS[operand.type]}",
            name.span,
            "write the values here: `[a, b]`",
        )
    values: list[Value] = []
    reading.scope.parts += len(entry.items)
    for item in entry.items:
        written = tree.Literal("string", item.value, item.span)
        left = Const(item.value, Type.TEXT, item.span)
        _, right = agree(reading.scope, operand, left, place, written, item.span)
        assert isinstance(right, Const) and right.value is not None
        values.append(right.value)
    return Member(operand, frozenset(values), span)


def _listing(
    reading: Reading,
    operand: Term,
    place: tree.Expression,
    items: Iterable[tree.Expression],
    span: Span | None,
) -> Term:
    constants: list[Value] = []
    others: list[Term] = []
    for item in items:
        read = reading.beside(operand, item)
        left, right = agree(reading.scope, operand, read, place, item, item.span)
        _measured(reading, left, right, item.span)
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
    reading: Reading, operand: Term, place: tree.Expression, range_: tree.Range, span: Span | None
) -> Term:
    _, low = agree(
        reading.scope, operand, reading.value(range_.low), place, range_.low, range_.span
    )
    _, high = agree(
        reading.scope, operand, reading.value(range_.high), place, range_.high, range_.span
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
    if is_fixed and start == end and operand.type is not Type.TIME:  # of windows lint says it
        reading.find(
            warning(
                "RP113",
                f"the range `{shown(range_.span)}` is empty: its end is not part of it",
                range_.span,
                "write an end after the start, or `==` for a single value",
            )
        )
    return And((Compare(">=", operand, low), Compare("<", operand, high)), span)


# --- small questions -----------------------------------------------------------------------------


def literal(written: tree.Literal) -> Const:
    """A constant."""
    try:
        type_, value = literal_value(written)
    except ValueError as error:
        raise Refused("RP001", str(error), written.span) from None
    return Const(value, type_, written.span)


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
