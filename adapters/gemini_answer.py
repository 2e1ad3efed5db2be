"""What Gemini answers, read: candidates and their parts, and counts.

A candidate is read once, into deltas of chat; a whole message is what they add up to.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from turnout.engine.provider import Answer, Call, Fault, ProviderError
from turnout.engine.request import Usage

from . import fault
from .usage import is_count

Json = dict[str, Any]

_FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "ESCALATION",
            "PUP_LIMITED_DISABLED",
            "MODEL_ARMOR",
            "OTHER",
        ),
        "content_filter",
    ),
}
_NO_ANSWER = frozenset(
    "MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS MALFORMED_RESPONSE "
    "MISSING_THOUGHT_SIGNATURE NO_IMAGE IMAGE_OTHER".split()
)


def read_generation(raw: bytes, call: Call, secrets: tuple[str, ...]) -> Answer:
    """Make the client's chat answer of the provider's. Raises: ProviderError."""
    parsed = parsed_of(raw)
    candidates = candidates_of(parsed)
    usage = usage_of(parsed, final=True)
    if not candidates:
        if (blocked := blocked_prompt(parsed)) is not None:
            blocked.usage = usage
            raise blocked
        raise fault.no_answer(raw, "a list of candidates", secrets)
    answer_id = answer_id_of(parsed, call)
    choices: list[Json] = []
    texts: list[str] = []
    for index, candidate in candidates:
        message, text = _message(candidate, index, answer_id)
        texts.append(text)
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": logprobs_of(candidate),
                "finish_reason": finish_of(candidate.get("finishReason"), "tool_calls" in message),
            }
        )
    choices.sort(key=lambda choice: int(choice["index"]))
    answer: Json = {
        "id": "chatcmpl-" + answer_id,
        "object": "chat.completion",
        "created": call.request.received_us // 1_000_000,
        "model": call.shown_model,
        "choices": choices,
    }
    if usage is not None:
        answer["usage"] = shown_usage(usage)
    return Answer(
        orjson.dumps(answer),
        usage,
        "".join(texts),
        choices[0]["finish_reason"],
        text_of(parsed, "modelVersion") or None,
    )


def _message(candidate: Json, index: int, answer_id: str) -> tuple[Json, str]:
    """A candidate as a message, and all that is written in it."""
    gathered: dict[str, list[Any]] = {}
    for delta, _ in deltas_of(candidate, index, answer_id, 0):
        for name, value in delta.items():
            gathered.setdefault(name, []).append(value)
    tools = [tool for tools in gathered.get("tool_calls", ()) for tool in tools]
    for tool in tools:
        del tool["index"]
    said = "".join(gathered.get("content", ()))
    message: Json = {"role": "assistant", "content": None if tools and not said else said}
    message["refusal"] = None
    thought = "".join(gathered.get("reasoning_content", ()))
    if thought:
        message["reasoning_content"] = thought
    if tools:
        message["tool_calls"] = tools
    if images := [image for images in gathered.get("images", ()) for image in images]:
        message["images"] = images
    if signed := gathered.get("extra_content"):
        message["extra_content"] = signed[-1]
    called = [tool["function"]["name"] + tool["function"]["arguments"] for tool in tools]
    return message, "".join([thought, said, *called])


def deltas_of(
    candidate: Json, index: int, answer_id: str, tools: int
) -> Iterator[tuple[Json, str]]:
    """The parts of a candidate as deltas, each with what is written in it.

    `tools`: how many tool calls this candidate had before. Raises: ProviderError.
    """
    for part in _parts(candidate):
        signature = text_of(part, "thoughtSignature")
        signed = {"extra_content": {"google": {"thought_signature": signature}}}
        text = text_of(part, "text")
        call = part.get("functionCall")
        if isinstance(call, dict):
            name, arguments = text_of(call, "name"), call.get("args")
            if not name or not isinstance(arguments, dict | None):
                raise fault.bad_output("the provider's answer holds a malformed tool call")
            made_of = f"{answer_id}/{index}/{tools}".encode()
            call_id = text_of(call, "id") or "call_" + hashlib.sha256(made_of).hexdigest()[:24]
            given = orjson.dumps(arguments or {}).decode()
            tool: Json = {"index": tools, "id": call_id, "type": "function"}
            tool["function"] = {"name": name, "arguments": given}
            yield {"tool_calls": [{**tool, **(signed if signature else {})}]}, name + given
            tools += 1
            continue
        if text and part.get("thought") is True:
            yield {"reasoning_content": text}, text
        elif text:
            yield {"content": text}, text
        elif (image := _image(part.get("inlineData"))) is not None:
            yield {"images": [image]}, ""
        if signature:
            yield signed, ""


def _image(data: object) -> Json | None:
    media_type, held = text_of(data, "mimeType"), text_of(data, "data")
    if not media_type or not held:
        return None
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{held}"}}


def _parts(candidate: Json) -> list[Json]:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    if parts is None:
        return []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise fault.bad_output("the provider's answer holds content that is no list of parts")
    return parts


def finish_of(reason: object, tools: bool) -> str:
    """The finish reason to show. Raises: ProviderError where it says that there is no answer."""
    if not isinstance(reason, str):
        raise fault.bad_output("the provider's answer does not say why it ended")
    if reason in _NO_ANSWER:
        raise fault.bad_output("the provider's model wrote what cannot be read as an answer")
    told = _FINISH.get(reason, "stop")
    return "tool_calls" if tools and told == "stop" else told


def blocked_prompt(parsed: Json) -> ProviderError | None:
    """The fault of a prompt that was blocked; None where it was not."""
    feedback = parsed.get("promptFeedback")
    if not isinstance(feedback, dict) or not feedback.get("blockReason"):
        return None
    return ProviderError(
        Fault.CONTENT_FILTER, "the provider's filter blocked the prompt", status=200
    )


def logprobs_of(candidate: Json) -> Json | None:
    """The log probabilities of a candidate as chat tells them; None without."""
    result = candidate.get("logprobsResult")
    chosen = result.get("chosenCandidates") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(chosen, list):
        return None
    others = result.get("topCandidates")
    others = others if isinstance(others, list) else []
    content: list[Json] = []
    for position, one in enumerate(chosen):
        at = others[position] if position < len(others) else None
        listed = at.get("candidates") if isinstance(at, dict) else None
        listed = listed if isinstance(listed, list) else []
        content.append({**_logprob(one), "top_logprobs": [_logprob(other) for other in listed]})
    return {"content": content, "refusal": None}


def _logprob(one: object) -> Json:
    token = text_of(one, "token")
    value = one.get("logProbability") if isinstance(one, dict) else None
    # Protobuf leaves out what is zero.
    value = value if type(value) in (int, float) else 0.0
    return {"token": token, "logprob": value, "bytes": list(token.encode("utf-8", "replace"))}


def usage_of(parsed: Json, *, final: bool) -> Usage | None:
    """The counts so far; without `final` only where they say how much was written."""
    told = parsed.get("usageMetadata")
    prompt = count_of(told, "promptTokenCount")
    written_so_far = count_of(told, "candidatesTokenCount")
    if prompt is None or (written_so_far is None and not final):
        return None
    thoughts = count_of(told, "thoughtsTokenCount") or 0
    prompt += count_of(told, "toolUsePromptTokenCount") or 0
    cached = min(count_of(told, "cachedContentTokenCount") or 0, prompt)
    return Usage(prompt, (written_so_far or 0) + thoughts, cached, reasoning=thoughts)


def shown_usage(usage: Usage) -> Json:
    """The counts as chat tells them."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def parsed_of(raw: bytes) -> Json:
    """The object of a body; empty for what is none."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def candidates_of(parsed: Json) -> list[tuple[int, Json]]:
    """The candidates of an answer or event by their index. Raises: ProviderError for what are none.

    An index of zero may be left out; where several are, their order counts.
    """
    candidates = parsed.get("candidates")
    if candidates is None:
        return []
    if not isinstance(candidates, list) or not all(isinstance(one, dict) for one in candidates):
        raise fault.bad_output("the provider's answer holds candidates that are none")
    indices = [count_of(one, "index") or 0 for one in candidates]
    if len(set(indices)) < len(indices):
        indices = list(range(len(candidates)))
    return list(zip(indices, candidates, strict=True))


def answer_id_of(parsed: Json, call: Call) -> str:
    """The id of an answer: its own, else the request's."""
    return text_of(parsed, "responseId") or call.request.id


def count_of(holder: object, name: str) -> int | None:
    """A member that counts something; None for anything else."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if is_count(value) else None


def text_of(holder: object, name: str) -> str:
    """A member that is a text; empty for anything else."""
    text = holder.get(name) if isinstance(holder, dict) else None
    return text if isinstance(text, str) else ""
