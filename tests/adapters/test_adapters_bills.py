"""From a provider's own words about usage to a bill, to the nano-dollar.

Providers count cached tokens in the prompt (OpenAI, Gemini) or beside it (Anthropic), and reasoning
in the output or beside it: a bill has each token once.
"""

from decimal import Decimal
from typing import Any, NamedTuple

import orjson
import pytest

from turnout.dsl.schema import Tariff
from turnout.engine.ledger import charge
from turnout.engine.request import Usage

USD = 1_000_000_000


def rate(dollars: str) -> int:
    """Nano-USD per million tokens."""
    return int(Decimal(dollars) * USD)


SONNET = Tariff(rate("3"), rate("15"), cached=rate("0.30"), cache_write=rate("3.75"))
LONG_SONNET = Tariff(
    rate("3"),
    rate("15"),
    cached=rate("0.30"),
    cache_write=rate("3.75"),
    above=(
        (
            200_000,
            Tariff(rate("6"), rate("22.5"), cached=rate("0.60"), cache_write=rate("7.5")),
        ),
    ),
)
PRO = Tariff(rate("1.25"), rate("10"), cached=rate("0.625"))
KIMI = Tariff(rate("1.4"), rate("4.4"), cached=rate("0.26"))
GPT = Tariff(rate("2.50"), rate("10"), cached=rate("1.25"))
DEEPSEEK = Tariff(rate("0.27"), rate("1.10"), cached=rate("0.07"))


class Bill(NamedTuple):
    """What a provider of a kind says it has used, and what that costs at a tariff."""

    kind: str
    told: dict[str, Any]
    tariff: Tariff
    nano_usd: int


BILLS = {
    "anthropic writes its cache": Bill(
        "anthropic",
        {
            "input_tokens": 3,
            "cache_creation_input_tokens": 12_304,
            "cache_read_input_tokens": 0,
            "output_tokens": 550,
        },
        SONNET,
        54_399_000,
    ),
    "anthropic reads its cache": Bill(
        "anthropic",
        {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 12_304,
            "output_tokens": 550,
        },
        SONNET,
        11_950_200,
    ),
    "anthropic, at a step that only its cache reaches": Bill(
        "anthropic",
        {
            "input_tokens": 1_000,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 199_001,
            "output_tokens": 10,
        },
        LONG_SONNET,
        125_625_600,
    ),
    "anthropic, just below the step": Bill(
        "anthropic",
        {
            "input_tokens": 1_000,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 199_000,
            "output_tokens": 10,
        },
        LONG_SONNET,
        62_850_000,
    ),
    "gemini reads its cache": Bill(
        "gemini",
        {
            "promptTokenCount": 262_960,
            "cachedContentTokenCount": 257_955,
            "candidatesTokenCount": 1_744,
            "totalTokenCount": 264_704,
        },
        PRO,
        184_918_125,
    ),
    "gemini thinks beside its output": Bill(
        "gemini",
        {
            "promptTokenCount": 100,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 300,
            "totalTokenCount": 420,
        },
        PRO,
        3_325_000,
    ),
    "fireworks reads its cache": Bill(
        "fireworks",
        {
            "prompt_tokens": 27_147,
            "completion_tokens": 351,
            "total_tokens": 27_498,
            "prompt_tokens_details": {"cached_tokens": 27_146},
        },
        KIMI,
        8_603_760,
    ),
    "openai reads its cache": Bill(
        "openai",
        {
            "prompt_tokens": 2_006,
            "completion_tokens": 300,
            "total_tokens": 2_306,
            "prompt_tokens_details": {"cached_tokens": 1_920},
        },
        GPT,
        5_615_000,
    ),
    "openai reasons inside its output": Bill(
        "openai",
        {
            "prompt_tokens": 100,
            "completion_tokens": 500,
            "total_tokens": 600,
            "completion_tokens_details": {"reasoning_tokens": 448},
        },
        GPT,
        5_250_000,
    ),
    "deepseek says what it did not find in its cache": Bill(
        "deepseek",
        {
            "prompt_tokens": 1_000,
            "completion_tokens": 100,
            "total_tokens": 1_100,
            "prompt_cache_hit_tokens": 600,
            "prompt_cache_miss_tokens": 400,
        },
        DEEPSEEK,
        260_000,
    ),
    "zero is zero": Bill(
        "openai", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, GPT, 0
    ),
}


def whole(bill: Bill) -> bytes:
    """An answer in one piece, as the provider words it."""
    match bill.kind:
        case "anthropic":
            said: dict[str, Any] = {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [{"type": "text", "text": "x"}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": bill.told,
            }
        case "gemini":
            candidate = {"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}
            said = {"candidates": [candidate], "usageMetadata": bill.told}
        case _:
            message = {"role": "assistant", "content": "x"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            said = {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [choice],
                "usage": bill.told,
            }
    return orjson.dumps(said)


def streamed(bill: Bill) -> bytes:
    """The same answer as a stream."""
    match bill.kind:
        case "anthropic":
            start: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant"}
            start |= {
                "model": "m",
                "content": [],
                "stop_reason": None,
                "usage": bill.told | {"output_tokens": 1},
            }
            events: list[dict[str, Any]] = [
                {"type": "message_start", "message": start},
                {
                    "type": "content_block_start",
                    "index": 0,
                    "content_block": {"type": "text", "text": ""},
                },
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": "x"},
                },
                {"type": "content_block_stop", "index": 0},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                    "usage": {"output_tokens": bill.told["output_tokens"]},
                },
                {"type": "message_stop"},
            ]
            return b"".join(
                b"event: %b\ndata: %b\n\n" % (one["type"].encode(), orjson.dumps(one))
                for one in events
            )
        case "gemini":
            return b"data: %b\n\n" % whole(bill)
        case _:
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            delta = {"index": 0, "delta": {"role": "assistant", "content": "x"}}
            said = [
                chunk | {"choices": [delta | {"finish_reason": None}]},
                chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
                chunk | {"choices": [], "usage": bill.told},
            ]
            return (
                b"".join(b"data: %b\n\n" % orjson.dumps(one) for one in said) + b"data: [DONE]\n\n"
            )


JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


@pytest.mark.parametrize("bill", BILLS.values(), ids=BILLS)
async def test_an_answer_is_billed_by_what_its_provider_reports(bench: Any, bill: Bill) -> None:
    provider = bench.answering(bill.kind, whole(bill), headers=JSON)
    answer = await provider.answer(bench.chat())
    assert answer.usage is not None
    assert charge(bill.tariff, answer.usage) == bill.nano_usd


@pytest.mark.parametrize("bill", BILLS.values(), ids=BILLS)
async def test_a_stream_is_billed_as_the_whole_answer_is(bench: Any, bill: Bill) -> None:
    provider = bench.answering(bill.kind, streamed(bill), headers=EVENTS)
    chunks = await bench.read(provider.stream(bench.chat(stream=True)))
    last: Usage = [one.usage for one in chunks if one.usage is not None][-1]
    assert charge(bill.tariff, last) == bill.nano_usd


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "fireworks"])
async def test_where_a_provider_reports_no_usage_the_adapter_makes_none_up(
    bench: Any, kind: str
) -> None:
    silent = Bill(kind, {}, GPT, 0)
    provider = bench.answering(kind, whole(silent), headers=JSON)
    assert (await provider.answer(bench.chat())).usage is None
