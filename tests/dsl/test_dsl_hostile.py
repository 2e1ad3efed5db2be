"""Mistakes that people make and texts that nobody should write: place, fix, and no long wait."""

import time
from typing import Any

import pytest

from turnout.adapters import PROVIDERS
from turnout.dsl import habits
from turnout.dsl.vocabulary import FORMS
from turnout.engine.attributes import BY_NAME

RULE = "  - {name: default, route: openai/gpt-4}\n"
HEAD = f"routing_policy:\n{RULE}"
FIRST = "routing_policy:\n  - {name: a, "
SPLIT = f"{FIRST}route: {{split: {{openai/gpt-4: "
LOCAL = "providers: {local: {kind: "


def with_condition(condition: str) -> str:
    quoted = condition.replace("'", "''")
    return (
        f"routing_policy:\n  - {{name: a, condition: '{quoted}', route: groq/llama-3-8b}}\n{RULE}"
    )


@pytest.mark.parametrize(
    ("condition", "marked", "help"),
    [
        ("nto stream", "nto", "write `not`"),
        ("NOT stream", "NOT", "write `not`"),
        ("no (stream or has_tools)", "no", "did you mean `not`?"),
        ("stream == fale", "fale", "did you mean `false`?"),
        ("tokens < 1,000", "1,000", "write `1000`"),
        ("tokens in [1..5]", "..", "write `in lo..hi`, without `[`"),
        ("p95(openai/gpt-4) > 2s", "openai/gpt-4", 'write `p95("openai/gpt-4")`'),
        ('weekday == "Sat"', '"Sat"', "write it without quotes, such as `Sat`"),
        ('date > "2026-12-24"', '"2026-12-24"', "write it without quotes, such as `2026-12-24`"),
        ("cost < €5", "€", "money is written in dollars, such as `$5`"),
        ("tokens ＜ 5", "＜", "write `<`"),  # noqa: RUF001
        ("tokens\u00a0< 5", "\u00a0", "write a plain space"),
        ("tok\u200bens < 5", "\u200b", "remove it"),
        ("t\u043ekens < 5", "\u043e", "names are written in plain letters a to z"),
        ("tokens < 100;", ";", "remove it"),
        ('cookie["x"] == "a"', "cookie", "only `header` and `meta` take a key"),
        ("tie == 5", "tie", "did you mean `tier` or `time`?"),
        ("tokens is null", "is null", "write `not known(tokens)`"),
        ("tokens is not null", "is not null", "write `known(tokens)`"),
        ("stream and tokens is None", "is None", "write `not known(tokens)`"),
        ("tokens == null", "tokens == null", "write `not known(tokens)`"),
        ("tokens != None", "tokens != None", "write `known(tokens)`"),
        ("not (nil == tokens)", "nil == tokens", "write `not known(tokens)`"),
        ("xyzzy > 5", "xyzzy", "docs/attributes.md"),
        ("hour > 5", "hour", "did you mean `time`?"),
        ("duration > 2s", "duration", "did you mean `latency`?"),
        ("latency_ms > 5", "latency_ms", "did you mean `latency`?"),
        ("time in 18:00-02:00", "-", "write `in 18:00..02:00`"),
        ("tokens in 100 - 500", "-", "write `in 100..500`"),
        ("time in 18:00 to 02:00", "to", "write `in 18:00..02:00`"),
        ("if tokens < 100", "if", "remove `if`"),
        ("when tokens < 100", "when", "remove `when`"),
        ("if (tokens < 100)", "if", "remove `if`"),
        ('error_rate("openai/gpt-4") > 5%%', "5%%", "write `5%`"),
        ('error_rate("openai/gpt-4") > 0.05', "0.05", "write `5%`"),
        ('true in true..""', 'true..""', None),
        ("tier == free", "free", 'write `"free"`, text stands in quotes'),
        ("tier in [pro, acme]", "pro", 'write `"pro"`, text stands in quotes'),
        ('tier == "a" or "b"', '"b"', 'such as `tier == "b"`'),
        ("tokens == 5 or 7", "7", "such as `tokens > 7`"),
        ('model.startswith("gpt")', "model.startswith", 'write `model starts_with "gpt"`'),
        ("tier.lower() == 'a'", "tier.lower", "text is compared as it is"),
        ("messages.length > 5", "messages.length", "write `messages`"),
        ("request.tokens > 5", "request.tokens", "write `tokens`"),
        ("cost > 5 cents", "5 cents", "write `$0.05`"),
        ("cost > $.05", "$.05", "write `$0.05`"),
        ("time > 9am", "9am", "write `09:00`"),
        ("time > 12am", "12am", "write `00:00`"),
        ("${tokens} > 5", "$", "write `tokens`"),
        ("tokens % 2 == 0", "%", "operators are + - * /"),
        ("error_rate > 5 %", "5 %", "write `5%`"),
        ("else", "else", "remove the condition"),
        ("stream, has_tools", ",", "write `and` or `or`"),
        ("tokens not between 5 and 10", "between", "write `not in 5..10`"),
        ("tokens isn't 5", "isn", "write `!=`"),
        ("tokens greater than 500", "greater than", "write `>`"),
        ("tokens is not 5", "is not", "write `!=`"),
        ("tools", "tools", "write `has_tools` if the request is meant"),
        ('"gpt" in model', "model", 'write `model has "gpt"`'),
        ("stream and null", "null", "write `known(x)` to ask for it"),
        ("len(messages) > 5", "len", "`tokens` and `messages` are counts already"),
    ],
)
def test_a_slip_in_a_condition_is_marked_with_its_fix(
    language: Any, condition: str, marked: str, help: str | None
) -> None:
    _, findings = language.examine(with_condition(condition))
    errors = [finding for finding in findings if finding.severity == "error"]
    assert len(errors) == 1
    if help is not None:
        assert errors[0].span.excerpt == marked
        assert help in (errors[0].help or "")


