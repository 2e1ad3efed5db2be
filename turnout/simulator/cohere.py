"""Cohere's wire, version 2 of its API: chat, embeddings and models.

A model with `reasoning` in its name thinks first unless that is disabled; any other makes a plan
(`tool_plan`) before it calls tools. `call a and b` in a prompt calls both. Documents are cited.

Over 300 lines because an answer in one piece and its stream are told side by side.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from .calls import tools_asked_for
from .cohere_body import check_chat, check_embed, last_words
from .listing import part
from .reply import Refusal, Reply, Stream, Whole
from .text import Saying, answer, example, say
from .tokens import chat_tokens, count, encode
from .vectors import as_base64, embedding
from .wire import Endpoint, Ids, check_key, looked_up_at

Json = dict[str, Any]

MODELS = (
    "command-a-03-2025",
    "command-a-reasoning-08-2025",
    "command-r-08-2024",
    "command-r-plus-08-2024",
    "command-r7b-12-2024",
    "embed-v4.0",
)
_FINISH = {"stop": "COMPLETE", "stop_sequence": "STOP_SEQUENCE", "length": "MAX_TOKENS"}
_PREAMBLE = 66  # tokens that Cohere puts before every prompt, and does not bill
_VECTOR = 1536
_WINDOW = 256_000


class CohereWire:
    """Chat, embeddings and models as Cohere serves them.

    `known` None accepts any model name; otherwise others are refused as not found.
    """

    provider = "cohere"
    prefix = ""

    def __init__(self, known: frozenset[str] | None = None) -> None:
        """Serve `known` models."""
        self._known = known
        self._endpoints = {"/v2/chat": Endpoint(self._chat), "/v2/embed": Endpoint(self._embed)}

    def endpoint(self, path: str) -> Endpoint | None:
        """What can be posted to a path."""
        return self._endpoints.get(path)

    def looked_up(self, path: str) -> str | None:
        """The model whose description is read at a path."""
        return looked_up_at(path)

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """Accept `key` only, or any key if it is None. Raises: Refusal."""
        given = headers.get("authorization", "")
        # Cohere's own examples write the scheme in small letters.
        scheme, _, credential = given.partition(" ")
        check_key(
            credential.strip() if scheme.lower() == "bearer" else "",
            key,
            "no api key supplied",
            "invalid api token",
        )

    def listing(self, query: Mapping[str, str]) -> Whole:
        """Answer `GET /v1/models`: twenty at a time, or as many as `page_size` says."""
        asked = query.get("page_size", ""), 20, query.get("page_token", "")
        names, token = part(sorted(self._known or MODELS), *asked)
        more = {"next_page_token": token} if token else {}
        return _whole({"models": [_item(name) for name in names]} | more)

    def model(self, name: str) -> Whole:
        """Answer `GET /v1/models/{name}`. Raises: Refusal."""
        if name not in (self._known or MODELS):
            raise _not_found(name)
        return _whole(_item(name))

    def error(self, refusal: Refusal) -> Whole:
        """Shape an error as a response."""
        return Whole(refusal.status, orjson.dumps(_error(refusal)), _headers())

    def error_event(self, refusal: Refusal) -> bytes:
        """Shape an error as the event that a stream breaks off with."""
        reason = "TIMEOUT" if refusal.status == 504 else "ERROR"
        delta = {"finish_reason": reason, "error": refusal.message}
        return _event("message-end", {"delta": delta})

    def _chat(self, body: Json) -> Reply:
        model = check_chat(body)
        self._admit(model)
        turn = _Turn(body, model)
        if not body.get("stream"):
            return _whole(turn.whole(), turn.made)
        events = [*turn.events(), b"data: [DONE]\n\n"]
        headers = _headers() | {"content-type": "text/event-stream", "cache-control": "no-cache"}
        return Stream(events, len(events) - 2, headers)

    def _embed(self, body: Json) -> Reply:
        model, texts = check_embed(body)
        self._admit(model)
        size = body.get("output_dimension") or _VECTOR
        vectors = [embedding(text, size) for text in texts]
        made: Json = {}
        for kind in body.get("embedding_types") or ["float"]:
            if kind == "base64":
                made[kind] = [as_base64(vector) for vector in vectors]
            else:
                made[kind] = [vector.tolist() for vector in vectors]
        billed = {"input_tokens": sum(map(count, texts))}
        answered = {
            "id": Ids.new(""),
            "embeddings": made,
            "texts": texts,
            "meta": {"api_version": {"version": "2"}, "billed_units": billed},
            "response_type": "embeddings_by_type",
        }
        return _whole(answered)

    def _admit(self, model: str) -> None:
        if self._known is not None and model not in self._known:
            raise _not_found(model)


class _Turn:
    """One answer of the model, as a body or as the events of a stream."""

    def __init__(self, body: Json, model: str) -> None:
        """Make up everything that the answer says."""
        prompt, answered = last_words(body["messages"])
        tools = body.get("tools") or []
        functions = {tool["function"]["name"]: tool["function"] for tool in tools}
        choice = str(body.get("tool_choice") or "auto").lower()
        names = [] if answered else tools_asked_for(prompt, list(functions), choice)
        thinks = (body.get("thinking") or {}).get("type") != "disabled" and "reasoning" in model
        limit, stops = body.get("max_tokens"), tuple(body.get("stop_sequences") or ())
        words = f"the user said: {prompt}" if thinks else ""
        plan = f"I will use {' and '.join(names)}." if names and not thinks else ""
        self._id = Ids.new("")
        self._thought = say(words, None)
        self._plan = say(plan, None)
        self._calls = [
            (Ids.new(f"{name}_"), name, say(_written(functions[name], prompt), None))
            for name in names
        ]
        text = "" if names else _structured(body.get("response_format"), model, prompt)
        self._said = say(text, limit, stops)
        self._finish = "TOOL_CALL" if names else _FINISH[self._said.finish]
        self._logprobs = bool(body.get("logprobs"))
        self._cites = bool(body.get("documents")) and not names
        self._prompt = chat_tokens(body["messages"], tools)
        called = sum(saying.tokens for _, _, saying in self._calls)
        self.made = self._thought.tokens + self._plan.tokens + self._said.tokens + called

    def whole(self) -> Json:
        """The answer in one piece."""
        content: list[Json] = []
        if self._thought.text:
            content.append({"type": "thinking", "thinking": self._thought.text})
        if not self._calls:
            content.append({"type": "text", "text": self._said.text})
        message: Json = {"role": "assistant"}
        if content:
            message["content"] = content
        if self._plan.text:
            message["tool_plan"] = self._plan.text
        if self._calls:
            message["tool_calls"] = [_call(*call) for call in self._calls]
        if self._cites:
            message["citations"] = [self._citation()]
        answered: Json = {
            "id": self._id,
            "finish_reason": self._finish,
            "message": message,
            "usage": self._usage(),
        }
        if self._logprobs:
            answered["logprobs"] = [_logprob(piece) for piece in self._said.pieces]
        return answered

    def events(self) -> Iterator[bytes]:
        """The order that Cohere documents; each event also has its type as its name."""
        start = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
        start["citations"] = []
        yield _event("message-start", {"id": self._id, "delta": {"message": start}})
        index = 0
        if self._thought.text:
            yield from _content(index, "thinking", self._thought, False)
            index += 1
        for piece in self._plan.pieces:
            yield _event("tool-plan-delta", {"delta": {"message": {"tool_plan": piece}}})
        for number, (call_id, name, saying) in enumerate(self._calls):
            begun = _call(call_id, name, say("", None))
            yield _event(
                "tool-call-start", {"index": number, "delta": {"message": {"tool_calls": begun}}}
            )
            for piece in saying.pieces:
                fragment = {"tool_calls": {"function": {"arguments": piece}}}
                yield _event("tool-call-delta", {"index": number, "delta": {"message": fragment}})
            yield _event("tool-call-end", {"index": number})
        if not self._calls:
            *before, end = _content(index, "text", self._said, self._logprobs)
            yield from before
            if self._cites:
                cited = {"message": {"citations": self._citation()}}
                yield _event("citation-start", {"index": 0, "delta": cited})
                yield _event("citation-end", {"index": 0})
            yield end
        delta = {"finish_reason": self._finish, "usage": self._usage()}
        yield _event("message-end", {"delta": delta})

    def _usage(self) -> Json:
        return {
            "billed_units": {"input_tokens": self._prompt, "output_tokens": self.made},
            "tokens": {"input_tokens": self._prompt + _PREAMBLE, "output_tokens": self.made},
            "cached_tokens": 0,
        }

    def _citation(self) -> Json:
        word = self._said.text.partition(" ")[0]
        source = {"type": "document", "id": "doc:0", "document": {"id": "doc:0"}}
        return {
            "start": 0,
            "end": len(word),
            "text": word,
            "sources": [source],
            "type": "TEXT_CONTENT",
        }


def _content(index: int, kind: str, saying: Saying, logprobs: bool) -> Iterator[bytes]:
    begun = {"content": {"type": kind, kind: ""}}
    yield _event("content-start", {"index": index, "delta": {"message": begun}})
    for piece in saying.pieces:
        delta: Json = {"index": index, "delta": {"message": {"content": {kind: piece}}}}
        if logprobs:
            delta["logprobs"] = _logprob(piece)
        yield _event("content-delta", delta)
    yield _event("content-end", {"index": index})


def _logprob(piece: str) -> Json:
    ids = encode(piece)
    return {"text": piece, "token_ids": ids, "logprobs": [-0.25] * len(ids)}


def _call(call_id: str, name: str, saying: Saying) -> Json:
    function = {"name": name, "arguments": saying.text}
    return {"id": call_id, "type": "function", "function": function}


def _written(function: Json, prompt: str) -> str:
    value = example(function.get("parameters") or {}, prompt)
    return orjson.dumps(value if isinstance(value, dict) else {}).decode()


def _structured(wanted: Any, model: str, prompt: str) -> str:
    text = answer(model, prompt)
    if not isinstance(wanted, dict) or wanted.get("type") != "json_object":
        return text
    schema = wanted.get("json_schema")
    return orjson.dumps(example(schema, prompt) if schema else {"answer": text}).decode()


def _event(kind: str, data: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **data}))


def _item(name: str) -> Json:
    endpoints = ["embed"] if name.startswith("embed") else ["chat"]
    return {
        "name": name,
        "endpoints": endpoints,
        "finetuned": False,
        "context_length": _WINDOW,
        "default_endpoints": [],
    }


def _not_found(name: str) -> Refusal:
    return Refusal(
        404,
        f"model '{name}' not found, make sure the correct model ID was used and that you have "
        "access to the model.",
    )


def _error(refusal: Refusal) -> Json:
    return {"id": Ids.new(""), "message": refusal.message}


def _whole(body: Json, tokens: int = 0) -> Whole:
    return Whole(200, orjson.dumps(body), _headers(), tokens=tokens)


def _headers() -> dict[str, str]:
    return {
        "content-type": "application/json",
        "x-debug-trace-id": Ids.new(""),
        "x-trial-endpoint-call-limit": "20",
        "x-trial-endpoint-call-remaining": "19",
        "vary": "Origin",
        "server": "envoy",
        "via": "1.1 google",
        "alt-svc": 'h3=":443"; ma=2592000',
    }
