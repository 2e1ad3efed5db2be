"""The wire of Amazon Bedrock: Converse, whole and streamed, counting, and embeddings by `invoke`.

Refusals have the words of the service, with an account number in them where it has one. Prefixes up
to a cache point are remembered, so that the second request reads what the first has written.
Signatures of thinking are checked, as are those of requests.

Over 300 lines because Converse's answers, whole and streamed, and its refusals are one service.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

import orjson

from .anthropic_thinking import check_thought, signature
from .bedrock_frames import event_frame, exception_frame
from .bedrock_signature import SECRET, is_signed, verify
from .received import Received
from .reply import Refusal, Reply, Stream, Whole
from .text import Saying, answer, example, say, tool_asked_for
from .tokens import chat_tokens, count
from .vectors import embedding
from .wire import Endpoint, Ids

Json = dict[str, Any]

ACCOUNT = "123456789012"
MODELS = (
    "amazon.nova-lite-v1:0",
    "amazon.titan-embed-text-v2:0",
    "anthropic.claude-opus-4-1-20250805-v1:0",
    "anthropic.claude-sonnet-4-20250514-v1:0",
    "cohere.embed-english-v3",
)
_NAMES = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_MEMBERS = frozenset(
    "messages system inferenceConfig toolConfig guardrailConfig additionalModelRequestFields "
    "promptVariables additionalModelResponseFieldPaths requestMetadata performanceConfig "
    "serviceTier outputConfig".split()
)
_CLAUDES = frozenset("top_k thinking anthropic_beta".split())
_STOP_REASONS = {"stop": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens"}
_TITAN_SIZES = (256, 512, 1024)


class BedrockWire:
    """Bedrock's runtime; `known` None accepts any model, otherwise others are refused."""

    provider = "bedrock"
    prefix = ""

    def __init__(self, known: frozenset[str] | None = None) -> None:
        """Serve `known` models; nothing is cached yet."""
        self._known = known
        self._cached: set[str] = set()

    def endpoint(self, path: str) -> Endpoint | None:
        """What can be posted to a path."""
        parts = path.split("/")
        if len(parts) != 4 or parts[:2] != ["", "model"] or not parts[2]:
            return None
        model = unquote(parts[2])
        match parts[3]:
            case "converse":
                return Endpoint(partial(self._converse, model), model, False)
            case "converse-stream":
                return Endpoint(partial(self._converse_stream, model), model, True)
            case "count-tokens":
                return Endpoint(partial(self._count, model), model, False)
            case "invoke":
                return Endpoint(partial(self._invoke, model), model, False)
        return None

    def looked_up(self, path: str) -> str | None:
        """Models are listed by another service of AWS, which is played here too."""
        return "" if path == "/foundation-models" else None

    def authorize(self, headers: Mapping[str, str], key: str | None) -> None:
        """Accept `key` as a bearer's, or any if it is None. Raises: Refusal."""
        given = headers.get("authorization", "")
        if is_signed(given):
            return  # by `verify`, which sees the whole request
        if not given:
            message = "Missing Authentication Token"
            raise Refusal(403, message, type="MissingAuthenticationTokenException")
        bearer = given.removeprefix("Bearer ").strip()
        if key is not None and not hmac.compare_digest(bearer.encode(), key.encode()):
            message = "Authentication failed: Please make sure your API Key is valid."
            raise Refusal(403, message)

    def verify(self, received: Received, key: str | None) -> None:
        """Check a signed request; the secret is `key`. Raises: Refusal."""
        if is_signed(received.headers.get("authorization", "")):
            verify(received, SECRET if key is None else key)

    def listing(self, query: Mapping[str, str]) -> Whole:
        """Answer `GET /foundation-models`."""
        names = sorted(self._known or MODELS)
        body = {"modelSummaries": [_item(name) for name in names]}
        return Whole(200, orjson.dumps(body), _headers())

    def model(self, name: str) -> Whole:
        """Nothing is described here."""
        return self.error(Refusal(404, "unknown operation", type="UnknownOperationException"))

    def error(self, refusal: Refusal) -> Whole:
        """Shape an error as a response: its name is in a header."""
        headers = {**_headers(), "x-amzn-errortype": f"{_name(refusal)}:{_CORAL}"}
        return Whole(refusal.status, orjson.dumps({"message": refusal.message}), headers)

    def error_event(self, refusal: Refusal) -> bytes:
        """Shape an error as the event that a stream breaks off with."""
        name = _name(refusal).replace("ModelErrorException", "ModelStreamErrorException")
        return exception_frame(name[:1].lower() + name[1:], refusal.message)

    # --- Converse --------------------------------------------------------------------------------

    def _converse(self, model: str, body: Json) -> Reply:
        said = self._said(model, body)
        parsed = {
            "output": {"message": {"role": "assistant", "content": _blocks(said)}},
            "stopReason": said.reason,
            "usage": said.usage,
            "metrics": {"latencyMs": 7},
        }
        tokens = said.usage["outputTokens"]
        return Whole(200, orjson.dumps(parsed), _headers(), tokens=tokens)

    def _converse_stream(self, model: str, body: Json) -> Reply:
        events = list(_events(self._said(model, body)))
        headers = {**_headers(), "content-type": "application/vnd.amazon.eventstream"}
        return Stream(events, len(events) - 2, headers)

    def _said(self, model: str, body: Json) -> "_Said":
        self._check_model(model)
        _check(model, body)
        messages = body["messages"]
        prompt, answered = _last_words(messages[-1])
        config = body.get("toolConfig") or {}
        specs = {
            t["toolSpec"]["name"]: t["toolSpec"] for t in config.get("tools", ()) if "toolSpec" in t
        }
        limits = body.get("inferenceConfig") or {}
        limit, stops = limits.get("maxTokens"), tuple(limits.get("stopSequences") or ())
        choice = config.get("toolChoice") or {}
        wanted: Any = "any" if "any" in choice else choice.get("tool")
        tool = None if answered else tool_asked_for(prompt, list(specs), wanted)
        thinks = (body.get("additionalModelRequestFields") or {}).get("thinking") or {}
        thought = (
            f"thinking about {prompt}" if thinks.get("type") in ("enabled", "adaptive") else ""
        )
        if tool is not None:
            given = example(specs[tool]["inputSchema"].get("json") or {}, prompt)
            saying = say(orjson.dumps(given or {}).decode(), limit)
        elif (text_format := (body.get("outputConfig") or {}).get("textFormat")) is not None:
            schema = orjson.loads(text_format["structure"]["jsonSchema"]["schema"])
            saying = say(orjson.dumps(example(schema, prompt)).decode(), limit)
        else:
            saying = say(answer(model, prompt), limit, stops)
        reason = _STOP_REASONS[saying.finish]
        if tool is not None and saying.finish == "stop":
            reason = "tool_use"
        output = saying.tokens + count(thought)
        signed = _signature(model, thought)
        return _Said(saying, tool, thought, signed, reason, self._usage(body, output))

    def _usage(self, body: Json, output: int) -> Json:
        total, (read, written) = _prompt_tokens(body), self._through_cache(body)
        read = min(read, total)
        written = min(written, total - read)
        return {
            "inputTokens": total - read - written,
            "outputTokens": output,
            "totalTokens": total + output,
            "cacheReadInputTokens": read,
            "cacheWriteInputTokens": written,
        }

    def _through_cache(self, body: Json) -> tuple[int, int]:
        """How many tokens up to the last cache point were read, and how many are written now."""
        read = last = 0
        before = b""
        for block in _in_order(body):
            if "cachePoint" not in block:
                before += orjson.dumps(block, option=orjson.OPT_SORT_KEYS)
                continue
            last = count(before.decode())
            prefix = hashlib.sha256(before).hexdigest()
            if prefix in self._cached:
                read = last
            self._cached.add(prefix)
        return read, last - read

    def _count(self, model: str, body: Json) -> Reply:
        self._check_model(model)
        if not model.startswith("anthropic."):
            raise Refusal(400, "The provided model doesn't support counting tokens.")
        counted = (body.get("input") or {}).get("converse")
        if not isinstance(counted, dict):
            raise Refusal(400, "The provided request is not valid")
        _check(model, counted)
        told = {"inputTokens": _prompt_tokens(counted)}
        return Whole(200, orjson.dumps(told), _headers())

    def _check_model(self, model: str) -> None:
        if self._known is not None and model not in self._known:
            if model.startswith("arn:"):
                message = f"Account {ACCOUNT} has no resource {model}"
                raise Refusal(404, message)
            raise Refusal(400, "The provided model identifier is invalid.")

    # --- embeddings ------------------------------------------------------------------------------

    def _invoke(self, model: str, body: Json) -> Reply:
        self._check_model(model)
        if "cohere.embed" in model:
            return _cohere(model, body)
        if "titan-embed-text" in model:
            return _titan(model, body)
        raise Refusal(400, "Malformed input request, please reformat your input and try again.")


