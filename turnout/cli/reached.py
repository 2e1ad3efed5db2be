"""What is found out about one provider, step by step, and what to do where a step fails."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from turnout.adapters import key_variable
from turnout.adapters.kind import Kind
from turnout.adapters.reach import Stage, Unreached
from turnout.dsl.core import Provider as Entry
from turnout.dsl.schema import Target
from turnout.engine.provider import Fault, ProviderError

# Of the models of the policy that are not listed, so many are told.
MOST_WARNINGS = 20


@dataclass(slots=True)
class Reached:
    """How far one came with a provider. None: it did not come to that, or it cannot be asked.

    `source` is where its key is from: `variable`, `file` or `command`; None: it has none.
    `models` is how many it lists, `ms` how long it took to be there and be listed. `reason` None:
    all is well; else `help` says what to do.
    """

    provider: str
    kind: str
    credential: str
    source: str | None = None
    resolves: bool | None = None
    connects: bool | None = None
    authenticated: bool | None = None
    models: int | None = None
    ms: int | None = None
    reason: str | None = None
    help: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether nothing is in the way of a request."""
        return self.reason is None

    def as_json(self) -> dict[str, Any]:
        """It, as a JSON object."""
        return asdict(self)


async def reach(
    provider: Kind, entry: Entry, credentials: Sequence[str], targets: Sequence[Target], us: int
) -> Reached:
    """Go all the way to a provider: resolve, connect, ask what it lists; never a completion.

    `credentials` name what its credential is made of; `targets` are those of the policy; `us`
    bounds all of it. Never raises for what is wrong with the provider.
    """
    given = "set" if credentials else "missing" if provider.needs_credential else "not needed"
    told = Reached(provider.name, entry.kind, given)
    if provider.missing is not None:
        told.reason = provider.missing
        told.help = _how_to_give(provider)
        return told
    began = time.monotonic()
    try:
        async with asyncio.timeout(us / 1_000_000):
            await _go(told, provider, credentials, targets, us)
    except TimeoutError:
        told.reason = "it did not answer in time"
        told.help = "`--timeout` gives it more"
    told.ms = round((time.monotonic() - began) * 1_000)
    return told


async def _go(
    told: Reached, provider: Kind, credentials: Sequence[str], targets: Sequence[Target], us: int
) -> None:
    try:
        await provider.reach(us)
    except Unreached as unreached:
        told.resolves = unreached.stage is not Stage.RESOLVES
        told.connects = None if unreached.stage is Stage.RESOLVES else False
        told.reason = f"{unreached.reason} ({unreached.host})"
        told.help = _how_to_reach(unreached)
        return
    told.resolves = told.connects = True
    try:
        listed = await provider.models(us)
    except ProviderError as error:
        told.reason = error.message
        told.authenticated = False if error.fault is Fault.AUTH else None
        told.help = _how_to_mend(error, credentials)
        return
    if listed is None:
        return
    told.authenticated = True
    told.models = len(listed)
    known = frozenset(listed)
    lacking = [one for one in targets if not provider.offers(one.model, known)]
    told.warnings = [_not_listed(target, len(listed)) for target in lacking[:MOST_WARNINGS]]
    if (left := len(lacking) - MOST_WARNINGS) > 0:
        told.warnings.append(f"nor are {left} more of `{provider.name}`")


def _not_listed(target: Target, count: int) -> str:
    model = "" if target.id.endswith(f"/{target.model}") else f" (there, `{target.model}`)"
    if count == 0:
        return f"`{target.id}`{model} is not there: no model is listed"
    models = "the one model" if count == 1 else f"the {count} models"
    return f"`{target.id}`{model} is not among {models} that this key may use"


def _how_to_give(provider: Kind) -> str | None:
    missing = provider.missing or ""
    if missing == "no credential":
        name = key_variable(provider.name, provider.kind)
        others = ", ".join(f"`{one}`" for one in provider.variables)
        beside = f"; it also reads {others}" if others else ""
        return f"set `{name}`, or `{name}_FILE` to the name of a file with it{beside}"
    if missing == "no `base_url`":
        return f"give it a `base_url` under `providers: {provider.name}:` in the policy"
    if missing.startswith("no `"):
        return f"set {missing.removeprefix('no ')}"
    return None


def _how_to_reach(unreached: Unreached) -> str:
    if unreached.stage is Stage.RESOLVES:
        return "is this the right host, and can this machine resolve names?"
    if "certificate" in unreached.reason:
        return "`SSL_CERT_FILE` names certificate authorities of your own"
    if "TLS" in unreached.reason:
        return "is it `http://` that is spoken there, or is something in between?"
    return "is this the right host and port, and does a firewall let this machine through?"


def _how_to_mend(error: ProviderError, credentials: Sequence[str]) -> str | None:
    match error.fault:
        case Fault.AUTH:
            return f"check {' and '.join(credentials) or 'whether it asks for a key'}"
        case Fault.BAD_OUTPUT:
            return "is `base_url` right, its path too, and is it the provider that answers there?"
        case Fault.QUOTA:
            return "top up the account, or leave the provider out of the policy"
        case Fault.TIMEOUT:
            return "`--timeout` gives it more"
        case Fault.RATE_LIMIT | Fault.OVERLOADED | Fault.SERVER:
            return "try again in a while; the provider has a page with its status"
    return None
