"""What terms and plans mean, as values to compare: without places, without names of `let`.

Two terms with one meaning are evaluated alike on every snapshot; the opposite does not hold, that
takes a proof. The order of conjunctions is no part of a meaning, nor is the name of a rule where it
is the salt of something drawn anew for every request.
"""

from collections import Counter
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from .asked import Asked
from .core import (
    REQUESTED,
    And,
    Arithmetic,
    CeilDiv,
    Choice,
    Clause,
    Coalesce,
    Compare,
    Const,
    Hop,
    If,
    Known,
    Latch,
    Limit,
    Member,
    Named,
    Not,
    Or,
    Program,
    Read,
    Reject,
    Route,
    Split,
    Switch,
    Term,
    TextTest,
)
from .destination import following
from .walk import children, leaves_first, plan_terms, program_terms, reads, with_children

Meaning = Hashable
# The keys that carry a rule's name and mean the same under another, without the name.
_DRAWS = (("bucket.request(", ")"), ("bucket.request(", ".mirror)"))
_HELD = "held("


class Meanings:
    """Numbers for the meanings of terms, and one term for each meaning.

    Terms of two programs that mean the same come out as the same object, so that whoever builds
    something of terms builds it once.
    """

    def __init__(self) -> None:
        """Know no term yet."""
        self._numbers: dict[Meaning, int] = {}
        self._terms: list[Term] = []
        self._seen: dict[tuple[int, int], int] = {}
        self._alive: list[object] = []  # their ids are keys

    def number(self, root: Term, renamed: Mapping[str, str] | None = None) -> int:
        """The number of a term's meaning; `renamed` are keys that are read under another name."""
        space = 0 if not renamed else id(renamed)
        if (space, id(root)) in self._seen:
            return self._seen[space, id(root)]
        self._alive += [root, renamed]
        for term in leaves_first([root]):
            if (space, id(term)) not in self._seen:
                below = [self._seen[space, id(child)] for child in children(term)]
                self._seen[space, id(term)] = self._of(term, below, renamed or {})
        return self._seen[space, id(root)]

    def term(self, root: Term, renamed: Mapping[str, str] | None = None) -> Term:
        """The one term for the meaning of this one."""
        return self._terms[self.number(root, renamed)]

    def _of(self, term: Term, below: list[int], renamed: Mapping[str, str]) -> int:
        if isinstance(term, Named):
            return below[0]
        meaning = _shape(term, below, renamed)
        if meaning not in self._numbers:
            self._numbers[meaning] = len(self._terms)
            if isinstance(term, Read):
                name = renamed.get(term.key, term.key)
                term = term if name == term.key else Read(name, term.type, term.span)
            self._terms.append(with_children(term, tuple(self._terms[n] for n in below)))
        return self._numbers[meaning]


def _shape(term: Term, below: list[int], renamed: Mapping[str, str]) -> Meaning:
    match term:
        case Const(value, type_):
            return "const", type_, isinstance(value, bool), value
        case Read(key):
            return "read", renamed.get(key, key)
        case And() | Or():
            return type(term), frozenset(below)
        case Compare(operator) | Arithmetic(operator):
            return type(term), operator, *below
        case Member(_, values):
            return Member, values, *below
        case TextTest(kind, _, text):
            return TextTest, kind, text, *below
        case CeilDiv(_, divisor):
            return CeilDiv, divisor, *below
        case Switch(_, cases):
            keys = ((isinstance(key, bool), key) for key, _ in cases)
            return Switch, below[0], tuple(zip(keys, below[1:], strict=True))
        case Not() | Known() | Coalesce() | If() | Named():
            return type(term), *below


def as_written(root: Term) -> Meaning:
    """What a term means, with the order in which it is evaluated."""
    numbers: dict[int, int] = {}
    found: list[Meaning] = []
    for term in leaves_first([root]):
        below = [numbers[id(child)] for child in children(term)]
        if isinstance(term, Named):
            numbers[id(term)] = below[0]
            continue
        numbers[id(term)] = len(found)
        is_joined = isinstance(term, And | Or)
        found.append((type(term), *below) if is_joined else _shape(term, below, {}))
    return tuple(found)


def of_own_salts(
    clause: Clause, others: Container[str] = (), latches: Iterable[Latch] = ()
) -> dict[str, str]:
    """The keys that carry a rule's name and mean the same under another: draws, and what is held.

    Each with a name that no key has and all rules share. The buckets of sessions, users and tenants
    are not among them: who is in which changes. Nor are `others`, which more than this rule reads:
    under another name they would no longer be what the other reads. What is held means the same
    only where it is held as long after the same: so say the `latches`.
    """
    holds = {latch.key: _held_as(latch) for latch in latches}
    found = {f"{head}{clause.name}{end}": f"own {head}{end}" for head, end in _DRAWS}
    held = f"{_HELD}{clause.name}:"
    read = dict.fromkeys((*clause.reads, *reads(plan_terms(clause.plan))))
    found |= {
        key: f"own {_HELD}{key.removeprefix(held)}{holds.get(key, '')}"
        for key in read
        if key.startswith(held)
    }
    return {key: found[key] for key in read if key in found and key not in others}


