"""The price list of the package against genai-prices, from which it is made."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ConditionalPrice,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from deploy import make_prices
from turnout.dsl.schema import Tariff
from turnout.engine.catalog.prices import LIST, Prices, origin

ON = date(2026, 11, 21)
HOURS = tuple(range(24))
# Prompt tokens, and of these read from a cache and written to one.
USAGES = ((1_000, 0, 0), (150_000, 400, 0), (300_000, 400, 300))
OUTPUT = 77


def ours(tariff: Tariff, prompt: int, read: int, written: int) -> int:
    """What a usage costs by a tariff, in nano-USD of a millionth of a token."""
    rates = next((step for over, step in reversed(tariff.above) if prompt > over), tariff)
    cached = rates.input if rates.cached is None else rates.cached
    write = rates.input if rates.cache_write is None else rates.cache_write
    fresh = prompt - read - written
    tokens = fresh * rates.input + read * cached + written * write + OUTPUT * rates.output
    return tokens + rates.request * 10**6


def theirs(
    info: ModelInfo, provider: Provider, at: datetime, prompt: int, read: int, written: int
) -> Decimal:
    """The same by the library's own calculation."""
    usage = Usage(
        input_tokens=prompt,
        cache_read_tokens=read,
        cache_write_tokens=written,
        output_tokens=OUTPUT,
    )
    return info.calc_price(usage, provider, genai_request_timestamp=at).total_price * 10**15


def days(info: ModelInfo) -> set[date]:
    """A day, and those on which a price of the model changes, with the days before them."""
    conditions = info.prices if isinstance(info.prices, list) else []
    starts = [
        price.constraint.start_date
        for price in conditions
        if isinstance(price.constraint, StartDateConstraint)
    ]
    return {ON, *starts, *(start - timedelta(days=1) for start in starts)}


def hours(info: ModelInfo) -> tuple[int, ...]:
    conditions = info.prices if isinstance(info.prices, list) else []
    timed = any(isinstance(price.constraint, TimeOfDateConstraint) for price in conditions)
    return HOURS if timed else (12,)


def is_priced(price: ModelPrice) -> bool:
    return price.input_mtok is not None and price.output_mtok is not None


@pytest.mark.uncounted
@pytest.mark.parametrize("provider", providers, ids=lambda provider: provider.id)
def test_every_name_costs_what_the_library_calculates_on_every_day_of_a_change(
    provider: Provider,
) -> None:
    infos = {info.id: info for info in provider.models}
    shown = [n for n in Prices(ON).names(provider.id) if not n.startswith("ft:")]
    names = [*shown, *Prices(ON).profiles(provider.id)]
    for name in names:
        found = Prices(ON).find(provider.id, name)
        assert found is not None
        info = infos[found.id]
        assert info is next(one for one in provider.models if one.is_match(name))
        assert found.window == info.context_window
        for day in days(info):
            entry = Prices(day).find(provider.id, name)
            assert entry is not None and entry.id == info.id
            moments = [datetime(day.year, day.month, day.day, h, tzinfo=UTC) for h in hours(info)]
            if entry.tariff is None:
                assert not all(is_priced(info.get_prices(at)) for at in moments), (name, day)
                continue
            for usage in USAGES:
                highest = max(theirs(info, provider, at, *usage) for at in moments)
                cost = ours(entry.tariff, *usage)
                # A rate finer than a nano-dollar is rounded up, for each token.
                excess = usage[0] + OUTPUT if is_fine(info) else 0
                # Over a day, the dearest input rate may be of another hour than the dearest output.
                is_close = cost <= highest + excess or len(moments) > 1
                assert highest <= cost and is_close, (name, day, usage)


def is_fine(info: ModelInfo) -> bool:
    """Whether a price of the model is no whole number of nano-dollars."""
    prices = info.prices if isinstance(info.prices, list) else [info]
    values = [value for price in prices for value in vars(price.prices).values()]
    rates = [v for v in values if isinstance(v, Decimal)]
    rates += [v.base for v in values if isinstance(v, TieredPrices)]
    rates += [tier.price for v in values if isinstance(v, TieredPrices) for tier in v.tiers]
    return any(rate * 10**9 % 1 for rate in rates)


