"""What is held, with a clock turned by hand."""

from dataclasses import replace

import pytest

from tests.engine.wall import Wall
from turnout.dsl.check import compile_policy
from turnout.dsl.core import Compare, Const, Latch, Program, Read, Term
from turnout.dsl.schema import Type, Value
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema
from turnout.engine.latch import Latches
from turnout.engine.record import PulseTable

SECOND = 1_000_000_000
BARE = compile_policy(
    Source("test", "routing_policy:\n  - {name: all, route: openai/gpt-4}\n"), language_schema()
)
SLOW = Compare(">", Read("p95(openai/gpt-4)", Type.DURATION), Const(8_000_000, Type.DURATION))
SICK = Compare("==", Read("healthy(openai/gpt-4)", Type.BOOL), Const(False, Type.BOOL))
BUSY = Compare(">=", Read("inflight(openai/gpt-4)", Type.NUMBER), Const(0, Type.NUMBER))


class Clock:
    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def program(*tests: Term, hold_us: int = 120_000_000) -> Program:
    latches = tuple(
        Latch(f"held(slow:{number})", test, hold_us) for number, test in enumerate(tests)
    )
    return replace(BARE, latches=latches)


def table(number: int = 1, **values: Value) -> PulseTable:
    named = {f"{name}(openai/gpt-4)": value for name, value in values.items()}
    return PulseTable(f"pulse_{number}", 0, named, {})


def held(latches: Latches, below: PulseTable) -> set[str]:
    return {key for key, value in latches.over(below).values.items() if key.startswith("held")}


def test_what_was_true_once_is_held_for_its_time_and_no_longer(clock: Clock) -> None:
    latches = Latches(program(SLOW), clock)
    assert held(latches, table(p95=8_000_001)) == {"held(slow:0)"}
    clock.now_ns = 119 * SECOND
    assert held(latches, table(p95=1)) == {"held(slow:0)"}
    clock.now_ns = 120 * SECOND
    assert held(latches, table(p95=1)) == set()


def test_being_true_again_begins_the_time_anew(clock: Clock) -> None:
    latches = Latches(program(SLOW), clock)
    latches.over(table(p95=9_000_000))
    clock.now_ns = 100 * SECOND
    latches.over(table(p95=9_000_000))
    clock.now_ns = 219 * SECOND
    assert held(latches, table(p95=1)) == {"held(slow:0)"}


@pytest.mark.parametrize("values", [{}, {"p95": 8_000_000}])
def test_neither_the_unknown_nor_the_false_is_ever_held(
    clock: Clock, values: dict[str, Value]
) -> None:
    assert held(Latches(program(SLOW), clock), table(1, **values)) == set()


def test_what_becomes_unknown_stays_held(clock: Clock) -> None:
    latches = Latches(program(SLOW), clock)
    latches.over(table(p95=9_000_000))
    clock.now_ns = SECOND
    assert held(latches, table()) == {"held(slow:0)"}


def test_what_a_table_leaves_out_is_as_a_request_would_read_it(clock: Clock) -> None:
    latches = Latches(program(SICK, BUSY), clock)
    assert held(latches, table()) == {"held(slow:1)"}
    assert held(latches, table(2, healthy=False)) == {"held(slow:0)", "held(slow:1)"}


def test_each_comparison_is_held_for_itself(clock: Clock) -> None:
    latches = Latches(program(SLOW, SICK), clock)
    assert held(latches, table(p95=9_000_000)) == {"held(slow:0)"}


def test_a_table_with_something_held_has_a_name_and_values_of_its_own(clock: Clock) -> None:
    latches = Latches(program(SLOW), clock)
    calm, slow = table(1, p95=1), table(2, p95=9_000_000)
    assert latches.over(calm) is calm
    over = latches.over(slow)
    assert (over.id, over.values["held(slow:0)"]) == ("pulse_2+slow:0", True)
    assert latches.over(slow) is over
    assert "held(slow:0)" not in slow.values
    clock.now_ns = 300 * SECOND
    assert latches.over(calm) is calm


