"""What lint proves, held against every request of a small world: none missed, no false finding.

The policies are made by chance, with defects planted in them. Their conditions can tell apart only
so many values, so all that there are can be tried one after the other: that is the oracle. Policies
of every feature are in `test_dsl_lint_proofs_worlds`; parts of conditions are tried here.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest

from tests.dsl.chance import EXAMPLES
from turnout.dsl.claims import Breach, breach_of
from turnout.dsl.core import Invariant, Program
from turnout.dsl.destination import reached
from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.include import NotLoaded
from turnout.dsl.interpret.compiled import compile_program
from turnout.dsl.interpret.traced import trace, value_of
from turnout.dsl.lint.run import Linted, lint
from turnout.dsl.lint.survey import Survey
from turnout.dsl.logic import TRUE, all_of, is_not_false, is_true, negation
from turnout.dsl.prove import NotDecided, Proved, Prover
from turnout.dsl.snapshot import Snapshot, read_given
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema

from .conftest import SCHEMA, TODAY, Language

ROOT = Path(__file__).parents[2]
TIERS = ("free", "pro", "default")
CUTS = (100, 500, 2_000)
TARGETS = ("openai/gpt-4", "openai/gpt-4o", "groq/llama-3-8b", "anthropic/claude-sonnet")
CHUNKS = 12
POLICIES = max(48, EXAMPLES // 8) // CHUNKS * CHUNKS


# --- policies by chance ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A policy, and what was planted: names of dead rules, whether there is a hole."""

    text: str
    dead: tuple[str, ...]
    has_hole: bool


def atom(dice: random.Random) -> str:
    return dice.choice(
        (
            f'tier == "{dice.choice(TIERS[:2])}"',
            f'tier != "{dice.choice(TIERS[:2])}"',
            f"tokens < {dice.choice(CUTS)}",
            f"tokens >= {dice.choice(CUTS)}",
            "has_tools",
            "not has_tools",
            f'team == "{dice.choice(("search", "ads"))}"',
            'team != "ads"',
            "known(team)",
            "max_tokens > 500",
            "(max_tokens ?? 0) <= 500",
        )
    )


def condition(dice: random.Random) -> str:
    parts = [atom(dice) for _ in range(dice.randrange(1, 4))]
    match dice.randrange(4):
        case 0 if len(parts) > 1:
            return f"({' or '.join(parts)})"
        case 1 if len(parts) > 2:
            return f"({parts[0]} or {parts[1]}) and {parts[2]}"
        case 2:
            return f"not ({' and '.join(parts)})"
        case _:
            return " and ".join(parts)


def made(seed: int) -> Made:
    dice = random.Random(seed)
    conditions = [condition(dice) for _ in range(dice.randrange(2, 6))]
    dead: list[str] = []
    names = [f"r{n}" for n in range(len(conditions))]
    rules = list(zip(names, conditions, strict=True))
    if dice.random() < 0.5:  # behind one rule: a narrower condition
        at = dice.randrange(len(rules))
        rules.insert(
            dice.randrange(at + 1, len(rules) + 1), ("one", f"({rules[at][1]}) and stream")
        )
        dead.append("one")
    if dice.random() < 0.5:  # behind two rules together
        cut = dice.choice(CUTS)
        rules[1:1] = [("low", f'tokens < {cut} and tier == "pro"'), ("high", f"tokens >= {cut}")]
        rules.append(("union", f'tier == "pro" and {atom(dice)}'))
        dead.append("union")
    if dice.random() < 0.2:  # by itself
        cut = dice.choice(CUTS)
        place = dice.randrange(len(rules) + 1)
        rules.insert(place, ("never", f"tokens < {cut} and tokens > {cut}"))
        dead.append("never")
    has_hole = dice.random() < 0.4
    if has_hole:  # nobody takes these, but by what was there before
        rules = [(name, f"({text}) and tokens != 1000") for name, text in rules]
    lines = [
        "attributes: {tier: [free, pro], team: [search, ads]}",
        "routing_policy:",
        *(
            f"  - {{name: {name}, condition: '{text}', route: {dice.choice(TARGETS)}}}"
            for name, text in rules
        ),
    ]
    if not has_hole:
        lines.append(f"  - {{name: default, route: {dice.choice(TARGETS)}}}")
    lines.append(f"fallback_chain: [{', '.join(dice.sample(TARGETS, 2))}]")
    tier, target = dice.choice(TIERS[:2]), dice.choice(TARGETS)
    lines.append(
        f'invariants: [{{name: kept_apart, never: tier == "{tier}" and route == "{target}"}}]'
    )
    return Made("\n".join(lines) + "\n", tuple(dead), has_hole)


