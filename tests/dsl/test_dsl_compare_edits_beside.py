"""Two policies one edit beside their conditions apart, against every request of a small world.

A tenant's tier or region, a client's model names, a provider of which everything may be asked,
salts and names of rules, priors, windows: here the two versions need not see one request alike, so
each request is a pair of snapshots.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import product

import pytest

from tests.dsl.chance import EXAMPLES
from tests.dsl.small_worlds import ALWAYS, TARGETS, Decided, Rule, Written, world, written
from turnout.dsl.compare import Comparison, compare
from turnout.dsl.core import Program
from turnout.dsl.destination import asked_name, asked_target
from turnout.dsl.prove import Prover
from turnout.dsl.readings import as_new, as_old
from turnout.dsl.snapshot import Snapshot

from .conftest import Language

pytestmark = pytest.mark.uncounted

PAIRS = max(8, EXAMPLES // 32)
GUARDED = "own/b"
HALVES = (0, 5_000)  # buckets; each stands for half of all

Seen = tuple[Snapshot, Snapshot]
Way = tuple[str | None, tuple[object, ...]]


class Side(Decided):
    """A version that refuses, as a gateway does, who asks for what it does not know."""

    def treated(self, seen: Snapshot) -> Way:
        """The rule that takes a request, and all that becomes of it."""
        if asked_name(self.program, seen) and asked_target(self.program, seen) is None:
            return None, ("unknown", seen["model"])
        return super().treated(seen)

    def comes(self, seen: Snapshot) -> tuple[bool, bool]:
        """Whether a request comes to what is guarded, and whether a copy of it does."""
        if self.treated(seen)[1][:1] == ("unknown",):
            return False, False
        is_tried = GUARDED in (target for target, _ in self.tried(seen))
        return is_tried, self.copied(seen) == GUARDED


def compared(old: Program, new: Program) -> Comparison:
    return compare(old, new, lambda *programs: Prover(*programs), [GUARDED])


def one_more_rule(policy: Written, test: str, to: str) -> None:
    policy.rules.insert(0, Rule("more", test, to))


# --- edits, and the requests of both versions ----------------------------------------------------


def tenants(chance: random.Random) -> str:
    rows = []
    for name in chance.sample(("acme", "initech"), chance.randint(0, 2)):
        tier = chance.choice(("", "tier: free", "tier: pro"))
        region = chance.choice(("", "region: eu", "region: us"))
        rows.append(f"{name}: {{{', '.join(filter(None, (tier, region)))}}}")
    return f"{{{', '.join(rows)}}}"


def of_tenants(policy: Written, chance: random.Random) -> None:
    policy.beside["tenants"] = tenants(chance)


def with_tiers(policy: Written, chance: random.Random) -> None:
    one_more_rule(policy, f'tier {chance.choice(("==", "!="))} "pro"', chance.choice(TARGETS))
    if chance.random() < 0.5:
        policy.limits.append('when: \'tenant.region == "eu"\', target: region == "eu"')
    of_tenants(policy, chance)


def as_tenants(old: Program, new: Program, seen: Snapshot) -> Iterator[Seen]:
    for tenant in ("acme", "initech", "default"):
        sides = []
        for program in (old, new):
            row = program.tenants.get(tenant)
            own = Snapshot({**seen, "tenant": tenant})
            if own["tier"] == "default" and row is not None and row.tier is not None:
                own["tier"] = row.tier
            own["tenant.region"] = None if row is None else row.region
            sides.append(own)
        yield sides[0], sides[1]


def models(chance: random.Random) -> str:
    names = chance.sample(("house", "cheap", "own/c"), chance.randint(0, 3))
    rows = (f"{name}: {chance.choice((*TARGETS, 'policy'))}" for name in names)
    return f"{{{', '.join(rows)}}}"


def of_models(policy: Written, chance: random.Random) -> None:
    policy.beside["models"] = models(chance)


def with_models(policy: Written, chance: random.Random) -> None:
    chance.choice(policy.rules).route = "requested"
    of_models(policy, chance)


def as_asked(old: Program, new: Program, seen: Snapshot) -> Iterator[Seen]:
    for model in ("auto", "house", "cheap", "local/any-model", *TARGETS):
        asked = Snapshot({**seen, "model": model})
        yield asked, asked


def of_providers(policy: Written, chance: random.Random) -> None:
    local = ', local: {kind: ollama, base_url: "https://local.example"}'
    policy.beside["providers"] = "" if policy.beside["providers"] else local


def with_providers(policy: Written, chance: random.Random) -> None:
    with_models(policy, chance)
    policy.beside["providers"] = ""
    if chance.random() < 0.5:
        of_providers(policy, chance)


def of_priors(policy: Written, chance: random.Random) -> None:
    p95 = chance.choice(("7s", "9s", "8001ms"))
    policy.facts["own/a"] = f", expected: {{p95: {p95}, output: {chance.choice((10, '1M'))}}}"


def with_priors(policy: Written, chance: random.Random) -> None:
    test = chance.choice(('p95("own/a") > 8s', 'cost("own/a") > $0.02', "p95 > 8s"))
    to = "requested" if test.startswith("p95 ") else chance.choice(TARGETS)
    one_more_rule(policy, test, to)
    of_priors(policy, chance)


def as_cold(old: Program, new: Program, seen: Snapshot) -> Iterator[Seen]:
    """Before there is any traffic: what the target declares stands in for its values."""
    for model in ("auto", "own/a"):
        sides = []
        for program in (old, new):
            prior = program.targets["own/a"].expected
            own = Snapshot({**seen, "model": model, "p95(own/a)": prior.p95_us})
            own["expected_output(own/a)"] = prior.output
            own["p95(requested)"] = prior.p95_us if model == "own/a" else None
            sides.append(own)
        yield sides[0], sides[1]


def of_windows(policy: Written, chance: random.Random) -> None:
    window = chance.choice(("1k", "8k", "100k"))
    policy.facts[chance.choice(TARGETS)] = f", context_window: {window}"


def alike(old: Program, new: Program, seen: Snapshot) -> Iterator[Seen]:
    yield seen, seen


Edit = Callable[[Written, random.Random], None]
Seers = Callable[[Program, Program, Snapshot], Iterator[Seen]]
EDITS: dict[str, tuple[Edit, Edit, Seers]] = {
    "tenants": (with_tiers, of_tenants, as_tenants),
    "models": (with_models, of_models, as_asked),
    "providers": (with_providers, of_providers, as_asked),
    "priors": (with_priors, of_priors, as_cold),
    "windows": (of_windows, of_windows, alike),
}


def pair(kind: str, seed: int, language: Language) -> tuple[str, str, list[Seen]]:
    """The first pair of a seed that differs and has a small world: old, new, and its requests."""
    chance = random.Random(f"{kind} {seed}")
    prepare, edit, seers = EDITS[kind]
    while True:
        policy = written(chance)
        prepare(policy, chance)
        changed = deepcopy(policy)
        edit(changed, chance)
        if changed.text() == policy.text():
            continue
        plain = deepcopy(policy)
        plain.beside = {"providers": ""}
        plain.facts = {}
        snapshots = world(language.compile(plain.text()))
        if snapshots:
            old, new = language.compile(policy.text()), language.compile(changed.text())
            seen = [both for one in snapshots for both in seers(old, new, one)]
            return policy.text(), changed.text(), seen


@pytest.mark.parametrize("kind", EDITS)
def test_the_verdict_on_an_edit_beside_the_rules_is_that_of_every_request(
    kind: str, language: Language
) -> None:
    verdicts: Counter[str] = Counter()
    for seed in range(PAIRS):
        was, is_, requests = pair(kind, seed, language)
        old, new = language.compile(was), language.compile(is_)
        found = compared(old, new)
        verdicts[found.verdict] += 1
        before, after = Side(old), Side(new)
        where = f"seed {seed}: {kind}\n{was}\n---\n{is_}\n---\n{found}\nmissed: "
        told = {(change.old, change.new) for change in found.changes}
        names = {change.witness["model"] for change in found.changes}
        is_sure = not found.open and not found.assumed
        newly: set[bool] = set()
        for one, other in requests:
            (old_rule, old_way), (new_rule, new_way) = before.treated(one), after.treated(other)
            if old_way == new_way:
                continue
            missed = f"{where}{one} {other}"
            if "unknown" in (old_way[0], new_way[0]):  # one request is shown of each name
                assert one["model"] in names, missed
            else:
                assert (old_rule, new_rule) in told or not is_sure, missed
            assert found.verdict not in ("equivalent", "settings_changed"), missed
            if not any(before.comes(one)):
                newly |= {bool(n) for n, comes in enumerate(after.comes(other)) if comes}
        assert newly <= {one.is_mirror for one in found.newly} or GUARDED in found.undecided, where
        for change in found.changes:
            ways = [
                side.treated(seen)
                for side, seen in (
                    (before, as_old(change.witness)),
                    (after, as_new(change.witness)),
                )
            ]
            assert [name for name, _ in ways] == [change.old, change.new], where
            assert ways[0][1] != ways[1][1], where
        for come in found.newly:
            assert come.witness is not None
            assert not any(before.comes(as_old(come.witness))), where
            assert after.comes(as_new(come.witness))[come.is_mirror], where
        if kind == "windows":
            assert found.verdict in ("settings_changed", "changed"), where
    assert len(verdicts) > 1 or kind in ("models", "providers", "windows"), verdicts


# --- draws ---------------------------------------------------------------------------------------


def drawn(chance: random.Random) -> Written:
    """A policy whose rules draw, some by their own names and some by each other's."""
    policy = written(chance, 3)
    policy.limits = []
    for rule in policy.rules[:3]:
        salt = chance.choice(("r0", "r1", "r2", "z", "*"))
        rule.condition = f'bucket.request("{salt}") {chance.choice(("<", ">="))} 5000'
        if chance.random() < 0.3:
            rule.route = "{split: {own/a: 50%, own/c: 50%}}"
    return policy


