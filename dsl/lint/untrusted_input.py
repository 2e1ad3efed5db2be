"""Something that must hold rests on what the caller writes.

Headers, tags and sessions are the caller's own text: whoever wants another answer writes another
value. A hard limit, or a rule about a tier or a tenant, needs what the caller's key says: `tier`,
`tenant`, `team`.

Avoid:

    targets:
      openai/gpt-4o: {region: eu}
    require:
      - name: eu_stays_in_eu
        when: header["x-region"] == "eu"
        target: region == "eu"

Prefer:

    targets:
      openai/gpt-4o: {region: eu}
    require:
      - name: eu_stays_in_eu
        when: tenant.region == "eu"
        target: region == "eu"
"""

import re
from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program, Read, Term
from turnout.dsl.diagnostic import Diagnostic, Severity
from turnout.dsl.refusal import warning
from turnout.dsl.walk import leaves_first

CODE = "RP430"
LEVEL: Severity = "warning"

_STANDING = re.compile(r"(?:^|[^a-z])(tier|plan|tenant|role)s?(?:[^a-z]|$)")


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Limits that read untrusted attributes, and rules that read a tier out of one."""
    if program is None:
        return
    for limit in program.limits:
        terms = [term for term in (limit.when, limit.target) if term is not None]
        read = next(_untrusted(terms, program), None)
        if read is not None:
            yield warning(
                CODE,
                f"the limit `{limit.name}` depends on `{_shown(read)}`, which the caller writes",
                read.span or limit.span,
                "test what the caller's key says: `tier`, `tenant`, `team`",
            )
    for clause in program.clauses:
        for read in _untrusted([] if clause.test is None else [clause.test], program):
            slot = program.slots[read.key]
            standing = _STANDING.search(slot.argument or "")
            if standing is not None:
                yield warning(
                    CODE,
                    f"the rule `{clause.name}` takes a caller's word for the {standing[1]}: "
                    f"`{_shown(read)}`",
                    read.span or clause.span,
                    f"test `{_TRUSTED.get(standing[1], 'tier')}`, which comes from the caller's "
                    "key",
                )
                break


_TRUSTED = {"tenant": "tenant", "role": "team"}


def _untrusted(terms: list[Term], program: Program) -> Iterator[Read]:
    for term in leaves_first(terms):
        slot = program.slots.get(term.key) if isinstance(term, Read) else None
        if isinstance(term, Read) and slot is not None and slot.attribute.untrusted:
            yield term


def _shown(read: Read) -> str:
    return read.key if read.span is None else read.span.text
