"""`turnout providers check` against simulators, and against servers that are none."""

import http.server
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from turnout.adapters import PROVIDERS
from turnout.simulator.process import SimulatorProcess

from .conftest import Ran

KEY = "sk-canary-0123456789abcdef"
POLICY = """
providers:
  one: {{kind: openai, base_url: "{one}"}}
targets:
  one/gpt-4o: {{price: 0}}
routing_policy:
  - {{name: all, route: one/gpt-4o}}
"""
PORTAL = b"<html><body>Welcome! Please accept our terms.</body></html>"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key but those that a test gives, and a home of its own."""
    names = {name for kind in PROVIDERS.values() for name in (kind.key_variable, *kind.variables)}
    for name in names | {"TURNOUT_POLICY", "TURNOUT_HOST"}:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ONE_API_KEY", KEY)


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[[str], Ran]
) -> Callable[..., dict[str, Any]]:
    """Checks the provider `one` at an address; what is found, with the exit code as `status`."""
    monkeypatch.chdir(tmp_path)

    def run(address: str, words: str = "", policy: str = POLICY) -> dict[str, Any]:
        (tmp_path / "routing.yml").write_text(policy.format(one=address))
        ran = command(f"turnout providers check --format json {words}")
        assert KEY not in ran.out + ran.err
        (found,) = json.loads(ran.out)
        return {**found, "status": ran.status}

    return run


@contextmanager
def answering(
    status: int, body: bytes, headers: dict[str, str] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A server that gives one answer to everything, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(["openai", "anthropic", "ollama", "groq"], "--key", KEY) as process:
        yield process


# --- what is well --------------------------------------------------------------------------------


def test_a_provider_that_is_there_is_well(
    simulator: SimulatorProcess, check: Callable[..., dict[str, Any]]
) -> None:
    simulator.clear_stats()
    found = check(simulator.base_url("openai"))
    assert isinstance(found.pop("ms"), int)
    assert found == {
        "provider": "one",
        "kind": "openai",
        "credential": "set",
        "source": "variable",
        "resolves": True,
        "connects": True,
        "authenticated": True,
        "models": 10,
        "reason": None,
        "help": None,
        "warnings": [],
        "status": 0,
    }
    stats = simulator.stats()
    assert (stats["lookups"], stats["models"]) == ({"openai": 1}, {})


def test_a_model_that_is_not_listed_is_a_warning(
    simulator: SimulatorProcess, check: Callable[..., dict[str, Any]]
) -> None:
    found = check(simulator.base_url("openai"), policy=POLICY.replace("gpt-4o", "gpt-99"))
    assert found["warnings"] == [
        "`one/gpt-99` is not among the 10 models that this key may use",
    ]
    assert found["status"] == 0


def test_a_list_without_models_is_well_and_has_none_of_the_policys(
    check: Callable[..., dict[str, Any]],
) -> None:
    with answering(200, b'{"object": "list", "data": []}') as (address, _):
        found = check(address)
    assert (found["models"], found["status"]) == (0, 0)
    assert found["warnings"] == ["`one/gpt-4o` is not there: no model is listed"]


# --- what is not ---------------------------------------------------------------------------------


def test_a_wrong_key_is_told_with_its_variable(
    simulator: SimulatorProcess,
    check: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONE_API_KEY", "sk-wrong-0123456789")
    found = check(simulator.base_url("openai"))
    assert found["authenticated"] is False
    assert found["connects"] is True
    assert found["reason"] == "the provider refused the gateway's credential (status 401)"
    assert found["help"] == "check the key in `ONE_API_KEY`"
    assert found["status"] == 1


def test_a_missing_key_is_told_with_its_variable_and_nobody_is_asked(
    check: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONE_API_KEY")
    with answering(200, b"{}") as (address, asked):
        found = check(address)
    assert (found["credential"], found["reason"]) == ("missing", "no credential")
    assert "`ONE_API_KEY`" in found["help"]
    assert found["resolves"] is None
    assert (found["status"], asked) == (1, [])


def test_a_name_that_does_not_resolve_is_told(check: Callable[..., dict[str, Any]]) -> None:
    found = check("https://nobody.invalid/v1")
    assert (found["resolves"], found["connects"]) == (False, None)
    assert found["reason"] == "the name cannot be resolved (nobody.invalid:443)"
    assert found["status"] == 1


def test_a_port_where_nobody_listens_is_told(check: Callable[..., dict[str, Any]]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        found = check(f"http://localhost:{port}/v1")
    assert (found["resolves"], found["connects"]) == (True, False)
    assert found["reason"] == f"the connection is refused (localhost:{port})"
    assert found["status"] == 1


def test_a_server_without_tls_is_told(check: Callable[..., dict[str, Any]]) -> None:
    with answering(200, b"{}") as (address, asked):
        found = check(address.replace("http:", "https:"))
    assert (found["resolves"], found["connects"]) == (True, False)
    assert found["reason"].startswith("no TLS connection can be made")
    assert (found["status"], asked) == (1, [])


@contextmanager
def self_signed(folder: Path) -> Iterator[int]:
    """A server whose certificate nobody vouches for; its port."""
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*made.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            plain, _ = listening.accept()
            with context.wrap_socket(plain, server_side=True):
                pass
        except OSError:
            pass  # the client does not like it

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        thread.join()
        listening.close()


def test_a_certificate_that_nobody_vouches_for_is_told(
    tmp_path: Path, check: Callable[..., dict[str, Any]]
) -> None:
    with self_signed(tmp_path) as port:
        found = check(f"https://localhost:{port}/v1")
    assert (found["resolves"], found["connects"]) == (True, False)
    assert found["reason"].startswith("the certificate is not accepted: self")
    assert "SSL_CERT_FILE" in found["help"]
    assert found["status"] == 1


def test_a_server_that_hangs_is_given_up_in_time(check: Callable[..., dict[str, Any]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        began = time.monotonic()
        found = check(f"http://127.0.0.1:{hanging.getsockname()[1]}/v1", "--timeout 300ms")
    assert time.monotonic() - began < 3
    assert found["connects"] is True
    assert found["reason"] in (
        "it did not answer in time",
        "the provider fell silent",
        "the provider did not list its models in time",
    )
    assert found["help"] == "`--timeout` gives it more"
    assert found["status"] == 1


@pytest.mark.parametrize(
    ("status", "body", "headers", "reason"),
    [
        (200, PORTAL, {}, "the provider's answer is not a list of models"),
        (200, b"", {}, "the provider's answer is empty"),
        (200, b"{}", {}, "the provider's answer is JSON, but not a list of models"),
        (302, b"", {"location": "http://127.0.0.1:1/"}, "redirects are not followed"),
        (404, PORTAL, {}, "does not know the address"),
        (400, b"no", {}, "does not list its models (status 400)"),
    ],
)
def test_what_is_no_list_of_models_is_not_well(
    status: int,
    body: bytes,
    headers: dict[str, str],
    reason: str,
    check: Callable[..., dict[str, Any]],
) -> None:
    with answering(status, body, headers) as (address, asked):
        found = check(address)
    assert reason in found["reason"]
    assert "Welcome" not in str(found)
    assert "`base_url`" in found["help"]
    assert (found["connects"], found["authenticated"], found["status"]) == (True, None, 1)
    assert asked == ["/v1/models"]


# --- which, and how it is told -------------------------------------------------------------------

THREE = """
providers:
  anthropic: {{kind: anthropic, base_url: "{anthropic}"}}
  closed: {{kind: vllm, base_url: "http://127.0.0.1:{closed}/v1"}}
  openai: {{kind: openai, base_url: "{openai}"}}
