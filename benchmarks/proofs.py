"""What `policy lint` and `policy diff` cost with all proofs: wall time, start-up included.

    python -m benchmarks.proofs            # writes results/proofs.md
    python -m benchmarks.proofs --quick    # prints, one run each
    python -m benchmarks.proofs --check    # fails where the fastest of three is over what is wanted

The rules are made by chance with a fixed seed: most name a tenant, and test two or three other
values. A chain, a limit and invariants come with them. Each run is a process of its own, as in the
checks of a pull request. A diff is with the same policy after one edit of a rule in the middle.
"""

import argparse
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from turnout.dsl.lint.run import lint
from turnout.dsl.prove import Prover
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema

WANTED_S = {20: 1.0, 100: 1.5, 500: 6.0}
WANTED_DIFF_S = 3.0  # of 500 rules
RUNS = 5
SEED = 7
RESULTS = Path(__file__).with_name("results") / "proofs.md"
HEAD = """version: 1
attributes: {tier: [free, pro, enterprise], team: [search, ads, mail, pay]}
targets:
  openai/gpt-4.1: {region: us, expected: {p95: 4s, output: 400}}
  groq/llama-3-8b: {region: eu, expected: {output: 200}}
  anthropic/claude-sonnet: {region: eu, expected: {output: 400}}
  openai/gpt-4o-mini: {expected: {output: 400}}
  groq/llama-3-70b: {expected: {output: 400}}
fallback_chain:
  - {to: anthropic/claude-sonnet, timeout: 5s}
  - {to: openai/gpt-4.1, timeout: 10s, when: tokens < 100k}
require:
  - {name: ads_stay, when: team == "ads", target: region == "eu"}
invariants:
  - {name: ads_stay_in_eu, never: team == "ads" and route == "openai/gpt-4.1"}
  - {name: bounded_bill, never: n == 1 and worst_case(cost) > $20}
"""


class Row(NamedTuple):
    """One size: seconds of wall time of each run, and how many findings of each code."""

    rules: int
    plain_s: list[float]
    proved_s: list[float]
    diff_s: list[float]
    findings: Counter[str]


def policy(size: int) -> str:
    """A policy of so many rules, such as somebody keeps in order: few of them are in vain."""
    dice = random.Random(SEED)
    lines = [HEAD, "routing_policy:"]
    for number in range(size - 1):
        tests = dice.sample(TESTS, dice.randrange(2, 4))
        parts = [f'tenant == "tenant-{number // 4}"'] if dice.random() < 0.85 else []
        parts += [test(dice) for test in tests if not (parts and test is _tier)] or [_tier(dice)]
        if not any("tenant" in part for part in parts):
            parts.append(f'model == "model-{number}"')
        condition = " and ".join(parts)
        route = TARGETS[number % len(TARGETS)]
        lines.append(f"  - {{name: r{number}, condition: '{condition}', route: {route}}}")
    lines.append("  - {name: default, route: openai/gpt-4o}")
    return "\n".join(lines) + "\n"


def _tier(dice: random.Random) -> str:
    return f'tier == "{dice.choice(("free", "pro", "enterprise"))}"'


TARGETS = (
    "openai/gpt-4.1",
    "groq/llama-3-8b",
    "anthropic/claude-sonnet",
    "openai/gpt-4o-mini",
    "groq/llama-3-70b",
)
# One test of each kind; several of a rule never exclude each other.
TESTS: tuple[Callable[[random.Random], str], ...] = (
    _tier,
    lambda dice: f"tokens {dice.choice(('<', '>='))} {dice.randrange(10, 20_000)}",
    lambda dice: f"messages > {dice.randrange(1, 30)}",
    lambda dice: f"time in {dice.randrange(6, 12):02}:00..{dice.randrange(13, 22)}:00",
    lambda dice: f"temperature <= 0.{dice.randrange(1, 9)}",
    lambda dice: f'team in ["{dice.choice(("search", "ads"))}", "pay"]',
    lambda dice: dice.choice(("has_tools", "stream", "has_schema")),
    lambda dice: f'p95("openai/gpt-4.1") > {dice.randrange(1, 40) * 250}ms',
    lambda dice: f"cost <= $0.0{dice.randrange(1, 9)}",
)


def edited(text: str) -> str:
    """The policy with one more test in a rule in the middle."""
    rules = text.count("{name: r")
    name = f"{{name: r{rules // 2}, condition: '"
    return text.replace(name, f"{name}temperature <= 0.5 and ")


def measure(size: int, runs: int) -> Row:
    """Lint a policy and compare it, in processes of their own."""
    text = policy(size)
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old.yml", Path(folder) / "new.yml"
        old.write_text(text, encoding="utf-8")
        new.write_text(edited(text), encoding="utf-8")
        plain = [_seconds("lint", old, "--no-prove") for _ in range(runs)]
        proved = [_seconds("lint", old, "--prove-timeout", "60s") for _ in range(runs)]
        diff = [_seconds("diff", old, new) for _ in range(runs)]
    found = lint(Source("routing.yml", text), language_schema(), prover=Prover).findings
    return Row(size, plain, proved, diff, Counter(finding.code for finding in found))


def _seconds(*words: str | Path) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "turnout", "policy", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - started
    if done.returncode > 1:
        raise SystemExit(done.stderr)
    return took


def main() -> int:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="print, one run each")
    how.add_argument("--check", action="store_true", help="print, and fail where it is too slow")
    arguments = parser.parse_args()
    runs = 1 if arguments.quick else 3 if arguments.check else RUNS
    rows = [measure(size, runs) for size in WANTED_S]
    report = _report(rows, runs)
    print(report)
    if not (arguments.quick or arguments.check):
        RESULTS.write_text(report, encoding="utf-8")
    return int(arguments.check and any(_is_too_slow(row) for row in rows))


def _is_too_slow(row: Row) -> bool:
    """By the fastest run: whatever else the machine does only makes a run slower."""
    is_slow = min(row.proved_s) > WANTED_S[row.rules]
    return is_slow or (row.rules == max(WANTED_S) and min(row.diff_s) > WANTED_DIFF_S)


def _report(rows: Sequence[Row], runs: int) -> str:
    lines = [
        "# What proofs cost",
        "",
        f"Python {platform.python_version()}, {platform.machine()}; median (fastest) of {runs}",
        "processes, seconds of wall time, start-up included, with a chain, a limit and two",
        "invariants. By `benchmarks/proofs.py`.",
        "",
        "| rules | lint without proofs | lint with all proofs | wanted | diff | wanted "
        "| findings of proofs |",
        "|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        codes = [f"{count} {code}" for code, count in sorted(row.findings.items())]
        proofs = ", ".join(code for code in codes if code.split()[1] < "RP329") or "none"
        wanted_diff = f"{WANTED_DIFF_S:.1f}" if row.rules == max(WANTED_S) else ""
        lines.append(
            f"| {row.rules} | {_times(row.plain_s)} | {_times(row.proved_s)} "
            f"| {WANTED_S[row.rules]:.1f} | {_times(row.diff_s)} | {wanted_diff} | {proofs} |"
        )
    return "\n".join(lines) + "\n"


def _times(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f})"


if __name__ == "__main__":
    sys.exit(main())
