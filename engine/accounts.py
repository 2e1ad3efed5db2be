"""What is known of tenants: by the policy file, by the admin API, by the environment.

The file wins whole: of a tenant that it names, nothing that is stored counts. A budget from the
environment (`TURNOUT_BUDGET_MONTHLY_USD`) is the one of a single tenant of which neither the file
nor the store has one.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from turnout.dsl.core import Budget, Program, Tenant
from turnout.dsl.source import Source, Span

from .rates import Rate
from .request import Caller, RequestError
from .spent import who
from .state.store import StoreError

LOOK_S = 0.5  # between two looks for changes
DEFAULT = "default"  # tenant and tier of whom nobody says anything

_log = logging.getLogger("turnout.tenants")


@dataclass(frozen=True, slots=True)
class Account:
    """A stored tenant. `is_sound` False: what is stored of it cannot be read."""

    tenant: Tenant
    budgets: tuple[Budget, ...] = ()
    is_sound: bool = True


class Stored(NamedTuple):
    """A tenant as it is kept; `revision` is another after each change of it.

    `is_sound` False: its settings cannot be read, and stand here empty.
    """

    name: str
    settings: Mapping[str, Any]
    changed_us: int
    is_sound: bool = True

    @property
    def revision(self) -> str:
        """What tells this state of it from others."""
        return f"{self.changed_us:x}"


class ChangedMeanwhile(Exception):
    """The tenant is not as it was when whoever changes it looked; `now` is what it is."""

    def __init__(self, now: Stored | None) -> None:
        """Hold its present state; None: it is gone."""
        super().__init__("changed meanwhile")
        self.now = now


class TenantStore(Protocol):
    """Where tenants are kept."""

    def changed(self, after: int) -> "tuple[int, Mapping[str, Account]] | None":
        """The number of the last change, and all tenants; None where it is still `after`.

        Blocks. Raises: StoreError.
        """


class Accounts:
    """What is known of tenants beside the file; used from one event loop. A companion.

    Each worker looks twice a second whether something has changed. Asking costs less than 1 µs.
    """

    name = "tenants"

    def __init__(self, store: TenantStore | None = None, default: Budget | None = None) -> None:
        """Follow a store; `default` is the budget that the environment gives a tenant."""
        self._store = store
        self._default = default
        self._seen = -1
        self._stored: Mapping[str, Account] = {}
        self._failing = False
        self._filed: _Filed | None = None

    async def run(self) -> None:
        """Follow what changes until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read what has changed; where that cannot be, what is known stays. Blocks."""
        if self._store is None:
            return
        try:
            found = self._store.changed(self._seen)
        except StoreError as error:
            if not self._failing:
                _log.error("tenants cannot be read; those that are known stay: %s", error)
            self._failing = True
            return
        self._failing = False
        if found is not None:
            self._seen, self._stored = found

    @property
    def stored(self) -> frozenset[str]:
        """The names of stored tenants."""
        return frozenset(self._stored)

    # --- one tenant ------------------------------------------------------------------------------

    def tenant(self, program: Program, name: str) -> Tenant:
        """What is known of a tenant."""
        one = program.tenants.get(name)
        if one is not None:
            return one
        account = self._stored.get(name)
        return Tenant(name) if account is None else account.tenant

    def complete(self, program: Program, caller: Caller) -> Caller:
        """The caller with the tier and region of its stored tenant, where it has none itself.

        Those that the policy does not list among their values stand for nothing.
        """
        account = self._stored.get(caller.tenant)
        if account is None or caller.tenant in program.tenants:
            return caller
        one = account.tenant
        tier, region = caller.tier, caller.region
        if tier == DEFAULT:
            tier = _listed(program, "tier", one.tier) or DEFAULT
        if region is None:
            region = _listed(program, "tenant.region", one.region)
        return replace(caller, tier=tier, region=region)

    def check(self, program: Program, name: str) -> None:
        """Refuse a tenant that cannot be served.

        Raises: RequestError 403 where the policy lists its tenants and this one not among them, 503
        where what is stored of it cannot be read.
        """
        domain = program.schema.attributes["tenant"].domain
        if domain is not None and name not in domain and name != DEFAULT:
            raise RequestError(
                403,
                "permission_error",
                "tenant_not_in_policy",
                f"The policy in force lists the tenants that it serves, and `{name}` is none of "
                "them; its operator can add it to `tenant` under `attributes:`.",
            )
        if self._store is not None and self._seen < 0 and name not in program.tenants:
            # It may have a budget, and rates: nobody knows.
            raise RequestError(
                503,
                "service_unavailable_error",
                "tenants_unavailable",
                "The gateway could not read its tenants yet.",
                retry_after_us=1_000_000,
            )
        account = self._stored.get(name)
        if account is not None and not account.is_sound and name not in program.tenants:
            raise RequestError(
                503,
                "service_unavailable_error",
                "tenant_unreadable",
                "What the gateway has stored of this tenant cannot be read; its operator can set "
                "it anew.",
            )

    def rates_of(self, program: Program, caller: Caller) -> tuple[Rate, ...]:
        """The rates that hold for a caller: those of its tenant, then those of its key."""
        one = program.tenants.get(caller.tenant)
        if one is None:
            account = self._stored.get(caller.tenant)
            one = None if account is None else account.tenant
        found: list[Rate] = []
        if one is not None:
            if one.rpm is not None:
                found.append(Rate(f"tenant:{caller.tenant}", "requests", one.rpm))
            if one.tpm is not None:
                found.append(Rate(f"tenant:{caller.tenant}", "tokens", one.tpm))
        if caller.key_id is not None:
            if caller.rpm is not None:
                found.append(Rate(f"key:{caller.key_id}", "requests", caller.rpm))
            if caller.tpm is not None:
                found.append(Rate(f"key:{caller.key_id}", "tokens", caller.tpm))
        return tuple(found)

    # --- budgets ---------------------------------------------------------------------------------

    def budgets(self, program: Program) -> tuple[Budget, ...]:
        """All budgets: the file's, those of stored tenants, that of the environment."""
        found = list(program.budgets)
        for name, account in self._stored.items():
            if name not in program.tenants:
                found += account.budgets
        if self._default is not None and not self._is_budgeted(program, str(self._default.of)):
            found.append(self._default)
        return tuple(found)

    def budgets_of(self, program: Program, caller: Caller) -> Sequence[Budget]:
        """The budgets that requests of a caller may count against."""
        name = caller.tenant
        account = None if name in program.tenants else self._stored.get(name)
        own: tuple[Budget, ...] = () if account is None else account.budgets
        filed = self._filed
        if filed is None or filed.program is not program:
            filed = self._filed = _Filed(program)
        default = self._default
        if default is not None and default.of == name and not self._is_budgeted(program, name):
            own = (*own, default)
        return (*filed.of(caller), *own)

    def _is_budgeted(self, program: Program, name: str) -> bool:
        """Whether the file, or what is stored, has a budget of its own for a tenant."""
        if has_budget(program, name):
            return True
        account = None if name in program.tenants else self._stored.get(name)
        return account is not None and any(one.scope == "tenant" for one in account.budgets)


