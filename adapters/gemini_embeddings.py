"""Embeddings of Gemini's: texts in batches, and vectors in their order.

Gemini shortens a vector (`dimensions`) without bringing it to length 1 again, which those of OpenAI
always have: `normal` does it.
"""

import math
from typing import Any

from turnout.engine.provider import Call
from turnout.engine.request import Usage

from . import fault
from .gemini_answer import count_of, parsed_of
from .gemini_request import resource, written

Json = dict[str, Any]

BATCH = 100

_CARRIED = frozenset(("model", "input", "dimensions", "encoding_format"))


def drop_others(call: Call) -> None:
    """Name in `call.dropped` what Gemini's embeddings do not have."""
    body = call.body.items()
    call.dropped.extend(name for name, value in body if name not in _CARRIED and value is not None)


def batch(call: Call, texts: list[str]) -> bytes:
    """A body for `batchEmbedContents`: at most `BATCH` texts. Raises: ProviderError BAD_REQUEST."""
    body = call.body
    request: Json = {"model": resource(call.upstream_model)}
    if body.get("dimensions") is not None:
        request["outputDimensionality"] = body["dimensions"]
    requests = [{**request, "content": {"parts": [{"text": text}]}} for text in texts]
    return written({"requests": requests})


def read_vectors(
    raw: bytes, expected: int, secrets: tuple[str, ...]
) -> tuple[list[list[float]], Usage | None]:
    """The vectors of an answer, and what they cost. Raises: ProviderError, also for too few."""
    parsed = parsed_of(raw)
    rows = parsed.get("embeddings")
    if not isinstance(rows, list) or not rows:
        raise fault.no_answer(raw, "embeddings", secrets)
    if len(rows) != expected:
        raise fault.bad_output("the provider's answer does not have one embedding per input")
    vectors: list[list[float]] = []
    for row in rows:
        vector = row.get("values") if isinstance(row, dict) else None
        numbers = isinstance(vector, list) and all(type(one) in (int, float) for one in vector)
        if not vector or not numbers:
            raise fault.bad_output("the provider's answer holds a malformed embedding")
        vectors.append(vector)
    tokens = count_of(parsed.get("usageMetadata"), "promptTokenCount")
    return vectors, None if tokens is None else Usage(tokens, 0)


def normal(vector: list[float]) -> list[float]:
    """The vector at length 1; one of length 0 stays."""
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else vector
