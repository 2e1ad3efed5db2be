"""A mirror sends its copies to the target that answers the request anyway.

A mirror shows how another target would have answered. A copy to the rule's own target is paid for,
counts against that target's rates, and shows nothing.

Avoid:

    - name: default
      route: openai/gpt-4o
      mirror: {to: openai/gpt-4o, sample: 5%}

Prefer:

    - name: default
      route: openai/gpt-4o
      mirror: {to: groq/llama-3-70b, sample: 5%}
"""

from collections.abc import Iterator
from dataclasses import replace

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.refusal import warning

CODE = "RP308"
LEVEL: Severity = "warning"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Mirrors of rules with one target, and of `defaults` where all rules that have it go there."""
    for rule in policy.rules:
        mirror = rule.extra.mirror
        if mirror is not None and _goes_to(rule, mirror.to.value):
            yield _found(mirror, rule)
    default = policy.rule_defaults.mirror
    if default is not None:
        using = [
            rule
            for rule in policy.rules
            if rule.extra.mirror is None and not isinstance(rule.route, tree.RejectRoute)
        ]
        if using and all(_goes_to(rule, default.to.value) for rule in using):
            yield _found(default, using[0])


def _goes_to(rule: tree.Rule, target: str) -> bool:
    return isinstance(rule.route, tree.Text) and rule.route.value == target


def _found(mirror: tree.MirrorEntry, rule: tree.Rule) -> Diagnostic:
    finding = warning(
        CODE,
        f"`{mirror.to.value}` gets a copy of what it answers itself by the rule "
        f"`{rule.name.value}`",
        mirror.to.span,
        "name the target to compare with, or remove `mirror`",
    )
    assert isinstance(rule.route, tree.Text)
    return replace(finding, related=(Related("the route", rule.route.span),))
