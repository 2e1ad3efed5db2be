"""Every section and every option of a rule, as it is written and as it is read."""

import pytest
import yaml

from turnout.dsl import tree
from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.expression import unparse
from turnout.dsl.parse import parse, parse_with_warnings
from turnout.dsl.source import Source
from turnout.dsl.vocabulary import POLICY, RULE, Section, places

SECTIONS = [(path, kind) for path, kind in places() if isinstance(kind, Section)]

RULES = "routing_policy:\n  - {name: default, route: openai/gpt-4}\n"

WHOLE = """\
version: 1
defaults: {timeout: 9s, backoff: 250ms, hold: 1m, set: {top_p: 1}, expires: 2027-01-31, tags: [x]}
let: {tiny: tokens < 100}
lists: {vips: [acme, initech], code_review: ["review this: a + b", 'fix {x}']}
embed: {target: openai/text-embedding-3-small, timeout: 300ms}
targets:
  openai/gpt-4: {region: us, owner: team-ml, tags: [fast, big]}
models:
  auto: policy
  house/x: {target: local/m, price: {input: $1/Mtok, output: $2/Mtok}, context_window: 8k}
tenants:
  acme: {tier: pro, region: eu, budget: $100/month, rpm: 600, tpm: 200k}
  plain:
budgets:
  - {name: team, scope: team, limit: $20/day, at: {100%: reject, 50%: alert, 80%: alert}}
  - {name: search, scope: team, of: search, limit: $0.50/week}
budget_wait: 2s
cache: {ttl: 24h, only: temperature == 0, never: has_tools}
require:
  - {name: eu, when: tenant.region == "eu", target: region == "eu"}
  - {name: cheap, target: price_out <= $5/Mtok}
routing_policy:
  - name: cheapest
    condition: tenant in vips and matches("^fix")
    route: {cheapest_of: [a/x, b/y], where: p95 < 8s}
  - {name: fastest, route: {fastest_of: [a/x, b/y], by: ttft.p95, where: cost <= $0.05}}
  - {name: first, route: {first_of: [a/x, b/y], where: healthy}, hold: 2m, backoff: 1s}
  - {name: halves, route: {split: {a/x: 95%, b/y: 5%}, sticky: session}}
  - name: ramped
    route: {split: {a/x: 100%, b/y: 0%}, ramp: {b/y: 12.5%, from: 2026-10-01, to: 2026-10-08}}
  - {name: closed, route: {reject: 429, message: "later, please", retry_after: 1h}}
  - name: shaped
    route: x/y
    set: {max_tokens: 1k, temperature: 0.7, seed: -1, stop: "7", user: me, service_tier: flex,
          parallel_tool_calls: false, reasoning_effort: low, presence_penalty: -2}
    mirror: {to: b/y, sample: 5%}
    expires: 2026-12-31
    tags: [canary, "2026"]
invariants:
  - {name: bounded, never: worst_case(cost) > $2}
  - {name: priced, always: cost >= $0}
fallback_chain: [x/y (timeout: 2s, backoff: 100ms)]
"""


def read(text: str) -> tree.Policy:
    return parse(Source("routing.yml", text))


def findings(text: str) -> list[Diagnostic]:
    return list(parse_with_warnings(Source("f", text))[1])


@pytest.fixture(scope="module")
def policy() -> tree.Policy:
    return read(WHOLE)


def rule(policy: tree.Policy, name: str) -> tree.Rule:
    return next(rule for rule in policy.rules if rule.name.value == name)


def test_a_choice_has_its_candidates_in_order(policy: tree.Policy) -> None:
    route = rule(policy, "cheapest").route
    assert isinstance(route, tree.ChoiceRoute) and route.where is not None
    assert (route.form, [t.value for t in route.targets]) == ("cheapest_of", ["a/x", "b/y"])
    assert (route.by, unparse(route.where)) == (None, "p95 < 8s")
    fastest = rule(policy, "fastest").route
    assert isinstance(fastest, tree.ChoiceRoute) and fastest.by is not None
    assert fastest.by.value == "ttft.p95"


