"""From settings to a gateway: reads the policy file, resolves credentials, builds the parts.

The only place that knows which class stands behind each contract. Over 300 lines because of that:
every part is named here, and none elsewhere.
"""

import logging
import os
import socket
import ssl
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from turnout.adapters import Transport, Webhook, build, key_variable, pooled
from turnout.addresses import Way, entries, given, news, reached, ways
from turnout.dsl.check import compile_policy
from turnout.dsl.core import Program
from turnout.dsl.core import Provider as Entry
from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.lint.run import lint
from turnout.dsl.source import Source
from turnout.engine import judgement
from turnout.engine.accounts import Accounts, default_budget
from turnout.engine.alerts import Alerts
from turnout.engine.board import Alone, Board
from turnout.engine.breakers import Breakers
from turnout.engine.bundle import Bundle
from turnout.engine.cache import Cache
from turnout.engine.cache_sweep import Sweep
from turnout.engine.cached import Generations
from turnout.engine.cached import Store as Answers
from turnout.engine.catalog import language_schema
from turnout.engine.current import Begun, Current, Unfit
from turnout.engine.deferred import Deferred
from turnout.engine.disk import Disk
from turnout.engine.gateway import Gateway
from turnout.engine.include import beside
from turnout.engine.journal import Journal
from turnout.engine.judgement import Rejected
from turnout.engine.keyring import Keyring
from turnout.engine.live import Live, make_live
from turnout.engine.metrics import Metrics, of_process
from turnout.engine.prober import Prober
from turnout.engine.provider import Provider
from turnout.engine.pulse import Pulse
from turnout.engine.record import DecisionRecord, Late, Vitals
from turnout.engine.redaction import KNOWN
from turnout.engine.revision import Kept
from turnout.engine.shadow import Shadow
from turnout.engine.slices import Slices
from turnout.engine.spent import Spent
from turnout.engine.state.accounts import StoredTenants
from turnout.engine.state.alerts import AlertBook
from turnout.engine.state.answers import SqliteAnswers, sweep
from turnout.engine.state.audit import AuditLog
from turnout.engine.state.bank import SqlBank
from turnout.engine.state.board import FOLDER, SharedBoard
from turnout.engine.state.books import SqlBooks
from turnout.engine.state.costs import LedgerSums
from turnout.engine.state.database import Database, open_database
from turnout.engine.state.generations import SharedGenerations
from turnout.engine.state.keys import StoredKeys
from turnout.engine.state.rates import SharedRates
from turnout.engine.state.seats import LockedSeats
from turnout.engine.state.sqlite import SqliteStore
from turnout.engine.state.store import StoreError
from turnout.engine.state.trim import SqliteTrimmer
from turnout.engine.tenants import Tenants
from turnout.engine.trim import Trimming
from turnout.protocols.forms import FORMS
from turnout.rotation import Given, Rotation
from turnout.settings import (
    ALERT_SECRET,
    ALERT_WEBHOOK,
    REDIS_URL,
    SHADOW_FOLDER,
    Auth,
    Settings,
    SettingsError,
)

_log = logging.getLogger("turnout.policy")

# Without a policy every known name gets what it asks for.
NO_POLICY = Source(
    "no policy", "routing_policy:\n  - {name: requested, route: requested}\ndeadline: 10m\n"
)


class Onlooker(Protocol):
    """Who is told what becomes of requests: metrics, or whoever waits for one of them."""

    def observe(self, record: DecisionRecord) -> None:
        """Take a finished record."""

    def observe_late(self, late: Late) -> None:
        """Take an attempt that ended after its record."""

    def tick(self, vitals: Vitals) -> None:
        """Take how the worker is, once a second."""


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


def build_providers(
    settings: Settings, program: Program, transport: Transport | None = None
) -> dict[str, Provider]:
    """Every provider that the policy or the catalogue may name, over one pooled transport.

    `transport` is that of the providers whose place these take: streams go on over it.
    Raises: SettingsError for a variable that is not set or may not be read, an unreadable key file,
    an address or header that cannot be.
    """
    transport = transport or make_transport()
    problems: list[str] = []
    providers: dict[str, Provider] = {}
    for name, entry in entries(program).items():
        try:
            found = _found(name, entry, settings)
            providers[name] = _built(name, entry, found, transport)
        except SettingsError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(f"provider `{name}`: {error}")
    if problems:
        raise SettingsError(tuple(problems))
    return providers