def test_without_latches_a_table_stays_itself(clock: Clock) -> None:
    calm = table(p95=9_000_000)
    assert Latches(BARE, clock).over(calm) is calm


# --- several workers -----------------------------------------------------------------------------


def test_what_one_worker_holds_all_workers_hold(clock: Clock) -> None:
    wall = Wall()
    one, two = (Latches(program(SLOW, SICK), clock, board=wall.board()) for _ in range(2))
    assert held(one, table(p95=9_000_000)) == {"held(slow:0)"}
    assert held(two, table(p95=1)) == {"held(slow:0)"}
    late = Latches(program(SLOW, SICK), clock, board=wall.board())
    assert held(late, table(p95=1)) == {"held(slow:0)"}
    clock.now_ns = 119 * SECOND
    assert held(two, table(p95=1)) == {"held(slow:0)"}
    clock.now_ns = 120 * SECOND
    for latches in (one, two, late):
        assert held(latches, table(p95=1)) == set()


def test_what_is_held_outlives_the_worker_that_saw_it(clock: Clock) -> None:
    wall = Wall()
    boards = [wall.board() for _ in range(3)]
    one, two, three = (Latches(program(SLOW), clock, board=board) for board in boards)
    one.over(table(p95=9_000_000))
    two.over(table(p95=1))
    boards[0].close()
    assert held(three, table(p95=1)) == {"held(slow:0)"}


def test_the_later_end_counts_whoever_saw_it(clock: Clock) -> None:
    wall = Wall()
    one, two = (Latches(program(SLOW), clock, board=wall.board()) for _ in range(2))
    one.over(table(p95=9_000_000))
    clock.now_ns = 60 * SECOND
    two.over(table(p95=9_000_000))
    one.over(table(p95=1))
    clock.now_ns = 179 * SECOND
    assert held(one, table(p95=1)) == held(two, table(p95=1)) == {"held(slow:0)"}
    clock.now_ns = 180 * SECOND
    assert held(one, table(p95=1)) == held(two, table(p95=1)) == set()


def test_a_reload_keeps_what_is_held_here_and_what_others_hold_under_the_new_program(
    clock: Clock,
) -> None:
    wall = Wall()
    boards = [wall.board() for _ in range(2)]
    one = Latches(program(SLOW, SICK), clock, board=boards[0])
    two = Latches(program(SLOW), clock, board=boards[1])
    one.over(table(p95=9_000_000, healthy=False))
    two.over(table(p95=1))
    after = Latches(program(SLOW, SICK), clock, held=two.held, board=boards[1])
    assert held(after, table(p95=1)) == {"held(slow:0)", "held(slow:1)"}


def test_a_program_that_holds_nothing_still_learns_for_the_next(clock: Clock) -> None:
    wall = Wall()
    boards = [wall.board() for _ in range(2)]
    Latches(program(SLOW), clock, board=boards[0]).over(table(p95=9_000_000))
    bare = Latches(BARE, clock, board=boards[1])
    bare.over(table(p95=1))
    after = Latches(program(SLOW), clock, held=bare.held, board=boards[1])
    assert held(after, table(p95=1)) == {"held(slow:0)"}


@pytest.mark.parametrize("told", [b"", b"\xff", b"[1]", b'{"held(slow:0)": "soon"}', b"null"])
def test_what_is_told_in_another_form_is_not_held(clock: Clock, told: bytes) -> None:
    wall = Wall()
    wall.board().post("held", told)
    latches = Latches(program(SLOW), clock, board=wall.board())
    assert held(latches, table(p95=1)) == set()
    assert held(latches, table(p95=9_000_000)) == {"held(slow:0)"}


def test_nothing_is_told_while_nothing_is_held(clock: Clock) -> None:
    wall = Wall()
    latches = Latches(program(SLOW), clock, board=wall.board())
    latches.over(table(p95=1))
    assert wall.told == {}
    latches.over(table(p95=9_000_000))
    clock.now_ns = 300 * SECOND
    latches.over(table(p95=1))
    changes = wall.changes
    latches.over(table(p95=1))
    assert wall.changes == changes
    assert [told for _, told in wall.told.values()] == [b"{}"]