def world() -> list[dict[str, object]]:
    """Every request that these conditions can tell apart."""
    tokens = sorted({0, 999, 1000, 1001, *(c + d for c in CUTS for d in (-1, 0, 1))})
    return [
        {
            "tokens": count,
            "tier": tier,
            "has_tools": tools,
            "stream": stream,
            "team": team,
            "max_tokens": limit,
        }
        for count, tier, tools, stream, team, limit in product(
            tokens, TIERS, (False, True), (False, True), (None, "search", "ads"), (None, 500, 501)
        )
    ]


WORLD = world()


class Tried:
    """A program on every request."""

    def __init__(self, program: Program) -> None:
        self.program = program
        decide = compile_program(program)
        self.by_rule: dict[int, list[Snapshot]] = {}
        for given in WORLD:
            snapshot = read_given(given, program)
            self.by_rule.setdefault(decide(snapshot), []).append(snapshot)

    @property
    def dead(self) -> set[str]:
        return {c.name for c in self.program.clauses if c.index not in self.by_rule}

    def next_plan(self, index: int, snapshot: Snapshot) -> str | None:
        for clause in self.program.clauses[index + 1 :]:
            if value_of(clause.applies, snapshot) is True:
                return clause.plan.route.target  # type: ignore[union-attr]
        return None

    def redundant(self) -> set[str]:
        return {
            clause.name
            for clause in self.program.clauses
            if clause.index in self.by_rule
            and all(
                self.next_plan(clause.index, seen) == clause.plan.route.target  # type: ignore[union-attr]
                for seen in self.by_rule[clause.index]
            )
        }

    def breaks(self) -> bool:
        (invariant,) = self.program.invariants
        for index, snapshots in self.by_rule.items():
            for seen in snapshots:
                led = reached(self.program, None if index < 0 else index, seen)
                for hop in led.found.hops:
                    if value_of(invariant.test, {**seen, "route": hop.target}) is True:
                        return True
        return False


def linted_program(text: str) -> tuple[Program, tuple[Diagnostic, ...]]:
    found = lint(Source("routing.yml", text), SCHEMA, TODAY, prover=Prover)
    program, _ = Language().examine(text)
    assert program is not None
    return program, found.findings


def names_of(findings: Sequence[Diagnostic], program: Program, *codes: str) -> set[str]:
    """The rules that findings of these codes are about: their conditions or names."""
    return {
        clause.name
        for clause in program.clauses
        for finding in findings
        if finding.code in codes and clause.span.start <= finding.span.start < clause.span.end
    }


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_planted_defect_is_found_and_nothing_else(chunk: int) -> None:
    for seed in range(chunk, POLICIES, CHUNKS):
        policy = made(seed)
        program, findings = linted_program(policy.text)
        tried = Tried(program)
        where = f"seed {seed}\n{policy.text}\n{[(f.code, f.message) for f in findings]}"
        assert not [f for f in findings if f.code == "RP209"], where
        found = names_of(findings, program, "RP201", "RP202", "RP208")
        assert found == tried.dead, where
        assert set(policy.dead) <= found, where
        is_covered = -1 not in tried.by_rule
        assert [f.code for f in findings if f.code == "RP203"] == ["RP203"] * (not is_covered), (
            where
        )
        assert names_of(findings, program, "RP204") == tried.redundant(), where
        broken = [f for f in findings if f.code == "RP320"]
        assert len(broken) == tried.breaks(), where
        for finding in findings:
            if finding.witness is not None:
                assert_shows(finding, program, where)


