"""Legacy completions: a prompt as one message of the user, an answer as plain text.

Decisions that are not obvious:

- No prompt at all, several prompts, prompts of token numbers, `suffix`, `best_of` and `echo` with
  `logprobs` are beyond chat: only a model of this protocol has them. To be counted and priced they
  stand in the chat body all the same: texts joined, a word of one token for each token number,
  and as many answers as would be made.
- Without `max_tokens` the limit is 16, as this protocol says, wherever the request goes.
- `echo` is done here. `logprobs` are chat's by other names.
- Thoughts have no place in a completion and are not shown; a refusal is its text.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from turnout.engine.request import Operation, Request

from .chat import Chat, told
from .client import AsChat, ClientProtocol
from .fields import (
    Check,
    an_object,
    boolean,
    check_members,
    check_model,
    check_temperature,
    count,
    is_whole,
    number,
    refused,
    string,
    text_or_texts,
    whole_up_to,
    wrong_type,
)

Json = dict[str, Any]

_DATA = b"data: "
_LIMIT = 16
_MOST_ANSWERS = 128
# One token in every table there is.
_TOKEN = " a"
_FINISH = {"stop": "stop", "length": "length", "content_filter": "content_filter"}

_SAME = frozenset(
    "model stream stream_options temperature top_p n max_tokens stop presence_penalty "
    "frequency_penalty logit_bias seed user".split()
)
_READ = frozenset("prompt suffix echo best_of logprobs".split())


def check(body: dict[str, Any]) -> None:
    """Check the members that are read here. Raises: RequestError 400."""
    check_model(body)
    check_members(body, _MEMBERS)
    check_temperature(body)
    prompt = body.get("prompt")
    if prompt is None or isinstance(prompt, str):
        return
    expected = "a string, or an array of strings or tokens"
    if not isinstance(prompt, list):
        raise wrong_type("prompt", expected, prompt)
    if not prompt:
        raise refused("empty_array", "`prompt` is empty; send at least one text.", "prompt")
    if all(isinstance(one, str) for one in prompt) or _is_tokens(prompt):
        return
    for index, one in enumerate(prompt):
        if not _is_tokens(one):
            raise wrong_type(f"prompt[{index}]", "of the same kind as the others", one)


def as_chat(body: dict[str, Any]) -> AsChat:
    """Say a checked body as chat."""
    said = {name: body[name] for name in body if name in _SAME and body[name] is not None}
    said.setdefault("max_tokens", _LIMIT)
    prompts = _prompts(body.get("prompt"))
    texts = [*prompts, body["suffix"]] if body.get("suffix") else prompts
    said["messages"] = [{"role": "user", "content": "\n".join(texts)}]
    only = [name for name, beyond in _beyond_chat(body, len(prompts)).items() if beyond]
    answers = max(body.get("n") or 1, body.get("best_of") or 1) * len(prompts)
    if answers > 1:
        said["n"] = min(answers, _MOST_ANSWERS)
    if body.get("logprobs") is not None:
        said |= {"logprobs": True, "top_logprobs": body["logprobs"]}
    lost = [
        name
        for name, value in body.items()
        if value is not None and name not in _SAME and name not in _READ
    ]
    return AsChat(said, tuple(only), tuple(lost))


def _beyond_chat(body: Mapping[str, Any], prompts: int) -> dict[str, bool]:
    prompt = body.get("prompt")
    in_tokens = isinstance(prompt, list) and not isinstance(prompt[0], str)
    return {
        # Without one, a text is begun out of nothing.
        "prompt": prompts > 1 or in_tokens or prompt is None,
        "suffix": bool(body.get("suffix")),
        "best_of": (body.get("best_of") or 1) > (body.get("n") or 1),
        "echo": body.get("echo") is True and body.get("logprobs") is not None,
    }


def _prompts(prompt: Any) -> list[str]:
    if prompt is None:
        return [""]
    if isinstance(prompt, str):
        return [prompt]
    if _is_tokens(prompt):
        return [_TOKEN * len(prompt)]
    return [one if isinstance(one, str) else _TOKEN * len(one) for one in prompt]


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(is_whole(one) for one in value)


class Completing(Chat):
    """Tells an answer in chat as a completion."""

    def __init__(self, request: Request) -> None:
        """Start before the answer."""
        assert request.native is not None
        body = request.native.body
        self._echoed = _prompts(body.get("prompt"))[0] if body.get("echo") is True else ""
        # How much of the text each choice has shown.
        self._offsets: dict[int, int] = {}

    def whole(self, body: bytes) -> bytes:
        """The completion of a chat completion."""
        answer = orjson.loads(body)
        answer["choices"] = [
            self._choice(choice, choice.get("message")) for choice in _objects(answer, "choices")
        ]
        return orjson.dumps(_head(answer))

    def event(self, event: bytes) -> bytes:
        """The chunk for one of chat; nothing for one that holds only a role or a thought."""
        chunk = orjson.loads(event.removeprefix(_DATA))
        choices = [
            self._choice(choice, choice.get("delta")) for choice in _objects(chunk, "choices")
        ]
        chunk["choices"] = [
            choice for choice in choices if choice["text"] or choice["finish_reason"]
        ]
        if not chunk["choices"] and not chunk.get("usage"):
            return b""
        return b"data: %b\n\n" % orjson.dumps(_head(chunk))

    def _choice(self, choice: Mapping[str, Any], message: object) -> Json:
        text = _shown(message)
        index = choice.get("index")
        index = index if type(index) is int else 0
        finish = choice.get("finish_reason")
        if index not in self._offsets and (text or finish):
            text = self._echoed + text
        at = self._offsets.get(index, 0)
        if text:
            self._offsets[index] = at + len(text)
        return {
            "text": text,
            "index": index,
            "logprobs": _logprobs(choice.get("logprobs"), at),
            "finish_reason": _FINISH.get(finish, "stop") if isinstance(finish, str) else None,
        }


def _head(answer: Json) -> Json:
    """Rename in place what both kinds of answers have around their choices."""
    answer["object"] = "text_completion"
    answer["id"] = "cmpl-" + str(answer.get("id") or "").removeprefix("chatcmpl-")
    return answer


def _shown(message: object) -> str:
    if not isinstance(message, dict):
        return ""
    texts = (message.get("content"), message.get("refusal"))
    return "".join(text for text in texts if isinstance(text, str))


def _logprobs(held: object, at: int) -> Json | None:
    """The probabilities of tokens by the names of this protocol; `at`: where their text starts."""
    rows = _objects(held, "content") if isinstance(held, dict) else []
    if not rows:
        return None
    offsets = []
    for row in rows:
        offsets.append(at)
        at += len(str(row.get("token")))
    return {
        "tokens": [row.get("token") for row in rows],
        "token_logprobs": [row.get("logprob") for row in rows],
        "top_logprobs": [
            {str(one.get("token")): one.get("logprob") for one in _objects(row, "top_logprobs")}
            for row in rows
        ],
        "text_offset": offsets,
    }


def _objects(holder: Mapping[str, Any], name: str) -> list[Json]:
    value = holder.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


_MEMBERS: dict[str, Check] = {
    "stream": boolean,
    "stream_options": an_object,
    "suffix": string,
    "echo": boolean,
    "n": whole_up_to(_MOST_ANSWERS, 1),
    "best_of": whole_up_to(_MOST_ANSWERS, 1),
    "logprobs": whole_up_to(20),
    "max_tokens": count,
    "temperature": number,
    "top_p": number,
    "stop": text_or_texts,
    "user": string,
}

COMPLETIONS = ClientProtocol(Operation.COMPLETIONS, check, as_chat, Completing, Chat, told)