@pytest.mark.parametrize(
    ("text", "place", "help"),
    [
        ("routing_policy:\n  -\tname: a\n    route: openai/gpt-4\n", (2, 4), "by a space"),
        ("routing_policy:\n\u00a0 - name: a\n    route: openai/gpt-4\n", (2, 1), "by a space"),
        ("routing_policy:\n  -name: a\n   route: openai/gpt-4\n", (2, 3), "write `- name: a`"),
        ("routing_policy:\n  – name: a\n    route: x/y\n", (2, 3), "write `- name: a`"),  # noqa: RUF001
        (
            "routing_policy:\n  - name: a\n    route:openai/gpt-4\n",
            (3, 10),
            "`route: openai/gpt-4`",
        ),
        (HEAD.replace("\n", "\r"), (1, 16), "end lines with LF or CRLF"),
        (f"# a\u2028b\n{HEAD}", (1, 4), "end lines with LF or CRLF"),
        (f"{HEAD}models: {{auto: polcy}}\n", (3, 16), "did you mean `policy`?"),
        (f"{HEAD}models: {{auto: requested}}\n", (3, 16), "or `policy`"),
        ("routing_policy:\n  - {name: a, route: requestd}\n", (2, 22), "did you mean `requested`?"),
        ("routing_policy:\n  - {name: a, route: opena/igpt-4}\n", (2, 22), "did you mean"),
        (f"{HEAD}targets: {{openai/gpt-4u: {{vision: true}}}}\n", (3, 11), "`openai/gpt-4`?"),
        (f"{SPLIT}0.95, openai/gpt-4o: 5%}}}}}}\n", (2, 45), "write `95%`"),
        (f"{SPLIT}95, openai/gpt-4o: 5%}}}}}}\n", (2, 45), "write `95%`"),
        (f"{SPLIT}1.5, openai/gpt-4o: 5%}}}}}}\n", (2, 45), "write `1.5%`"),
        (f"{SPLIT}95%%, openai/gpt-4o: 5%}}}}}}\n", (2, 45), "write `95%`"),
        (
            f"require:\n  - {{name: eu, when: region == 'eu', target: vision}}\n{HEAD}",
            (2, 22),
            "move it to `target:`",
        ),
        (f"{FIRST}route: reject}}\n", (2, 22), "write `{reject: 403}`"),
        (f"{FIRST}route: reject 429}}\n", (2, 22), "write `{reject: 429}`"),
        (
            f"{FIRST}route: openai/gpt-4, mirror: openai/gpt-4o}}\n",
            (2, 44),
            "write `{to: openai/gpt-4o, sample: 5%}`",
        ),
        (
            f"{HEAD}fallback_chain:\n  - openai/gpt-4o (timeout 2s)\n",
            (4, 20),
            "write `timeout: 2s`",
        ),
        (
            f"{HEAD}fallback_chain:\n  - openai/gpt-4o (timeout 2s, retries: 1)\n",
            (4, 20),
            "write `timeout: 2s`",
        ),
        (f"{HEAD}fallback_chain: openai/gpt-4o\n", (3, 17), "write `[openai/gpt-4o]`"),
        (f"{FIRST}route: openai/gpt-4, tags: x}}\n", (2, 42), "write `[x]`"),
        (f"{HEAD}fallback_chain: [openai/gpt-4 timeout=2s]\n", (3, 18), "(timeout: 2s)`"),
        (
            f"{HEAD}fallback_chain: [openai/gpt-4: {{timeout: 2s}}]\n",
            (3, 18),
            "write `{to: openai/gpt-4, timeout: 2s}`",
        ),
        (f"{HEAD}fallback_chain: [openai/gpt-4 (timeout=2s)]\n", (3, 32), "write `timeout: 2s`"),
        ("routing_policy:\n  a: {route: x/y}\n", (2, 3), "write `- name: a`"),
        (f"{HEAD}require: region == 'eu'\n", (3, 10), "write `[{name: "),
        (f"{HEAD}providers: {{x: 'http://h/v1'}}\n", (3, 16), "write `{base_url: http://h/v1}`"),
        (f"{HEAD}cache: 1h\n", (3, 8), "write `{ttl: 1h}`"),
        (f"{HEAD}cache: {{ttl: 0}}\n", (3, 14), "remove `cache:` where nothing is to be kept"),
        (f"{HEAD}cache: {{ttl: 0s}}\n", (3, 14), "remove `cache:` where nothing is to be kept"),
        (f"{HEAD}deadline: 5000\n", (3, 11), "write `5000s` or `5000ms`"),
        (f"{HEAD}timezone: Berlin\n", (3, 11), "write `Europe/Berlin`"),
        (f"{HEAD}name: a\n", (3, 1), "indent it below the rule"),
        (f"{FIRST}enabled: true, route: x/y}}\n", (2, 15), "remove it"),
        (f"{FIRST}route: cheapest}}\n", (2, 22), "write `{cheapest_of: ["),
        (f"{HEAD}include:\n", (3, 9), "write `[models.yml]`, or remove the line"),
        (f"{HEAD}{LOCAL}vllm, base_url: 'http://host/v1'}}}}\n", (3, 27), "write `kind: openai`"),
        (
            f"{HEAD}{LOCAL}LM-Studio, base_url: 'http://host/v1'}}}}\n",
            (3, 27),
            "write `kind: openai`",
        ),
    ],
)
def test_a_slip_in_a_file_is_marked_with_its_fix(
    language: Any, text: str, place: tuple[int, int], help: str
) -> None:
    _, findings = language.examine(text)
    errors = [finding for finding in findings if finding.severity == "error"]
    assert [(error.span.line, error.span.column) for error in errors] == [place]
    assert help in (errors[0].help or "")
    assert "igpt" not in (errors[0].help or "")  # what is suggested is there


