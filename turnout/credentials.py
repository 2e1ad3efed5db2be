"""Where a secret of the environment comes from: a variable, a file, or a command that prints it.

`OPENAI_API_KEY`, `OPENAI_API_KEY_FILE` and `OPENAI_API_KEY_COMMAND` are three ways to say the same,
and only one of them may be set. A command is for key management (`vault kv get …`): no shell runs
it, it has a time and a size, and what it prints is held in memory only.
"""

import os
import selectors
import shlex
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Mapping
from enum import Enum
from typing import IO

COMMAND_S = 10.0
_END_S = 1.0  # for one that was killed
MOST_BYTES = 64 * 1024
_SUFFIXES = ("", "_FILE", "_COMMAND")


class Source(Enum):
    """How a secret is given."""

    VARIABLE = "variable"
    FILE = "file"
    COMMAND = "command"


class Unreadable(Exception):
    """A secret that cannot be had; the message names the variable and nothing of the secret."""


class Commands:
    """What commands have printed, each run once until it is asked to run anew.

    Threads may share it. A worker process gets what was printed before it began, so that the start
    of a gateway runs each command once, however many workers there are.
    """

    def __init__(self, printed: Mapping[tuple[str, str], str] | None = None) -> None:
        """Begin with what is known."""
        self._lock = threading.Lock()
        self._printed = dict(printed or {})

    def read(self, name: str, line: str) -> str:
        """What the command of a variable prints. Raises: Unreadable."""
        with self._lock:
            found = self._printed.get((name, line))
            if found is None:
                found = self._printed[name, line] = printed(name, line)
            return found

    def renew(self) -> list[str]:
        """Run every command again; one that fails keeps what it printed before, and is told."""
        failures = []
        for name, line in list(self._printed):
            try:
                found = printed(name, line)
            except Unreadable as error:
                failures.append(str(error))
            else:
                with self._lock:
                    self._printed[name, line] = found
        return failures

    def __repr__(self) -> str:
        """How many there are."""
        return f"Commands({len(self._printed)})"

    def __reduce__(self) -> tuple[type["Commands"], tuple[dict[tuple[str, str], str]]]:
        """A worker gets what was printed, through the pipe that it gets its environment by."""
        return Commands, (self._printed,)


def source(environment: Mapping[str, str], name: str) -> Source | None:
    """How the secret `name` is given; None: it is not. Raises: Unreadable where in two ways."""
    given = [name + suffix for suffix in _SUFFIXES if environment.get(name + suffix, "").strip()]
    if not given:
        return None
    if len(given) > 1:
        both = "both" if len(given) == 2 else "all of"
        listed = " and ".join(f"`{one}`" for one in given)
        raise Unreadable(
            f"{both} {listed} are set; unset {'one' if len(given) == 2 else 'two'} of them"
        )
    return list(Source)[_SUFFIXES.index(given[0].removeprefix(name))]


def read(environment: Mapping[str, str], name: str, commands: Commands) -> str | None:
    """The secret `name`, trimmed; None: it is not given. Raises: Unreadable.

    A file is read at every call, so that a rotated key is found.
    """
    match source(environment, name):
        case None:
            return None
        case Source.VARIABLE:
            return environment[name].strip()
        case Source.FILE:
            return _in_file(name, environment[f"{name}_FILE"].strip()) or None
        case Source.COMMAND:
            return commands.read(f"{name}_COMMAND", environment[f"{name}_COMMAND"].strip())


def _in_file(name: str, file: str) -> str:
    try:
        # Opening a pipe that nobody writes to would wait for ever.
        with open(file, "rb", opener=_at_once) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise Unreadable(
                    f"`{name}_FILE` names what is no file, `{file}`: write the path of a regular "
                    f"file, or a command in `{name}_COMMAND`"
                )
            text = opened.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise Unreadable(f"`{name}_FILE` names a file that is no key, `{file}`: it is too long")
        return text.decode().strip()
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "it is not UTF-8 text").lower()
        raise Unreadable(
            f"`{name}_FILE` names a file that cannot be read, `{file}`: {reason}"
        ) from None


def _at_once(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK)


def printed(variable: str, line: str, patience_s: float = COMMAND_S) -> str:
    """What a command prints, trimmed. Raises: Unreadable, with the variable and the exit code.

    Neither what it printed nor its own words are ever told: they may hold the secret. It inherits
    the environment, as it may need an address and a token of its own.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    if not words:
        raise Unreadable(f"`{variable}` is no command: a quote is left open, or nothing is in it")
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that all of it ends together
        )
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "it cannot be").lower()
        raise Unreadable(
            f"`{variable}` cannot be run: {reason}; write a program and its arguments "
            "(no shell reads it: `sh -c '…'` is one)"
        ) from None
    assert process.stdout is not None
    end = time.monotonic() + patience_s
    try:
        with process.stdout as output:
            whole = _all_of(output, end)
        status = process.wait(max(0.0, end - time.monotonic())) if whole is not None else None
    except subprocess.TimeoutExpired:
        status = None
    finally:
        _end(process)
    if whole is None or len(whole) > MOST_BYTES:
        what = "prints too much to be a key" if whole else f"took longer than {patience_s:g} s"
        raise Unreadable(f"`{variable}` {what}")
    if status is None:
        raise Unreadable(f"`{variable}` took longer than {patience_s:g} s")
    if status != 0:
        raise Unreadable(f"`{variable}` ended with exit code {status}")
    try:
        text = whole.decode().strip()
    except UnicodeDecodeError:
        raise Unreadable(f"`{variable}` printed what is not UTF-8 text") from None
    if not text:
        raise Unreadable(f"`{variable}` ended well and printed nothing")
    if any(map(str.isspace, text)):
        raise Unreadable(
            f"`{variable}` printed white space within the key: it may print the key alone (no "
            "shell reads it, so `;`, `|` and `$…` do nothing: `sh -c '…'` is one)"
        )
    return text


def _all_of(output: IO[bytes], end: float) -> bytes | None:
    """All that is written until it is closed, and a little more than is allowed; None: too slow."""
    whole = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while len(whole) <= MOST_BYTES:
            if not selector.select(max(0.0, end - time.monotonic())):
                return None
            piece = os.read(output.fileno(), MOST_BYTES + 1)
            if not piece:
                break
            whole += piece
    return whole


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        pass  # one of another user's, as `sudo` starts them: it ends when it likes
