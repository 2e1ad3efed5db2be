"""Policies by chance over small worlds: all the snapshots that their conditions can tell apart.

A policy draws its conditions from a few axes, such as the time of day or the cost of a target. Of
each key that it reads, `VALUES` holds a value for every class that any of these conditions (also
those that an edit makes of them) distinguishes: cuts with what lies next to them, unknown where it
may be. The product of them is the policy's world, and what holds on it holds of all requests. It is
the oracle of proofs: nothing here knows the solver.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from turnout.dsl.core import REQUESTED, Hop, Program, Slot, Term
from turnout.dsl.destination import Reached, asked_target, reached
from turnout.dsl.facts import PREFIX
from turnout.dsl.interpret.compiled import compile_program, compile_term
from turnout.dsl.interpret.traced import evaluate
from turnout.dsl.limits import Gate
from turnout.dsl.schema import Target, Type, Value
from turnout.dsl.snapshot import Snapshot
from turnout.dsl.walk import reads
from turnout.dsl.worlds import worlds

MOST = 2_500  # snapshots of a world; a policy with more is made again with fewer axes


@dataclass(frozen=True)
class Axis:
    """Conditions about one thing. `parts` are conditions of which exactly one is true of each
    request; `never` is true of none. `is_sure`: false where it is not true, never unknown."""

    atoms: tuple[str, ...]
    parts: tuple[str, ...]
    never: str
    keys: tuple[str, ...]
    is_sure: bool = True


AXES: dict[str, Axis] = {
    "tokens": Axis(
        (
            "tokens < 100",
            "tokens >= 1k",
            "tokens in 100..2k",
            "big",
            "not big",
            "tokens * 2 > 200",
            "max(tokens, 100) == 100",
        ),
        ("tokens < 100", "tokens in 100..2k", "big"),
        "tokens < 100 and tokens >= 1k",
        ("tokens",),
    ),
    "price": Axis(
        (
            'cost("own/a") < $0.01',
            'cost("own/a") >= $0.02',
            'cost("own/b") < $0.002',
            '(cost("own/b") ?? $1) >= $0.002',
        ),
        ('cost("own/a") < $0.01', 'cost("own/a") >= $0.01'),
        'cost("own/a") < $0.01 and tokens >= 2k',
        ("tokens", "expected_output(own/b)"),
    ),
    "tier": Axis(
        ('tier == "free"', 'tier != "free"', 'tier in ["pro", "default"]', 'tier != "pro"'),
        ('tier == "free"', 'tier == "pro"', 'tier == "default"'),
        'tier == "free" and tier == "pro"',
        ("tier",),
    ),
    "team": Axis(
        ('team == "search"', 'team != "ads"', "known(team)", '(team ?? "ads") == "ads"'),
        ('team == "search"', 'team == "ads"', "not known(team)"),
        'team == "ads" and not known(team)',
        ("team",),
        is_sure=False,
    ),
    "flags": Axis(
        ("has_tools", "not has_tools", "has_images", "not (has_tools and has_images)"),
        ("has_tools", "not has_tools and has_images", "not has_tools and not has_images"),
        "has_tools and not has_tools",
        ("has_tools", "has_images"),
    ),
    "limit": Axis(
        (
            "max_tokens > 500",
            "(max_tokens ?? 0) <= 500",
            "known(max_tokens)",
            "not (max_tokens > 500)",
        ),
        ("max_tokens > 500", "max_tokens <= 500", "not known(max_tokens)"),
        "(max_tokens ?? 0) > 500 and not known(max_tokens)",
        ("max_tokens",),
        is_sure=False,
    ),
    "clock": Axis(
        (
            "time in 22:00..06:00",
            "time in 06:00..09:00",
            "time < 09:00",
            "night",
            "not (time in 09:00..22:00)",
        ),
        ("night", "time in 06:00..22:00"),
        "night and time in 09:00..22:00",
        ("time",),
    ),
    "week": Axis(
        ("weekday in Fri..Mon", "weekday == Sun", "weekday not in Mon..Fri", "weekday != Tue"),
        ("weekday in Sat..Sun", "weekday in Mon..Fri"),
        "weekday == Sun and weekday in Mon..Fri",
        ("weekday",),
    ),
    "live": Axis(
        (
            'p95("own/a") > 8s',
            '(p95("own/a") ?? 0s) <= 8s',
            'error_rate("own/b") > 5%',
            'breaker("own/a") == "open"',
            'known(p95("own/a"))',
        ),
        ('p95("own/a") > 8s', 'p95("own/a") <= 8s', 'not known(p95("own/a"))'),
        'p95("own/a") > 8s and p95("own/a") < 8s',
        ("p95(own/a)", "error_rate(own/b)", "breaker(own/a)"),
        is_sure=False,
    ),
    "header": Axis(
        (
            'header["X-Team"] starts_with "a"',
            'header["X-Team"] ends_with "z"',
            'header["X-Team"] has "b"',
            'header["X-Team"] == "ab"',
            'known(header["X-Team"])',
        ),
        (
            'header["X-Team"] starts_with "a"',
            'known(header["X-Team"]) and not (header["X-Team"] starts_with "a")',
            'not known(header["X-Team"])',
        ),
        'header["X-Team"] == "ab" and header["X-Team"] ends_with "z"',
        ("header.x-team",),
        is_sure=False,
    ),
    "bucket": Axis(
        ('bucket("canary") < 500', 'bucket("canary") >= 5000'),
        ('bucket("canary") < 500', 'bucket("canary") >= 500'),
        'bucket("canary") < 500 and bucket("canary") >= 5000',
        ("bucket(canary)",),
    ),
    "tenant": Axis(
        ("tenant in vips", 'tenant == "acme"', 'tenant != "initech"'),
        ("tenant in vips", "tenant not in vips"),
        'tenant == "acme" and tenant not in vips',
        ("tenant",),
    ),
}
TARGETS = ("own/a", "own/b", "own/c")
# An output that makes `own/b` dearer than any prompt of `own/a`, and a limit that allows it.
_LONG = 1_000_000
VALUES: dict[str, tuple[Value | None, ...]] = {
    "tokens": (0, 99, 100, 101, 499, 500, 999, 1_000, 1_001, 1_999, 2_000, 2_001),
    "expected_output": (None, 0, 999, 1_000, 1_001, _LONG),
    "tier": ("free", "pro", "default"),
    "team": (None, "search", "ads"),
    "max_tokens": (None, 499, 500, 501, _LONG),
    "time": (0, 359, 360, 539, 540, 1_319, 1_320, 1_439),
    "weekday": (0, 1, 2, 3, 4, 5, 6),
    "p95": (None, 7_999_999, 8_000_000, 8_000_001, 9_000_001),
    "error_rate": (None, 499, 500, 501),
    "breaker": ("closed", "half_open", "open"),
    "header.x-team": (None, "", "a", "z", "b", "az", "ab", "abb", "bz", "abz"),
    "tenant": ("acme", "initech", "default"),
    "bucket": (0, 499, 500, 4_999, 5_000, 9_999),
    "usable": (None, False),
}
ALWAYS: dict[str, Value | None] = {
    "request_type": "chat",
    "model": "auto",
    "messages": 1,
    "n": 1,
    "tenant": "default",
    "tier": "default",
    "stream": False,
}


# --- policies ------------------------------------------------------------------------------------


@dataclass
class Rule:
    """A rule as the parts that an edit changes; `condition` empty: none."""

    name: str
    condition: str
    route: str
    options: dict[str, str] = field(default_factory=dict)

    def written(self) -> str:
        when = f"condition: '{self.condition}', " if self.condition else ""
        options = {} if "reject" in self.route else self.options
        rest = "".join(f", {key}: {value}" for key, value in options.items())
        return f"  - {{name: {self.name}, {when}route: {self.route}{rest}}}"


@dataclass
class Written:
    """A policy as the parts that an edit changes."""

    axes: tuple[str, ...]
    rules: list[Rule]
    chain: list[str]
    limits: list[str] = field(default_factory=list)
    invariants: list[str] = field(default_factory=list)
    lets: dict[str, str] = field(
        default_factory=lambda: {"big": "tokens >= 2k", "night": "time in 22:00..06:00"}
    )
    prices: dict[str, str] = field(
        default_factory=lambda: {
            "own/a": "input: $10/Mtok, output: $0/Mtok",
            "own/b": "input: $0/Mtok, output: $1/Mtok, request: $0.001",
            "own/c": "input: $0/Mtok, output: $0/Mtok, request: $0.005",
        }
    )
    deadline: str = "60s"
    beside: dict[str, str] = field(default_factory=dict)  # other sections, each in one line
    facts: dict[str, str] = field(default_factory=dict)  # more of a target, by its id

    def text(self) -> str:
        facts = [self.facts.get(name, "") for name in ("own/a", "own/b", "own/c")]
        more = self.beside.get("providers", "")
        lines = [
            f"deadline: {self.deadline}",
            *(f"{name}: {text}" for name, text in self.beside.items() if name != "providers"),
            "attributes: {tier: [free, pro], team: [search, ads]}",
            f"let: {{{', '.join(f'{name}: {test}' for name, test in self.lets.items())}}}",
            "lists: {vips: [acme, initech]}",
            f'providers: {{own: {{kind: openai, base_url: "https://own.example/v1"}}{more}}}',
            "targets:",
            f"  own/a: {{price: {{{self.prices['own/a']}}}, max_output: 4k, region: eu{facts[0]}}}",
            f"  own/b: {{price: {{{self.prices['own/b']}}}, max_output: 4k, region: us{facts[1]}}}",
            f"  own/c: {{price: {{{self.prices['own/c']}}}, max_output: 4k, region: eu,"
            f" vision: false{facts[2]}}}",
        ]
        if self.limits:
            lines.append("require:")
            lines += (f"  - {{name: l{n}, {limit}}}" for n, limit in enumerate(self.limits))
        lines += ["routing_policy:", *(rule.written() for rule in self.rules)]
        if self.chain:
            lines += ["fallback_chain:", *(f"  - {hop}" for hop in self.chain)]
        if self.invariants:
            lines.append("invariants:")
            lines += (f"  - {{name: i{n}, {test}}}" for n, test in enumerate(self.invariants))
        return "\n".join(lines) + "\n"


def condition(dice: random.Random, axes: Sequence[str], most: int = 3) -> str:
    """One to three atoms of these axes, by every connective."""
    atoms = [dice.choice(AXES[dice.choice(axes)].atoms) for _ in range(dice.randint(1, most))]
    match dice.randrange(5):
        case 0 if len(atoms) > 1:
            return f"({' or '.join(atoms)})"
        case 1 if len(atoms) > 2:
            return f"({atoms[0]} or {atoms[1]}) and {atoms[2]}"
        case 2:
            return f"not ({' and '.join(atoms)})"
        case 3 if len(atoms) > 1:
            return f"known({atoms[0]}) and {atoms[1]}"
        case _:
            return " and ".join(atoms)


def route(dice: random.Random) -> str:
    """A route of any form."""
    first, second = dice.sample(TARGETS, 2)
    forms = (
        f"{{split: {{{first}: {dice.choice(('5%', '50%'))}, {second}: REST}}, sticky: session}}",
        f"{{split: {{{first}: 50%, {second}: REST}}}}",
        f"{{first_of: [{first}, {second}]}}",
        f"{{first_of: [{first}, {second}], where: tokens < 1k}}",
        "{cheapest_of: [own/a, own/b]}",
        "{cheapest_of: [own/a, own/b], where: tokens < 2k}",
        "{fastest_of: [own/a, own/c], where: healthy}",
        "{reject: 413}",
        '{reject: 429, message: "no", retry_after: 1h}',
    )
    found = first if dice.random() < 0.6 else dice.choice(forms)
    share = re.search(r"(\d+)%", found)
    return found if share is None else found.replace("REST", f"{100 - int(share[1])}%")


def options(dice: random.Random, axes: Sequence[str], condition: str) -> dict[str, str]:
    """What a rule says besides, mostly nothing."""
    found: dict[str, str] = {}
    if dice.random() < 0.15:
        found["fallback"] = f"[{', '.join(hop(dice, axes) for _ in range(dice.randint(1, 2)))}]"
    if dice.random() < 0.1:
        found["set"] = "{max_tokens: 5}"
    if dice.random() < 0.1:
        found["mirror"] = f"{{to: {dice.choice(TARGETS)}, sample: 5%}}"
    if dice.random() < 0.1:
        found["timeout"] = "5s"
    if "p95" in condition and dice.random() < 0.5:
        found["hold"] = "2m"
    return found


def hop(dice: random.Random, axes: Sequence[str]) -> str:
    """A fallback, perhaps with a condition of its own."""
    when = f", when: '{condition(dice, axes, 2)}'" if dice.random() < 0.5 else ""
    return f"{{to: {dice.choice(TARGETS)}{when}}}"


def limit(dice: random.Random, axes: Sequence[str]) -> str:
    """A limit on the targets of some requests, or of all."""
    target = dice.choice(('region == "eu"', 'region != "eu"', "price_out < $1/Mtok"))
    when = f"when: '{condition(dice, axes, 1)}', " if dice.random() < 0.8 else ""
    return f"{when}target: {target}"


def written(dice: random.Random, most_rules: int = 4) -> Written:
    """A policy over a few axes."""
    axes = tuple(dice.sample(sorted(AXES), dice.randint(2, 3)))
    rules = []
    for number in range(dice.randint(2, most_rules)):
        test = condition(dice, axes)
        rules.append(Rule(f"r{number}", test, route(dice), options(dice, axes, test)))
    chain = [hop(dice, axes) for _ in range(dice.randint(0, 2))]
    limits = [limit(dice, axes) for _ in range(dice.choice((0, 0, 1, 1, 2)))]
    if dice.random() < 0.6:
        rules.append(Rule("default", "", dice.choice(TARGETS)))
    return Written(axes, rules, chain, limits)


# --- their worlds --------------------------------------------------------------------------------


def values_of(slot: Slot) -> tuple[Value | None, ...]:
    """A value of a key for each class that conditions tell apart."""
    name = slot.attribute.name
    for known in (slot.key, name, name.partition(".")[0]):
        if known in VALUES:
            return VALUES[known]
    if name == "request_type":
        return ("chat",)
    match slot.attribute.type:
        case Type.BOOL:
            return (False, True) if slot.attribute.always_known else (None, False, True)
    raise AssertionError(f"what are the classes of `{slot.key}`?")


def with_all_slots(program: Program) -> Program:
    """The program with slots also for what only its invariants read: no gateway needs these."""
    slots = dict(program.slots)
    for key in reads([invariant.test for invariant in program.invariants]):
        name, _, argument = key.partition("(")
        attribute = program.schema.attributes.get("header" if key.startswith("header.") else name)
        if key not in slots and attribute is not None and not key.startswith(PREFIX):
            slots[key] = Slot(key, attribute, argument.removesuffix(")") or None)
    return replace(program, slots=slots)


def world(*programs: Program, same: Mapping[str, str] | None = None) -> list[Snapshot] | None:
    """Every snapshot of a gateway that the programs tell apart; None of too many.

    `same`: keys whose value is always that of another key.
    """
    programs = tuple(map(with_all_slots, programs))
    slots = {key: slot for program in programs for key, slot in program.slots.items()}
    same = {key: other for key, other in (same or {}).items() if key in slots and other in slots}
    free = [key for key in slots if key not in same]
    rows = [values_of(slots[key]) for key in free]
    if "model" not in free and any(map(_asks, programs)):
        free, rows = [*free, "model"], [*rows, ("auto", *TARGETS)]
    size = 1
    for row in rows:
        size *= len(row)
    if size > MOST:
        return None
    holds = [compile_term(term) for program in programs for term in worlds(program)]
    found = []
    for row in product(*rows):
        seen = Snapshot({**ALWAYS, **dict(zip(free, row, strict=True))})
        seen |= {key: seen[other] for key, other in same.items()}
        if all(test(seen) is True for test in holds):
            found.append(seen)
    return found


def _asks(program: Program) -> bool:
    """Whether some rule goes to what was asked for."""
    routes = (clause.plan.route for clause in program.clauses)
    return any(isinstance(route, Hop) and route.target == REQUESTED for route in routes)


def made(
    seed: int, make: Callable[[random.Random], Written], compile: Callable[[str], Program]
) -> tuple[Written, Program, list[Snapshot]]:
    """The first policy of a seed whose world is small enough, and its world."""
    dice = random.Random(seed)
    while True:
        policy = make(dice)
        program = compile(policy.text())
        snapshots = world(program)
        if snapshots:
            return policy, program, snapshots


class Decided:
    """A program on snapshots: the compiled decision, and what `destination` says of it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._index = compile_program(program)
        self._gate = Gate(program)
        self._compiled: dict[int, tuple[Term, Callable[[Snapshot], Value | None]]] = {}

    def clause(self, seen: Snapshot) -> int | None:
        """The index of the rule that takes a request."""
        index = self._index(seen)
        return None if index < 0 else index

    def name(self, seen: Snapshot) -> str | None:
        """Its name."""
        index = self.clause(seen)
        return None if index is None else self.program.clauses[index].name

    def value(self, term: Term, seen: Snapshot) -> Value | None:
        """The value of a term, which is compiled once."""
        if id(term) not in self._compiled:
            self._compiled[id(term)] = term, compile_term(term)
        return self._compiled[id(term)][1](seen)

    def reached(self, seen: Snapshot) -> Reached:
        """Where a request goes."""
        return reached(
            self.program, self.clause(seen), seen, lambda term: self.value(term, seen), self._gate
        )

    def tried(self, seen: Snapshot) -> list[tuple[str, Hop]]:
        """The targets that are tried one after the other, if each fails, each with its hop."""
        return list(self._tried(self.reached(seen), seen))

    def _tried(self, led: Reached, seen: Snapshot) -> Iterator[tuple[str, Hop]]:
        met: list[Target] = []
        for one in () if led.reject is not None else led.found.hops:
            asked = asked_target(self.program, seen) if one.target == REQUESTED else None
            target = self.program.targets.get(one.target) or asked
            if target is None or target in met:
                continue
            met.append(target)
            is_open = one.when is None or self.value(one.when, seen) is True
            is_other = seen["request_type"] == "embeddings" and target.model != met[0].model
            if is_open and not is_other and target.id not in led.found.limits:
                yield target.id, one

    def copied(self, seen: Snapshot) -> str | None:
        """The target of the copy, if one is sent."""
        return self._copied(self.reached(seen))

    def _copied(self, led: Reached) -> str | None:
        mirror = None if led.reject is not None else led.found.mirror
        return None if mirror is None or mirror.target in led.found.limits else mirror.target

    def treated(self, seen: Snapshot) -> tuple[str | None, tuple[object, ...]]:
        """The rule that takes a request, and all that becomes of it."""
        led = self.reached(seen)
        name = self.name(seen)
        clause = None if led.clause is None else self.program.clauses[led.clause]
        held = tuple(
            sorted(
                (evaluate(latch.test, {}).text, latch.hold_us)
                for latch in self.program.latches
                if clause is not None and latch.key.startswith(f"held({clause.name}:")
            )
        )
        if led.reject is not None:
            message = led.reject.message.replace(f"`{name}`", "it")
            return name, ("reject", led.reject.status, message, led.reject.retry_after_us, held)
        tried = tuple(
            (target, one.clocks, one.retries, one.catch, one.backoff_us)
            for target, one in self._tried(led, seen)
        )
        sets = () if clause is None else tuple(sorted(clause.plan.sets.items()))
        return name, (tried, self._copy(led), sets, held)

    def _copy(self, led: Reached) -> tuple[object, ...]:
        mirror = led.found.mirror
        if mirror is None or self._copied(led) is None:
            return ()
        return mirror.target, mirror.clocks, mirror.retries, mirror.catch, mirror.backoff_us
