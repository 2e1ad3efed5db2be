"""Rate limits that a provider tells, as the headers a client may have."""

from typing import Any

import httpx
import pytest

from turnout.adapters.limits import limits
from turnout.engine.provider import ProviderError
from turnout.engine.request import Operation

NOW_S = 1_755_000_000.0  # 2025-08-12T12:00:00Z

OPENAI = {
    "x-ratelimit-limit-requests": "10000",
    "X-RateLimit-Remaining-Tokens": "1999970",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "1m2.5s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2025-08-12T12:00:01.5Z",
    "anthropic-ratelimit-tokens-reset": "2025-08-12T11:59:00Z",
    "anthropic-ratelimit-input-tokens-remaining": "7",
}


def told(headers: dict[str, str], operation: Operation = Operation.CHAT) -> dict[str, str]:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return limits(raw, operation, NOW_S)


def test_the_six_names_of_openai_pass_as_they_are() -> None:
    assert told(OPENAI) == {name.lower(): value for name, value in OPENAI.items()}


def test_instants_become_durations() -> None:
    assert told(ANTHROPIC) == {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "49",
        "x-ratelimit-reset-requests": "1.5s",
        "x-ratelimit-reset-tokens": "0s",
    }


def test_clients_of_the_messages_protocol_see_its_own_names_too() -> None:
    seen = told(ANTHROPIC, Operation.MESSAGES)
    assert seen.items() >= ANTHROPIC.items()


def test_a_provider_that_says_nothing_leaves_nothing() -> None:
    assert told({"content-type": "application/json", "retry-after": "1"}) == {}


@pytest.mark.parametrize("value", ["", "a b", "1\r\nset-cookie: x", "x" * 41, "org<1>"])
def test_a_value_that_is_no_number_or_time_is_left_out(value: str) -> None:
    assert told({"x-ratelimit-limit-requests": value}) == {}


@pytest.mark.parametrize("value", ["soon", "2025-08-12T12:00:01", "9999-99-99T00:00:00Z"])
def test_an_instant_that_cannot_be_read_is_left_out(value: str) -> None:
    assert told({"anthropic-ratelimit-tokens-reset": value}) == {}


async def test_a_call_notes_the_limits_of_answers_and_of_refusals(bench: Any) -> None:
    whole = '{"choices":[{"message":{"content":"x"}}]}'
    seen: list[httpx.Request] = []
    headers = {"x-ratelimit-remaining-requests": "3", "set-cookie": "a=b"}
    call = bench.chat()
    await bench.answering("openai", whole, headers=headers, seen=seen).answer(call)
    assert dict(call.limits) == {"x-ratelimit-remaining-requests": "3"}
    call = bench.chat()
    with pytest.raises(ProviderError):
        await bench.answering("openai", "{}", status=429, headers=headers).answer(call)
    assert dict(call.limits) == {"x-ratelimit-remaining-requests": "3"}
