"""Serve the gateway: the OpenAI API, routed by a policy.

Prints one line when it takes requests. SIGTERM and Ctrl-C let requests in flight finish; another
one, a second or more later, cuts them off. The policy is read once: restart to change it. Settings
that have no flag come from the environment (`TURNOUT_…`, and the providers' keys under their usual
names).

Exit code 0 after a signal to stop, 1 if the policy has errors, 2 if settings, policy file or
address cannot be used.
"""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from turnout.dsl.core import Program
from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.nearest import suggestion
from turnout.server.stop import Stop
from turnout.settings import Settings, SettingsError

from .colour import palette_of
from .dispatch import FINDINGS, INPUT_ERROR, INTERNAL_ERROR, CommandError
from .files import read_policy
from .report import printable, render_text


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="the policy file (default: TURNOUT_POLICY, or routing.yml if there is one here)",
    )
    parser.add_argument("--host", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=int, help="the port to listen on, 0 for any free one (default: 8080)"
    )
    parser.add_argument(
        "--workers", type=int, help="how many processes serve, each on one core (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal says to stop."""

    def work(stop: Stop) -> int:
        settings = Settings.load(
            os.environ,
            policy=arguments.policy,
            host=arguments.host,
            port=arguments.port,
            workers=arguments.workers,
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
    except PolicyError as error:
        print(render_text(error.diagnostics, palette_of(sys.stderr)), file=sys.stderr)
        return FINDINGS


def serve(settings: Settings, stop: Stop) -> int:
    """Serve with these settings until asked to stop, and return the exit code.

    Raises: SettingsError, PolicyError, CommandError.
    """
    if settings.policy is not None:
        program = _checked(settings.policy)
        _check_tenant(settings.tenant, program)
        for warning in not_enforced(program):
            print(f"turnout: warning: {warning}", file=sys.stderr)
    make_home(settings.home)
    with _listen(settings) as listening:
        # Of another program: several workers count in a folder of their own, one counts in memory.
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        # Loading the gateway takes a while; signals and mistakes are looked after by now.
        from turnout.server.worker import Ready, log_to_stderr, run_worker
        from turnout.server.workers import WorkerError, run_workers
        from turnout.wiring import build_gateway

        log_to_stderr(settings)

        def announce(ready: Ready) -> None:
            told = _announcement(settings, listening, ready.digest, ready.providers, ready.missing)
            print(told, flush=True)

        run_one_or_more = run_worker if settings.workers == 1 else run_workers
        try:
            run_one_or_more(settings, build_gateway, listening, stop, announce)
        except WorkerError as error:
            raise CommandError(str(error), status=INTERNAL_ERROR) from None
    return 0


def _checked(path: Path) -> Program:
    """The policy, compiled before anything is touched. Raises: PolicyError, CommandError."""
    from turnout.engine.policy import Policy

    return Policy.compile(*read_policy(str(path))).program


def _check_tenant(tenant: str, program: Program) -> None:
    """Refuse a tenant that the policy says there is none of. Raises: CommandError."""
    attribute = program.schema.attributes["tenant"]
    if attribute.domain is not None and tenant not in attribute.domain:
        raise CommandError(
            f"TURNOUT_TENANT_ID is `{printable(tenant)}`, which the policy does not list among the "
            "values of `tenant`",
            help=suggestion(tenant, attribute.domain)
            or "add it under `attributes:`, or set TURNOUT_TENANT_ID to one of "
            + ", ".join(f"`{printable(one)}`" for one in attribute.domain[:12]),
        )


def not_enforced(program: Program) -> list[str]:
    """What the policy asks for and this version of the gateway does not do, a line for each."""
    rated = [t.name for t in program.tenants.values() if t.rpm is not None or t.tpm is not None]
    said = []
    if program.budgets:
        names = ", ".join(f"`{budget.name}`" for budget in program.budgets)
        said.append(f"budgets are counted but not enforced yet: nothing is refused for {names}")
    if rated:
        names = ", ".join(f"`{name}`" for name in rated)
        said.append(f"rates are not enforced yet: `rpm` and `tpm` of {names} limit nothing")
    if program.cache is not None:
        said.append("`cache:` is not in force yet: every request goes to a provider")
    return said


def make_home(home: Path) -> None:
    """Make the folder of what is kept, closed to others. Raises: CommandError."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    listening: socket.socket,
    digest: str,
    providers: Mapping[str, bool],
    missing: Mapping[str, str],
) -> str:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    parts = [f"turnout serves http://{shown}:{port}"]
    if settings.policy is None:
        parts.append("no policy: every known model as requested")
    else:
        parts.append(f"policy {settings.policy} ({digest[:19]})")
    usable = [name for name, usable in providers.items() if usable]
    if usable:
        parts.append(f"providers {', '.join(usable)}")
    for reason in dict.fromkeys(missing.values()):
        lacking = [name for name, told in missing.items() if told == reason]
        parts.append(f"{reason} for {', '.join(lacking)}")
    if settings.workers > 1:
        parts.append(f"{settings.workers} workers")
    return " · ".join(parts)
