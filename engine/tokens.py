"""How many input tokens a request has: by OpenAI's published rules, in o200k_base for a policy.

A policy means the same for every target, so `tokens` is one count. What a model itself makes of a
prompt (`tokenizers`) is for what is billed, and for clients that ask.

Over 300 lines because the rules of messages, tools and embeddings stand side by side here.

A body is measured once into what costs a fixed number of tokens, the texts to tokenise, and the
images; its request keeps that, since a rule, a rate, a budget and the record all ask. `count`
tokenises the texts; `bounds` only looks at their bytes, so it is sound by construction: both add
the same fixed part. Counting 20 KB takes about a millisecond and a megabyte about 0.4 s: off the
event loop. Nothing here raises on any body, and nothing is fetched.

Source: the OpenAI cookbook's "How to count tokens with tiktoken". Images and audio: see `media`.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .encodings import O200K, Table
from .media import Image, audio_tokens
from .request import Operation, Request
from .tokenizers import POLICY, Tokenizer

_PER_MESSAGE = 3
_PER_NAME = 1
_PRIMING = 3  # every answer is primed with <|start|>assistant<|message|>
_PER_CALL = 3  # a tool call in a message: not published, as the framing of a message

_TOOLS_END = 12
_PROPERTIES = 3
_PROPERTY = 3
_ENUM = -3
_ENUM_ITEM = 3

_LARGEST_IMAGE = 5_000  # tokens, for models that publish no rule of patches: Claude takes 4 784

_LONGEST_TOKEN = 128  # bytes, in o200k_base
_CHUNK = 128 * 1024  # characters; tiktoken gives up on a run of a million spaces
_MAX_DEPTH = 32  # of a tool's schema


def bounds(request: Request, by: Tokenizer = POLICY) -> tuple[int, int]:
    """The least and the most tokens that `count` can give, without tokenising.

    The least holds for the policy's own tokenizer only.

    The most also covers a schema for the answer: providers bill it, though no published rule says
    how, so `count` leaves it out and a reservation must not.
    """
    measured = _measured(request)
    low, high = measured.least, measured.most
    for image in measured.images:
        least, most = image.bounds(by.images)
        # Whose rule is not known here may not know of low detail either.
        low, high = low + least, high + (most if by.exact else max(most, _LARGEST_IMAGE))
    fixed = measured.fixed + by.per_tool * measured.tools
    return max(0, fixed + low), max(0, fixed + high)


def count(request: Request, by: Tokenizer = POLICY) -> int:
    """The number of input tokens by the rules above, as a model's own tokenizer makes them."""
    measured = _measured(request)
    total = measured.fixed + by.per_tool * measured.tools
    total += sum(count_text(text, by.table) for text in measured.texts)
    total += sum(image.tokens(by.images) for image in measured.images)
    return max(0, by.corrected(total))


def count_text(text: str, table: Table = O200K) -> int:
    """The number of tokens of a text; names of special tokens in it are plain text."""
    encode = table.encoding().encode_ordinary
    if len(text) <= _CHUNK:
        return len(encode(text))
    return sum(len(encode(chunk)) for chunk in _chunks(text))


def between(cuts: Sequence[int] | None, low: int, high: int) -> bool:
    """Whether every number from low to high compares alike with every cut.

    `cuts` are sorted. Then the low end may stand in for the number in every comparison with `<`,
    `<=`, `>`, `>=`, `==` and `!=`. A cut inside the interval tells its own neighbours apart, so
    only an interval of one number may hold one. None: the exact number is needed.
    """
    if low == high:
        return True
    if cuts is None:
        return False
    next_cut = bisect_left(cuts, low)
    return next_cut == len(cuts) or cuts[next_cut] > high


def warm() -> None:
    """Load the token table now (a third of a second) rather than at the first count."""
    count_text("warm")


def _chunks(text: str) -> Iterator[str]:
    """Pieces of a long text, cut where a token ends anyway: between a word and a space."""
    start = 0
    while len(text) - start > _CHUNK:
        end = start + _CHUNK
        word_end = _WORD_END.search(text, end - 500, end)
        # No such place nearby (a wall of symbols): the count may be some tokens off here.
        cut = end if word_end is None else word_end.start()
        yield text[start:cut]
        start = cut
    yield text[start:]


