"""Prices from genai-prices as exact integers, for exactly known names only.

genai-prices matches names by prefix (`claude-sonnet-4-20250514x` has a price there). Here a name
is known if the list names it exactly, or by a whole-name pattern that ends in a date. Its import
takes a sixth of a second, so it waits for the first question.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from turnout.dsl.schema import Tariff

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic, ModelInfo, ModelPrice, Provider, TieredPrices

_NANO_USD = Decimal(10**9)
_DATED = re.compile(r"-(\d{4})-?(\d{2})-?(\d{2})$")
_FINE_TUNED = re.compile(r"ft:(?P<base>[^:]+):[^:]*(:[^:]*){0,3}")
_EMBEDDING = re.compile(r"embed|^voyage-|bge-|gte-")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the price list says of a model: its id there, its tariff, its window in tokens."""

    id: str
    tariff: Tariff | None
    window: int | None


class Prices:
    """The price list as of one day (UTC)."""

    def __init__(self, on: date) -> None:
        """Choose the day whose prices count."""
        self._on = on
        self._names: dict[str, Mapping[str, ModelInfo]] = {}
        self._entries: dict[tuple[str, str], Entry] = {}

    def find(self, provider: str, model: str) -> Entry | None:
        """The entry of an exactly known model, a dated name of one, or a fine-tuned one.

        A fine-tuned model has the price that the list has for fine-tuned models of its base;
        where it has none, the tariff is None: the base's own price would be too low.
        """
        if model.startswith("ft:"):
            return self._fine_tuned(provider, model)
        info = self.names(provider).get(model)
        if info is None:
            dated = self._dated(provider, model)
            return None if dated is None else self._entry(dated, model)
        # Only names of the list are kept, so callers cannot make this grow without bound.
        if (provider, model) not in self._entries:
            self._entries[provider, model] = self._entry(info, model)
        return self._entries[provider, model]

    def providers(self) -> Iterable[str]:
        """The providers that the list knows."""
        return self._providers

    def names(self, provider: str) -> Mapping[str, "ModelInfo"]:
        """The exactly known model names of a provider; empty where the list lacks it."""
        if provider not in self._names:
            found = self._providers.get(provider)
            if found is None:
                return {}
            self._names[provider] = _exact_names(found)
        return self._names[provider]

    @cached_property
    def _providers(self) -> Mapping[str, "Provider"]:
        from genai_prices.data import providers

        return {provider.id: provider for provider in providers}

    def _dated(self, provider: str, model: str) -> "ModelInfo | None":
        if provider not in self._providers or not _is_dated(model):
            return None
        for info in self._providers[provider].models:
            for pattern in _clauses(info.match, "regex"):
                if re.fullmatch(pattern, model):
                    return info
        return None

    def _fine_tuned(self, provider: str, model: str) -> Entry | None:
        written = _FINE_TUNED.fullmatch(model)
        base = None if written is None else self.find(provider, written["base"])
        if base is None:
            return None
        prefixes = (
            (len(prefix), info)
            for info in self._providers[provider].models
            for prefix in _clauses(info.match, "starts_with")
            if prefix.startswith("ft:") and model.startswith(prefix)
        )
        longest = max(prefixes, key=lambda found: found[0], default=None)
        if longest is None:
            return Entry(base.id, None, base.window)
        return Entry(base.id, self._entry(longest[1], model).tariff, base.window)

    def _entry(self, info: "ModelInfo", name: str) -> Entry:
        tariffs = [_tariff(price, name) for price in self._prices_of_the_day(info)]
        known = [tariff for tariff in tariffs if tariff is not None]
        tariff = dearest(known) if known and len(known) == len(tariffs) else None
        return Entry(info.id, tariff, info.context_window)

    def _prices_of_the_day(self, info: "ModelInfo") -> "Iterator[ModelPrice]":
        """The prices that hold at some time of the day: a change comes only at a boundary."""
        times = {time(0)}
        for conditional in info.prices if isinstance(info.prices, list) else ():
            for bound in ("start_time", "end_time"):
                written = getattr(conditional.constraint, bound, None)
                if written is not None:
                    aware = written if written.tzinfo else written.replace(tzinfo=UTC)
                    at = datetime.combine(self._on, aware).astimezone(UTC)
                    times.add(at.time())
        for moment in sorted(times):
            yield info.get_prices(datetime.combine(self._on, moment, tzinfo=UTC))


