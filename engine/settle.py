"""What an attempt has used and cost once it is over: reported, estimated, or not known."""

from turnout.dsl.schema import Target
from turnout.dsl.snapshot import Snapshot

from . import tokens
from .budget import worst_case
from .ledger import charge, usage_source
from .record import Attempt
from .request import NOTHING_SET, Request, Sets, Usage

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


def estimate(request: Request, snapshot: Snapshot, output: str) -> Usage:
    """What an answer of this text has used, where the provider reports nothing."""
    low, high = tokens.bounds(request)
    prompt = low if low == high else snapshot.get("tokens")
    if "tokens" in snapshot.intervals or not isinstance(prompt, int):
        long = len(request.raw) > COUNTED_BODY_BYTES
        prompt = max(low, high // 3) if long else tokens.count(request)
    if len(output) <= COUNTED_OUTPUT_CHARACTERS:
        written = tokens.count_text(output)
    else:
        written = len(output.encode()) // 3
    return Usage(prompt, written, estimated=True)


def note(attempt: Attempt, output: list[str], text: str, usage: Usage | None) -> None:
    """Take down what a chunk of a stream brought."""
    if usage is not None:
        attempt.usage = usage
    if text:
        output.append(text)
