"""Decide recorded requests with a policy: how many of which rule, to where, and for how much.

LOG holds one JSON object per line, plain or gzipped (`-` for standard input): a snapshot as tests
write it, and beside it, where it is known, what became of the request.

  {"tokens": 80, "tier": "free", "at": "2026-03-02T09:30:00Z", "p95(openai/gpt-4)": "900ms",
   "rule": "default", "target": "openai/gpt-4", "cost": "$0.0042", "output_tokens": 57}

  policy simulate log.jsonl --policy routing.yml
  policy simulate march/*.jsonl.gz --policy new.yml --against routing.yml
  policy simulate --journal --since 7d --policy new.yml --format json

A decision is exact for the values that were recorded. Rows that lack what the policy cannot do
without (`tokens`, the clock, a bucket) are counted as undecidable; values that it asked for and did
not find are listed. Exit code 0, 1 if a policy does not compile, 2 if a log or a row of it cannot
be read (what can be is counted and printed all the same), 130 after Ctrl-C, which prints what was
seen so far.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import islice

from turnout.engine.policy import Policy
from turnout.engine.replay import Replay
from turnout.engine.simulate import Simulation

from .colour import palette_of
from .dispatch import INPUT_ERROR, INTERRUPTED, CommandError
from .files import DEFAULT_POLICY, read_policy
from .progress import Progress
from .recorded import HERE, Journal, Logs, Reading, Recorded
from .report import plural, printable
from .simulated import as_data, as_lines

_TELL_EVERY = 256  # rows


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "logs", nargs="*", metavar="LOG", help="logs of JSON lines, also gzipped; `-` for stdin"
    )
    parser.add_argument(
        "--policy",
        default=DEFAULT_POLICY,
        metavar="FILE",
        help=f"the policy to decide with (default: {DEFAULT_POLICY})",
    )
    parser.add_argument(
        "--against",
        metavar="FILE",
        help="the policy to compare with (default: the rules that the log names)",
    )
    parser.add_argument(
        "--journal",
        nargs="?",
        const=HERE,
        metavar="PLACE",
        help="read the journal of a gateway: its TURNOUT_HOME, or the SQLite file in it",
    )
    parser.add_argument(
        "--since", metavar="TIME", help="of the journal, only so far back, such as 7d or 12h"
    )
    parser.add_argument(
        "--limit", type=_positive, metavar="N", help="decide no more than so many requests"
    )
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="how it is printed"
    )


def run(arguments: argparse.Namespace) -> int:
    """Decide every row, then print what came of it."""
    _check(arguments)
    policy = Policy.compile(*read_policy(arguments.policy))
    against = None
    if arguments.against is not None:
        against = Policy.compile(*read_policy(arguments.against))
    replay = Replay(policy.program)
    old = None if against is None else Replay(against.program)
    recorded: Journal | Logs
    if arguments.journal is not None:
        recorded = Journal(arguments.journal, arguments.since)
    else:
        recorded = Logs(arguments.logs)
    simulation, reading = Simulation(replay, old), Reading()
    rows = islice(recorded.rows(replay, old, reading), arguments.limit)
    interrupted = _take(rows, simulation, recorded.progress)
    result, unread = simulation.result, reading.unreadable
    if not result.requests and unread.rows and not interrupted:
        first = unread.first[0]
        raise CommandError(
            f"no row can be read; {first.file}:{first.line}: {first.reason}",
            help='write one JSON object per line, such as `{"tokens": 80, "tier": "free"}`',
        )
    if arguments.format == "json":
        data = as_data(result, reading, policy.digest, None if against is None else against.digest)
        print(json.dumps(data | {"interrupted": interrupted}, indent=2, ensure_ascii=False))
    else:
        head, *rest = as_lines(result, reading)
        head = f"interrupted: {head} so far" if interrupted else head
        print("\n".join([palette_of(sys.stdout).paint("strong", head), *rest]))
    if interrupted:
        return INTERRUPTED
    if unread.rows:
        print(f"policy: {plural(unread.rows, 'row')} cannot be read", file=sys.stderr)
        return INPUT_ERROR
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if not arguments.logs and arguments.journal is None:
        raise CommandError(
            "there is no log to read",
            help="name one, such as `policy simulate log.jsonl`, or write `--journal`",
        )
    if arguments.logs and arguments.journal is not None:
        raise CommandError(
            "logs and the journal cannot be read together", help="run it once for each"
        )
    if arguments.since is not None and arguments.journal is None:
        raise CommandError(
            "`--since` is about the journal", help="write `--journal --since 7d`, or cut the log"
        )
    stdin = [arguments.policy, arguments.against, *arguments.logs].count("-")
    if stdin > 1:
        raise CommandError(
            "standard input can be read once only", help="name a file for the others"
        )


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**15:
        raise argparse.ArgumentTypeError(
            f"`{printable(text)}` is not a count: write `--limit 1000`"
        )
    return int(text)


def _take(rows: Iterator[Recorded], simulation: Simulation, progress: Progress) -> bool:
    """Decide rows until there are no more; True where somebody has seen enough before that."""
    try:
        for number, one in enumerate(rows, 1):
            simulation.take(*one)
            if number % _TELL_EVERY == 0:
                progress.tell(number)
    except KeyboardInterrupt:
        return True
    finally:
        progress.close()
    return False
