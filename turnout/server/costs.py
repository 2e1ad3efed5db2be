"""`GET /v1/costs` and `/v1/budgets`: what was spent, and what is left, for programs.

The former is the document of `turnout costs --format json`.

A caller sees what its own tenant spent: of its user, where its key has one, else of its team. An
operator's key sees all tenants, or the one that `tenant` names. Who
brought a provider's key and no other sees nothing: the tenant of strangers is not theirs.
"""

from collections.abc import Sequence

from sanic import HTTPResponse

from turnout.engine.costs import FILTERS
from turnout.engine.request import RequestError

from .identity import Identity, identity_of
from .wire import Incoming, json_value, refusal, station

_PARAMETERS = ("by", "month", "since", "until", "timezone", "limit", *FILTERS)
EVERYBODY = "*"


async def show_costs(incoming: Incoming) -> HTTPResponse:
    """What was spent, by day or by what else is asked for."""
    identity = _known(incoming)
    asked = _asked(incoming, _PARAMETERS)
    caller = identity.caller
    if identity.sees_all:
        if asked.get("tenant") == EVERYBODY:
            del asked["tenant"]
    else:
        own = {"tenant": caller.tenant, "user": caller.user}
        if caller.user is None:
            own["team"] = caller.team
        for name, who in own.items():
            if who is not None and asked.setdefault(name, who) != who:
                raise _not_its_own(name)
    return json_value(incoming, await station(incoming).gateway.costs(asked))


async def show_budgets(incoming: Incoming) -> HTTPResponse:
    """How the budgets are that the caller's own requests count against; all, for an operator."""
    gateway, identity = station(incoming).gateway, _known(incoming)
    tenant = _asked(incoming, ("tenant",)).get("tenant")
    if identity.sees_all:
        told = await gateway.all_budgets(None if tenant == EVERYBODY else tenant)
    else:
        if tenant not in (None, identity.caller.tenant):
            raise _not_its_own("tenant")
        told = await gateway.budgets(identity.caller)
    return json_value(incoming, told)


def _known(incoming: Incoming) -> Identity:
    """Who asks, where it is known who that is. Raises: RequestError 403."""
    identity = identity_of(incoming)
    if identity.is_stranger:
        raise refusal(
            403,
            "insufficient_scope",
            "What is spent is shown to keys of this gateway; send one in `x-turnout-key`.",
        )
    return identity


def _not_its_own(name: str) -> RequestError:
    return refusal(
        403,
        "insufficient_scope",
        f"This key sees what its own {name} spent; another's takes the scope `admin`.",
        name,
    )


def _asked(incoming: Incoming, known: Sequence[str]) -> dict[str, str]:
    """The parameters, each at most once. Raises: RequestError 400."""
    found: dict[str, str] = {}
    for name, value in incoming.get_query_args(keep_blank_values=True):
        if name not in known:
            told = ", ".join(f"`{one}`" for one in known)
            what = "parameter is" if len(known) == 1 else "parameters are"
            raise refusal(400, "unknown_parameter", f"The {what} {told}.", name[:64])
        if name in found:
            raise refusal(400, "invalid_value", f"`{name}` is given twice.", name)
        found[name] = value
    return found
