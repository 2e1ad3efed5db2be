"""How the providers that imitate OpenAI's wire differ from it, in requests, answers and errors.

Each class is what one provider is known to do, whether its documentation says so or not: its own
client library reads it, and a gateway has to mend it. Models whose names say so think aloud before
they answer.

Over 300 lines because it is a list: a provider is a class.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from .reply import Refusal
from .tokens import encode
from .wire import Ids, check_key

Json = dict[str, Any]

_FOUND = {
    name: {"filtered": False, "severity": "safe"}
    for name in ("hate", "self_harm", "sexual", "violence")
}
DONE = b"data: [DONE]\n\n"
_THOUGHT = "The question is plain."
_THINKS = re.compile(r"magistral|reasoner|gpt-oss|qwen3|grok-(?:3-mini|4)|thinking|r1\b", re.I)
_ROLES = frozenset(("system", "user", "assistant", "tool"))
_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")


def event(chunk: Json, name: bytes = b"") -> bytes:
    """One server-sent event."""
    return name + b"data: " + orjson.dumps(chunk) + b"\n\n"


def thinks(body: Mapping[str, Any]) -> bool:
    """Whether the model that is asked thinks aloud."""
    return bool(_THINKS.search(str(body.get("model"))))


class Imitation:
    """OpenAI's own form; a provider overrides what it does otherwise."""

    # Members of a body that are refused, and those that are the only ones known (None: any is).
    refused: frozenset[str] = frozenset()
    known: frozenset[str] | None = None
    roles: frozenset[str] | None = None

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """Accept `key` only, or any key if it is None. Raises: Refusal."""
        given = headers.get("authorization", "").removeprefix("Bearer ").strip()
        check_key(
            given,
            key,
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            "Incorrect API key provided.",
        )

    def check(self, body: Json) -> Json:
        """The body as OpenAI would have it. Raises: Refusal for what this provider refuses."""
        for name in body:
            if name in self.refused or (self.known is not None and name not in self.known):
                raise self.unknown(name)
        for index, message in enumerate(body.get("messages") or ()):
            role = message.get("role") if isinstance(message, dict) else None
            if self.roles is not None and role not in self.roles:
                raise self.misplaced(index, str(role))
            if isinstance(message, dict):
                self.check_message(index, message)
        return body

    def check_message(self, index: int, message: Json) -> None:
        """Look at one message. Raises: Refusal."""

    def check_vectors(self, body: Json) -> Json:
        """The body of embeddings as OpenAI would have it. Raises: Refusal."""
        return body

    def vectors(self, answer: Json) -> Json:
        """An answer with embeddings in this provider's form."""
        return answer

    def unknown(self, name: str) -> Refusal:
        """The refusal of a member of the body."""
        message = f"Unrecognized request argument supplied: {name}"
        return Refusal(400, message, code="unknown_parameter", param=name)

    def misplaced(self, index: int, role: str) -> Refusal:
        """The refusal of a message for its role."""
        return Refusal(400, f"messages[{index}].role: unknown variant `{role}`")

    def whole(self, answer: Json, body: Json) -> Json:
        """An answer in this provider's form."""
        return answer

    def stream(self, chunks: list[Json], usage: Json, body: Json) -> tuple[list[bytes], int]:
        """The events of a stream, and where its finish reasons begin."""
        asked = bool((body.get("stream_options") or {}).get("include_usage"))
        if asked:
            for chunk in chunks:
                chunk["usage"] = None
            chunks = [*chunks, {**chunks[-1], "choices": [], "usage": usage}]
        events = [event(chunk) for chunk in chunks]
        return [*events, DONE], _first_finish(chunks)

    def error(self, error: Json, status: int) -> Json:
        """An error in this provider's envelope."""
        return {"error": error}

    def error_event(self, error: Json, status: int) -> bytes:
        """An error as the event that a stream breaks off with."""
        return event(self.error(error, status))