def test_every_exact_name_of_the_library_is_known_and_nearly_all_have_a_price() -> None:
    lacking = {
        f"{provider.id}/{name}"
        for provider in providers
        for info in provider.models
        for name in equal_to(info.match)
        if name not in Prices(ON).names(provider.id)
    }
    assert lacking == set()
    found = [
        Prices(ON).find(provider, name)
        for provider in Prices(ON).providers()
        for name in Prices(ON).names(provider)
    ]
    assert sum(entry is not None and entry.tariff is not None for entry in found) > 3_000


def equal_to(match: MatchLogic) -> Iterator[str]:
    if isinstance(match, ClauseOr):
        for clause in match.or_:
            yield from equal_to(clause)
    elif isinstance(match, ClauseEquals):
        yield match.equals


def patterns(match: MatchLogic) -> Iterator[str]:
    if isinstance(match, ClauseOr):
        for clause in match.or_:
            yield from patterns(clause)
    elif isinstance(match, ClauseRegex):
        yield match.regex


def test_a_dated_name_is_known_where_a_pattern_of_the_library_matches_the_whole_of_it() -> None:
    prices = Prices(ON)
    known = 0
    for provider in providers:
        exact = prices.names(provider.id)
        written = [p for info in provider.models for p in patterns(info.match)]
        for info in provider.models:
            for dated in (f"{info.id}-20261001", f"{info.id}-2026-10-01"):
                expected = dated in exact or any(re.fullmatch(p, dated) for p in written)
                if not dated.startswith("ft:"):
                    assert (prices.find(provider.id, dated) is not None) == expected, dated
                    known += expected
    assert known > 40


def listed(*models: ModelInfo) -> list[dict[str, object]]:
    """The lines of a list of these models, without the first."""
    house = Provider(id="house", name="House", api_pattern="", models=list(models))
    text = make_prices.price_list(
        [house], {"source": "genai-prices", "version": "0", "made": "2026-11-21"}
    )
    return [json.loads(line) for line in text.splitlines()[1:]]


def test_a_line_holds_nano_dollars_and_finer_prices_as_texts() -> None:
    price = ModelPrice(input_mtok=Decimal("0.075"), output_mtok=Decimal("0.0833333333333333"))
    info = ModelInfo(id="m", match=ClauseEquals("m"), prices=price, context_window=8_192)
    assert listed(info) == [
        {
            "model": "house/m",
            "prices": [{"input": 75_000_000, "output": "0.0833333333333333"}],
            "window": 8_192,
        }
    ]


def test_steps_hold_every_rate_that_counts_from_there_on() -> None:
    tiers = TieredPrices(base=Decimal(1), tiers=[Tier(start=200_000, price=Decimal(2))])
    price = ModelPrice(input_mtok=tiers, output_mtok=Decimal(3), requests_kcount=Decimal(5))
    assert listed(ModelInfo(id="m", match=ClauseEquals("m"), prices=price))[0]["prices"] == [
        {
            "input": 10**9,
            "output": 3 * 10**9,
            "fee": 5 * 10**9,
            "steps": [{"over": 200_000, "input": 2 * 10**9, "output": 3 * 10**9, "fee": 5 * 10**9}],
        }
    ]


def test_times_of_the_day_are_written_in_utc() -> None:
    zone = datetime.fromisoformat("2026-01-01T00:00:00+02:00").timetz()
    timed = TimeOfDateConstraint(start_time=zone, end_time=zone.replace(hour=9))
    price = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1))
    info = ModelInfo(
        id="m", match=ClauseEquals("m"), prices=[ConditionalPrice(timed, prices=price)]
    )
    assert listed(info)[0]["prices"] == [
        {"between": ["22:00:00", "07:00:00"], "input": 10**9, "output": 10**9}
    ]


