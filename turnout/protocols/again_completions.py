"""Legacy completions told again in their own protocol: whole from chunks, and in chunks.

What chunks cannot carry: usage where the client did not ask for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from turnout.engine.request import Request, Usage

from .again import (
    Json,
    Run,
    Unfit,
    asked_usage,
    datas,
    load_object,
    pieces,
    unfit,
    whole_object,
)
from .again_chat import Head, ended, framed, is_ended, take_extras

_KIND = "text_completion"
_KNOWN = frozenset(("text", "index", "logprobs", "finish_reason"))


class CompletionsAgain:
    """A `Form`: legacy completions."""

    def is_complete(self, body: bytes) -> bool:
        """Whether every choice came to its own end."""
        answer = whole_object(body)
        return answer is not None and is_ended(answer.get("choices"), "text", str)

    def whole(self, events: Sequence[bytes], usage: Usage | None) -> bytes | None:
        """The completion that chunks told."""
        try:
            return _Gathered(events).whole(usage)
        except (Unfit, RecursionError):
            return None

    def events(self, body: bytes, request: Request) -> list[bytes]:
        """The chunks of a completion."""
        try:
            answer = load_object(body)
            choices = answer.get("choices")
            each = choices if isinstance(choices, list) else unfit("no choices")
            told = (chunk for choice in each for chunk in _chunks(choice))
            return list(framed(answer, _KIND, asked_usage(request, native=True), told))
        except Unfit:
            return []


class _Choice:
    """One choice of a stream, as far as it came."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.finish: object = None
        self.logprobs: Json | None = None
        self.rest: Json = {}

    def take(self, choice: Mapping[str, Any]) -> None:
        text = choice.get("text")
        if not isinstance(text, str):
            unfit("a text that is none")
        self.texts.append(text)
        self.finish = ended(self.finish, choice.get("finish_reason"))
        rows = choice.get("logprobs")
        if isinstance(rows, dict):
            # Lists side by side, each of which goes on.
            self.logprobs = self.logprobs or {}
            take_extras(self.logprobs, rows)
        take_extras(self.rest, {name: choice[name] for name in choice if name not in _KNOWN})
        if "logprobs" in choice:
            self.rest["logprobs"] = rows if self.logprobs is None else self.logprobs

    def whole(self, index: int) -> Json:
        told = {"text": "".join(self.texts), "index": index}
        return {**told, **self.rest, "finish_reason": self.finish}


class _Gathered:
    """The chunks of one stream."""

    def __init__(self, events: Sequence[bytes]) -> None:
        self._head = Head()
        self._choices: dict[int, _Choice] = {}
        self._run = Run()
        for data in datas(events):
            if not self._run.takes(data):
                self._take(data)
        self._run.end()

    def whole(self, usage: Usage | None) -> bytes | None:
        if not self._choices:
            return None
        choices = [self._choices[index].whole(index) for index in sorted(self._choices)]
        return self._head.around(_KIND, choices, usage)

    def _take(self, data: bytes) -> None:
        chunk = load_object(data)
        self._head.take(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            unfit("no choices")
        for choice in choices:
            if not isinstance(choice, dict) or type(choice.get("index")) is not int:
                unfit("a choice without a number")
            held = self._choices.get(choice["index"])
            if held is None:
                held = self._choices[choice["index"]] = _Choice()
            held.take(choice)
        if len(choices) == 1 and choices[0].keys() <= _KNOWN and not chunk.get("usage"):
            choice = choices[0]
            if choice.get("logprobs") is None and not choice.get("finish_reason"):
                texts = self._choices[choice["index"]].texts
                self._run.begin(data, "text", choice["text"], texts)


def _chunks(choice: Any) -> Iterator[Json]:
    """The choices of the chunks that tell one of a whole answer."""
    if not isinstance(choice, dict) or not isinstance(text := choice.get("text"), str):
        unfit("a choice without a text")
    index, logprobs = choice.get("index"), choice.get("logprobs")
    for number, piece in enumerate(pieces(text) or [""]):
        told: Json = {"text": piece, "index": index}
        if "logprobs" in choice:
            told["logprobs"] = None if number and isinstance(logprobs, dict) else logprobs
        yield {**told, "finish_reason": None}
    last = {name: value for name, value in choice.items() if name != "text"}
    if isinstance(logprobs, dict):
        last["logprobs"] = None
    yield {"text": "", **last}
