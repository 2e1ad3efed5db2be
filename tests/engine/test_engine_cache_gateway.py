"""A gateway that gives answers again: to whom, when, and what becomes of everything else."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from turnout.adapters.scripted import Pause, Scripted, said, spoken
from turnout.dsl.check import compile_policy
from turnout.dsl.source import Source
from turnout.engine.cache import Cache, Recall
from turnout.engine.catalog import language_schema
from turnout.engine.counter import Counter
from turnout.engine.draw import Draw
from turnout.engine.gateway import Gateway
from turnout.engine.journal import Journal
from turnout.engine.live import make_live
from turnout.engine.provider import Answer, Call, Fault, ProviderError
from turnout.engine.pulse import Pulse
from turnout.engine.purse import Booking, Bottomless, Exceeded
from turnout.engine.rates import Rate, Taken, Unrated
from turnout.engine.record import DecisionRecord
from turnout.engine.request import (
    Caller,
    Operation,
    OwnKey,
    Reply,
    Request,
    StreamReply,
    Usage,
)
from turnout.engine.seats import Boundless, Leave
from turnout.engine.state.sqlite import open_store
from turnout.protocols.forms import FORMS

from .benches import benches, refused, request_of
from .recalled import Numbers, Shelf

SCHEMA = language_schema()
CACHED = "cache: {ttl: 1h}\n"
RULES = """
routing_policy:
  - {name: all, route: groq/llama-3-8b, retries: 0}
fallback_chain:
  - {to: openai/gpt-4, retries: 0}
"""
POLICY = RULES + CACHED
USAGE = Usage(1000, 200)
DOWN = ProviderError(Fault.SERVER, "down", status=500)


class Spent(Bottomless):
    """A purse whose budgets are used up once it `is_empty`."""

    is_empty = False

    async def book(self, counters: Sequence[Counter], nano_usd: int, patience_s: float) -> Booking:
        if self.is_empty:
            raise Exceeded(counters[0], 0, False)
        return Booking(nano_usd, 0, tuple(counters))


class Full(Boundless):
    """Places of which none is free once they `are_taken`."""

    are_taken = False

    async def take(self, name: str, seats: int, patience_s: float) -> Leave | None:
        return None if self.are_taken else await super().take(name, seats, patience_s)


class Bench:
    """A gateway with a cache, and what it recorded."""

    def __init__(self, home: Path, policy: str, shelf: Shelf | None, *providers: Scripted) -> None:
        self.records: list[DecisionRecord] = []
        self.late: list[Any] = []
        self.purse, self.seats = Spent(), Full()
        self.numbers = Numbers() if shelf is None else shelf.numbers
        store = None if shelf is None else shelf.of("a")
        self.cache = Cache(store, self.numbers, FORMS)
        self._providers: dict[str, Any] = {provider.name: provider for provider in providers}
        self.gateway = Gateway(
            self.live(policy),
            Journal(open_store(home)),
            Pulse(),
            self.records.append,
            lambda _: None,
            self.late.append,
            seats=self.seats,
            purse=self.purse,
            cache=self.cache,
        )

    def live(self, policy: str) -> Any:
        return make_live(compile_policy(Source("test", policy), SCHEMA), self._providers)

    def request(
        self,
        text: str = "hello",
        *,
        caller: Caller | None = None,
        headers: Mapping[str, str] | None = None,
        operation: Operation = Operation.CHAT,
        **body: Any,
    ) -> Request:
        if operation is Operation.CHAT:
            body = {"messages": [{"role": "user", "content": text}], "temperature": 0} | body
        number = f"req_{len(self.records)}"
        return request_of(body, caller, id=number, headers=headers, operation=operation)

    async def ask(self, request: Request | None = None, **more: Any) -> str:
        """What `x-turnout-cache` says of an answer, which is read to its end."""
        request = request or self.request(**more)
        if request.operation is Operation.EMBEDDINGS:
            reply: Reply | StreamReply = await self.gateway.embeddings(request)
        else:
            reply = await self.gateway.generate(request)
        if isinstance(reply, StreamReply):
            async for _ in reply.chunks:
                pass
        return reply.headers["x-turnout-cache"]

    @property
    def is_clean(self) -> bool:
        return self.cache.flights == 0 and self.cache._heard_bytes == 0


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose tables are there already: making them takes longer than most tests."""
    home = tmp_path_factory.mktemp("home")
    open_store(home).close()
    return home


