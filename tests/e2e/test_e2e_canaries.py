"""No secret leaves: one in every slot, every fault and refusal, and all that was written searched.

The provider repeats whatever it is sent, in every place of an answer that it has. To add a slot:
its line in `environment`, `policy` or `requests`, and its name among the canaries.

The whole of it is done at the usual level of the log; at `debug`, where only the log says more, one
provider of a kind and one key are enough, and `TURNOUT_CANARIES=whole` does it all once more.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.canaries import FAULTS, Echo, canary, found

from .conftest import Served

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")

# The slots of secrets, and how a key of each looks.
SLOTS = {
    "openai_key": "sk-proj-",
    "groq_key_in_a_file": "gsk_",
    "mistral_key_of_a_command": "",
    "header_of_the_policy": "",
    "header_of_the_policy_after_its_scheme": "",
    "admin_key": "tk-admin-",
    "webhook": "",
    "webhook_secret": "",
    "passed_openai_key": "sk-",
    "passed_anthropic_key": "sk-ant-",
    "unknown_key": "tk_",
    "malformed_key": "tk_",
    "cookie": "",
    "proxy_authorization": "",
    "goog_key": "AIza",
    "userinfo": "",
    "query": "",
    "any_header": "",
    "unused_variable_key": "",
}

# What clients want said, and what providers answer: in no place but the answer itself.
TEXTS = {name: "" for name in ("prompt", "system", "tool", "image", "user_field", "body_value")}


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(500)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class World:
    """A gateway with a canary in every slot, and all that came out of it."""

    def __init__(self, folder: Path, level: str) -> None:
        self.folder = folder
        self.level = level
        self.whole = level == "info" or os.environ.get("TURNOUT_CANARIES") == "whole"
        self.secrets = {slot: canary(slot, prefix) for slot, prefix in SLOTS.items()}
        self.texts = {slot: canary(slot) for slot in TEXTS}
        self.written: dict[str, bytes] = {}
        self.ids: list[str] = []
        self.statuses: set[int] = set()
        self.echo = Echo()
        self.hook = HTTPServer(("127.0.0.1", 0), _Hook)
        threading.Thread(target=self.hook.serve_forever, daemon=True).start()
        self.home = folder / "home"
        self.home.mkdir()
        self.keys = self._make_keys()
        self.served = self._serve()
        self.client = httpx.Client(base_url=self.served.url, timeout=20)

    def _serve(self) -> Served:
        (self.folder / "groq").write_text(self.secrets["groq_key_in_a_file"])
        (self.folder / "mistral").write_text(self.secrets["mistral_key_of_a_command"])
        (self.folder / "routing.yml").write_text(self._policy())
        flags = ("serve", "--policy", str(self.folder / "routing.yml"), "--port", "0")
        return Served(*flags, home=self.home, **self._environment())

    def _environment(self) -> dict[str, str]:
        secrets = self.secrets
        port = self.hook.server_address[1]
        return {
            "TURNOUT_LOG_LEVEL": self.level,
            "TURNOUT_AUTH": "passthrough",
            "TURNOUT_ADMIN_KEY": secrets["admin_key"],
            "TURNOUT_ALERT_WEBHOOK": f"http://127.0.0.1:{port}/{secrets['webhook']}",
            "TURNOUT_ALERT_SECRET": secrets["webhook_secret"],
            "OPENAI_API_KEY": secrets["openai_key"],
            "GROQ_API_KEY_FILE": str(self.folder / "groq"),
            "MISTRAL_API_KEY_COMMAND": f"cat '{self.folder / 'mistral'}'",
            "XAI_API_KEY": secrets["unused_variable_key"],
            "TURNOUT_VAR_PLAIN": secrets["header_of_the_policy"],
            "TURNOUT_VAR_BEARER": secrets["header_of_the_policy_after_its_scheme"],
        }

    def _policy(self) -> str:
        url = self.echo.url
        names = ("openai", "groq", "mistral")
        window = "context_window: 8k"
        cheap = f"{{price: {{input: $0.01/Mtok, output: $0.01/Mtok}}, {window}}}"
        dear = f"{{price: {{input: $1000/Mtok, output: $1000/Mtok}}, {window}}}"
        # A target for each fault: none is left alone because of another's.
        targets = "".join(
            f"  {name}/{model}: {cheap}\n"
            for name in (*names, "house", "broken")
            for model in ("m", *FAULTS)
        )
        house = "x-house: '${TURNOUT_VAR_PLAIN}', authorization: 'Bearer ${TURNOUT_VAR_BEARER}'"
        return (
            "providers:\n"
            + "".join(f"  {name}: {{base_url: '{url}'}}\n" for name in names)
            + f"  xai: {{base_url: '{url}'}}\n"
            f"  house: {{kind: openai, base_url: '{url}', headers: {{{house}}}}}\n"
            "  broken: {kind: openai, base_url: 'https://127.0.0.1:1/v1', "
            "headers: {x-house: '${TURNOUT_VAR_PLAIN}'}}\n"
            f"targets:\n{targets}  openai/dear: {dear}\n"
            "budgets:\n"
            "  - {name: house, scope: tenant, limit: $3/day, at: {50%: alert, 100%: reject}}\n"
            "defaults: {retries: 0, timeout: 2s}\n"
            "deadline: 5s\n"
            "routing_policy:\n"
            "  - {name: requested, route: requested}\n"
        )

    def _make_keys(self) -> dict[str, str]:
        keys = {"valid": self._key("--tenant", "acme", "--team", "search", "--user", "ana")}
        if not self.whole:
            return self._kept_secret(keys)
        keys |= {
            "read_only": self._key("--tenant", "acme", "--scopes", "ai:read"),
            "other_model": self._key("--tenant", "acme", "--models", "groq/*"),
            "revoked": self._key("--tenant", "acme"),
            "rotated": self._key("--tenant", "acme"),
            "expired": self._key("--tenant", "acme", "--expires", "1s"),
        }
        listed = json.loads(self.command("keys", "list", "--all", "--format", "json"))
        ids = [one["id"] for one in listed]
        of = {name: next(i for i in ids if text.split("_")[1] in i) for name, text in keys.items()}
        self.command("keys", "revoke", of["revoked"])
        rotated = self._run("keys", "rotate", of["rotated"], "--format", "json", "--grace", "0")
        keys["after_rotation"] = _key_in(rotated)
        return self._kept_secret(keys)

    def _kept_secret(self, keys: dict[str, str]) -> dict[str, str]:
        """The keys, now among the canaries: what is secret follows a key's id, which is shown."""
        self.secrets |= {f"key_{name}": text.split("_")[2] for name, text in keys.items()}
        return keys

    def _key(self, *words: str) -> str:
        return _key_in(self._run("keys", "create", *words, "--format", "json"))

    def command(self, *words: str) -> bytes:
        """What a command prints; it is searched later."""
        printed = self._run(*words)
        self.written[f"turnout {' '.join(words)}"] = printed
        return printed

    def _run(self, *words: str) -> bytes:
        ran = subprocess.run(
            [sys.executable, "-m", "turnout", *words],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("TURNOUT_")},
                "TURNOUT_HOME": str(self.home),
                **(self._environment() if words[0] == "providers" else {}),
            },
            capture_output=True,
            timeout=60,
        )
        return ran.stdout + ran.stderr

    # --- asking --------------------------------------------------------------------------------

    def ask(self, method: str, path: str, what: str, **given: Any) -> None:
        """Send a request; all that comes back is searched later."""
        try:
            answer = self.client.request(method, path, **given)
        except httpx.HTTPError as error:
            self.written[f"{what} {method} {path}"] = repr(error).encode()
            return
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.written[f"{what} {method} {path}"] = head.encode() + b"\n\n" + answer.content
        self.statuses.add(answer.status_code)
        if what in FAULTS or what in ("valid", "dear"):
            self.ids.append(answer.headers["x-request-id"])

    def body(self, model: str, path: str = PATHS[0], stream: bool = False) -> dict[str, Any]:
        texts = self.texts
        if path == "/v1/completions":
            return {"model": model, "prompt": texts["prompt"], "stream": stream, "max_tokens": 5}
        if path == "/v1/responses":
            said = {"input": texts["prompt"], "instructions": texts["system"]}
            return {"model": model, "stream": stream, "max_output_tokens": 16, **said}
        messages: list[dict[str, Any]] = [{"role": "user", "content": texts["prompt"]}]
        if path == "/v1/messages":
            system = texts["system"]
            bounds = {"model": model, "stream": stream, "max_tokens": 5}
            return {**bounds, "system": system, "messages": messages}
        messages.insert(0, {"role": "system", "content": texts["system"]})
        schema = {"type": "object", "properties": {}}
        tool = {"name": "look", "description": texts["tool"], "parameters": schema}
        return {
            "model": model,
            "stream": stream,
            "max_tokens": 5,
            "messages": messages,
            "tools": [{"type": "function", "function": tool}],
            "user": texts["user_field"],
        }

    def finish(self) -> None:
        """Ask for all that can be looked at, stop, and read all that was written."""
        admin = {"authorization": f"Bearer {self.secrets['admin_key']}"}
        valid = {"authorization": f"Bearer {self.keys['valid']}"}
        for path in ("/health", "/ready", "/metrics", "/v1/models", "/v1/costs"):
            self.ask("GET", path, "admin", headers=admin)
            self.ask("GET", path, "a client", headers=valid)
        self.ask("GET", "/v1/admin/keys", "admin", headers=admin)
        self.ask("GET", "/v1/admin/tenants", "admin", headers=admin)
        self.traced = 0
        for id in self.ids[::7]:  # who is turned away is waited for, as a trace may come late
            self.ask("GET", f"/v1/traces/{id}", "admin", headers=admin)
            self.traced += b'"hops"' in self.written[f"admin GET /v1/traces/{id}"]
        self.client.close()
        self.served.stop()
        self.echo.close()
        self.hook.shutdown()
        self.hook.server_close()
        commands: tuple[tuple[str, ...], ...] = (
            ("costs", "--by", "model"),
            ("budget",),
            ("shadow",),
            ("keys", "list", "--all"),
            ("audit", "export"),
            ("providers", "check", "--timeout", "2s"),
            ("trace", self.ids[0]),
        )
        for words in commands if self.whole else ():
            self.command(*words)
        self.written["stdout"] = "".join(self.served.lines).encode()
        self.written["the log"] = self.served.log.read_bytes()
        for file in self.home.rglob("*"):
            if file.is_file():
                self.written[f"file {file.relative_to(self.home)}"] = file.read_bytes()