routing_policy:
  - {{name: small, condition: tokens < 100, route: openai/gpt-4o}}
  - {{name: large, condition: tokens > 900, route: openai/gpt-4.1}}
  - {{name: rest, route: anthropic/claude-sonnet-4, fallback: [closed/m]}}
targets:
  closed/m: {{price: 0}}
"""


@pytest.fixture
def ask(
    simulator: SimulatorProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[[str], Ran],
) -> Iterator[Callable[[str], Ran]]:
    """Runs the command where the policy reaches three providers, one of which is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = str(closed.getsockname()[1])
        places = {name: simulator.base_url(name) for name in ("openai", "anthropic")}
        (tmp_path / "routing.yml").write_text(THREE.format(closed=port, **places))

        def run(line: str) -> Ran:
            ran = command(line)
            assert KEY not in ran.out + ran.err
            text = re.sub(r"(?m)^(\w+ .*) \d+$", r"\1 N", re.sub(" {2,}", " ", ran.out))
            return Ran(text.replace(port, "PORT"), ran.err, ran.status)

        yield run


def test_the_table_tells_of_all_that_the_policy_reaches(ask: Callable[[str], Ran]) -> None:
    ran = ask("turnout providers check")
    assert ran.out.splitlines() == [
        "provider kind credential resolves connects authenticated models ms",
        "anthropic anthropic set (variable) yes yes yes 9 N",
        "closed vllm not needed yes no - - N",
        "openai openai set (variable) yes yes yes 10 N",
        "",
        "closed: the connection is refused (127.0.0.1:PORT)",
        " help: is this the right host and port, and does a firewall let this machine through?",
        "",
        "warning: `openai/gpt-4.1` is not among the 10 models that this key may use",
        "",
        "2 of 3 providers are well",
    ]
    assert (ran.err, ran.status) == ("", 1)


