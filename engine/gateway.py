"""One request from start to end: the only file that names all the other parts.

receive → snapshot → decide → attempt* → relay → settle → record. The HTTP server calls `chat` and
`embeddings`; everything that is kept of a request leaves as one `DecisionRecord`.
Over 300 lines because a request's ends (answered, refused, cut, left) settle in one place.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from turnout.dsl.core import REQUESTED, Plan, Program
from turnout.dsl.interpret.traced import trace as traced
from turnout.dsl.schema import Target
from turnout.dsl.units import format_usd

from . import tokens, trace
from .budget import worst_case
from .chain import Answered, Chain, IdleClock, Journey, Opened, took_us
from .decide import Decider, Decision, recorded
from .journal import Journal
from .ledger import charge, usage_source
from .names import Names, Requested
from .provider import FAULTS, Provider, ProviderError
from .pulse import Pulse
from .record import Attempt, DecisionRecord, PulseTable
from .request import Operation, Reply, Request, RequestError, StreamReply, Usage
from .state.store import StoreError

_log = logging.getLogger("turnout.gateway")

TICK_S = 1.0
# Output longer than this is estimated from its bytes, so that counting never holds the loop.
COUNTED_OUTPUT_CHARACTERS = 65_536
# So is the prompt of a request whose body is longer than this.
COUNTED_BODY_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Live:
    """The program in force, with what was made of it. Replaced whole, never changed."""

    program: Program
    decider: Decider
    names: Names


def make_live(program: Program) -> Live:
    """Make a program ready to serve."""
    return Live(program, Decider(program), Names(program, program.schema.catalog))


class Gateway:
    """Decides, calls providers, answers and records.

    One per worker process; `start` and `close` run in that worker's event loop.
    """

    def __init__(
        self,
        live: Live,
        providers: Mapping[str, Provider],
        journal: Journal,
        pulse: Pulse,
        on_record: Callable[[DecisionRecord], None],
        on_tick: Callable[[int], None],
    ) -> None:
        """Serve a program over providers by name.

        `on_record` sees each finished record, `on_tick` once a second how many wait to be written.
        """
        self._live = live
        self._providers = providers
        self._journal = journal
        self._pulse = pulse
        self._on_record = on_record
        self._on_tick = on_tick
        self._chain = Chain(providers, pulse)
        self._table = pulse.tick(live.program.targets)
        self._ticker: asyncio.Task[None] | None = None
        self._started_ns = time.monotonic_ns()
        self._programs = trace.Programs(live.program.schema)
        self.ready = False

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Archive the policy, warm what is slow at first use, and start the pulse."""
        program = self._live.program
        self._journal.archive(program.digest, program.canonical)
        await asyncio.to_thread(tokens.warm)
        self._ticker = asyncio.create_task(self._tick(), name="pulse")
        self.ready = True

    async def close(self) -> None:
        """Stop the pulse and write out everything that is still queued."""
        self.ready = False
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        await asyncio.to_thread(self._journal.close)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._table = self._pulse.tick(self._live.program.targets)
            self._journal.put_pulse(self._table)
            self._on_tick(self._journal.counts.waiting)

    # --- requests --------------------------------------------------------------------------------

    async def chat(self, request: Request) -> Reply | StreamReply:
        """Answer a chat request. Raises: RequestError."""
        passage = await self._decide(request)
        if request.stream:
            return await self._stream(passage)
        return await self._answer(passage)

    async def embeddings(self, request: Request) -> Reply:
        """Answer an embeddings request. Raises: RequestError."""
        return await self._answer(await self._decide(request))

    async def _decide(self, request: Request) -> "_Passage":
        live = self._live
        if not self._journal.accepting:
            raise RequestError(
                503,
                "service_unavailable_error",
                "journal_full",
                "The gateway cannot record requests at the moment and takes none.",
                retry_after_us=5_000_000,
            )
        requested = live.names.resolve(request.model)
        decision = await _decision(live, request, requested, self._table)
        plan = decision.plan
        if request.operation is Operation.EMBEDDINGS and decision.clause is None:
            if requested.target is None:
                raise RequestError(
                    400,
                    "invalid_request_error",
                    "model_required",
                    f"Embeddings need the name of an embedding model; `{request.model}` is none.",
                    param="model",
                )
            # The chain follows, of which only hops to the very same model count.
            plan = Plan(decision.program.requested, None)
        low, _ = tokens.bounds(request)
        known = decision.snapshot.get("tokens")
        journey = Journey(
            request=request,
            program=decision.program,
            plan=plan,
            requested=requested.target,
            snapshot=decision.snapshot,
            prompt_tokens=known if isinstance(known, int) else low,
            guards=live.decider.guards,
        )
        return _Passage(self, decision, journey)

    async def _answer(self, passage: "_Passage") -> Reply:
        try:
            answered = await self._chain.answer(passage.journey)
        except RequestError as error:
            passage.refused(error)
            raise
        except asyncio.CancelledError:
            passage.abandoned()
            raise
        except BaseException:
            passage.broken()
            raise
        return passage.answered(answered)

    async def _stream(self, passage: "_Passage") -> StreamReply:
        try:
            opened = await self._chain.open(passage.journey)
        except RequestError as error:
            passage.refused(error)
            raise
        except asyncio.CancelledError:
            passage.abandoned()
            raise
        except BaseException:
            passage.broken()
            raise
        return passage.opened(opened)

    def finish(self, record: DecisionRecord) -> None:
        """Hand a finished record to the journal and the metrics."""
        self._pulse.record_own(record.took_us - sum(a.took_us for a in record.attempts))
        self._journal.put(record)
        self._on_record(record)

    def fell_silent(self, target: str, took_us: int) -> None:
        """Tell the pulse that a stream broke after its first content."""
        self._pulse.record(target, took_us, None, None, failed=True)

    def streamed(self, attempt: Attempt) -> None:
        """Tell the pulse of a stream that came to its end."""
        output = attempt.usage.output if attempt.usage is not None else None
        self._pulse.record(attempt.target, attempt.took_us, attempt.ttft_us, output, failed=False)

    @property
    def pulse_id(self) -> str:
        """The table of live values that decisions are made on at this moment."""
        return self._table.id

    # --- looking ---------------------------------------------------------------------------------

    def models(self) -> list[dict[str, Any]]:
        """What a client may ask for, as OpenAI lists models."""
        return [_model(name, owner) for name, owner in self._listed().items()]

    def model(self, name: str) -> dict[str, Any]:
        """One model by name. Raises: RequestError 404 `model_not_found`."""
        owner = self._listed().get(name)
        if owner is None:
            requested = self._live.names.resolve(name)
            owner = "turnout" if requested.target is None else requested.target.provider
        return _model(name, owner)

    def _listed(self) -> Mapping[str, str]:
        usable = frozenset(n for n, provider in self._providers.items() if provider.usable)
        return self._live.names.listed(usable)

    async def explain(self, request: Request) -> dict[str, Any]:
        """The decision on a chat body with the value of every sub-expression; calls nobody."""
        live = self._live
        requested = live.names.resolve(request.model)
        decision = await _decision(live, request, requested, self._table)
        plan = decision.plan
        verdict = traced(decision.program, decision.snapshot)
        return {
            "rule": decision.clause.name if decision.clause is not None else None,
            "route": plan.route.target if plan is not None else None,
            "target": _target_of(plan, requested.target),
            "policy": decision.program.digest,
            "trail": verdict.to_json(),
        }

    async def trace(self, request_id: str, tenant: str) -> dict[str, Any]:
        """The trace document of a request of this tenant.

        Raises: RequestError 404 if there is none, 503 if the journal cannot be read now.
        """
        try:
            record = await self._journal.find(request_id, tenant)
            if record is not None:
                return await asyncio.to_thread(self._document, record)
        except StoreError as error:
            _log.error("the journal cannot be read: %s", error)
            raise RequestError(
                503,
                "service_unavailable_error",
                "journal_unreadable",
                "The gateway cannot read its journal at the moment.",
                retry_after_us=1_000_000,
            ) from None
        raise RequestError(
            404,
            "invalid_request_error",
            "trace_not_found",
            f"There is no trace of the request `{request_id}`.",
        )

    def _document(self, record: DecisionRecord) -> dict[str, Any]:
        live = self._live.program
        program: Program | None = live
        if record.digest != live.digest:
            program = self._programs.get(record.digest, self._journal.archived)
        pulse = None if record.pulse_id is None else self._journal.pulse(record.pulse_id)
        return trace.document(record, program, pulse)

    @property
    def digest(self) -> str:
        """The hash of the policy in force."""
        return self._live.program.digest

    @property
    def providers(self) -> Mapping[str, bool]:
        """The providers that the policy needs, and whether each has its credential.

        Without a declared target that is every provider there is.
        """
        named = {target.provider for target in self._live.program.targets.values()}
        return {
            name: provider.usable
            for name, provider in sorted(self._providers.items())
            if name in named or not named
        }

    def health(self) -> dict[str, Any]:
        """Whether this worker serves, and how: no upstream call."""
        own_us = self._pulse.gateway_latency()
        return {
            "status": "ok" if self.ready and self._journal.accepting else "degraded",
            "gateway": {
                "uptime": (time.monotonic_ns() - self._started_ns) // 1_000_000_000,
                "models": len(self._listed()),
                "latency_ms": None if own_us is None else own_us / 1000,
            },
        }


