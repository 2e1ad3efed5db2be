"""Defects planted in policies of every feature, held against all snapshots of their small worlds.

Clock windows over midnight, money, live values, headers, splits, choices, limits, fallbacks with
conditions, `hold`, `let`, unknown values: none missed, no false finding.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from tests.dsl.chance import EXAMPLES
from tests.dsl.small_worlds import (
    AXES,
    TARGETS,
    Decided,
    Rule,
    Written,
    condition,
    made,
    route,
    written,
)
from turnout.dsl.core import Clause, Invariant, Program, Reject
from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.facts import facts
from turnout.dsl.interpret.traced import trace, value_of
from turnout.dsl.lint.run import lint
from turnout.dsl.prove import Prover
from turnout.dsl.snapshot import Snapshot, read_given
from turnout.dsl.source import Source
from turnout.dsl.walk import reads

from .conftest import SCHEMA, TODAY, Language

pytestmark = pytest.mark.uncounted

CHUNKS = 24
POLICIES = max(156, EXAMPLES // 4) // CHUNKS * CHUNKS
AT_LEAST = POLICIES * 350  # snapshots


@dataclass
class Planted(Written):
    """A policy with defects: the names of dead rules, and whether nobody takes some requests."""

    dead: list[str] = field(default_factory=list)
    has_hole: bool = False


def planted(dice: random.Random) -> Planted:
    """A policy over a few axes, and what spoils it."""
    policy = Planted(**vars(written(dice)))
    axes = policy.axes

    def place(start: int) -> int:
        has_default = not policy.rules[-1].condition
        return dice.randint(start, len(policy.rules) - has_default)

    def atom() -> str:
        return dice.choice(AXES[dice.choice(axes)].atoms)

    def dead(at: int, name: str, text: str) -> None:
        policy.rules.insert(at, Rule(name, text, route(dice)))
        policy.dead.append(name)

    # What a rule holds, the one behind it sees as it is.
    plain = [rule for rule in policy.rules if rule.condition and "hold" not in rule.options]
    if plain and dice.random() < 0.4:  # behind one rule: a narrower condition
        first = dice.choice(plain)
        start = policy.rules.index(first) + 1
        dead(place(start), "one", f"({first.condition}) and {atom()}")
    if dice.random() < 0.4:  # behind several rules together
        shared, parts = atom(), AXES[dice.choice(axes)].parts
        rules = [
            Rule(f"part{n}", f"{part} and {shared}", route(dice)) for n, part in enumerate(parts)
        ]
        policy.rules[:0] = rules
        dead(place(len(rules)), "union", f"{atom()} and {shared}")
    if dice.random() < 0.3:  # by itself
        dead(place(0), "never", f"{AXES[dice.choice(axes)].never} and {atom()}")
    if dice.random() < 0.3:  # nobody takes these, but by what was there before
        policy.has_hole = True
        part = dice.choice(AXES[dice.choice(axes)].parts)
        policy.rules = [
            replace(rule, condition=f"({rule.condition}) and not ({part})")
            for rule in policy.rules
            if rule.condition
        ]
    for _ in range(dice.randint(0, 2)):
        test = condition(dice, axes, 2)
        where = dice.choice((f'route == "{dice.choice(TARGETS)}"', 'region != "eu"', "not vision"))
        kind = dice.choice((f"never: '({test}) and {where}'", f"always: 'not ({test}) or {where}'"))
        policy.invariants.append(kind)
    return policy


class Tried:
    """A program on every snapshot of its world."""

    def __init__(self, program: Program, snapshots: Sequence[Snapshot]) -> None:
        self.program = program
        self.decided = Decided(program)
        self.by_rule: dict[int | None, list[Snapshot]] = {}
        for seen in snapshots:
            self.by_rule.setdefault(self.decided.clause(seen), []).append(seen)

    @property
    def dead(self) -> set[str]:
        return {c.name for c in self.program.clauses if c.index not in self.by_rule}

    def broken(self) -> set[str]:
        """The invariants that some request breaks."""
        return {
            invariant.name
            for invariant in self.program.invariants
            if any(
                self.breaks(invariant.name, seen) for rows in self.by_rule.values() for seen in rows
            )
        }

    def breaks(self, name: str, seen: Snapshot) -> bool:
        (invariant,) = (one for one in self.program.invariants if one.name == name)
        goes = [target for target, _ in self.decided.tried(seen)]
        copied = self.decided.copied(seen)
        for target in goes if copied is None else [*goes, copied]:
            told = facts(self.program.targets[target], reads([invariant.test]))
            there = Snapshot({**seen, **told, "route": target})
            value = self.decided.value(invariant.test, there)
            if (value is True) is (invariant.kind == "never"):
                return True
        return False

    def left_alone(self) -> set[str]:
        """The rules with a request that the limits alone leave without a target."""
        without = Decided(replace(self.program, limits=()))
        found = set()
        for index, rows in self.by_rule.items():
            if index is None or isinstance(self.program.clauses[index].plan.route, Reject):
                continue
            for seen in rows:
                is_usable = all(v is not False for k, v in seen.items() if k.startswith("usable("))
                if is_usable and not self.decided.tried(seen) and without.tried(seen):
                    found.add(self.program.clauses[index].name)
                    break
        return found

    def is_spare(self, name: str) -> bool:
        """Whether a rule can be left out, and every request is treated as it was."""
        clauses = tuple(c for c in self.program.clauses if c.name != name)
        clauses = tuple(replace(clause, index=index) for index, clause in enumerate(clauses))
        without = Decided(replace(self.program, clauses=clauses))
        index = next(c.index for c in self.program.clauses if c.name == name)
        return all(
            self.decided.treated(seen)[1] == without.treated(seen)[1]
            for seen in self.by_rule[index]
        )


def names_of(findings: Sequence[Diagnostic], program: Program, *codes: str) -> set[str]:
    """The rules, or invariants, that findings of these codes are about."""
    entries: list[Clause | Invariant] = [*program.clauses, *program.invariants]
    return {
        entry.name
        for entry in entries
        for finding in findings
        if finding.code in codes and entry.span.start <= finding.span.start < entry.span.end
    }


def test_the_policies_are_written_with_all_there_is(language: Language) -> None:
    features, count = Counter[str](), 0
    for seed in range(POLICIES):
        policy, _, snapshots = made(seed, planted, language.compile)
        text = policy.text()
        rest = text[text.index("targets:") :]
        count += len(snapshots)
        features.update(mark for mark in MARKS if mark in rest)
    assert count >= AT_LEAST
    assert not [mark for mark in MARKS if features[mark] * 50 < POLICIES], (features, count)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_planted_defect_is_found_and_nothing_else(chunk: int, language: Language) -> None:
    count = 0
    for seed in range(chunk, POLICIES, CHUNKS):
        policy, program, snapshots = made(seed, planted, language.compile)
        assert isinstance(policy, Planted)
        text = policy.text()
        count += len(snapshots)
        findings = lint(Source("routing.yml", text), SCHEMA, TODAY, prover=Prover).findings
        tried = Tried(program, snapshots)
        told = "\n".join(f"{f.code} {f.message} {f.witness}" for f in findings)
        where = f"seed {seed}\n{text}\n{told}"
        assert "RP209" not in {f.code for f in findings}, where
        found = names_of(findings, program, "RP201", "RP202", "RP208")
        assert found == tried.dead, where
        assert set(policy.dead) <= found, where
        has_gap = [f.code for f in findings].count("RP203")
        assert has_gap == (None in tried.by_rule), where
        assert has_gap or not policy.has_hole, where
        assert names_of(findings, program, "RP320") == tried.broken(), where
        assert names_of(findings, program, "RP310") == tried.left_alone(), where
        for name in names_of(findings, program, "RP204"):
            assert tried.is_spare(name), where
        for finding in findings:
            if finding.witness is not None:
                assert_shows(finding, tried, where)
    assert count >= AT_LEAST // CHUNKS // 2


# What policies are written with, each in one of fifty at least.
MARKS = (
    "known(",
    "??",
    "cost(",
    "time in",
    "weekday",
    "split",
    "first_of",
    "cheapest_of",
    "reject",
    "require:",
    "fallback_chain:",
    ", when: ",
    "p95(",
    "error_rate(",
    "hold:",
    "header[",
    "big",
    "night",
    "mirror",
    " in vips",
    "always:",
    "never:",
)


def assert_shows(finding: Diagnostic, tried: Tried, where: str) -> None:
    """Whoever reads the example back sees what the finding says."""
    assert finding.witness is not None
    program = tried.program
    seen = read_given(finding.witness, program)
    fired = trace(program, seen).clause
    assert tried.decided.clause(seen) == fired, where
    about = names_of([finding], program, finding.code)
    match finding.code:
        case "RP203":
            assert fired is None, where
        case "RP320":
            (name,) = about
            assert tried.breaks(name, seen), where
        case "RP310":
            assert fired is not None and {program.clauses[fired].name} == about, where
            assert not tried.decided.tried(seen), where
        case _:
            for clause in program.clauses:
                if fired == clause.index:
                    assert value_of(clause.applies, seen) is True, where
