"""OpenAI's legacy completions: a prompt, or several, continued."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from .chat_body import stops
from .reply import Refusal, Stream, Whole
from .text import Saying, answer, say
from .tokens import count, encoding
from .wire import Ids

_LEGACY = re.compile(r"gpt-3\.5-turbo-instruct|davinci-002|babbage-002")
_LIMIT = 16
_DONE = b"data: [DONE]\n\n"


def checked_completion(body: dict[str, Any], legacy_only: bool) -> str:
    """Return the model of a body that OpenAI would accept. Raises: Refusal."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "you must provide a model parameter")
    if legacy_only and not _LEGACY.match(model):
        message = (
            "This is a chat model and not supported in the v1/completions endpoint. Did you mean "
            "to use v1/chat/completions?"
        )
        raise Refusal(404, message, type="invalid_request_error", param="model")
    limit = body.get("max_tokens")
    if limit is not None and (type(limit) is not int or limit < 0):
        message = f"{limit} is less than the minimum of 0 - 'max_tokens'"
        raise Refusal(400, message, param="max_tokens")
    if (body.get("best_of") or 1) < (body.get("n") or 1):
        raise Refusal(400, "best_of must be greater than or equal to n", param="best_of")
    return model


def complete(body: dict[str, Any], headers: dict[str, str]) -> Whole | Stream:
    """Answer a body."""
    continued = _Continued(body, [_text(one) for one in _prompts(body.get("prompt"))])
    if not body.get("stream"):
        return Whole(200, continued.whole(), headers, tokens=continued.made)
    events = list(continued.events())
    after = 1 + continued.usage_asked
    headers["content-type"] = "text/event-stream; charset=utf-8"
    return Stream(events, len(events) - after - continued.choices, headers)


def _prompts(prompt: Any) -> list[Any]:
    if prompt is None:
        return [""]
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        return [prompt]
    return list(prompt)


def _text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else encoding().decode(prompt)


@dataclass
class _Continued:
    body: Mapping[str, Any]
    prompts: list[str]

    def __post_init__(self) -> None:
        limit = self.body.get("max_tokens")
        limit = _LIMIT if limit is None else limit
        stop = stops(self.body.get("stop"))
        model = self.body["model"]
        each = self.body.get("n") or 1
        self._said: list[tuple[str, Saying]] = [
            (prompt, say(answer(model, prompt), limit, stop))
            for prompt in self.prompts
            for _ in range(each)
        ]
        self._head = {
            "id": Ids.new("cmpl-"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }

    @property
    def choices(self) -> int:
        return len(self._said)

    @property
    def made(self) -> int:
        best = (self.body.get("best_of") or 1) / (self.body.get("n") or 1)
        return int(sum(saying.tokens for _, saying in self._said) * max(1, best))

    @property
    def usage_asked(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    def whole(self) -> bytes:
        choices = [
            self._choice(index, self._echo(prompt) + saying.text, saying.pieces, _finish(saying))
            for index, (prompt, saying) in enumerate(self._said)
        ]
        return orjson.dumps({**self._head, "choices": choices, "usage": self._usage()})

    def events(self) -> Iterator[bytes]:
        nothing_used = {"usage": None} if self.usage_asked else {}
        for index, (prompt, saying) in enumerate(self._said):
            for number, piece in enumerate(saying.pieces):
                text = self._echo(prompt) + piece if number == 0 else piece
                choice = self._choice(index, text, (piece,), None)
                yield _event({**self._head, "choices": [choice], **nothing_used})
        for index, (_, saying) in enumerate(self._said):
            choice = self._choice(index, "", (), _finish(saying))
            yield _event({**self._head, "choices": [choice], **nothing_used})
        if self.usage_asked:
            yield _event({**self._head, "choices": [], "usage": self._usage()})
        yield _DONE

    def _echo(self, prompt: str) -> str:
        return prompt if self.body.get("echo") else ""

    def _usage(self) -> dict[str, int]:
        given = sum(count(prompt) for prompt in self.prompts)
        return {
            "prompt_tokens": given,
            "completion_tokens": self.made,
            "total_tokens": given + self.made,
        }

    def _choice(
        self, index: int, text: str, pieces: tuple[str, ...], finish: str | None
    ) -> dict[str, Any]:
        return {
            "text": text,
            "index": index,
            "logprobs": self._logprobs(pieces),
            "finish_reason": finish,
        }

    def _logprobs(self, pieces: tuple[str, ...]) -> dict[str, Any] | None:
        if self.body.get("logprobs") is None or not pieces:
            return None
        offsets = [sum(map(len, pieces[:number])) for number in range(len(pieces))]
        return {
            "tokens": list(pieces),
            "token_logprobs": [-0.25] * len(pieces),
            "top_logprobs": [{piece: -0.25} for piece in pieces],
            "text_offset": offsets,
        }


def _finish(saying: Saying) -> str:
    return "length" if saying.finish == "length" else "stop"


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
