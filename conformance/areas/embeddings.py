"""Embeddings: forms of input and output, order, dimensions."""

import base64
import binascii
import math
import struct
from typing import Any

from turnout.conformance.api import ABSENT, UNKNOWN_MODEL, Api
from turnout.conformance.case import Area, Failed, Skipped
from turnout.conformance.exchange import Exchange
from turnout.conformance.look import array, at, filled, require, same, shown, text, whole
from turnout.conformance.sources import RECORDED, node_sdk, python_sdk, reference, spec

AREA = Area("embeddings", "embeddings in all their forms", "embeddings")

CREATE = reference("embeddings/create")
REQUEST = spec("CreateEmbeddingRequest")
RESPONSE = spec("CreateEmbeddingResponse")
ITEM = spec("Embedding")
PACKED = (node_sdk("resources/embeddings.ts"), python_sdk("resources/embeddings.py"))
TEXTS = ["a railway switch", "a bowl of soup", "the third of May"]
# What is left of a vector's direction when a model computes it again.
ALIKE = 0.99
SIZE = 256


async def _embed(api: Api, given: Any, **members: Any) -> Exchange:
    if not api.target.embedding_model:
        raise Skipped("it needs an embedding model")
    body = {"model": api.target.embedding_model, "input": given, **members}
    return await api.post("embeddings", {n: v for n, v in body.items() if v is not ABSENT})


def _vector(value: Any) -> list[float]:
    numbers = array(value)
    require(bool(numbers), "the embedding is empty")
    for number in numbers:
        if not isinstance(number, int | float) or isinstance(number, bool):
            raise Failed(f"the embedding holds {shown(number)}, not a number")
    return [float(number) for number in numbers]


def _unpacked(value: Any) -> list[float]:
    if not isinstance(value, str):
        raise Failed(f"the embedding is {shown(value)}, not a string of base64")
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise Failed(f"the embedding is no base64: {error}") from None
    require(bool(raw) and len(raw) % 4 == 0, f"{len(raw)} bytes are no row of float32")
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def _cosine(one: list[float], other: list[float]) -> float:
    same(len(one), len(other), "the number of dimensions")
    size = math.hypot(*one) * math.hypot(*other)
    return sum(map(float.__mul__, one, other)) / size if size else 0.0


def _alike(one: list[float], other: list[float], what: str) -> None:
    near = _cosine(one, other)
    require(near > ALIKE, f"{what} have a cosine of {near:.4f}")


async def _first(api: Api, given: Any, **members: Any) -> Any:
    answer = await _embed(api, given, **members)
    return at(answer.accepted(*members), "data", 0, "embedding")


async def _texts(api: Api) -> list[dict[str, Any]]:
    return array((await _embed(api, TEXTS)).accepted(), "data")


@AREA.case(REQUEST)
async def a_string_is_embedded(api: Api) -> None:
    """The input may be a string; it has one embedding."""
    data = array((await _embed(api, TEXTS[0])).accepted(), "data")
    same(len(data), 1, "the number of embeddings")


@AREA.case(REQUEST)
async def strings_are_embedded(api: Api) -> None:
    """The input may be an array of strings; each has an embedding."""
    same(len(await _texts(api)), len(TEXTS), "the number of embeddings")


@AREA.case(REQUEST)
async def token_numbers_are_embedded(api: Api) -> None:
    """The input may be an array of token numbers, which are one text."""
    data = array((await _embed(api, [9906, 1917])).accepted("token"), "data")
    same(len(data), 1, "the number of embeddings")


@AREA.case(REQUEST)
async def arrays_of_token_numbers_are_embedded(api: Api) -> None:
    """The input may be an array of arrays of token numbers, as LangChain sends it."""
    data = array((await _embed(api, [[64], [65], [66]])).accepted("token"), "data")
    same(len(data), 3, "the number of embeddings")


@AREA.case(RESPONSE)
async def the_list_is_named(api: Api) -> None:
    """`object` of the answer is `list`."""
    same(at((await _embed(api, TEXTS[0])).accepted(), "object"), "list", "`object`")


@AREA.case(ITEM)
async def each_embedding_is_named(api: Api) -> None:
    """`object` of each item is `embedding`."""
    for item in await _texts(api):
        same(at(item, "object"), "embedding", "`object` of an item")


@AREA.case(ITEM)
async def indices_are_in_order(api: Api) -> None:
    """Items come in the order of the input, with their indices."""
    indices = [whole(item, "index") for item in await _texts(api)]
    same(indices, list(range(len(TEXTS))), "the indices")


@AREA.case(RESPONSE)
async def the_model_is_named(api: Api) -> None:
    """`model` is a string that is not empty."""
    filled((await _embed(api, TEXTS[0])).accepted(), "model")


@AREA.case(RESPONSE)
async def the_usage_has_two_numbers(api: Api) -> None:
    """`usage` has `prompt_tokens` and `total_tokens`, which are the same."""
    body = (await _embed(api, TEXTS[0])).accepted()
    told = whole(body, "usage", "prompt_tokens")
    require(told > 0, "`usage.prompt_tokens` is 0")
    same(whole(body, "usage", "total_tokens"), told, "`usage.total_tokens`")


