"""Whose spend each key is shown, over real sockets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from turnout.settings import Auth

from .keyed import Keys, bearer, serving


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    made = Keys(tmp_path)
    yield made
    made.database.close()


@pytest.mark.parametrize(
    ("name", "query", "filters"),
    [
        ("plain", "", {"tenant": "acme"}),
        ("plain", "?tenant=acme&user=bob", {"tenant": "acme", "user": "bob"}),
        ("plain", "?tenant=beta", None),
        ("plain", "?tenant=*", None),
        ("ana", "", {"tenant": "acme", "user": "ana"}),
        ("ana", "?user=ana", {"tenant": "acme", "user": "ana"}),
        ("ana", "?user=bob", None),
        ("full", "?tenant=beta", {"tenant": "beta"}),
        ("full", "?tenant=*", {}),
        ("full", "", {}),
    ],
)
async def test_a_key_is_shown_its_own_spend_and_an_operator_s_all(
    serve: Any,
    stub_gateway: Any,
    keys: Keys,
    name: str,
    query: str,
    filters: dict[str, str] | None,
) -> None:
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        response = await client.get(f"/v1/costs{query}", headers=bearer(keys.texts[name]))
    if filters is None:
        assert (response.status_code, response.json()["error"]["code"]) == (
            403,
            "insufficient_scope",
        )
    else:
        assert response.json()["asked"] == filters


@pytest.mark.parametrize(
    ("name", "query", "status", "told"),
    [
        ("plain", "", 200, "acme"),
        ("plain", "?tenant=acme", 200, "acme"),
        ("plain", "?tenant=beta", 403, "insufficient_scope"),
        ("plain", "?tenant=*", 403, "insufficient_scope"),
        ("full", "", 200, "*"),
        ("full", "?tenant=*", 200, "*"),
        ("full", "?tenant=beta", 200, "beta"),
        ("full", "?team=search", 400, "unknown_parameter"),
        ("plain", "?tenant=acme&tenant=beta", 400, "invalid_value"),
    ],
)
async def test_a_key_is_shown_its_own_budgets_and_an_operator_s_all(
    serve: Any, stub_gateway: Any, keys: Keys, name: str, query: str, status: int, told: str
) -> None:
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        response = await client.get(f"/v1/budgets{query}", headers=bearer(keys.texts[name]))
    body = response.json()
    assert response.status_code == status
    assert (body["tenant"] if status == 200 else body["error"]["code"]) == told
