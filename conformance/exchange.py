"""One request and what came back, down to the bytes."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .case import Failed, Skipped
from .events import EventStream, read_events
from .look import parsed

_EXCERPT = 400
_UNKNOWN_MODEL = frozenset({"model_not_found", "invalid_model"})
NOT_OFFERED = frozenset({404, 405, 501})


@dataclass(frozen=True)
class Exchange:
    """A request and its answer.

    `sent` is the body, as values or as bytes; `headers` are in the order of the wire, names in
    lower case; `broken` says how the body ended before its end, None where it ended well.
    """

    method: str
    path: str
    sent: Any
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    broken: str | None = None

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((value for key, value in self.headers if key == name), None)

    def headers_named(self, name: str) -> list[str]:
        """All headers of that name."""
        return [value for key, value in self.headers if key == name]

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @cached_property
    def text(self) -> str:
        """The body as text. Raises: Failed where it is no UTF-8."""
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Failed(f"the body is no UTF-8 at byte {error.start}") from None

    @cached_property
    def json(self) -> Any:
        """The body as JSON. Raises: Failed."""
        if self.broken is not None:
            raise Failed(f"the answer broke off: {self.broken}")
        return parsed(self.text, "the body")

    @cached_property
    def events(self) -> EventStream:
        """The body as an event stream."""
        return read_events(self.text)

    def granted(self, *parameters: str) -> None:
        """Fail unless the status is 200.

        Raises: Failed; Skipped where the model is said not to support one of the parameters.
        """
        if self.status != 200:
            self._excuse(parameters)
            raise Failed(f"status {self.status}")

    def accepted(self, *parameters: str) -> Any:
        """The JSON of a request that was granted. Raises: as `granted`, and Failed."""
        self.granted(*parameters)
        return self.json

    def refused(self, *statuses: int) -> dict[str, Any]:
        """The `error` of a request that was refused with one of these. Raises: Failed."""
        if self.status not in statuses:
            wanted = " or ".join(map(str, statuses))
            raise Failed(f"status {self.status}, not {wanted}")
        body = self.json
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            raise Failed("the body has no object `error`")
        return error

    def _excuse(self, parameters: tuple[str, ...]) -> None:
        if not parameters or self.status not in (400, 404, 422):
            return
        try:
            error = self.json["error"]
            said = json.dumps([error[name] for name in error if name != "param"]).lower()
            message = error["message"]
        except (Failed, KeyError, TypeError, AttributeError):
            return
        if "support" in said:
            raise Skipped(f"the model does not take `{parameters[0]}`: {message}")

    @property
    def finds_nothing(self) -> bool:
        """Whether nothing is served here; a model that is not found was looked for by somebody."""
        if self.status not in NOT_OFFERED:
            return False
        try:
            error = self.json["error"]
            told = f"{error.get('code')} {error.get('type')} {error.get('message')}"
        except (Failed, KeyError, TypeError, AttributeError):
            return True
        is_about_a_model = "not_found_error" in told and "model" in told
        return "model_not_found" not in told and not is_about_a_model

    def denies(self, model: str) -> str | None:
        """How this says that nobody knows `model`; None where it says something else."""
        if self.status not in (400, 404, 422):
            return None
        try:
            error = self.json["error"]
            names = (error.get("code"), error.get("type"))
            message = str(error.get("message") or "")
        except (Failed, KeyError, TypeError, AttributeError):
            return None
        is_named = any(name in _UNKNOWN_MODEL for name in names)
        if not is_named and (self.status != 404 or model not in message):
            return None
        return f"status {self.status}: {message}"

    def excerpt(self) -> str:
        """The request and the answer in a few lines, without any header that was sent."""
        sent = self.sent
        if isinstance(sent, bytes):
            request = sent.decode("utf-8", "backslashreplace")
        else:
            request = "" if sent is None else json.dumps(sent, ensure_ascii=False)
        kind = self.header("content-type") or "no content type"
        answer = self.body.decode("utf-8", "backslashreplace")
        lines = [f"{self.method} /{self.path} {_short(request)}".rstrip()]
        lines += [f"{self.status} {kind}", _short(answer)]
        if self.broken is not None:
            lines.append(f"(broke off: {self.broken})")
        return "\n".join(line for line in lines if line)


def _short(words: str) -> str:
    if len(words) <= _EXCERPT:
        return words
    half = _EXCERPT // 2
    return f"{words[:half]} … {words[-half:]}"
