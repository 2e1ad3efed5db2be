"""Cohere itself, or a gateway in front of it."""

from collections.abc import Mapping
from typing import ClassVar

import httpx

from .dialect_cohere import CohereDialect
from .upstream import Sign


class Cohere(CohereDialect):
    """Cohere's API, version 2.

    The key is in `COHERE_API_KEY`, or where that is not set in `CO_API_KEY`, which Cohere's own
    libraries read.
    """

    kind = "cohere"
    default_base_url = "https://api.cohere.com"
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

        def signed(url: httpx.URL, body: bytes) -> Mapping[str, str]:
            return headers

        return signed
