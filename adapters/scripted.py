"""A provider that answers from a script, in this process: for tests of what stands above it.

    provider = Scripted("groq", [ProviderError(Fault.SERVER, "down"), said("hello")])
    provider = Scripted("groq", [[*spoken("hel", "lo")[:2], ProviderError(Fault.CONNECT, "cut")]])
    provider = Scripted("groq", [[Pause(50_000), said("late")], lambda call: said("on time")])

One step is played per attempt. `calls` has what came in, `closed` counts the streams that ended,
by themselves or because they were closed. With a `home`, keys of callers for that kind of provider
are for it; `secrets` has the one that each call came with, None where that was the gateway's.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass

import orjson

from turnout.engine.provider import Answer, Call, Chunk, Fault, Provider, ProviderError
from turnout.engine.request import OwnKey, Usage


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait of `us` microseconds; without a number it never ends."""

    us: int | None = None


Act = Answer | Chunk | ProviderError | Pause
"""What one step may do, alone or as a list in its order."""

Step = Act | Sequence[Act] | Callable[[Call], "Step"]
"""What one attempt gets; a function is asked with the call when its turn comes."""


class Scripted:
    """A `Provider` that plays one step per attempt, in order; an attempt too many fails the test.

    `call.sent` is set before the first act, unless that is a `Fault.CONNECT`.
    """

    def __init__(
        self, name: str, steps: Iterable[Step], *, usable: bool = True, home: str | None = None
    ) -> None:
        """Hold the script."""
        self.name = name
        self.home = home
        self.calls: list[Call] = []
        self.secrets: list[str | None] = []
        self._secret: str | None = None
        self._closings: list[Call] = []
        self._steps = list(steps)
        self._usable = usable

    @property
    def usable(self) -> bool:
        """Whatever the script was given."""
        return self._usable

    @property
    def place(self) -> str:
        """Nowhere else than its name."""
        return f"scripted {self.name}"

    @property
    def missing(self) -> str | None:
        """Its credential, where it is not usable."""
        return None if self._usable else "no credential"

    def owned(self, key: OwnKey) -> "Provider | None":
        """The same script for a caller with a key of its `home`."""
        if key.provider != self.home:
            return None
        theirs = copy(self)  # over the same script and the same notes
        theirs._secret, theirs._usable = key.secret, True
        return theirs

    @property
    def closed(self) -> int:
        """How many streams ended, by themselves or because they were closed."""
        return len(self._closings)

    @property
    def left(self) -> int:
        """How many steps were not played."""
        return len(self._steps)

    async def answer(self, call: Call) -> Answer:
        """Play the next step up to its answer. Raises: ProviderError."""
        for act in self._next(call):
            if isinstance(act, Answer):
                return act
            if isinstance(act, Chunk):
                raise AssertionError(f"the script of `{self.name}` streams, an answer was asked")
            await self._perform(act)
        raise AssertionError(f"the step of `{self.name}` ended without an answer")

    async def count(self, call: Call) -> int | None:
        """Nothing: a script does not count."""
        return None

    async def models(self, patience_us: int) -> list[str] | None:
        """Nothing: a script lists no models."""
        return None

    async def probe(self, patience_us: int) -> bool:
        """Nothing to ask for: a script is not probed."""
        return False

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Play the next step as a stream. Raises: ProviderError."""
        try:
            for act in self._next(call):
                if isinstance(act, Chunk):
                    yield act
                elif isinstance(act, Answer):
                    raise AssertionError(f"the script of `{self.name}` answers, not streams")
                else:
                    await self._perform(act)
        finally:
            self._closings.append(call)

    def _next(self, call: Call) -> Sequence[Act]:
        self.calls.append(call)
        self.secrets.append(self._secret)
        if not self._steps:
            raise AssertionError(f"the script of `{self.name}` has no step left")
        step = self._steps.pop(0)
        while callable(step):
            step = step(call)
        acts = step if isinstance(step, Sequence) else [step]
        first = next((act for act in acts if not isinstance(act, Pause)), None)
        if not (isinstance(first, ProviderError) and first.fault is Fault.CONNECT):
            call.sent = True
        return acts

    @staticmethod
    async def _perform(act: Pause | ProviderError) -> None:
        if isinstance(act, ProviderError):
            raise act
        if act.us is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(act.us / 1_000_000)


def said(text: str, *, model: str = "gpt-4", usage: Usage | None = None) -> Answer:
    """Make a whole chat answer; without `usage` it reports 10 tokens in and 5 out."""
    used = usage or Usage(10, 5)
    body = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _reported(used),
    }
    return Answer(orjson.dumps(body), used, text, "stop", model)


def spoken(*texts: str, model: str = "gpt-4", usage: Usage | None = None) -> list[Chunk]:
    """Make a chat stream: role, one chunk per text, finish reason, usage that nobody asked for."""

    def event(delta: dict[str, str], finish_reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = {
            "id": "chatcmpl-scripted",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": model,
            "choices": [choice],
        }
        return b"data: " + orjson.dumps(chunk) + b"\n\n"

    role = Chunk(event({"role": "assistant", "content": ""}, None), False, upstream_model=model)
    return [
        role,
        *(Chunk(event({"content": text}, None), True, text) for text in texts),
        Chunk(event({}, "stop"), True, finish_reason="stop"),
        Chunk(b"", True, usage=usage or Usage(10, len(texts))),
    ]


def _reported(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    }
