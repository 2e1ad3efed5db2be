"""Takes secrets out of a text: whatever looks like one, and those that are known by heart.

The last net, for what is about to be written to a log. What can hold a secret does not show it in
the first place; this is for the texts of others (exceptions, tracebacks, answers of providers), and
for the line that somebody will write some day. Pure: who writes, calls `cut`.
"""

import base64
import re
import threading
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import orjson

REMOVED = "[removed]"

# Shorter ones are words (`test`, `simulated`): cutting these out would only hide the log.
SHORTEST = 8
# With so many of its first characters a key is as good as named.
_BEGINNING = 12
# A line of a log that is longer than this is no line; the patterns would take their time.
LONGEST = 64 * 1024

LOOKS: tuple[tuple[str, str], ...] = (
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*-----|\Z)"),
    ("a key of this gateway", r"\btk_[A-Za-z0-9_-]{12,}"),
    ("OpenAI's, Anthropic's, DeepSeek's, OpenRouter's", r"\bsk-[A-Za-z0-9_*.-]{8,}"),
    ("Groq's", r"\bgsk_[A-Za-z0-9_*.-]{8,}"),
    ("xAI's", r"\bxai-[A-Za-z0-9_*.-]{8,}"),
    ("Google's", r"\bAIza[A-Za-z0-9_-]{20,}|\bya29\.[A-Za-z0-9_-]{16,}"),
    ("of others", r"\b(?:fw|hf|r8|ghp|gho|pplx|nvapi|tgp_v1)[_-][A-Za-z0-9_-]{16,}"),
    ("an access key of AWS", r"\bA(?:KIA|SIA)[A-Z0-9]{12,}"),
    ("a signature of AWS", r"\bAWS4-HMAC-SHA256\b(?:[ ,]+[A-Za-z]+=\S+)*"),
    ("a web token", r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"),
    ("after its scheme", r"(?<=\bbearer)[ :=]+[^\s'\"]{8,}|(?<=\bbasic) +[A-Za-z0-9+/]{12,}=*"),
    (
        "in a query",
        r"(?<=[?&])(?:key|api[_-]?key|access[_-]?token|token|sig|signature|password|secret"
        r"|x-amz-[a-z-]+)=[^\s&#'\"]+",
    ),
    ("before a host", r"(?<=://)[^\s/@'\"]+(?=@)"),
    (
        "under its name",
        r"(?<![\w-])(?:(?:proxy-)?authorization|cookie|(?:x-)?api[_-]?key"
        r"|x-goog-api-key|x-turnout-key)\b['\"]?[ ]*[:=][ ]*"
        r"(?:b?['\"][^'\"]*['\"]|[^\s,;}\])]+(?: [^\s,;}\])]+)?)",
    ),
)
"""What looks like a secret: whose it is, and the pattern of it."""

_LOOKS = re.compile("|".join(pattern for _, pattern in LOOKS), re.IGNORECASE)


class Secrets:
    """The secrets that are known by heart, so that they are cut out whatever they look like.

    Threads may share it. They are held in memory only: neither a repr nor a pickle has them.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Know these from the start."""
        self._lock = threading.Lock()
        self._values: frozenset[str] = frozenset()
        self._known: re.Pattern[str] | None = None
        self.learn(*values)

    def learn(self, *values: str | None) -> None:
        """Know these too. Those too short to be secrets are left out."""
        new = {one for value in values if value and len(one := value.strip()) >= SHORTEST}
        with self._lock:
            if new <= self._values:
                return
            self._values |= new
            written = {form for value in self._values for form in forms(value)}
            # The longest first: one may be the beginning of another.
            self._known = re.compile("|".join(sorted(written, key=len, reverse=True)))

    def cut(self, text: str) -> str:
        """The text without secrets; what is beyond `LONGEST` characters is left out."""
        if len(text) > LONGEST:
            # What the end of the text cut in two would be no secret to any pattern.
            text = text[:LONGEST].rpartition(" ")[0] + f" … ({len(text)} characters)"
        known = self._known
        if known is not None:
            text = known.sub(REMOVED, text)
        return _LOOKS.sub(REMOVED, text)

    def __repr__(self) -> str:
        """How many there are."""
        return f"Secrets({len(self._values)})"

    def __reduce__(self) -> tuple[type["Secrets"], tuple[()]]:
        """Nothing is handed on: another process learns its own."""
        return Secrets, ()


KNOWN = Secrets()
"""Those of this process, as the log is one per process."""


def forms(secret: str) -> Iterator[str]:
    """Patterns of the ways in which a secret may stand in a text: also encoded, or only begun."""
    if len(secret) > _BEGINNING:
        # Whatever follows the beginning, as far as it is a word: also `sk-abcdef…`, `sk-abc***`.
        yield re.escape(secret[:_BEGINNING]) + r"[\w*./+=~…-]*"
    yield re.escape(secret)
    for written in (quote(secret, safe=""), orjson.dumps(secret).decode()[1:-1]):
        if written != secret:
            yield re.escape(written)
    yield from map(re.escape, _in_base64(secret.encode()))


def _in_base64(secret: bytes) -> Iterator[str]:
    """What of base64 is the same whatever stands around the secret, for each of three places."""
    for shift in range(3):
        held = base64.b64encode(b"\0" * shift + secret).decode()
        # The first characters hold what stands before, the last what follows.
        core = held[(0, 2, 3)[shift] :].rstrip("=")
        core = core[:-1] if (shift + len(secret)) % 3 else core
        if len(core) >= SHORTEST:
            yield core
            if (other := core.translate(_URL_SAFE)) != core:
                yield other


_URL_SAFE = str.maketrans("+/", "-_")
