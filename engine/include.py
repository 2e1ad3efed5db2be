"""The files that a policy includes, read from the folder of its main file and from nowhere else.

A policy may come from a pull request: a link that leads out of the folder, a device or an endless
file is refused. What the paths themselves may be is checked before (`dsl/include`).
"""

import os
import stat
from itertools import islice
from pathlib import Path

from turnout.dsl.include import Load, NotLoaded
from turnout.dsl.nearest import suggestion
from turnout.dsl.source import Source

MAX_BYTES = 4 * 1024 * 1024

_MAX_LISTED = 1_000


def beside(main: str | os.PathLike[str]) -> Load:
    """A loader of what stands in the folder of a main file, named as the user named that file."""
    folder = Path(main).parent

    def load(path: str) -> Source:
        file = folder / path
        try:
            return Source(str(file), _text(file, folder))
        except FileNotFoundError:
            raise NotLoaded(f"there is no file `{file}`", _close_to(file)) from None
        except UnicodeDecodeError as error:
            message = f"`{file}` is not UTF-8 text (byte {error.start + 1})"
            raise NotLoaded(message, "save the file as UTF-8") from None
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL in the name
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise NotLoaded(f"`{file}` cannot be read: {reason.lower()}") from None

    return load


def _text(file: Path, folder: Path) -> str:
    real = file.resolve(strict=True)
    if not real.is_relative_to(folder.resolve()):
        raise NotLoaded(
            f"`{file}` is a link that leads out of `{folder}`", "put a file there, not a link"
        )
    with open(real, "rb", opener=_without_waiting) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise NotLoaded(f"`{file}` is no file", "name a file")
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise NotLoaded(f"`{file}` is larger than {MAX_BYTES // 1024 // 1024} MiB", "split it")
    return data.decode("utf-8-sig")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; of a pipe that nobody writes to, it would be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _close_to(file: Path) -> str | None:
    """A did-you-mean from the policy files that stand where the missing one was looked for."""
    try:
        known = [p.name for p in islice(file.parent.iterdir(), _MAX_LISTED)]
    except OSError:
        known = []
    close = suggestion(file.name, [name for name in known if name.endswith((".yml", ".yaml"))])
    return close or "paths are relative to the file that names them"
