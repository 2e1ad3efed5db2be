"""The chain: faults and clocks in, attempts and the client's error out. Time is virtual."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from turnout.adapters.scripted import Pause, Scripted, said, spoken
from turnout.dsl.core import REQUESTED, Clocks, Const, Hop, Program
from turnout.dsl.schema import Schema, Target, Tariff, Type
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.source import Source, Span
from turnout.engine.breakers import Breakers
from turnout.engine.chain import Answered, Chain, Journey, Opened
from turnout.engine.clocks import IdleClock
from turnout.engine.provider import FAULTS, Call, Chunk, Fault, Provider, ProviderError
from turnout.engine.pulse import Pulse
from turnout.engine.request import Caller, Operation, Request, RequestError
from turnout.engine.seats import Seats

from .turned import TurnedLoop
from .unpaid import unpaid

T = TypeVar("T")
SPAN = Span(Source("test", "x"), 0, 1)


def turn(work: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """Run on a clock that only moves when everyone waits; also how many seconds it moved."""
    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        result = runner.run(work)
        return result, runner.get_loop().time()


def target(name: str, **known: Any) -> Target:
    provider, _, model = name.partition("/")
    return Target(name, provider, model, Tariff(1_000, 2_000), **known)


def clocks(**written: int) -> Clocks:
    return Clocks(
        connect_us=5_000_000,
        ttft_us=written.get("ttft_us", 30_000_000),
        idle_us=written.get("idle_us", 120_000_000),
        timeout_us=written.get("timeout_us", 30_000_000),
        written_timeout="timeout_us" in written,
        written_ttft="ttft_us" in written,
    )


def hop(name: str, retries: int = 0, catch: frozenset[str] | None = None, **written: int) -> Hop:
    return Hop(name, clocks(**written), retries, catch, None, SPAN)


def request(stream: bool = False, **body: Any) -> Request:
    return Request(
        id="req_test",
        operation=Operation.CHAT,
        body=body,
        raw=b"{}",
        model="gpt-4",
        stream=stream,
        caller=Caller(),
        headers={},
        received_us=0,
        started_ns=0,
    )


def journey(
    *hops: Hop,
    targets: Mapping[str, Target] | None = None,
    deadline_us: int = 600_000_000,
    requested: Target | None = None,
    prompt_tokens: int = 10,
    **body: Any,
) -> Journey:
    named = {h.target: target(h.target) for h in hops if h.target != REQUESTED}
    program = Program(
        clauses=(),
        chain=(),
        requested=hop(REQUESTED),
        deadline_us=deadline_us,
        timezone="UTC",
        slots={},
        targets=named | dict(targets or {}),
        models={},
        providers={},
        token_cuts=(),
        schema=Schema({}, None, {}, ()),  # type: ignore[arg-type]
        canonical="",
    )
    asked = request(**body)
    return Journey(
        request=asked,
        program=program,
        hops=hops,
        route=hops[0],
        requested=requested,
        snapshot=Snapshot({"has_images": False}),
        prompt_tokens=prompt_tokens,
        guards={},
        till=unpaid(asked, program),
    )


def chain(*providers: Scripted) -> "Over":
    return Over({p.name: p for p in providers})


class Over(Chain):
    """A chain whose journeys go over these providers."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        breakers: Breakers | None = None,
        seats: Seats | None = None,
    ) -> None:
        super().__init__(Pulse(), breakers or Breakers(), seats)
        self._over = providers

    async def answer(self, journey: Journey) -> Answered:
        journey.providers = self._over
        answered = await super().answer(journey)
        assert isinstance(answered, Answered)
        return answered

    async def open(self, journey: Journey) -> Opened:
        journey.providers = self._over
        opened = await super().open(journey)
        assert isinstance(opened, Opened)
        return opened


def told(trip: Journey, *providers: Scripted) -> tuple[RequestError, float]:
    async def go() -> RequestError:
        with pytest.raises(RequestError) as caught:
            await chain(*providers).answer(trip)
        return caught.value

    return turn(go())


def outcomes(trip: Journey) -> list[tuple[str, str, str | None]]:
    return [(a.target, a.outcome, a.fault) for a in trip.attempts]


