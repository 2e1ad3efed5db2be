"""What one decision costs, for policies of 20, 1 000 and 10 000 rules, beside other evaluators.

    python -m benchmarks.decision            # writes results/decision.md
    python -m benchmarks.decision --quick    # prints, without the peers

The policies are made by chance with a fixed seed, once, in a neutral form, and written out in each
evaluator's own language. Every evaluator gives the same answers on the same snapshots, or this
stops. All values are known: the peers have no third truth. The peers are optional; whichever is
installed is measured: `pip install rule-engine cel-python common-expression-language cedarpy`.

Over 300 lines because each evaluator's way to write the same policy stands beside the others.
"""

import argparse
import datetime
import gc
import importlib
import importlib.metadata
import platform
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from turnout.dsl.core import Program
from turnout.dsl.interpret import compiled
from turnout.dsl.schema import Type, Value
from turnout.dsl.units import format_value
from turnout.engine.policy import Policy

SIZES = (20, 1_000, 10_000)
RESULTS = Path(__file__).with_name("results") / "decision.md"
SEED = 7

TIERS = ("free", "pro", "enterprise")
TEAMS = ("search", "ads", "mail", "maps", "pay", "shop")
MODELS = ("auto", "gpt-4", "gpt-4o", "claude-sonnet", "llama-3-70b")
P95 = "p95(openai/gpt-4)"
ERRORS = "error_rate(groq/llama-3-8b)"
TARGETS = ("openai/gpt-4", "groq/llama-3-8b", "anthropic/claude-sonnet")