def _held_as(latch: Latch) -> str:
    return f" for {latch.hold_us} after {as_written(latch.test)}"


def held_otherwise(old: Program, new: Program) -> Iterator[str]:
    """The keys of what both hold, though not as long, or after something else."""
    before = {latch.key: _held_as(latch) for latch in old.latches}
    for latch in new.latches:
        if latch.key in before and before[latch.key] != _held_as(latch):
            yield latch.key


def shared_salts(*programs: Program) -> frozenset[str]:
    """The keys that are not some rule's own alone, in one of these programs."""
    found: set[str] = set()
    for program in programs:
        beside = replace(program, clauses=())
        readers = Counter(reads(program_terms(beside)))
        own: set[str] = set()
        for clause in program.clauses:
            own |= {*of_own_salts(clause)}
            readers.update({*clause.reads, *reads(plan_terms(clause.plan))})
        found |= {key for key in readers if key not in own or readers[key] > 1}
    return frozenset(found)


class Plans:
    """The meanings of a program's plans."""

    def __init__(self, program: Program, meanings: Meanings, renamed: Mapping[str, str]) -> None:
        """Take a program, and the keys that are read under another name."""
        self._program = program
        self._meanings = meanings
        self._renamed = renamed
        self._held: dict[str, list[Meaning]] = {}
        for latch in program.latches:
            rule = latch.key.removeprefix("held(").rpartition(":")[0]
            self._held.setdefault(rule, []).append((self._of(latch.test), latch.hold_us))

    def of(self, clause: Clause | None) -> Meaning:
        """What becomes of a request, as far as the plan says; None: where no rule matches."""
        if clause is None:
            chain = tuple(map(self._hop, self._program.chain))
            return None, self._hop(self._program.requested), chain
        plan = clause.plan
        route = self._route(plan.route, clause.name)
        held = tuple(self._held.get(clause.name, ()))
        if isinstance(plan.route, Reject):
            return route, held
        mirror = None
        if plan.mirror is not None:
            mirror = self._hop(plan.mirror.hop), self._of(plan.mirror.sampled)
        rest = tuple(map(self._hop, following(self._program, plan)))
        return route, rest, sets_of(plan.sets), mirror, held

    def held(self, clause: Clause) -> tuple[Meaning, ...]:
        """What a rule holds, and for how long."""
        return tuple(self._held.get(clause.name, ()))

    def limit(self, limit: Limit) -> Meaning:
        """A limit as it is for one target."""
        when = None if limit.when is None else self._of(limit.when)
        return when, self._of(limit.target)

    @cached_property
    def _asked(self) -> Meaning:
        """What the names of a client stand for."""
        asked = Asked(self._program)
        models = ((id, row.model) for id, row in asked.targets.items())
        return frozenset(self._program.models.items()), frozenset(models)

    def _of(self, term: Term | None) -> int | None:
        return None if term is None else self._meanings.number(term, self._renamed)

    def _route(self, route: Route, rule: str) -> Meaning:
        match route:
            case Hop():
                return self._hop(route)
            case Choice(form, candidates):
                parts = (
                    (
                        self._hop(one.hop),
                        self._of(one.fits),
                        self._of(one.where),
                        self._of(one.rank),
                    )
                    for one in candidates
                )
                return form, *parts
            case Split(bucket, arms):
                return (
                    "split",
                    self._of(bucket),
                    *((self._hop(arm.hop), self._of(arm.upto)) for arm in arms),
                )
            case Reject():
                return "reject", *refusal(route, rule)

    def _hop(self, hop: Hop) -> Meaning:
        if hop.target == REQUESTED:
            return REQUESTED, self._asked, options(hop), self._of(hop.when)
        target = self._program.targets.get(hop.target)
        model = None if target is None else target.model
        return hop.target, model, options(hop), self._of(hop.when)


def options(hop: Hop) -> Meaning:
    """How a hop is tried: its clocks, retries, and the faults of its `catch`."""
    return hop.clocks, hop.retries, hop.catch, hop.backoff_us


def refusal(reject: Reject, rule: str) -> tuple[int, str | None, int | None]:
    """What a client is told; None where the message only names the rule."""
    is_plain = reject.message == f"the rule `{rule}` refuses this request"
    return reject.status, None if is_plain else reject.message, reject.retry_after_us


def sets_of(sets: Mapping[str, bool | int | float | str]) -> Meaning:
    """The values that are written over the client's."""
    return frozenset((name, type(value), value) for name, value in sets.items())
