"""A policy as a library: load a file, ask what it decides on a snapshot, and why.

What does not belong here: calling a provider (`gateway`) and reading live requests (`decide`).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from turnout.dsl.core import REQUESTED, Clause, Program
from turnout.dsl.destination import Reached, nowhere_said, reached
from turnout.dsl.diagnostic import Diagnostic, PolicyError
from turnout.dsl.expect import Outcome
from turnout.dsl.expect import run as run_tests
from turnout.dsl.include import Load, no_files
from turnout.dsl.interpret.compiled import compile_program
from turnout.dsl.interpret.traced import trace
from turnout.dsl.lint.run import lint
from turnout.dsl.snapshot import Snapshot, read_snapshot
from turnout.dsl.source import Source
from turnout.dsl.tree import TestCase

from .catalog import language_schema
from .destination import explained, route_of
from .include import beside
from .trace_text import render_destination, render_trail

DAY_S = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says of a snapshot.

    `rule` and `index` are None where no rule matched; then `route` is the first entry of the
    fallback chain, or None without one. `route` is as written (it may be `requested`, or a choice);
    `target` is what it comes to for this snapshot: None of a rejection, and where nothing is left.
    """

    rule: str | None
    route: str | None
    index: int | None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a policy decides as it does: `trail` has every rule with the value of each part.

    `target` is what the route comes to: None of a rejection, where nobody asked for a target, and
    where nothing is left; `why_no_target` then says why, unless a rule refuses. `lacks` is the key
    of the bucket that a split reads and nobody gave. `destination` says how the target was come to
    (`destination.explained` has its shape). `str()` is for people.
    """

    rule: str | None
    route: str | None
    target: str | None
    policy: str
    trail: list[dict[str, Any]]
    destination: dict[str, Any]
    why_no_target: str | None = None
    lacks: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The explanation as data: `{rule, route, target, policy, trail, choice, limits, …}`."""
        return {
            "rule": self.rule,
            "route": self.route,
            "target": self.target,
            "policy": self.policy,
            "trail": self.trail,
            **self.destination,
            "why_no_target": self.why_no_target,
        }

    def __str__(self) -> str:
        """The decision in a line, the policy's digest, and every rule on the way to it."""
        way = render_destination(self.destination, self.target)
        text = f"{self.headline}\n  policy {self.policy}\n\n{render_trail(self.trail)}"
        return f"{text}\n\n{way}" if way else text

    @property
    def headline(self) -> str:
        """The decision in one line."""
        if self.route is None:
            return "→ nothing: no rule matched, and there is no fallback chain"
        where = self.route if self.target in (None, self.route) else f"{self.route}: {self.target}"
        if self.why_no_target is not None:
            where = f"{self.route}: no target, for {self.why_no_target}"
        if self.rule is None:
            instead = "what was asked for" if self.route == REQUESTED else "the fallback chain"
            return f"→ {where}   no rule matched: {instead}"
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
        """Read and compile a file with what it includes.

        Raises: PolicyError; OSError, UnicodeError if the file itself is unreadable.
        """
        text = Path(path).read_text(encoding="utf-8-sig")
        return cls.compile(Source(str(path), text), beside(path))

    @classmethod
    def parse(cls, text: str, name: str = "policy") -> "Policy":
        """Compile a text; `name` stands for it in findings. Raises: PolicyError."""
        return cls.compile(Source(name, text))

    @classmethod
    def compile(cls, source: Source, load: Load = no_files) -> "Policy":
        """Compile a source against the catalogue of today; `load` reads what it includes.

        Raises: PolicyError.
        """
        linted = lint(source, language_schema(), int(time.time()) // DAY_S, load)
        if linted.policy is None or linted.program is None:
            raise PolicyError(linted.findings)
        return cls(linted.program, linted.findings, linted.policy.tests)

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
        seen = self._read(snapshot)
        return self._decision(self._clause(self._index_of(seen)), seen)[0]

    def explain(self, snapshot: Snapshot | Mapping[str, Any]) -> Explanation:
        """Which rule takes a snapshot, with every value on the way. Raises: SnapshotError."""
        seen = self._read(snapshot)
        verdict = trace(self.program, seen)
        clause = self._clause(-1 if verdict.clause is None else verdict.clause)
        decision, led = self._decision(clause, seen)
        today = seen["date"]
        return Explanation(
            rule=decision.rule,
            route=decision.route,
            target=decision.target,
            policy=self.digest,
            trail=verdict.to_json(),
            destination=explained(led.found, clause, today if isinstance(today, int) else None),
            why_no_target=nowhere_said(led),
            lacks=led.found.lacks,
        )

    def test(self) -> tuple[Outcome, ...]:
        """Run the `tests:` of the file."""
        return run_tests(self.program, self._tests)

    def _read(self, snapshot: Snapshot | Mapping[str, Any]) -> Snapshot:
        return snapshot if isinstance(snapshot, Snapshot) else self.snapshot(snapshot)

    def _clause(self, index: int) -> Clause | None:
        return self.program.clauses[index] if index >= 0 else None

    def _decision(self, clause: Clause | None, seen: Snapshot) -> tuple[Decision, Reached]:
        """Where the rule leads; of embeddings that none is about, to what was asked for."""
        led = reached(self.program, None if clause is None else clause.index, seen)
        route = route_of(self.program, clause)
        if clause is None and led.found.route is not None:
            route = led.found.route.target
        decision = Decision(
            rule=None if clause is None else clause.name,
            route=route,
            index=None if clause is None else clause.index,
            target=led.target,
        )
        return decision, led
