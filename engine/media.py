"""What images and audio cost in tokens, from the first bytes of the data and no media library.

Images by OpenAI's guide: a base, and in the detailed view so much more for each 512-pixel tile; or
so much for each 32-pixel patch. An address that would have to be fetched counts as the largest
image there is.
"""

import base64
import binascii
import math
from dataclasses import dataclass

_MOST_TILES = 8  # 2048 x 768 pixels: four tiles by two
_PATCH = 32
_MOST_PATCHES = 1536
_LOW_DETAIL_PATCHES = (512 // _PATCH) ** 2

_JPEG = b"\xff\xd8"
_JPEG_HEAD = 256 * 1024  # base64 characters: the size may stand behind a long preview

_AUDIO_PER_SECOND = 10
_AUDIO_BYTES_PER_SECOND = 4_000  # 32 kbit/s, for formats that do not say


@dataclass(frozen=True, slots=True)
class TileRule:
    """An image costs a base, and in the detailed view so much more for each of its tiles."""

    base: int
    tile: int

    def bounds(self, low_detail: bool) -> tuple[int, int]:
        """The least and the most tokens of any image."""
        if low_detail:
            return self.base, self.base
        return self.base + self.tile, self.base + _MOST_TILES * self.tile

    def tokens(self, short: int, long: int) -> int:
        """The tokens of an image in the detailed view, by its sides in pixels."""
        return self.base + self.tile * _tiles(short, long)


@dataclass(frozen=True, slots=True)
class PatchRule:
    """An image costs `percent` of its patches, which are 1 536 at most: larger ones are shrunk."""

    percent: int

    def bounds(self, low_detail: bool) -> tuple[int, int]:
        """The least and the most tokens of any image."""
        return self._of(1), self._of(_LOW_DETAIL_PATCHES if low_detail else _MOST_PATCHES)

    def tokens(self, short: int, long: int) -> int:
        """The tokens of an image in the detailed view, by its sides in pixels."""
        return self._of(_patches(short, long))

    def _of(self, patches: int) -> int:
        return -(-patches * self.percent // 100)


PictureRule = TileRule | PatchRule


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a message: its URL (a `data:` URL holds it), and whether low detail is enough."""

    url: str
    low_detail: bool

    def bounds(self, rule: PictureRule) -> tuple[int, int]:
        """The least and the most tokens it can cost, without looking at it."""
        return rule.bounds(self.low_detail)

    def tokens(self, rule: PictureRule) -> int:
        """The tokens it costs; the most there can be where its size cannot be seen."""
        size = None if self.low_detail else _size(_head_of_data_url(self.url))
        if size is None:
            return rule.bounds(self.low_detail)[1]
        short, long = sorted(size)
        return rule.tokens(short, long)


def audio_tokens(data: str) -> int:
    """Tokens of base64 audio: ten per second, by a WAV's own byte rate, else by its size."""
    head = _decoded(data[:64])
    size = len(data) * 3 // 4
    rate = _AUDIO_BYTES_PER_SECOND
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE" and len(head) >= 34:
        # A player goes by its samples, whatever rate in bytes it tells; the lower counts.
        rates = (_little(head[28:32]), _little(head[24:28]) * _little(head[32:34]))
        rate = min(filter(None, rates), default=rate)
    return -(-size * _AUDIO_PER_SECOND // rate)


def _tiles(short: int, long: int) -> int:
    """512-pixel tiles of an image fitted into 2048 x 2048, then to 768 on its short side."""
    if 8 * short >= 3 * long and short > 768:  # the short side binds: scaled by 768 / short
        return 2 * -(-3 * long // (2 * short))
    if long > 2048:  # scaled by 2048 / long
        return 4 * -(-4 * short // long)
    return -(-short // 512) * -(-long // 512)


def _patches(short: int, long: int) -> int:
    """32-pixel patches of an image, shrunk until there are no more than 1 536 of them."""
    across, down = -(-long // _PATCH), -(-short // _PATCH)
    if across * down <= _MOST_PATCHES:
        return across * down
    shrink = math.sqrt(_PATCH**2 * _MOST_PATCHES / (short * long))
    wide, high = long * shrink / _PATCH, short * shrink / _PATCH
    # Whole patches along each side: the side that loses most by that sets the scale.
    shrink *= min(math.floor(wide) / wide, math.floor(high) / high) if high >= 1 else 1
    across, down = math.ceil(long * shrink / _PATCH), math.ceil(short * shrink / _PATCH)
    return min(max(1, across) * max(1, down), _MOST_PATCHES)


def _head_of_data_url(url: str) -> bytes:
    """The first decoded bytes of a base64 `data:` URL; nothing for any other address."""
    if not url.startswith("data:"):
        return b""
    start = url.find(",", 0, 256) + 1
    if not start or ";base64" not in url[:start]:
        return b""
    head = _decoded(url[start : start + 64])
    return _decoded(url[start : start + _JPEG_HEAD]) if head[:2] == _JPEG else head


def _decoded(text: str) -> bytes:
    try:
        whole = text[: len(text) // 4 * 4]
        return base64.b64decode(whole) if whole else b""
    except (binascii.Error, ValueError):
        return b""


def _size(head: bytes) -> tuple[int, int] | None:
    """Width and height from the first bytes of a PNG, GIF, WebP or JPEG; None if not there."""
    size: tuple[int, int] | None = None
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
        size = _big(head[16:20]), _big(head[20:24])
    elif head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        size = _little(head[6:8]), _little(head[8:10])
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        size = _webp_size(head)
    elif head[:2] == _JPEG:
        size = _jpeg_size(head)
    return size if size is not None and min(size) > 0 else None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    if head[12:16] == b"VP8X":
        return 1 + _little(head[24:27]), 1 + _little(head[27:30])
    if head[12:16] == b"VP8L":
        packed = _little(head[21:25])
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if head[12:16] == b"VP8 ":
        return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _big(head[at + 7 : at + 9]), _big(head[at + 5 : at + 7])
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these stand alone
            at += 2
        else:
            at += 2 + max(2, _big(head[at + 2 : at + 4]))
    return None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
