"""What went through: counts per model, and the last requests as received."""

import hashlib
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from .received import Received

KEPT = 256
_KEPT_BYTES = 65_536
_SECRET = frozenset(
    {
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        "proxy-authorization",
        "cookie",
        "api-key",
        "x-amz-security-token",
    }
)


@dataclass(slots=True)
class Tally:
    """Counts of one model.

    Every request ends as exactly one of: `completed` (all of a good answer was written),
    `refused` (a proper error by the provider's own rules), `faulted` (on demand), `cut_by_client`
    (it left before the end) or, until then, in flight.
    """

    requests: int = 0
    completed: int = 0
    refused: int = 0
    faulted: int = 0
    cut_by_client: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(slots=True)
class _Seen:
    at_us: int
    provider: str
    model: str
    received: Received
    fault: str | None = None


@dataclass
class Traffic:
    """Counts by `provider/model`, and the last `kept` requests, newest last.

    What is looked up (lists of models, one model, a key) costs nothing, and is counted apart.
    """

    kept: int = KEPT
    _tallies: dict[str, Tally] = field(default_factory=dict)
    _looked_up: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Nothing was seen yet."""
        self._seen: deque[_Seen] = deque(maxlen=self.kept)

    def note(self, provider: str, model: str, received: Received) -> Tally:
        """Keep a request, count it, and return its model's counts to go on with."""
        tally = self._tallies.get(f"{provider}/{model}")
        if tally is None:
            tally = self._tallies[f"{provider}/{model}"] = Tally()
        tally.requests += 1
        tally.bytes_in += len(received.body)
        self._seen.append(_Seen(time.time_ns() // 1000, provider, model, received))
        return tally

    def spoil(self, fault: str) -> None:
        """Keep beside the newest request which fault it gets."""
        self._seen[-1].fault = fault

    def note_look(self, provider: str) -> None:
        """Count something looked up at a provider."""
        self._looked_up[provider] += 1

    def clear(self) -> None:
        """Start counting anew."""
        self._tallies.clear()
        self._looked_up.clear()
        self._seen.clear()

    def stats(self) -> dict[str, Any]:
        """Return the counts by model and their total, and by provider what was looked up."""
        models = {name: asdict(tally) for name, tally in sorted(self._tallies.items())}
        total = asdict(Tally())
        for counts in models.values():
            for name, value in counts.items():
                total[name] += value
        return {"total": total, "models": models, "lookups": dict(sorted(self._looked_up.items()))}

    def last(self, number: int) -> list[dict[str, Any]]:
        """Return the last requests, oldest first, credentials as fingerprints."""
        return [_shown(one) for one in list(self._seen)[-number:]] if number > 0 else []


def fingerprint(secret: str) -> str:
    """Return what is shown for a credential: enough to tell two apart, nothing to use."""
    return f"[redacted sha256:{hashlib.sha256(secret.encode()).hexdigest()[:12]}]"


def _shown(one: _Seen) -> dict[str, Any]:
    received = one.received
    headers = {
        name: _redacted(value) if name in _SECRET else value
        for name, value in received.headers.items()
    }
    body: Any
    try:
        body = orjson.loads(received.body)
    except orjson.JSONDecodeError:
        body = received.body[:_KEPT_BYTES].decode("utf-8", "replace")
    return {
        "at_us": one.at_us,
        "provider": one.provider,
        "model": one.model,
        "method": received.method,
        "path": received.path,
        "fault": one.fault,
        "headers": headers,
        "body": body,
    }


def _redacted(value: str) -> str:
    scheme, space, secret = value.partition(" ")
    return f"{scheme} {fingerprint(secret)}" if space else fingerprint(value)
