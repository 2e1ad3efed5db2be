"""What an Ollama model makes of a request, in Ollama's own terms: both its APIs tell it.

Models with `qwen3`, `deepseek-r1` or `gpt-oss` in their name think unless told otherwise; `gemma`
takes no tools. `call a and b` in a prompt calls both.
"""

import json
from dataclasses import dataclass
from typing import Any

from .calls import tools_asked_for
from .reply import Refusal
from .text import Saying, answer, example, say
from .tokens import chat_tokens, encode
from .wire import Ids

Json = dict[str, Any]

_THINKING = ("qwen3", "deepseek-r1", "gpt-oss")
_EFFORTS = ("high", "medium", "low", "max")
_LIBRARY = "registry.ollama.ai/library/"


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer: what was thought and said, and the tools called with their arguments."""

    model: str
    thought: Saying
    said: Saying
    calls: tuple[tuple[str, str, Json], ...]
    prompt_tokens: int
    top_logprobs: int | None

    @property
    def done_reason(self) -> str:
        """Why it ended, as Ollama names it."""
        return "length" if self.said.finish == "length" else "stop"

    @property
    def tokens(self) -> int:
        """How many tokens it took."""
        called = sum(len(encode(json.dumps(arguments))) for _, _, arguments in self.calls)
        return self.thought.tokens + self.said.tokens + called

    def logprobs(self, pieces: tuple[str, ...]) -> list[Json] | None:
        """The log probabilities of these pieces, where they were asked for."""
        if self.top_logprobs is None:
            return None
        return [_logprob(piece, self.top_logprobs) for piece in pieces]


def abilities(model: str) -> list[str]:
    """What a model can do, as `/api/show` lists it."""
    if "embed" in model:
        return ["embedding"]
    able = ["completion"]
    if not model.startswith("gemma"):
        able.append("tools")
    if model.startswith(_THINKING):
        able.append("thinking")
    if "llava" in model or "vl" in model:
        able.append("vision")
    return able


def turn(body: Json) -> Turn:
    """Answer the body of a native chat. Raises: Refusal."""
    model, messages = str(body["model"]), body.get("messages") or []
    able = abilities(model)
    if "completion" not in able:
        raise Refusal(400, f'"{model}" does not support chat')
    tools = body.get("tools") or []
    if tools and "tools" not in able:
        raise Refusal(400, f"{_LIBRARY}{model} does not support tools")
    thinks = _thinks(body.get("think"), model, "thinking" in able)
    last = messages[-1] if messages else {}
    prompt = " ".join(str(one.get("content") or "") for one in messages[-1:])
    functions = {tool["function"]["name"]: tool["function"] for tool in tools}
    # Nobody can choose: there is no `tool_choice`.
    names = [] if last.get("role") == "tool" else tools_asked_for(prompt, list(functions), None)
    options = body.get("options") or {}
    limit = options.get("num_predict")
    stops = tuple(options.get("stop") or ())
    text = "" if names else _formatted(body.get("format"), model, prompt)
    return Turn(
        model,
        say(f"the user said: {prompt}" if thinks else "", None),
        say(text, limit if limit is None or limit >= 0 else None, stops),
        tuple((Ids.new("call_"), name, _arguments(functions[name], prompt)) for name in names),
        chat_tokens(messages, tools),
        (body.get("top_logprobs") or 0) if body.get("logprobs") else None,
    )


def _thinks(think: Any, model: str, able: bool) -> bool:
    if think is None:
        return able
    if isinstance(think, str) and think not in _EFFORTS:
        allowed = '"high", "medium", "low", "max", true, or false'
        raise Refusal(400, f'invalid think value: "{think}" (must be {allowed})')
    if think and not able:
        raise Refusal(400, f'"{model}" does not support thinking')
    return bool(think)


def _arguments(function: Json, prompt: str) -> Json:
    value = example(function.get("parameters") or {}, prompt)
    return value if isinstance(value, dict) else {}


def _formatted(wanted: Any, model: str, prompt: str) -> str:
    text = answer(model, prompt)
    if wanted == "json":
        return json.dumps({"answer": text})
    return json.dumps(example(wanted, prompt)) if isinstance(wanted, dict) else text


def _logprob(piece: str, top: int) -> Json:
    told: Json = {"token": piece, "logprob": -0.25, "bytes": list(piece.encode())}
    others = [{**told, "token": piece + "'" * number} for number in range(top)]
    return {**told, "top_logprobs": others} if top else told
