"""A provider's key that a caller brought along: where it goes, who pays, what its refusal means."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turnout.adapters.scripted import Scripted, said, spoken
from turnout.engine.counter import Counter
from turnout.engine.gateway import Gateway
from turnout.engine.journal import Journal
from turnout.engine.ledger import entries
from turnout.engine.live import make_live
from turnout.engine.provider import Call, Fault, ProviderError
from turnout.engine.pulse import Pulse
from turnout.engine.purse import Booking, Bottomless, Exceeded, Slip
from turnout.engine.record import DecisionRecord, Late, Vitals
from turnout.engine.request import Caller, OwnKey, Reply, Request
from turnout.engine.state.sqlite import open_store

from .benches import benches, refused
from .test_engine_callers import SIMILAR, vectors
from .test_engine_gateway import Bench

POLICY = """
routing_policy:
  - {name: groq_first, condition: 'meta["how"] == "groq"', route: groq/llama-3-8b, retries: 0}
  - {name: copied, condition: 'meta["how"] == "copied"', route: openai/gpt-4o, retries: 0,
     mirror: {to: openai/gpt-4o-mini, sample: 100%}}
  - {name: local, condition: 'meta["how"] == "local"', route: ollama/qwen, retries: 0}
  - {name: rest, route: openai/gpt-4o, retries: 0}
budgets:
  - {name: own, scope: tenant, of: default, limit: $5/month}
targets:
  ollama/qwen: {price: 0}
fallback_chain:
  - {to: openai/gpt-4o, retries: 0}
  - {to: groq/llama-3-8b, retries: 0}
"""
SECRET = "sk-canary-of-the-caller-0123456789"
OWN = OwnKey("openai", SECRET)
NOT_FOR_IT = "the caller's own key is not for it"


class Empty(Bottomless):
    """A purse of budgets that are used up: it says so of each, and what was asked of it stays."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    async def book(self, counters: Sequence[Counter], nano_usd: int, patience_s: float) -> Booking:
        self.asked.append(nano_usd)
        raise Exceeded(counters[0], 0, False)

    def settle(self, booking: Booking, nano_usd: int) -> Sequence[Slip]:
        raise AssertionError("nothing was booked")


class Ample(Bottomless):
    """A purse that always has enough; what was booked and settled stays to be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.booked: list[int] = []
        self.settled: list[int] = []

    async def book(self, counters: Sequence[Counter], nano_usd: int, patience_s: float) -> Booking:
        self.booked.append(nano_usd)
        return Booking(nano_usd, 0, tuple(counters))

    def settle(self, booking: Booking, nano_usd: int) -> Sequence[Slip]:
        assert booking.open
        booking.open = False
        self.settled.append(nano_usd)
        return [Slip("me", 1, nano_usd)]


class Kept(Journal):
    """A journal that also remembers which slips came with the records."""

    slips: list[Slip]

    def put(self, record: DecisionRecord, slips: Sequence[Slip] = ()) -> None:
        self.slips = [*getattr(self, "slips", []), *slips]
        super().put(record, slips)


class Paying(Bench):
    """A gateway with a purse."""

    def __init__(self, home: Path, policy: str, purse: Any, *providers: Scripted) -> None:
        super().__init__(home / "unused", policy, *providers)
        self.journal = Kept(open_store(home))
        self.late: list[Late] = []
        ticks: list[Vitals] = []
        self.gateway = Gateway(
            make_live(self.program, {provider.name: provider for provider in providers}),
            self.journal,
            Pulse(),
            self.records.append,
            ticks.append,
            self.late.append,
            purse=purse,
        )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    def make(*providers: Scripted, purse: Any = None, policy: str = POLICY) -> Paying:
        return Paying(tmp_path, policy, purse, *providers)

    async with benches(make) as opened:
        yield opened


def own(request: Request, gateway_pays: bool = False) -> Request:
    return replace(request, own=OWN, gateway_pays=gateway_pays)


def home(*steps: Any, usable: bool = False) -> Scripted:
    return Scripted("openai", steps, usable=usable, home="openai")


def echo(call: Call) -> ProviderError:
    return ProviderError(Fault.AUTH, f"Incorrect API key provided: {SECRET}", status=401)


async def test_the_callers_key_is_used_at_its_own_provider_and_no_budget_counts_it(
    bench: Any,
) -> None:
    openai = home(said("hi"), list(spoken("hi")))
    one = await bench(openai, Scripted("groq", []), purse=Empty())
    for stream in (False, True):
        reply = await one.gateway.generate(own(one.request(stream=stream)))
        if not isinstance(reply, Reply):
            async for _ in reply.chunks:
                pass
        (attempt,) = one.records[-1].attempts
        assert (attempt.payer, attempt.outcome, attempt.reserved_nano_usd) == ("caller", "ok", None)
        (row,) = entries(one.records[-1])
        assert (row.payer, row.cost_nano_usd > 0) == ("caller", True)
    assert openai.secrets == [SECRET, SECRET]


async def test_other_hops_are_skipped_for_who_has_no_key_of_this_gateway(bench: Any) -> None:
    groq = Scripted("groq", [], home="groq")
    one = await bench(home(said("hi")), groq)
    reply = await one.gateway.generate(own(one.request(metadata={"how": "groq"})))
    assert reply.headers["x-turnout-model"] == "openai/gpt-4o"
    skipped, answered = one.records[-1].attempts
    assert (skipped.target, skipped.outcome) == ("groq/llama-3-8b", "skipped")
    assert (skipped.reason, answered.payer) == (NOT_FOR_IT, "caller")
    assert groq.calls == []


WATCHED = """
budgets: [{name: team, scope: tenant, of: default, limit: $5/month}]
routing_policy:
  - {name: poor, condition: 'budget("team").used >= $0', route: groq/llama-3-8b, fallback: []}
  - {name: rest, route: openai/gpt-4o, fallback: []}