def _first_finish(chunks: list[Json]) -> int:
    return next(
        number
        for number, chunk in enumerate(chunks)
        if any(choice.get("finish_reason") for choice in chunk["choices"])
    )


def _on_last(chunks: list[Json], usage: Json) -> list[Json]:
    """Usage beside the last finish reason, asked for or not."""
    return [*chunks[:-1], {**chunks[-1], "usage": usage}]


def _thought_first(chunks: list[Json], delta: Json) -> list[Json]:
    """A stream with one delta of thinking behind the role, before words and calls."""
    first, *others = chunks
    choice = first["choices"][0]
    thought = {**first, "choices": [{**choice, "delta": delta, "finish_reason": None}]}
    if "tool_calls" not in choice["delta"]:
        return [first, thought, *others]
    opening = {"role": "assistant", "content": ""}
    called = {"tool_calls": choice["delta"]["tool_calls"]}
    return [
        {**first, "choices": [{**choice, "delta": opening}]},
        thought,
        {**first, "choices": [{**choice, "delta": called}]},
        *others,
    ]


class OpenAI(Imitation):
    """OpenAI itself: in messages it refuses what others put there."""

    _STRANGE = frozenset(
        "reasoning reasoning_content reasoning_details thinking_blocks prefix".split()
    )
    _STRANGE_IN_CALLS = frozenset(("extra_content",))

    def check_message(self, index: int, message: Json) -> None:
        """No extensions of others, in calls neither."""
        where = f"messages[{index}]"
        for name in message.keys() & self._STRANGE:
            raise self._unexpected(f"{where}.{name}")
        calls = message.get("tool_calls")
        for number, call in enumerate(calls if isinstance(calls, list) else ()):
            for name in self._STRANGE_IN_CALLS.intersection(call if isinstance(call, dict) else ()):
                raise self._unexpected(f"{where}.tool_calls[{number}].{name}")

    @staticmethod
    def _unexpected(place: str) -> Refusal:
        told = f"Unknown parameter: '{place}'."
        return Refusal(400, told, code="unknown_parameter", param=place)


class Azure(OpenAI):
    """Its key has a header of its own, and every answer says what the filters found."""

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """A header `api-key`, or a bearer token."""
        given = headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        told = "Access denied due to invalid subscription key or wrong API endpoint."
        check_key(given.strip(), key, told, told)

    def whole(self, answer: Json, body: Json) -> Json:
        """With the filters' findings on the prompt and on each choice."""
        choices = [{"content_filter_results": _FOUND, **one} for one in answer["choices"]]
        found = [{"prompt_index": 0, "content_filter_results": _FOUND}]
        return {**answer, "choices": choices, "prompt_filter_results": found}

    def stream(self, chunks: list[Json], usage: Json, body: Json) -> tuple[list[bytes], int]:
        """The findings on the prompt come first, without choice, id or model."""
        found = [{"prompt_index": 0, "content_filter_results": _FOUND}]
        empty = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
        events, finish_at = super().stream(chunks, usage, body)
        return [event({**empty, "prompt_filter_results": found}), *events], finish_at + 1

    def error(self, error: Json, status: int) -> Json:
        """Some of its errors have a status for a code."""
        if status == 401:
            return {"error": {"code": "401", "message": error["message"]}}
        if status == 404:
            return {"error": {"code": "DeploymentNotFound", "message": error["message"]}}
        return {"error": error}


