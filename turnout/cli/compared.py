"""What `policy diff` found, and the same as data for scripts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from turnout.dsl.compare import Change, Comparison, Newly, Open
from turnout.dsl.core import REQUESTED, Program
from turnout.dsl.diagnostic import Diagnostic, sort
from turnout.dsl.given import said
from turnout.dsl.readings import Given, as_given_to, as_given_to_both, as_new, said_of_both
from turnout.dsl.schema import Type, Value
from turnout.dsl.settings import NewOrigin
from turnout.dsl.side import Effect
from turnout.dsl.units import format_usd, format_value

from .changed import WHOLE, Group, groups, listed, pair_said, rule_said, shares
from .proofs import reason_of
from .report import as_data, plural, printable

if TYPE_CHECKING:  # what counts recorded requests is not needed without them
    from turnout.engine.moved import Moved

    from .recorded import Reading

NOT_COMPILED = "not_compiled"


@dataclass(frozen=True, slots=True)
class Gate:
    """What became of a gate, and what broke it or left it undecided."""

    name: str
    status: Literal["kept", "broken", "not_decided"]
    newly: tuple[Newly, ...] = ()
    origins: tuple[NewOrigin, ...] = ()
    open: tuple[Open, ...] = ()
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Traffic:
    """What recorded requests do, and what came of reading them."""

    moved: "Moved"
    reading: "Reading"


@dataclass(frozen=True)
class Compared:
    """Two versions under the names they were read by, and what came of comparing them."""

    old_name: str
    new_name: str
    old: Program
    new: Program
    found: Comparison
    gates: tuple[Gate, ...] = ()
    traffic: Traffic | None = None

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The changes, those that make the same difference as one."""
        return groups(self.found, self.old, self.new)

    def given(self, seen: Mapping[str, Value | None]) -> Given:
        """A request in a form that both versions read, each what it can."""
        return as_given_to_both(seen, self.old, self.new)

    def example(self, seen: Mapping[str, Value | None]) -> str:
        """A request in one line; empty where every request will do."""
        return printable(said_of_both(self.given(seen)))

    def example_of_new(self, seen: Mapping[str, Value | None]) -> str:
        """The same as the new version alone reads it."""
        return printable(said(as_given_to(as_new(seen), self.new)))

    def share(self, changes: Sequence[Change]) -> str | None:
        """How much of the traffic these changes treat otherwise; None without traffic."""
        if self.traffic is None or not self.traffic.moved.decided:
            return None
        moved = self.traffic.moved
        return percent(sum(moved.otherwise[one.old, one.new] for one in changes), moved.decided)

    def headline(self) -> str:
        """The verdict in words."""
        found = self.found
        pairs = f"{plural(len(found.changes), 'pair')} of rules with requests that are treated"
        match found.verdict:
            case "changed" if found.open or found.assumed:
                return f"{pairs} otherwise; not all is decided"
            case "changed":
                return f"{pairs} otherwise, no others (proved)"
            case "not_decided":
                return "not decided; no request was found that is treated otherwise"
            case "settings_changed":
                changed = plural(len(found.settings), "setting")
                return f"the routing is the same (proved), but {changed} changed"
            case "equivalent" if self.old.digest == self.new.digest:
                return "the same policy"
            case "equivalent":
                return "equivalent, every request is treated as before (proved)"

    def undecided(self) -> Iterator[str]:
        """What had to be assumed, and what was not decided."""
        return undecided(self.found.open, self.found.assumed)


def undecided(open_: Sequence[Open], assumed: Sequence[str]) -> Iterator[str]:
    """The same in words: each reason once, with the rules that it is about."""
    yield from (f"assumed to be the same: {one}" for one in assumed)
    for reason in dict.fromkeys(one.reason for one in open_):
        about = [_open(one) for one in open_ if one.reason == reason]
        count = f" ({len(about)} questions)" if len(about) > 1 else ""
        yield f"not decided: requests of {listed(about)}: {reason_of(reason)}{count}"


def _open(one: Open) -> str:
    if one.old is not None and one.new is not None:
        return pair_said(one.old, one.new)
    return rule_said(one.old or one.new)


def newly_said(newly: Newly) -> tuple[str, str, str]:
    """What can newly come where: in words, the target, and by which rules; these empty for all."""
    where = "what was asked for, whatever it is" if newly.target == REQUESTED else newly.target
    rules = "" if newly.witness is None else pair_said(newly.old, newly.new)
    if newly.is_embedding or newly.witness is None:
        return "the text of a request can newly come, for its embedding, to", where, rules
    what = "a copy of a request" if newly.is_mirror else "a request"
    return f"{what} can newly come to", where, rules


