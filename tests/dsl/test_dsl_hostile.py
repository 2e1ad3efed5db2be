"""Mistakes that people make and texts that nobody should write: place, fix, and no long wait."""

import time
from typing import Any

import pytest

RULE = "  - {name: default, route: openai/gpt-4}\n"
HEAD = f"routing_policy:\n{RULE}"


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
        ('true in true..""', 'true..""', None),
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


def test_where_counts_for_each_candidate(language: Any) -> None:
    rules = "".join(
        f"  - {{name: r{i}, route: {{first_of: [{MANY.rpartition(',')[0]}], "
        f"where: {' or '.join(['stream'] * 600)}}}}}\n"
        for i in range(10)
    )
    _, findings = language.examine(f"routing_policy:\n{rules}{RULE}")
    (finding,) = (finding for finding in findings if finding.severity == "error")
    assert "more than 500000 parts together" in finding.message
