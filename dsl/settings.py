"""What a policy says beside its routing, and what of it two versions say otherwise.

Values are texts as the language writes them; the values of headers are never shown. What of it can
change what a condition means, so that proofs about conditions alone do not cover it, is named by
`assumptions`.

Over 300 lines because every section is a few lines here, and all of them one table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from .core import (
    REQUESTED,
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
from .interpret.traced import evaluate
from .schema import Target, Tariff, Type, Value
from .units import format_value, quote
from .walk import program_terms, reads

T = TypeVar("T")
Parts = Mapping[str, str]

_CLOCK = ("time", "weekday", "date")


@dataclass(frozen=True, slots=True)
class Setting:
    """Something that is said otherwise: `before` None where it is new, `after` where it is gone.

    `name` is that of an entry of the section, `part` the key in it; empty where there is none.
    """

    section: str
    name: str
    part: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class NewOrigin:
    """Where a provider's requests, or a header, newly go.

    `address` is the origin, such as `https://gw.example`; `header` the name of a header that the
    old version did not send there, or sent with another value.
    """

    provider: str
    address: str | None
    header: str | None = None


def settings(old: Program, new: Program) -> tuple[Setting, ...]:
    """Everything beside the routing that the two say otherwise, by section."""
    return tuple(_differences(old, new))


def assumptions(old: Program, new: Program) -> tuple[str, ...]:
    """What both versions read under one name though it does not mean the same, in words."""
    return tuple(_assumed(old, new))


def new_origins(old: Program, new: Program) -> tuple[NewOrigin, ...]:
    """Addresses and headers of providers that the old version did not have."""
    found: list[NewOrigin] = []
    for name, provider in sorted(new.providers.items()):
        before = old.providers.get(name)
        address = None if provider.base_url is None else origin(provider.base_url)
        was = None if before is None or before.base_url is None else origin(before.base_url)
        # A provider without an address of its own is one that the gateway knows anyway.
        if address is not None and address != was:
            found.append(NewOrigin(name, address))
        had = {} if before is None else _headers(before)
        for header, value in sorted(_headers(provider).items()):
            if had.get(header) != value or (address != was and had):
                found.append(NewOrigin(name, address, header))
    return tuple(found)


def origin(url: str) -> str:
    """Scheme, host and port of an address.

    >>> origin("https://user@GW.example:443/v1"), origin("http://localhost:11434")
    ('https://gw.example', 'http://localhost:11434')
    """
    parts = urlsplit(url)
    scheme, _, rest = url.partition("://")
    try:
        port = parts.port
    except ValueError:  # no number
        return url
    if parts.hostname is None or "${" in rest.partition("/")[0]:
        return f"{scheme}://{rest.partition('/')[0]}"  # a variable stands for a part of it
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    at = "" if port in (None, usual) else f":{port}"
    return f"{parts.scheme}://{parts.hostname}{at}"


def _headers(provider: Provider) -> dict[str, str]:
    return {name.lower(): value for name, value in provider.headers.items()}


def _differences(old: Program, new: Program) -> Iterator[Setting]:
    for section, parts_of in _SECTIONS:
        was, is_ = parts_of(old), parts_of(new)
        for name in dict.fromkeys((*was, *is_)):
            if name not in was or name not in is_:
                before, after = (_whole(side.get(name)) for side in (was, is_))
                yield Setting(section, name, "", before, after)
                continue
            for part in dict.fromkeys((*was[name], *is_[name])):
                if was[name].get(part) != is_[name].get(part):
                    yield Setting(section, name, part, was[name].get(part), is_[name].get(part))
        if section == "provider":
            yield from _header_values(old, new)


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


def _assumed(old: Program, new: Program) -> Iterator[str]:
    keys = {**dict.fromkeys(_keys(old)), **dict.fromkeys(_keys(new))}
    if old.timezone != new.timezone and any(key in _CLOCK for key in keys):
        yield (
            f"the clock: `{old.timezone}` became `{new.timezone}`, and a local time is another "
            "instant now"
        )
    slots = {**old.slots, **new.slots}
    if old.models != new.models:
        asked = (
            key for key in keys if REQUESTED in (key, slots[key].argument) or key == "provider"
        )
        for key in asked:
            yield f"`{key}`, for the client's model names stand for other targets"
    lists = {
        slots[key].argument for key in keys if key.startswith(("contains_any(", "similar_to("))
    }
    for name in sorted(filter(None, lists)):
        if name in old.lists and name in new.lists and old.lists[name] != new.lists[name]:
            yield f"the list `{name}`, whose texts a condition looks for"
    if old.embedding != new.embedding and any(key.startswith("similar_to(") for key in keys):
        if old.embedding is not None and new.embedding is not None:
            yield "`similar_to`, for what makes the embeddings is another"
    budgets = {slots[key].argument for key in keys if key.startswith("budget(")}
    was, is_ = _named(old.budgets), _named(new.budgets)
    for name in sorted(filter(None, budgets)):
        if name in was and name in is_ and _budget(was[name]) != _budget(is_[name]):
            yield f"the budget `{name}`, whose state a condition reads"
    for id in sorted({*old.targets} & {*new.targets}):
        before, after = old.targets[id].expected, new.targets[id].expected
        if before != after and any(slots[key].argument == id for key in keys if key in slots):
            yield f"the values of `{id}` before there is traffic, for its `expected` changed"


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
            ("expected p95", _value(expected.p95_us, Type.DURATION)),
            ("expected ttft", _value(expected.ttft_us, Type.DURATION)),
            ("expected output", _value(expected.output, Type.NUMBER)),
            *abilities,
        )
    )


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
    rates = (("rpm", tenant.rpm), ("tpm", tenant.tpm))
    return _parts(
        (
            ("tier", tenant.tier),
            ("region", tenant.region),
            *((name, _value(rate, Type.NUMBER)) for name, rate in rates),
        )
    )


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
