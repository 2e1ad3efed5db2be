"""One answer of a simulated model on OpenAI's wire: as a body, or as the chunks of a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from .imitations import DONE, event
from .text import Saying
from .wire import Ids


@dataclass(slots=True)
class Turn:
    """One answer of the model, as a body or as the chunks of a stream."""

    body: dict[str, Any]
    provider: str
    envelope: dict[str, Any]
    tool: str | None
    saying: Saying
    prompt_tokens: int

    @property
    def choices(self) -> int:
        """How many answers were asked for."""
        return self.body.get("n") or 1

    @property
    def usage_asked(self) -> bool:
        """Whether a stream is to end with its usage."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def finish(self) -> str:
        """Why it ends."""
        if self.saying.finish == "length":
            return "length"
        return "stop" if self.tool is None else "tool_calls"

    def usage(self) -> dict[str, Any]:
        """The tokens of all answers together."""
        made = self.saying.tokens * self.choices
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": made,
            "total_tokens": self.prompt_tokens + made,
        }
        if self.provider == "openai":
            usage["prompt_tokens_details"] = {"cached_tokens": 0, "audio_tokens": 0}
            usage["completion_tokens_details"] = {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            }
        elif self.provider == "groq":
            usage |= {"queue_time": 0.001, "prompt_time": 0.002, "completion_time": 0.01}
            usage["total_time"] = 0.012
        return usage

    def whole(self) -> bytes:
        """The body of an answer in one piece."""
        choices = [
            {
                "index": index,
                "message": self._message(),
                "logprobs": self._logprobs(self.saying.pieces),
                "finish_reason": self.finish,
            }
            for index in range(self.choices)
        ]
        return orjson.dumps({**self.envelope, "choices": choices, "usage": self.usage()})

    def events(self) -> Iterator[bytes]:
        """The order that was recorded: role, content, finish, usage if asked for, [DONE]."""
        envelope = {**self.envelope, "object": "chat.completion.chunk"}
        nothing_used = {"usage": None} if self.usage_asked else {}
        start = orjson.dumps(envelope)[:-1] + b',"choices":[{"index":'
        end = orjson.dumps({"x": 0, **nothing_used})[6:] + b"\n\n"
        for index in range(self.choices):
            before = b"data: " + start + str(index).encode() + b',"delta":'
            after = b',"logprobs":null,"finish_reason":null}]' + end
            for delta in self._opening():
                yield before + orjson.dumps(delta) + after
            into = b'{"content":' if self.tool is None else _ARGUMENTS
            out = (b"}" if self.tool is None else b"}}]}") + after
            for piece in self.saying.pieces:
                if self.tool is None and (told := self._logprobs((piece,))) is not None:
                    choice = {"index": index, "delta": {"content": piece}, "logprobs": told}
                    chunk = {**envelope, "choices": [{**choice, "finish_reason": None}]}
                    yield event({**chunk, **nothing_used})
                    continue
                yield before + into + orjson.dumps(piece) + out
        for index in range(self.choices):
            last = {"index": index, "delta": {}, "logprobs": None, "finish_reason": self.finish}
            chunk = {**envelope, "choices": [last], **nothing_used}
            yield event(chunk)
        if self.usage_asked:
            yield event({**envelope, "choices": [], "usage": self.usage()})
        yield DONE

    def _logprobs(self, pieces: tuple[str, ...]) -> dict[str, Any] | None:
        """The log probabilities of a text's tokens, if they were asked for."""
        if not self.body.get("logprobs") or self.tool is not None:
            return None
        alternatives = self.body.get("top_logprobs") or 0
        tokens = []
        for piece in pieces:
            token = {"token": piece, "logprob": -0.01, "bytes": list(piece.encode())}
            others = [{**token, "logprob": -0.01 - rank} for rank in range(alternatives)]
            tokens.append({**token, "top_logprobs": others})
        return {"content": tokens, "refusal": None}

    def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.saying.text}
        if self.tool is not None:
            function = {"name": self.tool, "arguments": self.saying.text}
            call = {"id": Ids.new("call_"), "type": "function", "function": function}
            message |= {"content": None, "tool_calls": [call]}
        if self.provider == "openai":
            message |= {"refusal": None, "annotations": []}
        return message

    def _opening(self) -> Iterator[dict[str, Any]]:
        if self.tool is None:
            yield {"role": "assistant", "content": "", "refusal": None}
            return
        function = {"name": self.tool, "arguments": ""}
        call = {"index": 0, "id": Ids.new("call_"), "type": "function", "function": function}
        yield {"role": "assistant", "content": None, "tool_calls": [call]}


_ARGUMENTS = b'{"tool_calls":[{"index":0,"function":{"arguments":'
