"""Show which rule takes a request, and the value of every part of every condition before it.

Describe the request by values, or give the body of a chat request:

  policy explain --given tokens=80 --given tier=free
  policy explain --request body.json --given tier=pro

Values are written as in a condition (800ms, $0.02, 8k, "text"); a live value's name is like
p95(openai/gpt-4). What is not given is unknown; the clock is that of now, or of `--at "Sat 10:00"`.
"""

import argparse
import json
import sys

from .flips import nearest_change
from .given import configure_format, configure_policy, configure_request, policy_of, snapshot_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    configure_policy(parser)
    configure_request(parser)
    configure_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Explain one decision."""
    policy = policy_of(arguments)
    seen, taken = snapshot_of(policy, arguments)
    explanation = policy.explain(seen)
    if taken:
        print(f"clock of now: {taken}", file=sys.stderr)
    if arguments.format == "json":
        print(json.dumps(explanation.to_json(), indent=2, ensure_ascii=False))
        return 0
    print(explanation)
    if explanation.lacks is not None:
        print(f"\n  help: {_to_give(explanation.lacks)}")
    elif (nearest := nearest_change(policy.program, seen)) is not None:
        print(f"\n  {nearest}")
    return 0


def _to_give(bucket: str) -> str:
    """How to say on which arm of a split a request is."""
    told = f"add `--given '{bucket}=0'`, a number of 0 to 9999"
    return f"{told}, or `--given session=…`" if bucket.startswith("bucket(") else told
