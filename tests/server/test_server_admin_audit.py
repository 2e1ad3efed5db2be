"""Operators page through the audit log over HTTP, and find each row as it was written."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from turnout.engine.audit import Event
from turnout.engine.audit_chain import check, row_of
from turnout.engine.state.audit import AuditLog
from turnout.engine.state.database import Database, open_database

from .conftest import Serve, StubGateway

URL = "/v1/admin/audit"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
async def admin(serve: Serve, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(StubGateway(audit=AuditLog(database))) as served:
        async with httpx.AsyncClient(base_url=served.url) as client:
            yield client


def noted(database: Database, many: int) -> None:
    events = [Event("cli", "tenant.change", f"t{n}", detail={"after.rpm": n}) for n in range(many)]
    AuditLog(database).append(events)


async def test_pages_hold_every_row_once_whatever_is_appended_meanwhile(
    admin: httpx.AsyncClient, database: Database
) -> None:
    noted(database, 7)
    found, before = [], None
    while True:
        asked = {"limit": 3} if before is None else {"limit": 3, "before": before}
        answer = await admin.get(URL, params=asked)
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
        page = answer.json()
        assert len(page["data"]) <= 3
        found += page["data"]
        noted(database, 1)
        if (before := page["before"]) is None:
            break
    assert [row["number"] for row in found] == [7, 6, 5, 4, 3, 2, 1]
    assert found[0]["detail"] == {"after.rpm": 6}


async def test_a_row_is_shown_as_its_digest_was_made_of(
    admin: httpx.AsyncClient, database: Database
) -> None:
    noted(database, 2)
    rows = (await admin.get(URL)).json()["data"]
    texts = [{**row, "detail": f'{{"after.rpm":{row["detail"]["after.rpm"]}}}'} for row in rows]
    assert check([row_of(row) for row in reversed(texts)]).fault is None


@pytest.mark.parametrize(
    "asked",
    [
        *(
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=\u00b2",
            "limit=",
            "limit=1&limit=2",
        ),
        *("before=0", "before=9223372036854775808", f"before={'9' * 5000}"),
    ],
)
async def test_what_is_no_number_is_refused_by_name(admin: httpx.AsyncClient, asked: str) -> None:
    answer = await admin.get(f"{URL}?{asked}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == asked.partition("=")[0]


async def test_an_unknown_parameter_is_refused(admin: httpx.AsyncClient) -> None:
    answer = await admin.get(URL, params={"after": "3"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")


async def test_a_gateway_that_keeps_no_log_says_so(serve: Serve) -> None:
    async with serve(StubGateway()) as served, httpx.AsyncClient(base_url=served.url) as client:
        answer = await client.get(URL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "audit_unavailable")


async def test_rows_that_somebody_spoiled_are_still_shown(
    admin: httpx.AsyncClient, database: Database
) -> None:
    noted(database, 3)
    with database.writing() as writing:
        writing.exec_driver_sql("update audit set detail = x'ff', time_us = 'soon' where number=2")
    assert [row["number"] for row in (await admin.get(URL)).json()["data"]] == [3, 2, 1]
    fault = check(AuditLog(database).rows()).fault
    assert fault is not None and (fault.number, fault.kind) == (2, "changed")
