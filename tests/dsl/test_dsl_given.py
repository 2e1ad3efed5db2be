"""A snapshot written out reads back as itself."""

import random

import pytest

from turnout.dsl.core import Program
from turnout.dsl.given import as_given, said
from turnout.dsl.moment import weekday_of
from turnout.dsl.schema import Type, Value
from turnout.dsl.snapshot import read_given

from .conftest import Language

POLICY = """
timezone: Europe/Berlin
attributes: {tier: [free, pro], tenant.region: [eu, us]}
targets:
  openai/gpt-4: {expected: {p95: 4s, ttft: 300ms, output: 400}}
budgets: [{name: team, scope: team, limit: $20/day}]
lists: {words: [one, two]}
routing_policy:
  - name: a
    condition: 'tokens < 5 and tier == "pro" and p95("openai/gpt-4") > 8s'
    route: openai/gpt-4
  - name: b
    condition: 'header["x-team"] == "a=b" and budget("team").left < $5'
    route: openai/gpt-4
  - name: c
    condition: 'time in 09:00..18:00 and weekday == Sat and stream'
    route: openai/gpt-4o
  - name: d
    condition: 'date >= 2026-10-01 and temperature < 0.7'
    route: openai/gpt-4o
  - name: e
    condition: 'error_rate("openai/gpt-4") > 5% and contains_any("words")'
    route: requested
  - name: f
    condition: 'cost("openai/gpt-4") > $0.5 and tenant.region == "eu"'
    route: requested
  - {name: g, route: {split: {openai/gpt-4: 5%, openai/gpt-4o: 95%}, sticky: session}}
"""


def by_chance(program: Program, dice: random.Random) -> dict[str, Value | None]:
    values: dict[str, Value | None] = {}
    for key, slot in program.slots.items():
        attribute = slot.attribute
        if not attribute.always_known and dice.random() < 0.3:
            values[key] = None
        elif attribute.type is Type.BOOL:
            values[key] = dice.random() < 0.5
        elif attribute.type in (Type.TEXT, Type.ENUM):
            words = attribute.domain or ("openai/gpt-4", "a=b", "5m", "true", 'say "hi"')
            values[key] = dice.choice(words)
        else:
            low, high = attribute.minimum or 0, attribute.maximum or 10**11
            values[key] = dice.randrange(low, high + 1)
    day = values.get("date")
    if isinstance(day, int):
        values["weekday"] = weekday_of(day)
    return values


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_out_reads_back(language: Language, seed: int) -> None:
    program = language.compile(POLICY)
    values = by_chance(program, random.Random(seed))
    given = as_given(values, program)
    read = read_given(given, program)
    assert {key: read[key] for key in program.slots} == {
        key: values.get(key) for key in program.slots
    }


def test_only_what_differs_from_an_empty_chat_is_written(language: Language) -> None:
    program = language.compile(POLICY)
    values = dict(read_given({"tokens": 80, "tier": "free", "at": "2026-03-28 10:00"}, program))
    assert as_given(values, program) == {"tokens": 80, "tier": "free", "at": "2026-03-28 10:00"}


def test_a_line_says_it_as_people_do() -> None:
    assert (
        said({"tokens": 80, "tier": "free", "has_tools": True, "team": None, "at": "Sat 10:00"})
        == 'tokens = 80, tier = "free", has_tools = true, team unknown, at Sat 10:00'
    )
