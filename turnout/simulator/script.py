"""A reply as the list of steps that a connection plays: bytes to write, and times to wait.

Everything that can go wrong with a reply is done here, to the list; the connection only plays it.
"""

from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus

from .faults import Cut, Delay, Fault, Malformed, Reset, Unfinished
from .latency import Latency
from .reply import Reply, Stream, Whole

FOREVER = -1
"""A wait that ends only when the client goes."""

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>\n"
_BROKEN_EVENT = b'data: {"id":"chatcmpl-broken","choices":[{"index":0,"delta":{"cont\n\n'
_LAST_CHUNK = b"0\r\n\r\n"
_REASONS = {int(status): status.phrase for status in HTTPStatus} | {529: "Overloaded"}


class Ending(Enum):
    """What becomes of the connection after the last step."""

    KEEP = "keep"
    FIN = "fin"
    RST = "rst"


@dataclass(slots=True)
class Script:
    """Steps in order: bytes are written, integers are waits in microseconds or FOREVER."""

    steps: list[bytes | int]
    ending: Ending = Ending.KEEP


@dataclass(slots=True)
class _Frames:
    """A head and what follows it, each a write of its own; `pauses` are before a frame."""

    frames: list[bytes]
    pauses: dict[int, int] = field(default_factory=dict)
    ending: Ending = Ending.KEEP

    def script(self) -> Script:
        """Join the head to what follows it at once, and put the pauses in between."""
        frames, pauses, start = self.frames, self.pauses, 0
        steps: list[bytes | int] = [pauses[0]] if pauses.get(0) else []
        if len(frames) > 1 and not pauses.get(1):
            steps.append(frames[0] + frames[1])
            start = 2
        for index in range(start, len(frames)):
            if index and (pause := pauses.get(index)):
                steps.append(pause)
            steps.append(frames[index])
        return Script(steps, self.ending)


def write(reply: Reply, latency: Latency, fault: Fault | None) -> Script:
    """Turn a reply into steps, slowed by the model's latency and spoilt by the fault."""
    if isinstance(fault, Reset):
        return Script([], Ending.RST)
    if isinstance(fault, Malformed):
        reply = _malformed(reply, fault)
    ending = Ending.KEEP
    if isinstance(fault, Cut):
        ending = Ending(fault.by)
    if isinstance(reply, Stream):
        frames = _stream_frames(reply, latency, fault)
    else:
        frames = _whole_frames(reply, latency, fault)
    frames.ending = ending
    if isinstance(fault, Delay):
        wait = FOREVER if fault.for_us is None else fault.for_us
        at = {"headers": 0, "first_token": 1}.get(fault.at, fault.after + 1)
        at = min(at, len(frames.frames) - 1)
        frames.pauses[at] = wait if wait == FOREVER else frames.pauses.get(at, 0) + wait
    return frames.script()


def _stream_frames(reply: Stream, latency: Latency, fault: Fault | None) -> _Frames:
    events, closed = reply.events, True
    if isinstance(fault, Cut):
        events, closed = events[: fault.after], False
    elif isinstance(fault, Unfinished):
        events = events[: min(fault.after, reply.finish_at)]
    head = _head(200, {**reply.headers, "transfer-encoding": "chunked"})
    frames = [head, *(b"%x\r\n%b\r\n" % (len(event), event) for event in events)]
    if closed:
        frames[-1] += _LAST_CHUNK
    pauses = {0: latency.first_us}
    if latency.gap_us:
        pauses |= dict.fromkeys(range(2, min(len(frames), reply.finish_at + 2)), latency.gap_us)
    return _Frames(frames, pauses)


def _whole_frames(reply: Whole, latency: Latency, fault: Fault | None) -> _Frames:
    head = _head(reply.status, {**reply.headers, "content-length": str(len(reply.body))})
    half = len(reply.body) // 2
    frames = [head, reply.body]
    if isinstance(fault, Cut):
        frames = [head, reply.body[:half]]
    elif isinstance(fault, Delay) and fault.at == "chunk":
        frames = [head, reply.body[:half], reply.body[half:]]
    wait = latency.first_us + latency.gap_us * reply.tokens if reply.status == 200 else 0
    return _Frames(frames, {0: wait})


def _malformed(reply: Reply, fault: Malformed) -> Reply:
    if fault.form == "html":
        return Whole(200, _HTML, {**reply.headers, "content-type": "text/html; charset=UTF-8"})
    if fault.form == "empty":
        return Whole(200, b"", reply.headers)
    if isinstance(reply, Whole):
        return Whole(200, reply.body[: len(reply.body) // 2], reply.headers)
    at = min(fault.after, reply.finish_at)
    events = [*reply.events[:at], _BROKEN_EVENT, *reply.events[at:]]
    return Stream(events, reply.finish_at + 1, reply.headers)


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