@pytest.fixture
async def bench(tmp_path: Path, migrated: Path) -> AsyncIterator[Callable[..., Any]]:
    shutil.copytree(migrated, tmp_path, dirs_exist_ok=True)

    def make(*providers: Scripted, policy: str = POLICY, shelf: Shelf | None = None) -> Bench:
        return Bench(tmp_path, policy, shelf, *providers)

    async with benches(make) as opened:
        yield opened


# --- a hit ---------------------------------------------------------------------------------------


async def test_a_hit_costs_nothing_and_says_what_was_saved(bench: Any) -> None:
    groq = Scripted("groq", [said("hello", usage=USAGE)])
    one = await bench(groq)
    first = await one.gateway.generate(one.request())
    again = await one.gateway.generate(one.request())
    assert again.body == first.body
    assert first.headers["x-turnout-cache"] == "MISS" and "age" not in first.headers
    told = {name: again.headers[name] for name in ("x-turnout-cache", "x-turnout-cost", "age")}
    assert told == {"x-turnout-cache": "HIT", "x-turnout-cost": "0", "age": "0"}
    assert again.headers["x-turnout-attempts"] == "0"
    assert again.headers["x-turnout-model"] == "groq/llama-3-8b"
    made, given = one.records
    assert (made.cache, made.served, made.saved_nano_usd) == ("MISS", None, 0)
    assert (given.cache, given.served) == ("HIT", USAGE)
    assert given.saved_nano_usd == made.cost_nano_usd > 0
    assert given.cost_nano_usd == 0
    (attempt,) = given.attempts
    assert (attempt.outcome, attempt.sent, attempt.usage) == ("cached", False, None)
    assert len(groq.calls) == 1 and one.is_clean


async def test_a_hit_says_how_old_its_answer_is(bench: Any, monkeypatch: Any) -> None:
    one = await bench(Scripted("groq", [said("hello")]))
    for _ in range(3):
        await one.ask()
    (kept,) = (answer.answer for answer in one.cache._memory.values())
    ages = {0: "0 s", 90: "90 s", 150: "2 min", 9_000: "2 h"}
    told = []
    for age_s in ages:
        later = replace(kept, stored_us=kept.stored_us - age_s * 1_000_000)
        monkeypatch.setattr(Recall, "find", found(later))
        await one.ask()
        told.append(one.records[-1].attempts[0].reason)
    assert told == [f"given before, {age} ago" for age in ages.values()]
    monkeypatch.setattr(Recall, "find", found(replace(kept, stored_us=2**62)))
    await one.ask()
    assert one.records[-1].attempts[0].reason == "made for another meanwhile"


def found(answer: Any) -> Any:
    async def find(recall: Recall, *_: Any, **__: Any) -> Any:
        recall.result = "HIT"
        return answer

    return find


ONLY_LITTLE = RULES + "cache: {only: max_tokens < 100, never: max_tokens < 30}\n"
NO_STORE = {"x-turnout-cache": "no-store"}
WHY = [
    (POLICY, {}, {"temperature": 1}, "no explicit temperature 0"),
    (RULES, {}, {}, "the policy has no `cache:`"),
    (POLICY, NO_STORE, {}, "the client said `no-store`"),
    (POLICY, {"cache-control": "no-store"}, {}, "the client said `no-store`"),
    (ONLY_LITTLE, {}, {"max_tokens": 200}, "`only` is not true"),
    (ONLY_LITTLE, {}, {"max_tokens": 20}, "`never` is true"),
    (POLICY, {}, {"store": True}, "`store` has its provider keep the answer"),
    (POLICY, {}, {"tools": [{"type": "web_search"}]}, "one of `tools` is run by its provider"),
    (POLICY, {}, {"plugins": [1]}, "`plugins` has its provider use what it keeps or looks up"),
]


