"""What an attempt may cost at most."""

import base64
import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.schema import Target, Tariff
from turnout.engine import tokens
from turnout.engine.budget import worst_case
from turnout.engine.ledger import charge
from turnout.engine.media import audio_tokens
from turnout.engine.request import Caller, Operation, Request, Usage
from turnout.protocols.completions import COMPLETIONS
from turnout.protocols.responses import RESPONSES
from turnout.server.body import read

TARIFF = Tariff(input=3_000_000_000, output=15_000_000_000)
TARGET = Target("openai/big", "openai", "big", TARIFF, 8_192, 4_096)


def request(operation: Operation = Operation.CHAT, **body: Any) -> Request:
    if operation is Operation.CHAT:
        body = {"messages": [{"role": "user", "content": "word " * 20}]} | body
    return Request("req_1", operation, body, b"", "auto", False, Caller(), {}, 0, 0)


def prompt_bound(asked: Request) -> int:
    return tokens.bounds(asked)[1]


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ({}, 4_096),
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 10, "max_tokens": 99}, 99),
        ({"max_completion_tokens": 99, "max_tokens": 10}, 99),
        ({"max_completion_tokens": None, "max_tokens": 10}, 10),
        ({"max_output_tokens": 10}, 4_096),
        ({"max_output_tokens": 1, "max_tokens": 10}, 10),
        ({"max_output_tokens": 10, "max_completion_tokens": 1}, 10),
        ({"max_tokens": 9_999}, 4_096),
        ({"max_tokens": 0}, 4_096),
        ({"max_tokens": None}, 4_096),
        ({"max_tokens": -5}, 4_096),
        ({"max_tokens": True}, 4_096),
        ({"max_tokens": "10"}, 4_096),
        ({"n": 3}, 3 * 4_096),
        ({"n": 3, "max_tokens": 10}, 30),
        ({"n": 0}, 4_096),
        ({"n": True}, 4_096),
    ],
    ids=str,
)
def test_output_is_bounded_by_the_request_and_the_target_for_every_answer(
    body: dict[str, Any], output: int
) -> None:
    asked = request(**body)
    assert worst_case(TARGET, asked) == charge(TARIFF, Usage(prompt_bound(asked), output))


@pytest.mark.parametrize(
    ("max_output", "window", "body", "output"),
    [
        (None, 500, {}, 500),
        (None, 500, {"max_tokens": 900}, 500),
        (None, None, {"max_tokens": 900}, 900),
        (None, None, {}, 0),
    ],
)
def test_a_target_without_an_output_maximum_is_bounded_by_its_window(
    max_output: int | None, window: int | None, body: dict[str, Any], output: int
) -> None:
    target = replace(TARGET, max_output=max_output, context_window=window)
    asked = request(**body)
    assert worst_case(target, asked) == charge(TARIFF, Usage(prompt_bound(asked), output))


def test_a_prompt_that_may_be_long_is_priced_at_the_step_it_may_reach() -> None:
    asked = request()
    cheap = replace(TARIFF, output=0)
    dear = Tariff(input=9_000_000_000, output=0)
    reached = replace(cheap, above=((prompt_bound(asked) - 1, dear),))
    beyond = replace(cheap, above=((prompt_bound(asked), dear),))
    assert worst_case(replace(TARGET, tariff=reached), asked) == prompt_bound(asked) * 9_000
    assert worst_case(replace(TARGET, tariff=beyond), asked) == prompt_bound(asked) * 3_000


def test_the_prompt_is_priced_as_if_all_of_it_were_written_to_the_cache() -> None:
    asked = request()
    tariff = replace(TARIFF, output=0, cache_write=3_750_000_000)
    assert worst_case(replace(TARGET, tariff=tariff), asked) == prompt_bound(asked) * 3_750


