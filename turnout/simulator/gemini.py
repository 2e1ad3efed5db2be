"""The Gemini wire: generation, token counts, embeddings and models, as Google serves them.

`block the prompt` and `block the answer` in a prompt have it blocked; `call a and b` calls both.
An ordered error of status 429 names with its `type` the quota that is used up (`…PerDay…`), and
with its `code` how long to wait (`36s`): Google tells both in the body.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from .gemini_answer import Told
from .gemini_body import check, in_camel_case, prompt_tokens
from .listing import part
from .reply import Refusal, Reply, Stream, Whole
from .tokens import count
from .vectors import embedding
from .wire import Endpoint, check_key, looked_up_at

Json = dict[str, Any]

MODELS = (
    "gemini-2.0-flash",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-pro",
    "gemini-3-flash-preview",
    "gemini-3-pro-preview",
    "gemini-3.5-flash",
    "gemini-embedding-001",
)
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_Framing = Callable[[list[Json]], list[bytes]]
_DETAIL = "type.googleapis.com/google.rpc."
_HEADERS = {
    "content-type": "application/json; charset=UTF-8",
    "vary": "Origin, X-Origin, Referer",
    "server": "scaffolding on HTTPServer2",
    "x-xss-protection": "0",
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
    "server-timing": "gfet4t7; dur=214",
    "alt-svc": 'h3=":443"; ma=2592000',
}
_NO_KEY = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use "
    "API Key or other form of API consumer identity to call this API."
)
_BAD_KEY = "API key not valid. Please pass a valid API key."
_VECTOR = 3072
_BATCH = 100


class GeminiWire:
    """Google's own API for Gemini, version `v1beta`.

    `known` None accepts any model name; otherwise others are refused as not found.
    """

    provider = "gemini"
    prefix = "/v1beta"

    def __init__(self, known: frozenset[str] | None = None) -> None:
        """Serve `known` models."""
        self._known = known

    def endpoint(self, path: str) -> Endpoint | None:
        """What can be posted to a path: `/v1beta/models/{model}:{method}`."""
        _, found, rest = path.partition("/v1beta/models/")
        name, colon, method = rest.rpartition(":")
        model = unquote(name)
        if not found or not colon or not model:
            return None
        if method == "streamGenerateContent":
            whole = Endpoint(partial(self._generate, model, _in_array), model, True)
            events = Endpoint(partial(self._generate, model, _in_events), model, True)
            return whole._replace(
                asked=lambda query: events if parse_qs(query).get("alt") == ["sse"] else whole
            )
        answers = {
            "generateContent": partial(self._generate, model, None),
            "countTokens": partial(self._count, model),
            "embedContent": partial(self._embed, model),
            "batchEmbedContents": partial(self._embed_batch, model),
        }
        found_answer = answers.get(method)
        return None if found_answer is None else Endpoint(found_answer, model, False)

    def looked_up(self, path: str) -> str | None:
        """The model whose description is read at a path."""
        return looked_up_at(path, "/v1beta/models")

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """Accept `key` only, or any key if it is None. Raises: Refusal.

        No key is 403, a wrong one 400: what Google answers.
        """
        try:
            check_key(headers.get("x-goog-api-key", ""), key, _NO_KEY, _BAD_KEY)
        except Refusal as refusal:
            if refusal.message == _NO_KEY:
                raise Refusal(403, _NO_KEY) from None
            raise Refusal(400, _BAD_KEY, code="API_KEY_INVALID") from None

    def listing(self, query: Mapping[str, str]) -> Whole:
        """Answer `GET /v1beta/models`: fifty at a time, or as many as `pageSize` says."""
        asked = query.get("pageSize", ""), 50, query.get("pageToken", "")
        names, token = part(sorted(self._known or MODELS), *asked)
        more = {"nextPageToken": token} if token else {}
        return _whole({"models": [_item(name) for name in names]} | more)

    def model(self, name: str) -> Whole:
        """Answer `GET /v1beta/models/{name}`. Raises: Refusal."""
        if name not in (self._known or MODELS):
            raise _not_found(name)
        return _whole(_item(name))

    def error(self, refusal: Refusal) -> Whole:
        """Shape an error as a response."""
        body = orjson.dumps({"error": _error(refusal)}, option=orjson.OPT_INDENT_2)
        return Whole(refusal.status, body, dict(_HEADERS))

    def error_event(self, refusal: Refusal) -> bytes:
        """Shape an error as what a stream breaks off with: bare JSON, no event."""
        return orjson.dumps({"error": _error(refusal)}, option=orjson.OPT_INDENT_2) + b"\n\n"

    def _checked(self, model: str) -> None:
        if self._known is not None and model not in self._known:
            raise _not_found(model)

    def _generate(self, model: str, framed: "_Framing | None", body: Json) -> Reply:
        self._checked(model)
        body = in_camel_case(body)
        check(body, model)
        told = Told(model, body)
        if framed is None:
            return _whole(told.whole(), told.tokens)
        events = list(told.events())
        kind = "text/event-stream" if framed is _in_events else _HEADERS["content-type"]
        written = framed(events)
        return Stream(written, len(events) - 1, {**_HEADERS, "content-type": kind})

    def _count(self, model: str, body: Json) -> Reply:
        self._checked(model)
        body = in_camel_case(body)
        asked = body.get("generateContentRequest")
        if asked is not None:
            if asked.get("model") != f"models/{model}":
                raise Refusal(400, "Model in the request does not match the model in the URL.")
            check(asked, model)
        else:
            asked = body
            check({"contents": body.get("contents")}, model)
        total = prompt_tokens(asked)
        details = [{"modality": "TEXT", "tokenCount": total}]
        return _whole({"totalTokens": total, "promptTokensDetails": details})

    def _embed(self, model: str, body: Json) -> Reply:
        self._checked(model)
        asked = {"model": f"models/{model}", **in_camel_case(body)}
        return _whole({"embedding": _embedded(asked, model)})

    def _embed_batch(self, model: str, body: Json) -> Reply:
        self._checked(model)
        requests = in_camel_case(body).get("requests")
        if not isinstance(requests, list) or not requests:
            raise Refusal(400, "* BatchEmbedContentsRequest.requests: must not be empty\n")
        if len(requests) > _BATCH:
            raise Refusal(
                400,
                f"* BatchEmbedContentsRequest.requests: at most {_BATCH} requests can be in one "
                "batch\n",
            )
        embeddings = [_embedded(one, model) for one in requests]
        total = sum(count(_embedded_text(one)) for one in requests)
        usage = {"promptTokenCount": total, "totalTokenCount": total}
        return _whole({"embeddings": embeddings, "usageMetadata": usage})


def _embedded_text(request: Json) -> str:
    return " ".join(str(part.get("text", "")) for part in request["content"]["parts"])


def _embedded(request: Json, model: str) -> Json:
    allowed = {"model", "content", "taskType", "title", "outputDimensionality"}
    if unknown := set(request) - allowed:
        raise Refusal(
            400,
            f'Invalid JSON payload received. Unknown name "{min(unknown)}": Cannot find field.',
        )
    if request.get("model") != f"models/{model}":
        raise Refusal(400, "* EmbedContentRequest.model: unexpected model name format\n")
    text = _embedded_text(request)
    if not text:
        raise Refusal(400, "* EmbedContentRequest.content: content is empty\n")
    size = request.get("outputDimensionality", _VECTOR)
    if not 1 <= size <= _VECTOR:
        raise Refusal(400, f"* EmbedContentRequest.output_dimensionality: {size} is out of range\n")
    # A shorter vector is the beginning of the long one, and not of length 1.
    return {"values": list(embedding(text, _VECTOR))[:size]}


def _in_events(events: list[Json]) -> list[bytes]:
    return [b"data: " + orjson.dumps(event) + b"\r\n\r\n" for event in events]


def _in_array(events: list[Json]) -> list[bytes]:
    pieces = [b",\r\n" + orjson.dumps(event) for event in events]
    pieces[0] = b"[" + pieces[0][3:]
    pieces[-1] += b"\r\n]\r\n"
    return pieces


def _whole(body: Json, tokens: int = 0) -> Whole:
    return Whole(200, orjson.dumps(body), dict(_HEADERS), tokens)


def _not_found(name: str) -> Refusal:
    return Refusal(
        404,
        f"models/{name} is not found for API version v1beta, or is not supported for "
        "generateContent. Call ListModels to see the list of available models and their supported "
        "methods.",
    )


def _item(name: str) -> Json:
    embeds = "embedding" in name
    methods = ["embedContent", "countTokens"] if embeds else ["generateContent", "countTokens"]
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name.replace("-", " ").title(),
        "inputTokenLimit": 2048 if embeds else 1_048_576,
        "outputTokenLimit": 1 if embeds else 65_536,
        "supportedGenerationMethods": methods,
    }


def _error(refusal: Refusal) -> Json:
    error: Json = {
        "code": refusal.status,
        "message": refusal.message,
        "status": _STATUSES.get(refusal.status, "UNKNOWN"),
    }
    details: list[Json] = []
    if refusal.code == "API_KEY_INVALID":
        details.append(
            {
                "@type": _DETAIL + "ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }
        )
    if refusal.status == 429 and refusal.type:
        violation = {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
            "quotaId": refusal.type,
            "quotaValue": "20",
        }
        details.append({"@type": _DETAIL + "QuotaFailure", "violations": [violation]})
    if refusal.status == 429 and refusal.code:
        details.append({"@type": _DETAIL + "RetryInfo", "retryDelay": refusal.code})
    return {**error, "details": details} if details else error
