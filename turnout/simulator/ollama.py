"""Ollama: its own API under `/api`, and the OpenAI-compatible one under `/v1`.

Over 300 lines because its own API has an endpoint for everything, each of a shape of its own.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from . import ollama_compatible
from .ollama_turn import Turn, abilities, turn
from .reply import Refusal, Reply, Stream, Whole
from .tokens import count, encode
from .vectors import as_base64, embedding
from .wire import Endpoint, check_key, looked_up_at

Json = dict[str, Any]

MODELS = (
    "qwen2.5:3b",
    "qwen2.5:14b",
    "qwen2.5:32b",
    "qwen3:8b",
    "llama3.1:8b",
    "gemma:2b",
    "nomic-embed-text",
)
_VERSION = "0.12.11"
_VECTOR = 768
_PULLED = "2026-08-21T10:00:00.000000000Z"


class OllamaWire:
    """Chat, completions of its own, embeddings and models as Ollama serves them.

    `known` None accepts any model name; otherwise others are refused as not pulled.
    """

    provider = "ollama"
    prefix = "/v1"

    def __init__(self, known: frozenset[str] | None = None) -> None:
        """Serve `known` models."""
        self._known = known
        self._endpoints = {
            "/v1/chat/completions": Endpoint(self._compatible_chat),
            "/v1/embeddings": Endpoint(self._compatible_embeddings),
            "/api/chat": Endpoint(_native(self._chat)),
            "/api/generate": Endpoint(_native(self._generate)),
            "/api/embed": Endpoint(_native(self._embed)),
            "/api/show": Endpoint(_native(self._show)),
        }

    def endpoint(self, path: str) -> Endpoint | None:
        """What can be posted to a path."""
        return self._endpoints.get(path)

    def looked_up(self, path: str) -> str | None:
        """The model whose description is read at a path; what is read of its own API, as it is."""
        return path if path.startswith("/api/") else looked_up_at(path)

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """Accept anyone, but where there is a `key`, that only. Raises: Refusal."""
        if key is not None:
            given = headers.get("authorization", "").removeprefix("Bearer ").strip()
            check_key(given, key, "unauthorized", "unauthorized")

    def listing(self, query: Mapping[str, str]) -> Whole:
        """Answer `GET /v1/models`."""
        data = [_item(name) for name in self._names()]
        return _whole({"object": "list", "data": data})

    def model(self, name: str) -> Whole:
        """Answer `GET /v1/models/{name}`, and what is read under `/api`. Raises: Refusal."""
        if name == "/api/version":
            return _whole({"version": _VERSION})
        if name == "/api/tags":
            return _whole({"models": [_tag(one) for one in self._names()]})
        if name == "/api/ps":
            return _whole({"models": []})
        if name not in self._names():
            raise Refusal(404, f"model '{name}' not found")
        return _whole(_item(name))

    def error(self, refusal: Refusal) -> Whole:
        """Shape an error as a response."""
        body = ollama_compatible.envelope(refusal)
        if isinstance(refusal, _NativeRefusal):
            body = {"error": refusal.message}
        return Whole(refusal.status, orjson.dumps(body), dict(_JSON))

    def error_event(self, refusal: Refusal) -> bytes:
        """Shape an error as the event that a stream breaks off with."""
        return b"data: " + orjson.dumps(ollama_compatible.envelope(refusal)) + b"\n\n"

    # --- the OpenAI-compatible API ---------------------------------------------------------------

    def _compatible_chat(self, body: Json) -> Reply:
        native = ollama_compatible.native_chat(body)
        self._admit(native["model"], ", try pulling it first")
        made = turn(native)
        if not body.get("stream"):
            return _whole(ollama_compatible.whole(made), made.tokens)
        usage_asked = bool((body.get("stream_options") or {}).get("include_usage"))
        events = list(ollama_compatible.events(made, bool(body.get("tools")), usage_asked))
        return Stream(events, len(events) - 2 - usage_asked, {"content-type": "text/event-stream"})

    def _compatible_embeddings(self, body: Json) -> Reply:
        self._admit(body.get("model"), ", try pulling it first")
        vectors, used = _vectors(body)
        packed = body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "embedding": as_base64(vector) if packed else vector.tolist(),
                "index": index,
            }
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": used, "total_tokens": used}
        return _whole({"object": "list", "data": data, "model": body["model"], "usage": usage})

    # --- its own API -----------------------------------------------------------------------------

    def _chat(self, body: Json) -> Reply:
        self._admit(body.get("model"))
        if not body.get("messages"):
            empty = {"message": {"role": "assistant", "content": ""}}
            return _whole({**_head(body), **empty, "done_reason": "load", "done": True})
        made = turn(body)
        if body.get("stream") is not False:
            return _lines(_chat_lines(body, made))
        message: Json = {"role": "assistant", "content": made.said.text}
        if made.thought.text:
            message["thinking"] = made.thought.text
        if made.calls:
            message["tool_calls"] = _calls(made)
        whole = {**_head(body), "message": message, **_end(made)}
        if (told := made.logprobs(made.said.pieces)) is not None:
            whole["logprobs"] = told
        return _whole(whole, made.tokens)

    def _generate(self, body: Json) -> Reply:
        self._admit(body.get("model"))
        if not body.get("prompt"):
            return _whole({**_head(body), "response": "", "done": True, "done_reason": "load"})
        messages = [{"role": "user", "content": body["prompt"]}]
        if body.get("system"):
            messages.insert(0, {"role": "system", "content": body["system"]})
        made = turn({**body, "messages": messages, "tools": None})
        ended = _end(made) | {"context": encode(body["prompt"] + made.said.text)}
        if body.get("stream") is not False:
            return _lines(_generate_lines(body, made, ended))
        whole = {**_head(body), "response": made.said.text, **ended}
        if made.thought.text:
            whole["thinking"] = made.thought.text
        return _whole(whole, made.tokens)

    def _embed(self, body: Json) -> Reply:
        self._admit(body.get("model"))
        vectors, used = _vectors(body)
        answered = {
            "model": body["model"],
            "embeddings": [vector.tolist() for vector in vectors],
            "total_duration": 14_143_917,
            "load_duration": 1_019_500,
            "prompt_eval_count": used,
        }
        return _whole(answered)

    def _show(self, body: Json) -> Reply:
        name = body.get("model") or body.get("name")
        if name not in self._names():
            raise Refusal(404, f"model '{name}' not found")
        shown = {
            "modelfile": f"FROM {name}",
            "parameters": 'stop "<|im_end|>"',
            "template": "{{ .Prompt }}",
            "details": _details(str(name)),
            "model_info": {"general.architecture": "qwen2", "qwen2.context_length": 32_768},
            "capabilities": abilities(str(name)),
            "modified_at": _PULLED,
        }
        return _whole(shown)

    def _names(self) -> list[str]:
        return sorted(self._known or MODELS)

    def _admit(self, model: Any, advice: str = "") -> None:
        if not isinstance(model, str) or not model:
            raise Refusal(400, "model is required")
        if self._known is not None and model not in self._known:
            quoted = f'"{model}"' if advice else f"'{model}'"
            raise Refusal(404, f"model {quoted} not found{advice}")


class _NativeRefusal(Refusal):
    """A refusal in the shape of Ollama's own API: an `error` that is a text."""