def test_a_split_has_its_shares_as_integers(policy: tree.Policy) -> None:
    route = rule(policy, "halves").route
    assert isinstance(route, tree.SplitRoute) and route.sticky is not None
    assert [(s.target.value, s.share, s.share_span.excerpt) for s in route.shares] == [
        ("a/x", 9_500, "95%"),
        ("b/y", 500, "5%"),
    ]
    assert (route.sticky.value, route.ramp) == ("session", None)


def test_a_ramp_has_its_days_and_the_shares_it_comes_to(policy: tree.Policy) -> None:
    route = rule(policy, "ramped").route
    assert isinstance(route, tree.SplitRoute) and route.ramp is not None
    assert [(s.target.value, s.share) for s in route.ramp.shares] == [("b/y", 1_250)]
    assert route.ramp.ends - route.ramp.starts == 7


def test_a_refusal_has_its_status_and_message(policy: tree.Policy) -> None:
    route = rule(policy, "closed").route
    assert isinstance(route, tree.RejectRoute) and route.message is not None
    assert (route.status, route.message.value) == (429, "later, please")
    assert route.retry_after_us == 3_600_000_000


def test_a_rule_keeps_the_options_beyond_its_hop(policy: tree.Policy) -> None:
    shaped = rule(policy, "shaped").extra
    assert shaped.sets is not None and shaped.mirror is not None
    assert [(name.value, value) for name, value, _ in shaped.sets] == [
        ("max_tokens", 1_000),
        ("temperature", 0.7),
        ("seed", -1),
        ("stop", "7"),
        ("user", "me"),
        ("service_tier", "flex"),
        ("parallel_tool_calls", False),
        ("reasoning_effort", "low"),
        ("presence_penalty", -2),
    ]
    assert (shaped.mirror.to.value, shaped.mirror.sample) == ("b/y", 500)
    assert [tag.value for tag in shaped.tags or ()] == ["canary", "2026"]
    assert shaped.expires is not None
    first = rule(policy, "first")
    assert (first.extra.hold_us, first.options.backoff_us) == (120_000_000, 1_000_000)


def test_defaults_take_the_options_of_a_rule(policy: tree.Policy) -> None:
    assert (policy.defaults.timeout_us, policy.defaults.backoff_us) == (9_000_000, 250_000)
    assert policy.rule_defaults.hold_us == 60_000_000
    assert policy.key_spans["defaults.hold"].excerpt == "1m"


def test_money_and_its_time_are_read_together(policy: tree.Policy) -> None:
    team, search = policy.budgets
    assert (team.limit_nano_usd, team.period) == (20_000_000_000, "day")
    assert team.steps == ((5_000, "alert"), (8_000, "alert"), (10_000, "reject"))
    assert (search.limit_nano_usd, search.period) == (500_000_000, "week")
    assert search.of is not None and search.of.value == "search"
    acme, plain = policy.tenants
    assert acme.budget is not None
    assert (acme.budget.name.value, acme.budget.scope, acme.budget.period) == (
        "acme",
        "tenant",
        "month",
    )
    assert (acme.rpm, acme.tpm, plain.budget) == (600, 200_000, None)
    assert policy.budget_wait_us == 2_000_000


def test_limits_invariants_lists_and_the_cache_are_read(policy: tree.Policy) -> None:
    eu, cheap = policy.limits
    assert eu.when is not None and unparse(eu.when) == 'tenant.region == "eu"'
    assert (cheap.when, unparse(cheap.target)) == (None, "price_out <= $5/Mtok")
    assert [(i.name.value, i.kind) for i in policy.invariants] == [
        ("bounded", "never"),
        ("priced", "always"),
    ]
    assert {x.name.value: [i.value for i in x.items] for x in policy.lists} == {
        "vips": ["acme", "initech"],
        "code_review": ["review this: a + b", "fix {x}"],
    }
    assert policy.cache is not None and policy.cache.only is not None
    assert (policy.cache.ttl_us, unparse(policy.cache.only)) == (86_400_000_000, "temperature == 0")
    assert policy.embed is not None and policy.embed.timeout_us == 300_000


