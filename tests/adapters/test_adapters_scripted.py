import asyncio
from typing import Any

import orjson
import pytest

from turnout.adapters.scripted import Pause, Scripted, said, spoken
from turnout.engine.provider import Fault, Provider, ProviderError


async def test_a_script_is_played_step_by_step(bench: Any) -> None:
    down = ProviderError(Fault.SERVER, "down")
    scripted = Scripted(
        "x", [down, said("one"), lambda call: said(call.shown_model), spoken("a", "b")]
    )
    provider: Provider = scripted
    with pytest.raises(ProviderError) as caught:
        await provider.answer(bench.chat())
    assert caught.value is down
    assert (await provider.answer(bench.chat())).text == "one"
    assert (await provider.answer(bench.chat())).text == "gpt-4"
    chunks = await bench.read(provider.stream(bench.chat()))
    assert "".join(chunk.text for chunk in chunks) == "ab"
    assert [chunk.content for chunk in chunks] == [False, True, True, True, True]
    assert (len(scripted.calls), scripted.left, scripted.closed) == (4, 0, 1)
    with pytest.raises(AssertionError, match="no step left"):
        await provider.answer(bench.chat())


async def test_a_stream_may_break_or_hang_where_the_script_says(bench: Any) -> None:
    cut = ProviderError(Fault.CONNECT, "cut")
    scripted = Scripted("x", [[*spoken("a")[:2], cut], [*spoken("a")[:2], Pause()]])
    seen = []
    with pytest.raises(ProviderError):
        async for chunk in scripted.stream(bench.chat()):
            seen.append(chunk)
    assert len(seen) == 2
    hanging = scripted.stream(bench.chat())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await bench.read(hanging)
    assert scripted.closed == 2


@pytest.mark.parametrize(("fault", "sent"), [(Fault.CONNECT, False), (Fault.SERVER, True)])
async def test_a_refused_connection_sends_nothing(bench: Any, fault: Fault, sent: bool) -> None:
    call = bench.chat()
    with pytest.raises(ProviderError):
        await Scripted("x", [[Pause(1), ProviderError(fault, "x")]]).answer(call)
    assert call.sent is sent


async def test_what_is_said_is_on_the_wire() -> None:
    assert orjson.loads(said("hi").body)["choices"][0]["message"]["content"] == "hi"
    events = [orjson.loads(c.data.removeprefix(b"data: ")) for c in spoken("hi") if c.data]
    assert events[1]["choices"][0]["delta"] == {"content": "hi"}
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