@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.BREAKER_OPEN])
def test_the_table_of_faults_decides_retry_and_next_hop(fault: Fault) -> None:
    first = Scripted("a", [ProviderError(fault, "no"), ProviderError(fault, "no")])
    second = Scripted("b", [said("yes")])
    trip = journey(hop("a/m", retries=1), hop("b/m"))
    treatment = FAULTS[fault]

    async def go() -> str:
        try:
            return (await chain(first, second).answer(trip)).target.id
        except RequestError as error:
            return f"{error.status} {error.code}"

    result, _ = turn(go())
    tries = 2 if treatment.retry else 1
    if treatment.next_hop:
        assert result == "b/m"
        assert outcomes(trip) == [("a/m", "failed", fault.value)] * tries + [("b/m", "ok", None)]
    else:
        assert result == f"{treatment.status} {treatment.code}"
        assert outcomes(trip)[:tries] == [("a/m", "failed", fault.value)] * tries
        assert outcomes(trip)[-1] == ("b/m", "skipped", None)


def test_a_hop_that_hangs_is_left_at_its_timeout_and_not_tried_again() -> None:
    trip = journey(hop("a/m", retries=3, timeout_us=2_000_000), hop("b/m"))
    first, second = Scripted("a", [Pause()]), Scripted("b", [said("late but here")])

    answered, seconds = turn(chain(first, second).answer(trip))

    assert answered.target.id == "b/m"
    assert seconds == pytest.approx(2.0)
    assert outcomes(trip) == [("a/m", "failed", "timeout"), ("b/m", "ok", None)]


def test_the_default_timeout_does_not_cut_the_last_hop() -> None:
    trip = journey(hop("a/m"))
    answered, seconds = turn(
        chain(Scripted("a", [[Pause(120_000_000), said("long")]])).answer(trip)
    )
    assert answered.answer.text == "long"
    assert seconds == pytest.approx(120)


def test_a_written_timeout_cuts_the_last_hop_too() -> None:
    error, seconds = told(journey(hop("a/m", timeout_us=10_000_000)), Scripted("a", [Pause()]))
    assert (error.status, error.code) == (504, "upstream_timeout")
    assert seconds == pytest.approx(10)


def test_the_deadline_is_over_all_hops() -> None:
    trip = journey(hop("a/m"), hop("b/m"), hop("c/m"), deadline_us=40_000_000)
    error, seconds = told(trip, *(Scripted(name, [Pause()]) for name in "abc"))
    assert error.status == 504
    assert seconds == pytest.approx(40)
    assert outcomes(trip) == [("a/m", "failed", "timeout"), ("b/m", "failed", "timeout")]


def test_the_servers_retry_after_is_waited_for() -> None:
    slow_down = ProviderError(Fault.RATE_LIMIT, "slow down", status=429, retry_after_us=1_500_000)
    trip = journey(hop("a/m", retries=1), hop("b/m"))
    answered, seconds = turn(
        chain(Scripted("a", [slow_down, said("thanks")]), Scripted("b", [])).answer(trip)
    )
    assert answered.target.id == "a/m"
    assert seconds == pytest.approx(1.5)


@pytest.mark.parametrize("backoff_us", [250_000, 1_000_000, 20_000_000])
def test_waits_before_retries_begin_within_the_hops_own_backoff(backoff_us: int) -> None:
    down = [ProviderError(Fault.SERVER, "down") for _ in range(3)]
    longest = 0.0
    for _ in range(20):
        trip = journey(replace(hop("a/m", retries=3), backoff_us=backoff_us))
        _, seconds = turn(chain(Scripted("a", [*down, said("at last")])).answer(trip))
        # Full jitter: each wait is anything up to its bound, which doubles up to the longest.
        bounds = [min(backoff_us / 1e6 * 2**n, max(8.0, backoff_us / 1e6)) for n in range(3)]
        assert seconds <= sum(bounds)
        longest = max(longest, seconds)
    assert longest > backoff_us / 1e6 / 4


def test_a_long_retry_after_means_the_next_hop_while_one_is_left() -> None:
    busy = ProviderError(Fault.RATE_LIMIT, "slow down", status=429, retry_after_us=20_000_000)
    trip = journey(hop("a/m", retries=1), hop("b/m"))
    answered, seconds = turn(
        chain(Scripted("a", [busy]), Scripted("b", [said("here")])).answer(trip)
    )
    assert answered.target.id == "b/m"
    assert seconds < 0.1