class Groq(Imitation):
    """What it cannot do it refuses; usage comes under `x_groq`, late errors by name."""

    refused = frozenset(
        ("logprobs", "top_logprobs", "logit_bias", "store", "metadata", "top_k", "thinking")
    )

    def check(self, body: Json) -> Json:
        """One answer at a time."""
        if (body.get("n") or 1) != 1:
            raise Refusal(400, "'n' : number must be at most 1", param="n")
        return super().check(body)

    def check_message(self, index: int, message: Json) -> None:
        """Nothing that its own answers do not have."""
        for name in ("reasoning_content", "thinking_blocks", "annotations", "refusal"):
            if name in message:
                told = f"'messages.{index}' : property '{name}' is unsupported"
                raise Refusal(400, told, param="messages")

    def unknown(self, name: str) -> Refusal:
        """Its own words."""
        return Refusal(400, f"property '{name}' is unsupported", param=name)

    def whole(self, answer: Json, body: Json) -> Json:
        """Tool calls come without `content`; thinking beside it."""
        for choice in answer["choices"]:
            message = choice["message"]
            if message.get("tool_calls"):
                del message["content"]
            if thinks(body):
                message["reasoning"] = _THOUGHT
        return answer

    def stream(self, chunks: list[Json], usage: Json, body: Json) -> tuple[list[bytes], int]:
        """Usage also beside the finish reason."""
        if thinks(body):
            chunks = _thought_first(chunks, {"reasoning": _THOUGHT})
        finish_at = _first_finish(chunks)
        for chunk in chunks[finish_at:]:
            chunk["x_groq"] = {"id": Ids.new("req_"), "usage": usage}
        return super().stream(chunks, usage, body)

    def error(self, error: Json, status: int) -> Json:
        """Without `param` where there is none."""
        return {"error": {k: v for k, v in error.items() if k != "param" or v is not None}}

    def error_event(self, error: Json, status: int) -> bytes:
        """Named, unlike all its other events."""
        return event(self.error(error, status), b"event: error\n")


