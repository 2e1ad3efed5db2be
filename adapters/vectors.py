"""Embeddings on the OpenAI wire: one vector per input, in order, in the encoding asked for.

Base64 is little-endian float32. openai-node decodes whatever it gets, so floats where it asked for
base64 become garbage there: the encoding is converted either way.
"""

import binascii
import sys
from array import array
from base64 import b64decode, b64encode
from typing import Any

import orjson

from turnout.engine.provider import Answer, Call, Fault, ProviderError

from . import fault
from .splice import splice
from .usage import read_usage

Json = dict[str, Any]


def embeddings_body(call: Call) -> bytes:
    """The request's own bytes with the upstream's model; of what a policy can set, `user` only."""
    body = call.request.body
    members = {"model": orjson.dumps(call.upstream_model)}
    if "user" in call.sets:
        members["user"] = orjson.dumps(call.sets["user"])
    if "encoding_format" in body and not body["encoding_format"]:
        # Some servers refuse null or an empty name.
        members["encoding_format"] = b'"float"'
    return splice(call.request.raw, body, members)


def read_embeddings(raw: bytes, call: Call, secrets: tuple[str, ...]) -> Answer:
    """Make the client's vectors of the provider's: their order, encoding and size are checked.

    Raises: ProviderError.
    """
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = None
    if not _is_embeddings(parsed):
        raise fault.no_answer(raw, "embeddings", secrets)
    body = call.request.body
    rows: list[Json] = parsed["data"]
    changed = parsed.pop("error", parsed) is not parsed
    for position, row in enumerate(rows):
        if type(row.get("index")) is not int:
            row["index"] = position
            changed = True
    indices = [row["index"] for row in rows]
    ordered = sorted(indices)
    if ordered != list(range(_inputs(body.get("input")))):
        raise fault.bad_output("the provider's answer does not have one embedding per input")
    if indices != ordered:
        rows.sort(key=lambda row: int(row["index"]))
        changed = True
    as_text = body.get("encoding_format") == "base64"
    for row in rows:
        changed |= _encode(row, as_text)
    _check_size(rows[0]["embedding"], body.get("dimensions"))
    model = parsed.get("model")
    if changed:
        parsed["model"] = call.shown_model
        answer = orjson.dumps(parsed)
    else:
        answer = splice(raw, parsed, {"model": orjson.dumps(call.shown_model)})
    return Answer(
        answer,
        read_usage(parsed.get("usage")),
        "",
        None,
        model if isinstance(model, str) else None,
    )


def _is_embeddings(parsed: object) -> bool:
    if not isinstance(parsed, dict) or parsed.get("error"):
        return False
    rows = parsed.get("data")
    return (
        isinstance(rows, list)
        and bool(rows)
        and all(isinstance(r, dict) and isinstance(r.get("embedding"), list | str) for r in rows)
    )


def _inputs(given: object) -> int:
    """How many vectors an input asks for: a text or a list of token ids is one."""
    if isinstance(given, list) and not (given and isinstance(given[0], int)):
        return len(given)
    return 1


def _encode(row: Json, as_text: bool) -> bool:
    """Give a vector the encoding that was asked for; true if it had another."""
    vector = row["embedding"]
    if isinstance(vector, str) is as_text:
        return False
    try:
        if as_text:
            row["embedding"] = b64encode(_little_endian(array("f", vector)).tobytes()).decode()
        else:
            floats = array("f")
            floats.frombytes(b64decode(vector, validate=True))
            row["embedding"] = _little_endian(floats).tolist()
    except (TypeError, ValueError, OverflowError, binascii.Error):
        raise fault.bad_output("the provider's answer holds a malformed embedding") from None
    return True


def _little_endian(floats: "array[float]") -> "array[float]":
    if sys.byteorder == "big":
        floats.byteswap()
    return floats


def _check_size(vector: list[float] | str, dimensions: object) -> None:
    if type(dimensions) is not int:
        return
    size = len(vector) if isinstance(vector, list) else len(vector.rstrip("=")) * 3 // 4 // 4
    if size != dimensions:
        raise ProviderError(
            Fault.UNSUPPORTED,
            f"the provider gave {size} dimensions where `dimensions` asks for {dimensions}",
            param="dimensions",
        )
