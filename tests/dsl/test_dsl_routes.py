"""The forms of a route: what is refused, and where a request goes."""

import re
from typing import Any

import pytest

from turnout.dsl.core import Choice, Hop, Plan, Program, Reject, Split
from turnout.dsl.destination import Reached, reached
from turnout.dsl.interpret.traced import trace
from turnout.dsl.snapshot import Snapshot, bucket, read_snapshot
from turnout.dsl.walk import plan_terms, reads

A, B, C = "groq/llama-3-8b", "groq/llama-3-70b", "anthropic/claude-sonnet"
PRIORS = f"""
targets:
  {A}: {{expected: {{p95: 2s, ttft: 900ms, output: 400}}, tools: false}}
  {B}: {{expected: {{p95: 1s, ttft: 800ms, output: 400}}}}
  {C}: {{expected: {{p95: 4s, ttft: 300ms, output: 400}}}}
"""


def policy(route: str, more: str = "", head: str = PRIORS) -> str:
    return (
        f"{head}\nrouting_policy:\n"
        f"  - {{name: canary, condition: tokens > 10, route: {route}{more}}}\n"
        f"  - {{name: default, route: openai/gpt-4o}}\n"
    )


def going(program: Program, snapshot: Snapshot) -> Reached:
    fired = trace(program, snapshot).clause
    return reached(program, fired, snapshot)


def goes(language: Any, route: str, more: str = "", head: str = PRIORS, **given: object) -> Any:
    program = language.compile(policy(route, more, head))
    written = {key.replace("__", "."): value for key, value in given.items() if key != "live"}
    snapshot = read_snapshot({"tokens": 100} | written | dict(given.get("live", {})), program)  # type: ignore[call-overload]
    return going(program, snapshot)


WRONG = [
    (f"{{first_of: [{A}, requested]}}", "RP301", "requested", "provider/model"),
    (f"{{first_of: [{A}, groq/llama-3-70]}}", "RP301", "groq/llama-3-70", f"did you mean `{B}`?"),
    (f"{{fastest_of: [{A}, {B}], where: p96 < 2s}}", "RP101", "p96", "did you mean `p9"),
    (f"{{fastest_of: [{A}, {B}], where: visio}}", "RP101", "visio", "did you mean `vision`?"),
    (f"{{fastest_of: [{A}, {B}], where: p95 < 2}}", "RP110", "2", "`2s`"),
    (f"{{split: {{{A}: 5%, {B}: 90%}}}}", "RP302", "90%", f"write `95%` for `{B}`"),
    (f"{{split: {{{A}: 0%, {B}: 100%}}}}", "RP302", "0%", "above 0%"),
    (f"{{split: {{{A}: 60%, {B}: 60%}}}}", "RP302", "60%", "write `40%`"),
    (
        f"{{split: {{{A}: 60%, {B}: 10%, {C}: 30%}}, "
        f"ramp: {{{A}: 80%, from: 2026-10-01, to: 2026-10-08}}}}",
        "RP302",
        "80%",
        "100%",
    ),
    (
        f"{{split: {{{A}: 60%, {B}: 40%}}, "
        f"ramp: {{{A}: 80%, {B}: 30%, from: 2026-10-01, to: 2026-10-08}}}}",
        "RP302",
        "30%",
        "100%",
    ),
]


@pytest.mark.parametrize(("route", "code", "excerpt", "help"), WRONG)
def test_a_route_that_cannot_be_is_refused_at_its_place(
    language: Any, route: str, code: str, excerpt: str, help: str
) -> None:
    program, findings = language.examine(policy(route))
    assert program is None
    found = [f for f in findings if f.severity == "error" and f.code == code]
    assert found, findings
    assert found[0].span.excerpt == excerpt
    assert help in (found[0].help or "")
    assert not found[0].message.endswith(".")


@pytest.mark.parametrize(
    ("route", "kind"),
    [
        (f"{{cheapest_of: [{A}, {B}], where: p95 < 8s}}", Choice),
        (f"{{fastest_of: [{A}, {B}], by: ttft.p95}}", Choice),
        (f"{{first_of: [{A}, {B}], where: healthy}}", Choice),
        (f"{{split: {{{A}: 5%, {B}: 95%}}, sticky: session}}", Split),
        ('{reject: 429, message: "later", retry_after: 1h}', Reject),
        (A, Hop),
        ("requested", Hop),
    ],
)
def test_every_form_of_a_route_is_lowered_without_a_finding(
    language: Any, route: str, kind: type
) -> None:
    program, findings = language.examine(policy(route))
    assert program is not None, findings
    assert [f for f in findings if f.severity == "error"] == []
    assert isinstance(program.clauses[0].plan.route, kind)


@pytest.mark.parametrize(
    "text",
    [
        policy(A, ", mirror: {to: requested, sample: 5%}"),
        policy(A, ", mirror: {to: reqeusted, sample: 5%}"),
        policy("requested", ", mirror: {to: requested, sample: 5%}"),
        policy(A, head="defaults: {mirror: {to: requested, sample: 5%}}"),
    ],
)
def test_a_copy_of_whatever_was_asked_for_is_refused(language: Any, text: str) -> None:
    program, findings = language.examine(text)
    assert program is None
    (found,) = [one for one in findings if one.severity == "error"]
    assert (found.code, found.span.excerpt[:3]) == ("RP301", "req")
    assert found.message == f"a copy goes to one target, and `{found.span.excerpt}` is none"
    assert found.help == "name the target to compare with, such as `openai/gpt-4`"


def test_every_value_that_a_plan_may_read_is_a_slot_of_the_program(language: Any) -> None:
    for route in (
        f"{{cheapest_of: [{A}, {B}], where: p95 < 8s and cost < $1}}",
        f"{{fastest_of: [{A}, {B}], by: ttft.p95}}",
        f"{{split: {{{A}: 5%, {B}: 95%}}, sticky: user}}",
        f"{{split: {{{A}: 5%, {B}: 95%}}, ramp: {{{A}: 50%, from: 2026-10-01, to: 2026-10-08}}}}",
    ):
        program = language.compile(policy(route, f", mirror: {{to: {C}, sample: 5%}}"))
        plan: Plan = program.clauses[0].plan
        assert {*reads(plan_terms(plan))} <= {*program.slots}
        assert "bucket.request(canary.mirror)" in program.slots


def test_the_cheapest_is_chosen_by_what_the_request_is_expected_to_cost(language: Any) -> None:
    choice = f"{{cheapest_of: [{C}, {B}, {A}]}}"
    assert goes(language, choice).target == A
    assert goes(language, choice, tokens=200_000).target == C  # the others' windows are too small
    assert goes(language, choice, has_tools=True).target == B  # the cheapest has none


def test_the_fastest_is_chosen_by_its_measure(language: Any) -> None:
    assert goes(language, f"{{fastest_of: [{A}, {B}, {C}]}}").target == B
    assert goes(language, f"{{fastest_of: [{A}, {B}, {C}], by: ttft.p95}}").target == C
    seen = goes(language, f"{{fastest_of: [{A}, {B}]}}", live={f"p95({B})": "3s"})
    assert seen.target == A


def test_what_is_unknown_ranks_last_and_false_drops(language: Any) -> None:
    head = f"targets:\n  {B}: {{expected: {{p95: 9s}}}}"
    assert goes(language, f"{{fastest_of: [{A}, {B}]}}", head=head).target == B
    route = f"{{fastest_of: [{A}, {B}], where: p95 < 8s}}"
    assert goes(language, route, head=head).target == A
    live = {f"p95({A})": "9s"}
    dropped = goes(language, route, head=head, live=live)
    assert dropped.found.route is None
    assert dropped.target is None


def test_where_reads_the_facts_of_each_candidate(language: Any) -> None:
    head = f"targets:\n  {A}: {{tags: [fast]}}\n  {B}: {{region: eu}}"
    assert (
        goes(language, f"{{first_of: [{B}, {A}], where: '\"fast\" in tags'}}", head=head).target
        == A
    )
    # Where A runs is not known: a candidate that is sure goes first.
    assert (
        goes(language, f"{{first_of: [{A}, {B}], where: 'region == \"eu\"'}}", head=head).target
        == B
    )
    head = f"targets:\n  {A}: {{region: us}}\n  {B}: {{region: eu}}"
    assert (
        goes(language, f"{{first_of: [{A}, {B}], where: 'region == \"eu\"'}}", head=head).target
        == B
    )


def test_arms_are_laid_out_in_the_order_written(language: Any) -> None:
    split = f"{{split: {{{A}: 5%, {B}: 95%}}, sticky: session}}"
    for place, target in ((0, A), (499, A), (500, B), (9_999, B)):
        assert goes(language, split, live={"bucket(canary)": place}).target == target


@pytest.mark.parametrize(
    ("at", "shares"),
    [
        ("2026-09-30 23:59", 1_000),
        ("2026-10-01 00:00", 1_000),
        ("2026-10-03 00:00", 3_000),
        ("2026-10-05 00:00", 5_000),
        ("2027-01-01 00:00", 5_000),
    ],
)
def test_a_ramp_moves_the_named_arm_and_the_rest_follows(
    language: Any, at: str, shares: int
) -> None:
    ramp = f"ramp: {{{B}: 50%, from: 2026-10-01, to: 2026-10-05}}"
    split = f"{{split: {{{A}: 85%, {B}: 10%, {C}: 5%}}, sticky: session, {ramp}}}"
    counts = dict.fromkeys((A, B, C), 0)
    program = language.compile(policy(split))
    for place in range(0, 10_000, 50):
        given = {"tokens": 100, "bucket(canary)": place, "at": at}
        counts[going(program, read_snapshot(given, program)).target or ""] += 50
    assert counts == {A: 9_500 - shares, B: shares, C: 500}


def test_a_session_keeps_its_bucket_and_another_salt_gives_another() -> None:
    assert bucket("canary", "ab") == bucket("canary", "ab") != bucket("other", "ab")
    assert 0 <= bucket("x", "y") < 10_000


def test_a_rejection_says_what_it_says(language: Any) -> None:
    gone = goes(language, '{reject: 429, message: "later", retry_after: 1h}')
    assert (gone.reject.status, gone.reject.message, gone.reject.retry_after_us) == (
        429,
        "later",
        3_600_000_000,
    )
    assert gone.target is None
    assert "canary" in goes(language, "{reject: 403}").reject.message


def test_a_rules_option_wins_over_the_default_and_that_over_the_built_in(language: Any) -> None:
    head = (
        f"defaults: {{timeout: 9s, backoff: 1s, hold: 1m, tags: [all], set: {{temperature: 0}}, "
        f"mirror: {{to: {C}, sample: 5%}}}}"
    )
    program = language.compile(policy(A, ", timeout: 3s, tags: [own], set: {max_tokens: 1k}", head))
    first, last = program.clauses
    assert (first.plan.route.clocks.timeout_us, last.plan.route.clocks.timeout_us) == (
        3_000_000,
        9_000_000,
    )
    assert first.plan.route.backoff_us == 1_000_000
    assert (first.tags, last.tags) == (("own",), ("all",))
    assert (dict(first.plan.sets), dict(last.plan.sets)) == (
        {"max_tokens": 1000},
        {"temperature": 0},
    )
    assert first.plan.mirror.hop.target == C
    plain = language.compile(policy(A)).clauses[0].plan
    assert (plain.route.backoff_us, plain.mirror, dict(plain.sets)) == (250_000, None, {})


def held(language: Any, condition: str) -> Program:
    text = language.one_rule(condition, PRIORS)
    held = text.replace("route: openai/gpt-4}", "route: openai/gpt-4, hold: 2m}")
    program: Program = language.compile(held)
    return program


def test_a_comparison_of_live_values_is_latched_and_no_other(language: Any) -> None:
    condition = (
        f'tokens > 5 and (p95("{A}") > 8s or error_rate("{A}") > 5%) and p95(requested) > 1s'
    )
    text = language.one_rule(condition, PRIORS).replace(
        "route: openai/gpt-4}", "route: openai/gpt-4, hold: 2m}"
    )
    program = language.compile(text)
    assert [(latch.key, latch.hold_us) for latch in program.latches] == [
        ("held(first:0)", 120_000_000),
        ("held(first:1)", 120_000_000),
    ]
    assert {*reads([latch.test for latch in program.latches])} == {f"p95({A})", f"error_rate({A})"}
    given = {"tokens": 80, f"p95({A})": "1s", f"error_rate({A})": "0%", "p95(requested)": "2s"}
    assert trace(program, read_snapshot(given, program)).clause == 1
    assert trace(program, read_snapshot(given | {"held(first:1)": True}, program)).clause == 0


def test_a_range_is_latched_as_one(language: Any) -> None:
    text = language.one_rule(f'p95("{A}") in 1s..2s', PRIORS)
    program = language.compile(
        text.replace("route: openai/gpt-4}", "route: openai/gpt-4, hold: 2m}")
    )
    assert len(program.latches) == 1


def test_a_hold_with_nothing_to_hold_says_so(language: Any) -> None:
    program, findings = language.examine(policy(A, ", hold: 2m"))
    assert program is not None
    (finding,) = [f for f in findings if "hold" in f.message]
    assert (finding.severity, program.latches) == ("warning", ())


def test_a_choice_whose_candidates_lack_a_prior_says_so_of_each_once(language: Any) -> None:
    _, findings = language.examine(policy(f"{{fastest_of: [{A}, {B}], by: ttft.p95}}", head=""))
    missing = [f.message for f in findings if f.code == "RP405"]
    assert [re.findall("`([^`]*/[^`]*)`", message) for message in missing] == [[A], [B]]
    head = f"targets:\n  {A}: {{expected: {{p95: 1s}}}}\n  {B}: {{expected: {{ttft: 1s}}}}"
    _, findings = language.examine(policy(f"{{fastest_of: [{A}, {B}], by: ttft.p95}}", head=head))
    assert [A in f.message for f in findings if f.code == "RP405"] == [True]


@pytest.mark.parametrize(
    "option",
    [
        "timeout: 5s",
        "retries: 2",
        "backoff: 1s",
        "catch: [timeout]",
        f"fallback: [{A}]",
        "set: {max_tokens: 5}",
        f"mirror: {{to: {A}, sample: 5%}}",
    ],
)
def test_what_a_rejection_would_ignore_is_refused(language: Any, option: str) -> None:
    _, findings = language.examine(policy("{reject: 429}", f", {option}"))
    (finding,) = (finding for finding in findings if finding.severity == "error")
    assert (finding.code, finding.span.excerpt) == ("RP005", option.partition(":")[0])
    assert "the rule rejects" in finding.message


def test_a_rejection_may_be_held_and_may_expire(language: Any) -> None:
    more = ", tags: [a], expires: 2030-01-01"
    assert language.compile(policy("{reject: 429}", more)).clauses[0].tags == ("a",)


@pytest.mark.parametrize("goal", ["5%", "5.00%"])
def test_a_ramp_that_moves_nothing_is_refused(language: Any, goal: str) -> None:
    ramp = f"ramp: {{{B}: {goal}, from: 2026-10-01, to: 2026-10-08}}"
    _, findings = language.examine(policy(f"{{split: {{{A}: 95%, {B}: 5%}}, {ramp}}}"))
    (finding,) = (finding for finding in findings if finding.severity == "error")
    assert (finding.code, finding.span.excerpt) == ("RP302", goal)
    assert "moves nothing" in finding.message


def test_hold_without_a_condition_is_told(language: Any) -> None:
    _, findings = language.examine(
        "routing_policy:\n  - {name: default, route: openai/gpt-4o, hold: 5m}\n"
    )
    assert ("RP010", "warning") in [(f.code, f.severity) for f in findings]
