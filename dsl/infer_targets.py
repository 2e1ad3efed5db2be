"""Values of targets: what they are measured by, over which window, what a request costs there."""

from . import tree
from .agree import shown
from .core import REQUESTED, Const, Named, Read, Switch, Term
from .cost import expected_cost, worst_case_cost
from .facts import COST, WORST_CASE
from .reading import Reading
from .refusal import Refused, warning
from .schema import Attribute, Target, Type
from .scope import REQUESTED_ATTRIBUTE, ROUTE
from .source import Span
from .units import format_value, literal_value, quote

# The stretch of time that a live value can be asked over.
SHORTEST_WINDOW_US = 1_000_000
LONGEST_WINDOW_US = 86_400_000_000


def live(reading: Reading, written: tree.Call, attribute: Attribute) -> Term:
    """`p95("openai/gpt-4")`, `p95("openai/gpt-4", 5m)`."""
    arguments = written.arguments
    is_pair = len(arguments) == 2 and attribute.windowed and not _is_text(arguments[1])
    if len(arguments) != 1 and not is_pair:
        raise Refused(
            "RP102",
            f"`{written.name.text}` takes one target"
            + (" and the window it is about" if attribute.windowed else ""),
            written.span,
            f'write `{written.name.text}("openai/gpt-4")`',
        )
    target = target_name(reading, written, arguments[0])
    window_us = _window(arguments[1]) if len(arguments) == 2 else None
    return of_target(reading, attribute, target, written.span, window_us)


def _is_text(written: tree.Expression) -> bool:
    return isinstance(written, tree.Literal) and written.kind == "string"


def _window(written: tree.Expression) -> int:
    type_, value = None, None
    if isinstance(written, tree.Literal):
        try:
            type_, value = literal_value(written)
        except ValueError as error:
            raise Refused("RP001", str(error), written.span) from None
    if type_ is Type.NUMBER:
        raise Refused(
            "RP110",
            f"`{shown(written.span)}` lacks a unit: a window is a duration",
            written.span,
            f"write `{shown(written.span)}s` or `{shown(written.span)}m`",
        )
    if type_ is not Type.DURATION or not isinstance(value, int):
        raise Refused("RP111", "a window is a duration", written.span, "write it as `5m`")
    if not SHORTEST_WINDOW_US <= value <= LONGEST_WINDOW_US:
        raise Refused(
            "RP113",
            f"a window of `{shown(written.span)}` cannot be measured",
            written.span,
            f"write one from {format_value(SHORTEST_WINDOW_US, Type.DURATION)} to "
            f"{format_value(LONGEST_WINDOW_US, Type.DURATION)}",
        )
    return value


def of_target(
    reading: Reading,
    attribute: Attribute,
    argument: str,
    span: Span,
    window_us: int | None = None,
) -> Read:
    """A value of a target, as a read. Raises: Refused RP116."""
    if argument == ROUTE:
        raise Refused(
            "RP116",
            f"it is not clear which target's `{shown(span)}` is meant",
            span,
            f'name the target, such as `{attribute.name}("openai/gpt-4")`',
        )
    if argument != REQUESTED and not reading.has_default:
        # In a definition too: which target is meant is known only where it is used.
        note_missing_prior(reading, attribute, argument, span)
    return reading.slot(attribute, argument, span, window_us)


def note_missing_prior(reading: Reading, attribute: Attribute, argument: str, span: Span) -> None:
    """Warn (RP405) of a live value that is unknown until there was enough traffic."""
    if not attribute.live or attribute.always_known:
        return
    expected = reading.scope.targets.resolve(argument, span).expected
    is_first = attribute.name.startswith("ttft.")
    if (expected.ttft_us if is_first else expected.p95_us) is not None:
        return
    prior = "ttft: 300ms" if is_first else "p95: 900ms"
    reading.scope.findings.append(
        warning(
            "RP405",
            f"`{attribute.name}` of `{argument}` is unknown until there was enough traffic, and "
            "no prior is declared",
            span,
            f"write `expected: {{{prior}}}` for `{argument}` under `targets:`"
            if attribute.type is Type.DURATION
            else f"say what counts meanwhile, such as `{shown(span)} ?? 0%`",
        )
    )


