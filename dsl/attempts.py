"""What is sent for a request, as terms: each hop with when it is tried, the copy, the embedding.

`paths` says in which order targets stand; here are those left out that the gateway's chain passes
over: without a credential, with too small a window, lacking an ability that is needed, not entered
after whatever a rule's `catch` names. A brute force holds it to the chain
(tests/dsl/test_dsl_bounds_worlds.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from .core import Clause, Compare, Const, Hop, Program, Read, Term
from .cost import TOKENS
from .destination import following
from .keys import key_of
from .logic import FALSE, TRUE, all_of, any_of, is_not_false, is_true, negation
from .paths import EMBEDDINGS, Path, Paths
from .routes import NEEDS
from .schema import Target, Type
from .vocabulary import BREAKER_OPEN
from .walk import plan_terms, reads

KIND = Read("request_type", Type.ENUM)
_IS_EMBEDDINGS = is_true(Compare("==", KIND, Const(EMBEDDINGS, Type.ENUM)))
_USABLE = "usable"


@dataclass(frozen=True, slots=True)
class Way:
    """A target of a hop. `is_tried`: its turn comes, and it is not passed over."""

    path: Path
    is_tried: Term


@dataclass(frozen=True, slots=True)
class Try:
    """A hop with the targets that it may stand for, of which each request meets one at most."""

    hop: Hop
    is_fallback: bool
    ways: tuple[Way, ...]

    @property
    def is_tried(self) -> Term:
        """Where one of its targets is tried, if all before it failed."""
        return any_of(way.is_tried for way in self.ways)


@dataclass(frozen=True, slots=True)
class Sent:
    """A single call beside the hops, and where it is made."""

    row: Target
    is_sent: Term


@dataclass(frozen=True, slots=True)
class Sendings:
    """All that may be sent for a request that a rule takes.

    `instead` are the hops where the breaker of the route's target is open, if some of them are
    entered only then.
    """

    tries: tuple[Try, ...]
    copy: Sent | None
    embedding: Sent | None
    instead: tuple[Try, ...] = ()


class Attempts:
    """What is sent by one program; what its rules share is made once."""

    def __init__(self, program: Program, paths: Paths) -> None:
        """Take a program and what is known of where its requests go."""
        self._program = program
        self._paths = paths
        self._serves: dict[str, Term] = {}
        self._fetched = {key for key, slot in program.slots.items() if slot.attribute.fetched}
        self._usable = self._credentials()

    def worlds(self) -> Iterator[Term]:
        """One credential is for all targets of a provider."""
        for key, slot in self._program.slots.items():
            row = self._program.targets.get(slot.argument or "")
            if slot.attribute.name == _USABLE and row is not None:
                known, same = is_not_false(Read(key, Type.BOOL)), self._is_usable(row)
                if key != self._usable[row.provider]:
                    yield any_of((negation(known), same))
                    yield any_of((known, negation(same)))

    def of(self, clause: Clause | None, embeds: bool) -> Sendings:
        """What is sent where the rule fires; `embeds`: its decision has needed an embedding."""
        tries = list(self._tries(clause))
        return Sendings(
            tuple(_entered(tries)),
            self._copy(clause),
            self._embedding(clause) if embeds or self._reads_fetched(clause) else None,
            tuple(_entered_instead(tries)),
        )

    def reads_fetched(self, keys: Sequence[str]) -> bool:
        """Whether a call is made to know these values."""
        return not self._fetched.isdisjoint(keys)

    # --- what is sent ----------------------------------------------------------------------------

    def _tries(self, clause: Clause | None) -> Iterator[Try]:
        for _, group in groupby(self._paths.of(clause), key=lambda path: id(path.hop)):
            ways = tuple(map(self._way, group))
            yield Try(ways[0].path.hop, ways[0].path.is_fallback, ways)

    def _way(self, path: Path) -> Way:
        serves = TRUE if path.row is None else self._can_serve(path.row)
        return Way(path, all_of((path.when, serves)))

    def _copy(self, clause: Clause | None) -> Sent | None:
        mirror = None if clause is None else clause.plan.mirror
        row = None if mirror is None else self._program.targets.get(mirror.hop.target)
        if clause is None or row is None:
            return None
        return Sent(row, all_of((self._paths.copied(clause), self._can_serve(row))))

    def _embedding(self, clause: Clause | None) -> Sent | None:
        program = self._program
        if program.embedding is None:
            return None
        row = program.targets[program.embedding.target]
        return Sent(row, all_of((self._paths.allowed(row.id), self._is_usable(row))))

    def _reads_fetched(self, clause: Clause | None) -> bool:
        """Whether what follows the decision reads a value that costs a call."""
        program = self._program
        hops = program.chain if clause is None else following(program, clause.plan)
        terms = [hop.when for hop in hops if hop.when is not None]
        terms += () if clause is None else plan_terms(clause.plan)
        for limit in program.limits:
            terms += (limit.target,) if limit.when is None else (limit.when, limit.target)
        return self.reads_fetched(reads(terms))

    # --- what is passed over ---------------------------------------------------------------------

    def _can_serve(self, row: Target) -> Term:
        """Whether the chain does not pass over a target, whatever the order is."""
        if row.id not in self._serves:
            parts = (self._is_usable(row), _is_within(row), _is_able(row))
            self._serves[row.id] = all_of(parts)
        return self._serves[row.id]

    def _is_usable(self, row: Target) -> Term:
        key = self._usable.setdefault(row.provider, f"{_USABLE}({row.id})")
        return is_not_false(Read(key, Type.BOOL))

    def _credentials(self) -> dict[str, str]:
        """By provider, the key that says whether its credential is there."""
        attribute = self._program.schema.attributes[_USABLE]
        found: dict[str, str] = {}
        read = (
            slot.argument for slot in self._program.slots.values() if slot.attribute.name == _USABLE
        )
        for id in (*read, *self._program.targets):
            row = self._program.targets.get(id or "")
            if row is not None:
                found.setdefault(row.provider, key_of(attribute, row.id))
        return found


def _is_within(row: Target) -> Term:
    if row.context_window is None:
        return TRUE
    return is_true(Compare("<=", TOKENS, Const(row.context_window, Type.NUMBER)))


def _is_able(row: Target) -> Term:
    """Of embeddings nothing is asked but that it makes them."""
    is_able = all_of(
        negation(is_true(Read(needs, Type.BOOL)))
        for ability, needs in NEEDS
        if row.abilities.get(ability) is False
    )
    embeds = FALSE if row.abilities.get(EMBEDDINGS) is False else TRUE
    if is_able is TRUE and embeds is TRUE:
        return TRUE
    is_other = all_of((negation(_IS_EMBEDDINGS), is_able))
    return any_of((is_other, all_of((_IS_EMBEDDINGS, embeds))))


def _entered(tries: list[Try]) -> Iterator[Try]:
    """Without the hops that no fault leads to: the route's `catch` and the hop's own share none."""
    since: dict[int, Term] = {}  # by the place of a route's hop: it was tried last so far
    is_first: Term = TRUE
    for place, one in enumerate(tries):
        blocked = []
        if one.is_fallback:
            if one.hop.catch is not None and not one.hop.catch:
                blocked.append(negation(is_first))
            blocked += [last for at, last in since.items() if _shares_none(tries[at].hop, one.hop)]
        is_blocked = any_of(blocked)
        entered = one if is_blocked is FALSE else replace(one, ways=_without(one, is_blocked))
        yield entered
        if one.is_fallback:
            since = {at: all_of((last, negation(entered.is_tried))) for at, last in since.items()}
        elif one.hop.catch is not None:
            since[place] = entered.is_tried
        is_first = all_of((is_first, negation(entered.is_tried)))


def _entered_instead(tries: list[Try]) -> Iterator[Try]:
    """The hops behind a route that was passed by; none where they are those behind one that failed.

    Until one is tried, only those are entered whose `catch` lets that be a reason.
    """
    left = [one.hop for one in tries if not one.is_fallback and _catches_open(one.hop)]
    behind = [one for one in tries if one.is_fallback]
    if not any(_shares_none(route, one.hop) for route in left for one in behind):
        return
    is_first: Term = TRUE
    for one in behind:
        if not _catches_open(one.hop):
            is_blocked = is_first if one.hop.catch else TRUE
            one = replace(one, ways=_without(one, is_blocked))
        yield one
        is_first = all_of((is_first, negation(one.is_tried)))


def _catches_open(hop: Hop) -> bool:
    return hop.catch is None or BREAKER_OPEN in hop.catch


def _without(one: Try, is_blocked: Term) -> tuple[Way, ...]:
    return tuple(
        replace(way, is_tried=all_of((way.is_tried, negation(is_blocked)))) for way in one.ways
    )


def _shares_none(route: Hop, behind: Hop) -> bool:
    """Whether no fault that leaves the route enters the hop, where the route was tried.

    A breaker that is open is none: of its target nothing was tried.
    """
    if route.catch is None or (behind.catch is None and route.catch):
        return False
    return behind.catch is None or route.catch.isdisjoint(behind.catch - {BREAKER_OPEN})
