"""Two policies one edit apart: what `compare` says against all snapshots of their small world.

Each request that it shows is decided on both sides by the gateway's own code, and each pair of
rules with a request that is treated otherwise is one that it shows.
"""

import random
import re
from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.dsl.chance import EXAMPLES
from tests.dsl.small_worlds import (
    TARGETS,
    Decided,
    Rule,
    Written,
    condition,
    hop,
    limit,
    options,
    route,
    world,
    written,
)
from turnout.dsl.compare import Comparison, compare
from turnout.dsl.core import Program
from turnout.dsl.meaning import of_own_salts
from turnout.dsl.prove import Prover
from turnout.dsl.snapshot import Snapshot

from .conftest import Language

pytestmark = pytest.mark.uncounted

PAIRS = max(9, EXAMPLES // 32)  # of each of 17 kinds of edits

# --- edits ---------------------------------------------------------------------------------------

Edit = Callable[[Written, random.Random], None]
COMPARISONS = {
    "<": "<= >= >",
    "<=": "< > >=",
    ">": ">= < <=",
    ">=": "> < <=",
    "==": "!=",
    "!=": "==",
}
# Each becomes one that the worlds have the cuts of.
LITERALS = (
    ("100", "1k", "2k"),
    ('"free"', '"pro"', '"default"'),
    ('"search"', '"ads"'),
    ("500", "5000"),
    ("5%", "50%"),
    ("8s", "9s"),
    ('"a"', '"z"', '"b"'),
    ('"acme"', '"initech"'),
    ("Fri", "Sat", "Sun", "Mon", "Tue"),
    ("$0.01", "$0.02"),
)
TIMES = ("06:00", "09:00", "22:00")


def exchanged(text: str, words: tuple[str, ...], chance: random.Random) -> str | None:
    """The text with one of these words, where it stands alone, made another of them."""
    found = [
        m for word in words for m in re.finditer(rf"(?<![\w$.:]){re.escape(word)}(?![\w:%])", text)
    ]
    if not found:
        return None
    at = chance.choice(found)
    other = chance.choice([word for word in words if word != at[0]])
    return text[: at.start()] + other + text[at.end() :]


def in_a_condition(change: Callable[[str, random.Random], str | None]) -> Edit:
    """The edit that makes one change of some condition that it can be made of."""

    def edit(policy: Written, chance: random.Random) -> None:
        for rule in policy.rules:  # the first has most of the requests
            changed = change(rule.condition, chance)
            if changed is not None:
                rule.condition = changed
                return

    return edit


def other_operator(text: str, chance: random.Random) -> str | None:
    found = list(re.finditer(r" ([<>]=?|[=!]=) ", text))
    if not found:
        return None
    at = chance.choice(found)
    other = chance.choice(COMPARISONS[at[1]].split())
    if at[1] in ("<", "<=", ">", ">=") or '"' in text[at.end() : at.end() + 1]:
        return f"{text[: at.start()]} {other} {text[at.end() :]}"
    return None


def other_literal(text: str, chance: random.Random) -> str | None:
    for words in chance.sample(LITERALS, len(LITERALS)):
        if (changed := exchanged(text, words, chance)) is not None:
            return changed
    return None


def other_window(text: str, chance: random.Random) -> str | None:
    return exchanged(text, TIMES, chance)


def other_connective(text: str, chance: random.Random) -> str | None:
    for word, other in chance.sample([(" and ", " or "), (" or ", " and "), ("not (", "(")], 3):
        if word in text:
            return text.replace(word, other, 1)
    return None


def another_route(policy: Written, chance: random.Random) -> None:
    chance.choice(policy.rules).route = route(chance)


def another_share(policy: Written, chance: random.Random) -> None:
    for rule in policy.rules:
        if "split" in rule.route:
            first, second = re.findall(r"(\d+)%", rule.route)
            share = chance.choice([one for one in (5, 50, 95, 100) if one != int(first)])
            share = 50 if share == 100 else share
            rule.route = rule.route.replace(f"{first}%", "A%", 1).replace(f" {second}%", " B%", 1)
            rule.route = rule.route.replace("A%", f"{share}%").replace("B%", f"{100 - share}%")
            return
    first, second = chance.sample(TARGETS, 2)
    policy.rules[0].route = f"{{split: {{{first}: 95%, {second}: 5%}}, sticky: session}}"


def another_hop(policy: Written, chance: random.Random) -> None:
    match chance.randrange(4):
        case 0 if policy.chain:
            policy.chain.pop(chance.randrange(len(policy.chain)))
        case 1 if policy.chain:
            policy.chain[chance.randrange(len(policy.chain))] = hop(chance, policy.axes)
        case 2:
            rule = chance.choice(policy.rules)
            rule.options["fallback"] = f"[{hop(chance, policy.axes)}]"
        case _:
            policy.chain.insert(chance.randint(0, len(policy.chain)), hop(chance, policy.axes))


def another_order(policy: Written, chance: random.Random) -> None:
    end = len(policy.rules) - (not policy.rules[-1].condition)
    if end > 1:
        at = chance.randrange(end - 1)
        policy.rules[at], policy.rules[at + 1] = policy.rules[at + 1], policy.rules[at]


def another_limit(policy: Written, chance: random.Random) -> None:
    if policy.limits and chance.random() < 0.6:
        at = chance.randrange(len(policy.limits))
        policy.limits[at : at + 1] = chance.choice([[], [limit(chance, policy.axes)]])
    else:
        policy.limits.append(limit(chance, policy.axes))


def another_let(policy: Written, chance: random.Random) -> None:
    name = next((n for n in policy.lets if any(n in r.condition for r in policy.rules)), None)
    if name is None:
        return
    if name == "big":
        policy.lets["big"] = chance.choice(("tokens > 2k", "tokens >= 1k", "tokens > 1999"))
    else:
        policy.lets["night"] = chance.choice(
            ("time in 22:00..09:00", "time < 06:00", "not (time in 06:00..22:00)")
        )


def another_price(policy: Written, chance: random.Random) -> None:
    if "cost(" not in policy.text() and "cheapest" not in policy.text():
        return
    name, prices = chance.choice(
        (
            ("own/a", "input: $20/Mtok, output: $0/Mtok"),
            ("own/b", "input: $0/Mtok, output: $1/Mtok, request: $0.001999"),
            ("own/c", "input: $0/Mtok, output: $2/Mtok"),
        )
    )
    policy.prices[name] = prices


def another_clock(policy: Written, chance: random.Random) -> None:
    match chance.randrange(4):
        case 0:
            policy.deadline = "50s"
        case 3:
            policy.beside["defaults"] = "{connect: 1s}"
        case 1:
            chance.choice(policy.rules).options["timeout"] = "7s"
        case _:
            chance.choice(policy.rules).options["retries"] = "0"


def another_option(policy: Written, chance: random.Random) -> None:
    rule = chance.choice(policy.rules)
    held = [one for one in policy.rules if "hold" in one.options]
    match chance.randrange(4):
        case 0 if held:
            held[0].options["hold"] = "3m"
        case 1:
            rule.options["mirror"] = f"{{to: {chance.choice(TARGETS)}, sample: 50%}}"
        case 2:
            rule.options["set"] = "{max_tokens: 6}"
        case _:
            rule.options = options(chance, policy.axes, rule.condition)


def another_rule(policy: Written, chance: random.Random) -> None:
    if len(policy.rules) > 2 and chance.random() < 0.5:
        policy.rules.remove(chance.choice(policy.rules))
    else:
        at = chance.randint(0, len(policy.rules) - (not policy.rules[-1].condition))
        test = condition(chance, policy.axes)
        policy.rules.insert(at, Rule("added", test, route(chance)))


def another_name(policy: Written, chance: random.Random) -> None:
    chance.choice(policy.rules).name = "renamed"


def to_what_is_asked_for(policy: Written, chance: random.Random) -> None:
    chance.choice(policy.rules).route = "requested"


def the_same_otherwise(policy: Written, chance: random.Random) -> None:
    """Another way to write it."""
    rule = chance.choice([rule for rule in policy.rules if rule.condition])
    rule.condition = chance.choice(
        (
            f"not (not ({rule.condition}))",
            f"({rule.condition}) or ({rule.condition})",
            f"true and ({rule.condition})",
            f"({rule.condition}) and not (tokens < 100 and tokens >= 1k)",
        )
    )


EDITS: dict[str, Edit] = {
    "operator": in_a_condition(other_operator),
    "literal": in_a_condition(other_literal),
    "window": in_a_condition(other_window),
    "connective": in_a_condition(other_connective),
    "route": another_route,
    "share": another_share,
    "hop": another_hop,
    "order": another_order,
    "limit": another_limit,
    "let": another_let,
    "price": another_price,
    "clock": another_clock,
    "option": another_option,
    "rule": another_rule,
    "name": another_name,
    "asked": to_what_is_asked_for,
    "the same": the_same_otherwise,
}


def pair(kind: str, seed: int, language: Language) -> tuple[str, str, list[Snapshot]]:
    """The first pair of a seed that differs and has a small world: old, new, and the world."""
    chance = random.Random(f"{kind} {seed}")
    while True:
        policy = written(chance)
        changed = deepcopy(policy)
        EDITS[kind](changed, chance)
        if changed.text() == policy.text():
            continue
        old, new = language.compile(policy.text()), language.compile(changed.text())
        snapshots = world(old, new, same=renames(old, new))
        if snapshots:
            return policy.text(), changed.text(), snapshots


def renames(old: Program, new: Program) -> dict[str, str]:
    """The keys of a rule's name alone, where the rule got another: a draw, and what is held."""
    names = {clause.name for clause in old.clauses}
    found = {}
    for was, is_ in zip(old.clauses, new.clauses, strict=False):
        if is_.name == "renamed" and was.name != is_.name and is_.name not in names:
            before = {shared: key for key, shared in of_own_salts(was).items()}
            for key, shared in of_own_salts(is_).items():
                if shared in before:
                    found[key] = before[shared]
    return found


# --- the law -------------------------------------------------------------------------------------


GUARDED = "own/b"  # who newly comes to it?


def comes(side: Decided, seen: Snapshot) -> tuple[bool, bool]:
    """Whether a request is sent there, and whether a copy of it is."""
    is_tried = GUARDED in (target for target, _ in side.tried(seen))
    return is_tried, side.copied(seen) == GUARDED


def newly(before: Decided, after: Decided, seen: Snapshot) -> set[bool]:
    """How a request newly comes there: False for itself, True for a copy of it."""
    if any(comes(before, seen)):
        return set()
    return {bool(is_copy) for is_copy, does in enumerate(comes(after, seen)) if does}


def compared(old: Program, new: Program) -> Comparison:
    return compare(old, new, lambda *programs: Prover(*programs), [GUARDED])


@pytest.mark.parametrize("kind", EDITS)
def test_the_verdict_on_an_edit_is_that_of_every_snapshot(kind: str, language: Language) -> None:
    count, changed = 0, 0
    for seed in range(PAIRS):
        was, is_, snapshots = pair(kind, seed, language)
        count += len(snapshots)
        old, new = language.compile(was), language.compile(is_)
        found = compared(old, new)
        before, after = Decided(old), Decided(new)
        guarded: set[bool] = set()
        moved: dict[tuple[str | None, str | None], Snapshot] = {}
        for seen in snapshots:
            (old_rule, old_way), (new_rule, new_way) = before.treated(seen), after.treated(seen)
            if old_way != new_way:
                moved.setdefault((old_rule, new_rule), seen)
                guarded |= newly(before, after, seen)
        told = {(change.old, change.new): change for change in found.changes}
        where = f"seed {seed}: {kind}\n{was}\n---\n{is_}\n---\n{found}\nmissed: "
        # Limits on what nobody listed: embeddings may ask for it where no rule takes them.
        open_ = {(one.old, one.new, one.reason) for one in found.open}
        if kind == "asked":
            assert {reason for _, _, reason in open_} <= {"opaque"}, where
        else:
            assert open_ <= ({(None, None, "opaque")} if "require:" in was + is_ else set()), where
        # What a rule holds is another value where it is held otherwise: nothing is proved of it.
        holds = all("for it is held otherwise now" in what for what in found.assumed)
        assert len(open_) == len(found.open) and holds and (not found.assumed or "hold" in was), (
            where
        )
        missed = {pair: seen for pair, seen in moved.items() if pair not in told}
        assert not missed, f"{where}{missed}"
        acts = any(one.acts for one in found.settings)
        is_open = bool(found.open or found.assumed)
        unmoved = "not_decided" if is_open else "settings_changed" if acts else "equivalent"
        assert found.verdict == ("changed" if told else unmoved), where
        assert len(told) == len(found.changes), where
        for names, change in told.items():
            rules, ways = zip(
                *(side.treated(change.witness) for side in (before, after)), strict=True
            )
            assert rules == names, where
            assert ways[0] != ways[1], where
            assert change.differs, where
        changed += bool(told)
        assert guarded <= {one.is_mirror for one in found.newly}, where
        for one in found.newly:
            if one.witness is not None and one.target == GUARDED:
                assert one.is_mirror in newly(before, after, one.witness), where
        if kind == "clock" and was.partition("\n")[0] != is_.partition("\n")[0]:
            assert "deadline" in {one.section for one in found.settings}, where
        if kind == "price":
            assert "target" in {one.section for one in found.settings}, where
        if kind == "the same":
            assert found.verdict == "equivalent", where
    assert count >= PAIRS * 100
    assert changed * 5 >= PAIRS or kind in ("name", "the same"), changed
