"""What came of a run as one HTML file, which loads nothing."""

from collections import Counter
from html import escape

from .report import Report
from .run import Outcome, Result
from .suite import AREAS

_MARKS = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.SKIPPED: "·",
    Outcome.NOT_OFFERED: "○",
}
_STYLE = """
:root { color-scheme: light dark; --good: #1a7f37; --bad: #cf222e; --faint: #6e7781; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #f85149; --faint: #8b949e; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p.about { color: var(--faint); margin: 0 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #8883; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.bar { display: flex; height: .7rem; width: 12rem; background: #8883; overflow: hidden; }
.bar i { display: block; } .bar .passed { background: var(--good); }
.bar .failed { background: var(--bad); } .bar .skipped { background: #8886; }
details { border-bottom: 1px solid #8883; padding: .25rem 0; }
summary { cursor: pointer; } summary code { color: var(--faint); }
.passed > summary b { color: var(--good); } .failed > summary b { color: var(--bad); }
dl { display: grid; grid-template-columns: 6rem 1fr; gap: .2rem 1rem; margin: .5rem 1.4rem; }
dt { color: var(--faint); } dd { margin: 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #8882; padding: .6rem; }
pre { margin: 0; }
"""


def as_html(report: Report) -> str:
    """The page: what was asked, a table by area, and each case, failed ones opened."""
    target, counts = report.target, report.counts
    asked = f"{escape(target.base_url)}, model {escape(target.model)}"
    if target.embedding_model:
        asked += f", embedding model {escape(target.embedding_model)}"
    told = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome)
    rows = "".join(_area_row(name, counted) for name, counted in report.by_area.items())
    sections = "".join(_section(report, name) for name in report.by_area)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Conformance of {escape(target.base_url)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Conformance of {escape(target.base_url)}</h1>
<p class="about">{asked}; {len(report.results)} cases in {report.seconds:.1f} s: {told}</p>
<table>
<tr><th>area</th><th></th>{"".join(f'<th class="number">{o.value}</th>' for o in Outcome)}</tr>
{rows}</table>
{sections}</body>
</html>
"""


def _area_row(name: str, counted: Counter[Outcome]) -> str:
    numbers = "".join(f'<td class="number">{counted[o] or ""}</td>' for o in Outcome)
    total = counted.total()
    widths = {
        "passed": counted[Outcome.PASSED],
        "failed": counted[Outcome.FAILED],
        "skipped": counted[Outcome.SKIPPED],
    }
    bars = "".join(
        f'<i class="{kind}" style="width:{100 * count / total:.1f}%"></i>'
        for kind, count in widths.items()
    )
    link = f'<a href="#{escape(name)}">{escape(name)}</a>'
    return f'<tr><td>{link}</td><td><div class="bar">{bars}</div></td>{numbers}</tr>\n'


def _section(report: Report, name: str) -> str:
    about = next(area.about for area in AREAS if area.name == name)
    cases = "".join(_case(result) for result in report.results if result.case.area == name)
    return f'<h2 id="{escape(name)}">{escape(name)}: {escape(about)}</h2>\n{cases}'


def _case(result: Result) -> str:
    case, outcome = result.case, result.outcome
    cited = "<br>".join(
        f'<a href="{escape(source.url)}">{escape(source.title)}</a>' for source in case.sources
    )
    lines = [("source", cited)]
    if result.seen is not None:
        word = "seen" if outcome is Outcome.FAILED else "because"
        lines.append((word, escape(result.seen)))
    if result.exchange is not None:
        lines.append(("answer", f"<pre>{escape(result.exchange)}</pre>"))
    listed = "".join(f"<dt>{term}</dt><dd>{told}</dd>" for term, told in lines)
    is_open = " open" if outcome is Outcome.FAILED else ""
    kind = outcome.value.replace(" ", "-")
    return (
        f'<details class="{kind}"{is_open}><summary><b>{_MARKS[outcome]}</b> '
        f"{escape(case.expects)} <code>{escape(case.id)}</code></summary>"
        f"<dl>{listed}</dl></details>\n"
    )
