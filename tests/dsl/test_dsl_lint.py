"""What each rule of lint finds, and what it leaves alone."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.interpret.traced import evaluate
from turnout.dsl.lint.page import completed
from turnout.dsl.lint.run import lint
from turnout.dsl.source import Source

from .conftest import SCHEMA, TODAY, Language

PRIORS = "targets: {openai/gpt-4: {expected: {p95: 4s}}, openai/gpt-4o: {expected: {p95: 4s}}}\n"
RULES = (
    "routing_policy:\n"
    "  - {{name: first, condition: '{}', route: groq/llama-3-8b{}}}\n"
    "  - {{name: default, route: openai/gpt-4o}}\n"
)


def of(language: Language, code: str, text: str) -> list[Diagnostic]:
    """The findings of a code in a policy that has no error."""
    findings = language.lint(completed(text)).findings
    assert [f.message for f in findings if f.severity == "error" and f.code != code] == []
    return [finding for finding in findings if finding.code == code]


def marked(language: Language, code: str, text: str) -> list[str]:
    return [finding.span.excerpt for finding in of(language, code, text)]


# --- fallbacks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "chain", "places"),
    [
        ("openai/gpt-4o", "[openai/gpt-4]", ["openai/gpt-4"]),
        ("openai/gpt-4o", "[openai/gpt-4o, openai/gpt-4]", ["openai/gpt-4"]),
        ("openai/gpt-4o", "[openai/gpt-4, groq/llama-3-8b]", []),
        ("openai/gpt-4o", "[openai/gpt-4o]", []),  # no fallback at all is no false comfort
        ("groq/llama-3-8b", "[openai/gpt-4]", []),
        ("requested", "[openai/gpt-4]", []),
        ("{first_of: [openai/gpt-4o, groq/llama-3-8b]}", "[openai/gpt-4]", []),
        ("{first_of: [openai/gpt-4o, openai/gpt-4]}", "[openai/gpt-4]", []),
        ("{reject: 429, message: no}", "[openai/gpt-4]", []),
        # Kept for what is one model's, it is no way round an outage, and not meant as one.
        ("openai/gpt-4o", "[{to: openai/gpt-4, catch: [context_exceeded]}]", []),
        ("openai/gpt-4o", "[{to: openai/gpt-4, catch: [rate_limit, bad_output]}]", []),
        ("openai/gpt-4o", "[{to: openai/gpt-4, catch: [rate_limit, 5xx]}]", ["openai/gpt-4"]),
        ("{to: openai/gpt-4o, catch: [context_exceeded]}", "[openai/gpt-4]", []),
    ],
)
def test_a_fallback_that_stays_with_the_provider_is_found(
    language: Language, route: str, chain: str, places: list[str]
) -> None:
    text = f"routing_policy:\n  - {{name: a, route: {route}}}\nfallback_chain: {chain}\n"
    assert marked(language, "RP304", text) == places


def test_a_chain_that_helps_no_rule_is_found_once(language: Language) -> None:
    text = (
        "routing_policy:\n"
        "  - {name: a, condition: tokens < 9, route: openai/gpt-4o}\n"
        "  - {name: b, condition: tokens < 10, route: openai/gpt-4o}\n"
        "  - {name: c, route: openai/gpt-4o, fallback: [openai/gpt-4]}\n"
        "fallback_chain: [openai/gpt-4]\n"
    )
    (own, chain) = of(language, "RP304", text)
    assert "`c`" in own.message and "`a`" in chain.message


LIMIT = "require: [{name: eyes, when: has_images, target: vision}]\n"


@pytest.mark.parametrize(
    ("policy", "count"),
    [
        ("- {name: a, condition: stream, route: openai/gpt-4, catch: [content_filter]}", 1),
        ("fallback_chain: [{to: groq/llama-3-8b, catch: [5xx, content_filter]}]", 1),
        (
            "- {name: a, condition: stream, route: openai/gpt-4, "
            "fallback: [{to: groq/llama-3-8b, catch: content_filter}]}",
            1,
        ),
        ("defaults: {catch: [content_filter]}", 1),
        ("fallback_chain: [{to: groq/llama-3-8b, catch: [5xx]}]", 0),
    ],
)
def test_a_refusal_is_not_retried_in_a_policy_with_limits(
    language: Language, policy: str, count: int
) -> None:
    text = completed(policy + "\n")
    assert marked(language, "RP307", LIMIT + text) == ["content_filter"] * count
    assert marked(language, "RP307", text) == []
    assert language.lint(LIMIT + text).program is None or count == 0


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "places"),
    [
        ("time in 09:00..09:00", ["09:00..09:00"]),
        ("time not in 09:00..09:00", ["09:00..09:00"]),
        ("time in 09:00..17:00", []),
        ("time in 22:00..06:00", []),
        ("weekday in Mon..Fri and time in 22:00..06:00", ["22:00..06:00"]),
        ("weekday == Fri and time in 22:00..06:00", ["22:00..06:00"]),
        ("weekday in Mon..Fri and time in 22:00..00:00", []),
        ("weekday in Mon..Fri or time in 22:00..06:00", []),
        ("weekday in Mon..Fri and time in 09:00..17:00", []),
        ("tokens < 5 or (stream and weekday == Mon and time in 23:00..01:00)", ["23:00..01:00"]),
    ],
)
def test_a_window_that_is_not_what_it_seems_is_found(
    language: Language, condition: str, places: list[str]
) -> None:
    assert marked(language, "RP401", RULES.format(condition, "")) == places


@pytest.mark.parametrize(
    ("zone", "window", "says"),
    [
        ("Europe/Berlin", "02:30..05:00", "on 2027-03-28 the clocks go from 02:00 to 03:00"),
        ("Europe/Berlin", "01:00..02:15", "another length"),
        ("Europe/Berlin", "02:00..03:00", "left out that day"),
        ("Europe/Berlin", "02:10..02:50", "left out that day"),
        ("Europe/Berlin", "01:00..05:00", None),
        ("Europe/Berlin", "03:00..05:00", None),
        ("America/New_York", "02:30..05:00", "on 2027-03-14"),
        ("Australia/Lord_Howe", "02:10..05:00", "from 02:00 to 02:30"),
        ("UTC", "02:30..05:00", None),
        ("Asia/Kolkata", "02:30..05:00", None),
    ],
)
def test_an_edge_in_the_hour_that_clocks_skip_is_found(
    language: Language, zone: str, window: str, says: str | None
) -> None:
    text = f"timezone: {zone}\n" + RULES.format(f"time in {window}", "")
    found = of(language, "RP401", text)
    assert [says in f.message for f in found if says] == ([] if says is None else [True])
    assert (found == []) is (says is None)


def test_without_a_date_nothing_is_said_of_days(language: Language) -> None:
    text = "timezone: Europe/Berlin\n" + RULES.format("time in 02:30..05:00", "")
    assert language.lint(text, today=None).findings == ()


# --- live values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "places"),
    [
        ('p95("openai/gpt-4") > 8s', ['p95("openai/gpt-4") > 8s']),
        ('tokens < 9 and not (p95("openai/gpt-4") <= 8s)', ['(p95("openai/gpt-4") <= 8s)']),
        ('(error_rate("openai/gpt-4") ?? 0%) > 5%', ['(error_rate("openai/gpt-4") ?? 0%) > 5%']),
        (
            'p95("openai/gpt-4") > 8s or p95("openai/gpt-4o") > 8s',
            ['p95("openai/gpt-4") > 8s'],
        ),
        ('p95("openai/gpt-4") > p95("openai/gpt-4o")', None),
        ("p95(requested) > 8s", []),
        ('p95("openai/gpt-4") > 1ms * tokens', []),  # not of live values alone: `hold` cannot help
        ('healthy("openai/gpt-4")', []),
        ("tokens < 100", []),
    ],
)
def test_a_threshold_that_nothing_holds_is_found(
    language: Language, condition: str, places: list[str] | None
) -> None:
    expected = [condition] if places is None else places
    text = PRIORS + RULES.format(condition, "")
    assert marked(language, "RP403", text) == expected
    assert marked(language, "RP403", PRIORS + RULES.format(condition, ", hold: 2m")) == []
    defaults = PRIORS + "defaults: {hold: 2m}\n" + RULES.format(condition, "")
    assert marked(language, "RP403", defaults) == []


def test_a_threshold_in_a_definition_is_found_where_it_is_used(language: Language) -> None:
    text = PRIORS + 'let: {slow: p95("openai/gpt-4") > 8s}\n' + RULES.format("slow", "")
    assert marked(language, "RP403", text) == ["slow"]


# --- splits --------------------------------------------------------------------------------------

SPLIT = (
    "routing_policy:\n"
    "  - {{name: a, {}route: {{split: {{groq/llama-3-8b: 5%, openai/gpt-4: 95%}}{}}}}}\n"
)


@pytest.mark.parametrize(
    ("condition", "sticky", "count"),
    [
        ("", "", 1),
        ("", ", sticky: session", 0),
        ("", ", sticky: tenant", 0),
        ("condition: tokens < 5, ", "", 1),
        ('condition: request_type == "embeddings", ', "", 0),
        ('condition: request_type in ["embeddings"], ', "", 0),
        ('condition: request_type in ["embeddings", "chat"], ', "", 1),
        ('condition: request_type != "embeddings", ', "", 1),
    ],
)
def test_a_split_of_conversations_without_sticky_is_found(
    language: Language, condition: str, sticky: str, count: int
) -> None:
    quoted = condition
    if condition:
        key, _, value = condition.removesuffix(", ").partition(": ")
        quoted = f"{key}: '{value}', "
    text = SPLIT.format(quoted, sticky)
    assert marked(language, "RP420", text) == ["groq/llama-3-8b"] * count


# --- trust ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "places"),
    [
        ('header["x-region"] == "eu"', ['header["x-region"]']),
        ('meta["project"] == "x"', ['meta["project"]']),
        ('tier == "free"', []),
        ("has_images", []),
    ],
)
def test_a_limit_on_the_callers_word_is_found(
    language: Language, when: str, places: list[str]
) -> None:
    text = f"require:\n  - {{name: eu, when: '{when}', target: region == \"eu\"}}\n"
    assert marked(language, "RP430", text) == places


@pytest.mark.parametrize(
    ("condition", "places"),
    [
        ('header["x-tier"] == "pro"', ['header["x-tier"]']),
        ('header["x-customer-plan"] == "pro"', ['header["x-customer-plan"]']),
        ('meta["tenant"] == "acme"', ['meta["tenant"]']),
        ('header["x-team"] == "search"', []),
        ('header["x-frontier"] == "y"', []),
        ('tier == "pro"', []),
    ],
)
def test_a_rule_on_a_tier_out_of_a_header_is_found(
    language: Language, condition: str, places: list[str]
) -> None:
    assert marked(language, "RP430", RULES.format(condition, "")) == places


# --- tests and dates -----------------------------------------------------------------------------


def test_rules_that_no_test_fires_are_found_where_there_are_tests(language: Language) -> None:
    text = RULES.format("tokens < 100", "")
    assert marked(language, "RP501", text) == []
    one = text + "tests:\n  - {given: {tokens: 5}, expect: first}\n"
    assert marked(language, "RP501", one) == ["default"]
    both = one + "  - {given: {tokens: 500}, expect: default}\n"
    assert marked(language, "RP501", both) == []
    wrong = one + "  - {given: {tokens: 500}, expect: first}\n"  # fails, and fires it all the same
    assert marked(language, "RP501", wrong) == []


@pytest.mark.parametrize(
    ("today", "says"),
    [
        (date(2026, 11, 21), None),
        (date(2026, 11, 22), "1 day ago"),
        (date(2027, 11, 21), "365 days ago"),
    ],
)
def test_a_rule_has_expired_on_the_day_after_its_last(
    language: Language, today: date, says: str | None
) -> None:
    text = RULES.format("tokens < 9", ", expires: 2026-11-21")
    found = language.lint(text, (today - date(1970, 1, 1)).days).findings
    assert [says in f.message for f in found if says] == ([] if says is None else [True])
    assert all(f.code == "RP503" and f.span.excerpt == "2026-11-21" for f in found)
    assert (date(2026, 11, 21) - date(1970, 1, 1)).days == TODAY


# --- style ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "condition", "help"),
    [
        ("RP601", "100 > tokens", "`tokens < 100`"),
        ("RP601", '"auto" == model', '`model == "auto"`'),
        ("RP601", "500 <= tokens + 3", "`tokens + 3 >= 500`"),
        ("RP601", "tokens > 100", None),
        ("RP602", "not (tokens < 100)", "`tokens >= 100`"),
        ("RP602", 'not model == "x"', '`model != "x"`'),
        ("RP602", "not not stream", "`stream`"),
        ("RP602", "not (tokens not in [1, 2])", "`tokens in [1, 2]`"),
        ("RP602", "not (tokens in 1..5)", "`tokens not in 1..5`"),
        ("RP602", "not stream", None),
        ("RP602", "not (stream or has_tools)", None),
        ("RP603", 'model in ["b", "a", "c", "d", "e"]', "put `a` before `b`"),
        ("RP603", 'model in ["a", "b", "e", "f", "d"]', "put `d` before `e`"),
        ("RP603", 'model in ["a", "b", "c", "d", "e"]', None),
        ("RP603", 'model in ["b", "a"]', None),
        ("RP603", "tokens in [5, 4, 3, 2, 1]", None),
        ("RP604", " and ".join(f"tokens != {n}" for n in range(8)), "`let:`"),
        ("RP604", " and ".join(f"tokens != {n}" for n in range(7)), None),
    ],
)
def test_style_is_a_note_with_the_better_form(
    language: Language, code: str, condition: str, help: str | None
) -> None:
    found = of(language, code, RULES.format(condition, ""))
    assert [finding.severity for finding in found] == ([] if help is None else ["info"])
    assert help is None or help in str(found[0].help)


@pytest.mark.parametrize(
    "condition",
    [
        "100 > tokens",
        '"auto" == model',
        "500 <= tokens + 3",
        "not (tokens < 100)",
        "not not stream",
    ],
)
def test_the_better_form_means_the_same(language: Language, condition: str) -> None:
    text = RULES.format(condition, "")
    (found,) = language.lint(text).findings
    better = str(found.help).removeprefix("write `").removesuffix("`")
    one, other = (
        language.compile(RULES.format(form, "")).clauses[0].applies for form in (condition, better)
    )
    for tokens in (None, 0, 99, 100, 101, 497, 600):
        for model in (None, "auto", "x"):
            for stream in (None, True, False):
                snapshot = {
                    "request_type": "chat", "tokens": tokens, "model": model, "stream": stream
                }  # fmt: skip
                assert evaluate(one, snapshot).value == evaluate(other, snapshot).value


# --- what is not done yet ------------------------------------------------------------------------


def test_invariants_are_noted_once(language: Language) -> None:
    text = (
        "invariants:\n"
        "  - {name: a, never: has_tools and tokens > 9}\n"
        "  - {name: b, always: tokens > 0}\n"
    )
    (found,) = of(language, "RP329", text)
    assert found.span.excerpt == "a" and "these 2 invariants are typed" in found.message


# --- together ------------------------------------------------------------------------------------


def test_errors_stop_what_needs_a_program_and_nothing_else(language: Language) -> None:
    text = RULES.format("100 > tokns", "") + "tests:\n  - {given: {tokens: 5}, expect: default}\n"
    linted = language.lint(text)
    assert [finding.code for finding in linted.findings] == ["RP601", "RP101"]
    assert linted.program is None and linted.policy is not None


def test_a_text_that_is_no_policy_has_its_errors_only(language: Language) -> None:
    linted = language.lint("routing_policy: [")
    assert linted.policy is None and linted.program is None
    assert {finding.severity for finding in linted.findings} == {"error"}


POLICIES = sorted((Path(__file__).parents[2] / "policies").glob("*.yml"))


@given(st.sampled_from(POLICIES), st.data())
def test_whatever_is_cut_out_of_a_policy_lint_has_an_answer(
    path: Path, data: st.DataObject
) -> None:
    text = path.read_text(encoding="utf-8")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 60, len(text))))
    instead = data.draw(st.sampled_from(["", "99:99", "not ", "[", "2026-13-45", "$", "-1", "\n"]))
    linted = lint(Source("routing.yml", text[:start] + instead + text[end:]), SCHEMA, TODAY)
    errors = [finding for finding in linted.findings if finding.severity == "error"]
    assert (linted.program is None) == bool(errors)


@pytest.mark.parametrize("window", ["25:00..26:00", "09:61..10:00", "9:00..24:00", "24:00..24:00"])
def test_a_time_that_does_not_exist_is_an_error_and_no_defect(
    language: Language, window: str
) -> None:
    linted = language.lint(RULES.format(f"time in {window}", ""))
    assert all(finding.code in ("RP001", "RP111", "RP401") for finding in linted.findings)


def test_a_day_of_expiry_that_all_rules_share_is_watched(language: Language) -> None:
    text = "defaults: {expires: 2020-01-01}\n" + RULES.format("tokens < 9", "")
    found = [f for f in language.lint(text, TODAY).findings if f.code == "RP503"]
    assert [f.message for f in found] == [
        "`defaults` lets rules expire on 2020-01-01, which has passed"
    ]
