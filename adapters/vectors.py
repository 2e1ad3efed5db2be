"""Embeddings on the OpenAI wire: one vector per input, in order, in the encoding asked for.

Base64 is little-endian float32. openai-node decodes whatever it gets, so floats where it asked for
base64 become garbage there: the encoding is converted either way.

For providers of other wires: `texts_of` says what to embed, `embeddings_answer` tells the vectors.
"""

import asyncio
import binascii
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from turnout.engine.detokenise import is_quick, text_of
from turnout.engine.provider import Answer, Call, Fault, ProviderError
from turnout.engine.request import Usage

from . import fault
from .splice import splice
from .usage import read_usage

Json = dict[str, Any]

_QUICK_IDS = 20_000  # so many are read back in some milliseconds


async def texts_of(call: Call) -> list[str]:
    """The inputs of a request for embeddings, as texts: token ids of cl100k_base are read back.

    Raises: ProviderError BAD_REQUEST for an input that is no text, or no id.
    """
    given = call.request.body.get("input")
    inputs = given if isinstance(given, list) and not _are_ids(given) else [given]
    if not inputs:
        raise _bad_input("`input` is empty")
    texts = [one for one in inputs if isinstance(one, str)]
    if len(texts) == len(inputs):
        return texts
    ids = sum(len(one) for one in inputs if isinstance(one, list))
    if is_quick() and ids <= _QUICK_IDS:
        return [_as_text(one) for one in inputs]
    return await asyncio.to_thread(lambda: [_as_text(one) for one in inputs])


async def input_as_texts(call: Call) -> Mapping[str, bytes]:
    """The departure of an OpenAI-compatible server that takes no token ids: texts in their place.

    Nothing where the request has texts already. Raises: ProviderError BAD_REQUEST.
    """
    given = call.request.body.get("input")
    if isinstance(given, str) or not isinstance(given, list):
        return {}
    if not any(isinstance(one, int | list) for one in given):
        return {}
    return {"input": orjson.dumps(await texts_of(call))}


def embeddings_answer(
    vectors: Sequence[Sequence[float] | str],
    call: Call,
    usage: Usage | None,
    upstream_model: str | None,
) -> Answer:
    """The client's answer of these vectors, floats or base64, in the order of the inputs.

    They come in the encoding that was asked for. Raises: ProviderError BAD_OUTPUT for vectors that
    are none or too few, UNSUPPORTED where their size is not the `dimensions` asked for.
    """
    body = call.request.body
    if len(vectors) != _inputs(body.get("input")):
        raise fault.bad_output("the provider's answer does not have one embedding per input")
    rows: list[Json] = [
        {
            "object": "embedding",
            "index": index,
            "embedding": vector if isinstance(vector, str) else list(vector),
        }
        for index, vector in enumerate(vectors)
    ]
    as_text = body.get("encoding_format") == "base64"
    for row in rows:
        if not _encode(row, as_text) and isinstance(row["embedding"], list):
            _check_numbers(row["embedding"])
        _check_size(row["embedding"], body.get("dimensions"))
    answer: Json = {"object": "list", "data": rows, "model": call.shown_model}
    if usage is not None:
        answer["usage"] = {"prompt_tokens": usage.input, "total_tokens": usage.input}
    return Answer(orjson.dumps(answer), usage, "", None, upstream_model)


def embeddings_body(call: Call, departures: Mapping[str, bytes | None] | None = None) -> bytes:
    """The request's own bytes with the upstream's model; of what a policy can set, `user` only.

    `departures` are members (as JSON) that this provider wants otherwise.
    """
    body = call.request.body
    members: dict[str, bytes | None] = {"model": orjson.dumps(call.upstream_model)}
    if "user" in call.sets:
        members["user"] = orjson.dumps(call.sets["user"])
    if "encoding_format" in body and not body["encoding_format"]:
        # Some servers refuse null or an empty name.
        members["encoding_format"] = b'"float"'
    members |= departures or {}
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


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int for one in value)


def _as_text(one: object) -> str:
    if isinstance(one, str):
        return one
    if not isinstance(one, list) or not _are_ids(one):
        raise _bad_input("`input` holds what is neither a text nor a list of token ids")
    try:
        return text_of(one)
    except ValueError:
        raise _bad_input("`input` holds numbers that are no tokens of cl100k_base") from None


def _bad_input(message: str) -> ProviderError:
    return ProviderError(Fault.BAD_REQUEST, message, param="input")


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


def _check_numbers(vector: list[Any]) -> None:
    try:
        array("d", vector)
    except TypeError:
        raise fault.bad_output("the provider's answer holds a malformed embedding") from None


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
