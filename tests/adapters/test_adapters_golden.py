"""Golden cases: an input, and the exact bytes that leave, in both directions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from turnout.adapters import PROVIDERS
from turnout.adapters.dialect_anthropic import Translation
from turnout.adapters.dialect_cohere import Translation as CohereTranslation
from turnout.adapters.dialect_gemini import Translation as GeminiTranslation
from turnout.adapters.dialect_openai import OpenAIDialect, Relay
from turnout.adapters.sse import Parser
from turnout.engine.provider import Call, Chunk, Fault, ProviderError
from turnout.simulator.bedrock_frames import event_frame

GOLDEN = Path(__file__).parent / "golden"
REQUESTS = sorted(p for p in (GOLDEN / "requests").glob("*.json") if p.name.count(".") == 1)
ANSWERS = sorted(GOLDEN.glob("answers/*/*.upstream.json"))
STREAMS = sorted(GOLDEN.glob("streams/*/*.upstream.sse"))

WIRES = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "bedrock": "/model/upstream-model/converse",
    "cohere": "/v2/chat",
    "gemini": "/v1beta/models/upstream-model:generateContent",
    "ollama": "/v1/chat/completions",
}
STREAMED = {
    **WIRES,
    "bedrock": "/model/upstream-model/converse-stream",
    "gemini": "/v1beta/models/upstream-model:streamGenerateContent",
}
ANSWER = {
    "openai": b'{"choices":[{"message":{"content":"x"}}]}',
    "anthropic": b'{"content":[]}',
    "bedrock": b'{"output":{"message":{"content":[]}}}',
    "cohere": b'{"message":{}}',
    "gemini": b'{"candidates":[{"finishReason":"STOP"}]}',
    "ollama": b'{"choices":[{"message":{"content":"x"},"logprobs":{"content":[]}}]}',
}
EVENTS = {
    "openai": b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
    "anthropic": b'data: {"type":"message_start"}\n\n'
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n',
    "bedrock": event_frame("messageStart", {})
    + event_frame("messageStop", {"stopReason": "end_turn"}),
    "cohere": b'data: {"type":"message-start"}\n\n'
    b'data: {"type":"message-end","delta":{"finish_reason":"COMPLETE"}}\n\n',
    "gemini": b'data: {"candidates":[{"finishReason":"STOP"}]}\n\n',
    "ollama": b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
}
# How the stream of a kind is read that does not speak OpenAI's wire.
TRANSLATIONS: dict[str, Callable[[Call, tuple[str, ...]], Any]] = {
    "anthropic": Translation,
    "cohere": CohereTranslation,
    "gemini": GeminiTranslation,
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("path", REQUESTS, ids=lambda p: p.stem)
async def test_a_request_leaves_in_exactly_these_bytes(bench: Any, path: Path, wire: str) -> None:
    raw = path.read_bytes()
    call = bench.call(raw)
    seen: list[httpx.Request] = []
    expected = path.with_suffix(f".{wire}.json")
    stream = call.request.stream
    provider = bench.answering(wire, EVENTS[wire] if stream else ANSWER[wire], seen=seen)
    try:
        if stream:
            await bench.read(provider.stream(call))
        else:
            await provider.answer(call)
    except ProviderError as error:
        refusal = {"fault": error.fault.value, "param": error.param, "message": error.message}
        bench.check(expected, orjson.dumps({"refused": refusal}, option=orjson.OPT_INDENT_2))
        assert seen == [] and not call.sent
        return
    assert call.sent
    assert seen[0].url.path == (STREAMED if stream else WIRES)[wire]
    bench.check(expected, seen[0].content)
    dropped = path.with_suffix(f".{wire}.dropped")
    if call.dropped or dropped.exists():
        bench.check(dropped, "\n".join(call.dropped).encode())


@pytest.mark.parametrize("path", ANSWERS, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
async def test_an_answer_reaches_the_client_in_exactly_these_bytes(bench: Any, path: Path) -> None:
    provider = bench.answering(path.parent.name, path.read_bytes())
    answer = await provider.answer(bench.chat())
    stem = path.name.split(".")[0]
    bench.check(path.parent / f"{stem}.client.json", answer.body)
    notes = {
        "usage": answer.usage,
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "upstream_model": answer.upstream_model,
    }
    bench.check(path.parent / f"{stem}.notes.json", orjson.dumps(notes, option=orjson.OPT_INDENT_2))
    assert orjson.loads(answer.body)["model"] == "gpt-4"


def relayed(bench: Any, path: Path, asked: bool, pieces: list[bytes]) -> list[Chunk]:
    """A recorded stream through parser and translation, in these pieces."""
    call = bench.chat(stream=True, asked=asked)
    kind = PROVIDERS[path.parent.name]
    if (translation := TRANSLATIONS.get(kind.kind)) is not None:
        relay = translation(call, ())
    else:
        assert issubclass(kind, OpenAIDialect)
        relay = Relay(call, (), kind.finish)
    parser = Parser()
    told = [relay.take(e) for piece in pieces for e in parser.feed(piece)]
    told += [relay.take(e) for e in parser.finish()]
    told.append(relay.finish())
    # An event of some wires is one chunk or none, of others several.
    each = [chunks if isinstance(chunks, list) else [chunks] for chunks in told]
    return [chunk for chunks in each for chunk in chunks if chunk is not None]


@pytest.mark.parametrize("asked", [False, True], ids=["plain", "usage"])
@pytest.mark.parametrize("path", STREAMS, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
def test_a_stream_reaches_the_client_in_exactly_these_bytes(
    bench: Any, path: Path, asked: bool
) -> None:
    chunks = relayed(bench, path, asked, [path.read_bytes()])
    stem = path.name.split(".")[0]
    suffix = "usage" if asked else "plain"
    bench.check(path.parent / f"{stem}.{suffix}.sse", b"".join(c.data for c in chunks))
    usages = [c.usage for c in chunks if c.usage is not None]
    first_content = next(i for i, c in enumerate(chunks) if c.content)
    notes = {
        "usage": usages[-1] if usages else None,
        "text": "".join(c.text for c in chunks),
        "finish_reason": [c.finish_reason for c in chunks if c.finish_reason],
        "chunks_before_content": first_content,
        "upstream_model": chunks[first_content].upstream_model,
    }
    bench.check(path.parent / f"{stem}.notes.json", orjson.dumps(notes, option=orjson.OPT_INDENT_2))


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
def test_a_stream_is_the_same_wherever_its_bytes_are_split(bench: Any, path: Path) -> None:
    whole = path.read_bytes()
    expected = relayed(bench, path, True, [whole])
    for at in range(1, len(whole)):
        assert relayed(bench, path, True, [whole[:at], whole[at:]]) == expected, at
    assert relayed(bench, path, True, [whole[i : i + 1] for i in range(len(whole))]) == expected


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
def test_a_stream_cut_before_its_finish_reason_is_never_an_answer(bench: Any, path: Path) -> None:
    whole = path.read_bytes()
    ends = (b'"finish_reason":"', b'"stop_reason": "', b'"finishReason"')
    last = max(whole.rfind(word) for word in ends)
    if (first := whole.find(b'"finish_reason":"')) > 0 and b'"index":1' not in whole:
        last = first
    for at in range(0, last, 7):
        with pytest.raises(ProviderError) as caught:
            relayed(bench, path, False, [whole[:at]])
        assert caught.value.fault is Fault.BAD_OUTPUT, at


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
def test_every_stream_follows_the_rules_of_the_wire(bench: Any, path: Path) -> None:
    for asked in (False, True):
        chunks = relayed(bench, path, asked, [path.read_bytes()])
        events = [orjson.loads(c.data.removeprefix(b"data: ")) for c in chunks if c.data]
        assert all(c.data == b"" or c.data.endswith(b"}\n\n") for c in chunks)
        assert {e["model"] for e in events} == {"gpt-4"}
        assert len({e["id"] for e in events if e["id"]}) == 1
        assert all("error" not in e for e in events)
        usages = [e for e in events if e.get("usage")]
        assert len(usages) <= asked
        assert all(("usage" in e) is asked for e in events)
        if usages:
            assert usages[0] is events[-1] and usages[0]["choices"] == []
        assert [c.content for c in chunks] == sorted(c.content for c in chunks)