def _found(name: str, entry: Entry, settings: Settings) -> Given:
    """What a provider is called with; the log knows what of the policy's headers is a secret.

    Raises: SettingsError.
    """
    address, headers, credential = reached(name, entry, settings)
    found = Given(address, headers, credential, given(name, entry, settings))
    if entry.kind not in settings.played:
        filled = [headers[key] for key, written in entry.headers.items() if "${" in written]
        KNOWN.learn(*filled, *(value.partition(" ")[2] for value in filled))  # `Bearer ${…}`
    return found


def _built(name: str, entry: Entry, found: Given, transport: Transport) -> Provider:
    """A provider that is called with this. Raises: ValueError."""
    return build(
        name,
        entry.kind,
        found.address,
        found.headers,
        found.credential,
        transport,
        found.variables,
    )


def make_transport() -> Transport:
    """A pool of connections for all providers of a gateway. Raises: SettingsError."""
    try:
        return pooled()
    except (OSError, ssl.SSLError):
        raise SettingsError(
            ("`SSL_CERT_FILE` or `SSL_CERT_DIR` names certificates that cannot be read",)
        ) from None


def build_gateway(
    settings: Settings, begun: Begun | None = None, shadow: Begun | None = None
) -> Gateway:
    """The gateway of one worker process.

    With `begun` it serves that policy and follows its file; without, what the file is now. `shadow`
    decides beside it, and its file is followed too.
    Raises: OSError, PolicyError, SettingsError.
    """
    metrics = of_process()
    board = SharedBoard(settings.home / FOLDER)
    if begun is not None:
        gateway = _following(settings, begun, metrics, board)
    else:
        program = load_program(settings)
        metrics.policy(program.digest)
        gateway = assemble(settings, program, metrics, board)
    if shadow is not None:
        _shadow(gateway, settings, shadow, metrics, board)
    return gateway


def _shadow(
    gateway: Gateway, settings: Settings, begun: Begun, metrics: Metrics, board: Board
) -> None:
    """Let a second policy decide beside, as its file is at any time; a bad one stops nothing."""
    kept = Kept(settings.home / SHADOW_FOLDER, str(settings.shadow))
    newest = kept.read()
    number = 0 if begun.revision is None else begun.revision.number
    if newest is not None and newest.number > number:
        begun = Begun(newest)  # this worker takes the place of another one

    def make(bundle: Bundle) -> Shadow:
        program = compile_bundle(bundle)
        _check_tenant(settings, program)
        return Shadow(program)

    async def put(shadow: Shadow) -> None:
        gateway.shadow_with(shadow)

    if begun.revision is not None:
        try:
            gateway.shadow_with(make(begun.revision.bundle))
        except Exception as error:  # whatever it is: what acts on nothing must not stop what acts
            _log.error("%s cannot be in the shadow: %s", settings.shadow, error)
            begun = Begun(None, judgement.rejected("broken", str(error)))
    metrics.shadow_rejected(begun.rejected is not None)
    gateway.follow_shadow(
        Current(
            str(settings.shadow),
            begun,
            kept,
            board,
            make,
            put,
            name="shadow",
            on_loaded=lambda: metrics.shadow_rejected(False),
            on_rejected=lambda rejected: metrics.shadow_rejected(rejected is not None),
            place="in the shadow",
            digest_of=lambda shadow: shadow.program.digest,
            audit=gateway.audit,
        )
    )


def _following(settings: Settings, begun: Begun, metrics: Metrics, board: Board) -> Gateway:
    """A gateway that puts another policy in force when its files are others.

    Raises: PolicyError, SettingsError.
    """
    path = str(settings.policy)
    transport = make_transport()
    assert begun.revision is not None  # without a policy there is no gateway
    program = compile_bundle(begun.revision.bundle)
    at_start = ways(settings, program)

    def make(bundle: Bundle) -> Live:
        return _made(settings, compile_bundle(bundle), transport, at_start)

    kept = Kept(settings.home, path)
    newest = kept.read()
    if newest is not None and newest.number > begun.revision.number:
        # This worker takes the place of another one: since the start, the policy has changed.
        with suppress(PolicyError, Unfit):
            program = make(newest.bundle).program
            begun = Begun(newest)
    gateway = assemble(settings, program, metrics, board, transport)
    metrics.policy(program.digest)

    async def put(live: Live) -> None:
        if live.program.digest != gateway.digest:  # else it is comments, or tests, that changed
            await gateway.switch(live)

    def on_rejected(rejected: Rejected | None) -> None:
        if rejected is None:
            metrics.policy_restored()
        else:
            metrics.policy_rejected(rejected.kind)

    if path == "-" or (os.path.exists(path) and not os.path.isfile(path)):
        return gateway  # it was read, and cannot be read again
    gateway.follow(
        Current(
            path,
            begun,
            kept,
            board,
            make,
            put,
            on_loaded=lambda: metrics.policy_loaded(gateway.digest),
            on_rejected=on_rejected,
            digest_of=lambda live: live.program.digest,
            audit=gateway.audit,
        )
    )
    return gateway


