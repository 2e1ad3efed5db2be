"""The gate that every route is behind: who asks is found out, and whether it may, before its body.

Each row of `ROUTES` names the scope that it takes. What is refused here costs next to nothing: no
body is read, no seat taken; it is counted, and noted in the audit log.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from sanic import HTTPResponse

from turnout.engine.audit import Event
from turnout.engine.request import ADMIN, READ, WRITE, RequestError

from .body import let_go
from .guard import is_local
from .identity import Identity, Unidentified, identify
from .wire import Incoming, refusal, station

PUBLIC = "public"
"""For everybody: nobody is asked who he is."""
ADMIN_AFAR = "admin unless local"
"""The scope `admin`, but for who asks from this machine."""
WRITE_OR_ADMIN = "ai:write or admin"
"""Who has requests answered, for its own tenant; an operator, for all."""
SCOPES = (READ, WRITE, ADMIN, WRITE_OR_ADMIN, ADMIN_AFAR, PUBLIC)

_MEANING = {
    READ: "look at models, decisions and its own spend",
    WRITE: "have requests answered",
    ADMIN: "administer the gateway",
    WRITE_OR_ADMIN: "have requests answered, and take back what is kept of the answers",
}

Handler = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]


def gated(name: str, scope: str, handler: Handler, *, reads_body: bool) -> Handler:
    """A handler that runs only for who has the scope. `name` is what the audit log calls it.

    Without `reads_body`, a body that comes along is dropped first.
    """
    if scope not in SCOPES:
        raise ValueError(f"the scope of {name} is none of {', '.join(SCOPES)}: {scope}")

    @wraps(handler)
    async def gate(incoming: Incoming, **of_path: Any) -> HTTPResponse | None:
        if not reads_body:
            await let_go(incoming)
        if scope is not PUBLIC:
            try:
                await _admit(incoming, name, scope)
            except RequestError:
                await let_go(incoming)
                raise
        return await handler(incoming, **of_path)

    return gate


async def _admit(incoming: Incoming, name: str, scope: str) -> None:
    """Let a request in, or not. Raises: RequestError 400, 401, 403, 503."""
    if scope is ADMIN_AFAR:
        if is_local(incoming):
            return
        scope = ADMIN
    try:
        who = incoming.identity = await identify(incoming)
    except Unidentified as error:
        key = error.key
        seen = {} if key is None else {"fingerprint": key.fingerprint}
        _note(incoming, name, scope, "anonymous" if key is None else key.id, error.reason, seen)
        raise
    meaning = _MEANING[scope]
    if scope is WRITE_OR_ADMIN:
        scope = ADMIN if ADMIN in who.caller.scopes else WRITE
    if scope not in who.caller.scopes:
        _note(incoming, name, scope, who.actor, "scope_missing", {"scope": scope})
        raise _insufficient(scope, meaning, who)


async def may_administer(incoming: Incoming) -> bool:
    """Whether who asks for something public may see what only operators are shown."""
    if is_local(incoming):
        return True
    try:
        who = await identify(incoming)
    except Unidentified:
        return False
    return ADMIN in who.caller.scopes


def _insufficient(scope: str, meaning: str, who: Identity) -> RequestError:
    what = f"which may {meaning}"
    if who.caller.key_id is not None:
        told = f"The key `{who.caller.key_id}` lacks the scope `{scope}`, {what}."
    else:
        told = f"This takes the scope `{scope}`, {what}."
        if scope == ADMIN:
            told += " The key of `TURNOUT_ADMIN_KEY` has it."
    return refusal(403, "insufficient_scope", told)


def _note(
    incoming: Incoming, name: str, scope: str, actor: str, reason: str, more: dict[str, str]
) -> None:
    here = station(incoming)
    here.refusals(reason)
    action = "admin.refuse" if scope == ADMIN else "request.refuse"
    detail: dict[str, str | int | None] = {"code": reason, **more, "peer": incoming.ip}
    here.gateway.audit.note(Event(actor, action, name, "refused", detail))
