"""A finding on its way out of a walk that cannot go on."""

from .diagnostic import Diagnostic
from .source import Span


class Refused(Exception):
    """Raised inside the checks at the first error of a condition or a route; never leaves them."""

    def __init__(self, code: str, message: str, span: Span, help: str | None = None) -> None:
        """Make the error that the checks report."""
        self.diagnostic = Diagnostic(code, "error", message, span, help)
        super().__init__(message)


class Poisoned(Exception):
    """Raised where a part is used whose own error is reported already."""


def warning(code: str, message: str, span: Span, help: str | None = None) -> Diagnostic:
    """A finding that does not stop the program."""
    return Diagnostic(code, "warning", message, span, help)
