"""What an attempt may cost at most, before anything is sent.

Reserving that amount against a budget will live here; today it bounds what an attempt may have cost
whose answer nobody read, and the estimate that a stream's headers carry.
"""

from turnout.dsl.schema import Target

from . import tokens
from .request import NOTHING_SET, Operation, Request, Sets
from .tokenizers import tokenizer_of

_PER_TARIFF_UNIT = 1_000_000  # rates are per million tokens


def worst_case(target: Target, request: Request, sets: Sets = NOTHING_SET) -> int:
    """Nano-USD: prompt bound at its dearest rate, plus every answer at its longest, plus fees.

    The output bound is what the policy sets, else what the request allows, else the target's own
    maximum, else its window. 0 for a target without a tariff.
    """
    tariff = target.tariff
    if tariff is None:
        return 0
    _, prompt = tokens.bounds(request, tokenizer_of(target.model))
    for above, step in tariff.above:
        if prompt > above:
            tariff = step
    output = 0
    if request.operation is not Operation.EMBEDDINGS:
        output = _output_bound(target, request, sets) * _answers(request)
    parts = prompt * max(tariff.input, tariff.cache_write or 0) + output * tariff.output
    return -(-parts // _PER_TARIFF_UNIT) + tariff.request


def _output_bound(target: Target, request: Request, sets: Sets) -> int:
    longest = target.max_output or target.context_window or 0
    written = sets.get("max_tokens")
    limit = written if isinstance(written, int) else request.output_limit
    if limit is None or limit < 0:
        return longest
    return min(limit, longest) if longest else limit


def _answers(request: Request) -> int:
    value = request.body.get("n")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 1
