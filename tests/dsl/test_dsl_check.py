"""Types, units, names and targets: what is refused, where, and with which fix."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from turnout.dsl.canonical import digest, reopen
from turnout.dsl.check import check, compile_policy, restore
from turnout.dsl.core import REQUESTED, And, Member, Named, Program
from turnout.dsl.diagnostic import Diagnostic, PolicyError
from turnout.dsl.infer import infer
from turnout.dsl.interpret.compiled import compile_program
from turnout.dsl.interpret.traced import Node, trace
from turnout.dsl.nearest import nearest
from turnout.dsl.parse import parse
from turnout.dsl.schema import Schema, Target, Tariff
from turnout.dsl.scope import Place, Scope
from turnout.dsl.snapshot import Snapshot, read_snapshot
from turnout.dsl.source import Source
from turnout.dsl.targets import Targets
from turnout.dsl.tree import Name

TIERS = "attributes: {tier: [free, pro]}"
FIRST_FILE = """\
routing_policy:
  - name: "cheap_for_simple"
    condition: tokens < 100
    route: groq/llama-3-8b
  - name: "smart_for_complex"
    condition: tokens > 500
    route: anthropic/claude-sonnet
  - name: "default"
    route: openai/gpt-4
fallback_chain:
  - groq/llama-3-70b (timeout: 2s)
  - anthropic/claude-sonnet (timeout: 5s)
  - openai/gpt-4 (timeout: 10s)
