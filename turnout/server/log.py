"""The log of this process: to stderr, and through the net that takes secrets out of it.

What nobody caught goes the same way: exceptions of threads, of the event loop and of the process
itself, and warnings. docs/log.md lists what the gateway's own lines may hold.
"""

import logging
import re
import sys
import threading
from types import TracebackType
from typing import Any

from turnout.engine.redaction import KNOWN
from turnout.settings import Settings

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# What would begin a line that nobody logged, or speak to the terminal of whoever reads.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

_log = logging.getLogger("turnout")


class Redacting(logging.Formatter):
    """Formats a line, its traceback included, without secrets.

    What it tells of others' texts cannot look like another line: what follows a line break is
    indented, and control characters are written as escapes.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line to write."""
        line = KNOWN.cut(super().format(record)).replace("\n", "\n    ")
        return _CONTROL.sub(_escaped, line)

    def formatException(self, ei: Any) -> str:
        """The traceback; a record keeps it for whoever else writes it."""
        return KNOWN.cut(super().formatException(ei))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def log_to_stderr(settings: Settings) -> None:
    """Log what happens to this process; a request as such is not an event.

    The secrets of the environment are known from here on; what else becomes one is learnt where it
    is read. Below `debug` no line holds anything of a prompt.
    """
    KNOWN.learn(*settings.secrets())
    formatter = Redacting(_FORMAT)
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler])
    for known in logging.getLogger().handlers:  # one that was there before writes the same log
        known.setFormatter(formatter)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(formatter)
    # The libraries underneath talk about connections and migrations; only their warnings matter.
    logging.getLogger("turnout").setLevel(settings.log_level.upper())
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def _uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _log.critical("the process broke", exc_info=(kind, error, traceback))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is None or issubclass(told.exc_type, SystemExit):
        return
    _log.error("a thread broke", exc_info=(told.exc_type, told.exc_value, told.exc_traceback))


def _unraisable(told: Any) -> None:
    # Not what it was about: its repr may be anything.
    _log.error("an error came where none can be raised", exc_info=told.exc_value)
