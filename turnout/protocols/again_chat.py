"""Chat completions told again: whole from their chunks, and in chunks from a whole one.

What chunks cannot carry: the `index` that some servers write into the tool calls of a whole answer,
and usage where the client did not ask for it. What a whole answer cannot carry: where one chunk
ended and the next began, the order in which thoughts, words and calls came, and padding.

Over 300 lines because what is told in chunks is what was put together from them, member by member.
"""

from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from turnout.engine.request import Request, Usage

from .again import (
    Json,
    Run,
    Unfit,
    asked_usage,
    datas,
    dump,
    load_object,
    pieces,
    unfit,
    whole_object,
)
from .again_growing import Rows, Text, grow, settled

COMPLETE = frozenset(("stop", "tool_calls", "function_call"))
"""The finish reasons of a choice that came to its own end."""

# Beside the choices: what stands in each chunk, and what only a chunk has.
_IN_EACH = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_OF_CHUNKS = frozenset(("object", "choices", "usage", "obfuscation"))
_OF_CHOICES = frozenset(("index", "delta", "message", "logprobs", "finish_reason"))
_THOUGHTS = ("reasoning_content", "reasoning")
# Members of a message that have deltas of their own; in the order in which they are told.
_TOLD = frozenset(
    ("role", *_THOUGHTS, "thinking_blocks", "content", "refusal", "audio", "function_call")
)
_MOST_TOKENS = 50  # in one chunk: with 20 rivals each they are some 60 KB
_AUDIO_PIECE = 32_768  # characters of base64; a multiple of 4, so that each piece can be read


class ChatAgain:
    """A `Form`: chat."""

    def is_complete(self, body: bytes) -> bool:
        """Whether every choice came to its own end."""
        answer = whole_object(body)
        return answer is not None and is_ended(answer.get("choices"), "message", dict)

    def whole(self, events: Sequence[bytes], usage: Usage | None) -> bytes | None:
        """The completion that chunks told."""
        try:
            return _Gathered(events).whole(usage)
        except (Unfit, RecursionError):
            return None

    def events(self, body: bytes, request: Request) -> list[bytes]:
        """The chunks of a completion."""
        try:
            answer = load_object(body)
            return list(_told(answer, asked_usage(request, native=False)))
        except Unfit:
            return []


def is_ended(choices: object, name: str, kind: type) -> bool:
    """Whether there are choices, each with a number of its own, that came to their own end.

    What a choice says is its member `name`, of this kind.
    """
    if not isinstance(choices, list) or not choices:
        return False
    numbers = set()
    for choice in choices:
        if not isinstance(choice, dict) or type(choice.get("index")) is not int:
            return False
        reason = choice.get("finish_reason")
        if not isinstance(reason, str) or reason not in COMPLETE:
            return False
        if not isinstance(choice.get(name), kind):
            return False
        numbers.add(choice["index"])
    return len(numbers) == len(choices)


def ended(before: object, reason: object) -> object:
    """The finish reason of a choice: the last one told, unless it was cut short before."""
    is_cut = isinstance(before, str) and before not in COMPLETE
    return before if is_cut or not reason else reason