@pytest.mark.parametrize(("policy", "headers", "body", "why"), WHY, ids=range(len(WHY)))
async def test_a_record_and_an_explanation_say_why_no_answer_may_be_given_again(
    bench: Any, policy: str, headers: dict[str, str], body: dict[str, Any], why: str
) -> None:
    one = await bench(Scripted("groq", [said("hello")]), policy=policy)
    assert await one.ask(headers=headers, **body) == "BYPASS"
    assert one.records[-1].cache_reason == why
    told = await one.gateway.explain(one.request(headers=headers, **body))
    assert told["cache"] == {"may": False, "reason": why}


async def test_a_body_that_says_a_thing_twice_is_told_as_the_reason(bench: Any) -> None:
    one = await bench(Scripted("groq", [said("hello")]))
    assert await one.ask(replace(one.request(), raw=b'{"seed":1,"seed":2}')) == "BYPASS"
    assert one.records[-1].cache_reason == "its body can be read in more than one way"


async def test_what_may_be_given_again_has_no_reason_why_not(bench: Any) -> None:
    one = await bench(Scripted("groq", [said("hello")]))
    told = await one.gateway.explain(one.request())
    assert told["cache"] == {"may": True, "reason": None}
    assert [await one.ask() for _ in range(2)] == ["MISS", "HIT"]
    assert [record.cache_reason for record in one.records] == [None, None]


async def test_whole_and_streamed_answers_are_given_for_each_other(bench: Any) -> None:
    one = await bench(Scripted("groq", [said("hello"), spoken("go", "od", "bye")]))
    assert await one.ask(text="a") == "MISS"
    assert await one.ask(text="b", stream=True) == "MISS"
    streamed = await one.gateway.generate(one.request("a", stream=True))
    events = [event async for event in streamed.chunks]
    assert streamed.headers["x-turnout-cache"] == "HIT"
    assert streamed.headers["x-turnout-cost"] == "0"
    chunks = [orjson.loads(event.removeprefix(b"data: ")) for event in events]
    texts = [choice["delta"].get("content") for one in chunks for choice in one["choices"]]
    assert "".join(filter(None, texts)) == "hello"
    whole = await one.gateway.generate(one.request("b"))
    assert orjson.loads(whole.body)["choices"][0]["message"]["content"] == "goodbye"
    assert [record.cache for record in one.records] == ["MISS", "MISS", "HIT", "HIT"]
    assert one.is_clean


async def test_an_answer_whose_provider_does_not_say_that_it_ended_is_not_kept(bench: Any) -> None:
    # Its adapter writes a reason all the same, which clients need.
    groq = Scripted("groq", [replace(said(text), finish_reason=None) for text in "ab"])
    one = await bench(groq)
    assert [await one.ask() for _ in range(2)] == ["MISS", "MISS"]
    assert len(groq.calls) == 2 and one.is_clean


async def test_a_hit_is_recorded_once_whether_its_stream_is_read_or_not(bench: Any) -> None:
    one = await bench(Scripted("groq", [said("hello")]))
    await one.ask()
    reply = await one.gateway.generate(one.request(stream=True))
    assert len(one.records) == 2
    await reply.chunks.aclose()
    assert len(one.records) == 2 and one.is_clean


async def test_a_burst_of_one_prompt_is_one_call(bench: Any) -> None:
    groq = Scripted("groq", [[Pause(20_000), said("hello", usage=USAGE)]])
    one = await bench(groq)
    results = await asyncio.gather(*(one.ask(stream=number % 2 == 1) for number in range(60)))
    assert sorted(results) == ["HIT"] * 59 + ["MISS"]
    assert len(groq.calls) == 1
    assert sum(record.cost_nano_usd > 0 for record in one.records) == 1
    assert one.is_clean


async def test_embeddings_are_given_again(bench: Any) -> None:
    body = orjson.dumps({"object": "list", "data": [{"index": 0, "embedding": [0.5]}]})
    openai = Scripted("openai", [Answer(body, Usage(3, 0), "", None, None)])
    one = await bench(Scripted("groq", []), openai)
    asked = {"model": "text-embedding-3-small", "input": "a", "operation": Operation.EMBEDDINGS}
    assert [await one.ask(**asked) for _ in range(2)] == ["MISS", "HIT"]
    # What asks for a stream is answered as what it is.
    assert await one.ask(**asked, stream=True) == "HIT"
    assert len(openai.calls) == 1


