"""Embeddings on Bedrock: each maker's own body behind `invoke`.

Titan takes one text at a time and Cohere 96, so that one request may be several there.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from turnout.engine.provider import Answer, Call, ProviderError
from turnout.engine.request import Usage

from . import fault
from .bedrock_reasoning import maker
from .dialect_bedrock import parsed_object
from .parameters import refuse_foreign, unsupported
from .vectors import embeddings_answer, texts_of

Json = dict[str, Any]
Fetch = Callable[[bytes, Call], Awaitable[bytes]]

# At once, so that many texts take neither for ever nor all of an account's rate.
_AT_ONCE = 8
_COHERE_TEXTS = 96
_TITAN = re.compile(r"titan-embed-(text-v1|g1-text-02|text-v2)")
_TRANSLATED = frozenset("model input dimensions encoding_format".split())


async def embed(call: Call, fetch: Fetch) -> Answer:
    """The vectors of a request for embeddings; `fetch` posts a body to the model.

    Raises: ProviderError, whose `usage` is what the parts that were answered have cost.
    """
    refuse_foreign(call)
    dropped = [n for n, v in call.body.items() if n not in _TRANSLATED and v is not None]
    dimensions = call.body.get("dimensions")
    texts = await texts_of(call)
    if maker(call.upstream_model) == "cohere":
        call.dropped.extend(dropped)
        parts = [texts[i : i + _COHERE_TEXTS] for i in range(0, len(texts), _COHERE_TEXTS)]
        bodies = [_cohere(part, dimensions, call) for part in parts]
    elif _TITAN.search(call.upstream_model):
        call.dropped.extend(dropped)
        bodies = [_titan(text, dimensions, call) for text in texts]
    else:
        raise unsupported("model", "this model of the provider has no embeddings")
    told: list[tuple[list[Any], int | None]] = [([], 0)] * len(bodies)
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(position: int, body: Json) -> None:
        async with room:
            told[position] = _read(await fetch(orjson.dumps(body), call))

    try:
        async with asyncio.TaskGroup() as group:
            for position, body in enumerate(bodies):
                group.create_task(one(position, body))
    except* ProviderError as failed:
        error = _first(failed)
        if spent := sum(count or 0 for _, count in told):
            error.usage = Usage(spent, 0)
        raise error from None
    vectors = [vector for part, _ in told for vector in part]
    return embeddings_answer(vectors, call, _usage([count for _, count in told]), None)


def _titan(text: str, dimensions: object, call: Call) -> Json:
    if dimensions is None:
        return {"inputText": text}
    if "text-v2" not in call.upstream_model:
        raise unsupported("dimensions")
    return {"inputText": text, "dimensions": dimensions}


def _cohere(texts: list[str], dimensions: object, call: Call) -> Json:
    body: Json = {"texts": texts, "input_type": "search_document", "embedding_types": ["float"]}
    if dimensions is not None:
        if "embed-v4" not in call.upstream_model:
            raise unsupported("dimensions")
        body["output_dimension"] = dimensions
    return body


def _read(raw: bytes) -> tuple[list[Any], int | None]:
    """The vectors of one answer, and the tokens that it counted. Raises: ProviderError."""
    parsed = parsed_object(raw)
    count = parsed.get("inputTextTokenCount")
    vectors = parsed.get("embeddings")
    if isinstance(vectors, dict):
        vectors = vectors.get("float")
    elif isinstance(parsed.get("embedding"), list):
        vectors = [parsed["embedding"]]
    if not isinstance(vectors, list) or not all(isinstance(one, list) for one in vectors):
        raise fault.no_answer(raw, "embeddings")
    return vectors, count if type(count) is int and count >= 0 else None


def _usage(counts: list[int | None]) -> Usage | None:
    known = [count for count in counts if count is not None]
    return Usage(sum(known), 0) if len(known) == len(counts) else None


def _first(failed: BaseExceptionGroup[ProviderError]) -> ProviderError:
    """Of the failures at once, the first: the others are of the same request."""
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ProviderError)
    return error
