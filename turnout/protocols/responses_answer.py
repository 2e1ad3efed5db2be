"""A chat answer as a Response: its items, and everything around them.

The same builders serve the whole answer and the events of a stream, so that both say the same.
Ids are made of the request's: a response can be found in traces, and is the same when told again.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from turnout.engine.request import Request, RequestError

from .responses_seal import sealed

Json = dict[str, Any]

_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})
# What a client finds in the response as it wrote it, or else as it is by default.
_ECHOED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "store": False,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
# Of what a finish reason says that the answer is not whole.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Frame:
    """What stands around the items of one response."""

    def __init__(self, request: Request) -> None:
        """Take what the client asked for."""
        assert request.native is not None
        asked = request.native.body
        self._suffix = request.id.removeprefix("req_")
        self.service_tier = "default"
        self._fixed: Json = {
            "id": f"resp_{self._suffix}",
            "object": "response",
            "created_at": request.received_us // 1_000_000,
            "model": request.model,
            **{
                name: default if asked.get(name) is None else asked[name]
                for name, default in _ECHOED.items()
            },
            "reasoning": {"effort": None, "summary": None} | (asked.get("reasoning") or {}),
            "text": {"format": {"type": "text"}} | _without_nulls(asked.get("text") or {}),
            "tools": [_tool(tool) for tool in asked.get("tools") or ()],
        }

    def item_id(self, prefix: str, index: int) -> str:
        """The id of the item at a place of the output."""
        return f"{prefix}_{self._suffix}{index:02x}"

    def note_tier(self, answer: Mapping[str, Any]) -> None:
        """Take the class of service from a chat answer or chunk."""
        if answer.get("service_tier") in _TIERS:
            self.service_tier = answer["service_tier"]

    def response(
        self,
        status: str,
        output: list[Json],
        usage: object = None,
        error: Json | None = None,
        incomplete: str | None = None,
    ) -> Json:
        """The response object; `usage` is chat's, `incomplete` the reason."""
        return {
            **self._fixed,
            "status": status,
            "error": error,
            "incomplete_details": None if incomplete is None else {"reason": incomplete},
            "output": output,
            "service_tier": self.service_tier,
            "usage": _usage(usage),
        }


def incomplete_for(finish_reason: object) -> str | None:
    """Why an answer of this finish reason is not whole; None where it is."""
    return _INCOMPLETE.get(finish_reason) if isinstance(finish_reason, str) else None


def status_for(incomplete: str | None) -> str:
    """The status of a response that came to its end."""
    return "completed" if incomplete is None else "incomplete"


# --- items ---------------------------------------------------------------------------------------


def reasoning_item(id: str, text: str, blocks: list[Json]) -> Json:
    """Thoughts; `blocks` are those with a provider's signature."""
    item: Json = {
        "id": id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}] if text else [],
    }
    if blocks:
        item["encrypted_content"] = sealed(blocks)
    return item


