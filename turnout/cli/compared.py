"""What `policy diff` found: as lines like those of a plan, as data, as a pull request's comment.

Over 300 lines because what one of the three tells, the others have to tell as well.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from turnout.dsl.compare import Change, Comparison, Newly
from turnout.dsl.core import Hop, Program
from turnout.dsl.given import as_given, said
from turnout.dsl.schema import Type, Value
from turnout.dsl.settings import NewOrigin, Setting
from turnout.dsl.side import Effect
from turnout.dsl.units import format_usd, format_value, quote

from .colour import Palette
from .proofs import reason_of
from .report import plural, printable

if TYPE_CHECKING:  # what counts recorded requests is not needed without them
    from turnout.engine.moved import Moved

_SHOWN = 40  # changes; the JSON form has all of them
_MOVES_ARMS = "its split keeps sessions by the rule's name: the salt changed, so they move arms"


@dataclass(frozen=True, slots=True)
class Gate:
    """What became of a gate, and what broke it."""

    name: str
    status: Literal["kept", "broken", "not_decided"]
    newly: tuple[Newly, ...] = ()
    origins: tuple[NewOrigin, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """Two versions under the names they were read by, and what came of comparing them."""

    old_name: str
    new_name: str
    old: Program
    new: Program
    found: Comparison
    gates: tuple[Gate, ...] = ()
    moved: "Moved | None" = None

    def given(self, seen: Mapping[str, Value | None]) -> dict[str, bool | int | str | None]:
        """A request in a form that both versions read."""
        return {**as_given(seen, self.new), **as_given(seen, self.old)}

    def example(self, seen: Mapping[str, Value | None]) -> str:
        """A request in one line."""
        return printable(said(self.given(seen))) or "any request"


# --- as data -------------------------------------------------------------------------------------


def as_json(compared: Compared) -> str:
    """Everything that was found.

    Shape: `{verdict, changes: [{old, new, witness, differs, before, after, traffic}], open, rules,
    settings, assumed, gates, traffic, old, new}`; a rule is None where none took the request.
    """
    found = compared.found
    data = {
        "verdict": found.verdict,
        "changes": [_change_data(compared, change) for change in found.changes],
        "open": [{"old": one.old, "new": one.new, "reason": one.reason} for one in found.open],
        "rules": {
            "added": list(found.added),
            "removed": list(found.removed),
            "renamed": [list(pair) for pair in found.renamed],
            "moving_arms": [list(pair) for pair in found.moving_arms],
        },
        "settings": [
            {
                "section": one.section,
                "name": one.name or None,
                "part": one.part or None,
                "before": one.before,
                "after": one.after,
            }
            for one in found.settings
        ],
        "assumed": list(found.assumed),
        "gates": [_gate_data(compared, gate) for gate in compared.gates],
        "traffic": None if compared.moved is None else _traffic_data(compared.moved),
        "old": {"name": compared.old_name, "policy": compared.old.digest},
        "new": {"name": compared.new_name, "policy": compared.new.digest},
    }
    return json.dumps(data, indent=2, ensure_ascii=False)


def _change_data(compared: Compared, change: Change) -> dict[str, Any]:
    moved = compared.moved
    return {
        "old": change.old,
        "new": change.new,
        "witness": compared.given(change.witness),
        "differs": list(change.differs),
        "before": _effect_data(change.before),
        "after": _effect_data(change.after),
        "traffic": None if moved is None else moved.pairs[change.old, change.new],
    }


def _effect_data(effect: Effect) -> dict[str, Any]:
    reject = effect.reject
    return {
        "target": effect.target,
        "tries": [target for target, _ in effect.tries],
        "reject": None if reject is None else {"status": reject.status, "message": reject.message},
        "mirror": effect.mirror,
        "set": dict(effect.sets),
    }


def _gate_data(compared: Compared, gate: Gate) -> dict[str, Any]:
    return {
        "gate": gate.name,
        "status": gate.status,
        "newly": [
            {
                "target": one.target,
                "old": one.old,
                "new": one.new,
                "is_mirror": one.is_mirror,
                "witness": None if one.witness is None else compared.given(one.witness),
            }
            for one in gate.newly
        ],
        "origins": [
            {"provider": one.provider, "address": one.address, "header": one.header}
            for one in gate.origins
        ],
    }


def _traffic_data(moved: "Moved") -> dict[str, Any]:
    has_cost = moved.priced > 0
    return {
        "requests": moved.requests,
        "decided": moved.decided,
        "moved": moved.moved,
        "share": round(moved.moved / moved.decided, 6) if moved.decided else 0.0,
        "targets": [
            {"old": old, "new": new, "requests": count}
            for (old, new), count in moved.targets.most_common()
        ],
        "undecidable": dict(moved.undecidable),
        "cost": {
            "now": format_usd(moved.now) if has_cost else None,
            "then": format_usd(moved.then) if has_cost else None,
            "requests": moved.priced,
        },
    }


# --- for people ----------------------------------------------------------------------------------


def as_text(compared: Compared, palette: Palette) -> Iterator[str]:
    """Lines like those of a plan: `-` what was, `+` what comes, `~` what is otherwise."""
    found = compared.found
    yield palette.paint("strong", f"{_versions(compared)}: {headline(compared)}")
    for change in found.changes[:_SHOWN]:
        yield ""
        yield from _change_lines(compared, change, palette)
    if len(found.changes) > _SHOWN:
        more = plural(len(found.changes) - _SHOWN, "more pair")
        yield f"\nand {more} of rules; `--format json` has them all"
    rest: list[str] = [
        *_renames(found),
        *(_setting(one) for one in found.settings),
        *(f"? assumed to be the same: {printable(one)}" for one in found.assumed),
        *(
            f"? not decided: {_open(one.old, one.new)}: {reason_of(one.reason)}"
            for one in found.open
        ),
    ]
    if rest:
        yield ""
    yield from (_painted(line, palette) for line in rest)
    if compared.moved is not None:
        yield ""
        yield from _traffic_lines(compared.moved)
    for gate in compared.gates:
        yield ""
        yield from _gate_lines(compared, gate, palette)


def headline(compared: Compared) -> str:
    """The verdict in words."""
    found = compared.found
    count = plural(len(found.changes), "pair")
    match found.verdict:
        case "equivalent" if compared.old.digest == compared.new.digest:
            return "the same policy"
        case "equivalent":
            return "equivalent, every request is treated as before (proved)"
        case "changed" if found.open or found.assumed:
            return f"{count} of rules with requests that are treated otherwise; not all is decided"
        case "changed":
            return f"{count} of rules with requests that are treated otherwise, no others (proved)"
        case _:
            return "not decided; no request was found that is treated otherwise"


def _versions(compared: Compared) -> str:
    return f"{printable(compared.old_name)} → {printable(compared.new_name)}"


def _change_lines(compared: Compared, change: Change, palette: Palette) -> Iterator[str]:
    found = compared.found
    mark = "+" if change.new in found.added else "-" if change.old in found.removed else "~"
    moved = compared.moved
    share = ""
    if moved is not None and moved.decided:
        share = f"  ({_percent(moved.pairs[change.old, change.new], moved.decided)} of the traffic)"
    yield _painted(f"{mark} {_pair(change.old, change.new)}{share}", palette)
    before, after = _effects(change)
    yield palette.paint("error", f"    - {before}") if before else "    -"
    yield palette.paint("good", f"    + {after}") if after else "    +"
    yield f"    for example: {compared.example(change.witness)}"


def _pair(old: str | None, new: str | None) -> str:
    if old == new:
        return _rule(old)
    return f"{_rule(old)} → {_rule(new)}"


def _rule(name: str | None) -> str:
    return "(no rule)" if name is None else printable(name)


def _open(old: str | None, new: str | None) -> str:
    if old is not None and new is not None:
        return f"requests from {_rule(old)} to {_rule(new)}"
    return f"requests of {_rule(old or new)}"


def _effects(change: Change) -> tuple[str, str]:
    """What becomes of the example, before and after, as far as it is not the same."""
    before, after = change.before, change.after
    lines: list[list[str]] = [[], []]
    differs = change.differs
    if "reject" in differs or "target" in differs or "fallback" in differs:
        with_tail = "fallback" in differs and "target" not in differs
        for line, effect in zip(lines, (before, after), strict=True):
            line.append(_destination(effect, with_tail=with_tail))
    if "clocks" in differs:
        for line, text in zip(lines, _tried(before.tries, after.tries), strict=True):
            line.append(text)
    if "set" in differs and "reject" not in differs:
        for line, effect in zip(lines, (before, after), strict=True):
            line.append(_sets(effect))
    if "mirror" in differs:
        for line, effect in zip(lines, (before, after), strict=True):
            line.append("no copy" if effect.mirror is None else f"a copy to {effect.mirror}")
    if differs == ("hold",):
        lines = [["held"], ["held otherwise"]]
    return printable("; ".join(lines[0])), printable("; ".join(lines[1]))


def _destination(effect: Effect, *, with_tail: bool) -> str:
    if effect.reject is not None:
        message = f" {quote(effect.reject.message)}" if effect.reject.message else ""
        return f"reject {effect.reject.status}{message}"
    if effect.unknown_model is not None:
        return f"refused: nobody knows {effect.unknown_model}"
    if effect.target is None:
        return "no target is allowed"
    names = [target for target, _ in effect.tries]
    return ", then ".join(names) if with_tail else effect.target


def _tried(old: Sequence[tuple[str, Hop]], new: Sequence[tuple[str, Hop]]) -> tuple[str, str]:
    """How the first hop that is tried otherwise was tried, and how it is."""
    for (target, before), (_, after) in zip(old, new, strict=True):
        was, is_ = _options(before), _options(after)
        names = [name for name in was if was[name] != is_[name]]
        if names:
            told = (", ".join(f"{name}: {one[name]}" for name in names) for one in (was, is_))
            first, second = (f"{target} ({text})" for text in told)
            return first, second
    return "", ""


def _options(hop: Hop) -> dict[str, str]:
    clocks = hop.clocks
    times = {
        "connect": clocks.connect_us,
        "ttft": clocks.ttft_us,
        "idle": clocks.idle_us,
        "timeout": clocks.timeout_us,
        "backoff": hop.backoff_us,
    }
    found = {name: format_value(amount, Type.DURATION) for name, amount in times.items()}
    for name, is_written in (("timeout", clocks.written_timeout), ("ttft", clocks.written_ttft)):
        found[name] += "" if is_written else " by default"
    found["retries"] = str(hop.retries)
    found["catch"] = "by default" if hop.catch is None else f"[{', '.join(sorted(hop.catch))}]"
    return found


def _sets(effect: Effect) -> str:
    if not effect.sets:
        return "nothing set"
    return f"set {', '.join(f'{name}: {value}' for name, value in effect.sets.items())}"


def _renames(found: Comparison) -> Iterator[str]:
    for pair in found.renamed:
        old, new = map(_rule, pair)
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


def _traffic_lines(moved: "Moved") -> Iterator[str]:
    yield (
        f"traffic: {_count(moved.moved)} of {plural(moved.decided, 'recorded request')} move to "
        f"another target ({_percent(moved.moved, moved.decided)})"
    )
    for (old, new), count in moved.targets.most_common(_SHOWN):
        yield f"  {printable(old or '(none)')} → {printable(new or '(none)')}  {_count(count)}"
    if moved.priced:
        change = f" ({100 * (moved.then - moved.now) / moved.now:+.1f} %)" if moved.now else ""
        yield (
            f"cost: ${format_usd(moved.now)} before, ${format_usd(moved.then)} after{change}, of "
            f"{plural(moved.priced, 'request')}"
        )
    else:
        yield "cost: unknown, for no row has both tokens and an output that can be expected"
    for key, count in moved.undecidable.most_common():
        yield f"undecidable: {plural(count, 'request')} without {printable(key)}"


def _gate_lines(compared: Compared, gate: Gate, palette: Palette) -> Iterator[str]:
    words = {"kept": "kept", "broken": "broken", "not_decided": "not decided, so it is not kept"}
    style = "good" if gate.status == "kept" else "error"
    yield palette.paint(style, f"gate {printable(gate.name)}: {words[gate.status]}")
    for newly in gate.newly:
        yield f"    {_newly(compared, newly)}"
    for origin in gate.origins:
        yield f"    {_origin(origin)}"


def _newly(compared: Compared, newly: Newly) -> str:
    target = printable(newly.target)
    if newly.witness is None:
        return f"{target} newly makes the embeddings of requests"
    what = "a copy of a request" if newly.is_mirror else "a request"
    where = "what was asked for, whatever it is" if target == "requested" else target
    rules = _pair(newly.old, newly.new)
    return f"{what} can newly come to {where}, by {rules}: {compared.example(newly.witness)}"


def _origin(origin: NewOrigin) -> str:
    where = f" at {printable(origin.address)}" if origin.address is not None else ""
    provider = printable(origin.provider)
    if origin.header is None:
        return f"the provider {provider} is newly{where}"
    return f"the provider {provider}{where} newly gets the header {printable(origin.header)}"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0.0 %"


# --- for a pull request --------------------------------------------------------------------------


def as_markdown(compared: Compared) -> str:
    """The same as a comment: a table of the changes, then lists."""
    found = compared.found
    lines: list[str] = [f"### Policy: {_code(compared.old_name)} → {_code(compared.new_name)}", ""]
    lines.append(f"**{found.verdict.replace('_', ' ')}**: {headline(compared)}")
    if found.changes:
        lines += ["", *_table(compared)]
    rest: list[str] = [
        *_renames(found),
        *(_setting(one) for one in found.settings),
        *(f"? assumed to be the same: {printable(one)}" for one in found.assumed),
        *(
            f"? not decided: {_open(one.old, one.new)}: {reason_of(one.reason)}"
            for one in found.open
        ),
    ]
    if rest:
        lines += ["", "```diff", *(_fenced(line) for line in rest), "```"]
    if compared.moved is not None:
        lines += ["", *(f"- {_escaped(line.strip())}" for line in _traffic_lines(compared.moved))]
    if compared.gates:
        lines.append("")
    for gate in compared.gates:
        mark = {"kept": "✅", "broken": "❌", "not_decided": "❓"}[gate.status]
        lines.append(f"- {mark} gate {_code(gate.name)}: {gate.status.replace('_', ' ')}")
        lines += [f"  - {_escaped(_newly(compared, one))}" for one in gate.newly]
        lines += [f"  - {_escaped(_origin(one))}" for one in gate.origins]
    return "\n".join(lines)


def _table(compared: Compared) -> Iterator[str]:
    moved = compared.moved
    head = ["rule", "before", "after", "for example", *(["traffic"] if moved else [])]
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for change in compared.found.changes[:_SHOWN]:
        before, after = _effects(change)
        cells = [_code(_pair(change.old, change.new)), _escaped(before), _escaped(after)]
        cells.append(_code(compared.example(change.witness)))
        if moved is not None:
            cells.append(_percent(moved.pairs[change.old, change.new], moved.decided))
        yield f"| {' | '.join(cells)} |"
    left = len(compared.found.changes) - _SHOWN
    if left > 0:
        yield f"\nand {plural(left, 'more pair')} of rules"


def _code(text: str) -> str:
    """Text as code in a table: no text can end it or start a cell."""
    return f"`{printable(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def _escaped(text: str) -> str:
    """Text in which nothing is markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|#" else c for c in printable(text))


def _fenced(line: str) -> str:
    """A line inside a fence, which it cannot end."""
    return line.replace("```", "'''").replace("~ ", "! ", 1) if line[:1] == "~" else line
