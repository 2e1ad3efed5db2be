import doctest
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.schema import Value
from turnout.engine import session
from turnout.engine.request import Caller, Operation, Request
from turnout.engine.session import bucket, hashed, kept_by


def request(headers: dict[str, str], body: dict[str, object]) -> Request:
    return Request("req_1", Operation.CHAT, body, b"", "auto", False, Caller(), headers, 0, 0)


SESSIONS: list[tuple[dict[str, str], dict[str, object], str]] = [
    ({"x-turnout-session": "s"}, {"prompt_cache_key": "k", "user": "u"}, "s"),
    ({}, {"prompt_cache_key": "k", "user": "u"}, "k"),
    ({}, {"user": "u"}, "u"),
    ({}, {}, "req_1"),
    ({"x-turnout-session": ""}, {"user": ""}, "req_1"),
    ({}, {"user": 7}, "7"),
]


@pytest.mark.parametrize(("headers", "body", "session"), SESSIONS)
def test_the_session_is_the_first_that_is_given_and_only_its_hash_is_kept(
    headers: dict[str, str], body: dict[str, object], session: str
) -> None:
    assert request(headers, body).session_hash == hashed(session)


@given(st.text(), st.text())
def test_a_bucket_is_what_any_database_computes_from_the_hash(salt: str, identity: str) -> None:
    kept = hashed(identity)
    digest = hashlib.sha256(salt.encode("utf-8", "replace") + b"\0" + kept.encode()).hexdigest()
    assert bucket(salt, kept) == int(digest[:15], 16) % 10_000


def test_buckets_of_many_sessions_spread_evenly_and_differ_by_salt() -> None:
    kept = [hashed(str(number)) for number in range(20_000)]
    low = [bucket("canary", one) < 500 for one in kept]
    other = [bucket("other", one) < 500 for one in kept]
    assert 850 < sum(low) < 1_150
    assert sum(one and two for one, two in zip(low, other, strict=True)) < 100


KEPT: list[tuple[str, dict[str, Value | None], str]] = [
    ("bucket", {"session": "abc"}, "abc"),
    ("bucket", {}, hashed("req_1")),
    ("bucket.user", {"user": "eve", "tenant": "acme"}, hashed("eve")),
    ("bucket.user", {"user": None, "session": "abc", "tenant": "acme"}, "abc"),
    ("bucket.user", {"user": None, "tenant": "acme"}, hashed("req_1")),
    ("bucket.tenant", {"user": "eve", "tenant": "acme"}, hashed("acme")),
    ("bucket.request", {"session": "abc"}, hashed("req_1")),
]


@pytest.mark.parametrize(("attribute", "values", "kept"), KEPT)
def test_a_recorded_request_has_a_bucket_for_any_salt(
    attribute: str, values: dict[str, Value | None], kept: str
) -> None:
    assert kept_by(attribute, values, "req_1") == kept


def test_half_a_surrogate_pair_in_a_session_is_no_error() -> None:
    assert request({}, {"user": "\ud800"}).session_hash == hashed("?")


def test_the_examples_in_the_documentation_are_true() -> None:
    assert doctest.testmod(session).failed == 0
