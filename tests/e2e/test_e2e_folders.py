"""What a run leaves on the disk is for its owner alone: every folder 0700, every file 0600."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Served
from .test_e2e_demo import ask

RULE = "routing_policy:\n  - {name: all, route: openai/gpt-4o}\n"


def modes(home: Path) -> dict[str, str]:
    """The mode of the folder and of everything below it."""
    return {str(one): f"{stat.S_IMODE(one.stat().st_mode):04o}" for one in (home, *home.rglob("*"))}


def check(home: Path) -> None:
    found = modes(home)
    wanted = {one: "0700" if Path(one).is_dir() else "0600" for one in found}
    assert found == wanted
    assert str(home / "turnout.db") in found


def test_all_that_the_demo_and_the_gateway_make_is_closed_to_others(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    demo = Served("demo", "--port", "0", home=tmp_path / "home")
    try:
        ask(demo.url)
        check(demo.home / "demo")
        assert modes(demo.home)[str(demo.home)] == "0700"
    finally:
        assert demo.stop() == 0
    served = serve(RULE, "--workers", "2")
    assert served.home == demo.home
    check(served.home)
    assert (served.home / "metrics").is_dir() and (served.home / "run").is_dir()
    assert "is open to others" not in served.log.read_text()


def test_answers_that_nobody_reads_any_more_and_a_redis_that_is_not_there_are_told_at_the_start(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir(0o700)
    (home / "cache.db").touch(0o600)
    url = "redis://me:secret@127.0.0.1:1"
    served = serve(RULE, "--workers", "2", TURNOUT_CACHE_DISK_BYTES="0", TURNOUT_REDIS_URL=url)
    told = served.log.read_text()
    assert told.count(f"answers of before are still in `{home}/cache.db`") == 1
    assert told.count("TURNOUT_REDIS_URL: 127.0.0.1:1: it cannot be reached") == 1
    assert "secret" not in told


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_home_that_is_open_to_others_is_told_at_the_start(
    serve: Callable[..., Served], tmp_path: Path, mode: int
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    served = serve(RULE)
    assert f"warning: the folder `{home}` is open to others" in served.log.read_text()
    assert f"(mode {mode:04o})" in served.log.read_text()
    found = modes(home)
    assert {m for one, m in found.items() if Path(one).is_dir()} == {f"{mode:04o}", "0700"}
