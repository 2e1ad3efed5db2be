"""What a model itself makes of a prompt: published rules for OpenAI's, a ratio for the others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.test_engine_tokens import ABOUT_WEATHER, JARGON, WEATHER, chat, png, request
from turnout.engine import tokens
from turnout.engine.encodings import CL100K, O200K
from turnout.engine.media import Image, PatchRule, TileRule
from turnout.engine.tokenizers import POLICY, tokenizer_of

MESSAGES = [
    {"role": role, "content": content, **({"name": name} if name else {})}
    for role, name, content in JARGON
]


@pytest.mark.parametrize(
    ("model", "published"),
    [
        ("gpt-3.5-turbo", 129),
        ("gpt-4-0613", 129),
        ("gpt-4", 129),
        ("gpt-4o", 124),
        ("gpt-4o-mini", 124),
    ],
)
def test_messages_count_what_the_cookbook_publishes(model: str, published: int) -> None:
    assert tokens.count(request({"messages": MESSAGES}), tokenizer_of(model)) == published


@pytest.mark.parametrize(
    ("model", "published"),
    [("gpt-3.5-turbo", 105), ("gpt-4", 105), ("gpt-4o", 101), ("gpt-4o-mini", 101)],
)
def test_tools_count_what_the_cookbook_publishes(model: str, published: int) -> None:
    asked = request({"messages": ABOUT_WEATHER, "tools": [WEATHER]})
    assert tokens.count(asked, tokenizer_of(model)) == published


@pytest.mark.parametrize(
    ("model", "size", "published"),
    [
        # OpenAI's guide: 4 tiles, 6 tiles
        ("gpt-4o", (1024, 1024), 765),
        ("gpt-4o", (2048, 4096), 1105),
        ("gpt-4o-mini", (1024, 1024), 2833 + 4 * 5667),
        ("o3", (1024, 1024), 75 + 4 * 150),
        ("gpt-5", (1024, 1024), 70 + 4 * 140),
        # OpenAI's guide: 1 024 patches; shrunk to 1 452 of them
        ("o4-mini", (1024, 1024), -(-1024 * 172 // 100)),
        ("gpt-4.1-mini", (1800, 2400), -(-1452 * 162 // 100)),
        ("gpt-5-nano", (1024, 1024), -(-1024 * 246 // 100)),
    ],
)
def test_images_cost_what_the_guide_publishes(
    model: str, size: tuple[int, int], published: int
) -> None:
    import base64

    url = "data:image/png;base64," + base64.b64encode(png(*size)).decode()
    image = [{"type": "image_url", "image_url": {"url": url}}]
    by = tokenizer_of(model)
    assert tokens.count(chat(image), by) - tokens.count(chat([]), by) == published


@pytest.mark.parametrize(
    ("model", "table", "exact"),
    [
        ("gpt-4o-2024-08-06", O200K, True),
        ("openai/gpt-4.1", O200K, True),
        ("ft:gpt-4o-mini:acme::1", O200K, True),
        ("gpt-4-turbo", CL100K, True),
        ("text-embedding-3-small", CL100K, True),
        ("claude-sonnet-4-5", O200K, False),
        ("anthropic.claude-3-haiku-20240307-v1:0", O200K, False),
        ("us.anthropic.claude-opus-4-1-v1:0", O200K, False),
        ("gemini-2.5-flash", O200K, False),
        ("llama-3.3-70b-versatile", O200K, False),
        ("open-mixtral-8x7b", O200K, False),
        ("gpt-oss-120b", O200K, False),
        ("", O200K, False),
    ],
)
def test_a_count_is_exact_for_openais_models_only(model: str, table: Any, exact: bool) -> None:
    by = tokenizer_of(model)
    assert (by.table, by.exact) == (table, exact)


def test_the_policy_s_own_count_is_that_of_gpt_4o() -> None:
    assert tokenizer_of("gpt-4o") is POLICY


@given(st.integers(0, 100_000), st.sampled_from(["claude-3", "mixtral-8x7b", "qwen", "gpt-4"]))
def test_a_corrected_count_is_never_below_the_table_s(counted: int, model: str) -> None:
    assert tokenizer_of(model).corrected(counted) >= counted


@given(
    st.integers(1, 20_000),
    st.integers(1, 20_000),
    st.one_of(
        st.builds(TileRule, st.integers(0, 3000), st.integers(1, 6000)),
        st.builds(PatchRule, st.integers(100, 300)),
    ),
)
def test_every_image_costs_within_the_bounds_of_its_rule(
    width: int, height: int, rule: Any
) -> None:
    low, high = rule.bounds(False)
    assert low <= rule.tokens(min(width, height), max(width, height)) <= high
    unseen = Image("https://example.com/a.png", False)
    assert unseen.tokens(rule) == high
