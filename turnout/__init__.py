"""Turnout: a declarative policy engine that routes LLM traffic.

The public names load on first use, so that `import turnout.dsl` does not bring the gateway.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.dsl.diagnostic import PolicyError
    from turnout.engine.policy import Policy
    from turnout.library import (
        Attempt,
        Completion,
        CompletionError,
        CompletionStream,
        FallbackError,
        Gateway,
    )
    from turnout.settings import SettingsError

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "Completion",
    "CompletionError",
    "CompletionStream",
    "FallbackError",
    "Gateway",
    "Policy",
    "PolicyError",
    "SettingsError",
    "__version__",
]

_HOMES = {
    "Attempt": "turnout.library",
    "Completion": "turnout.library",
    "CompletionError": "turnout.library",
    "CompletionStream": "turnout.library",
    "FallbackError": "turnout.library",
    "Gateway": "turnout.library",
    "Policy": "turnout.engine.policy",
    "PolicyError": "turnout.dsl.diagnostic",
    "SettingsError": "turnout.settings",
}


def __getattr__(name: str) -> object:
    """Load a public name from its home, once."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module `turnout` has no attribute `{name}`")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
