"""When two values may stand together, and what is said where they may not.

One conversion only: a bare whole number beside a score. A number without its unit, a value outside
a declared domain and values of two kinds are refused here, each with the fix.
"""

from . import tree
from .core import Coalesce, Const, Named, Read, Term
from .diagnostic import Diagnostic
from .keys import attribute_of
from .nearest import suggestion
from .refusal import Refused
from .schema import Type
from .scope import Scope
from .source import Span
from .units import (
    format_value,
    parse_date,
    parse_quantity,
    parse_time,
    parse_weekday,
    quote,
)

NOUNS = {
    Type.BOOL: "true or false",
    Type.NUMBER: "a number",
    Type.DURATION: "a duration",
    Type.MONEY: "an amount of money",
    Type.RATE: "a price per million tokens",
    Type.PERCENT: "a percentage",
    Type.SCORE: "a score",
    Type.TIME: "a time of day",
    Type.WEEKDAY: "a weekday",
    Type.DATE: "a date",
    Type.TEXT: "text",
    Type.ENUM: "text",
}
EXAMPLES = {
    Type.DURATION: "800ms",
    Type.MONEY: "$0.02",
    Type.RATE: "$5/Mtok",
    Type.PERCENT: "5%",
    Type.TIME: "09:00",
    Type.DATE: "2026-10-01",
    Type.WEEKDAY: "Mon",
}
WORDS = (Type.TEXT, Type.ENUM)
_BARE = (Type.NUMBER, Type.SCORE)
# Types whose values can be added to each other and multiplied by a number.
SIZES = (Type.NUMBER, Type.SCORE, Type.DURATION, Type.MONEY, Type.RATE, Type.PERCENT)
ORDERED = (*SIZES, Type.TIME, Type.DATE, Type.WEEKDAY)
_OPEN_BY_NATURE = frozenset({"model", "provider", "session"})


def agree(
    scope: Scope,
    left: Term,
    right: Term,
    left_place: tree.Expression,
    right_place: tree.Expression,
    span: Span,
) -> tuple[Term, Term]:
    """Both terms in one type. Raises: Refused RP110, RP111, RP112."""
    if left.type in WORDS and right.type in WORDS:
        note_open(scope, left, right)
        return _in_domain(scope, left, right), _in_domain(scope, right, left)
    if left.type is right.type:
        return left, right
    for one, other, is_left in ((left, right, True), (right, left, False)):
        if (
            one.type is Type.SCORE
            and other.type is Type.NUMBER
            and isinstance(other, Const)
            and isinstance(other.value, int)
        ):
            scaled = Const(other.value * 10_000, Type.SCORE, other.span)
            return (one, scaled) if is_left else (scaled, one)
    raise disagree(left, right, left_place, right_place, span)


def disagree(
    left: Term,
    right: Term,
    left_place: tree.Expression,
    right_place: tree.Expression,
    span: Span,
) -> Refused:
    """The refusal of two values of different kinds: RP110, RP111, with the likeliest fix."""
    for (one, place), (other, other_place) in (
        ((right, right_place), (left, left_place)),
        ((left, left_place), (right, right_place)),
    ):
        if one.type in _BARE and other.type in EXAMPLES and _is_number(place):
            return Refused(
                "RP110",
                f"`{shown(place.span)}` lacks a unit: `{shown(other_place.span)}` is "
                f"{NOUNS[other.type]}",
                place.span,
                _with_unit(one, other.type, place),
            )
        if isinstance(one, Const) and one.type is Type.TEXT and other.type in (*EXAMPLES, *_BARE):
            return Refused(
                "RP111",
                f"`{shown(other_place.span)}` is {NOUNS[other.type]}, not text",
                place.span,
                f"write it without quotes, such as `{_unquoted(one, other.type)}`",
            )
        if one.type is Type.SCORE and other.type is Type.NUMBER and _is_number(place):
            return Refused(
                "RP111",
                f"`{shown(other_place.span)}` is a whole number, `{shown(place.span)}` is not",
                place.span,
                "write a whole number",
            )
        if other.type in WORDS and isinstance(one, Const) and one.type is not Type.TEXT:
            return Refused(
                "RP111",
                f"`{shown(other_place.span)}` is text, `{shown(place.span)}` is {NOUNS[one.type]}",
                place.span,
                f"write `{quote(shown(place.span))}`",
            )
    return Refused(
        "RP111",
        f"`{shown(left_place.span)}` is {NOUNS[left.type]}, "
        f"`{shown(right_place.span)}` is {NOUNS[right.type]}",
        span,
        "both sides have to be of one kind",
    )


