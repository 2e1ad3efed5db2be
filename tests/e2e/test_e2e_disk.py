"""A disk that is full or read-only: paid work is refused before a record is lost."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from .conftest import PROVIDERS, Served

BODY = {"model": "auto", "messages": [{"role": "user", "content": "word " * 30}]}
SIZE = 4 * 1024 * 1024


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def _mounted(folder: Path, options: str) -> bool:
    told = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
    )
    return told.returncode == 0


def _can_mount() -> bool:
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"turnout-mount-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    try:
        if os.geteuid() != 0 or not _mounted(folder, "size=64k"):
            return False
        subprocess.run(["umount", str(folder)], check=True)
        return True
    finally:
        folder.rmdir()


class Disk(Protocol):
    """What a home is on, to be filled up and emptied."""

    def fill(self, served: Served) -> None: ...

    def empty(self, served: Served) -> None: ...


class Filesystem:
    """A small filesystem of its own; only root may make one."""

    def __init__(self, folder: Path) -> None:
        self.ballast = folder / "ballast"

    def fill(self, served: Served) -> None:
        with self.ballast.open("wb", buffering=0) as file:
            for size in (65_536, 4_096):
                try:
                    while file.write(b"x" * size) == size:
                        pass
                except OSError:
                    pass

    def empty(self, served: Served) -> None:
        self.ballast.unlink()


class SizeLimit:
    """A bound on how large the files of a process may become: anybody may set one."""

    def fill(self, served: Served) -> None:
        largest = max(file.stat().st_size for file in served.home.glob("turnout.db*"))
        self._set(served, largest + 1)

    def empty(self, served: Served) -> None:
        self._set(served, resource.RLIM_INFINITY)

    def _set(self, served: Served, most: int) -> None:
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


@pytest.fixture(params=["size_limit", *(["filesystem"] if _can_mount() else [])])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "size_limit":
        yield SizeLimit()
        return
    home = tmp_path / "home"
    home.mkdir()
    assert _mounted(home, f"size={SIZE}")
    try:
        yield Filesystem(home)
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def asked(served: Served) -> httpx.Response:
    return httpx.post(f"{served.url}/v1/chat/completions", json=BODY, timeout=30)


def ledger(served: Served) -> set[str]:
    with sqlite3.connect(f"file:{served.home}/turnout.db?mode=ro", uri=True) as database:
        return {row[0] for row in database.execute("select request from ledger")}


def test_nothing_that_was_answered_is_missing_after_a_disk_was_full(
    disk: Disk, serve: Callable[..., Served], first_policy: str
) -> None:
    served = serve(first_policy, TURNOUT_MIN_FREE_BYTES="0", TURNOUT_PROBE_SECONDS="0")
    answers = [asked(served) for _ in range(20)]
    until(lambda: len(ledger(served)) == 20)
    disk.fill(served)
    # What is under way when the first write fails is kept in memory.
    while answers[-1].status_code == 200:
        answers.append(asked(served))
        assert len(answers) < 3_000
    answers += [asked(served) for _ in range(5)]
    refused = [one for one in answers if one.status_code != 200]
    assert len(refused) == 6
    for one in refused:
        assert (one.status_code, one.json()["error"]["code"]) == (503, "disk_full")
        assert int(one.headers["retry-after"]) >= 1
    health = httpx.get(f"{served.url}/health").json()
    assert health["status"] == "degraded"
    assert health["journal"]["reason"] == "disk_full"
    assert httpx.get(f"{served.url}/ready").json()["error"]["code"] == "disk_full"
    until(lambda: "\nturnout_accepting 0.0" in httpx.get(f"{served.url}/metrics").text)
    disk.empty(served)
    until(lambda: httpx.get(f"{served.url}/ready").status_code == 200)
    answers += [asked(served) for _ in range(3)]
    assert [one.status_code for one in answers[-3:]] == [200, 200, 200]
    assert served.stop() == 0
    answered = {one.headers["x-request-id"] for one in answers if one.status_code == 200}
    assert ledger(served) == answered
    log = served.log.read_text()
    assert log.count("the journal cannot be written, trying again") == 1
    assert "Traceback" not in log
    assert "is lost" not in log


def test_below_the_floor_nothing_is_begun_and_everything_is_still_written(
    serve: Callable[..., Served], first_policy: str, tmp_path: Path
) -> None:
    free = shutil.disk_usage(tmp_path).free
    served = serve(
        first_policy,
        "--workers",
        "2",
        TURNOUT_MIN_FREE_BYTES=str(free * 2),
        TURNOUT_PROBE_SECONDS="0",
    )
    until(lambda: asked(served).status_code == 503)
    told = httpx.get(f"{served.url}/health").json()
    assert told["disk"]["full"] is True
    assert told["disk"]["floor_bytes"] == free * 2
    until(lambda: "turnout_disk_free_bytes" in httpx.get(f"{served.url}/metrics").text)
    assert served.stop() == 0
    assert served.log.read_text().count("paid work is refused until there is room") == 1
    with sqlite3.connect(served.home / "turnout.db") as database:
        actions = [row[0] for row in database.execute("select action from audit order by number")]
    assert actions.count("disk.full") == 1
    assert actions.count("gateway.start") == actions.count("gateway.stop") == 2


def test_a_home_that_cannot_be_written_is_refused_in_words(
    tmp_path: Path, first_policy: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    is_mounted = _can_mount() and _mounted(home, "size=1m,ro")
    home.chmod(0o500) if not is_mounted else None
    policy = tmp_path / "routing.yml"
    policy.write_text(first_policy)
    keys = {f"{name.upper()}_API_KEY": "simulated" for name in PROVIDERS}
    bare = {k: v for k, v in os.environ.items() if not k.startswith("TURNOUT_")}
    try:
        told = subprocess.run(
            [sys.executable, "-m", "turnout", "serve", "--policy", str(policy), "--port", "0"],
            capture_output=True,
            text=True,
            timeout=60,
            env=bare | keys | {"TURNOUT_HOME": str(home)},
        )
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(home)], check=True)
    assert told.returncode == 2
    assert f"cannot write in the folder `{home}`" in told.stderr
    assert "Traceback" not in told.stderr
