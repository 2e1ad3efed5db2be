"""Embeddings: what is embedded, and the vectors, the same for the same text every time."""

import base64
import hashlib
import math
import sys
from array import array
from functools import lru_cache
from typing import Any

from .reply import Refusal
from .tokens import encoding

# By what a model has in its name.
_SIZES = {"nomic": 768, "mistral-embed": 1024, "large": 3072}


def vector_size(body: dict[str, Any], model: str) -> int:
    """Return the `dimensions` asked for, or the model's own. Raises: Refusal."""
    size = body.get("dimensions")
    if isinstance(size, int):
        if size < 1:
            raise Refusal(400, f"{size} is less than the minimum of 1 - 'dimensions'")
        return size
    return next((size for name, size in _SIZES.items() if name in model), 1536)


@lru_cache(maxsize=256)
def embedding(text: str, size: int) -> "array[float]":
    """Return a unit vector of float32; texts that share words lie near each other."""
    noise = array("h", hashlib.shake_256(text.encode()).digest(2 * size))
    vector = [value / 1e6 for value in noise]
    for word in text.lower().split():
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        vector[seed % size] += 1.0 if seed >> 63 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return array("f", [value / length for value in vector])


def as_base64(vector: "array[float]") -> str:
    """Return a vector as the wire packs it: little-endian float32, in base64."""
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()


def embedded_texts(given: Any) -> list[str]:
    """Read the four forms of `input`: text, texts, token ids, lists of token ids.

    Raises: Refusal.
    """
    items = [given] if isinstance(given, str) else given
    if not isinstance(items, list) or not items:
        raise Refusal(400, "'$.input' is invalid. Please check the API reference.")
    if all(isinstance(item, int) for item in items):
        items = [items]
    texts = [encoding().decode(item) if isinstance(item, list) else item for item in items]
    if not all(isinstance(text, str) and text for text in texts):
        raise Refusal(400, "'$.input' is invalid. Please check the API reference.")
    return texts