def test_without_another_hop_a_long_retry_after_is_waited_for_within_the_deadline() -> None:
    busy = ProviderError(Fault.RATE_LIMIT, "slow down", status=429, retry_after_us=20_000_000)
    answered, seconds = turn(
        chain(Scripted("a", [busy, said("at last")])).answer(journey(hop("a/m", retries=1)))
    )
    assert answered.answer.text == "at last"
    assert seconds == pytest.approx(20)


def test_retries_are_counted_and_back_off() -> None:
    down = [ProviderError(Fault.SERVER, "down", status=500) for _ in range(4)]
    error, seconds = told(journey(hop("a/m", retries=3)), provider := Scripted("a", down))
    assert error.status == 502
    assert len(provider.calls) == 4
    assert 0 < seconds < 0.25 + 0.5 + 1.0 + 0.1


def test_the_most_telling_fault_is_told_with_all_that_was_tried() -> None:
    trip = journey(hop("a/m"), hop("b/m"), hop("c/m"))
    error, _ = told(
        trip,
        Scripted("a", [ProviderError(Fault.CONNECT, "refused")]),
        Scripted("b", [ProviderError(Fault.RATE_LIMIT, "slow down", status=429)]),
        Scripted("c", [ProviderError(Fault.SERVER, "down", status=500)]),
    )
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert "a/m: connect; b/m: rate_limit; c/m: 5xx" in error.message


CATCH = [
    # the route's catch, the entry's catch, the fault, whether the entry is entered
    (None, None, Fault.CONTENT_FILTER, False),
    (frozenset({"content_filter"}), None, Fault.CONTENT_FILTER, True),
    (None, frozenset({"content_filter"}), Fault.CONTENT_FILTER, True),
    (None, frozenset({"timeout"}), Fault.SERVER, False),
    (None, frozenset({"5xx"}), Fault.SERVER, True),
    (frozenset({"timeout"}), None, Fault.SERVER, False),
]


@pytest.mark.parametrize(("left", "entered", "fault", "goes"), CATCH)
def test_catch_says_when_a_route_is_left_and_an_entry_entered(
    left: frozenset[str] | None, entered: frozenset[str] | None, fault: Fault, goes: bool
) -> None:
    trip = journey(hop("a/m", catch=left), hop("b/m", catch=entered))
    first = Scripted("a", [ProviderError(fault, "no")])
    second = Scripted("b", [said("yes")])

    async def go() -> bool:
        try:
            await chain(first, second).answer(trip)
        except RequestError:
            return False
        return True

    assert turn(go())[0] is goes
    assert trip.attempts[-1].outcome == ("ok" if goes else "skipped")


def test_a_target_is_never_tried_twice_by_the_chain() -> None:
    trip = journey(hop("a/m"), hop("a/m"), hop("b/m"))
    turn(
        chain(
            Scripted("a", [ProviderError(Fault.CONNECT, "refused")]), Scripted("b", [said("yes")])
        ).answer(trip)
    )
    assert [(a.target, a.outcome, a.reason) for a in trip.attempts] == [
        ("a/m", "failed", "refused"),
        ("a/m", "skipped", "already in the chain"),
        ("b/m", "ok", None),
    ]


def test_each_attempt_that_fails_is_told_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    trip = journey(hop("a/m"), hop("b/m"))
    refused = ProviderError(Fault.AUTH, "the provider refused the gateway's credential", status=401)
    turn(chain(Scripted("a", [refused]), Scripted("b", [said("yes")])).answer(trip))
    (told,) = [r.getMessage() for r in caplog.records if r.name == "turnout.attempts"]
    assert told == f"{trip.request.id}: a/m failed: auth, status 401, {refused.message}"


def test_the_reason_of_a_skip_is_what_its_provider_lacks() -> None:
    class Placeless(Scripted):
        missing = "no `AWS_REGION`"

    trip = journey(hop("a/m"), hop("b/m"))
    turn(chain(Placeless("a", [], usable=False), Scripted("b", [said("yes")])).answer(trip))
    assert trip.attempts[0].reason == "no `AWS_REGION` for `a`"


def test_a_hop_without_a_credential_is_skipped_and_named() -> None:
    trip = journey(hop("a/m"), hop("b/m"))
    turn(chain(Scripted("a", [], usable=False), Scripted("b", [said("yes")])).answer(trip))
    assert (trip.attempts[0].outcome, trip.attempts[0].reason) == (
        "skipped",
        "no credential for `a`",
    )