class _Said:
    """What the model says to one request."""

    def __init__(
        self,
        saying: Saying,
        tool: str | None,
        thought: str,
        signature: str,
        reason: str,
        usage: Json,
    ) -> None:
        self.saying = saying
        self.tool = tool
        self.thought = thought
        self.signature = signature
        self.reason = reason
        self.usage = usage


def _blocks(said: _Said) -> list[Json]:
    blocks: list[Json] = []
    if said.thought:
        told = {"text": said.thought, "signature": said.signature}
        blocks.append({"reasoningContent": {"reasoningText": told}})
    if said.tool is None:
        return [*blocks, {"text": said.saying.text}]
    try:
        given = orjson.loads(said.saying.text)
    except orjson.JSONDecodeError:  # cut by maxTokens
        given = {}
    use = {"toolUseId": Ids.new("tooluse_"), "name": said.tool, "input": given}
    return [*blocks, {"toolUse": use}]


def _events(said: _Said) -> Iterator[bytes]:
    yield event_frame("messageStart", {"role": "assistant"})
    index = 0
    if said.thought:
        for piece in say(said.thought, None).pieces:
            yield _delta(index, {"reasoningContent": {"text": piece}})
        yield _delta(index, {"reasoningContent": {"signature": said.signature}})
        yield event_frame("contentBlockStop", {"contentBlockIndex": index})
        index += 1
    if said.tool is not None:
        use = {"toolUseId": Ids.new("tooluse_"), "name": said.tool}
        start = {"contentBlockIndex": index, "start": {"toolUse": use}}
        yield event_frame("contentBlockStart", start)
    for piece in said.saying.pieces:
        yield _delta(index, {"text": piece} if said.tool is None else {"toolUse": {"input": piece}})
    yield event_frame("contentBlockStop", {"contentBlockIndex": index})
    yield event_frame("messageStop", {"stopReason": said.reason})
    yield event_frame("metadata", {"usage": said.usage, "metrics": {"latencyMs": 7}})