@pytest.mark.uncounted
@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}fallback_chain:\n  - {'a' * 900_000} (\n",
        f"{HEAD}fallback_chain:\n  - {'a:b/c' * 190_000}\n",
        f"{HEAD}x: '{'9' * 9_000}\n",
        with_condition(f"tokens < {'9' * 50} x{'1' * 9_000} ms"),
        with_condition(f"tokens < 5 {'1.' * 4_000} ms"),
        f"{HEAD}let:\n" + "".join(f"  a{i}: a{i}b\n" for i in range(1_000)),
        f"{HEAD}let:\n" + "".join(f"  a{i}: a{i + 1}\n" for i in range(1_000)),
        "routing_policy:\n" + "".join(f"  - {{name: r{i}, route: x{i}/y}}\n" for i in range(2_000)),
    ],
    ids=["long word", "long target", "digits", "unit", "dots", "lets", "chain", "routes"],
)
def test_no_text_keeps_the_reader_for_long(language: Any, text: str) -> None:
    began = time.process_time()
    program, findings = language.examine(text)
    assert program is None
    assert 0 < len(findings) <= 400
    assert time.process_time() - began < 5  # a tenth of it here; minutes before it was linear


MANY = ", ".join(f"ollama/m{number}" for number in range(101))
SHARES = ", ".join(f"ollama/m{number}: 1%" for number in range(101))


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}fallback_chain: [{MANY}]\n",
        f"routing_policy:\n  - {{name: a, route: x/y, fallback: [{MANY}]}}\n",
        f"routing_policy:\n  - {{name: a, route: {{first_of: [{MANY}]}}}}\n",
        f"routing_policy:\n  - {{name: a, route: {{split: {{{SHARES}}}}}}}\n",
    ],
    ids=["chain", "fallback", "choice", "split"],
)
def test_more_than_a_hundred_targets_are_refused_at_once(language: Any, text: str) -> None:
    _, (finding,) = language.examine(text)
    assert (finding.code, finding.severity) == ("RP010", "error")
    assert "names 101 targets, more than 100" in finding.message