def test_a_hop_whose_window_is_too_small_is_skipped_and_alone_refused() -> None:
    small = {"a/m": target("a/m", context_window=5)}
    trip = journey(hop("a/m"), hop("b/m"), targets=small)
    answered, _ = turn(chain(Scripted("a", []), Scripted("b", [said("yes")])).answer(trip))
    assert answered.target.id == "b/m"

    error, _ = told(journey(hop("a/m"), targets=small), Scripted("a", []))
    assert (error.status, error.code) == (400, "context_length_exceeded")


def test_requested_goes_where_the_client_asked() -> None:
    trip = journey(hop(REQUESTED), requested=target("a/big"))
    answered, _ = turn(chain(provider := Scripted("a", [said("yes")])).answer(trip))
    assert answered.target.id == "a/big"
    assert provider.calls[0].upstream_model == "big"


def test_a_when_that_is_not_true_keeps_its_hop_out() -> None:
    entry = replace(hop("b/m"), when=Const(None, Type.BOOL))
    trip = journey(hop("a/m"), entry, hop("c/m"))
    trip.guards = {id(entry): lambda snapshot: None}
    answered, _ = turn(
        chain(
            Scripted("a", [ProviderError(Fault.CONNECT, "refused")]),
            Scripted("b", []),
            Scripted("c", [said("yes")]),
        ).answer(trip)
    )
    assert answered.target.id == "c/m"
    assert trip.attempts[1].reason == "its `when` is not true"


# --- streams -------------------------------------------------------------------------------------


def test_a_stream_that_fails_before_content_is_answered_by_the_next_hop() -> None:
    role = spoken("x")[0]
    first = Scripted("a", [[role, ProviderError(Fault.BAD_OUTPUT, "cut")]])
    second = Scripted("b", [spoken("hel", "lo")])
    trip = journey(hop("a/m"), hop("b/m"), stream=True)

    async def go() -> list[str]:
        opened = await chain(first, second).open(trip)
        texts = [c.text for c in opened.held]
        texts += [c.text async for c in opened.rest]
        return texts

    texts, _ = turn(go())
    assert "".join(texts) == "hello"
    assert first.closed == 1


def test_a_first_token_that_does_not_come_is_a_ttft_timeout() -> None:
    first = Scripted("a", [[spoken("x")[0], Pause()]])
    second = Scripted("b", [spoken("hi")])
    trip = journey(hop("a/m", ttft_us=1_000_000), hop("b/m"), stream=True)
    opened, seconds = turn(chain(first, second).open(trip))
    assert opened.target.id == "b/m"
    assert seconds == pytest.approx(1.0)
    assert trip.attempts[0].fault == "ttft_timeout"
    assert first.closed == 1


def test_a_stream_without_content_is_no_answer() -> None:
    silent = [spoken("x")[0]]
    error, _ = told_stream(journey(hop("a/m"), stream=True), Scripted("a", [silent]))
    assert (error.status, error.code) == (502, "bad_gateway")


def told_stream(trip: Journey, *providers: Scripted) -> tuple[RequestError, float]:
    async def go() -> RequestError:
        with pytest.raises(RequestError) as caught:
            await chain(*providers).open(trip)
        return caught.value

    return turn(go())


@pytest.mark.parametrize("stream", [True, False])
def test_a_defect_in_an_adapter_still_tells_that_the_request_was_sent(stream: bool) -> None:
    def breaks(call: Call) -> Any:
        call.sent = True
        raise KeyError("a defect")

    trip = journey(hop("a/m"), hop("b/m"), stream=stream)
    runner = chain(Scripted("a", [breaks]), Scripted("b", [said("unused")]))

    async def go() -> None:
        with pytest.raises(KeyError):
            await (runner.open(trip) if stream else runner.answer(trip))

    turn(go())
    assert [(a.sent, a.outcome, a.reason) for a in trip.attempts] == [
        (True, "failed", "the gateway failed")
    ]


def test_what_comes_before_the_first_content_is_bounded_in_bytes_too() -> None:
    pad = Chunk(b"data: " + b"x" * 1_000_000 + b"\n\n", False)
    error, _ = told_stream(
        journey(hop("a/m"), stream=True), Scripted("a", [[*[pad] * 20, *spoken("late")]])
    )
    assert (error.status, error.code) == (502, "bad_gateway")


