"""Gemini at Google itself (the Gemini API), or a gateway in front of it."""

from collections.abc import Mapping
from typing import ClassVar

import httpx

from .dialect_gemini import GeminiDialect
from .upstream import Sign

_GOOGLE = httpx.URL("https://generativelanguage.googleapis.com")


class Gemini(GeminiDialect):
    """Google's own API for Gemini.

    The key is in `GEMINI_API_KEY`. Where that is not set, `GOOGLE_API_KEY`, which Google's own
    libraries read, serves at Google's own address; at any other it is not sent.
    """

    kind = "gemini"
    default_base_url = "https://generativelanguage.googleapis.com/v1beta"
    key_variable = "GEMINI_API_KEY"
    variables: ClassVar[tuple[str, ...]] = ("GOOGLE_API_KEY",)

    @classmethod
    def sign(cls, variables: Mapping[str, str]) -> Sign | None:
        """The key under the name that Google's libraries know. Raises: ValueError."""
        key = variables.get("GOOGLE_API_KEY", "").strip()
        if not key:
            return None
        if not (key.isascii() and key.isprintable()):
            raise ValueError("`GOOGLE_API_KEY` holds characters that cannot be sent")
        headers = cls.authorization(key)

        def signed(url: httpx.URL, body: bytes | None) -> Mapping[str, str]:
            at_google = (url.scheme, url.host, url.port) == (_GOOGLE.scheme, _GOOGLE.host, None)
            return headers if at_google else {}

        return signed
