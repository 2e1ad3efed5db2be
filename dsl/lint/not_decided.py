"""A question about all requests was neither proved nor refuted.

The time was over, or a test that only a real request can answer (a pattern, a similarity) stands in
the way. Nothing is claimed then: neither that the policy is sound there, nor that it is not. Of an
invariant, and of limits that could leave no target, this is a warning.

Avoid:

    - name: odd
      condition: header["x-app"] matches "^a+b+c$" and header["x-app"] matches "^c+b+a$"
      route: groq/llama-3-8b

Prefer:

    - name: odd
      condition: header["x-app"] starts_with "a" and header["x-app"] ends_with "c"
      route: groq/llama-3-8b
"""

from collections.abc import Iterator
from itertools import groupby

from turnout.dsl.diagnostic import Diagnostic, Severity

from .survey import Survey

CODE = "RP209"
LEVEL: Severity = "info"

_PROMISES = ("RP310", "RP320")  # what somebody wrote to be held, and may rely on
_WHY = {
    "time": "the time for proofs was over",
    "opaque": "it hangs on a pattern or a signal that only a real request can answer",
}
_HELP = {
    "time": "give it more with `--prove-timeout 60s`",
    "opaque": "look at it by hand, or write it with `==`, `in`, `starts_with` and the like",
}


def prove(survey: Survey) -> Iterator[Diagnostic]:
    """What the other rules left open, once for each code and reason."""
    rows = sorted(survey.open, key=lambda one: (one.code, one.reason))
    for (code, reason), group in groupby(rows, key=lambda one: (one.code, one.reason)):
        first, *rest = group
        more = f" ({len(rest)} more like it)" if rest else ""
        yield Diagnostic(
            CODE,
            "warning" if code in _PROMISES else LEVEL,
            f"not decided: {first.subject}{more}; {_WHY[reason]} ({code})",
            first.span,
            _HELP[reason],
        )
