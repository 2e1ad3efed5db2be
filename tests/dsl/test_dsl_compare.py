"""The verdict of a comparison against every snapshot of a small world, pair after pair by chance.

The world: what the conditions of these policies can tell apart, and nothing else. What becomes of
a request is worked out here anew from `reached`, by the rules of the language's page.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from itertools import product

import pytest

from tests.dsl.chance import EXAMPLES
from turnout.dsl.compare import Comparison, compare
from turnout.dsl.core import Program
from turnout.dsl.destination import asked_target, reached
from turnout.dsl.interpret.traced import evaluate, trace
from turnout.dsl.prove import Prover
from turnout.dsl.schema import Value
from turnout.dsl.snapshot import Snapshot

from .conftest import Language

PAIRS = max(20, EXAMPLES // 4)

TARGETS = ("openai/gpt-4", "openai/gpt-4o", "groq/llama-3-8b", "groq/llama-3-70b")
HEAD = """attributes: {tier: [free, pro]}
require:
  - {name: no_images_there, when: has_images, target: provider == "openai"}
"""
ATOMS = (
    "tokens < 100",
    "tokens >= 500",
    "tokens in 100..500",
    'tier == "free"',
    'tier != "free"',
    'tier in ["free", "pro"]',
    "has_images",
    "not has_images",
    'team == "search"',
    "known(team)",
    'p95("openai/gpt-4o") > 8s',
    'p95("openai/gpt-4o") ?? 0s > 8s',
)
WORLD: dict[str, tuple[Value | None, ...]] = {
    "tokens": (0, 99, 100, 499, 500, 501),
    "tier": ("free", "pro", "default"),
    "has_images": (False, True),
    "team": (None, "search", "ads"),
    "p95(openai/gpt-4o)": (None, 8_000_000, 8_000_001),
    "bucket": (0, 4_999, 5_000, 9_999),
}


class Written:
    """A policy as the parts that an edit changes."""

    def __init__(self, chance: random.Random) -> None:
        self.rules = [
            {"name": f"r{n}", "condition": condition(chance), "route": route(chance), "rest": ""}
            for n in range(chance.randint(2, 5))
        ]
        if chance.random() < 0.7:
            self.rules.append(
                {"name": "last", "condition": "", "route": "openai/gpt-4", "rest": ""}
            )
        self.chain = chance.sample(TARGETS, chance.randint(0, 2))

    def text(self) -> str:
        lines = [HEAD, "routing_policy:"]
        for rule in self.rules:
            when = f"condition: '{rule['condition']}', " if rule["condition"] else ""
            rest = "" if rule["route"].startswith("{reject") else rule["rest"]
            lines.append(f"  - {{name: {rule['name']}, {when}route: {rule['route']}{rest}}}")
        if self.chain:
            lines.append(f"fallback_chain: [{', '.join(self.chain)}]")
        return "\n".join(lines) + "\n"


def condition(chance: random.Random) -> str:
    atoms = chance.sample(ATOMS, chance.randint(1, 3))
    text = atoms[0]
    for atom in atoms[1:]:
        text += f" {chance.choice(('and', 'or'))} {atom}"
    return text


def route(chance: random.Random) -> str:
    first, second = chance.sample(TARGETS, 2)
    return chance.choice(
        (
            first,
            first,
            f"{{split: {{{first}: 50%, {second}: 50%}}, sticky: session}}",
            f"{{first_of: [{first}, {second}]}}",
            "{reject: 429}",
        )
    )


def edited(written: Written, chance: random.Random) -> None:
    """One change of a policy, mostly one that matters."""
    rule = chance.choice(written.rules)
    match chance.randrange(9):
        case 0:
            rule["condition"] = condition(chance)
        case 1:
            rule["route"] = route(chance)
        case 2 if len(written.rules) > 2:
            written.rules.remove(rule)
        case 3:
            chance.shuffle(written.rules)
        case 4:
            rule["name"] = "renamed"
        case 5:
            written.chain = chance.sample(TARGETS, chance.randint(0, 2))
        case 6:
            rule["rest"] = ", timeout: 7s"
        case 7:
            rule["condition"] = rule["condition"].replace("tokens < 100", "tokens <= 99")
        case _:
            others = [target for target in TARGETS if target not in rule["route"]]
            rule["rest"] = f", fallback: [{chance.choice(others)}]"


def snapshots(buckets: list[str]) -> Iterator[Snapshot]:
    """Everything there is in the small world."""
    keys = [key for key in WORLD if key != "bucket"]
    for values in product(*(WORLD[key] for key in keys)):
        for bucket in WORLD["bucket"] if buckets else (0,):
            seen = Snapshot({k: v for k, v in zip(keys, values, strict=True) if v is not None})
            seen |= {"request_type": "chat", "model": "auto", "n": 1, "tenant": "default"}
            seen |= dict.fromkeys(buckets, bucket)
            yield seen


def treated(program: Program, seen: Mapping[str, Value | None]) -> tuple[str | None, object]:
    """The rule that takes a request, and what becomes of it."""
    index = trace(program, seen).clause
    led = reached(program, index, seen)
    name = None if index is None else program.clauses[index].name
    if led.reject is not None:
        message = led.reject.message.replace(f"`{name}`", "it")
        return name, ("reject", led.reject.status, message)
    met: set[str] = set()
    tried: list[object] = []
    for hop in led.found.hops:
        target = program.targets.get(hop.target) or asked_target(program, seen)
        if target is None or target.id in met:
            continue
        met.add(target.id)
        is_open = hop.when is None or evaluate(hop.when, seen).value is True
        if is_open and target.id not in led.found.limits:
            tried.append((target.id, hop.clocks, hop.retries, hop.catch, hop.backoff_us))
    return name, tuple(tried)


def compared(old: Program, new: Program) -> Comparison:
    return compare(old, new, lambda *programs: Prover(*programs))


@pytest.mark.uncounted
@pytest.mark.parametrize("seed", range(PAIRS))
def test_the_verdict_on_an_edit_agrees_with_every_snapshot_of_a_small_world(
    seed: int, language: Language
) -> None:
    chance = random.Random(seed)
    written = Written(chance)
    old = language.compile(written.text())
    edited(written, chance)
    new = language.compile(written.text())
    found = compared(old, new)
    buckets = sorted(k for k in {**old.slots, **new.slots} if k.startswith("bucket("))
    pairs = set()
    for seen in snapshots(buckets):
        (old_rule, before), (new_rule, after) = treated(old, seen), treated(new, seen)
        if before != after:
            pairs.add((old_rule, new_rule))
    told = {(change.old, change.new) for change in found.changes}
    assert not found.open
    assert pairs <= told, written.text()
    assert (found.verdict == "changed") == bool(told)
    for change in found.changes:
        (old_rule, before), (new_rule, after) = (
            treated(old, change.witness),
            treated(new, change.witness),
        )
        assert (old_rule, new_rule) == (change.old, change.new)
        assert before != after
        assert change.differs


def test_a_policy_is_equivalent_to_itself_without_any_search(language: Language) -> None:
    program = language.compile(language.one_rule("tokens < 100"))

    def never(*programs: Program) -> Prover:
        raise AssertionError("nothing is to be proved")

    assert compare(program, program, never).verdict == "equivalent"


EQUIVALENT = (
    ("tokens < 100", "tokens <= 99"),
    ("tokens < 100", "100 > tokens and tokens >= 0"),
    ('tier == "pro" and tokens < 100', 'tokens < 100 and tier == "pro"'),
    ('tier == "free"', 'not (tier != "free")'),
    ('team == "a" or team != "a"', "known(team)"),
    ("weekday in Mon..Fri", "not (weekday in Sat..Sun)"),
)


@pytest.mark.parametrize(("before", "after"), EQUIVALENT)
def test_conditions_that_are_written_otherwise_are_proved_to_mean_the_same(
    before: str, after: str, language: Language
) -> None:
    old, new = (language.compile(language.one_rule(text)) for text in (before, after))
    found = compared(old, new)
    assert found.verdict == "equivalent"


CHANGED: tuple[tuple[str, str, dict[str, Value | None]], ...] = (
    # condition before, condition after, a witness has this
    ("tokens < 100", "tokens < 101", {"tokens": 100}),
    ("tokens < 100", "tokens <= 100", {"tokens": 100}),
    ('team != "a"', 'not (team == "a") or not known(team)', {"team": None}),
    ('tier == "pro"', 'tier != "free"', {}),
)


@pytest.mark.parametrize(("before", "after", "has"), CHANGED)
def test_a_change_of_a_condition_comes_with_a_request_that_moves(
    before: str, after: str, has: dict[str, Value | None], language: Language
) -> None:
    old, new = (language.compile(language.one_rule(text)) for text in (before, after))
    (change,) = compared(old, new).changes
    assert {key: change.witness[key] for key in has} == has
    assert change.differs[0] == "target"


def changed_rule(language: Language, old: str, new: str, head: str = "") -> Comparison:
    """One policy with two ways to write its first rule."""
    rest = "  - {name: default, route: openai/gpt-4o}\n"
    texts = (f"{head}\nrouting_policy:\n  - {rule}\n{rest}" for rule in (old, new))
    return compared(*(language.compile(text) for text in texts))


ASPECTS = (
    ("route: openai/gpt-4", "route: groq/llama-3-8b", "target"),
    ("route: openai/gpt-4", "route: {reject: 413}", "reject"),
    ("route: {reject: 413}", "route: {reject: 429}", "reject"),
    ("route: openai/gpt-4", "route: openai/gpt-4, fallback: [openai/gpt-4o]", "fallback"),
    ("route: openai/gpt-4", "route: openai/gpt-4, set: {max_tokens: 5}", "set"),
    ("route: openai/gpt-4", "route: openai/gpt-4, retries: 0", "clocks"),
    ("route: openai/gpt-4", "route: openai/gpt-4, timeout: 5s", "clocks"),
    (
        "route: openai/gpt-4, mirror: {to: groq/llama-3-8b, sample: 5%}",
        "route: openai/gpt-4, mirror: {to: groq/llama-3-8b, sample: 6%}",
        "mirror",
    ),
    (
        'route: openai/gpt-4, hold: 2m, condition: p95("openai/gpt-4") > 8s',
        'route: openai/gpt-4, hold: 3m, condition: p95("openai/gpt-4") > 8s',
        "hold",
    ),
)


@pytest.mark.parametrize(("old", "new", "aspect"), ASPECTS, ids=lambda text: text[-24:])
def test_what_differs_is_named(old: str, new: str, aspect: str, language: Language) -> None:
    condition = "" if "condition" in old else "condition: tokens < 100, "
    found = changed_rule(
        language, f"{{name: first, {condition}{old}}}", f"{{name: first, {condition}{new}}}"
    )
    (change,) = found.changes
    assert change.differs == (aspect,)
    assert (change.old, change.new) == ("first", "first")


RENAMES: tuple[tuple[str, Callable[[Comparison], bool]], ...] = (
    ("route: openai/gpt-4", lambda found: found.verdict == "equivalent"),
    ("route: {reject: 413}", lambda found: found.verdict == "equivalent"),
    (
        "route: openai/gpt-4, mirror: {to: groq/llama-3-8b, sample: 5%}",
        lambda found: found.verdict == "equivalent",
    ),
    (
        "route: {split: {openai/gpt-4: 5%, groq/llama-3-8b: 95%}}",
        lambda found: found.verdict == "equivalent",
    ),
    (
        "route: {split: {openai/gpt-4: 5%, groq/llama-3-8b: 95%}, sticky: session}",
        lambda found: found.moving_arms == (("was", "is"),) and found.verdict == "changed",
    ),
)


@pytest.mark.parametrize(("route", "is_right"), RENAMES, ids=[route for route, _ in RENAMES])
def test_a_rule_under_another_name_is_a_rename_and_moves_only_the_arms_that_sessions_keep(
    route: str, is_right: Callable[[Comparison], bool], language: Language
) -> None:
    rule = "{name: NAME, condition: tokens < 100, ROUTE}".replace("ROUTE", route)
    found = changed_rule(language, rule.replace("NAME", "was"), rule.replace("NAME", "is"))
    assert found.renamed == (("was", "is"),)
    assert not found.added and not found.removed
    assert is_right(found)


def test_what_a_held_rule_holds_is_the_same_under_another_name(language: Language) -> None:
    rule = '{name: NAME, condition: p95("openai/gpt-4") > 8s, hold: 2m, route: groq/llama-3-8b}'
    found = changed_rule(language, rule.replace("NAME", "was"), rule.replace("NAME", "is"))
    assert found.verdict == "equivalent"


def test_a_witness_says_in_which_bucket_it_is(language: Language) -> None:
    split = "{name: first, route: {split: {openai/gpt-4: 5%, openai/gpt-4o: 95%}, sticky: session}}"
    found = changed_rule(language, "{name: first, route: groq/llama-3-8b}", split)
    change = found.changes[0]
    assert change.after.target in ("openai/gpt-4", "openai/gpt-4o")
    assert isinstance(change.witness["bucket(first)"], int)


def test_a_limit_that_goes_is_found_in_the_rules_that_it_filtered(language: Language) -> None:
    limit = 'require: [{name: l, when: has_images, target: provider == "openai"}]'
    text = "routing_policy:\n  - {name: all, route: groq/llama-3-8b}\n"
    found = compared(language.compile(f"{limit}\n{text}"), language.compile(text))
    change = next(change for change in found.changes if change.new == "all")
    assert change.witness["has_images"] is True
    assert (change.before.target, change.after.target) == (None, "groq/llama-3-8b")


def test_what_cannot_be_compared_by_conditions_is_never_equivalent(language: Language) -> None:
    text = language.one_rule("time < 09:00")
    old, new = (language.compile(f"timezone: {zone}\n{text}") for zone in ("UTC", "Europe/Berlin"))
    found = compared(old, new)
    assert found.verdict == "not_decided"
    assert "Europe/Berlin" in found.assumed[0]
    assert [(one.section, one.before, one.after) for one in found.settings] == [
        ("timezone", "UTC", "Europe/Berlin")
    ]


def test_a_client_name_that_stands_for_another_target_moves_those_who_ask_for_it(
    language: Language,
) -> None:
    text = "routing_policy:\n  - {name: all, route: requested}\n"
    old, new = (
        language.compile(f"models: {{house: {to}}}\n{text}")
        for to in ("openai/gpt-4", "groq/llama-3-8b")
    )
    found = compared(old, new)
    change = next(change for change in found.changes if change.new == "all")
    assert change.witness["model"] == "house"
    assert (change.before.target, change.after.target) == ("openai/gpt-4", "groq/llama-3-8b")


def test_no_example_asks_for_a_model_that_nobody_knows(language: Language) -> None:
    # Embeddings that no rule takes go where they ask to; who asks for nothing known is refused.
    head = """providers: {own: {kind: openai, base_url: "https://own.example/v1"}}