def _key_in(printed: bytes) -> str:
    text = json.dumps(json.loads(printed))
    start = text.index('"tk_') + 1
    return text[start : text.index('"', start)]


def credentials(world: World) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Every way to present something, and what it is."""
    secrets, keys = world.secrets, world.keys
    for name, text in keys.items():
        yield name, {"authorization": f"Bearer {text}"}
    yield "x-api-key", {"x-api-key": keys["valid"]}
    yield "passed openai", {"authorization": f"Bearer {secrets['passed_openai_key']}"}
    yield "passed anthropic", {"x-api-key": secrets["passed_anthropic_key"]}
    yield (
        "passed beside a key",
        {
            "authorization": f"Bearer {secrets['passed_openai_key']}",
            "x-turnout-key": keys["valid"],
        },
    )
    yield "unknown", {"authorization": f"Bearer {secrets['unknown_key']}"}
    yield "malformed", {"authorization": f"Bearer {secrets['malformed_key']} x"}
    yield "basic", {"authorization": f"Basic {secrets['userinfo']}"}
    yield "admin", {"authorization": f"Bearer {secrets['admin_key']}"}
    yield "in the wrong header", {"x-goog-api-key": secrets["goog_key"]}
    yield "nothing", {}


def requests(world: World) -> None:
    """The whole matrix."""
    secrets = world.secrets
    valid = {"authorization": f"Bearer {world.keys['valid']}"}
    beside = {
        "cookie": f"sid={secrets['cookie']}",
        "proxy-authorization": f"Basic {secrets['proxy_authorization']}",
        "x-goog-api-key": secrets["goog_key"],
        "x-any-header": secrets["any_header"],
    }

    def chat(fault: str, name: str, stream: bool) -> None:
        model = f"{name}/{fault}"
        body = world.body(model, stream=stream)
        what = f"{fault} of {model}{' streamed' if stream else ''}"
        world.ask("POST", PATHS[0], what, headers=valid | beside, json=body)

    for fault in FAULTS:
        world.echo.fault = fault
        both = [(fault, name, stream) for name in ("openai", "house") for stream in (False, True)]
        if fault == "hang":
            with ThreadPoolExecutor(len(both)) as hands:
                list(hands.map(chat, *zip(*both, strict=True)))
            continue
        for one in both:
            chat(*one)
        # Keys from a file and of a command are no others once they are read.
        for name in ("groq", "mistral") if world.whole or fault == FAULTS[0] else ():
            chat(fault, name, False)
            chat(fault, name, True)
        for path in PATHS[1:]:
            body = world.body(f"openai/{fault}", path)
            world.ask("POST", path, fault, headers=valid, json=body)
        own = {"authorization": f"Bearer {secrets['passed_openai_key']}"}
        body = world.body(f"openai/{fault}")
        world.ask("POST", PATHS[0], f"{fault} of a passed key", headers=own, json=body)
    world.echo.fault = "none"
    world.ask("POST", PATHS[0], "unreachable", headers=valid, json=world.body("broken/m"))
    presented = list(credentials(world))

    def trace(name: str, headers: Mapping[str, str]) -> None:  # one that might still be written
        world.ask("GET", "/v1/traces/req_none", name, headers=headers)

    with ThreadPoolExecutor(len(presented)) as hands:
        list(hands.map(trace, *zip(*presented, strict=True)))
    for name, headers in presented:
        world.ask("POST", PATHS[0], name, headers=headers, json=world.body("openai/m"))
        world.ask("POST", PATHS[3], name, headers=headers, json=world.body("openai/m", PATHS[3]))
        world.ask("GET", "/v1/models", name, headers=headers)
        world.ask("GET", "/v1/admin/keys", name, headers=headers)
        world.ask("POST", "/v1/explain", name, headers=headers, json=world.body("openai/m"))
    for _ in range(6):  # a budget comes to its end, and somebody is told
        world.ask("POST", PATHS[0], "dear", headers=valid, json=world.body("openai/dear"))
    refused(world, valid)


def refused(world: World, valid: Mapping[str, str]) -> None:
    """What the gateway itself refuses, with secrets where they do not belong."""
    secrets = world.secrets
    path = PATHS[0]
    key = secrets["query"]
    good = world.body("openai/m")
    value_of_body = world.texts["body_value"]
    world.ask("POST", f"{path}?key={key}&api_key={key}", "query", headers=valid, json=good)
    world.ask("GET", f"/v1/{key}", "a path", headers=valid)
    world.ask("PATCH", path, "a method", headers=valid)
    world.ask("POST", path, "no JSON", headers=valid, content=f"{{{value_of_body}")
    world.ask("POST", path, "no body", headers=valid)
    plain = {**valid, "content-type": f"text/{secrets['any_header']}"}
    world.ask("POST", path, "a type", headers=plain, content=json.dumps(good))
    for name, value in (
        ("model", value_of_body),
        ("messages", value_of_body),
        ("api_key", value_of_body),
        ("base_url", f"http://{value_of_body}:x@127.0.0.1/"),
        ("extra_headers", {"authorization": value_of_body}),
        ("temperature", value_of_body),
    ):
        world.ask("POST", path, f"a body's {name}", headers=valid, json=good | {name: value})
    admin = {"authorization": f"Bearer {secrets['admin_key']}"}
    world.ask("POST", "/v1/admin/keys", "admin", headers=admin, json={"x": secrets["any_header"]})
    world.ask("GET", f"/v1/traces/{key}", "a trace", headers=valid)
    world.ask("GET", f"/v1/models/{key}", "a model", headers=valid)


@pytest.fixture(scope="module", params=["info", "debug"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("canaries"), request.param)
    try:
        requests(made)
    finally:
        made.finish()
    return made


def test_the_matrix_reaches_what_it_is_about(world: World) -> None:
    assert {200, 400, 401, 402, 403, 404, 405, 415, 429, 502, 503} <= world.statuses
    assert world.traced > len(world.ids) // 10  # of those looked for; who was refused has none
    sent = "\n".join(world.echo.seen)
    for slot in (
        "openai_key",
        "groq_key_in_a_file",
        "mistral_key_of_a_command",
        "header_of_the_policy",
        "header_of_the_policy_after_its_scheme",
    ):
        assert world.secrets[slot] in sent, slot
    # Somebody's own key is for the provider's exact origin, which this is not.
    own = "passed_openai_key"
    for slot in ("cookie", "proxy_authorization", "goog_key", "any_header", "admin_key", own):
        assert world.secrets[slot] not in sent, slot
    assert not [
        slot for slot in world.secrets if slot.startswith("key_") and world.secrets[slot] in sent
    ]


# A name that a client made up is told back to that client, as it must be.
TOLD_BACK = ("a body's model", "a model GET", "a path GET", "a trace GET", "a type POST")


def test_no_secret_is_in_anything_that_was_written(world: World) -> None:
    where = {name: text for name, text in world.written.items() if not name.startswith(TOLD_BACK)}
    assert found(where, world.secrets) == []


def test_no_prompt_is_anywhere_but_in_the_log_of_debug(world: World) -> None:
    where = {name: text for name, text in world.written.items() if not name.startswith(TOLD_BACK)}
    if world.level == "debug":
        assert b"PROMPT" in where["the log"]
        assert world.texts["prompt"].encode() in where.pop("the log")
    assert found(where, world.texts) == []


def test_nothing_broke_inside_the_gateway(world: World) -> None:
    assert b"inside the gateway" not in world.written["the log"]
    assert b"Traceback" not in world.written["the log"]


Search = Callable[[Mapping[str, bytes]], list[str]]


def test_the_search_finds_what_it_looks_for() -> None:
    secret = canary("slot", "sk-")
    import base64

    for text in (
        secret,
        secret[:14] + "***",
        base64.b64encode(f"Bearer {secret}".encode()).decode(),
    ):
        assert found({"there": f"told {text} here".encode()}, {"slot": secret})
    assert not found({"there": f"told {secret[:9]}*** here".encode()}, {"slot": secret})