"""

# condition, code, the characters under the caret, a part of the help
ERRORS = [
    ('p95("openai/gpt-4") < 800', "RP110", "800", "write `800ms` or `800s`"),
    ("p95 < 800", "RP110", "800", "write `800ms` or `800s`"),
    ("latency > 0.5", "RP110", "0.5", "`0.5s`"),
    ('error_rate("openai/gpt-4") > 0.05', "RP110", "0.05", "write `5%`"),
    ('error_rate("openai/gpt-4") > 5', "RP110", "5", "write `5%`"),
    ("cost > 0.02", "RP110", "0.02", "write `$0.02`"),
    ("5 < cost", "RP110", "5", "write `$5`"),
    ("time > 9", "RP110", "9", "write `09:00`"),
    ("time in 9..17", "RP110", "9", "write `09:00`"),
    ("date > 20261001", "RP110", "20261001", "2026-10-01"),
    ("weekday == 1", "RP110", "1", "Mon"),
    ("(latency ?? 1) > 2s", "RP110", "1", "`1ms`"),
    ("latency in [1s, 2]", "RP110", "2", "`2ms`"),
    ("latency / 2 > 800", "RP110", "800", "`800ms`"),
    ('weekday == "Mon"', "RP111", '"Mon"', "without quotes"),
    ('latency < "800ms"', "RP111", '"800ms"', "without quotes"),
    ("latency < $5", "RP111", "latency < $5", "one kind"),
    ("tokens < 5%", "RP111", "tokens < 5%", "one kind"),
    ("tokens < 0.5", "RP111", "0.5", "whole number"),
    ("tokens < 100ms", "RP111", "tokens < 100ms", "one kind"),
    ("tokens + 5s > 3", "RP111", "tokens + 5s", "one kind"),
    ("$5 * $3 > $1", "RP111", "$5 * $3", "plain whole number"),
    ("tokens / temperature > 3", "RP111", "tokens / temperature", "same kind"),
    ("(tokens / 3) + 1 > 5", "RP111", "(tokens / 3)", "multiply instead"),
    ("tokens / (messages - 5) > 3", "RP111", "(messages - 5)", "never negative"),
    ("tokens > $5/Mtok * stream", "RP111", "stream", "only numbers"),
    ('min(tier, "free") == "pro"', "RP111", "tier", "only numbers"),
    ('-model == "x"', "RP111", "model", "only numbers"),
    ("model + user > 5", "RP111", "model", "only numbers"),
    ("model / 2 > 5", "RP111", "model", "only numbers"),
    ("tokens / 2 > model", "RP111", "model", "only numbers"),
    ("cost / tokens < 5", "RP110", "5", "$5"),
    ("time in 09:00..time", "RP111", "09:00..time", "09:00"),
    ("$5/Mtok > 5", "RP110", "5", "$5/Mtok"),
    ("$1 == 0.5", "RP110", "0.5", "$0.5"),
    ('tokens["x"] == 1', "RP101", "tokens", "`tokens` alone"),
    ('tokens starts_with "a"', "RP111", "tokens", "text"),
    ("stream == 1", "RP111", "1", "stream == true"),
    ("stream < true", "RP111", "<", "`==` and `!=`"),
    ("stream == has_tools", "RP111", "stream == has_tools", "`==` and `!=`"),
    ("stream in [true]", "RP111", "stream", "`==` and `!=`"),
    ('model < "a"', "RP111", "<", "compare text with"),
    ("model has gpt", "RP111", "gpt", 'write `"gpt"`'),
    ("tier == 5", "RP111", "5", 'write `"5"`'),
    ('tier in "a".."b"', "RP112", '"a"', "one of"),
    ("tokens in 500..100", "RP113", "500..100", "write `100..500`"),
    ('tier == "fre"', "RP112", '"fre"', 'did you mean `"free"`?'),
    ('tier in ["free", "prro"]', "RP112", '"prro"', 'did you mean `"pro"`?'),
    ('request_type == "embedings"', "RP112", '"embedings"', "embeddings"),
    ("tokns < 5", "RP101", "tokns", "did you mean `tokens`?"),
    ("has_tool", "RP101", "has_tool", "did you mean `has_tools`?"),
    ("tier == free", "RP101", "free", 'write `"free"`'),
    ("weekday == Monday", "RP101", "Monday", "`Mon`"),
    ('header["Authorization"] == "a"', "RP101", 'header["Authorization"]', "`tenant`"),
    ('header["x-api-key"] == "a"', "RP101", 'header["x-api-key"]', "`tenant`"),
    ('headers["x"] == "a"', "RP101", "headers", "did you mean `header`?"),
    ('header == "a"', "RP101", "header", 'header["x-team"]'),
    ('requested == "x"', "RP101", "requested", "model =="),
    ("tokens", "RP103", "tokens", "`tokens > 100`"),
    ("not tokens", "RP103", "tokens", "`tokens > 100`"),
    ("stream and model", "RP103", "model", 'model == "…"'),
    ("weekday in Mon", "RP103", "Mon", "write `[Mon]`"),
    ('p96("openai/gpt-4") > 1s', "RP102", "p96", "did you mean `p90`, `p95` or `p99`?"),
    ("knwon(tokens)", "RP102", "knwon", "did you mean `known`?"),
    ('tokens("x") > 5', "RP102", "tokens", "`tokens` alone"),
    ("min(tokens) > 1", "RP102", "min(tokens)", "min(a, b)"),
    ("worst_case(tokens) > $1", "RP102", "tokens", "worst_case(cost)"),
    ('p95("a", "b") > 1s', "RP102", 'p95("a", "b")', "openai/gpt-4"),
    ("p95(openai/gpt-4) > 1s", "RP301", "openai/gpt-4", 'p95("openai/gpt-4")'),
    ('p95("openai/gpt4") > 1s', "RP301", '"openai/gpt4"', "did you mean `openai/gpt-4`?"),
    ('p95("opnai/gpt-4") > 1s', "RP301", '"opnai/gpt-4"', "did you mean `openai/gpt-4`?"),
    ('cost("openai/unpriced") > $1', "RP331", 'cost("openai/unpriced")', "price"),
]


@pytest.mark.parametrize(("condition", "code", "excerpt", "help"), ERRORS)
def test_a_condition_that_means_nothing_is_one_error_with_a_fix(
    language: Any, condition: str, code: str, excerpt: str, help: str
) -> None:
    text = language.one_rule(condition, TIERS)
    program, findings = language.examine(text)
    assert program is None
    (finding,) = findings
    assert (finding.code, finding.severity) == (code, "error")
    assert finding.span.excerpt == excerpt
    assert help in finding.help
    line = text.splitlines()[finding.span.line - 1]
    assert line[finding.span.column - 1 :].startswith(excerpt)
    assert finding.message[0].islower() or finding.message[0] in "`"
    assert not finding.message.endswith(".")
    assert not re.search(r"\b(Type|int|str|bool|None)\b", finding.message)


WARNINGS = [
    ("temperature > 3", "RP113", "warning", "temperature > 3"),
    ("tokens < 0", "RP113", "warning", "tokens < 0"),
    ("0 <= tokens", "RP113", "warning", "0 <= tokens"),
    ("temperature == 2.5", "RP113", "warning", "temperature == 2.5"),
    ("tokens in 7..7", "RP113", "warning", "7..7"),
    ('(p95("openai/gpt-4") ?? 1s) == 1s or latency == 8s', "RP115", "warning", "latency == 8s"),
    ('team == "search"', "RP117", "info", "team"),
    ("latency > 8s", "RP405", "warning", "latency"),
    ('error_rate("openai/gpt-4") > 5%', "RP405", "warning", 'error_rate("openai/gpt-4")'),
]


@pytest.mark.parametrize(("condition", "code", "severity", "excerpt"), WARNINGS)
def test_a_doubtful_condition_compiles_with_a_warning(
    language: Any, condition: str, code: str, severity: str, excerpt: str
) -> None:
    program, findings = language.examine(language.one_rule(condition, TIERS))
    assert program is not None
    found = [(f.code, f.severity, f.span.excerpt) for f in findings]
    assert all(f.help and f.name for f in findings)
    assert (code, severity, excerpt) in found


CLEAN = [
    "temperature == 0",
    "temperature <= 0.7",
    "temperature in [0, 0.2, 1]",
    'tier == "default"',
    "stream == false",
    "tokens in 100..500",
    "tokens not in [1, 2]",
    "time in 22:00..06:00",
    "weekday in Fri..Mon",
    "date in 2026-10-01..2026-11-01",
    "tokens / 3 > 33",
    "max_tokens / tokens > 0.5",
    "cost / tokens < $1/Mtok",
    "tokens * $5/Mtok > $0.1",
    "prompt_tokens > 128k",
    'p95("groq/llama-3-8b") ?? 1s > 2s',
    "known(latency)",
    "p95(requested) > 5s",
    "worst_case(cost) > $1",
    'cost("groq/llama-3-8b") < cost',
    'header["X-Team"] == "ads"',
    'worst_case(cost("groq/llama-3-8b")) < $1',
    'p95("requested") > 5s',
    "(tokens < 5) == true",
    'model starts_with "gpt"',
    "true",
]


@pytest.mark.parametrize("condition", CLEAN)
def test_a_sound_condition_has_no_finding(language: Any, condition: str) -> None:
    program, findings = language.examine(language.one_rule(condition, TIERS))
    assert program is not None
    assert findings == ()


def test_the_first_file_of_the_world_compiles_word_for_word(language: Any) -> None:
    program, findings = language.examine(FIRST_FILE)
    assert findings == ()
    assert program.token_cuts == (100, 500)
    assert list(program.slots) == ["request_type", "tokens"]
    assert [hop.clocks.timeout_us for hop in program.chain] == [2_000_000, 5_000_000, 10_000_000]
    decide = compile_program(program)
    routes = {80: "groq/llama-3-8b", 700: "anthropic/claude-sonnet", 300: "openai/gpt-4"}
    for tokens, route in routes.items():
        index = decide(read_snapshot({"tokens": tokens}, program))
        assert program.clauses[index].plan.route.target == route
    assert decide(read_snapshot({"tokens": 80, "request_type": "embeddings"}, program)) == -1


def test_the_digest_is_of_the_meaning_and_not_of_the_form(language: Any) -> None:
    program = language.compile(FIRST_FILE)
    same = (
        "# a comment\n"
        + FIRST_FILE.replace('"', "")
        .replace("tokens < 100", '"tokens   <    100"')
        .replace("- openai/gpt-4 (timeout: 10s)", "- {to: openai/gpt-4, timeout: 10s}")
        + "tests:\n  - {given: {tokens: 1}, expect: default}\n"
    )
    assert language.compile(same).digest == program.digest
    for old, new in (("100", "101"), ("10s", "11s"), ("gpt-4\n", "gpt-4o\n"), ("cheap", "chep")):
        assert language.compile(FIRST_FILE.replace(old, new)).digest != program.digest


def test_an_archived_policy_decides_as_it_did_after_the_prices_moved(language: Any) -> None:
    text = language.one_rule("cost < $0.01", route="requested")
    program = language.compile(text)
    schema: Schema = language.schema

    class Tomorrow:
        def find(self, name: str) -> Target | None:
            found = schema.catalog.find(name)
            return found and replace(found, tariff=Tariff(1, 1))

        def close_to(self, name: str) -> str | None:
            return None

        def requestable(self, providers: object) -> dict[str, Target]:
            return {}

    tomorrow = replace(schema, catalog=Tomorrow())
    again = restore(program.canonical, tomorrow)
    assert again.digest == program.digest == digest(again.canonical)
    assert dict(again.targets) == dict(program.targets)
    assert compile_policy(Source("x", text), tomorrow).digest != program.digest
    archive, then = reopen(program.canonical, tomorrow)
    assert compile_policy(archive, then).canonical == program.canonical
    snapshot = read_snapshot({"tokens": 100, "max_tokens": 50, "model": "openai/gpt-4"}, program)
    assert trace(again, snapshot).to_json() == trace(program, snapshot).to_json()


# --- lets ----------------------------------------------------------------------------------------


def errors(language: Any, text: str) -> list[tuple[str, str]]:
    program, findings = language.examine(text)
    found = [(f.code, f.span.excerpt) for f in findings if f.severity == "error"]
    assert (program is None) is bool(found)
    return found


def test_a_name_stands_for_its_expression_in_the_rule_that_uses_it(language: Any) -> None:
    program = language.compile(
        "let: {dear: cost > $0.01, both: dear and stream}\nrouting_policy:\n"
        "  - {name: a, condition: both, route: openai/gpt-4}\n"
        "  - {name: b, condition: dear, route: groq/llama-3-8b}\n"
    )
    assert "expected_output(openai/gpt-4)" in program.clauses[0].reads
    assert "expected_output(groq/llama-3-8b)" in program.clauses[1].reads
    assert isinstance(program.clauses[0].test, Named)
    assert program.token_cuts is None


@pytest.mark.parametrize(
    ("let", "expected"),
    [
        ("a: b, b: a", [("RP101", "a")]),
        ("a: tokns < 5, b: a and stream", [("RP101", "tokns")]),
        ("tokens: stream", [("RP004", "tokens")]),
        ("Mon: stream", [("RP004", "Mon")]),
    ],
)
def test_a_broken_name_is_reported_once_where_it_is_defined(
    language: Any, let: str, expected: list[tuple[str, str]]
) -> None:
    condition = "b" if "b:" in let else "stream"
    assert errors(language, language.one_rule(condition, f"let: {{{let}}}")) == expected


def test_an_unused_name_is_checked_and_asks_nothing_of_the_snapshot(language: Any) -> None:
    program = language.compile(
        language.one_rule("stream", "let: {dear: cost > $1 and latency > 1s}")
    )
    assert list(program.slots) == ["request_type", "stream"]
    found = errors(language, language.one_rule("stream", "let: {x: cost > 1}"))
    assert found == [("RP110", "1")]


def test_names_that_double_do_not_blow_up(language: Any) -> None:
    lets = ["a0: stream or has_tools", *(f"a{i}: a{i - 1} and a{i - 1}" for i in range(1, 40))]
    head = "let: {" + ", ".join(f"{let}" for let in lets) + "}"
    found = errors(language, language.one_rule("a39", head))
    assert {code for code, _ in found} == {"RP001"}


# --- domains and findings once -------------------------------------------------------------------


def test_an_open_attribute_is_noted_once_in_a_policy(language: Any) -> None:
    _, findings = language.examine(language.one_rule('tier == "a" or tier == "b" or team == "c"'))
    assert [(f.code, f.span.excerpt) for f in findings] == [("RP117", "tier"), ("RP117", "team")]


@pytest.mark.parametrize(
    ("head", "code", "excerpt"),
    [
        ("attributes: {teir: [free]}", "RP101", "teir"),
        ("attributes: {tokens: [a]}", "RP111", "tokens"),
        ("attributes: {model: [gpt-4o, auto]}", "RP111", "model"),
        ("attributes: {provider: [openai]}", "RP111", "provider"),
        ("attributes: {session: [one]}", "RP111", "session"),
        ("timezone: Europe/Berlni", "RP010", "Europe/Berlni"),
    ],
)
def test_what_a_head_declares_has_to_exist(
    language: Any, head: str, code: str, excerpt: str
) -> None:
    assert errors(language, language.one_rule("stream", head)) == [(code, excerpt)]


def test_what_to_write_instead_of_a_domain_of_models_can_be_written(language: Any) -> None:
    _, findings = language.examine(language.one_rule("stream", "attributes: {model: [gpt-4o]}"))
    help = next(finding.help for finding in findings if finding.code == "RP111")
    condition, route = re.findall(r"`((?:condition|route): [^`]+)`", help)
    rule = f"  - name: others\n    {condition}\n    {route}\n"
    assert errors(language, f"routing_policy:\n{rule}  - {{name: a, route: openai/gpt-4}}\n") == []


def test_a_bare_target_value_needs_a_rule_with_one_target(language: Any) -> None:
    policy = parse(Source("x", language.one_rule("stream")))
    schema: Schema = language.schema
    scope = Scope(schema.attributes, {}, Targets(policy, schema))
    for word in ("cost", "latency"):
        place = policy.rules[0].name.span
        found = infer(Name(word, place), scope, Place())
        assert isinstance(found, Diagnostic)
        assert found.code == "RP116"
        assert "`where:`" in (found.help or "")


# --- targets -------------------------------------------------------------------------------------

PRICE = "price: {input: $1/Mtok, output: $2/Mtok}"
OWN = 'providers: {own: {kind: openai, base_url: "https://own.example/v1"}}\n'


@pytest.mark.parametrize(
    ("head", "route", "expected"),
    [
        ("", "openai/gpt-5o", [("RP301", "openai/gpt-5o")]),
        ("", "opnai/gpt-4", [("RP301", "opnai/gpt-4")]),
        ("", "gpt-4", [("RP301", "gpt-4")]),
        ("", "openai/unpriced", [("RP331", "openai/unpriced")]),
        ("", "openai/unbounded", [("RP333", "openai/unbounded")]),
        ("targets: {openai/unpriced: {price: 0}}", "openai/unpriced", []),
        ("targets: {openai/unbounded: {max_output: 4k}}", "openai/unbounded", []),
        (f"targets: {{openai/new: {{{PRICE}, max_output: 4k}}}}", "openai/new", []),
        ("targets: {openai/n: {price: {input: $1/Mtok}}}", "openai/n", [("RP331", "openai/n")]),
        ("", "ollama/qwen2.5:32b", []),
        ('providers: {lab: {kind: ollama, base_url: "http://l:1"}}', "lab/any", []),
        (OWN, "own/x", [("RP331", "own/x")]),
        (f"{OWN}targets: {{own/x: {{{PRICE}, max_output: 4k}}}}", "own/x", []),
        ("providers: {own: {}}", "openai/gpt-4", [("RP301", "own")]),
        ('providers: {o: {kind: opnai}}', "openai/gpt-4", [("RP301", "opnai")]),
        ("providers: {own: {kind: openai}}", "openai/gpt-4", [("RP008", "own")]),
        ("providers: {own: {kind: ollama}}", "own/x", [("RP008", "own")]),
        ("providers: {groq: {kind: openai}}", "groq/llama-3-8b", [("RP008", "groq")]),
        ("providers: {groq: {kind: groq}}", "groq/llama-3-8b", []),
        ("models: {x: openai/gtp-4}", "openai/gpt-4", [("RP301", "openai/gtp-4")]),
    ],
)  # fmt: skip
def test_every_target_is_known_and_priced(
    language: Any, head: str, route: str, expected: list[tuple[str, str]]
) -> None:
    found = errors(language, language.one_rule("stream", head, route))
    assert list(dict.fromkeys(found)) == expected


def test_an_unpriced_target_is_reported_once_though_its_cost_is_asked_for(language: Any) -> None:
    found = errors(language, language.one_rule("cost > $1", route="openai/unpriced"))
    assert found == [("RP331", "openai/unpriced")]


def test_a_written_price_lies_over_the_catalogue(language: Any) -> None:
    head = (
        "targets: {openai/gpt-4: {price: {input: $9/Mtok, above: {1k: {output: $5/Mtok}}}, "
        "region: eu, vision: true, expected: {p95: 900ms}}}"
    )
    target = language.compile(language.one_rule("latency > 1s", head)).targets["openai/gpt-4"]
    assert (target.tariff.input, target.tariff.output) == (9 * 10**9, 60 * 10**9)
    assert target.tariff.above == ((1_000, Tariff(9 * 10**9, 5 * 10**9)),)
    assert (target.region, target.context_window, target.expected.p95_us) == ("eu", 8_192, 900_000)
    assert target.abilities == {"vision": True}


def test_models_map_names_to_targets_or_to_the_policy(language: Any) -> None:
    head = "models: {auto: policy, house/big: groq/llama-3-70b}"
    program = language.compile(language.one_rule("stream", head))
    assert program.models == {"auto": None, "house/big": "groq/llama-3-70b"}
    assert "groq/llama-3-70b" in program.targets
    assert set(program.providers) >= {"openai", "anthropic", "groq", "ollama"}


# --- hops ----------------------------------------------------------------------------------------


def with_chain(deadline: str, timeouts: list[str], rule: str = "timeout: 1s, ") -> str:
    names = ["groq/llama-3-8b", "groq/llama-3-70b", "anthropic/claude-sonnet"]
    entries = "".join(f"  - {{to: {n}{t}}}\n" for n, t in zip(names, timeouts, strict=False))
    return (
        f"deadline: {deadline}\nrouting_policy:\n"
        f"  - {{name: a, {rule}route: openai/gpt-4}}\nfallback_chain:\n{entries}"
    )


@pytest.mark.parametrize(
    ("text", "severity", "excerpt"),
    [
        (with_chain("10m", ["", "", ""]), None, None),
        (with_chain("20s", [", timeout: 2s", ", timeout: 5s"]), None, None),
        (with_chain("7s", [", timeout: 6s", ", timeout: 5s"]), "error", "groq/llama-3-70b"),
        (with_chain("8s", [", timeout: 6s", ", timeout: 5s"]), "warning", "groq/llama-3-70b"),
        (with_chain("20s", ["", ", timeout: 5s"], ""), "warning", "groq/llama-3-8b"),
        (
            with_chain("7s", [", timeout: 6s, catch: [timeout]", ", timeout: 5s"]),
            "warning",
            "groq/llama-3-70b",
        ),
    ],
)
def test_a_deadline_that_keeps_a_hop_from_being_tried_is_found(
    language: Any, text: str, severity: str | None, excerpt: str | None
) -> None:
    findings = language.lint(text).findings
    found = [(f.severity, f.span.excerpt) for f in findings if f.code == "RP305"]
    assert found == ([] if severity is None else [(severity, excerpt)])


def test_a_rule_does_not_name_a_target_twice_but_the_chain_may(language: Any) -> None:
    text = (
        "routing_policy:\n  - name: a\n    route: openai/gpt-4\n    condition: stream\n"
        "    fallback: [groq/llama-3-8b, openai/gpt-4, groq/llama-3-8b]\n"
        "  - {name: b, route: openai/gpt-4}\n"
        "fallback_chain: [openai/gpt-4, groq/llama-3-8b]\n"
    )
    linted = language.lint(text)
    findings = linted.findings
    assert linted.program is None
    assert [(f.code, f.span.line, f.span.excerpt) for f in findings] == [
        ("RP303", 5, "openai/gpt-4"),
        ("RP303", 5, "groq/llama-3-8b"),
    ]
    assert findings[0].related[0].span.line == 3


def test_clocks_are_the_hops_own_over_the_defaults_over_the_built_in(language: Any) -> None:
    program = language.compile(
        "defaults: {timeout: 9s, retries: 3}\nrouting_policy:\n"
        "  - name: a\n    route: openai/gpt-4\n    ttft: 2s\n"
        "    fallback: [{to: groq/llama-3-8b, timeout: 4s, retries: 0, when: cost < $1}]\n"
        "fallback_chain: [anthropic/claude-sonnet]\n"
    )
    plan = program.clauses[0].plan
    route, (own,) = plan.route, plan.fallback
    assert (route.clocks.timeout_us, route.clocks.ttft_us) == (9_000_000, 2_000_000)
    assert (route.clocks.written_timeout, route.clocks.written_ttft) == (False, True)
    assert (route.clocks.connect_us, route.clocks.idle_us, route.retries) == (
        5_000_000, 120_000_000, 3,
    )  # fmt: skip
    assert (own.clocks.timeout_us, own.clocks.written_timeout, own.retries) == (4_000_000, True, 0)
    assert own.when is not None
    assert "expected_output(groq/llama-3-8b)" in program.slots
    assert program.deadline_us == 600_000_000
    assert program.clauses[0].plan.fallback is not None


def test_a_rule_is_about_generation_unless_it_tests_the_request_type(language: Any) -> None:
    program = language.compile(
        "routing_policy:\n"
        '  - {name: e, condition: request_type == "embeddings", route: openai/gpt-4o}\n'
        "  - {name: s, condition: stream, route: openai/gpt-4}\n"
        "  - {name: d, route: requested}\n"
    )
    embeddings, stream, default = program.clauses
    assert embeddings.applies is embeddings.test
    assert isinstance(stream.applies, And)
    assert stream.applies.operands[1] is stream.test
    assert isinstance(default.applies, Member)
    assert (default.test, default.plan.route.target) == (None, REQUESTED)
    assert stream.reads == ("request_type", "stream")


# --- cost ----------------------------------------------------------------------------------------


def cost_of(program: Program, given: dict[str, object]) -> str | None:
    step = trace(program, read_snapshot(given, program)).steps[0]
    assert step.expression is not None
    node = step.expression.children[0]
    return node.written


@pytest.mark.parametrize(
    ("word", "route", "given", "expected"),
    [
        ("cost", "openai/gpt-4", {"max_tokens": 50}, "$0.006"),  # 100 * 30 + 50 * 60 per Mtok
        ("cost", "openai/gpt-4", {}, None),
        ("cost", "ollama/any", {}, "$0"),
        ("cost", "groq/llama-3-8b", {"tokens": 1, "max_tokens": 1}, "$0.00000013"),
        ("cost", "anthropic/claude-sonnet", {"tokens": 200_000, "max_tokens": 0}, "$0.6"),
        ("cost", "anthropic/claude-sonnet", {"tokens": 200_001, "max_tokens": 0}, "$1.200006"),
        ("cost", "requested", {"model": "openai/gpt-4", "max_tokens": 50}, "$0.006"),
        ("cost", "requested", {"model": "auto", "max_tokens": 50}, None),
        ("worst_case(cost)", "openai/gpt-4", {}, "$0.24876"),  # 100 * 30 + 4096 * 60
        ("worst_case(cost)", "openai/gpt-4", {"n": 2, "max_tokens": 10}, "$0.0042"),
        ("worst_case(cost)", "openai/gpt-4", {"tokens": 10**6, "max_tokens": 0}, "$0.24576"),
        ("worst_case(cost)", "anthropic/claude-sonnet", {"max_tokens": 0}, "$0.000375"),
        ('cost("openai/gpt-4")', "ollama/any", {"max_tokens": 50}, "$0.006"),
    ],
)
def test_cost_is_the_exact_sum_rounded_up_once(
    language: Any, word: str, route: str, given: dict[str, object], expected: str | None
) -> None:
    program = language.compile(language.one_rule(f"{word} > $100", route=route))
    assert cost_of(program, {"tokens": 100, **given}) == expected


def test_a_fee_counts_once_and_a_fraction_is_rounded_up(language: Any) -> None:
    head = (
        OWN + "targets: {own/x: {price: {input: $0.000001/Mtok, output: $0/Mtok, "
        "request: $0.001}, max_output: 4k}}"
    )
    program = language.compile(language.one_rule("cost > $1", head, "own/x"))
    assert cost_of(program, {"tokens": 1}) == "$0.001000001"


def test_a_cost_shows_its_ingredients(language: Any) -> None:
    program = language.compile(language.one_rule("cost > $1"))
    step = trace(program, read_snapshot({"tokens": 100, "max_tokens": 50}, program)).steps[0]
    assert step.expression is not None
    (cost,) = step.expression.children
    assert [(child.text, child.written) for child in cost.children] == [
        ("tokens", "100"),
        ("price of input", "$30/Mtok"),
        ('expected_output("openai/gpt-4")', "50"),
        ("price of output", "$60/Mtok"),
    ]


# --- meaning of lowered forms --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "given", "expected"),
    [
        ("tokens / 3 > 33", {"tokens": 100}, True),
        ("tokens / 3 > 33", {"tokens": 99}, False),
        ("max_tokens / tokens >= 0.5", {"tokens": 100, "max_tokens": 50}, True),
        ("max_tokens / tokens > 0.5", {"tokens": 100, "max_tokens": 50}, False),
        ("max_tokens / tokens > 50%", {"tokens": 100, "max_tokens": 51}, True),
        ("tokens / max_tokens > 1", {"tokens": 1, "max_tokens": 0}, None),
        ("1 < tokens / max_tokens", {"tokens": 9, "max_tokens": 3}, True),
        ("tokens / 3 > messages / n", {"tokens": 9, "messages": 4, "n": 2}, True),
        ("tokens / 3 > messages / n", {"tokens": 9, "messages": 4, "n": 0}, None),
        ("cost / tokens < $31/Mtok", {"tokens": 100, "max_tokens": 0}, True),
        ("cost / tokens < $30/Mtok", {"tokens": 100, "max_tokens": 0}, False),
        ("tokens * $5/Mtok == $0.0005", {"tokens": 100}, True),
        ("tokens in 100..200", {"tokens": 100}, True),
        ("tokens in 100..200", {"tokens": 200}, False),
        ("tokens not in 100..200", {"tokens": 200}, True),
        ("time in 22:00..06:00", {"at": "05:59"}, True),
        ("time in 22:00..06:00", {"at": "06:00"}, False),
        ("weekday in Fri..Mon", {"at": "Mon 10:00"}, True),
        ("weekday in Fri..Mon", {"at": "Tue 10:00"}, False),
        ("weekday == Sun", {"at": "2026-03-29 02:30"}, True),
        ("date in 2026-03-29..2026-03-30", {"at": "2026-03-29 02:30"}, True),
        ("temperature in [0, 0.7]", {"temperature": 0.7}, True),
        ("temperature == 0", {"temperature": 0}, True),
        ("temperature == 0", {}, None),
        ("max_tokens ?? 1k > 999", {}, True),
        ("min(tokens, max_tokens, 7) == 7", {"tokens": 8, "max_tokens": 9}, True),
        ("known(max_tokens)", {}, False),
        ('not (header["x-team"] == "ads")', {}, None),
        ('header["X-Team"] has "d"', {"header.x-team": "ads"}, True),
        ("prompt_tokens > 5", {"prompt_tokens": 6}, True),
        ("-tokens < -5", {"tokens": 6}, True),
        ("latency > 8s", {"p95(openai/gpt-4)": "9s"}, True),
        ('error_rate("openai/gpt-4") > 5%', {'error_rate("openai/gpt-4")': "5.01%"}, True),
        ("tokens in [5, max_tokens]", {"tokens": 9, "max_tokens": 9}, True),
        ("stream == false", {}, True),
    ],
)  # fmt: skip
def test_a_condition_means_what_it_says(
    language: Any, condition: str, given: dict[str, object], expected: bool | None
) -> None:
    program = language.compile(language.one_rule(condition))
    snapshot = read_snapshot({"tokens": 10} | given, program)
    step = trace(program, snapshot).steps[0]
    assert step.outcome == {True: "true", False: "false", None: "unknown"}[expected]
    assert (compile_program(program)(snapshot) == 0) is (expected is True)


def test_a_trail_shows_text_values_reasons_and_intervals(language: Any) -> None:
    text = language.one_rule(
        'tiny and latency  >   8s or header["x-team"] == "a"', "let: {tiny: tokens < 100}"
    )
    program = language.compile(text)
    snapshot = Snapshot({"request_type": "chat", "tokens": 40})
    snapshot.intervals["tokens"] = (40, 60)
    snapshot.reasons["p95(openai/gpt-4)"] = "3 of 20 samples"
    first, default = trace(program, snapshot).to_json()
    assert first["outcome"] == "unknown"
    root = first["expression"]
    assert isinstance(root, dict)
    assert (root["value"], root["reason"]) == (None, "3 of 20 samples")
    both, header = root["children"]
    tiny, late = both["children"]
    assert (tiny["text"], tiny["value"]) == ("tiny", "true")
    assert tiny["children"][0]["children"][0] == {
        "text": "tokens", "value": "40..60", "children": [],
    }  # fmt: skip
    assert late["text"] == "latency > 8s"
    assert header["reason"] == "not given"
    assert default == {"rule": "default", "outcome": "true", "expression": None}
    json.dumps(root)


def test_the_kind_of_request_is_shown_where_it_kept_a_rule_from_firing(language: Any) -> None:
    program = language.compile(language.one_rule("stream"))
    snapshot = read_snapshot({"request_type": "embeddings", "stream": True}, program)
    verdict = trace(program, snapshot)
    assert verdict.clause is None
    node = verdict.steps[0].expression
    assert isinstance(node, Node)
    assert node.value is False
    assert node.text.startswith("request_type in [")


def test_only_one_rule_is_looked_at_on_request(language: Any) -> None:
    program = language.compile(language.one_rule("tokens < 100"))
    verdict = trace(program, read_snapshot({"tokens": 5}, program), only="default")
    assert [step.outcome for step in verdict.steps] == ["not_tried", "true"]


def test_errors_of_all_parts_come_together_and_in_order(language: Any) -> None:
    text = (
        "timezone: Nowhere/City\nrouting_policy:\n"
        "  - {name: a, condition: tokns < 5, route: openai/gpt-5o}\n"
        "  - {name: b, condition: tokens, route: groq/llama-3-8b}\n"
    )
    assert errors(language, text) == [
        ("RP010", "Nowhere/City"),
        ("RP101", "tokns"),
        ("RP301", "openai/gpt-5o"),
        ("RP103", "tokens"),
    ]
    with pytest.raises(PolicyError) as raised:
        compile_policy(Source("routing.yml", text), language.schema)
    assert len(raised.value.diagnostics) == 4
    assert check(parse(Source("routing.yml", text)), language.schema)[0] is None


@pytest.mark.parametrize("word", ["tokens", "tier", "has_tools", "n", "p95", "request_type"])
def test_one_edit_away_is_always_found(word: str) -> None:
    known = ["tokens", "tier", "has_tools", "n", "p95", "request_type"]
    for i in range(len(word)):
        wrong = {
            word[:i] + "q" + word[i:],
            word[:i] + word[i + 1 :],
            word[:i] + "q" + word[i + 1 :],
        }
        if i:
            wrong.add(word[: i - 1] + word[i] + word[i - 1] + word[i + 1 :])
        for attempt in wrong - {word, ""}:
            found = nearest(attempt, known)
            assert found is not None
            assert found == word or len(word) <= 2


# --- the order of the rules ----------------------------------------------------------------------

ALL = "  - {name: all, route: openai/gpt-4}\n"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (f"{ALL}  - {{name: late, condition: tokens < 5, route: openai/gpt-4}}\n", ["late"]),
        (f"{ALL}  - {{name: late, route: openai/gpt-4}}\n", ["late"]),
        (f"{ALL}{ALL.replace('all', 'b')}{ALL.replace('all', 'c')}", ["b", "c"]),
        (f"{ALL}  - {{name: e, condition: request_type == 'embeddings', route: requested}}\n", []),
        (f"  - {{name: first, condition: tokens < 5, route: openai/gpt-4}}\n{ALL}", []),
    ],
)  # fmt: skip
def test_a_rule_behind_one_that_takes_all_is_an_error(
    language: Any, rules: str, expected: list[str]
) -> None:
    findings = language.lint(f"routing_policy:\n{rules}").findings
    assert [f.span.excerpt for f in findings if f.severity == "error"] == expected
    for finding in findings:
        assert (finding.code, finding.name) == ("RP202", "unreachable-rule")
        assert finding.related[0].span.excerpt == "all"


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("", [("RP203", "info", "only")]),
        ("fallback_chain: [openai/gpt-4]\n", []),
        ("  - {name: rest, route: openai/gpt-4}\n", []),
    ],
)
def test_it_is_noted_that_some_requests_may_find_no_rule(
    language: Any, end: str, expected: list[tuple[str, str, str]]
) -> None:
    text = "routing_policy:\n  - {name: only, condition: tokens < 5, route: openai/gpt-4}\n"
    linted = language.lint(text + end)
    assert linted.program is not None
    assert [(f.code, f.severity, f.span.excerpt) for f in linted.findings] == expected


@pytest.mark.parametrize(
    ("providers", "line", "excerpts"),
    [
        ('openai: {base_url: "${OPENAI_BASE}"}', 1, ["${OPENAI_BASE}"]),
        ('openai: {base_url: "https://${HOST}/${TURNOUT_VAR_PATH}"}', 1, ["${HOST}"]),
        ('openai: {headers: {x-team: "${TEAM} ${TURNOUT_VAR_A}"}}', 1, ["${TEAM}"]),
        ('openai: {base_url: "${TURNOUT_VAR_BASE}"}', 1, []),
    ],
)
def test_a_variable_that_the_operator_has_to_allow_is_a_warning(
    language: Any, providers: str, line: int, excerpts: list[str]
) -> None:
    program, findings = language.examine(
        f"providers: {{{providers}}}\nrouting_policy:\n  - {{name: a, route: openai/gpt-4}}\n"
    )
    assert program is not None
    assert [f.span.excerpt for f in findings] == excerpts
    for finding in findings:
        assert (finding.severity, finding.span.line) == ("warning", line)
        assert "TURNOUT_POLICY_VARS" in finding.message
