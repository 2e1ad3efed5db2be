"""Changes of a policy in words: what becomes of requests before and after, the same ones together.

The texts are of people who write policies: who prints them makes them harmless for where it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from turnout.dsl.compare import Change, Comparison
from turnout.dsl.core import Clause, Const, Hop, Program, Reject, Split
from turnout.dsl.destination import nowhere_said, reached
from turnout.dsl.interpret.traced import evaluate
from turnout.dsl.readings import as_new, as_old
from turnout.dsl.schema import Type
from turnout.dsl.side import Effect
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.units import format_value, quote

Words = tuple[str, ...]  # what becomes of a request, part by part

_NAMED = 12  # rules in one line
WHOLE = 10_000  # shares are parts of it


@dataclass(frozen=True, slots=True)
class Group:
    """Changes that make the same difference, in the order in which they were found.

    `title` names their rules; `mark` is `+` of new ones, `-` of removed ones, else `~`. `before`
    and `after` are what becomes of the requests, `shares` how those of a split changed. `of` names
    the rules of the first change, whose request is the example, where that has to be said.
    """

    title: str
    mark: str
    before: str
    after: str
    shares: str
    of: str
    changes: tuple[Change, ...]


def groups(found: Comparison, old: Program, new: Program) -> tuple[Group, ...]:
    """The changes with what they do, those with the same difference as one."""
    alike: dict[tuple[str, str, str, str], list[Change]] = {}
    for change in found.changes:
        mark = "+" if change.new in found.added else "-" if change.old in found.removed else "~"
        before, after = _effects(change, old, new)
        key = mark, before, after, _shares_said(shares(change, old, new))
        alike.setdefault(key, []).append(change)
    return tuple(
        Group(_title(changes, old, new), *key, _of(changes), tuple(changes))
        for key, changes in alike.items()
    )


def _title(changes: Sequence[Change], old: Program, new: Program) -> str:
    names = [pair_said(change.old, change.new) for change in changes]
    if len(names) == 1:
        return names[0]
    kind = "rules" if all(change.old == change.new for change in changes) else "pairs of rules"
    chain = ", which fall back to the chain" if _is_of_chain(changes, old, new) else ""
    return f"{len(names)} {kind}{chain}: {listed(names)}"


def listed(names: Sequence[str]) -> str:
    """Each name once, not more of them than people read."""
    known = list(dict.fromkeys(names))
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return ", ".join(known[:_NAMED]) + more


def _of(changes: Sequence[Change]) -> str:
    return "" if len(changes) == 1 else pair_said(changes[0].old, changes[0].new)


def _is_of_chain(changes: Sequence[Change], old: Program, new: Program) -> bool:
    """Whether it is the chain that changed, and not what these rules say themselves."""
    return all(
        change.differs in (("fallback",), ("clocks",))
        and _uses_chain(clause_of(old, change.old))
        and _uses_chain(clause_of(new, change.new))
        for change in changes
    )


def _uses_chain(clause: Clause | None) -> bool:
    return clause is None or clause.plan.fallback is None


def clause_of(program: Program, name: str | None) -> Clause | None:
    """A rule by its name; None of `no rule`."""
    return next((clause for clause in program.clauses if clause.name == name), None)


def pair_said(old: str | None, new: str | None) -> str:
    """The rule that takes a request before, and the one after."""
    return rule_said(old) if old == new else f"{rule_said(old)} → {rule_said(new)}"


def rule_said(name: str | None) -> str:
    """A rule's name."""
    return "(no rule)" if name is None else name


# --- what becomes of a request -------------------------------------------------------------------


def _effects(change: Change, old: Program, new: Program) -> tuple[str, str]:
    """What becomes of the example before and after, as far as it is not the same."""
    witness = change.witness
    sides = (change.before, old, as_old(witness)), (change.after, new, as_new(witness))
    told = [_parts(change, *side) for side in sides]
    tried = _tried(change.before, change.after) if "clocks" in change.differs else ((), ())
    pairs = [*zip(*told, strict=True), (", ".join(tried[0]), ", ".join(tried[1]))]
    parts = [(before, after) for before, after in pairs if before != after]
    if not parts:  # there are no words for it but its name
        return "as it was", f"another {' and '.join(change.differs)}"
    before, after = ("; ".join(side) for side in zip(*parts, strict=True))
    return before, after


