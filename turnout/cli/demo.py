"""Run the gateway on embedded defaults: simulated providers, a sample policy, no key needed.

Everything that the demo keeps is in the folder `demo` under `TURNOUT_HOME` (default `~/.turnout`),
apart from what a real gateway keeps; `turnout trace` looks there too.
"""

import argparse
import os
from pathlib import Path

from turnout.settings import DEMO_FOLDER, Settings
from turnout.simulator.process import SimulatorProcess

from . import serve
from .dispatch import CommandError

PLAYED = ("openai", "anthropic", "groq")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the demo's options to a parser."""
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="0 takes any free port")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; the simulated providers end with it."""
    home = Settings.load({}).home
    if os.environ.get("TURNOUT_HOME"):
        home = Path(os.environ["TURNOUT_HOME"]).expanduser()
    home = home / DEMO_FOLDER
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CommandError(
            f"`{home}` cannot be made: {(error.strerror or str(error)).lower()}",
            help="point `TURNOUT_HOME` at a folder that can be written",
        ) from None
    with SimulatorProcess(PLAYED) as simulator:
        policy = home / "routing.yml"
        policy.write_text(sample_policy(simulator), encoding="utf-8")
        os.environ["TURNOUT_HOME"] = str(home)
        for provider in PLAYED:
            os.environ[f"{provider.upper()}_API_KEY"] = "simulated"
            os.environ.pop(f"{provider.upper()}_API_KEY_FILE", None)
        print(f"simulated providers: {', '.join(PLAYED)}; policy: {policy}", flush=True)
        return serve.run(
            argparse.Namespace(
                policy=str(policy), host=arguments.host, port=arguments.port, workers=1
            )
        )


def sample_policy(simulator: SimulatorProcess) -> str:
    """The first policy of the examples, its providers being the simulated ones."""
    import turnout.policies

    first = Path(turnout.policies.__file__).with_name("first.yml").read_text(encoding="utf-8")
    addresses = "".join(
        f"  {provider}: {{base_url: {simulator.base_url(provider)!r}}}\n" for provider in PLAYED
    )
    comment = "# the simulated ones; your own file needs no such section"
    return f"{first}\nproviders:     {comment}\n{addresses}"
