"""Reads the bodies of Cohere's API as Cohere would: what it refuses, and what a prompt asks."""

from typing import Any

from .reply import Refusal

Json = dict[str, Any]

_MOST_TEXTS = 96
_MOST_STOPS = 5
_INPUT_TYPES = ("search_document", "search_query", "classification", "clustering", "image")
_EMBEDDINGS = ("float", "int8", "uint8", "binary", "ubinary", "base64")
_DIMENSIONS = (256, 512, 1024, 1536)
# What Cohere takes in the content of each role.
_PARTS = {
    "system": ("text",),
    "user": ("text", "image_url"),
    "assistant": ("text", "thinking"),
    "tool": ("text", "document"),
}
_RANGES = {
    "temperature": (0, 1),
    "p": (0.01, 0.99),
    "k": (0, 500),
    "frequency_penalty": (0, 1),
    "presence_penalty": (0, 1),
}


def check_chat(body: Json) -> str:
    """Return the model of a body that Cohere would accept. Raises: Refusal."""
    model = _model(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "invalid request: messages must not be empty.")
    for position, message in enumerate(messages):
        _check_message(message, position)
    _check_tools(body)
    for name, (least, most) in _RANGES.items():
        value = body.get(name)
        if value is not None and not least <= value <= most:
            raise Refusal(
                400, f"invalid request: {name} must be between {least} and {most} inclusive."
            )
    if len(body.get("stop_sequences") or ()) > _MOST_STOPS:
        raise Refusal(400, f"invalid request: at most {_MOST_STOPS} stop sequences are allowed.")
    limit = body.get("max_tokens")
    if limit is not None and limit < 0:
        raise Refusal(400, "invalid request: max_tokens must be greater than or equal to 0.")
    _check_format(body)
    thinking = body.get("thinking")
    if thinking is not None and thinking.get("type") not in ("enabled", "disabled"):
        raise Refusal(400, "invalid request: thinking.type must be 'enabled' or 'disabled'.")
    return model


def check_embed(body: Json) -> tuple[str, list[str]]:
    """Return the model and the texts of a body that Cohere would accept. Raises: Refusal."""
    model = _model(body)
    if body.get("input_type") not in _INPUT_TYPES:
        message = "invalid request: valid input_type must be provided with the provided model."
        raise Refusal(400, message)
    texts = body.get("texts")
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise Refusal(400, "invalid request: at least one text must be provided.")
    if len(texts) > _MOST_TEXTS:
        raise Refusal(
            400,
            f"invalid request: total number of texts must be at most {_MOST_TEXTS} - "
            f"received {len(texts)}",
        )
    if not set(body.get("embedding_types") or ()) <= set(_EMBEDDINGS):
        raise Refusal(400, "invalid request: embedding_types holds an unknown type.")
    size = body.get("output_dimension")
    if size is not None and size not in _DIMENSIONS:
        raise Refusal(400, f"invalid request: output_dimension must be one of {list(_DIMENSIONS)}.")
    return model, texts


def last_words(messages: list[Json]) -> tuple[str, bool]:
    """Return what the last user or tool said, and whether it was a tool."""
    for message in reversed(messages):
        if message["role"] in ("user", "tool"):
            return _text(message.get("content")), message["role"] == "tool"
    return "", False


def _model(body: Json) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "a model parameter is required for this endpoint.")
    return model


def _check_message(message: Any, position: int) -> None:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in _PARTS:
        raise Refusal(400, f"invalid request: messages[{position}].role is invalid.")
    if role == "system" and position:
        raise Refusal(400, "system turn must be the first in the list")
    content, calls = message.get("content"), message.get("tool_calls")
    if not content and not calls:
        raise Refusal(400, "message must not be empty in a turn")
    if role == "tool" and not message.get("tool_call_id"):
        raise Refusal(400, f"invalid request: messages[{position}].tool_call_id is required.")
    for part in content if isinstance(content, list) else ():
        if part.get("type") not in _PARTS[role] or part["type"] not in part:
            raise Refusal(400, f"invalid request: messages[{position}].content is invalid.")
    for call in calls or ():
        if not call.get("id") or not isinstance(call["function"]["arguments"], str):
            raise Refusal(400, f"invalid request: messages[{position}].tool_calls is invalid.")


def _check_tools(body: Json) -> None:
    tools = body.get("tools") or []
    for tool in tools:
        if tool.get("type") != "function" or not isinstance(tool["function"]["parameters"], dict):
            raise Refusal(400, "invalid request: tools holds an invalid function.")
    choice = body.get("tool_choice")
    if choice is not None and (choice not in ("REQUIRED", "NONE") or not tools):
        raise Refusal(
            400, "invalid request: tool_choice must be REQUIRED or NONE, and tools be provided."
        )


def _check_format(body: Json) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    if wanted.get("type") not in ("text", "json_object"):
        raise Refusal(400, "invalid request: response_format.type must be text or json_object.")
    if wanted["type"] == "json_object" and body.get("documents"):
        raise Refusal(400, "invalid request: response_format is not supported with RAG.")
    if wanted["type"] == "json_object" and body.get("tools"):
        raise Refusal(400, "invalid request: response_format is not supported with tools.")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = [part.get("text") or _data(part.get("document")) for part in parts]
    return " ".join(text for text in texts if text)


def _data(document: Any) -> str:
    data = document.get("data") if isinstance(document, dict) else None
    return " ".join(map(str, data.values())) if isinstance(data, dict) else str(data or "")
