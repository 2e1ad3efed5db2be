"""Makes the price list that the package carries, `engine/catalog/prices.jsonl`, from genai-prices.

Usage: python deploy/make_prices.py [--check]; with `--check` nothing is written, and the exit code
is 1 where the list is not what the installed genai-prices gives.

genai-prices is a dependency of development alone: the package only reads the list. Its licence
asks to go with its data, so a copy stands beside the list.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Literal, cast

from genai_prices.data import providers
from genai_prices.types import (
    ConditionalPrice,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from turnout.engine.catalog.prices import LIST, Listed, Origin, Price, Rates, Step

SOURCE = "genai-prices"
LICENSE = LIST.with_name("prices.LICENSE")

_NANO_USD = 10**9
# What a text model is paid for; what else the source prices (images, searches) is left out.
_RATES: Mapping[Literal["input", "output", "cached", "cache_write", "fee"], str] = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "fee": "requests_kcount",
}

# Bedrock's own ids are no clauses of the source, which looks for parts of them: every id that is
# to be known is written out here and kept where the source has it.
_BEDROCK = "aws"
_REGIONS = ("us", "us-gov", "eu", "apac", "au", "ca", "in", "jp", "global")
_GROUP = re.compile(r"(regional|global)\.")
_CLAUDE = re.compile(r"(?P<name>anthropic\.claude-.*?)(-v\d+)?(:\d+)?")
_DATED = re.compile(r".*-\d{8}")
_SNAPSHOTS = {"anthropic.claude-opus-4-5": "20251101"}


def price_list(known: Sequence[Provider], origin: Origin) -> str:
    """The text of the list: its origin, then a line for each model that a name can lead to."""
    lines = [
        _line(listed)
        for provider in sorted(known, key=lambda provider: provider.id)
        for listed in _listed(provider)
    ]
    return "\n".join([_line(origin), *lines, ""])


def _line(value: Origin | Listed) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _listed(provider: Provider) -> Iterator[Listed]:
    """The models in the source's order, in which the first that has a name keeps it."""
    if "/" in provider.id:
        raise ValueError(f"the provider `{provider.id}` cannot be told from its models")
    taken: set[str] = set()
    for model in provider.models:
        names = [name for name in dict.fromkeys(_exact_names(model)) if name not in taken]
        profiles: dict[str, list[str]] = {}
        if provider.id == _BEDROCK:
            plain, profiles = _bedrock_names(provider, model)
            names = list(dict.fromkeys((*(n for n in names if not _is_key(n)), *plain)))
        taken.update(names)
        dated = list(_clauses(model.match, "regex"))
        tuned = [t for t in _clauses(model.match, "starts_with") if t.startswith("ft:")]
        if not (names or dated or tuned or profiles):
            continue
        listed: Listed = {"model": f"{provider.id}/{model.id}", "prices": _prices(model)}
        if model.context_window is not None:
            listed["window"] = model.context_window
        if names != [model.id]:
            listed["names"] = names
        if dated:
            listed["dated"] = dated
        if tuned:
            listed["tuned"] = tuned
        if profiles:
            listed["profiles"] = profiles
        yield listed


def _is_key(name: str) -> bool:
    """Whether a name is the source's own key of a group of Bedrock's names."""
    return name.startswith("regional.")


def _bedrock_names(provider: Provider, model: ModelInfo) -> tuple[list[str], dict[str, list[str]]]:
    """Bedrock's ids of a model, and those that have inference profiles, with their regions.

    An id belongs to the first model that the source finds for it, as everywhere.
    """

    def is_of_model(name: str) -> bool:
        return next((m for m in provider.models if m.is_match(name)), None) is model

    ids = _bedrock_ids(_GROUP.sub("", model.id))
    plain = [name for name in ids if is_of_model(name)]
    regions = {name: [r for r in _REGIONS if is_of_model(f"{r}.{name}")] for name in ids}
    return plain, {name: found for name, found in regions.items() if found}


def _bedrock_ids(listed: str) -> list[str]:
    """How Bedrock may write an id of the list: newer Claudes go with and without a version."""
    claude = _CLAUDE.fullmatch(listed)
    if claude is None or _DATED.fullmatch(claude["name"]):
        return [listed]
    name = claude["name"]
    found = [listed, f"{name}-v1:0", f"{name}-v1", name]
    if snapshot := _SNAPSHOTS.get(name):
        found.append(f"{name}-{snapshot}-v1:0")
    return list(dict.fromkeys(found))


