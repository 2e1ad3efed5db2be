"""List where the policy in the shadow would have done otherwise than the one in force.

Reads the journal of a gateway that runs with `turnout serve --shadow FILE`, and counts what differs
by the two rules; `--pair` lists the requests. Costs are what the answers cost, and what the same
tokens would have cost at the other target. `turnout trace --shadow REQ` explains one request.
"""

import argparse
import json
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .progress import Progress
from .recorded import HERE, duration_us, open_journal, policies_of
from .shadowed import NONE, Seen, Sum, as_data, as_lines

if TYPE_CHECKING:
    from turnout.dsl.core import Program
    from turnout.engine.record import DecisionRecord, Shadowed


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--since", default="24h", metavar="TIME", help="how far back (default 24h)")
    parser.add_argument(
        "--pair",
        nargs=2,
        metavar=("RULE", "SHADOW_RULE"),
        help=f"list the requests that these two rules took; `{NONE}` stands for no rule",
    )
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="list so many, the newest (default 20)"
    )
    parser.add_argument(
        "--all", action="store_true", help="count earlier shadows too, not only the newest one"
    )
    parser.add_argument(
        "--journal",
        default=HERE,
        metavar="HOME",
        help="the TURNOUT_HOME of the gateway, or its file (default: this machine's)",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print")


def run(arguments: argparse.Namespace) -> int:
    """Print what differs."""
    since_us = time.time_ns() // 1_000 - duration_us(arguments.since)
    most = max(arguments.limit, 0)
    pair = None if arguments.pair is None else tuple(map(_rule_named, arguments.pair))
    by_shadow = _read(arguments.journal, since_us, pair, most)
    chosen = list(by_shadow) if arguments.all else list(by_shadow)[-1:]
    seen = Seen(listed=deque(maxlen=most))
    for digest in chosen:
        seen.add(by_shadow[digest], most)
    earlier = sum(one.requests for digest, one in by_shadow.items() if digest not in chosen)
    if arguments.format == "json":
        print(json.dumps(as_data(seen, chosen, earlier, pair), indent=2, ensure_ascii=False))
    else:
        print("\n".join(as_lines(seen, chosen, earlier, pair, arguments.since)))
    return 0


def _rule_named(word: str) -> str | None:
    return None if word == NONE else word


def _read(
    place: str, since_us: int, pair: tuple[str | None, ...] | None, most: int
) -> dict[str, Seen]:
    """What was decided, by the shadow's digest, the newest shadow last. Raises: CommandError."""
    from turnout.engine.state.store import StoreError

    from .dispatch import CommandError

    store, shown = open_journal(place)
    found: dict[str, Seen] = {}
    try:
        policy_of = policies_of(store)
        progress = Progress(store.count(since_us), noun="requests")
        for number, record in enumerate(store.records(since_us), 1):
            progress.moved(1)
            progress.tell(number)
            if (shadow := record.shadow) is None:
                continue
            seen = found.pop(shadow.policy, None) or Seen(listed=deque(maxlen=most))
            found[shadow.policy] = seen
            _count(seen, record, shadow, policy_of, pair)
        progress.close()
    except StoreError as error:
        raise CommandError(f"cannot read the journal `{shown}`: {error}") from error
    finally:
        store.close()
    return found


def _count(
    seen: Seen,
    record: "DecisionRecord",
    shadow: "Shadowed",
    policy_of: "Callable[[str], Program | None]",
    pair: tuple[str | None, ...] | None,
) -> None:
    seen.requests += 1
    seen.acting.add(record.digest)
    if shadow.agrees:
        seen.agree += 1
        return
    if shadow.agrees is None:
        seen.undecided[shadow.undecided or "unknown"] += 1
        return
    both = (record.rule, shadow.rule)
    one = seen.pairs.setdefault(both, Sum())
    one.requests += 1
    if (costs := _costs(record, shadow, policy_of)) is not None:
        one.priced += 1
        one.now += costs[0]
        one.then += costs[1]
    if pair is None or pair == both:
        seen.listed.append(_request(record, shadow))


def _costs(
    record: "DecisionRecord", shadow: "Shadowed", policy_of: "Callable[[str], Program | None]"
) -> tuple[int, int] | None:
    """What the answer cost, and the same tokens at the other target; None where nobody can say."""
    from turnout.engine.ledger import charge

    if shadow.target is None or record.target != shadow.acting or record.outcome != "ok":
        return None
    answered = next((a for a in reversed(record.attempts) if a.outcome == "ok" and a.usage), None)
    program = policy_of(shadow.policy)
    if answered is None or answered.usage is None or program is None:
        return None
    target = program.targets.get(shadow.target) or program.schema.catalog.find(shadow.target)
    if target is None or target.tariff is None:
        return None
    return answered.cost_nano_usd, charge(target.tariff, answered.usage)


def _request(record: "DecisionRecord", shadow: "Shadowed") -> dict[str, Any]:
    at = datetime.fromtimestamp(record.received_us / 1_000_000, UTC)
    return {
        "id": record.id,
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "rule": record.rule,
        "shadow_rule": shadow.rule,
        "model": record.model,
        "tokens": record.values.get("tokens"),
        "target": shadow.acting,
        "shadow_target": shadow.target,
        "refused": shadow.refused,
    }