def compile_bundle(bundle: Bundle) -> Program:
    """The program of texts that were judged already. Raises: PolicyError."""
    return compile_policy(bundle.source, language_schema(), bundle.load)


def check_usable(settings: Settings, program: Program) -> None:
    """Find out whether a gateway can be built for a program. Raises: SettingsError."""
    live = make_live(program, build_providers(settings, program))
    _check_callable(settings, live)


def _check_tenant(settings: Settings, program: Program) -> None:
    """Refuse a program that the gateway's own tenant is none of. Raises: Unfit."""
    tenants = program.schema.attributes["tenant"].domain
    named = settings.auth is Auth.KEYS  # then keys say whose requests they are
    if tenants is not None and settings.tenant not in tenants and not named:
        reason = "`TURNOUT_TENANT_ID` is none of what the policy lists as values of `tenant`"
        raise Unfit(judgement.rejected("settings", reason))


def _made(settings: Settings, program: Program, transport: Transport, at_start: Set[Way]) -> Live:
    """A program that came while serving, ready to serve. Raises: Unfit."""
    try:
        _check_tenant(settings, program)
        live = make_live(program, build_providers(settings, program, transport))
        new = news(at_start, ways(settings, program))
        _check_callable(settings, live)
    except SettingsError as error:
        raise Unfit(judgement.rejected("settings", "; ".join(error.problems))) from None
    if new:
        told = ", ".join(dict.fromkeys(map(str, new)))
        reason = f"{told} would be new to this gateway, which takes a restart"
        raise Unfit(judgement.rejected("origin", reason))
    return live


def assemble(
    settings: Settings,
    program: Program,
    told: Onlooker,
    board: Board | None = None,
    transport: Transport | None = None,
) -> Gateway:
    """A gateway for a program; `told` sees what becomes of requests.

    `board` is what it shares with its fellows; None: it has none.

    Raises: SettingsError.
    """
    transport = transport or make_transport()
    providers = build_providers(settings, program, transport)
    onlookers = [told.observe]

    def observe(record: DecisionRecord) -> None:
        for tell in onlookers:
            tell(record)

    database = _open_database(settings)
    store = SqliteStore(database)
    audit = AuditLog(database)
    disk = Disk(settings.home, settings.min_free_bytes, board, audit)
    purse = Slices(SqlBank(database), board)
    breakers = Breakers(board or Alone())
    keyring = Keyring(StoredKeys(database))
    stored = StoredTenants(database)
    accounts = _accounts(settings, stored)
    cache = _cache(settings)
    gateway = Gateway(
        make_live(program, providers),
        Journal(store, room=disk),
        Pulse(board=board),
        observe,
        told.tick,
        told.observe_late,
        Spent(store),
        breakers,
        seats=LockedSeats(settings.home / FOLDER),
        board=board,
        audit=audit,
        keys=keyring,
        purse=purse,
        accounts=accounts,
        rates=SharedRates(settings.home / FOLDER),
        tenants=Tenants(stored, lambda: gateway.live.program, audit),
        spendings=LedgerSums(database),
        books=SqlBooks(database),
        spenders=AlertBook(database),
        cache=cache,
    )
    _check_callable(settings, gateway.live)
    prober = Prober(lambda: gateway.live, breakers, board or Alone(), settings.probe_us)
    trimming = Trimming(
        SqliteTrimmer(database),
        settings.keeping,
        board,
        lambda: ZoneInfo(gateway.live.program.timezone),
        gateway.archive,
        str(settings.home),
    )
    gateway.show(disk=disk.health, trim=trimming.health)
    gateway.show(budgets=purse.health, providers=prober.health, cache=cache.health)
    swept = Sweep(lambda: sweep(settings.home), board)
    gateway.accompany(disk, trimming, accounts, swept)
    if isinstance(told, Metrics):
        gateway.accompany(_alerts(settings, gateway, database, board or Alone(), told))
    if settings.probe_us and board is not None:
        gateway.accompany(prober)
    if settings.auth is not Auth.OFF:
        gateway.accompany(keyring)
    if settings.has_keys_that_rotate:
        rotation = _rotation(settings, program, gateway, transport)
        gateway.accompany(rotation)
        gateway.when_asked_to_look(rotation.ask)
        onlookers.append(rotation.observe)
    return gateway


