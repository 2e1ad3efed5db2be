"""From settings to a gateway: reads the policy file, resolves credentials, builds the parts.

The only place that knows which class stands behind each contract.
"""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path

from turnout.adapters import PROVIDERS, build, key_variable, pooled, variables
from turnout.dsl.check import compile_policy
from turnout.dsl.core import Program
from turnout.dsl.core import Provider as ProviderEntry
from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.lint.run import lint
from turnout.dsl.source import Source, Span
from turnout.engine.catalog import language_schema
from turnout.engine.gateway import Gateway
from turnout.engine.include import beside
from turnout.engine.journal import Journal
from turnout.engine.live import make_live
from turnout.engine.metrics import of_process
from turnout.engine.provider import Provider
from turnout.engine.pulse import Pulse
from turnout.engine.spent import Spent
from turnout.engine.state.sqlite import open_store
from turnout.engine.state.store import Store, StoreError
from turnout.settings import Settings, SettingsError

# Without a policy every known name gets what it asks for.
NO_POLICY = Source(
    "no policy", "routing_policy:\n  - {name: requested, route: requested}\ndeadline: 10m\n"
)

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def load_program(settings: Settings) -> Program:
    """The program of the policy file. Raises: OSError, PolicyError."""
    if settings.policy is None:
        return compile_policy(NO_POLICY, language_schema())
    source = read_policy(settings.policy)
    linted = lint(source, language_schema(), load=beside(settings.policy))
    if linted.program is None:
        raise PolicyError(linted.findings)
    return linted.program


def read_policy(path: Path) -> Source:
    """A policy file as a source. Raises: OSError; SettingsError if it is not UTF-8."""
    try:
        return Source(str(path), path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SettingsError(
            (f"the policy `{path}` is not UTF-8 text (byte {error.start + 1})",)
        ) from None


def build_providers(settings: Settings, program: Program) -> dict[str, Provider]:
    """Every provider that the policy or the catalogue may name, over one pooled transport.

    Raises: SettingsError for a variable that is not set or may not be read, an unreadable key file,
    an address or header that cannot be.
    """
    try:
        transport = pooled()
    except (OSError, ssl.SSLError):
        raise SettingsError(
            ("`SSL_CERT_FILE` or `SSL_CERT_DIR` names certificates that cannot be read",)
        ) from None
    known = {name: ProviderEntry(name, name, None, {}) for name in PROVIDERS}
    problems: list[str] = []
    providers: dict[str, Provider] = {}
    for name, entry in (known | dict(program.providers)).items():
        try:
            address, headers, credential = _reached(name, entry, settings)
            found = {v: settings.credential(name, v) for v in variables(name, entry.kind)}
            given = {variable: value for variable, value in found.items() if value is not None}
            providers[name] = build(
                name, entry.kind, address, headers, credential, transport, given
            )
        except SettingsError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(f"provider `{name}`: {error}")
    if problems:
        raise SettingsError(tuple(problems))
    return providers


def _reached(
    name: str, entry: ProviderEntry, settings: Settings
) -> tuple[str | None, dict[str, str], str | None]:
    """A provider's address, headers and credential: as it is played, else as the policy says."""
    played = settings.played.get(entry.kind)
    if played is not None:
        return played, {}, "played"

    def expanded(text: str) -> str:
        return _expanded(text, settings, entry.variables)

    address = expanded(entry.base_url) if entry.base_url is not None else None
    headers = {key: expanded(value) for key, value in entry.headers.items()}
    return address, headers, settings.credential(name, key_variable(name, entry.kind))


def build_gateway(settings: Settings) -> Gateway:
    """The gateway of one worker process.

    Raises: OSError, PolicyError, SettingsError.
    """
    program = load_program(settings)
    providers = build_providers(settings, program)
    metrics = of_process()
    store = _open_store(settings)
    gateway = Gateway(
        make_live(program, providers),
        Journal(store),
        Pulse(),
        metrics.observe,
        metrics.journal_queue,
        metrics.observe_late,
        Spent(store),
    )
    if not any(gateway.providers.values()):
        raise SettingsError(_unusable(gateway.missing))
    return gateway


def _unusable(missing: Mapping[str, str]) -> tuple[str, ...]:
    """Why no provider can be called: those whose variables are there in part, and the others."""
    bare = [name for name, lacking in missing.items() if lacking == "no credential"]
    told = [f"{lacking} for `{name}`" for name, lacking in missing.items() if name not in bare]
    if bare:
        variables = ", ".join(f"`{key_variable(name)}`" for name in bare)
        told.append(f"no provider has a credential: set one of {variables}")
    return tuple(told)


def _open_store(settings: Settings) -> Store:
    try:
        return open_store(settings.home)
    except StoreError as error:
        raise SettingsError(
            (f"the journal under `TURNOUT_HOME` cannot be used: {error}",)
        ) from None


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
