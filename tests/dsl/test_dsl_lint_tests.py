"""What lint says of the tests of a policy, in the words of `policy test`."""

import pytest

from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.expect import run
from turnout.dsl.parse import parse
from turnout.dsl.source import Source

from .conftest import Language

POLICY = """\
attributes: {tier: [free, pro]}
budgets: [{name: team, scope: team, limit: $5/day}]
lists: {words: [one]}
routing_policy:
  - {name: slow, condition: 'p95("openai/gpt-4") ?? 1s > 8s', route: openai/gpt-4o, hold: 2m}
  - {name: vip, condition: 'budget("team").left < $1 or contains_any("words")', route: openai/gpt-4}
  - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
  - {name: full, condition: stream, route: {reject: 429, message: later}}
  - {name: default, route: openai/gpt-4o, fallback: [openai/gpt-4, groq/llama-3-8b]}
tests:
  - {given: {tokens: 5, "p95(openai/gpt-4)": 9s}, expect: slow}
  - {given: {tokens: 5, "contains_any(words)": true}, expect: vip}
  - {given: {tokens: 5, tier: free}, at: "Tue 10:00", expect: {rule: short, route: groq/llama-3-8b}}
  - {given: {tokens: 500, stream: true}, expect: {rule: full, route: reject}}
  - {given: {tokens: 500, stream: true}, expect: {rule: full, route: reject 429}}
  - {given: {tokens: 500}, expect: {rule: default, route: openai/gpt-4o}}
"""


def broken(language: Language, text: str) -> list[Diagnostic]:
    findings = language.lint(text).findings
    assert [f.message for f in findings if f.severity == "error"] == []
    return [finding for finding in findings if finding.code == "RP504"]


def with_test(test: str) -> str:
    return f"{POLICY}  - {test}\n"


def test_tests_that_can_be_read_are_left_alone(language: Language) -> None:
    assert {f.code for f in language.lint(POLICY).findings} == set()


WRONG = [
    ("{given: {tokens: 5}, expect: shrt}", "shrt", "did you mean `short`?"),
    ("{given: {tokns: 5}, expect: short}", "5", "did you mean `tokens`?"),
    ("{given: {tokens: 5, teir: free}, expect: short}", "free", "did you mean `tier`?"),
    ("{given: {tokens: 5, tier: fre}, expect: short}", "fre", "did you mean `free`?"),
    ("{given: {tokens: 5s}, expect: short}", "5s", "write `tokens: 80`"),
    ("{given: {tokens: -5}, expect: short}", "-5", "write `tokens: 80`"),
    ("{given: {tokens: 5, stream: maybe}, expect: short}", "maybe", "write `true`"),
    (
        '{given: {tokens: 5, "p95(openai/gpt4)": 9s}, expect: slow}',
        "9s",
        "did you mean `p95(openai/gpt-4)`?",
    ),
    (
        '{given: {tokens: 5, "p95(openai/gpt-4)": 9}, expect: slow}',
        "9",
        "write `p95(openai/gpt-4): 800ms`",
    ),
    ('{given: {tokens: 5, "budget(taem).left": $3}, expect: vip}', "$3", "did you mean `budget(te"),
    ("{given: {tokens: 5, tier(x): free}, expect: short}", "free", "write `tier`"),
    ("{given: {tokens: 5}, at: Noday, expect: short}", "Noday", 'write `"Sat 10:00"`'),
    ("{given: {tokens: 5, at: 25:00}, expect: short}", "25:00", 'write `"Sat 10:00"`'),
]  # fmt: skip


@pytest.mark.parametrize(("test", "place", "help"), WRONG)
def test_a_test_that_cannot_be_read_is_found_in_the_words_of_the_test_command(
    language: Language, test: str, place: str, help: str
) -> None:
    text = with_test(test)
    (finding,) = broken(language, text)
    assert (finding.severity, finding.span.excerpt) == ("warning", place)
    assert help in (finding.help or "")
    told = run(language.compile(text), parse(Source("routing.yml", text)).tests)[-1]
    assert (told.problem, told.help, told.span) == (finding.message, finding.help, finding.span)


def test_a_route_that_nothing_goes_to_is_found_with_the_one_that_is_meant(
    language: Language,
) -> None:
    text = with_test("{given: {tokens: 500}, expect: {rule: default, route: openai/gpt-4oo}}")
    (finding,) = broken(language, text)
    assert finding.message == "no rule or fallback goes to `openai/gpt-4oo`"
    assert finding.span.excerpt == "openai/gpt-4oo"
    told = run(language.compile(text), parse(Source("routing.yml", text)).tests)[-1]
    assert (told.help, told.span) == (finding.help, finding.span)


@pytest.mark.parametrize("route", ["openai/gpt-4", "requested", "groq/llama-3-8b"])
def test_where_the_client_decides_any_route_may_be_expected(language: Language, route: str) -> None:
    text = (
        "routing_policy: [{name: a, route: requested}]\n"
        f"tests: [{{given: {{model: gpt-4}}, expect: {{rule: a, route: {route}}}}}]\n"
    )
    assert broken(language, text) == []


def test_every_mistake_of_a_test_is_found(language: Language) -> None:
    text = with_test("{given: {tokns: 5, teir: free}, at: Noday, expect: {rule: x, route: y/z}}")
    assert [f.span.excerpt for f in broken(language, text)] == ["5", "free", "Noday", "x", "y/z"]


@pytest.mark.parametrize("test", ["{given: {tokns: 5}, expect: short}", "{expect: shrot}"])
def test_the_rule_that_a_broken_test_means_is_not_called_untested(
    language: Language, test: str
) -> None:
    text = POLICY.replace("expect: {rule: short, route: groq/llama-3-8b}", "expect: default")
    codes = [f.code for f in language.lint(f"{text}  - {test}\n").findings]
    assert codes.count("RP501") == 0 and codes.count("RP504") == 1


def test_many_broken_tests_are_told_up_to_a_bound(language: Language) -> None:
    text = POLICY + "  - {given: {tokns: 5}, expect: short}\n" * 1_000
    assert len(broken(language, text)) == 200