def _in_domain(scope: Scope, term: Term, other: Term) -> Term:
    """A text constant beside an enum, as one of its values."""
    if not isinstance(term, Const) or other.type is not Type.ENUM:
        return term
    domain = _domain(scope, other)
    if domain is not None and isinstance(term.value, str) and term.value not in domain:
        assert term.span is not None
        raise Refused(
            "RP112",
            f"`{shown(other.span)}` is never `{quote(term.value)}`",
            term.span,
            suggestion(term.value, domain, quote)
            or f"it is one of {', '.join(f'`{quote(value)}`' for value in domain)}",
        )
    return Const(term.value, Type.ENUM, term.span)


def _domain(scope: Scope, term: Term) -> tuple[str, ...] | None:
    while isinstance(term, Named | Coalesce):
        term = term.operand
    attribute = scope.attributes.get(attribute_of(term.key)) if isinstance(term, Read) else None
    return None if attribute is None else attribute.domain


def note_open(scope: Scope, *terms: Term) -> None:
    """Say once of an attribute that its values are not declared, so typos go unseen."""
    for term in terms:
        if not isinstance(term, Read) or term.span is None or term.type is not Type.TEXT:
            continue
        attribute = scope.attributes.get(term.key)
        if attribute is None or attribute.name in _OPEN_BY_NATURE | scope.noted_open:
            continue
        scope.noted_open.add(attribute.name)
        scope.findings.append(
            Diagnostic(
                "RP117",
                "info",
                f"the values of `{attribute.name}` are not declared, so a misspelt one goes "
                "unnoticed",
                term.span,
                f"write its values: `attributes: {{{attribute.name}: [one, other]}}`",
            )
        )


def shown(span: Span | None) -> str:
    """What was written, white space normalised."""
    return "" if span is None else " ".join(span.text.split())


def _is_number(expression: tree.Expression) -> bool:
    if isinstance(expression, tree.Negate):
        expression = expression.operand
    return isinstance(expression, tree.Literal)


def no_size(span: Span, type_: Type) -> Refused:
    """The refusal of a value that cannot be calculated with or ordered."""
    return Refused(
        "RP111",
        f"`{shown(span)}` is {NOUNS[type_]}, which cannot be calculated with",
        span,
        "only numbers, durations, money and percentages can",
    )


def as_condition(expression: tree.Expression, term: Term) -> str:
    """How a value could become a condition."""
    text = shown(expression.span)
    if isinstance(expression, tree.Literal):
        name = "tier ==" if term.type in WORDS else "tokens >"
        return f"name what is compared with it each time, such as `{name} {text}`"
    if term.type in WORDS:
        return f'write `{text} == "…"`'
    return f"compare it, such as `{text} > {EXAMPLES.get(term.type, '100')}`"


def _unquoted(text: Term, wanted: Type) -> str:
    """The text as a constant of the wanted type, if it reads as one, else an example of one."""
    written = str(text.value) if isinstance(text, Const) else ""
    try:
        match wanted:
            case Type.TIME:
                parse_time(written)
            case Type.DATE:
                parse_date(written)
            case Type.WEEKDAY:
                parse_weekday(written)
            case _ if parse_quantity(written)[0] is not wanted:
                return EXAMPLES.get(wanted, "100" if wanted is Type.NUMBER else "0.5")
    except ValueError:
        return EXAMPLES.get(wanted, "100" if wanted is Type.NUMBER else "0.5")
    return written


def _with_unit(number: Term, wanted: Type, place: tree.Expression) -> str:
    """How the bare number could have been meant."""
    text = shown(place.span)
    value = number.value if isinstance(number, Const) and isinstance(number.value, int) else None
    match wanted:
        case Type.DURATION:
            return f"write `{text}ms` or `{text}s`"
        case Type.MONEY:
            return f"write `${text}`"
        case Type.RATE:
            return f"write `${text}/Mtok`"
        case Type.PERCENT if number.type is Type.SCORE and value is not None:
            return f"write `{format_value(value, Type.PERCENT)}`"
        case Type.PERCENT:
            return f"write `{text}%`"
        case Type.TIME if value is not None and number.type is Type.NUMBER and 0 <= value < 24:
            return f"write `{value:02}:00`"
        case _:
            return f"write it as `{EXAMPLES[wanted]}`"
