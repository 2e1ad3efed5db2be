"""What an attempt has used and cost once it is over: reported, estimated, or not known."""

from turnout.dsl.schema import Target

from . import tokens
from .budget import worst_case
from .ledger import charge, usage_source
from .record import Attempt
from .request import NOTHING_SET, Request, Sets, Usage
from .tokenizers import POLICY, tokenizer_of

# Output longer than this is estimated from its bytes, so that counting never holds the loop.
COUNTED_OUTPUT_CHARACTERS = 65_536
# So is the prompt of a request whose body is longer than this.
COUNTED_BODY_BYTES = 65_536


def price(attempt: Attempt, target: Target) -> None:
    """Charge an attempt for its usage, where there is one."""
    if attempt.usage is not None and target.tariff is not None:
        attempt.cost_nano_usd = charge(target.tariff, attempt.usage)


def settle(
    attempt: Attempt, target: Target | None, request: Request, sets: Sets = NOTHING_SET
) -> None:
    """Price a failed attempt: what was reported, or the worst case if nobody can say."""
    if target is None or attempt.outcome == "ok" or not attempt.sent:
        return
    if attempt.kind == "embedding":  # `embedding` knows what was sent there and prices it
        return
    if attempt.usage is not None:
        price(attempt, target)
    elif usage_source(attempt) == "unconfirmed":
        attempt.unconfirmed_nano_usd = worst_case(target, request, sets)


def estimate(request: Request, output: str, model: str) -> Usage:
    """What an answer of this text has used at a provider's model, which reported nothing."""
    by = tokenizer_of(model)
    if not by.table.is_loaded:
        # Loading it here would hold the loop; the two differ by some percent.
        by = POLICY
    if len(request.raw) <= COUNTED_BODY_BYTES:
        prompt = tokens.count(request, by)
    else:
        low, high = tokens.bounds(request, by)
        prompt = max(low, high // 3)
    if len(output) <= COUNTED_OUTPUT_CHARACTERS:
        written = tokens.count_text(output, by.table)
    else:
        written = len(output.encode()) // 3
    return Usage(prompt, by.corrected(written), estimated=True)


def note(attempt: Attempt, output: list[str], text: str, usage: Usage | None) -> None:
    """Take down what a chunk of a stream brought."""
    if usage is not None:
        attempt.usage = usage
    if text:
        output.append(text)
