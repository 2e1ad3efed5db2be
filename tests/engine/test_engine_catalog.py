import re
import subprocess
import sys
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.dsl.schema import Tariff
from turnout.engine.catalog import AS_OF, KINDS, PROVIDERS, PricedCatalog, language_schema
from turnout.engine.catalog.prices import Prices, dearest, nano_usd
from turnout.engine.catalog.table import ALIASES, BARE, MODELS

ON = date(2026, 11, 21)
CATALOG = PricedCatalog(ON)
OURS = ("openai", "anthropic", "groq", "ollama")


def tariff(name: str, catalog: PricedCatalog = CATALOG) -> Tariff:
    target = catalog.find(name)
    assert target is not None
    assert target.tariff is not None
    return target.tariff


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai/gpt-4o", Tariff(2_500_000_000, 10_000_000_000, 1_250_000_000)),
        ("openai/gpt-4o-mini", Tariff(150_000_000, 600_000_000, 75_000_000)),
        ("openai/gpt-4", Tariff(30_000_000_000, 60_000_000_000)),
        ("openai/gpt-4o-2024-05-13", Tariff(5_000_000_000, 15_000_000_000)),
        ("openai/o3-mini", Tariff(1_100_000_000, 4_400_000_000, 550_000_000)),
        ("openai/text-embedding-3-small", Tariff(20_000_000, 0)),
        ("openai/text-embedding-3-large", Tariff(130_000_000, 0)),
        ("groq/llama-3-8b", Tariff(50_000_000, 80_000_000)),
        ("groq/llama-3-70b", Tariff(590_000_000, 790_000_000)),
        (
            "anthropic/claude-sonnet-4",
            Tariff(3_000_000_000, 15_000_000_000, 300_000_000, 3_750_000_000),
        ),
        ("ollama/qwen2.5:14b", Tariff(0, 0)),
    ],
)
def test_rates_are_exact_nano_dollars_per_million_tokens(name: str, expected: Tariff) -> None:
    assert tariff(name) == expected


def test_a_price_tiered_by_prompt_size_becomes_steps() -> None:
    assert tariff("anthropic/claude-sonnet-4-5") == Tariff(
        3_000_000_000,
        15_000_000_000,
        300_000_000,
        3_750_000_000,
        above=((200_000, Tariff(6_000_000_000, 22_500_000_000, 600_000_000, 7_500_000_000)),),
    )


def test_of_prices_by_the_time_of_day_the_dearest_counts() -> None:
    assert tariff("deepseek/deepseek-chat") == Tariff(270_000_000, 1_100_000_000, 70_000_000)


def test_a_dated_price_is_that_of_the_catalogues_day() -> None:
    before = tariff("openai/o3", PricedCatalog(date(2025, 6, 9)))
    after = tariff("openai/o3", PricedCatalog(date(2025, 6, 10)))
    assert (before.input, after.input) == (10_000_000_000, 2_000_000_000)


def test_a_fee_per_request_is_in_the_tariff() -> None:
    assert tariff("perplexity/sonar-pro").request == 14_000_000


def test_a_fraction_of_a_nano_dollar_is_rounded_up() -> None:
    assert nano_usd(Decimal("0.0833333333333333")) == 83_333_334
    assert nano_usd(Decimal("0.075")) == 75_000_000


@pytest.mark.parametrize(
    ("name", "upstream", "window", "output"),
    [
        ("groq/llama-3-8b", "llama-3.1-8b-instant", 131_072, 131_072),
        ("groq/llama-3-70b", "llama-3.3-70b-versatile", 131_072, 32_768),
        ("anthropic/claude-sonnet", "claude-sonnet-5-5", 1_000_000, 128_000),
        ("anthropic/claude-sonnet-4", "claude-sonnet-4-20250514", 200_000, 64_000),
        ("anthropic/claude-sonnet-4-20250514", "claude-sonnet-4-20250514", 200_000, 64_000),
        ("anthropic/claude-3-haiku", "claude-3-haiku-20240307", 200_000, 4_096),
        ("anthropic/claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001", 200_000, 64_000),
        ("openai/gpt-4", "gpt-4", 8_192, 8_192),
        ("openai/gpt-4o", "gpt-4o", 128_000, 16_384),
        ("openai/gpt-4o-2024-08-06", "gpt-4o-2024-08-06", 128_000, 16_384),
        ("openai/gpt-4.1-mini", "gpt-4.1-mini", 1_047_576, 32_768),
        ("openai/text-embedding-3-small", "text-embedding-3-small", 8_191, 0),
        ("groq/openai/gpt-oss-120b", "openai/gpt-oss-120b", 131_072, 65_536),
        ("gemini/gemini-2.5-pro", "gemini-2.5-pro", 1_048_576, 65_536),
    ],
)
def test_a_name_resolves_to_its_upstream_model_window_and_output(
    name: str, upstream: str, window: int, output: int
) -> None:
    target = CATALOG.find(name)
    assert target is not None
    found = (target.id, target.model, target.context_window, target.max_output)
    assert found == (name, upstream, window, output)
    assert target.provider == name.partition("/")[0]


