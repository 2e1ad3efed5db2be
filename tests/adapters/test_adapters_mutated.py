"""Recorded answers with anything at any place: what a client gets is in form, or a fault.

Every node of every golden answer and stream is replaced by values that do not belong there. What
comes out is judged by the types of OpenAI's own client.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai.types.chat as openai_types
import orjson
import pytest

from turnout.adapters import PROVIDERS
from turnout.adapters.usage import MOST_TOKENS
from turnout.engine.provider import ProviderError
from turnout.engine.request import Usage
from turnout.simulator.bedrock_frames import event_frame

GOLDEN = Path(__file__).parent / "golden"
ANSWERS = sorted(GOLDEN.glob("answers/*/*.upstream.json"))
STREAMS = sorted(GOLDEN.glob("streams/*/*.upstream.*"))
STRANGERS: tuple[Any, ...] = (
    None, False, True, 0, -1, 3.7, 1e300, 2**63, "", "x", [], [None], [{}], {}, {"type": "text"},
)  # fmt: skip
# Passed through as they are: nothing of ours reads them.
_PASSED = frozenset(("annotations", "audio", "function_call", "obfuscation"))
REASONS = {"stop", "length", "tool_calls", "content_filter", "function_call"}
AMAZON = {"content-type": "application/vnd.amazon.eventstream"}
EVENTS = {"content-type": "text/event-stream"}


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield before
    steps = value if isinstance(value, dict) else range(len(value)) if listed(value) else ()
    for step in steps:
        yield from places(value[step], (*before, step))


def listed(value: Any) -> bool:
    return isinstance(value, list)


def put(value: Any, place: tuple[Any, ...], stranger: Any) -> Any:
    if not place:
        return stranger
    changed = value.copy()
    changed[place[0]] = put(value[place[0]], place[1:], stranger)
    return changed


def mutants(value: Any) -> Iterator[tuple[str, Any]]:
    """The value with one stranger each; every fourth of them at a place, all of them at some."""
    for number, place in enumerate(places(value)):
        if not _PASSED.isdisjoint(place):
            continue
        for stranger in STRANGERS[number % 4 :: 4]:
            yield f"{place} = {stranger!r}", put(value, place, stranger)


def events_of(path: Path) -> list[tuple[bytes, Any]]:
    """A stream's events by name, with their JSON; None for those that hold none."""
    if path.suffix == ".jsonl":
        lines = map(orjson.loads, path.read_bytes().splitlines())
        return [(name.encode(), data) for line in lines for name, data in pairs(line)]
    events: list[tuple[bytes, Any]] = []
    for block in path.read_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        fields = [line.partition(b":")[::2] for line in block.split(b"\n")]
        name = b"".join(value.strip() for key, value in fields if key == b"event")
        data = b"\n".join(value.strip() for key, value in fields if key == b"data")
        if data.startswith(b"{"):
            events.append((name, orjson.loads(data)))
        elif data:
            events.append((data, None))
    return events


def pairs(line: Any) -> list[tuple[str, Any]]:
    return list(line.items()) if isinstance(line, dict) else [(line[0], line[1])]


def written(kind: str, events: list[tuple[bytes, Any]]) -> bytes:
    if kind == "bedrock":
        return b"".join(event_frame(name.decode(), data) for name, data in events)
    return b"".join(
        b"data: %b\n\n" % name
        if data is None
        else (b"event: %b\n" % name if name else b"") + b"data: %b\n\n" % orjson.dumps(data)
        for name, data in events
    )


def check_usage(usage: Usage | None) -> None:
    if usage is not None:
        counts = (usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning)
        assert all(type(count) is int and 0 <= count < 4 * MOST_TOKENS for count in counts), usage
        assert usage.cached + usage.cache_write <= usage.input, usage
        assert usage.reasoning <= usage.output, usage


def in_form(typed: Any, raw: bytes) -> Any:
    try:
        return typed.model_validate(orjson.loads(raw))
    except ValueError as error:
        pytest.fail(f"{error}\n{raw!r}")


@pytest.mark.parametrize("path", ANSWERS, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
async def test_a_mutated_answer_is_in_form_or_a_fault(bench: Any, path: Path) -> None:
    call = bench.chat()
    for told, body in mutants(orjson.loads(path.read_bytes())):
        provider = bench.answering(path.parent.name, orjson.dumps(body))
        try:
            answer = await provider.answer(call)
        except ProviderError as error:
            assert error.message
            continue
        except Exception as error:
            raise AssertionError(told) from error
        check_usage(answer.usage)
        completion = in_form(openai_types.ChatCompletion, answer.body)
        assert {choice.finish_reason for choice in completion.choices} <= REASONS, told


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
async def test_a_mutated_stream_is_in_form_or_a_fault(bench: Any, path: Path) -> None:
    kind = path.parent.name
    call = bench.chat(stream=True, asked=True)
    events = events_of(path)
    headers = AMAZON if kind == "bedrock" else EVENTS
    for at, (name, held) in enumerate(events):
        for told, data in mutants(held) if held is not None else ():
            if kind == "bedrock" and not isinstance(data, dict):
                continue
            changed = written(kind, [*events[:at], (name, data), *events[at + 1 :]])
            provider = bench.answering(kind, changed, headers=headers)
            try:
                chunks = await bench.read(provider.stream(call))
            except ProviderError as error:
                assert error.message
                continue
            except Exception as error:
                raise AssertionError(told) from error
            for chunk in chunks:
                check_usage(chunk.usage)
                if chunk.data:
                    shown = in_form(openai_types.ChatCompletionChunk, chunk.data[6:])
                    assert {c.finish_reason for c in shown.choices} <= REASONS | {None}, told


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
async def test_a_stream_without_its_finish_is_a_fault_whatever_closes_it(
    bench: Any, path: Path
) -> None:
    kind = path.parent.name
    events = events_of(path)
    whole = [i for i, (_, data) in enumerate(events) if finishes(data)]
    headers = AMAZON if kind == "bedrock" else EVENTS
    closings = [[], [(b"[DONE]", None)]] if kind != "bedrock" else [[]]
    for at in range(whole[0] + 1):
        for closing in closings:
            provider = bench.answering(kind, written(kind, events[:at] + closing), headers=headers)
            with pytest.raises(ProviderError):
                await bench.read(provider.stream(bench.chat(stream=True)))


def finishes(data: Any) -> bool:
    text = orjson.dumps(data)
    names = (b'"finish_reason":"', b'"stop_reason":"', b'"stopReason":"', b'"finishReason":"')
    return any(name in text for name in names)


def test_every_kind_has_a_recorded_stream() -> None:
    assert {path.parent.name for path in STREAMS} == set(PROVIDERS)
