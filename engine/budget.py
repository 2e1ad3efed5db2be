"""What an attempt may cost at most, before anything is sent.

It is what a budget must have left (`till`), what an attempt may have cost whose answer nobody read,
and the estimate that a stream's headers carry.
"""

from collections.abc import Mapping
from typing import Any

from turnout.dsl.schema import Target, Tariff

from . import tokens
from .request import NOTHING_SET, OUTPUT_LIMITS, Operation, Request, Sets
from .tokenizers import tokenizer_of

_PER_TARIFF_UNIT = 1_000_000  # rates are per million tokens
# Parts of messages that are there as a whole, or whose tokens are bounded whatever they are.
_WHOLE_PARTS = frozenset(
    "text input_text output_text refusal image_url input_image input_audio thinking "
    "redacted_thinking reasoning variable".split()
)


def worst_case(target: Target, request: Request, sets: Sets = NOTHING_SET) -> int:
    """Nano-USD: prompt bound at its dearest rate, plus every answer at its longest, plus fees.

    The prompt bound is at least the window where a part of the prompt is not here to be counted (a
    conversation, a file or a search of the provider's). The output bound is what the policy sets,
    else what the request allows, else the target's own maximum, else its window. 0 for a target
    without a tariff.
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
    if _is_kept_elsewhere(request):
        # Nobody here has seen how long it is; only the window bounds it.
        prompt = max(prompt, target.context_window or 0)
    for above, step in tariff.above:
        if prompt > above:
            tariff = step
    return prompt, tariff


def _is_kept_elsewhere(request: Request) -> bool:
    """Whether a part of the prompt is at the provider, or is looked up by it."""
    native, body = request.native, request.body
    if native is not None and request.operation is not Operation.COMPLETIONS and native.only:
        return True
    if body.get("web_search_options") is not None or "cached_content" in str(
        body.get("extra_body") or ""
    ):
        return True
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(map(_is_reference, content)):
            return True
    return False


def _is_reference(part: object) -> bool:
    """Whether a part of a message only says where its content is."""
    if not isinstance(part, dict) or part.get("type") in _WHOLE_PARTS:
        return False
    file = part.get("file") if part.get("type") == "file" else None
    data = file.get("file_data") if isinstance(file, dict) and "file_id" not in file else None
    return not isinstance(data, str) or "://" in data[:16]


def _output_bound(target: Target, request: Request, sets: Sets) -> int:
    longest = target.max_output or target.context_window or 0
    written = sets.get("max_tokens")
    limit = written if isinstance(written, int) else _limit(request.body)
    # A limit of 0 is none to some.
    if limit is None or limit <= 0:
        return longest
    return min(limit, longest) if longest else limit


def _limit(body: Mapping[str, Any]) -> int | None:
    """The output limit that holds wherever a body goes; None where there is none.

    Of several the largest: some providers read the one, some the other. `max_output_tokens` alone
    is not chat's word, and most pass over it.
    """
    given = {name: body[name] for name in OUTPUT_LIMITS if body.get(name) is not None}
    if given.keys() <= {"max_output_tokens"}:
        return None
    limits = [one for one in given.values() if isinstance(one, int) and not isinstance(one, bool)]
    return max(limits) if len(limits) == len(given) else None


def answers(request: Request) -> int:
    """How many answers a request asks for."""
    native = request.native
    if native is not None and request.operation is Operation.COMPLETIONS:
        return _completions(native.body)
    value = request.body.get("n")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 1


def _completions(body: Mapping[str, Any]) -> int:
    """How many texts are made, shown or not: chat has no number for more than 128."""
    prompt = body.get("prompt")
    many = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
    prompts = len(prompt) if isinstance(prompt, list) and many else 1
    return max(body.get("n") or 1, body.get("best_of") or 1) * prompts
