"""What a policy says beside its routing, and what of it two versions say otherwise.

Values are texts as the language writes them; the values of headers are never shown. What of it can
change what a condition means, so that proofs about conditions alone do not cover it, is named by
`assumptions`; what a gateway does otherwise for it though the routing is the same, `acts`.

Over 300 lines because every section is a few lines here, and all of them one table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from .core import (
    REQUESTED,
    Breaking,
    Budget,
    Cache,
    Embedding,
    Invariant,
    Limit,
    Program,
    Provider,
    Tenant,
    Term,
)
from .destination import AUTO, asked_name, named_target
from .embedded import is_let_in_alike, limits_read
from .interpret.traced import evaluate
from .meaning import held_otherwise
from .readings import readings, tenants_otherwise
from .schema import Expected, Target, Tariff, Type, Value
from .units import format_value, quote
from .walk import program_terms, reads

T = TypeVar("T")
Parts = Mapping[str, str]

_CLOCK = ("time", "weekday", "date")


@dataclass(frozen=True, slots=True)
class Setting:
    """Something that is said otherwise: `before` None where it is new, `after` where it is gone.

    `name` is that of an entry of the section, `part` the key in it; empty where there is none.
    `acts`: a request may fare otherwise for it, though its rule and its targets are the same.
    """

    section: str
    name: str
    part: str
    before: str | None
    after: str | None
    acts: bool = True


@dataclass(frozen=True, slots=True)
class Assumption:
    """Keys that do not mean the same in both versions, and why, in words."""

    keys: tuple[str, ...]
    said: str


@dataclass(frozen=True, slots=True)
class NewOrigin:
    """Where a provider's requests, or a header, newly go.

    `address` is the origin, such as `https://gw.example`, or words for one that is not written or
    cannot be read; `header` the name of a header that the old version did not send there, or sent
    with another value.
    """

    provider: str
    address: str | None
    header: str | None = None


def settings(old: Program, new: Program) -> tuple[Setting, ...]:
    """Everything beside the routing that the two say otherwise, by section."""
    return tuple(_differences(old, new))


def assumptions(old: Program, new: Program) -> tuple[Assumption, ...]:
    """What both versions read under one name though it does not mean the same."""
    return tuple(_assumed(old, new))


def new_origins(old: Program, new: Program) -> tuple[NewOrigin, ...]:
    """Addresses and headers of providers that the old version did not have."""
    found: list[NewOrigin] = []
    kinds = {provider.kind for provider in old.providers.values() if provider.base_url is None}
    for name, provider in sorted(new.providers.items()):
        before = old.providers.get(name)
        address = _address(provider)
        is_new = address != (None if before is None else _address(before))
        if before is None and provider.base_url is None:
            is_new = provider.kind not in kinds  # else requests went there under another name
        if is_new:
            found.append(NewOrigin(name, address))
        had = {} if before is None else _headers(before)
        for header, value in sorted(_headers(provider).items()):
            if had.get(header) != value or (is_new and had):
                found.append(NewOrigin(name, address, header))
    return tuple(found)


def _address(provider: Provider) -> str:
    """Where a provider's requests go."""
    if provider.base_url is None:
        return f"the own address of {provider.kind}"
    return origin(provider.base_url)


def origin(url: str) -> str:
    """Scheme, host and port of an address; of what cannot be read the whole of it, and so.

    >>> origin("https://user@GW.example:443/v1"), origin("http://localhost:11434")
    ('https://gw.example', 'http://localhost:11434')
    >>> origin("https://[gw.example/v1")
    'an address that cannot be read, https://[gw.example/v1'
    """
    scheme, _, rest = url.partition("://")
    if "${" in rest.partition("/")[0]:
        return f"{scheme}://{rest.partition('/')[0]}"  # a variable stands for a part of it
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        return f"an address that cannot be read, {url}"
    if host is None:
        return f"{scheme}://{rest.partition('/')[0]}"
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    at = "" if port in (None, usual) else f":{port}"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{at}"


def _headers(provider: Provider) -> dict[str, str]:
    return {name.lower(): value for name, value in provider.headers.items()}


def _differences(old: Program, new: Program) -> Iterator[Setting]:
    for section, parts_of in _SECTIONS:
        was, is_ = parts_of(old), parts_of(new)
        for name in dict.fromkeys((*was, *is_)):
            if name not in was or name not in is_:
                before, after = (_whole(side.get(name)) for side in (was, is_))
                acts = _acts_as_a_whole(section, name, old, new)
                yield Setting(section, name, "", before, after, acts)
                continue
            for part in dict.fromkeys((*was[name], *is_[name])):
                before, after = was[name].get(part), is_[name].get(part)
                if before != after:
                    acts = _acts(section, part)
                    if section == "timezone":  # a budget's day begins at its midnight
                        acts = bool(old.budgets or new.budgets)
                    yield Setting(section, name, part, before, after, acts)
        if section == "provider":
            yield from _header_values(old, new)


