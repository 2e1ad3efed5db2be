"""What a client asks for by its `model`, as terms: which target, none, or one nobody listed.

`destination.asked_target` says it of one snapshot; here each target that can be asked for gets the
term that is true exactly where it is. Names too many to list (dated and fine-tuned ones of the
catalogue, any model of a provider that is free) stand together as `others`.
"""

from collections.abc import Iterable, Iterator, Mapping

from .core import (
    REQUESTED,
    And,
    Coalesce,
    Compare,
    Const,
    Known,
    Member,
    Not,
    Or,
    Program,
    Read,
    Slot,
    Switch,
    Term,
)
from .destination import AUTO, named_target
from .keys import key_of
from .logic import FALSE, TRUE, is_not_false, is_true
from .schema import Parameter, Target, Type, Value

ASKED = Read(REQUESTED, Type.TEXT)
MODEL = Read("model", Type.TEXT)
# Whether somebody knows what was asked for by a name that is not listed. No snapshot says it.
IS_KNOWN = Read("target.is_known", Type.BOOL)


class Asked:
    """The targets that the clients of a program may ask for."""

    def __init__(self, program: Program) -> None:
        """Look up every name that is listed somewhere."""
        self._program = program
        self.targets: dict[str, Target] = {}
        self._names: dict[str, set[Value]] = {}  # by id: the values of `requested`
        self._models: dict[str, set[Value]] = {}  # by id: those of `model`
        for name in self._listed():
            self._add(self._names, name, name)
            if name not in program.models:
                self._add(self._models, name, name)
        for name, stands_for in program.models.items():
            if stands_for is not None:
                self._add(self._models, name, stands_for)
        automatic = {name for name, to in program.models.items() if to in (None, AUTO)}
        self.automatic: frozenset[Value] = frozenset(
            automatic if program.models.get(AUTO) else automatic | {AUTO}
        )

    def any_of(self, ids: Iterable[str]) -> Term:
        """Whether one of these targets was asked for; never unknown."""
        some = sorted(ids)
        if not some:
            return FALSE
        names = frozenset(name for id in some for name in self._names.get(id, ()))
        models = frozenset(name for id in some for name in self._models.get(id, ()))
        return Coalesce(_among(ASKED, names), self._by_model(models), Type.BOOL)

    def anything(self) -> Term:
        """Whether something was asked for, listed or not; never unknown."""
        unasked = Coalesce(_among(MODEL, self.automatic), TRUE, Type.BOOL)
        return Not(Coalesce(_among(ASKED, frozenset({AUTO})), unasked, Type.BOOL))

    def others(self) -> Term:
        """Whether something was asked for that is not listed; never unknown."""
        return And((self.anything(), Not(self.any_of(self.targets))))

    def worlds(self, slots: Mapping[str, Slot]) -> Iterator[Term]:
        """How what was asked for hangs together with what the snapshot says of it."""
        yield Or((Not(self.others()), is_not_false(IS_KNOWN)))
        if REQUESTED in slots:
            meant = {name: id for id, names in self._models.items() for name in names}
            listed = frozenset(meant)
            by_name = tuple((name, Const(id, Type.TEXT)) for name, id in meant.items())
            same = Compare("==", ASKED, Switch(MODEL, by_name, Type.TEXT))
            yield Or((Not(is_true(_among(MODEL, self.automatic))), Not(Known(ASKED))))
            yield Or((Not(is_true(_among(MODEL, listed))), is_true(same)))
            yield Or((is_true(_among(MODEL, listed | self.automatic)), Known(ASKED)))
        if "provider" in slots:
            yield from self._providers()
        for slot in slots.values():
            if slot.attribute.parameter is Parameter.TARGET and slot.argument == REQUESTED:
                yield from self._values(slot, slots)

    def _listed(self) -> Iterator[str]:
        yield from self._program.targets
        requestable = self._program.schema.catalog.requestable(self._program.providers)
        for name, target in requestable.items():
            yield name
            yield target.id

    def _add(self, table: dict[str, set[Value]], name: str, stands_for: str) -> None:
        if stands_for == AUTO:
            return
        target = named_target(self._program, stands_for)
        if target is not None:
            self.targets.setdefault(target.id, self._program.targets.get(target.id, target))
            table.setdefault(target.id, set()).add(name)

    def _by_model(self, models: frozenset[Value]) -> Term:
        return is_true(_among(MODEL, models))

    def _providers(self) -> Iterator[Term]:
        """`provider` is that of what was asked for."""
        told = Read("provider", Type.TEXT)
        by_provider: dict[str, list[str]] = {}
        for id, target in self.targets.items():
            by_provider.setdefault(target.provider, []).append(id)
        for provider, ids in by_provider.items():
            same = is_true(Compare("==", told, Const(provider, Type.TEXT)))
            yield Or((Not(self.any_of(ids)), same))
        yield Or((self.anything(), Not(Known(told))))

    def _values(self, slot: Slot, slots: Mapping[str, Slot]) -> Iterator[Term]:
        """A live value of `requested` is that of the target that was asked for."""
        type_ = slot.attribute.type
        value = Read(slot.key, type_)
        for id in self._names:
            key = key_of(slot.attribute, id, slot.window_us)
            if key in slots:
                other = Read(key, type_)
                same = Coalesce(
                    Compare("==", value, other),
                    And((Not(Known(value)), Not(Known(other)))),
                    Type.BOOL,
                )
                yield Or((Not(self.any_of([id])), same))
        if slot.attribute.name != "expected_output":  # the request's own limit bounds it, too
            yield Or((self.anything(), Not(Known(value))))


def _among(read: Read, values: frozenset[Value]) -> Term:
    if len(values) == 1:
        return Compare("==", read, Const(next(iter(values)), Type.TEXT))
    return Member(read, values)
