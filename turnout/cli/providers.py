"""Ask the providers of a policy whether they are there, and what they offer.

`check` resolves the name of each provider, connects, and asks with its key for the list of its
models, which is free of charge; nothing is ever completed. Without --provider it is those that the
policy sends requests to; without a policy, those that have been given a key. A model of the policy
that is not listed is a warning. No output has a key.

  turnout providers check
  turnout providers check --policy routing.yml --provider openai groq --timeout 5s

Exit code 0 if all of them are well, 1 if one is not (or the policy has errors), 2 if settings or
the policy file cannot be read.
"""

import argparse
import asyncio
import json
import os
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence

from turnout.adapters import Transport, key_variable, pooled, variables
from turnout.adapters.kind import Kind
from turnout.addresses import entries, given, reached
from turnout.credentials import Source
from turnout.dsl.core import Program, Provider
from turnout.dsl.nearest import suggestion
from turnout.dsl.schema import Target
from turnout.engine.policy import Policy
from turnout.engine.prober import called
from turnout.settings import Settings, SettingsError
from turnout.wiring import build_providers, load_program

from .colour import Palette, palette_of
from .dispatch import FINDINGS, INPUT_ERROR, CommandError
from .files import read_policy
from .progress import Progress
from .proofs import duration
from .reached import Reached, reach
from .report import printable

