"""The values of `similar_to`: embeddings of the last user message and of the lists' examples.

A live snapshot has none of them until somebody made the call: reading one raises `NotFetched`. The
gateway catches that, awaits `Embedder.fetch`, writes what it got into the snapshot with `put`, and
decides again; where no call is to be made (`/v1/explain`), or none was needed, `leave_out` makes
them unknown. The examples are embedded once per program, by one call whoever asks first; a request
waits for it no longer than for its own. A failed or late call is unknown, with its reason.

Over 300 lines because what is called, awaited, shared and booked of one call stands together.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from turnout.dsl.core import Program
from turnout.dsl.schema import Target
from turnout.dsl.snapshot import Snapshot

from . import prompt
from .budget import worst_case
from .ledger import charge
from .provider import Call, Fault, Provider, ProviderError
from .purse import Slip
from .record import EMBEDDING_HOP, Attempt
from .request import Caller, Operation, Request
from .retries import KeptOut
from .till import Till
from .vectors import Vector, closest, read_vectors

_log = logging.getLogger("turnout.embedding")

NOT_FETCHED = "not fetched"
LATE = "the embedding did not come in time"
LEFT = "the client left"
# Embedding models take about 8 000 tokens; a character is seldom more than one.
MOST_CHARACTERS = 6_000
# So many texts go in one call for the examples, and a call may last so long.
_EXAMPLES_AT_ONCE = 128
_EXAMPLES_TIMEOUT_S = 30.0
# After the examples could not be had, nobody tries again for so long.
_PAUSE_NS = 5_000_000_000
# Comparing more numbers than this (a millisecond's work) leaves the event loop.
_INLINE_NUMBERS = 30_000
_NOBODY = Caller()


@dataclass(slots=True)
class Fetched:
    """What a fetch came to.

    `scores` (of 10 000) and `reasons` are by slot key, each key in one of them. `attempts` are the
    calls that were made, of the message and, once per program, of the examples: priced, each to be
    booked once, under the request that got them. `slips` are what leases are to be taken off for it
    then.
    """

    scores: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    slips: list[Slip] = field(default_factory=list)


def keys_of(program: Program) -> dict[str, str]:
    """The slots of a program that cost a call: their keys, and the lists they are about."""
    return {
        key: slot.argument or "" for key, slot in program.slots.items() if slot.attribute.fetched
    }


def put(seen: Snapshot, fetched: Fetched) -> None:
    """Write what was fetched into a snapshot."""
    seen.update(fetched.scores)
    for key, reason in fetched.reasons.items():
        seen[key] = None
        seen.reasons[key] = reason


def leave_out(seen: Snapshot, program: Program) -> None:
    """Make unknown whatever was not fetched, so that reading it no longer raises."""
    for key in keys_of(program):
        if key not in seen:
            seen[key] = None
            seen.reasons[key] = NOT_FETCHED


class Embedder:
    """Fetches the scores of one program's lists; one per program and event loop."""

    def __init__(
        self,
        program: Program,
        providers: Mapping[str, Provider],
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Use these providers by name; nothing is called before the first fetch."""
        self._program = program
        self._providers = providers
        self._now_ns = now_ns
        self._keys = keys_of(program)
        self._examples: asyncio.Task[dict[str, list[Vector]]] | None = None
        self._pause_until_ns = 0
        self._unbooked: list[Attempt] = []

    async def fetch(
        self,
        request: Request,
        till: Till,
        excluded: str | None = None,
        into: Fetched | None = None,
    ) -> Fetched:
        """The scores of a request's last user message against every list the program asks about.

        `till` is where the request pays; the call for the examples is everybody's, and counts
        against no budget. `excluded` says why the target may not have this request (a limit, the
        caller's list of models), None where it may. Never raises but CancelledError; takes no
        longer than the policy's timeout. What is returned is `into`, which is filled in also where
        the client leaves meanwhile.
        """
        fetched = Fetched() if into is None else into
        embedding = self._program.embedding
        text = prompt.last_user_text(request)
        if not self._keys:
            return fetched
        if embedding is None:
            return self._unknown(fetched, "the policy names no embedding target")
        target = self._program.targets[embedding.target]
        provider = self._providers.get(target.provider)
        if excluded is not None:
            return self._unknown(fetched, excluded)
        if provider is None or provider.missing is not None:
            missing = "no credential" if provider is None else provider.missing
            return self._unknown(fetched, f"{missing} for `{target.provider}`")
        if text is None:
            return self._unknown(fetched, "there is no text of a user")
        examples = self._ask_for_examples(target, provider)
        if _has_failed(examples):
            return self._unknown(fetched, "the examples could not be embedded")
        timeout_s = embedding.timeout_us / 1e6
        attempts = fetched.attempts
        try:
            async with asyncio.timeout(timeout_s):
                call = _call(request, target, [text[:MOST_CHARACTERS]], timeout_s)
                pays = till.of(call.request)
                try:
                    vectors = await _embed(call, target, provider, attempts, pays)
                finally:
                    fetched.slips += pays.slips()
                # Others wait for the same task: it goes on whatever becomes of this request.
                listed = await asyncio.shield(examples)
            scores = await self._compare(vectors[0], listed)
        except TimeoutError:
            self._unknown(fetched, LATE)
        except KeptOut as kept:
            self._unknown(fetched, kept.message)
        except ProviderError as error:
            self._unknown(fetched, f"the embedding failed: {error.fault.value}")
        except asyncio.CancelledError:
            self._unknown(fetched, LEFT)
            for attempt in attempts:
                if attempt.outcome == "failed":
                    attempt.fault, attempt.reason = None, LEFT
            self._book(attempts)
            raise
        except Exception:  # a defect of ours is no reason to fail the request
            _log.exception("%s: an embedding broke inside the gateway", request.id)
            self._unknown(fetched, "the embedding failed inside the gateway")
        else:
            fetched.scores = {key: scores[name] for key, name in self._keys.items()}
        self._book(attempts)
        return fetched

    def _unknown(self, fetched: Fetched, reason: str) -> Fetched:
        fetched.reasons = dict.fromkeys(self._keys, reason)
        return fetched

    def _book(self, attempts: list[Attempt]) -> None:
        """Hand over the calls for the examples that are over, to be booked with this request."""
        attempts.extend(self._unbooked)
        self._unbooked.clear()
        for number, attempt in enumerate(attempts, 1):
            attempt.number = number

    @property
    def under_way(self) -> "asyncio.Task[dict[str, list[Vector]]] | None":
        """The fetching of the examples, where it has begun and is not over."""
        task = self._examples
        return None if task is None or task.done() else task

    def inherit(self, before: "Embedder") -> None:
        """Take over the examples of another program, where they are the same: each call costs."""
        if self._asks() == before._asks() and self._asks() is not None:
            self._examples, self._unbooked = before._examples, before._unbooked
            self._pause_until_ns = before._pause_until_ns

    def _asks(self) -> object:
        """What the examples are made of; None where there are none."""
        program, embedding = self._program, self._program.embedding
        if embedding is None or not self._keys:
            return None
        target = program.targets[embedding.target]
        lists = {name: program.lists.get(name, ()) for name in self._keys.values()}
        return target, program.providers.get(target.provider), lists

    async def close(self) -> None:
        """Stop what is under way for nobody in particular."""
        if self._examples is not None:
            self._examples.cancel()
            await asyncio.gather(self._examples, return_exceptions=True)

    # --- the examples ----------------------------------------------------------------------------

    def _ask_for_examples(
        self, target: Target, provider: Provider
    ) -> "asyncio.Task[dict[str, list[Vector]]]":
        """The one task that embeds the lists; begun anew where it failed some time ago."""
        task = self._examples
        if task is None or (_has_failed(task) and self._now_ns() >= self._pause_until_ns):
            task = asyncio.create_task(self._embed_examples(target, provider), name="examples")
            task.add_done_callback(_looked_at)
            self._examples = task
        return task

    async def _embed_examples(self, target: Target, provider: Provider) -> dict[str, list[Vector]]:
        names = sorted(set(self._keys.values()))
        texts = [
            (name, text[:MOST_CHARACTERS])
            for name in names
            for text in self._program.lists.get(name, ())
            if text
        ]
        listed: dict[str, list[Vector]] = {name: [] for name in names}
        try:
            async with asyncio.timeout(_EXAMPLES_TIMEOUT_S):
                for start in range(0, len(texts), _EXAMPLES_AT_ONCE):
                    some = texts[start : start + _EXAMPLES_AT_ONCE]
                    call = _call(None, target, [text for _, text in some], _EXAMPLES_TIMEOUT_S)
                    vectors = await _embed(call, target, provider, self._unbooked)
                    for (name, _), vector in zip(some, vectors, strict=True):
                        listed[name].append(vector)
        except Exception as error:
            self._pause_until_ns = self._now_ns() + _PAUSE_NS
            # Not the provider's own words: whatever it was sent may be quoted in them.
            why = error.fault.value if isinstance(error, ProviderError) else type(error).__name__
            _log.warning("the examples of `similar_to` could not be embedded: %s", why)
            if isinstance(error, TimeoutError):
                raise ProviderError(Fault.TIMEOUT, "no embeddings in time") from None
            raise
        return listed

    async def _compare(
        self, vector: Vector, listed: Mapping[str, Sequence[Vector]]
    ) -> dict[str, int]:
        numbers = len(vector) * sum(map(len, listed.values()))
        if numbers <= _INLINE_NUMBERS:
            return closest(vector, listed)
        return await asyncio.to_thread(closest, vector, listed)


def _has_failed(task: "asyncio.Task[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _looked_at(task: "asyncio.Task[Any]") -> None:
    # Every request may have left before the task ended; its failure is told in the log.
    if not task.cancelled():
        task.exception()


# --- calls ---------------------------------------------------------------------------------------


def _call(request: Request | None, target: Target, texts: list[str], timeout_s: float) -> Call:
    """A call for the vectors of texts, for a request or for none in particular."""
    body: dict[str, Any] = {"model": target.id, "input": texts, "encoding_format": "float"}
    asked = Request(
        id="examples" if request is None else request.id,
        operation=Operation.EMBEDDINGS,
        body=body,
        raw=_bytes(body),
        model=target.id,
        stream=False,
        caller=_NOBODY if request is None else request.caller,
        headers={},
        received_us=time.time_ns() // 1_000,
        started_ns=time.monotonic_ns(),
    )
    timeout_us = int(timeout_s * 1e6)
    return Call(asked, target.model, target.id, None, connect_us=timeout_us, idle_us=timeout_us)


def _bytes(body: dict[str, Any]) -> bytes:
    texts = [text.encode("utf-8", "replace").decode() for text in body["input"]]
    body["input"] = texts
    return orjson.dumps(body)


async def _embed(
    call: Call,
    target: Target,
    provider: Provider,
    attempts: list[Attempt],
    till: Till | None = None,
) -> list[Vector]:
    """The vectors of a call; its attempt is added once it is over, however it ended.

    `till`: where it is paid, if anywhere.
    Raises: ProviderError; KeptOut, without a call, where it cannot be paid.
    """
    # As long as the call itself may take: whoever asks bounds both.
    booking = None if till is None else await till.book(target, call.connect_us / 1e6)
    attempt = Attempt(
        target=target.id,
        upstream_model=target.model,
        outcome="failed",
        hop=EMBEDDING_HOP,
        number=0,
        started_us=call.request.received_us,
        took_us=0,
        kind="embedding",
    )
    if till is not None:
        till.hold(attempt, booking)
    try:
        answer = await provider.answer(call)
        attempt.usage = answer.usage
        vectors = read_vectors(answer, len(call.request.body["input"]))
    except ProviderError as error:
        attempt.fault, attempt.reason = error.fault.value, error.message
        attempt.status = error.status
        attempt.usage = error.usage or attempt.usage
        raise
    except asyncio.CancelledError:
        attempt.fault, attempt.reason = Fault.TIMEOUT.value, LATE
        raise
    else:
        attempt.outcome = "ok"
    finally:
        attempt.sent = call.sent
        attempt.took_us = (time.monotonic_ns() - call.request.started_ns) // 1_000
        _price(attempt, call, target)
        if till is not None:
            till.settle(attempt, target)
        # Only now: what is under way is nobody's to book yet.
        attempts.append(attempt)
    return vectors


def _price(attempt: Attempt, call: Call, target: Target) -> None:
    """What the call cost, or may have cost where nobody said."""
    if target.tariff is None:
        return
    if attempt.usage is not None:
        attempt.cost_nano_usd = charge(target.tariff, attempt.usage)
    elif attempt.sent and attempt.status is None:
        attempt.unconfirmed_nano_usd = worst_case(target, call.request)