@AREA.case(RESPONSE)
async def more_text_has_more_tokens(api: Api) -> None:
    """Three texts have more tokens than one."""
    one = whole((await _embed(api, TEXTS[0])).accepted(), "usage", "prompt_tokens")
    three = whole((await _embed(api, TEXTS)).accepted(), "usage", "prompt_tokens")
    require(three > one, f"one text has {one} tokens, three have {three}")


@AREA.case(ITEM, CREATE)
async def numbers_come_unasked(api: Api) -> None:
    """Without `encoding_format` an embedding is an array of numbers."""
    _vector(await _first(api, TEXTS[0]))


@AREA.case(CREATE)
async def numbers_come_when_asked(api: Api) -> None:
    """With `encoding_format: float` an embedding is an array of numbers."""
    _vector(await _first(api, TEXTS[0], encoding_format="float"))


@AREA.case(*PACKED)
async def base64_comes_when_asked(api: Api) -> None:
    """With `encoding_format: base64` an embedding is float32 in base64: SDKs ask and decode so."""
    _unpacked(await _first(api, TEXTS[0], encoding_format="base64"))


@AREA.case(*PACKED)
async def each_text_of_many_is_packed(api: Api) -> None:
    """With `encoding_format: base64` each of several embeddings is packed."""
    body = (await _embed(api, TEXTS, encoding_format="base64")).accepted("encoding_format")
    for item in array(body, "data"):
        _unpacked(at(item, "embedding"))


@AREA.case(*PACKED)
async def base64_has_the_same_dimensions(api: Api) -> None:
    """A packed embedding has as many dimensions as one in numbers."""
    packed = _unpacked(await _first(api, TEXTS[0], encoding_format="base64"))
    same(len(packed), len(_vector(await _first(api, TEXTS[0]))), "the number of dimensions")


@AREA.case(*PACKED)
async def base64_holds_the_same_numbers(api: Api) -> None:
    """A packed embedding is the same vector as one in numbers."""
    packed = _unpacked(await _first(api, TEXTS[0], encoding_format="base64"))
    _alike(packed, _vector(await _first(api, TEXTS[0])), "packed and plain")


@AREA.case(CREATE)
async def dimensions_are_as_asked(api: Api) -> None:
    """With `dimensions: 256` there are 256, or the model is said not to support it."""
    vector = _vector(await _first(api, TEXTS[0], dimensions=SIZE))
    same(len(vector), SIZE, "the number of dimensions")


@AREA.case(CREATE)
async def packed_dimensions_are_as_asked(api: Api) -> None:
    """`dimensions` and base64 go together."""
    packed = await _first(api, TEXTS[0], dimensions=SIZE, encoding_format="base64")
    same(len(_unpacked(packed)), SIZE, "the number of dimensions")


@AREA.case(CREATE)
async def a_text_in_a_batch_is_the_same(api: Api) -> None:
    """A text has the same embedding among others as alone, at its own place."""
    alone = _vector(await _first(api, TEXTS[1]))
    _alike(_vector(at((await _texts(api))[1], "embedding")), alone, "in a batch and alone")


@AREA.case(CREATE)
async def different_texts_differ(api: Api) -> None:
    """Different texts have different embeddings."""
    vectors = [_vector(at(item, "embedding")) for item in await _texts(api)]
    require(_cosine(vectors[0], vectors[1]) < 0.999, "two texts have the same embedding")


@AREA.case(CREATE)
async def the_same_text_twice_has_two_places(api: Api) -> None:
    """A text that stands twice in the input has two embeddings, which are the same."""
    data = array((await _embed(api, [TEXTS[0], TEXTS[0]])).accepted(), "data")
    same([whole(item, "index") for item in data], [0, 1], "the indices")
    one, other = (_vector(at(item, "embedding")) for item in data)
    _alike(one, other, "the same text twice")


@AREA.case(REQUEST)
async def a_user_is_taken(api: Api) -> None:
    """`user` is taken."""
    await _first(api, TEXTS[0], user="user-1234")


@AREA.case(REQUEST)
async def an_empty_string_is_refused(api: Api) -> None:
    """An empty string is refused with 400."""
    text((await _embed(api, "")).refused(400), "message")


@AREA.case(REQUEST)
async def an_empty_array_is_refused(api: Api) -> None:
    """An empty array is refused with 400."""
    text((await _embed(api, [])).refused(400), "message")


@AREA.case(REQUEST)
async def missing_input_is_refused(api: Api) -> None:
    """A body without `input` is refused with 400."""
    text((await _embed(api, ABSENT)).refused(400), "message")


@AREA.case(REQUEST)
async def an_unknown_format_is_refused(api: Api) -> None:
    """An `encoding_format` that there is not is refused with 400."""
    text((await _embed(api, TEXTS[0], encoding_format="hex")).refused(400), "message")


@AREA.case(RECORDED)
async def no_dimensions_are_refused(api: Api) -> None:
    """`dimensions: 0` is refused with 400."""
    text((await _embed(api, TEXTS[0], dimensions=0)).refused(400), "message")


@AREA.case(RECORDED)
async def an_unknown_model_is_not_found(api: Api) -> None:
    """A model that nobody knows is refused with 404, code `model_not_found`."""
    error = (await _embed(api, TEXTS[0], model=UNKNOWN_MODEL)).refused(404)
    same(at(error, "code"), "model_not_found", "`error.code`")