def test_what_a_model_declares_is_declared_of_its_target(policy: tree.Policy) -> None:
    gpt, local = policy.targets
    assert (gpt.owner, [tag.value for tag in gpt.tags]) == ("team-ml", ["fast", "big"])
    assert (local.name.value, local.context_window) == ("local/m", 8_000)
    assert [(m.name.value, m.to.value) for m in policy.models] == [
        ("auto", "policy"),
        ("house/x", "local/m"),
    ]


def test_what_is_said_twice_of_a_target_may_agree() -> None:
    head = f"{RULES}targets: {{x/y: {{context_window: 8k, vision: true}}}}\n"
    models = "models: {m: {target: x/y, context_window: 8000, tools: true}}\n"
    (entry,) = read(head + models).targets
    assert (entry.context_window, entry.abilities) == (8_000, {"vision": True, "tools": True})
    (finding,) = findings(f"{head}models: {{m: {{target: x/y, vision: false}}}}\n")
    assert (finding.code, finding.related[0].span.excerpt) == ("RP004", "x/y")


def test_the_plain_document_reads_as_the_same_policy(policy: tree.Policy) -> None:
    again = read(yaml.safe_dump(policy.document, allow_unicode=True))
    assert again.document == policy.document
    for one, other in zip(policy.rules, again.rules, strict=True):
        assert placeless(one.route) == placeless(other.route)
        assert sorted_sets(one) == sorted_sets(other)


def sorted_sets(rule: tree.Rule) -> list[tuple[str, object]]:
    return sorted((name.value, value) for name, value, _ in rule.extra.sets or ())


def placeless(part: object) -> object:
    if isinstance(part, tuple):
        return tuple(placeless(item) for item in part)
    if isinstance(part, tree.Text):
        return part.value
    if isinstance(part, tree.Share):
        return part.target.value, part.share
    if isinstance(part, tree.SplitRoute):
        return placeless(part.shares), part.sticky and part.sticky.value
    if isinstance(part, tree.ChoiceRoute):
        return part.form, placeless(part.targets), part.where and unparse(part.where)
    if isinstance(part, tree.RejectRoute):
        return part.status, placeless(part.message), part.retry_after_us
    return part if isinstance(part, int | float | str | None) else type(part).__name__


