"""Serve the gateway: the OpenAI API, routed by a policy.

Prints one line when it takes requests. SIGTERM and Ctrl-C let requests in flight finish; another
one, a second or more later, cuts them off. The policy's files are watched: a change is put in force
once it has no errors and its tests pass, else what was in force stays. SIGHUP looks at them now.
Settings that have no flag come from the environment (`TURNOUT_…`, and the providers' keys under
their usual names).

Exit code 0 after a signal to stop, 1 if the policy has errors or a test of it fails, 2 if settings,
policy file or address cannot be used. Where the policy in force at the end of an earlier run is
known, that is served instead, with a warning. A shadow that cannot be used stops nothing.
"""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from turnout.dsl.core import Program
from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.nearest import suggestion
from turnout.engine.accounts import has_budget
from turnout.engine.current import Begun
from turnout.engine.folder import make_closed
from turnout.engine.judgement import Failing
from turnout.server.stop import Stop
from turnout.settings import Auth, Settings, SettingsError

from .beginning import (
    Beginning,
    beginning,
    instead,
    keep,
    keep_shadow,
    shadowing,
    told,
)
from .colour import palette_of
from .dispatch import FINDINGS, INPUT_ERROR, INTERNAL_ERROR, CommandError
from .report import printable
from .warned import warn, warn_if_open, warn_of_answers

