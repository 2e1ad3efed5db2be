"""New names in conditions: what they read, and how a misspelt one is answered."""

from typing import Any

import pytest

from turnout.dsl.core import And, Member, Or, Read
from turnout.dsl.interpret.compiled import compile_term
from turnout.dsl.schema import Value
from turnout.dsl.walk import leaves_first, reads

HEAD = """
attributes: {tier: [free, pro], tenant: [acme, initech], tenant.region: [eu, us]}
lists: {vips: [acme, initech], code_review: ["please review this", "look at my diff"]}
embed: {target: openai/embedding, timeout: 200ms}
budgets:
  - {name: team, scope: team, limit: $20/day, at: {100%: reject}}
tenants:
  acme: {tier: pro, region: eu, budget: $100/month}
targets:
  openai/gpt-4: {expected: {p95: 1s, ttft: 300ms}}
  openai/embedding: {price: 0, context_window: 8k, embeddings: true}
"""

READS = [
    ('p95("openai/gpt-4", 5m) > 2s', ["p95(openai/gpt-4, 5m)"]),
    ("p90(requested, 300s) > 2s", ["p90(requested, 5m)"]),
    ('ttft.p95("openai/gpt-4") > 2s', ["ttft.p95(openai/gpt-4)"]),
    ("ttft.p95 > 2s", ["ttft.p95(openai/gpt-4)"]),
    ("healthy and not rate_limited", ["healthy(openai/gpt-4)", "rate_limited(openai/gpt-4)"]),
    ('breaker == "open"', ["breaker(openai/gpt-4)"]),
    ("inflight > 5", ["inflight(openai/gpt-4)"]),
    ('tenant.region == "eu"', ["tenant.region"]),
    ('tenant.id == "acme"', ["tenant"]),
    ("complexity.score > 0.7", ["complexity.score"]),
    ('complexity == "high"', ["complexity"]),
    ('meta["Project"] == "x"', ["meta.project"]),
    ('bucket("a") < 500', ["bucket(a)"]),
    ('bucket.user("a") < 500', ["bucket.user(a)"]),
    ('budget("team").left < $5', ["budget(team).left"]),
    ('budget("acme").resets_in < 1h', ["budget(acme).resets_in"]),
    ('similar_to("code_review") >= 0.82', ["similar_to(code_review)"]),
    ('contains_any("vips")', ["contains_any(vips)"]),
    ('matches("^fix(es)? ")', ["matches(^fix(es)? )"]),
    ('model matches "^gpt-[0-9]"', ["model"]),
    ("tenant in vips", ["tenant"]),
]


@pytest.mark.parametrize(("condition", "keys"), READS)
def test_a_name_reads_its_key_and_the_key_is_a_slot(
    language: Any, condition: str, keys: list[str]
) -> None:
    program = language.compile(language.one_rule(condition, HEAD))
    test = program.clauses[0].test
    assert list(reads([test])) == keys
    assert {*keys} <= {*program.slots}


WRONG = [
    ('p95("openai/gpt-4", 5) > 2s', "RP110", "5", "`5s` or `5m`"),
    ('p95("openai/gpt-4", 5%) > 2s', "RP111", "5%", "5m"),
    ('p95("openai/gpt-4", 40d) > 2s', "RP113", "40d", "1d"),
    ('inflight("openai/gpt-4", 5m) > 2', "RP102", 'inflight("openai/gpt-4", 5m)', "inflight("),
    ('p95("openai/gpt4", 5m) > 2s', "RP301", '"openai/gpt4"', "did you mean `openai/gpt-4`?"),
    ('tenant.regon == "eu"', "RP101", "tenant.regon", "did you mean `tenant.region`?"),
    ('tenant.region == "ue"', "RP112", '"ue"', 'did you mean `"eu"`?'),
    ('complexity == "hgh"', "RP112", '"hgh"', 'did you mean `"high"`?'),
    ('breaker == "opn"', "RP112", '"opn"', 'did you mean `"open"`?'),
    ('budget("tem").left < $5', "RP332", '"tem"', "did you mean `team`?"),
    ('budget("team").lft < $5', "RP101", "lft", "did you mean `left`?"),
    ('budgt("team").left < $5', "RP102", "budgt", "did you mean `budget`?"),
    ('budget("team") < $5', "RP102", 'budget("team")', "left"),
    ('budget("team").left < 5', "RP110", "5", "$5"),
    ('budget("team").left < 5%', "RP111", 'budget("team").left < 5%', "one kind"),
    ('similar_to("code_reviw") > 0.8', "RP101", '"code_reviw"', "did you mean `code_review`?"),
    ("similar_to(code_review) > 0.8", "RP102", "code_review", '"code_review"'),
    ("tenant in vps", "RP101", "vps", "did you mean `vips`?"),
    ("vips", "RP101", "vips", "tenant in vips"),
    ("tokens in vips", "RP111", "vips", "[a, b]"),
    ("tier in vips", "RP112", "acme", "one of"),
    ('model matches "(?=a)b"', "RP120", '"(?=a)b"', "RE2"),
    ('model matches "(a)\\\\1"', "RP120", '"(a)\\\\1"', "RE2"),
    ('matches("(")', "RP120", '"("', "RE2"),
    ('tokens matches "a"', "RP111", "tokens", "text"),
    ("cached_tokens > 5", "RP114", "cached_tokens", "tokens"),
    ('"fast" in tags', "RP114", "tags", "require"),
    ("vision", "RP114", "vision", "require"),
    ('route == "openai/gpt-4"', "RP114", "route", "model"),
    ('usable("openai/gpt-4")', "RP102", "usable", ""),
    ("meta.project == 5", "RP101", "meta.project", 'meta["project"]'),
    ("bucket > 5", "RP101", "bucket", 'bucket("canary")'),
    ("ttft > 5s", "RP101", "ttft", 'ttft.p95("openai/gpt-4")'),
]


