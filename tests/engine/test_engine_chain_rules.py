"""What follows from each kind of refusal, with each way to say `catch`: `refusals.json`."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.engine.test_engine_chain import Over, hop, journey, turn
from turnout.adapters.fault import from_exception, from_status
from turnout.adapters.scripted import Scripted, said
from turnout.dsl.core import Breaking
from turnout.engine.breakers import Breakers
from turnout.engine.provider import Fault, ProviderError
from turnout.engine.request import RequestError

ROWS: list[dict[str, Any]] = orjson.loads(Path(__file__).with_name("refusals.json").read_bytes())
# What comes without a status: the fault, and what is expected of it as in the table.
STATUSLESS = [
    {
        "name": f"no status: {fault.value}",
        "fault": fault.value,
        "retried": retried,
        "counts": True,
        "next_hop": True,
        "told": told,
    }
    for fault, retried, told in (
        (Fault.CONNECT, True, [502, "bad_gateway"]),
        (Fault.TIMEOUT, False, [504, "upstream_timeout"]),
        (Fault.TTFT_TIMEOUT, False, [504, "upstream_timeout"]),
        (Fault.BAD_OUTPUT, True, [502, "bad_gateway"]),
    )
]
CASES = [pytest.param(row, id=row["name"]) for row in [*ROWS, *STATUSLESS]]
OTHERS = frozenset(fault.value for fault in Fault)


def refusal(row: dict[str, Any]) -> ProviderError:
    if "status" not in row:
        return ProviderError(Fault(row["fault"]), "no")
    body = row["body"]
    written = body.encode() if isinstance(body, str) else orjson.dumps(body)
    return from_status(row["status"], row["headers"], written)


def run(row: dict[str, Any], **catch: frozenset[str] | None) -> tuple[int, str, str | None]:
    """How often the first was asked, who answered or what was told, and how its breaker is."""
    first = Scripted("a", [refusal(row), refusal(row)])
    trip = journey(
        hop("a/m", retries=1, catch=catch.get("left")), hop("b/m", catch=catch.get("entered"))
    )
    breakers = Breakers()
    breakers.follow(Breaking(failures=1))

    async def go() -> str:
        runner = Over({"a": first, "b": Scripted("b", [said("yes")])}, breakers)
        try:
            return (await runner.answer(trip)).target.id
        except RequestError as error:
            return f"{error.status} {error.code}"

    answered, _ = turn(go())
    state = breakers.values().get("breaker(a/m)")
    return len(first.calls), answered, str(state) if state else None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_refusal_is_the_fault_that_the_table_says(row: dict[str, Any]) -> None:
    assert refusal(row).fault.value == row["fault"]


@pytest.mark.parametrize("row", CASES)
def test_a_refusal_counts_against_the_target_as_the_table_says(row: dict[str, Any]) -> None:
    _, _, state = run(row)
    assert state == ("open" if row["counts"] else None)


@pytest.mark.parametrize("row", CASES)
def test_a_refusal_is_tried_again_as_the_table_says(row: dict[str, Any]) -> None:
    first = Scripted("a", [refusal(row), said("the second time")])
    trip = journey(hop("a/m", retries=1))

    async def go() -> int:
        try:
            await Over({"a": first}).answer(trip)
        except RequestError as error:
            assert [error.status, error.code] == row["told"]
        return len(first.calls)

    assert turn(go())[0] == (2 if row["retried"] else 1)


@pytest.mark.parametrize("row", CASES)
def test_a_refusal_leads_to_the_next_hop_as_the_table_and_catch_say(row: dict[str, Any]) -> None:
    told = " ".join(str(part) for part in row["told"])
    this = frozenset({row["fault"]})
    others = OTHERS - this
    by_default = "b/m" if row["next_hop"] else told
    for left, entered, expected in (
        (None, None, by_default),
        (this, None, "b/m"),
        (others, None, told),
        (None, this, "b/m"),
        (None, others, told),
        (this, this, "b/m"),
        (this, others, told),
        (others, this, told),
    ):
        _, answered, _ = run(row, left=left, entered=entered)
        assert answered == expected, (left == this, entered == this)


def test_broken_connections_are_told_without_the_words_of_the_transport() -> None:
    assert from_exception(ConnectionResetError("secret.host:443")).message == (
        "the connection to the provider failed"
    )
