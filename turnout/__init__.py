"""Turnout: a declarative policy engine that routes LLM traffic.

The public names load on first use, so that `import turnout.dsl` does not bring the gateway.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.dsl.diagnostic import PolicyError
    from turnout.engine.gateway import Gateway
    from turnout.engine.policy import Policy

__version__ = "0.1.0"

__all__ = ["Gateway", "Policy", "PolicyError", "__version__"]

_HOMES = {
    "Gateway": "turnout.engine.gateway",
    "Policy": "turnout.engine.policy",
    "PolicyError": "turnout.dsl.diagnostic",
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