def test_every_name_of_the_table_has_a_price_and_a_window() -> None:
    names = [
        f"{provider}/{model}"
        for provider, rows in MODELS.items()
        for model in (
            *rows,
            *(f"{row}-{dated}" for row in rows for dated in rows[row].dated),
            *ALIASES.get(provider, ()),
        )
    ]
    found = {name: CATALOG.find(name) for name in [*names, *BARE.values()]}
    assert [n for n, t in found.items() if t is None or t.tariff is None] == []
    assert [n for n, t in found.items() if t is None or not t.context_window] == []
    assert AS_OF <= ON


@pytest.mark.parametrize(
    "name",
    [
        "anthropic/claude-sonnet-4-20250514x",
        "anthropic/claude-sonnet-4-2025",
        "anthropic/claude-sonnet-4-20250515",
        "anthropic/claude-sonnet-5-5-20261301",
        "anthropic/claude-sonnet-5-5-2026",
        "openai/gpt-4o-2024-08-07",
        "openai/gpt-4o-mini-2",
        "openai/gpt-5-1",
        "openai/gpt-oss-20b",
        "openai/ft:gpt-4o-2024-08-07:acme::abc",
        "openai/ft:gpt-4o-2024-08-06",
        "openai/ft:nope:acme::abc",
        "gemini/claude-sonnet-4-5",
        "google/claude-opus-4",
        "gemini/anthropic/claude-sonnet-4",
        "gemini/gemma-4-26b-a4b-it-maas",
        "xai/x-ai/grok-4.5",
        "bedrock/claude-sonnet-5",
        "bedrock/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/mars.amazon.nova-pro-v1:0",
        "bedrock/amazon.nova-pro-v2:0",
        "bedrock/us.us.amazon.nova-pro-v1:0",
        "azure/gpt-oss-120b",
        "azure/ft:gpt-4o-2024-08-06:acme::abc",
        "azure/claude-sonnet-4-5",
        "fireworks/models/llama-v3p1-8b-instruct",
        "fireworks/glm-5p1-fast",
        "groq/llama-3-8",
        "groq/Llama-3-8b",
        "ollama/nothing-like-it",
        "nobody/gpt-4o",
        "gpt-4o",
        "openai/",
        "/gpt-4o",
        "",
        "openai/gpt-4o ",
        "openai/gpt-4o\n",
    ],
)
def test_a_near_miss_is_not_found(name: str) -> None:
    assert CATALOG.find(name) is None


def test_a_dated_name_is_found_where_the_price_list_says_every_date_costs_the_same() -> None:
    dated = CATALOG.find("anthropic/claude-sonnet-5-5-20261001")
    assert dated is not None
    assert dated.tariff == tariff("anthropic/claude-sonnet-5-5")
    assert dated.max_output == 128_000


def test_a_fine_tuned_model_has_the_price_of_fine_tuned_ones_and_the_base_windows() -> None:
    target = CATALOG.find("openai/ft:gpt-4o-2024-08-06:acme::abc")
    assert target is not None
    assert target.tariff == Tariff(3_750_000_000, 15_000_000_000)
    assert (target.context_window, target.max_output) == (128_000, 16_384)
    assert target.model == "ft:gpt-4o-2024-08-06:acme::abc"


@pytest.mark.parametrize(
    "name", ["openai/ft:gpt-4.1-2025-04-14:acme::abc", "openai/whisper-1", "google/gemma-3"]
)
def test_a_known_model_without_a_known_price_has_no_tariff(name: str) -> None:
    target = CATALOG.find(name)
    assert target is not None
    assert target.tariff is None


