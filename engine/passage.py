"""A decided request on its way to an answer, and what is kept of it.

However a request ends (answered, refused, cut, left), it is priced and recorded once, here.
Over 300 lines because all these ends stand in one place.
"""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

import orjson

from turnout.dsl.core import Hop
from turnout.dsl.schema import Target
from turnout.dsl.units import format_usd

from .budget import worst_case
from .cache import Recall
from .chain import Answered, Counted, Journey, Opened, Recalled, took_us
from .clocks import IdleClock
from .decide import Decision, recorded
from .destination import route_of
from .provider import FAULTS, ProviderError
from .purse import Slip
from .rates import LIMITS
from .record import Attempt, DecisionRecord, Late
from .request import Operation, Reply, Request, RequestError, StreamReply, Usage
from .settle import estimate, note, price
from .shadow import Look


class Books(Protocol):
    """Who is told how attempts and requests ended: the gateway."""

    def finish(self, record: DecisionRecord, slips: Sequence[Slip]) -> None:
        """Take a finished record, with what is to be taken off leases for it."""

    def finish_late(self, late: Late, slips: Sequence[Slip]) -> None:
        """Take an attempt that ended after its request's record was made, with the same."""

    def fell_silent(self, attempt: Attempt, error: ProviderError) -> None:
        """Note that a stream broke after its first content."""

    def streamed(self, attempt: Attempt) -> None:
        """Note that a stream came to its end."""