def test_a_second_cancellation_while_a_stream_closes_loses_nothing() -> None:
    closing = asyncio.Event()

    class SlowToClose(Scripted):
        async def stream(self, call: Call) -> Any:
            try:
                async for chunk in super().stream(call):
                    yield chunk
            finally:
                closing.set()
                await asyncio.sleep(1)

    trip = journey(hop("a/m"), stream=True)

    async def go() -> None:
        opening = asyncio.ensure_future(chain(SlowToClose("a", [[Pause()]])).open(trip))
        await asyncio.sleep(0.1)
        opening.cancel()
        await closing.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    turn(go())
    assert [(a.sent, a.reason) for a in trip.attempts] == [(True, "the client left")]


@pytest.mark.parametrize("read_s", [0.0, 3.0])
def test_the_deadline_ends_a_stream_that_never_pauses(read_s: float) -> None:
    script = [*spoken("a")[:2], *[Pause(500_000), Chunk(b"x", True, "x")] * 100]
    seen, seconds = idle_story(script, 60_000_000, lambda: read_s, deadline_us=6_000_000)
    assert seen[-1] == "timeout"
    assert 6.0 <= seconds <= 6.0 + read_s


def idle_story(
    script: list[Any],
    idle_us: int,
    read: Callable[[], float],
    deadline_us: int = 600_000_000,
) -> tuple[list[str], float]:
    async def go() -> list[str]:
        provider = Scripted("a", [script])
        trip = journey(hop("a/m"), stream=True, deadline_us=deadline_us)
        opened = await chain(provider).open(trip)
        clock = IdleClock(idle_us, opened.ends_at)
        seen: list[str] = []
        try:
            while True:
                chunk: Chunk = await clock.next(opened.rest)
                seen.append(chunk.text)
                await asyncio.sleep(read())
        except StopAsyncIteration:
            seen.append("end")
        except ProviderError as error:
            seen.append(error.fault.value)
        finally:
            clock.stop()
            await opened.rest.aclose()
        # The task must be usable after the clock struck.
        await asyncio.sleep(0)
        return seen

    return turn(go())


def test_a_gap_between_chunks_longer_than_idle_ends_the_stream() -> None:
    role, first, second, *_ = spoken("a", "b")
    seen, seconds = idle_story(
        [role, first, Pause(900_000), second, Pause()], 1_000_000, lambda: 0.0
    )
    assert seen == ["b", "timeout"]
    assert seconds == pytest.approx(1.9)


def test_a_slow_reader_is_not_an_idle_upstream() -> None:
    role, first, *rest = spoken("a", "b", "c")
    seen, _ = idle_story([role, first, *rest], 1_000_000, lambda: 5.0)
    assert seen[-1] == "end"


def test_a_client_that_leaves_is_not_a_fault_of_the_target() -> None:
    trip = journey(hop("a/m"))
    provider = Scripted("a", [Pause()])

    async def go() -> None:
        task = asyncio.create_task(chain(provider).answer(trip))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    turn(go())
    assert (trip.attempts[0].fault, trip.attempts[0].reason) == (None, "the client left")
    assert trip.attempts[0].sent


ABLE = [
    # abilities of the first target, what the request has, why the target is left out
    ({"tools": False}, "has_tools", "it cannot use tools"),
    ({"vision": False}, "has_images", "it cannot see images"),
    ({"audio": False}, "has_audio", "it cannot hear audio"),
    ({"json": False}, "has_schema", "it cannot be held to JSON"),
    ({"tools": False}, "has_images", None),
    ({"vision": True}, "has_images", None),
    ({}, "has_tools", None),
    ({"embeddings": False}, "has_tools", None),
]


@pytest.mark.parametrize(("abilities", "has", "reason"), ABLE)
def test_a_target_that_is_known_to_lack_an_ability_is_left_out(
    abilities: dict[str, bool], has: str, reason: str | None
) -> None:
    able = {"a/m": target("a/m", abilities=abilities)}
    trip = journey(hop("a/m"), hop("b/m"), targets=able)
    trip.snapshot[has] = True
    answered, _ = turn(chain(Scripted("a", [said("a")]), Scripted("b", [said("b")])).answer(trip))
    assert answered.target.id == ("a/m" if reason is None else "b/m")
    assert trip.attempts[0].reason == reason


