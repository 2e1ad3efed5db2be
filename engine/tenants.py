"""Stored tenants as operators handle them: over the admin API and by `turnout tenants`.

Both say the same of the same mistake, and leave the same in the audit log. Everything here blocks.
"""

import unicodedata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from turnout.dsl.core import Budget, Program, Tenant
from turnout.dsl.schema import Type
from turnout.dsl.units import format_value

from .accounts import ChangedMeanwhile, Stored
from .audit import Audit, Event, Outcome
from .request import RequestError
from .state.store import StoreError

if TYPE_CHECKING:
    from .state.accounts import StoredTenants


class Tenants:
    """The tenants of a gateway: those that its policy names, and those that are stored."""

    def __init__(
        self, store: "StoredTenants", program_of: Callable[[], Program | None], audit: Audit
    ) -> None:
        """Keep tenants in this store; `program_of` gives the policy in force, where there is one.

        `audit` is told of what is refused; what is done, the store tells.
        """
        self._store = store
        self._program_of = program_of
        self._audit = audit

    def all(self) -> list[dict[str, Any]]:
        """Every tenant, by name. Raises: RequestError 503."""
        program = self._program_of()
        try:
            stored = self._store.all()
        except StoreError:
            raise _unreadable() from None
        named = {} if program is None else dict(program.tenants)
        found = {one.name: _shown(one) for one in stored if one.name not in named}
        if program is not None:
            found |= {name: _of_file(program, one) for name, one in named.items()}
        return [found[name] for name in sorted(found)]

    def show(self, name: str) -> dict[str, Any]:
        """One tenant: `{name, source, revision, changed_us, settings}`.

        Raises: RequestError 404, 503.
        """
        program = self._program_of()
        if program is not None and name in program.tenants:
            return _of_file(program, program.tenants[name])
        try:
            found = self._store.find(name)
        except StoreError:
            raise _unreadable() from None
        if found is None:
            raise _none(name)
        return _shown(found)

    def put(
        self, name: str, written: Mapping[str, Any], actor: str, expected: str | None = None
    ) -> tuple[dict[str, Any], bool]:
        """Keep what is written of a tenant, in place of what was; and whether there was none.

        `expected` is the revision it must have; empty: there must be none.
        Raises: RequestError 400, 409 `in_policy_file`, 412, 503.
        """

        def kept() -> tuple[Stored, bool]:
            # Read before the store is asked: what is wrong holds up nobody who writes.
            return self._store.put(name, self._read(name, written), actor, expected)

        found, is_new = self._kept(name, actor, kept)
        return _shown(found), is_new

    def patch(
        self, name: str, written: Mapping[str, Any], actor: str, expected: str | None = None
    ) -> dict[str, Any]:
        """Keep what is written beside what a tenant has; null takes away (RFC 7396).

        `expected` is the revision it must have. Raises: RequestError 400, 404, 409
        `in_policy_file`, 409 `tenant_unreadable`, 412, 503.
        """

        def merged(before: Stored | None) -> Mapping[str, Any]:
            if before is None:
                raise _none(name)
            if not before.is_sound:
                raise RequestError(
                    409,
                    "invalid_request_error",
                    "tenant_unreadable",
                    f"What is stored of the tenant `{name}` cannot be read, so that no part of it "
                    "can be changed: put it anew.",
                )
            return self._read(name, {**before.settings, **written})

        found, _ = self._kept(
            name, actor, lambda: self._store.change(name, merged, actor, expected)
        )
        return _shown(found)

    def _read(self, name: str, written: Mapping[str, Any]) -> dict[str, Any]:
        """Settings as they are kept. Raises: WrongSettings."""
        from .tenant_settings import check_listed, read_settings

        settings = read_settings(name, written)
        program = self._program_of()
        if program is not None:
            check_listed(program, name, settings)
        return settings

    def _kept(
        self, name: str, actor: str, keep: Callable[[], tuple[Stored, bool]]
    ) -> tuple[Stored, bool]:
        """What is done to a tenant whose name may be changed. Raises: RequestError, noted."""
        from .tenant_settings import WrongSettings, is_name

        try:
            self._check_free(self._program_of(), name)
            if not is_name(name):
                raise WrongSettings(
                    "The name of a tenant has 1 to 128 printable characters, and no space at "
                    "either end.",
                    "name",
                )
            if (plain := unicodedata.normalize("NFKC", name)) != name:
                # It would be another tenant than the one that it reads as, without its budgets.
                raise WrongSettings(
                    f"The name has characters that look like others: write `{plain}`, as it reads.",
                    "name",
                )
            return keep()
        except WrongSettings as wrong:
            error = RequestError(
                400, "invalid_request_error", "invalid_tenant", wrong.message, param=wrong.param
            )
            raise self._refused(error, "tenant.change", name, actor) from None
        except ChangedMeanwhile as changed:
            raise self._refused(_changed(name, changed), "tenant.change", name, actor) from None
        except RequestError as error:
            raise self._refused(error, "tenant.change", name, actor) from None
        except StoreError:
            raise self._refused(_unwritable(), "tenant.change", name, actor) from None

    def remove(self, name: str, actor: str, expected: str | None = None) -> dict[str, Any]:
        """Forget what is stored of a tenant; what it was. Its spend stays in the ledger.

        Raises: RequestError 404, 409 `in_policy_file`, 412, 503.
        """
        try:
            self._check_free(self._program_of(), name)
            found = self._store.remove(name, actor, expected)
            if found is None:
                raise _none(name)
        except ChangedMeanwhile as changed:
            raise self._refused(_changed(name, changed), "tenant.delete", name, actor) from None
        except RequestError as error:
            raise self._refused(error, "tenant.delete", name, actor) from None
        except StoreError:
            raise self._refused(_unwritable(), "tenant.delete", name, actor) from None
        return _shown(found)

    def _check_free(self, program: Program | None, name: str) -> None:
        if program is not None and name in program.tenants:
            raise RequestError(
                409,
                "invalid_request_error",
                "in_policy_file",
                f"The policy file names the tenant `{name}`, and what it says wins whole: change "
                "it there, or take it out of `tenants:` first.",
            )

    def _refused(self, error: RequestError, action: str, name: str, actor: str) -> RequestError:
        outcome: Outcome = "failed" if error.status >= 500 else "refused"
        detail: dict[str, str | int | None] = {"code": error.code, "reason": error.message}
        self._audit.note(Event(actor, action, name, outcome, detail))
        return error


