"""What the simulated model says: the same words for the same prompt, every time."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .tokens import encode, encoding

_WORDS = 60
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Saying:
    """A text as a model gives it: piece by piece, one token or more in each.

    `finish` is `stop`, `stop_sequence` (then `stop` has it) or `length`.
    """

    pieces: tuple[str, ...]
    tokens: int
    finish: str
    stop: str | None = None

    @property
    def text(self) -> str:
        """The pieces together."""
        return "".join(self.pieces)


def answer(model: str, prompt: str) -> str:
    """Return the answer to a prompt; it has the first words of the prompt in it."""
    words = " ".join(prompt.split(maxsplit=_WORDS)[:_WORDS])
    return f"simulated answer by {model}: you said: {words or 'nothing'}"


@lru_cache(maxsize=1024)
def say(text: str, limit: int | None, stops: tuple[str, ...] = ()) -> Saying:
    """Return the text as far as `limit` tokens and the stop sequences let it go."""
    found = [(at, stop) for stop in stops if stop and (at := text.find(stop)) >= 0]
    finish, stop = "stop", None
    if found:
        at, stop = min(found)
        text, finish = text[:at], "stop_sequence"
    ids = encode(text)
    if limit is not None and len(ids) > limit:
        ids, finish, stop = ids[:limit], "length", None
    return Saying(_pieces(ids), len(ids), finish, stop)


def tool_asked_for(prompt: str, names: list[str], choice: Any) -> str | None:
    """Return the tool to call: the one `choice` names or forces, or the prompt asks for.

    `choice` is either wire's `tool_choice`; a prompt asks with `call <name>`.
    """
    if not names or choice == "none":
        return None
    if isinstance(choice, dict):
        named = choice.get("name") or (choice.get("function") or {}).get("name")
        if named in names:
            return str(named)
        choice = choice.get("type")
    for asked in re.findall(r"\bcall\s+`?([\w.-]+)", prompt):
        if (name := asked.rstrip(".")) in names:
            return str(name)
    return names[0] if choice in ("required", "any") else None


def example(schema: Any, prompt: str, depth: int = _DEPTH) -> Any:
    """Return a value that fits a JSON schema, with the prompt's last word as its strings."""
    if not isinstance(schema, dict) or depth == 0:
        return None
    if schema.get("enum"):
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties") or {}
        wanted = schema.get("required") or list(properties)
        return {key: example(properties.get(key), prompt, depth - 1) for key in wanted}
    if kind == "array":
        return [example(schema.get("items"), prompt, depth - 1)]
    plain: dict[Any, Any] = {"integer": 1, "number": 1.5, "boolean": True, "null": None}
    words = prompt.split()
    return plain.get(kind, words[-1].strip("?!.,") if words else "nothing")


def structured(response_format: Any, text: str, prompt: str) -> str:
    """Return the text, as JSON if `response_format` asks for JSON."""
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "json_object":
        return json.dumps({"answer": text})
    if kind == "json_schema":
        schema = (response_format.get("json_schema") or {}).get("schema")
        return json.dumps(example(schema, prompt))
    return text


def _pieces(ids: list[int]) -> tuple[str, ...]:
    """Decode token by token; a character that spans tokens waits for its last byte."""
    table = encoding()
    pieces: list[str] = []
    held = b""
    for token in ids:
        held += table.decode_single_token_bytes(token)
        try:
            pieces.append(held.decode())
        except UnicodeDecodeError:
            continue
        held = b""
    return tuple(pieces)
