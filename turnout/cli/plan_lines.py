"""What `policy diff` found as lines like those of a plan: `-` was, `+` comes, `~` is otherwise."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from turnout.dsl.compare import Comparison
from turnout.dsl.settings import Setting

from .changed import Group, rule_said
from .colour import Palette
from .compared import Compared, Gate, newly_said, origin_said, undecided
from .report import plural, printable

SHOWN = 40  # differences; the JSON form has all of them
GATE_WORDS = {"kept": "kept", "broken": "broken", "not_decided": "not decided, so it is not kept"}
_MOVES_ARMS = "its split keeps sessions by the rule's name: the salt changed, so they move arms"


def as_text(compared: Compared, palette: Palette) -> Iterator[str]:
    """Everything that was found, line by line."""
    versions = f"{printable(compared.old_name)} → {printable(compared.new_name)}"
    yield palette.paint("strong", f"{versions}: {compared.headline()}")
    for group in compared.groups[:SHOWN]:
        yield ""
        yield from _group_lines(compared, group, palette)
    if left := left_out(compared):
        yield f"\n{left}; `--format json` has them all"
    beside = list(beside_lines(compared))
    if beside:
        yield ""
    yield from (_painted(line, palette) for line in beside)
    if compared.traffic is not None:
        from .traffic import traffic_lines  # what counts recorded requests is read in only here

        yield ""
        yield from traffic_lines(compared.traffic)
    for gate in compared.gates:
        yield ""
        yield from _gate_lines(compared, gate, palette)
    if compared.groups:
        yield ""
        yield palette.paint("faint", f"to see why: {_explain(compared)}")


def left_out(compared: Compared) -> str:
    """How many pairs of rules are not shown; empty where all are."""
    left = sum(len(group.changes) for group in compared.groups[SHOWN:])
    return f"and {plural(left, 'more pair')} of rules" if left else ""


def _group_lines(compared: Compared, group: Group, palette: Palette) -> Iterator[str]:
    share = compared.share(group.changes)
    told = "" if share is None else f"  ({share} of the traffic)"
    yield _painted(f"{group.mark} {printable(group.title)}{told}", palette)
    yield palette.paint("error", f"    - {printable(group.before)}")
    yield palette.paint("good", f"    + {printable(group.after)}")
    if group.shares:
        yield f"    split: {printable(group.shares)}"
    of = f", of {printable(group.of)}" if group.of else ""
    example = compared.example(group.changes[0].witness) or "any request"
    yield f"    for example{of}: {example}"


def _explain(compared: Compared) -> str:
    """The command that explains the first example, by the new version where that is a file."""
    name = compared.new_name
    file = shlex.quote(printable(name)) if Path(name).is_file() else "FILE"
    given = compared.example_of_new(compared.groups[0].changes[0].witness)
    return f"policy explain {file}" + (f" --given {shlex.quote(given)}" if given else "")


def beside_lines(compared: Compared) -> Iterator[str]:
    """Names, settings, and what is not decided: marked by their first character, as in a diff."""
    found = compared.found
    yield from _renames(found)
    yield from map(_setting, found.settings)
    yield from (f"? {printable(one)}" for one in compared.undecided())


def _renames(found: Comparison) -> Iterator[str]:
    for pair in found.renamed:
        old, new = (printable(rule_said(name)) for name in pair)
        told = f"; {_MOVES_ARMS}" if pair in found.moving_arms else ""
        yield f"~ the rule {old} is called {new} now{told}"


def _setting(one: Setting) -> str:
    what = printable(" ".join(filter(None, (one.section, one.name, one.part))))
    if one.before is None:
        return f"+ {what}: {printable(one.after or '')}"
    if one.after is None:
        return f"- {what}: {printable(one.before)}"
    return f"~ {what}: {printable(one.before)} → {printable(one.after)}"


def _painted(line: str, palette: Palette) -> str:
    style = {"+": "good", "-": "error", "~": "warning", "?": "warning"}.get(line[:1])
    return line if style is None else palette.paint(style, line[:1]) + line[1:]


def _gate_lines(compared: Compared, gate: Gate, palette: Palette) -> Iterator[str]:
    style = "good" if gate.status == "kept" else "error"
    yield palette.paint(style, f"gate {printable(gate.name)}: {GATE_WORDS[gate.status]}")
    for newly in gate.newly:
        what, target, rules = newly_said(newly)
        told = printable(f"{what} {target}{f', by {rules}' if rules else ''}")
        if newly.witness is not None:
            told += f", for example: {compared.example(newly.witness) or 'any request'}"
        yield f"    {told}"
    yield from (f"    {printable(origin_said(origin))}" for origin in gate.origins)
    yield from (f"    {printable(one)}" for one in undecided(gate.open, gate.assumed))