_WORD_END = re.compile(r"(?<=[A-Za-z0-9]) (?=[A-Za-z0-9])")


def _encodable(text: str) -> str:
    """The text as tiktoken sees it: half a surrogate pair becomes the replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _word_starts(data: bytes) -> int:
    """How often white space is followed by the first byte of a letter or digit.

    No token of o200k_base holds two such places (a test looks at all of them), so there are at
    least this many tokens.
    """
    return data.translate(_CLASSES).count(b" a")


def _classes() -> bytes:
    table = bytearray(b"." * 256)
    for byte in b" \t\n\r\x0b\x0c":
        table[byte] = ord(" ")
    letters = [byte for byte in range(128) if chr(byte).isalnum()]
    # Lead bytes of UTF-8 from Latin to CJK, without those of general punctuation and spaces.
    for byte in (*letters, *range(0xC3, 0xE2), *range(0xE4, 0xEE)):
        table[byte] = ord("a")
    return bytes(table)


_CLASSES = _classes()


# --- measuring a body ----------------------------------------------------------------------------


@dataclass(slots=True)
class Measured:
    """What the tokens of a body come from, for any tokenizer.

    `fixed` tokens, and so many `tools`; `texts` and `images` to count. `least` and `most` are the
    bounds of all texts together, `most` with a schema for the answer in it.
    """

    body: object
    fixed: int = 0
    tools: int = 0
    least: int = 0
    most: int = 0
    texts: list[str] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)

    def text(self, value: object) -> None:
        """Add a text; anything else counts as the JSON it is written as, null as nothing."""
        if value is None:
            return
        self.texts.append(value if isinstance(value, str) else _written(value))


def measure(request: Request) -> Measured:
    """Look at a body as a whole: 4 µs for a short one, 50 µs for 20 KB."""
    body: Any = request.body
    measured = Measured(body)
    if not isinstance(body, dict):
        measured.text(body)
    elif request.operation is Operation.EMBEDDINGS:
        _measure_input(measured, body.get("input"))
    else:
        _measure_messages(measured, body.get("messages"))
        _measure_tools(measured, body.get("tools"), body.get("functions"))
    least, most = 0, _answer_schema_bytes(request)
    for text in measured.texts:
        data = _encodable(text).encode()
        least += max(-(-len(data) // _LONGEST_TOKEN), _word_starts(data))
        # No tokenizer makes more tokens of a text than it has bytes.
        most += len(data)
    measured.least, measured.most = least, most
    return measured


def _measured(request: Request) -> Measured:
    measured = request.measured
    if measured is None or measured.body is not request.body:
        measured = request.measured = measure(request)
    return measured


def _answer_schema_bytes(request: Request) -> int:
    body: Any = request.body
    wanted = body.get("response_format") if isinstance(body, dict) else None
    schema = wanted.get("json_schema") if isinstance(wanted, dict) else None
    return 0 if schema is None else len(_encodable(_written(schema)).encode())


def _measure_input(measured: Measured, value: object) -> None:
    if not isinstance(value, list):
        measured.text(value)
        return
    for item in value:
        if _is_token(item):
            measured.fixed += 1
        elif isinstance(item, list):
            measured.fixed += sum(1 for token in item if _is_token(token))
            for other in item:
                if not _is_token(other):
                    measured.text(other)
        else:
            measured.text(item)


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _measure_messages(measured: Measured, messages: object) -> None:
    measured.fixed += _PRIMING
    if not isinstance(messages, list):
        measured.text(messages)
        return
    for message in messages:
        measured.fixed += _PER_MESSAGE
        if not isinstance(message, dict):
            measured.text(message)
            continue
        measured.text(message.get("role"))
        _measure_content(measured, message.get("content"))
        if message.get("name") is not None:
            measured.fixed += _PER_NAME
            measured.text(message["name"])
        measured.text(message.get("refusal"))
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            _measure_call(measured, call)
        if message.get("function_call") is not None:
            _measure_call(measured, {"function": message["function_call"]})


def _measure_call(measured: Measured, call: object) -> None:
    measured.fixed += _PER_CALL
    made = call.get("function") or call.get("custom") if isinstance(call, dict) else call
    if not isinstance(made, dict):
        measured.text(made)
        return
    for key in ("name", "arguments", "input"):
        measured.text(made.get(key))


def _measure_content(measured: Measured, content: object) -> None:
    if not isinstance(content, list):
        measured.text(content)
        return
    for part in content:
        _measure_part(measured, part)


def _measure_part(measured: Measured, part: object) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str):
        measured.text(part)
    elif kind in ("text", "input_text", "output_text"):
        measured.text(part.get("text"))
    elif kind == "refusal":
        measured.text(part.get("refusal"))
    elif kind in ("image_url", "input_image"):
        image = part.get("image_url")
        detail = (image if isinstance(image, dict) else part).get("detail")
        url = image.get("url") if isinstance(image, dict) else image
        measured.images.append(Image(url if isinstance(url, str) else "", detail == "low"))
    elif kind == "input_audio":
        audio = part.get("input_audio")
        data = audio.get("data") if isinstance(audio, dict) else None
        measured.fixed += audio_tokens(data if isinstance(data, str) else "")
    else:
        measured.text(part)


def _measure_tools(measured: Measured, tools: object, functions: object) -> None:
    offered: list[object] = []
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        offered.append(tool if function is None else function)
    offered += functions if isinstance(functions, list) else ()
    for function in offered:
        measured.tools += 1
        if not isinstance(function, dict):
            measured.text(function)
            continue
        name, described = _line(function.get("name")), _line(function.get("description"))
        measured.text(f"{name}:{described}")
        _measure_schema(measured, function.get("parameters"))
    if offered:
        measured.fixed += _TOOLS_END


def _measure_schema(measured: Measured, schema: object) -> None:
    """The properties of a tool's schema; the published rule for the outer ones, at every level."""
    open_schemas = [(schema, 0)]
    while open_schemas:
        current, depth = open_schemas.pop()
        if not isinstance(current, dict):
            continue
        if depth > _MAX_DEPTH:
            measured.text(current)
            continue
        properties = current.get("properties")
        if isinstance(properties, dict) and properties:
            measured.fixed += _PROPERTIES
            for name, stated in properties.items():
                _measure_property(measured, _line(name), stated)
                open_schemas.append((stated, depth + 1))
        open_schemas.append((current.get("items"), depth + 1))
        for key in ("anyOf", "oneOf", "allOf"):
            variants = current.get(key)
            if isinstance(variants, list):
                open_schemas += [(variant, depth + 1) for variant in variants]
        for key in ("$defs", "definitions"):
            named = current.get(key)
            if isinstance(named, dict):
                open_schemas += [(definition, depth + 1) for definition in named.values()]


def _measure_property(measured: Measured, name: str, stated: object) -> None:
    measured.fixed += _PROPERTY
    if not isinstance(stated, dict):
        measured.text(f"{name}:{_line(stated)}")
        return
    values = stated.get("enum")
    if isinstance(values, list):
        measured.fixed += _ENUM + _ENUM_ITEM * len(values)
        for value in values:
            measured.text(value)
    kind, described = _line(stated.get("type")), _line(stated.get("description"))
    measured.text(f"{name}:{kind}:{described}")


def _line(value: object) -> str:
    text = "" if value is None else value if isinstance(value, str) else _written(value)
    return text.removesuffix(".")


def _written(value: object) -> str:
    """A value as JSON, or where it is nested too deep or is no JSON, its leaves."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return " ".join(_leaves(value))


def _leaves(value: object) -> Iterator[str]:
    waiting, seen = [value], 0
    while waiting and seen < 1_000_000:  # a bound, should a body refer to itself
        seen += 1
        current = waiting.pop()
        if isinstance(current, dict):
            waiting += [*current.keys(), *current.values()]
        elif isinstance(current, (list, tuple)):
            waiting += current
        elif isinstance(current, (str, int, float)):
            yield str(current)
