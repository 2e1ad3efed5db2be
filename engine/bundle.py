"""The texts of a policy at one moment: its main file, and what that includes.

A candidate is read once, judged, kept and loaded by every worker as the very same texts, whatever
becomes of the files meanwhile. `Mark` tells, without reading, whether a file is another one.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from turnout.dsl.include import Load, NotLoaded
from turnout.dsl.source import Source

from .include import MAX_BYTES, beside

Mark = tuple[int, ...] | None
"""What the file system says of a file: another one has another mark. None: there is none."""


@dataclass(frozen=True)
class Bundle:
    """A main file's text under its name, and the texts that it includes by their paths.

    Paths are relative to the main file's folder, as `dsl.include` resolves them.
    """

    name: str
    main: str = field(repr=False)
    included: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def source(self) -> Source:
        """The main file."""
        return Source(self.name, self.main)

    def load(self, path: str) -> Source:
        """What it includes. Raises: NotLoaded."""
        if path not in self.included:
            raise NotLoaded(f"`{path}` was not among the files of this policy")
        return Source(str(Path(self.name).parent / path), self.included[path])

    @cached_property
    def digest(self) -> str:
        """The hash of the texts, comments included."""
        texts = json.dumps([self.main, sorted(self.included.items())])
        return "sha256:" + hashlib.sha256(texts.encode()).hexdigest()

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of all its files, as the main file's name makes them."""
        folder = Path(self.name).parent
        return (self.name, *(str(folder / path) for path in self.included))

    def is_on_disk(self) -> bool:
        """Whether the files hold these very texts now. Blocks; reads them."""
        try:
            if read_main(self.name).text != self.main:
                return False
            load = beside(self.name)
            return all(load(path).text == text for path, text in self.included.items())
        except (OSError, UnicodeError, NotLoaded):
            return False

    def to_json(self) -> dict[str, Any]:
        """As data: `{name, main, included: {path: text}}`."""
        return {"name": self.name, "main": self.main, "included": dict(self.included)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Bundle":
        """From the data of `to_json`. Raises: KeyError, TypeError, ValueError."""
        return cls(str(data["name"]), str(data["main"]), dict(data["included"]))


class Reading:
    """A loader that remembers: what it read, and the marks of all files that were asked for."""

    def __init__(self, source: Source, load: Load) -> None:
        """Remember what this loader reads for a main file; take it before that file is read."""
        self._source = source
        self._load = load
        self._folder = Path(source.name).parent
        self._texts: dict[str, str] = {}
        self.marks: dict[str, Mark] = {}

    def __call__(self, path: str) -> Source:
        """A file that is included. Raises: NotLoaded."""
        file = str(self._folder / path)
        # Before it is read: what changes while it is read has another mark afterwards.
        self.marks[file] = mark(file)
        source = self._load(path)
        self._texts[path] = source.text
        return source

    @property
    def bundle(self) -> Bundle:
        """What was read so far."""
        return Bundle(self._source.name, self._source.text, dict(self._texts))


def read_main(name: str) -> Source:
    """A main file. Raises: OSError, also where it is no file; UnicodeError; ValueError."""
    descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)  # a folder cannot be made a stream, which would close it
        raise OSError(0, "it is no file")
    with open(descriptor, "rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(0, f"it is larger than {MAX_BYTES // 1024 // 1024} MiB")
    return Source(name, data.decode("utf-8-sig"))


def mark(file: str) -> Mark:
    """The mark of a file, links followed. Blocks for as long as the file system does."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def marks_of(files: Iterable[str]) -> dict[str, Mark]:
    """The marks of files now."""
    return {file: mark(file) for file in files}
