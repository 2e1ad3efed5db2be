"""What two versions read under one name though it is not the same, and one request as both see it.

A tenant's tier may be `free` for the old version and `pro` for the new: one request, two values.
The new one's value then stands under a key of its own (`tier@new`), and terms say how the two hang
together. What hangs together in no way that the files tell (the state of a budget with another
limit) gets a key without any such term: what is proved of that is true whatever the values are.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .core import Compare, Const, Known, Not, Program, Read, Term
from .given import as_given
from .logic import all_of, any_of, is_true, negation
from .schema import Type, Value
from .snapshot import Snapshot
from .units import format_value
from .worlds import DEFAULT

Given = dict[str, bool | int | str | None]
NEW = "@new"  # ends the key of what only the new version reads so
_TENANT = Read("tenant", Type.TEXT)
_OF_TENANTS = ("tier", "tenant.region")


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

    def completed(self, seen: Mapping[str, Value | None]) -> Iterator[Snapshot]:
        """A request as the old version sees it, with what the new one may see beside that."""
        found = [Snapshot({key: v for key, v in seen.items() if not key.endswith(NEW)})]
        for key, tenants in self.tenants.items():
            found = [
                Snapshot({**one, **({} if value is None else {new_key(key): value})})
                for one in found
                for value in _beside(one, key, tenants)
            ]
        yield from found


def readings(old: Program, new: Program, assumed: Iterable[str] = ()) -> Readings:
    """What the tenants of the two give a request; what is `assumed` is read apart."""
    tenants = {key: _tenants(old, new, key) for key in _OF_TENANTS}
    tenants = {
        key: rows
        for key, rows in tenants.items()
        if any(was != is_ for was, is_ in rows.values()) and key in old.slots and key in new.slots
    }
    terms = [term for key, rows in tenants.items() for term in _ties(key, rows)]
    return Readings(
        {key: new_key(key) for key in (*tenants, *assumed)},
        tuple(terms),
        tenants,
    )


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


def _ties(key: str, tenants: Mapping[str, tuple[str | None, str | None]]) -> Iterator[Term]:
    """How the two values of one request hang together."""
    was, is_ = Read(key, Type.TEXT), Read(new_key(key), Type.TEXT)
    same = any_of((is_true(Compare("==", was, is_)), all_of((Not(Known(was)), Not(Known(is_))))))
    by_key = all_of((same, negation(_has(was, DEFAULT))))  # the caller's key has a tier of its own
    known = key == "tier"
    if known:
        yield Known(is_)
    for name, (before, after) in tenants.items():
        told = all_of((_has(was, before), _has(is_, after)))
        is_told = any_of((told, by_key)) if known else told
        yield any_of((negation(_has(_TENANT, name)), is_told))
    others = (negation(_has(_TENANT, name)) for name in tenants)
    rest = same if known else all_of((Not(Known(was)), Not(Known(is_))))
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

    Where the two read a value otherwise, the new one's stands beside it: `tier` and `tier@new`.
    """
    after = as_given_to(as_new(seen), new)
    given = as_given_to(as_old(seen), old)
    for key in [key for key in seen if key.endswith(NEW)]:
        plain = key.removesuffix(NEW)
        after.pop(plain, None)
        for name, value in ((plain, seen.get(plain)), (key, seen[key])):
            given[name] = _written(plain, value, new)
    return {**after, **given}


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