LARGE = "let:\n  a0: tokens < 5 or stream\n" + "".join(
    f"  a{i}: a{i - 1} and a{i - 1}\n" for i in range(1, 11)
)
WORDS = f"lists: {{a: [{', '.join(f'w{number}' for number in range(6_000))}]}}\n"


@pytest.mark.uncounted
@pytest.mark.parametrize(
    ("head", "condition"),
    [(LARGE, "a10"), (WORDS, "tenant in a")],
    ids=["let", "list"],
)
def test_small_rules_with_large_conditions_are_bounded_together(
    language: Any, head: str, condition: str
) -> None:
    rules = "".join(
        f"  - {{name: r{i}, condition: {condition}, route: openai/gpt-4}}\n" for i in range(200)
    )
    _, findings = language.examine(f"{head}routing_policy:\n{rules}")
    (finding,) = (finding for finding in findings if finding.severity == "error")
    assert finding.code == "RP001"
    assert "more than 500000 parts together" in finding.message


@pytest.mark.uncounted
def test_where_counts_for_each_candidate(language: Any) -> None:
    rules = "".join(
        f"  - {{name: r{i}, route: {{first_of: [{MANY.rpartition(',')[0]}], "
        f"where: {' or '.join(['stream'] * 600)}}}}}\n"
        for i in range(10)
    )
    _, findings = language.examine(f"routing_policy:\n{rules}{RULE}")
    (finding,) = (finding for finding in findings if finding.severity == "error")
    assert "more than 500000 parts together" in finding.message


def test_the_names_listed_for_an_unknown_one_are_few_and_may_be_written(language: Any) -> None:
    _, findings = language.examine(with_condition("xyzzy > 5"))
    (finding,) = (finding for finding in findings if finding.code == "RP101")
    help = finding.help or ""
    named = help.partition(": ")[2].split(", ")
    assert len(set(named)) == len(named) <= 12
    assert "cached_tokens" not in help
    assert "budget.left" not in help
    for condition in named:
        _, more = language.examine(with_condition(f"known({condition.strip(' `')})"))
        assert not [one for one in more if one.severity == "error"], condition


@pytest.mark.parametrize("word", sorted(habits.ATTRIBUTES))
def test_what_is_meant_by_a_word_of_elsewhere_can_be_written(language: Any, word: str) -> None:
    _, findings = language.examine(with_condition(f"known({word})"))
    (finding,) = (finding for finding in findings if finding.severity == "error")
    meant = habits.ATTRIBUTES[word]
    assert f"`{meant}`" in (finding.help or "")
    budget = "budgets: [{name: team, scope: team, limit: $20/day}]\n"
    _, more = language.examine(budget + with_condition(f"known({meant})"))
    assert not [one for one in more if one.severity == "error"]


@pytest.mark.parametrize("phrase", sorted(habits.TESTS))
def test_a_phrase_of_elsewhere_becomes_a_condition(language: Any, phrase: str) -> None:
    _, findings = language.examine(with_condition(f"not stream and stream {phrase}"))
    (finding,) = (finding for finding in findings if finding.severity == "error")
    meant = habits.TESTS[phrase].format("stream")
    assert finding.help == f"write `{meant}`"
    _, more = language.examine(with_condition(f"not stream and {meant}"))
    assert not [one for one in more if one.severity == "error"]


def test_the_tables_of_habits_are_asked_in_lower_case_and_lead_to_what_is_there() -> None:
    tables = (habits.OPERATORS, habits.TESTS, habits.ATTRIBUTES, habits.FUNCTIONS, habits.FORMS)
    for table in (*tables, habits.KINDS, habits.NOTHING, habits.LEADING, habits.ALWAYS):
        assert all(word == word.lower() for word in table)
    assert set(habits.FORMS.values()) <= set(FORMS)
    assert set(habits.KINDS.values()) <= set(PROVIDERS)
    assert not habits.ATTRIBUTES.keys() & BY_NAME.keys()


def test_what_is_no_mapping_is_told_in_plain_words(language: Any) -> None:
    _, (finding,) = language.examine(f"{FIRST}route: openai/gpt-4, mirror: 5%}}\n")
    assert finding.message == "`mirror` needs keys with values, and this is a text"