def assert_shows(finding: Diagnostic, program: Program, where: str) -> None:
    """Whoever reads the example back sees what the finding says."""
    assert finding.witness is not None
    seen = read_given(finding.witness, program)
    fired = trace(program, seen).clause
    if finding.code == "RP203":
        assert fired is None, where
    if finding.code == "RP320":
        (invariant,) = program.invariants
        led = reached(program, fired, seen)
        assert any(
            value_of(invariant.test, {**seen, "route": hop.target}) is True
            for hop in led.found.hops
        ), where


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_part_that_is_said_to_decide_nothing_can_be_left_out(chunk: int) -> None:
    for seed in range(chunk, POLICIES, CHUNKS * 4):
        policy = made(seed)
        program, findings = linted_program(policy.text)
        decide = compile_program(program)
        for finding in findings:
            if finding.code != "RP205":
                continue
            start, end = finding.span.start, finding.span.end
            before = policy.text[:start].rstrip(" (").endswith(" or")
            is_of_or = before or policy.text[end:].lstrip(" )").startswith("or ")
            # What is left out of `or` is false there, and anywhere else true.
            text = f"let: {{constant_: {'false' if is_of_or else 'true'}}}\n" + (
                policy.text[:start] + "constant_" + policy.text[end:]
            )
            other = compile_program(Language().compile(text))
            for given in WORLD[::7]:
                seen = read_given(given, program)
                assert decide(seen) == other(seen), f"{text}\n{finding.message}\n{given}"


# --- the complete example ------------------------------------------------------------------------


def complete(change: tuple[str, str] = ("", "")) -> Linted:
    folder = ROOT / "policies" / "complete"

    def load(path: str) -> Source:
        if not (folder / path).is_file():
            raise NotLoaded(f"there is no file `{path}`")
        return Source(path, (folder / path).read_text(encoding="utf-8"))

    text = (folder / "routing.yml").read_text(encoding="utf-8")
    assert change[0] in text
    text = text.replace(*change, 1) if change[0] else text
    return lint(Source("routing.yml", text), language_schema(), TODAY, load, Prover)


def test_one_word_kills_two_rules_and_both_killers_are_named() -> None:
    # The third `tier == "pro"` of the file is that of the canary.
    linted = complete(('condition: tier == "pro"', 'condition: tier != "free"'))
    dead = [f for f in linted.findings if f.code == "RP202"]
    assert [f.span.excerpt for f in dead] == ["slow_primary", "default"]
    for finding in dead:
        assert [r.span.excerpt for r in finding.related] == ["free_peak", "sonnet_canary"]
        assert "send it elsewhere" in finding.message


def test_the_complete_example_is_proved() -> None:
    linted = complete()
    assert linted.is_proved and linted.program is not None
    assert len(linted.program.invariants) == 2
    codes = {f.code for f in linted.findings}
    assert codes <= {"RP305", "RP501"}  # nothing that a proof says, nor RP329


@pytest.mark.parametrize("file", sorted((ROOT / "policies").glob("*.yml")), ids=lambda f: f.stem)
def test_the_limits_and_invariants_of_every_example_are_proved(file: Path) -> None:
    source = Source(file.name, file.read_text(encoding="utf-8"))
    linted = lint(source, language_schema(), TODAY, prover=Prover)
    assert linted.is_proved
    assert not linted.findings


