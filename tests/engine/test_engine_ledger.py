import doctest
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.schema import Tariff
from turnout.engine import ledger
from turnout.engine.ledger import MOST_NANO_USD, MOST_TOKENS, charge, entries
from turnout.engine.record import Attempt, DecisionRecord
from turnout.engine.request import Usage

USD = 1_000_000_000


def rate(dollars: str) -> int:
    """Nano-USD per million tokens."""
    return int(Decimal(dollars) * USD)


# The three bills that other gateways got wrong (LiteLLM #9812, #14849, #31714), after the
# providers' two conventions were made one: `input` includes what is cached or written to the cache.
BILLS = {
    "anthropic cache write": (
        Tariff(rate("3"), rate("15"), cached=rate("0.30"), cache_write=rate("3.75")),
        Usage(input=3 + 12_304, output=550, cache_write=12_304),
        54_399_000,
    ),
    "gemini cache read": (
        Tariff(rate("1.25"), rate("10"), cached=rate("0.625")),
        Usage(input=262_960, output=1_744, cached=257_955),
        184_918_125,
    ),
    "fireworks cache read": (
        Tariff(rate("1.4"), rate("4.4"), cached=rate("0.26")),
        Usage(input=27_147, output=351, cached=27_146),
        8_603_760,
    ),
}


@pytest.mark.parametrize(("tariff", "usage", "nano_usd"), BILLS.values(), ids=BILLS)
def test_cached_tokens_are_billed_once_and_at_their_own_rate(
    tariff: Tariff, usage: Usage, nano_usd: int
) -> None:
    assert charge(tariff, usage) == nano_usd


PLAIN = Tariff(input=3 * USD, output=15 * USD)

CASES = {
    "nothing used": (PLAIN, Usage(0, 0), 0),
    "input and output": (PLAIN, Usage(1_000, 10), 3_150_000),
    "a fraction of a nano-dollar is rounded up": (Tariff(1, 1), Usage(1, 0), 1),
    "parts are rounded once, not each": (Tariff(500_000, 500_000), Usage(1, 1), 1),
    "cached without a rate of its own costs input": (PLAIN, Usage(10, 0, cached=4), 30_000),
    "cache write without a rate of its own costs input": (
        PLAIN,
        Usage(10, 0, cache_write=4),
        30_000,
    ),
    "a cached rate of zero is a rate": (replace(PLAIN, cached=0), Usage(10, 0, cached=4), 18_000),
    "reasoning is part of the output": (PLAIN, Usage(0, 10, reasoning=9), 150_000),
    "a request fee comes on top": (replace(PLAIN, request=7), Usage(0, 0), 7),
    "more cached than input is billed as cached": (
        replace(PLAIN, cached=USD),
        Usage(1, 0, cached=5),
        5_000,
    ),
}


@pytest.mark.parametrize(("tariff", "usage", "nano_usd"), CASES.values(), ids=CASES)
def test_a_charge_is_the_exact_sum_of_its_parts(
    tariff: Tariff, usage: Usage, nano_usd: int
) -> None:
    assert charge(tariff, usage) == nano_usd


STEPPED = Tariff(
    input=1 * USD,
    output=2 * USD,
    above=((100, Tariff(10 * USD, 20 * USD)), (200, Tariff(100 * USD, 200 * USD, request=1))),
)


@pytest.mark.parametrize(
    ("prompt", "nano_usd"),
    [(100, 102_000), (101, 1_030_000), (200, 2_020_000), (201, 20_300_001)],
)
def test_a_step_applies_to_the_whole_request_once_the_prompt_exceeds_it(
    prompt: int, nano_usd: int
) -> None:
    assert charge(STEPPED, Usage(prompt, 1)) == nano_usd


counts = st.integers(min_value=0, max_value=10**9)
rates = st.integers(min_value=0, max_value=10**12)
tariffs = st.builds(
    Tariff,
    input=rates,
    output=rates,
    cached=st.none() | rates,
    cache_write=st.none() | rates,
    request=rates,
)
usages = st.builds(Usage, counts, counts, cached=counts, cache_write=counts, reasoning=counts)


@given(tariffs, usages)
def test_a_charge_is_never_negative(tariff: Tariff, usage: Usage) -> None:
    assert charge(tariff, usage) >= 0


@given(tariffs, usages, counts, counts)
def test_more_tokens_never_cost_less(tariff: Tariff, usage: Usage, more: int, also: int) -> None:
    larger = replace(usage, input=usage.input + more, output=usage.output + also)
    assert charge(tariff, larger) >= charge(tariff, usage)


