"""A snapshot written out reads back as itself."""

import random
from typing import Any

import hypothesis
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from turnout.dsl.core import Program
from turnout.dsl.given import as_given, heard, said
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


# --- in one line ---------------------------------------------------------------------------------

AWKWARD = [
    {"matches((a,)": True, "header.x-team": 'say "hi", at Sat = 10:00'},
    {'matches("a" = 1, b)': False, "meta.my = x, y": "a\\b"},
    {"matches(\\d{1,3})": True, "bucket(a, 5m)": 17, "bucket(my salt, 5)": 1},
    {"p95(openai/gpt-4, 5m)": "1m30s", "error_rate(own/any:1b@2)": "0.5%"},
    {"budget(my team).left": "$-0.000000001", "budget(team).resets_in": "1d"},
    {"team": None, "meta.a]b": None, "matches(\u202e\x1b)": None},
    {"user": "true", "key": "unknown", "tier": "", "tenant": "5m", "stream": True, "tokens": 2**63},
    {"header.x": "\n\r\t\x00\u2028\U000e0001", "at": "2026-03-27 14:30"},
    {"complexity.score": "0.7", "date": "2026-10-01", "at": "Sat 10:00"},
]


@pytest.mark.parametrize("given", AWKWARD, ids=str)
def test_what_was_said_in_one_line_is_heard(given: dict[str, bool | int | str | None]) -> None:
    line = said(given)
    assert line.isprintable()
    texts = {k: str(v).lower() if isinstance(v, bool) else v for k, v in given.items()}
    assert heard(line) == {k: None if v is None else str(v) for k, v in texts.items()}


KEYS = st.one_of(
    st.sampled_from(["tokens", "tier", "tenant.region", "p95(openai/gpt-4)", "at2"]),
    st.text(max_size=8).map(lambda text: f"matches({text})"),
    st.text(min_size=1, max_size=8).map(lambda text: f"meta.{text}"),
    st.text(max_size=8).map(lambda text: f"budget({text}).left"),
)
VALUES = st.one_of(st.none(), st.text(max_size=8), st.integers(), st.booleans())


@settings(max_examples=400)
@hypothesis.given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_whatever_was_said_is_heard(given: dict[str, Any]) -> None:
    expected = {k: str(v).lower() if isinstance(v, bool) else v for k, v in given.items()}
    expected = {key: None if value is None else str(value) for key, value in expected.items()}
    assert heard(said(given)) == expected


@pytest.mark.parametrize(
    "line",
    [
        "tokens=80",
        "tokens = 80,tier = 5",
        "tokens = 80, ",
        "team = a, b",
        "team = 'a'",
        'team = "a',
        'team = "\\q"',
        "tokens = 80, tokens = 90",
        'header["x"]=a = 1, b = 2',
        "",
        "any request",
    ],
)
def test_a_line_of_another_form_is_not_heard(line: str) -> None:
    assert heard(line) is None