def broken_limits(program: Program, judged: Program) -> dict[str, Breach | Proved | NotDecided]:
    """What breaks each limit of a program, as a claim about where requests of another one go."""
    prover = Prover(judged)
    found = {}
    for limit in program.limits:
        applies = TRUE if limit.when is None else is_not_false(limit.when)
        test = all_of((applies, negation(is_true(limit.target))))
        claim = Invariant(limit.name, "never", test, limit.span)
        found[limit.name] = breach_of(judged, claim, prover)
    return found


@pytest.mark.parametrize("example", ["complete", "residency"])
def test_no_way_of_an_example_breaks_a_limit_and_without_the_limits_some_do(example: str) -> None:
    if example == "complete":
        program = complete().program
    else:
        text = (ROOT / "policies" / f"{example}.yml").read_text(encoding="utf-8")
        program = lint(Source("routing.yml", text), language_schema(), TODAY).program
    assert program is not None and program.limits
    kept = broken_limits(program, program)
    assert set(kept.values()) == {Proved()}, kept
    without = broken_limits(program, replace(program, limits=()))
    broken = {name: one for name, one in without.items() if isinstance(one, Breach)}
    assert broken, without
    for name, breach in broken.items():
        led = reached(program, breach.clause, breach.witness)
        assert led.found.limits.get(breach.target) == name


def test_every_example_with_limits_or_invariants_is_among_those() -> None:
    said = ("\nrequire:", "\ninvariants:")
    files = [f for f in (ROOT / "policies").rglob("*.yml") if any(w in f.read_text() for w in said)]
    assert {f.stem for f in files} == {"routing", "residency"}


# --- limits ---------------------------------------------------------------------------------------

RESIDENCY = """
attributes: {{tenant.region: [eu, us]}}
targets:
  openai/gpt-4o: {{region: us}}
  groq/llama-3-70b: {{region: eu}}
  groq/llama-3-8b: {{region: eu}}
{require}
routing_policy:
  - {{name: europe, condition: tenant.region == "eu", route: groq/llama-3-8b}}
  - {{name: default, route: openai/gpt-4o, fallback: [groq/llama-3-70b]}}
fallback_chain: [openai/gpt-4o]
invariants:
  - {{name: eu_stays, never: tenant.region == "eu" and region != "eu"}}
"""
REQUIRE = 'require: [{name: eu, when: tenant.region == "eu", target: region == "eu"}]'


def test_a_fallback_that_leaves_europe_is_found_with_its_request(language: Language) -> None:
    (found,) = (
        f for f in language.prove(RESIDENCY.format(require="")).findings if f.code == "RP320"
    )
    assert "a request that `europe` takes falls back to `openai/gpt-4o`" in found.message
    assert found.witness == {"tenant.region": "eu"}


def test_a_limit_makes_the_invariant_hold(language: Language) -> None:
    assert "RP320" not in {
        f.code for f in language.prove(RESIDENCY.format(require=REQUIRE)).findings
    }


# --- what stands behind --------------------------------------------------------------------------


def proofs_of(language: Language, text: str, notes: bool = False) -> Iterator[tuple[str, str]]:
    for finding in language.prove(text, notes).findings:
        if finding.code.startswith(("RP2", "RP306", "RP31", "RP32", "RP33", "RP4")):
            yield finding.code, finding.span.excerpt