def _acts(section: str, part: str) -> bool:
    """Whether a gateway does something else with a request for another value of this."""
    return section not in _IDLE and (section, part) not in _IDLE_PARTS


def _acts_as_a_whole(section: str, name: str, old: Program, new: Program) -> bool:
    """The same of an entry that only one of the two has."""
    if section == "target":  # who asks for it by name had it from the catalogue
        rows = [named_target(program, name) for program in (old, new)]
        before, after = ({} if row is None else _target(row) for row in rows)
        parts = (part for part in {**before, **after} if before.get(part) != after.get(part))
        return None not in rows and any(_acts(section, part) for part in parts)
    if section == "provider":  # nothing of the other version can go there, but by name
        return False
    if section == "tenant":
        rates = (program.tenants[name] for program in (old, new) if name in program.tenants)
        return any({one.rpm, one.tpm, one.concurrency} != {None} for one in rates)
    return _acts(section, "")


def _whole(parts: Parts | None) -> str | None:
    """An entry in one line."""
    if parts is None:
        return None
    return parts[""] if list(parts) == [""] else _mapping(parts)


def _header_values(old: Program, new: Program) -> Iterator[Setting]:
    for name in old.providers:
        was = _headers(old.providers[name])
        is_ = _headers(new.providers[name]) if name in new.providers else {}
        for header in sorted({*was} & {*is_}):
            if was[header] != is_[header]:
                yield Setting("provider", name, f"header {header}", "a value", "another value")


def _assumed(old: Program, new: Program) -> Iterator[Assumption]:
    found = list(_read_otherwise(old, new))
    yield from found
    free = {key for one in found for key in one.keys}
    # What follows from these values is not the same either.
    for key in _follows(old, new, free):
        rule = key.removeprefix("held(").rpartition(":")[0]
        yield Assumption((key,), f"what the rule `{rule}` holds, for it is held otherwise now")
    similar = tuple(key for key in _both(old, new) if key.startswith("similar_to("))
    if similar and not free.issuperset(similar):
        free |= {*readings(old, new).renamed}
        read = {*limits_read(old), *limits_read(new)}
        if not is_let_in_alike(old, new) or not free.isdisjoint(read):
            yield Assumption(
                similar,
                "`similar_to`, for other limits keep requests from what makes the embeddings",
            )


def _both(old: Program, new: Program) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_keys(old), *_keys(new))))


def _follows(old: Program, new: Program, free: Set[str]) -> Iterator[str]:
    """The keys of what both hold, though after something else, or as long as something else."""
    yield from held_otherwise(old, new)
    told = {*held_otherwise(old, new)}
    known = {latch.key for latch in old.latches}
    for latch in new.latches:
        if latch.key in known - told and not free.isdisjoint(reads([latch.test])):
            yield latch.key


def _read_otherwise(old: Program, new: Program) -> Iterator[Assumption]:
    keys = _both(old, new)
    slots = {**old.slots, **new.slots}
    clock = tuple(key for key in keys if key in _CLOCK)
    if old.timezone != new.timezone and clock:
        yield Assumption(
            clock,
            f"the clock: `{old.timezone}` became `{new.timezone}`, and a local time is another "
            "instant now",
        )
    days = tuple(key for key in keys if key.startswith("budget("))
    if old.timezone != new.timezone and days:
        yield Assumption(
            days,
            f"budgets: `{old.timezone}` became `{new.timezone}`, and their periods begin at its "
            "midnight",
        )
    otherwise = tenants_otherwise(old, new)
    if otherwise and _domain(old, "tenant") != _domain(new, "tenant"):
        yield Assumption(
            tuple(otherwise), "what a tenant has, for other values of `tenant` are listed"
        )
    of_asked = tuple(key for key in keys if key in slots and slots[key].argument == REQUESTED)
    if _renames_a_model(old, new):
        about = (key for key in keys if key in (REQUESTED, "provider") or key in of_asked)
        for key in about:
            yield Assumption(
                (key,), f"`{key}`, for the client's model names stand for other targets"
            )
    by_list: dict[str, list[str]] = {}
    for key in keys:
        if key.startswith(("contains_any(", "similar_to(")):
            by_list.setdefault(slots[key].argument or "", []).append(key)
    for name, read in sorted(by_list.items()):
        if name in old.lists and name in new.lists and old.lists[name] != new.lists[name]:
            yield Assumption(tuple(read), f"the list `{name}`, whose texts a condition looks for")
    similar = tuple(key for key in keys if key.startswith("similar_to("))
    if old.embedding != new.embedding and similar:
        if old.embedding is not None and new.embedding is not None:
            yield Assumption(similar, "`similar_to`, for what makes the embeddings is another")
    was, is_ = _named(old.budgets), _named(new.budgets)
    for name in sorted({*was} & {*is_}):
        read = [key for key in keys if key.startswith("budget(") and slots[key].argument == name]
        if read and _budget(was[name]) != _budget(is_[name]):
            yield Assumption(tuple(read), f"the budget `{name}`, whose state a condition reads")
    for id in sorted({*old.targets} | {*new.targets}):
        before, after = (_expected(program, id) for program in (old, new))
        read = [key for key in keys if key in slots and slots[key].argument == id]
        if id in old.targets and id in new.targets:
            read += of_asked
        else:
            read = [*of_asked]
        if before != after and read:
            yield Assumption(
                tuple(read),
                f"the values of `{id}` before there is traffic, for its `expected` changed",
            )