def nano_usd(dollars: Decimal) -> int:
    """Dollars as nano-dollars; a finer fraction is rounded up, so nothing is priced too low."""
    return int((dollars * _NANO_USD).to_integral_value(ROUND_CEILING))


def dearest(tariffs: list[Tariff]) -> Tariff:
    """The tariff that is never below any of them, rate by rate and step by step."""
    if len(tariffs) == 1:
        return tariffs[0]
    starts = sorted({start for tariff in tariffs for start, _ in tariff.above})
    steps = tuple((start, _highest([_rates(t, start + 1) for t in tariffs])) for start in starts)
    lowest = _highest([_rates(tariff, 0) for tariff in tariffs])
    return Tariff(
        lowest.input, lowest.output, lowest.cached, lowest.cache_write, lowest.request, steps
    )


def _rates(tariff: Tariff, prompt_tokens: int) -> Tariff:
    found = tariff
    for start, above in tariff.above:
        if prompt_tokens > start:
            found = above
    return found


def _highest(tariffs: list[Tariff]) -> Tariff:
    cached = [t.cached for t in tariffs if t.cached is not None]
    written = [t.cache_write for t in tariffs if t.cache_write is not None]
    return Tariff(
        input=max(t.input for t in tariffs),
        output=max(t.output for t in tariffs),
        # A tariff without a rate of its own bills such tokens as input, which is dearer.
        cached=max(cached) if len(cached) == len(tariffs) else None,
        cache_write=max(written) if written else None,
        request=max(t.request for t in tariffs),
    )


def _tariff(price: "ModelPrice", name: str) -> Tariff | None:
    """A tariff, or None where the list does not price what a text model uses."""
    rates: dict[str, Decimal | TieredPrices] = {
        key: value for key, value in vars(price).items() if value is not None
    }
    if "input_mtok" not in rates:
        return None
    if "output_mtok" not in rates and not _EMBEDDING.search(name):
        return None
    starts = sorted({tier.start for rate in rates.values() for tier in getattr(rate, "tiers", ())})
    lowest = _step(rates, 0)
    steps = tuple((start, _step(rates, start + 1)) for start in starts)
    return Tariff(
        lowest.input, lowest.output, lowest.cached, lowest.cache_write, lowest.request, steps
    )


def _step(rates: "Mapping[str, Decimal | TieredPrices]", prompt_tokens: int) -> Tariff:
    def rate(key: str) -> int | None:
        price = rates.get(key)
        if price is None:
            return None
        if not isinstance(price, Decimal):
            tiers = [tier for tier in price.tiers if prompt_tokens > tier.start]
            price = tiers[-1].price if tiers else price.base
        return nano_usd(price)

    fee = rate("requests_kcount")
    return Tariff(
        input=rate("input_mtok") or 0,
        output=rate("output_mtok") or 0,
        cached=rate("cache_read_mtok"),
        cache_write=rate("cache_write_mtok"),
        request=0 if fee is None else -(-fee // 1000),
    )


def _exact_names(provider: "Provider") -> Mapping[str, "ModelInfo"]:
    names: dict[str, ModelInfo] = {}
    for info in provider.models:
        # An id may be a mere key of the list, which its own matcher does not know as a name.
        if info.is_match(info.id) and not info.id.startswith("ft:"):
            names.setdefault(info.id, info)
        for name in _clauses(info.match, "equals"):
            names.setdefault(name, info)
    return names


def _clauses(match: "MatchLogic", kind: str) -> Iterator[str]:
    """The texts of the clauses of one kind, each enough for a match by itself."""
    for clause in getattr(match, "or_", (match,)):
        if hasattr(clause, "or_"):
            yield from _clauses(clause, kind)
        elif (text := getattr(clause, kind, None)) is not None:
            yield text


def _is_dated(name: str) -> bool:
    found = _DATED.search(name)
    if found is None:
        return False
    try:
        date(*(int(part) for part in found.groups()))
    except ValueError:
        return False
    return True