def _shown(one: Stored) -> dict[str, Any]:
    return {
        "name": one.name,
        "source": "stored",
        "revision": one.revision,
        "changed_us": one.changed_us,
        "settings": dict(one.settings),
        **({} if one.is_sound else {"unreadable": True}),
    }


def _of_file(program: Program, one: Tenant) -> dict[str, Any]:
    written = {
        "tier": one.tier,
        "region": one.region,
        "rpm": one.rpm,
        "tpm": one.tpm,
        "concurrency": one.concurrency,
    }
    settings: dict[str, Any] = {key: value for key, value in written.items() if value is not None}
    budgets = [_written(b) for b in program.budgets if b.scope == "tenant" and b.of == one.name]
    if budgets:
        settings["budgets"] = budgets
    return {"name": one.name, "source": "policy", "settings": settings}


def _written(budget: Budget) -> dict[str, Any]:
    amount = format_value(budget.limit_nano_usd, Type.MONEY)
    told: dict[str, Any] = {
        "name": budget.name,
        "scope": budget.scope,
        "of": budget.of,
        "limit": f"{amount}/{budget.period}",
    }
    if budget.steps:
        told["at"] = {format_value(share, Type.PERCENT): what for share, what in budget.steps}
    return told


def _none(name: str) -> RequestError:
    return RequestError(
        404, "invalid_request_error", "tenant_not_found", f"There is no tenant `{name}`."
    )


def _changed(name: str, changed: ChangedMeanwhile) -> RequestError:
    now = changed.now
    if now is None:
        told = f"Nothing is stored of the tenant `{name}` any more"
    else:
        told = f"The tenant `{name}` was changed meanwhile: it is at revision `{now.revision}`"
    return RequestError(
        412, "invalid_request_error", "tenant_changed", f"{told}; look at it again, then change it."
    )


def _unreadable() -> RequestError:
    return _unavailable("The gateway cannot read its tenants at the moment.")


def _unwritable() -> RequestError:
    return _unavailable("The gateway cannot write to its database at the moment; nothing changed.")


def _unavailable(message: str) -> RequestError:
    return RequestError(
        503,
        "service_unavailable_error",
        "tenants_unavailable",
        message,
        retry_after_us=1_000_000,
    )
