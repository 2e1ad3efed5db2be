"""Writes the pages that are made from tables in the code: attributes and faults.

Usage: python docs/generate.py [--check]; with `--check` nothing is written, and the exit code is 1
where a page is not up to date.
"""

import sys
from pathlib import Path

from turnout.dsl.schema import Parameter, Type
from turnout.engine.attributes import ATTRIBUTES
from turnout.engine.provider import FAULTS

HERE = Path(__file__).parent
MADE = "<!-- made by docs/generate.py; edit the table in the code -->\n"
WRITTEN = {
    Type.BOOL: "`true`, `false`",
    Type.NUMBER: "`100`, `32k`, `2M`",
    Type.DURATION: "`800ms`, `2s`, `5m`",
    Type.MONEY: "`$0.02`",
    Type.RATE: "`$5/Mtok`",
    Type.PERCENT: "`5%`",
    Type.SCORE: "`0.7`",
    Type.TIME: "`09:00`",
    Type.WEEKDAY: "`Mon`",
    Type.DATE: "`2026-10-01`",
    Type.TEXT: '`"text"`',
    Type.ENUM: '`"text"`, one of its domain',
}
ASKED = {
    Parameter.NONE: "{}",
    Parameter.TARGET: '{}("provider/model")',
    Parameter.HEADER: '{}["x-name"]',
}


def attributes() -> str:
    """The page of everything a condition may read."""
    rows = [
        f"| `{ASKED[a.parameter].format(a.name)}` | {a.type.value} | {WRITTEN[a.type]} | "
        f"{'always' if a.always_known else 'where given'} | {a.doc} |"
        for a in ATTRIBUTES
    ]
    return "\n".join(
        [
            "# Attributes",
            "",
            MADE,
            "What a condition may read. Comparing with a value that is not known is *unknown*, and",
            "a rule fires only on *true*; `known(x)` asks, `x ?? 0` gives a default.",
            "",
            "| attribute | type | written as | known | what it is |",
            "|---|---|---|---|---|",
            *rows,
            "",
            'Also: `cost`, `cost("provider/model")` and `worst_case(cost)` (money), computed from',
            "the target's prices; `latency`, `latency.p95`, `latency.p50`, the recent latency of",
            "the rule's own target.",
            "",
        ]
    )


def faults() -> str:
    """The page of what each fault leads to."""
    rows = [
        f"| `{fault.value}` | {_yes(t.retry)} | {_yes(t.next_hop)} | {_yes(t.breaker)} | "
        f"{t.status} | `{t.type}` | {f'`{t.code}`' if t.code else 'as the provider says'} |"
        for fault, t in FAULTS.items()
    ]
    return "\n".join(
        [
            "# Faults",
            "",
            MADE,
            "Why an attempt failed, by the names that `catch`, traces and metrics use, and what",
            "follows unless `catch` says otherwise. The last three columns are what the client",
            "sees if nothing else answers.",
            "",
            "| fault | tried again | next hop | counts against the target | status | type | code |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def main() -> int:
    """Write the pages, or check them."""
    stale = []
    for name, text in {"attributes.md": attributes(), "faults.md": faults()}.items():
        page = HERE / name
        if not page.exists() or page.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                page.write_text(text)
    if "--check" in sys.argv and stale:
        print(f"not up to date: {', '.join(stale)}; run `make docs`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
