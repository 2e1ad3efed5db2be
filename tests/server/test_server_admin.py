"""Operators change tenants over HTTP, and nobody else does."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from turnout.dsl.check import compile_policy
from turnout.dsl.source import Source
from turnout.engine.audit import Unheard
from turnout.engine.catalog import language_schema
from turnout.engine.keys import digest_of
from turnout.engine.state.accounts import StoredTenants
from turnout.engine.state.database import FILE, open_database
from turnout.engine.tenants import Tenants

from .conftest import Serve, StubGateway

POLICY = "tenants: {hooli: {rpm: 5}}\nrouting_policy:\n  - {name: all, route: openai/gpt-4o}\n"
URL = "/v1/admin/tenants"
SETTINGS = {
    "tier": "pro",
    "rpm": 600,
    "budgets": [{"limit": "$100/month", "at": {"80%": "alert", "100%": "reject"}}],
}


def stub(home: Path) -> StubGateway:
    program = compile_policy(Source("routing.yml", POLICY), language_schema())
    tenants = Tenants(StoredTenants(open_database(home)), lambda: program, Unheard())
    return StubGateway(tenants=tenants)


@pytest.fixture
async def admin(serve: Serve, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(stub(tmp_path)) as served:
        async with httpx.AsyncClient(base_url=served.url) as client:
            yield client


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ('{"rpm": 1, "rpm": 1000}', "rpm"),
        ('{"rpm": 1, "r\\u0070m": 1000}', "rpm"),
        ('{"budgets": [{"limit": "$1/day", "limit": "$1000/day"}]}', "limit"),
    ],
    ids=str,
)
async def test_a_member_that_stands_twice_is_refused_by_its_name(
    admin: httpx.AsyncClient, body: str, param: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = await admin.put(f"{URL}/acme", content=body, headers=headers)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param
    assert f"`{param}` stands" in error_of(answer)["message"]
    assert (await admin.get(f"{URL}/acme")).status_code == 404


async def test_what_is_put_is_what_is_shown(admin: httpx.AsyncClient) -> None:
    made = await admin.put(f"{URL}/acme", json=SETTINGS)
    assert made.status_code == 201
    shown = await admin.get(f"{URL}/acme")
    assert shown.json() == made.json()
    assert shown.json()["settings"] == SETTINGS
    assert shown.headers["etag"] == f'"{made.json()["revision"]}"'
    assert shown.headers["cache-control"] == "no-store"
    again = await admin.put(f"{URL}/acme", json=shown.json()["settings"])
    assert again.status_code == 200 and again.json()["settings"] == SETTINGS
    listed = (await admin.get(URL)).json()
    assert [(one["name"], one["source"]) for one in listed["data"]] == [
        ("acme", "stored"),
        ("hooli", "policy"),
    ]


async def test_a_name_may_hold_whatever_a_name_may(admin: httpx.AsyncClient) -> None:
    name = "a b/ü%"
    await admin.put(f"{URL}/{name.replace('%', '%25')}", json={"rpm": 5})
    listed = (await admin.get(URL)).json()
    assert [one["name"] for one in listed["data"]] == [name, "hooli"]


async def test_an_unknown_field_is_refused_by_name(admin: httpx.AsyncClient) -> None:
    answer = await admin.put(f"{URL}/acme", json={"budget": "$100/month"})
    assert answer.status_code == 400
    assert error_of(answer) == {
        "message": "Unknown field `budget`: did you mean `budgets`?",
        "type": "invalid_request_error",
        "param": "budget",
        "code": "invalid_tenant",
    }
    assert (await admin.get(f"{URL}/acme")).status_code == 404


async def test_what_the_file_says_is_changed_there(admin: httpx.AsyncClient) -> None:
    for answer in (
        await admin.put(f"{URL}/hooli", json=SETTINGS),
        await admin.delete(f"{URL}/hooli"),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (409, "in_policy_file")
    assert (await admin.get(f"{URL}/hooli")).json()["settings"] == {"rpm": 5}


async def test_a_tenant_is_forgotten_once(admin: httpx.AsyncClient) -> None:
    await admin.put(f"{URL}/acme", json=SETTINGS)
    gone = await admin.delete(f"{URL}/acme")
    assert gone.json()["deleted"] is True and gone.json()["settings"] == SETTINGS
    again = await admin.delete(f"{URL}/acme")
    assert (again.status_code, error_of(again)["code"]) == (404, "tenant_not_found")


async def test_of_two_who_change_the_same_state_one_is_told(admin: httpx.AsyncClient) -> None:
    etag = (await admin.put(f"{URL}/acme", json={"rpm": 1})).headers["etag"]
    answers = await asyncio.gather(
        *(
            admin.put(f"{URL}/acme", json={"rpm": number}, headers={"if-match": etag})
            for number in (2, 3)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    (won,) = (answer for answer in answers if answer.status_code == 200)
    assert (await admin.get(f"{URL}/acme")).json() == won.json()
    there = await admin.put(f"{URL}/acme", json={"rpm": 9}, headers={"if-none-match": "*"})
    assert (there.status_code, error_of(there)["code"]) == (412, "tenant_changed")
    stale = await admin.delete(f"{URL}/acme", headers={"if-match": etag})
    assert stale.status_code == 412


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"content-type": "text/plain"}, b"{}", 415, "unsupported_media_type"),
        ({"content-type": "application/json"}, b"[]", 400, "invalid_type"),
        ({"content-type": "application/json"}, b"{", 400, "invalid_json"),
        ({"content-type": "application/json"}, b"", 400, "invalid_json"),
        ({"content-type": "application/json", "if-match": "5"}, b"{}", 400, "bad_precondition"),
        (
            {"content-type": "application/json", "if-none-match": "5"},
            b"{}",
            400,
            "bad_precondition",
        ),
    ],
)
async def test_what_cannot_be_read_changes_nothing(
    admin: httpx.AsyncClient, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    answer = await admin.put(f"{URL}/acme", content=body, headers=headers)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert (await admin.get(f"{URL}/acme")).status_code == 404


async def test_only_operators_get_in(serve: Serve, tmp_path: Path) -> None:
    key = "operators-only-0123456789"
    async with serve(stub(tmp_path), admin_digest=digest_of(key)) as served:
        async with httpx.AsyncClient(base_url=served.url) as client:
            for answer in (
                await client.get(URL),
                await client.get(f"{URL}/acme"),
                await client.put(f"{URL}/acme", json=SETTINGS),
                await client.patch(f"{URL}/acme", json=SETTINGS),
                await client.delete(f"{URL}/acme"),
            ):
                assert (answer.status_code, error_of(answer)["code"]) == (403, "insufficient_scope")
            let_in = await client.put(
                f"{URL}/acme", json=SETTINGS, headers={"authorization": f"Bearer {key}"}
            )
            assert let_in.status_code == 201


async def test_another_method_is_told_which_ones_there_are(admin: httpx.AsyncClient) -> None:
    answer = await admin.post(f"{URL}/acme", json={"rpm": 5})
    assert answer.status_code == 405
    assert error_of(answer)["message"].endswith(
        "does not take `POST`, only DELETE, GET, HEAD, PATCH, PUT."
    )
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PATCH, PUT"


# --- a part of a tenant --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({"rpm": 60}, SETTINGS | {"rpm": 60}),
        ({"tpm": "2k"}, SETTINGS | {"tpm": 2000}),
        ({"rpm": None, "tpm": None}, {key: SETTINGS[key] for key in ("tier", "budgets")}),
        ({"budgets": [{"limit": "$1/day"}]}, SETTINGS | {"budgets": [{"limit": "$1/day"}]}),
        ({"budgets": None}, {key: SETTINGS[key] for key in ("tier", "rpm")}),
        ({}, SETTINGS),
    ],
    ids=str,
)
async def test_a_patch_changes_what_it_names(
    admin: httpx.AsyncClient, patch: dict[str, Any], changed: dict[str, Any]
) -> None:
    before = await admin.put(f"{URL}/acme", json=SETTINGS)
    told = await admin.patch(
        f"{URL}/acme",
        content=orjson.dumps(patch),
        headers={
            "content-type": "application/merge-patch+json",
            "if-match": before.headers["etag"],
        },
    )
    assert (told.status_code, told.json()["settings"]) == (200, changed)
    assert told.headers["etag"] != before.headers["etag"]
    assert (await admin.get(f"{URL}/acme")).json() == told.json()


@pytest.mark.parametrize(
    ("name", "patch", "status", "code", "param"),
    [
        ("acme", {"budget": None}, 400, "invalid_tenant", "budget"),
        ("acme", {"rpm": -1}, 400, "invalid_tenant", "rpm"),
        ("acme", {"budgets": [{"limit": "$1"}]}, 400, "invalid_tenant", "budgets.0.limit"),
        ("acme", [], 400, "invalid_type", None),
        ("hooli", {"rpm": 1}, 409, "in_policy_file", None),
        ("nobody", {"rpm": 1}, 404, "tenant_not_found", None),
        ("torn", {"rpm": 1}, 409, "tenant_unreadable", None),
    ],
)
async def test_a_patch_that_cannot_be_changes_nothing(
    admin: httpx.AsyncClient,
    tmp_path: Path,
    name: str,
    patch: Any,
    status: int,
    code: str,
    param: str | None,
) -> None:
    for there in ("acme", "torn"):
        await admin.put(f"{URL}/{there}", json=SETTINGS)
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE tenants SET settings = '{\"rpm' WHERE name = 'torn'")
        before = connection.execute("SELECT * FROM tenants").fetchall()
    answer = await admin.patch(f"{URL}/{name}", json=patch)
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (status, code)
    assert param is None or error["param"] == param
    with sqlite3.connect(tmp_path / FILE) as connection:
        assert connection.execute("SELECT * FROM tenants").fetchall() == before


async def test_a_patch_of_a_state_that_is_gone_is_refused(admin: httpx.AsyncClient) -> None:
    etag = (await admin.put(f"{URL}/acme", json=SETTINGS)).headers["etag"]
    assert (await admin.patch(f"{URL}/acme", json={"rpm": 1})).status_code == 200
    stale = await admin.patch(f"{URL}/acme", json={"rpm": 2}, headers={"if-match": etag})
    assert (stale.status_code, error_of(stale)["code"]) == (412, "tenant_changed")
    assert (await admin.get(f"{URL}/acme")).json()["settings"]["rpm"] == 1


async def test_of_many_who_change_different_parts_at_once_each_gets_its_own(
    admin: httpx.AsyncClient,
) -> None:
    await admin.put(f"{URL}/acme", json={"tier": "pro"})
    parts = {"rpm": 5, "tpm": 6, "concurrency": 7, "region": "eu"}
    answers = await asyncio.gather(
        *(admin.patch(f"{URL}/acme", json={key: value}) for key, value in parts.items())
    )
    assert {answer.status_code for answer in answers} == {200}
    assert (await admin.get(f"{URL}/acme")).json()["settings"] == {"tier": "pro"} | parts
