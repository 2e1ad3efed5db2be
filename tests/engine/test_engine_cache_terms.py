"""Which answers a pattern means, and what is told of those that are kept."""

import pytest

from turnout.engine.cache_terms import WrongPattern, document, invalidation, removed
from turnout.engine.cached import Invalidation, Shelved

HOUR_US = 3_600_000_000
NOW_US = 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("pattern", "which"),
    [
        ("*", Invalidation("all", "*", "acme")),
        ("model:openai/*", Invalidation("model", "openai/*", "acme")),
        ("model:gpt-4", Invalidation("model", "gpt-4", "acme")),
        (" rule:faq ", Invalidation("rule", "faq", "acme")),
        ("rule:a:b", Invalidation("rule", "a:b", "acme")),
        ("tag:team=s?arch", Invalidation("tag", "team=s?arch", "acme")),
        ("tag:*", Invalidation("tag", "*", "acme")),
    ],
)
def test_a_pattern_says_what_it_names(pattern: str, which: Invalidation) -> None:
    assert invalidation(pattern, None, "acme", NOW_US) == which


@pytest.mark.parametrize(
    ("written", "age_us"), [("2h", 2 * HOUR_US), ("90s", 90_000_000), (" 7d ", 7 * 24 * HOUR_US)]
)
def test_an_age_is_counted_back_from_now(written: str, age_us: int) -> None:
    which = invalidation("*", written, None, NOW_US)
    assert which == Invalidation("all", "*", None, NOW_US - age_us)


@pytest.mark.parametrize(
    ("pattern", "help"),
    [
        (None, "`*` stands for any text"),
        (7, "`tag:team=search`"),
        ("", "`rule:…`"),
        ("  ", "`rule:…`"),
        ("gpt-4", "`model:openai/*`"),
        ("openai/*", "write `model:openai/*` for a model"),
        ("openai/gpt:latest", "write `model:openai/gpt:latest` for a model"),
        ("target:x", "`model:openai/*`"),
        ("Model:x", "`model:openai/*`"),
        ("model:", "`model:*` means all"),
        ("model:" + "x" * 300, "`*` stands for any text"),
        ("model:\n", "`model:*` means all"),
        ("rule:a\x00b", "`*` stands for any text"),
    ],
)
def test_what_no_pattern_is_is_refused_with_one_that_is(pattern: object, help: str) -> None:
    with pytest.raises(WrongPattern) as wrong:
        invalidation(pattern, None, None, NOW_US)
    assert wrong.value.param == "pattern"
    assert help in wrong.value.help


@pytest.mark.parametrize("age", ["", "2", "-2h", "0s", "$2", "5%", "soon", 7, True, "99999d"])
def test_what_no_age_is_is_refused(age: object) -> None:
    with pytest.raises(WrongPattern) as wrong:
        invalidation("*", age, None, NOW_US)
    assert wrong.value.param == "older_than"
    assert "`2h`" in wrong.value.help


def test_the_largest_targets_come_first_and_add_up() -> None:
    told = document(
        [
            Shelved("groq/llama", 2, 100, 5_000_000, 9_000_000, 1_000),
            Shelved("openai/gpt-4o", 1, 900, 7_000_000, 7_000_000, 2_000_000_000),
        ],
        None,
    )
    assert (told["answers"], told["bytes"], told["saves"]) == (3, 1000, "2.000001")
    assert [one["target"] for one in told["targets"]] == ["openai/gpt-4o", "groq/llama"]
    assert told["targets"][1]["oldest"] == "1970-01-01T00:00:05Z"
    assert document([], "acme")["targets"] == []


def test_where_nobody_counts_no_number_is_made_up() -> None:
    assert removed(None) == {"object": "cache.invalidation", "removed": None}
