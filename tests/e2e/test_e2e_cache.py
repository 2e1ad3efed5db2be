"""Answers given again, as clients meet them: over sockets, by the official SDKs, from processes."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from benchmarks.cache_savings.fragments import BREAKS
from benchmarks.chaos.books import ledger_rows, records, until
from benchmarks.chaos.workers import one_each
from benchmarks.money.keys import KEYS_ONLY, Minted, mint
from benchmarks.processes import GatewayProcess
from tests.e2e import test_e2e_passthrough
from tests.engine.test_engine_answers_redis import Server
from turnout.simulator.process import SimulatorProcess

CHAT = "/v1/chat/completions"
ONLY_KEPT = {"cache-control": "only-if-cached"}
OTHER_WIRE = "anthropic/claude-sonnet-4-5"  # answered by Claude, told as chat or Responses
MODELS = {"openai": "openai/gpt-4o", "anthropic": OTHER_WIRE}
LEGACY = "openai/gpt-3.5-turbo-instruct"
POLICY = """
breakers: {{failures: 1000}}
cache: {{ttl: 1h}}
defaults: {{retries: 0}}
routing_policy:
  - {{name: embedding, condition: request_type == "embeddings", route: requested}}
  - {{name: asked, route: requested}}
providers:
  openai: {{base_url: '{openai}'}}
  anthropic: {{base_url: '{anthropic}'}}
