"""What a client says about the cache in the headers of its request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.engine.directives import AS_USUAL, Directives, directives
from turnout.engine.request import RequestError

NO_STORE = Directives(read=False, write=False)
REFRESH = Directives(read=False)

SAID = [
    # header, value, what it means
    ("x-turnout-cache", "", AS_USUAL),
    ("x-turnout-cache", "no-store", NO_STORE),
    ("x-turnout-cache", " No-Store ", NO_STORE),
    ("x-turnout-cache", "refresh", REFRESH),
    ("cache-control", "", AS_USUAL),
    ("cache-control", ",,", AS_USUAL),
    ("cache-control", "no-store", NO_STORE),
    ("cache-control", "NO-CACHE", REFRESH),
    ("cache-control", "no-cache, no-store", NO_STORE),
    ("cache-control", "only-if-cached", Directives(only=True)),
    ("cache-control", "max-age=0", Directives(max_age_us=0)),
    ("cache-control", "max-age=60", Directives(max_age_us=60_000_000)),
    ("cache-control", 'max-age="60"', Directives(max_age_us=60_000_000)),
    ("cache-control", "max-age = 60", Directives(max_age_us=60_000_000)),
    ("cache-control", "max-age=60, max-age=5", Directives(max_age_us=5_000_000)),
    ("cache-control", "max-age=5, max-age=60", Directives(max_age_us=5_000_000)),
    ("cache-control", "max-age=" + "0" * 8000 + "7", Directives(max_age_us=7_000_000)),
    # what cannot be read is no age at all
    ("cache-control", "max-age", Directives(max_age_us=0)),
    ("cache-control", "max-age=", Directives(max_age_us=0)),
    ("cache-control", "max-age=-1", Directives(max_age_us=0)),
    ("cache-control", "max-age=1.5", Directives(max_age_us=0)),
    ("cache-control", "max-age=\u0661", Directives(max_age_us=0)),
    ("cache-control", "max-age=" + "9" * 8000, Directives(max_age_us=2**31 * 1_000_000)),
    # what is not for us
    ("cache-control", "private, no-transform, max-stale=5, x-y=z", AS_USUAL),
]


@pytest.mark.parametrize(("header", "value", "expected"), SAID, ids=range(len(SAID)))
def test_a_header_means_what_it_says(header: str, value: str, expected: Directives) -> None:
    assert directives({header: value}) == expected


def test_without_a_header_everything_is_as_usual() -> None:
    assert directives({"x-other": "no-store"}) is AS_USUAL


def test_the_stricter_of_two_headers_counts() -> None:
    both = {"x-turnout-cache": "refresh", "cache-control": "no-store"}
    assert directives(both) == NO_STORE
    both = {"x-turnout-cache": "no-store", "cache-control": "only-if-cached"}
    assert directives(both) == Directives(read=False, write=False, only=True)


@pytest.mark.parametrize("word", ["nostore", "no-cache", "on", "no-store, refresh", "\u00e9"])
def test_an_unknown_word_of_ours_is_refused_with_those_that_there_are(word: str) -> None:
    with pytest.raises(RequestError) as caught:
        directives({"x-turnout-cache": word})
    assert (caught.value.status, caught.value.param) == (400, "x-turnout-cache")
    assert "`no-store`" in caught.value.message and "`refresh`" in caught.value.message


@given(st.text(max_size=40))
def test_nothing_in_cache_control_is_refused(value: str) -> None:
    said = directives({"cache-control": value})
    assert said.max_age_us is None or 0 <= said.max_age_us <= 2**31 * 1_000_000