@pytest.mark.parametrize(
    "said",
    [
        {"input": "Go on.", "previous_response_id": "resp_1"},
        {"input": "Go on.", "conversation": "conv_1"},
        {"input": "Look.", "tools": [{"type": "web_search"}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
    ],
    ids=str,
)
def test_of_a_prompt_that_is_kept_at_the_provider_the_window_is_the_bound(
    said: dict[str, Any],
) -> None:
    raw = json.dumps({"model": "auto", "max_output_tokens": 10, **said}).encode()
    body, raw, native = read(raw, RESPONSES)
    asked = replace(request(), operation=Operation.RESPONSES, body=body, raw=raw, native=native)
    assert worst_case(TARGET, asked) == charge(TARIFF, Usage(8_192, 10))


@pytest.mark.parametrize(
    ("part", "seen"),
    [
        ({"type": "file", "file": {"file_id": "file-1"}}, False),
        ({"type": "file", "file": {"file_id": "file-1", "file_data": "data:,x"}}, False),
        ({"type": "file", "file": {"file_data": "https://a.example/b.pdf"}}, False),
        ({"type": "document_url", "document_url": "https://a.example/b.pdf"}, False),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ=="}}, True),
        ({"type": "text", "text": "Hello."}, True),
    ],
    ids=str,
)
def test_of_a_part_that_is_not_in_the_body_the_window_is_the_bound(
    part: dict[str, Any], seen: bool
) -> None:
    asked = request(messages=[{"role": "user", "content": [part]}], max_tokens=10)
    prompt = prompt_bound(asked) if seen else 8_192
    assert worst_case(TARGET, asked) == charge(TARIFF, Usage(prompt, 10))


def test_an_image_is_bounded_as_dearly_as_any_model_counts_it_where_no_rule_is_known() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}}
    asked = request(messages=[{"role": "user", "content": [image] * 3}], max_tokens=10)
    claude = replace(TARGET, model="claude-opus-4")
    assert worst_case(claude, asked) >= charge(TARIFF, Usage(3 * 4_784, 10))
    known = replace(TARGET, model="gpt-4o")
    assert worst_case(known, asked) == charge(TARIFF, Usage(prompt_bound(asked), 10))


def test_sound_is_as_long_as_its_samples_say_and_not_as_its_header() -> None:
    def wav(byte_rate: int, align: int) -> str:
        form = struct.pack("<HHIIHH", 1, 1, 8_000, byte_rate, align, 8)
        return base64.b64encode(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + form + bytes(80_000)).decode()

    assert audio_tokens(wav(8_000, 1)) == audio_tokens(wav(2**32 - 1, 1)) >= 100
    assert audio_tokens(wav(8_000, 65_535)) == audio_tokens(wav(8_000, 1))


@pytest.mark.parametrize(
    ("said", "texts"),
    [
        ({"prompt": ["a"] * 300}, 300),
        ({"prompt": [[1, 2]] * 40, "n": 4, "best_of": 5}, 200),
        ({"prompt": [1, 2, 3], "n": 2}, 2),
        ({"prompt": "a"}, 1),
    ],
    ids=lambda said: str(said)[:40],
)
def test_every_text_that_is_completed_is_paid_for(said: dict[str, Any], texts: int) -> None:
    raw = json.dumps({"model": "auto", "max_tokens": 10, **said}).encode()
    body, raw, native = read(raw, COMPLETIONS)
    asked = replace(request(), operation=Operation.COMPLETIONS, body=body, raw=raw, native=native)
    assert worst_case(TARGET, asked) == charge(TARIFF, Usage(prompt_bound(asked), 10 * texts))


def test_embeddings_have_no_output_and_an_unpriced_target_has_no_worst_case() -> None:
    asked = request(Operation.EMBEDDINGS, input="one two three")
    assert worst_case(TARGET, asked) == charge(TARIFF, Usage(prompt_bound(asked), 0))
    assert worst_case(replace(TARGET, tariff=None), request()) == 0


def test_a_fee_for_the_request_is_added_once() -> None:
    asked = request(max_tokens=10, n=5)
    fee = replace(TARGET, tariff=replace(TARIFF, request=7))
    assert worst_case(fee, asked) == worst_case(TARGET, asked) + 7


@given(
    prompt=st.integers(0, 200),
    share=st.fractions(0, 1),
    written=st.fractions(0, 1),
    output=st.integers(0, 100),
    n=st.integers(1, 4),
)
def test_no_usage_within_the_bounds_costs_more(
    prompt: int, share: Any, written: Any, output: int, n: int
) -> None:
    tariff = Tariff(
        input=3_000_000_001,
        output=15_000_000_003,
        cached=300_000_000,
        cache_write=3_750_000_000,
        request=11,
        above=((150, Tariff(input=6_000_000_000, output=22_500_000_000, request=11)),),
    )
    asked = request(max_tokens=output, n=n)
    most = prompt_bound(asked)
    used = min(prompt, most)
    cached = int(used * share)
    usage = Usage(used, output * n, cached=cached, cache_write=int((used - cached) * written))
    assert charge(tariff, usage) <= worst_case(replace(TARGET, tariff=tariff), asked)