# --- which requests ------------------------------------------------------------------------------

WHICH = [
    # the section, what the client says, and what comes of it
    ("{ttl: 1h}", {}, "MISS"),
    ("{ttl: 1h}", {"temperature": 0.0}, "MISS"),
    ("{ttl: 1h}", {"temperature": -0.0}, "MISS"),
    ("{ttl: 1h}", {"temperature": None}, "BYPASS"),
    ("{ttl: 1h}", {"temperature": 0.1}, "BYPASS"),
    ("{ttl: 1h}", {"temperature": False}, "BYPASS"),
    ("{ttl: 1h}", {"temperature": "0"}, "BYPASS"),
    ("{ttl: 1h}", {"store": True}, "BYPASS"),
    ("{only: 'temperature <= 0.5'}", {"temperature": 0.5}, "MISS"),
    ("{only: 'temperature <= 0.5'}", {"temperature": None}, "BYPASS"),  # unknown
    ("{only: 'n == 1'}", {"temperature": 1}, "MISS"),
    ("{only: 'n == 1'}", {"n": 2}, "BYPASS"),
    ('{only: \'meta["keep"] == "yes"\'}', {}, "BYPASS"),  # unknown
    ('{only: \'meta["keep"] == "yes"\'}', {"metadata": {"keep": "yes"}}, "MISS"),
    ('{only: \'meta["keep"] != "no"\'}', {}, "BYPASS"),  # unknown
    ("{never: has_tools}".replace("has_tools", "'has_tools == true'"), {}, "MISS"),
    ("{never: 'has_tools == true'}", {"tools": [{"type": "function"}]}, "BYPASS"),
    ("{never: 'n == 1', only: 'n == 1'}", {}, "BYPASS"),
    # where it is unknown whether it is one of these, it is none
    ('{never: \'meta["secret"] == "yes"\'}', {}, "MISS"),
    ('{never: \'meta["secret"] == "yes"\'}', {"metadata": {"secret": "yes"}}, "BYPASS"),
    ("{never: 'known(user) == true'}".replace("known(user) == true", 'user == "u"'), {}, "MISS"),
    ("{only: 'tokens < 100'}", {"temperature": 1}, "MISS"),
    ("{only: 'tokens > 100'}", {}, "BYPASS"),
]


@pytest.mark.parametrize(("section", "body", "expected"), WHICH, ids=range(len(WHICH)))
async def test_the_policy_says_which_answers_may_be_given_again(
    bench: Any, section: str, body: dict[str, Any], expected: str
) -> None:
    groq = Scripted("groq", [said("one"), said("two")])
    one = await bench(groq, policy=f"{RULES}cache: {section}\n")
    again = {"MISS": "HIT", "BYPASS": "BYPASS"}[expected]
    assert [await one.ask(**body) for _ in range(2)] == [expected, again]
    assert one.is_clean


async def test_without_the_section_nothing_is_given_again(bench: Any) -> None:
    groq = Scripted("groq", [said("one"), said("two")])
    one = await bench(groq, policy=RULES)
    assert [await one.ask() for _ in range(2)] == ["BYPASS"] * 2
    assert one.cache.memory == (0, 0)


async def test_a_temperature_that_the_policy_writes_counts(bench: Any) -> None:
    rules = RULES.replace("retries: 0}", "retries: 0, set: {temperature: 0}}", 1)
    one = await bench(Scripted("groq", [said("one")]), policy=rules + CACHED)
    assert [await one.ask(temperature=None) for _ in range(2)] == ["MISS", "HIT"]


SIMILAR = """
lists: {code: [fix my code]}
embed: {target: house/embed, timeout: 300ms}
providers: {house: {kind: openai, base_url: "http://127.0.0.1:1/v1"}}
targets: {house/embed: {price: {input: $1/Mtok, output: 0}, context_window: 8k}}
"""


@pytest.mark.parametrize("word", ["only", "never"])
async def test_what_no_rule_fetched_keeps_an_answer_from_being_kept(bench: Any, word: str) -> None:
    house = Scripted("house", [])
    groq = Scripted("groq", [said("one"), said("two")])
    section = f"cache: {{{word}: 'similar_to(\"code\") > 0.8'}}\n"
    one = await bench(groq, house, policy=RULES + SIMILAR + section)
    assert [await one.ask() for _ in range(2)] == ["BYPASS"] * 2
    assert house.calls == []