def _delta(index: int, delta: Json) -> bytes:
    return event_frame("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})


def _signature(model: str, thought: str) -> str:
    """What proves that a thought was thought by a model; Claude's counts wherever Claude is."""
    if "anthropic." in model:
        return signature(thought)
    return base64.b64encode(hmac.digest(b"simulated", thought.encode(), "sha256")).decode()


def _cohere(model: str, body: Json) -> Reply:
    texts = body.get("texts")
    if not isinstance(texts, list) or not 1 <= len(texts) <= 96:
        raise Refusal(400, "#/texts: expected minItems: 1, maxItems: 96")
    if body.get("input_type") is None:
        raise Refusal(400, "#: required key [input_type] not found")
    size = body.get("output_dimension") if "v4" in model else None
    vectors = [
        embedding(text, size or (1536 if "v4" in model else 1024)).tolist() for text in texts
    ]
    tokens = sum(count(text) for text in texts)
    parsed = {
        "id": Ids.new(""),
        "texts": texts,
        "embeddings": {"float": vectors},
        "response_type": "embeddings_by_type",
    }
    headers = {**_headers(), "x-amzn-bedrock-input-token-count": str(tokens)}
    return Whole(200, orjson.dumps(parsed), headers)


def _titan(model: str, body: Json) -> Reply:
    allowed = ("inputText",) if "v2" not in model else ("inputText", "dimensions", "normalize")
    for name in body:
        if name not in allowed:
            told = f"#: extraneous key [{name}] is not permitted"
            raise Refusal(400, f"Malformed input request: {told}, please reformat your input.")
    text, size = body.get("inputText"), body.get("dimensions") or 1024
    if not isinstance(text, str) or not text:
        raise Refusal(400, "Malformed input request: expected minLength: 1, actual: 0")
    if size not in _TITAN_SIZES:
        raise Refusal(400, f"Malformed input request: #/dimensions: {size} is not a valid enum")
    vector = embedding(text, size if "v2" in model else 1536).tolist()
    parsed = {"embedding": vector, "inputTextTokenCount": count(text)}
    return Whole(200, orjson.dumps(parsed), _headers())


# --- what is refused -----------------------------------------------------------------------------


def _check(model: str, body: Json) -> None:
    """Refuse what Converse refuses. Raises: Refusal."""
    for name in body:
        if name not in _MEMBERS:
            raise Refusal(400, f"#: extraneous key [{name}] is not permitted")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "A conversation must start with a user message.")
    for index, message in enumerate(messages):
        if message.get("role") != ("user", "assistant")[index % 2]:
            raise Refusal(
                400,
                "A conversation must alternate between user and assistant roles. Make sure the "
                "conversation alternates between user and assistant roles and try again.",
            )
        where = f"messages.{index}.content"
        if not message.get("content"):
            raise Refusal(400, f"The content field in the Message object at {where} is empty.")
        for number, block in enumerate(message["content"]):
            _check_block(model, block, f"{where}.{number}")
    limits = body.get("inferenceConfig") or {}
    if limits.get("maxTokens", 1) < 1 or not 0 <= limits.get("temperature", 1) <= 1:
        raise Refusal(400, "The value at inferenceConfig failed to satisfy constraint")
    _check_tools(body)
    _check_thinking(model, body)
    text_format = (body.get("outputConfig") or {}).get("textFormat")
    if text_format is not None and "anthropic." in model:
        _check_schema(orjson.loads(text_format["structure"]["jsonSchema"]["schema"]))