def _cache(settings: Settings) -> Cache:
    """The answers that may be given again. Raises: SettingsError."""
    store, generations = shared_answers(settings)
    return Cache(store, generations, FORMS, settings.cache_memory_bytes)


def shared_answers(settings: Settings) -> tuple[Answers | None, Generations]:
    """Where workers share answers, if they do, and the numbers of tenants that go with them.

    Nothing is opened before the first is asked for. Raises: SettingsError.
    """
    if (url := settings.secret(REDIS_URL)) is not None:
        return _answers_in_redis(url)
    generations = SharedGenerations(settings.home / FOLDER)
    most_bytes = settings.cache_disk_bytes
    store = None
    if most_bytes:
        store = Deferred(lambda: SqliteAnswers(settings.home, most_bytes, generations))
    return store, generations


def unreachable_answers(settings: Settings) -> str | None:
    """Why no machine can share answers now, where several are to; None where all is well. Blocks.

    Raises: SettingsError.
    """
    if (url := settings.secret(REDIS_URL)) is None:
        return None
    _answers_in_redis(url)
    from turnout.engine.state.redis import unreachable

    return unreachable(url)


def _answers_in_redis(url: str) -> tuple[Answers, Generations]:
    KNOWN.learn(url)
    try:
        from turnout.engine.state.redis import open_redis
    except ModuleNotFoundError:
        raise SettingsError((f"`{REDIS_URL}`: install `turnout[redis]`",)) from None
    try:
        return open_redis(url)
    except ValueError as problem:
        raise SettingsError((f"`{REDIS_URL}`: {problem}",)) from None


def _accounts(settings: Settings, stored: StoredTenants) -> Accounts:
    """What is known of tenants, as it is now."""
    default = None
    if settings.monthly_nano_usd is not None:
        default = default_budget(settings.tenant, settings.monthly_nano_usd)
    accounts = Accounts(stored, default)
    accounts.refresh()
    return accounts


def _alerts(
    settings: Settings, gateway: Gateway, database: Database, board: Board, counted: Metrics
) -> Alerts:
    """What says that budgets are used up. Raises: SettingsError."""
    counted.know({settings.tenant})
    return Alerts(
        gateway.watched,
        AlertBook(database),
        board,
        _webhook(settings),
        counted,
        f"{socket.gethostname()}:{settings.home.name}",
        SqlBooks(database),
    )


def _webhook(settings: Settings) -> Webhook | None:
    """Who is told of alerts beside the log. Raises: SettingsError."""
    url, secret = settings.secret(ALERT_WEBHOOK), settings.secret(ALERT_SECRET)
    KNOWN.learn(url, secret)
    if url is None:
        return None
    try:
        return Webhook(url, secret)
    except ValueError as problem:
        raise SettingsError((f"`{ALERT_WEBHOOK}`: {problem}",)) from None


def _rotation(
    settings: Settings, program: Program, gateway: Gateway, transport: Transport
) -> Rotation:
    """What finds keys that are others than before. Raises: SettingsError."""
    at_start = ways(settings, program)

    def find(program: Program) -> dict[str, Given]:
        # What a gateway may reach was settled at the start, also where it stands in a file.
        if new := news(at_start, ways(settings, program)):
            told = ", ".join(dict.fromkeys(map(str, new)))
            raise SettingsError((f"{told} would be new to this gateway, which takes a restart",))
        return {name: _found(name, one, settings) for name, one in entries(program).items()}

    def make(program: Program, name: str, found: Given) -> Provider:
        return _built(name, entries(program)[name], found, transport)

    return Rotation(gateway, find, make, settings.commands.renew, settings.key_refresh_us)


def _check_callable(settings: Settings, live: Live) -> None:
    """Refuse a program none of whose providers can be called. Raises: SettingsError.

    Where callers bring their own keys, those may be all that is needed.
    """
    if settings.auth is Auth.PASSTHROUGH:
        return
    if not any(provider.usable for provider in live.needed.values()):
        raise SettingsError(_unusable(live.missing))


def _unusable(missing: Mapping[str, str]) -> tuple[str, ...]:
    """Why no provider can be called: those whose variables are there in part, and the others."""
    bare = [name for name, lacking in missing.items() if lacking == "no credential"]
    told = [f"{lacking} for `{name}`" for name, lacking in missing.items() if name not in bare]
    if bare:
        variables = ", ".join(f"`{key_variable(name)}`" for name in bare)
        told.append(f"no provider has a credential: set one of {variables}")
    return tuple(told)


def _open_database(settings: Settings) -> Database:
    try:
        return open_database(settings.home)
    except StoreError as error:
        raise SettingsError(
            (f"the journal under `TURNOUT_HOME` cannot be used: {error}",)
        ) from None