def _exact_names(model: ModelInfo) -> Iterator[str]:
    # An id may be a mere key of the source, which its own matcher does not know as a name.
    if model.is_match(model.id) and not model.id.startswith("ft:"):
        yield model.id
    yield from _clauses(model.match, "equals")


def _clauses(match: MatchLogic, kind: str) -> Iterator[str]:
    """The texts of the clauses of one kind, each enough for a match by itself."""
    for clause in getattr(match, "or_", (match,)):
        if hasattr(clause, "or_"):
            yield from _clauses(clause, kind)
        elif (text := getattr(clause, kind, None)) is not None:
            yield text


def _prices(model: ModelInfo) -> list[Price]:
    if isinstance(model.prices, ModelPrice):
        return [_price(model.prices)]
    return [_conditional(price) for price in model.prices] or [{}]


def _conditional(price: ConditionalPrice) -> Price:
    match price.constraint:
        case None:
            return _price(price.prices)
        case StartDateConstraint(start_date=day):
            return {"since": day.isoformat(), **_price(price.prices)}
        case TimeOfDateConstraint(start_time=start, end_time=end):
            return {"between": [_utc(start), _utc(end)], **_price(price.prices)}


def _utc(written: time) -> str:
    """A time of day in UTC; one without an offset is in UTC already."""
    aware = written if written.tzinfo else written.replace(tzinfo=UTC)
    at = datetime.combine(date(2000, 1, 1), aware).astimezone(UTC).time()
    return at.isoformat("seconds" if not at.microsecond else "microseconds")


def _price(price: ModelPrice) -> Price:
    """The rates of a price and their steps; none where the source has no price for input."""
    rates: dict[str, Decimal | TieredPrices] = {
        key: value for key, value in vars(price).items() if value is not None
    }
    if "input_mtok" not in rates:
        return {}
    starts = sorted({tier.start for rate in rates.values() for tier in getattr(rate, "tiers", ())})
    steps: list[Step] = [{"over": start, **_rates(rates, start + 1)} for start in starts]
    found = cast(Price, _rates(rates, 0))
    if steps:
        found["steps"] = steps
    return found


def _rates(rates: dict[str, Decimal | TieredPrices], prompt_tokens: int) -> Rates:
    found: Rates = {}
    for key, theirs in _RATES.items():
        price = rates.get(theirs)
        if isinstance(price, TieredPrices):
            tiers = [tier for tier in price.tiers if prompt_tokens > tier.start]
            price = tiers[-1].price if tiers else price.base
        if price is not None:
            found[key] = _exact(price)
    return found


def _exact(dollars: Decimal) -> int | str:
    """Nano-dollars, or the dollars as a text where these do not suffice."""
    nano = dollars * _NANO_USD
    return int(nano) if nano == nano.to_integral_value() else f"{dollars:f}"


def made(today: date) -> dict[Path, str]:
    """The files as the installed genai-prices gives them.

    The day stays that of the list that is there while nothing else changes.
    """
    origin: Origin = {
        "source": SOURCE,
        "version": version(SOURCE),
        "made": _day_of(LIST) or today.isoformat(),
    }
    text = price_list(providers, origin)
    if not LIST.exists() or LIST.read_text(encoding="utf-8") != text:
        text = price_list(providers, {**origin, "made": today.isoformat()})
    return {LIST: text, LICENSE: _license()}


def _day_of(file: Path) -> str | None:
    if not file.exists():
        return None
    first: Origin = json.loads(file.read_text(encoding="utf-8").partition("\n")[0])
    return first["made"]


def _license() -> str:
    text = distribution(SOURCE).read_text("licenses/LICENSE")
    if text is None:
        raise ValueError(f"{SOURCE} comes without its licence")
    return text


def main() -> int:
    """Write the files, or check them."""
    stale = {
        file: text
        for file, text in made(datetime.now(UTC).date()).items()
        if not file.exists() or file.read_text(encoding="utf-8") != text
    }
    if "--check" not in sys.argv:
        for file, text in stale.items():
            file.write_text(text, encoding="utf-8", newline="\n")
    elif stale:
        names = ", ".join(file.name for file in stale)
        print(f"not what {SOURCE} {version(SOURCE)} gives: {names}; run `make prices`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
