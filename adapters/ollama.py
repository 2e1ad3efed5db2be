"""Ollama: the OpenAI wire on one's own machine, without a key, and what it makes of it.

Ollama ignores what it does not know, so all of that is said here: `lacks` is what its documentation
leaves open and its request type does not hold. Which log probabilities it gives depends on its
version: an answer without those that were asked for is refused, not passed on. Members of its own
(`keep_alive`, `options`) pass.
"""

import re
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import orjson

from turnout.engine.provider import Answer, Call, Chunk, Fault, ProviderError

from .dialect_openai import Json, OpenAIDialect
from .kind import Carries
from .listing import Page
from .openai_request import Departures, Wants
from .parameters import unsupported
from .vectors import input_as_texts

_EFFORTS = {"minimal": "low", "xhigh": "high"}  # which older versions refuse, to the nearest
_UNABLE = re.compile(r"does not support (\w+)")
_ASKED_BY = {"tools": "tools", "thinking": "reasoning_effort"}


class Ollama(OpenAIDialect):
    """Ollama's OpenAI-compatible API."""

    kind = "ollama"
    default_base_url = "http://localhost:11434/v1"
    key_variable = "OLLAMA_API_KEY"
    needs_credential = False
    carries = Carries(embeddings=True, images=True, reasoning=True)
    lacks = frozenset(
        "n logit_bias user parallel_tool_calls functions function_call modalities audio prediction "
        "web_search_options top_k thinking verbosity safety_identifier prompt_cache_key "
        "prompt_cache_retention metadata store service_tier".split()
    )
    wants = Wants(limit="max_tokens", system="system", history="reasoning")
    partly = (
        "a `tool_choice` that forces a tool (`required`, or one by its name)",
        "`logprobs` where the version gives none",
    )

    @classmethod
    def prefix(cls, base_url: str) -> str:
        """Ollama's address is usually written without the path of its OpenAI-compatible API."""
        bare = urlsplit(base_url).path in ("", "/")
        return base_url.rstrip("/") + "/v1" if bare else base_url

    async def answer(self, call: Call) -> Answer:
        """Generation without streaming, or embeddings. Raises: ProviderError."""
        try:
            answer = await super().answer(call)
        except ProviderError as error:
            raise _told(error, call) from None
        if _asks_logprobs(call) and not _has_logprobs(answer.body):
            raise unsupported("logprobs", "this version of the provider gives no log probabilities")
        return answer

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Generation as chunks. Raises: ProviderError, at any point."""
        unseen = _asks_logprobs(call)
        try:
            async with aclosing(super().stream(call)) as chunks:
                async for chunk in chunks:
                    if unseen and chunk.text:
                        unseen = False
                        if not _has_logprobs(chunk.data.removeprefix(b"data: ")):
                            raise unsupported(
                                "logprobs",
                                "this version of the provider gives no log probabilities",
                            )
                    yield chunk
        except ProviderError as error:
            raise _told(error, call) from None

    @staticmethod
    def page(parsed: Any) -> Page | None:
        """What its list holds: `null`, where nothing was pulled yet."""
        if isinstance(parsed, dict) and parsed.get("data", ...) is None:
            return Page([])
        return OpenAIDialect.page(parsed)

    @classmethod
    def offers(cls, model: str, listed: Collection[str]) -> bool:
        """Every name has a tag, `latest` where none is written."""
        return model in listed or f"{model}:latest" in listed

    def departures(self, body: Mapping[str, Any], call: Call) -> Departures:
        """What Ollama would ignore: a choice among tools, and efforts that it does not know."""
        departures: dict[str, bytes | None] = {}
        choice = body.get("tool_choice")
        if choice == "none":
            departures |= {name: None for name in ("tools", "tool_choice") if name in body}
        elif choice not in (None, "auto") and body.get("tools"):
            raise unsupported("tool_choice", "this provider cannot be told to call a tool")
        tools = body.get("tools")
        if choice != "none" and isinstance(tools, list) and any(map(_is_strict, tools)):
            call.dropped.append("tools.strict")
        effort = body.get("reasoning_effort")
        if isinstance(effort, str) and effort in _EFFORTS:
            departures["reasoning_effort"] = orjson.dumps(_EFFORTS[effort])
            call.dropped.append("reasoning_effort")
        return departures

    def vector_departures(self, call: Call) -> Departures:
        """There is no `user`."""
        if call.body.get("user") is None:
            return {}
        call.dropped.append("user")
        return {"user": None}

    async def embedded(self, call: Call) -> Departures:
        """Texts only."""
        return await input_as_texts(call)

    def messages(self, messages: list[Json]) -> list[Json]:
        """Messages as Ollama reads them. Raises: ProviderError UNSUPPORTED for fetched images."""
        mended = [_message(message, at) for at, message in enumerate(messages)]
        changed = any(one is not other for one, other in zip(mended, messages, strict=True))
        return mended if changed else messages

    @staticmethod
    def finish(reason: str, tools: bool) -> str:
        """Older versions end tool calls with `stop`, and agents then miss them."""
        return "tool_calls" if tools and reason == "stop" else reason


def _told(error: ProviderError, call: Call) -> ProviderError:
    """A refusal in words that say what to do, without the address that Ollama's own name."""
    model = call.upstream_model
    if error.status == 404 and "model" in error.message:
        message = f"the provider has no model `{model}`; there, run `ollama pull {model}`"
        return ProviderError(error.fault, message, status=error.status)
    unable = _UNABLE.search(error.message)
    if error.fault is Fault.BAD_REQUEST and unable is not None:
        what = unable.group(1)
        message = f"the model `{model}` does not support {what}"
        return ProviderError(
            Fault.UNSUPPORTED, message, status=error.status, param=_ASKED_BY.get(what)
        )
    return error


