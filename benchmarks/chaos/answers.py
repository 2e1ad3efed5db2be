"""Whether an answer is the right one, to the letter.

The simulated models say the same to the same prompt, and each prompt has a number of its own: what
is missing, said twice or meant for another request shows.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.load import Outcome, Shot, Told
from turnout.engine.policy import Policy
from turnout.engine.provider import FAULTS
from turnout.simulator.text import answer

_EVENT = b"data: "
_DONE = b"[DONE]"
_ENVELOPE = {"message", "type", "param", "code"}
# What a client may be told where no hop answered.
_DECLARED = {(one.status, one.type) for one in FAULTS.values()}
_STOPPING = "shutting_down"


@dataclass(slots=True)
class Stream:
    """What a stream said, event by event."""

    text: str = ""
    roles: int = 0
    finishes: int = 0
    dones: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    error_last: bool = False
    unreadable: int = 0

    @classmethod
    def read(cls, body: bytes) -> "Stream":
        """Read all events of a body."""
        stream = cls()
        for event in body.split(b"\n\n"):
            if event:
                stream._take(event)
        return stream

    def _take(self, event: bytes) -> None:
        self.error_last = False
        data = event.removeprefix(_EVENT)
        if data == event:
            self.unreadable += 1
        elif data == _DONE:
            self.dones += 1
        else:
            try:
                self._chunk(orjson.loads(data))
            except (ValueError, LookupError, TypeError):
                self.unreadable += 1

    def _chunk(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            self.errors.append(chunk["error"])
            self.error_last = True
            return
        for choice in chunk["choices"]:
            delta = choice["delta"]
            self.roles += "role" in delta
            self.text += delta.get("content") or ""
            self.finishes += choice.get("finish_reason") is not None


@dataclass
class Judgement:
    """Judges the answers of one run; `policy` says by which name a target is called upstream.

    `cut` are streams that had begun and ended in exactly one error event; `stopped` are those of
    them that the gateway itself ended. `refused` are errors of the declared set, by status and
    code. Whatever else is not a right answer is in `wrong`.
    """

    policy: Policy
    right: int = 0
    cut: int = 0
    stopped: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    targets: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    revisions: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __call__(self, shot: Shot, outcome: Outcome, told: Told) -> None:
        """Judge one answer."""
        problem = self._problem(shot, outcome, told)
        if problem is None:
            self.right += 1
        elif problem:
            self.wrong.append(problem)
        outcome.failure = problem

    @property
    def asked(self) -> int:
        """How many were judged."""
        return self.right + self.cut + self.refused.total() + len(self.wrong)

    def _problem(self, shot: Shot, outcome: Outcome, told: Told) -> str | None:
        """What is wrong; None: nothing; empty: it failed as is declared."""
        if outcome.status == 0 or (outcome.failure or "").startswith("no complete"):
            return outcome.failure or "no answer"
        if outcome.status != 200:
            return self._refusal(outcome, told)
        if (outcome.failure or "").startswith(("connection lost", "something came")):
            return outcome.failure
        target = told.header("x-turnout-model")
        self.targets[target] += 1
        self.attempts[int(told.header("x-turnout-attempts") or 0)] += 1
        self.revisions[told.header("x-turnout-policy"), told.header("x-turnout-rule")] += 1
        expected = self._expected(target, shot)
        return self._streamed(told, expected) if shot.stream else _whole(told, expected)

    def _expected(self, target: str, shot: Shot) -> str:
        known = self.policy.program.targets.get(target)
        return answer("nobody" if known is None else known.model, prompt_of(shot))

    def _refusal(self, outcome: Outcome, told: Told) -> str:
        try:
            error = orjson.loads(told.body)["error"]
            kind, code = error["type"], error["code"]
        except (ValueError, LookupError, TypeError):
            return f"status {outcome.status} without an error's envelope"
        if set(error) != _ENVELOPE or (
            (outcome.status, kind) not in _DECLARED and code != _STOPPING
        ):
            return f"status {outcome.status} `{kind}` `{code}`: {error['message']}"
        self.refused[f"{outcome.status} {code}"] += 1
        return ""

    def _streamed(self, told: Told, expected: str) -> str | None:
        stream = Stream.read(told.body)
        if stream.unreadable:
            return f"{stream.unreadable} unreadable events"
        if not stream.errors:
            once = (stream.roles, stream.finishes, stream.dones) == (1, 1, 1)
            return _differs(stream.text, expected) or (None if once else f"not once: {stream!r}")
        if (
            len(stream.errors) > 1
            or not stream.error_last
            or stream.dones
            or set(stream.errors[0]) != _ENVELOPE
        ):
            return f"a broken stream ends otherwise: {stream!r}"
        if not stream.text or not expected.startswith(stream.text):
            return f"a broken stream said something else: {stream!r}"
        self.cut += 1
        self.stopped += stream.errors[0]["code"] == _STOPPING
        return ""


def _whole(told: Told, expected: str) -> str | None:
    try:
        (choice,) = orjson.loads(told.body)["choices"]
        message = choice["message"]
        role, text = message["role"], message["content"]
    except (ValueError, LookupError, TypeError):
        return f"unreadable: {told.body[:80]!r}"
    return _differs(text, expected) or (None if role == "assistant" else f"the role is {role}")


def _differs(text: str, expected: str) -> str | None:
    return None if text == expected else f"{text!r} is not {expected!r}"


def prompt_of(shot: Shot) -> str:
    """The prompt in a shot of `asking`."""
    return str(orjson.loads(shot.body)["messages"][0]["content"])


def asking(
    numbers: Iterator[int] | range,
    *,
    share: float = 0.5,
    words: int = 10,
    more: Mapping[str, object] | None = None,
) -> Iterator[Shot]:
    """Chat requests by number; such a share of them streams, spread evenly."""
    filler = " ".join(f"word{index}" for index in range(words))
    for number in numbers:
        stream = int(number * share) != int((number + 1) * share)
        prompt = f"request {number} {filler}"
        body = {
            "model": "auto",
            "messages": [{"role": "user", "content": prompt}],
            "stream": stream,
            **(more or {}),
        }
        yield Shot("/v1/chat/completions", orjson.dumps(body), stream)