Snapshot = dict[str, Value | None]


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison; `value` is a tuple of texts where the operator is `in`."""

    key: str
    operator: str
    value: Value | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """Every group must have a test that holds."""

    groups: tuple[tuple[Test, ...], ...]


# --- policies and requests ------------------------------------------------------------------------


def rules_by_chance(size: int, seed: int = SEED) -> list[Rule]:
    """`size` rules, the last of which takes every request.

    Most name a tenant, as large policies do; all test two to four other values.
    """
    dice = random.Random(seed)
    tenants = _tenants(size)

    def test() -> Test:
        match dice.randrange(12):
            case 0 | 1:
                return Test("tier", "==", dice.choice(TIERS))
            case 2:
                return Test("team", "in", tuple(dice.sample(TEAMS, 2)))
            case 3:
                return Test("model", "==", dice.choice(MODELS))
            case 4 | 5:
                return Test("tokens", dice.choice(("<", ">=")), dice.randrange(10, 20_000))
            case 6:
                return Test("messages", ">", dice.randrange(1, 30))
            case 7:
                return Test("time", dice.choice(("<", ">=")), dice.randrange(0, 1_440, 15))
            case 8:
                return Test(dice.choice(("has_tools", "has_images", "stream")), "==", True)
            case 9:
                return Test("temperature", "<=", dice.randrange(0, 20_000, 1_000))
            case 10:
                return Test(P95, ">", dice.randrange(1, 40) * 250_000)
            case _:
                return Test(ERRORS, "<", dice.randrange(100, 2_000, 100))

    rules = []
    for _ in range(size - 1):
        groups: list[tuple[Test, ...]] = [(test(),) for _ in range(dice.randrange(2, 5))]
        if dice.random() < 0.2:
            groups.append((test(), test()))
        if dice.random() < 0.85:
            groups.insert(0, (Test("tenant", "==", dice.choice(tenants)),))
        else:
            groups += [(test(),) for _ in range(5)]
        rules.append(Rule(tuple(groups)))
    return [*rules, Rule(())]


def requests_by_chance(size: int, count: int, seed: int = SEED + 1) -> list[Snapshot]:
    """Snapshots in which every key has a value."""
    dice = random.Random(seed)
    tenants = _tenants(size)
    return [
        {
            "request_type": "chat",
            "tenant": dice.choice(tenants),
            "tier": dice.choice(TIERS),
            "team": dice.choice(TEAMS),
            "model": dice.choice(MODELS),
            "tokens": int(dice.lognormvariate(7, 1.5)),
            "messages": dice.randrange(1, 40),
            "time": dice.randrange(1_440),
            "has_tools": dice.random() < 0.3,
            "has_images": dice.random() < 0.1,
            "stream": dice.random() < 0.7,
            "temperature": dice.randrange(0, 20_001, 1_000),
            P95: dice.randrange(200_000, 12_000_000),
            ERRORS: dice.randrange(0, 3_000),
        }
        for _ in range(count)
    ]


def _tenants(size: int) -> list[str]:
    return [f"tenant-{number}" for number in range(max(3, size // 12))]


def policy_text(rules: Iterable[Rule]) -> str:
    """The rules as a policy file."""
    lines = [
        "version: 1",
        f"attributes: {{tier: [{', '.join(TIERS)}], team: [{', '.join(TEAMS)}]}}",
        "routing_policy:",
    ]
    for number, rule in enumerate(rules):
        groups = [" or ".join(map(_written, group)) for group in rule.groups]
        condition = " and ".join(f"({text})" if " or " in text else text for text in groups)
        given = f"condition: '{condition}', " if condition else ""
        lines.append(f"  - {{name: r{number}, {given}route: {TARGETS[number % len(TARGETS)]}}}")
    return "\n".join(lines) + "\n"


def _written(test: Test) -> str:
    name, value = test.key, test.value
    if value is True:
        return name
    match name:
        case "time":
            shown = format_value(int(value), Type.TIME)  # type: ignore[arg-type]
        case "temperature":
            shown = f"{int(value) / 10_000:g}"  # type: ignore[arg-type]
        case _ if name == P95:
            name, shown = 'p95("openai/gpt-4")', f"{int(value) // 1_000}ms"  # type: ignore[arg-type]
        case _ if name == ERRORS:
            name, shown = 'error_rate("groq/llama-3-8b")', f"{int(value) // 100}%"  # type: ignore[arg-type]
        case _:
            shown = _quoted(value)
    return f"{name} {test.operator} {shown}"


def _quoted(value: Value | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_quoted, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


# --- evaluators -----------------------------------------------------------------------------------

Decide = Callable[[Snapshot], int]


class Evaluator(NamedTuple):
    """An evaluator, and how many rules it is tried with at most (what is slower takes minutes)."""

    name: str
    build: Callable[[Sequence[Rule]], Decide]
    most_rules: int


def _turnout(rules: Sequence[Rule]) -> Decide:
    return compiled.compile_program(program_of(rules))


def _one_by_one(rules: Sequence[Rule]) -> Decide:
    return compiled.compile_linear(program_of(rules))


_programs: dict[int, Program] = {}


def program_of(rules: Sequence[Rule]) -> Program:
    """The rules as the program of one file; parsed once."""
    if len(rules) not in _programs:
        _programs[len(rules)] = Policy.parse(policy_text(rules)).program
    return _programs[len(rules)]


_PLAIN = {P95: "p95", ERRORS: "error_rate"}


def _joined(rule: Rule, both: str, either: str, form: Callable[[Test], str]) -> str:
    groups = [f" {either} ".join(map(form, group)) for group in rule.groups]
    return f" {both} ".join(f"({group})" for group in groups) or "true"


def _infix(test: Test) -> str:
    return f"{_PLAIN.get(test.key, test.key)} {test.operator} {_quoted(test.value)}"


def _plain(snapshot: Snapshot) -> dict[str, Any]:
    return {_PLAIN.get(key, key): value for key, value in snapshot.items()}


def _rule_engine(rules: Sequence[Rule]) -> Decide:
    rule_engine: Any = importlib.import_module("rule_engine")

    made = [rule_engine.Rule(_joined(rule, "and", "or", _infix)) for rule in rules]

    def decide(snapshot: Snapshot) -> int:
        values = _plain(snapshot)
        return next(at for at, rule in enumerate(made) if rule.matches(values))

    return decide


def _rust_cel(rules: Sequence[Rule]) -> Decide:
    cel: Any = importlib.import_module("cel")

    made = [cel.compile(_joined(rule, "&&", "||", _infix)) for rule in rules]

    def decide(snapshot: Snapshot) -> int:
        context = cel.Context(_plain(snapshot))
        return next(at for at, rule in enumerate(made) if rule.execute(context))

    return decide


def _cel_python(rules: Sequence[Rule]) -> Decide:
    celpy: Any = importlib.import_module("celpy")

    environment = celpy.Environment(runner_class=celpy.CompiledRunner)
    made = [
        environment.program(environment.compile(_joined(rule, "&&", "||", _infix)))
        for rule in rules
    ]

    def decide(snapshot: Snapshot) -> int:
        values = {key: celpy.json_to_cel(value) for key, value in _plain(snapshot).items()}
        return next(at for at, rule in enumerate(made) if rule.evaluate(values))

    return decide


def _cedar(rules: Sequence[Rule]) -> Decide:
    cedarpy: Any = importlib.import_module("cedarpy")

    def form(test: Test) -> str:
        name = f"context.{_PLAIN.get(test.key, test.key)}"
        if test.operator == "in":
            return f"{_quoted(test.value)}.contains({name})"
        return f"{name} {test.operator} {_quoted(test.value)}"

    text = "\n".join(
        f"permit(principal, action, resource) when {{ {_joined(rule, '&&', '||', form)} }};"
        for rule in rules
    )
    policies = cedarpy.PolicySet.from_str(text) if hasattr(cedarpy, "PolicySet") else text

    def decide(snapshot: Snapshot) -> int:
        request = {
            "principal": 'User::"u"',
            "action": 'Action::"route"',
            "resource": 'Model::"m"',
            "context": _plain(snapshot),
        }
        # Cedar has no order: every policy that permits is named, and the first of these is meant.
        reasons = cedarpy.is_authorized(request, policies, []).diagnostics.reasons
        return min(int(reason.removeprefix("policy")) for reason in reasons)

    return decide


OURS = (
    Evaluator("turnout", _turnout, 10_000),
    Evaluator("turnout, one rule after the other", _one_by_one, 10_000),
)
PEERS = (
    Evaluator("Rust CEL (common-expression-language)", _rust_cel, 10_000),
    Evaluator("cedarpy", _cedar, 10_000),
    Evaluator("rule-engine", _rule_engine, 10_000),
    Evaluator("cel-python", _cel_python, 20),
)
DISTRIBUTIONS = {
    "Rust CEL (common-expression-language)": "common-expression-language",
    "cedarpy": "cedarpy",
    "rule-engine": "rule-engine",
    "cel-python": "cel-python",
}

# --- measuring ------------------------------------------------------------------------------------


class Row(NamedTuple):
    """What was measured of an evaluator on a policy."""

    rules: int
    evaluator: str
    ns: float
    build_s: float
    megabytes: float | None  # of ours only: Python does not count what is not its own


def nanoseconds(
    decide: Decide, snapshots: Sequence[Snapshot], rounds: int = 7, seconds: float = 0.2
) -> float:
    """Of one decision: the best of several rounds over all snapshots, the first one not counted."""
    list(map(decide, snapshots))
    best = float("inf")
    end = time.perf_counter() + rounds * seconds
    gc.disable()
    try:
        for number in range(rounds * 10):
            start = time.perf_counter_ns()
            for snapshot in snapshots:
                decide(snapshot)
            best = min(best, (time.perf_counter_ns() - start) / len(snapshots))
            if number + 1 >= rounds and time.perf_counter() > end:
                break
    finally:
        gc.enable()
    return best


def measure(size: int, evaluators: Sequence[Evaluator]) -> Iterator[Row]:
    """Each evaluator that is there on the same policy and the same requests, answers compared."""
    rules = rules_by_chance(size)
    requests = requests_by_chance(size, 1_000)
    program_of(rules)
    expected: list[int] | None = None
    for evaluator in evaluators:
        if size > evaluator.most_rules:
            continue
        some = requests
        try:
            start = time.perf_counter()
            decide = evaluator.build(rules)
            build_s = time.perf_counter() - start
        except ImportError:
            continue
        if evaluator in PEERS:  # milliseconds each: fewer requests say as much
            some = requests[: 50 if size <= 1_000 else 10]
        answers = [decide(snapshot) for snapshot in some]
        expected = expected or answers
        if answers != expected[: len(answers)]:
            raise SystemExit(f"{evaluator.name} answers otherwise on {size} rules")
        rounds = 3 if evaluator in PEERS else 7
        memory = None if evaluator in PEERS else _megabytes(evaluator, rules)
        yield Row(size, evaluator.name, nanoseconds(decide, some, rounds), build_s, memory)


def _megabytes(evaluator: Evaluator, rules: Sequence[Rule]) -> float:
    tracemalloc.start()
    try:
        kept = [evaluator.build(rules)]
        return len(kept) * tracemalloc.get_traced_memory()[0] / 1e6
    finally:
        tracemalloc.stop()


def tried(size: int) -> float:
    """How many rules are looked at on average where they are tried in order."""
    decide = _turnout(rules_by_chance(size))
    return statistics.mean(decide(one) + 1 for one in requests_by_chance(size, 1_000))


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ours only, nothing is written")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for size in SIZES:
        for row in measure(size, OURS if arguments.quick else (*OURS, *PEERS)):
            rows.append(row)
            print(
                f"{row.rules:>6} {row.evaluator:40} {row.ns:>14,.0f} ns, "
                f"built in {row.build_s:.2f} s"
            )
    if not arguments.quick:
        RESULTS.write_text(_report(rows, {size: tried(size) for size in SIZES}), encoding="utf-8")


def _report(rows: Sequence[Row], tried_of: Mapping[int, float]) -> str:
    own = {row.rules: row.ns for row in rows if row.evaluator == OURS[0].name}
    lines = [
        "# One decision",
        "",
        "Written by `python -m benchmarks.decision`; do not edit.",
        "",
        f"- Machine: {_machine()}, Python {platform.python_version()}; one core, others in use.",
        f"- Date: {datetime.datetime.now(datetime.UTC).date()}",
        f"- Peers: {_peers(rows)}",
        "- Rules tried on average where they are tried in order: "
        + ", ".join(f"{tried_of[size]:,.0f} of {size:,}" for size in SIZES)
        + ".",
        "- The best of several rounds over 1 000 requests (peers: 50, and 10 of 10 000 rules).",
        "- Every evaluator gave the same answers. Cedar has no order of policies: all that permit",
        "  are asked for, and the first is taken. cel-python is asked of 20 rules only.",
        "- Built: from the program (ours) or the conditions' texts (peers) to the function; the",
        "  memory is what Python counts. Ours compiles a rule's own test when the rule is first a",
        "  candidate, about 0.3 ms, once; that is not in the time to build.",
        "",
        f"|  rules | {'evaluator':37} | ns/decision |    ratio | built s |    MB |",
        f"|-------:|{'-' * 39}|------------:|---------:|--------:|------:|",
    ]
    lines += [
        f"| {row.rules:>6,} | {row.evaluator:37} | {row.ns:>11,.0f} "
        f"| {row.ns / own[row.rules]:>8,.1f} | {row.build_s:>7.2f} | {_shown(row.megabytes)} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _shown(megabytes: float | None) -> str:
    return "     " if megabytes is None else f"{megabytes:>5.1f}"


def _peers(rows: Sequence[Row]) -> str:
    there = dict.fromkeys(row.evaluator for row in rows if row.evaluator in DISTRIBUTIONS)
    versions = (
        f"{DISTRIBUTIONS[name]} {importlib.metadata.version(DISTRIBUTIONS[name])}" for name in there
    )
    return ", ".join(versions) or "none installed"


def _machine() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


if __name__ == "__main__":
    main()
