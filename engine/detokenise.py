"""Token ids back to text: what clients of embeddings send where they count tokens themselves.

LangChain cuts long inputs by cl100k_base, the encoding of OpenAI's models of embeddings, and sends
the ids; no other provider takes them.
"""

from collections.abc import Sequence

from .encodings import CL100K


def text_of(ids: Sequence[int]) -> str:
    """The text that these ids of cl100k_base stand for; bytes that are no UTF-8 become U+FFFD.

    The first call loads the table, which takes a third of a second: not on an event loop.
    Raises: ValueError where one is no id.
    """
    try:
        return CL100K.encoding().decode_bytes(list(ids)).decode("utf-8", "replace")
    except (KeyError, OverflowError):
        raise ValueError("not ids of cl100k_base") from None


def is_quick() -> bool:
    """Whether the table is loaded."""
    return CL100K.is_loaded
