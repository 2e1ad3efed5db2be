"""Targets by name: the price list and our own table, laid over each other.

A name is known exactly or not at all: an exact name, one of our aliases, or a dated name whose
price is known to be the same. A near miss is refused, since a guess would be a guess about money.

Azure's OpenAI models cost what OpenAI's do: `azure/gpt-4o` has the price, the window and the
abilities of `openai/gpt-4o` unless Azure's part of the price list has a row of its own, which wins.
A deployment that is named otherwise is declared under `targets:`. Fireworks' own models are known
with and without `accounts/fireworks/models/`; Bedrock's by the ids of AWS, inference profiles
included (`eu.amazon.nova-pro-v1:0`), whose region can cost more than `global`; so can an id without
one, which is of the region that is asked. What goes upstream is the name as written, but for our
own aliases.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches

from turnout.dsl.schema import Schema, Target, Tariff
from turnout.engine.attributes import BY_NAME

from .prices import Entry, Prices
from .table import (
    ALIASES,
    BARE,
    FAMILIES,
    HOSTS,
    KINDS,
    LONG_NAMES,
    MAKERS,
    MODELS,
    NOT_SERVED,
    PRICED_LIKE,
    PROVIDER_ALIASES,
    PROVIDERS,
    Model,
)

_FREE = Tariff(input=0, output=0)
_UNKNOWN = Model()
_OUR_WORDS = {theirs: ours for ours, theirs in PROVIDER_ALIASES.items()}
_SHORTEST_PART = 4
_ALIKE, _ALMOST = 0.7, 0.9
# Priced by the token, but served on other endpoints than chat and embeddings.
_OTHER_ENDPOINT = re.compile(r"realtime|transcribe|tts|image|whisper|moderation|-live-|^gpt-live")


class PricedCatalog:
    """The catalogue of one day; implements `dsl.schema.Catalog`.

    Nothing is read from the price list before the first name that needs a price.
    """

    def __init__(self, on: date | None = None) -> None:
        """Choose the day (UTC) whose prices count; today by default."""
        self._prices = Prices(datetime.now(UTC).date() if on is None else on)
        self._dated = {
            provider: {f"{name}-{suffix}": name for name in rows for suffix in rows[name].dated}
            for provider, rows in MODELS.items()
        }

    def find(self, name: str) -> Target | None:
        """The target of a `provider/model` name, aliases and dated names included.

        A target whose price is not known has no tariff; an unknown name gives None.
        """
        provider, _, written = name.partition("/")
        if not provider or not written or NOT_SERVED.fullmatch(name):
            return None
        listed = PROVIDER_ALIASES.get(provider, provider)
        priced_as, upstream = self._resolve(listed, written)
        rows = MODELS.get(listed, {})
        if PROVIDERS.get(listed):
            row = rows.get(priced_as)
            return None if row is None else _target(name, provider, upstream, row, _FREE, None)
        entry = self._entry(listed, priced_as)
        if entry is None:
            return None
        rows = rows or MODELS.get(PRICED_LIKE.get(listed, ""), {})
        row = rows.get(priced_as) or rows.get(entry.id) or _UNKNOWN
        if priced_as == written and priced_as in rows and row.upstream is not None:
            upstream = row.upstream
        return _target(name, provider, upstream, row, entry.tariff, entry.window)

    def close_to(self, name: str) -> str | None:
        """The known target most like a misspelt one, for a did-you-mean.

        Looks at the provider's own models first, then for the same model elsewhere, then for a
        provider of a similar name. The price list's word for a provider leads to ours.
        """
        provider, slash, model = name.partition("/")
        if not slash:
            return self._maker_of(name)
        provider = _OUR_WORDS.get(provider, provider)
        if provider != name.partition("/")[0] and self.find(f"{provider}/{model}") is not None:
            return f"{provider}/{model}"
        if names := self._names(provider):
            known = (*names, *self._beside(provider, model))
            close = (
                _closest(model, known, _ALMOST) or _part_of(model, known) or _closest(model, known)
            )
            if close is not None:
                return f"{provider}/{close}"
            return self._maker_of(model)
        other = _closest(provider, PROVIDERS) or _closest(
            provider, {*self._prices.providers(), *PROVIDER_ALIASES}
        )
        if other is None:
            return self._maker_of(model)
        close = _closest(model, self._names(other))
        return None if close is None else f"{other}/{close}"

    def requestable(self, providers: Iterable[str]) -> Mapping[str, Target]:
        """Client-facing model names of the built-in mapping, for these providers.

        Iterating gives the priced chat and embedding models, bare where the provider is their
        maker, and as `provider/model`. Looking up also resolves dated and fine-tuned names, which
        are too many to list. Targets are built as they are asked for.
        """
        return _Requestable(self, tuple(dict.fromkeys(providers)))

    def listed(self, provider: str) -> Iterator[str]:
        """The provider's known chat and embedding models that have a price, without the prefix."""
        long = LONG_NAMES.get(provider, "/")  # no name starts with a slash
        for model in self._names(provider):
            if model.startswith(long):
                continue
            target = None if _OTHER_ENDPOINT.search(model) else self.find(f"{provider}/{model}")
            if target is not None and target.tariff is not None:
                yield model

    def _entry(self, provider: str, name: str) -> Entry | None:
        """A model's line of the price list, under its long name or another's where it has none."""
        found = self._prices.find(provider, name)
        if found is None and provider in LONG_NAMES and "/" not in name:
            return self._prices.find(provider, LONG_NAMES[provider] + name)
        if found is None and provider in PRICED_LIKE:
            return self._prices.find(PRICED_LIKE[provider], name)
        return found

    def _resolve(self, provider: str, written: str) -> tuple[str, str]:
        """The name under which a model is priced, and the name that goes upstream."""
        alias = ALIASES.get(provider, {}).get(written)
        if alias is not None:
            priced_as, upstream = alias
            return priced_as, upstream or priced_as
        return self._dated.get(provider, {}).get(written, written), written

    def _names(self, provider: str) -> Iterable[str]:
        listed = PROVIDER_ALIASES.get(provider, provider)
        own: Iterable[str] = () if not PROVIDERS.get(listed) else MODELS.get(listed, ())
        priced = self._prices.names(listed)
        long = LONG_NAMES.get(listed, "/")
        names = (
            *own,
            *(name.removeprefix(long) for name in priced),
            *priced,
            *ALIASES.get(listed, ()),
            *self._dated.get(listed, ()),
        )
        return [n for n in dict.fromkeys(names) if not NOT_SERVED.fullmatch(f"{listed}/{n}")]

    def _beside(self, provider: str, model: str) -> Iterator[str]:
        """What a provider's model may be a misspelling of beside the names that are shown."""
        listed = PROVIDER_ALIASES.get(provider, provider)
        region = model.partition(".")[0] + "."
        yield from (n for n in self._prices.profiles(listed) if n.startswith(region))
        for name in self._names(PRICED_LIKE.get(listed, "")):
            if not NOT_SERVED.fullmatch(f"{listed}/{name}"):
                yield name

    def _maker_of(self, model: str) -> str | None:
        """The known name most like a model written without its provider, or with a wrong one."""
        homes = dict(BARE)
        for provider in (*PROVIDERS, *MAKERS):
            for name in () if provider in HOSTS else self._names(provider):
                homes.setdefault(name, f"{provider}/{name}")
        glued = {
            f"{provider}{name}": f"{provider}/{name}"
            for provider in PROVIDERS
            for name in self._names(provider)
        }
        if model in glued:  # only the slash is missing
            return glued[model]
        close = _closest(model, homes)
        return None if close is None else homes[close]


