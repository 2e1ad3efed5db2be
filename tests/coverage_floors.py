"""Fails where a part is covered less than it must be. Run after `coverage report`.

A floor only rises. Usage: python tests/coverage_floors.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# Per cent of lines and branches, by the path's beginning; the longest beginning counts.
FLOORS = {
    "dsl/": 95.0,
    "dsl/interpret/": 98.0,
    "engine/": 95.0,
    "engine/chain.py": 96.0,
    "engine/ledger.py": 98.0,
    "adapters/": 94.0,
    "turnout/": 90.0,
}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "coverage.json")
        subprocess.check_call([sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)])
        files = json.loads(report.read_text())["files"]
    totals: dict[str, list[int]] = {part: [0, 0] for part in FLOORS}
    for path, measured in files.items():
        parts = [part for part in FLOORS if path.startswith(part)]
        if parts:
            summary = measured["summary"]
            total = totals[max(parts, key=len)]
            total[0] += summary["covered_lines"] + summary.get("covered_branches", 0)
            total[1] += summary["num_statements"] + summary.get("num_branches", 0)
    low = 0
    for part, (covered, all_of_it) in totals.items():
        share = 100 * covered / all_of_it if all_of_it else 0.0
        fails = share < FLOORS[part]
        low += fails
        print(f"{'LOW ' if fails else '    '}{part:20} {share:6.2f} %   floor {FLOORS[part]} %")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
