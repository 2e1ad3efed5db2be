"""The clocks of a hop, each by itself, on a clock that only moves when everyone waits."""

from dataclasses import replace
from typing import Any

import pytest

from tests.engine.test_engine_chain import chain, hop, idle_story, journey, turn
from turnout.adapters.scripted import Act, Pause, Scripted, said, spoken
from turnout.dsl.core import Hop
from turnout.engine.provider import Chunk, Fault, ProviderError
from turnout.engine.request import RequestError

S = 1_000_000
ROLE, TEXT, *REST = spoken("hello")
HANGS = [ROLE, Pause()]
THINKS = Chunk(b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n', True)
BEAT = Chunk(b"event: ping\n\n", True, beat=True)
EARLY_BEAT = replace(BEAT, content=False)


def story(script: list[Any], *hops: Hop, stream: bool, deadline_s: int = 600) -> tuple[str, float]:
    """What became of a request whose first hop plays a script, and how many seconds it took."""
    first = Scripted("a", [script])
    second = Scripted("b", [spoken("b") if stream else said("b")])
    trip = journey(*hops, stream=stream, deadline_us=deadline_s * S)

    async def go() -> str:
        runner = chain(first, second)
        try:
            if stream:
                return (await runner.open(trip)).target.id
            return (await runner.answer(trip)).target.id
        except RequestError as error:
            fault = [a.fault for a in trip.attempts if a.outcome == "failed"][-1]
            return f"{error.status} {fault}"

    return turn(go())


B = hop("b/m")
LIMITS = hop("b/m", catch=frozenset({"rate_limit"}))
TABLE: list[tuple[str, bool, list[Any], tuple[Hop, ...], int, str, float]] = [
    # a whole answer
    ("written timeout", False, [Pause()], (hop("a/m", timeout_us=2 * S), B), 600, "b/m", 2),
    ("default timeout", False, [Pause()], (hop("a/m"), B), 600, "b/m", 30),
    ("last hop", False, [Pause(200 * S), said("a")], (hop("a/m"),), 600, "a/m", 200),
    ("last hop, written", False, [Pause()], (hop("a/m", timeout_us=9 * S),), 600, "504 timeout", 9),
    ("last hop, deadline", False, [Pause()], (hop("a/m"),), 600, "504 timeout", 600),
    ("deadline first", False, [Pause()], (hop("a/m"), B), 20, "504 timeout", 20),
    ("no hop for it", False, [Pause(99 * S), said("a")], (hop("a/m"), LIMITS), 600, "a/m", 99),
    # a stream, up to its first content
    ("written ttft", True, HANGS, (hop("a/m", ttft_us=3 * S), B), 600, "b/m", 3),
    ("default ttft", True, HANGS, (hop("a/m", timeout_us=50 * S), B), 600, "b/m", 30),
    ("timeout of a stream", True, HANGS, (hop("a/m", timeout_us=4 * S), B), 600, "b/m", 4),
    ("last hop waits", True, [ROLE, Pause(200 * S), TEXT], (hop("a/m"),), 600, "a/m", 200),
    ("last, written", True, HANGS, (hop("a/m", ttft_us=7 * S),), 600, "504 ttft_timeout", 7),
    ("last, deadline", True, HANGS, (hop("a/m"),), 40, "504 timeout", 40),
    ("thought is content", True, [Pause(29 * S), THINKS, Pause()], (hop("a/m"), B), 600, "a/m", 29),
    ("beats are none", True, [EARLY_BEAT, Pause(20 * S)] * 9, (hop("a/m"), B), 600, "b/m", 30),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "script", "hops", "deadline_s", "expected", "after_s"),
    [pytest.param(*row[1:], id=row[0]) for row in TABLE],
)
def test_each_clock_strikes_when_it_says(
    stream: bool,
    script: list[Any],
    hops: tuple[Hop, ...],
    deadline_s: int,
    expected: str,
    after_s: float,
) -> None:
    became, seconds = story(script, *hops, stream=stream, deadline_s=deadline_s)
    assert became == expected
    assert seconds == pytest.approx(after_s)


def test_a_timed_out_attempt_is_not_tried_again_at_the_same_target() -> None:
    became, seconds = story([Pause()], hop("a/m", retries=3, timeout_us=2 * S), B, stream=False)
    assert became == "b/m"
    assert seconds == pytest.approx(2)


def test_the_timeout_of_a_hop_is_over_its_retries_and_their_waits() -> None:
    slow: list[Act] = [Pause(1 * S), ProviderError(Fault.SERVER, "down", retry_after_us=500_000)]
    first = Scripted("a", [slow] * 9)
    trip = journey(hop("a/m", retries=8, timeout_us=5 * S), hop("b/m"))
    answered, seconds = turn(chain(first, Scripted("b", [said("b")])).answer(trip))
    assert answered.target.id == "b/m"
    assert len(first.calls) == 4
    assert seconds == pytest.approx(5)


def test_the_connection_and_the_gaps_are_told_to_the_provider() -> None:
    provider = Scripted("a", [said("a")])
    turn(chain(provider).answer(journey(hop("a/m"), deadline_us=70 * S)))
    assert provider.calls[0].connect_us == 5 * S
    assert provider.calls[0].idle_us == 70 * S  # nothing comes of a whole answer until all does


# --- gaps ----------------------------------------------------------------------------------------


def test_what_only_keeps_the_connection_alive_is_no_progress() -> None:
    seen, seconds = idle_story([ROLE, TEXT, *[Pause(4 * S), BEAT] * 9], 10 * S, lambda: 0.0)
    assert seen[-1] == "timeout"
    assert seconds == pytest.approx(10)


def test_a_beat_and_a_slow_reader_do_not_add_up_to_a_gap() -> None:
    script = [ROLE, TEXT, *[Pause(4 * S), BEAT, Pause(4 * S), THINKS] * 3, *REST]
    seen, _ = idle_story(script, 10 * S, lambda: 30.0)
    assert seen[-1] == "end"


def test_a_model_that_thinks_for_long_is_not_cut() -> None:
    seen, seconds = idle_story(
        [ROLE, THINKS, *[Pause(9 * S), THINKS] * 40, *REST], 10 * S, lambda: 0.0
    )
    assert seen[-1] == "end"
    assert seconds == pytest.approx(360)
