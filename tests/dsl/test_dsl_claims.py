"""Claims about where requests go: proved, or broken by a request that `destination` confirms."""

import pytest

from turnout.dsl.claims import Breach, breach_of
from turnout.dsl.core import Program
from turnout.dsl.destination import reached
from turnout.dsl.interpret.traced import trace
from turnout.dsl.prove import NotDecided, Proved, Prover

from .conftest import Language

POLICY = """
attributes: {tier: [free, pro], tenant.region: [eu, us]}
targets:
  openai/gpt-4: {region: us}
  groq/llama-3-8b: {region: eu}
routing_policy:
  - {name: free, condition: tier == "free", route: groq/llama-3-8b}
  - {name: far, condition: tokens > 1000, route: {reject: 413}}
  - {name: rest, route: openai/gpt-4, fallback: [groq/llama-3-70b]}
fallback_chain: [openai/gpt-4o]
"""


def tried(program: Program) -> Breach | Proved | NotDecided:
    return breach_of(program, program.invariants[0], Prover(program))


def claimed(language: Language, claim: str, policy: str = POLICY) -> Breach | Proved | NotDecided:
    kind, _, condition = claim.partition(" ")
    text = f"{policy}invariants:\n  - {{name: claim, {kind}: '{condition}'}}\n"
    return tried(language.compile(text))


HOLDS = (
    'never tier == "free" and route == "openai/gpt-4"',
    'never tokens > 1000 and route == "openai/gpt-4"',
    'never tier == "pro" and region == "eu"',
    'always tier == "free" or route != "groq/llama-3-8b"',
    'never request_type == "chat" and route == "groq/llama-3-8b" and tier == "pro"',
)


@pytest.mark.parametrize("claim", HOLDS)
def test_what_holds_of_every_request_is_proved(claim: str, language: Language) -> None:
    assert claimed(language, claim) == Proved()


BREAKS = (
    # claim, rule, target, whether it is a fallback
    ('never tier == "free" and route == "groq/llama-3-8b"', "free", "groq/llama-3-8b", False),
    ('never tier == "free" and route == "openai/gpt-4o"', "free", "openai/gpt-4o", True),
    ('never route == "groq/llama-3-70b"', "rest", "groq/llama-3-70b", True),
    ('always region == "us"', "free", "groq/llama-3-8b", False),
    # a region that nobody declared is not known to be the right one
    ('always tier == "free" or region == "us"', "rest", "groq/llama-3-70b", True),
    (
        'never n == 1 and route == "openai/gpt-4" and worst_case(cost) > $0.27',
        "rest",
        "openai/gpt-4",
        False,
    ),
)


@pytest.mark.parametrize(("claim", "rule", "target", "is_fallback"), BREAKS)
def test_what_does_not_hold_is_broken_by_a_request(
    claim: str, rule: str, target: str, is_fallback: bool, language: Language
) -> None:
    kind, _, condition = claim.partition(" ")
    program = language.compile(f"{POLICY}invariants:\n  - {{name: c, {kind}: '{condition}'}}\n")
    breach = tried(program)
    assert isinstance(breach, Breach)
    index = trace(program, breach.witness).clause
    assert index == breach.clause
    assert index is not None and program.clauses[index].name == rule
    assert (breach.target, breach.is_fallback) == (target, is_fallback)
    led = reached(program, index, breach.witness)
    met = {hop.target for hop in led.found.hops}
    assert breach.target in met
    assert is_fallback or led.target == target


def test_a_copy_breaks_a_claim_too(language: Language) -> None:
    policy = POLICY.replace(
        "route: groq/llama-3-8b}", "route: groq/llama-3-8b, mirror: {to: openai/gpt-4, sample: 1%}}"
    )
    breach = claimed(language, 'never tier == "free" and route == "openai/gpt-4"', policy)
    assert isinstance(breach, Breach)
    assert (breach.target, breach.is_copy) == ("openai/gpt-4", True)