RULES = "routing_policy:\n{}"


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (  # a default behind rules that cover everything is fine, and said once
            "  - {name: a, condition: tokens < 9, route: openai/gpt-4}\n"
            "  - {name: b, condition: tokens >= 9, route: openai/gpt-4o}\n"
            "  - {name: c, route: groq/llama-3-8b}\n",
            [("RP208", "c")],
        ),
        (  # the end of the range is said again by an author who likes it: a note
            "  - {name: a, condition: tokens < 9, route: openai/gpt-4}\n"
            "  - {name: b, condition: tokens >= 9 and tokens < 99, route: openai/gpt-4o}\n"
            "  - {name: c, route: groq/llama-3-8b}\n",
            [("RP205", "tokens >= 9")],
        ),
        (  # a request type that a rule tests itself is about what the default leaves
            "  - {name: a, route: openai/gpt-4}\n"
            '  - {name: b, condition: request_type == "embeddings", route: requested}\n',
            [],
        ),
        (  # unbounded prompts fit nowhere, and nothing is said of it
            "  - {name: a, condition: tokens > 10, route: openai/gpt-4}\n"
            "  - {name: b, route: openai/gpt-4o}\n",
            [],
        ),
        (  # a bound that is larger than the window is
            "  - {name: a, condition: tokens < 10k, route: openai/gpt-4}\n"
            "  - {name: b, route: openai/gpt-4o}\n",
            [("RP312", "openai/gpt-4")],
        ),
        (  # what is always true is so as a whole: none of its parts could go
            "attributes: {team: [ads, pay]}\nrouting_policy:\n"
            '  - {name: a, condition: team == "ads" or team == "pay" or not known(team),'
            " route: openai/gpt-4}\n",
            [("RP205", 'team == "ads" or team == "pay" or not known(team)')],
        ),
        (  # one that a limit of money makes is not meant as one
            "  - {name: a, condition: cost <= $5, route: openai/gpt-4}\n"
            "  - {name: b, route: openai/gpt-4o}\n",
            [],
        ),
    ],
)
def test_what_a_sensible_author_would_agree_with(
    language: Language, rules: str, found: list[tuple[str, str]]
) -> None:
    text = rules if rules.startswith("attributes") else RULES.format(rules)
    assert list(proofs_of(language, text)) == found


def test_what_was_not_decided_is_said_and_not_passed_over(language: Language) -> None:
    text = (
        "routing_policy:\n"
        '  - {name: a, condition: \'header["x"] matches "^a+b" and header["x"] matches "^b"\','
        " route: openai/gpt-4}\n"
        "  - {name: b, route: openai/gpt-4o}\n"
    )
    assert ("RP209", "a") in list(proofs_of(language, text))


def test_without_time_nothing_is_claimed(language: Language) -> None:
    text = RULES.format("  - {name: a, condition: tokens < 5, route: openai/gpt-4}\n")
    linted = lint(
        Source("routing.yml", text),
        SCHEMA,
        TODAY,
        prover=lambda program: Prover(program, time_left=lambda: 0.0),
    )
    codes = {f.code: f for f in linted.findings}
    assert "RP209" in codes and "RP203" not in codes
    assert "the time for proofs was over" in codes["RP209"].message


def test_notes_are_found_on_request_only(language: Language) -> None:
    text = RULES.format(
        "  - {name: a, condition: tokens < 5, route: openai/gpt-4}\n"
        "  - {name: b, condition: has_tools, route: openai/gpt-4o}\n"
        "  - {name: c, condition: stream, route: openai/gpt-4o}\n"
        "  - {name: d, route: groq/llama-3-8b}\n"
    )
    assert list(proofs_of(language, text)) == []
    assert set(proofs_of(language, text, notes=True)) == {("RP206", "a"), ("RP207", "b")}


def test_a_survey_asks_about_what_can_meet_only(language: Language) -> None:
    text = RULES.format(
        '  - {name: a, condition: tenant == "x", route: openai/gpt-4}\n'
        '  - {name: b, condition: tenant == "y", route: openai/gpt-4}\n'
        '  - {name: c, condition: tenant == "x" and stream, route: openai/gpt-4o}\n'
        "  - {name: d, route: groq/llama-3-8b}\n"
    )
    linted = language.prove(text)
    assert linted.policy is not None
    program, _ = language.examine(text)
    assert program is not None
    survey = Survey(linted.policy, program, Prover(program))
    assert survey.meeting(program.clauses[2].applies, range(2)) == [0]
    assert [dead.blockers for dead in survey.dead] == [(0,)]
