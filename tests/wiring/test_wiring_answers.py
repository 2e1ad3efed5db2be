"""Where answers are shared is said by settings: a file of the home, nowhere, or Redis."""

import sys
from pathlib import Path

import pytest

from turnout.engine.deferred import Deferred
from turnout.engine.state.generations import SharedGenerations
from turnout.engine.state.redis import RedisAnswers, RedisGenerations
from turnout.settings import Settings, SettingsError
from turnout.wiring import shared_answers


def settings(home: Path, **environment: str) -> Settings:
    return Settings.load({"TURNOUT_HOME": str(home), **environment})


def test_answers_are_shared_under_the_home_once_one_is_asked_for(tmp_path: Path) -> None:
    store, numbers = shared_answers(settings(tmp_path))
    assert isinstance(store, Deferred)
    assert isinstance(numbers, SharedGenerations)
    assert not (tmp_path / "cache.db").exists()
    assert store.stats(None) == []
    assert (tmp_path / "cache.db").exists()
    store.close()


def test_without_bytes_for_them_none_are_shared(tmp_path: Path) -> None:
    store, _ = shared_answers(settings(tmp_path, TURNOUT_CACHE_DISK_BYTES="0"))
    assert store is None


@pytest.mark.parametrize("disk", ["0", "1000000"])
def test_where_a_redis_is_named_it_has_them(tmp_path: Path, disk: str) -> None:
    url = "redis://:canary-of-redis@127.0.0.1:1/0"
    (tmp_path / "url").write_text(url + "\n")
    for said in ({"TURNOUT_REDIS_URL": url}, {"TURNOUT_REDIS_URL_FILE": str(tmp_path / "url")}):
        given = settings(tmp_path, TURNOUT_CACHE_DISK_BYTES=disk, **said)
        store, numbers = shared_answers(given)
        assert isinstance(store, RedisAnswers)
        assert isinstance(numbers, RedisGenerations)
        assert "canary" not in repr((given, store, numbers))


@pytest.mark.parametrize("url", ["http://:canary@host", "rediss://:canary@h?ssl_cert_reqs=none"])
def test_an_address_that_is_none_is_a_problem_of_settings(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match=r"^`TURNOUT_REDIS_URL`: it ") as refused:
        shared_answers(settings(tmp_path, TURNOUT_REDIS_URL=url))
    assert "canary" not in str(refused.value)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "turnout.engine.state.redis")
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingsError, match=r"install `turnout\[redis\]`"):
        shared_answers(settings(tmp_path, TURNOUT_REDIS_URL="redis://host"))