def test_a_limit_makes_a_claim_hold_that_a_fallback_broke(language: Language) -> None:
    claim = 'never tenant.region == "eu" and region == "us"'
    assert isinstance(claimed(language, claim), Breach)
    limit = 'require: [{name: stay, when: tenant.region == "eu", target: region == "eu"}]\n'
    assert claimed(language, claim, limit + POLICY) == Proved()


def test_what_the_client_asked_for_can_break_a_claim(language: Language) -> None:
    policy = "routing_policy:\n  - {name: all, route: requested}\n"
    breach = claimed(language, 'never route == "openai/gpt-4"', policy)
    assert isinstance(breach, Breach)
    assert breach.target == "openai/gpt-4"


def test_without_time_nothing_is_proved(language: Language) -> None:
    text = f"{POLICY}invariants:\n  - {{name: c, never: 'tier == \"free\" and tokens > 5'}}\n"
    program = language.compile(text)
    prover = Prover(program, time_left=lambda: 0.0)
    assert breach_of(program, program.invariants[0], prover) == NotDecided("time")


def test_what_a_client_may_ask_for_has_its_own_price(language: Language) -> None:
    policy = "routing_policy:\n  - {name: all, route: requested}\n"
    claim = 'never model == "openai/gpt-4" and n == 1 and {}cost{} > $0.01'
    for cost in (("worst_case(", ")"), ("", "")):
        breach = claimed(language, claim.format(*cost), policy)
        assert isinstance(breach, Breach)
        assert breach.target == "openai/gpt-4"
    dear = 'never route == "openai/gpt-4" and n == 1 and worst_case(cost) > $100'
    assert claimed(language, dear, policy) == Proved()


def test_no_more_output_is_expected_than_there_can_be(language: Language) -> None:
    policy = "routing_policy:\n  - {name: all, route: groq/llama-3-8b}\n"
    claim = "never tokens == 0 and cost > ${}"
    assert isinstance(claimed(language, claim.format("0.0001"), policy), Breach)
    assert claimed(language, claim.format(1), policy) == Proved()


OF_CLAIMS = (
    # what the file says beside, a claim whose keys no rule reads
    ("", 'never: max_tokens < 100 and cost("own/b") > $0.01'),
    ("", "never: max_tokens < 100 and cost > $0.01"),
    ("", 'always: known(p95("own/b"))'),
    ("tenants: {acme: {region: eu}}", 'never: tenant == "acme" and tenant.region == "us"'),
)


@pytest.mark.parametrize(("head", "claim"), OF_CLAIMS)
def test_what_holds_of_every_request_holds_of_values_that_only_a_claim_reads(
    head: str, claim: str, language: Language
) -> None:
    program = language.compile(f"""
attributes: {{tenant.region: [eu, us]}}
{head}
providers: {{own: {{kind: openai, base_url: "https://own.example/v1"}}}}
targets:
  own/b:
    price: {{input: $0/Mtok, output: $1/Mtok, request: $0.001}}
    max_output: 4k
    expected: {{p95: 2s}}
routing_policy: [{{name: all, route: own/b}}]
invariants: [{{name: i, {claim}}}]
""")
    assert breach_of(program, program.invariants[0], Prover(program)) == Proved()


def test_where_no_hop_is_left_there_is_no_copy(language: Language) -> None:
    blind = "{vision: false, price: 0, context_window: 9k}"
    policy = f"""
providers: {{own: {{kind: openai, base_url: "https://own.example/v1"}}}}
targets: {{own/a: {blind}, own/b: {blind}, openai/gpt-4: {{region: us}}}}
routing_policy:
  - name: images
    condition: has_images
    route: {{first_of: [own/a, own/b]}}
    fallback: []
    mirror: {{to: openai/gpt-4, sample: 100%}}
  - {{name: rest, route: own/a}}
"""
    assert claimed(language, 'never region == "us"', policy) == Proved()
    breach = claimed(language, 'never region == "us"', policy.replace("[]", "[own/b]", 1))
    assert isinstance(breach, Breach) and breach.is_copy
