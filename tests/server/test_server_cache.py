"""Who is shown what is kept of answers, and whose a key may remove, over real sockets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from turnout.engine.cached import Invalidation
from turnout.settings import Auth

from .keyed import ADMIN_KEY, Keys, bearer, serving


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    made = Keys(tmp_path)
    yield made
    made.database.close()


@pytest.mark.parametrize(
    ("name", "query", "status", "told"),
    [
        ("plain", "", 200, "acme"),
        ("plain", "?tenant=acme", 200, "acme"),
        ("plain", "?tenant=beta", 403, "insufficient_scope"),
        ("plain", "?tenant=*", 403, "insufficient_scope"),
        ("read", "", 200, "acme"),
        ("write", "", 403, "insufficient_scope"),
        ("full", "", 200, None),
        ("full", "?tenant=*", 200, None),
        ("full", "?tenant=beta", 200, "beta"),
        ("full", "?team=search", 400, "unknown_parameter"),
        ("plain", "?tenant=acme&tenant=beta", 400, "invalid_value"),
    ],
)
async def test_a_key_is_shown_what_is_kept_of_its_tenant_and_an_operator_s_of_all(
    serve: Any, stub_gateway: Any, keys: Keys, name: str, query: str, status: int, told: str | None
) -> None:
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        response = await client.get(f"/v1/cache{query}", headers=bearer(keys.texts[name]))
    body = response.json()
    assert response.status_code == status
    assert (body["tenant"] if status == 200 else body["error"]["code"]) == told


@pytest.mark.parametrize(
    ("name", "more", "whose"),
    [
        ("plain", {}, "acme"),
        ("plain", {"tenant": "acme"}, "acme"),
        ("write", {}, "acme"),
        ("full", {}, "acme"),
        ("full", {"tenant": "beta"}, "beta"),
        ("full", {"tenant": "*"}, None),
        ("admin", {"tenant": "beta"}, "beta"),
        ("TURNOUT_ADMIN_KEY", {"tenant": "*"}, None),
    ],
)
async def test_what_goes_is_the_caller_s_own_tenant_s_or_whose_an_operator_names(
    serve: Any,
    stub_gateway: Any,
    keys: Keys,
    name: str,
    more: dict[str, str],
    whose: str | None,
) -> None:
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        response = await client.post(
            "/v1/cache/invalidate",
            json={"pattern": "model:openai/*", **more},
            headers=bearer(ADMIN_KEY if name == "TURNOUT_ADMIN_KEY" else keys.texts[name]),
        )
        assert response.json() == {"object": "cache.invalidation", "removed": 3}
        ((which, pattern, actor),) = served.gateway.invalidated
    assert which == Invalidation("model", "openai/*", whose)
    assert pattern == "model:openai/*"
    assert actor == ("admin" if name == "TURNOUT_ADMIN_KEY" else keys.keys[name].id)


@pytest.mark.parametrize(
    ("name", "body", "status", "code", "param"),
    [
        ("plain", {"pattern": "*", "tenant": "beta"}, 403, "insufficient_scope", "tenant"),
        ("plain", {"pattern": "*", "tenant": "*"}, 403, "insufficient_scope", "tenant"),
        ("read", {"pattern": "*"}, 403, "insufficient_scope", None),
        ("plain", {}, 400, "invalid_value", "pattern"),
        ("plain", {"pattern": 7}, 400, "invalid_value", "pattern"),
        ("plain", {"pattern": "openai/*"}, 400, "invalid_value", "pattern"),
        ("plain", {"pattern": "*", "older_than": "soon"}, 400, "invalid_value", "older_than"),
        ("plain", {"pattern": "*", "age": "2h"}, 400, "unknown_parameter", "age"),
        ("plain", {"pattern": "*", "tenant": None}, 400, "invalid_value", "tenant"),
        ("full", {"pattern": "*", "tenant": ""}, 400, "invalid_value", "tenant"),
    ],
)
async def test_nothing_goes_where_it_is_not_clear_what_or_it_is_another_s(
    serve: Any,
    stub_gateway: Any,
    keys: Keys,
    name: str,
    body: dict[str, Any],
    status: int,
    code: str,
    param: str | None,
) -> None:
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        headers = bearer(keys.texts[name])
        response = await client.post("/v1/cache/invalidate", json=body, headers=headers)
        assert served.gateway.invalidated == []
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)


async def test_a_key_that_only_reads_is_told_what_taking_answers_back_takes(
    serve: Any, stub_gateway: Any, keys: Keys
) -> None:
    async with (
        serving(serve, stub_gateway, keys, Auth.KEYS) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        headers = bearer(keys.texts["read"])
        response = await client.post("/v1/cache/invalidate", json={"pattern": "*"}, headers=headers)
        assert served.gateway.invalidated == []
    message = response.json()["error"]["message"]
    assert response.status_code == 403
    assert "lacks the scope `ai:write`" in message and "take back what is kept" in message


async def test_a_stranger_neither_sees_nor_removes_anything(
    serve: Any, stub_gateway: Any, keys: Keys
) -> None:
    headers = bearer("sk-proj-0123456789abcdef0123456789abcdef")
    async with (
        serving(serve, stub_gateway, keys, Auth.PASSTHROUGH) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        answers = [
            await client.get("/v1/cache", headers=headers),
            await client.post("/v1/cache/invalidate", json={"pattern": "*"}, headers=headers),
        ]
        assert served.gateway.invalidated == []
    assert [one.status_code for one in answers] == [403, 403]
    assert {one.json()["error"]["code"] for one in answers} == {"insufficient_scope"}


async def test_a_page_in_a_browser_removes_nothing(
    serve: Any, stub_gateway: Any, keys: Keys
) -> None:
    async with (
        serving(serve, stub_gateway, keys, Auth.OFF) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        response = await client.post(
            "/v1/cache/invalidate",
            content=b'{"pattern": "*"}',
            headers={"content-type": "text/plain"},
        )
        assert served.gateway.invalidated == []
    assert response.status_code == 415