@pytest.mark.parametrize(("word", "expected"), [("only", "HIT"), ("never", "BYPASS")])
async def test_what_a_rule_fetched_counts(bench: Any, word: str, expected: str) -> None:
    def vectors(call: Call) -> Answer:
        rows = [{"index": at, "embedding": [1.0]} for at in range(len(call.request.body["input"]))]
        return Answer(orjson.dumps({"data": rows}), Usage(4, 0), "", None, None)

    house = Scripted("house", [vectors] * 3)
    groq = Scripted("groq", [said("one"), said("two")])
    rules = RULES.replace("route: groq", "condition: 'similar_to(\"code\") > 0.1', route: groq", 1)
    section = f"cache: {{{word}: 'similar_to(\"code\") > 0.8'}}\n"
    one = await bench(groq, house, policy=rules + SIMILAR + section)
    await one.ask()
    reply = await one.gateway.generate(one.request())
    assert reply.headers["x-turnout-cache"] == expected
    # What the decision itself cost is no part of the answer that is given again.
    assert reply.headers["x-turnout-cost"] != "0"
    assert one.records[1].attempts[0].kind == "embedding"


# --- what the client says ------------------------------------------------------------------------


async def test_a_client_may_do_without(bench: Any) -> None:
    groq = Scripted("groq", [said("one"), said("two"), said("three")])
    one = await bench(groq)
    await one.ask()
    assert await one.ask(headers={"x-turnout-cache": "no-store"}) == "BYPASS"
    assert await one.ask(headers={"cache-control": "no-cache"}) == "MISS"
    reply = await one.gateway.generate(one.request())
    assert b"three" in reply.body


@pytest.mark.parametrize("policy", [POLICY, RULES])
async def test_only_if_cached_asks_nobody_and_is_recorded(bench: Any, policy: str) -> None:
    one = await bench(Scripted("groq", []), policy=policy)
    asked = one.request(headers={"cache-control": "only-if-cached"})
    error = await refused(one.gateway.generate(asked))
    assert (error.status, error.code) == (504, "not_cached")
    assert one.records[0].error == "not_cached" and one.records[0].attempts == []
    assert one.is_clean


async def test_an_unknown_word_is_refused_and_recorded(bench: Any) -> None:
    one = await bench(Scripted("groq", []), policy=RULES)
    asked = one.request(headers={"x-turnout-cache": "please"})
    error = await refused(one.gateway.generate(asked))
    assert (error.status, error.param) == (400, "x-turnout-cache")
    assert len(one.records) == 1


# --- to whom -------------------------------------------------------------------------------------


async def test_tenants_never_share(bench: Any) -> None:
    groq = Scripted("groq", [said("of a"), said("of b"), said("of both")])
    one = await bench(groq)
    for tenant in ("a", "b", "a,b"):
        assert await one.ask(caller=Caller(tenant=tenant)) == "MISS"
    for tenant, text in (("a", b"of a"), ("b", b"of b"), ("a,b", b"of both")):
        reply = await one.gateway.generate(one.request(caller=Caller(tenant=tenant)))
        assert reply.headers["x-turnout-cache"] == "HIT" and text in reply.body


async def test_own_keys_never_share_with_anybody(bench: Any) -> None:
    def answering(call: Call) -> Answer:
        return said(f"to {openai.secrets[-1]}")

    openai = Scripted("openai", [answering] * 4, home="openai")
    one = await bench(openai, policy=POLICY.replace("groq/llama-3-8b", "openai/gpt-4o"))
    mine, theirs = OwnKey("openai", "sk-mine"), OwnKey("openai", "sk-theirs")
    for own in (mine, theirs, None):
        for expected in ("MISS", "HIT"):
            request = replace(one.request(), own=own, gateway_pays=own is None)
            reply = await one.gateway.generate(request)
            assert reply.headers["x-turnout-cache"] == expected
            assert f"to {own and own.secret}".encode() in reply.body
    assert one.records[1].attempts[0].payer == "caller"
    assert openai.secrets == ["sk-mine", "sk-theirs", None]