@pytest.mark.parametrize(("condition", "code", "excerpt", "help"), WRONG)
def test_a_name_that_means_nothing_is_one_error_with_a_fix(
    language: Any, condition: str, code: str, excerpt: str, help: str
) -> None:
    program, findings = language.examine(language.one_rule(condition, HEAD))
    assert program is None
    (finding,) = [f for f in findings if f.severity == "error"]
    assert (finding.code, finding.span.excerpt) == (code, excerpt)
    assert help in (finding.help or "")
    assert not finding.message.endswith(".")


SECTIONS = [
    (
        "targets:\n  openai/gpt-4: {tools: true}\nembed: {target: openai/gpt-4}",
        "RP301",
        "openai/gpt-4",
        "openai/text-embedding-3-small",
    ),
    ("embed: {target: openai/embeding}", "RP301", "openai/embeding", ""),
    ("tenants:\n  acme: {tier: por}", "RP112", "por", "did you mean `pro`?"),
    ("tenants:\n  acm: {tier: pro}", "RP112", "acm", "did you mean `acme`?"),
    ("tenants:\n  acme: {region: ue}", "RP112", "ue", "did you mean `eu`?"),
    (
        "budgets: [{name: a, scope: tenant, of: acm, limit: $1/day}]",
        "RP112",
        "acm",
        "did you mean `acme`?",
    ),
    (
        "budgets: [{name: a, scope: model, of: openai/gpt-4oo, limit: $1/day}]",
        "RP301",
        "openai/gpt-4oo",
        "openai/gpt-4o",
    ),
    ("budgets: [{name: a, scope: model, of: nowhere/x, limit: $1/day}]", "RP301", "nowhere/x", ""),
    ("cache: {ttl: 1h, only: temprature == 0}", "RP101", "temprature", "`temperature`"),
    ("cache: {only: p95 < 1s}", "RP116", "p95", "name the target"),
    ("invariants: [{name: a, never: 'rout == \"x\"'}]", "RP101", "rout", "did you mean `route`?"),
]
DOMAINS = "attributes: {tier: [free, pro], tenant: [acme], tenant.region: [eu, us]}\n"


@pytest.mark.parametrize(("section", "code", "excerpt", "help"), SECTIONS)
def test_a_section_that_names_what_is_not_there_is_refused_at_its_place(
    language: Any, section: str, code: str, excerpt: str, help: str
) -> None:
    program, findings = language.examine(language.one_rule("tokens > 5", DOMAINS + section))
    assert program is None
    (finding,) = [f for f in findings if f.severity == "error"]
    assert (finding.code, finding.span.excerpt) == (code, excerpt), finding
    assert help in (finding.help or "")


def test_similarity_without_anything_to_embed_with_is_refused(language: Any) -> None:
    head = 'lists: {code_review: ["look at my diff"]}'
    program, findings = language.examine(language.one_rule('similar_to("code_review") > 0.8', head))
    assert program is None
    assert [(f.code, "embed:" in (f.help or "")) for f in findings] == [("RP301", True)]


def test_what_costs_a_call_is_read_behind_the_rest(language: Any) -> None:
    condition = (
        'similar_to("code_review") > 0.8 and (similar_to("vips") > 0.5 or n > 1) and tokens > 5'
    )
    test = language.compile(language.one_rule(condition, HEAD)).clauses[0].test
    assert isinstance(test, And)
    assert [isinstance(o, Or) for o in test.operands] == [False, False, True]
    assert reads([test.operands[0]]) == ("tokens",)
    assert reads([test.operands[2]]) == ("n", "similar_to(vips)")