class Passage:
    """A decided request on its way to an answer; whatever happens, it is recorded once."""

    def __init__(
        self,
        books: Books,
        decision: Decision,
        journey: Journey,
        pulse_id: str,
        fetched: list[Attempt],
        shadow: Look | None = None,
        slips: Sequence[Slip] = (),
    ) -> None:
        """Start at a decision; `fetched` are the calls that it needed before, paid with `slips`.

        `shadow` is what a policy beside says of it.
        """
        self._shadow = shadow
        self._books = books
        self._decision = decision
        self.journey = journey
        self._pulse_id = pulse_id
        self._fetched = fetched
        self._mirrored: list[Attempt] = []
        self._slips: list[Slip] = [*slips]
        self._kept: DecisionRecord | None = None
        self._recalled: Recalled | None = None

    @property
    def decision(self) -> Decision:
        """What was decided."""
        return self._decision

    @property
    def mirror(self) -> Hop | None:
        """Where a copy of the request is to go."""
        return self._decision.destination.mirror

    def mirrored(self, attempt: Attempt, slips: Sequence[Slip] = ()) -> None:
        """Take what became of the copy, whenever that is."""
        if self._kept is None:
            self._mirrored.append(attempt)
            self._slips += slips
        else:
            self._books.finish_late(Late(self._kept, attempt), slips)

    # Each of these ends the passage.

    def answered(self, answered: Answered) -> Reply:
        """A whole answer."""
        attempt = answered.attempt
        if attempt.usage is None:
            attempt.usage = self._estimate(attempt, answered.answer.text)
        price(attempt, answered.target)
        if (recall := self.journey.recall) is not None and _is_ended(
            answered, self.journey.request
        ):
            body, cost = answered.answer.body, attempt.cost_nano_usd
            usage, dropped, native = attempt.usage, attempt.dropped, answered.native
            recall.keep(body, answered.target.id, usage, cost, dropped, native=native)
        self._settle()
        headers = {**self._headers(answered.target), **self._limits(answered.limits)}
        headers["x-turnout-cost"] = format_usd(self._spent())
        if attempt.dropped:
            headers["x-turnout-dropped"] = ",".join(attempt.dropped)
        self._record(200, "ok", answered.target)
        return Reply(200, answered.answer.body, headers, answered.native)

    def recalled(self, recalled: Recalled) -> Reply:
        """An answer that was given before."""
        headers = self._of_recalled(recalled)
        return Reply(200, recalled.answer.body, headers, recalled.answer.native)

    def retold(self, recalled: Recalled) -> StreamReply:
        """An answer that was given before, told as a stream."""
        request, recall, answer = self.journey.request, self.journey.recall, recalled.answer
        assert recall is not None
        events = recall.cache.form(request, native=answer.native).events(answer.body, request)
        headers = self._of_recalled(recalled)
        headers["x-turnout-cost-estimate"] = headers["x-turnout-cost"]
        attempts = self.journey.attempts
        return StreamReply(200, headers, _told(events), answer.native, attempts=attempts)

    def _of_recalled(self, recalled: Recalled) -> dict[str, str]:
        """Record an answer that was given before; its headers."""
        request, answer = self.journey.request, recalled.answer
        self._recalled = recalled
        self._settle()
        headers = {**self._headers(recalled.target), **self._limits({})}
        headers["x-turnout-cost"] = format_usd(self._spent())
        headers["age"] = str(max(request.received_us - answer.stored_us, 0) // 1_000_000)
        if answer.dropped:
            headers["x-turnout-dropped"] = ",".join(answer.dropped)
        self._record(200, "ok", recalled.target)
        return headers

    def counted(self, counted: Counted, tokens: int) -> Reply:
        """A count of the prompt's tokens."""
        headers = self._headers(counted.target)
        headers["x-turnout-cost"] = format_usd(self._spent())
        headers["x-turnout-count"] = "estimated" if counted.tokens is None else "provider"
        self._record(200, "ok", counted.target)
        return Reply(200, orjson.dumps({"input_tokens": tokens}), headers)

    def rejected(self, error: RequestError) -> None:
        """The policy's own refusal."""
        error.headers.update(self._headers(None))
        self._record(error.status, "rejected", None, error=error.code)

    def refused(self, error: RequestError) -> None:
        """No hop answered, or none was allowed to."""
        told = {key: error.headers.pop(key) for key in [*error.headers] if key in LIMITS}
        error.headers.update({**self._headers(None), **self._limits(told)})
        self._record(error.status, "error", None, error=error.code or error.type)

    def abandoned(self) -> None:
        """The client left before there was an answer."""
        self._record(499, "disconnect", None, error="client_left")

    def broken(self) -> None:
        """A defect of ours."""
        self._record(500, "error", None, error="internal")

    def opened(self, opened: Opened) -> StreamReply:
        """A stream at its first content."""
        self._settle(but=opened.attempt)
        headers = {**self._headers(opened.target), **self._limits(opened.limits)}
        headers["x-turnout-cost-estimate"] = format_usd(
            self._spent() + worst_case(opened.target, self.journey.request, self.journey.sets)
        )
        if opened.attempt.dropped:
            headers["x-turnout-dropped"] = ",".join(opened.attempt.dropped)
        attempts = self.journey.attempts
        reply = StreamReply(200, headers, _nothing(), opened.native, attempts=attempts)
        reply.chunks = _Events(self, opened, self.relay(opened, reply))
        return reply

    async def relay(self, opened: Opened, reply: StreamReply) -> AsyncGenerator[bytes, None]:
        """The stream's events; ends in a record, whether read to its end, cut or closed."""
        attempt, recall = opened.attempt, self.journey.recall
        output: list[str] = []
        outcome, status_error = "disconnect", "client_left"
        broke: ProviderError | None = None
        idle = IdleClock(opened.idle_us, opened.ends_at)
        try:
            for chunk in opened.held:
                note(attempt, output, chunk.text, chunk.usage)
                if chunk.data:
                    if recall is not None:
                        recall.heard(chunk.data)
                    yield chunk.data
            rest = opened.rest
            while True:
                try:
                    chunk = await idle.next(rest)
                except StopAsyncIteration:
                    break
                note(attempt, output, chunk.text, chunk.usage)
                if chunk.data:
                    if recall is not None:
                        recall.heard(chunk.data)
                    yield chunk.data
            outcome, status_error = "ok", ""
            opened.finish()
        except ProviderError as error:
            outcome, status_error, broke = "cut", error.fault.value, error
            attempt.fault, attempt.reason = error.fault.value, error.message
            opened.complain(error)
            if error.usage is not None:
                attempt.usage = error.usage
            reply.failure = _failure(error)
        finally:
            idle.stop()
            opened.leave()
            attempt.took_us = took_us(attempt, self.journey.request)
            attempt.outcome = "ok" if outcome == "ok" else "failed"
            if outcome == "disconnect":
                attempt.reason = "the client left"
            if attempt.usage is None:
                attempt.usage = self._estimate(attempt, "".join(output))
            price(attempt, opened.target)
            if outcome == "ok":
                self._books.streamed(attempt)
                if recall is not None:
                    self._keep(recall, opened)
            elif broke is not None:
                self._books.fell_silent(attempt, broke)
            try:
                self._record(200, outcome, opened.target, error=status_error or None)
            finally:
                await opened.rest.aclose()

    async def unread(self, opened: Opened) -> None:
        """The client left before the first event was written."""
        attempt = opened.attempt
        opened.leave()
        attempt.took_us = took_us(attempt, self.journey.request)
        attempt.outcome, attempt.reason = "failed", "the client left"
        output: list[str] = []
        for chunk in opened.held:
            note(attempt, output, chunk.text, chunk.usage)
        if attempt.usage is None:
            attempt.usage = self._estimate(attempt, "".join(output))
        price(attempt, opened.target)
        self._record(200, "disconnect", opened.target, error="client_left")
        await opened.rest.aclose()

    # --- what is kept ----------------------------------------------------------------------------

    def _keep(self, recall: Recall, opened: Opened) -> None:
        """Have a stream that is complete given again."""
        attempt = opened.attempt
        usage, cost, dropped = attempt.usage, attempt.cost_nano_usd, attempt.dropped
        recall.keep_stream(opened.target.id, usage, cost, dropped, native=opened.native)

    def _headers(self, target: Target | None) -> dict[str, str]:
        clause = self._decision.clause
        headers = {
            "x-turnout-policy": self._decision.program.digest,
            "x-turnout-cache": self._cache,
            "x-turnout-attempts": str(
                sum(one.outcome not in ("skipped", "cached") for one in self.journey.attempts)
            ),
        }
        if clause is not None:
            headers["x-turnout-rule"] = clause.name
        if target is not None:
            headers["x-turnout-model"] = target.id
        return headers

    @property
    def _cache(self) -> str:
        recall = self.journey.recall
        return "BYPASS" if recall is None else recall.result

    def _limits(self, upstream: Mapping[str, str]) -> Mapping[str, str]:
        """How far rates are used up: the caller's own, else what its provider says."""
        draw = self.journey.request.draw
        return upstream if draw is None else draw.headers()

    def _spent(self) -> int:
        attempts = (*self._fetched, *self.journey.attempts)
        return sum(attempt.cost_nano_usd for attempt in attempts)

    def _estimate(self, attempt: Attempt, output: str) -> Usage:
        return estimate(self.journey.request, output, attempt.upstream_model)

    def _record(
        self, status: int, outcome: str, target: Target | None, error: str | None = None
    ) -> None:
        if self._kept is not None:
            return
        request = self.journey.request
        snapshot = self._decision.snapshot
        recorded(snapshot)
        self._settle()
        if self.journey.recall is not None:
            self.journey.recall.close(left=outcome == "disconnect")
        again = None if self._recalled is None else self._recalled.answer
        clause = self._decision.clause
        found = self._decision.destination
        caller = request.caller
        self._kept = DecisionRecord(
            id=request.id,
            received_us=request.received_us,
            took_us=(time.monotonic_ns() - request.started_ns) // 1000,
            digest=self._decision.program.digest,
            operation=request.operation.value,
            tenant=caller.tenant,
            tier=str(snapshot["tier"]),
            team=caller.team,
            user=caller.user,
            key_id=caller.key_id,
            session_hash=request.session_hash,
            model=request.model,
            stream=request.stream,
            clause=clause.index if clause is not None else None,
            rule=clause.name if clause is not None else None,
            route=self._route(),
            target=target.id if target is not None else None,
            values=dict(snapshot),
            reasons=dict(snapshot.reasons),
            intervals=dict(snapshot.intervals),
            attempts=[*self._fetched, *self._mirrored, *self.journey.attempts],
            status=status,
            error=error,
            outcome=outcome,
            pulse_id=self._pulse_id,
            cache=self._cache,
            cache_reason=self.journey.bypass if self.journey.recall is None else None,
            served=None if again is None else again.usage,
            saved_nano_usd=0 if again is None else again.cost_nano_usd,
            chosen=None if found.route is None else found.route.target,
            limits=dict(found.limits),
            mirror=None if found.mirror is None else found.mirror.target,
            shadow=None
            if self._shadow is None
            else self._shadow.kept(None if clause is None else clause.name),
        )
        if request.draw is not None:
            request.draw.settle(self._kept.attempts)
        self._books.finish(self._kept, (*self._slips, *self.journey.till.slips()))

    def _route(self) -> str | None:
        """The route as written; of embeddings that no rule is about, what was asked for."""
        found, clause = self._decision.destination, self._decision.clause
        if clause is None and found.route is not None:
            return found.route.target
        return route_of(self._decision.program, clause)

    def _settle(self, but: Attempt | None = None) -> None:
        """Price and pay the attempts that are over."""
        for attempt in self.journey.attempts:
            if attempt is not but:
                self.journey.till.settle(attempt, self._target_named(attempt.target))

    def _target_named(self, name: str) -> Target | None:
        requested = self.journey.requested
        if requested is not None and requested.id == name:
            return requested
        return self.journey.program.targets.get(name)


class _Events(AsyncGenerator[bytes, None]):
    """A stream's events on their way to the client.

    Closing it before the first event was read is a disconnect like any other; a bare generator
    would skip its `finally` there.
    """

    def __init__(self, passage: Passage, opened: Opened, events: AsyncGenerator[bytes]) -> None:
        self._passage = passage
        self._opened = opened
        self._events = events
        self._started = False

    async def asend(self, value: None) -> bytes:
        self._started = True
        return await self._events.asend(value)

    async def athrow(self, *arguments: Any) -> bytes:
        return await self._events.athrow(*arguments)

    async def aclose(self) -> None:
        if not self._started:
            self._started = True
            await self._passage.unread(self._opened)
        await self._events.aclose()


def _is_ended(answered: Answered, request: Request) -> bool:
    """Whether the provider said itself that its answer is at its end; vectors have no other."""
    is_list = request.operation is Operation.EMBEDDINGS
    return is_list or answered.answer.finish_reason is not None


def _failure(error: ProviderError) -> RequestError:
    treatment = FAULTS[error.fault]
    code = error.code or treatment.code
    return RequestError(treatment.status, treatment.type, code, error.message, param=error.param)


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield


async def _told(events: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
    for event in events:
        yield event