async def test_who_may_not_use_a_model_does_not_get_its_answers(bench: Any) -> None:
    groq, openai = Scripted("groq", [said("secret")]), Scripted("openai", [said("other")])
    one = await bench(groq, openai)
    await one.ask()
    limited = Caller(models=("openai/*", "auto"))
    reply = await one.gateway.generate(one.request(caller=limited))
    assert b"secret" not in reply.body
    assert reply.headers["x-turnout-model"] == "openai/gpt-4"
    barred = Caller(models=("anthropic/*",))
    error = await refused(one.gateway.generate(one.request(caller=barred)))
    assert error.status == 403


async def test_a_limit_that_keeps_a_target_out_keeps_its_answers_out(bench: Any) -> None:
    groq, openai = Scripted("groq", [said("old")]), Scripted("openai", [said("allowed")])
    one = await bench(groq, openai)
    await one.ask()
    limits = 'require:\n  - {name: no_groq, target: provider == "openai"}\n'
    await one.gateway.switch(one.live(POLICY + limits))
    reply = await one.gateway.generate(one.request())
    assert (reply.headers["x-turnout-cache"], b"allowed" in reply.body) == ("MISS", True)


# --- what else holds for a target ----------------------------------------------------------------


async def test_a_hit_is_given_where_no_budget_is_left(bench: Any) -> None:
    budget = "budgets: [{name: own, scope: tenant, limit: $5/month}]\n"
    one = await bench(Scripted("groq", [said("hello")]), policy=POLICY + budget)
    await one.ask()
    one.purse.is_empty = True
    assert await one.ask() == "HIT"
    error = await refused(one.gateway.generate(one.request("other")))
    assert error.status == 402
    assert one.is_clean


async def test_a_hit_is_given_where_the_breaker_is_open(bench: Any) -> None:
    groq = Scripted("groq", [said("hello"), DOWN])
    rules = RULES.split("fallback_chain")[0]
    policy = rules + "breakers: {failures: 1, cool_down: 60s}\n" + CACHED
    one = await bench(groq, policy=policy)
    await one.ask()
    await refused(one.gateway.generate(one.request("other")))
    error = await refused(one.gateway.generate(one.request("third")))
    assert (error.status, len(groq.calls)) == (503, 2)
    assert await one.ask() == "HIT"
    assert one.is_clean


async def test_a_hit_takes_no_place_of_its_target(bench: Any) -> None:
    targets = "targets: {groq/llama-3-8b: {concurrency: 1}}\n"
    one = await bench(Scripted("groq", [said("hello")]), policy=POLICY + targets)
    await one.ask()
    one.seats.are_taken = True
    assert await one.ask() == "HIT"


class Counted(Unrated):
    """Rates that remember what was used of them."""

    def __init__(self) -> None:
        self.used: list[tuple[str, int]] = []

    def correct(self, taken: Taken, units: int) -> None:
        self.used.append((taken.rate.unit, units))


async def test_a_hit_uses_a_request_of_the_rates_and_no_token(bench: Any) -> None:
    one = await bench(Scripted("groq", [said("hello", usage=USAGE)]))
    for expected in (1200, 0):
        rates = Counted()
        draw = Draw(rates, [Rate("key:a", "requests", 9), Rate("key:a", "tokens", 9_999)])
        await draw.request()
        await one.ask(replace(one.request(), draw=draw))
        draw.close()
        assert rates.used == [("requests", 1), ("tokens", expected)]


async def test_the_answer_of_a_fallback_is_kept_as_its_own(bench: Any) -> None:
    groq = Scripted("groq", [DOWN, DOWN, said("back")])
    openai = Scripted("openai", [said("instead", usage=USAGE)])
    one = await bench(groq, openai)
    assert [await one.ask() for _ in range(3)] == ["MISS", "HIT", "MISS"]
    second = one.records[1]
    assert [attempt.outcome for attempt in second.attempts] == ["failed", "cached"]
    assert second.target == "openai/gpt-4" and second.served == USAGE
    assert await one.ask() == "HIT"
    assert one.records[3].target == "groq/llama-3-8b"
    assert one.is_clean


