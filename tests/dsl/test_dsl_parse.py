import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.dsl import tree
from turnout.dsl.diagnostic import NAMES, Diagnostic, PolicyError
from turnout.dsl.expression import unparse
from turnout.dsl.fields import MAX_FINDINGS
from turnout.dsl.parse import ABILITIES, FAULTS, parse, parse_with_warnings
from turnout.dsl.source import Source
from turnout.engine.provider import Fault

ERRORS = sorted((Path(__file__).parent / "errors").glob("*.txt"))

FIRST = """\
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

WHOLE = """\
version: 1
timezone: Europe/Berlin
attributes: {tier: [free, pro, enterprise], team: [search, ads]}
defaults: {connect: 5s, ttft: 30s, idle: 120s, timeout: 30s, retries: 1}
deadline: 10m                    # route and fallbacks together
providers:
  openai:    {}
  groq:
  anthropic:
    base_url: "https://gw.example/anthropic/v1"
    headers: {cf-aig-authorization: "Bearer ${TURNOUT_VAR_AIG}"}
  local:     {kind: ollama, base_url: "http://localhost:11434"}
targets:
  local/qwen2.5:32b:  {price: 0, context_window: 32k, max_output: 8k, vision: false}
  openai/gpt-4o:
    price:
      input: $2.50/Mtok
      output: $10/Mtok
      cached: $1.25/Mtok
      request: $0.01
      above: {200k: {input: $5/Mtok}, 1M: {input: $9/Mtok}}
    region: us
    expected: {p95: 4s, ttft: 300ms, output: 400}
models:
  gpt-4:            local/qwen2.5:32b
  auto:             policy
let:
  tiny: tokens < 100 and not has_tools
routing_policy:
  - name: tiny
    condition: tiny
    route: groq/llama-3-8b (timeout: 2s, retries: 0)
    fallback:
      - openai/gpt-4o (ttft: 1s)
      - {to: local/qwen2.5:32b, when: tier == "free", catch: [timeout, 5xx]}
  - {name: asked, condition: 'tier in ["pro"]', route: requested, timeout: 9s, catch: timeout}
  - name: default
    route: {to: openai/gpt-4o, connect: 1s, idle: 2s}
fallback_chain: [groq/llama-3-70b (timeout: 2s, retries: 1), openai/gpt-4o]
tests:
  - name: short
    given: {tokens: 80, tier: free, stream: true, team: "7", max_tokens: }
    expect: tiny
  - given: {tokens: 8k, "p95(openai/gpt-4o)": 9s, temperature: 0.7}
    at: "Sat 10:00"
    expect: {rule: default, route: openai/gpt-4o}
