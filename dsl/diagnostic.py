"""Diagnostics are values: collected, sorted by place, raised once. They never print themselves.

Messages are one sentence, lower case, without a full stop, the user's own text in backticks, and
never name a Python type. `help` says what to write instead.

What does not belong here: rendering (text, JSON and the rest live with the command line).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from .source import Span

Severity = Literal["error", "warning", "info"]

# The short name of every code in use. A code is never used for another finding.
NAMES: dict[str, str] = {
    "RP001": "syntax-error",
    "RP002": "yaml-trap",
    "RP003": "comment-cuts-condition",
    "RP004": "duplicate-name",
    "RP005": "unknown-field",
    "RP006": "bad-include",
    "RP007": "literal-secret",
    "RP008": "missing-field",
    "RP009": "wrong-shape",
    "RP010": "bad-value",
    "RP011": "bad-ignore",
    "RP012": "unused-ignore",
    "RP101": "unknown-attribute",
    "RP102": "unknown-function",
    "RP103": "condition-expected",
    "RP110": "missing-unit",
    "RP111": "incompatible-units",
    "RP112": "value-outside-enum",
    "RP113": "outside-range",
    "RP114": "too-late",
    "RP115": "equality-on-measurement",
    "RP116": "bare-target-value",
    "RP117": "open-attribute",
    "RP118": "constant-condition",
    "RP120": "bad-pattern",
    "RP201": "never-matches",
    "RP202": "unreachable-rule",
    "RP203": "uncovered-request",
    "RP204": "redundant-rule",
    "RP205": "constant-part",
    "RP206": "order-matters",
    "RP207": "mergeable-rules",
    "RP208": "unused-default",
    "RP209": "not-decided",
    "RP210": "skipped-when-unknown",
    "RP301": "unknown-target",
    "RP302": "bad-shares",
    "RP303": "duplicate-hop",
    "RP304": "same-provider-fallback",
    "RP305": "timeouts-exceed-deadline",
    "RP306": "weaker-fallback",
    "RP307": "refusal-retried",
    "RP308": "mirror-of-itself",
    "RP309": "circular-model",
    "RP310": "no-target-left",
    "RP311": "empty-choice",
    "RP312": "window-exceeded",
    "RP313": "hop-never-tried",
    "RP314": "clock-never-strikes",
    "RP315": "hasty-idle",
    "RP316": "many-attempts",
    "RP317": "long-chain",
    "RP320": "broken-invariant",
    "RP321": "vacuous-invariant",
    "RP322": "silent-invariant",
    "RP329": "unproved-invariants",
    "RP330": "dearer-than-budget",
    "RP331": "missing-price",
    "RP332": "unknown-budget",
    "RP333": "unbounded-price",
    "RP334": "undeclared-model",
    "RP335": "unused-target",
    "RP336": "fact-of-no-target",
    "RP337": "unused-name",
    "RP401": "odd-time-window",
    "RP402": "ragged-time-windows",
    "RP403": "flapping-threshold",
    "RP404": "oscillating-thresholds",
    "RP405": "missing-prior",
    "RP420": "unsticky-split",
    "RP430": "untrusted-input",
    "RP501": "untested-rule",
    "RP503": "expired-rule",
    "RP504": "broken-test",
    "RP601": "constant-first",
    "RP602": "double-negation",
    "RP603": "unsorted-list",
    "RP604": "long-condition",
}


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that belongs to a finding, with what it has to do with it."""

    message: str
    span: Span


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding at one place."""

    code: str
    severity: Severity
    message: str
    span: Span
    help: str | None = None
    related: tuple[Related, ...] = ()
    witness: Mapping[str, object] | None = field(default=None, hash=False)

    @property
    def name(self) -> str:
        """The short name of the code, such as `unknown-attribute`."""
        return NAMES[self.code]


class PolicyError(Exception):
    """A policy that cannot be used; carries every finding, sorted by place."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Keep the findings in the order of their places."""
        self.diagnostics: tuple[Diagnostic, ...] = sort(diagnostics)
        first = self.diagnostics[0]
        where = f"{first.span.source.name}:{first.span.line}:{first.span.column}"
        more = len(self.diagnostics) - 1
        super().__init__(
            f"{where}: {first.severity}[{first.code}] {first.message}"
            + (f" (and {more} more)" if more else "")
        )


def sort(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Findings by file, place and code, each once."""
    seen = dict.fromkeys(
        sorted(diagnostics, key=lambda d: (d.span.source.name, d.span.start, d.code, d.message))
    )
    return tuple(seen)