def test_an_unknown_output_maximum_is_the_window() -> None:
    target = CATALOG.find("perplexity/sonar-pro")
    assert target is not None
    assert target.context_window is not None
    assert target.max_output == target.context_window


def test_abilities_say_only_what_is_known() -> None:
    gpt4, sonnet, sonar = (
        CATALOG.find(name)
        for name in ("openai/gpt-4", "anthropic/claude-sonnet-4", "perplexity/sonar-pro")
    )
    assert gpt4 is not None and sonnet is not None and sonar is not None
    assert gpt4.abilities == {"vision": False, "tools": True, "json": False}
    assert sonnet.abilities == {"vision": True, "tools": True}
    assert sonar.abilities == {}


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("gpt-4o", "openai/gpt-4o"),
        ("gpt4o", "openai/gpt-4o"),
        ("claude-3-5-sonet", "anthropic/claude-3-5-sonnet"),
        ("llama-3-8b", "groq/llama-3-8b"),
        ("openia/gpt-4o", "openai/gpt-4o"),
        ("openai/gpt-4o-mni", "openai/gpt-4o-mini"),
        ("openai/gpt-5-1", "openai/gpt-5.1"),
        ("groq/llama3-8b", "groq/llama-3-8b"),
        ("groq/gpt-4o", "openai/gpt-4o"),
        ("openai/claude-sonnet", "anthropic/claude-sonnet"),
        ("anthropic/claude-sonet", "anthropic/claude-sonnet"),
        ("antropic/claude-sonet", "anthropic/claude-sonnet"),
        ("anthropic/claude-sonnet-4-20250514x", "anthropic/claude-sonnet-4-20250514"),
        ("olama/qwen2.5:14b", "ollama/qwen2.5:14b"),
        ("claude-4-sonnet", "anthropic/claude-sonnet-4"),
        ("gemini/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("google/gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("google/gemini-2.5-flsh", "gemini/gemini-2.5-flash"),
        ("aws/amazon.nova-pro-v1:0", "bedrock/amazon.nova-pro-v1:0"),
        ("bedrock/nova-pro", "bedrock/amazon.nova-pro-v1:0"),
        ("bedrock/claude-sonnet-4-5", "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("bedrock/eu.amazon.nova-pro-v1", "bedrock/eu.amazon.nova-pro-v1:0"),
        ("fireworks/llama-v3p1-8b-instrct", "fireworks/llama-v3p1-8b-instruct"),
        ("azure/gpt-4o-mni", "azure/gpt-4o-mini"),
        ("openai/zzzzz", None),
        ("xyz/qqq", None),
        ("", None),
    ],
)
def test_a_misspelt_target_has_a_suggestion_that_exists(misspelt: str, meant: str | None) -> None:
    assert CATALOG.close_to(misspelt) == meant
    assert meant is None or CATALOG.find(meant) is not None


@given(st.text(max_size=40))
def test_any_text_is_looked_up_without_an_error(name: str) -> None:
    found, close = CATALOG.find(name), CATALOG.close_to(name)
    assert found is None or found.id == name
    assert close is None or CATALOG.find(close) is not None


def test_the_built_in_mapping_sends_bare_names_to_their_makers() -> None:
    names = CATALOG.requestable(OURS)
    expected = {
        **BARE,
        "gpt-4": "openai/gpt-4",
        "gpt-4.1": "openai/gpt-4.1",
        "text-embedding-3-large": "openai/text-embedding-3-large",
        "claude-sonnet": "anthropic/claude-sonnet",
        "groq/llama-3-8b": "groq/llama-3-8b",
        "openai/gpt-4o": "openai/gpt-4o",
        "ollama/qwen2.5:14b": "ollama/qwen2.5:14b",
    }
    assert {name: names[name].id for name in expected} == expected
    assert set(expected) <= set(names)


EVERY = tuple(PROVIDERS)
IN_ORDER = {
    name: target.id for name, target in CATALOG.requestable(EVERY).items() if "/" not in name
}


@settings(max_examples=25)
@given(st.permutations(EVERY))
def test_a_bare_name_means_the_same_in_every_order_of_providers(order: list[str]) -> None:
    names = CATALOG.requestable(order)
    assert {name: names[name].id for name in IN_ORDER} == IN_ORDER
    assert {name for name in names if "/" not in name} == set(IN_ORDER)


