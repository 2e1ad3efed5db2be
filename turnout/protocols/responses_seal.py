"""Signed thoughts of other providers in a reasoning item's `encrypted_content`, there and back.

A client of this protocol sends reasoning items back as it got them and never looks into them. So a
provider's thinking with its signature survives the round trip there.
"""

import base64
import binascii
from typing import Any

import orjson

from turnout.engine.request import SEALED


def sealed(blocks: list[dict[str, Any]]) -> str:
    """Thinking blocks as an `encrypted_content`. Not secret: the client may read its own."""
    return SEALED + base64.urlsafe_b64encode(orjson.dumps(blocks)).decode()


def is_sealed(encrypted: str) -> bool:
    """Tell whether it was made here."""
    return encrypted.startswith(SEALED)


def unsealed(encrypted: str) -> list[dict[str, Any]] | None:
    """The thinking blocks in an `encrypted_content`; None if it was not made here."""
    if not is_sealed(encrypted):
        return None
    try:
        blocks = orjson.loads(base64.urlsafe_b64decode(encrypted[len(SEALED) :]))
    except (binascii.Error, ValueError):
        return None
    return blocks if isinstance(blocks, list) and all(map(_is_flat, blocks)) else None


def _is_flat(block: object) -> bool:
    """Whether it may be one of ours: an object, and nothing in it holds more."""
    return isinstance(block, dict) and not any(
        isinstance(value, dict | list) for value in block.values()
    )
