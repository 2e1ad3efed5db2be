"""Colour for terminals: only where somebody looks, and never where `NO_COLOR` is set."""

import os
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Palette:
    """The few styles in use, as escape sequences; the empty ones of `PLAIN` leave text as it is."""

    error: str = ""
    warning: str = ""
    info: str = ""
    good: str = ""
    strong: str = ""
    faint: str = ""
    end: str = ""

    def paint(self, style: str, text: str) -> str:
        """The text in the style of that name (`error`, `good`, `faint` …)."""
        return f"{getattr(self, style)}{text}{self.end}" if text else text


PLAIN = Palette()
COLOURED = Palette(
    error="\x1b[1;31m",
    warning="\x1b[1;33m",
    info="\x1b[1;36m",
    good="\x1b[32m",
    strong="\x1b[1m",
    faint="\x1b[2m",
    end="\x1b[0m",
)


def palette_of(stream: TextIO) -> Palette:
    """Colours for a terminal, plain for files, pipes, dumb terminals and under `NO_COLOR`."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return PLAIN
    return COLOURED if stream.isatty() else PLAIN
