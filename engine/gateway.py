"""One request from start to end: the only file that names all the other parts.

receive → snapshot → decide → attempt* → relay → settle → record. The HTTP server calls `generate`,
`embeddings` and `count`; everything that is kept of a request leaves as one `DecisionRecord`.
Over 300 lines because what the gateway does and what can be asked of it share its parts.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from turnout.dsl.core import REQUESTED, Budget, Clause, Program, Reject
from turnout.dsl.interpret.traced import trace as traced
from turnout.dsl.schema import Type, Value
from turnout.dsl.units import format_value

from . import bypass, tokens, trace
from .accounts import Accounts
from .alerts import Watched
from .audit import Audit, Event, Unheard
from .board import Alone, Board
from .books import Books
from .breakers import Breakers
from .cache import Cache
from .cache_terms import document as shelf
from .cached import CacheError, Invalidation
from .chain import Chain, Journey, Recalled
from .costs import Spendings, Unclear, ask, statement, told_instant
from .current import Current
from .decide import Decision
from .destination import explained, is_expired, route_of
from .draw import Draw
from .embedding import Fetched, leave_out, put
from .exhausted import Excluded, nowhere
from .fallback import Fallback, instead
from .journal import Journal
from .keyring import Keyring, NoKeys
from .latch import Latches
from .live import Live
from .mirror import Mirrors
from .names import Requested, not_found, untold
from .observed import Observed
from .offered import Asking, Barred, Offered
from .passage import Passage
from .provider import ProviderError
from .pulse import Pulse
from .purse import Bottomless, Purse, Slip
from .rates import Rates, Unrated
from .readers import NotFetched
from .record import Attempt, DecisionRecord, Late, PulseTable, Vitals
from .request import (
    NOTHING_SET,
    Caller,
    Operation,
    Reply,
    Request,
    RequestError,
    Sets,
    StreamReply,
)
from .seats import Boundless, Leave, Seats, nothing
from .shadow import Look, Shadow
from .spent import NOTHING_SPENT, Spent
from .standings import Spenders, is_of, of_caller, of_everybody
from .state.store import StoreError
from .till import Till
from .tokenizers import tokenizer_of

if TYPE_CHECKING:
    from .tenants import Tenants

_log = logging.getLogger("turnout.gateway")

TICK_S = 1.0
LOOK_S = 0.1  # between two looks at what the other workers tell; a tick is so many of them
MIRROR_PATIENCE_S = 5.0  # how long a gateway that closes waits for copies under way
_PAUSE_S = 5.0  # after a companion broke


class Companion(Protocol):
    """Work that goes on beside requests for as long as the gateway serves."""

    name: str

    async def run(self) -> None:
        """Work until cancelled. What it raises is logged, and it begins anew a while later."""


class Gateway:
    """Decides, calls providers, answers and records.

    One per worker process; `start` and `close` run in that worker's event loop.
    """

    def __init__(
        self,
        live: Live,
        journal: Journal,
        pulse: Pulse,
        on_record: Callable[[DecisionRecord], None],
        on_tick: Callable[[Vitals], None],
        on_late: Callable[[Late], None] = lambda _: None,
        spent: Spent = NOTHING_SPENT,
        breakers: Breakers | None = None,
        seats: Seats | None = None,
        board: Board | None = None,
        purse: Purse | None = None,
        audit: Audit | None = None,
        keys: Keyring | None = None,
        accounts: Accounts | None = None,
        rates: Rates | None = None,
        tenants: "Tenants | None" = None,
        spendings: Spendings | None = None,
        books: Books | None = None,
        spenders: Spenders | None = None,
        cache: Cache | None = None,
    ) -> None:
        """Serve a program.

        `on_record` sees each finished record, `on_tick` once a second how this worker is,
        `on_late` an attempt that ended after its record. `spent` is what budgets are read from.
        `board` is closed with the gateway; `pulse` and `breakers` may share it. `purse` is what
        attempts are paid from; None: from one without a bottom. `audit` is closed with the gateway.
        `accounts` is what is known of tenants beside the program, `rates` what theirs are held to,
        `tenants` where operators change them.
        `spendings` is where what was spent is asked for, `books` where counters are looked at,
        `spenders` who else has spent something. `cache` is closed with the gateway.
        """
        self._live = live
        self._journal = journal
        self._pulse = pulse
        self._on_record = on_record
        self._on_tick = on_tick
        self._on_late = on_late
        self._breakers = breakers or Breakers()
        self._breakers.follow(live.program.breaking)
        self._seats = seats or Boundless()
        self._chain = Chain(pulse, self._breakers, self._seats)
        self._mirrors = Mirrors(self._chain, pulse)
        self._board = board or Alone()
        self._latches = Latches(live.program, board=self._board)
        self._spent = spent
        self._purse = purse or Bottomless()
        self.audit = audit or Unheard()
        self.keys = keys or Keyring(NoKeys())
        self._accounts = accounts or Accounts()
        self._rates = rates or Unrated()
        self._spendings = spendings
        self._books = books
        self._spenders = spenders
        self._cache = cache
        self._adding_up = asyncio.Lock()
        self._walking = asyncio.Lock()
        self.tenants = tenants
        self._under_way = 0  # requests that were decided and are not recorded
        self._expired: dict[str, int] = {}  # rules, and the day they were last warned of
        self._shadow: Shadow | None = None
        self._table = self._tick_now()
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving: set[asyncio.Task[Any]] = set()  # of programs that are not in force any more
        self._companions: Sequence[Companion] = ()
        self._looks: Sequence[Callable[[], None]] = ()
        self._current: Current[Live] | None = None
        self._beside: Current[Shadow] | None = None
        self._shown: dict[str, Callable[[], Any]] = {"policy": lambda: {"hash": self.digest}}
        self._started_ns = time.monotonic_ns()
        self._programs = trace.Programs(live.program.schema)
        self.ready = False

    # --- life ------------------------------------------------------------------------------------

    def accompany(self, *companions: Companion) -> None:
        """Let these work beside requests, from the start on."""
        self._companions = (*self._companions, *companions)

    def follow(self, current: Current[Live]) -> None:
        """Let this say which program is in force, from the start on."""
        self._current = current
        self.accompany(current)
        self.show(policy=lambda: {"hash": self.digest} | current.health())

    def follow_shadow(self, current: Current[Shadow]) -> None:
        """Let this say which program decides beside, from the start on."""
        self._beside = current
        self.accompany(current)
        self.show(shadow=lambda: {"hash": self._shadow_digest} | current.health())

    def look_again(self) -> None:
        """Look at the policy's files now, the shadow's and keys, where they are followed."""
        for current in (self._current, self._beside):
            if current is not None:
                current.look_again()
        for look in self._looks:
            look()

    def when_asked_to_look(self, look: Callable[[], None]) -> None:
        """Call this too whenever somebody asks to look again."""
        self._looks = (*self._looks, look)

    def show(self, **parts: Callable[[], Any]) -> None:
        """Let these stand in `health` too; each is asked whenever that is, and may not wait."""
        self._shown |= parts

    async def start(self) -> None:
        """Archive the policy, warm what is slow at first use, and start what goes on beside."""
        program = self._live.program
        self._journal.archive(program.digest, program.canonical)
        self._journal.put_pulse(self._table)
        await asyncio.to_thread(tokens.warm)
        await self._prepare_cache(program)
        await self._refresh_spent()
        own: list[Companion] = [_Own("pulse", self._tick), self._purse]
        beside = [*own, *self._companions]
        self._tasks = [asyncio.create_task(_kept_up(one), name=one.name) for one in beside]
        self.audit.note(self._event("gateway.start"))
        self.ready = True

    async def close(self) -> None:
        """Let copies end, stop what goes on beside, and write out everything still queued."""
        self.ready = False
        await self._mirrors.drain(MIRROR_PATIENCE_S)
        ending = [*self._tasks, *self._leaving]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._live.embedder.close()
        await self._purse.close()
        self._board.close()
        self.audit.note(self._event("gateway.stop"))
        await asyncio.to_thread(self.audit.close)
        await asyncio.to_thread(self._journal.close)
        await self._purse.leave()  # what was settled is in the ledger now
        if self._cache is not None:
            await asyncio.to_thread(self._cache.close)

    def _event(self, action: str) -> Event:
        detail: dict[str, str | int | None] = {"policy": self.digest, "shadow": self._shadow_digest}
        return Event("gateway", action, f"worker {os.getpid()}", detail=detail)

    async def switch(self, live: Live) -> None:
        """Decide by another program from now on; requests under way keep theirs."""
        program = live.program
        await self._prepare_cache(program)
        self._journal.archive(program.digest, program.canonical)
        before, self._live = self._live, live
        self._latches = Latches(program, held=self._latches.held, board=self._board)
        self._breakers.follow(program.breaking)
        if self._shadow is not None:
            self._shadow.beside(program)
        self._look()
        live.embedder.inherit(before.embedder)
        # Requests that began with it may wait for what it fetches: that comes to its own end.
        if (task := before.embedder.under_way) is not None:
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _prepare_cache(self, program: Program) -> None:
        if self._cache is not None and program.cache is not None:
            await asyncio.to_thread(self._cache.prepare)

    def shadow_with(self, shadow: Shadow | None) -> None:
        """Let this program decide beside from now on, or none; it acts on nothing."""
        if shadow is not None:
            shadow.beside(self._live.program)
            self._journal.archive(shadow.program.digest, shadow.program.canonical)
        self._shadow = shadow
        self._look()

    @property
    def _shadow_digest(self) -> str | None:
        return None if self._shadow is None else self._shadow.program.digest

    async def _tick(self) -> None:
        ticked_at = 0.0
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(LOOK_S)
            changed = self._breakers.look()
            due = now() - ticked_at >= TICK_S
            if changed or due:
                self._look()
            if due:
                ticked_at = now()
                await self._refresh_spent()
                self._on_tick(self._vitals())

    def _vitals(self) -> Vitals:
        purse, cache = self._purse.figures(), self._cache
        answers, size = (0, 0) if cache is None else cache.memory
        return Vitals(
            waiting=self._journal.counts.waiting,
            requests=self._under_way,
            tasks=len(asyncio.all_tasks()),
            inflight=self._pulse.inflight,
            breakers=_by_target(self._breakers.values()),
            accepting=self._journal.accepting,
            free_bytes=self._journal.free_bytes,
            cached={} if cache is None else asdict(cache.counts),
            cached_answers=answers,
            cached_bytes=size,
            reserved_nano_usd=purse.reserved_nano_usd,
            unused_nano_usd=purse.free_nano_usd,
            bookings=purse.waiting,
        )

    def _look(self) -> None:
        self._table = self._tick_now()
        # At once: a record that refers to it may be written before the ledger was read.
        self._journal.put_pulse(self._table)

    def _tick_now(self) -> PulseTable:
        live = self._live
        unusable = live.unusable
        targets, slots = live.program.targets, live.program.slots
        # A target that only the shadow names needs no key: nothing is sent there.
        states: dict[str, Value] = {
            f"usable({id})": False for id, target in targets.items() if target.provider in unusable
        }
        if self._shadow is not None:
            beside = self._shadow.program
            targets, slots = {**beside.targets, **targets}, {**beside.slots, **slots}
        states |= self._breakers.values(one.id for one in targets.values())
        table = self._latches.over(self._pulse.tick(targets, slots.values(), states))
        if self._shadow is not None:
            self._shadow.tick(table)
        return table

    async def _refresh_spent(self) -> None:
        """Read from the ledger what budgets have used; what is known stays where it cannot be."""
        programs = [self._live.program]
        if self._shadow is not None:
            programs.append(self._shadow.program)
        try:
            for program in programs:
                if program.budgets:
                    await asyncio.to_thread(self._spent.refresh, program, time.time_ns() // 1000)
        except StoreError as error:
            _log.warning("what budgets have used cannot be read: %s", error)

    # --- requests --------------------------------------------------------------------------------

    async def seat(self, tenant: str, patience_s: float) -> Leave | None:
        """A seat for a request among those that a tenant may have under way.

        None: there was none in time. What is returned gives it back and must be called once.
        """
        seats = self.seats_of(tenant)
        if seats is None:
            return nothing
        return await self._seats.take(f"tenant:{tenant}", seats, patience_s)

    def seats_of(self, tenant: str) -> int | None:
        """How many requests a tenant may have under way; None: no number is set."""
        return self._accounts.tenant(self._live.program, tenant).concurrency

    async def draw(self, caller: Caller) -> Draw | None:
        """Take a request of the rates of its caller; None where none hold for it.

        What is returned goes with the request, and must be closed once that is over.
        Raises: RequestError 429 `rate_limit_exceeded`, 503; 403 for a tenant that the policy
        leaves out.
        """
        program = self._live.program
        self._accounts.check(program, caller.tenant)
        limits = self._accounts.rates_of(program, caller)
        if not limits:
            return None
        draw = Draw(self._rates, limits)
        with self._audited(caller):
            await draw.request()
        return draw

    @contextmanager
    def _audited(self, caller: Caller) -> Iterator[None]:
        """Have it in the audit log who was over a rate."""
        try:
            yield
        except RequestError as error:
            self._note_refused(caller, error)
            raise

    def _note_refused(
        self, caller: Caller, error: RequestError, more: Mapping[str, str] | None = None
    ) -> None:
        """Have a refusal in the audit log: of whom (the key), for whom (the tenant), and why."""
        actor = caller.key_id or "anonymous"
        detail: dict[str, str | int | None] = {"code": error.code, **(more or {})}
        detail["reason"] = error.message
        self.audit.note(Event(actor, "request.refuse", caller.tenant, "refused", detail))

    async def _take_tokens(self, request: Request) -> None:
        """Take a request's tokens of the rates of its caller. Raises: RequestError."""
        if request.draw is not None:
            with self._audited(request.caller):
                await request.draw.tokens(request)

    async def generate(
        self, request: Request, fallback: Fallback | None = None
    ) -> Reply | StreamReply:
        """Answer a request for generation, in whatever protocol it came. Raises: RequestError.

        `fallback` stands in place of what the policy says follows the request's route.
        """
        await self._take_tokens(request)
        passage = await self._decide(request, fallback)
        self._recall(passage)
        if request.stream:
            return await self._stream(passage)
        return await self._answer(passage)

    async def embeddings(self, request: Request) -> Reply:
        """Answer an embeddings request. Raises: RequestError."""
        await self._take_tokens(request)
        passage = await self._decide(request)
        self._recall(passage)
        return await self._answer(passage)

    def _recall(self, passage: Passage) -> None:
        """Let a request be answered by what was answered before, where it may be.

        A copy is sent only if somebody is asked.
        """
        journey, cache = passage.journey, self._cache
        if cache is None:
            journey.bypass = journey.bypass or bypass.NO_CACHE
        else:
            program, clause = journey.program, passage.decision.clause
            ttl_us = None
            if journey.bypass is None and program.cache is not None:
                ttl_us = program.cache.ttl_us
            with self._recorded(passage):
                journey.recall = cache.recall(
                    program, clause, journey.request, journey.sets, ttl_us
                )
            if journey.recall is None and journey.bypass is None:
                journey.bypass = bypass.of_client(journey.request)
        if journey.recall is None:
            self._copy(passage)
        else:
            journey.recall.on_miss = partial(self._copy, passage)

    async def count(self, request: Request) -> Reply:
        """Count a prompt's tokens where it would be sent: `{"input_tokens": …}`.

        Where that provider has no such call it is our own count. Raises: RequestError.
        """
        passage = await self._decide(request)
        with self._recorded(passage):
            counted = await self._chain.count(passage.journey)
            known = counted.tokens
            if known is None:
                by = tokenizer_of(counted.target.model)
                known = await asyncio.to_thread(tokens.count, request, by)
        return passage.counted(counted, known)

    def _copy(self, passage: Passage) -> None:
        # Of what nobody may serve no copy is sent either.
        if passage.mirror is not None and self._chain.may_serve(passage.journey):
            self._mirrors.send(passage.journey, passage.mirror, passage.mirrored)

    async def _decide(self, request: Request, fallback: Fallback | None = None) -> Passage:
        live = self._live
        if (why := self._journal.refuses) is not None:
            raise RequestError(
                503,
                "service_unavailable_error",
                why,
                "The gateway cannot record requests at the moment and takes none.",
                retry_after_us=5_000_000,
            )
        requested = self._requested(live, request)
        decision, fetched = await self._decision(live, request, requested)
        if fallback is not None:
            decision = instead(decision, fallback, live.decider)
        shadow = self._shadow
        look = None if shadow is None else shadow.look(decision, self._spent, fallback)
        clause = decision.clause
        if (
            request.operation is Operation.EMBEDDINGS
            and clause is None
            and requested.target is None
        ):
            raise RequestError(
                400,
                "invalid_request_error",
                "model_required",
                f"Embeddings need the name of an embedding model; `{request.model}` is none.",
                param="model",
            )
        passage = self._passage(live, decision, requested, fetched, look)
        if clause is not None and clause.expires is not None:
            self._warn_if_expired(decision, clause)
        if (refusal := _refusal(decision, live)) is not None:
            if refusal.code == "policy_rejected":
                passage.rejected(refusal)
            else:
                passage.refused(refusal)
            raise refusal
        return passage

    def _passage(
        self,
        live: Live,
        decision: Decision,
        requested: Requested,
        fetched: Fetched,
        look: Look | None = None,
    ) -> Passage:
        """A decided request, ready to go; `fetched` are the calls that the decision cost."""
        self._under_way += 1
        seen, clause, found = decision.snapshot, decision.clause, decision.destination
        known = seen.get("tokens")
        sets = NOTHING_SET if clause is None else clause.plan.sets
        journey = Journey(
            request=seen.request,
            program=decision.program,
            providers=live.providers,
            hops=found.hops,
            route=found.route,
            requested=requested.target,
            snapshot=seen,
            prompt_tokens=known if isinstance(known, int) else tokens.bounds(seen.request)[0],
            guards=live.decider.guards,
            till=self._till(seen.request, decision.program, sets),
            limits=found.limits,
            sets=sets,
            bypass=live.decider.withheld(seen, sets),
        )
        return Passage(self, decision, journey, seen.live.id, fetched.attempts, look, fetched.slips)

    def _till(self, request: Request, program: Program, sets: Sets = NOTHING_SET) -> Till:
        """Where a request pays."""
        budgets = self._budgets(program, request.caller)
        return Till(self._purse, request, program, budgets, sets)

    def _requested(self, live: Live, request: Request) -> Requested:
        """What a request asks for. Raises: RequestError."""
        offered = Offered(live, request)
        try:
            return live.names.resolve(request.model, offered.providers)
        except RequestError as error:
            if request.caller.models is None:
                raise
            # What it suggests instead may be what only others may use.
            raise untold(error, request.model) from None

    def _warn_if_expired(self, decision: Decision, clause: Clause) -> None:
        """Say once a day of a rule past its date that it still runs."""
        today = decision.snapshot.today
        if is_expired(clause, today) and self._expired.get(clause.name) != today:
            self._expired[clause.name] = today
            day = format_value(clause.expires or 0, Type.DATE)
            _log.warning("the rule `%s` expired on %s and still runs", clause.name, day)

    async def _observe(self, live: Live, request: Request, requested: Requested) -> Observed:
        request.caller = self._accounts.complete(live.program, request.caller)
        seen = live.decider.observe(request, requested.target, self._table, self._spent)
        offered = Offered(live, request)
        if not offered.is_all:
            offered.mark(seen, request.model, requested.target)
        if live.decider.must_count_first(seen):
            seen["tokens"] = await asyncio.to_thread(tokens.count, request)
        return seen

    async def _decision(
        self, live: Live, request: Request, requested: Requested
    ) -> tuple[Decision, Fetched]:
        """The decision, and the calls that it cost to know what it reads."""
        seen = await self._observe(live, request, requested)
        fetched = Fetched()
        try:
            return live.decider.decide(seen), fetched
        except NotFetched:
            pass

        def decide() -> Decision:
            put(seen, fetched)
            leave_out(seen, live.program)
            return live.decider.decide(seen)

        try:
            till = self._till(request, live.program)
            await live.embedder.fetch(request, till, _kept_from_embedding(live, seen), fetched)
        except asyncio.CancelledError:
            # The client left, but a call was made for it: that is kept, with the decision as it
            # would have been without an answer.
            self._passage(live, decide(), requested, fetched).abandoned()
            raise
        return decide(), fetched

    @contextmanager
    def _recorded(self, passage: Passage) -> Iterator[None]:
        """Record a passage that ends without an answer, for whatever reason."""
        try:
            yield
        except RequestError as error:
            passage.refused(error)
            counter = passage.journey.till.refused_by
            if counter is not None and error.code == "budget_exceeded":
                of = f"{counter.scope} {counter.who}"
                of += f" of {counter.tenant}" if counter.tenant else ""
                caller = passage.journey.request.caller
                self._note_refused(caller, error, {"budget": counter.budget, "of": of})
            raise
        except asyncio.CancelledError:
            passage.abandoned()
            raise
        except BaseException:
            passage.broken()
            raise

    async def _answer(self, passage: Passage) -> Reply:
        with self._recorded(passage):
            answered = await self._chain.answer(passage.journey)
            if isinstance(answered, Recalled):
                return passage.recalled(answered)
            return passage.answered(answered)

    async def _stream(self, passage: Passage) -> StreamReply:
        with self._recorded(passage):
            opened = await self._chain.open(passage.journey)
            if isinstance(opened, Recalled):
                return passage.retold(opened)
            return passage.opened(opened)

    def _budgets(self, program: Program, caller: Caller) -> Sequence[Budget]:
        """The budgets that requests of a caller may count against."""
        return self._accounts.budgets_of(program, caller)

    def finish(self, record: DecisionRecord, slips: Sequence[Slip]) -> None:
        """Hand a finished record to the journal and the metrics."""
        self._under_way -= 1
        self._pulse.record_own(record.took_us - record.waited_us)
        self._journal.put(record, slips)
        self._on_record(record)

    def finish_late(self, late: Late, slips: Sequence[Slip]) -> None:
        """Hand an attempt that outlasted its request to the journal and the metrics."""
        self._journal.put_late(late, slips)
        self._on_late(late)

    def fell_silent(self, attempt: Attempt, error: ProviderError) -> None:
        """Tell the pulse that a stream broke after its first content."""
        self._pulse.record(attempt.target, attempt.took_us, None, None, failed=True)

    def streamed(self, attempt: Attempt) -> None:
        """Tell the pulse of a stream that came to its end."""
        output = attempt.usage.output if attempt.usage is not None else None
        self._pulse.record(attempt.target, attempt.took_us, attempt.ttft_us, output, failed=False)

    # --- looking ---------------------------------------------------------------------------------

    def models(self, asking: Asking) -> list[dict[str, Any]]:
        """What this caller may ask for, as OpenAI lists models."""
        names = Offered(self._live, asking).names()
        return [_model(name, owner) for name, owner in names.items()]

    def model(self, name: str, asking: Asking) -> dict[str, Any]:
        """One model by name, where the caller may use it.

        Raises: RequestError 404 `model_not_found`.
        """
        offered = Offered(self._live, asking)
        if not offered.is_all and not offered.has(name):
            raise not_found(name)
        owner = self._listed().get(name)
        if owner is None:
            requested = self._live.names.resolve(name, offered.providers)
            owner = "turnout" if requested.target is None else requested.target.provider
        return _model(name, owner)

    def _listed(self) -> Mapping[str, str]:
        return self._live.names.listed(self._live.usable)

    async def explain(self, request: Request) -> dict[str, Any]:
        """The decision on a chat body with the value of every sub-expression; calls nobody."""
        live = self._live
        requested = self._requested(live, request)
        seen = await self._observe(live, request, requested)
        # No call is made to explain, and the trail shows every value.
        leave_out(seen, live.program)
        decision = live.decider.decide(seen)
        verdict = traced(decision.program, decision.snapshot)
        clause, found = decision.clause, decision.destination
        sets = NOTHING_SET if clause is None else clause.plan.sets
        why = live.decider.withheld(seen, sets)
        if why is None:
            why = bypass.NO_CACHE if self._cache is None else bypass.of_client(request)
        kept_out = {target: told for target, (told, _) in _barred(live, decision).items()}
        led = replace(found, limits={**kept_out, **found.limits})
        return {
            "rule": None if clause is None else clause.name,
            "route": route_of(decision.program, clause),
            "target": live.decider.target_of(replace(decision, destination=led)),
            "policy": decision.program.digest,
            "trail": verdict.to_json(),
            **explained(found, clause, decision.snapshot.today),
            "kept_out": [{"target": one, "reason": told} for one, told in kept_out.items()],
            "cache": {"may": why is None, "reason": why},
        }

    async def costs(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """What was spent, as `costs.statement` tells it; `asked` is as `costs.ask` takes it.

        Raises: RequestError 400 where it cannot be asked so, 503 if the ledger cannot be read now.
        """
        program = self._live.program
        try:
            question = ask(asked, asked.get("timezone", program.timezone), time.time_ns() // 1000)
            spendings, books = self._spendings, self._books
            if spendings is None:
                raise StoreError("this gateway keeps no ledger")
            budgets = self._accounts.budgets(program)

            def told() -> dict[str, Any]:
                losses = () if books is None else books.losses()
                return statement(question, budgets, spendings, losses)

            # One at a time: it may take a second of a core.
            async with self._adding_up:
                return await asyncio.to_thread(told)
        except Unclear as unclear:
            raise RequestError(
                400,
                "invalid_request_error",
                "invalid_value",
                f"`{unclear.param}`: {unclear.message}.",
                param=unclear.param,
            ) from None
        except StoreError as error:
            raise _unreadable_ledger(error) from None

    async def invalidate(self, which: Invalidation, pattern: str, actor: str) -> int | None:
        """Give these answers to nobody any more; how many were kept, None where nobody counts them.

        `pattern` is what `actor` wrote, for the audit log.
        Raises: RequestError 503 if what is kept cannot be removed now.
        """
        cache = self._cache
        if cache is None:
            return None
        event = Event(actor, "cache.invalidate", pattern, detail={"tenant": which.tenant or "*"})
        if which.before_us is not None:
            event.detail["stored_before"] = told_instant(which.before_us)
        try:
            # One at a time: it may look through all that is kept.
            async with self._walking:
                removed = await asyncio.to_thread(cache.invalidate, which)
        except CacheError as error:
            self.audit.note(replace(event, outcome="failed"))
            raise _unusable_cache(error) from None
        event.detail["removed"] = removed
        self.audit.note(event)
        return removed

    async def shelved(self, tenant: str | None) -> dict[str, Any]:
        """What is kept of a tenant's answers (None: of all), as `cache_terms.document` tells it.

        Raises: RequestError 503 if it cannot be read now.
        """
        if self._cache is None:
            return shelf((), tenant)
        try:
            async with self._walking:
                return shelf(await asyncio.to_thread(self._cache.stats, tenant), tenant)
        except CacheError as error:
            raise _unusable_cache(error) from None

    async def budgets(self, caller: Caller) -> dict[str, Any]:
        """How the budgets are that a caller's requests count against (`standings.told`).

        Raises: RequestError 503 if they cannot be read now.
        """
        program = self._live.program
        budgets = self._budgets(program, caller)
        try:
            if self._books is None:
                raise StoreError("this gateway keeps no counters")
            now_us = time.time_ns() // 1000
            found = await asyncio.to_thread(
                of_caller, self._books, budgets, program.timezone, caller, now_us
            )
        except StoreError as error:
            raise _unreadable_ledger(error) from None
        return {"object": "budgets", "timezone": program.timezone, "budgets": found}

    async def all_budgets(self, tenant: str | None) -> dict[str, Any]:
        """How the budgets of a tenant, its teams and users are; None: all that there are.

        Raises: RequestError 503 if they cannot be read now.
        """
        program = self._live.program
        budgets = self._accounts.budgets(program)
        try:
            if self._books is None or self._spenders is None:
                raise StoreError("this gateway keeps no counters")
            now_us = time.time_ns() // 1000
            # One at a time: it may take a second of a core.
            async with self._adding_up:
                found = await asyncio.to_thread(
                    of_everybody, self._books, self._spenders, budgets, program.timezone, now_us
                )
        except StoreError as error:
            raise _unreadable_ledger(error) from None
        if tenant is not None:
            found = [one for one in found if is_of(one, tenant)]
        return {"object": "budgets", "timezone": program.timezone, "budgets": found}

    def watched(self) -> Watched:
        """All budgets that hold now, of everybody, and the zone that their stretches begin in."""
        program = self._live.program
        budgets = self._accounts.budgets(program)
        named = {str(one.of) for one in budgets if one.scope == "tenant" and one.of is not None}
        tenants = frozenset(program.tenants) | self._accounts.stored | named
        return Watched(program.timezone, budgets, tenants)

    async def trace(
        self,
        request_id: str,
        tenant: str | None,
        team: str | None = None,
        user: str | None = None,
        *,
        of_strangers: bool = False,
    ) -> dict[str, Any]:
        """The trace document of a request of this tenant; None stands for all.

        Of this user's requests, else of this team's, where one is given. `of_strangers`: of those
        requests that came without a key of this gateway, and that it did not pay for.
        Raises: RequestError 404 if there is none, 503 if the journal cannot be read now.
        """
        try:
            record = await self._journal.find(request_id, tenant)
            if record is not None and of_strangers and not _is_a_strangers(record):
                record = None
            if record is not None and _is_of(record, team, user):
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
    def live(self) -> Live:
        """The program in force, with what was made of it."""
        return self._live

    @property
    def digest(self) -> str:
        """The hash of the policy in force."""
        return self._live.program.digest

    @property
    def providers(self) -> Mapping[str, bool]:
        """The providers that the policy needs, and whether each has its credential."""
        return {name: provider.usable for name, provider in self._live.needed.items()}

    @property
    def missing(self) -> Mapping[str, str]:
        """What those of `providers` lack that cannot be called, to be read before `for …`."""
        return self._live.missing

    def archive(self) -> None:
        """Say again which policies decide, so that none of them is taken for an old one."""
        programs = [self._live.program]
        if self._shadow is not None:
            programs.append(self._shadow.program)
        for program in programs:
            self._journal.archive(program.digest, program.canonical)

    @property
    def refuses(self) -> str | None:
        """The code with which all paid work is refused now; None where it is taken."""
        return self._journal.refuses

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
            "journal": {
                "accepting": self._journal.accepting,
                "reason": self._journal.refuses,
                "waiting": self._journal.counts.waiting,
                "lost": self._journal.counts.lost,
            },
            "targets": self._breakers.states(),
            **{name: told() for name, told in self._shown.items()},
        }


def _is_of(record: DecisionRecord, team: str | None, user: str | None) -> bool:
    """Whether a request was of this user, else of this team, where one is given."""
    if user is not None:
        return record.user == user
    return team is None or record.team == team


def _is_a_strangers(record: DecisionRecord) -> bool:
    made = [one for one in record.attempts if one.outcome != "skipped"]
    return record.key_id is None and all(one.payer == "caller" for one in made)


@dataclass(slots=True)
class _Own:
    """A companion of the gateway's own."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]


async def _kept_up(companion: Companion) -> None:
    """Run a companion, anew where it breaks: requests do not depend on it."""
    while True:
        try:
            await companion.run()
        except Exception:
            _log.exception("%s broke and begins anew", companion.name)
        await asyncio.sleep(_PAUSE_S)


def _unreadable_ledger(error: StoreError) -> RequestError:
    _log.error("the ledger cannot be read: %s", error)
    return RequestError(
        503,
        "service_unavailable_error",
        "ledger_unreadable",
        "The gateway cannot read its ledger at the moment.",
        retry_after_us=1_000_000,
    )


def _unusable_cache(error: CacheError) -> RequestError:
    _log.error("the cache cannot be used: %s", error)
    return RequestError(
        503,
        "service_unavailable_error",
        "cache_unavailable",
        "The gateway cannot reach what it keeps of answers at the moment.",
        retry_after_us=1_000_000,
    )


def _by_target(values: Mapping[str, Value]) -> dict[str, str]:
    """The states of breakers among these values of the pulse, by target."""
    return {
        key.removeprefix("breaker(").removesuffix(")"): str(value)
        for key, value in values.items()
        if key.startswith("breaker(")
    }


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}


def _kept_from_embedding(live: Live, seen: Observed) -> str | None:
    """Why the policy's embedding target may not have a request; None where it may."""
    embedding = live.program.embedding
    if embedding is None:
        return None
    target, request = live.program.targets[embedding.target], seen.request
    barred = Offered(live, request).barring_beside(target, request.model, seen.target)
    if barred is not None:
        return barred
    if target.tariff is None:
        return "the price of its target is not known"
    try:
        limit = live.decider.excluding(embedding.target, seen)
    except NotFetched:
        return "a limit on its target asks for what only this call could tell"
    return None if limit is None else f"the limit `{limit}` keeps its target out"


def _refusal(decision: Decision, live: Live) -> RequestError | None:
    """What the client is told where the decision leads to no target at all."""
    found, clause = decision.destination, decision.clause
    if clause is not None and isinstance(clause.plan.route, Reject):
        return _rejection(clause.plan.route)
    if found.hops:
        return None
    if clause is None:
        return RequestError(
            404,
            "invalid_request_error",
            "no_rule_matched",
            "No rule of the policy matches this request, and it has no fallback chain.",
        )
    barred = _barred(live, decision)
    looked_at: list[Excluded] = [
        (one.target, *barred.get(one.target, (one.excluded or "not chosen", None)))
        for one in found.options
    ]
    seen = decision.snapshot
    request, asked = seen.request, seen.target
    is_theirs = asked is None or not Offered(live, request).barring(asked, request.model, asked)
    return nowhere(looked_at, None if is_theirs else request.model)


def _barred(live: Live, decision: Decision) -> dict[str, Barred]:
    """The targets on a request's way that its caller may not be answered by, by their ids."""
    seen, found = decision.snapshot, decision.destination
    request, asked, targets = seen.request, seen.target, decision.program.targets
    offered = Offered(live, request)
    if offered.is_all:
        return {}
    hops = found.hops if found.mirror is None else (*found.hops, found.mirror)
    kept_out: dict[str, Barred] = {}
    names = [*(one.target for one in found.options), *(hop.target for hop in hops)]
    for name in dict.fromkeys(names):
        target = asked if name == REQUESTED else targets.get(name)
        if target is None:
            continue
        barred = offered.barring(target, request.model, asked)
        if barred is not None:
            kept_out[target.id] = barred
    return kept_out


def _rejection(route: Reject) -> RequestError:
    types = {429: "rate_limit_error", 503: "service_unavailable_error"}
    usual = "invalid_request_error" if route.status < 500 else "server_error"
    return RequestError(
        route.status,
        types.get(route.status, usual),
        "policy_rejected",
        route.message,
        retry_after_us=route.retry_after_us,
        # Without a time to come back at, asking again gets the same answer.
        should_retry=None if route.retry_after_us is not None else False,
    )