def _is_strict(tool: object) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and function.get("strict") is True


def _asks_logprobs(call: Call) -> bool:
    return call.body.get("logprobs") is True


def _has_logprobs(data: bytes) -> bool:
    """Whether the choice of an answer or a chunk has them; one that is all tools need not."""
    choice = orjson.loads(data)["choices"][0]
    said = choice.get("message") or choice.get("delta") or {}
    return bool(choice.get("logprobs")) or not said.get("content")


# --- messages ------------------------------------------------------------------------------------


def _message(message: Json, position: int) -> Json:
    """One message as Ollama reads it; the same object where it is so already.

    A part is a message of its own to Ollama, which loses whose tool's result it is.
    """
    changes: Json = {}
    content = message.get("content")
    if isinstance(content, list):
        _refuse_fetched(content, position)
        texts = [_text(part) for part in content]
        if message.get("role") != "user" and None not in texts:
            changes["content"] = "\n".join(text for text in texts if text)
    elif content is None and not message.get("tool_calls"):
        # It refuses null there.
        refusal = message.get("refusal")
        changes["content"] = refusal if isinstance(refusal, str) else ""
    calls = message.get("tool_calls")
    if isinstance(calls, list) and any(map(_lacks_arguments, calls)):
        changes["tool_calls"] = [
            call | {"function": call["function"] | {"arguments": "{}"}}
            if _lacks_arguments(call)
            else call
            for call in calls
        ]
    return message | changes if changes else message


def _text(part: object) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get(kind) if isinstance(part, dict) and kind in ("text", "refusal") else None
    return text if isinstance(text, str) else None


def _refuse_fetched(parts: list[Any], position: int) -> None:
    """Ollama fetches nothing, and neither does the gateway. Raises: ProviderError UNSUPPORTED."""
    for part in parts:
        image = part.get("image_url") if isinstance(part, dict) else None
        url = image.get("url") if isinstance(image, dict) else image
        if isinstance(url, str) and not url.startswith("data:"):
            raise unsupported(
                f"messages[{position}]",
                "this provider takes images as base64 `data:` URLs only",
            )


def _lacks_arguments(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return isinstance(function, dict) and not function.get("arguments")
