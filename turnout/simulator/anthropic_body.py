"""Reads a body of `/messages` as Anthropic would: what it refuses, and what it asks.

What a model refuses goes by its version, as Anthropic's migration guides say. Kept apart from the
gateway's own knowledge of the same on purpose: two readings of it can contradict each other.

Over 300 lines because Anthropic refuses much.
"""

import re
from collections.abc import Iterator
from typing import Any

from .anthropic_thinking import check_thought
from .reply import Refusal

Json = dict[str, Any]

# What belongs to other wires: Anthropic refuses every member that it does not know.
_STRANGE = (
    "n logprobs top_logprobs logit_bias seed presence_penalty frequency_penalty response_format "
    "reasoning_effort max_completion_tokens stop user stream_options functions function_call "
    "parallel_tool_calls store verbosity modalities audio prediction safety_identifier "
    "prompt_cache_key prompt_cache_retention web_search_options logit_bias"
).split()
_UNCOUNTED = "max_tokens temperature top_p top_k stop_sequences stream metadata".split()
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_VERSION = re.compile(r"(\d)(?:[-.](\d)(?!\d))?(?!\d)")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def check_messages(body: Json) -> str:
    """Return the model of a body that Anthropic would accept. Raises: Refusal."""
    model = check_counted(body, ("model", "max_tokens", "messages"), ())
    limit = body["max_tokens"]
    if not isinstance(limit, int) or limit < 1:
        raise Refusal(400, "max_tokens: Input should be greater than or equal to 1")
    _check_sampling(body, model)
    if (metadata := body.get("metadata")) is not None and not isinstance(metadata, dict):
        raise Refusal(400, "metadata: Input should be an object")
    for index, stop in enumerate(body.get("stop_sequences") or ()):
        if not str(stop).strip():
            raise Refusal(
                400, f"stop_sequences.{index}: each stop sequence must contain non-whitespace"
            )
    return model


def check_counted(
    body: Json,
    needed: tuple[str, ...] = ("model", "messages"),
    strange: tuple[str, ...] = tuple(_UNCOUNTED),
) -> str:
    """Return the model of a body whose tokens Anthropic would count. Raises: Refusal."""
    for name in needed:
        if body.get(name) is None:
            raise Refusal(400, f"{name}: Field required")
    for name in (*_STRANGE, *strange):
        if name in body:
            raise Refusal(400, f"{name}: Extra inputs are not permitted")
    if body.get("thread") is not None:
        raise Refusal(
            400, "thread: not available to this organization", code="thread_unsupported_request"
        )
    model = str(body["model"])
    _check_turns(body["messages"])
    _check_tools(body)
    _check_thinking(body, model)
    config = body.get("output_config") or {}
    form = config.get("format")
    if form is not None:
        _check_form(form, model)
    if (effort := config.get("effort")) is not None:
        if _version(model) < (4, 6) and "opus-4-5" not in model:
            raise Refusal(400, "output_config.effort: This model does not support the effort level")
        if effort not in _EFFORTS:
            raise Refusal(400, "output_config.effort: Input should be 'low', 'medium' or 'high'")
    return model


