"""A policy as a library: load a file, ask what it decides on a snapshot, and why.

What does not belong here: calling a provider (`gateway`) and reading live requests (`decide`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from turnout.dsl.check import check
from turnout.dsl.core import REQUESTED, Program
from turnout.dsl.diagnostic import Diagnostic, PolicyError, sort
from turnout.dsl.expect import Outcome
from turnout.dsl.expect import run as run_tests
from turnout.dsl.interpret.compiled import compile_program
from turnout.dsl.interpret.traced import trace
from turnout.dsl.parse import parse_with_warnings
from turnout.dsl.snapshot import Snapshot, read_snapshot
from turnout.dsl.source import Source
from turnout.dsl.tree import TestCase

from .catalog import language_schema
from .names import Names
from .request import RequestError
from .trace import render_trail


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says of a snapshot.

    `rule` and `index` are None where no rule matched; then `route` is the first entry of the
    fallback chain, or None without one. `route` is the target as written (it may be `requested`).
    """

    rule: str | None
    route: str | None
    index: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a policy decides as it does: `trail` has every rule with the value of each part.

    `target` is what the route stands for: another word than `route` only where that is
    `requested`, and None where nobody asked for a target. `str()` is for people.
    """

    rule: str | None
    route: str | None
    target: str | None
    policy: str
    trail: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The explanation as data: `{rule, route, target, policy, trail}`."""
        return {
            "rule": self.rule,
            "route": self.route,
            "target": self.target,
            "policy": self.policy,
            "trail": self.trail,
        }

    def __str__(self) -> str:
        """The decision in a line, the policy's digest, and every rule on the way to it."""
        return f"{self.headline}\n  policy {self.policy}\n\n{render_trail(self.trail)}"

    @property
    def headline(self) -> str:
        """The decision in one line."""
        if self.route is None:
            return "→ nothing: no rule matched, and there is no fallback chain"
        where = self.route if self.target in (None, self.route) else f"{self.route}: {self.target}"
        if self.rule is None:
            return f"→ {where}   no rule matched: the fallback chain"
        number = 1 + next(i for i, step in enumerate(self.trail) if step["rule"] == self.rule)
        return f"→ {where}   rule {self.rule} ({number} of {len(self.trail)})"


class Policy:
    """A policy that compiled, with its warnings and its tests."""

    def __init__(
        self, program: Program, diagnostics: tuple[Diagnostic, ...], tests: tuple[TestCase, ...]
    ) -> None:
        """Hold a compiled program; `load` and `parse` are the ways to one."""
        self.program = program
        self.diagnostics = diagnostics
        self._tests = tests
        self._index_of = compile_program(program)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Policy":
        """Read and compile a file. Raises: PolicyError; OSError, UnicodeError if unreadable."""
        return cls.parse(Path(path).read_text(encoding="utf-8-sig"), str(path))

    @classmethod
    def parse(cls, text: str, name: str = "policy") -> "Policy":
        """Compile a text; `name` stands for it in findings. Raises: PolicyError."""
        return cls.compile(Source(name, text))

    @classmethod
    def compile(cls, source: Source) -> "Policy":
        """Compile a source against the catalogue of today. Raises: PolicyError."""
        written, found = parse_with_warnings(source)
        program = None
        diagnostics = list(found)
        if written is not None:
            program, found = check(written, language_schema())
            diagnostics += found
        if written is None or program is None or any(d.severity == "error" for d in diagnostics):
            raise PolicyError(diagnostics)
        return cls(program, sort(diagnostics), written.tests)

    @property
    def digest(self) -> str:
        """`sha256:…` of the canonical policy with the catalogue rows it was resolved with."""
        return self.program.digest

    def snapshot(self, values: Mapping[str, Any]) -> Snapshot:
        """Read attribute values in the JSON form: `{"tokens": 80, "p95(openai/gpt-4)": "9s"}`.

        Raises: SnapshotError where a value cannot be read, or is read by the policy and missing
        though every request has it (`tokens`, the clock).
        """
        return read_snapshot(values, self.program)

    def decide(self, snapshot: Snapshot | Mapping[str, Any]) -> Decision:
        """Which rule takes a snapshot, given as such or in the JSON form. Raises: SnapshotError."""
        return self._decision(self._index_of(self._read(snapshot)))

    def explain(self, snapshot: Snapshot | Mapping[str, Any]) -> Explanation:
        """Which rule takes a snapshot, with every value on the way. Raises: SnapshotError."""
        seen = self._read(snapshot)
        verdict = trace(self.program, seen)
        decision = self._decision(-1 if verdict.clause is None else verdict.clause)
        return Explanation(
            rule=decision.rule,
            route=decision.route,
            target=self._target(decision.route, seen),
            policy=self.digest,
            trail=verdict.to_json(),
        )

    def test(self) -> tuple[Outcome, ...]:
        """Run the `tests:` of the file."""
        return run_tests(self.program, self._tests)

    def _read(self, snapshot: Snapshot | Mapping[str, Any]) -> Snapshot:
        return snapshot if isinstance(snapshot, Snapshot) else self.snapshot(snapshot)

    def _decision(self, index: int) -> Decision:
        if index < 0:
            chain = self.program.chain
            return Decision(None, chain[0].target if chain else None, None)
        clause = self.program.clauses[index]
        return Decision(clause.name, clause.plan.route.target, index)

    def _target(self, route: str | None, seen: Snapshot) -> str | None:
        if route != REQUESTED:
            return route
        named = seen[REQUESTED]
        if named is not None:
            return str(named)
        model = seen["model"]
        try:
            names = Names(self.program, self.program.schema.catalog)
            target = None if model is None else names.resolve(str(model)).target
        except RequestError:  # a name that the gateway would refuse stands for nothing
            return None
        return None if target is None else target.id
