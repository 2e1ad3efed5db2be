"""Ask whatever answers at a base URL whether it speaks OpenAI's wire, and Anthropic's.

Sends some hundred small requests with plain HTTP and looks at status, headers, bytes and framing.
The key is taken from --key, else from TURNOUT_CONFORMANCE_KEY, else from OPENAI_API_KEY; no output
has it. An area whose endpoint answers every request with 404 or 405 is told as not offered.

  turnout conformance --base-url http://127.0.0.1:8080/v1 --model gpt-4o
  turnout conformance --base-url http://127.0.0.1:8080/v1 --model gpt-4o --only streaming tools
  turnout conformance --list

Exit code 0 if no case failed, 1 if one did, 2 if nothing can be asked there.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from turnout.conformance.api import Target
from turnout.conformance.case import Case
from turnout.conformance.page import as_html
from turnout.conformance.report import Report, as_json, as_junit
from turnout.conformance.run import Outcome, Result, UnknownModelError, UnreachableError
from turnout.conformance.run import run as ask
from turnout.conformance.suite import AREAS, chosen

from .colour import PLAIN, Palette, palette_of
from .dispatch import FINDINGS, CommandError
from .progress import Progress
from .proofs import duration
from .report import plural, printable

_KEYS = ("TURNOUT_CONFORMANCE_KEY", "OPENAI_API_KEY")
_STYLES = {Outcome.PASSED: "good", Outcome.FAILED: "error"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    names = ", ".join(area.name for area in AREAS)
    parser.add_argument("--base-url", metavar="URL", help="as SDKs take it, such as …:8080/v1")
    parser.add_argument("--model", metavar="NAME", help="the model to ask")
    parser.add_argument(
        "--embedding-model", metavar="NAME", help="the model for embeddings (else not asked)"
    )
    parser.add_argument("--key", help="the API key; better in TURNOUT_CONFORMANCE_KEY")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="AREA", help=f"only these areas: {names}"
    )
    parser.add_argument("--skip", nargs="+", default=[], metavar="AREA", help="all areas but these")
    parser.add_argument(
        "--case", action="append", default=[], metavar="ID", help="only this case; repeatable"
    )
    parser.add_argument("--list", action="store_true", help="print the cases and ask nothing")
    parser.add_argument(
        "--format",
        choices=["text", "json", "junit", "html"],
        default="text",
        help="how the outcome is written (default: text)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write it there")
    parser.add_argument(
        "--timeout",
        type=duration,
        default="30s",
        metavar="TIME",
        help="how long one answer may take (default: 30s)",
    )
    parser.add_argument(
        "--concurrency",
        type=_count,
        default=4,
        metavar="N",
        help="how many cases are asked at a time (default: 4)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask the cases, and tell what came of them."""
    try:
        cases = chosen(arguments.only, arguments.skip, arguments.case)
    except KeyError as unknown:
        raise CommandError(
            f"there is no area and no case `{printable(str(unknown.args[0]))}`",
            help="`turnout conformance --list` prints them all",
        ) from None
    if arguments.list:
        print(_listed(cases), end="")
        return 0
    if not cases:
        raise CommandError("no case is left to be asked")
    report = _asked(_target(arguments), cases, arguments)
    counts = report.counts
    if counts[Outcome.NOT_OFFERED] and not counts[Outcome.PASSED] + counts[Outcome.FAILED]:
        raise CommandError(
            "nothing that was asked for is offered there",
            help="a base URL ends where SDKs append `/chat/completions`, mostly in `/v1`",
        )
    _write(report, arguments.format, arguments.output)
    return FINDINGS if counts[Outcome.FAILED] else 0


