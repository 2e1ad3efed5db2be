"""Conditions that constants alone decide, mirrors of themselves, names that nothing uses."""

import pytest

from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.lint.run import lint
from turnout.dsl.source import Source

from .conftest import Language

HEAD = (
    "attributes: {tier: [free, pro]}\n"
    "let: {on: true, off: false, never: 1 == 2, most: 500}\n"
    "lists: {words: [one]}\n"
)


def found(language: Language, code: str, text: str) -> list[Diagnostic]:
    findings = language.lint(text).findings
    assert [f.message for f in findings if f.severity == "error"] == []
    return [finding for finding in findings if finding.code == code]


def marked(language: Language, code: str, text: str) -> list[str]:
    return [finding.span.excerpt for finding in found(language, code, text)]


# --- constant conditions -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("1 == 2", "`1 == 2` is always false, so the rule `first` never fires"),
        ("false", "this is plain `false`, so the rule `first` never fires"),
        ("stream and 2s > 3s", "`stream and 2s > 3s` is always false, so the rule `first` ne"),
        ("stream and not (2s > 3s)", "`not (2s > 3s)` is always true"),
        ("stream and (true or has_tools)", "`(true or has_tools)` is always true"),
        ("stream and true", "`true` changes nothing here"),
        ("stream or false", "`false` changes nothing here"),
        ('stream or "gpt" in ["gpt", "o"]', None),  # an or that is true is told as a whole
        ('stream and "abc" has "b"', '`"abc" has "b"` is always true'),
        ("stream and 5 in 3..7", "`5 in 3..7` is always true"),
        ("stream and Mon == Tue", "`stream and Mon == Tue` is always false"),
        ("stream and min(1, 2) < most", "`min(1, 2) < most` is always true"),
        ("tokens == prompt_tokens", "both sides of `tokens == prompt_tokens` are the same"),
        ("max_tokens < max_tokens", "so it is never true"),
        ("known(tokens) and stream", "`known(tokens)` is always true: `tokens` is always known"),
    ],
)
def test_what_no_request_changes_is_found(
    language: Language, condition: str, message: str | None
) -> None:
    text = language.one_rule(condition, HEAD)
    findings = [f for f in language.lint(text).findings if f.code == "RP118"]
    (finding,) = findings
    assert finding.severity == "warning" and finding.help
    assert (message or "is always true") in finding.message
    assert finding.span.excerpt in condition


@pytest.mark.parametrize(
    "condition",
    [
        "on and stream",  # a name for a plain truth is a switch
        "off",
        "on",
        "stream or off",
        "stream == true",
        "(max_tokens ?? 1k) > 500",
        "(max_tokens ?? 1k) > most",
        "known(max_tokens)",
        'p95("openai/gpt-4") > p95("openai/gpt-4o")',
        'p95("openai/gpt-4") > p95("openai/gpt-4", 5m)',
        "tokens / 2 > 1k",
        "tokens in 0..500",
        "time in 22:00..06:00 and weekday in Sat..Mon",
        'tier == "free" and tier == "pro"',  # for the solver: no folding shows it
        'contains_any("words")',
    ],
)
def test_what_a_request_can_change_is_left_alone(language: Language, condition: str) -> None:
    assert marked(language, "RP118", language.one_rule(condition, HEAD)) == []


def test_a_constant_in_a_definition_is_told_once_where_it_is_written(language: Language) -> None:
    text = language.one_rule("never and stream", HEAD).replace(
        "  - {name: default",
        "  - {name: b, condition: not never, route: openai/gpt-4}\n  - {name: d",
    )
    findings = [f for f in language.lint(text).findings if f.code == "RP118"]
    assert [(f.span.excerpt, f.span.line) for f in findings] == [("1 == 2", 2)]


@pytest.mark.parametrize(
    ("section", "marks"),
    [
        ("require: [{name: a, when: has_images, target: false}]", []),  # for none of them: meant
        ("require: [{name: a, when: has_images, target: true}]", ["true"]),
        ("require: [{name: a, when: 1 == 2, target: vision}]", ["1 == 2"]),
        ("require: [{name: a, when: true, target: vision}]", []),
        ("fallback_chain: [{to: openai/gpt-4o, when: false}]", ["false"]),
        ("fallback_chain: [{to: openai/gpt-4o, when: true}]", []),
        ("cache: {only: true}", []),
        ("cache: {only: false}", ["false"]),
        ("let: {open: false}\ncache: {only: open, never: not open}", []),
        ("cache: {only: true, never: false}", []),
        ("cache: {only: true, never: true}", ["true"]),
        ("cache: {never: 1 == 1}", ["1 == 1"]),
        ("invariants: [{name: a, never: 1 == 2}]", ["1 == 2"]),
    ],
)
def test_limits_hops_and_the_cache_are_looked_at_too(
    language: Language, section: str, marks: list[str]
) -> None:
    assert marked(language, "RP118", language.one_rule("stream", section)) == marks


@pytest.mark.parametrize("section", ["{only: false}", "{never: true}", "{only: 1 == 2}"])
def test_a_cache_that_keeps_nothing_is_told_as_one(language: Language, section: str) -> None:
    (finding,) = found(language, "RP118", language.one_rule("stream", f"cache: {section}"))
    assert finding.message.endswith(", so nothing is ever given again")
    assert finding.help and not finding.help.startswith("remove it")


