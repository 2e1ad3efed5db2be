"""Targets by name: the price list and our own table, laid over each other.

A name is known exactly or not at all: an exact name, one of our aliases, or a dated name whose
price is known to be the same. A near miss is refused, since a guess would be a guess about money.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches

from turnout.dsl.schema import Schema, Target, Tariff
from turnout.engine.attributes import BY_NAME

from .prices import Prices
from .table import (
    ALIASES,
    BARE,
    HOSTS,
    KINDS,
    MAKERS,
    MODELS,
    NOT_SERVED,
    PROVIDER_ALIASES,
    PROVIDERS,
    Model,
)

_FREE = Tariff(input=0, output=0)
_UNKNOWN = Model()
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
        entry = self._prices.find(listed, priced_as)
        if entry is None:
            return None
        row = rows.get(priced_as) or rows.get(entry.id) or _UNKNOWN
        if priced_as == written and priced_as in rows and row.upstream is not None:
            upstream = row.upstream
        return _target(name, provider, upstream, row, entry.tariff, entry.window)

    def close_to(self, name: str) -> str | None:
        """The known target most like a misspelt one, for a did-you-mean.

        Looks at the provider's own models first, then for the same model elsewhere, then for a
        provider of a similar name.
        """
        provider, slash, model = name.partition("/")
        if not slash:
            return self._maker_of(name)
        if names := self._names(provider):
            close = _closest(model, names)
            if close is not None:
                return f"{provider}/{close}"
            return self._maker_of(model)
        known = _closest(provider, PROVIDERS) or _closest(
            provider, {*self._prices.providers(), *PROVIDER_ALIASES}
        )
        if known is None:
            return self._maker_of(model)
        close = _closest(model, self._names(known))
        return None if close is None else f"{known}/{close}"

    def requestable(self, providers: Iterable[str]) -> Mapping[str, Target]:
        """Client-facing model names of the built-in mapping, for these providers.

        Iterating gives the priced chat and embedding models, bare where the provider is their
        maker, and as `provider/model`. Looking up also resolves dated and fine-tuned names, which
        are too many to list. Targets are built as they are asked for.
        """
        return _Requestable(self, tuple(dict.fromkeys(providers)))

    def listed(self, provider: str) -> Iterator[str]:
        """The provider's known chat and embedding models that have a price, without the prefix."""
        for model in self._names(provider):
            target = None if _OTHER_ENDPOINT.search(model) else self.find(f"{provider}/{model}")
            if target is not None and target.tariff is not None:
                yield model

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
        names = (
            *own,
            *self._prices.names(listed),
            *ALIASES.get(listed, ()),
            *self._dated.get(listed, ()),
        )
        return [n for n in dict.fromkeys(names) if not NOT_SERVED.fullmatch(f"{listed}/{n}")]

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
        if name.partition("/")[0] in self._providers:
            yield name
        for provider in self._providers:
            if provider in MAKERS:
                yield f"{provider}/{name}"

    def _all(self) -> dict[str, str]:
        if self._listed is None:
            bare = {
                n: full for n, full in BARE.items() if full.partition("/")[0] in self._providers
            }
            full: dict[str, str] = {}
            for provider in self._providers:
                for model in self._catalog.listed(provider):
                    full[f"{provider}/{model}"] = f"{provider}/{model}"
                    if provider in MAKERS and model not in BARE:
                        bare.setdefault(model, f"{provider}/{model}")
            self._listed = {**bare, **full}
        return self._listed


def language_schema(on: date | None = None) -> Schema:
    """What a policy may talk about in this engine, with the prices of a day (UTC; today's)."""
    return Schema(attributes=BY_NAME, catalog=PricedCatalog(on), providers=PROVIDERS, kinds=KINDS)


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


def _closest(word: str, known: Iterable[str]) -> str | None:
    """The one most alike, compared without regard to case and separators."""
    plain = {re.sub(r"[\s_.:-]+", "-", name.lower()): name for name in known}
    found = get_close_matches(re.sub(r"[\s_.:-]+", "-", word.lower()), plain, n=1, cutoff=0.7)
    return plain[found[0]] if found else None