targets:
  own/b: {price: {input: $0/Mtok, output: $1/Mtok}, max_output: 4k}
  own/c: {price: {input: $0/Mtok, output: $0/Mtok}, max_output: 4k}
"""
    rest = "routing_policy: [{name: all, route: own/b}]\nfallback_chain: [own/c, own/b]\n"
    limit = "require: [{name: l, target: price_out < $1/Mtok}]\n"
    old, new = language.compile(head + rest), language.compile(head + limit + rest)
    for change in compared(old, new).changes:
        for program in (old, new):
            assert treated(program, change.witness)[0] == change.old
            led = reached(program, trace(program, change.witness).clause, change.witness)
            assert led.unknown_model is None
        assert treated(old, change.witness)[1] != treated(new, change.witness)[1]


def test_one_pair_is_left_open_once(language: Language) -> None:
    limits = ('region == "eu"', "price_out < $1/Mtok")
    rest = "routing_policy: [{name: all, route: groq/llama-3-8b}]\n"
    texts = (f"require: [{{name: l, target: '{limit}'}}]\n{rest}" for limit in limits)
    found = compared(*(language.compile(text) for text in texts))
    assert len({*found.open}) == len(found.open)


PROTECTED = (
    ("openai/*", "route: openai/gpt-4", "openai/gpt-4"),
    ("openai/gpt-4", "route: groq/llama-3-70b, fallback: [openai/gpt-4]", "openai/gpt-4"),
    ("groq/llama-3-70b", "route: groq/llama-3-8b", None),
    (
        "openai/*",
        "route: groq/llama-3-8b, mirror: {to: openai/gpt-4, sample: 5%}",
        "openai/gpt-4",
    ),
)


@pytest.mark.parametrize(("glob", "route", "newly"), PROTECTED)
def test_a_request_that_newly_comes_to_a_protected_target_is_found(
    glob: str, route: str, newly: str | None, language: Language
) -> None:
    texts = (
        f"routing_policy:\n  - {{name: all, {one}}}\n" for one in ("route: groq/llama-3-8b", route)
    )
    old, new = (language.compile(text) for text in texts)
    found = compare(old, new, lambda *programs: Prover(*programs), [glob])
    assert [one.target for one in found.newly] == ([] if newly is None else [newly])


def test_a_target_that_a_request_could_come_to_before_is_not_new(language: Language) -> None:
    old = language.compile(
        "routing_policy:\n  - {name: a, route: groq/llama-3-8b}\nfallback_chain: [openai/gpt-4]\n"
    )
    new = language.compile("routing_policy:\n  - {name: a, route: openai/gpt-4}\n")
    found = compare(old, new, lambda *programs: Prover(*programs), ["openai/*"])
    assert found.verdict == "changed"
    assert not found.newly


def test_without_time_nothing_is_said_to_be_equivalent(language: Language) -> None:
    old, new = (
        language.compile(language.one_rule(text)) for text in ("tokens < 100", "tokens <= 99")
    )
    found = compare(old, new, lambda *programs: Prover(*programs, time_left=lambda: 0.0))
    assert found.verdict == "not_decided"
    assert {one.reason for one in found.open} == {"time"}