@pytest.mark.parametrize(
    ("where", "marks"),
    [
        ("vision", []),  # another truth for each candidate
        ('region == "eu" and "fast" in tags', []),
        ("eyes or price_in <= $5/Mtok", []),
        ("true", []),
        ("false", ["false"]),
        ("vision and 1 < 2", ["1 < 2"]),
        ('p95 <= p95("openai/gpt-4o")', []),  # itself for one candidate only
    ],
)
def test_in_where_the_facts_of_a_candidate_are_no_constants(
    language: Language, where: str, marks: list[str]
) -> None:
    text = (
        "targets: {openai/gpt-4o: {region: eu, tags: [fast]}}\n"
        "let: {eyes: vision}\n"
        "routing_policy:\n"
        "  - name: a\n"
        f"    route: {{first_of: [openai/gpt-4o, groq/llama-3-8b], where: '{where}'}}\n"
    )
    assert marked(language, "RP118", text) == marks


def test_a_last_rule_that_is_plainly_true_takes_the_rest(language: Language) -> None:
    text = (
        "routing_policy:\n"
        "  - {name: a, condition: stream, route: openai/gpt-4}\n"
        "  - {name: rest, condition: true, route: openai/gpt-4o}\n"
    )
    assert language.lint(text).findings == ()


@pytest.mark.parametrize("condition", ["true", "1 == 1", "stream or true", "not (1 == 2)"])
def test_behind_a_rule_that_is_always_true_nothing_runs(language: Language, condition: str) -> None:
    (finding,) = [
        f for f in language.lint(language.one_rule(condition)).findings if f.code == "RP202"
    ]
    assert finding.severity == "error"
    assert "`first` is always true and takes every request" in finding.message


def test_a_rule_that_a_switch_turns_on_leaves_the_others_be(language: Language) -> None:
    assert marked(language, "RP202", language.one_rule("on", HEAD)) == []


# --- mirrors -------------------------------------------------------------------------------------

MIRROR = "mirror: {to: openai/gpt-4o, sample: 5%}"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"routing_policy:\n  - {{name: a, route: openai/gpt-4o, {MIRROR}}}\n", [2]),
        (f"routing_policy:\n  - {{name: a, route: openai/gpt-4, {MIRROR}}}\n", []),
        (
            "routing_policy:\n"
            f"  - {{name: a, route: {{first_of: [openai/gpt-4o, openai/gpt-4]}}, {MIRROR}}}\n",
            [],
        ),
        (f"defaults: {{{MIRROR}}}\nrouting_policy:\n  - {{name: a, route: openai/gpt-4o}}\n", [1]),
        (
            f"defaults: {{{MIRROR}}}\n"
            "routing_policy:\n"
            "  - {name: a, condition: stream, route: openai/gpt-4}\n"
            "  - {name: b, route: openai/gpt-4o}\n",
            [],  # it shows something of `a`
        ),
        (
            f"defaults: {{{MIRROR}}}\n"
            "routing_policy:\n"
            "  - {name: a, condition: stream, route: {reject: 429, message: no}}\n"
            "  - {name: b, route: openai/gpt-4o}\n",
            [1],
        ),
    ],
)
def test_a_mirror_of_itself_is_found(language: Language, text: str, lines: list[int]) -> None:
    findings = found(language, "RP308", text)
    assert [finding.span.line for finding in findings] == lines
    assert all(f.span.excerpt in ("openai/gpt-4o", "requested") for f in findings)


# --- names ---------------------------------------------------------------------------------------

RULE = "routing_policy:\n  - {{name: a, condition: {}, route: openai/gpt-4}}\n  - {{name: b, route: requested}}\n"  # noqa: E501
EMBED = "embed: {target: ollama/nomic}\n"


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("let: {small: tokens < 9}\n" + RULE.format("small"), []),
        ("let: {small: tokens < 9}\n" + RULE.format("stream"), ["small"]),
        ("let: {a1: tokens < 9, b1: a1 and stream}\n" + RULE.format("b1"), []),
        ("let: {a1: tokens < 9, b1: a1 and stream}\n" + RULE.format("stream"), ["a1", "b1"]),
        (
            "let: {a1: has_images}\nrequire: [{name: x, when: a1, target: vision}]\n"
            + RULE.format("stream"),
            [],
        ),
        (
            "let: {a1: stream}\nfallback_chain: [{to: openai/gpt-4o, when: a1}]\n"
            + RULE.format("stream"),
            [],
        ),
        ("lists: {vips: [a]}\n" + RULE.format("model in vips"), []),
        ("lists: {vips: [a]}\n" + RULE.format("contains_any('vips')"), []),
        ("lists: {vips: [a]}\n" + RULE.format("stream"), ["vips"]),
        ("lists: {vips: [a]}\n" + RULE.format("model == 'vips'"), ["vips"]),
        (EMBED + "lists: {vips: [a]}\n" + RULE.format("similar_to('vips') > 0.8"), []),
        (EMBED + RULE.format("stream"), ["embed"]),
        ("budgets: [{name: x, scope: team, limit: $5/day}]\n" + RULE.format("stream"), []),
        ("tenants: {acme: {budget: $5/day}}\n" + RULE.format("stream"), []),
    ],
)
def test_a_name_that_nothing_uses_is_noted(language: Language, text: str, marks: list[str]) -> None:
    findings = found(language, "RP337", text)
    assert [finding.span.excerpt for finding in findings] == marks
    assert all(finding.severity == "info" for finding in findings)


def test_what_an_included_file_declares_may_be_for_others(language: Language) -> None:
    main = "include: [shared.yml]\nlet: {own: stream}\n" + RULE.format("tokens < 9")
    main = main.replace("requested", "groq/llama-3-8b")
    shared = (
        "let: {theirs: stream}\nlists: {words: [a]}\n"
        f"{EMBED}targets: {{openai/gpt-4o: {{region: eu}}}}\n"
    )
    findings = lint(
        Source("routing.yml", main), language.schema, None, lambda path: Source(path, shared)
    ).findings
    named = [(f.code, f.span.excerpt) for f in findings if f.code in ("RP335", "RP337")]
    assert named == [("RP337", "own")]
