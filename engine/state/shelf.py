"""How an answer is written down where workers share it, and which answers an invalidation means.

What is written tells whose it is and carries a checksum over its key as well: an answer that was
torn, or that lies under another key, is none.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import orjson

from turnout.engine.cached import CachedAnswer, Invalidation, Key
from turnout.engine.request import Usage

COMPRESS_BYTES = 4096  # bodies from here on are made smaller: by half, for 3 µs a KB when read
_LEVEL = 1
_PLAIN, _COMPRESSED = b"a", b"z"  # the first byte, of this version of what follows
_HEAD_BYTES = 9  # that byte, a checksum of all after it, how long the facts are
_MOST_BYTES = 64 * 1024 * 1024  # whatever unpacks to more is not ours


class Damaged(Exception):
    """What was written is not what was read."""


def pack(key: Key, answer: CachedAnswer) -> bytes:
    """An answer as it is written under a key; 2 µs, and 5 to 11 µs for each KB that is compressed.

    One byte how, four of checksum, four of length, the facts as JSON, the body.
    """
    body, how = answer.body, _PLAIN
    if len(body) >= COMPRESS_BYTES:
        smaller = zlib.compress(body, _LEVEL)
        if len(smaller) < len(body) * 9 // 10:
            body, how = smaller, _COMPRESSED
    used = answer.usage
    told = [
        key.tenant,
        answer.target,
        answer.model,
        answer.rule,
        answer.tags,
        answer.stored_us,
        answer.cost_nano_usd,
        answer.native,
        answer.dropped,
        used
        and (
            used.input,
            used.output,
            used.cached,
            used.cache_write,
            used.reasoning,
            used.estimated,
        ),
    ]
    facts = orjson.dumps(told)
    after = b"".join((len(facts).to_bytes(4), facts, body))
    return b"".join((how, _checksum(key, how, after).to_bytes(4), after))


def unpack(key: Key, packed: bytes) -> CachedAnswer:
    """The answer that was written under a key; 4 µs, and 3 for each KB that was compressed.

    Raises: Damaged.
    """
    how, after = packed[:1], packed[5:]
    if int.from_bytes(packed[1:5]) != _checksum(key, how, after):
        raise Damaged("an answer is not what was written")
    end = 4 + int.from_bytes(after[:4])
    try:
        body = _expanded(after[end:]) if how == _COMPRESSED else after[end:]
        tenant, target, model, rule, tags, stored_us, cost, native, dropped, used = orjson.loads(
            after[4:end]
        )
        usage = None if used is None else Usage(*used)
    except (ValueError, TypeError, zlib.error) as error:
        raise Damaged(f"an answer cannot be read: {error}") from error
    if tenant != key.tenant:
        raise Damaged("an answer is of another tenant")
    return CachedAnswer(
        body, native, target, model, rule, tuple(tags), usage, cost, tuple(dropped), stored_us
    )


HEAD_BYTES = 2048  # of what was written; `label` seldom needs more


def label(packed: bytes) -> "tuple[str, Label, int] | None":
    """Of whom an answer is, what it is, and what it saves; from its first bytes alone.

    None where they are not enough, or damaged.
    """
    end = 9 + int.from_bytes(packed[5:9])
    if len(packed) < max(end, 9):
        return None
    try:
        tenant, target, model, rule, tags, stored_us, cost, *_ = orjson.loads(packed[9:end])
        return tenant, Label(target, model, rule, tags, stored_us), cost
    except (ValueError, TypeError):
        return None


def _checksum(key: Key, how: bytes, after: bytes) -> int:
    return zlib.crc32(after, zlib.crc32(key.digest + how))


def _expanded(body: bytes) -> bytes:
    expanding = zlib.decompressobj()
    found = expanding.decompress(body, _MOST_BYTES)
    if not expanding.eof:
        raise ValueError("it does not end")
    return found


class Label:
    """What an invalidation looks at of an answer."""

    __slots__ = ("model", "rule", "stored_us", "tags", "target")

    def __init__(
        self, target: str, model: str, rule: str | None, tags: Sequence[str], stored_us: int
    ) -> None:
        """Of these; `stored_us` is UTC."""
        self.target = target
        self.model = model
        self.rule = rule
        self.tags = tags
        self.stored_us = stored_us


def meant(which: Invalidation) -> Callable[[Label], bool]:
    """Whether an invalidation means an answer; its tenant is for the caller to look at.

    In time linear in the text, whatever the pattern.
    """
    fits = lru_cache(4096)(_matcher(which.glob))

    def is_meant(label: Label) -> bool:
        if which.before_us is not None and label.stored_us >= which.before_us:
            return False
        if which.by == "all":
            return True
        if which.by == "model":
            return fits(label.target) or fits(label.model)
        if which.by == "rule":
            return label.rule is not None and fits(label.rule)
        return any(fits(tag) for tag in label.tags)

    return is_meant


def _matcher(glob: str) -> Callable[[str], bool]:
    """Whether a text is as a pattern has it: `*` any text, `?` one character, all else itself."""
    first, *others = (
        "".join("." if one == "?" else re.escape(one) for one in part) for part in glob.split("*")
    )
    # What one star has taken is never tried again: the next one can take the rest as well.
    middle = "".join(f"(?>.*?{part})" for part in others[:-1])
    last = f".*{others[-1]}" if others else ""
    pattern = re.compile(first + middle + last, re.DOTALL)
    return lambda text: pattern.fullmatch(text) is not None
