"""What the simulated model says: the same words for the same prompt, every time."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .tokens import encode, encoding

_WORDS = 60
_DEPTH = 8
_CALLED = re.compile(r"\b[A-Za-z_]\w*\(([^()]+)\)")
_QUESTION = re.compile(r"\bWhat is the (\w+) (?:in|at|of)\b")
_NAMED = re.compile(r"\bnamed '([^']+)'")
_KEYS = re.compile(r"\bwith ((?:'\w+'(?:, and | and |, )?)+) keys\b")


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

    `choice` is either wire's `tool_choice`; a prompt asks with `call <name>`, or for the weather
    of `get_weather` with `What is the weather in …`.
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
    if choice in ("required", "any"):
        return names[0]
    if question := _QUESTION.search(prompt):
        return next((name for name in names if question.group(1) in name.split("_")), None)
    return None


def example(schema: Any, prompt: str) -> Any:
    """Return a value that fits a JSON schema, with the prompt's last word as its strings.

    A prompt can say more: `f(3)` gives the first member of an object its value, and `named 'X'` the
    members whose name ends in `name`.
    """
    value = _Example(schema, prompt).of(schema, _DEPTH)
    if isinstance(value, dict) and value and (called := _CALLED.search(prompt)):
        try:
            given = json.loads(f"[{called.group(1)}]")
        except json.JSONDecodeError:
            return value
        value |= dict(zip(value, given, strict=False))
    return value


class _Example:
    """Made-up values for the parts of one schema, whose `$ref` lead into it."""

    def __init__(self, root: Any, prompt: str) -> None:
        words, named = prompt.split(), _NAMED.search(prompt)
        self._root = root
        self._word = words[-1].strip("?!.,") if words else "nothing"
        self._name = named.group(1) if named else self._word

    def of(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or depth == 0:
            return None
        if schema.get("enum"):
            return schema["enum"][0]
        if "const" in schema:
            return schema["const"]
        for inner in (self._referred(schema.get("$ref")), *_alternatives(schema)):
            if isinstance(inner, dict):
                return self.of(inner, depth - 1)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = kind[0] if kind else None
        if kind == "object" or "properties" in schema:
            properties = schema.get("properties") or {}
            wanted = schema.get("required") or list(properties)
            made = {key: self.of(properties.get(key), depth - 1) for key in wanted}
            for key, value in made.items():
                if value == self._word and key.endswith("name"):
                    made[key] = self._name
            return made
        if kind == "array":
            return [self.of(schema.get("items"), depth - 1)]
        plain: dict[Any, Any] = {"integer": 1, "number": 1.5, "boolean": True, "null": None}
        return plain.get(kind, self._word)

    def _referred(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        found = self._root
        for step in reference.split("/")[1:]:
            found = found.get(step) if isinstance(found, dict) else None
        return found


def _alternatives(schema: dict[str, Any]) -> list[Any]:
    """The first form that a schema allows, where it lists several."""
    for several in ("anyOf", "oneOf", "allOf"):
        if isinstance(listed := schema.get(several), list):
            return listed[:1]
    return []


def structured(response_format: Any, text: str, prompt: str) -> str:
    """Return the text, as JSON if `response_format` asks for JSON.

    Without a schema its key is `answer`, or what the prompt asks for: `with 'a' and 'b' keys`.
    """
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "json_object":
        asked = _KEYS.search(prompt)
        keys = re.findall(r"'(\w+)'", asked.group(1)) if asked else ["answer"]
        return json.dumps(dict.fromkeys(keys, text))
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
