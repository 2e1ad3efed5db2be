import asyncio
import base64
import struct
from collections.abc import Callable
from typing import Any

import httpx
import openai
import orjson
import pytest
import tiktoken

from turnout.adapters.vectors import embeddings_answer, input_as_texts, texts_of
from turnout.engine import encodings
from turnout.engine.provider import Fault, ProviderError
from turnout.engine.request import Usage

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


# --- a real client, whatever the upstream gives --------------------------------------------------


def openais(texts: list[str], as_text: bool) -> dict[str, Any]:
    rows = [
        {"object": "embedding", "index": index, "embedding": packed(A) if as_text else A}
        for index, _ in enumerate(texts)
    ]
    return {"object": "list", "data": rows, "model": "up"}


def coheres(texts: list[str], as_text: bool) -> dict[str, Any]:
    kind, vector = ("base64", packed(A)) if as_text else ("float", A)
    return {"id": "x", "embeddings": {kind: [vector for _ in texts]}}


UPSTREAMS: dict[str, tuple[str, Callable[[list[str], bool], dict[str, Any]]]] = {
    # the member that holds what is embedded, and how the answer is written
    "openai": ("input", openais),
    "ollama": ("input", openais),
    "cohere": ("texts", coheres),
}


@pytest.mark.parametrize("gives_text", [False, True], ids=["floats", "text"])
@pytest.mark.parametrize("asked", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}],
                         ids=["default", "float", "base64"])  # fmt: skip
@pytest.mark.parametrize("kind", UPSTREAMS)
async def test_openais_client_gets_the_very_numbers(
    bench: Any, kind: str, asked: dict[str, Any], gives_text: bool
) -> None:
    member, written = UPSTREAMS[kind]

    def upstream(request: httpx.Request) -> httpx.Response:
        body = orjson.loads(request.content)
        return httpx.Response(200, json=written(body[member], gives_text))

    provider = bench.provider(kind, httpx.MockTransport(upstream))

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await bench.request_of(reader)
        answer = (await provider.answer(bench.call(body, embeddings=True))).body
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}"
        writer.write(head.encode() + b"\r\n\r\n" + answer)
        await writer.drain()

    async with bench.server(gateway) as address:
        async with openai.AsyncOpenAI(base_url=address, api_key="k", max_retries=0) as client:
            answer = await client.embeddings.create(model="e", input=["a", "b"], **asked)
    for row in answer.data:
        vector: Any = row.embedding
        if isinstance(vector, str):
            # Asked for base64 outright, this client hands it on.
            vector = list(struct.unpack("<3f", base64.b64decode(vector)))
        assert single(vector) == single(A)
    assert [row.index for row in answer.data] == [0, 1]


# --- token ids -----------------------------------------------------------------------------------


def ids_of(text: str) -> list[int]:
    table = encodings.CL100K.encoding()
    assert isinstance(table, tiktoken.Encoding)
    return table.encode_ordinary(text)


TEXTS = ["Hello world", "Grüße an 🐘 in 東京", "<|endoftext|> is a text here", " \n\t", "naïve"]


@pytest.mark.parametrize("text", TEXTS)
async def test_token_ids_are_read_back_as_the_text_that_they_were(bench: Any, text: str) -> None:
    for given in (ids_of(text), [ids_of(text)], [text]):
        assert await texts_of(asked(bench, input=given)) == [text]
    assert await texts_of(asked(bench, input=[text, ids_of(text)])) == [text, text]


async def test_reading_back_never_holds_up_the_event_loop(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "_LOADED", {})
    turns = 0

    async def beside() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(beside())
    assert await texts_of(asked(bench, input=[9906])) == ["Hello"]
    other.cancel()
    # The table takes a third of a second to load.
    assert turns > 100


@pytest.mark.parametrize(
    "given",
    [[], None, 5, [[]], [1, "a"], ["a", None], [[1, "a"]], [-1], [2**40], [100_270], [True], [1.5]],
    ids=str,
)
async def test_an_input_that_is_none_is_the_callers_mistake(bench: Any, given: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        await texts_of(asked(bench, input=given))
    assert (caught.value.fault, caught.value.param) == (Fault.BAD_REQUEST, "input")


async def test_ids_become_texts_for_servers_that_take_none(bench: Any) -> None:
    assert await input_as_texts(asked(bench, input="a")) == {}
    assert await input_as_texts(asked(bench, input=["a"])) == {}
    assert await input_as_texts(asked(bench, input=[64, 65])) == {"input": b'["ab"]'}
    assert await input_as_texts(asked(bench, input=[[64], [65]])) == {"input": b'["a","b"]'}


@pytest.mark.parametrize("kind", ["ollama", "mistral", "together", "fireworks"])
async def test_a_server_with_another_vocabulary_gets_the_texts(bench: Any, kind: str) -> None:
    seen: list[httpx.Request] = []
    provider = bench.answering(kind, reply((0, A), (1, B)), seen=seen)
    await provider.answer(asked(bench, input=[[9906, 1917], [64]]))
    assert orjson.loads(seen[0].content)["input"] == ["Hello world", "a"]


# --- answers of other wires ----------------------------------------------------------------------


@pytest.mark.parametrize("vectors", [[A, B], [packed(A), packed(B)]], ids=["floats", "text"])
@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_vectors_of_another_wire_are_told_in_the_encoding_asked_for(
    bench: Any, encoding: str | None, vectors: Any
) -> None:
    call = asked(bench, **({} if encoding is None else {"encoding_format": encoding}))
    answer = embeddings_answer(vectors, call, Usage(6, 0), "up")
    body = orjson.loads(answer.body)
    told = [row["embedding"] for row in body["data"]]
    if encoding == "base64":
        assert told == [packed(A), packed(B)]
    else:
        assert [single(vector) for vector in told] == [single(A), single(B)]
    assert [row["index"] for row in body["data"]] == [0, 1]
    assert body["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert (body["model"], answer.upstream_model) == ("gpt-4", "up")


@pytest.mark.parametrize(
    ("vectors", "fault"),
    [
        ([A], Fault.BAD_OUTPUT),
        ([A, B, A], Fault.BAD_OUTPUT),
        ([["x"], ["y"]], Fault.BAD_OUTPUT),
        ([[None], [None]], Fault.BAD_OUTPUT),
        (["!", "!"], Fault.BAD_OUTPUT),
        ([A, B[:2]], Fault.UNSUPPORTED),
    ],
)
def test_vectors_that_are_not_what_was_asked_for_are_none(
    bench: Any, vectors: Any, fault: Fault
) -> None:
    with pytest.raises(ProviderError) as caught:
        embeddings_answer(vectors, asked(bench, dimensions=3), None, None)
    assert caught.value.fault is fault
