"""What holds of every snapshot that a gateway takes, beside the ranges of its attributes.

A snapshot by hand may break it: `read_snapshot` takes it as it is. Proofs are about the gateway's.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from .asked import Asked
from .core import REQUESTED, Compare, Const, Known, Member, Not, Or, Program, Read, Slot, Term
from .keys import attribute_of
from .logic import any_of, is_true, negation
from .schema import Expected, Parameter, Type, Value

# The prior of a target that stands in for a live value until there is enough traffic.
_PRIORS = {
    "p95": "p95_us",
    "ttft.p50": "ttft_us",
    "ttft.p95": "ttft_us",
    "expected_output": "output",
}
DEFAULT = "default"


def worlds(program: Program, asked: Asked | None = None) -> Iterator[Term]:
    """The terms that are true of every snapshot of a gateway that runs this program."""
    slots = program.slots
    reads_asked = REQUESTED in slots or "provider" in slots
    if REQUESTED not in slots:  # what is not read is not in a snapshot; `model` is what tells
        yield Not(Known(Read(REQUESTED, Type.TEXT)))
    if reads_asked or any(slot.argument == REQUESTED for slot in slots.values()):
        yield from (asked or Asked(program)).worlds(slots)
    yield from _of_values(program)


def worlds_of_keys(program: Program, keys: Iterable[str]) -> Iterator[Term]:
    """The same of values that the program itself does not read, but a claim about it does."""
    attributes = program.schema.attributes
    read = {
        key: Slot(key, attributes[attribute_of(key)], _argument(key))
        for key in keys
        if key not in program.slots and attribute_of(key) in attributes
    }
    yield from _of_values(replace(program, slots=read))


def priors(program: Program) -> Iterator[tuple[str, int]]:
    """The keys whose values are never unknown, with the declared prior that stands in at first."""
    for slot, expected in _of_targets(program):
        field = _PRIORS.get(slot.attribute.name)
        prior = None if field is None else getattr(expected, field)
        if prior is not None:
            yield slot.key, prior


def _of_values(program: Program) -> Iterator[Term]:
    """What holds of the values that are read."""
    for key, _ in priors(program):
        yield Known(Read(key, program.slots[key].attribute.type))
    yield from _expected_outputs(program)
    yield from _classes(program)
    yield from _tenants(program)


def _argument(key: str) -> str | None:
    """What a key is about: the target of `p95(openai/gpt-4, 5m)`."""
    return key.partition("(")[2].rpartition(")")[0].partition(", ")[0] or None


def _expected_outputs(program: Program) -> Iterator[Term]:
    """No longer output is expected than the request allows."""
    allowed = Read("max_tokens", Type.NUMBER)
    for slot, _ in _of_targets(program):
        if slot.attribute.name == "expected_output":
            is_within = is_true(Compare("<=", Read(slot.key, Type.NUMBER), allowed))
            yield any_of((Not(Known(allowed)), is_within))


def _classes(program: Program) -> Iterator[Term]:
    """A class says where its number lies, so each is known where the other one is."""
    for slot in program.slots.values():
        attribute = slot.attribute
        number = program.slots.get(attribute.class_of or "")
        if number is not None:
            read, of = Read(slot.key, attribute.type), Read(number.key, number.attribute.type)
            yield any_of((Known(read), Not(Known(of))))
            yield any_of((Not(Known(read)), Known(of)))
            ends = [*(Const(least, of.type) for least, _ in attribute.classes[1:]), None]
            for (least, word), end in zip(attribute.classes, ends, strict=True):
                is_other = negation(_is(read, word))
                yield any_of((is_other, is_true(Compare(">=", of, Const(least, of.type)))))
                if end is not None:
                    yield any_of((is_other, is_true(Compare("<", of, end))))


def _of_targets(program: Program) -> Iterator[tuple[Slot, Expected]]:
    for slot in program.slots.values():
        if slot.attribute.parameter is Parameter.TARGET and slot.argument != REQUESTED:
            row = program.targets.get(slot.argument or "")
            yield slot, Expected() if row is None else row.expected


def _tenants(program: Program) -> Iterator[Term]:
    """What the file says of its tenants. Where it names no region at all, nothing is concluded."""
    tenant, region = Read("tenant", Type.TEXT), Read("tenant.region", Type.TEXT)
    regions = {one.name: one.region for one in program.tenants.values() if one.region is not None}
    if regions and region.key in program.slots:
        for name, where in regions.items():
            is_there = is_true(Compare("==", region, Const(where, Type.TEXT)))
            yield any_of((negation(_is(tenant, name)), is_there))
        yield Or((is_true(_among(tenant, regions)), Not(Known(region))))
    tier = Read("tier", Type.TEXT)
    if tier.key in program.slots:
        for one in program.tenants.values():
            if one.tier not in (None, DEFAULT):  # the tier of its key may be another one
                yield any_of((negation(_is(tenant, one.name)), negation(_is(tier, DEFAULT))))


def _is(read: Read, text: str) -> Term:
    return is_true(Compare("==", read, Const(text, Type.TEXT)))


def _among(read: Read, texts: Mapping[str, object]) -> Term:
    values: frozenset[Value] = frozenset(texts)
    return Member(read, values)
