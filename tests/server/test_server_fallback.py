"""A stream that another hop took over, in each protocol that clients speak: it begins once."""

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.engine.test_engine_gateway import Bench
from turnout.adapters.scripted import Scripted, Step, spoken
from turnout.engine.provider import Fault, ProviderError

POLICY = """
routing_policy:
  - name: all
    route: openai/gpt-4o
    retries: 1
    backoff: 1ms
    fallback: [{to: groq/llama-3-8b, retries: 0}]
"""
SAID = [{"role": "user", "content": "hi"}]
WAYS: dict[str, tuple[dict[str, Any], list[str]]] = {
    # what is asked, and what is said once of the whole answer
    "/v1/chat/completions": ({"messages": SAID}, ['"role":"assistant"', '"stop"', "[DONE]"]),
    "/v1/completions": ({"prompt": "hi"}, ['"stop"', "[DONE]"]),
    "/v1/messages": (
        {"messages": SAID, "max_tokens": 9},
        ["event: message_start", "event: content_block_start", "event: message_stop"],
    ),
    "/v1/responses": (
        {"input": "hi"},
        [
            "event: response.created",
            "event: response.output_item.added",
            "event: response.completed",
        ],
    ),
}


@pytest.mark.parametrize("path", WAYS)
async def test_a_stream_begins_once_though_two_attempts_began_before(
    path: str, serve: Any, tmp_path: Path
) -> None:
    asked, once = WAYS[path]
    role = spoken("x")[0]
    assert not role.content
    broken: Step = [role, role, ProviderError(Fault.CONNECT, "cut")]
    whole = spoken("hel", "lo")
    one = Bench(tmp_path, POLICY, Scripted("openai", [broken, broken]), Scripted("groq", [whole]))
    body = {"model": "auto", "stream": True, **asked}
    async with serve(one.gateway) as served, httpx.AsyncClient() as client:
        response = await client.post(f"{served.url}{path}", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["x-turnout-model"] == "groq/llama-3-8b"
    assert response.headers["x-turnout-attempts"] == "3"
    assert {mark: response.text.count(mark) for mark in once} == dict.fromkeys(once, 1)
    events = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
    deltas = [orjson.loads(event) for event in events]
    assert not any(event.get("error") for event in deltas)
    assert sum("hel" in event for event in events if "delta" in event or '"text"' in event) >= 1
    assert [a.outcome for a in one.records[0].attempts] == ["failed", "failed", "ok"]
