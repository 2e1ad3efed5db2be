"""Scores and labels that are made from a request's words and shape alone."""

# ruff: noqa: RUF001, E501 (letters of other scripts; whole sentences)

import doctest
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.engine import complexity, language
from turnout.engine.attributes import LANGUAGES, LEVELS, TASKS
from turnout.engine.complexity import level, looked_at, score, signs
from turnout.engine.complexity_words import CATEGORIES
from turnout.engine.language import language_of
from turnout.engine.request import Caller, Operation, Request
from turnout.engine.task import task_of


def request(text: str, **body: Any) -> Request:
    whole = {"messages": [{"role": "user", "content": text}], **body}
    return Request("req_1", Operation.CHAT, whole, b"", "auto", False, Caller(), {}, 0, 0)


LEVELS_OF = [
    ("hi", "low"),
    ("Hello, how are you?", "low"),
    ("What is the capital of France?", "low"),
    ("Translate 'good morning' into French.", "low"),
    ("Write a haiku about autumn.", "low"),
    ("Erkläre mir bitte kurz, was ein Vertrag ist.", "low"),
    ("Prove that the square root of 2 is irrational.", "medium"),
    ("证明根号2是无理数。", "medium"),
    ("Find all integers n such that n^2+3n+5 is divisible by 121.", "medium"),
    (
        "Design a distributed rate limiter for a multi-region API. Compare token bucket and sliding "
        "window, explain the trade-offs, and ensure at most 1% overshoot.",
        "high",
    ),
    (
        "Implement a thread-safe LRU cache with TTL in Go; must be O(1), explain concurrency "
        "decisions and edge cases.",
        "high",
    ),
]


@pytest.mark.parametrize(("text", "expected"), LEVELS_OF)
def test_a_request_has_the_level_that_people_would_give_it(text: str, expected: str) -> None:
    assert level(score(request(text))) == expected


def test_levels_begin_where_the_page_says() -> None:
    assert [level(at) for at in (0, 2_999, 3_000, 4_999, 5_000, 10_000)] == [
        "low",
        "low",
        "medium",
        "medium",
        "high",
        "high",
    ]
    assert LEVELS == ("low", "medium", "high")


MORE = [
    {"tools": [{"type": "function"}] * 4},
    {"response_format": {"type": "json_schema"}},
    {
        "messages": [
            {"role": "system", "content": "rule " * 200},
            {"role": "user", "content": "Why is it so?"},
        ]
    },
    {
        "messages": [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "Why is it so?"},
        ]
    },
]


@pytest.mark.parametrize("body", MORE, ids=lambda body: "+".join(body))
def test_the_shape_of_a_request_counts_too(body: dict[str, Any]) -> None:
    assert score(request("Why is it so?", **body)) > score(request("Why is it so?"))


@given(st.text(max_size=3_000))
def test_a_score_is_an_integer_of_the_scale_and_always_the_same(text: str) -> None:
    first = score(request(text))
    assert type(first) is int
    assert 0 <= first <= 10_000
    assert score(request(text)) == first
    assert level(first) in LEVELS
    assert task_of(request(text)) in TASKS
    assert language_of(text) is None or language_of(text) in LANGUAGES