async def test_who_waits_for_a_target_that_fails_is_answered_by_the_next(bench: Any) -> None:
    # Where one has failed all ask by themselves; at the next target one does again.
    groq = Scripted("groq", [[Pause(20_000), DOWN]] * 5)
    openai = Scripted("openai", [[Pause(50_000), said("instead")]])
    one = await bench(groq, openai)
    results = await asyncio.gather(*(one.ask() for _ in range(5)))
    assert results.count("MISS") + results.count("HIT") == 5
    assert len(openai.calls) == 1
    assert one.is_clean


async def test_a_request_that_waits_keeps_half_of_its_time_to_ask_by_itself(bench: Any) -> None:
    groq = Scripted("groq", [Pause(), [Pause(200_000), said("by itself")]])
    one = await bench(groq, policy="deadline: 1s\n" + POLICY.split("fallback_chain")[0] + CACHED)
    stuck = asyncio.create_task(one.ask())
    while not groq.calls:
        await asyncio.sleep(0)
    reply = await one.gateway.generate(one.request())
    assert (reply.headers["x-turnout-cache"], b"by itself" in reply.body) == ("MISS", True)
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)
    assert one.is_clean


# --- copies, shadows, other programs -------------------------------------------------------------

MIRRORED = """
routing_policy:
  - {name: all, route: groq/llama-3-8b, retries: 0, mirror: {to: openai/gpt-4o, sample: 100%}}
"""


async def test_a_copy_is_sent_where_somebody_is_asked_and_only_there(bench: Any) -> None:
    openai = Scripted("openai", [said("copy"), said("copy")])
    one = await bench(Scripted("groq", [said("a"), said("b")]), openai, policy=MIRRORED + CACHED)
    assert [await one.ask() for _ in range(3)] == ["MISS", "HIT", "HIT"]
    await one.gateway._mirrors.drain(5)
    assert len(openai.calls) == 1
    assert await one.ask(headers={"x-turnout-cache": "no-store"}) == "BYPASS"
    await one.gateway._mirrors.drain(5)
    assert len(openai.calls) == 2


async def test_the_answer_to_a_copy_is_given_to_nobody(bench: Any) -> None:
    openai = Scripted("openai", [said("copy"), said("answer")])
    one = await bench(Scripted("groq", [said("a")]), openai, policy=MIRRORED + CACHED)
    await one.ask()
    await one.gateway._mirrors.drain(5)
    await one.gateway.switch(one.live(POLICY.replace("groq/llama-3-8b", "openai/gpt-4o")))
    reply = await one.gateway.generate(one.request())
    assert (reply.headers["x-turnout-cache"], b"answer" in reply.body) == ("MISS", True)


async def test_a_policy_that_comes_while_an_answer_is_made_goes_by_its_own_words(
    bench: Any,
) -> None:
    groq = Scripted("groq", [[Pause(30_000), said("hello")], said("new")])
    one = await bench(groq)
    making = asyncio.create_task(one.ask())
    while not groq.calls:
        await asyncio.sleep(0)
    await one.gateway.switch(one.live(POLICY.replace("name: all", "name: renamed")))
    waiting = asyncio.create_task(one.ask())
    assert (await making, await waiting) == ("MISS", "HIT")
    assert [record.rule for record in one.records] == ["all", "renamed"]
    await one.gateway.switch(one.live(RULES))
    assert await one.ask() == "BYPASS"
    assert one.is_clean


async def test_a_rule_that_writes_otherwise_has_answers_of_its_own(bench: Any) -> None:
    one = await bench(Scripted("groq", [said("a"), said("b")]))
    await one.ask()
    rules = RULES.replace("retries: 0}", "retries: 0, set: {max_tokens: 5}}", 1)
    await one.gateway.switch(one.live(rules + CACHED))
    assert [await one.ask() for _ in range(2)] == ["MISS", "HIT"]


# --- what is never kept --------------------------------------------------------------------------

CUT = ProviderError(Fault.CONNECT, "the connection broke")


def ended(reason: str) -> Answer:
    answer = said("so far")
    body = orjson.loads(answer.body)
    body["choices"][0]["finish_reason"] = reason
    return replace_answer(answer, orjson.dumps(body))


