"""What two versions read under one name though it is not the same, and one request as both see it.

A tenant's tier may be `free` for the old version and `pro` for the new: one request, two values.
The new one's value then stands under a key of its own (`tier@new`), and terms say how the two hang
together. So it is with an attribute whose values are listed otherwise: one that a version does not
list is unknown to it, or `default`. What hangs together in no way that the files tell (the state of
a budget with another limit) gets a key without any such term: what is proved of that is true
whatever the values are.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .core import Compare, Const, Known, Member, Not, Program, Read, Term
from .given import as_given, said
from .logic import FALSE, TRUE, all_of, any_of, is_true, negation
from .schema import Type, Value
from .snapshot import BY_HAND, Snapshot
from .units import format_value
from .worlds import DEFAULT

Given = dict[str, bool | int | str | None]
NEW = "@new"  # ends the key of what only the new version reads so
_TENANT = Read("tenant", Type.TEXT)
_OF_TENANTS = ("tier", "tenant.region")
_UNLISTED = "other"  # a value that stands for all that a policy does not name


def new_key(key: str) -> str:
    """The key of what the new version reads under this one."""
    return key + NEW


@dataclass(frozen=True, slots=True)
class Readings:
    """The keys that the new version reads under another name, and what ties them to the old's.

    `others`: by key, the values that may stand beside one of the old version.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    terms: tuple[Term, ...] = ()
    tenants: Mapping[str, Mapping[str, tuple[str | None, str | None]]] = field(default_factory=dict)
    listed: Mapping[str, "Listed"] = field(default_factory=dict)

    def completed(self, seen: Mapping[str, Value | None]) -> Iterator[Snapshot]:
        """A request as the old version sees it, with what the new one may see beside that."""
        found = [Snapshot({key: v for key, v in seen.items() if not key.endswith(NEW)})]
        for key in {**self.tenants, **self.listed}:
            found = [
                Snapshot({**one, **({} if value is None else {new_key(key): value})})
                for one in found
                for value in dict.fromkeys(self._beside(one, key))
            ]
        yield from found

    def _beside(self, seen: Snapshot, key: str) -> Iterator[str | None]:
        """What the new version may read where the old one reads this."""
        if key in self.tenants:
            yield from _beside(seen, key, self.tenants[key])
        if key in self.listed:
            value = seen[key]
            assert value is None or isinstance(value, str)
            yield from self.listed[key].beside(value)


@dataclass(frozen=True, slots=True)
class Listed:
    """The values that each version lists of an attribute; None: any. `usual` is one of no list."""

    usual: str | None
    old: tuple[str, ...] | None
    new: tuple[str, ...] | None

    def related(self, was: Read, is_: Read) -> Term:
        """What the two may read of one request."""
        same = all_of((_same(was, is_), _is_listed_in(self.old, was), _is_listed_in(self.new, is_)))
        only_old = all_of((_is_word(self.old, self.new, was), _has(is_, self.usual)))
        only_new = all_of((_is_word(self.new, self.old, is_), _has(was, self.usual)))
        return any_of((same, only_old, only_new))

    def beside(self, value: str | None) -> Iterator[str | None]:
        """What the new version may read where the old one reads this."""
        yield value if value is None or self.new is None or value in self.new else self.usual
        if value == self.usual and self.old is not None:
            known = self.new if self.new is not None else (_UNLISTED,)
            yield from (word for word in known if word not in self.old)


def _is_word(of: tuple[str, ...] | None, other: tuple[str, ...] | None, read: Read) -> Term:
    """That one version lists a value, and the other does not."""
    if other is None:
        return FALSE
    unlisted = all_of((Known(read), negation(_is_one_of(read, other))))
    return all_of((unlisted, _is_listed_in(of, read)))


def _is_listed_in(words: tuple[str, ...] | None, read: Read) -> Term:
    """That a version can read this value, or that there is none."""
    return TRUE if words is None else any_of((Not(Known(read)), _is_one_of(read, words)))


def _is_one_of(read: Read, words: tuple[str, ...]) -> Term:
    values: frozenset[Value] = frozenset(words)
    return is_true(Member(read, values)) if values else FALSE


def listed_otherwise(old: Program, new: Program) -> dict[str, Listed]:
    """The attributes that both read, of which they list other values."""
    found = {}
    for key in old.slots:
        if key in new.slots:
            was, is_ = (program.slots[key].attribute for program in (old, new))
            words = [None if one.domain is None else frozenset(one.domain) for one in (was, is_)]
            if words[0] != words[1]:
                found[key] = Listed(DEFAULT if was.always_known else None, was.domain, is_.domain)
    return found


def readings(old: Program, new: Program, assumed: Iterable[str] = ()) -> Readings:
    """What the tenants of the two give a request; what is `assumed` is read apart."""
    free = frozenset(assumed)
    tenants = {key: rows for key, rows in tenants_otherwise(old, new).items() if key not in free}
    every = listed_otherwise(old, new)
    listed = {key: one for key, one in every.items() if key not in free}
    terms: list[Term] = []
    for key in {**tenants, **listed}:
        was, is_ = Read(key, Type.TEXT), Read(new_key(key), Type.TEXT)
        related = listed[key].related(was, is_) if key in listed else _same(was, is_)
        terms += _ties(key, tenants[key], related) if key in tenants else (related,)
    return Readings(
        {key: new_key(key) for key in (*tenants, *listed, *free)}, tuple(terms), tenants, listed
    )


