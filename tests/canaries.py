"""Secrets that are looked for wherever anything is written, and a provider that repeats them all.

Each canary has a slot's name and a random part. A text holds one if it holds it as it is, encoded
in a usual way, or so much of its beginning that it is as good as told.
"""

import base64
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

# What a fingerprint may show of a key is a hash; of the key itself nobody needs so much.
MOST_SHOWN = 12


def canary(slot: str, prefix: str = "") -> str:
    """A secret of a slot; `prefix` makes it look like a key of somebody's."""
    return f"{prefix}{secrets.token_hex(4)}{slot.replace('_', '')}{secrets.token_hex(12)}"


def forms(secret: str) -> Iterator[bytes]:
    """The ways in which a secret may stand somewhere."""
    yield secret.encode()
    yield secret[: MOST_SHOWN + 1].encode()
    yield secret[-16:].encode()
    yield quote(secret, safe="").encode()
    yield json.dumps(secret)[1:-1].encode()
    yield secret.encode().hex().encode()
    for shift in range(3):
        whole = base64.b64encode(b"x" * shift + secret.encode())
        yield whole[4 if shift else 0 : len(whole) - 4]


def found(where: Mapping[str, bytes], canaries: Mapping[str, str]) -> list[str]:
    """Which canaries are where; no place may hold any of them."""
    told = []
    for slot, secret in canaries.items():
        for form in dict.fromkeys(forms(secret)):
            for place, text in where.items():
                if (at := text.find(form)) >= 0:
                    told.append(f"{slot} in {place}: …{text[max(0, at - 80) : at + 80]!r}…")
    return told


# --- a provider that repeats what it is sent ------------------------------------------------------

ANSWER = "the answer of the echo"

FAULTS = (
    *(f"status-{status}" for status in (400, 401, 402, 403, 404, 408, 409, 413, 422, 429)),
    *(f"status-{status}" for status in (500, 502, 503, 504, 529)),
    "words",  # in `code`, `param` and `type`
    "beginning",  # `sk-abcd****wxyz`, as OpenAI shows keys
    "headers",  # in headers of the refusal
    "redirect",
    "html",
    "rubbish",
    "empty",
    "error-in-200",
    "error-in-stream",
    "rubbish-in-stream",
    "cut",
    "reset",
    "hang",
)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test's output is not what is tested."""

    def do_GET(self) -> None:
        self._refuse(401, self._seen(b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        echo: Echo = self.server.echo  # type: ignore[attr-defined]
        said = self._seen(body)
        echo.seen.append(said)
        self._act(echo.fault, said, json.loads(body).get("stream") is True)

    def _seen(self, body: bytes) -> str:
        headers = " ".join(f"{name}: {value}" for name, value in self.headers.items())
        return f"{self.path} {headers}"

    def _act(self, fault: str, said: str, stream: bool) -> None:
        own = self.headers.get("authorization") or self.headers.get("x-api-key") or ""
        key = own.rpartition(" ")[2]
        match fault:
            case "words":
                error = {"message": key, "code": key, "param": key, "type": key}
                self._send(400, json.dumps({"error": error}).encode())
            case "beginning":
                self._refuse(400, f"Incorrect API key provided: {key[:14]}****{key[-4:]}.")
            case "headers":
                self._send(429, b"{}", {"retry-after": key, "x-request-id": key, "x-key": own})
            case "redirect":
                self._send(307, b"", {"location": f"http://127.0.0.1:1/?key={quote(key)}"})
            case "html":
                self._send(200, f"<html>{said}</html>".encode(), {"content-type": "text/html"})
            case "rubbish":
                self._send(200, f"{{{said}".encode())
            case "empty":
                self._send(200, b"")
            case "error-in-200":
                self._send(200, json.dumps({"error": {"message": said}}).encode())
            case "error-in-stream" | "rubbish-in-stream":
                whole = json.dumps({"error": {"message": said, "code": key}})
                event = whole if fault == "error-in-stream" else f"{{{said}"
                kind = {"content-type": "text/event-stream"}
                self._send(200, f"data: {event}\n\n".encode(), kind)
            case "cut":
                self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
                self.close_connection = True
            case "reset":
                self.close_connection = True
            case "hang":
                threading.Event().wait(3)
                self.close_connection = True
            case "none":
                self._answer(stream)
            case _:
                self._refuse(int(fault.removeprefix("status-")), said)

    def _answer(self, stream: bool) -> None:
        message: dict[str, Any] = {"role": "assistant", "content": ANSWER}
        usage = {"prompt_tokens": 900, "completion_tokens": 5, "total_tokens": 905}
        value = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m"}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message}
        if not stream:
            self._send(200, json.dumps(value | {"choices": [choice], "usage": usage}).encode())
            return
        choice["delta"] = choice.pop("message")
        chunk = value | {"object": "chat.completion.chunk", "choices": [choice], "usage": usage}
        text = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        self._send(200, text.encode(), {"content-type": "text/event-stream"})

    def _refuse(self, status: int, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": None, "param": None}
        self._send(status, json.dumps({"error": error}).encode())

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"content-type": "application/json"} | dict(headers or {})).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Echo:
    """The provider; `fault` says what it does, `seen` what it was sent."""

    def __init__(self) -> None:
        self.fault = "none"
        self.seen: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.echo = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
