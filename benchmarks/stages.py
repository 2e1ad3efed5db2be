"""What each stage of a request costs, timed in this process without HTTP."""

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson

import turnout.policies
from turnout.adapters import build
from turnout.adapters.scripted import Scripted, said, spoken
from turnout.dsl.interpret.compiled import compile_program
from turnout.engine import ledger, tokens
from turnout.engine.gateway import Gateway
from turnout.engine.journal import Journal
from turnout.engine.live import make_live
from turnout.engine.policy import Policy
from turnout.engine.provider import Call
from turnout.engine.pulse import Pulse
from turnout.engine.record import DecisionRecord
from turnout.engine.request import Caller, Operation, Request, StreamReply
from turnout.engine.state.rows import decision_row
from turnout.engine.state.sqlite import open_store
from turnout.protocols.chat_shape import check_chat
from turnout.server.body import parse

_ROUNDS = 7
_TARGETS = ("openai", "anthropic", "groq")
_HEADERS = {"host": "127.0.0.1", "content-type": "application/json", "user-agent": "bench/1"}


class Stage(NamedTuple):
    """A stage's name and its time in microseconds, the best of several rounds."""

    name: str
    us: float


def by_stage(body: bytes, chunks: int, repeat: int) -> list[Stage]:
    """Time the stages of a chat body that is answered whole, and of one with so many chunks."""
    path = Path(turnout.policies.__file__).with_name("first.yml")
    program = Policy.load(path).program
    live, table = make_live(program, {}), Pulse().tick(program.targets)
    index_of, decider = compile_program(program), live.decider
    tokens.warm()
    fresh = _requests(body)

    def observe(request: Request) -> Any:
        request.measured = None  # as of one that just came in
        return decider.observe(request, None, table)

    def decided(request: Request) -> Any:
        seen = observe(request)
        index_of(seen)
        return seen

    whole, record = asyncio.run(_engine(live, body, None, repeat))
    streamed, _ = asyncio.run(_engine(live, body, chunks, repeat))
    requests = list(itertools.islice(fresh, repeat))
    seen = decided(requests[0])
    return [
        Stage("parse the body (orjson)", _best(orjson.loads, [body] * repeat)),
        Stage(
            "parse and check the body", _best(lambda raw: check_chat(parse(raw)), [body] * repeat)
        ),
        Stage("resolve the model's name", _best(live.names.resolve, ["auto"] * repeat)),
        Stage("bound the tokens", _best(tokens.measure, requests)),
        Stage("count the tokens", _best(tokens.count, requests)),
        Stage("decide: snapshot, rules", _best(lambda r: decider.decide(observe(r)), requests)),
        Stage("decide: rules alone, values known", _best(index_of, [seen] * repeat)),
        Stage("engine, whole answer (all of the above but parsing)", whole),
        Stage(f"engine, stream of {chunks} chunks", streamed),
        Stage(
            "adapter, whole answer (OpenAI wire, answered at once)", _adapter(body, None, repeat)
        ),
        Stage(f"adapter, stream of {chunks} chunks", _adapter(body, chunks, repeat)),
        Stage("off the path: decision row", _best(decision_row, [record] * repeat)),
        Stage("off the path: ledger rows", _best(ledger.entries, [record] * repeat)),
    ]


def _requests(body: bytes, *, stream: bool = False) -> Iterable[Request]:
    """Requests that share no cached value."""
    for number in itertools.count():
        yield Request(
            id=f"req_{number}",
            operation=Operation.CHAT,
            body=orjson.loads(body) | {"stream": stream},
            raw=body,
            model="auto",
            stream=stream,
            caller=Caller(),
            headers=_HEADERS,
            received_us=time.time_ns() // 1000,
            started_ns=time.monotonic_ns(),
        )


def _best(work: Callable[[Any], object], given: list[Any]) -> float:
    """Time one call in microseconds: the best round of several over all that is given."""
    rounds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter_ns()
        for one in given:
            work(one)
        rounds.append(time.perf_counter_ns() - started)
    return min(rounds) / len(given) / 1000


class _AtOnce(httpx.AsyncBaseTransport):
    """Answers every request with the same bytes, without a socket."""

    def __init__(self, content_type: str, pieces: list[bytes]) -> None:
        self._headers = {"content-type": content_type}
        self._pieces = pieces

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for _ in request.stream:
            pass
        return httpx.Response(200, headers=self._headers, stream=_Pieces(self._pieces))


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def _adapter(body: bytes, chunks: int | None, repeat: int) -> float:
    """Time calls of the OpenAI dialect over a transport that answers at once."""
    if chunks is None:
        transport = _AtOnce("application/json", [said("an answer").body])
    else:
        events = [chunk.data for chunk in spoken(*["word "] * chunks) if chunk.data]
        transport = _AtOnce("text/event-stream", [*events, b"data: [DONE]\n\n"])
    provider = build("openai", None, None, {}, "simulated", transport)

    async def run() -> float:
        rounds = []
        fresh = iter(_requests(body, stream=chunks is not None))
        for _ in range(_ROUNDS):
            calls = [
                Call(request, "gpt-4", "auto", 8192, 5_000_000, 30_000_000)
                for request in itertools.islice(fresh, repeat)
            ]
            started = time.thread_time_ns()
            for call in calls:
                if chunks is None:
                    await provider.answer(call)
                else:
                    async for _chunk in provider.stream(call):
                        pass
            rounds.append(time.thread_time_ns() - started)
        return min(rounds) / repeat / 1000

    return asyncio.run(run())


async def _engine(
    live: Any, body: bytes, chunks: int | None, repeat: int
) -> tuple[float, DecisionRecord]:
    """Time requests through a whole gateway whose providers answer in process."""
    usage_step: Any = said("an answer") if chunks is None else spoken(*["word "] * chunks)
    records: list[DecisionRecord] = []
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as home:
        providers = {
            name: Scripted(name, [usage_step] * repeat * (_ROUNDS + 1)) for name in _TARGETS
        }
        journal = Journal(open_store(Path(home)), capacity=1_000_000)
        gateway = Gateway(
            replace(live, providers=providers), journal, Pulse(), records.append, lambda _: None
        )
        await gateway.start()
        rounds = []
        fresh = iter(_requests(body, stream=chunks is not None))
        for _ in range(_ROUNDS):
            requests = list(itertools.islice(fresh, repeat))
            started = time.thread_time_ns()
            for request in requests:
                reply = await gateway.generate(request)
                if isinstance(reply, StreamReply):
                    async for _ in reply.chunks:
                        pass
            rounds.append(time.thread_time_ns() - started)
        await gateway.close()
    return min(rounds) / repeat / 1000, records[-1]