def _parts(change: Change, effect: Effect, program: Program, seen: Snapshot) -> Words:
    """What there is to say of one version, the same parts in the same order for both."""
    differs = change.differs
    others = {*change.before.sets, *change.after.sets}
    clause = clause_of(program, effect.rule)
    is_led = "reject" in differs or "target" in differs
    asked: tuple[tuple[bool, Callable[[], str]], ...] = (
        (is_led, lambda: _destination(effect, clause, program, seen)),
        ("fallback" in differs and not is_led, lambda: _fallback(effect)),
        ("set" in differs and "reject" not in differs, lambda: _sets(effect, others, change)),
        ("mirror" in differs, lambda: _copied(change, effect)),
        ("hold" in differs, lambda: _held(clause, program)),
    )
    return tuple(say() for is_asked, say in asked if is_asked)


def _destination(effect: Effect, clause: Clause | None, program: Program, seen: Snapshot) -> str:
    if effect.reject is not None:
        return _refusal(effect.reject)
    if effect.unknown_model is not None:
        return f"refused: nobody knows {effect.unknown_model}"
    if effect.target is not None:
        return effect.target
    why = nowhere_said(reached(program, None if clause is None else clause.index, seen))
    return "no target is allowed" + (f": {why}" if why else "")


def _refusal(reject: Reject) -> str:
    message = f" {quote(reject.message)}" if reject.message else ""
    wait = reject.retry_after_us
    again = "" if wait is None else f", again after {format_value(wait, Type.DURATION)}"
    return f"reject {reject.status}{message}{again}"


def _fallback(effect: Effect) -> str:
    names = [target for target, _ in effect.tries[1:]]
    return f"fallback {', then '.join(names)}" if names else "no fallback"


def _sets(effect: Effect, names: set[str], change: Change) -> str:
    told = []
    for name in sorted(names):
        values = [one.sets.get(name) for one in (change.before, change.after)]
        if (type(values[0]), values[0]) != (type(values[1]), values[1]):
            value = effect.sets.get(name)
            told.append(f"{name} not set" if value is None else f"set {name}: {_value(value)}")
    return ", ".join(told)


def _value(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return quote(value) if isinstance(value, str) else str(value)


def _copied(change: Change, effect: Effect) -> str:
    if effect.copy is None:
        return "no copy"
    told = f"a copy to {effect.copy.target}"
    before, after = change.before.copy, change.after.copy
    if before is None or after is None or before.target != after.target:
        return told
    ways = _options(before), _options(after)
    own = _options(effect.copy)
    options = ", ".join(f"{name}: {own[name]}" for name in own if ways[0][name] != ways[1][name])
    return f"{told} ({options})"


def _held(clause: Clause | None, program: Program) -> str:
    start = None if clause is None else f"held({clause.name}:"
    held = [latch for latch in program.latches if start and latch.key.startswith(start)]
    told = [
        f"for {format_value(latch.hold_us, Type.DURATION)} after {evaluate(latch.test, {}).text}"
        for latch in held
    ]
    return f"held {', '.join(told)}" if told else "not held"


def _tried(before: Effect, after: Effect) -> tuple[Words, Words]:
    """How the hops that are tried otherwise were tried, and how they are; with their places."""
    told: tuple[list[str], list[str]] = [], []
    for place, hops in enumerate(zip(before.tries, after.tries, strict=True)):
        ways = [_options(hop) for _, hop in hops]
        names = [name for name in ways[0] if ways[0][name] != ways[1][name]]
        for side, way, (target, _) in zip(told, ways, hops, strict=True):
            if names:
                options = ", ".join(f"{name}: {way[name]}" for name in names)
                side.append(f"{f'fallback {place}: ' if place else ''}{target} ({options})")
    return tuple(told[0]), tuple(told[1])


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


# --- shares of a split ---------------------------------------------------------------------------


def shares(change: Change, old: Program, new: Program) -> dict[str, tuple[int, int]]:
    """The arms whose share of a split is another, each before and after, of 10 000.

    Empty where one of the two rules is no split, or its shares move with time.
    """
    was, is_ = (
        _shares(clause_of(program, name))
        for program, name in ((old, change.old), (new, change.new))
    )
    if was is None or is_ is None:
        return {}
    arms = {name: (was.get(name, 0), is_.get(name, 0)) for name in dict.fromkeys((*was, *is_))}
    return {name: pair for name, pair in arms.items() if pair[0] != pair[1]}


def _shares(clause: Clause | None) -> dict[str, int] | None:
    if clause is None or not isinstance(clause.plan.route, Split):
        return None
    found: dict[str, int] = {}
    passed = 0
    for arm in clause.plan.route.arms:
        if not isinstance(arm.upto, Const) or not isinstance(arm.upto.value, int):
            return None
        found[arm.hop.target] = arm.upto.value - passed
        passed = arm.upto.value
    return found


def _shares_said(arms: dict[str, tuple[int, int]]) -> str:
    return ", ".join(f"{name} {_share(was)} → {_share(is_)}" for name, (was, is_) in arms.items())


def _share(part: int) -> str:
    return f"{100 * part / WHOLE:g} %"