def _check_schema(schema: Any) -> None:
    """Refuse objects that are open, as Claude does."""
    inner: Iterable[Any] = schema if isinstance(schema, list) else ()
    if isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            told = "For 'object' type, 'additionalProperties' must be explicitly set to false"
            raise Refusal(400, f"The model returned the following errors: {told}")
        inner = schema.values()
    for one in inner:
        _check_schema(one)


def _check_block(model: str, block: Json, where: str) -> None:
    if len(block) != 1:
        raise Refusal(400, f"The content block object at {where} must set one of the keys.")
    if not block.get("text", "-").strip():
        raise Refusal(400, f"The text field in the ContentBlock object at {where} is blank.")
    for kind in ("image", "document", "audio"):
        if kind in block:
            base64.b64decode(block[kind]["source"]["bytes"], validate=True)
            if not block[kind].get("format"):
                raise Refusal(400, f"The format field at {where} is missing.")
    told = (block.get("reasoningContent") or {}).get("reasoningText")
    if told is not None:
        _check_thought(model, told, where)


def _check_thought(model: str, told: Json, where: str) -> None:
    thought, signed = told["text"], told.get("signature")
    if "anthropic." in model:
        try:
            check_thought({"type": "thinking", "thinking": thought, "signature": signed}, where)
        except Refusal as refusal:
            told_so = f"The model returned the following errors: {refusal.message}"
            raise Refusal(400, told_so) from None
    elif signed != _signature(model, thought):
        raise Refusal(400, f"The model returned the following errors: {where}: Invalid `signature`")


def _check_tools(body: Json) -> None:
    called: set[str] = set()
    for message in body["messages"]:
        results = {b["toolResult"]["toolUseId"] for b in message["content"] if "toolResult" in b}
        if results != called:
            raise Refusal(
                400,
                "Expected toolResult blocks at messages.2.content for the following Ids: "
                f"{', '.join(sorted(called))}",
            )
        called = {b["toolUse"]["toolUseId"] for b in message["content"] if "toolUse" in b}
        if (called or results) and not (body.get("toolConfig") or {}).get("tools"):
            raise Refusal(
                400,
                "The toolConfig field must be defined when using toolUse and toolResult content "
                "blocks.",
            )


