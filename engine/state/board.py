"""The board that the worker processes of one machine share: files under `TURNOUT_HOME/run`.

Each worker has a file per topic that it alone writes, and a file that it holds locked for as long
as it lives: the kernel lets go of it however the worker ends, and whoever finds a file that nobody
holds takes away what belonged to it. Nobody waits for anybody; but who hangs keeps its roles.
"""

import fcntl
import logging
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from turnout.engine.folder import make_closed

from .told import Teller, Told, open_file

FOLDER = "run"

_SCAN_NS = 1_000_000_000  # between two looks at who is there
_GRAIN_NS = 20_000_000  # two changes of a folder that are not further apart may look like one
_NAMES = 8  # to join under, before it is left to the next time
_LIVE = "live"
_NAME = re.compile(r"(\d+-[0-9a-f]{16})\.([a-z][a-z_]*)")

_log = logging.getLogger("turnout.board")


class SharedBoard:
    """A `Board` between the processes that name the same folder; opened by each for itself.

    Cost, on ext4: `look` 2 µs, and 0.8 µs for each fellow that told nothing new, once a second 6 µs
    more for each; `post` 5 µs, of 100 KB 30 µs, and as much to read it.
    What is posted, and who comes, is seen by the next look; who ended, however it did, within a
    second. What another version of the program wrote in another form is not read. A disk that
    cannot be written is said once, and then this worker knows only what it sees for itself.
    """

    def __init__(self, folder: Path, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Join the board in a folder, made where it is missing. Never raises."""
        self._folder = folder
        self._now_ns = now_ns
        self._name = ""
        self._life: int | None = None  # the locked file of this worker
        self._tellers: dict[str, Teller] = {}
        self._roles: dict[str, int] = {}
        self._led: set[str] = set()
        self._fellows: dict[str, _Fellow] = {}
        self._news: set[str] = set()  # topics of fellows that ended
        self._scan_at_ns = 0
        self._changed_ns = -1  # when the folder changed before it was last read, by its own clock
        self._complained = False
        self._closed = False
        self._guarded(self._join)

    def post(self, topic: str, told: bytes) -> None:
        """Replace what this worker tells under a topic."""
        teller = self._tellers.get(topic)
        if teller is None:
            teller = self._tellers[topic] = Teller()
        if teller.tell(told):
            self._guarded(self._write)

    def look(self, topic: str) -> list[bytes] | None:
        """What all others tell under a topic; None where nothing has changed since."""
        self._guarded(self._refresh)
        changed = topic in self._news
        self._news.discard(topic)
        for fellow in self._fellows.values():
            told = fellow.topics.get(topic)
            if told is not None and told.changed():
                changed = True
        if not changed:
            return None
        tellers = (fellow.topics.get(topic) for fellow in self._fellows.values())
        return [one.told for one in tellers if one is not None and one.told is not None]

    def leads(self, role: str) -> bool:
        """Whether this worker holds a role; takes it where it is free.

        Where roles cannot be told it does, as everybody else: done twice is better than not done.
        """
        if role in self._led:
            return True
        if self._guarded(lambda: self._claim(role)):
            return role in self._led
        return not self._closed

    def close(self) -> None:
        """Take away what this worker told, and give up its roles."""
        self._closed = True
        self._leave()
        self._resign()
        for fellow in self._fellows.values():
            fellow.close()
        self._fellows = {}

    # --- this worker -----------------------------------------------------------------------------

    def _join(self) -> None:
        """Be there under a new name, with everything told so far, and without a role."""
        self._leave()
        self._resign()
        make_closed(self._folder)
        for _ in range(_NAMES):
            self._name = f"{os.getpid()}-{secrets.token_hex(8)}"
            self._life = _locked(self._path(_LIVE))
            if self._life is not None:
                break
        for teller in self._tellers.values():
            teller.pending = True
        self._write()

    def _resign(self) -> None:
        """Give up all roles: in a folder that was cleared, others find files that nobody holds."""
        for handle in self._roles.values():
            os.close(handle)
        self._roles, self._led = {}, set()

    def _leave(self) -> None:
        for topic, teller in self._tellers.items():
            if teller.close():
                _remove(self._path(topic))
        if self._life is not None:
            _remove(self._path(_LIVE))
            os.close(self._life)
            self._life = None

    def _write(self) -> None:
        """Write what is not yet where the others see it."""
        if self._life is not None:
            for topic, teller in self._tellers.items():
                if teller.pending:
                    teller.write(self._path(topic))

    def _path(self, topic: str) -> Path:
        return self._folder / f"{self._name}.{topic}"

    def _claim(self, role: str) -> None:
        handle = self._roles.get(role)
        if handle is None:
            flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = self._roles[role] = os.open(self._folder / f"{role}.role", flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        self._led.add(role)

    # --- the others ------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Find out who is there, where that may have changed."""
        now_ns = self._now_ns()
        if now_ns >= self._scan_at_ns or self._stamp() != self._changed_ns:
            self._scan(now_ns)

    def _scan(self, now_ns: int) -> None:
        self._scan_at_ns = now_ns + _SCAN_NS
        if self._life is None or not self._path(_LIVE).exists():
            self._join()  # the folder was cleared, or could not be written so far
        self._write()
        stamp = self._stamp()
        self._changed_ns = -1 if abs(time.time_ns() - stamp) < _GRAIN_NS else stamp
        found: dict[str, set[str]] = {}
        for name in os.listdir(self._folder):
            parts = _NAME.fullmatch(name)
            if parts is not None and parts[1] != self._name:
                found.setdefault(parts[1], set()).add(parts[2])
        for name in self._fellows.keys() - found.keys():
            self._drop(name)
        for name, topics in found.items():
            fellow = self._fellows.get(name)
            if fellow is None:
                fellow = self._fellows[name] = _Fellow(self._folder / name)
            try:
                lives = fellow.lives()
            except OSError:
                continue  # too many open files here, or what is there is no file
            if lives:
                fellow.follow(topics - {_LIVE})
            else:
                # While its file is still held here, so that nobody else takes it for free.
                for topic in topics - {_LIVE}:
                    _remove(self._folder / f"{name}.{topic}")
                _remove(self._folder / f"{name}.{_LIVE}")
                self._drop(name)

    def _stamp(self) -> int:
        """When a file of the folder last came or went."""
        try:
            return self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _drop(self, name: str) -> None:
        fellow = self._fellows.pop(name)
        self._news |= fellow.topics.keys()
        fellow.close()

    def _guarded(self, work: Callable[[], None]) -> bool:
        """Do something with files; whether it could be done. What went wrong is said once."""
        if self._closed:
            return False
        try:
            work()
        except OSError as error:
            if not self._complained:
                self._complained = True
                _log.warning(
                    "the workers cannot share what they know in `%s`: %s; each goes by what it "
                    "sees for itself",
                    self._folder,
                    error.strerror,
                )
            return False
        return True


class _Fellow:
    """Another worker, as far as its files tell."""

    __slots__ = ("_life", "_path", "topics")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._life: int | None = None
        self.topics: dict[str, Told] = {}

    def lives(self) -> bool:
        """Whether somebody holds its file. Raises: OSError where that cannot be told."""
        try:
            if self._life is None:
                self._life = open_file(self._path.with_name(f"{self._path.name}.{_LIVE}"))
            # Shared, so that two that ask at a time do not take each other for it.
            fcntl.flock(self._life, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    def follow(self, topics: set[str]) -> None:
        """Read these topics from now on."""
        for topic in topics - self.topics.keys():
            # Gone in this moment, or never a file: then it tells nothing.
            with suppress(OSError):
                self.topics[topic] = Told(self._path.with_name(f"{self._path.name}.{topic}"))

    def close(self) -> None:
        for told in self.topics.values():
            told.close()
        if self._life is not None:
            os.close(self._life)
            self._life = None


def _locked(path: Path) -> int | None:
    """A new file that this process holds; None where another had it in its hands meanwhile."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been taken for that of a dead worker in the moment before it was locked.
        if os.fstat(handle).st_nlink:
            return handle
    except BlockingIOError:
        pass
    except OSError:  # a disk without locks
        _remove(path)
        os.close(handle)
        raise
    _remove(path)
    os.close(handle)
    return None


def _remove(path: Path) -> None:
    # A folder by that name, a disk that cannot be written: then it stays.
    with suppress(OSError):
        path.unlink(missing_ok=True)
