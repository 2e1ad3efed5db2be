import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.adapters.splice import splice

NEW = b'"new"'
CASES = {
    b'{"model":"a"}': b'{"model":"new"}',
    b' { "x" : 1 , "model"\t:\n"a" } ': b' { "x" : 1 , "model"\t:\n"new" } ',
    b'{"model":"a\\"b\\\\","y":1}': b'{"model":"new","y":1}',
    b'{"model":null,"y":[{"model":"in"}]}': b'{"model":"new","y":[{"model":"in"}]}',
    b'{"y":{"model":"in"},"model":"a"}': b'{"y":{"model":"in"},"model":"new"}',
    b'{"y":"\\"model\\":\\"z\\"","model":"a"}': b'{"y":"\\"model\\":\\"z\\"","model":"new"}',
    b'{"\\"model":"z","model":"a"}': b'{"\\"model":"z","model":"new"}',
    b'{"y":"model","model":"a"}': b'{"y":"model","model":"new"}',
    b'{"model":"a","model":"b"}': b'{"model":"new","model":"new"}',
    b'{"model":1,"model":"b"}': b'{"model":"new","model":"new"}',
    b'{"\\u006dodel":"a","y":{"model":"a"}}': b'{"\\u006dodel":"new","y":{"model":"a"}}',
    b'{"model":{"a":[1,{"b":"}"}]} ,"n":1E400}': b'{"model":"new" ,"n":1E400}',
    b'{"model":[],"big":123456789012345678901234567890}': (
        b'{"model":"new","big":123456789012345678901234567890}'
    ),
    b"{}": b'{"model":"new"}',
    b'{"y":0.10}': b'{"model":"new","y":0.10}',
}


@pytest.mark.parametrize("raw", CASES)
def test_only_the_named_member_changes(raw: bytes) -> None:
    assert splice(raw, json.loads(raw), {"model": NEW}) == CASES[raw]


WITHOUT = {
    b'{"user":"a","y":1}': b'{"y":1}',
    b'{"y":1,"user":"a"}': b'{"y":1}',
    b'{"y":1 ,\n "user" : {"user":[1,","]} \n}': b'{"y":1 \n}',
    b'{"x":1E400,"user":null,"y":0.10}': b'{"x":1E400,"y":0.10}',
    b'{"user":1,"user":2}': b"{}",
    b'{"user":1,"y":{"user":2},"user":3,"user":4}': b'{"y":{"user":2}}',
    b'{"\\u0075ser":1,"y":"\\"user\\":2"}': b'{"y":"\\"user\\":2"}',
    b'{"user":1}': b"{}",
    b'{ "user" : 1 }': b"{  }",
    b'{"y":1}': b'{"y":1}',
    b"{}": b"{}",
    b'{"user":1,"seed":2,"y":3,"seed":4}': b'{"y":3}',
}


@pytest.mark.parametrize("raw", WITHOUT)
def test_a_removed_member_takes_its_comma_along_and_nothing_else(raw: bytes) -> None:
    assert splice(raw, json.loads(raw), {"user": None, "seed": None}) == WITHOUT[raw]


TEXT = st.text(st.sampled_from('model"\\:,{}[] \u00fc\n'), max_size=8) | st.just("model")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)
WRITTEN = st.lists(st.tuples(TEXT | st.sampled_from(["user", "seed"]), JSON), max_size=7)


@given(st.dictionaries(TEXT, JSON, max_size=5), st.booleans(), st.sampled_from([None, 1]))
def test_for_any_object_the_result_is_the_object_with_the_members_set(
    body: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(body, ensure_ascii=ascii_only, indent=indent).encode()
    made = splice(raw, body, {"model": NEW, "stream_options": b'{"include_usage":true}'})
    assert orjson.loads(made) == {**body, "model": "new", "stream_options": {"include_usage": True}}


@given(WRITTEN, st.booleans(), st.sampled_from(["", " ", "\n\t"]))
def test_for_any_object_doubled_names_too_the_result_has_the_members_set_and_removed(
    written: list[tuple[str, object]], ascii_only: bool, space: str
) -> None:
    text = f",{space}".join(
        f"{json.dumps(name, ensure_ascii=ascii_only)}{space}:{space}{json.dumps(value)}{space}"
        for name, value in written
    )
    raw = f"{space}{{{space}{text}}}{space}".encode()
    body = orjson.loads(raw)
    made = splice(raw, body, {"model": NEW, "user": None, "seed": None, "stream": b"true"})
    kept = {name: value for name, value in body.items() if name not in ("user", "seed")}
    assert orjson.loads(made) == {**kept, "model": "new", "stream": True}