def tenants_otherwise(
    old: Program, new: Program
) -> dict[str, dict[str, tuple[str | None, str | None]]]:
    """By key that both read, what they say of each tenant, where that is not the same."""
    tenants = {key: _tenants(old, new, key) for key in _OF_TENANTS}
    return {
        key: rows
        for key, rows in tenants.items()
        if any(was != is_ for was, is_ in rows.values()) and key in old.slots and key in new.slots
    }


def _tenants(old: Program, new: Program, key: str) -> dict[str, tuple[str | None, str | None]]:
    """What both versions say of each tenant."""
    field_ = key.rpartition(".")[2]
    sides = [
        {name: getattr(tenant, field_) for name, tenant in program.tenants.items()}
        for program in (old, new)
    ]
    usual = DEFAULT if key == "tier" else None
    return {
        name: (sides[0].get(name) or usual, sides[1].get(name) or usual)
        for name in dict.fromkeys((*sides[0], *sides[1]))
    }


def _same(was: Read, is_: Read) -> Term:
    return any_of((is_true(Compare("==", was, is_)), all_of((Not(Known(was)), Not(Known(is_))))))


def _ties(
    key: str, tenants: Mapping[str, tuple[str | None, str | None]], related: Term
) -> Iterator[Term]:
    """How the two values of one request hang together; `related`: those of a caller's key."""
    was, is_ = Read(key, Type.TEXT), Read(new_key(key), Type.TEXT)
    is_usual = all_of((_has(was, DEFAULT), _has(is_, DEFAULT)))
    by_key = all_of((related, negation(is_usual)))  # the caller's key has a tier of its own
    known = key == "tier"
    if known:
        yield Known(is_)
    for name, (before, after) in tenants.items():
        told = all_of((_has(was, before), _has(is_, after)))
        is_told = any_of((told, by_key)) if known else told
        yield any_of((negation(_has(_TENANT, name)), is_told))
    others = (negation(_has(_TENANT, name)) for name in tenants)
    rest = related if known else all_of((Not(Known(was)), Not(Known(is_))))
    yield any_of((negation(all_of(others)), rest))


def _has(read: Read, text: str | None) -> Term:
    if text is None:
        return Not(Known(read))
    return is_true(Compare("==", read, Const(text, Type.TEXT)))


def _beside(
    seen: Snapshot, key: str, tenants: Mapping[str, tuple[str | None, str | None]]
) -> Iterator[str | None]:
    value = seen[key]
    assert value is None or isinstance(value, str)
    before, after = tenants.get(str(seen["tenant"]), (value, value))
    if value == before:
        yield after
    if not value == before == after:
        yield value  # of the caller's key


# --- one request, two readers --------------------------------------------------------------------


def as_old(seen: Mapping[str, Value | None]) -> Snapshot:
    """A request as the old version reads it."""
    return Snapshot({key: value for key, value in seen.items() if not key.endswith(NEW)})


def as_new(seen: Mapping[str, Value | None]) -> Snapshot:
    """A request as the new version reads it."""
    found = as_old(seen)
    for key, value in seen.items():
        if key.endswith(NEW):
            found[key.removesuffix(NEW)] = value
    return found


def as_given_to_both(seen: Mapping[str, Value | None], old: Program, new: Program) -> Given:
    """A request in the form of a log or a test, each version's part made of the keys it knows.

    Where the two read a value otherwise, the new one's stands beside it: `tier` and `tier@new`; but
    not where one reads what the other does not list: that value says it of both.
    """
    after = as_given_to(as_new(seen), new)
    given = as_given_to(as_old(seen), old)
    for key in [key for key in seen if key.endswith(NEW)]:
        plain = key.removesuffix(NEW)
        after.pop(plain, None)
        values = [seen.get(plain), seen[key]]
        alone = [
            value
            for value, own, other in ((values[0], old, new), (values[1], new, old))
            if _is_listed(plain, value, own) and not _is_listed(plain, value, other)
        ]
        usual = DEFAULT if plain in BY_HAND else None
        if len(alone) == 1 and usual in values:
            values = alone
        for name, value in zip((plain, key), values, strict=False):
            given[name] = _written(plain, value, new)
    return {**after, **given}


def said_of_both(given: Given) -> str:
    """What is given to both in one line, with what each of them reads.

    >>> said_of_both({"tokens": 80, "tier": "free", "tier@new": "pro"})
    'tokens = 80, tier = "free" before, "pro" after'
    """
    told = []
    for key, value in given.items():
        if key.endswith(NEW) and key.removesuffix(NEW) in given:
            continue
        text = said({key: value})
        if new_key(key) in given:
            name = said({key: None}).removesuffix("unknown")
            after = said({key: given[new_key(key)]}).removeprefix(name).removeprefix("= ")
            text += f" before, {after} after"
        told.append(text)
    return ", ".join(told)


def as_given_to(seen: Mapping[str, Value | None], program: Program) -> Given:
    """What a version knows of a request: what is asked with a name, by the names it has itself.

    Values that it does not list are left out: it reads them as if they were not there.
    """
    own = {key: v for key, v in seen.items() if key in program.slots or "(" not in key}
    unlisted = {key: None for key, value in own.items() if not _is_listed(key, value, program)}
    given = as_given({**own, **unlisted}, program)
    return {key: value for key, value in given.items() if key not in unlisted}


def _is_listed(key: str, value: Value | None, program: Program) -> bool:
    attribute = program.schema.attributes.get(key)
    domain = None if attribute is None else attribute.domain
    return domain is None or value is None or value in domain


def _written(key: str, value: Value | None, program: Program) -> bool | int | str | None:
    slot = program.slots.get(key)
    if slot is None or value is None or isinstance(value, bool | str):
        return value
    return value if slot.attribute.type is Type.NUMBER else format_value(value, slot.attribute.type)