def message_item(id: str, content: list[Json], status: str = "completed") -> Json:
    """Words, as parts."""
    return {
        "id": id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def text_part(text: str, logprobs: list[Json], annotations: list[Json]) -> Json:
    """The part of a message that is shown."""
    return {
        "type": "output_text",
        "text": text,
        "annotations": annotations,
        "logprobs": logprobs,
    }


def refusal_part(refusal: str) -> Json:
    """The part of a message that says why there is no other."""
    return {"type": "refusal", "refusal": refusal}


def call_item(id: str, call: Mapping[str, Any], status: str = "completed") -> Json:
    """A call of a function, from chat's tool call."""
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    item: Json = {
        "id": id,
        "type": "function_call",
        "status": status,
        "call_id": call.get("id") or id,
        "name": function.get("name") or "",
        "arguments": function.get("arguments") or "",
    }
    if call.get("extra_content") is not None:
        item["extra_content"] = call["extra_content"]
    return item


def thoughts_of(message: Mapping[str, Any]) -> str:
    """The reasoning in a message or delta, by either name."""
    return text_of(message.get("reasoning_content")) or text_of(message.get("reasoning"))


def text_of(value: object) -> str:
    """The value, if it is a text."""
    return value if isinstance(value, str) else ""


def objects_of(value: object) -> list[Json]:
    """The objects of a list, if it is one."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def logprobs_of(choice: Mapping[str, Any]) -> list[Json]:
    """The probabilities of tokens in a choice, as this protocol has them."""
    held = choice.get("logprobs")
    rows = objects_of(held.get("content")) if isinstance(held, dict) else []
    return [
        {**_logprob(row), "top_logprobs": [_logprob(one) for one in objects_of(row.get(_TOP))]}
        for row in rows
    ]


_TOP = "top_logprobs"


def annotations_of(message: Mapping[str, Any]) -> list[Json]:
    """The citations of a message."""
    return [
        {"type": "url_citation", **cited}
        for one in objects_of(message.get("annotations"))
        if one.get("type") == "url_citation" and isinstance(cited := one.get("url_citation"), dict)
    ]


# --- whole answers -------------------------------------------------------------------------------


def response_of(request: Request, body: bytes) -> bytes:
    """The Response that says what this chat completion says."""
    answer = orjson.loads(body)
    frame = Frame(request)
    frame.note_tier(answer)
    choice = (objects_of(answer.get("choices")) or [{}])[0]
    incomplete = incomplete_for(choice.get("finish_reason"))
    output = list(_items(frame, choice))
    if incomplete is not None and "status" in output[-1]:
        output[-1]["status"] = "incomplete"
    told = frame.response(status_for(incomplete), output, answer.get("usage"), None, incomplete)
    return orjson.dumps(told)


def _items(frame: Frame, choice: Mapping[str, Any]) -> Iterator[Json]:
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    index = 0
    thoughts, blocks = thoughts_of(message), objects_of(message.get("thinking_blocks"))
    if thoughts or blocks:
        yield reasoning_item(frame.item_id("rs", index), thoughts, blocks)
        index += 1
    content: list[Json] = []
    if text := text_of(message.get("content")):
        content.append(text_part(text, logprobs_of(choice), annotations_of(message)))
    if refusal := text_of(message.get("refusal")):
        content.append(refusal_part(refusal))
    calls = objects_of(message.get("tool_calls"))
    if not content and not calls:
        content.append(text_part("", [], []))
    if content:
        yield message_item(frame.item_id("msg", index), content)
        index += 1
    for number, call in enumerate(calls, index):
        yield call_item(frame.item_id("fc", number), call)


# --- parts of it ---------------------------------------------------------------------------------


def error_of(error: RequestError) -> Json:
    """The `error` of a response that failed: its code is one of a closed list."""
    limited = error.status == 429
    code = "rate_limit_exceeded" if limited else "server_error"
    return {"code": code, "message": error.message}


def _usage(usage: object) -> Json | None:
    """Chat's usage by the names of this protocol."""
    if not isinstance(usage, dict):
        return None
    given, made = _tokens(usage, "prompt_tokens"), _tokens(usage, "completion_tokens")
    if given is None or made is None:
        return None
    before = usage.get("prompt_tokens_details")
    after = usage.get("completion_tokens_details")
    return {
        "input_tokens": given,
        "input_tokens_details": {
            "cached_tokens": _tokens(before, "cached_tokens") or 0,
            "cache_write_tokens": _tokens(before, "cache_write_tokens") or 0,
        },
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": _tokens(after, "reasoning_tokens") or 0},
        "total_tokens": _tokens(usage, "total_tokens") or given + made,
    }


def _tokens(holder: object, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if type(value) is int else None


def _tool(tool: Mapping[str, Any]) -> Json:
    if tool.get("type") != "function":
        return dict(tool)
    return {"description": None, "parameters": None, **tool, "strict": tool.get("strict") is True}


def _logprob(row: Mapping[str, Any]) -> Json:
    return {
        "token": row.get("token"),
        "logprob": row.get("logprob"),
        "bytes": row.get("bytes") or [],
    }


def _without_nulls(members: Mapping[str, Any]) -> Json:
    return {name: value for name, value in members.items() if value is not None}
