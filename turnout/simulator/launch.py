"""Runs the simulator as a program: its options, its ports, its end."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from .anthropic import AnthropicWire
from .bedrock import BedrockWire
from .cohere import CohereWire
from .gemini import GeminiWire
from .latency import LatencyTable, parse_latency
from .manners import MANNERS
from .ollama import OllamaWire
from .openai import OpenAIWire
from .server import Listener, Simulator
from .tokens import encoding
from .traffic import KEPT
from .wire import Wire

# Those that do not imitate OpenAI's wire.
_WIRES: Mapping[str, Callable[[frozenset[str] | None], Wire]] = {
    "anthropic": AnthropicWire,
    "bedrock": BedrockWire,
    "cohere": CohereWire,
    "gemini": GeminiWire,
    "ollama": OllamaWire,
}
# Those that most people want come first, so that they have the first ports.
_FIRST = ("openai", "groq", "ollama", "anthropic")
PROVIDERS = (*_FIRST, *sorted({*MANNERS, *_WIRES} - {*_FIRST}))
_FIRST_PORT = 9900


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the simulator's options to a parser."""
    parser.add_argument(
        "--provider",
        action="append",
        metavar="NAME[:PORT]",
        help=f"a provider to play ({', '.join(PROVIDERS)}); repeatable, default all",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument(
        "--port",
        type=int,
        default=_FIRST_PORT,
        help="the first port, more providers follow on; 0 picks free ones (default %(default)s)",
    )
    parser.add_argument(
        "--control-port",
        type=int,
        metavar="PORT",
        help="one more port for /_sim/ alone, which no fault touches; 0 picks a free one",
    )
    parser.add_argument("--key", help="the only key accepted; default any")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="PROVIDER/MODEL",
        help="a model to serve; its provider then refuses others as not found; repeatable",
    )
    parser.add_argument(
        "--latency",
        action="append",
        default=[],
        metavar="PATTERN=FIRST[/GAP]",
        help="time to the first token and between tokens, as in 'groq/*8b*=20ms/1ms'; repeatable",
    )
    parser.add_argument(
        "--keep",
        type=int,
        default=KEPT,
        metavar="N",
        help="how many of the last requests /_sim/requests can show (default %(default)s)",
    )
    parser.add_argument(
        "--print-ports",
        choices=("text", "json"),
        default="text",
        help="how to print the addresses once all are open",
    )
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="end when standard input does, so as not to outlive the program that started it",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Returns: the exit code."""
    try:
        latency = LatencyTable([parse_latency(text) for text in arguments.latency])
        ports = _ports(arguments.provider or list(PROVIDERS), arguments.port)
        wires = {name: _wire(name, arguments.model) for name in ports}
    except ValueError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    encoding()  # loaded now, so that the first answer is as fast as the others
    simulator = Simulator(latency, arguments.key, arguments.keep)
    try:
        return _run_loop(_serve(simulator, wires, ports, arguments))
    except OSError as error:
        print(f"simulator: cannot listen: {error.strerror or error}", file=sys.stderr)
        return 2


async def _serve(
    simulator: Simulator,
    wires: dict[str, Wire],
    ports: dict[str, int],
    arguments: argparse.Namespace,
) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if arguments.until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), ended.set)
    for name, wire in wires.items():
        simulator.listen(wire, arguments.host, ports[name])
    if arguments.control_port is not None:
        simulator.listen(None, arguments.host, arguments.control_port)
    _announce(simulator.listeners, arguments.print_ports)
    await ended.wait()
    simulator.close()
    return 0


def _announce(listeners: list[Listener], form: str) -> None:
    if form == "json":
        rows = {one.name: {"port": one.port, "base_url": one.base_url} for one in listeners}
        print(json.dumps(rows), flush=True)
        return
    width = max(len(one.name) for one in listeners)
    for one in listeners:
        print(f"{one.name:<{width}}  {one.base_url}", flush=True)


def _ports(given: list[str], first: int) -> dict[str, int]:
    """Read `NAME[:PORT]`; those without a port count up from the first. Raises: ValueError."""
    ports: dict[str, int] = {}
    following = first
    for text in given:
        name, colon, port = text.partition(":")
        if name not in PROVIDERS:
            raise ValueError(f"`{name}` is not simulated; there are {', '.join(PROVIDERS)}")
        if name in ports:
            raise ValueError(f"`{name}` is named twice")
        if colon and not port.isdecimal():
            raise ValueError(f"`{text}`: the port must be a number")
        ports[name] = int(port) if colon else following
        if not colon and following:
            following += 1
    return ports


def _wire(provider: str, models: list[str]) -> Wire:
    names = [name for at, _, name in (model.partition("/") for model in models) if at == provider]
    known = frozenset(names) or None
    other = _WIRES.get(provider)
    return OpenAIWire(provider, known) if other is None else other(known)


def _run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it is installed: the simulator must not be what a benchmark measures."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