@given(tariffs, usages)
def test_a_charge_is_less_than_a_nano_dollar_above_the_exact_sum(
    tariff: Tariff, usage: Usage
) -> None:
    cached = tariff.input if tariff.cached is None else tariff.cached
    written = tariff.input if tariff.cache_write is None else tariff.cache_write
    fresh = max(usage.input - usage.cached - usage.cache_write, 0)
    exact = (
        fresh * tariff.input
        + usage.cached * cached
        + usage.cache_write * written
        + usage.output * tariff.output
    )
    over = (charge(tariff, usage) - tariff.request) * 1_000_000 - exact
    assert 0 <= over < 1_000_000


def attempt(**known: object) -> Attempt:
    given: dict[str, object] = {
        "target": "groq/llama",
        "upstream_model": "llama-3",
        "outcome": "ok",
        "hop": 0,
        "number": 0,
        "started_us": 1_000,
        "took_us": 50,
        "sent": True,
    }
    return Attempt(**(given | known))  # type: ignore[arg-type]


def record(*attempts: Attempt) -> DecisionRecord:
    return DecisionRecord(
        id="req_1",
        received_us=900,
        took_us=100,
        digest="sha256:abc",
        operation="chat",
        tenant="acme",
        tier="pro",
        team="search",
        user="eve",
        key_id="key_1",
        session_hash="00",
        model="auto",
        stream=False,
        clause=0,
        rule="cheap",
        route="groq/llama",
        target="groq/llama",
        values={},
        reasons={},
        intervals={},
        attempts=list(attempts),
    )


def test_the_ledger_has_a_row_for_each_attempt_whose_bytes_left() -> None:
    tried = record(
        attempt(outcome="skipped", sent=False),
        attempt(outcome="failed", fault="connect", sent=False),
        attempt(hop=1, outcome="failed", fault="5xx", status=500),
        attempt(hop=1, number=1, usage=Usage(7, 3), cost_nano_usd=0),
    )
    rows = entries(tried)
    assert [(row.hop, row.attempt, row.outcome, row.fault) for row in rows] == [
        (1, 0, "failed", "5xx"),
        (1, 1, "ok", None),
    ]


def test_a_row_says_who_paid_what_for_what() -> None:
    usage = Usage(100, 20, cached=40, cache_write=10, reasoning=5)
    (row,) = entries(record(attempt(usage=usage, cost_nano_usd=77)))
    assert row._asdict() == {
        "time_us": 1_000,
        "request": "req_1",
        "hop": 0,
        "attempt": 0,
        "tenant": "acme",
        "team": "search",
        "user": "eve",
        "key_id": "key_1",
        "model": "auto",
        "target": "groq/llama",
        "upstream_model": "llama-3",
        "rule": "cheap",
        "policy": "sha256:abc",
        "tokens_in": 100,
        "tokens_out": 20,
        "tokens_cached": 40,
        "tokens_cache_write": 10,
        "tokens_reasoning": 5,
        "usage_source": "upstream",
        "cost_nano_usd": 77,
        "unconfirmed_nano_usd": 0,
        "outcome": "ok",
        "fault": None,
        "kind": "answer",
        "payer": "gateway",
        "corrects": None,
    }


SOURCES = {
    "the provider's word": (attempt(usage=Usage(1, 1)), "upstream", 1),
    "the provider's zero stays zero": (attempt(usage=Usage(0, 0)), "upstream", 0),
    "our estimate": (attempt(usage=Usage(1, 1, estimated=True)), "estimated", 1),
    "the provider refused": (attempt(outcome="failed", fault="auth", status=401), "none", None),
    "nobody read the answer": (
        attempt(outcome="failed", fault="timeout", unconfirmed_nano_usd=5),
        "unconfirmed",
        None,
    ),
    "the answer broke after its 200": (
        attempt(outcome="failed", fault="bad_output", status=200),
        "unconfirmed",
        None,
    ),
}


@pytest.mark.parametrize(("tried", "source", "tokens"), SOURCES.values(), ids=SOURCES)
def test_usage_is_never_invented(tried: Attempt, source: str, tokens: int | None) -> None:
    (row,) = entries(record(tried))
    assert (row.usage_source, row.tokens_in) == (source, tokens)


def test_counts_that_no_database_can_hold_are_cut_not_refused() -> None:
    (row,) = entries(record(attempt(usage=Usage(10**30, 1), cost_nano_usd=10**30)))
    assert (row.tokens_in, row.cost_nano_usd) == (MOST_TOKENS, MOST_NANO_USD)
    (row,) = entries(record(attempt(usage=None, unconfirmed_nano_usd=10**30)))
    assert row.unconfirmed_nano_usd == MOST_NANO_USD
    # Neither can a thousand of them be more than the database's sums hold.
    assert 1_000 * max(MOST_TOKENS, MOST_NANO_USD) < 2**63


def test_the_examples_in_the_documentation_are_true() -> None:
    assert doctest.testmod(ledger).failed == 0
