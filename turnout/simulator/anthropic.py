"""The Anthropic wire: messages and models."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from .reply import Refusal, Reply, Stream, Whole
from .text import Saying, answer, example, say, tool_asked_for
from .tokens import chat_tokens
from .wire import Endpoint, Ids, check_key, looked_up_at

MODELS = (
    "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5-20250929",
    "claude-opus-4-20250514",
    "claude-sonnet-4-20250514",
    "claude-3-7-sonnet-20250219",
    "claude-3-5-haiku-20241022",
)
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOP_REASONS = {"stop": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens"}


class AnthropicWire:
    """Messages and models as Anthropic serves them.

    `known` None accepts any model name; otherwise others are refused as not found.
    """

    provider = "anthropic"
    prefix = "/v1"

    def __init__(self, known: frozenset[str] | None = None) -> None:
        """Serve `known` models."""
        self._known = known
        self._endpoints = {"messages": Endpoint(self._messages)}

    def endpoint(self, path: str) -> Endpoint | None:
        """What can be posted to a path."""
        return self._endpoints.get(path.partition("/v1/")[2])

    def looked_up(self, path: str) -> str | None:
        """The model whose description is read at a path."""
        return looked_up_at(path)

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """Accept `key` only, or any key if it is None; a version is needed. Raises: Refusal."""
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        check_key(given.strip(), key, "x-api-key header is required", "invalid x-api-key")
        if "anthropic-version" not in headers:
            raise Refusal(400, "anthropic-version: header is required")

    def listing(self) -> Whole:
        """Answer `GET /v1/models`."""
        names = sorted(self._known or MODELS)
        body = {
            "data": [_item(name) for name in names],
            "has_more": False,
            "first_id": names[0],
            "last_id": names[-1],
        }
        return Whole(200, orjson.dumps(body), _headers(Ids.new("req_")))

    def model(self, name: str) -> Whole:
        """Answer `GET /v1/models/{name}`. Raises: Refusal."""
        if name not in (self._known or MODELS):
            raise Refusal(404, f"model: {name}")
        return Whole(200, orjson.dumps(_item(name)), _headers(Ids.new("req_")))

    def error(self, refusal: Refusal) -> Whole:
        """Shape an error as a response."""
        request = Ids.new("req_")
        body = {"type": "error", "error": _error(refusal), "request_id": request}
        return Whole(refusal.status, orjson.dumps(body), _headers(request))

    def error_event(self, refusal: Refusal) -> bytes:
        """Shape an error as the event that a stream breaks off with."""
        return _event("error", {"error": _error(refusal)})

    def _messages(self, body: dict[str, Any]) -> Reply:
        model = _checked(body)
        if self._known is not None and model not in self._known:
            raise Refusal(404, f"model: {model}")
        messages, tools = body["messages"], body.get("tools") or []
        prompt, answered = _last_words(messages[-1])
        names = [str(tool.get("name")) for tool in tools]
        tool = None if answered else tool_asked_for(prompt, names, body.get("tool_choice"))
        if tool is None:
            stops = tuple(body.get("stop_sequences") or ())
            saying = say(answer(model, prompt), body["max_tokens"], stops)
        else:
            value = example(tools[names.index(tool)].get("input_schema") or {}, prompt)
            saying = say(orjson.dumps(value or {}).decode(), body["max_tokens"])
        message: dict[str, Any] = {
            "id": Ids.new("msg_"),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": _prompt_tokens(body),
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 1,
                "service_tier": "standard",
            },
        }
        end = {"stop_reason": _STOP_REASONS[saying.finish], "stop_sequence": saying.stop}
        if tool is not None and saying.finish == "stop":
            end["stop_reason"] = "tool_use"
        headers = _headers(Ids.new("req_"))
        if body.get("stream"):
            headers |= {
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
            }
            events = list(_events(message, tool, saying, end))
            return Stream(events, len(events) - 2, headers)
        message["content"] = [_block(tool, saying)]
        message |= end
        message["usage"]["output_tokens"] = saying.tokens
        return Whole(200, orjson.dumps(message), headers, tokens=saying.tokens)


def _events(
    message: dict[str, Any], tool: str | None, saying: Saying, end: dict[str, Any]
) -> Iterator[bytes]:
    yield _event("message_start", {"message": message})
    block: dict[str, Any] = {"type": "text", "text": ""}
    if tool is not None:
        block = {"type": "tool_use", "id": Ids.new("toolu_"), "name": tool, "input": {}}
    yield _event("content_block_start", {"index": 0, "content_block": block})
    yield _event("ping", {})
    before, after = _TEXT_DELTA if tool is None else _JSON_DELTA
    for piece in saying.pieces:
        yield before + orjson.dumps(piece) + after
    yield _event("content_block_stop", {"index": 0})
    yield _event("message_delta", {"delta": end, "usage": {"output_tokens": saying.tokens}})
    yield _event("message_stop", {})


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name, **data}))


def _delta_around(kind: str, field: str) -> tuple[bytes, bytes]:
    delta = _event("content_block_delta", {"index": 0, "delta": {"type": kind, field: "?"}})
    before, _, after = delta.partition(b'"?"')
    return before, after


_TEXT_DELTA = _delta_around("text_delta", "text")
_JSON_DELTA = _delta_around("input_json_delta", "partial_json")


def _block(tool: str | None, saying: Saying) -> dict[str, Any]:
    if tool is None:
        return {"type": "text", "text": saying.text}
    try:
        given = orjson.loads(saying.text)
    except orjson.JSONDecodeError:  # cut by max_tokens
        given = {}
    return {"type": "tool_use", "id": Ids.new("toolu_"), "name": tool, "input": given}


def _checked(body: dict[str, Any]) -> str:
    """Return the model of a body that Anthropic would accept. Raises: Refusal."""
    for name in ("model", "max_tokens", "messages"):
        if body.get(name) is None:
            raise Refusal(400, f"{name}: Field required")
    limit, messages = body["max_tokens"], body["messages"]
    if not isinstance(limit, int) or limit < 1:
        raise Refusal(400, "max_tokens: Input should be greater than or equal to 1")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages: at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise Refusal(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if message["role"] == "user" and not message.get("content"):
            raise Refusal(400, f"messages.{index}: user messages must have non-empty content")
    return str(body["model"])


def _prompt_tokens(body: dict[str, Any]) -> int:
    messages = list(body["messages"])
    if body.get("system"):
        messages.insert(0, {"role": "system", "content": body["system"]})
    tools = [
        {"function": {**tool, "parameters": tool.get("input_schema")}}
        for tool in body.get("tools") or ()
    ]
    return chat_tokens(messages, tools)


def _last_words(message: dict[str, Any]) -> tuple[str, bool]:
    """Return the text of a message, and whether it brings a tool's result."""
    content = message.get("content")
    if isinstance(content, str):
        return content, False
    texts: list[str] = []
    answered = False
    for block in content or ():
        if block.get("type") == "tool_result":
            answered = True
            texts.append(_last_words(block)[0])
        elif isinstance(block.get("text"), str):
            texts.append(block["text"])
    return " ".join(texts), answered


def _item(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": "2025-05-14T00:00:00Z",
    }


def _error(refusal: Refusal) -> dict[str, Any]:
    kind = refusal.type or _TYPES.get(refusal.status, "api_error")
    return {"type": kind, "message": refusal.message}


def _headers(request: str) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "request-id": request,
        "anthropic-organization-id": "simulated",
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
        "anthropic-ratelimit-tokens-limit": "400000",
        "anthropic-ratelimit-tokens-remaining": "399000",
        "server": "cloudflare",
        "cf-ray": "9a2f3c4d5e6f7a8b-FRA",
        "via": "1.1 google",
    }
