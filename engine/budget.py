"""What an attempt may cost at most, before anything is sent.

It is what a budget must have left (`till`), what an attempt may have cost whose answer nobody read,
and the estimate that a stream's headers carry.
"""

from turnout.dsl.schema import Target, Tariff

from . import tokens
from .request import NOTHING_SET, Operation, Request, Sets
from .tokenizers import tokenizer_of

_PER_TARIFF_UNIT = 1_000_000  # rates are per million tokens


def worst_case(target: Target, request: Request, sets: Sets = NOTHING_SET) -> int:
    """Nano-USD: prompt bound at its dearest rate, plus every answer at its longest, plus fees.

    The output bound is what the policy sets, else what the request allows, else the target's own
    maximum, else its window. 0 for a target without a tariff.
    """
    if target.tariff is None:
        return 0
    prompt, tariff = _prompt(target, target.tariff, request)
    output = 0
    if request.operation is not Operation.EMBEDDINGS:
        output = _output_bound(target, request, sets) * answers(request)
    parts = prompt * max(tariff.input, tariff.cache_write or 0) + output * tariff.output
    return -(-parts // _PER_TARIFF_UNIT) + tariff.request


def output_that_fits(target: Target, request: Request, sets: Sets, nano_usd: int) -> int | None:
    """The longest answer, in tokens, with which a request's worst case is within an amount.

    None where no answer is short enough, or the policy bounds it already.
    """
    if target.tariff is None or request.operation is Operation.EMBEDDINGS or "max_tokens" in sets:
        return None
    prompt, tariff = _prompt(target, target.tariff, request)
    left = (nano_usd - tariff.request) * _PER_TARIFF_UNIT
    left -= prompt * max(tariff.input, tariff.cache_write or 0)
    if not tariff.output:
        return None
    longest = left // (tariff.output * answers(request))
    return longest if longest > 0 else None


def _prompt(target: Target, tariff: Tariff, request: Request) -> tuple[int, Tariff]:
    """The most tokens that a prompt can have, and the step of the tariff that they reach."""
    _, prompt = tokens.bounds(request, tokenizer_of(target.model))
    for above, step in tariff.above:
        if prompt > above:
            tariff = step
    return prompt, tariff


def _output_bound(target: Target, request: Request, sets: Sets) -> int:
    longest = target.max_output or target.context_window or 0
    written = sets.get("max_tokens")
    limit = written if isinstance(written, int) else request.output_limit
    if limit is None or limit < 0:
        return longest
    return min(limit, longest) if longest else limit


def answers(request: Request) -> int:
    """How many answers a request asks for."""
    value = request.body.get("n")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 1