def origin_said(origin: NewOrigin) -> str:
    """Which provider is newly where, or newly gets which header."""
    where = f" at {origin.address}" if origin.address is not None else ""
    if origin.header is None:
        return f"the provider {origin.provider} is newly{where}"
    return f"the provider {origin.provider}{where} newly gets the header {origin.header}"


def percent(part: int, whole: int) -> str:
    """A share of a whole, `12.8 %`."""
    return f"{100 * part / whole:.1f} %" if whole else "0.0 %"


# --- as data -------------------------------------------------------------------------------------


def as_json(compared: Compared) -> str:
    """Everything that was found.

    Shape: `{verdict, changes: [{old, new, witness, differs, before, after, shares, traffic, met}],
    open, rules, settings, assumed, gates, traffic, old, new}`; a rule is None where none took the
    request. Of a change `traffic` counts the recorded requests that are treated otherwise, `met`
    all that the two rules take.
    """
    found = compared.found
    data = {
        "verdict": found.verdict,
        "changes": [_change_data(compared, change) for change in found.changes],
        "open": [_open_data(one) for one in found.open],
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
                "acts": one.acts,
            }
            for one in found.settings
        ],
        "assumed": list(found.assumed),
        "gates": [_gate_data(compared, gate) for gate in compared.gates],
        "traffic": None if compared.traffic is None else _traffic_data(compared.traffic),
        "old": {"name": compared.old_name, "policy": compared.old.digest},
        "new": {"name": compared.new_name, "policy": compared.new.digest},
    }
    return json.dumps(data, indent=2, ensure_ascii=False)


def not_compiled_json(old_name: str, new_name: str, findings: Sequence[Diagnostic]) -> str:
    """That the two could not be compared: `{verdict: "not_compiled", findings, old, new}`."""
    data = {
        "verdict": NOT_COMPILED,
        "findings": [as_data(finding) for finding in sort(findings)],
        "old": {"name": old_name},
        "new": {"name": new_name},
    }
    return json.dumps(data, indent=2, ensure_ascii=False)


def _change_data(compared: Compared, change: Change) -> dict[str, Any]:
    moved = None if compared.traffic is None else compared.traffic.moved
    pair = change.old, change.new
    return {
        "old": change.old,
        "new": change.new,
        "witness": compared.given(change.witness),
        "differs": list(change.differs),
        "before": _effect_data(change.before),
        "after": _effect_data(change.after),
        "shares": {
            name: {"before": was / WHOLE, "after": is_ / WHOLE}
            for name, (was, is_) in shares(change, compared.old, compared.new).items()
        },
        "traffic": None if moved is None else moved.otherwise[pair],
        "met": None if moved is None else moved.pairs[pair],
    }


def _effect_data(effect: Effect) -> dict[str, Any]:
    reject = effect.reject
    wait = None if reject is None else reject.retry_after_us
    return {
        "target": effect.target,
        "tries": [target for target, _ in effect.tries],
        "reject": None
        if reject is None
        else {
            "status": reject.status,
            "message": reject.message,
            "retry_after": None if wait is None else format_value(wait, Type.DURATION),
        },
        "unknown_model": effect.unknown_model,
        "mirror": effect.mirror,
        "set": dict(effect.sets),
    }


def _open_data(one: Open) -> dict[str, Any]:
    return {"old": one.old, "new": one.new, "reason": one.reason}


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
                "is_embedding": one.is_embedding,
                "witness": None if one.witness is None else compared.given(one.witness),
            }
            for one in gate.newly
        ],
        "origins": [
            {"provider": one.provider, "address": one.address, "header": one.header}
            for one in gate.origins
        ],
        "open": [_open_data(one) for one in gate.open],
        "assumed": list(gate.assumed),
    }


def _traffic_data(traffic: Traffic) -> dict[str, Any]:
    moved, unread = traffic.moved, traffic.reading.unreadable
    has_cost = moved.priced > 0
    otherwise = moved.otherwise.total()
    return {
        "requests": moved.requests,
        "decided": moved.decided,
        "moved": moved.moved,
        "share": _share(moved.moved, moved.decided),
        "otherwise": {"requests": otherwise, "share": _share(otherwise, moved.decided)},
        "targets": [
            {"old": old, "new": new, "requests": count}
            for (old, new), count in moved.targets.most_common()
        ],
        "undecidable": dict(moved.undecidable),
        "untold": dict(moved.untold),
        "read_otherwise": dict(moved.read_otherwise),
        "not_compared": moved.not_compared,
        "complete": {"requests": moved.complete, "share": _share(moved.complete, moved.decided)},
        "missing": dict(moved.missing),
        "assumed": dict(moved.assumed),
        "unreadable": {"rows": unread.rows, "first": [one._asdict() for one in unread.first]},
        "cost": {
            "now": format_usd(moved.now) if has_cost else None,
            "then": format_usd(moved.then) if has_cost else None,
            "requests": moved.priced,
        },
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