@pytest.mark.parametrize(
    "words", ["--provider openai anthropic", "--provider openai --provider anthropic"]
)
def test_only_the_named_are_asked(words: str, ask: Callable[[str], Ran]) -> None:
    ran = ask(f"turnout providers check {words}")
    assert [line.split()[0] for line in ran.out.splitlines()[1:3]] == ["anthropic", "openai"]
    assert ran.out.splitlines()[-1] == "2 of 2 providers are well"
    assert ran.status == 0


def test_a_provider_that_the_policy_does_not_reach_can_be_asked_for(
    ask: Callable[[str], Ran],
) -> None:
    ran = ask("turnout providers check --provider mistral")
    assert "mistral: no credential\n help: set `MISTRAL_API_KEY`" in ran.out
    assert ran.out.endswith("0 of 1 provider is well\n")
    assert ran.status == 1


def test_a_provider_that_nobody_knows_is_refused(ask: Callable[[str], Ran]) -> None:
    ran = ask("turnout providers check --provider antropic")
    assert ran.err.splitlines() == [
        "turnout: there is no provider `antropic`",
        "  help: did you mean `anthropic`?",
    ]
    assert (ran.out, ran.status) == ("", 2)


def test_without_a_policy_those_with_a_key_are_asked(
    ask: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("routing.yml").unlink()
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "")
    ran = ask("turnout providers check")
    assert ran.err.startswith("turnout: no provider has a credential, and no policy says")
    assert (ran.out, ran.status) == ("", 1)


def test_settings_that_cannot_be_read_are_told(
    ask: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_FILE", "/nowhere")
    ran = ask("turnout providers check")
    assert "both `OPENAI_API_KEY` and `OPENAI_API_KEY_FILE` are set" in ran.err
    assert (ran.out, ran.status) == ("", 2)


def test_a_policy_that_is_not_there_is_told(ask: Callable[[str], Ran]) -> None:
    ran = ask("turnout providers check --policy nowhere.yml")
    assert "there is no file `nowhere.yml`" in ran.err
    assert (ran.out, ran.status) == ("", 2)


def test_a_policy_with_errors_is_refused_as_everywhere(ask: Callable[[str], Ran]) -> None:
    Path("broken.yml").write_text(
        "routing_policy:\n  - {name: a, condition: tokns < 1, route: x/y}\n"
    )
    ran = ask("turnout providers check --policy broken.yml")
    assert "tokns" in ran.err
    assert (ran.out, ran.status) == ("", 1)


def test_one_that_hangs_holds_up_no_other(ask: Callable[[str], Ran]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        text = Path("routing.yml").read_text()
        place = f"http://127.0.0.1:{hanging.getsockname()[1]}/v1"
        Path("routing.yml").write_text(re.sub(r"http://127[^\"]+", place, text, count=1))
        began = time.monotonic()
        ran = ask("turnout providers check --timeout 1s")
    assert time.monotonic() - began < 5
    assert "anthropic anthropic set (variable) yes yes - - N" in ran.out
    assert "openai openai set (variable) yes yes yes 10 N" in ran.out
    assert ran.status == 1
