"""Calls whose worst case is known to the nano-dollar, and what their clients were told.

Each call has a number of its own, in its prompt (which the provider sees) and as its session (of
which the gateway keeps a hash), so that what the provider served can be found in the ledger.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.load import Outcome, Shot, Told

CHAT = "/v1/chat/completions"
TARGET = "openai/gpt-4o-mini"
INPUT_NANO, OUTPUT_NANO = 2_500, 10_000  # per token
PRICE = "{price: {input: $2.50/Mtok, output: $10/Mtok}}"
# Of a chat with one message: 3 for the chat, 3 for the message, 4 for `user`, and its own bytes.
_FRAME_TOKENS = 3 + 3 + 4
_CONTENT_BYTES = 90
PROMPT_TOKENS = _FRAME_TOKENS + _CONTENT_BYTES
_ENVELOPE = {"message", "type", "param", "code"}


def most(max_tokens: int = 100) -> int:
    """The worst case of a call, in nano-USD."""
    return PROMPT_TOKENS * INPUT_NANO + max_tokens * OUTPUT_NANO


def worst_usage(max_tokens: int = 100) -> dict[str, Any]:
    """A fault of the simulator: it reports the worst case of each call."""
    total = PROMPT_TOKENS + max_tokens
    reported = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": max_tokens,
        "total_tokens": total,
    }
    return {"kind": "usage", "reported": reported}


def dollars(nano_usd: int) -> str:
    """An amount as a policy writes it."""
    return f"${nano_usd // 10**9}.{nano_usd % 10**9:09d}"


def policy_over(
    base_url: str,
    budgets: Iterable[str] = (),
    more: str = "",
    *,
    route: str = TARGET,
    targets: Sequence[str] = (TARGET,),
) -> str:
    """A policy whose targets all have one price; each of `budgets` is the inside of an entry."""
    priced = "".join(f"  {target}: {PRICE}\n" for target in targets)
    written = "".join(f"  - {{{one}}}\n" for one in budgets)
    return f"""
routing_policy:
  - name: all
    route: {route}
    retries: 0
targets:
{priced}providers:
  openai: {{base_url: '{base_url}'}}
{f"budgets:{chr(10)}{written}" if written else ""}{more}"""


def call(
    number: int,
    *,
    stream: bool = False,
    max_tokens: int = 100,
    model: str = "auto",
    key: str | None = None,
) -> Shot:
    """The call of a number."""
    content = f"call {number:08d} ".ljust(_CONTENT_BYTES, ".")
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": max_tokens,
        "stream": stream,
    }
    head = f"x-turnout-session: {session(number)}\r\n"
    if key is not None:
        head += f"authorization: Bearer {key}\r\n"
    return Shot(CHAT, orjson.dumps(body), stream, head=head)


def calls(numbers: Iterable[int], **more: Any) -> Iterator[Shot]:
    """The calls of these numbers."""
    return (call(number, **more) for number in numbers)


def session(number: int) -> str:
    """The session of a call."""
    return f"call-{number:08d}"


def session_hash(number: int) -> str:
    """What the gateway keeps of it."""
    return hashlib.sha256(session(number).encode()).hexdigest()


def number_in(content: str) -> int:
    """The number of a call, by its prompt."""
    return int(content[5:13])


@dataclass
class Answers:
    """What clients were told: how many were served or turned away as is declared, else what."""

    served: int = 0
    refused: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    messages: set[str] = field(default_factory=set)
    waits_us: list[int] = field(default_factory=list)

    def __call__(self, shot: Shot, outcome: Outcome, told: Told) -> None:
        """Judge one answer."""
        if outcome.status == 200:
            self.served += outcome.failure is None
            if outcome.failure is not None:
                self.wrong.append(outcome.failure)
            return
        error = _error(told.body)
        self.statuses[f"{outcome.status} {error.get('code')}"] += 1
        problem = _refusal_problem(outcome, told, error)
        if problem is None:
            self.refused += 1
            self.messages.add(str(error["message"]))
            self.waits_us.append(outcome.took_us)
            outcome.failure = None
        else:
            self.wrong.append(problem)


def _error(body: bytes) -> dict[str, Any]:
    try:
        error = orjson.loads(body)["error"]
    except (ValueError, LookupError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _refusal_problem(outcome: Outcome, told: Told, error: dict[str, Any]) -> str | None:
    """What is wrong with a refusal for want of budget; None: nothing."""
    shown = f"status {outcome.status} {error or outcome.failure}"
    if outcome.status != 402:
        return shown
    if set(error) != _ENVELOPE:
        return f"no envelope: {shown}"
    if (error["type"], error["code"]) != ("insufficient_quota", "budget_exceeded"):
        return f"another error: {shown}"
    if told.header("retry-after"):
        return f"a Retry-After: {told.header('retry-after')}"
    return None