def replace_answer(answer: Answer, body: bytes) -> Answer:
    return Answer(body, answer.usage, answer.text, answer.finish_reason, answer.upstream_model)


def cut_short(reason: str) -> list[Any]:
    chunks: list[Any] = spoken("so far")
    chunks[-2].data = chunks[-2].data.replace(b'"stop"', b'"%b"' % reason.encode())
    return chunks


# What the target does, whether as a stream, and how far the client reads (None: to the end).
ENDS: list[tuple[str, Any, bool, int | None]] = [
    ("fails", DOWN, False, None),
    ("is cut by length", ended("length"), False, None),
    ("is filtered", ended("content_filter"), False, None),
    ("says something new", ended("gave_up"), False, None),
    ("is no JSON", replace_answer(said("a"), b"{"), False, None),
    ("fails before its stream", DOWN, True, None),
    ("breaks at once", [*spoken("a")[:1], CUT], True, None),
    ("breaks after its content", [*spoken("a")[:2], CUT], True, None),
    ("breaks after its end", [*spoken("a")[:3], CUT], True, None),
    ("streams to its length", cut_short("length"), True, None),
    ("streams to its filter", cut_short("content_filter"), True, None),
    ("streams no JSON", [replace(spoken("a")[1], data=b"data: {\n\n"), *spoken("a")], True, None),
    ("is left before it is read", spoken("a", "b"), True, 0),
    ("is left after an event", spoken("a", "b"), True, 1),
    ("is left before its end", spoken("a", "b"), True, 4),
]


@pytest.mark.parametrize(
    ("step", "stream", "events"), [one[1:] for one in ENDS], ids=[one[0] for one in ENDS]
)
async def test_what_is_no_whole_answer_is_given_to_nobody(
    bench: Any, step: Any, stream: bool, events: int | None
) -> None:
    shelf = Shelf(Numbers())
    groq = Scripted("groq", [step, said("whole")])
    one = await bench(groq, policy=POLICY.split("fallback_chain")[0] + CACHED, shelf=shelf)
    try:
        reply = await one.gateway.generate(one.request(stream=stream))
    except Exception:
        pass
    else:
        if isinstance(reply, StreamReply):
            read = 0
            while read != events and await anext(reply.chunks, None) is not None:
                read += 1
            await reply.chunks.aclose()
    assert one.is_clean
    assert one.cache.memory == (0, 0)
    reply = await one.gateway.generate(one.request())
    assert (reply.headers["x-turnout-cache"], b"whole" in reply.body) == ("MISS", True)
    await asyncio.to_thread(one.cache.close)
    assert len(shelf.kept) == 1 and shelf.claims == {}
    assert len(one.records) == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_while_it_waits_lets_the_next_one_ask(
    bench: Any, stream: bool
) -> None:
    step = spoken("hello") if stream else said("hello")
    groq = Scripted("groq", [Pause(), step])
    one = await bench(groq)
    leaving = asyncio.create_task(one.ask(stream=stream))
    while not groq.calls:
        await asyncio.sleep(0)
    others = [asyncio.create_task(one.ask(stream=stream)) for _ in range(5)]
    await asyncio.sleep(0)
    leaving.cancel()
    results = await asyncio.gather(*others)
    assert sorted(results) == ["HIT"] * 4 + ["MISS"]
    assert len(groq.calls) == 2
    assert one.is_clean


async def test_a_defect_while_an_answer_is_made_leaves_nothing_behind(bench: Any) -> None:
    def broken(call: Call) -> Answer:
        raise ZeroDivisionError("a defect")

    one = await bench(Scripted("groq", [broken, said("hello")]))
    with pytest.raises(ZeroDivisionError):
        await one.ask()
    assert one.is_clean
    assert await one.ask() == "MISS"


async def test_a_defect_while_an_answer_is_told_is_recorded_and_leaves_nothing(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await bench(Scripted("groq", [said("hello"), said("again")]))
    with monkeypatch.context() as broken:
        broken.setattr("turnout.engine.passage.format_usd", None)
        with pytest.raises(TypeError):
            await one.ask()
    assert [record.status for record in one.records] == [500]
    assert one.is_clean
