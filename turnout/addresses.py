"""Where the providers of a policy are reached, and with what: its texts with their variables.

What a gateway may reach is settled when it starts. A policy that comes later, from a repository
perhaps, cannot send credentials or prompts to anybody new: that takes a restart.
"""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from turnout.adapters import PROVIDERS, key_variable, variables
from turnout.dsl.core import Program, Provider
from turnout.dsl.settings import origin
from turnout.dsl.source import Span
from turnout.settings import Settings, SettingsError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Way:
    """A provider at an address, or (with one of the others) what is sent there.

    `header` goes with its `value` as written; `variable` stands in the address, and `key` is a
    variable with a credential.
    """

    provider: str
    origin: str
    header: str = ""
    value: str = ""
    variable: str = ""
    key: str = ""

    @property
    def is_address(self) -> bool:
        """Whether this is the address itself."""
        return not (self.header or self.variable or self.key)

    def __str__(self) -> str:
        """What it is that is new, without the address: that is for nobody but the operator."""
        if self.header:
            return f"the header `{self.header}` of the provider `{self.provider}`"
        if self.variable:
            return f"`${{{self.variable}}}` in the address of the provider `{self.provider}`"
        if self.key:
            return f"`{self.key}` for the provider `{self.provider}`"
        return f"the address of the provider `{self.provider}`"


def entries(program: Program) -> dict[str, Provider]:
    """Every provider that the policy or the catalogue may name."""
    known = {name: Provider(name, name, None, {}) for name in PROVIDERS}
    return known | dict(program.providers)


def reached(
    name: str, entry: Provider, settings: Settings
) -> tuple[str | None, dict[str, str], str | None]:
    """A provider's address, headers and credential: as it is played, else as the policy says.

    Raises: SettingsError for a variable that is not set or may not be read.
    """
    played = settings.played.get(entry.kind)
    if played is not None:
        return played, {}, "played"

    def expanded(text: str) -> str:
        return _expanded(text, settings, entry.variables)

    address = expanded(entry.base_url) if entry.base_url is not None else None
    headers = {key: expanded(value) for key, value in entry.headers.items()}
    return address, headers, settings.credential(name, key_variable(name, entry.kind))


def given(name: str, entry: Provider, settings: Settings) -> dict[str, str]:
    """The variables of a provider's kind that are set. Raises: SettingsError."""
    found = {one: settings.credential(name, one) for one in variables(name, entry.kind)}
    return {variable: value for variable, value in found.items() if value is not None}


def ways(settings: Settings, program: Program) -> frozenset[Way]:
    """All that a program may reach, and all that it sends there beside keys.

    Raises: SettingsError.
    """
    return frozenset(_ways(settings, program))


def news(known: Set[Way], found: Set[Way]) -> list[Way]:
    """What was found and not known; of an address that is new, not what would be sent there."""
    new = found - known
    places = {(way.provider, way.origin) for way in known}
    told = [way for way in new if way.is_address or (way.provider, way.origin) in places]
    return sorted(told, key=lambda way: (way.provider, way.header, way.variable, way.key))


def _ways(settings: Settings, program: Program) -> Iterator[Way]:
    for name, entry in entries(program).items():
        if entry.kind in settings.played:
            continue  # whatever it says, nothing leaves this machine
        address = reached(name, entry, settings)[0]
        if address is None and entry.kind in PROVIDERS:
            address = PROVIDERS[entry.kind].address(given(name, entry, settings))
        if address is None:
            continue  # it cannot be called at all
        there = origin(address)
        yield Way(name, there)
        for key in (key_variable(name, entry.kind), *variables(name, entry.kind)):
            yield Way(name, there, key=key)  # another kind reads others, and sends them there
        for variable in _VARIABLE.findall(entry.base_url or ""):
            yield Way(name, there, variable=variable)
        for header, value in entry.headers.items():
            yield Way(name, there, header.lower(), value)


def _expanded(text: str, settings: Settings, places: Mapping[str, Span]) -> str:
    """A text of the policy with its `${…}` variables filled in; `places` says where they stand."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        place = places.get(name)
        at = f"{place.source.name}:{place.line}:{place.column}: " if place is not None else ""
        if not name.startswith("TURNOUT_VAR_") and name not in settings.policy_vars:
            raise SettingsError(
                (
                    f"{at}the policy reads `${{{name}}}`, which it may not: name the variable "
                    f"`TURNOUT_VAR_…`, or list it in `TURNOUT_POLICY_VARS`",
                )
            )
        found = settings.environment.get(name)
        if not found:
            raise SettingsError((f"{at}the policy reads `${{{name}}}`, which is not set",))
        return found

    return _VARIABLE.sub(value, text)
