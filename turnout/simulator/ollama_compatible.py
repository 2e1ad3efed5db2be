"""Ollama's OpenAI-compatible API: requests into its own, and its own answers back.

With the manners of the versions that people have: every tool call has the index 0, a stream with
tools is not one but comes in one piece, and ends with `stop`; each delta repeats the role.
"""

import base64
import binascii
import json
import time
from collections.abc import Iterator
from typing import Any

import orjson

from .ollama_turn import Turn
from .reply import Refusal
from .wire import Ids

Json = dict[str, Any]

_IMAGES = ("jpeg", "jpg", "png", "webp")
_EFFORTS = ("high", "medium", "low", "max", "none")
_DONE = b"data: [DONE]\n\n"


def native_chat(body: Json) -> Json:
    """The body of a chat in Ollama's own API. Raises: Refusal.

    What is not read here (`n`, `tool_choice`, `logit_bias`, `user` …) is ignored, as Ollama does.
    """
    if not body.get("messages"):
        raise Refusal(400, "[] is too short - 'messages'")
    options: Json = {
        "temperature": _given(body, "temperature", 1.0),
        "top_p": _given(body, "top_p", 1.0),
    }
    for name in ("seed", "frequency_penalty", "presence_penalty"):
        if body.get(name) is not None:
            options[name] = body[name]
    if body.get("max_tokens") is not None:
        options["num_predict"] = body["max_tokens"]
    if stop := body.get("stop"):
        options["stop"] = [stop] if isinstance(stop, str) else stop
    native: Json = {
        "model": body.get("model"),
        "messages": [one for message in body["messages"] for one in _messages(message)],
        "options": options,
        "tools": body.get("tools"),
        "logprobs": body.get("logprobs"),
        "top_logprobs": body.get("top_logprobs"),
    }
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_object":
        native["format"] = "json"
    elif wanted.get("type") == "json_schema":
        native["format"] = (wanted.get("json_schema") or {}).get("schema")
    effort = (body.get("reasoning") or {}).get("effort") or body.get("reasoning_effort")
    if effort:
        if effort not in _EFFORTS:
            raise Refusal(
                400,
                f'invalid reasoning value: \'{effort}\' (must be "high", "medium", "low", '
                '"max", or "none")',
            )
        native["think"] = False if effort == "none" else effort
    return native


def whole(turn: Turn) -> Json:
    """An answer in one piece."""
    message: Json = {"role": "assistant", "content": turn.said.text}
    if turn.thought.text:
        message["reasoning"] = turn.thought.text
    if turn.calls:
        message["tool_calls"] = _calls(turn)
    choice: Json = {"index": 0, "message": message, "finish_reason": _finish(turn)}
    if (told := turn.logprobs(turn.said.pieces)) is not None:
        choice["logprobs"] = {"content": told}
    return {
        **_head("chat.completion"),
        "model": turn.model,
        "choices": [choice],
        "usage": _usage(turn),
    }


def events(turn: Turn, buffered: bool, usage_asked: bool) -> Iterator[bytes]:
    """An answer as a stream; `buffered`: in one piece, as where tools are offered."""
    head = {**_head("chat.completion.chunk"), "model": turn.model}

    def chunk(delta: Json, finish: str | None = None, pieces: tuple[str, ...] = ()) -> bytes:
        choice: Json = {
            "index": 0,
            "delta": {"role": "assistant", "content": "", **delta},
            "finish_reason": finish,
        }
        if pieces and (told := turn.logprobs(pieces)) is not None:
            choice["logprobs"] = {"content": told}
        return _event({**head, "choices": [choice]})

    for piece in turn.thought.pieces:
        yield chunk({"reasoning": piece})
    if buffered:
        delta: Json = {"content": turn.said.text}
        if turn.calls:
            delta["tool_calls"] = _calls(turn)
        yield chunk(delta, pieces=turn.said.pieces)
    else:
        for piece in turn.said.pieces:
            yield chunk({"content": piece}, pieces=(piece,))
    yield chunk({}, turn.done_reason)
    if usage_asked:
        yield _event({**head, "choices": [], "usage": _usage(turn)})
    yield _DONE


def envelope(refusal: Refusal) -> Json:
    """An error in OpenAI's shape, as Ollama fills it."""
    kinds = {400: "invalid_request_error", 404: "not_found_error"}
    kind = refusal.type or kinds.get(refusal.status, "api_error")
    return {
        "error": {
            "message": refusal.message,
            "type": kind,
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def _given(body: Json, name: str, otherwise: float) -> Any:
    return otherwise if body.get(name) is None else body[name]


def _messages(message: Json) -> Iterator[Json]:
    """One message as Ollama's own: each part becomes a message."""
    role, content, calls = message.get("role"), message.get("content"), message.get("tool_calls")
    native: Json = {"role": role}
    if message.get("reasoning"):
        native["thinking"] = message["reasoning"]
    if calls:
        native["tool_calls"] = [_native_call(call) for call in calls]
    if isinstance(content, str):
        yield {**native, "content": content}
    elif isinstance(content, list):
        for part in content:
            yield {"role": role, **_part(part)}
    elif calls is None:
        raise Refusal(400, "invalid message content type: <nil>")
    else:
        yield native


def _part(part: Json) -> Json:
    if part.get("type") == "text" and isinstance(part.get("text"), str):
        return {"content": part["text"]}
    if part.get("type") != "image_url":
        raise Refusal(400, "invalid message format")
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    head, comma, data = str(url).partition(",")
    if not comma or head not in (
        "data:;base64",
        *(f"data:image/{kind};base64" for kind in _IMAGES),
    ):
        raise Refusal(400, "invalid image input")
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error:
        raise Refusal(400, "invalid message format") from None
    return {"content": "", "images": [data]}


def _native_call(call: Json) -> Json:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"])
    except json.JSONDecodeError:
        raise Refusal(400, "invalid tool call arguments") from None
    return {"function": {"name": function["name"], "arguments": arguments}}


def _calls(turn: Turn) -> list[Json]:
    return [
        {
            "id": call_id,
            "index": 0,
            "type": "function",
            "function": {"name": name, "arguments": orjson.dumps(arguments).decode()},
        }
        for call_id, name, arguments in turn.calls
    ]


def _finish(turn: Turn) -> str:
    return "tool_calls" if turn.calls and turn.done_reason == "stop" else turn.done_reason


def _usage(turn: Turn) -> Json:
    return {
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.tokens,
        "total_tokens": turn.prompt_tokens + turn.tokens,
    }


def _head(kind: str) -> Json:
    return {
        "id": Ids.new("chatcmpl-"),
        "object": kind,
        "created": int(time.time()),
        "system_fingerprint": "fp_ollama",
    }


def _event(chunk: Json) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
