"""How `cost` and `worst_case(cost)` of a request are computed: lowered to terms over a tariff.

A cost is the exact sum of tokens times rates, rounded up once to a nano-dollar. The parts carry
names, so that an explanation can show what a sum of money is made of.
"""

from collections.abc import Callable

from .core import Arithmetic, CeilDiv, Coalesce, Compare, Const, If, Named, Read, Term
from .schema import Target, Tariff, Type

PER_MTOK = 1_000_000

TOKENS = Read("tokens", Type.NUMBER)


def expected_cost(target: Target, tariff: Tariff, output: Term) -> Term:
    """Prompt tokens at the input rate and the expected output at the output rate, plus the fee."""

    def of(step: Tariff) -> Term:
        return _sum(
            (TOKENS, step.input, "price of input"),
            (output, step.output, "price of output"),
            fee=step.request,
        )

    return _tiered(tariff, of)


def worst_case_cost(target: Target, tariff: Tariff) -> Term:
    """What is reserved for a call: the prompt at most the window, the output at its bound.

    An absent `max_tokens` is the model's maximum; every one of the `n` answers may be that long.
    """
    prompt: Term = TOKENS
    if target.context_window is not None:
        prompt = Arithmetic("min", TOKENS, _number(target.context_window), Type.NUMBER)
    bound = target.max_output if target.max_output is not None else target.context_window
    asked = Read("max_tokens", Type.NUMBER)
    longest: Term = asked
    if bound is not None:
        longest = Arithmetic(
            "min", Coalesce(asked, _number(bound), Type.NUMBER), _number(bound), Type.NUMBER
        )
    output = Arithmetic("*", Read("n", Type.NUMBER), longest, Type.NUMBER)

    def of(step: Tariff) -> Term:
        dearest = max(step.input, step.cache_write or 0)
        return _sum(
            (prompt, dearest, "dearest price of input"),
            (output, step.output, "price of output"),
            fee=step.request,
        )

    return _tiered(tariff, of)


def _tiered(tariff: Tariff, cost_of: Callable[[Tariff], Term]) -> Term:
    cost = cost_of(tariff)
    for tokens, step in tariff.above:
        is_above = Compare(">", TOKENS, _number(tokens))
        cost = If(is_above, cost_of(step), cost, Type.MONEY)
    return cost


def _sum(*parts: tuple[Term, int, str], fee: int) -> Term:
    """A rate of 0 needs no tokens: what is free is free even where the count is unknown."""
    total: Term | None = None
    for tokens, rate, name in parts:
        if rate == 0:
            continue
        price = Named(name, Const(rate, Type.RATE), Type.RATE)
        product = Arithmetic("*", tokens, price, Type.NUMBER)
        total = product if total is None else Arithmetic("+", total, product, Type.NUMBER)
    if total is None:
        return _fee(fee)
    if fee:
        scaled = Arithmetic("*", _fee(fee), _number(PER_MTOK), Type.NUMBER)
        total = Arithmetic("+", total, scaled, Type.NUMBER)
    return CeilDiv(total, PER_MTOK, Type.MONEY)


def _fee(fee: int) -> Term:
    return Named("fee of a request", Const(fee, Type.MONEY), Type.MONEY)


def _number(value: int) -> Const:
    return Const(value, Type.NUMBER)
