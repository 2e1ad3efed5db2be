"""Judges candidates in a process of its own, so that requests do not wait for it.

Both ends are here: `Checker`, which the worker that leads has, and `serve`, which the process runs.
That process starts at the first candidate, knows no secret, and ends with its standard input.
One question is a path, one answer a `Checked`; each is a length of eight bytes, then JSON.
"""

import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.source import Source

from . import judgement
from .bundle import Bundle, Mark, Reading, mark, marks_of, read_main
from .include import beside
from .judgement import Failing, Rejected

PATIENCE_S = 60.0
IDLE_S = 300.0  # after which the process is let go; the next candidate starts another

_TRIES = 5  # to read files that change while they are read,
_PAUSE_S = 0.05  # and the time between two of them
_LENGTH = struct.Struct("!Q")
_NICENESS = 5
# Whatever else is in the environment may be a secret, and a policy needs none of it.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
_PREFIXES = ("PYTHON", "COVERAGE", "COV_", "LC_")
_START = "import sys; sys.path[:] = sys.argv[1:]; from turnout.engine.checker import serve; serve()"


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a candidate: its texts, or why it is rejected.

    `marks` are those that its files had just before they were read, missing ones included.
    """

    marks: Mapping[str, Mark]
    bundle: Bundle | None = None
    rejected: Rejected | None = None

    def to_json(self) -> dict[str, Any]:
        """As data that `from_json` reads."""
        return {
            "marks": dict(self.marks),
            "bundle": None if self.bundle is None else self.bundle.to_json(),
            "rejected": None if self.rejected is None else self.rejected.packed(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Checked":
        """From the data of `to_json`. Raises: KeyError, TypeError, ValueError."""
        bundle, no = data["bundle"], data["rejected"]
        return cls(
            {
                file: None if found is None else tuple(found)
                for file, found in data["marks"].items()
            },
            None if bundle is None else Bundle.from_json(bundle),
            None if no is None else Rejected.unpacked(no),
        )


class Checker:
    """The process that judges, as it is seen by who asks; used in one event loop."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        """Nothing is started before the first question."""
        self._patience_s = patience_s
        self._process: asyncio.subprocess.Process | None = None
        self._asked_at = 0.0

    async def check(self, path: str) -> Checked:
        """Read and judge the policy of a path. Never raises but CancelledError."""
        self._asked_at = time.monotonic()
        # Before anything is read: what is mended while it is judged is another candidate.
        before = {path: await asyncio.to_thread(mark, path)}
        told = ""
        for _ in range(2):  # the process may have ended since it was last asked
            try:
                async with asyncio.timeout(self._patience_s):
                    return Checked.from_json(await self._ask(path))
            except TimeoutError:
                await self.close()
                reason = f"it could not be judged within {self._patience_s:g} s"
                return Checked(before, rejected=judgement.rejected("slow", reason))
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                told = f"{type(error).__name__}: {error}"
                await self.close()
            except asyncio.CancelledError:
                await self.close()
                raise
        reason = f"what judges policies broke ({told})"
        return Checked(before, rejected=judgement.rejected("broken", reason))

    async def prepare(self) -> None:
        """Have the process start, since it will be needed soon."""
        self._asked_at = time.monotonic()
        with contextlib.suppress(OSError):
            await self._running()

    async def rest(self) -> None:
        """Let the process go where it has not been needed for some time."""
        if self._process is not None and time.monotonic() - self._asked_at > IDLE_S:
            await self.close()

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _ask(self, path: str) -> Any:
        process = await self._running()
        assert process.stdin is not None and process.stdout is not None
        question = json.dumps(path).encode()
        process.stdin.write(_LENGTH.pack(len(question)) + question)
        await process.stdin.drain()
        (length,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
        return json.loads(await process.stdout.readexactly(length))

    async def _running(self) -> asyncio.subprocess.Process:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await _started()
        return process


async def _started() -> asyncio.subprocess.Process:
    # In a session of its own: signals that are meant for the gateway are not for it.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        _START,
        *sys.path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={
            name: value
            for name, value in os.environ.items()
            if name in _ENVIRONMENT or name.startswith(_PREFIXES)
        },
    )


# --- in the process ------------------------------------------------------------------------------


def serve() -> None:
    """Answer on standard output what is asked on standard input, until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)  # requests come first
    asked = os.fdopen(os.dup(0), "rb")
    told = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may write between the answers
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            answer = json.dumps(check(json.loads(_read(asked))).to_json()).encode()
            told.write(_LENGTH.pack(len(answer)) + answer)
            told.flush()


def _read(stream: BinaryIO) -> bytes:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    return stream.read(_LENGTH.unpack(head)[0])


def check(path: str) -> Checked:
    """Read and judge the policy of a path, as it was at one moment."""
    before: dict[str, Mark] = {}
    for _ in range(_TRIES):
        try:
            return _check(path)
        except _Changed as changed:
            before = changed.marks
            time.sleep(_PAUSE_S)
    reason = "its files change faster than they can be read"
    return Checked(before, rejected=judgement.rejected("unreadable", reason))


class _Changed(Exception):
    """Files became others while they were read; `marks` are those from before."""

    def __init__(self, marks: dict[str, Mark]) -> None:
        self.marks = marks


def _check_unchanged(marks: dict[str, Mark]) -> None:
    """Raises: _Changed, where these files are others now than they were."""
    if marks_of(marks) != marks:
        raise _Changed(marks)


def _check(path: str) -> Checked:
    before = {path: mark(path)}
    try:
        source = read_main(path)
    except UnicodeDecodeError as error:
        reason = f"the policy file is not UTF-8 text (byte {error.start + 1})"
        return Checked(before, rejected=judgement.rejected("unreadable", reason))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = f"the policy file cannot be read: {why[:1].lower()}{why[1:]}"
        return Checked(before, rejected=judgement.rejected("unreadable", reason))
    _check_unchanged(before)
    reading = Reading(source, beside(path))

    def load(path: str) -> Source:
        found = reading(path)
        # All that was read so far, each time: after the last one there was a moment for them all.
        _check_unchanged(before | reading.marks)
        return found

    no: Rejected | None = None
    try:
        judgement.judge(source, load)
    except PolicyError as error:
        no = judgement.of_findings(error.diagnostics)
    except Failing as failing:
        no = judgement.of_tests(failing)
    return Checked(before | reading.marks, None if no else reading.bundle, no)
