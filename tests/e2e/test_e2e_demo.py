"""`turnout demo` on a policy of one's own, and the same by hand (`docs/simulator.md`)."""

import argparse
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from turnout.simulator.faults import Fault
from turnout.simulator.launch import configure
from turnout.simulator.process import SimulatorProcess

from .conftest import Served

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
HTTP_PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
NOT_SERVED = re.findall(
    r"`(GET|POST) (/[^` ]*)`", HTTP_PAGE.split("## Not served yet")[1].split("```")[0]
)
MINE = """\
providers:
  house: {kind: openai, base_url: "https://llm.example/v1", headers: {x-team: "${TURNOUT_VAR_NO}"}}
  backup: {kind: anthropic, base_url: "https://claude.example/v1"}
targets:
  house/big: {price: 0, context_window: 8k}
  backup/claude: {price: 0, context_window: 8k}
routing_policy:
  - {name: mine, route: house/big, fallback: [backup/claude]}
"""


def post(url: str, body: object) -> tuple[dict[str, str], dict[str, Any]]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(answer.headers), json.load(answer)


def ask(url: str) -> dict[str, str]:
    """The headers of an answer to a short question."""
    body = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}
    return post(f"{url}/v1/chat/completions", body)[0]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "routing.yml").write_text(MINE)
    command = ("demo", "--port", "0", "--policy", str(folder / "routing.yml"))
    served = Served(*command, home=folder / "home", TURNOUT_TENANT_ID="acme")
    yield served
    assert served.stop() == 0


def test_the_demo_plays_the_providers_of_a_policy_of_ones_own(mine: Served) -> None:
    headers = ask(mine.url)
    assert headers["x-turnout-rule"] == "mine"
    assert headers["x-turnout-model"] == "house/big"


def test_the_demo_serves_the_file_itself_and_keeps_no_copy(mine: Served) -> None:
    assert any(str(mine.home.parent / "routing.yml") in line for line in mine.lines)
    assert list(mine.home.rglob("*.yml")) == []


def test_the_demo_keeps_what_simulate_reads(mine: Served) -> None:
    """As `docs/commands.md` shows it: the journal is in the folder `demo` of its home."""
    ask(mine.url)
    policy = str(mine.home.parent / "routing.yml")
    line = ["policy", "simulate", "--journal", str(mine.home / "demo"), "--policy", policy]
    told = subprocess.run(
        [sys.executable, "-m", "turnout", *line], capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 0, told.stderr
    assert re.search(r"^([1-9]\d*) requests?, \1 decided$", told.stdout, re.MULTILINE)
    assert "house/big" in told.stdout


@pytest.mark.parametrize(("method", "path"), NOT_SERVED)
def test_what_is_not_served_is_answered_as_the_page_says(
    mine: Served, method: str, path: str
) -> None:
    body = json.dumps({"model": "auto", "input": "hi"}).encode() if method == "POST" else None
    request = urllib.request.Request(
        mine.url + path, body, {"content-type": "application/json"}, method=method
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 404
    _, _, rest = HTTP_PAGE.partition("## Not served yet")
    (shown,) = re.findall(r"```json\n(.*?)```", rest, re.DOTALL)
    wanted = json.loads(shown.replace("POST /v1/moderations", f"{method} {path}"))["error"]
    told = json.load(refused.value)["error"]
    if path.startswith("/v1/messages"):  # Anthropic's errors have no more than these
        wanted = {"type": "not_found_error", "message": wanted["message"]}
    assert told == wanted


def test_the_demo_says_where_faults_are_ordered(mine: Served) -> None:
    control = re.search(r"POST (http://\S+/_sim/faults)", "".join(mine.lines))
    assert control is not None
    post(control.group(1), {"model": "openai/*", "times": 9, "fault": {"kind": "cut", "after": 0}})
    assert ask(mine.url)["x-turnout-model"] == "backup/claude"


def test_the_simulators_page_shows_what_the_simulator_prints() -> None:
    (block,) = re.findall(r"```console\n\$ turnout (.*?)```", PAGE, re.DOTALL)
    command, *shown = block.splitlines()
    words = command.split()
    assert words.pop(0) == "simulator"
    parser = argparse.ArgumentParser()
    configure(parser)
    asked = parser.parse_args(words)
    # On free ports, for those of the page may be taken here.
    free = [*words, "--port", "0", "--control-port", "0", "--until-stdin-closes"]
    program = [sys.executable, "-m", "turnout", "simulator", *free]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        printed = [process.stdout.readline().rstrip() for _ in shown]
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stdout.read() == ""
    ports = [*range(asked.port, asked.port + len(asked.provider)), asked.control_port]
    assert shown == [
        re.sub(r"(?<=:)\d+", str(port), line) for line, port in zip(printed, ports, strict=True)
    ]


def test_the_policy_of_the_simulators_page_is_served_over_a_simulator(
    serve: Callable[..., Served],
) -> None:
    (policy,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    orders = [json.loads(order) for order in re.findall(r"^  -d '(.*)'$", PAGE, re.MULTILINE)]
    assert len(orders) == 1
    with SimulatorProcess() as simulator:
        for address in re.findall(r"http://127\.0\.0\.1:99\d\d/[/\w]*", policy):
            assert f"  {address}" in PAGE.split("```yaml")[0]
        shown = re.findall(r"^(\w+) +http://127\.0\.0\.1:(99\d\d)/", PAGE, re.MULTILINE)
        for name, port in shown:
            if name in simulator.providers:
                policy = policy.replace(port, str(simulator.port(name)))
        served = serve(policy)
        assert ask(served.url)["x-turnout-rule"] == "default"
        for order in orders:
            post(f"{simulator.control_url}/_sim/faults", order)
        assert ask(served.url)["x-turnout-model"] == "anthropic/claude-sonnet"


def test_the_simulators_page_names_every_fault() -> None:
    kinds = {get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(Fault)}
    assert len(kinds) == 9
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) >= kinds