def _renames_a_model(old: Program, new: Program) -> bool:
    """Whether a name that both know stands for another target."""
    names = {*old.models, *new.models}
    return any(len({_meant(program, name) for program in (old, new)} - {""}) > 1 for name in names)


def _meant(program: Program, name: str) -> str:
    """What a client's model name stands for; empty where nobody knows it."""
    asked = asked_name(program, {"model": name})
    target = None if asked is None else named_target(program, asked)
    return AUTO if asked is None else "" if target is None else target.id


def _expected(program: Program, id: str) -> Expected:
    row = program.targets.get(id)
    return Expected() if row is None else row.expected


def _keys(program: Program) -> tuple[str, ...]:
    return reads(program_terms(program))


def _named(items: Iterable[T]) -> dict[str, T]:
    return {item.name: item for item in items}  # type: ignore[attr-defined]


def _duration(amount: int) -> str:
    return format_value(amount, Type.DURATION)


def _written(term: Term | None) -> str | None:
    return None if term is None else evaluate(term, {}).text


def _listed(words: Iterable[str]) -> str:
    return f"[{', '.join(words)}]"


def _mapping(parts: Parts) -> str:
    return "{" + ", ".join(f"{name}: {text}" for name, text in parts.items()) + "}"


def _parts(parts: Iterable[tuple[str, str | None]]) -> Parts:
    """The parts that are there."""
    return {name: text for name, text in parts if text is not None}


def _plain(text: str) -> Parts:
    return {"": text}


def _value(value: Value | None, type_: Type) -> str | None:
    return None if value is None else format_value(value, type_)


def _provider(provider: Provider) -> Parts:
    headers = sorted(_headers(provider))
    return _parts(
        (
            ("kind", provider.kind),
            ("base_url", provider.base_url),
            ("headers", _listed(headers) if headers else None),
        )
    )


def _target(target: Target) -> Parts:
    expected = target.expected
    abilities = ((name, str(is_able).lower()) for name, is_able in sorted(target.abilities.items()))
    return _parts(
        (
            ("model", target.model),
            *({} if target.tariff is None else _tariff(target.tariff)).items(),
            ("context_window", _value(target.context_window, Type.NUMBER)),
            ("max_output", _value(target.max_output, Type.NUMBER)),
            ("region", target.region),
            ("owner", target.owner),
            ("tags", _listed(target.tags) if target.tags else None),
            ("parameters", None if target.strict is None else _strictness(target.strict)),
            ("concurrency", _value(target.concurrency, Type.NUMBER)),
            ("expected p95", _value(expected.p95_us, Type.DURATION)),
            ("expected ttft", _value(expected.ttft_us, Type.DURATION)),
            ("expected output", _value(expected.output, Type.NUMBER)),
            *abilities,
        )
    )


def _strictness(is_strict: bool) -> str:
    return "strict" if is_strict else "lenient"


def _tariff(tariff: Tariff) -> Parts:
    rates = (
        ("input", tariff.input),
        ("output", tariff.output),
        ("cached", tariff.cached),
        ("cache_write", tariff.cache_write),
    )
    fee = format_value(tariff.request, Type.MONEY) if tariff.request else None
    found = [(f"price of {name}", _value(rate, Type.RATE)) for name, rate in rates]
    found.append(("price of a request", fee))
    for tokens, step in tariff.above:
        above = format_value(tokens, Type.NUMBER)
        found += [(f"{name} above {above}", text) for name, text in _tariff(step).items()]
    return _parts(found)