HOSTILE = {
    "english": "The quick brown function must explain why 3*x = 4?\n",
    "spaces": " " * 50,
    "one letter": "a",
    "symbols": "={}\\frac{x}{y}^_",
    "brackets": "((((((((((",
    "lines": "\n",
    "blank lines": " \n",
    "ends of statements": ";\n",
    "an opening": "{" + "\n" * 100,
    "tabs": "\t",
    "list all": "list all a",
    "half a fasse": "fasse das ",
    "numbers": "1 = 2 + ",
    "chinese": "证明方程",
    "how many": "how many ",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_twenty_kilobytes_take_no_time_to_speak_of(text: str) -> None:
    asked = request((text * 20_000)[:20_000])
    for measure in (score, task_of, lambda r: language_of(r.body["messages"][0]["content"])):
        measure(asked)
        took = []
        for _ in range(5):
            began = time.process_time_ns()
            measure(asked)
            took.append(time.process_time_ns() - began)
        # A millisecond is what it may take; a busy machine gets ten.
        assert min(took) < 10_000_000


def test_of_a_long_text_the_beginning_and_the_end_are_looked_at() -> None:
    text = "a" * 3_000 + "b" * 50_000 + "c" * 1_000
    assert looked_at(text) == "a" * 3_000 + "\n" + "c" * 1_000
    assert looked_at("a" * 4_000) == "a" * 4_000


def test_every_sign_is_worth_something_and_every_category_is_a_sign() -> None:
    fields = signs(request("hi"))._fields
    assert set(complexity.WORTH) == set(fields)
    assert set(CATEGORIES) <= set(fields)


TASKS_OF = [
    ("Translate this to German: hello", "translation"),
    ("Übersetze das bitte ins Englische", "translation"),
    ("把这句话翻译成英文", "translation"),
    ("Summarize the following article", "summary"),
    ("Fasse den Text in drei Sätzen zusammen", "summary"),
    ("Classify the sentiment of this review", "classification"),
    ("Extract all dates as JSON", "extraction"),
    ("Why does this fail?\n```python\nprint(1\n```", "code"),
    ("Write a python function that reverses a string", "code"),
    ("Solve for x: 3x + 4 = 10", "math"),
    ("Prove that there are infinitely many primes", "math"),
    ("Write a poem about the sea", "writing"),
    ("Schreibe einen Brief an meinen Vermieter", "writing"),
    ("Who wrote Faust?", "question"),
    ("Hallo zusammen", "chat"),
    ("thanks!", "chat"),
]


@pytest.mark.parametrize(("text", "task"), TASKS_OF)
def test_the_kind_of_work_is_told_from_the_last_message(text: str, task: str) -> None:
    assert task_of(request(text)) == task


LANGUAGES_OF = [
    ("How do I bake bread?", "en"),
    ("Wie backe ich ein Brot?", "de"),
    ("Comment faire du pain à la maison ?", "fr"),
    ("¿Cómo puedo hacer pan en casa?", "es"),
    ("Come posso fare il pane in casa?", "it"),
    ("Como posso fazer pão em casa? Não tenho fermento.", "pt"),
    ("Hoe kan ik brood bakken? Ik heb geen gist, wat is het beste?", "nl"),
    ("Hur bakar jag bröd och vad är det bästa mjölet?", "sv"),
    ("Jak upiec chleb w domu? Nie mam drożdży.", "pl"),
    ("Jak upéct chleba? Nemám droždí, ale mám čas.", "cs"),
    ("Ekmek nasıl yapılır? Benim için çok önemli.", "tr"),
    ("Làm thế nào để nướng bánh mì?", "vi"),
    ("Как испечь хлеб?", "ru"),
    ("Як спекти хліб?", "uk"),
    ("如何烤面包？", "zh"),
    ("パンを焼くには？", "ja"),
    ("빵은 어떻게 굽나요?", "ko"),
    ("كيف أخبز الخبز؟", "ar"),
    ("چگونه نان بپزم؟", "fa"),
    ("रोटी कैसे बनाएं?", "hi"),
    ("Πώς ψήνω ψωμί;", "el"),
    ("איך אופים לחם?", "he"),
    ("ทำขนมปังอย่างไร", "th"),
    ("Wie funktioniert the borrow checker in Rust und warum ist das so?", "de"),
    ("GPT-4 和 Claude 哪个更好？", "zh"),
    ("1234 + 5678", None),
    ("xyzzy plugh", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "code"), LANGUAGES_OF)
def test_the_language_is_told_or_it_is_not_known(text: str, code: str | None) -> None:
    assert language_of(text) == code


def test_the_examples_in_the_documentation_are_true() -> None:
    assert doctest.testmod(language).failed == 0
