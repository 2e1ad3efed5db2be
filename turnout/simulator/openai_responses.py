"""OpenAI's Responses: reads a body, remembers responses, answers whole or as events.

A prompt asks for what a test needs: `call <name>` (several, for parallel calls), `refuse` for a
refusal. Models that reason (`o3`, `gpt-5`) think first.

Over 300 lines because items, events and refusals of one protocol belong together.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from .reply import Refusal, Reply, Stream, Whole
from .text import Saying, answer, example, say, structured, tool_asked_for
from .tokens import chat_tokens
from .wire import Ids

Item = dict[str, Any]

_REASONS = re.compile(r"o\d|gpt-5")
_CALLED = re.compile(r"\bcall\s+`?([\w.-]+)")
_KEPT = 1000
_ENCRYPTED = "gAAAAAB"
_REFUSAL = "I'm sorry, I can't help with that."
# Items as they are added, before anything is in them.
_EMPTY: Mapping[str, Item] = {
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "reasoning": {"summary": []},
}
# What chat has and this protocol does not, with what it says instead.
_MOVED = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
}
_ABSENT = frozenset(
    "n stop seed logprobs logit_bias presence_penalty frequency_penalty functions function_call "
    "modalities audio".split()
)
_DEFAULTS: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


class Responses:
    """The responses of one process: those that were stored can be continued."""

    def __init__(self, dated: Mapping[str, str], headers: Callable[[], dict[str, str]]) -> None:
        """Answer for models by their dated names, with these headers."""
        self._dated = dated
        self._headers = headers
        self._stored: OrderedDict[str, list[Item]] = OrderedDict()

    def answer(self, body: dict[str, Any]) -> Reply:
        """Answer a body. Raises: Refusal."""
        given = self._conversation(_checked(body))
        response = self._response(body, given)
        if body.get("store") is not False:
            self._stored[response["id"]] = [*given, *response["output"]]
            if len(self._stored) > _KEPT:
                self._stored.popitem(last=False)
        headers = self._headers()
        if not body.get("stream"):
            made = response["usage"]["output_tokens"]
            return Whole(200, orjson.dumps(response), headers, tokens=made)
        headers["content-type"] = "text/event-stream; charset=utf-8"
        pads = (body.get("stream_options") or {}).get("include_obfuscation") is not False
        tape = _Tape(pads)
        tape.play(response)
        return Stream(tape.events, len(tape.events) - 1, headers, tape.broken)

    def _conversation(self, body: Mapping[str, Any]) -> list[Item]:
        """All items that the model sees. Raises: Refusal."""
        before: list[Item] = []
        if previous := body.get("previous_response_id"):
            if previous not in self._stored:
                message = f"Previous response with id '{previous}' not found."
                code = "previous_response_not_found"
                raise Refusal(400, message, code=code, param="previous_response_id")
            before = self._stored[previous]
        given = body.get("input")
        if isinstance(given, str):
            given = [{"type": "message", "role": "user", "content": given}]
        items = [*before, *(given or [])]
        _check_items(items)
        return items

    def _response(self, body: Mapping[str, Any], given: list[Item]) -> dict[str, Any]:
        model, limit = body["model"], body.get("max_output_tokens")
        reasons = bool(_REASONS.match(model))
        turn = _Turn(body, _prompt(given), model, reasons)
        output, made, cut = turn.items(_is_answered(given), limit)
        if cut and "status" in output[-1]:
            output[-1]["status"] = "incomplete"
        thought = turn.thought if reasons else 0
        tokens = chat_tokens(_as_messages(body, given), _as_chat_tools(body))
        now = int(time.time())
        asked = {name: body[name] for name in _DEFAULTS if body.get(name) is not None}
        reasoning = {"effort": "medium" if reasons else None, "summary": None}
        return {
            "id": Ids.new("resp_"),
            "object": "response",
            "created_at": now,
            "status": "incomplete" if cut else "completed",
            "completed_at": None if cut else now,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "model": self._dated.get(model, model),
            "output": output,
            **_DEFAULTS,
            **asked,
            "tools": [_shown_tool(tool) for tool in body.get("tools") or ()],
            "reasoning": reasoning | (body.get("reasoning") or {}),
            "service_tier": "default",
            "text": {"format": {"type": "text"}, "verbosity": "medium"} | (body.get("text") or {}),
            "usage": {
                "input_tokens": tokens,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": made + thought,
                "output_tokens_details": {"reasoning_tokens": thought},
                "total_tokens": tokens + made + thought,
            },
        }


# --- requests ------------------------------------------------------------------------------------


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(body.get("model"), str) or not body["model"]:
        message = "Missing required parameter: 'model'."
        raise Refusal(400, message, code="missing_required_parameter", param="model")
    for name in body:
        if name in _MOVED:
            message = (
                f"Unsupported parameter: '{name}'. In the Responses API, this parameter has moved "
                f"to '{_MOVED[name]}'."
            )
            raise Refusal(400, message, code="unsupported_parameter", param=name)
        if name in _ABSENT:
            raise Refusal(
                400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name
            )
    if body.get("input") is None and not body.get("previous_response_id"):
        message = (
            'One of "input" or "previous_response_id" or "prompt" or "conversation_id" must be '
            "provided."
        )
        raise Refusal(400, message, code="missing_required_parameter", param="input")
    limit = body.get("max_output_tokens")
    if limit is not None and (type(limit) is not int or limit < 16):
        message = (
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but "
            f"got {limit} instead."
        )
        code = "integer_below_min_value"
        raise Refusal(400, message, code=code, param="max_output_tokens")
    for index, tool in enumerate(body.get("tools") or ()):
        if tool.get("type") == "function" and not tool.get("name"):
            message = f"Missing required parameter: 'tools[{index}].name'."
            code, param = "missing_required_parameter", f"tools[{index}].name"
            raise Refusal(400, message, code=code, param=param)
    if _REASONS.match(body["model"]) and body.get("temperature") is not None:
        message = "Unsupported parameter: 'temperature' is not supported with this model."
        raise Refusal(400, message, param="temperature")
    return body


def _check_items(items: list[Item]) -> None:
    called = {item.get("call_id") for item in items if item.get("type") == "function_call"}
    answered = {item.get("call_id") for item in items if item.get("type", "")[-7:] == "_output"}
    for item in items:
        if item.get("type") == "function_call_output" and item["call_id"] not in called:
            message = f"No tool call found for function call output with call_id {item['call_id']}."
            raise Refusal(400, message, param="input")
        encrypted = item.get("encrypted_content")
        if encrypted is not None and not encrypted.startswith(_ENCRYPTED):
            message = "The encrypted content could not be verified."
            raise Refusal(400, message, code="invalid_encrypted_content")
    if missing := called - answered:
        message = f"No tool output found for function call {min(map(str, missing))}."
        raise Refusal(400, message, param="input")


def _prompt(items: list[Item]) -> str:
    """The text of the last thing said to the model."""
    for item in reversed(items):
        if item.get("type") == "function_call_output":
            return _text(item.get("output"))
        if item.get("role") == "user":
            return _text(item.get("content"))
    return ""


def _is_answered(items: list[Item]) -> bool:
    return bool(items) and items[-1].get("type") == "function_call_output"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content or () if isinstance(part.get("text"), str))


def _as_messages(body: Mapping[str, Any], items: list[Item]) -> list[dict[str, Any]]:
    """The items as chat counts them."""
    messages: list[dict[str, Any]] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    for item in items:
        match item.get("type", "message"):
            case "message":
                content = item.get("content")
                if isinstance(content, list):
                    content = [_as_part(part) for part in content]
                messages.append({"role": item.get("role"), "content": content})
            case "function_call":
                function = {"name": item["name"], "arguments": item["arguments"]}
                messages.append({"role": "assistant", "tool_calls": [{"function": function}]})
            case "function_call_output":
                messages.append({"role": "tool", "content": _text(item["output"])})
    return messages


def _as_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") == "input_image":
        return {"type": "image_url", "image_url": {"detail": part.get("detail")}}
    return dict(part)


def _as_chat_tools(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"function": tool} for tool in body.get("tools") or ()]


def _shown_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        return dict(tool)
    return {"description": None, "strict": True} | dict(tool)


# --- answers -------------------------------------------------------------------------------------


@dataclass
class _Turn:
    """What the model says to one prompt."""

    body: Mapping[str, Any]
    prompt: str
    model: str
    reasons: bool
    thought: int = 0

    def items(self, answered: bool, limit: int | None) -> tuple[list[Item], int, bool]:
        """The output, the tokens of what is said in it, and whether that was cut short."""
        output: list[Item] = []
        if self.reasons:
            thoughts = say(f"the user said: {self.prompt}", None)
            self.thought = thoughts.tokens
            output.append(self._reasoning(thoughts.text))
        if names := [] if answered else self._called():
            made = 0
            for name in names:
                item, tokens = self._call(name)
                output.append(item)
                made += tokens
            return output, made, False
        refuses = re.search(r"\brefuse\b", self.prompt) is not None
        saying = self._saying(refuses, limit)
        output.append(self._message(saying, refuses))
        return output, saying.tokens, saying.finish == "length"

    def _called(self) -> list[str]:
        tools = self.body.get("tools") or ()
        names = [str(tool["name"]) for tool in tools if tool.get("type") == "function"]
        choice = self.body.get("tool_choice")
        first = tool_asked_for(self.prompt, names, choice)
        if first is None:
            return []
        if isinstance(choice, dict) or self.body.get("parallel_tool_calls") is False:
            return [first]
        asked = [name.rstrip(".") for name in _CALLED.findall(self.prompt)]
        return [name for name in asked if name in names] or [first]

    def _call(self, name: str) -> tuple[Item, int]:
        tools = self.body.get("tools") or ()
        tool = next(tool for tool in tools if tool.get("name") == name)
        made = example(tool.get("parameters") or {}, self.prompt)
        arguments = say(orjson.dumps(made or {}).decode(), None)
        item = {
            "id": Ids.new("fc_"),
            "type": "function_call",
            "status": "completed",
            "arguments": arguments.text,
            "call_id": Ids.new("call_"),
            "name": name,
        }
        return item, arguments.tokens

    def _reasoning(self, text: str) -> Item:
        reasoning = self.body.get("reasoning") or {}
        shows = reasoning.get("summary") or reasoning.get("generate_summary")
        summary = [{"type": "summary_text", "text": text}] if shows else []
        item = {"id": Ids.new("rs_"), "type": "reasoning", "summary": summary}
        if "reasoning.encrypted_content" in (self.body.get("include") or ()):
            item["encrypted_content"] = f"{_ENCRYPTED}{Ids.new('')}=="
        return item

    def _saying(self, refuses: bool, limit: int | None) -> Saying:
        form = (self.body.get("text") or {}).get("format") or {}
        if form.get("type") == "json_schema":
            form = {"type": "json_schema", "json_schema": form}
        text = structured(form, answer(self.model, self.prompt), self.prompt)
        return say(_REFUSAL if refuses else text, limit)

    def _message(self, saying: Saying, refuses: bool) -> Item:
        if refuses:
            part: Item = {"type": "refusal", "refusal": saying.text}
        else:
            asked = "message.output_text.logprobs" in (self.body.get("include") or ())
            part = {
                "type": "output_text",
                "annotations": [],
                "logprobs": self._logprobs(saying) if asked else [],
                "text": saying.text,
            }
        return {
            "id": Ids.new("msg_"),
            "type": "message",
            "status": "completed",
            "content": [part],
            "role": "assistant",
        }

    def _logprobs(self, saying: Saying) -> list[Item]:
        several = self.body.get("top_logprobs") or 0
        rows = []
        for piece in saying.pieces:
            row = {"token": piece, "bytes": list(piece.encode()), "logprob": -0.25}
            rows.append({**row, "top_logprobs": [row][:several]})
        return rows


# --- events --------------------------------------------------------------------------------------


class _Tape:
    """The events of a response, in OpenAI's order."""

    def __init__(self, pads: bool) -> None:
        self.events: list[bytes] = []
        self._pads = pads
        self._response: dict[str, Any] = {}

    def play(self, response: dict[str, Any]) -> None:
        """Write all events of a response."""
        begun = {**response, "status": "in_progress", "output": [], "usage": None}
        begun |= {"incomplete_details": None, "completed_at": None}
        self._response = begun
        for kind in ("created", "in_progress"):
            self._write(f"response.{kind}", response=begun)
        for index, item in enumerate(response["output"]):
            self._item(index, item)
        self._write(f"response.{response['status']}", response=response)

    def broken(self, refusal: Refusal) -> bytes:
        """The event that breaks this stream off."""
        code = refusal.code or ("rate_limit_exceeded" if refusal.status == 429 else "server_error")
        error = {"code": code, "message": refusal.message}
        failed = {**self._response, "status": "failed", "error": error}
        return _event("response.failed", len(self.events), {"response": failed})

    def _item(self, index: int, item: Item) -> None:
        begun = {**item, **_EMPTY[item["type"]]}
        if "status" in item:
            begun["status"] = "in_progress"
        self._write("response.output_item.added", item=begun, output_index=index)
        at = {"item_id": item["id"], "output_index": index}
        match item["type"]:
            case "message":
                self._part(at, item["content"][0])
            case "function_call":
                kind = "response.function_call_arguments"
                for piece in say(item["arguments"], None).pieces:
                    self._write(f"{kind}.delta", delta=piece, **at, **self._padding())
                whole = {"arguments": item["arguments"], "name": item["name"]}
                self._write(f"{kind}.done", **whole, **at)
            case "reasoning":
                for part in item["summary"]:
                    self._summary({**at, "summary_index": 0}, part)
        self._write("response.output_item.done", item=item, output_index=index)

    def _part(self, at: Item, part: Item) -> None:
        at = {**at, "content_index": 0}
        refuses = part["type"] == "refusal"
        name, kind = (
            ("refusal", "response.refusal") if refuses else ("text", "response.output_text")
        )
        logprobs = part.get("logprobs") or []
        begun = {**part, name: ""} | ({} if refuses else {"logprobs": []})
        self._write("response.content_part.added", part=begun, **at)
        for number, piece in enumerate(say(part[name], None).pieces):
            known = {} if refuses else {"logprobs": logprobs[number : number + 1]}
            self._write(f"{kind}.delta", delta=piece, **known, **at, **self._padding())
        known = {} if refuses else {"logprobs": logprobs}
        self._write(f"{kind}.done", **{name: part[name]}, **known, **at)
        self._write("response.content_part.done", part=part, **at)

    def _summary(self, at: Item, part: Item) -> None:
        kind = "response.reasoning_summary"
        self._write(f"{kind}_part.added", part={**part, "text": ""}, **at)
        for piece in say(part["text"], None).pieces:
            self._write(f"{kind}_text.delta", delta=piece, **at, **self._padding())
        self._write(f"{kind}_text.done", text=part["text"], **at)
        self._write(f"{kind}_part.done", part=part, **at)

    def _padding(self) -> Item:
        return {"obfuscation": "x7Qd3Lm9"} if self._pads else {}

    def _write(self, kind: str, **members: Any) -> None:
        self.events.append(_event(kind, len(self.events), members))


def _event(kind: str, number: int, members: Mapping[str, Any]) -> bytes:
    data = orjson.dumps({"type": kind, "sequence_number": number, **members})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