def _check_thinking(model: str, body: Json) -> None:
    fields = body.get("additionalModelRequestFields") or {}
    if "anthropic." not in model:
        return
    for name in fields:
        if name not in _CLAUDES:
            told = f"{name}: Extra inputs are not permitted"
            raise Refusal(400, f"The model returned the following errors: {told}")
    thinking, limits = fields.get("thinking") or {}, body.get("inferenceConfig") or {}
    if thinking.get("type") not in ("enabled", "adaptive"):
        return
    if limits.get("temperature", 1) != 1:
        raise Refusal(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if thinking.get("budget_tokens", 0) >= limits.get("maxTokens", 1_000_000):
        raise Refusal(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    choice = (body.get("toolConfig") or {}).get("toolChoice") or {"auto": {}}
    if "auto" not in choice:
        raise Refusal(400, "Thinking may not be enabled when tool_choice forces tool use.")
    if len(body["messages"]) > 1:
        last = body["messages"][-2]["content"]
        answers = any("toolResult" in block for block in body["messages"][-1]["content"])
        if answers and "reasoningContent" not in last[0]:
            raise Refusal(400, "Expected `thinking` or `redacted_thinking`, but found `tool_use`.")


# --- what is counted -----------------------------------------------------------------------------


def _in_order(body: Json) -> Iterator[Json]:
    """All blocks in the order in which a cache sees them."""
    yield from (body.get("toolConfig") or {}).get("tools") or ()
    yield from body.get("system") or ()
    for message in body["messages"]:
        yield from message["content"]


def _prompt_tokens(body: Json) -> int:
    messages = [
        {"role": m["role"], "content": [_counted(b) for b in m["content"]]}
        for m in body["messages"]
    ]
    if body.get("system"):
        messages.insert(0, {"role": "system", "content": body["system"]})
    specs = [
        t["toolSpec"] for t in (body.get("toolConfig") or {}).get("tools") or () if "toolSpec" in t
    ]
    tools = [{"function": {**s, "parameters": s["inputSchema"].get("json")}} for s in specs]
    return chat_tokens(messages, tools)


def _counted(block: Json) -> Json:
    """A block as the counting knows blocks."""
    if "image" in block:
        return {"type": "image"}
    if "toolUse" in block:
        return {"input": block["toolUse"].get("input")}
    if "toolResult" in block:
        return {"content": [_counted(inner) for inner in block["toolResult"]["content"]]}
    if "reasoningContent" in block:
        return {"text": (block["reasoningContent"].get("reasoningText") or {}).get("text", "")}
    return block


def _last_words(message: Json) -> tuple[str, bool]:
    """The text of a message, and whether it brings a tool's result."""
    texts: list[str] = []
    answered = False
    for block in message["content"]:
        if "toolResult" in block:
            answered = True
            texts += [b["text"] for b in block["toolResult"]["content"] if "text" in b]
        elif "text" in block:
            texts.append(block["text"])
    return " ".join(texts), answered


_CORAL = "http://internal.amazon.com/coral/com.amazon.bedrock/"


def _name(refusal: Refusal) -> str:
    return refusal.type or _NAMES.get(refusal.status, "InternalServerException")


def _item(name: str) -> Json:
    embeds = "embed" in name
    return {
        "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{name}",
        "modelId": name,
        "modelName": name.partition(".")[2],
        "providerName": name.partition(".")[0].title(),
        "inputModalities": ["TEXT"],
        "outputModalities": ["EMBEDDING" if embeds else "TEXT"],
        "responseStreamingSupported": not embeds,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": {"status": "ACTIVE"},
    }


def _headers() -> dict[str, str]:
    return {
        "content-type": "application/json",
        "date": "Sat, 01 Nov 2025 12:00:00 GMT",
        "x-amzn-requestid": Ids.new("5a2e7f0c-"),
        "server": "Server",
    }