class Mistral(Imitation):
    """Names of its own, nine characters to an id of a call, and a refusal for all else."""

    known = frozenset(
        "model messages temperature top_p max_tokens stream stop random_seed metadata "
        "response_format tools tool_choice presence_penalty frequency_penalty min_tokens "
        "repetition_penalty top_k logprobs top_logprobs prompt_logprobs top_prompt_logprobs n "
        "prediction parallel_tool_calls reasoning_effort prompt_mode guardrails prompt_cache_key "
        "service_tier safe_prompt".split()
    )
    roles = _ROLES
    _MEMBERS = frozenset(("role", "content", "tool_calls", "tool_call_id", "name", "prefix"))
    _OF_VECTORS = frozenset(
        "model input metadata output_dimension output_dtype encoding_format".split()
    )

    def check_message(self, index: int, message: Json) -> None:
        """Members and ids as it knows them."""
        for name in message.keys() - self._MEMBERS:
            raise self._invalid("extra_forbidden", name, "messages", index)
        if "name" in message and message["role"] != "tool":
            raise self._invalid("extra_forbidden", "name", "messages", index)
        ids = [call.get("id") for call in message.get("tool_calls") or ()]
        for call_id in (*ids, message.get("tool_call_id") or "aaaaaaaaa"):
            if not _SHORT_ID.fullmatch(str(call_id)):
                told = "Tool call id has to be defined in serving mode: 9 of a-z, A-Z, 0-9"
                raise Refusal(400, f"{told}, not {call_id}", type="invalid_function_call")

    def check_vectors(self, body: Json) -> Json:
        """Its own name for how long the vectors are to be."""
        for name in body.keys() - self._OF_VECTORS:
            raise self.unknown(name)
        return {**body, "dimensions": body.get("output_dimension")}

    def vectors(self, answer: Json) -> Json:
        """With an id, as its chat has one."""
        return {"id": Ids.new(""), **answer}

    def unknown(self, name: str) -> Refusal:
        """As pydantic words it."""
        return self._invalid("extra_forbidden", name)

    def misplaced(self, index: int, role: str) -> Refusal:
        """As pydantic words it."""
        return self._invalid("union_tag_invalid", "role", "messages", index)

    def _invalid(self, kind: str, name: str, *place: str | int) -> Refusal:
        detail = {"type": kind, "loc": ["body", *place, name], "msg": "Extra inputs not permitted"}
        return Refusal(422, orjson.dumps({"detail": [detail]}).decode(), type="detail")

    def whole(self, answer: Json, body: Json) -> Json:
        """Calls without type or index, `tool_calls: null` without; thinking as a part."""
        for choice in answer["choices"]:
            message = choice["message"]
            calls = message.get("tool_calls")
            message["tool_calls"] = calls and [_bare(call) for call in calls]
            if calls:
                message["content"] = ""
            elif thinks(body):
                message["content"] = [_thinking(), {"type": "text", "text": message["content"]}]
            message["prefix"] = False
            _number_tokens(choice)
        return answer

    def stream(self, chunks: list[Json], usage: Json, body: Json) -> tuple[list[bytes], int]:
        """Calls come in one piece with the finish reason; usage unasked."""
        if any(choice["delta"].get("tool_calls") for one in chunks for choice in one["choices"]):
            chunks = self._in_one_piece(chunks)
        elif thinks(body):
            chunks = _thought_first(chunks, {"content": [_thinking()]})
        for chunk in chunks:
            _number_tokens(chunk["choices"][0])
        chunks = _on_last(chunks, usage)
        return [*map(event, chunks), DONE], _first_finish(chunks)

    def _in_one_piece(self, chunks: list[Json]) -> list[Json]:
        found = [
            call
            for chunk in chunks
            for choice in chunk["choices"]
            for call in choice["delta"].get("tool_calls") or ()
        ]
        arguments = "".join(call["function"].get("arguments") or "" for call in found)
        function = {"name": found[0]["function"]["name"], "arguments": arguments}
        delta = {"content": "", "tool_calls": [{"id": Ids.short(), "function": function}]}
        first, last = chunks[0], chunks[-1]
        opening = {**first["choices"][0], "delta": {"role": "assistant", "content": ""}}
        ending = {**last["choices"][0], "delta": delta}
        return [{**first, "choices": [opening]}, {**last, "choices": [ending]}]

    def error(self, error: Json, status: int) -> Json:
        """`detail` alone, or an object without a wrapping."""
        if status == 401:
            return {"detail": "Unauthorized"}
        message = error["message"]
        told = orjson.loads(message) if error["type"] == "detail" else message
        kind = "invalid_request_error" if error["type"] == "detail" else error["type"]
        return {"object": "error", "message": told, "type": kind, "param": None, "code": "1500"}


def _number_tokens(choice: Json) -> None:
    """Its log probabilities say the numbers of tokens too."""
    for token in (choice.get("logprobs") or {}).get("content", ()):
        for one in (token, *token["top_logprobs"]):
            one["token_id"] = encode(one["token"])[0]


def _bare(call: Json) -> Json:
    return {"id": Ids.short(), "function": call["function"]}


def _thinking() -> Json:
    return {"type": "thinking", "thinking": [{"type": "text", "text": _THOUGHT}]}


class DeepSeek(Imitation):
    """It keeps connections open with comments, and counts what its cache held."""

    refused = frozenset(("max_completion_tokens",))  # in truth ignored, and the limit with it
    roles = _ROLES

    def check(self, body: Json) -> Json:
        """Reasoning of earlier turns is refused."""
        messages = body.get("messages") or []
        asked = max((i for i, one in enumerate(messages) if one.get("role") == "user"), default=0)
        if any("reasoning_content" in one for one in messages[:asked]):
            raise Refusal(400, "reasoning_content is not allowed in input messages")
        return super().check(body)

    def whole(self, answer: Json, body: Json) -> Json:
        """Thinking beside the content."""
        answer["usage"] |= _cached(answer["usage"])
        if thinks(body):
            for choice in answer["choices"]:
                choice["message"]["reasoning_content"] = _THOUGHT
        return answer

    def stream(self, chunks: list[Json], usage: Json, body: Json) -> tuple[list[bytes], int]:
        """Usage on the last choice, whoever asked."""
        if thinks(body):
            chunks = _thought_first(chunks, {"content": None, "reasoning_content": _THOUGHT})
        chunks = _on_last(chunks, usage | _cached(usage))
        events = [b": keep-alive\n\n" + event(chunks[0]), *map(event, chunks[1:])]
        return [*events, DONE], _first_finish(chunks)


