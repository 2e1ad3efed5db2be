"""The policy of a serving gateway changes: over real processes, files, signals and sockets."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import PROVIDERS, Served, providers_of
from turnout.engine.policy import Policy
from turnout.simulator.process import SimulatorProcess

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}


class Upstream(ThreadingHTTPServer):
    """A provider whose streams begin, and end when they may."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Streaming)
        self.begun = threading.Event()
        self.may_end = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Streaming(BaseHTTPRequestHandler):
    server: Upstream

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self._send({"content": "hello"}, None)
        self.server.begun.set()
        self.server.may_end.wait(60)
        self._send({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, delta: dict[str, str], finish: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "slow"}
        self.wfile.write(b"data: %b\n\n" % json.dumps(chunk | {"choices": [choice]}).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def until(
    true: Callable[[], object], say: Callable[[], object] = str, seconds: float = 40.0
) -> None:
    """Wait for a condition that another process brings about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it did not come about: {say()}"
        time.sleep(0.02)


class Gateway:
    """A gateway of two workers with its policy file; `rule` makes a policy of one rule."""

    def __init__(self, folder: Path, providers: str) -> None:
        self.folder = folder
        self.providers = providers
        self.path = folder / "routing.yml"
        self.served: Served

    def start(self, *flags: str, **environment: str) -> None:
        keys = {f"{name.upper()}_API_KEY": "simulated" for name in PROVIDERS}
        command = ("serve", "--policy", str(self.path), "--port", "0", *flags)
        self.served = Served(*command, home=self.folder / "home", **(keys | environment))

    def rule(self, name: str, *more: str, route: str = "openai/gpt-4") -> str:
        rules = f"routing_policy:\n  - {{name: {name}, route: {route}}}\n"
        return self.providers + rules + "".join(f"{line}\n" for line in more)

    def write(self, text: str) -> None:
        beside = self.path.with_suffix(".tmp")
        beside.write_text(text)
        beside.rename(self.path)

    @property
    def policy(self) -> dict[str, Any]:
        found = httpx.get(f"{self.served.url}/health", timeout=10).json()["policy"]
        assert isinstance(found, dict)
        return found

    @property
    def rejected(self) -> dict[str, Any]:
        found = self.policy["rejected"] or {}
        assert isinstance(found, dict)
        return found

    def counted(self, name: str) -> float:
        text = httpx.get(f"{self.served.url}/metrics", timeout=10).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def loaded(self) -> float:
        return self.counted('turnout_policy_reloads_total{result="loaded"}')

    def ask(self) -> httpx.Response:
        return httpx.post(f"{self.served.url}/v1/chat/completions", json=CHAT, timeout=30)

    def put(self, name: str, workers: int = 2, route: str = "openai/gpt-4") -> str:
        """Write a policy of one rule and wait until all workers serve it; its hash."""
        before = self.loaded()
        self.write(self.rule(name, route=route))
        digest = Policy.load(self.path).digest
        until(lambda: self.loaded() == before + workers, lambda: (self.policy, self.log))
        assert self.policy["hash"] == digest
        return digest

    @property
    def log(self) -> str:
        return self.served.log.read_text()

    def workers(self) -> dict[int, str]:
        """The processes that serve, each with the command lines of its own children."""
        return {
            pid: " ".join(map(command_of, children_of(pid)))
            for pid in children_of(self.served.process.pid)
            if "spawn_main" in command_of(pid)
        }


def children_of(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.may_end.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory,
    simulators: dict[str, SimulatorProcess],
    upstream: Upstream,
) -> Iterator[Gateway]:
    held = f"  held: {{kind: openai, base_url: '{upstream.base_url}'}}\n"
    targets = "targets: {held/slow: {price: 0, context_window: 8k}}\n"
    providers = providers_of(simulators) + held + targets
    gateway = Gateway(tmp_path_factory.mktemp("two"), providers)
    gateway.path.write_text(gateway.rule("first"))
    gateway.start("--workers", "2", HELD_API_KEY="any")
    yield gateway
    assert gateway.served.stop() == 0


@pytest.fixture
def one(tmp_path: Path, simulators: dict[str, SimulatorProcess]) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path, providers_of(simulators))
    gateway.path.write_text(gateway.rule("first"))
    yield gateway
    gateway.served.stop()


def test_all_workers_put_a_changed_policy_in_force(two: Gateway) -> None:
    digest = two.put("second")
    answer = two.ask()
    assert answer.headers["x-turnout-policy"] == digest
    assert answer.headers["x-turnout-rule"] == "second"
    assert two.policy["rejected"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", two.policy["loaded_at"])


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (lambda t: t.replace("name:", "condition: tokns < 1, name:"), "findings", "tokns"),
        (lambda t: t + "tests: [{given: {tokens: 1}, expect: {rule: x}}]\n", "tests", "1 of 1"),
        (
            lambda t: re.sub(r"(openai:.*)127.0.0.1", r"\1elsewhere.example", t),
            "origin",
            "the address of the provider `openai` would be new",
        ),
        (
            lambda t: t.replace("openai: {", "openai: {headers: {x-team: a}, "),
            "origin",
            "the header `x-team` of the provider `openai` would be new",
        ),
        (
            lambda t: t.replace("openai: {", "house: {kind: openai, "),
            "origin",
            "the provider `house`",
        ),
        (
            lambda t: t.replace("openai: {", "openai: {headers: {x: '${TURNOUT_VAR_NO}'}, "),
            "settings",
            "routing.yml:2:",
        ),
    ],
    ids=["name", "test", "address", "header", "provider", "variable"],
)
def test_what_is_not_fit_is_refused_and_told_and_requests_go_on(
    two: Gateway, change: Callable[[str], str], kind: str, told: str
) -> None:
    before = two.put(f"before_{kind}_{len(told)}")
    text = two.path.read_text()
    refused = f'turnout_policy_reloads_total{{result="{kind}"}}'
    count = two.counted(refused)
    two.write(change(text))
    until(lambda: two.counted(refused) == count + 2, lambda: (two.policy, two.log))
    rejected = two.rejected
    assert rejected["kind"] == kind
    assert told in str(rejected)
    assert "elsewhere.example" not in str(rejected)
    assert two.counted("turnout_policy_rejected") == 1
    assert two.ask().headers["x-turnout-policy"] == two.policy["hash"] == before
    assert httpx.get(f"{two.served.url}/health").json()["status"] == "ok"
    two.write(text)
    until(lambda: two.counted("turnout_policy_rejected") == 0, lambda: two.policy)
    until(lambda: not two.rejected)


def test_a_request_keeps_the_policy_that_it_began_with(two: Gateway, upstream: Upstream) -> None:
    old = two.put("old", route="held/slow")
    ends: list[tuple[str, str]] = []

    def read() -> None:
        with httpx.stream(
            "POST",
            f"{two.served.url}/v1/chat/completions",
            json=CHAT | {"stream": True},
            timeout=60,
        ) as response:
            ends.append((response.headers["x-request-id"], response.read().decode()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert upstream.begun.wait(30)
        new = two.put("new")
        assert two.ask().headers["x-turnout-policy"] == new
        assert not ends
    finally:
        upstream.may_end.set()
        reader.join(60)
    ((request_id, text),) = ends
    assert "hello" in text and "[DONE]" in text
    trace = httpx.get(f"{two.served.url}/v1/traces/{request_id}", timeout=30).json()
    assert trace["policy"] == old != new
    assert trace["rule"] == "old"
    assert trace["trail"][-1]["outcome"] == "true"


def test_a_worker_that_is_killed_is_replaced_by_one_on_the_policy_in_force(two: Gateway) -> None:
    digest = two.put("kept")
    two.write("broken: true\n")
    until(lambda: two.rejected, lambda: two.policy)
    # It leads, for it has what judges candidates.
    (leader,) = [pid for pid, has in two.workers().items() if "engine.checker" in has]
    before = set(two.workers())
    os.kill(leader, signal.SIGKILL)
    until(lambda: len(set(two.workers()) - before) == 1)
    (successor,) = set(two.workers()) - before
    # The other one leads now; alone, the successor shows what it serves.
    until(lambda: is_serving(successor, two.served.url), lambda: two.log)
    (other,) = before - {leader}
    os.kill(other, signal.SIGSTOP)
    try:
        until(lambda: two.policy["hash"] == digest, lambda: two.policy)
        assert two.ask().headers["x-turnout-policy"] == digest
    finally:
        os.kill(other, signal.SIGCONT)
    two.write(two.rule("after"))
    until(lambda: two.policy["hash"] == Policy.load(two.path).digest, lambda: two.log)
    two.put("later")


def is_serving(pid: int, url: str) -> bool:
    """Whether a process accepts connections: it polls the socket that all of them share."""
    port = int(url.rsplit(":", 1)[1])
    inodes = {
        row.split()[9]
        for row in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if row.split()[3] == "0A" and int(row.split()[1].rsplit(":", 1)[1], 16) == port
    }
    try:
        polled = [
            re.findall(r"ino:([0-9a-f]+)", one.read_text())
            for one in Path(f"/proc/{pid}/fdinfo").iterdir()
        ]
    except OSError:
        return False
    return any(str(int(ino, 16)) in inodes for found in polled for ino in found)


def test_a_hang_up_has_the_files_looked_at_now(two: Gateway) -> None:
    two.put("calm")
    two.write("broken: true\n")
    until(lambda: two.rejected, lambda: two.policy)
    first = two.rejected["at"]
    for _ in range(3):  # they may come in any number, and end nothing
        two.served.process.send_signal(signal.SIGHUP)
    until(lambda: two.rejected.get("at", first) > first, lambda: two.policy)
    two.put("calm_again")


def test_the_last_good_policy_is_served_after_a_restart(one: Gateway) -> None:
    one.start()
    digest = one.put("good", workers=1)
    for broken in (one.rule("x", "nothing: known"), None):
        if broken is None:
            one.path.unlink()
        else:
            one.write(broken)
        assert one.served.stop() == 0
        one.start()
        assert "the last good policy of" in "".join(one.served.lines)
        assert "turnout: warning: " in one.log
        assert one.policy["hash"] == digest
        assert one.rejected["reason"]
        assert one.ask().headers["x-turnout-rule"] == "good"
    assert one.put("better", workers=1) != digest
    until(lambda: not one.rejected)


def test_a_restart_may_reach_what_a_reload_may_not(one: Gateway) -> None:
    one.start()
    text = one.rule("other").replace("openai: {", "openai: {headers: {x-team: a}, ")
    one.write(text)
    until(lambda: one.rejected.get("kind") == "origin", lambda: one.policy)
    # Alone, the process is its own worker: it is told to look, and says the same.
    at = one.rejected["at"]
    one.served.process.send_signal(signal.SIGHUP)
    until(lambda: one.rejected.get("at", at) > at)
    assert one.served.stop() == 0
    one.start()
    assert one.policy["rejected"] is None
    assert one.ask().headers["x-turnout-rule"] == "other"
    # What was there at the start may go and come back.
    one.put("without", workers=1)
    one.write(text)
    until(lambda: one.policy["hash"] == Policy.load(one.path).digest, lambda: one.policy)


def test_a_first_start_on_a_policy_whose_tests_fail_is_refused(one: Gateway) -> None:
    one.write(one.rule("a", "tests: [{name: t, given: {tokens: 1}, expect: {rule: b}}]"))
    with pytest.raises(AssertionError) as raised:
        one.start()
    assert "routing.yml:" in str(raised.value)
    assert "1 of 1 test of the policy failed" in str(raised.value)
    one.write(one.rule("a"))
    one.start()