if TYPE_CHECKING:
    from turnout.server.worker import Ready


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="the policy file (default: TURNOUT_POLICY, or routing.yml if there is one here)",
    )
    parser.add_argument(
        "--shadow",
        metavar="FILE",
        help="a second policy, which decides beside the first and acts on nothing: "
        "`turnout shadow` lists where the two differ (default: TURNOUT_SHADOW)",
    )
    parser.add_argument("--host", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=int, help="the port to listen on, 0 for any free one (default: 8080)"
    )
    parser.add_argument(
        "--workers", type=int, help="how many processes serve, each on one core (default: 1)"
    )
    parser.add_argument(
        "--tls-cert",
        metavar="FILE",
        help="serve HTTPS with this certificate, its chain after it, in PEM; both files are read "
        "again when they change (default: TURNOUT_TLS_CERT)",
    )
    parser.add_argument(
        "--tls-key",
        metavar="FILE",
        help="the certificate's key, in PEM without a password (default: TURNOUT_TLS_KEY)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal says to stop."""

    def work(stop: Stop) -> int:
        settings = Settings.load(
            os.environ,
            policy=arguments.policy,
            shadow=arguments.shadow,
            host=arguments.host,
            port=arguments.port,
            workers=arguments.workers,
            tls_cert=arguments.tls_cert,
            tls_key=arguments.tls_key,
        )
        return serve(settings, stop)

    return until_stopped(work)


def until_stopped(work: Callable[[Stop], int]) -> int:
    """Do work that a signal stops; tell what is wrong with settings or policy. The exit code."""
    stop = Stop()
    stop.catch(signal.SIGTERM, signal.SIGINT)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        return work(stop)
    except SettingsError as error:
        for problem in error.problems:
            print(f"turnout: {problem}", file=sys.stderr)
        return INPUT_ERROR
    except (PolicyError, Failing) as error:
        print(told(error, palette_of(sys.stderr)), file=sys.stderr)
        return FINDINGS


def serve(settings: Settings, stop: Stop) -> int:
    """Serve with these settings until asked to stop, and return the exit code.

    Raises: SettingsError, PolicyError, Failing, CommandError.
    """
    first = None
    if settings.policy is not None:
        first = beginning(settings)
        _check_tenant(settings, first.program)
        if settings.monthly_nano_usd is not None and has_budget(first.program, settings.tenant):
            print(
                "turnout: note: TURNOUT_BUDGET_MONTHLY_USD is left out, since the policy has a "
                f"budget for the tenant `{printable(settings.tenant)}`",
                file=sys.stderr,
            )
    beside = None
    if settings.shadow is not None:
        beside = shadowing(settings, partial(_check_tenant, settings))
    make_home(settings.home)
    warn_if_open(settings.home)
    if settings.tls_cert is not None and settings.tls_key is not None:
        _check_certificate(settings.tls_cert, settings.tls_key)
    with _listen(settings) as listening:
        # Of another program: several workers count in a folder of their own, one counts in memory.
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        # Loading the gateway takes a while; signals and mistakes are looked after by now.
        from turnout.server.log import log_to_stderr
        from turnout.server.worker import Ready, run_worker
        from turnout.server.workers import WorkerError, run_workers
        from turnout.wiring import build_gateway, check_usable

        log_to_stderr(settings)
        warn_of_answers(settings)
        if first is not None:
            try:
                check_usable(settings, first.program)
            except SettingsError as wrong:
                first = instead(settings, first.last, wrong, partial(check_usable, settings))
            keep(settings, first)
        if beside is not None:
            keep_shadow(settings, beside)

        def announce(ready: Ready) -> None:
            print(_announcement(settings, first, beside, listening, ready), flush=True)

        run_one_or_more = run_worker if settings.workers == 1 else run_workers
        try:
            factory = partial(
                build_gateway,
                begun=None if first is None else first.begun,
                shadow=beside,
            )
            run_one_or_more(settings, factory, listening, stop, announce)
        except WorkerError as error:
            raise CommandError(str(error), status=INTERNAL_ERROR) from None
    return 0


def _check_tenant(settings: Settings, program: Program) -> None:
    """Refuse a tenant that the policy says there is none of. Raises: CommandError."""
    attribute = program.schema.attributes["tenant"]
    tenant = settings.tenant
    if (
        settings.auth is not Auth.KEYS  # else keys say whose requests they are
        and attribute.domain is not None
        and tenant not in attribute.domain
    ):
        raise CommandError(
            f"TURNOUT_TENANT_ID is `{printable(tenant)}`, which the policy does not list among the "
            "values of `tenant`",
            help=suggestion(tenant, attribute.domain)
            or "add it under `attributes:`, or set TURNOUT_TENANT_ID to one of "
            + ", ".join(f"`{printable(one)}`" for one in attribute.domain[:12]),
        )


def _check_certificate(cert: Path, key: Path) -> None:
    """Refuse a certificate that cannot be shown. Raises: SettingsError."""
    from turnout.server.tls import Certificate, warnings

    Certificate(cert, key)
    for warning in warnings(key):
        warn(warning)


def make_home(home: Path) -> None:
    """Make the folder of what is kept, closed to others. Raises: CommandError."""
    try:
        make_closed(home)
    except OSError as error:
        raise CommandError(
            f"the folder `{home}` cannot be made: {(error.strerror or str(error)).lower()}",
            help="set TURNOUT_HOME to a folder that can be written",
        ) from None


def _listen(settings: Settings) -> socket.socket:
    """A socket bound to the address; who serves on it makes it listen."""
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise CommandError(
            f"there is no address `{host}`", help="name one of this machine's, as in --host 0.0.0.0"
        ) from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        reason = (error.strerror or str(error)).lower()
        raise CommandError(
            f"cannot listen on port {port} of `{host}`: {reason}",
            help="stop what listens there, or name another port (`--port 0` takes any free one)",
        ) from None
    return bound


def _announcement(
    settings: Settings,
    first: Beginning | None,
    beside: Begun | None,
    listening: socket.socket,
    ready: "Ready",
) -> str:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    scheme = "http" if settings.tls_cert is None else "https"
    parts = [f"turnout serves {scheme}://{shown}:{port}"]
    if first is None:
        parts.append("no policy: every known model as requested")
    else:
        which = "policy" if first.is_of_file else "the last good policy of"
        parts.append(f"{which} {settings.policy} ({ready.digest[:19]})")
    if beside is not None:
        if beside.revision is None:
            parts.append(f"nothing in its shadow, as {settings.shadow} cannot be used")
        else:
            which = "" if beside.rejected is None else "the last good policy of "
            parts.append(f"in its shadow {which}{settings.shadow}")
    usable = [name for name, usable in ready.providers.items() if usable]
    if usable:
        parts.append(f"providers {', '.join(usable)}")
    for reason in dict.fromkeys(ready.missing.values()):
        lacking = [name for name, told in ready.missing.items() if told == reason]
        parts.append(f"{reason} for {', '.join(lacking)}")
    if settings.workers > 1:
        parts.append(f"{settings.workers} workers")
    return " · ".join(parts)