@pytest.mark.parametrize(
    ("family", "maker"),
    [
        ("claude", "anthropic"),
        ("gpt", "openai"),
        ("gemini", "gemini"),
        ("gemma", "gemini"),
        ("mistral", "mistral"),
        ("grok", "xai"),
        ("deepseek", "deepseek"),
        ("command", "cohere"),
    ],
)
def test_a_bare_name_goes_to_its_maker_or_to_nobody(family: str, maker: str) -> None:
    bare = {name: full.partition("/")[0] for name, full in IN_ORDER.items()}
    assert {whose for name, whose in bare.items() if name.startswith(family)} == {maker}
    without = CATALOG.requestable([one for one in EVERY if one != maker])
    assert [name for name in without if name.startswith(family) and "/" not in name] == []


@pytest.mark.parametrize(
    "name", ["claude-4-sonnet", "llama-3.1-8b", "zai-glm-5-3", "x-ai/grok-4.5"]
)
@pytest.mark.parametrize("order", [EVERY, tuple(reversed(EVERY))])
def test_a_name_that_its_maker_lacks_goes_nowhere(name: str, order: tuple[str, ...]) -> None:
    assert name not in CATALOG.requestable(order)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "gpt-5.2", "o3-pro", "gpt-35-turbo"])
def test_openais_models_cost_the_same_at_azure(model: str) -> None:
    azure = CATALOG.find(f"azure/{model}")
    listed = Prices(ON).find("openai", model)
    assert azure is not None and listed is not None
    assert (azure.provider, azure.model, azure.tariff) == ("azure", model, listed.tariff)
    if (own := CATALOG.find(f"openai/{model}")) is not None:
        assert (azure.context_window, azure.max_output) == (own.context_window, own.max_output)
        assert azure.abilities == own.abilities


def test_a_row_of_azures_own_wins() -> None:
    for model in Prices(ON).names("azure"):
        target, listed = CATALOG.find(f"azure/{model}"), Prices(ON).find("azure", model)
        assert target is not None and listed is not None
        assert target.tariff == listed.tariff


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("apac.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "3"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("us.anthropic.claude-sonnet-4-6", "3.3"),
        ("anthropic.claude-opus-4-6-v1", "5.5"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", "5.5"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "3"),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "3"),
        ("amazon.nova-pro-v1:0", "0.8"),
        ("eu.amazon.nova-pro-v1:0", "0.8"),
        ("us.amazon.nova-2-lite-v1:0", "0.33"),
        ("global.amazon.nova-2-lite-v1:0", "0.3"),
        ("meta.llama3-1-70b-instruct-v1:0", "0.72"),
        ("us.meta.llama3-1-70b-instruct-v1:0", "0.72"),
        ("amazon.titan-embed-text-v2:0", "0.02"),
    ],
)
def test_bedrocks_ids_cost_what_their_region_costs_and_go_as_they_are(
    model: str, dollars: str
) -> None:
    target = CATALOG.find(f"bedrock/{model}")
    assert target is not None and target.tariff is not None
    assert target.tariff.input == nano_usd(Decimal(dollars))
    assert target.model == model
    assert target.context_window


def test_no_key_of_a_group_is_a_name_of_bedrocks() -> None:
    listed = list(CATALOG.listed("bedrock"))
    assert "amazon.nova-pro-v1:0" in listed
    assert [name for name in listed if not re.match(r"(global\.)?[a-z0-9-]+\.[a-z]", name)] == []
    assert [name for name in listed if name.startswith(("regional.", "claude"))] == []


def test_fireworks_models_are_known_by_their_short_names_too() -> None:
    short, long = (
        CATALOG.find(f"fireworks/{path}llama-v3p1-8b-instruct")
        for path in ("", "accounts/fireworks/models/")
    )
    assert short is not None and long is not None
    assert short.tariff == long.tariff == Tariff(200_000_000, 200_000_000)
    assert short.context_window == long.context_window == 131_000
    assert short.model == "llama-v3p1-8b-instruct"
    listed = list(CATALOG.listed("fireworks"))
    assert "llama-v3p1-8b-instruct" in listed
    assert [name for name in listed if "/models/" in name] == []


def test_only_the_given_providers_are_requestable() -> None:
    names = CATALOG.requestable(["anthropic"])
    assert {target.provider for target in names.values()} == {"anthropic"}
    for name in ("gpt-4o", "llama-3-70b", "openai/gpt-4o", "gemini-2.5-pro", "nonsense"):
        assert name not in names
    assert "gemini-2.5-pro" in CATALOG.requestable(["google"])
    assert len(CATALOG.requestable([])) == 0


