"""What `similar_to` costs and comes to, over a provider that answers in process."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import orjson
import pytest

from turnout.dsl.check import compile_policy
from turnout.dsl.core import Embedding, Program, Slot
from turnout.dsl.schema import Target, Tariff
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.source import Source
from turnout.engine.attributes import BY_NAME
from turnout.engine.catalog import language_schema
from turnout.engine.embedding import Embedder, Fetched, leave_out, put
from turnout.engine.provider import Answer, Call, Chunk, Fault, ProviderError
from turnout.engine.record import EMBEDDING_HOP
from turnout.engine.request import Caller, Operation, OwnKey, Request, Usage

from .unpaid import unpaid

BARE = compile_policy(
    Source("test", "routing_policy:\n  - {name: all, route: openai/gpt-4}\n"), language_schema()
)
KEY = "similar_to(code)"
TARGET = Target("local/embed", "local", "embed", Tariff(1_000_000_000, 0))
VECTORS = {"fix my code": [1.0, 0.0], "a poem": [0.0, 2.0], "both": [3.0, 4.0], "away": [-1.0, 0.0]}


def program(timeout_us: int = 200_000, examples: tuple[str, ...] = ("fix my code",)) -> Program:
    keys = {f"similar_to({name})": name for name in ("code", "poems")}
    return replace(
        BARE,
        slots={key: Slot(key, BY_NAME["similar_to"], name) for key, name in keys.items()},
        lists={"code": examples, "poems": ("a poem",)},
        embedding=Embedding("local/embed", timeout_us),
        targets={"local/embed": TARGET},
    )


class Answering:
    """A provider whose vectors are known; what was asked stays to be looked at."""

    name = "local"

    def __init__(self, usable: bool = True) -> None:
        self.usable = usable
        self.missing = None if usable else "no credential"
        self.asked: list[list[str]] = []
        self.fault: Fault | None = None
        self.wait: Callable[[], Awaitable[Any]] | None = None
        self.answer_with: Callable[[list[str]], Any] = lambda texts: [VECTORS[t] for t in texts]

    async def models(self, patience_us: int) -> list[str] | None:
        return None

    def owned(self, key: OwnKey) -> None:
        return None

    @property
    def place(self) -> str:
        return self.name

    async def probe(self, patience_us: int) -> bool:
        return False

    async def count(self, call: Call) -> int | None:
        return None

    async def answer(self, call: Call) -> Answer:
        texts = call.request.body["input"]
        assert orjson.loads(call.request.raw) == call.request.body
        call.sent = True
        self.asked.append(texts)
        if self.wait is not None:
            await self.wait()
        if self.fault is not None:
            raise ProviderError(self.fault, "no", status=500)
        rows = [{"index": i, "embedding": v} for i, v in enumerate(self.answer_with(texts))]
        usage = Usage(10 * len(texts), 0)
        return Answer(orjson.dumps({"data": rows}), usage, "", None, None)

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        raise AssertionError("an embedding is asked for whole")


def request(text: str = "fix my code", id: str = "req_1") -> Request:
    body = {"messages": [{"role": "user", "content": text}]}
    return Request(id, Operation.CHAT, body, b"", "auto", False, Caller(), {}, 0, 0)


async def fetch(
    embedder: Embedder,
    request: Request,
    excluded: str | None = None,
    into: Fetched | None = None,
) -> Fetched:
    return await embedder.fetch(request, unpaid(request, BARE), excluded, into)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


@pytest.fixture
def provider() -> Answering:
    return Answering()


def test_the_score_is_that_of_the_closest_example(provider: Answering) -> None:
    async def work() -> Fetched:
        embedder = Embedder(program(examples=("a poem", "fix my code")), {"local": provider})
        return await fetch(embedder, request("both"))

    fetched = run(work())
    assert fetched.scores == {KEY: 8_000, "similar_to(poems)": 8_000}
    assert fetched.reasons == {}


def test_what_points_away_is_not_similar_at_all(provider: Answering) -> None:
    fetched = run(fetch(Embedder(program(), {"local": provider}), request("away")))
    assert fetched.scores[KEY] == 0


def test_the_examples_are_embedded_once_however_many_ask_at_once(provider: Answering) -> None:
    async def work() -> list[Fetched]:
        embedder = Embedder(program(), {"local": provider})
        first = await asyncio.gather(*(fetch(embedder, request(id=f"req_{n}")) for n in range(5)))
        return [*first, await fetch(embedder, request(id="req_6"))]

    results = run(work())
    assert provider.asked.count(["fix my code", "a poem"]) == 1
    assert len(provider.asked) == 7
    assert all(result.scores[KEY] == 10_000 for result in results)


def test_every_call_is_an_attempt_that_is_booked_once_with_its_price(provider: Answering) -> None:
    async def work() -> list[Fetched]:
        embedder = Embedder(program(), {"local": provider})
        return [await fetch(embedder, request(id=f"req_{number}")) for number in range(3)]

    first, *later = run(work())
    assert [(a.hop, a.number, a.kind, a.outcome, a.sent) for a in first.attempts] == [
        (EMBEDDING_HOP, 1, "embedding", "ok", True),
        (EMBEDDING_HOP, 2, "embedding", "ok", True),
    ]
    assert sorted(a.cost_nano_usd for a in first.attempts) == [10_000, 20_000]
    assert [[a.cost_nano_usd for a in one.attempts] for one in later] == [[10_000], [10_000]]


def test_a_late_call_is_unknown_and_may_have_cost_its_worst(provider: Answering) -> None:
    provider.wait = asyncio.Event().wait

    async def work() -> Fetched:
        embedder = Embedder(program(timeout_us=20_000), {"local": provider})
        fetched = await fetch(embedder, request())
        await embedder.close()
        return fetched

    fetched = run(work())
    assert fetched.scores == {}
    assert set(fetched.reasons.values()) == {"the embedding did not come in time"}
    (attempt,) = fetched.attempts
    assert (attempt.outcome, attempt.fault, attempt.sent) == ("failed", "timeout", True)
    assert attempt.unconfirmed_nano_usd > 0


def test_a_failed_call_is_unknown_with_its_fault(provider: Answering) -> None:
    async def work() -> Fetched:
        embedder = Embedder(program(), {"local": provider})
        await fetch(embedder, request())
        provider.fault = Fault.SERVER
        return await fetch(embedder, request())

    fetched = run(work())
    assert fetched.reasons[KEY] == "the embedding failed: 5xx"
    assert [attempt.fault for attempt in fetched.attempts] == ["5xx"]


def test_examples_that_cannot_be_had_are_not_asked_for_by_every_request(
    provider: Answering, caplog: pytest.LogCaptureFixture
) -> None:
    provider.fault = Fault.SERVER
    now_ns = 0

    async def work() -> tuple[Fetched, Fetched]:
        nonlocal now_ns
        embedder = Embedder(program(), {"local": provider}, lambda: now_ns)
        await fetch(embedder, request())
        await asyncio.sleep(0)
        asked = len(provider.asked)
        paused = await fetch(embedder, request())
        assert len(provider.asked) == asked
        now_ns, provider.fault = 5_000_000_000, None
        return paused, await fetch(embedder, request())

    paused, healed = run(work())
    assert caplog.messages == ["the examples of `similar_to` could not be embedded: 5xx"]
    assert paused.reasons[KEY] == "the examples could not be embedded"
    assert healed.scores[KEY] == 10_000


@pytest.mark.parametrize(
    "vectors",
    [[], [[0.0, 0.0]], [["x"]], [None], [[1.0], [2.0]], "junk", [[1e308, 1e308]]],
    ids=str,
)
def test_vectors_that_make_no_sense_are_unknown(provider: Answering, vectors: Any) -> None:
    async def work() -> Fetched:
        embedder = Embedder(program(), {"local": provider})
        await fetch(embedder, request())
        provider.answer_with = lambda texts: vectors
        return await fetch(embedder, request())

    assert run(work()).reasons[KEY] == "the embedding failed: bad_output"


NOT_CALLED = [
    ({"excluded": "limit `eu` keeps it out"}, "limit `eu` keeps it out"),
    ({"usable": False}, "no credential for `local`"),
    ({"text": ""}, "there is no text of a user"),
    ({"embedding": None}, "the policy names no embedding target"),
]


@pytest.mark.parametrize(("how", "reason"), NOT_CALLED)
def test_where_no_call_may_be_made_none_is(how: dict[str, Any], reason: str) -> None:
    provider = Answering(how.get("usable", True))
    asked = program()
    if "embedding" in how:
        asked = replace(asked, embedding=None)
    embedder = Embedder(asked, {"local": provider})
    fetched = run(fetch(embedder, request(how.get("text", "both")), how.get("excluded")))
    assert fetched.reasons == {KEY: reason, "similar_to(poems)": reason}
    assert (provider.asked, fetched.attempts) == ([], [])


def test_what_was_fetched_stands_in_the_snapshot_and_the_rest_is_left_out() -> None:
    seen = Snapshot()
    put(seen, Fetched({KEY: 7_000}, {"similar_to(poems)": "late"}))
    leave_out(seen, program())
    assert dict(seen) == {KEY: 7_000, "similar_to(poems)": None}
    assert seen.reasons == {"similar_to(poems)": "late"}


def test_a_long_message_is_cut_before_it_is_sent(provider: Answering) -> None:
    provider.answer_with = lambda texts: [[1.0, 0.0] for _ in texts]
    run(fetch(Embedder(program(), {"local": provider}), request("x" * 100_000)))
    assert max(len(text) for texts in provider.asked for text in texts) == 6_000


def test_many_examples_go_in_several_calls_and_many_numbers_off_the_loop(
    provider: Answering,
) -> None:
    provider.answer_with = lambda texts: [[1.0] * 300 for _ in texts]
    examples = tuple(f"example {number}" for number in range(300))
    # So many numbers take a busy machine a while; a late answer would be none.
    asked = program(timeout_us=30_000_000, examples=examples)
    fetched = run(fetch(Embedder(asked, {"local": provider}), request()))
    assert sorted(map(len, provider.asked)) == [1, 45, 128, 128]
    assert fetched.scores[KEY] == 10_000


def test_what_a_client_that_left_has_cost_is_its_own(provider: Answering) -> None:
    left_behind = Fetched()

    async def work() -> Fetched:
        embedder = Embedder(program(), {"local": provider})
        await fetch(embedder, request())
        provider.wait = asyncio.Event().wait
        left = asyncio.create_task(fetch(embedder, request(), into=left_behind))
        while len(provider.asked) < 3:
            await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        provider.wait = None
        return await fetch(embedder, request())

    fetched = run(work())
    assert [attempt.outcome for attempt in fetched.attempts] == ["ok"]
    (attempt,) = left_behind.attempts
    assert (attempt.outcome, attempt.fault, attempt.reason) == ("failed", None, "the client left")
    assert attempt.unconfirmed_nano_usd > 0
    assert left_behind.reasons[KEY] == "the client left"


def test_vectors_of_another_length_than_the_examples_say_nothing(provider: Answering) -> None:
    async def work() -> Fetched:
        embedder = Embedder(program(), {"local": provider})
        await fetch(embedder, request())
        provider.answer_with = lambda texts: [[1.0, 0.0, 0.0]]
        return await fetch(embedder, request())

    fetched = run(work())
    assert fetched.scores == {}
    assert fetched.reasons[KEY] == "the embedding failed: bad_output"
    (attempt,) = fetched.attempts
    assert attempt.cost_nano_usd == 10_000


def test_examples_of_different_lengths_are_no_examples(provider: Answering) -> None:
    provider.answer_with = lambda texts: [[1.0] * (position + 1) for position in range(len(texts))]
    fetched = run(fetch(Embedder(program(), {"local": provider}), request()))
    assert fetched.scores == {}
    assert fetched.reasons[KEY] == "the embedding failed: bad_output"


def test_a_defect_in_a_provider_fails_no_request_and_is_not_met_by_every_one(
    provider: Answering, caplog: pytest.LogCaptureFixture
) -> None:
    provider.answer_with = lambda texts: 1 / 0

    async def work() -> list[Fetched]:
        embedder = Embedder(program(), {"local": provider})
        first = await fetch(embedder, request())
        await asyncio.sleep(0)
        return [first, await fetch(embedder, request())]

    first, second = run(work())
    assert first.reasons[KEY] == "the embedding failed inside the gateway"
    assert second.reasons[KEY] == "the examples could not be embedded"
    assert [attempt.outcome for attempt in first.attempts] == ["failed"]
    assert "ZeroDivisionError" in caplog.text


def test_another_program_with_the_same_examples_does_not_embed_them_again(
    provider: Answering,
) -> None:
    async def work() -> tuple[Fetched, bool]:
        before = Embedder(program(), {"local": provider})
        await fetch(before, request())
        provider.asked.clear()
        after = Embedder(program(timeout_us=300_000), {"local": provider})
        after.inherit(before)
        return await fetch(after, request("both")), before.under_way is None

    fetched, is_over = run(work())
    assert fetched.scores[KEY] == 6_000
    assert provider.asked == [["both"]]
    assert is_over


def test_another_program_with_other_examples_embeds_its_own(provider: Answering) -> None:
    async def work() -> Fetched:
        before = Embedder(program(), {"local": provider})
        await fetch(before, request())
        after = Embedder(program(examples=("both",)), {"local": provider})
        after.inherit(before)
        return await fetch(after, request("both"))

    assert run(work()).scores[KEY] == 10_000


def test_a_request_gets_its_scores_though_its_program_is_replaced_meanwhile(
    provider: Answering,
) -> None:
    async def work() -> tuple[Fetched, Fetched]:
        gate = asyncio.Event()
        provider.wait = gate.wait
        before = Embedder(program(), {"local": provider})
        waiting = asyncio.create_task(fetch(before, request()))
        while before.under_way is None:
            await asyncio.sleep(0)
        after = Embedder(program(), {"local": provider})
        after.inherit(before)
        assert after.under_way is before.under_way
        gate.set()
        return await waiting, await fetch(after, request())

    assert [fetched.scores[KEY] for fetched in run(work())] == [10_000, 10_000]
