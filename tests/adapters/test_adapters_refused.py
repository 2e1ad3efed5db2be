"""Steering parameters that a target refuses are left out, and said so."""

from typing import Any

import orjson
import pytest

CASES = [
    # what the client sent, what was dropped
    ({"temperature": 0.2, "top_p": 0.9}, ["temperature", "top_p"]),
    ({"temperature": 0}, ["temperature"]),
    ({"temperature": 1, "top_p": 1}, []),
    ({"temperature": None}, []),
    ({}, []),
]
WIRES = {
    "openai": b'{"choices":[{"message":{"content":"x"}}]}',
    "anthropic": b'{"content":[]}',
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("sent", "dropped"), CASES)
async def test_refused_sampling_is_left_out_and_named(
    bench: Any, wire: str, sent: dict[str, Any], dropped: list[str]
) -> None:
    call = bench.chat(**sent)
    call.refused = frozenset({"temperature", "top_p"})
    seen: list[Any] = []
    await bench.answering(wire, WIRES[wire], seen=seen).answer(call)
    left = orjson.loads(seen[0].content)
    assert [name for name in ("temperature", "top_p") if left.get(name) not in (None, 1)] == []
    assert call.dropped == dropped