def _domain(program: Program, name: str) -> frozenset[str] | None:
    domain = program.schema.attributes[name].domain
    return None if domain is None else frozenset(domain)


def _domains(program: Program) -> dict[str, Parts]:
    """The values that attributes have, declared or built in."""
    return {
        name: _plain(_listed(attribute.domain))
        for name, attribute in program.schema.attributes.items()
        if attribute.domain is not None
    }


def _limit(limit: Limit) -> Parts:
    return _parts((("when", _written(limit.when)), ("target", _written(limit.target))))


def _invariant(invariant: Invariant) -> Parts:
    return _parts(((invariant.kind, _written(invariant.test)),))


def _tenant(tenant: Tenant) -> Parts:
    rates = (("rpm", tenant.rpm), ("tpm", tenant.tpm), ("concurrency", tenant.concurrency))
    return _parts(
        (
            ("tier", tenant.tier),
            ("region", tenant.region),
            *((name, _value(rate, Type.NUMBER)) for name, rate in rates),
        )
    )


def _breaking(breaking: Breaking) -> Parts:
    failures = format_value(breaking.failures, Type.NUMBER)
    return {"failures": failures, "cool_down": _duration(breaking.cool_down_us)}


def _budget(budget: Budget) -> Parts:
    steps = {format_value(share, Type.PERCENT): what for share, what in budget.steps}
    return _parts(
        (
            ("scope", budget.scope),
            ("of", budget.of),
            ("limit", f"{format_value(budget.limit_nano_usd, Type.MONEY)}/{budget.period}"),
            ("at", _mapping(steps) if steps else None),
        )
    )


def _embedding(embedding: Embedding) -> Parts:
    return {"target": embedding.target, "timeout": _duration(embedding.timeout_us)}


def _cache(cache: Cache) -> Parts:
    ttl = _duration(cache.ttl_us)
    return _parts((("ttl", ttl), ("only", _written(cache.only)), ("never", _written(cache.never))))


def _expiries(program: Program) -> dict[str, Parts]:
    return {
        clause.name: _plain(format_value(clause.expires, Type.DATE))
        for clause in program.clauses
        if clause.expires is not None
    }


def _tags(program: Program) -> dict[str, Parts]:
    return {clause.name: _plain(_listed(clause.tags)) for clause in program.clauses if clause.tags}


def _one(value: T | None, parts_of: Callable[[T], Parts]) -> dict[str, Parts]:
    return {} if value is None else {"": parts_of(value)}


def _all(items: Mapping[str, T], parts_of: Callable[[T], Parts]) -> dict[str, Parts]:
    return {name: parts_of(item) for name, item in items.items()}


# By section: the parts of each of its entries, by the entry's name.
_SECTIONS: tuple[tuple[str, Callable[[Program], Mapping[str, Parts]]], ...] = (
    ("timezone", lambda program: {"": _plain(program.timezone)}),
    ("deadline", lambda program: {"": _plain(_duration(program.deadline_us))}),
    ("parameters", lambda program: {"": _plain(_strictness(program.strict))}),
    ("breakers", lambda program: {"": _breaking(program.breaking)}),
    ("budget_wait", lambda program: {"": _plain(_duration(program.budget_wait_us))}),
    ("provider", lambda program: _all(program.providers, _provider)),
    ("target", lambda program: _all(program.targets, _target)),
    ("model", lambda program: _all(program.models, lambda to: _plain(to or "policy"))),
    ("attribute", _domains),
    ("list", lambda program: _all(program.lists, lambda texts: _plain(_listed(map(quote, texts))))),
    ("limit", lambda program: _all(_named(program.limits), _limit)),
    ("invariant", lambda program: _all(_named(program.invariants), _invariant)),
    ("tenant", lambda program: _all(program.tenants, _tenant)),
    ("budget", lambda program: _all(_named(program.budgets), _budget)),
    ("embed", lambda program: _one(program.embedding, _embedding)),
    ("cache", lambda program: _one(program.cache, _cache)),
    ("tags of", _tags),
    ("expires of", _expiries),
)

# What no request fares otherwise for: what it means is proved or assumed, or only people read it.
_IDLE = frozenset(
    {"timezone", "model", "attribute", "list", "limit", "invariant", "tags of", "expires of"}
)
_IDLE_PARTS = frozenset(
    {("tenant", "tier"), ("tenant", "region")}
    | {("target", part) for part in ("region", "owner", "tags")}
    | {("target", f"expected {part}") for part in ("p95", "ttft", "output")}
)
