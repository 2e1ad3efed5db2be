"""Cohere itself, or a gateway in front of it."""

from collections.abc import Mapping
from typing import ClassVar

import httpx

from .dialect_cohere import CohereDialect
from .upstream import Sign

_COHERE = httpx.URL("https://api.cohere.com")


class Cohere(CohereDialect):
    """Cohere's API, version 2.

    The key is in `COHERE_API_KEY`, or where that is not set in `CO_API_KEY`, which Cohere's own
    libraries read. The latter is sent to Cohere only, whatever has an address of its own.
    """

    kind = "cohere"
    default_base_url = str(_COHERE)
    key_variable = "COHERE_API_KEY"
    variables: ClassVar[tuple[str, ...]] = ("CO_API_KEY",)

    @classmethod
    def prefix(cls, base_url: str) -> str:
        """The address with the version in its path: Cohere's is written without."""
        bare = base_url.rstrip("/")
        return bare if bare.endswith("/v2") else bare + "/v2"

    @classmethod
    def sign(cls, variables: Mapping[str, str]) -> Sign | None:
        """The key under the name that Cohere's libraries know. Raises: ValueError."""
        key = variables.get("CO_API_KEY", "").strip()
        if not key:
            return None
        if not (key.isascii() and key.isprintable()):
            raise ValueError("`CO_API_KEY` holds characters that cannot be sent")
        headers = cls.authorization(key)

        def signed(url: httpx.URL, body: bytes | None) -> Mapping[str, str]:
            at_cohere = (url.scheme, url.host, url.port) == (_COHERE.scheme, _COHERE.host, None)
            return headers if at_cohere else {}

        return signed
