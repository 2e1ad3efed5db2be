"""What `policy diff` found as Markdown, for a comment on a pull request.

A policy is of whoever sends the pull request, so no text of it is ever outside of code: there it
could ping people (`@team`), link (`#12`, addresses, hashes of commits), be HTML or a heading.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from turnout.dsl.diagnostic import Diagnostic, sort

from .compared import NOT_COMPILED, Compared, Gate, newly_said, origin_said, undecided
from .plan_lines import GATE_WORDS, SHOWN, beside_lines, left_out
from .report import printable, render_place, summary

_MARKS = {"kept": "✅", "broken": "❌", "not_decided": "❓"}


def as_markdown(compared: Compared) -> str:
    """A table of the changes, then what is beside them, the traffic and the gates."""
    return "\n".join(_lines(compared))


def not_compiled_markdown(old_name: str, new_name: str, findings: Sequence[Diagnostic]) -> str:
    """That the two could not be compared, and why."""
    names = list(dict.fromkeys(finding.span.source.name for finding in findings))
    lines = [_heading(old_name, new_name), "", f"**{NOT_COMPILED.replace('_', ' ')}**", ""]
    lines += [f"- {code(summary(findings, names))}"]
    for one in sort(findings):
        help = f"; {code(f'help: {one.help}')}" if one.help else ""
        lines.append(f"- {code(render_place(one.span))} {one.code}: {code(one.message)}{help}")
    return "\n".join(lines)


def _lines(compared: Compared) -> Iterator[str]:
    verdict = compared.found.verdict.replace("_", " ")
    yield _heading(compared.old_name, compared.new_name)
    yield ""
    yield f"**{verdict}**: {compared.headline()}"
    if compared.groups:
        yield ""
        yield from _table(compared)
    if left := left_out(compared):
        yield f"\n{left}"
    if beside := list(beside_lines(compared)):
        yield ""
        yield from fenced(map(_of_diff, beside), "diff")
    if compared.traffic is not None:
        from .traffic import traffic_lines  # what counts recorded requests is read in only here

        yield ""
        yield from fenced(traffic_lines(compared.traffic), "text")
    if compared.gates:
        yield ""
    for gate in compared.gates:
        yield from _gate_lines(compared, gate)


def _heading(old_name: str, new_name: str) -> str:
    return f"### Policy: {code(old_name)} → {code(new_name)}"


def _table(compared: Compared) -> Iterator[str]:
    has_traffic = compared.traffic is not None
    head = ["rule", "before", "after", "for example", *(["traffic"] if has_traffic else [])]
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for group in compared.groups[:SHOWN]:
        split = f"<br>split: {_cell(group.shares)}" if group.shares else ""
        example = compared.example(group.changes[0].witness)
        of = f"of {_cell(group.of)}: " if group.of else ""
        cells = [
            _cell(f"{group.mark} {group.title}") + split,
            _cell(group.before),
            _cell(group.after),
            of + (_cell(example) if example else "any request"),
        ]
        if has_traffic:
            cells.append(compared.share(group.changes) or "")
        yield f"| {' | '.join(cells)} |"


def _gate_lines(compared: Compared, gate: Gate) -> Iterator[str]:
    yield f"- {_MARKS[gate.status]} gate {code(gate.name)}: {GATE_WORDS[gate.status]}"
    for newly in gate.newly:
        what, target, rules = newly_said(newly)
        by = f", by {code(rules)}" if rules else ""
        example = ""
        if newly.witness is not None:
            shown = compared.example(newly.witness)
            example = f", for example {code(shown) if shown else 'any request'}"
        yield f"  - {what} {code(target)}{by}{example}"
    yield from (f"  - {code(origin_said(one))}" for one in gate.origins)
    yield from (f"  - {code(one)}" for one in undecided(gate.open, gate.assumed))


def code(text: str) -> str:
    """Text as code in one line: its fence is longer than any run of backticks in it.

    >>> code("tier"), code("a`b"), code("`")
    ('`tier`', '``a`b``', '`` ` ``')
    """
    shown = printable(text) or " "
    fence = "`" * (_longest_run(shown) + 1)
    # A space beside the fence is taken off again where there is one on both sides.
    is_padded = shown[0] in "` " or shown[-1] in "` "
    pad = " " if is_padded and shown.strip(" ") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _cell(text: str) -> str:
    """The same in a table, where a bar would end the cell even inside of code."""
    return code(text).replace("|", "\\|")


def fenced(lines: Iterable[str], language: str) -> Iterator[str]:
    """Lines as a block of code that none of them can end."""
    shown = [line.replace("\n", " ") for line in lines]
    fence = "`" * max(3, _longest_run("\n".join(shown)) + 1)
    yield f"{fence}{language}"
    yield from shown
    yield fence


def _longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)


def _of_diff(line: str) -> str:
    """A line as it is coloured in a diff, which has no `~`."""
    return f"!{line[1:]}" if line.startswith("~") else line
