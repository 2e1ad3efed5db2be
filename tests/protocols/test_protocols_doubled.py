"""A member that stands in a body twice: decided on is one, a provider might read the other."""

import orjson
import pytest

from tests.protocols.test_protocols_hostile import MAXIMAL, PROTOCOLS
from turnout.engine.request import RequestError
from turnout.server.body import read

DECISIVE = {
    "messages": ("messages", "stream", "max_tokens", "tools", "system"),
    "responses": ("input", "stream", "max_output_tokens", "tools", "instructions"),
    "completions": ("prompt", "stream", "max_tokens", "n"),
    "chat": ("messages", "stream", "max_completion_tokens", "tools", "n"),
    "embeddings": ("input",),
}
CASES = [(name, member) for name, members in DECISIVE.items() for member in members]


def doubled(name: str, member: str, spelling: bytes) -> bytes:
    whole = orjson.dumps(MAXIMAL[name])
    return whole[:-1] + b"," + spelling + b": " + orjson.dumps(MAXIMAL[name][member]) + b"}"


@pytest.mark.parametrize(("name", "member"), CASES)
def test_a_member_that_decides_may_stand_there_only_once(name: str, member: str) -> None:
    plain = orjson.dumps(member)
    escaped = b'"\\u00%02X' % ord(member[0]) + plain[2:]
    for spelling in (plain, plain + b" \n", escaped):
        with pytest.raises(RequestError, match="more than once") as refused:
            read(doubled(name, member, spelling), PROTOCOLS[name])
        assert (refused.value.status, refused.value.param) == (400, member)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_names_may_come_back_inside_and_in_texts(name: str) -> None:
    inside = {member: [{"max_a": 1, "max_b": 2, member: {}}] for member in DECISIVE[name]}
    said = {"extra": inside, "told": '"stream": true, "model": "x"', "k\u00e9": "\u0041"}
    raw = orjson.dumps(MAXIMAL[name] | said)
    read(raw.replace("é".encode(), b"\\u0041"), PROTOCOLS[name])


def test_what_the_gateway_does_not_read_may_stand_there_twice() -> None:
    raw = orjson.dumps(MAXIMAL["chat"])[:-1] + b',"new":1,"new":' + b"9" * 300 + b"}"
    body, kept, _ = read(raw, PROTOCOLS["chat"])
    assert kept == raw and body["model"] == "gpt-4o"
