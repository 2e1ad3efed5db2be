"""How well `complexity.score` tells the requests that a weak model gets wrong, on labelled data.

Usage: python benchmarks/complexity.py routing_labels.csv.gz

The data has a row per request: `subject,prompt,weak_correct,strong_correct`, gzipped CSV, such as
the MMLU labels in the public repository lm-sys/RouteLLM. Nothing is fitted here: the scorer is used
as it is. Writes benchmarks/results/complexity.md.
"""

import csv
import gzip
import platform
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from turnout.engine import tokens
from turnout.engine.complexity import HIGH_FROM, MEDIUM_FROM, level, score
from turnout.engine.request import Caller, Operation, Request

RESULT = Path(__file__).parent / "results" / "complexity.md"
SHARES = (10, 25, 50)  # percent of the requests that go to the strong model
Measure = Callable[[Request], float]


class Row(NamedTuple):
    """A labelled request."""

    subject: str
    request: Request
    weak_is_wrong: bool
    strong_is_needed: bool  # the weak one is wrong, the strong one right
    strong_is_right: bool


def read(path: Path) -> list[Row]:
    """The rows of a gzipped CSV."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return [
            Row(
                row["subject"],
                _request(row["prompt"]),
                row["weak_correct"] == "0",
                row["weak_correct"] == "0" and row["strong_correct"] == "1",
                row["strong_correct"] == "1",
            )
            for row in csv.DictReader(lines)
        ]


def _request(text: str) -> Request:
    body = {"messages": [{"role": "user", "content": text}]}
    return Request("", Operation.CHAT, body, b"", "auto", False, Caller(), {}, 0, 0)


def auc(values: Sequence[float], truths: Sequence[bool]) -> float:
    """The chance that a true one has a larger value than a false one; ties count half."""
    ranked = sorted(zip(values, truths, strict=True))
    rank_sum, at = 0.0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        rank_sum += (at + end + 1) / 2 * sum(truth for _, truth in ranked[at:end])
        at = end
    positive = sum(truths)
    negative = len(truths) - positive
    if not positive or not negative:
        return 0.5
    return (rank_sum - positive * (positive + 1) / 2) / (positive * negative)


def routed(values: Sequence[float], rows: Sequence[Row], percent: int) -> tuple[float, float]:
    """What comes of sending the top so many percent to the strong model.

    Shape: the share of right answers over all, and of weak-is-wrong among those sent.
    """
    order = sorted(range(len(rows)), key=lambda index: -values[index])
    sent = set(order[: len(rows) * percent // 100])
    right = sum(
        row.strong_is_right if index in sent else not row.weak_is_wrong
        for index, row in enumerate(rows)
    )
    return right / len(rows), sum(rows[index].weak_is_wrong for index in sent) / len(sent)


def by_subject(values: Sequence[float], rows: Sequence[Row]) -> float:
    """The mean over the subjects of the AUC within each: what is left when the topic is known."""
    groups: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for value, row in zip(values, rows, strict=True):
        groups[row.subject].append((value, row.weak_is_wrong))
    found = [auc(*zip(*group, strict=True)) for group in groups.values()]
    return sum(found) / len(found)


def page(rows: list[Row]) -> str:
    """The figures as a page."""
    measures: dict[str, Measure] = {
        "`complexity.score`": score,
        "tokens": lambda request: tokens.count(request),
        "characters": lambda request: len(request.body["messages"][0]["content"]),
        "question marks": lambda request: request.body["messages"][0]["content"].count("?"),
        "nothing (all alike)": lambda request: 0,
    }
    weak = [row.weak_is_wrong for row in rows]
    needed = [row.strong_is_needed for row in rows]
    lines = []
    for name, measure in measures.items():
        values = [measure(row.request) for row in rows]
        cells = [auc(values, weak), by_subject(values, rows), auc(values, needed)]
        parts = [routed(values, rows, percent) for percent in SHARES]
        lines.append(
            f"| {name} | {' | '.join(f'{cell:.3f}' for cell in cells)} | "
            f"{' | '.join(f'{precision:.1%}' for _, precision in parts)} | "
            f"{' | '.join(f'{right:.1%}' for right, _ in parts)} |"
        )
    scores = [score(row.request) for row in rows]
    levels = [level(one) for one in scores]
    counts = Counter(levels)
    wrong = Counter(name for name, is_wrong in zip(levels, weak, strict=True) if is_wrong)
    shares = "\n".join(
        f"| {name} | {_of(name)} | {counts[name]} | {wrong[name] / max(counts[name], 1):.1%} |"
        for name in ("low", "medium", "high")
    )
    all_weak = 1 - sum(weak) / len(rows)
    all_strong = sum(row.strong_is_right for row in rows) / len(rows)
    heads = " | ".join(f"wrong in top {percent} %" for percent in SHARES)
    rights = " | ".join(f"right, {percent} % strong" for percent in SHARES)
    return f"""# How well `complexity` does

Written by `benchmarks/complexity.py`; {len(rows)} requests of {len({r.subject for r in rows})}
subjects, Python {platform.python_version()}, {platform.machine()}.

The weak model is right in {all_weak:.1%}, the strong one in {all_strong:.1%}. A good score is high
where the weak model is wrong. AUC: the chance that a request it gets wrong scores above one it
gets right; 0.5 is a coin. "Within subjects" is the mean of each subject's own AUC.

| measure | AUC weak is wrong | within subjects | AUC strong is needed | {heads} | {rights} |
|---|---|---|---|{"---|" * 2 * len(SHARES)}
{chr(10).join(lines)}

| level | score | requests | weak is wrong |
|---|---|---|---|
{shares}

One score takes {_took(rows):.0f} µs in the mean.
"""


def _of(name: str) -> str:
    low, high = MEDIUM_FROM / 10_000, HIGH_FROM / 10_000
    return {"low": f"below {low}", "medium": f"{low} to {high}", "high": f"{high} and above"}[name]


def _took(rows: Iterable[Row]) -> float:
    some = list(rows)
    began = time.process_time()
    for row in some:
        score(row.request)
    return (time.process_time() - began) / len(some) * 1e6


def main() -> int:
    """Read the data, write the page."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    text = page(read(Path(sys.argv[1])))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
