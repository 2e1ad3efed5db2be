"""Vectors of an embeddings answer, and how close two of them are. The only floats of the engine."""

import math
from array import array
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from operator import mul
from typing import TypeAlias

import orjson

from .provider import Answer, Fault, ProviderError

Vector: TypeAlias = "array[float]"
"""A direction: its length is 1."""


def closest(vector: Vector, listed: Mapping[str, Sequence[Vector]]) -> dict[str, int]:
    """How close a vector comes to the closest of each list: the cosine, of 10 000, 0 at least.

    Raises: ProviderError where they are of different lengths: that says nothing, least of all that
    they are not alike.
    """
    return {
        name: max((_cosine(vector, example) for example in examples), default=0)
        for name, examples in listed.items()
    }


def read_vectors(answer: Answer, count: int) -> list[Vector]:
    """The vectors of an answer, as many as there were texts. Raises: ProviderError."""
    try:
        rows = orjson.loads(answer.body)["data"]
        found = [row["embedding"] for row in rows]
        vectors = [
            _unit(array("f", b64decode(one)) if isinstance(one, str) else one) for one in found
        ]
    except (KeyError, TypeError, ValueError):
        raise ProviderError(Fault.BAD_OUTPUT, "the provider's embeddings cannot be read") from None
    if len(vectors) != count:
        raise ProviderError(Fault.BAD_OUTPUT, "the provider's embeddings are not as many as asked")
    return vectors


def _unit(numbers: Iterable[float]) -> Vector:
    vector = array("d", numbers)
    length = math.sqrt(sum(map(mul, vector, vector)))
    if not math.isfinite(length) or length == 0:
        raise ProviderError(Fault.BAD_OUTPUT, "the provider's embedding is no direction")
    return array("d", (number / length for number in vector))


def _cosine(one: Vector, other: Vector) -> int:
    if len(one) != len(other):
        raise ProviderError(Fault.BAD_OUTPUT, "the provider's embeddings differ in length")
    near: float = sum(map(mul, one, other))
    return min(max(round(near * 10_000), 0), 10_000)