"""


async def test_what_its_tenant_has_left_is_not_told_to_who_pays_by_itself(bench: Any) -> None:
    one = await bench(home(said("hi")), Scripted("groq", [said("hi")]), policy=WATCHED)
    request = own(one.request())
    reply = await one.gateway.generate(request)
    assert reply.headers["x-turnout-rule"] == "rest"
    told = await one.gateway.trace(request.id, "default", of_strangers=True)
    assert told["values"]["budget(team).used"] is None
    assert told["unknown"]["budget(team).used"] == "the caller pays by itself, out of no budget"
    explained = await one.gateway.explain(own(one.request()))
    assert explained["rule"] == "rest" and "$" not in str(explained["trail"]).replace(">= $0", "")


async def test_of_strangers_traces_are_shown_and_of_their_tenant_no_others(bench: Any) -> None:
    openai = home(*[said("hi")] * 3, usable=True)
    one = await bench(openai, Scripted("groq", [said("hi")]))
    paid, keyed, strangers = one.request(), own(one.request()), own(one.request())
    keyed = replace(keyed, caller=replace(keyed.caller, key_id="key_1"))
    for request in (paid, keyed, strangers):
        await one.gateway.generate(request)
    told = await one.gateway.trace(strangers.id, "default", of_strangers=True)
    assert [hop["payer"] for hop in told["hops"]] == ["caller"]
    for request in (paid, keyed):
        error = await refused(one.gateway.trace(request.id, "default", of_strangers=True))
        assert (error.status, error.code) == (404, "trace_not_found")
    assert await one.gateway.trace(keyed.id, "default")


async def test_a_fallback_of_another_provider_is_not_called_with_anything(bench: Any) -> None:
    groq = Scripted("groq", [])
    one = await bench(home(ProviderError(Fault.SERVER, "down", status=500)), groq)
    error = await refused(one.gateway.generate(own(one.request())))
    assert (error.status, error.message) == (502, "down")
    assert groq.calls == []


async def test_with_a_key_of_this_gateway_beside_it_the_gateway_pays_the_other_hops(
    bench: Any,
) -> None:
    purse = Ample()
    groq = Scripted("groq", [said("hi")])
    openai = home(ProviderError(Fault.SERVER, "down", status=500))
    one = await bench(openai, groq, purse=purse)
    await one.gateway.generate(own(one.request(), gateway_pays=True))
    assert (openai.secrets, groq.secrets) == ([SECRET], [None])
    made = [one for one in one.records[-1].attempts if one.sent]
    assert [attempt.payer for attempt in made] == ["caller", "gateway"]
    assert [row.payer for row in entries(one.records[-1])] == ["caller", "gateway"]
    assert len(purse.booked) == len(purse.settled) == 1


async def test_where_the_key_is_for_no_hop_the_caller_is_told_why(bench: Any) -> None:
    # An address of its own: the key of this provider's kind is not for it.
    openai, groq = Scripted("openai", []), Scripted("groq", [])
    one = await bench(openai, groq)
    error = await refused(one.gateway.generate(own(one.request())))
    assert (error.status, error.code) == (403, "no_target_allowed")
    assert error.message.count(NOT_FOR_IT) == 2
    told = await one.gateway.explain(own(one.request()))
    assert told["target"] is None
    assert [row["reason"] for row in told["kept_out"]] == [NOT_FOR_IT, NOT_FOR_IT]


async def test_a_refused_key_is_the_callers_own_fault_and_touches_nobody_else(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    openai = home(*[echo] * 12, said("hi"), usable=True)
    groq = Scripted("groq", [])
    one = await bench(openai, groq)
    with caplog.at_level(logging.DEBUG):
        for _ in range(12):
            # Not even where the gateway would pay: the caller meant to.
            error = await refused(one.gateway.generate(own(one.request(), gateway_pays=True)))
            assert (error.status, error.type) == (401, "invalid_request_error")
            assert (error.code, error.should_retry) == ("invalid_api_key", False)
            assert "canary" not in error.message
    assert "openai/gpt-4o failed" not in caplog.text
    assert one.records[-1].attempts[0].fault == "own_key"
    assert groq.calls == []
    states = one.gateway.health()["targets"]
    assert states == {}
    # The gateway's own key is fine.
    await one.gateway.generate(one.request())
    assert openai.secrets[-1] is None


@pytest.mark.parametrize(("fault", "code"), [(Fault.RATE_LIMIT, 429), (Fault.QUOTA, 429)])
async def test_the_limits_of_a_callers_account_are_not_the_targets(
    bench: Any, fault: Fault, code: int
) -> None:
    limited = ProviderError(fault, "slow down", status=429, retry_after_us=60_000_000)
    openai = home(limited, said("hi"), usable=True)
    one = await bench(openai, Scripted("groq", []))
    error = await refused(one.gateway.generate(own(one.request())))
    assert error.status == code
    assert "the key that came with the request" in error.message
    assert one.gateway.health()["targets"] == {}
    await one.gateway.generate(one.request())
    assert openai.secrets == [SECRET, None]


async def test_a_stream_that_ends_at_the_callers_limit_says_nothing_of_the_target(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = ProviderError(Fault.RATE_LIMIT, "slow", status=429, retry_after_us=60_000_000)
    openai = home([*spoken("hi")[:2], broken], usable=True)
    one = await bench(openai, Scripted("groq", []))
    reply = await one.gateway.generate(own(one.request(stream=True)))
    async for _ in reply.chunks:
        pass
    (attempt,) = one.records[-1].attempts
    assert (attempt.outcome, attempt.fault, attempt.payer) == ("failed", "rate_limit", "caller")
    assert one.gateway.health()["targets"] == {}
    assert "failed" not in caplog.text


async def test_a_pause_of_the_gateways_account_is_not_the_callers(bench: Any) -> None:
    limited = ProviderError(Fault.RATE_LIMIT, "slow", status=429, retry_after_us=60_000_000)
    openai = home(limited, said("hi"), usable=True)
    one = await bench(openai, Scripted("groq", [said("instead")]))
    await one.gateway.generate(one.request())  # falls back: openai wants to be left alone
    reply = await one.gateway.generate(own(one.request()))
    assert reply.headers["x-turnout-model"] == "openai/gpt-4o"
    assert openai.secrets == [None, SECRET]


async def test_copies_never_go_with_the_callers_key(bench: Any) -> None:
    for gateway_pays in (False, True):
        openai = home(said("hi"), said("copy"), usable=True)
        one = await bench(openai, Scripted("groq", []))
        request = own(one.request(metadata={"how": "copied"}), gateway_pays)
        await one.gateway.generate(request)
        await one.gateway._mirrors.drain(5)
        copies = [late.attempt for late in one.late] or [
            attempt for attempt in one.records[-1].attempts if attempt.kind == "mirror"
        ]
        assert [copy.payer for copy in copies] == ["gateway"]
        if gateway_pays:
            assert sorted(map(str, openai.secrets)) == sorted(["None", SECRET])
        else:
            assert openai.secrets == [SECRET]
            assert copies[0].reason == NOT_FOR_IT


async def test_a_message_is_embedded_for_whom_the_gateway_pays_only(bench: Any) -> None:
    house = Scripted("house", [vectors, vectors], home="house")
    groq = Scripted("groq", [said("a"), said("b")], home="groq")
    one = await bench(house, groq, policy=SIMILAR)
    theirs = OwnKey("groq", SECRET)
    await one.gateway.generate(replace(one.request(), own=theirs, gateway_pays=False))
    assert one.records[-1].reasons["similar_to(code)"] == NOT_FOR_IT
    assert house.calls == []
    await one.gateway.generate(replace(one.request(), own=theirs))
    assert house.secrets == [None, None]
    assert groq.secrets == [SECRET, SECRET]


BUDGETED = SIMILAR + "budgets: [{name: own, scope: tenant, of: default, limit: $5/month}]\n"


async def test_what_an_embedding_may_cost_is_booked_and_settled_with_the_ledgers_row(
    bench: Any,
) -> None:
    purse = Ample()
    house, groq = Scripted("house", [vectors, vectors]), Scripted("groq", [said("a")])
    one = await bench(house, groq, purse=purse, policy=BUDGETED)
    await one.gateway.generate(one.request())
    calls = [attempt for attempt in one.records[-1].attempts if attempt.kind == "embedding"]
    message = [call for call in calls if call.reserved_nano_usd is not None]
    assert (len(calls), len(message)) == (2, 1)  # the examples are nobody's in particular
    assert purse.booked[0] == message[0].reserved_nano_usd >= message[0].cost_nano_usd > 0
    assert purse.settled[0] == message[0].cost_nano_usd
    assert len(one.journal.slips) == len(purse.booked) == 2


async def test_what_no_budget_pays_is_unknown_or_dropped_with_the_reason(bench: Any) -> None:
    house = Scripted("house", [vectors])
    one = await bench(house, Scripted("groq", []), purse=Empty(), policy=BUDGETED)
    error = await refused(one.gateway.generate(one.request()))
    assert (error.status, error.code) == (402, "budget_exceeded")
    told = one.records[-1].reasons["similar_to(code)"]
    assert "`own` has $0 left" in told and "; the budget starts anew on " in told
    one = await bench(home(said("hi"), usable=True), Scripted("groq", []), purse=Empty())
    request = own(one.request(metadata={"how": "copied"}), gateway_pays=True)
    await one.gateway.generate(request)
    await one.gateway._mirrors.drain(5)
    copies = [late.attempt for late in one.late] or [
        attempt for attempt in one.records[-1].attempts if attempt.kind == "mirror"
    ]
    assert [(copy.outcome, copy.fault) for copy in copies] == [("skipped", "budget")]
    assert "left" in str(copies[0].reason)


async def test_free_local_targets_stay_usable_over_budget(bench: Any) -> None:
    purse = Empty()
    local = Scripted("ollama", [said("hi")])
    one = await bench(Scripted("openai", []), Scripted("groq", []), local, purse=purse)
    await one.gateway.generate(one.request(metadata={"how": "local"}))
    assert (len(local.calls), purse.asked) == (1, [])
    error = await refused(one.gateway.generate(one.request()))
    assert (error.status, error.code) == (402, "budget_exceeded")


async def test_a_prompt_is_counted_over_budget_too(bench: Any) -> None:
    one = await bench(Scripted("openai", []), Scripted("groq", []), purse=Empty())
    counted = await one.gateway.count(one.request())
    assert counted.status == 200


async def test_who_brings_a_key_sees_what_it_is_for(bench: Any) -> None:
    one = await bench(home(), Scripted("groq", []))

    def owners(request: Request) -> set[str]:
        return {model["owned_by"] for model in one.gateway.models(request)}

    assert owners(own(one.request())) == {"turnout", "openai"}
    assert owners(own(one.request(), gateway_pays=True)) == {"turnout", "openai", "groq"}
    listed = own(replace(one.request(), caller=Caller(models=("groq/*",))))
    assert owners(listed) == set()


async def test_the_key_stands_in_nothing_that_is_kept_or_shown(
    bench: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        one = await bench(home(said("hi"), echo, list(spoken("hi"))), Scripted("groq", []))
        asked = [own(one.request(stream=number == 2)) for number in range(3)]
        await one.gateway.generate(asked[0])
        error = await refused(one.gateway.generate(asked[1]))
        reply = await one.gateway.generate(asked[2])
        async for _ in reply.chunks:
            pass
        shown = [await one.gateway.trace(request.id, "default") for request in asked]
        shown.append(await one.gateway.explain(asked[0]))
    told = f"{one.records}{shown}{error}{error.headers}{one.gateway.health()}{asked!r}{OWN!r}"
    assert "canary" not in told + caplog.text
    assert [hop["payer"] for hop in shown[0]["hops"]] == ["caller"]
    await one.gateway.close()
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert b"canary" not in file.read_bytes(), file.name