def thinks(body: Json) -> bool:
    """Tell whether a body asks for thinking."""
    return (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")


def blocks_of(content: Any) -> list[Json]:
    """Return content as blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content or () if isinstance(block, dict)]


def _version(model: str) -> tuple[int, int]:
    """A model's version; those without one in their names are new."""
    found = _VERSION.search(re.sub(r"\d{8}", "", model))
    return (5, 5) if found is None else (int(found[1]), int(found[2] or 0))


def _check_sampling(body: Json, model: str) -> None:
    for name in ("temperature", "top_p", "top_k"):
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Refusal(400, f"{name}: Input should be a valid number")
        if name != "top_k" and not 0 <= value <= 1:
            raise Refusal(400, f"{name}: Input should be from 0 to 1")
        if value == 1 and name != "top_k":
            continue
        if _version(model) >= (4, 7):
            raise Refusal(400, f"`{name}` is deprecated for this model.")
        if thinks(body) and not (name == "top_p" and value >= 0.95):
            raise Refusal(400, f"`{name}` may only be set to its default when thinking is enabled.")


def _check_thinking(body: Json, model: str) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    version = _version(model)
    known = {"disabled": True, "enabled": (3, 7) <= version < (4, 7), "adaptive": version >= (4, 6)}
    family_off = "fable" in model or "mythos" in model
    if family_off or (version >= (5, 5) and "haiku" not in model):
        known["disabled"] = False
        known["between_tools"] = "sonnet" in model
    if not known.get(str(kind), False):
        raise Refusal(400, f'"thinking.type.{kind}" is not supported for this model.')
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or budget < 1024:
            raise Refusal(
                400,
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            )
        if "max_tokens" in body and budget >= body["max_tokens"]:
            raise Refusal(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
        _check_begins_with_thinking(body["messages"])


def _check_begins_with_thinking(messages: list[Json]) -> None:
    """A turn that goes on after its tools' results must begin with the thinking it began with."""
    if not any(b.get("type") == "tool_result" for b in blocks_of(messages[-1].get("content"))):
        return
    for index in range(len(messages) - 1, -1, -1):
        if messages[index]["role"] == "assistant":
            first = (blocks_of(messages[index].get("content")) or [{}])[0].get("type")
            if first not in ("thinking", "redacted_thinking"):
                raise Refusal(
                    400,
                    f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, "
                    f"but found `{first}`. When `thinking` is enabled, a final `assistant` message "
                    "must start with a thinking block.",
                )
            return


def _check_form(form: Any, model: str) -> None:
    if _version(model) < (4, 5):
        raise Refusal(400, "output_config.format: This model does not support structured outputs")
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        raise Refusal(400, "output_config.format.type: Input should be 'json_schema'")
    if not isinstance(form.get("schema"), dict) or not form["schema"]:
        raise Refusal(400, "output_config.format.schema: Field required")
    _check_closed(form["schema"], "output_config.format.schema")


def _check_closed(schema: Any, where: str) -> None:
    for inner in _objects(schema):
        if inner.get("additionalProperties") is not False:
            raise Refusal(
                400,
                f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to "
                "false",
            )


def _objects(schema: Any) -> Iterator[Json]:
    if isinstance(schema, list):
        for one in schema:
            yield from _objects(one)
    elif isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for name, value in schema.items():
            if name in ("properties", "$defs"):
                yield from _objects(list(value.values()))
            elif name in ("items", "anyOf", "allOf", "oneOf"):
                yield from _objects(value)


def _check_tools(body: Json) -> None:
    tools = body.get("tools") or []
    for index, tool in enumerate(tools):
        where = f"tools.{index}"
        if not isinstance(tool, dict):
            raise Refusal(400, f"{where}: Input should be an object")
        if tool.get("type", "custom") not in (None, "custom"):
            continue
        where = f"{where}.custom"
        if "function" in tool or "parameters" in tool:
            raise Refusal(400, f"{where}.function: Extra inputs are not permitted")
        if not _TOOL_NAME.fullmatch(str(tool.get("name") or "")):
            raise Refusal(
                400, f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )
        schema = tool.get("input_schema")
        if not isinstance(schema, dict):
            raise Refusal(400, f"{where}.input_schema: Field required")
        if schema.get("type") != "object":
            raise Refusal(400, f"{where}.input_schema.type: Input should be 'object'")
        if tool.get("strict"):
            _check_closed(schema, f"{where}.input_schema")
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise Refusal(400, "tool_choice: Input tag does not match any of the expected tags")
    if not tools:
        raise Refusal(400, "tool_choice: tool_choice may only be specified while providing tools")
    if kind in ("any", "tool"):
        if thinks(body):
            raise Refusal(400, "Thinking may not be enabled when tool_choice forces tool use.")
        model = str(body["model"])
        if _version(model) >= (5, 5) and "haiku" not in model:
            raise Refusal(400, f'tool_choice: "{kind}" is not supported for this model.')
    if kind == "tool" and choice.get("name") not in [tool.get("name") for tool in tools]:
        raise Refusal(400, f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")


def _check_turns(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages: at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise Refusal(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if set(message) - {"role", "content"}:
            strange = min(set(message) - {"role", "content"})
            raise Refusal(400, f"messages.{index}.{strange}: Extra inputs are not permitted")
        if message["role"] == "user" and not message.get("content"):
            raise Refusal(400, f"messages.{index}: user messages must have non-empty content")
        for number, block in enumerate(blocks_of(message.get("content"))):
            _check_block(block, f"messages.{index}.content.{number}", message["role"])
    _check_pairs(messages)


def _check_block(block: Json, where: str, role: str) -> None:
    kind = block.get("type")
    if kind == "text":
        if not isinstance(block.get("text"), str) or not block["text"]:
            raise Refusal(400, f"{where}: text content blocks must be non-empty")
    elif kind in ("thinking", "redacted_thinking") and role == "assistant":
        check_thought(block, where)
    elif kind in ("image", "document"):
        _check_source(block, where)
    elif kind == "tool_use" and role == "assistant":
        if not _TOOL_ID.fullmatch(str(block.get("id") or "")):
            raise Refusal(400, f"{where}.tool_use.id: String should match '^[a-zA-Z0-9_-]+$'")
        if not isinstance(block.get("input"), dict):
            raise Refusal(400, f"{where}.tool_use.input: Input should be a valid dictionary")
    elif kind == "tool_result" and role == "user":
        for number, inner in enumerate(blocks_of(block.get("content"))):
            if inner.get("type") in ("image", "document"):
                _check_source(inner, f"{where}.content.{number}")
    elif kind not in ("server_tool_use", "search_result", "web_search_tool_result"):
        raise Refusal(400, f"{where}: Input tag '{kind}' does not match any of the expected tags")


def _check_source(block: Json, where: str) -> None:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    assert isinstance(source, dict) or kind is None
    if kind == "base64" and isinstance(source, dict):
        known = _IMAGES if block["type"] == "image" else ("application/pdf",)
        if source.get("media_type") not in known:
            raise Refusal(400, f"{where}.source.base64.media_type: Input should be {known}")
        if not isinstance(source.get("data"), str) or not source["data"]:
            raise Refusal(400, f"{where}.source.base64.data: Field required")
    elif kind not in ("url", "file", "text", "content"):
        raise Refusal(400, f"{where}.source: Input tag '{kind}' does not match the expected tags")


def _check_pairs(messages: list[Json]) -> None:
    """Every call of a tool has its result in the very next turn, and every result its call."""
    called: list[str] = []
    for index, message in enumerate(messages):
        blocks = blocks_of(message.get("content"))
        results = [block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"]
        for result in results:
            if result not in called:
                raise Refusal(
                    400,
                    f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{result}. Each `tool_result` block must have a corresponding `tool_use` "
                    "block in the previous message.",
                )
        missing = [one for one in called if one not in results]
        if missing:
            raise Refusal(
                400,
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(missing)}.",
            )
        called = [str(block.get("id")) for block in blocks if block["type"] == "tool_use"]
