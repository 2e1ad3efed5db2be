"""What Gemini says to a body: whole, or in pieces."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from .gemini_body import choice, declarations, family, last_words, prompt_tokens, signature
from .text import answer, example, say, tool_asked_for
from .tokens import count
from .wire import Ids

Json = dict[str, Any]

_FINISH = {"stop": "STOP", "stop_sequence": "STOP", "length": "MAX_TOKENS"}
_PIECES = 3  # tokens in one event


class Told:
    """What the model answers to one body; `tokens` is how many it wrote, thoughts apart."""

    def __init__(self, model: str, body: Json) -> None:
        """Make up the answer to a body that was checked."""
        config = body.get("generationConfig") or {}
        prompt, answered = last_words(body["contents"])
        declared = {one["name"]: one for one in declarations(body)}
        self._id = Ids.new("")
        self._model = model
        self._blocked = "block the prompt" in prompt
        self._config = config
        self._prompt_tokens = prompt_tokens(body)
        self._count = config.get("candidateCount", 1)
        names = [] if answered else _asked_for(prompt, list(declared), choice(body))
        self._calls = [_call(declared[name], prompt) for name in names]
        if self._calls and family(model) >= (2, 5):
            # Of calls at once only the first is signed.
            call = self._calls[0]["functionCall"]
            signed = signature(call["name"], call.get("args", {}))
            self._calls[0]["thoughtSignature"] = signed
        thinking = config.get("thinkingConfig") or {}
        thinks = bool(thinking) and thinking.get("thinkingBudget") != 0
        thought = f"thinking about: {' '.join(prompt.split()[:9])}" if thinks else ""
        self._thought = thought if thinking.get("includeThoughts") else ""
        self._thought_tokens = count(thought)
        self._finish = "STOP"
        limit = config.get("maxOutputTokens")
        stops = tuple(config.get("stopSequences") or ())
        self._saying = say(_structured(config, answer(model, prompt), prompt), limit, stops)
        if "block the answer" in prompt:
            self._finish, self._saying = "SAFETY", say("", None)
        elif self._calls:
            self._saying = say("", None)
        else:
            self._finish = _FINISH[self._saying.finish]
        written = sum(count(orjson.dumps(part).decode()) for part in self._calls)
        self.tokens = (self._saying.tokens + written) * self._count

    def whole(self) -> Json:
        """The answer in one piece."""
        if self._blocked:
            return self._around([], {"promptFeedback": {"blockReason": "SAFETY"}})
        parts: list[Json] = []
        if self._thought:
            parts.append({"text": self._thought, "thought": True})
        if self._saying.text:
            parts.append({"text": self._saying.text})
        parts += self._calls
        candidate = self._candidate(parts) | {"finishReason": self._finish}
        if self._config.get("responseLogprobs"):
            candidate["logprobsResult"] = self._logprobs(self._saying.pieces)
        return self._around([candidate | {"index": i} for i in range(self._count)])

    def events(self) -> Iterator[Json]:
        """The answer as pieces; the last says why it ended."""
        if self._blocked:
            yield self.whole()
            return
        pieces = self._saying.pieces
        runs = [pieces[i : i + _PIECES] for i in range(0, len(pieces), _PIECES)]
        for index in range(self._count):
            if self._thought:
                yield self._event(index, [{"text": self._thought, "thought": True}])
            for run in runs:
                event = self._event(index, [{"text": "".join(run)}])
                if self._config.get("responseLogprobs"):
                    event["candidates"][0]["logprobsResult"] = self._logprobs(run)
                yield event
            if self._calls:
                yield self._event(index, self._calls)
        ends = [
            self._candidate([{"text": ""}]) | {"finishReason": self._finish, "index": i}
            for i in range(self._count)
        ]
        yield self._around(ends)

    def _event(self, index: int, parts: list[Json]) -> Json:
        event = self._around([self._candidate(parts) | {"index": index}])
        # What is known of the usage while the answer is still being written.
        event["usageMetadata"] = {
            "promptTokenCount": self._prompt_tokens,
            "totalTokenCount": self._prompt_tokens,
        }
        return event

    def _logprobs(self, pieces: Sequence[str]) -> Json:
        chosen = [{"token": piece, "tokenId": 7, "logProbability": -0.125} for piece in pieces]
        result: Json = {"chosenCandidates": chosen}
        if top := self._config.get("logprobs"):
            result["topCandidates"] = [
                {"candidates": [one, *({**one, "token": f"~{n}"} for n in range(1, top))]}
                for one in chosen
            ]
        return result

    @staticmethod
    def _candidate(parts: list[Json]) -> Json:
        return {"content": {"parts": parts, "role": "model"}} if parts else {}

    def _around(self, candidates: list[Json], more: Json | None = None) -> Json:
        usage: Json = {
            "promptTokenCount": self._prompt_tokens,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self._prompt_tokens}],
            "totalTokenCount": self._prompt_tokens,
        }
        if candidates:
            usage["candidatesTokenCount"] = self.tokens
            usage["totalTokenCount"] += self.tokens + self._thought_tokens
            if self._thought_tokens:
                usage["thoughtsTokenCount"] = self._thought_tokens
        answer: Json = {"candidates": candidates} if candidates else {}
        return {
            **answer,
            **(more or {}),
            "usageMetadata": usage,
            "modelVersion": self._model,
            "responseId": self._id,
        }


def _call(declared: Json, prompt: str) -> Json:
    schema = declared.get("parametersJsonSchema") or _lowered(declared.get("parameters") or {})
    arguments = example(schema, prompt) if schema else {}
    call: Json = {"name": declared["name"], "args": arguments}
    if not arguments:
        del call["args"]
    return {"functionCall": call}


def _asked_for(prompt: str, names: list[str], wanted: Any) -> list[str]:
    """The functions to call: `call a and b` in a prompt asks for both."""
    first = tool_asked_for(prompt, names, wanted)
    if first is None:
        return []
    asked = re.search(r"\bcall\s+(.*)", prompt)
    words = re.findall(r"[\w.:-]+", asked[1]) if asked and wanted == "auto" else []
    return list(dict.fromkeys([first, *(word for word in words if word in names)]))


def _structured(config: Json, text: str, prompt: str) -> str:
    if config.get("responseMimeType") != "application/json":
        return text
    schema = config.get("responseJsonSchema") or _lowered(config.get("responseSchema"))
    value = example(schema, prompt) if schema else {"answer": text}
    return orjson.dumps(value).decode()


def _lowered(schema: Any) -> Any:
    """A schema of Google's own form, whose types are in capitals, as JSON Schema."""
    if isinstance(schema, list):
        return [_lowered(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _lowered(value)
        for name, value in schema.items()
    }