@pytest.mark.parametrize(
    ("section", "code", "excerpt"),
    [
        ("budgets: [{name: a, scope: team, limit: 20/day}]", "RP110", "20/day"),
        ("budgets: [{name: a, scope: team, limit: $5/Mtok}]", "RP110", "$5/Mtok"),
        ("budgets: [{name: a, scope: team, limit: 5s/day}]", "RP111", "5s/day"),
        ("budgets: [{name: a, scope: team, limit: $0/day}]", "RP010", "$0/day"),
        ("budgets: [{name: a, scope: teem, limit: $1/day}]", "RP112", "teem"),
        ("budgets: [{name: a, scope: team, limit: $1/day, at: {120%: alert}}]", "RP010", "120%"),
        ("budgets: [{name: a, scope: team, limit: $1/day, at: {5%: alert, 5.0%: alert}}]",
         "RP004", "5.0%"),
        ("budgets: [{name: a, scope: user, limit: $1/day}, {name: a, scope: key, limit: $1/day}]",
         "RP004", "a"),
        ("tenants: {a: {budget: $5}}", "RP110", "$5"),
        ("tenants: {a: {teir: pro}}", "RP005", "teir"),
        ("require: [{name: a, target: tokens <}]", "RP001", ""),
        ("invariants: [{name: a}]", "RP008", "a"),
        ("lists: {a-b: [c]}", "RP010", "a-b"),
        ("lists: {a: []}", "RP008", "[]"),
        ("lists: {a: b}", "RP009", "b"),
        ("embed: {timeout: 1s}", "RP008", "timeout"),
        ("cache: {only: [a]}", "RP103", "["),
        ("defaults: {fallback: [a/b]}", "RP005", "fallback"),
        ("targets: {x/y: {tags: fast}}", "RP009", "fast"),
        ("targets: {x/y: {price: {above: {8k: {input: $1/Mtok}, 8000: {input: $1/Mtok}}}}}",
         "RP004", "8000"),
        ("targets: {x/y: {price: {above: {8k: {above: {9k: {input: $1/Mtok}}}}}}}",
         "RP005", "above"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_finding_at_its_place(section: str, code: str, excerpt: str) -> None:
    (finding,) = findings(f"{RULES}{section}\n")
    assert (finding.code, finding.span.line, finding.span.excerpt) == (code, 3, excerpt)
    assert finding.help


@pytest.mark.parametrize(
    ("option", "code", "excerpt"),
    [
        ("route: {split: {a/x: 100%}}", "RP008", "a/x"),
        ("route: {split: [a/x, b/y]}", "RP009", "["),
        ("route: {split: {a/x: 101%, b/y: 5%}}", "RP010", "101%"),
        ("route: {first_of: [a/x, a/x]}", "RP004", "a/x"),
        ("route: {first_of: [a/x, b/y], by: p95}", "RP005", "by"),
        ("route: {split: {a/x: 50%, b/y: 50%}, sticky: sesion}", "RP112", "sesion"),
        ("route: {to: a/x, where: healthy}", "RP005", "where"),
        ("route: {reject: 429, mesage: no}", "RP005", "mesage"),
        ("route: {reject: teapot}", "RP010", "teapot"),
        ("mirror: {to: a/x}", "RP008", "to"),
        ("mirror: {to: a/x, sample: 0%}", "RP010", "0%"),
        ("set: {}", "RP008", "{}"),
        ("set: {seed: 1.5}", "RP010", "1.5"),
        ("set: {parallel_tool_calls: 1}", "RP010", "1"),
        ("set: {messages: x}", "RP005", "messages"),
        ("hold: forever", "RP110", "forever"),
        ("expires: tomorrow", "RP010", "tomorrow"),
        ("tags: [a, a]", "RP004", "a"),
        ("catch: [timeout, timeout]", "RP004", "timeout"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_finding_at_its_place(option: str, code: str, excerpt: str) -> None:
    route = "" if option.startswith("route") else "    route: x/y\n"
    (finding,) = findings(f"routing_policy:\n  - name: a\n    {option}\n{route}")
    assert (finding.code, finding.span.line, finding.span.excerpt) == (code, 3, excerpt)
    assert finding.help


def test_every_key_says_what_it_is_for_in_one_line() -> None:
    for path, section in SECTIONS:
        assert len(set(section.names)) == len(section.names)
        for key in section.keys:
            assert key.doc and len(key.doc) <= 80 and "\n" not in key.doc, (path, key.name)


def test_the_keys_of_rules_and_of_the_file_are_among_the_sections() -> None:
    paths = dict(SECTIONS)
    assert paths[()] is POLICY
    assert paths["routing_policy", "*"] is RULE
    assert set(paths["routing_policy", "*", "route", "ramp"].names) == {"from", "to"}


@pytest.mark.parametrize(
    ("entry", "message", "help"),
    [
        ("{kind: openai, base_url: 'https://x.example/v1?a=b'}", "with no `?` in it", "`headers`"),
        ("{kind: openai, base_url: 'https://x.example/v1#b'}", "with no `#` in it", "`headers`"),
        ("{kind: openai, base_url: 'https://${TURNOUT_VAR_X}?a=b'}", "with no `?` in it", "end it"),
        ("{kind: openai, base_url: 'https:///v1'}", "names no host", "the whole address"),
        ("{kind: openai, base_url: 'x.example/v1'}", "is not a web address", "the whole address"),
        (
            "{kind: azure, base_url: 'https://x.example/openai?api-version=2024-10-21'}",
            "with no `?` in it",
            "the gateway adds `api-version`",
        ),
    ],
)
def test_an_address_that_the_gateway_would_refuse_is_refused_where_it_is_written(
    entry: str, message: str, help: str
) -> None:
    (found,) = findings(f"providers:\n  house: {entry}\n" + RULES)
    assert (found.code, found.severity) == ("RP010", "error")
    assert message in found.message and help in (found.help or "")


def test_an_address_may_hold_variables_and_a_path() -> None:
    addresses = ("https://x.example/a/v1", "${TURNOUT_VAR_URL}", "https://${TURNOUT_VAR_HOST}/v1")
    for address in addresses:
        assert not findings(
            f"providers:\n  house: {{kind: openai, base_url: '{address}'}}\n" + RULES
        )
