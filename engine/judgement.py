"""Whether a policy is fit to be put in force, and what is told of one that is not."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.expect import Outcome
from turnout.dsl.include import Load
from turnout.dsl.source import Source, Span

from .policy import Policy

_MOST = 5  # findings that are told; the others are in `policy lint`
_LONGEST = 400  # characters of what a policy can make us say


class Failing(Exception):
    """A policy whose own tests fail; `outcomes` are those that do, `count` is that of all."""

    def __init__(self, outcomes: Sequence[Outcome], count: int) -> None:
        """Keep what failed."""
        self.outcomes = tuple(outcomes)
        self.count = count
        super().__init__(f"{len(outcomes)} of {count} tests of the policy fail")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where: in a form that leaves the process. `line` 0: in no file."""

    code: str
    message: str
    help: str | None = None
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """In one line, such as `routing.yml:4:16: RP101: …`."""
        place = f"{self.file}:{self.line}:{self.column}: " if self.file else ""
        return f"{place}{self.code}: {self.message}" + (f" ({self.help})" if self.help else "")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A candidate that was not put in force, and why.

    `kind` is one word of a few: `unreadable findings tests origin settings slow broken`.
    """

    kind: str
    reason: str
    findings: tuple[Finding, ...] = ()
    at_us: int = 0

    def to_json(self) -> dict[str, Any]:
        """As `/health` shows it: `{at, kind, reason, findings: [{code, message, …}]}`."""
        findings = [asdict(finding) for finding in self.findings]
        return {
            "at": instant(self.at_us),
            "kind": self.kind,
            "reason": self.reason,
            "findings": findings,
        }

    def packed(self) -> dict[str, Any]:
        """As data that `unpacked` reads."""
        return asdict(self)

    @classmethod
    def unpacked(cls, data: Mapping[str, Any]) -> "Rejected":
        """From the data of `packed`. Raises: KeyError, TypeError."""
        findings = tuple(Finding(**finding) for finding in data["findings"])
        return cls(data["kind"], data["reason"], findings, data["at_us"])

    def __str__(self) -> str:
        """In one line, with the first finding and its place."""
        more = len(self.findings) - 1
        first = f": {self.findings[0]}" if self.findings else ""
        return f"{self.reason}{first}" + (f" (and {more} more)" if more > 0 else "")


def judge(source: Source, load: Load) -> Policy:
    """The policy of a source, compiled and linted, whose tests all pass.

    Raises: PolicyError where a finding is an error; Failing.
    """
    policy = Policy.compile(source, load)
    outcomes = policy.test()
    failed = [outcome for outcome in outcomes if not outcome.passed]
    if failed:
        raise Failing(failed, len(outcomes))
    return policy


def of_findings(diagnostics: Iterable[Diagnostic]) -> Rejected:
    """The rejection of a policy with errors."""
    errors = [finding for finding in diagnostics if finding.severity == "error"]
    told = [_finding(one.code, one.message, one.help, one.span) for one in errors[:_MOST]]
    count = "an error" if len(errors) == 1 else f"{len(errors)} errors"
    return rejected("findings", f"the policy has {count}", told)


def of_tests(failing: Failing) -> Rejected:
    """The rejection of a policy whose tests fail."""
    told = [
        _finding("test", f"{one.name}: {one.problem}", one.help, one.span)
        for one in failing.outcomes[:_MOST]
    ]
    return rejected("tests", str(failing), told)


def rejected(kind: str, reason: str, findings: Iterable[Finding] = ()) -> Rejected:
    """A rejection as of now."""
    return Rejected(kind, visible(reason), tuple(findings), time.time_ns() // 1000)


def _finding(code: str, message: str, help: str | None, span: Span) -> Finding:
    said = None if help is None else visible(help)
    place = visible(span.source.name)
    return Finding(code, visible(message), said, place, span.line, span.column)


def visible(text: str) -> str:
    """A text that may come from a policy, fit for a terminal and a log: one line, not too long."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def instant(at_us: int) -> str:
    """An instant as RFC 3339 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(at_us / 1e6, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
