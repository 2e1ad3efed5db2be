"""What no client should send: answered or cut off, never the end of the server."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HEAD = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost localhost\r\n\r\n", 400),
        (b"GET /h\xc3\xa4lth HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"GET /health HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: identity\r\n\r\n", 400),
        (HEAD + b"content-length: -1\r\n\r\n", 400),
        (HEAD + b"content-length: x\r\n\r\n", 400),
        (HEAD + b"content-length: \xd9\xa3\r\n\r\nabc", 400),
        (HEAD + b"content-length : 3\r\n\r\nabc", 400),
        (HEAD + b"x: y\r\n folded: z\r\n\r\n", 400),
        (HEAD + b"x: a\x00b\r\n\r\n", 400),
        (HEAD + b"x: a\nhost: evil\r\n\r\n", 400),
        (HEAD + b"x\xff: y\r\n\r\n", 400),
        (b"G\xffT /health HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"NONE /health HTTP/1.1\r\nhost: evil.example\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nhi\r\n", 400),
        # Whoever stands in front may see the end of a chunk, or of the body, elsewhere.
        (HEAD + b"transfer-encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n\xd9\xa2\r\nhi\r\n0\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2\x0b\r\nhi\r\n0\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2;\nx\r\nhi\r\n0\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nhiXX0\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\n\n0\r\n\r\n", 400),
        (HEAD + b"expect: tea\r\ncontent-length: 1\r\n\r\n", 417),
        (HEAD + b"x: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
    ],
    ids=repr,
)
async def test_what_cannot_be_parsed_gets_the_envelope(
    served: Any, sent: bytes, status: int
) -> None:
    answer = await served.raw(sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"x-request-id: req_" in head
    assert b"content-type: application/json" in head
    for key in (b'"message":', b'"type":"invalid_request_error"', b'"param":null', b'"code":'):
        assert key in body
    assert await is_well(served)


@pytest.mark.parametrize(
    "header",
    [
        b"content-type: application/\xff",
        b"content-type: application/\xed\xa0\x80",
        b"content-type: application/json\r\ncontent-encoding: \xff\xfe",
    ],
    ids=repr,
)
async def test_a_header_that_is_not_utf8_is_refused_in_the_envelope(
    served: Any, header: bytes
) -> None:
    answer = await served.raw(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"%b\r\ncontent-length: 2\r\n\r\n{}" % header
    )
    assert answer.startswith(b"HTTP/1.1 415 "), answer
    assert b"x-request-id: req_" in answer
    assert b'"error":{' in answer


async def test_headers_that_are_not_utf8_reach_the_engine_as_text_of_single_bytes(
    served: Any,
) -> None:
    body = b'{"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]}'
    answer = await served.raw(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"content-type: application/json\r\nx-turnout-session: Z\xfcrich\r\nx-name: Z\xc3\xbcrich"
        b"\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    seen = served.gateway.requests[-1]
    assert seen.headers["x-turnout-session"] == "Z\u00fcrich"
    assert len(seen.session_hash) == 64


async def test_pipelined_requests_are_answered_in_order(served: Any) -> None:
    body = b'{"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]}'
    post = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    answer = await served.raw(
        HEAD + b"\r\n" + post + b"HEAD /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
        b"GET /nope HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"200", b"200", b"404"]
    assert answer.index(b"uptime") < answer.index(b"chatcmpl-1") < answer.index(b"/nope")


async def test_a_flood_of_pipelined_requests_lets_others_have_their_turn(served: Any) -> None:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()  # what it works, not what others on this machine do
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    watching = asyncio.create_task(watch())
    last = HEAD + b"connection: close\r\n\r\n"
    answer = await served.raw((HEAD + b"\r\n") * 3_000 + last)
    watching.cancel()
    assert answer.count(b"HTTP/1.1 200 ") == 3_001
    # A buffer full of them takes more than a tenth of a second.
    assert longest < 0.05


async def test_a_smuggled_request_is_not_taken_for_one(served: Any) -> None:
    answer = await served.raw(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"
        b"\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n" + HEAD + b"\r\n"
    )
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")


PIECES = st.sampled_from(
    [
        b"GET /health HTTP/1.1\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\n",
        b"host: localhost\r\n",
        b"content-type: application/json\r\n",
        b"content-length: 5\r\n",
        b"transfer-encoding: chunked\r\n",
        b"connection: close\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b'{"a":',
        b"\x00\xff",
        b" ",
        b":",
    ]
)


async def test_no_mix_of_pieces_takes_the_server_down(
    served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mixes: list[bytes] = []

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(PIECES | st.binary(max_size=8), max_size=12))
    def collect(pieces: list[bytes]) -> None:
        mixes.append(b"".join(pieces))

    collect()

    async def throw(mix: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(mix)
        try:
            await asyncio.wait_for(reader.read(), 0.05)
        except (TimeoutError, ConnectionError):
            pass
        writer.transport.abort()

    for start in range(0, len(mixes), 50):
        await asyncio.gather(*map(throw, mixes[start : start + 50]))
    assert await is_well(served)
    assert [r.getMessage() for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")] == []


async def is_well(served: Any) -> bool:
    async with httpx.AsyncClient(base_url=served.url) as client:
        return (await client.get("/health")).status_code == 200