def _native(answer: Callable[[Json], Reply]) -> Callable[[Json], Reply]:
    """The same endpoint with refusals in the shape of Ollama's own API."""

    def answered(body: Json) -> Reply:
        try:
            return answer(body)
        except Refusal as refusal:
            raise _NativeRefusal(refusal.status, refusal.message) from None

    return answered


def _vectors(body: Json) -> tuple[list[Any], int]:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refusal(400, "invalid input type")
    if not texts and "input" in body:
        raise Refusal(400, "invalid input")
    size = body.get("dimensions") or _VECTOR
    vectors = [_shortened(embedding(text, _VECTOR), size) for text in texts]
    return vectors, sum(map(count, texts))


def _shortened(vector: Any, size: int) -> Any:
    """The first numbers of a vector, of length one again; it has no more than it has."""
    if size >= len(vector):
        return vector
    first = vector[:size]
    length = math.sqrt(sum(value * value for value in first)) or 1.0
    for at, value in enumerate(first):
        first[at] = value / length
    return first


def _chat_lines(body: Json, made: Turn) -> Iterator[Json]:
    def line(**message: Any) -> Json:
        told = {"role": "assistant", "content": "", **message}
        return {**_head(body), "message": told, "done": False}

    for piece in made.thought.pieces:
        yield line(thinking=piece)
    for piece in made.said.pieces:
        written = line(content=piece)
        if (told := made.logprobs((piece,))) is not None:
            written["logprobs"] = told
        yield written
    for call in _calls(made):
        yield line(tool_calls=[call])
    yield {**_head(body), "message": {"role": "assistant", "content": ""}, **_end(made)}


def _generate_lines(body: Json, made: Turn, ended: Json) -> Iterator[Json]:
    for piece in made.thought.pieces:
        yield {**_head(body), "response": "", "thinking": piece, "done": False}
    for piece in made.said.pieces:
        yield {**_head(body), "response": piece, "done": False}
    yield {**_head(body), "response": "", **ended}


def _lines(made: Iterator[Json]) -> Stream:
    events = [orjson.dumps(line) + b"\n" for line in made]
    return Stream(events, len(events) - 1, {"content-type": "application/x-ndjson"})


def _calls(made: Turn) -> list[Json]:
    return [
        {"id": call_id, "function": {"index": number, "name": name, "arguments": arguments}}
        for number, (call_id, name, arguments) in enumerate(made.calls)
    ]


def _end(made: Turn) -> Json:
    return {
        "done": True,
        "done_reason": made.done_reason,
        "total_duration": 5_043_500_667,
        "load_duration": 5_025_959,
        "prompt_eval_count": made.prompt_tokens,
        "prompt_eval_duration": 325_953_000,
        "eval_count": made.tokens,
        "eval_duration": 4_709_213_000,
    }


def _head(body: Json) -> Json:
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    return {"model": body["model"], "created_at": f"{now}.000000000Z"}


def _item(name: str) -> Json:
    return {"id": name, "object": "model", "created": 1_787_306_400, "owned_by": "library"}


def _tag(name: str) -> Json:
    return {
        "name": name,
        "model": name,
        "modified_at": _PULLED,
        "size": 1_929_912_432,
        "digest": "357c53fb659c5076de1d65ccb0b397446227b71a42be9d1603d46168015c9e4b",
        "details": _details(name),
    }


def _details(name: str) -> Json:
    family = name.partition(":")[0]
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": name.rpartition(":")[2].upper(),
        "quantization_level": "Q4_K_M",
    }


_JSON = {"content-type": "application/json; charset=utf-8"}


def _whole(body: Json, tokens: int = 0) -> Whole:
    return Whole(200, orjson.dumps(body), dict(_JSON), tokens=tokens)
