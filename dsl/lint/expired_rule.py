"""A rule is past the day it was meant to last until.

`expires` is a promise to come back. The rule still runs, so that nothing changes overnight without
anybody's decision; lint reminds until it is removed or prolonged.

Avoid:

    condition: tokens < 100
    expires: 2020-12-31

Prefer:

    condition: tokens < 100
    expires: 2099-12-31
"""

from collections.abc import Iterator
from datetime import date, timedelta

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.refusal import warning

CODE = "RP503"
LEVEL: Severity = "warning"

_EPOCH = date(1970, 1, 1)


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Rules whose last day has passed; nothing where today is not known."""
    if today is None:
        return
    default = policy.rule_defaults.expires
    if default is not None and default < today:
        yield warning(
            CODE,
            f"`defaults` lets rules expire on {_EPOCH + timedelta(days=default)}, which has passed",
            policy.key_spans.get("defaults.expires", policy.source_span),
            "write a later day",
        )
    for rule in policy.rules:
        expires = rule.extra.expires
        if expires is not None and expires < today:
            days = today - expires
            yield warning(
                CODE,
                f"the rule `{rule.name.value}` expired on {_EPOCH + timedelta(days=expires)}, "
                f"{days} {'day' if days == 1 else 'days'} ago, and still runs",
                rule.extra.spans.get("expires", rule.name.span),
                "remove the rule, or write a later day",
            )