"""


class House(NamedTuple):
    """A gateway with a cache, and who plays the providers behind it."""

    client: httpx.Client
    gateway: GatewayProcess
    simulator: SimulatorProcess

    def ask(self, text: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        return self.client.post(CHAT, json=asked(text, **more), headers=headers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    @property
    def upstream(self) -> int:
        return int(self.simulator.stats()["total"]["requests"])


def asked(text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": MODELS["openai"], "temperature": 0, "messages": messages} | more


def cache_of(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.headers.get('x-turnout-cache')}"


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(["openai", "anthropic"], "--latency", "*=5ms/1ms") as running:
        yield running


def policy_over(simulator: SimulatorProcess) -> str:
    return POLICY.format(**{name: simulator.base_url(name) for name in MODELS})


@pytest.fixture(scope="module")
def gateway(simulator: SimulatorProcess) -> Iterator[GatewayProcess]:
    with GatewayProcess(policy_over(simulator)) as running:
        yield running
        assert running.stop() == 0
        assert "ERROR" not in running.log()


@pytest.fixture
def house(gateway: GatewayProcess, simulator: SimulatorProcess) -> Iterator[House]:
    simulator.clear_faults()
    simulator.clear_stats()
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", timeout=30) as client:
        yield House(client, gateway, simulator)
    simulator.clear_faults()


# --- what it is for ------------------------------------------------------------------------------


def test_a_hundred_calls_of_the_sdk_are_one_call_upstream_at_the_cost_of_one(
    house: House,
) -> None:
    rows = ledger_rows(house.gateway)
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "a hundred times"}]
    told, costs, bodies = [], [], set()
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="any") as client:
        for _ in range(100):
            answer = client.chat.completions.with_raw_response.create(
                model=MODELS["openai"], temperature=0, messages=messages
            )
            told.append(answer.headers["x-turnout-cache"])
            costs.append(answer.headers["x-turnout-cost"])
            bodies.add(answer.content)
            assert answer.headers["x-turnout-model"] == MODELS["openai"]
    assert house.upstream == 1
    assert told == ["MISS"] + ["HIT"] * 99
    assert float(costs[0]) > 0 and set(costs[1:]) == {"0"}
    assert len(bodies) == 1
    until(lambda: ledger_rows(house.gateway) > rows)
    assert ledger_rows(house.gateway) == rows + 1


def test_a_hit_says_how_old_it_is_and_its_trace_that_nobody_was_asked(house: House) -> None:
    first = house.ask("how old?")
    hit = house.ask("how old?")
    assert cache_of(first) == "200 MISS" and "age" not in first.headers
    assert cache_of(hit) == "200 HIT" and hit.headers["age"].isdecimal()
    assert hit.headers["x-turnout-attempts"] == "0"
    trace = house.client.get(f"/v1/traces/{hit.headers['x-request-id']}").json()
    (hop,) = trace["hops"]
    assert (hop["target"], hop["outcome"]) == (MODELS["openai"], "cached")
    assert trace["cache"] == "HIT"
    assert float(trace["cost"]) == 0


def test_money_saved_and_tokens_served_are_kept_apart_from_what_was_paid(house: House) -> None:
    cost = house.ask("what was saved?").headers["x-turnout-cost"]
    ids = [house.ask("what was saved?").headers["x-request-id"] for _ in range(2)]
    until(lambda: {*ids} <= {one.id for one in records(house.gateway)})
    for record in records(house.gateway):
        if record.id in ids:
            assert record.saved_nano_usd == round(float(cost) * 1e9)
            assert record.served is not None and record.served.output > 0
            assert [one.usage for one in record.attempts] == [None]
            ids.remove(record.id)
    assert not ids


def test_what_asks_for_chance_is_asked_anew(house: House) -> None:
    for more in ({"temperature": 1}, {"temperature": None}):
        for _ in range(2):
            assert cache_of(house.ask(f"chance {more}", **more)) == "200 BYPASS"
    assert house.upstream == 4


def test_clients_can_ask_anew_and_can_ask_for_what_is_kept_only(house: House) -> None:
    def ask(**headers: str) -> str:
        return cache_of(
            house.ask("what is kept?", {k.replace("_", "-"): headers[k] for k in headers})
        )

    refused = house.ask("what is kept?", ONLY_KEPT)
    assert refused.status_code == 504 and refused.json()["error"]["code"] == "not_cached"
    assert ask(x_turnout_cache="no-store") == "200 BYPASS"
    assert ask() == "200 MISS"
    assert ask(x_turnout_cache="refresh") == "200 MISS"
    assert ask(cache_control="max-age=0") == "200 MISS"
    assert ask(cache_control="max-age=600") == "200 HIT"
    assert ask(cache_control="no-store") == "200 BYPASS"
    assert ask(cache_control="only-if-cached") == "200 HIT"
    unknown = house.ask("what is kept?", {"x-turnout-cache": "maybe"})
    assert unknown.status_code == 400 and unknown.json()["error"]["param"] == "x-turnout-cache"


# --- every protocol, whole and streamed ----------------------------------------------------------


class Said(NamedTuple):
    """What a client made of an answer, and what the gateway said of it."""

    text: str
    cache: str


Ask = Callable[[str, str, str, bool], Said]


def chat(url: str, model: str, text: str, stream: bool) -> Said:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": text}]
        if not stream:
            whole = raw.create(model=model, temperature=0, messages=messages)
            content = whole.parse().choices[0].message.content or ""
            return Said(content, whole.headers["x-turnout-cache"])
        events = raw.create(model=model, temperature=0, messages=messages, stream=True)
        said = "".join(c.delta.content or "" for e in events.parse() for c in e.choices)
        return Said(said, events.headers["x-turnout-cache"])


def completions(url: str, model: str, text: str, stream: bool) -> Said:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        raw = client.completions.with_raw_response
        # Where nothing is said they stop after 16 tokens, and what is cut short is not kept.
        if not stream:
            whole = raw.create(model=model, prompt=text, temperature=0, max_tokens=200)
            return Said(whole.parse().choices[0].text, whole.headers["x-turnout-cache"])
        events = raw.create(model=model, prompt=text, temperature=0, max_tokens=200, stream=True)
        said = "".join(choice.text for event in events.parse() for choice in event.choices)
        return Said(said, events.headers["x-turnout-cache"])


def responses(url: str, model: str, text: str, stream: bool) -> Said:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        raw = client.responses.with_raw_response
        if not stream:
            whole = raw.create(model=model, input=text, temperature=0)
            return Said(whole.parse().output_text, whole.headers["x-turnout-cache"])
        events = raw.create(model=model, input=text, temperature=0, stream=True)
        deltas, done = "", ""
        for event in events.parse():
            if event.type == "response.output_text.delta":
                deltas += event.delta
            if event.type == "response.completed":
                done = event.response.output_text
        assert deltas == done
        return Said(done, events.headers["x-turnout-cache"])


def messages(url: str, model: str, text: str, stream: bool) -> Said:
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
        asks: Any = {
            "model": model,
            "max_tokens": 300,
            "extra_body": {"temperature": 0},  # the SDK has no argument for it any more
            "messages": [{"role": "user", "content": text}],
        }
        if not stream:
            whole = client.messages.with_raw_response.create(**asks)
            said = "".join(b.text for b in whole.parse().content if b.type == "text")
            return Said(said, whole.headers["x-turnout-cache"])
        with client.messages.stream(**asks) as events:
            told = events.get_final_message()
            said = "".join(b.text for b in told.content if b.type == "text")
            return Said(said, events.response.headers["x-turnout-cache"])


WAYS: dict[str, tuple[Ask, str]] = {
    "chat": (chat, MODELS["openai"]),
    "chat of another wire": (chat, OTHER_WIRE),
    "completions": (completions, LEGACY),
    "completions of another wire": (completions, OTHER_WIRE),
    "responses": (responses, MODELS["openai"]),
    "responses of another wire": (responses, OTHER_WIRE),
    "messages": (messages, OTHER_WIRE),
    "messages of another wire": (messages, MODELS["openai"]),
}


@pytest.mark.parametrize("first", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("way", WAYS)
def test_an_answer_is_told_again_as_each_client_wants_it(
    house: House, way: str, first: bool
) -> None:
    ask, model = WAYS[way]
    text = f"{way}, first {first}"
    told = ask(house.url, model, text, first)
    again = [ask(house.url, model, text, stream) for stream in (False, True, first)]
    assert told.cache == "MISS" and told.text
    assert [one.cache for one in again] == ["HIT"] * 3
    assert {one.text for one in again} == {told.text}
    assert house.upstream == 1


def test_embeddings_are_given_again_in_the_encoding_that_was_asked_for(house: House) -> None:
    body = {"model": "openai/text-embedding-3-small", "input": ["one", "two"]}
    for more in ({}, {"encoding_format": "base64"}):
        answers = [house.client.post("/v1/embeddings", json=body | more) for _ in range(2)]
        assert [cache_of(one) for one in answers] == ["200 MISS", "200 HIT"]
        assert answers[0].content == answers[1].content
        assert isinstance(answers[0].json()["data"][0]["embedding"], str if more else list)
    assert house.upstream == 2


def test_a_stream_given_again_tells_its_usage_only_who_asks_for_it(house: House) -> None:
    house.ask("what was used?")
    for options, wanted in (({}, 0), ({"include_usage": True}, 1)):
        told = house.ask("what was used?", stream=True, stream_options=options)
        events = [one.removeprefix("data: ") for one in told.text.split("\n\n") if one]
        assert cache_of(told) == "200 HIT" and events[-1] == "[DONE]"
        used = [one for one in events[:-1] if json.loads(one).get("usage")]
        assert len(used) == wanted


# --- never somebody else's -----------------------------------------------------------------------


def test_keys_of_one_tenant_share_answers_and_tenants_never_do(simulator: SimulatorProcess) -> None:
    gateway = GatewayProcess(policy_over(simulator), environment=KEYS_ONLY)
    a, also_a, b = mint(gateway, [Minted("a"), Minted("a", "other-team"), Minted("b")])
    simulator.clear_stats()
    with gateway, httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", timeout=30) as client:

        def ask(key: str) -> str:
            headers = {"authorization": f"Bearer {key}"}
            return cache_of(client.post(CHAT, json=asked("whose is it?"), headers=headers))

        assert [ask(key) for key in (a, a, also_a)] == ["200 MISS", "200 HIT", "200 HIT"]
        assert [ask(key) for key in (b, b)] == ["200 MISS", "200 HIT"]
        assert simulator.stats()["total"]["requests"] == 2
        removed = client.post(
            "/v1/cache/invalidate",
            json={"pattern": "*"},
            headers={"authorization": f"Bearer {b}"},
        )
        assert removed.json() == {"object": "cache.invalidation", "removed": 1}
        assert [ask(b), ask(a)] == ["200 MISS", "200 HIT"]


async def test_callers_who_brought_keys_of_their_own_never_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = test_e2e_passthrough.POLICY + "cache: {only: true}\n"
    monkeypatch.setattr(test_e2e_passthrough, "POLICY", cached)
    one, other = test_e2e_passthrough.A, test_e2e_passthrough.A + "-of-another"
    async with test_e2e_passthrough.tracks(tmp_path) as track, httpx.AsyncClient() as client:

        async def ask(key: str) -> str:
            return cache_of(await track.post(client, key, model=MODELS["openai"], timeout=30))

        assert [await ask(key) for key in (one, one)] == ["200 MISS", "200 HIT"]
        assert [await ask(key) for key in (other, other, one)] == ["200 MISS", "200 HIT", "200 HIT"]
        assert len(track.openai.requests) == 2
        for path in (track.gateway.home / "cache.db", track.gateway.home / "cache.db-wal"):
            assert not path.exists() or b"canary" not in path.read_bytes()


# --- neither failures nor fragments --------------------------------------------------------------


# What breaks between two events of a stream leaves whole answers as they are.
BROKEN = [
    pytest.param(fault, stream, id=f"{'-'.join(map(str, fault.values()))}-{stream=}")
    for fault in BREAKS
    for stream in (False, True)
    if stream or not {fault["kind"], fault.get("form")} & {"unfinished", "error_event", "chunk"}
]


@pytest.mark.parametrize(("fault", "stream"), BROKEN)
def test_nothing_is_kept_of_an_answer_that_breaks(
    house: House, fault: dict[str, Any], stream: bool
) -> None:
    text = f"broken {fault} {stream}"
    house.simulator.fault(fault)
    broken = house.ask(text, stream=stream)
    assert broken.status_code != 200 or '"error"' in broken.text
    house.simulator.clear_faults()
    assert house.ask(text, ONLY_KEPT).status_code == 504
    assert cache_of(house.ask(text, stream=stream)) == "200 MISS"
    assert cache_of(house.ask(text, stream=stream)) == "200 HIT"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_answer_that_was_cut_short_is_not_kept(house: House, stream: bool) -> None:
    for _ in range(2):
        told = house.ask("too long", stream=stream, max_tokens=3)
        assert cache_of(told) == "200 MISS"
        assert '"finish_reason":"length"' in told.text


def test_nothing_is_kept_of_a_stream_whose_client_left(house: House) -> None:
    house.simulator.fault({"kind": "delay", "at": "chunk", "after": 4})
    with house.client.stream("POST", CHAT, json=asked("who left?", stream=True)) as told:
        assert next(told.iter_lines()).startswith("data: ")
    assert until(lambda: house.simulator.faults()[0]["hits"] == 1)
    house.simulator.clear_faults()
    assert house.ask("who left?", ONLY_KEPT).status_code == 504
    assert cache_of(house.ask("who left?")) == "200 MISS"


def test_a_gateway_killed_amid_a_stream_has_kept_nothing_of_it_and_holds_nobody_up(
    simulator: SimulatorProcess,
) -> None:
    simulator.clear_faults()
    with GatewayProcess(policy_over(simulator)) as gateway:
        url = f"http://127.0.0.1:{gateway.port}"
        kept = httpx.post(url + CHAT, json=asked("kept"), timeout=30)
        simulator.fault({"kind": "delay", "at": "chunk", "after": 4})
        with httpx.stream("POST", url + CHAT, json=asked("cut", stream=True), timeout=30) as told:
            assert next(told.iter_lines()).startswith("data: ")
            assert until(lambda: simulator.faults()[0]["hits"] == 1)
            os.kill(gateway.pid, signal.SIGKILL)
        simulator.clear_faults()
        gateway.stop()
        gateway.restart()
        url = f"http://127.0.0.1:{gateway.port}"
        refused = httpx.post(url + CHAT, json=asked("cut"), headers=ONLY_KEPT, timeout=30)
        assert refused.status_code == 504
        began = time.monotonic()
        anew = httpx.post(url + CHAT, json=asked("cut"), timeout=30)
        assert cache_of(anew) == "200 MISS"
        assert time.monotonic() - began < 10  # nobody has waited for the dead to answer
        again = httpx.post(url + CHAT, json=asked("kept"), timeout=30)
        assert cache_of(again) == "200 HIT" and again.content == kept.content


# --- several workers, and what they share --------------------------------------------------------


def test_what_one_worker_keeps_the_others_give_until_it_is_invalidated(
    simulator: SimulatorProcess,
) -> None:
    simulator.clear_faults()
    with (
        GatewayProcess(policy_over(simulator), workers=2) as gateway,
        one_each(gateway) as workers,
    ):

        def each(text: str) -> list[str | None]:
            told = []
            for connection in workers.values():
                content = {"content-type": "application/json"}
                connection.request("POST", CHAT, json.dumps(asked(text)), content)
                answer = connection.getresponse()
                answer.read()
                told.append(answer.getheader("x-turnout-cache"))
            return told

        url = f"http://127.0.0.1:{gateway.port}"
        assert each("shared") == ["MISS", "HIT"]
        assert each("shared") == ["HIT", "HIT"]
        gone = httpx.post(url + "/v1/cache/invalidate", json={"pattern": "model:openai/*"})
        assert gone.json()["removed"] == 1
        assert each("shared") == ["MISS", "HIT"]


def test_the_commands_of_the_page_take_answers_back_from_a_gateway_that_runs(
    house: House,
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cache.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"<!-- run: back -->\n```sh\n(.*?)```", page, re.DOTALL)
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"TURNOUT_HOME": str(house.gateway.home), "PATH": path}

    def run(text: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", text], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    house.ask("which are kept?")
    assert until(lambda: MODELS["openai"] in run("turnout cache stats"))
    assert cache_of(house.ask("which are kept?")) == "200 HIT"
    run(text)
    assert cache_of(house.ask("which are kept?")) == "200 MISS"


def test_a_store_that_somebody_else_holds_costs_no_answer(
    simulator: SimulatorProcess,
) -> None:
    simulator.clear_faults()
    with GatewayProcess(policy_over(simulator)) as gateway:
        url = f"http://127.0.0.1:{gateway.port}"
        httpx.post(url + CHAT, json=asked("before"), timeout=30)
        holder = sqlite3.connect(gateway.home / "cache.db", isolation_level=None)
        try:
            holder.execute("begin exclusive")
            for number in range(3):
                told = [
                    httpx.post(url + CHAT, json=asked(f"held {number}"), timeout=30) for _ in "12"
                ]
                assert [cache_of(one) for one in told] == ["200 MISS", "200 HIT"]
                assert max(one.elapsed.total_seconds() for one in told) < 5
        finally:
            holder.close()
        assert "ERROR" not in gateway.log()


def test_machines_share_answers_in_redis_and_none_waits_for_one_that_hangs(
    simulator: SimulatorProcess, tmp_path: Path
) -> None:
    simulator.clear_faults()
    server = Server(tmp_path)
    environment = {"TURNOUT_REDIS_URL": server.url}
    try:
        with (
            GatewayProcess(policy_over(simulator), environment=environment) as one,
            GatewayProcess(policy_over(simulator), environment=environment) as other,
        ):

            def ask(gateway: GatewayProcess, text: str) -> httpx.Response:
                url = f"http://127.0.0.1:{gateway.port}{CHAT}"
                return httpx.post(url, json=asked(text), timeout=30)

            simulator.clear_stats()
            assert cache_of(ask(one, "on any machine")) == "200 MISS"
            assert until(lambda: cache_of(ask(other, "on any machine")) == "200 HIT")
            assert not (one.home / "cache.db").exists()
            server.process.send_signal(signal.SIGSTOP)
            try:
                hung = [ask(one, f"while it hangs {number}") for number in range(5)]
            finally:
                server.process.send_signal(signal.SIGCONT)
            assert {cache_of(answer) for answer in hung} == {"200 MISS"}
            assert max(answer.elapsed.total_seconds() for answer in hung) < 2
            assert "left alone" in one.log() and server.url not in one.log()
    finally:
        server.end()
