"""The audit log for operators, newest first: `GET /v1/admin/audit`.

Rows are those of `turnout audit export`, so that each can be checked by its digest. A page ends
with the number that the next one begins before; what is appended meanwhile moves nothing.
"""

import asyncio
import logging

import orjson
from sanic import HTTPResponse

from turnout.engine.audit_chain import Readable
from turnout.engine.audit_file import as_data
from turnout.engine.request import RequestError
from turnout.engine.state.store import StoreError

from .wire import Incoming, json_bytes, refusal, station

ROWS, MOST_ROWS = 100, 1_000
_MOST_NUMBER = 2**63 - 1
_PARAMETERS = ("limit", "before")

_log = logging.getLogger("turnout.audit")


async def list_audit(incoming: Incoming) -> HTTPResponse:
    """The newest rows before a number."""
    asked: dict[str, str] = {}
    for name, value in incoming.get_query_args(keep_blank_values=True):
        if name not in _PARAMETERS:
            raise refusal(
                400, "unknown_parameter", "The parameters are `limit` and `before`.", name[:64]
            )
        if name in asked:
            raise refusal(400, "invalid_value", f"`{name}` is given twice.", name)
        asked[name] = value
    many = _number(asked, "limit", MOST_ROWS)
    many = ROWS if many is None else many
    before = _number(asked, "before", _MOST_NUMBER)
    log = station(incoming).gateway.audit
    if not isinstance(log, Readable):
        raise _unavailable("Nothing is kept here of who changed what.")
    try:
        found = await asyncio.to_thread(log.latest, many + 1, before)
    except StoreError as error:
        _log.error("the audit log cannot be read: %s", error)
        raise _unavailable("The gateway cannot read its audit log at the moment.") from None
    rows = found[:many]
    answer = {
        "object": "list",
        "data": [as_data(row) for row in rows],
        "before": rows[-1].number if len(found) > many else None,
    }
    return json_bytes(incoming, orjson.dumps(answer), 200, {"cache-control": "no-store"})


def _number(asked: dict[str, str], name: str, most: int) -> int | None:
    """A parameter's number from 1 on; None where it is not given. Raises: RequestError 400."""
    text = asked.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:20]) <= most:
        raise refusal(400, "invalid_value", f"`{name}` is a whole number from 1 to {most}.", name)
    return int(text[:20])


def _unavailable(message: str) -> RequestError:
    return RequestError(
        503,
        "service_unavailable_error",
        "audit_unavailable",
        message,
        retry_after_us=1_000_000,
    )