"""


def findings(text: str) -> list[Diagnostic]:
    return list(parse_with_warnings(Source("f", text))[1])


def target(route: tree.Route) -> str:
    assert isinstance(route, tree.Text)
    return route.value


def with_rule(*lines: str) -> str:
    rule = "".join(f"    {line}\n" for line in lines)
    return f"routing_policy:\n  - name: a\n{rule}"


def test_there_is_a_corpus_of_broken_files() -> None:
    assert len(ERRORS) >= 60


@pytest.mark.parametrize("path", ERRORS, ids=lambda path: path.stem)
def test_a_broken_file_has_exactly_one_error_at_its_place(path: Path) -> None:
    text, _, expected = path.read_text(encoding="utf-8").partition("-" * 40 + "\n")
    place, message, help = expected.splitlines()
    policy, found = parse_with_warnings(Source(path.name, text))
    (finding,) = found
    line, column = finding.span.line, finding.span.column
    assert f"{line}:{column} {finding.code} {finding.severity}" == place
    assert message in finding.message
    assert help in (finding.help or "")
    assert policy is None
    assert finding.name == NAMES[finding.code]


def test_the_first_file_reads_word_for_word() -> None:
    policy = parse(Source("routing.yml", FIRST))
    assert [(rule.name.value, target(rule.route)) for rule in policy.rules] == [
        ("cheap_for_simple", "groq/llama-3-8b"),
        ("smart_for_complex", "anthropic/claude-sonnet"),
        ("default", "openai/gpt-4"),
    ]
    conditions = [rule.condition and unparse(rule.condition) for rule in policy.rules]
    assert conditions == ["tokens < 100", "tokens > 500", None]
    assert [(hop.to.value, hop.options) for hop in policy.fallback_chain] == [
        ("groq/llama-3-70b", tree.HopOptions(timeout_us=2_000_000)),
        ("anthropic/claude-sonnet", tree.HopOptions(timeout_us=5_000_000)),
        ("openai/gpt-4", tree.HopOptions(timeout_us=10_000_000)),
    ]
    spans = [hop.options.spans["timeout"] for hop in policy.fallback_chain]
    assert [(s.line, s.column, s.excerpt) for s in spans] == [
        (11, 32, "2s"),
        (12, 39, "5s"),
        (13, 28, "10s"),
    ]
    assert findings(FIRST) == []


def test_every_section_reads() -> None:
    policy = parse(Source("f", WHOLE))
    assert (policy.version, policy.timezone and policy.timezone.value) == (1, "Europe/Berlin")
    assert {name: [v.value for v in domain] for name, domain in policy.attributes.items()} == {
        "tier": ["free", "pro", "enterprise"],
        "team": ["search", "ads"],
    }
    assert policy.defaults == tree.HopOptions(30_000_000, 5_000_000, 30_000_000, 120_000_000, 1)
    assert policy.deadline_us == 600_000_000
    assert [p.name.value for p in policy.providers] == ["openai", "groq", "anthropic", "local"]
    headers = policy.providers[2].headers
    assert headers["cf-aig-authorization"].value == "Bearer ${TURNOUT_VAR_AIG}"
    assert policy.providers[3].kind is not None
    own, gpt = policy.targets
    assert own.price == tree.Price(input=0, output=0)
    assert (own.context_window, own.max_output, own.abilities) == (32_000, 8_000, {"vision": False})
    assert gpt.price == tree.Price(
        input=2_500_000_000,
        output=10_000_000_000,
        cached=1_250_000_000,
        request=10_000_000,
        above=(
            (200_000, tree.Price(input=5_000_000_000)),
            (1_000_000, tree.Price(input=9_000_000_000)),
        ),
    )
    assert (gpt.region, gpt.expected_p95_us, gpt.expected_ttft_us, gpt.expected_output) == (
        "us",
        4_000_000,
        300_000,
        400,
    )
    assert [(m.name.value, m.to.value) for m in policy.models] == [
        ("gpt-4", "local/qwen2.5:32b"),
        ("auto", "policy"),
    ]
    assert [d.name.value for d in policy.definitions] == ["tiny"]
    assert policy.key_spans["deadline"].line == 5
    assert policy.key_spans["defaults.retries"].excerpt == "1"


def test_a_rule_takes_options_of_its_own_and_of_its_route() -> None:
    tiny, asked, default = parse(Source("f", WHOLE)).rules
    assert (target(tiny.route), tiny.options) == (
        "groq/llama-3-8b",
        tree.HopOptions(timeout_us=2_000_000, retries=0),
    )
    assert tiny.fallback is not None
    first, second = tiny.fallback
    assert (first.to.value, first.options.ttft_us) == ("openai/gpt-4o", 1_000_000)
    assert second.when is not None and unparse(second.when) == 'tier == "free"'
    assert [fault.value for fault in second.options.catch or ()] == ["timeout", "5xx"]
    assert (target(asked.route), asked.options.timeout_us) == ("requested", 9_000_000)
    assert [fault.value for fault in asked.options.catch or ()] == ["timeout"]
    assert (default.options.connect_us, default.options.idle_us) == (1_000_000, 2_000_000)
    assert default.condition is None


def test_options_in_a_flow_list_keep_their_columns() -> None:
    hop = parse(Source("f", WHOLE)).fallback_chain[0]
    line = WHOLE.splitlines()[hop.span.line - 1]
    assert (hop.options.timeout_us, hop.options.retries) == (2_000_000, 1)
    assert hop.options.spans["retries"].column == line.index("retries: 1") + len("retries: ") + 1


def test_what_a_test_gives_stays_as_it_is_written() -> None:
    short, long = parse(Source("f", WHOLE)).tests
    assert {key: value for key, (value, _) in short.given.items()} == {
        "tokens": 80,
        "tier": "free",
        "stream": True,
        "team": "7",
        "max_tokens": None,
    }
    assert {key: value for key, (value, _) in long.given.items()} == {
        "tokens": "8k",
        "p95(openai/gpt-4o)": "9s",
        "temperature": "0.7",
    }
    assert short.expect_rule and short.expect_rule.value == "tiny"
    assert long.at and long.at.value == "Sat 10:00"
    assert long.expect_route and long.expect_route.value == "openai/gpt-4o"


def test_the_plain_document_reads_as_the_same_policy() -> None:
    policy = parse(Source("f", WHOLE))
    text = yaml.safe_dump(policy.document, allow_unicode=True)
    again = parse(Source("archive", text))
    assert again.document == policy.document
    assert again.fallback_chain[0].options == policy.fallback_chain[0].options
    assert policy.document["fallback_chain"] == [
        {"to": "groq/llama-3-70b", "timeout": "2s", "retries": 1},
        "openai/gpt-4o",
    ]


def test_the_layout_of_a_condition_does_not_change_the_plain_document() -> None:
    loose = with_rule("condition: |", "  ( tokens<100 )", "    and has_tools", "route: x/y")
    tight = with_rule('condition: "tokens < 100 and has_tools"', "route: x/y")
    assert parse(Source("a", loose)).document == parse(Source("b", tight)).document


def test_all_findings_come_at_once_and_in_order() -> None:
    text = with_rule("condition: a = b", "route: x/y", "timeout: 2") + (
        "  - name: a\n    conditon: b\n    route: x/y\n  - name: c\n    condition: d && e\n"
        "deadlin: 5s\n"
    )
    assert [(f.span.line, f.code) for f in findings(text)] == [
        (3, "RP001"),
        (5, "RP110"),
        (6, "RP004"),
        (7, "RP005"),
        (9, "RP008"),
        (10, "RP001"),
        (11, "RP005"),
    ]


@pytest.mark.parametrize(
    "condition", ["tokens > 1 # and has_tools", "tokens > 1 #or x", "(a) # not in", "a # == 3"]
)
def test_a_comment_that_goes_on_with_the_condition_is_a_warning(condition: str) -> None:
    policy, (finding,) = parse_with_warnings(
        Source("f", with_rule(f"condition: {condition}", "route: x/y"))
    )
    assert policy is not None
    assert (finding.code, finding.severity, finding.span.excerpt) == ("RP003", "warning", "#")
    assert condition in (finding.help or "")


@pytest.mark.parametrize(
    "condition", ["tokens > 1 # only the long ones", "'a' # and b", "tokens > 1 #"]
)
def test_an_ordinary_comment_is_none(condition: str) -> None:
    text = with_rule(f"condition: {condition.replace(chr(39), '')}", "route: x/y")
    if "'" in condition:
        text = with_rule(f"condition: {condition}", "route: x/y")
    assert findings(text) == []


@pytest.mark.parametrize("key", ["name", "condition", "route", "timeout", "catch", "fallback"])
def test_every_typo_one_edit_away_is_understood(key: str) -> None:
    typos = {key[:i] + key[i + 1 :] for i in range(len(key))}
    typos |= {key[:i] + "x" + key[i:] for i in range(len(key) + 1)}
    typos |= {key[:i] + key[i + 1] + key[i] + key[i + 2 :] for i in range(len(key) - 1)} - {key}
    for typo in typos:
        (finding,) = findings(f"routing_policy:\n  - {typo}: x\n    hold: 1\n")[:1]
        assert (finding.code, finding.help) == ("RP005", f"did you mean `{key}`?")


def test_a_section_that_belongs_elsewhere_is_an_error_never_ignored() -> None:
    (finding,) = findings(f"{FIRST}shadow: a.yml\n")
    assert (finding.code, finding.severity) == ("RP005", "error")
    assert "turnout serve --shadow FILE" in (finding.help or "")


@pytest.mark.parametrize(
    ("lines", "code", "message"),
    [
        (["route: x/y", "retries: 11"], "RP010", "at most 10"),
        (["route: x/y", "retries: -1"], "RP010", "at least 0"),
        (["route: x/y", "retries: 2s"], "RP111", "not a count"),
        (["route: x/y", "timeout: 0s"], "RP010", "above zero"),
        (["route: x/y", "timeout: [2s]"], "RP009", "is a list"),
        (["route: x/y", "timeout:"], "RP008", "is empty"),
        (["route: x/y", "catch: [503]"], "RP112", "unknown fault `503`"),
        (["route: x/y", "fallback: x/y"], "RP009", "needs a list, and this is a text"),
        (["route: x/y", "fallback: [{timeout: 2s}]"], "RP008", "no target"),
        (["route: {to: x/y (timeout: 2s)}"], "RP010", "cannot stand inside a target"),
        (["route:"], "RP008", "is empty"),
        (["route: x/y (2s)"], "RP002", "has no value"),
        (["route: x/y timeout: 2s)"], "RP002", "end of a key"),
        (["route: x/y (timeout: 2s, timeout: 3s)"], "RP004", "`timeout` is written twice"),
        (["route: x/y", "fallback: [x/z (when: 3)]"], None, ""),
    ],
)
def test_a_wrong_value_in_a_rule_is_one_finding(
    lines: list[str], code: str | None, message: str
) -> None:
    found = findings(with_rule(*lines))
    assert [finding.code for finding in found] == ([code] if code else [])
    assert all(message in finding.message for finding in found)


@pytest.mark.parametrize(
    ("section", "code"),
    [
        ("targets: {x/y: {price: 5}}", "RP009"),
        ("targets: {x/y: {price: {input: 5}}}", "RP110"),
        ("targets: {x/y: {price: {input: 5s}}}", "RP111"),
        ("targets: {x/y: {price: {above: {8s: {input: $1/Mtok}}}}}", "RP111"),
        ("targets: {x/y: {price: {image: $1}}}", "RP005"),
        ("targets: {x/y: {context_window: 0}}", "RP010"),
        ("targets: {x/y: {expected: {p95: 4}}}", "RP110"),
        ("targets: {x/y: {visoin: true}}", "RP005"),
        ("targets: [x/y]", "RP009"),
        ("models: {a: {targt: x/y}}", "RP005"),
        ("models: {a: {price: 0}}", "RP008"),
        ("attributes: {tier: []}", "RP008"),
        ("attributes: {tier: [a, a]}", "RP004"),
        ("attributes: {tier: free}", "RP009"),
        ("providers: {a: {api_key: x}}", "RP007"),
        ("providers: {a: {api_key: '${A}'}}", "RP005"),
        ("providers: {a: {base_url: localhost}}", "RP010"),
        ('providers: {a: {headers: {x-api-key: abc}}}', "RP007"),
        ('providers: {a: {headers: {x-note: sk-abcdefgh12345}}}', "RP007"),
        ('providers: {a: {base_url: "https://sk-abcdefgh12345@h/v1"}}', "RP007"),
        ("let: {and: tokens < 3}", "RP010"),
        ("let: {a: }", "RP103"),
        ("deadline: 2", "RP110"),
        ("defaults: {timeot: 2s}", "RP005"),
        ("tests: [{expect: {}}]", "RP008"),
        ("tests: [{given: {a: [b]}, expect: x}]", "RP009"),
    ],
)  # fmt: skip
def test_a_wrong_value_in_a_section_is_one_finding(section: str, code: str) -> None:
    found = findings(f"{FIRST}{section}\n")
    assert [(finding.code, finding.span.line) for finding in found] == [(code, 14)]
    assert all(finding.help for finding in found)


@pytest.mark.parametrize("secret", ["sk-0123456789abcdef", "hunter2-hunter2"])
def test_a_secret_is_not_repeated_in_its_finding(secret: str) -> None:
    (finding,) = findings(f"{FIRST}providers: {{a: {{headers: {{x-api-key: {secret}}}}}}}\n")
    assert secret not in f"{finding.message}{finding.help}"


def test_findings_are_bounded() -> None:
    text = "".join(f"key{i}: 1\n" for i in range(5_000))
    assert len(findings(text)) == MAX_FINDINGS


def test_the_faults_of_the_language_are_those_of_the_engine() -> None:
    assert sorted(FAULTS) == sorted(fault.value for fault in Fault)


@pytest.mark.parametrize("ability", ABILITIES)
def test_an_ability_is_true_or_false(ability: str) -> None:
    policy = parse(Source("f", f"{FIRST}targets: {{x/y: {{{ability}: true}}}}\n"))
    assert policy.targets[0].abilities == {ability: True}


PIECES = [
    "\n", " ", "  ", "\t", ":", ": ", "- ", "[", "]", "{", "}", "(", ")", '"', "'", "#", " #",
    "&a ", "*a", "!", "|", ">", "%", "@", "`", "?", ",", "---\n", "...\n", "\\", "~", "é",
    "\ufeff", "\x00", "\u2028", "\r", "<<: ", "timeout: 2s", "and", "==", "2 s",
    "(timeout: 2s, retries: 1)", "$", "0",
]  # fmt: skip
CUTS = st.tuples(
    st.integers(0, len(WHOLE)),
    st.integers(0, 12),
    st.sampled_from(PIECES) | st.text(max_size=4),
)


def mutated(text: str, cuts: list[tuple[int, int, str]]) -> str:
    for start, length, piece in cuts:
        text = text[:start] + piece + text[start + length :]
    return text


@settings(deadline=None)  # the test keeps the time itself
@given(st.lists(CUTS, min_size=1, max_size=6), st.sampled_from([FIRST, WHOLE]))
def test_a_mangled_policy_is_a_policy_or_findings_and_quickly(
    cuts: list[tuple[int, int, str]], whole: str
) -> None:
    text = mutated(whole, cuts)
    started = time.process_time()
    policy, found = parse_with_warnings(Source("f", text))
    assert time.process_time() - started < 1
    assert (policy is None) == any(finding.severity == "error" for finding in found)
    for finding in found:
        assert 0 <= finding.span.start <= finding.span.end <= len(text)
        assert finding.name
        assert "\n" not in finding.message
    if policy is not None:
        text = yaml.safe_dump(policy.document, allow_unicode=True)
        assert parse(Source("archive", text)).document == policy.document
    else:
        with pytest.raises(PolicyError):
            parse(Source("f", text))


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_findings(data: bytes) -> None:
    policy, found = parse_with_warnings(Source("f", data.decode("utf-8", "surrogateescape")))
    assert policy is None
    assert found
