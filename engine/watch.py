"""Tells when files may have become others, whichever way: written, swapped, or by their links.

It tells too often rather than too seldom; who is told looks at the marks (`bundle.mark`). What it
cannot see (a network mount, no inotify left) is for whoever looks from time to time anyway.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from watchfiles import Change, awatch

_DEBOUNCE_MS = 50
_STEP_MS = 10
_MOST_LINKS = 40
_PAUSE_S = 10.0  # before another try where the system has no watch left

_log = logging.getLogger("turnout.policy")

Place = tuple[str, int, int]
"""A folder, by its path and what it is: a folder made anew has to be watched anew."""


class Watch:
    """Watches the folders on the way to some files; used in one event loop."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """Call this whenever something may have changed."""
        self._on_change = on_change
        self._places: frozenset[Place] = frozenset()
        self._names: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None

    async def follow(self, files: Iterable[str]) -> None:
        """Watch these files from now on, and no others; where they lead is looked up anew."""
        places, names = await asyncio.to_thread(_ways_to, list(files))
        self._names = names
        if places != self._places or self._task is None or self._task.done():
            await self.close()
            self._places = places
            self._task = asyncio.create_task(self._watch(), name="watch")

    async def close(self) -> None:
        """Watch nothing any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        """Tell of every change in the folders; a system that cannot watch is said once."""
        said = False
        while True:
            try:
                async for _ in awatch(
                    *{folder for folder, _, _ in self._places},
                    watch_filter=self._is_on_the_way,
                    debounce=_DEBOUNCE_MS,
                    step=_STEP_MS,
                    recursive=False,
                ):
                    self._on_change()
            except Exception as error:  # whatever the system may say: there is another way to know
                if not said:
                    said = True
                    _log.warning("files cannot be watched, only looked at: %s", error)
            await asyncio.sleep(_PAUSE_S)

    def _is_on_the_way(self, change: Change, path: str) -> bool:
        return os.path.basename(path) in self._names


def _ways_to(files: Iterable[str]) -> tuple[frozenset[Place], frozenset[str]]:
    """The folders in which something must happen for a file to become another, and its names.

    Each link on the way is an entry of a folder: where it is set anew (a mounted ConfigMap's
    `..data`, the work tree that `current` names) is watched like the file's own folder.
    """
    places: set[Place] = set()
    names: set[str] = set()
    for file in files:
        folders, passed = _way_to(os.path.abspath(file))
        names |= passed
        for folder in folders:
            with contextlib.suppress(OSError):
                found = os.stat(folder)
                places.add((folder, found.st_dev, found.st_ino))
    return frozenset(places), frozenset(names)


def _way_to(file: str) -> tuple[set[str], set[str]]:
    """The folders with a link on the way, the last one there is, and the names of all entries."""
    folders: set[str] = set()
    names: set[str] = set()
    here = Path("/")
    ahead = list(reversed(Path(file).parts[1:]))
    links = 0
    while ahead:
        name = ahead.pop()
        if name == "..":
            here = here.parent
            continue
        names.add(name)
        entry = here / name
        try:
            target = os.readlink(entry)
        except OSError:  # no link, or nothing at all
            target = None
        if target is not None and links < _MOST_LINKS:
            links += 1
            folders.add(str(here))
            if os.path.isabs(target):
                here = Path("/")
            ahead += reversed([part for part in Path(target).parts if part != "/"])
        elif not ahead or not entry.is_dir():
            folders.add(str(here))  # its own folder, or the last there is of what leads to it
            break
        else:
            here = entry
    return folders, names
