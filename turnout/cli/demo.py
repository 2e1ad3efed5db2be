"""Run the gateway on simulated providers: a sample policy or your own, no key needed.

Providers are played by their kind: whatever addresses, headers and keys the policy and the
environment name, nothing leaves this machine. Everything that the demo keeps is in the folder
`demo` under `TURNOUT_HOME` (default `~/.turnout`), apart from what a real gateway keeps;
`turnout trace` looks there too.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from turnout.server.stop import Stop
from turnout.settings import DEMO_FOLDER, Settings
from turnout.simulator.launch import PROVIDERS
from turnout.simulator.process import SimulatorProcess

from . import serve

# All of them: what is not played would be asked at its real address.
PLAYED = PROVIDERS
_AUTH = "TURNOUT_AUTH"
_OF_SERVE = ("TURNOUT_POLICY", "TURNOUT_HOST", "TURNOUT_PORT", "TURNOUT_WORKERS")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the demo's options to a parser."""
    parser.add_argument(
        "--policy", metavar="FILE", help="your own policy file (default: a short sample)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="0 takes any free port")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; the simulated providers end with it."""
    for line in not_looked_at(os.environ):
        print(f"turnout: {line}", file=sys.stderr)

    def work(stop: Stop) -> int:
        settings = Settings.load(
            os.environ | {_AUTH: "off"},  # no key is needed, whatever else runs here
            policy=arguments.policy or str(sample_policy()),
            host=arguments.host,
            port=arguments.port,
            workers=1,
        )
        settings = replace(settings, home=settings.home / DEMO_FOLDER)
        serve.make_home(settings.home)
        with SimulatorProcess(PLAYED) as simulator:
            played = {kind: simulator.base_url(kind) for kind in PLAYED}
            print(
                f"simulated providers: {', '.join(PLAYED)}; "
                f"faults on demand: POST {simulator.control_url}/_sim/faults",
                flush=True,
            )
            return serve.serve(replace(settings, played=played), stop)

    return serve.until_stopped(work)


def not_looked_at(environment: Mapping[str, str]) -> list[str]:
    """What the environment asks for that would hold for `serve`, a line for each reason."""

    def told(why: str, names: Sequence[str]) -> list[str]:
        given = [name for name in names if environment.get(name, "").strip()]
        are = "is" if len(given) == 1 else "are"
        return [f"the demo {why}: {', '.join(given)} {are} not looked at"] if given else []

    return [
        *told("asks for no keys", [] if environment.get(_AUTH) == "off" else [_AUTH]),
        *told("goes by its own flags and runs one worker", _OF_SERVE),
    ]


def sample_policy() -> Path:
    """The first policy of the examples."""
    import turnout.policies

    return Path(turnout.policies.__file__).with_name("first.yml")
