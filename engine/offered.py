"""What of a program one caller is offered: by its list of models, its own key, and who pays.

The chain asks the same of every hop right before it is tried; here is what is to be known sooner:
which candidates a choice may fall on, what may be asked for by name, and what an explanation says.
"""

from collections.abc import Mapping
from typing import Protocol

from turnout.dsl.schema import Target
from turnout.dsl.snapshot import Snapshot

from .exhausted import Exclusion
from .granted import UNLISTED, is_granted
from .live import Live
from .own_key import not_for_it
from .provider import Provider
from .request import Caller, OwnKey, RequestError

NOT_PAID = "the gateway's credentials are not for this caller"
Barred = tuple[str, Exclusion | None]


class Asking(Protocol):
    """Who asks, and with whose credentials providers are called for it."""

    @property
    def caller(self) -> Caller:
        """The caller, with its list of models."""

    @property
    def own(self) -> OwnKey | None:
        """A provider's key that it brought along."""

    @property
    def gateway_pays(self) -> bool:
        """Whether the gateway's credentials may be used for it."""


class Offered:
    """What one caller may be answered by.

    Costs nothing to make; `is_all` tells of most callers that nothing more needs to be asked.
    """

    __slots__ = ("_asking", "_live")

    def __init__(self, live: Live, asking: Asking) -> None:
        """Ask of this program for this caller."""
        self._live = live
        self._asking = asking

    @property
    def is_all(self) -> bool:
        """Whether the caller may have all that there is, called as for everybody else."""
        asking = self._asking
        return asking.caller.models is None and asking.own is None and asking.gateway_pays

    def barring(self, target: Target, name: str, requested: Target | None) -> Barred | None:
        """Why the caller may not be answered by a target, whatever is in its way besides.

        `name` is the model as the client wrote it, `requested` what it stands for.
        """
        models = self._asking.caller.models
        if not is_granted(models, name, requested, self._live.program, target.id):
            return UNLISTED, Exclusion.MODELS
        provider = self._live.providers.get(target.provider)
        if not self._asking.gateway_pays and not self._is_owned(provider):
            return not_for_it(self._asking.own, provider), None
        return None

    def barring_beside(self, target: Target, name: str, requested: Target | None) -> str | None:
        """The same of a call beside the answer, for which nobody's own key is used."""
        barred = self.barring(target, name, requested)
        if barred is not None:
            return barred[0]
        return None if self._asking.gateway_pays else NOT_PAID

    def mark(self, seen: Snapshot, name: str, requested: Target | None) -> None:
        """Write into a snapshot which candidates of choices can be called for this caller."""
        program = self._live.program
        for target in program.targets.values():
            key = f"usable({target.id})"
            if key in program.slots:
                provider = self._live.providers.get(target.provider)
                is_there = provider is not None and self._can_be_called(provider)
                seen[key] = is_there and self.barring(target, name, requested) is None

    def providers(self) -> frozenset[str]:
        """The providers that can be called for this caller."""
        if self.is_all:
            return self._live.usable
        every = self._live.providers.items()
        return frozenset(name for name, one in every if self._can_be_called(one))

    def names(self) -> Mapping[str, str]:
        """What it may ask for, with who owns it."""
        listed = self._live.names.listed(self.providers())
        if self.is_all:
            return listed
        return {name: owner for name, owner in listed.items() if self.has(name)}

    def has(self, name: str) -> bool:
        """Whether there is anything that it may be answered by when it asks for a name."""
        try:
            requested = self._live.names.resolve(name).target
        except RequestError:
            return False
        if self.is_all:
            return True
        among = self._live.program.targets.values() if requested is None else (requested,)
        return any(
            (provider := self._live.providers.get(one.provider)) is not None
            and self._can_be_called(provider)
            and self.barring(one, name, requested) is None
            for one in among
        )

    def _can_be_called(self, provider: Provider) -> bool:
        return (self._asking.gateway_pays and provider.usable) or self._is_owned(provider)

    def _is_owned(self, provider: Provider | None) -> bool:
        own = self._asking.own
        return own is not None and provider is not None and provider.owned(own) is not None