def _target(arguments: argparse.Namespace) -> Target:
    if not arguments.base_url or not arguments.model:
        raise CommandError(
            "`--base-url` and `--model` are needed",
            help="such as `--base-url http://127.0.0.1:8080/v1 --model gpt-4o`",
        )
    try:
        parts = urlsplit(arguments.base_url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise CommandError(
            f"`{printable(arguments.base_url)}` is no base URL",
            help="write it whole, such as `http://127.0.0.1:8080/v1`",
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise CommandError(
            "a base URL holds no user, no query and no fragment",
            help="the key goes into TURNOUT_CONFORMANCE_KEY",
        )
    key = arguments.key or next(filter(None, map(os.environ.get, _KEYS)), None)
    if key is not None and not (key.isascii() and key.isprintable()):
        raise CommandError("the key has characters that no header can carry")
    return Target(arguments.base_url, arguments.model, key, arguments.embedding_model)


def _asked(target: Target, cases: Sequence[Case], arguments: argparse.Namespace) -> Report:
    progress = Progress(len(cases), noun="cases")
    done = 0

    def told(_: Result) -> None:
        nonlocal done
        done += 1
        progress.moved(1)
        progress.tell(done)

    started = time.monotonic()
    try:
        results = asyncio.run(
            ask(
                target,
                cases,
                timeout_s=arguments.timeout / 1e6,
                concurrency=arguments.concurrency,
                told=told,
            )
        )
    except UnreachableError as error:
        raise CommandError(
            f"nothing can be asked at `{printable(target.base_url)}`: {printable(str(error))}",
            help="is it running, and is the key right?",
        ) from None
    except UnknownModelError as error:
        raise CommandError(
            f"the model `{printable(target.model)}` is not known there ({printable(str(error))})",
            help="`--model` takes a name of its `models`, as its clients write it",
        ) from None
    finally:
        progress.close()
    return Report(target, results, time.monotonic() - started)


def _write(report: Report, form: str, output: Path | None) -> None:
    palette = PLAIN if output else palette_of(sys.stdout)
    match form:
        case "json":
            written = as_json(report)
        case "junit":
            written = as_junit(report)
        case "html":
            written = as_html(report)
        case _:
            written = _as_text(report, palette)
    if output is None:
        print(written, end="")
        return
    try:
        output.write_text(written, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"cannot write `{printable(str(output))}`: {reason}") from None
    print(f"{_summary(report)}; written to {printable(str(output))}")


def _listed(cases: Sequence[Case]) -> str:
    width = max((len(case.id) for case in cases), default=0)
    lines = [f"{case.id:{width}}  {case.expects}" for case in cases]
    return "\n".join([*lines, plural(len(cases), "case"), ""])


def _as_text(report: Report, palette: Palette) -> str:
    lines: list[str] = []
    for result in report.of(Outcome.FAILED):
        lines += [*_failure(result, palette), ""]
    lines += [*_table(report, palette), ""]
    for reason, count in _reasons(report).items():
        lines.append(f"skipped: {plural(count, 'case')}: {printable(reason)}")
    if answered := report.answered_by.most_common():
        told = ", ".join(f"{printable(name)} ({plural(n, 'case')})" for name, n in answered)
        lines.append(f"answered by: {told}")
    lines.append(_summary(report))
    return "\n".join(lines) + "\n"


def _failure(result: Result, palette: Palette) -> list[str]:
    cited = "; ".join(source.title for source in result.case.sources)
    lines = [
        f"{palette.paint('error', 'failed')} {palette.paint('strong', result.case.id)}",
        f"  expected  {result.case.expects}",
        f"  seen      {printable(result.seen or '')}",
        f"  source    {cited}",
    ]
    for number, line in enumerate((result.exchange or "").splitlines()):
        label = "answer" if number == 0 else ""
        lines.append(palette.paint("faint", f"  {label:8}  {printable(line)}"))
    return lines


def _table(report: Report, palette: Palette) -> list[str]:
    width = max(len("area"), *map(len, report.by_area))
    heads = [outcome.value for outcome in Outcome]
    lines = ["  ".join([f"{'area':{width}}", *heads])]
    for name, counted in report.by_area.items():
        cells = []
        for outcome, head in zip(Outcome, heads, strict=True):
            count = counted[outcome]
            cell = f"{count or '-':>{len(head)}}"
            style = _STYLES.get(outcome)
            cells.append(palette.paint(style, cell) if style and count else cell)
        lines.append("  ".join([f"{name:{width}}", *cells]))
    return lines


def _reasons(report: Report) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for result in report.of(Outcome.SKIPPED):
        reason = result.seen or ""
        reasons[reason] = reasons.get(reason, 0) + 1
    return reasons


def _summary(report: Report) -> str:
    counts = report.counts
    told = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome)
    return f"{plural(len(report.results), 'case')} in {report.seconds:.1f} s: {told}"


def _count(text: str) -> int:
    """A whole number above 0."""
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{printable(text)}` is not a number above 0")
    return int(text)
