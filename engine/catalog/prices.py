"""The prices of public models as exact integers, for exactly known names only.

They are read from `prices.jsonl`, which `make prices` makes from genai-prices: one line for each
model, of which only those of the providers that are asked for are parsed. genai-prices matches
names by prefix (`claude-sonnet-4-20250514x` has a price there). Here a name is known if the list
names it exactly, or by a whole-name pattern that ends in a date.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from functools import cache
from pathlib import Path
from typing import NotRequired, TypedDict

from turnout.dsl.schema import Tariff

LIST = Path(__file__).with_name("prices.jsonl")

_NANO_USD = Decimal(10**9)
_DATED = re.compile(r"-(\d{4})-?(\d{2})-?(\d{2})$")
_FINE_TUNED = re.compile(r"ft:(?P<base>[^:]+):[^:]*(:[^:]*){0,3}")
_EMBEDDING = re.compile(r"embed|^voyage-|bge-|gte-")
_MIDNIGHT = "00:00:00"


class Origin(TypedDict):
    """The first line of the list: the package that it was made from, its version, and the day."""

    source: str
    version: str
    made: str


class Rates(TypedDict, total=False):
    """Rates per million tokens, as nano-USD, or as a text in USD where these do not suffice.

    Without `input` there is no price; `fee` is for a thousand requests.
    """

    input: int | str
    output: int | str
    cached: int | str
    cache_write: int | str
    fee: int | str


class Step(Rates):
    """What counts instead from more than `over` prompt tokens on."""

    over: int


class Price(Rates):
    """Rates and when they count: from a day on, or between two times of each day (UTC)."""

    since: NotRequired[str]
    between: NotRequired[Sequence[str]]
    steps: NotRequired[Sequence[Step]]


class Listed(TypedDict):
    """A line of the list.

    `model` is its provider and its id. Of `prices` the last one that holds counts, and the first
    where none does. `names` are its exact names where these are not just its id, `dated` patterns
    of dated ones, `tuned` the beginnings of fine-tuned ones, `profiles` Bedrock's ids with the
    regions that may stand before them (`us.amazon.nova-pro-v1:0`).
    """

    model: str
    prices: Sequence[Price]
    window: NotRequired[int]
    names: NotRequired[Sequence[str]]
    dated: NotRequired[Sequence[str]]
    tuned: NotRequired[Sequence[str]]
    profiles: NotRequired[Mapping[str, Sequence[str]]]


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
        self._on = on.isoformat()
        self._entries: dict[tuple[str, str], Entry] = {}

    def find(self, provider: str, model: str) -> Entry | None:
        """The entry of an exactly known model, a dated name of one, or a fine-tuned one.

        A fine-tuned model has the price that the list has for fine-tuned models of its base;
        where it has none, the tariff is None: the base's own price would be too low.
        """
        if model.startswith("ft:"):
            return self._fine_tuned(provider, model)
        listed = self.names(provider).get(model) or self.profiles(provider).get(model)
        if listed is None:
            dated = _dated(provider, model)
            return None if dated is None else self._entry(dated, model)
        # Only names of the list are kept, so callers cannot make this grow without bound.
        if (provider, model) not in self._entries:
            self._entries[provider, model] = self._entry(listed, model)
        return self._entries[provider, model]

    def providers(self) -> Iterable[str]:
        """The providers that the list knows."""
        return _lines()

    def names(self, provider: str) -> Mapping[str, Listed]:
        """The exactly known model names of a provider; empty where the list lacks it."""
        return _names(provider) if provider in _lines() else {}

    def profiles(self, provider: str) -> Mapping[str, Listed]:
        """The names of a provider that go through a region; too many to be shown."""
        return _profiles(provider) if provider in _lines() else {}

    def _fine_tuned(self, provider: str, model: str) -> Entry | None:
        written = _FINE_TUNED.fullmatch(model)
        base = None if written is None else self.find(provider, written["base"])
        if base is None:
            return None
        prefixes = (
            (len(prefix), listed)
            for listed in _models(provider)
            for prefix in listed.get("tuned", ())
            if model.startswith(prefix)
        )
        longest = max(prefixes, key=lambda found: found[0], default=None)
        if longest is None:
            return Entry(base.id, None, base.window)
        return Entry(base.id, self._entry(longest[1], model).tariff, base.window)

    def _entry(self, listed: Listed, name: str) -> Entry:
        tariffs = [_tariff(price, name) for price in self._prices_of_the_day(listed["prices"])]
        known = [tariff for tariff in tariffs if tariff is not None]
        tariff = dearest(known) if known and len(known) == len(tariffs) else None
        return Entry(listed["model"].partition("/")[2], tariff, listed.get("window"))

    def _prices_of_the_day(self, prices: Sequence[Price]) -> Iterator[Price]:
        """The prices that hold at some time of the day: a change comes only at a boundary."""
        for time in sorted({_MIDNIGHT}.union(*(price.get("between", ()) for price in prices))):
            yield next((p for p in reversed(prices) if self._holds(p, time)), prices[0])

    def _holds(self, price: Price, time: str) -> bool:
        if "between" in price:
            start, end = price["between"]
            return start <= time < end if start <= end else time >= start or time < end
        return price.get("since", "") <= self._on


@cache
def origin() -> Origin:
    """What the list was made from, and when."""
    with LIST.open(encoding="utf-8") as file:
        first: Origin = json.loads(file.readline())
    return first


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


def _tariff(price: Price, name: str) -> Tariff | None:
    """A tariff, or None where the list does not price what a text model uses."""
    if "input" not in price:
        return None
    if "output" not in price and not _EMBEDDING.search(name):
        return None
    return _read(price, tuple((step["over"], _read(step)) for step in price.get("steps", ())))


def _read(rates: Rates, above: tuple[tuple[int, Tariff], ...] = ()) -> Tariff:
    return Tariff(
        input=_exact(rates.get("input")) or 0,
        output=_exact(rates.get("output")) or 0,
        cached=_exact(rates.get("cached")),
        cache_write=_exact(rates.get("cache_write")),
        request=-(-(_exact(rates.get("fee")) or 0) // 1000),
        above=above,
    )


def _exact(rate: int | str | None) -> int | None:
    return nano_usd(Decimal(rate)) if isinstance(rate, str) else rate


@cache
def _lines() -> Mapping[str, list[str]]:
    """The lines of the list by provider, not parsed: most are never asked for."""
    found: dict[str, list[str]] = {}
    head = len('{"model":"')
    with LIST.open(encoding="utf-8") as file:
        next(file)  # the origin
        for line in file:
            found.setdefault(line[head : line.index("/", head)], []).append(line)
    return found


@cache
def _models(provider: str) -> Sequence[Listed]:
    """The models of a provider that is in the list."""
    parsed: Sequence[Listed] = json.loads(f"[{','.join(_lines()[provider])}]")
    return parsed


@cache
def _names(provider: str) -> Mapping[str, Listed]:
    return {
        name: listed
        for listed in _models(provider)
        for name in listed.get("names", (listed["model"].partition("/")[2],))
    }


@cache
def _profiles(provider: str) -> Mapping[str, Listed]:
    return {
        f"{region}.{name}": listed
        for listed in _models(provider)
        for name, regions in listed.get("profiles", {}).items()
        for region in regions
    }


def _dated(provider: str, model: str) -> Listed | None:
    """The first model of which a whole-name pattern matches this dated name."""
    if provider not in _lines() or not _is_dated(model):
        return None
    for listed in _models(provider):
        if any(re.fullmatch(pattern, model) for pattern in listed.get("dated", ())):
            return listed
    return None


def _is_dated(name: str) -> bool:
    found = _DATED.search(name)
    if found is None:
        return False
    try:
        date(*(int(part) for part in found.groups()))
    except ValueError:
        return False
    return True
