"""The OpenAI wire as OpenAI and those speak it that imitate it."""

import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from .chat_body import checked_chat, last_words, stops
from .imitations import DONE, IMITATIONS, OpenAI
from .listing import about_key, item, listing
from .manners import MANNERS
from .openai_completions import checked_completion, complete
from .openai_responses import Responses
from .openai_turn import Turn
from .reply import Refusal, Reply, Stream, Whole
from .text import answer, example, say, structured, tool_asked_for
from .tokens import chat_tokens, count
from .vectors import as_base64, embedded_texts, embedding, vector_size
from .wire import Endpoint, Ids, looked_up_at

_DEPLOYED = re.compile(r"/openai/deployments/([^/]+)/([\w/]+)")
_KEY = "/key"  # no model is called so
_ERRORS: dict[int, tuple[str, str | None]] = {  # status: type and code, as OpenAI has them
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    409: ("conflict_error", None),
    413: ("invalid_request_error", "request_too_large"),
    422: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("service_unavailable_error", "server_is_overloaded"),
}


class OpenAIWire:
    """Chat completions, embeddings and models, with the manners of one provider.

    `known` None accepts any model name; otherwise others are refused as not found.
    """

    def __init__(self, provider: str, known: frozenset[str] | None = None) -> None:
        """Speak as `provider`, one of `MANNERS`."""
        self.provider = provider
        self._manners = MANNERS[provider]
        self._imitation = IMITATIONS.get(provider, OpenAI())
        self._known = known
        self.prefix = self._manners.prefix
        self._endpoints = {
            "chat/completions": Endpoint(self._chat),
        }
        if self._manners.embeds:
            self._endpoints["embeddings"] = Endpoint(self._embeddings)
        if "completions" in self._manners.more:
            self._endpoints["completions"] = Endpoint(self._completions)
        if "responses" in self._manners.more:
            self._responses = Responses(self._manners.dated or {}, self._headers)
            self._endpoints["responses"] = Endpoint(self._respond)

    def endpoint(self, path: str) -> Endpoint | None:
        """What can be posted to a path."""
        if self._manners.deploys and (found := _DEPLOYED.fullmatch(path)):
            return self._deployed(unquote(found[1]), found[2])
        return self._endpoints.get(path.partition("/v1/")[2])

    def _deployed(self, name: str, path: str) -> Endpoint | None:
        """What can be posted to a deployment; only for a version of the API."""
        endpoint = self._endpoints.get(path)
        if endpoint is None or path == "responses":  # they are in the API without deployments only
            return None

        def asked(query: str) -> Endpoint:
            def answer(body: dict[str, Any]) -> Reply:
                if not parse_qs(query).get("api-version"):
                    raise Refusal(404, "Resource not found")
                return endpoint.answer({**body, "model": name})

            return Endpoint(answer, name)

        return Endpoint(endpoint.answer, name, asked=asked)

    def looked_up(self, path: str) -> str | None:
        """The model whose description is read at a path; of OpenRouter, the key's as well."""
        if self._manners.public and path in (f"{self.prefix}/key", f"{self.prefix}/auth/key"):
            return _KEY
        if self._manners.deploys and path.startswith("/openai/models"):
            return looked_up_at(path, "/openai/models")
        return looked_up_at(path)

    def is_public(self, name: str) -> bool:
        """Whether anybody may read it."""
        return self._manners.public and name != _KEY

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """Accept `key` only, or any key if it is None. Raises: Refusal."""
        if self._manners.keyless and key is None:
            return
        self._imitation.authorize(headers, key)

    def listing(self, query: Mapping[str, str]) -> Whole:
        """Answer `GET /v1/models`."""
        body = listing(self.provider, sorted(self._known or self._manners.models))
        return Whole(200, orjson.dumps(body), self._headers())

    def model(self, name: str) -> Whole:
        """Answer `GET /v1/models/{name}`. Raises: Refusal."""
        if name == _KEY:
            return Whole(200, orjson.dumps(about_key()), self._headers())
        if name not in (self._known or self._manners.models):
            raise self._not_found(name)
        return Whole(200, orjson.dumps(item(self.provider, name)), self._headers())

    def error(self, refusal: Refusal) -> Whole:
        """Shape an error as a response."""
        headers = self._headers()
        content_type = "application/json"
        if refusal.status == 404:  # recorded: nothing but the request id, and a charset
            headers = {name: headers[name] for name in ("x-request-id",) if name in headers}
            content_type += "; charset=utf-8"
        headers["content-type"] = content_type
        return Whole(refusal.status, orjson.dumps(self._envelope(refusal)), headers)

    def error_event(self, refusal: Refusal) -> bytes:
        """Shape an error as the event that a stream breaks off with."""
        return self._imitation.error_event(self._error(refusal), refusal.status)

    def _chat(self, body: dict[str, Any]) -> Reply:
        body = self._imitation.check(body)
        model = checked_chat(body)
        self._admit(model)
        messages, tools = body["messages"], body.get("tools") or []
        prompt = last_words(messages)
        names = [str((tool.get("function") or {}).get("name")) for tool in tools]
        answered = messages[-1].get("role") == "tool"
        tool = None if answered else tool_asked_for(prompt, names, body.get("tool_choice"))
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        if tool is None:
            text = structured(body.get("response_format"), answer(model, prompt), prompt)
            saying = say(text, limit, stops(body.get("stop")))
        else:
            function = tools[names.index(tool)]["function"]
            parameters = function.get("parameters") or {"type": "object"}
            arguments = orjson.dumps(example(parameters, prompt)).decode()
            saying = say("{}" if arguments == "null" else arguments, limit)
        turn = Turn(
            body,
            self.provider,
            {
                "id": Ids.new("chatcmpl-"),
                "object": "chat.completion",
                "created": int(time.time()),
                "model": (self._manners.dated or {}).get(model, model),
                **self._manners.extra,
            },
            tool,
            saying,
            chat_tokens(messages, tools),
        )
        headers = self._headers()
        imitates = self.provider in IMITATIONS
        if not body.get("stream"):
            told = turn.whole()
            if imitates:
                told = orjson.dumps(self._imitation.whole(orjson.loads(told), body))
            return Whole(200, told, headers, tokens=saying.tokens)
        headers["content-type"] = "text/event-stream; charset=utf-8"
        if imitates:
            chunks = [orjson.loads(one[6:]) for one in turn.events() if one != DONE]
            chunks = [one for one in chunks if one["choices"]]
            return Stream(*self._imitation.stream(chunks, turn.usage(), body), headers)
        events = list(turn.events())
        finish_at = len(events) - 1 - turn.usage_asked - turn.choices
        return Stream(events, finish_at, headers)

    def _completions(self, body: dict[str, Any]) -> Reply:
        self._admit(checked_completion(body, legacy_only=self.provider == "openai"))
        return complete(body, self._headers())

    def _respond(self, body: dict[str, Any]) -> Reply:
        if isinstance(body.get("model"), str):
            self._admit(body["model"])
        return self._responses.answer(body)

    def _embeddings(self, body: dict[str, Any]) -> Reply:
        body = self._imitation.check_vectors(body)
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise Refusal(400, "you must provide a model parameter")
        self._admit(model)
        texts, size = embedded_texts(body.get("input")), vector_size(body, model)
        if body.get("encoding_format") not in (None, "float", "base64"):
            raise Refusal(400, "'encoding_format' must be 'float' or 'base64'.")
        packed = body.get("encoding_format") == "base64"
        data = []
        for index, text in enumerate(texts):
            vector = embedding(text, size)
            shown = as_base64(vector) if packed else vector.tolist()
            data.append({"object": "embedding", "index": index, "embedding": shown})
        used = sum(map(count, texts))
        usage = {"prompt_tokens": used, "total_tokens": used}
        answer = {"object": "list", "data": data, "model": model, "usage": usage}
        return Whole(200, orjson.dumps(self._imitation.vectors(answer)), self._headers())

    def _admit(self, model: str) -> None:
        if self._known is not None and model not in self._known:
            raise self._not_found(model)

    def _not_found(self, model: str) -> Refusal:
        return Refusal(404, f"The model `{model}` does not exist or you do not have access to it.")

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", **self._manners.headers}
        return headers | {"x-request-id": Ids.new("req_")}

    def _envelope(self, refusal: Refusal) -> dict[str, Any]:
        return self._imitation.error(self._error(refusal), refusal.status)

    def _error(self, refusal: Refusal) -> dict[str, Any]:
        kind, code = _ERRORS.get(refusal.status, ("api_error", None))
        error: dict[str, Any] = {
            "message": refusal.message,
            "type": refusal.type or kind,
            "param": refusal.param,
            "code": refusal.code or code,
        }
        return error