def shown_usage(usage: Usage) -> Json:
    """A usage as chat and completions show it."""
    shown: Json = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
        },
    }
    if usage.reasoning:
        shown["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return shown


class Head:
    """What stands around the choices of chunks: of each member the last, and the usage."""

    def __init__(self) -> None:
        """Start before the first chunk."""
        self.members: Json = {}
        self.usage: Json | None = None

    def take(self, chunk: Mapping[str, Any]) -> None:
        """Read a chunk. Raises: Unfit for an error in it."""
        if chunk.get("error"):
            unfit("an error")
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        for name, value in chunk.items():
            if name not in _OF_CHUNKS and (value is not None or name not in self.members):
                self.members[name] = value

    def around(self, kind: str, choices: list[Json], usage: Usage | None) -> bytes:
        """The whole answer with these choices. Raises: Unfit."""
        answer = {"object": kind, **self.members, "choices": choices}
        if self.usage is not None:
            answer["usage"] = self.usage
        elif usage is not None:
            answer["usage"] = shown_usage(usage)
        return dump(answer)


def take_extras(held: Json, choice: Mapping[str, Any]) -> None:
    """Add what nobody knows of a chunk's choice: lists go on, of anything else the last holds."""
    for name, value in choice.items():
        old = held.get(name)
        if isinstance(old, list) and isinstance(value, list):
            old += value
        elif isinstance(old, dict) and isinstance(value, dict):
            old |= value
        elif value is not None or name not in held:
            held[name] = copy(value)


# --- from chunks ---------------------------------------------------------------------------------


class _Choice:
    """One choice of a stream, as far as it came."""

    def __init__(self) -> None:
        self.message: Json = {}
        self.finish: object = None
        self.rest: Json = {}

    def take(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            grow(self.message, delta)
        elif delta is not None:
            unfit("a delta that is no object")
        self.finish = ended(self.finish, choice.get("finish_reason"))
        if "logprobs" in choice:
            grow(self.rest, {"logprobs": choice["logprobs"]})
        if not choice.keys() <= _OF_CHOICES:
            extras = {name: choice[name] for name in choice if name not in _OF_CHOICES}
            take_extras(self.rest, extras)

    def whole(self, index: int) -> Json:
        message = self.message
        if isinstance(audio := message.get("audio"), dict) and isinstance(audio.get("data"), Text):
            audio["data"] = _joined(audio["data"])
        rest = {name: settled(one) for name, one in self.rest.items()}
        return {
            "index": index,
            "message": {"role": "assistant", "content": None, **settled(message)},
            **rest,
            "finish_reason": self.finish,
        }


class _Gathered:
    """The chunks of one stream."""

    def __init__(self, events: Sequence[bytes]) -> None:
        self._head = Head()
        self._choices: dict[int, _Choice] = {}
        self._run = Run()
        for data in datas(events):
            if not self._run.takes(data):
                self._take(data)
        self._run.end()

    def whole(self, usage: Usage | None) -> bytes | None:
        if not self._choices:
            return None
        choices = [self._choices[index].whole(index) for index in sorted(self._choices)]
        return self._head.around("chat.completion", choices, usage)

    def _take(self, data: bytes) -> None:
        chunk = load_object(data)
        self._head.take(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            unfit("no choices")
        for choice in choices:
            if not isinstance(choice, dict) or type(choice.get("index")) is not int:
                unfit("a choice without a number")
            held = self._choices.get(choice["index"])
            if held is None:
                held = self._choices[choice["index"]] = _Choice()
            held.take(choice)
        if len(choices) == 1 and choices[0].keys() <= _OF_CHOICES and not chunk.get("usage"):
            self._begin_run(data, choices[0])

    def _begin_run(self, data: bytes, choice: Json) -> None:
        """The chunks that follow may bring more of the one text that this one brought."""
        delta = choice.get("delta")
        if not delta or choice.get("logprobs") or choice.get("finish_reason") or len(delta) > 1:
            return
        [(name, value)] = delta.items()
        message = self._choices[choice["index"]].message
        grown = message.get(name)
        if isinstance(value, str) and isinstance(grown, Text):
            self._run.begin(data, name, value, grown)
        elif name == "tool_calls" and isinstance(grown, Rows):
            self._begin_arguments(data, value, grown)

    def _begin_arguments(self, data: bytes, calls: Any, grown: Rows) -> None:
        match calls:
            case [{"index": int() as at, "function": {"arguments": str() as told}} as call]:
                held = grown.at(at).get("function")
                into = held.get("arguments") if isinstance(held, dict) else None
                if isinstance(into, Text) and len(call) == 2 and len(call["function"]) == 1:
                    self._run.begin(data, "arguments", told, into)


def _joined(parts: list[str]) -> str:
    """Base64 in pieces as one; pieces that end in padding were encoded each by itself."""
    told = [part for part in parts if part]
    if not any(part.endswith("=") for part in told[:-1]):
        return "".join(told)
    try:
        raw = b"".join(a2b_base64(part, strict_mode=True) for part in told)
    except (Error, ValueError):
        unfit("audio that is none")
    return b2a_base64(raw, newline=False).decode()


# --- to chunks -----------------------------------------------------------------------------------


def frame(answer: Mapping[str, Any], kind: str, asked: bool) -> tuple[bytes, bytes, bytes]:
    """What stands before and after the choices of each chunk, and what only the first has.

    Where usage is `asked` for, every chunk but the last says that there is none yet.
    """
    head = {**{name: answer[name] for name in _IN_EACH if name in answer}, "object": kind}
    extras = {
        name: value
        for name, value in answer.items()
        if name not in _IN_EACH and name not in _OF_CHUNKS
    }
    after = b'],"usage":null' if asked else b"]"
    first = b"," + dump(extras)[1:-1] if extras else b""
    return b"data: " + dump(head)[:-1] + b',"choices":[', after, first


def framed(
    answer: Mapping[str, Any], kind: str, asked: bool, choices: Iterator[Json]
) -> Iterator[bytes]:
    """The chunks with these choices, one each, and the usage where it is `asked` for."""
    before, after, first = frame(answer, kind, asked)
    for choice in choices:
        yield before + dump(choice) + after + first + b"}\n\n"
        first = b""
    usage = answer.get("usage")
    if asked and isinstance(usage, dict):
        yield before + b'],"usage":' + dump(usage) + b"}\n\n"


def _told(answer: Json, asked: bool) -> Iterator[bytes]:
    choices = answer.get("choices")
    if not isinstance(choices, list):
        unfit("no choices")
    each = (told for choice in choices for told in _choice(choice))
    return framed(answer, "chat.completion.chunk", asked, each)


def _choice(choice: Any) -> Iterator[Json]:
    """The choices of the chunks that tell one of a whole answer."""
    if not isinstance(choice, dict) or not isinstance(message := choice.get("message"), dict):
        unfit("a choice without a message")
    index = choice.get("index")
    none = {"logprobs": None} if "logprobs" in choice else {}
    for delta, logprobs in _deltas(message, choice.get("logprobs")):
        known = none if logprobs is None else {"logprobs": logprobs}
        yield {"index": index, "delta": delta, **known, "finish_reason": None}
    extras = {name: value for name, value in choice.items() if name not in _OF_CHOICES}
    finish = choice.get("finish_reason")
    yield {"index": index, "delta": {}, **none, "finish_reason": finish, **extras}


def _deltas(message: Json, logprobs: Any) -> Iterator[tuple[Json, Any]]:
    """The deltas of a message, each with the probabilities of its tokens."""
    opening: Json = {"role": message.get("role", "assistant")}
    content = message.get("content")
    if isinstance(content, str):
        opening["content"] = ""
    opening |= {name: value for name, value in message.items() if value in (None, "", [])}
    told = list(_words("content", content, logprobs)) or list(
        _words("refusal", message.get("refusal"), logprobs)
    )
    yield opening, None if told else logprobs
    yield from ((delta, None) for delta in _thoughts(message))
    yield from told
    if told and "content" in told[0][0]:
        yield from _words("refusal", message.get("refusal"), None)
    for name, value in message.items():
        if name in _TOLD or name in opening:
            continue
        if name == "tool_calls" and isinstance(value, list):
            for number, call in enumerate(value):
                yield from ((delta, None) for delta in _call(number, call))
        else:
            yield {name: value}, None
    yield from ((delta, None) for delta in _voiced(message))


def _words(name: str, text: Any, logprobs: Any) -> Iterator[tuple[Json, Any]]:
    """The deltas of what is said; tokens go with the text that they are."""
    if text is None or text == "":
        return
    if not isinstance(text, str):
        yield {name: text}, logprobs
        return
    rows = logprobs.get("content") if isinstance(logprobs, dict) and name == "content" else None
    if not isinstance(rows, list) or len(rows) < 2:
        for number, piece in enumerate(pieces(text)):
            yield {name: piece}, None if number else logprobs
        return
    for number, (piece, some) in enumerate(by_tokens(text, rows)):
        known = logprobs if number == 0 else {"refusal": None}
        yield {name: piece}, {**known, "content": some}


def by_tokens(text: str, rows: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """A text in pieces with the tokens of each; all with the first, where they are not its own."""
    tokens = [row.get("token") if isinstance(row, dict) else None for row in rows]
    known = [token for token in tokens if isinstance(token, str)]
    if len(known) != len(rows) or "".join(known) != text:
        for number, piece in enumerate(pieces(text)):
            yield piece, [] if number else rows
        return
    for at in range(0, len(rows), _MOST_TOKENS):
        end = at + _MOST_TOKENS
        yield "".join(known[at:end]), rows[at:end]


def _thoughts(message: Json) -> Iterator[Json]:
    """The deltas of what was thought; a proof follows what it is the proof of."""
    said = {name: message[name] for name in _THOUGHTS if message.get(name)}
    blocks = message.get("thinking_blocks")
    proven = blocks if isinstance(blocks, list) else []
    parts = [_thought(block) for block in proven]
    if parts and said and all(text == "".join(parts) for text in said.values()):
        for block, text in zip(proven, parts, strict=True):
            for piece in pieces(text):
                yield dict.fromkeys(said, piece)
            yield {"thinking_blocks": [block]}
        return
    texts = list(said.values())
    if texts and isinstance(texts[0], str) and all(text == texts[0] for text in texts):
        for piece in pieces(texts[0]):
            yield dict.fromkeys(said, piece)
    elif said:
        yield said
    if blocks:
        yield {"thinking_blocks": blocks}


def _thought(block: Any) -> str:
    text = block.get("thinking") if isinstance(block, dict) else None
    return text if isinstance(text, str) else ""


def _call(number: int, call: Any) -> Iterator[Json]:
    """The deltas of a call of a tool: who is called, then with what."""
    if not isinstance(call, dict):
        yield {"tool_calls": [call]}
        return
    call = {**call, "index": number}
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(arguments, str):
        yield {"tool_calls": [call]}
        return
    yield {"tool_calls": [{**call, "function": {**function, "arguments": ""}}]}
    for piece in pieces(arguments):
        yield {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}


def _voiced(message: Json) -> Iterator[Json]:
    """The deltas of what is spoken, and of a call in the old way."""
    audio = message.get("audio")
    if isinstance(audio, dict) and isinstance(data := audio.get("data"), str):
        yield {"audio": {**audio, "data": data[:_AUDIO_PIECE]}}
        for at in range(_AUDIO_PIECE, len(data), _AUDIO_PIECE):
            yield {"audio": {"data": data[at : at + _AUDIO_PIECE]}}
    elif audio is not None:
        yield {"audio": audio}
    function = message.get("function_call")
    if isinstance(function, dict) and isinstance(arguments := function.get("arguments"), str):
        yield {"function_call": {**function, "arguments": ""}}
        for piece in pieces(arguments):
            yield {"function_call": {"arguments": piece}}
    elif function is not None:
        yield {"function_call": function}