_COLUMNS = (
    "provider",
    "kind",
    "credential",
    "resolves",
    "connects",
    "authenticated",
    "models",
    "ms",
)
_NUMBERS = 6  # from this column on


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the questions that there are, and their arguments."""
    questions = parser.add_subparsers(dest="question", metavar="check", required=True)
    check = questions.add_parser(
        "check",
        help="whether each provider is there, takes its key, and has the policy's models",
        description="Whether each provider is there, takes its key, and has the policy's models.",
        allow_abbrev=False,
    )
    check.add_argument(
        "--policy",
        metavar="FILE",
        help="the policy file (default: TURNOUT_POLICY, or routing.yml if there is one here)",
    )
    check.add_argument(
        "--provider",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these providers, whether the policy reaches them or not",
    )
    check.add_argument(
        "--format", choices=["text", "json"], default="text", help="how it is written"
    )
    check.add_argument(
        "--timeout",
        type=duration,
        default="10s",
        metavar="TIME",
        help="how long one provider may take (default: 10s)",
    )
    check.set_defaults(answer=_check)


def run(arguments: argparse.Namespace) -> int:
    """Answer the question that was asked."""
    try:
        status: int = arguments.answer(arguments)
        return status
    except SettingsError as error:
        for problem in error.problems:
            print(f"turnout: {problem}", file=sys.stderr)
        return INPUT_ERROR


def _check(arguments: argparse.Namespace) -> int:
    settings = Settings.load(os.environ, policy=arguments.policy)
    program = _program(settings)
    transport = _transport()
    try:
        providers = build_providers(settings, program, transport)
    except ValueError as error:
        raise CommandError(str(error)) from None
    chosen = _chosen(arguments.provider, settings, program, providers)
    found = asyncio.run(_all(chosen, settings, program, transport, arguments.timeout))
    if arguments.format == "json":
        print(json.dumps([one.as_json() for one in found], indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(found, palette_of(sys.stdout))))
    return 0 if all(one.is_well for one in found) else FINDINGS


def _program(settings: Settings) -> Program:
    """The policy, or what stands in its place. Raises: PolicyError, CommandError."""
    if settings.policy is None:
        return load_program(settings)
    return Policy.compile(*read_policy(str(settings.policy))).program


def _transport() -> Transport:
    try:
        return pooled()
    except (OSError, ssl.SSLError):
        message = "`SSL_CERT_FILE` or `SSL_CERT_DIR` names certificates that cannot be read"
        raise CommandError(message) from None


def _chosen(
    names: Sequence[str], settings: Settings, program: Program, providers: Mapping[str, object]
) -> list[Kind]:
    """The providers to ask, by name. Raises: CommandError for one that nobody knows, or none."""
    kinds = {name: one for name, one in providers.items() if isinstance(one, Kind)}
    for name in names:
        if name not in kinds:
            raise CommandError(
                f"there is no provider `{printable(name)}`",
                help=suggestion(name, kinds) or f"there are {', '.join(f'`{n}`' for n in kinds)}",
            )
    chosen = set(names) or called(program, kinds)
    if not chosen:
        raise CommandError(
            "no provider has a credential, and no policy says which are needed",
            help="set a key such as `OPENAI_API_KEY`, or name a `--policy` or a `--provider`",
            status=FINDINGS,
        )
    return [kinds[name] for name in sorted(chosen)]


async def _all(
    chosen: Sequence[Kind], settings: Settings, program: Program, transport: Transport, us: int
) -> list[Reached]:
    """What is found out about each, all at a time, in the order of their names."""
    progress = Progress(len(chosen), noun="providers")
    known = entries(program)
    done = 0

    async def one(provider: Kind) -> Reached:
        nonlocal done
        entry = known[provider.name]
        targets = [] if settings.policy is None else _targets(program, provider.name)
        found = await reach(provider, entry, _credentials(provider, entry, settings), targets, us)
        if entry.kind not in settings.played:
            how = settings.source(key_variable(provider.name, entry.kind))
            found.source = None if how is None else how.value
        done += 1
        progress.moved(1)
        progress.tell(done)
        return found

    try:
        return await asyncio.gather(*map(one, chosen))
    finally:
        progress.close()
        await transport.aclose()


def _targets(program: Program, provider: str) -> list[Target]:
    return [target for target in program.targets.values() if target.provider == provider]


def _credentials(provider: Kind, entry: Provider, settings: Settings) -> list[str]:
    """What its credential is made of, in words; empty: it has none."""
    name = provider.name
    _, headers, credential = reached(name, entry, settings)
    if credential:
        variable = key_variable(name, entry.kind)
        how = settings.source(variable)
        suffix = "" if how in (None, Source.VARIABLE) else f"_{how.name}"
        return [f"the key in `{variable}{suffix}`"]
    if headers:
        return [f"the `headers:` of `{name}` in the policy"]
    found = given(name, entry, settings)
    if provider.sign(found) is None:
        return []
    return [f"`{one}`" for one in variables(name, entry.kind) if one in found]


# --- as text -------------------------------------------------------------------------------------


def _lines(found: Sequence[Reached], palette: Palette) -> Iterator[str]:
    rows = [_row(one) for one in found]
    table = [_COLUMNS, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(_COLUMNS))]
    yield palette.paint("strong", _aligned(_COLUMNS, widths))
    for row, one in zip(rows, found, strict=True):
        line = _aligned(row, widths)
        yield line if one.is_well else palette.paint("error", line)
    for one in found:
        if one.reason is not None:
            yield ""
            yield f"{one.provider}: {printable(one.reason)}"
            if one.help is not None:
                yield f"  help: {printable(one.help)}"
    warnings = [f"warning: {printable(text)}" for one in found for text in one.warnings]
    yield from ("", *warnings) if warnings else ()
    well = sum(one.is_well for one in found)
    yield ""
    yield palette.paint("good" if well == len(found) else "error", _summary(well, len(found)))


def _summary(well: int, count: int) -> str:
    whole = "provider is" if count == 1 else "providers are"
    return f"{well} of {count} {whole} well"


def _row(one: Reached) -> tuple[str, ...]:
    return (
        printable(one.provider),
        one.kind,
        one.credential if one.source is None else f"{one.credential} ({one.source})",
        *(_said(value) for value in (one.resolves, one.connects, one.authenticated)),
        "-" if one.models is None else str(one.models),
        "-" if one.ms is None else str(one.ms),
    )


def _said(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        text.rjust(width) if at >= _NUMBERS else text.ljust(width)
        for at, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
