"""Mistral: the OpenAI wire with names of its own, and a refusal for every member it does not know.

Tool calls have ids of exactly nine letters and digits: those that other providers gave in the same
conversation are made into such, always the same for the same. Usage comes with the last choice
without being asked for, and asking is refused.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson

from turnout.engine.provider import Call

from .dialect_openai import Json, OpenAIDialect
from .kind import Carries
from .openai_request import Departures, Wants
from .vectors import input_as_texts

_TOOL_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")


class Mistral(OpenAIDialect):
    """Mistral's La Plateforme."""

    kind = "mistral"
    default_base_url = "https://api.mistral.ai/v1"
    key_variable = "MISTRAL_API_KEY"
    carries = Carries(
        embeddings=True, images=True, image_urls=True, audio=True, documents=True, reasoning=True
    )
    lacks = frozenset(
        "functions function_call modalities audio web_search_options logit_bias thinking verbosity "
        "user safety_identifier prompt_cache_retention store".split()
    )
    wants = Wants(
        limit="max_tokens",
        system="system",
        history=None,
        refuses=True,
        names=False,
        members=frozenset(("role", "content", "tool_calls", "tool_call_id", "name", "prefix")),
        tiers=frozenset(("auto", "standard_only")),
        usage_option=False,
    )

    def departures(self, body: Mapping[str, Any], call: Call) -> Departures:
        """Its own names: `random_seed`, and `any` where a tool has to be called."""
        departures: dict[str, bytes | None] = {}
        if "seed" in body:
            departures["seed"] = None
            if body["seed"] is not None and body.get("random_seed") is None:
                departures["random_seed"] = orjson.dumps(body["seed"])
        if body.get("tool_choice") == "required":
            departures["tool_choice"] = b'"any"'
        return departures

    def vector_departures(self, call: Call) -> Departures:
        """`dimensions` is `output_dimension` here, and there is no `user`."""
        body = call.request.body
        departures: dict[str, bytes | None] = {}
        if "dimensions" in body:
            departures["dimensions"] = None
            if body["dimensions"] is not None:
                departures["output_dimension"] = orjson.dumps(body["dimensions"])
        if "user" in body or "user" in call.sets:
            departures["user"] = None
            call.dropped.append("user")
        return departures

    async def embedded(self, call: Call) -> Departures:
        """Texts only: token ids would be those of another vocabulary."""
        return await input_as_texts(call)

    def messages(self, messages: list[Json]) -> list[Json]:
        """Ids of tool calls, audio and documents in its own forms."""
        mended = [_message(message) for message in messages]
        changed = any(one is not other for one, other in zip(mended, messages, strict=True))
        return mended if changed else messages


def _message(message: Json) -> Json:
    changes: Json = {}
    call_id = message.get("tool_call_id")
    if isinstance(call_id, str) and (short := _short(call_id)) != call_id:
        changes["tool_call_id"] = short
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        renamed = [_renamed(call) for call in calls]
        if renamed != calls:
            changes["tool_calls"] = renamed
    content = message.get("content")
    if isinstance(content, list):
        parts = [_part(part) for part in content]
        if parts != content:
            changes["content"] = parts
    return message | changes if changes else message


def _renamed(call: Any) -> Any:
    call_id = call.get("id") if isinstance(call, dict) else None
    return call | {"id": _short(call_id)} if isinstance(call_id, str) else call


def _short(call_id: str) -> str:
    if _TOOL_CALL_ID.fullmatch(call_id):
        return call_id
    return sha256(call_id.encode("utf-8", "replace")).hexdigest()[:9]


def _part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    audio = part.get("input_audio") if kind == "input_audio" else None
    if isinstance(audio, dict):
        return part | {"input_audio": audio.get("data")}
    file = part.get("file") if kind == "file" else None
    if isinstance(file, dict):
        if isinstance(file.get("file_id"), str):
            return {"type": "file", "file_id": file["file_id"]}
        document = {"type": "document_url", "document_url": file.get("file_data")}
        name = file.get("filename")
        return document | {"document_name": name} if isinstance(name, str) else document
    return part