def _cached(usage: Json) -> Json:
    return {"prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": usage["prompt_tokens"]}


class Together(Imitation):
    """It says everything twice, and ends with `eos`."""

    refused = frozenset(("max_completion_tokens",))
    roles = _ROLES

    def whole(self, answer: Json, body: Json) -> Json:
        """A seed for each choice."""
        for choice in answer["choices"]:
            choice |= {"finish_reason": _eos(choice["finish_reason"]), "seed": 7}
        return {**answer, "prompt": []}

    def stream(self, chunks: list[Json], usage: Json, body: Json) -> tuple[list[bytes], int]:
        """`text` beside each delta, the role in all of them."""
        for chunk in chunks:
            for choice in chunk["choices"]:
                delta = choice["delta"]
                if "tool_calls" not in delta:
                    delta |= {"role": "assistant", "content": delta.get("content") or ""}
                    choice["text"] = delta["content"]
                choice["finish_reason"] = _eos(choice["finish_reason"])
        chunks = _on_last(chunks, usage)
        return [*map(event, chunks), DONE], _first_finish(chunks)


def _eos(reason: str | None) -> str | None:
    return "eos" if reason == "stop" else reason


class Fireworks(Imitation):
    """It refuses what it does not know, and counts unasked."""

    refused = frozenset(
        "web_search_options modalities audio verbosity safety_identifier "
        "prompt_cache_retention store cache_control".split()
    )
    roles = _ROLES

    def unknown(self, name: str) -> Refusal:
        """Its own words."""
        return Refusal(400, f"Extra inputs are not permitted, field: '{name}', value: 1")

    def stream(self, chunks: list[Json], usage: Json, body: Json) -> tuple[list[bytes], int]:
        """Usage on the last choice."""
        chunks = _on_last(chunks, usage)
        return [*map(event, chunks), DONE], _first_finish(chunks)

    def error(self, error: Json, status: int) -> Json:
        """An object that says that it is an error."""
        return {"error": {"object": "error", **error}}


class OpenRouter(Imitation):
    """It waits aloud, repeats the end beside the usage, and has errors inside choices."""

    _WAITING = b": OPENROUTER PROCESSING\n\n"

    def whole(self, answer: Json, body: Json) -> Json:
        """What the provider behind called the end."""
        for choice in answer["choices"]:
            choice["native_finish_reason"] = choice["finish_reason"]
            if self._thinks(body):
                choice["message"] |= _reasoned()
        return {**answer, "provider": "Simulated"}

    def stream(self, chunks: list[Json], usage: Json, body: Json) -> tuple[list[bytes], int]:
        """The finish reason comes twice."""
        if self._thinks(body):
            chunks = _thought_first(chunks, {"role": "assistant", "content": "", **_reasoned()})
        for chunk in chunks:
            for choice in chunk["choices"]:
                choice["native_finish_reason"] = choice["finish_reason"]
        finish_at = _first_finish(chunks)
        chunks = [*chunks, {**chunks[-1], "usage": usage}]
        events = [self._WAITING + event(chunks[0]), *map(event, chunks[1:])]
        return [*events, DONE], finish_at

    @staticmethod
    def _thinks(body: Json) -> bool:
        given = body.get("reasoning")
        if isinstance(given, dict):
            return given.get("enabled") is not False and given.get("effort") != "none"
        effort = body.get("reasoning_effort")
        return effort != "none" and (thinks(body) or effort is not None)

    def error(self, error: Json, status: int) -> Json:
        """The status is the code."""
        return {"error": {"code": status, "message": error["message"], "metadata": {}}}

    def error_event(self, error: Json, status: int) -> bytes:
        """Beside a choice that ends with it."""
        delta = {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "finish_reason": "error"}
        chunk = {"id": Ids.new("gen-"), "object": "chat.completion.chunk", "choices": [choice]}
        return event({**chunk, **self.error(error, status)})