def redrawn(policy: Written, chance: random.Random) -> None:
    """Another name for a rule, another salt, or both."""
    rule = chance.choice(policy.rules)
    was, is_ = rule.name, chance.choice(("z", "y", "*"))
    if chance.random() < 0.7 and is_ != "*" and is_ not in (one.name for one in policy.rules):
        rule.name = is_
    if chance.random() < 0.7:
        for one in chance.choice(([rule], policy.rules)):
            one.condition = one.condition.replace(f'"{was}"', f'"{is_}"')


def outcomes(side: Side, seen: Snapshot) -> Counter[object]:
    """What becomes of a request, over all that may be drawn for it, in the order of magnitude."""
    keys = [key for key in side.program.slots if key.startswith("bucket.request(")]
    found: Counter[object] = Counter()
    for halves in product(HALVES, repeat=len(keys)):
        way = side.treated(Snapshot({**seen, **dict(zip(keys, halves, strict=True))}))[1]
        found[way] += 2 ** (8 - len(keys))
    return found


def is_guarded(way: object) -> bool:
    """Whether a request comes to what is guarded; no copies are sent here."""
    return isinstance(way, tuple) and f"'{GUARDED}'" in repr(way[0])


def test_what_is_equivalent_draws_alike_whatever_the_rules_are_called(language: Language) -> None:
    verdicts: Counter[str] = Counter()
    for seed in range(PAIRS * 4):
        chance = random.Random(f"draws {seed}")
        policy = drawn(chance)
        changed = deepcopy(policy)
        redrawn(changed, chance)
        old, new = language.compile(policy.text()), language.compile(changed.text())
        found = compared(old, new)
        verdicts[found.verdict] += 1
        before, after = Side(old), Side(new)
        usual = Snapshot({**ALWAYS, "tokens": 100, "time": 720, "weekday": 0})
        where = f"seed {seed}\n{policy.text()}\n---\n{changed.text()}\n---\n{found}"
        was, is_ = (outcomes(side, usual) for side in (before, after))
        if found.verdict == "equivalent":
            assert was == is_, where
        if any(map(is_guarded, is_)) and not any(map(is_guarded, was)):
            assert found.newly, where
        for change in found.changes:
            ways = [
                side.treated(seen)
                for side, seen in (
                    (before, as_old(change.witness)),
                    (after, as_new(change.witness)),
                )
            ]
            assert [name for name, _ in ways] == [change.old, change.new], where
            assert ways[0][1] != ways[1][1], where
    assert verdicts["equivalent"] and verdicts["changed"], verdicts