def measured(reading: Reading, attribute: Attribute, target: str, span: Span) -> Read:
    """A live value of a target by which a choice ranks it; `span` is where that is written."""
    note_missing_prior(reading, attribute, target, span)
    return Read(reading.slot(attribute, target, None).key, attribute.type)


def only(written: tree.Call) -> tree.Expression:
    """The one argument of a call. Raises: Refused RP102."""
    if len(written.arguments) != 1:
        raise Refused(
            "RP102",
            f"`{written.name.text}` takes one value, not {len(written.arguments)}",
            written.span,
            f"write `{written.name.text}(…)` with one value",
        )
    return written.arguments[0]


def target_name(reading: Reading, written: tree.Call, argument: tree.Expression) -> str:
    """The target that a call names, resolved; REQUESTED for what the client asked for."""
    if isinstance(argument, tree.Name) and argument.text == REQUESTED:
        return REQUESTED
    if not isinstance(argument, tree.Literal) or argument.kind != "string":
        raise Refused(
            "RP301",
            f"`{written.name.text}` takes a target in quotes",
            argument.span,
            f"write `{written.name.text}({quote(shown(argument.span))})`",
        )
    if argument.text == REQUESTED:
        return REQUESTED
    return reading.scope.targets.resolve(argument.text, argument.span).id


def worst_case(reading: Reading, written: tree.Call) -> Term:
    """`worst_case(cost)`, `worst_case(cost("openai/gpt-4"))`."""
    operand = only(written)
    if isinstance(operand, tree.Name) and operand.text == "cost":
        return cost(reading, reading.bare(operand), written.span, "worst_case")
    if isinstance(operand, tree.Call) and operand.name.text == "cost":
        target = target_name(reading, operand, only(operand))
        return cost(reading, target, written.span, "worst_case")
    raise Refused(
        "RP102",
        "`worst_case` is known of `cost` only",
        operand.span,
        "write `worst_case(cost)`",
    )


def cost(reading: Reading, target: str, span: Span, kind: str) -> Term:
    """The cost of the request on a target, as a sum that carries its ingredients."""
    if reading.is_definition and target == REQUESTED:
        return Const(None, Type.MONEY, span)  # which target it is of is not known yet
    return Named(shown(span), cost_of(reading, target, span, kind), Type.MONEY, span)


def cost_of(reading: Reading, target: str, span: Span, kind: str) -> Term:
    """The cost of the request on a target: `cost` what is expected, `worst_case` at most.

    Made once for each target. Raises: Refused RP331; Poisoned where the target was refused already.
    """
    scope = reading.scope
    for read in ("tokens",) if kind == "cost" else ("tokens", "n", "max_tokens"):
        reading.slot(scope.attributes[read], None, None)

    def of(row: Target) -> Term:
        tariff = scope.targets.tariff(row, span)
        if kind == "worst_case":
            return worst_case_cost(row, tariff)
        asked = REQUESTED if target == REQUESTED else row.id
        output = reading.slot(scope.attributes["expected_output"], asked, None)
        return expected_cost(row, tariff, output)

    if target == ROUTE:
        return Read(COST if kind == "cost" else WORST_CASE, Type.MONEY)
    if (kind, target) in scope.costs:
        if kind == "cost":
            reading.slot(scope.attributes["expected_output"], target, None)
        return scope.costs[kind, target]
    if target == REQUESTED:
        scope.targets.requestable()
        key = reading.slot(REQUESTED_ATTRIBUTE, None, None)
        rows = sorted(scope.targets.found.items())
        priced = {id: row for id, row in rows if row.tariff is not None}
        cases = tuple((id, of(row)) for id, row in priced.items())
        term: Term = Switch(key, cases, Type.MONEY)
    else:
        term = of(scope.targets.resolve(target, span))
    scope.costs[kind, target] = term
    return term
