"""The OpenAI wire as OpenAI, Groq and Ollama speak it."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from .chat_body import checked_chat, last_words, stops
from .manners import MANNERS
from .reply import Refusal, Reply, Stream, Whole
from .text import Saying, answer, example, say, structured, tool_asked_for
from .tokens import chat_tokens, count
from .vectors import as_base64, embedded_texts, embedding, vector_size
from .wire import Endpoint, Ids, check_key, looked_up_at

_DONE = b"data: [DONE]\n\n"
_ERRORS: dict[int, tuple[str, str | None]] = {  # status: type and code, as OpenAI has them
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    409: ("conflict_error", None),
    413: ("invalid_request_error", "request_too_large"),
    422: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("service_unavailable_error", "server_is_overloaded"),
}


class OpenAIWire:
    """Chat completions, embeddings and models, with the manners of one provider.

    `known` None accepts any model name; otherwise others are refused as not found.
    """

    def __init__(self, provider: str, known: frozenset[str] | None = None) -> None:
        """Speak as `provider`, one of `MANNERS`."""
        self.provider = provider
        self._manners = MANNERS[provider]
        self._known = known
        self.prefix = self._manners.prefix
        self._endpoints = {
            "chat/completions": Endpoint(self._chat),
            "embeddings": Endpoint(self._embeddings),
        }

    def endpoint(self, path: str) -> Endpoint | None:
        """What can be posted to a path."""
        return self._endpoints.get(path.partition("/v1/")[2])

    def looked_up(self, path: str) -> str | None:
        """The model whose description is read at a path."""
        return looked_up_at(path)

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """Accept `key` only, or any key if it is None. Raises: Refusal."""
        if self._manners.keyless and key is None:
            return
        given = headers.get("authorization", "").removeprefix("Bearer ").strip()
        check_key(
            given,
            key,
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            "Incorrect API key provided.",
        )

    def listing(self) -> Whole:
        """Answer `GET /v1/models`."""
        names = sorted(self._known or self._manners.models)
        body = {"object": "list", "data": [self._item(name) for name in names]}
        return Whole(200, orjson.dumps(body), self._headers())

    def model(self, name: str) -> Whole:
        """Answer `GET /v1/models/{name}`. Raises: Refusal."""
        if name not in (self._known or self._manners.models):
            raise self._not_found(name)
        return Whole(200, orjson.dumps(self._item(name)), self._headers())

    def error(self, refusal: Refusal) -> Whole:
        """Shape an error as a response."""
        headers = self._headers()
        content_type = "application/json"
        if refusal.status == 404:  # recorded: nothing but the request id, and a charset
            headers = {name: headers[name] for name in ("x-request-id",) if name in headers}
            content_type += "; charset=utf-8"
        headers["content-type"] = content_type
        return Whole(refusal.status, orjson.dumps(self._envelope(refusal)), headers)

    def error_event(self, refusal: Refusal) -> bytes:
        """Shape an error as the event that a stream breaks off with."""
        name = b"event: error\n" if self.provider == "groq" else b""
        return name + _event(self._envelope(refusal))

    def _chat(self, body: dict[str, Any]) -> Reply:
        model = checked_chat(body)
        self._admit(model)
        messages, tools = body["messages"], body.get("tools") or []
        prompt = last_words(messages)
        names = [str((tool.get("function") or {}).get("name")) for tool in tools]
        answered = messages[-1].get("role") == "tool"
        tool = None if answered else tool_asked_for(prompt, names, body.get("tool_choice"))
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        if tool is None:
            text = structured(body.get("response_format"), answer(model, prompt), prompt)
            saying = say(text, limit, stops(body.get("stop")))
        else:
            function = tools[names.index(tool)]["function"]
            arguments = orjson.dumps(example(function.get("parameters") or {}, prompt)).decode()
            saying = say("{}" if arguments == "null" else arguments, limit)
        turn = _Turn(
            body,
            self.provider,
            {
                "id": Ids.new("chatcmpl-"),
                "object": "chat.completion",
                "created": int(time.time()),
                "model": (self._manners.dated or {}).get(model, model),
                **self._manners.extra,
            },
            tool,
            saying,
            chat_tokens(messages, tools),
        )
        headers = self._headers()
        if not body.get("stream"):
            return Whole(200, turn.whole(), headers, tokens=saying.tokens)
        headers["content-type"] = "text/event-stream; charset=utf-8"
        events = list(turn.events())
        finish_at = len(events) - 1 - turn.usage_asked - turn.choices
        return Stream(events, finish_at, headers)

    def _embeddings(self, body: dict[str, Any]) -> Reply:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise Refusal(400, "you must provide a model parameter")
        self._admit(model)
        texts, size = embedded_texts(body.get("input")), vector_size(body, model)
        packed = body.get("encoding_format") == "base64"
        data = []
        for index, text in enumerate(texts):
            vector = embedding(text, size)
            shown = as_base64(vector) if packed else vector.tolist()
            data.append({"object": "embedding", "index": index, "embedding": shown})
        used = sum(map(count, texts))
        usage = {"prompt_tokens": used, "total_tokens": used}
        answer = {"object": "list", "data": data, "model": model, "usage": usage}
        return Whole(200, orjson.dumps(answer), self._headers())

    def _admit(self, model: str) -> None:
        if self._known is not None and model not in self._known:
            raise self._not_found(model)

    def _not_found(self, model: str) -> Refusal:
        return Refusal(404, f"The model `{model}` does not exist or you do not have access to it.")

    def _item(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 1687882411, "owned_by": self.provider}

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", **self._manners.headers}
        if self.provider != "ollama":
            headers["x-request-id"] = Ids.new("req_")
        return headers

    def _envelope(self, refusal: Refusal) -> dict[str, Any]:
        kind, code = _ERRORS.get(refusal.status, ("api_error", None))
        error: dict[str, Any] = {
            "message": refusal.message,
            "type": refusal.type or kind,
            "param": refusal.param,
            "code": refusal.code or code,
        }
        if self.provider == "groq" and refusal.param is None:
            del error["param"]
        return {"error": error}


@dataclass(slots=True)
class _Turn:
    """One answer of the model, as a body or as the chunks of a stream."""

    body: dict[str, Any]
    provider: str
    envelope: dict[str, Any]
    tool: str | None
    saying: Saying
    prompt_tokens: int

    @property
    def choices(self) -> int:
        return self.body.get("n") or 1

    @property
    def usage_asked(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def finish(self) -> str:
        if self.saying.finish == "length":
            return "length"
        return "stop" if self.tool is None else "tool_calls"

    def usage(self) -> dict[str, Any]:
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
        choices = [
            {
                "index": index,
                "message": self._message(),
                "logprobs": None,
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
                yield before + into + orjson.dumps(piece) + out
        groq = {"x_groq": {"id": Ids.new("req_"), "usage": self.usage()}}
        for index in range(self.choices):
            last = {"index": index, "delta": {}, "logprobs": None, "finish_reason": self.finish}
            chunk = {**envelope, "choices": [last], **nothing_used}
            yield _event(chunk | groq if self.provider == "groq" else chunk)
        if self.usage_asked:
            yield _event({**envelope, "choices": [], "usage": self.usage()})
        yield _DONE

    def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.saying.text}
        if self.tool is not None:
            function = {"name": self.tool, "arguments": self.saying.text}
            call = {"id": Ids.new("call_"), "type": "function", "function": function}
            message |= {"content": None, "tool_calls": [call]}
        if self.provider == "openai":
            message |= {"refusal": None, "annotations": []}
        if self.provider == "groq" and self.tool is not None:
            del message["content"]  # as the real one does
        return message

    def _opening(self) -> Iterator[dict[str, Any]]:
        if self.tool is None:
            yield {"role": "assistant", "content": "", "refusal": None}
            return
        function = {"name": self.tool, "arguments": ""}
        call = {"index": 0, "id": Ids.new("call_"), "type": "function", "function": function}
        yield {"role": "assistant", "content": None, "tool_calls": [call]}


_ARGUMENTS = b'{"tool_calls":[{"index":0,"function":{"arguments":'


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