class _Filed:
    """The budgets of a policy by whose they are: there may be thousands, and few of a caller."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._of: dict[tuple[str, str] | None, list[tuple[int, Budget]]] = defaultdict(list)
        for number, budget in enumerate(program.budgets):
            # What a request's target is only its attempts know.
            is_anybodys = budget.of is None or budget.scope == "model"
            key = None if is_anybodys else (budget.scope, str(budget.of))
            self._of[key].append((number, budget))

    def of(self, caller: Caller) -> list[Budget]:
        """Those that may be about a caller, in the order of the file."""
        found = list(self._of.get(None, ()))
        for scope in ("tenant", "team", "user", "key"):
            name = who(scope, caller, "")
            if name is not None:
                found += self._of.get((scope, name), ())
        return [budget for _, budget in sorted(found, key=itemgetter(0))]


def has_budget(program: Program, tenant: str) -> bool:
    """Whether the file has a budget for a tenant: its own, or one that each tenant has."""
    return any(one.scope == "tenant" and one.of in (None, tenant) for one in program.budgets)


def default_budget(tenant: str, nano_usd: int) -> Budget:
    """The budget of a tenant that the environment gives it, a month."""
    written = Source("TURNOUT_BUDGET_MONTHLY_USD", "")
    return Budget(tenant, "tenant", tenant, nano_usd, "month", (), Span(written, 0, 0))


def _listed(program: Program, attribute: str, value: str | None) -> str | None:
    """A value, unless the policy lists others."""
    domain = program.schema.attributes[attribute].domain
    return value if domain is None or value in domain else None
