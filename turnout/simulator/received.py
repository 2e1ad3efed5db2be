"""A request as it came off the socket."""

from dataclasses import dataclass
from typing import Any

import orjson

from .reply import Refusal


@dataclass(slots=True)
class Received:
    """One HTTP request; header names are lower-case, `path` is without its query."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def json_object(self) -> dict[str, Any]:
        """Return the body as an object. Raises: Refusal."""
        try:
            body = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise Refusal(
                400,
                "We could not parse the JSON body of your request. (HINT: This likely means you "
                "aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, "
                "but what was sent was not valid JSON.)",
            )
        return body