def test_a_host_that_makes_no_models_has_no_bare_names_but_the_built_in_one() -> None:
    names = CATALOG.requestable(["groq", "together"])
    assert [name for name in names if "/" not in name] == ["llama-3-70b"]
    assert names.get("llama-3-8b") is None


def test_every_listed_name_has_a_price_and_unpriced_ones_are_still_resolved() -> None:
    names = CATALOG.requestable(OURS)
    assert [name for name, target in names.items() if target.tariff is None] == []
    assert "whisper-1" not in list(names)
    unpriced = names["ft:gpt-4.1-2025-04-14:acme::abc"]
    assert unpriced.tariff is None
    assert names["claude-sonnet-5-5-20261001"].provider == "anthropic"


def test_tariffs_cost_what_genai_prices_calculates() -> None:
    from datetime import UTC, datetime

    from genai_prices import Usage, calc_price

    compared = 0
    for provider in ("openai", "anthropic", "groq", "mistral"):
        for model in CATALOG.listed(provider):
            target = CATALOG.find(f"{provider}/{model}")
            assert target is not None
            assert target.tariff is not None
            if target.tariff.cached is None or ":" in model:
                continue
            for prompt in (1_000, 150_000, 300_000):
                theirs = calc_price(
                    Usage(input_tokens=prompt, cache_read_tokens=400, output_tokens=77),
                    target.model,
                    provider_id=provider,
                    genai_request_timestamp=datetime(2026, 11, 21, 12, tzinfo=UTC),
                ).total_price
                steps = [t for start, t in target.tariff.above if prompt > start]
                rates = steps[-1] if steps else target.tariff
                assert rates.cached is not None
                ours = (prompt - 400) * rates.input + 400 * rates.cached + 77 * rates.output
                assert ours == theirs * 10**15, (target.id, prompt)
                compared += 1
    assert compared > 100


_RATE = st.integers(0, 100)
_LEAF = st.builds(
    Tariff,
    input=_RATE,
    output=_RATE,
    cached=st.none() | _RATE,
    cache_write=st.none() | _RATE,
    request=_RATE,
)
_TARIFF = st.builds(
    lambda low, steps: Tariff(
        low.input, low.output, low.cached, low.cache_write, low.request, tuple(steps)
    ),
    _LEAF,
    st.lists(st.tuples(st.integers(1, 9), _LEAF), max_size=3, unique_by=lambda s: s[0]).map(
        lambda steps: sorted(steps, key=lambda step: step[0])
    ),
)


def _at(whole: Tariff, prompt: int) -> tuple[int, int, int, int]:
    steps = [t for start, t in whole.above if prompt > start]
    rates = steps[-1] if steps else whole
    cached = rates.input if rates.cached is None else min(rates.cached, rates.input)
    return rates.input, rates.output, cached, rates.request


@given(st.lists(_TARIFF, min_size=1, max_size=3), st.integers(0, 12))
def test_the_dearest_tariff_is_never_below_any(tariffs: list[Tariff], prompt: int) -> None:
    top = _at(dearest(tariffs), prompt)
    for one in tariffs:
        assert all(high >= low for high, low in zip(top, _at(one, prompt), strict=True))


def test_the_schema_has_the_attributes_the_catalogue_and_the_providers() -> None:
    schema = language_schema(ON)
    assert {"tokens", "tier", "p95"} <= set(schema.attributes)
    assert schema.providers == PROVIDERS
    assert {name for name, is_free in PROVIDERS.items() if is_free} == {"ollama", "vllm"}
    assert schema.kinds == KINDS and sorted(KINDS) == sorted(PROVIDERS)
    assert schema.catalog.find("groq/llama-3-8b") is not None


def test_the_price_list_is_not_loaded_before_a_price_is_needed() -> None:
    code = (
        "import sys; opened = [];"
        "sys.addaudithook(lambda event, of: opened.append(str(of[0])) if event == 'open' else 0);"
        "from turnout.engine.catalog import language_schema; s = language_schema();"
        "read = lambda: [name for name in opened if name.endswith('prices.jsonl')];"
        "assert s.catalog.find('ollama/qwen2.5:14b'); assert read() == [];"
        "assert s.catalog.find('openai/gpt-4'); assert s.catalog.find('groq/llama-3-8b');"
        "assert len(read()) == 1"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