class _Passage:
    """A decided request on its way to an answer; whatever happens, it is recorded once."""

    def __init__(self, gateway: Gateway, decision: Decision, journey: Journey) -> None:
        self._gateway = gateway
        self._decision = decision
        self.journey = journey
        self._pulse_id = gateway.pulse_id
        self._done = False

    # Each of these ends the passage.

    def answered(self, answered: Answered) -> Reply:
        attempt = answered.attempt
        if attempt.usage is None:
            attempt.usage = self._estimate(answered.answer.text)
        _price(attempt, answered.target)
        self._settle()
        headers = self._headers(answered.target)
        headers["x-turnout-cost"] = format_usd(self._spent())
        if attempt.dropped:
            headers["x-turnout-dropped"] = ",".join(attempt.dropped)
        self._record(200, "ok", answered.target)
        return Reply(200, answered.answer.body, headers)

    def refused(self, error: RequestError) -> None:
        error.headers.update(self._headers(None))
        self._record(error.status, "error", None, error=error.code or error.type)

    def abandoned(self) -> None:
        self._record(499, "disconnect", None, error="client_left")

    def broken(self) -> None:
        self._record(500, "error", None, error="internal")

    def opened(self, opened: Opened) -> StreamReply:
        self._settle(but=opened.attempt)
        headers = self._headers(opened.target)
        headers["x-turnout-cost-estimate"] = format_usd(
            self._spent() + worst_case(opened.target, self.journey.request)
        )
        if opened.attempt.dropped:
            headers["x-turnout-dropped"] = ",".join(opened.attempt.dropped)
        reply = StreamReply(200, headers, _nothing())
        reply.chunks = _Events(self, opened, self.relay(opened, reply))
        return reply

    async def relay(self, opened: Opened, reply: StreamReply) -> AsyncGenerator[bytes, None]:
        """The stream's events; ends in a record, whether read to its end, cut or closed."""
        attempt = opened.attempt
        output: list[str] = []
        outcome, status_error = "disconnect", "client_left"
        idle = IdleClock(opened.idle_us, opened.ends_at)
        try:
            for chunk in opened.held:
                _note(attempt, output, chunk.text, chunk.usage)
                if chunk.data:
                    yield chunk.data
            rest = opened.rest
            while True:
                try:
                    chunk = await idle.next(rest)
                except StopAsyncIteration:
                    break
                _note(attempt, output, chunk.text, chunk.usage)
                if chunk.data:
                    yield chunk.data
            outcome, status_error = "ok", ""
        except ProviderError as error:
            outcome, status_error = "cut", error.fault.value
            attempt.fault, attempt.reason = error.fault.value, error.message
            if error.usage is not None:
                attempt.usage = error.usage
            reply.failed = True
            yield _error_event(error)
        finally:
            idle.stop()
            attempt.took_us = took_us(attempt, self.journey.request)
            attempt.outcome = "ok" if outcome == "ok" else "failed"
            if outcome == "disconnect":
                attempt.reason = "the client left"
            if attempt.usage is None:
                attempt.usage = self._estimate("".join(output))
            _price(attempt, opened.target)
            if outcome == "ok":
                self._gateway.streamed(attempt)
            elif outcome == "cut":
                self._gateway.fell_silent(attempt.target, attempt.took_us)
            try:
                self._record(200, outcome, opened.target, error=status_error or None)
            finally:
                await opened.rest.aclose()

    async def unread(self, opened: Opened) -> None:
        """The client left before the first event was written."""
        attempt = opened.attempt
        attempt.took_us = took_us(attempt, self.journey.request)
        attempt.outcome, attempt.reason = "failed", "the client left"
        output: list[str] = []
        for chunk in opened.held:
            _note(attempt, output, chunk.text, chunk.usage)
        if attempt.usage is None:
            attempt.usage = self._estimate("".join(output))
        _price(attempt, opened.target)
        self._record(200, "disconnect", opened.target, error="client_left")
        await opened.rest.aclose()

    # --- what is kept ----------------------------------------------------------------------------

    def _headers(self, target: Target | None) -> dict[str, str]:
        clause = self._decision.clause
        headers = {
            "x-turnout-policy": self._decision.program.digest,
            "x-turnout-cache": "BYPASS",
            "x-turnout-attempts": str(
                sum(1 for attempt in self.journey.attempts if attempt.outcome != "skipped")
            ),
        }
        if clause is not None:
            headers["x-turnout-rule"] = clause.name
        if target is not None:
            headers["x-turnout-model"] = target.id
        return headers

    def _spent(self) -> int:
        return sum(attempt.cost_nano_usd for attempt in self.journey.attempts)

    def _estimate(self, output: str) -> Usage:
        request = self.journey.request
        low, high = tokens.bounds(request)
        prompt = low if low == high else self.journey.snapshot.get("tokens")
        if "tokens" in self.journey.snapshot.intervals or not isinstance(prompt, int):
            long = len(request.raw) > COUNTED_BODY_BYTES
            prompt = max(low, high // 3) if long else tokens.count(request)
        if len(output) <= COUNTED_OUTPUT_CHARACTERS:
            written = tokens.count_text(output)
        else:
            written = len(output.encode()) // 3
        return Usage(prompt, written, estimated=True)

    def _record(
        self, status: int, outcome: str, target: Target | None, error: str | None = None
    ) -> None:
        if self._done:
            return
        self._done = True
        request = self.journey.request
        snapshot = self._decision.snapshot
        recorded(snapshot)
        self._settle()
        clause = self._decision.clause
        plan = self.journey.plan
        caller = request.caller
        self._gateway.finish(
            DecisionRecord(
                id=request.id,
                received_us=request.received_us,
                took_us=(time.monotonic_ns() - request.started_ns) // 1000,
                digest=self._decision.program.digest,
                operation=request.operation.value,
                tenant=caller.tenant,
                tier=caller.tier,
                team=caller.team,
                user=caller.user,
                key_id=caller.key_id,
                session_hash=request.session_hash,
                model=request.model,
                stream=request.stream,
                clause=clause.index if clause is not None else None,
                rule=clause.name if clause is not None else None,
                route=plan.route.target if plan is not None else None,
                target=target.id if target is not None else None,
                values=dict(snapshot),
                reasons=dict(snapshot.reasons),
                intervals=dict(snapshot.intervals),
                attempts=self.journey.attempts,
                status=status,
                error=error,
                outcome=outcome,
                pulse_id=self._pulse_id,
            )
        )

    def _settle(self, but: Attempt | None = None) -> None:
        """Price the attempts that are over."""
        for attempt in self.journey.attempts:
            if attempt is not but:
                _settle(attempt, self._target_named(attempt.target), self.journey.request)

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

    def __init__(self, passage: _Passage, opened: Opened, events: AsyncGenerator[bytes]) -> None:
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


async def _decision(
    live: Live, request: Request, requested: Requested, table: PulseTable
) -> Decision:
    target = requested.target
    seen = live.decider.observe(request, target.id if target is not None else None, table)
    if live.decider.must_count_first(seen):
        seen["tokens"] = await asyncio.to_thread(tokens.count, request)
    return live.decider.decide(seen)


def _note(attempt: Attempt, output: list[str], text: str, usage: Usage | None) -> None:
    if usage is not None:
        attempt.usage = usage
    if text:
        output.append(text)


def _price(attempt: Attempt, target: Target) -> None:
    if attempt.usage is not None and target.tariff is not None:
        attempt.cost_nano_usd = charge(target.tariff, attempt.usage)


def _settle(attempt: Attempt, target: Target | None, request: Request) -> None:
    """Price a failed attempt: what was reported, or the worst case if nobody can say."""
    if target is None or attempt.outcome == "ok" or not attempt.sent:
        return
    if attempt.usage is not None:
        _price(attempt, target)
    elif usage_source(attempt) == "unconfirmed":
        attempt.unconfirmed_nano_usd = worst_case(target, request)


def _error_event(error: ProviderError) -> bytes:
    treatment = FAULTS[error.fault]
    body = {
        "error": {
            "message": error.message,
            "type": treatment.type,
            "param": error.param,
            "code": error.code or treatment.code,
        }
    }
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}


def _target_of(plan: Plan | None, requested: Target | None) -> str | None:
    if plan is None:
        return None
    if plan.route.target == REQUESTED:
        return requested.id if requested is not None else None
    return plan.route.target


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield
