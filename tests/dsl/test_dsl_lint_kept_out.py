"""Hops that limits keep out (RP313), and invariants that say nothing of a target (RP322, RP336)."""

from typing import Any

import pytest

from turnout.dsl.diagnostic import Diagnostic

EU, US, ANY = "anthropic/claude-sonnet", "openai/gpt-4o", "groq/llama-3-8b"
HEAD = f"""attributes: {{tenant.region: [eu, us], tier: [free, pro]}}
targets:
  {US}: {{region: us}}
  {EU}: {{region: eu}}
  groq/llama-3-70b: {{region: eu}}
"""
STAYS = '{name: eu_stays, when: tenant.region == "eu", target: region == "eu"}'
PAID = '{name: paid, when: tier == "free", target: region == "us"}'
FREE_EU = 'tenant.region == "eu" and tier == "free"'


def policy(rules: list[str], limits: tuple[str, ...] = (STAYS,), more: str = "") -> str:
    kept = "".join(f"  - {limit}\n" for limit in limits)
    required = f"require:\n{kept}" if limits else ""
    listed = "".join(f"  - {rule}\n" for rule in rules)
    return f"{HEAD}{required}{more}routing_policy:\n{listed}  - {{name: default, route: {EU}}}\n"


def found(language: Any, code: str, text: str) -> list[Diagnostic]:
    linted = language.prove(text)
    assert linted.is_proved, linted.findings
    return [finding for finding in linted.findings if finding.code == code]


def legal(more: str, condition: str = 'tenant.region == "eu"') -> str:
    return f"{{name: legal, condition: {condition}, {more}}}"


KEPT_OUT = [
    (legal(f"route: {EU}, fallback: [{US}]"), (STAYS,), {US: "`eu_stays` keeps"}),
    (legal(f"route: {US}, fallback: [{EU}]"), (STAYS,), {US: "`eu_stays` keeps"}),
    (legal(f"route: {{first_of: [{US}, {EU}]}}"), (STAYS,), {US: "`eu_stays` keeps"}),
    (
        legal(f"route: {{split: {{{US}: 50%, {EU}: 50%}}, sticky: session}}"),
        (STAYS,),
        {US: "`eu_stays` keeps"},
    ),
    # where nothing is known of a target, it does not pass
    (legal(f"route: {EU}, fallback: [{ANY}]"), (STAYS,), {ANY: "`eu_stays` keeps"}),
    # one is enough, whatever the others say
    (
        legal(f"route: {EU}, fallback: [{US}]"),
        ("{name: sees, when: has_images, target: vision == true}", STAYS),
        {US: "`eu_stays` keeps"},
    ),
    # it takes both
    (
        legal(f"route: {EU}, fallback: [{ANY}]", "has_tools"),
        (
            '{name: long, when: tokens > 100, target: region == "eu"}',
            '{name: short, when: tokens <= 100, target: region == "eu"}',
        ),
        {ANY: "`long` and `short` keep"},
    ),
    (legal(f"route: requested, fallback: [{US}]"), (STAYS,), {US: "`eu_stays` keeps"}),
]


@pytest.mark.parametrize(("rule", "limits", "expected"), KEPT_OUT)
def test_a_hop_that_limits_always_keep_out_is_found(
    language: Any, rule: str, limits: tuple[str, ...], expected: dict[str, str]
) -> None:
    findings = found(language, "RP313", policy([rule], limits))
    assert {finding.span.excerpt: finding.message for finding in findings} == {
        target: f"`{target}` is never tried here: {who} it out of every request that `legal` takes"
        for target, who in expected.items()
    }
    assert all(finding.severity == "warning" for finding in findings)


TRIED = [
    # some of what the rule takes may go there
    (legal(f"route: {EU}, fallback: [{US}]", "tokens > 10"), (STAYS,), ""),
    # what the client asked for is whatever it is
    (legal("route: requested"), (STAYS,), ""),
    # the chain serves other rules, too
    (legal(f"route: {EU}"), (STAYS,), f"fallback_chain: [{US}]\n"),
    # nothing is left at all: RP310 says so
    (legal(f"route: {US}, fallback: [{ANY}]"), (STAYS,), ""),
    (legal(f"route: {EU}, fallback: [{US}]"), (), ""),
    (legal("route: {reject: 403}"), (STAYS,), ""),
    # the rule that would need it never runs
    (legal(f"route: {EU}, fallback: [{US}]", "tokens < 5 and tokens > 5"), (STAYS,), ""),
]


@pytest.mark.parametrize(("rule", "limits", "more"), TRIED)
def test_a_hop_that_is_tried_or_closed_by_something_else_is_not(
    language: Any, rule: str, limits: tuple[str, ...], more: str
) -> None:
    assert found(language, "RP313", policy([rule], limits, more)) == []


# --- invariants ----------------------------------------------------------------------------------

KNOWN = f"{{name: known, condition: stream, route: {US}}}"
UNKNOWN = f"{{name: unknown, condition: stream, route: {ANY}}}"
COPIED = f"{{name: copied, condition: stream, route: {EU}, mirror: {{to: {ANY}, sample: 5%}}}}"


def invariant(test: str, kind: str = "never") -> str:
    return f"invariants: [{{name: eu_stays, {kind}: '{test}'}}]\n"


SILENT = [
    ('tier == "free" and region != "eu"', UNKNOWN, "`region`"),
    ('tier == "free" and region != "eu"', COPIED, "`region`"),
    ('not (region == "eu")', UNKNOWN, "`region`"),
    ('region == "us" and "fast" in tags or vision and tokens > 5', UNKNOWN, "`vision`"),
    ('tenant.region == "eu" and owner == "them"', UNKNOWN, "`owner`"),
]


@pytest.mark.parametrize(("test", "rule", "facts"), SILENT)
def test_an_invariant_that_says_nothing_of_a_target_is_found(
    language: Any, test: str, rule: str, facts: str
) -> None:
    (finding,) = found(language, "RP322", policy([rule], (), invariant(test)))
    assert finding.message.startswith("nothing is known of the ")
    assert facts in finding.message and f"`{ANY}`" in finding.message
    assert ", so `eu_stays` says nothing about " in finding.message
    assert finding.witness is not None
    assert "under `targets:`" in (finding.help or "") and "`always`" in (finding.help or "")


TELLING = [
    (invariant('region != "eu"'), KNOWN),
    (invariant('region == "eu"', "always"), UNKNOWN),
    (invariant(f'route == "{ANY}"'), UNKNOWN),
    (invariant(f'route == "{US}" and region != "us"'), UNKNOWN),  # it is not about that target
    (invariant('not stream and region == "us"'), UNKNOWN),  # nor about what goes there
    (
        invariant('region == "us"') + f"require: [{STAYS}]\n",
        legal(f"route: {ANY}, fallback: [{EU}]"),
    ),
    (invariant('"fast" in tags and tokens > 5'), UNKNOWN),
]


@pytest.mark.parametrize(("more", "rule"), TELLING)
def test_an_invariant_that_hangs_on_nothing_unknown_is_fine(
    language: Any, more: str, rule: str
) -> None:
    assert found(language, "RP322", policy([rule], (), more)) == []


def test_of_many_targets_a_few_are_named(language: Any) -> None:
    rule = f"{{name: many, route: {ANY}, fallback: [groq/llama-3-70b, openai/gpt-4, {US}, {EU}]}}"
    (finding,) = found(language, "RP322", policy([rule], (), invariant('owner == "them"')))
    assert finding.message == (
        f"nothing is known of the `owner` of `{ANY}`, `groq/llama-3-70b`, `openai/gpt-4` and 2 "
        "others, so `eu_stays` says nothing about them"
    )


ROUTES = [
    ("openai/gpt-4oo", 'did you mean `"openai/gpt-4o"`?'),
    ("opnai/gpt-4o", 'did you mean `"openai/gpt-4o"`?'),
    ("nobody/knows", "write `provider/model`"),
]


@pytest.mark.parametrize(("route", "help"), ROUTES)
def test_a_route_that_no_target_is_is_found_in_an_invariant(
    language: Any, route: str, help: str
) -> None:
    for test in (f'route == "{route}"', f'tokens > 5 and route in ["{US}", "{route}"]'):
        (finding,) = found(language, "RP336", policy([KNOWN], (), invariant(test)))
        assert (finding.span.excerpt, finding.help) == (f'"{route}"', help)
        assert finding.message == f"there is no target `{route}`"


@pytest.mark.parametrize("route", [US, "openai/gpt-4", "groq/llama-3-70b"])
def test_a_route_that_the_catalogue_knows_is_fine(language: Any, route: str) -> None:
    assert found(language, "RP336", policy([KNOWN], (), invariant(f'route != "{route}"'))) == []


# --- what is tied together -----------------------------------------------------------------------

AT_ODDS = [
    ("tokens < 100 and tokens > 500", True),
    ("weekday == Mon and date == 2026-10-06", False),
    ('complexity == "low" and complexity.score > 0.6', False),
    ('complexity == "high" and complexity.score < 0.5', False),
    ('complexity == "medium" and complexity.score == 0.5', False),
    ('complexity == "low" and not known(complexity.score)', False),
    ("known(complexity.score) and not known(complexity)", False),
]


@pytest.mark.parametrize(("condition", "is_one_value"), AT_ODDS)
def test_what_cannot_be_true_together_is_found_with_advice_that_fits(
    language: Any, condition: str, is_one_value: bool
) -> None:
    rule = f"{{name: odd, condition: '{condition}', route: {US}}}"
    (finding,) = found(language, "RP201", policy([rule], ()))
    assert ("write `or`" in (finding.help or "")) is is_one_value


@pytest.mark.parametrize(
    "condition",
    [
        "weekday == Mon and date == 2026-10-05",
        'complexity == "low" and complexity.score < 0.3',
        'complexity == "medium" and complexity.score >= 0.4999',
        'complexity == "high" and complexity.score >= 0.5',
        "not known(complexity) and not known(complexity.score)",
    ],
)
def test_what_is_tied_together_can_be_true_together(language: Any, condition: str) -> None:
    rule = f"{{name: fine, condition: '{condition}', route: {US}}}"
    assert found(language, "RP201", policy([rule], ())) == []
