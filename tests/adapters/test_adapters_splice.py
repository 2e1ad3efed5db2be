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


TEXT = st.text(st.sampled_from('model"\\:,{}[] \u00fc\n'), max_size=8) | st.just("model")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, JSON, max_size=5), st.booleans(), st.sampled_from([None, 1]))
def test_for_any_object_the_result_is_the_object_with_the_members_set(
    body: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(body, ensure_ascii=ascii_only, indent=indent).encode()
    made = splice(raw, body, {"model": NEW, "stream_options": b'{"include_usage":true}'})
    assert orjson.loads(made) == {**body, "model": "new", "stream_options": {"include_usage": True}}
