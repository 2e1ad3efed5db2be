"""What somebody writes of kept answers, read strictly; and what is kept, as a document.

    {"pattern": "model:openai/*", "older_than": "2h"}

`turnout cache` and the routes under `/v1/cache` read and tell the same.
"""

from collections.abc import Iterable
from typing import Any

from turnout.dsl.schema import Type
from turnout.dsl.units import format_usd, parse_quantity

from .cached import By, Invalidation, Shelved
from .costs import told_instant

PATTERNS = "`model:openai/*`, `rule:…`, `tag:team=search` or `*`"
EVERYBODY = "*"
_BY: dict[str, By] = {"model": "model", "rule": "rule", "tag": "tag"}
_PATTERN_CHARS = 256
_LONGEST_US = 3_653 * 86_400_000_000  # ten years


class WrongPattern(Exception):
    """Which answers are meant cannot be told: why, what to write instead, and by which word."""

    def __init__(self, param: str, message: str, help: str) -> None:
        """Hold two sentences without a full stop."""
        super().__init__(message)
        self.param = param
        self.message = message
        self.help = help


def invalidation(
    pattern: object, older_than: object, tenant: str | None, now_us: int
) -> Invalidation:
    """Which answers are meant by a pattern, of a tenant (None: of all). Raises: WrongPattern."""
    if not isinstance(pattern, str) or not pattern.strip():
        raise WrongPattern("pattern", "a pattern says which answers are meant", _write())
    text = pattern.strip()
    if len(text) > _PATTERN_CHARS or not text.isprintable():
        told = f"a pattern has at most {_PATTERN_CHARS} printable characters"
        raise WrongPattern("pattern", told, _write())
    before_us = None if older_than is None else now_us - _age_us(older_than)
    if text == "*":
        return Invalidation("all", "*", tenant, before_us)
    word, colon, glob = text.partition(":")
    by = _BY.get(word)
    if not colon or by is None:
        help = f"write `model:{text}` for a model" if "/" in word else _write()
        raise WrongPattern("pattern", f"`{text}` does not say what it names", help)
    if not glob:
        told = f"nothing stands after `{word}:`"
        raise WrongPattern("pattern", told, f"`{word}:*` means all that have one")
    return Invalidation(by, glob, tenant, before_us)


def _write() -> str:
    return f"write {PATTERNS}; `*` stands for any text, `?` for one character"


def _age_us(text: object) -> int:
    if isinstance(text, str):
        try:
            kind, amount_us = parse_quantity(text.strip())
        except ValueError:
            kind, amount_us = None, 0
        if kind is Type.DURATION and 0 < amount_us <= _LONGEST_US:
            return amount_us
    raise WrongPattern("older_than", "this is no age", "write `2h`, `30m` or `7d`")


def removed(count: int | None) -> dict[str, Any]:
    """What an invalidation did; None where nobody counts what is in memory alone."""
    return {"object": "cache.invalidation", "removed": count}


def document(shelved: Iterable[Shelved], tenant: str | None) -> dict[str, Any]:
    """What is kept, by target, the largest first; `tenant` None: of all tenants.

    `saves` (decimal USD) is what giving each answer once more saves.
    """
    rows = sorted(shelved, key=lambda one: (-one.bytes, one.target))
    return {
        "object": "cache",
        "tenant": tenant,
        "answers": sum(one.answers for one in rows),
        "bytes": sum(one.bytes for one in rows),
        "saves": format_usd(sum(one.saves_nano_usd for one in rows)),
        "targets": [
            {
                "target": one.target,
                "answers": one.answers,
                "bytes": one.bytes,
                "saves": format_usd(one.saves_nano_usd),
                "oldest": told_instant(one.oldest_us),
                "newest": told_instant(one.newest_us),
            }
            for one in rows
        ],
    }