def test_a_target_that_makes_no_embeddings_is_not_asked_for_them() -> None:
    trip = journey(hop("a/m"), targets={"a/m": target("a/m", abilities={"embeddings": False})})
    trip.request.operation = Operation.EMBEDDINGS
    error, _ = told(trip, Scripted("a", []))
    assert (error.status, error.code) == (400, "unsupported_parameter")


def test_a_request_that_no_target_is_able_to_serve_is_refused_by_name() -> None:
    blind = {"a/m": target("a/m", abilities={"vision": False})}
    trip = journey(hop("a/m"), targets=blind)
    trip.snapshot["has_images"] = True
    error, _ = told(trip, Scripted("a", []))
    assert (error.status, error.code) == (400, "unsupported_parameter")
    assert "a/m: it cannot see images" in error.message


def test_requested_is_skipped_where_the_client_left_the_choice() -> None:
    trip = journey(hop(REQUESTED), hop("b/m"))
    answered, _ = turn(chain(Scripted("b", [said("b")])).answer(trip))
    assert answered.target.id == "b/m"
    assert trip.attempts[0].reason == "the client left the choice to the policy"


def test_embeddings_never_go_to_another_model() -> None:
    same, other = target("b/m"), target("c/other")
    trip = journey(hop("a/m"), hop("b/m"), hop("c/other"), targets={"b/m": same, "c/other": other})
    trip.request.operation = Operation.EMBEDDINGS
    down = ProviderError(Fault.CONNECT, "refused")
    error, _ = told(trip, Scripted("a", [down]), Scripted("b", [down]), Scripted("c", []))
    assert error.status == 502
    assert [(a.target, a.reason) for a in trip.attempts] == [
        ("a/m", "refused"),
        ("b/m", "refused"),
        ("c/other", "another model's vectors are useless"),
    ]


def test_a_target_that_refuses_sampling_is_told_to_the_adapter() -> None:
    reasons = {"a/m": target("a/m", abilities={"sampling": False})}
    provider = Scripted("a", [said("a")])
    turn(chain(provider).answer(journey(hop("a/m"), targets=reasons)))
    assert provider.calls[0].refused == {"temperature", "top_p"}


def test_empty_chunks_without_end_are_no_answer() -> None:
    nothing = Chunk(b"data: {}\n\n", False)
    error, _ = told_stream(journey(hop("a/m"), stream=True), Scripted("a", [[nothing] * 1000]))
    assert (error.status, error.code) == (502, "bad_gateway")


def test_a_client_that_leaves_before_content_closes_the_stream() -> None:
    trip = journey(hop("a/m"), stream=True)
    provider = Scripted("a", [[spoken("x")[0], Pause()]])

    async def go() -> None:
        task = asyncio.create_task(chain(provider).open(trip))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    turn(go())
    assert provider.closed == 1
    assert (trip.attempts[0].fault, trip.attempts[0].reason) == (None, "the client left")


def test_a_provider_that_turns_a_request_away_says_so_with_its_own_status() -> None:
    cases = [(400, 400), (404, 404), (422, 400), (413, 413), (418, 400)]
    for upstream, shown in cases:
        no = ProviderError(Fault.BAD_REQUEST, "no", status=upstream, code="x", param="stop")
        error, _ = told(journey(hop("a/m")), Scripted("a", [no]))
        assert (error.status, error.code, error.param) == (shown, "x", "stop")


def test_a_stream_waits_for_retry_like_a_whole_answer() -> None:
    busy = ProviderError(Fault.OVERLOADED, "busy", status=503, retry_after_us=1_000_000)
    trip = journey(hop("a/m", retries=1), stream=True)
    opened, seconds = turn(chain(Scripted("a", [[busy], spoken("hi")])).open(trip))
    assert opened.attempt.number == 2
    assert seconds == pytest.approx(1.0)


@pytest.mark.parametrize("policy", [False, True])
@pytest.mark.parametrize("own", [None, False, True])
def test_a_call_is_as_strict_as_its_target_says_or_else_the_policy(
    policy: bool, own: bool | None
) -> None:
    trip = journey(hop("a/m"), targets={"a/m": target("a/m", strict=own)})
    trip.program = replace(trip.program, strict=policy)
    provider = Scripted("a", [said("yes")])
    turn(chain(provider).answer(trip))
    assert provider.calls[0].strict is (policy if own is None else own)
