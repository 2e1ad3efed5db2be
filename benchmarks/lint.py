"""What `policy lint` costs with all proofs: wall time, start-up included, by number of rules.

    python -m benchmarks.lint            # writes results/lint.md
    python -m benchmarks.lint --quick    # prints, one run each

The rules are made by chance with a fixed seed: most name a tenant, and test two or three other
values. A chain, a limit and invariants come with them. Each run is a process of its own, as in the
checks of a pull request.
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

BUDGETS_S = {20: 1.0, 100: 1.5, 500: 6.0}
RUNS = 5
SEED = 7
RESULTS = Path(__file__).with_name("results") / "lint.md"
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
    """One size: seconds of wall time, and how many findings of each code."""

    rules: int
    plain_s: float
    proved_s: float
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


def measure(size: int, runs: int) -> Row:
    """Lint a policy in processes of their own; the median of so many."""
    text = policy(size)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "routing.yml"
        file.write_text(text, encoding="utf-8")
        plain = [_seconds(file, "--no-prove") for _ in range(runs)]
        proved = [_seconds(file, "--prove-timeout", "60s") for _ in range(runs)]
    found = lint(Source("routing.yml", text), language_schema(), prover=Prover).findings
    codes = Counter(finding.code for finding in found)
    return Row(size, statistics.median(plain), statistics.median(proved), codes)


def _seconds(file: Path, *options: str) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "turnout", "policy", "lint", str(file), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - started
    if done.returncode > 1:
        raise SystemExit(done.stderr)
    return took


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="print, one run each")
    arguments = parser.parse_args()
    rows = [measure(size, 1 if arguments.quick else RUNS) for size in BUDGETS_S]
    report = _report(rows)
    print(report)
    if not arguments.quick:
        RESULTS.write_text(report, encoding="utf-8")


def _report(rows: Sequence[Row]) -> str:
    lines = [
        "# What lint costs",
        "",
        f"Python {platform.python_version()}, {platform.machine()}; median of {RUNS} processes,",
        "start-up included, with a chain, a limit and two invariants. By `benchmarks/lint.py`.",
        "",
        "| rules | without proofs, s | with all proofs, s | wanted, s | findings of proofs |",
        "|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        codes = [f"{count} {code}" for code, count in sorted(row.findings.items())]
        proofs = ", ".join(code for code in codes if code.split()[1] < "RP329") or "none"
        lines.append(
            f"| {row.rules} | {row.plain_s:.2f} | {row.proved_s:.2f} | {BUDGETS_S[row.rules]:.1f} "
            f"| {proofs} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
