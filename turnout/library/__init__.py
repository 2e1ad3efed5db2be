"""The gateway as a library: requests answered in process, without HTTP."""

from .completion import Attempt, Completion, CompletionError, CompletionStream
from .fallback import FallbackError
from .gateway import Gateway

__all__ = [
    "Attempt",
    "Completion",
    "CompletionError",
    "CompletionStream",
    "FallbackError",
    "Gateway",
]
