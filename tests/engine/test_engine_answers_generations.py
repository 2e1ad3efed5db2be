"""A number that was raised is seen by all, and never comes again."""

import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout.engine.cached import CacheError
from turnout.engine.state import generations as module
from turnout.engine.state.generations import FILE, SharedGenerations


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """They look at every use whether the file is still there, not once a second."""
    monkeypatch.setattr(module, "_LOOK_NS", 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time of the machine in ns, turned by hand."""
    now = [10**9]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    return now


def test_a_raised_number_is_another_one_for_everybody(tmp_path: Path) -> None:
    one, other = SharedGenerations(tmp_path), SharedGenerations(tmp_path)
    seen = set()
    for raiser in (one, other, one):
        assert one.of("acme") == other.of("acme") == one.of("acme")
        seen.add(one.of("acme"))
        raiser.raise_("acme")
    assert len({*seen, one.of("acme")}) == 4


def test_a_number_of_one_tenant_is_not_that_of_others(tmp_path: Path) -> None:
    numbers = SharedGenerations(tmp_path)
    before = {name: numbers.of(name) for name in ("acme", "globex", "", "ä", "\ud800")}
    numbers.raise_("acme")
    after = {name: numbers.of(name) for name in before}
    assert [name for name in before if before[name] != after[name]] == ["acme"]
    numbers.raise_(None)
    assert not [name for name in before if numbers.of(name) == after[name]]


def test_numbers_outlive_who_raised_them(tmp_path: Path) -> None:
    numbers = SharedGenerations(tmp_path)
    numbers.raise_("acme")
    raised = numbers.of("acme")
    numbers.close()
    assert SharedGenerations(tmp_path).of("acme") == raised


def gone(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    os.truncate(file, 100)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def longer(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")


RUINS = [gone, cut, emptied, longer]


@pytest.mark.parametrize("ruin", RUINS)
@pytest.mark.usefixtures("watchful")
def test_a_new_file_has_numbers_that_never_were(
    tmp_path: Path, ruin: Callable[[Path], None]
) -> None:
    one, other = SharedGenerations(tmp_path), SharedGenerations(tmp_path)
    seen = []
    for _ in range(5):
        one.raise_("acme")
        seen.append(one.of("acme"))
        ruin(tmp_path / FILE)
        assert one.of("acme") == other.of("acme")
        assert other.of("acme") not in seen
        seen.append(one.of("acme"))
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_a_file_that_is_gone_is_noticed_within_a_second(tmp_path: Path, clock: list[int]) -> None:
    one = SharedGenerations(tmp_path)
    number = one.of("acme")
    (tmp_path / FILE).unlink()
    SharedGenerations(tmp_path).raise_("acme")
    clock[0] += 999_999_999
    assert one.of("acme") == number
    clock[0] += 1
    assert one.of("acme") != number
    assert one.of("acme") == SharedGenerations(tmp_path).of("acme")


@pytest.mark.parametrize("ruin", RUINS)
def test_who_raises_does_so_in_the_file_that_is_there(
    tmp_path: Path, ruin: Callable[[Path], None]
) -> None:
    one = SharedGenerations(tmp_path)
    one.of("acme")
    ruin(tmp_path / FILE)
    other = SharedGenerations(tmp_path)
    number = other.of("acme")
    one.raise_("acme")
    assert other.of("acme") != number


@pytest.mark.usefixtures("watchful")
def test_without_a_file_every_number_is_another_one_a_second_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: list[int]
) -> None:
    folder = tmp_path / "run"
    folder.write_text("no folder")
    numbers = SharedGenerations(folder)
    seen = []
    for _ in range(10):
        seen.append(numbers.of("acme"))
        assert numbers.of("acme") == seen[-1]  # requests at the same time share an answer
        clock[0] += 10**9
    assert len(set(seen)) == 10
    with pytest.raises(CacheError, match="cannot be written"):
        numbers.raise_("acme")
    assert len(caplog.records) == 1
    folder.unlink()
    assert numbers.of("acme") == numbers.of("acme")
    assert numbers.of("acme") not in seen
    numbers.raise_("acme")


def test_after_its_end_every_number_is_another_one_a_second_later(
    tmp_path: Path, clock: list[int]
) -> None:
    numbers = SharedGenerations(tmp_path)
    numbers.close()
    numbers.close()
    number = numbers.of("acme")
    clock[0] += 10**9
    assert numbers.of("acme") != number
    with pytest.raises(CacheError):
        numbers.raise_("acme")


def test_who_holds_the_lock_for_ever_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.05)
    numbers = SharedGenerations(tmp_path)
    file = os.open(tmp_path / FILE, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    with pytest.raises(CacheError, match="another process holds it"):
        numbers.raise_("acme")
    os.close(file)
    numbers.raise_("acme")


def test_threads_never_see_a_number_that_was_raised_before(tmp_path: Path) -> None:
    numbers = SharedGenerations(tmp_path)
    raised = [numbers.of("acme")]
    stop = threading.Event()
    wrong: list[tuple[int, int]] = []

    def read() -> None:
        while not stop.is_set():
            least = raised[-1]
            found = numbers.of("acme")
            if found < least:
                wrong.append((found, least))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    other = SharedGenerations(tmp_path)
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        other.raise_("acme")
        raised.append(other.of("acme"))
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