def test_a_list_is_spelt_out_where_it_is_used(language: Any) -> None:
    program = language.compile(language.one_rule("tenant in vips", HEAD))
    (member,) = [t for t in leaves_first([program.clauses[0].test]) if isinstance(t, Member)]
    assert member.values == {"acme", "initech"}
    assert program.lists["vips"] == ("acme", "initech")


def test_sections_are_in_the_program_as_they_were_written(language: Any) -> None:
    program = language.compile(language.one_rule("tokens > 5", HEAD + "budget_wait: 3s\n"))
    assert (program.embedding.target, program.embedding.timeout_us) == ("openai/embedding", 200_000)
    assert program.tenants["acme"].tier == "pro"
    assert [(b.name, b.scope, b.of, b.period) for b in program.budgets] == [
        ("team", "team", None, "day"),
        ("acme", "tenant", "acme", "month"),
    ]
    assert program.budget_wait_us == 3_000_000


def test_an_invariant_knows_the_target_and_what_it_may_cost(language: Any) -> None:
    test = 'n == 1 and worst_case(cost) > $2 and route == "openai/gpt-4" and region == "us"'
    program = language.compile(
        language.one_rule("tokens > 5", f"invariants: [{{name: a, never: '{test}'}}]")
    )
    (invariant,) = program.invariants
    keys = {*reads([invariant.test])}
    assert {"route", "target.region", "n", "target.worst_case"} <= keys
    assert not {"route", "target.region", "max_tokens"} & {*program.slots}
    run = compile_term(invariant.test)
    seen: dict[str, Value | None] = {
        "n": 1,
        "target.region": "us",
        "target.worst_case": 3_000_000_000,
        "route": "openai/gpt-4",
    }
    assert run(seen) is True
    assert run(seen | {"target.worst_case": 2_000_000_000}) is False
    assert run(seen | {"route": "groq/llama-3-8b"}) is False


def test_a_let_may_be_about_a_target_and_is_refused_where_there_is_none(language: Any) -> None:
    head = "let: {near: 'region == \"eu\"'}\nrequire: [{name: a, target: near}]"
    assert language.compile(language.one_rule("tokens > 5", head)).limits
    program, findings = language.examine(language.one_rule("near", head))
    assert program is None
    assert [(f.code, f.span.excerpt) for f in findings] == [("RP114", "region")]


def test_a_read_of_the_facts_of_a_candidate_is_a_constant(language: Any) -> None:
    text = language.one_rule("tokens > 5", HEAD).replace(
        "route: openai/gpt-4}", "route: {first_of: [openai/gpt-4, openai/gpt-4o], where: vision}}"
    )
    route = language.compile(text).clauses[0].plan.route
    assert not any(isinstance(candidate.where, Read) for candidate in route.candidates)


STRICTNESS = [
    # of the policy, of the target, whether the target's parameters are strict
    ("", "", (False, None)),
    ("parameters: lenient", "", (False, None)),
    ("parameters: strict", "", (True, None)),
    ("parameters: strict", "parameters: lenient", (True, False)),
    ("", "parameters: strict", (False, True)),
]


@pytest.mark.parametrize(("policy", "target", "expected"), STRICTNESS)
def test_how_strict_parameters_are_is_said_of_the_policy_and_of_targets(
    language: Any, policy: str, target: str, expected: tuple[bool, bool | None]
) -> None:
    head = f"{policy}\ntargets: {{openai/gpt-4: {{{target}}}}}\n"
    program = language.compile(language.one_rule("tokens > 5", head))
    assert (program.strict, program.targets["openai/gpt-4"].strict) == expected


def test_a_model_may_say_it_of_the_target_that_it_stands_for(language: Any) -> None:
    head = "models: {fast: {target: openai/gpt-4, parameters: strict}}\n"
    program = language.compile(language.one_rule("tokens > 5", head))
    assert program.targets["openai/gpt-4"].strict is True


@pytest.mark.parametrize(
    ("written", "help"),
    [
        ("parameters: strickt", "did you mean `strict`?"),
        ("parameters: drop", "did you mean `lenient`?"),
        ("parameters: 5", "write `lenient` or `strict`"),
        ("targets: {openai/gpt-4: {parameters: hard}}", "write `lenient` or `strict`"),
    ],
)
def test_another_word_for_it_is_refused_with_what_to_write(
    language: Any, written: str, help: str
) -> None:
    program, findings = language.examine(language.one_rule("tokens > 5", written))
    assert program is None
    assert [(one.code, one.help) for one in findings] == [("RP112", help)]


def test_the_hash_tells_strict_from_lenient_and_an_archive_keeps_it(language: Any) -> None:
    plain = language.compile(language.one_rule("tokens > 5"))
    strict = language.compile(language.one_rule("tokens > 5", "parameters: strict"))
    assert plain.digest != strict.digest
    assert '"strict":' not in plain.canonical
