"""What Anthropic's models take, by their names: what one generation wants, another refuses.

Source: Anthropic's model pages and migration guides. `reasoning_effort` becomes

| model | `reasoning_effort` |
|---|---|
| 3.7 to 4.5 | a budget of thinking: minimal 1024, low 2048, medium 8192, high 16384, xhigh 32768 |
| 4.6 and later | adaptive thinking and `output_config.effort`; the next level below one it lacks |
| before 3.7 | dropped |

`none` turns thinking off, where the model lets itself be told. A name that is no Claude's (another
house with this wire) is taken for one of 4.5.
"""

import re
from functools import lru_cache
from typing import NamedTuple

BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768}
"""Tokens of thinking for an effort, where a model takes no effort."""

LEAST_BUDGET = 1024


class Model(NamedTuple):
    """What a model takes.

    `thinking`: the values of `thinking.type`, all besides `disabled` in order of preference.
    `efforts`: those of `output_config.effort`, rising. `sampling`: temperature, top_p and top_k.
    `formats`: JSON schemas, also of tools (`strict`). `forced`: a tool may be forced.
    """

    thinking: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    sampling: bool = True
    formats: bool = True
    forced: bool = True

    @property
    def off(self) -> str | None:
        """The `thinking.type` that turns thinking off; None: it cannot be."""
        return next((one for one in ("disabled", "between_tools") if one in self.thinking), None)


_BUDGETED = ("enabled", "disabled")
_ADAPTIVE = ("adaptive", "disabled")
_LEVELS = ("low", "medium", "high", "max")
_ALL_LEVELS = ("low", "medium", "high", "xhigh", "max")

_PLAIN = Model(formats=False)
_FIRST_THINKERS = Model(_BUDGETED, formats=False)
_FIRST_FORMATS = Model(_BUDGETED)
_FIRST_ADAPTIVE = Model(("adaptive", "enabled", "disabled"), _LEVELS)
_UNSAMPLED = Model(_ADAPTIVE, _ALL_LEVELS, sampling=False)
_ALWAYS_THINKING = Model(("adaptive",), _ALL_LEVELS, sampling=False)
_UNFORCED = _ALWAYS_THINKING._replace(forced=False)

_FAMILY = re.compile(r"opus|sonnet|haiku|fable|mythos")
_VERSION = re.compile(r"(?<!\d)(\d)(?:[-.](\d))?(?!\d)")


@lru_cache(256)
def model(name: str) -> Model:
    """What the model of this name takes."""
    found = _FAMILY.search(name)
    if found is None:
        return _FIRST_FORMATS
    family = found[0]
    version = _VERSION.search(name)
    # Without a number (`claude-mythos-preview`) it is taken for the newest that refuses nothing.
    at = (5, 0) if version is None else (int(version[1]), int(version[2] or 0))
    if family in ("fable", "mythos"):
        return _UNFORCED if at > (5, 0) else _ALWAYS_THINKING
    if at >= (5, 5):
        if family == "haiku":
            return _UNSAMPLED
        return (
            _UNFORCED._replace(thinking=("adaptive", "between_tools"))
            if (family == "sonnet")
            else _UNFORCED
        )
    if at >= (4, 7):
        return _UNSAMPLED
    if at >= (4, 6):
        return _FIRST_ADAPTIVE
    if at >= (4, 5):
        return _FIRST_FORMATS
    return _FIRST_THINKERS if at >= (3, 7) else _PLAIN


def effort(asked: str, known: tuple[str, ...]) -> str | None:
    """The level for an effort that was asked for: itself, or the nearest below; None: no level."""
    ranks = ("minimal", *_ALL_LEVELS)
    if asked not in ranks or not known:
        return None
    below = [level for level in known if ranks.index(level) <= ranks.index(asked)]
    return below[-1] if below else known[0]
