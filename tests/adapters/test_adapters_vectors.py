import base64
import struct
from typing import Any

import httpx
import orjson
import pytest

from turnout.engine.provider import Fault, ProviderError

A, B = [0.1, -2.5, 3.0], [1e-3, 0.0, 7.25]


def packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack("<3f", *vector)).decode()


def single(vector: list[float]) -> list[float]:
    """The vector as float32 sees it."""
    return list(struct.unpack("<3f", struct.pack("<3f", *vector)))


def reply(*rows: tuple[int | None, Any], model: str = "up") -> bytes:
    data = [
        {"object": "embedding", "embedding": vector} | ({} if index is None else {"index": index})
        for index, vector in rows
    ]
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    return orjson.dumps({"object": "list", "data": data, "model": model, "usage": usage})


def asked(bench: Any, **members: Any) -> Any:
    return bench.call({"model": "gpt-4", "input": ["a", "b"], **members}, embeddings=True)


@pytest.mark.parametrize("honours", [True, False])
@pytest.mark.parametrize("encoding", [None, "float", "base64"])
async def test_vectors_come_in_the_encoding_asked_for(
    bench: Any, encoding: str | None, honours: bool
) -> None:
    gives_text = (encoding == "base64") is honours
    rows = [(0, packed(A)), (1, packed(B))] if gives_text else [(0, A), (1, B)]
    seen: list[httpx.Request] = []
    provider = bench.answering("openai", reply(*rows), seen=seen)
    members = {} if encoding is None else {"encoding_format": encoding}
    answer = await provider.answer(asked(bench, **members))
    body = orjson.loads(answer.body)
    vectors = [row["embedding"] for row in body["data"]]
    if encoding == "base64":
        assert vectors == [packed(A), packed(B)]
    else:
        assert [single(v) for v in vectors] == [single(A), single(B)]
        assert all(isinstance(v, list) for v in vectors)
    assert (body["model"], answer.upstream_model) == ("gpt-4", "up")
    assert answer.usage is not None
    assert (answer.usage.input, answer.usage.output, answer.text) == (6, 0, "")
    assert seen[0].url.path == "/v1/embeddings"
    assert orjson.loads(seen[0].content) == {
        "model": "upstream-model",
        "input": ["a", "b"],
        **members,
    }


@pytest.mark.parametrize("empty", [None, ""])
async def test_an_empty_encoding_is_not_passed_on(bench: Any, empty: str | None) -> None:
    seen: list[httpx.Request] = []
    provider = bench.answering("openai", reply((0, A), (1, B)), seen=seen)
    await provider.answer(asked(bench, encoding_format=empty))
    assert orjson.loads(seen[0].content)["encoding_format"] == "float"


async def test_bytes_that_are_right_pass_through_but_for_the_model(bench: Any) -> None:
    raw = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10,1E-1]}], "model":"up","usage":{"prompt_tokens":1,"total_tokens":1},"x":123456789012345678901}'  # noqa: E501
    answer = await bench.answering("openai", raw).answer(asked(bench, input="a"))
    assert answer.body == raw.replace(b'"up"', b'"gpt-4"')


@pytest.mark.parametrize("rows", [[(1, B), (0, A)], [(None, A), (None, B)]])
async def test_vectors_come_in_the_order_of_the_inputs(bench: Any, rows: list[Any]) -> None:
    answer = await bench.answering("openai", reply(*rows)).answer(asked(bench))
    data = orjson.loads(answer.body)["data"]
    assert [(row["index"], row["embedding"]) for row in data] == [(0, A), (1, B)]


@pytest.mark.parametrize(
    ("given", "count"),
    [("one text", 1), (["a", "b"], 2), ([64, 65, 66], 1), ([[64], [65]], 2)],
)
async def test_there_is_one_vector_per_input(bench: Any, given: Any, count: int) -> None:
    rows = [(index, A) for index in range(count)]
    answer = await bench.answering("openai", reply(*rows)).answer(asked(bench, input=given))
    assert len(orjson.loads(answer.body)["data"]) == count
    for wrong in (rows[1:] or [(0, A), (1, A)], [*rows, (count, A)], [(9, A)] * count):
        with pytest.raises(ProviderError) as caught:
            await bench.answering("openai", reply(*wrong)).answer(asked(bench, input=given))
        assert caught.value.fault is Fault.BAD_OUTPUT


BROKEN = {
    "nothing": b"",
    "no data": b'{"data":[]}',
    "rows that are none": b'{"data":[1,2]}',
    "no vector": b'{"data":[{"index":0},{"index":1}]}',
    "a chat answer": b'{"choices":[{"message":{"content":"x"}}]}',
    "half a float": reply((0, "AAA="), (1, "AAA=")),
    "not base64": reply((0, "!!!!"), (1, "!!!!")),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_is_no_vectors_is_bad_output(bench: Any, name: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await bench.answering("openai", BROKEN[name]).answer(asked(bench))
    assert caught.value.fault is Fault.BAD_OUTPUT


@pytest.mark.parametrize("vector", [["x"], [None], [1e60, "y"], [[1.0]]])
async def test_a_vector_that_cannot_be_packed_is_bad_output(bench: Any, vector: Any) -> None:
    provider = bench.answering("openai", reply((0, vector), (1, vector)))
    with pytest.raises(ProviderError) as caught:
        await provider.answer(asked(bench, encoding_format="base64"))
    assert caught.value.fault is Fault.BAD_OUTPUT


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_another_number_of_dimensions_is_never_passed_off_as_the_one_asked_for(
    bench: Any, encoding: str
) -> None:
    provider = bench.answering("openai", reply((0, A), (1, B)))
    fits = await provider.answer(asked(bench, dimensions=3, encoding_format=encoding))
    assert fits.usage is not None
    with pytest.raises(ProviderError) as caught:
        await provider.answer(asked(bench, dimensions=2, encoding_format=encoding))
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED, "dimensions")


async def test_anthropic_has_no_vectors(bench: Any) -> None:
    call = asked(bench)
    with pytest.raises(ProviderError) as caught:
        await bench.answering("anthropic", b"{}").answer(call)
    assert caught.value.fault is Fault.UNSUPPORTED
    assert not call.sent