def _reasoned() -> Json:
    detail = {"type": "reasoning.text", "text": _THOUGHT, "format": "unknown", "index": 0}
    return {"reasoning": _THOUGHT, "reasoning_details": [detail]}


class XAI(Imitation):
    """Usage comes with each chunk, and an error is a text."""

    refused = frozenset(("logit_bias", "store", "metadata", "service_tier"))

    def check(self, body: Json) -> Json:
        """Models that reason refuse penalties and stops."""
        for name in ("presence_penalty", "frequency_penalty", "stop"):
            if body.get(name) is not None and thinks(body):
                raise Refusal(400, f"Argument not supported on this model: {name}")
        return super().check(body)

    def whole(self, answer: Json, body: Json) -> Json:
        """Thinking beside the content."""
        for choice in answer["choices"]:
            choice["message"] |= {"refusal": None}
            if thinks(body):
                choice["message"]["reasoning_content"] = _THOUGHT
        return answer

    def stream(self, chunks: list[Json], usage: Json, body: Json) -> tuple[list[bytes], int]:
        """The count grows from chunk to chunk."""
        if thinks(body):
            chunks = _thought_first(chunks, {"role": "assistant", "reasoning_content": _THOUGHT})
        last = len(chunks) - 1
        for number, chunk in enumerate(chunks):
            made = usage["completion_tokens"] * number // max(last, 1)
            total = usage["prompt_tokens"] + made
            chunk["usage"] = usage | {"completion_tokens": made, "total_tokens": total}
        chunks = [*chunks, {**chunks[-1], "choices": [], "usage": usage}]
        return [*map(event, chunks), DONE], _first_finish(chunks)

    def error(self, error: Json, status: int) -> Json:
        """The code is prose."""
        return {"code": "Client specified an invalid argument", "error": error["message"]}


class VLLM(Imitation):
    """The role in every chunk, and why it stopped in its own words."""

    roles = _ROLES

    def whole(self, answer: Json, body: Json) -> Json:
        """Everything that there is not is there as null."""
        for choice in answer["choices"]:
            message = choice["message"]
            message |= {"refusal": None, "annotations": None, "audio": None, "function_call": None}
            message["tool_calls"] = message.get("tool_calls") or []
            if thinks(body):
                message |= {"reasoning": _THOUGHT, "reasoning_content": _THOUGHT}
            choice["stop_reason"] = None
        return {**answer, "prompt_logprobs": None, "kv_transfer_params": None}

    def stream(self, chunks: list[Json], usage: Json, body: Json) -> tuple[list[bytes], int]:
        """The newer name of its thinking only."""
        if thinks(body):
            chunks = _thought_first(chunks, {"reasoning": _THOUGHT})
        for chunk in chunks:
            for choice in chunk["choices"]:
                choice["delta"]["role"] = "assistant"
                choice["stop_reason"] = None
        return super().stream(chunks, usage, body)

    def error(self, error: Json, status: int) -> Json:
        """Status for code."""
        kind = "NotFoundError" if status == 404 else "BadRequestError"
        return {"error": {**error, "type": kind, "code": status}}


IMITATIONS: Mapping[str, Imitation] = {
    "azure": Azure(),
    "deepseek": DeepSeek(),
    "fireworks": Fireworks(),
    "groq": Groq(),
    "mistral": Mistral(),
    "openrouter": OpenRouter(),
    "together": Together(),
    "vllm": VLLM(),
    "xai": XAI(),
}