class _Requestable(Mapping[str, Target]):
    def __init__(self, catalog: PricedCatalog, providers: tuple[str, ...]) -> None:
        self._catalog = catalog
        self._providers = providers
        # In one order, whatever that of the policy is: a name means the same in every file.
        self._makers = tuple(maker for maker in MAKERS if maker in providers)
        self._listed: dict[str, str] | None = None

    def __getitem__(self, name: str) -> Target:
        for full in self._candidates(name):
            target = self._catalog.find(full)
            if target is not None:
                return target
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _candidates(self, name: str) -> Iterator[str]:
        home = BARE.get(name)
        if home is not None:
            if home.partition("/")[0] in self._providers:
                yield home
            return
        if "/" in name:
            if name.partition("/")[0] in self._providers:
                yield name
            return
        yield from (f"{maker}/{name}" for maker in self._makers if _may_be_of(maker, name))

    def _all(self) -> dict[str, str]:
        if self._listed is None:
            bare = {
                n: full for n, full in BARE.items() if full.partition("/")[0] in self._providers
            }
            full: dict[str, str] = {}
            for provider in self._providers:
                for model in self._catalog.listed(provider):
                    full[f"{provider}/{model}"] = f"{provider}/{model}"
            for maker in self._makers:
                for model in self._catalog.listed(maker):
                    if model not in BARE and "/" not in model and _may_be_of(maker, model):
                        bare.setdefault(model, f"{maker}/{model}")
            self._listed = {**bare, **full}
        return self._listed


def language_schema(on: date | None = None) -> Schema:
    """What a policy may talk about in this engine, with the prices of a day (UTC; today's)."""
    return Schema(attributes=BY_NAME, catalog=PricedCatalog(on), providers=PROVIDERS, kinds=KINDS)


def _may_be_of(maker: str, model: str) -> bool:
    """Whether a bare name can mean a maker's model: no other's family."""
    listed = PROVIDER_ALIASES.get(maker, maker)
    family = re.match(r"[a-z]*", model)
    return FAMILIES.get(family[0] if family else "", listed) == listed


def _target(
    name: str,
    provider: str,
    upstream: str,
    row: Model,
    tariff: Tariff | None,
    listed_window: int | None,
) -> Target:
    window = listed_window if row.window is None else row.window
    return Target(
        id=name,
        provider=provider,
        model=upstream,
        tariff=tariff,
        context_window=window,
        # An unknown output maximum is the window: nothing longer can come back.
        max_output=window if row.output is None else row.output,
        abilities=row.abilities,
    )


def _closest(word: str, known: Iterable[str], least: float = _ALIKE) -> str | None:
    """The one most alike, compared without regard to case and separators.

    The same words in another order are the same: `claude-4-sonnet` is `claude-sonnet-4`.
    """
    plain = {re.sub(r"[\s_.:-]+", "-", name.lower()): name for name in known}
    meant = re.sub(r"[\s_.:-]+", "-", word.lower())
    if meant not in plain and "-" in meant:
        words = sorted(meant.split("-"))
        for one, name in plain.items():
            if len(one) == len(meant) and sorted(one.split("-")) == words:
                return name
    found = get_close_matches(meant, plain, n=1, cutoff=least)
    return plain[found[0]] if found else None


def _part_of(word: str, known: Iterable[str]) -> str | None:
    """The shortest name of which this is a whole part: `nova-pro` of `amazon.nova-pro-v1:0`."""
    if len(word) < _SHORTEST_PART:
        return None
    whole = re.compile(rf"(?:^|[./:]){re.escape(word.lower())}(?:$|[-./:@])")
    return min((n for n in known if whole.search(n.lower())), key=len, default=None)