def test_what_no_text_is_priced_by_is_left_out_and_so_is_a_model_without_a_name() -> None:
    hourly = ModelPrice(audio_hours=Decimal(1))
    assert listed(ModelInfo(id="m", match=ClauseEquals("m"), prices=hourly))[0]["prices"] == [{}]
    assert listed(ModelInfo(id="m", match=ClauseEquals("m"), prices=[]))[0]["prices"] == [{}]
    nameless = ClauseRegex("^n$")
    assert listed(ModelInfo(id="key", match=nameless, prices=hourly))[0]["names"] == []
    assert listed(ModelInfo(id="key", match=ClauseOr([]), prices=hourly)) == []


def test_a_name_belongs_to_the_first_model_that_has_it() -> None:
    price = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1))
    both = ClauseOr([ClauseEquals("a"), ClauseEquals("b")])
    first, second = listed(
        ModelInfo(id="a", match=both, prices=price),
        ModelInfo(id="b", match=ClauseOr([ClauseEquals("b"), ClauseEquals("c")]), prices=price),
    )
    assert (first["names"], second["names"]) == (["a", "b"], ["c"])


def test_the_list_is_sorted_and_has_each_model_once() -> None:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    models = [json.loads(line)["model"] for line in lines[1:]]
    split = [tuple(model.split("/", 1)) for model in models]
    assert split == sorted(split)
    assert len(set(models)) == len(models) > 2_000


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["make_prices.py", *words])
    return make_prices.main()


def test_the_list_in_the_tree_is_what_the_installed_library_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(monkeypatch, "--check") == 0


def test_a_list_that_was_edited_is_refused_and_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "prices.jsonl"
    monkeypatch.setattr(make_prices, "LIST", copy)
    monkeypatch.setattr(make_prices, "LICENSE", tmp_path / "prices.LICENSE")
    assert run(monkeypatch, "--check") == 1
    assert "prices.jsonl, prices.LICENSE; run `make prices`" in capsys.readouterr().out
    assert run(monkeypatch) == 0
    assert run(monkeypatch, "--check") == 0
    copy.write_text(copy.read_text().replace('"input":2500000000', '"input":2400000000'))
    assert run(monkeypatch, "--check") == 1
    assert run(monkeypatch) == 0
    assert copy.read_text().splitlines()[1:] == LIST.read_text().splitlines()[1:]


def test_the_day_of_the_list_changes_only_with_its_prices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = tmp_path / "prices.jsonl"
    monkeypatch.setattr(make_prices, "LIST", copy)
    copy.write_text(LIST.read_text(encoding="utf-8"), encoding="utf-8")
    assert make_prices.made(date(2030, 1, 1))[copy] == copy.read_text(encoding="utf-8")
    copy.write_text(copy.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert '"made":"2030-01-01"' in make_prices.made(date(2030, 1, 1))[copy]


def test_the_origin_of_the_list_is_the_pinned_library() -> None:
    pins = (Path(__file__).parents[2] / "requirements-dev.txt").read_text(encoding="utf-8")
    assert f"\n{origin()['source']}=={origin()['version']} " in pins
    assert date.fromisoformat(origin()["made"]) >= ON


def test_only_the_lines_of_the_provider_that_is_asked_for_are_parsed(tmp_path: Path) -> None:
    other = LIST.read_text(encoding="utf-8").replace('{"model":"google/', '{"model":"google/"x')
    (tmp_path / "prices.jsonl").write_text(other, encoding="utf-8")
    code = (
        "import sys; from datetime import date; from pathlib import Path;"
        "from turnout.engine.catalog import prices; prices.LIST = Path(sys.argv[1]);"
        "found = prices.Prices(date(2026, 11, 21)); assert found.find('openai', 'gpt-4o');"
        "assert 'google' in found.providers(); print('so far'); found.names('google')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "prices.jsonl")], capture_output=True, text=True
    )
    assert ran.stdout == "so far\n"
    assert ran.stderr.splitlines()[-1].startswith("json.decoder.JSONDecodeError")
