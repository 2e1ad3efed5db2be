"""The Anthropic wire: messages, counts of their tokens, and models.

What is asked for by the prompt, as of Anthropic itself: refusals and sealed thinking by the strings
that Anthropic documents for tests; tools by `call a and b`. Thinking happens where it is asked for.

A prompt that is marked with `cache_control` is written to the cache once, and read from it as long
as the simulator runs.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from .anthropic_answer import REFUSE, Block, calls, event, events, thinking, words
from .anthropic_body import blocks_of, check_counted, check_messages, thinks
from .listing import part
from .reply import Refusal, Reply, Stream, Whole
from .text import example, say
from .tokens import chat_tokens, count
from .wire import Endpoint, Ids, check_key, looked_up_at

Json = dict[str, Any]

MODELS = (
    "claude-opus-5-5",
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
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
_LEAST_CACHED = 1024


class AnthropicWire:
    """Messages and models as Anthropic serves them.

    `known` None accepts any model name; otherwise others are refused as not found.
    """

    provider = "anthropic"
    prefix = "/v1"

    def __init__(self, known: frozenset[str] | None = None) -> None:
        """Serve `known` models."""
        self._known = known
        self._cached: set[str] = set()
        self._endpoints = {
            "messages": Endpoint(self._messages),
            "messages/count_tokens": Endpoint(self._count, stream=False),
        }

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

    def listing(self, query: Mapping[str, str]) -> Whole:
        """Answer `GET /v1/models`: twenty at a time, or as many as `limit` says."""
        known = sorted(self._known or MODELS)
        after = query.get("after_id", "")
        if after and after not in known:
            raise Refusal(400, "after_id: not found")
        start = str(known.index(after) + 1) if after else ""
        names, more = part(known, query.get("limit", ""), 20, start)
        body = {
            "data": [_item(name) for name in names],
            "has_more": bool(more),
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
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
        return event("error", {"error": _error(refusal)})

    def _count(self, body: Json) -> Reply:
        self._admit(check_counted(body))
        counted = {"input_tokens": _prompt_tokens(body)}
        return Whole(200, orjson.dumps(counted), _headers(Ids.new("req_")))

    def _admit(self, model: str) -> None:
        if self._known is not None and model not in self._known:
            raise Refusal(404, f"model: {model}")

    def _messages(self, body: Json) -> Reply:
        model = check_messages(body)
        self._admit(model)
        prompt, answered = _last_words(body["messages"][-1])
        limit = body["max_tokens"]
        blocks: list[Block] = []
        end: Json = {"stop_reason": "end_turn", "stop_sequence": None}
        thought = thinking(body, prompt)
        if thought is not None:
            blocks.append(thought)
            limit = max(limit - thought.saying.tokens, 1)
        if REFUSE in prompt:
            end = {"stop_reason": "refusal", "stop_sequence": None}
            told = "This request is refused."
            end["stop_details"] = {"type": "refusal", "category": None, "explanation": told}
        elif called := calls(body, prompt, answered):
            for name, schema in called:
                value = orjson.dumps(example(schema, prompt) or {}).decode()
                block = {"type": "tool_use", "id": Ids.new("toolu_"), "name": name, "input": {}}
                blocks.append(Block(block, say(value, limit), "input_json_delta", "partial_json"))
                limit = max(limit - blocks[-1].saying.tokens, 1)
            end["stop_reason"] = "tool_use"
        else:
            blocks.append(words(body, model, prompt, limit))
        last = blocks[-1].saying if blocks else None
        if last is not None and last.finish != "stop":
            end = {"stop_reason": _STOP_REASONS[last.finish], "stop_sequence": last.stop}
        return self._told(body, model, blocks, end)

    def _told(self, body: Json, model: str, blocks: list[Block], end: Json) -> Reply:
        made = sum(block.saying.tokens for block in blocks) or 1
        message: Json = {
            "id": Ids.new("msg_"),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**self._used(body), "output_tokens": 1, "service_tier": "standard"},
        }
        used: Json = {"output_tokens": made}
        if thinks(body):
            thought = sum(b.saying.tokens for b in blocks if b.field == "thinking")
            used["output_tokens_details"] = {"thinking_tokens": thought}
        headers = _headers(Ids.new("req_"))
        if body.get("stream"):
            headers |= {
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
            }
            told = list(events(message, blocks, end, used))
            return Stream(told, len(told) - 2, headers)
        message["content"] = [block.whole() for block in blocks]
        message |= end
        message["usage"] |= used
        return Whole(200, orjson.dumps(message), headers, tokens=made)

    def _used(self, body: Json) -> Json:
        """The tokens of a prompt: those before the last mark for the cache apart."""
        prompt = _prompt_tokens(body)
        marked = _marked(body)
        tokens = 0 if marked is None else min(count(marked), prompt)
        if marked is None or tokens < _LEAST_CACHED:
            tokens, known = 0, False
        else:
            digest = hashlib.sha256(f"{body['model']}\0{marked}".encode()).hexdigest()
            known = digest in self._cached
            self._cached.add(digest)
        written, read = (0, tokens) if known else (tokens, 0)
        return {
            "input_tokens": prompt - tokens,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written,
                "ephemeral_1h_input_tokens": 0,
            },
        }


# --- what was asked ------------------------------------------------------------------------------


def _prompt_tokens(body: Json) -> int:
    messages = list(body["messages"])
    if body.get("system"):
        messages.insert(0, {"role": "system", "content": body["system"]})
    tools = [
        {"function": {**tool, "parameters": tool.get("input_schema")}}
        for tool in body.get("tools") or ()
    ]
    return chat_tokens(messages, tools)


def _marked(body: Json) -> str | None:
    """What stands before the last mark for the cache, in the order of the cache; None: no mark."""
    parts: list[Json] = [*(body.get("tools") or ()), *blocks_of(body.get("system"))]
    for message in body["messages"]:
        parts += blocks_of(message.get("content"))
    marks = [number for number, part in enumerate(parts) if part.get("cache_control")]
    if body.get("cache_control"):
        marks.append(len(parts) - 1)
    if not marks:
        return None
    kept = [
        {name: value for name, value in part.items() if name != "cache_control"}
        for part in parts[: marks[-1] + 1]
    ]
    return orjson.dumps(kept).decode()


def _last_words(message: Json) -> tuple[str, bool]:
    """Return the text of a message, and whether it brings a tool's result."""
    texts: list[str] = []
    answered = False
    for block in blocks_of(message.get("content")):
        if block.get("type") == "tool_result":
            answered = True
            texts.append(_last_words(block)[0])
        elif isinstance(block.get("text"), str):
            texts.append(block["text"])
    return " ".join(texts), answered


def _item(name: str) -> Json:
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": "2025-05-14T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }


def _error(refusal: Refusal) -> Json:
    kind = refusal.type or _TYPES.get(refusal.status, "api_error")
    details = {} if refusal.code is None else {"details": {"error_code": refusal.code}}
    return {"type": kind, "message": refusal.message, **details}


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
