"""Budgets as their clients meet them: what is refused, what still answers, what is written down."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import httpx
import pytest

from benchmarks.chaos.books import until
from benchmarks.load import Shot
from benchmarks.money.bank import books, wrong_counters
from benchmarks.money.burst import fired
from benchmarks.money.calls import (
    INPUT_NANO,
    OUTPUT_NANO,
    PRICE,
    PROMPT_TOKENS,
    TARGET,
    Answers,
    call,
    dollars,
    most,
    policy_over,
    session_hash,
    worst_usage,
)
from benchmarks.money.keys import KEYS_ONLY, Minted, key_id, mint
from benchmarks.money.mutations import HOOKS, ROOT, mutated
from benchmarks.processes import GatewayProcess
from turnout.simulator.process import SimulatorProcess

QUICK = ["burst", "trickle", "squeeze", "crash", "rates"]


@pytest.mark.uncounted
@pytest.mark.parametrize("scenario", QUICK)
def test_the_bounds_of_a_money_scenario_hold_at_small_counts(scenario: str) -> None:
    workers = "4" if scenario == "burst" else "2"  # each takes a second to start
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.money", scenario, "--quick", "--workers", workers],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\n\nall bounds hold\n")


def test_each_hook_that_the_mutations_take_out_is_where_they_say() -> None:
    for hook in HOOKS:
        text = (ROOT / hook.file).read_text(encoding="utf-8")
        assert mutated(text, hook) != text
        assert all((ROOT / test.partition("::")[0]).exists() for test in hook.tests)


# --- one budget of each scope --------------------------------------------------------------------

FITTING = 2
JSON = {"content-type": "application/json"}
OTHER = "openai/gpt-4o"


class Scope(NamedTuple):
    """A budget by its scope, a caller that it is about, and one beside whom it is not."""

    budget: str
    inside: Minted
    outside: Minted
    target: str = TARGET


SCOPES = {
    "tenant": Scope(
        "scope: tenant, of: t1, limit: {limit}/day",
        Minted("t1", "a", "u1"),
        Minted("t2", "a", "u1"),
    ),
    "team": Scope(
        "scope: team, of: search, limit: {limit}/week",
        Minted("t3", "search", "u2"),
        Minted("t3", "ads", "u2"),
    ),
    "user": Scope(
        "scope: user, of: ana, limit: {limit}/month",
        Minted("t4", "b", "ana"),
        Minted("t4", "b", "ben"),
    ),
    "key": Scope("scope: key, of: {key}, limit: {limit}/day", Minted("t5"), Minted("t5")),
    "model": Scope(
        f"scope: model, of: {OTHER}, limit: {{limit}}/month", Minted("t6"), Minted("t6"), OTHER
    ),
}
# Two budgets at once: the user's own has room for one call more than the team's.
TWO = [
    "name: team_of_two, scope: team, of: duo, limit: {limit}/day",
    "name: user_of_two, scope: user, of: uma, limit: {more}/month",
]
OTHERS = {
    "two": Minted("t7", "duo", "uma"),
    "reader": Minted("t8", scopes=["ai:read"]),
    "of one model": Minted("t8", models=[TARGET]),
    "of a slow tenant": Minted("t9"),
    "slow": Minted("t8", rpm=FITTING),
}


class House(NamedTuple):
    """A gateway with a budget of each scope, and keys by scope: inside of it, and outside."""

    client: httpx.Client
    inside: dict[str, str]
    outside: dict[str, str]

    def ask(self, key: str, target: str = TARGET) -> httpx.Response:
        shot = call(1, model=target)
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        return self.client.post(shot.path, content=shot.body, headers=headers)


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(["openai"], "--latency", "*=5ms/1ms", "--keep", "4096") as running:
        yield running


@pytest.fixture(scope="module")
def house(simulator: SimulatorProcess) -> Iterator[House]:
    simulator.clear_faults()
    simulator.fault(worst_usage())
    gateway = GatewayProcess("", environment=KEYS_ONLY)
    owners = {name: one.inside for name, one in SCOPES.items()} | OTHERS
    inside = dict(zip(owners, mint(gateway, owners.values()), strict=True))
    outside = dict(zip(SCOPES, mint(gateway, [o.outside for o in SCOPES.values()]), strict=True))
    limit, one_more = dollars(most() * FITTING), dollars(most() * (FITTING + 1))
    budgets = [
        f"name: {name}, {one.budget.format(limit=limit, key=key_id(inside[name]))}"
        for name, one in SCOPES.items()
    ]
    budgets += [one.format(limit=limit, more=one_more) for one in TWO]
    more = f"tenants:\n  t9: {{rpm: {FITTING}}}\n"
    gateway.text = policy_over(
        simulator.base_url("openai"), budgets, more, route="requested", targets=[TARGET, OTHER]
    )
    with gateway, httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", timeout=30) as client:
        yield House(client, inside, outside)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_budget_of_each_scope_refuses_with_402(house: House, scope: str) -> None:
    target = SCOPES[scope].target
    told = [house.ask(house.inside[scope], target) for _ in range(FITTING + 1)]
    assert [one.status_code for one in told] == [*[200] * FITTING, 402]
    error = told[-1].json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "budget_exceeded")
    assert error["param"] is None
    assert f"`{scope}`" in error["message"]
    assert "retry-after" not in told[-1].headers
    assert told[-1].headers.get("x-should-retry") == "false"
    # Whoever the budget is not about goes on, and so does the same key elsewhere.
    other = TARGET if target == OTHER else target
    assert house.ask(house.outside[scope], other).status_code == 200


def test_of_two_budgets_the_tighter_one_refuses_and_nothing_is_taken_of_the_other(
    house: House,
) -> None:
    told = [house.ask(house.inside["two"]) for _ in range(FITTING + 3)]
    assert [one.status_code for one in told] == [*[200] * FITTING, 402, 402, 402]
    for one in told[FITTING:]:
        assert "`team_of_two`" in one.json()["error"]["message"]


def test_a_key_without_the_scope_is_refused_before_anything_is_spent(
    house: House, simulator: SimulatorProcess
) -> None:
    before = simulator.stats()["total"]["requests"]
    assert house.ask(house.inside["reader"]).status_code == 403
    assert simulator.stats()["total"]["requests"] == before
    assert house.ask(house.inside["of one model"]).status_code == 200


def test_a_key_of_one_model_is_answered_by_no_other(
    house: House, simulator: SimulatorProcess
) -> None:
    before = simulator.stats()["total"]["requests"]
    assert house.ask(house.inside["of one model"], OTHER).status_code in (403, 404)
    assert simulator.stats()["total"]["requests"] == before


@pytest.mark.parametrize("whose", ["slow", "of a slow tenant"])
def test_a_rate_of_requests_refuses_with_429_and_says_when(house: House, whose: str) -> None:
    told = [house.ask(house.inside[whose]) for _ in range(FITTING + 1)]
    assert [one.status_code for one in told] == [*[200] * FITTING, 429]
    assert told[-1].json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(told[-1].headers["retry-after"]) <= 61


def test_a_threshold_is_told_to_the_webhook_once(simulator: SimulatorProcess) -> None:
    simulator.clear_faults()
    simulator.fault(worst_usage())
    told: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    budget = f"name: all, scope: tenant, limit: {dollars(most() * 2)}/month"
    policy = policy_over(simulator.base_url("openai"), [budget])
    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        listening = Thread(target=server.serve_forever, daemon=True)
        listening.start()
        environment = {"TURNOUT_ALERT_WEBHOOK": f"http://127.0.0.1:{server.server_port}/hook"}
        with GatewayProcess(policy, workers=2, environment=environment) as gateway:
            assert posted(gateway, "auto").status_code == 200
            assert until(lambda: [one["share"] for one in told if one["share"]] == ["50%"])
            assert posted(gateway, "auto").status_code == 200
            assert until(lambda: len([one for one in told if one["share"]]) >= 3)
        server.shutdown()
        listening.join()
    assert [one["share"] for one in told if one["share"]] == ["50%", "80%", "100%"]
    assert len({one["id"] for one in told}) == len(told)


def test_a_refusal_names_what_is_needed_what_is_left_and_what_would_fit(
    simulator: SimulatorProcess,
) -> None:
    simulator.clear_faults()
    simulator.fault(worst_usage())
    budget = f"name: all, scope: tenant, limit: {dollars(most() * 3 // 2)}/month"
    with GatewayProcess(policy_over(simulator.base_url("openai"), [budget])) as gateway:
        with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}") as client:
            shot = call(1)
            assert client.post(shot.path, content=shot.body, headers=JSON).status_code == 200
            refused = client.post(shot.path, content=shot.body, headers=JSON)
            assert refused.status_code == 402
            message = refused.json()["error"]["message"]
            assert "0.00125" in message  # needed
            assert dollars(most() // 2).strip("$0") in message  # left
            fits = (most() // 2 - PROMPT_TOKENS * INPUT_NANO) // OUTPUT_NANO
            assert f"`max_tokens` of {fits} or less" in message
            simulator.clear_faults()
            simulator.fault(worst_usage(fits))
            shorter = call(2, max_tokens=fits)
            assert client.post(shorter.path, content=shorter.body, headers=JSON).status_code == 200


# --- what is free, and what has no price ----------------------------------------------------------

LOCAL = "local/qwen2.5:14b"


def test_over_budget_what_is_free_still_answers(simulator: SimulatorProcess) -> None:
    simulator.clear_faults()
    simulator.fault(worst_usage())
    budget = f"name: all, scope: tenant, limit: {dollars(most())}/month"
    policy = policy_over(simulator.base_url("openai"), [budget], route="requested")
    url = simulator.base_url("openai")
    policy = policy.replace("providers:\n", f"  {LOCAL}: {{price: 0}}\nproviders:\n").replace(
        "providers:\n", f"providers:\n  local: {{kind: openai, base_url: '{url}'}}\n"
    )
    environment = {"LOCAL_API_KEY": "any"}
    with GatewayProcess(policy, environment=environment) as gateway:
        told = [posted(gateway, model) for model in (TARGET, TARGET, LOCAL, LOCAL, TARGET)]
        assert [one.status_code for one in told] == [200, 402, 200, 200, 402]
        assert until(lambda: books(gateway).rows == 3)
        found = books(gateway)
        assert (found.cost, wrong_counters(found, most())) == (most(), [])


HOUSE_MODEL = "openai/house-model"


def linted(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "turnout", "policy", "lint", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_what_has_no_price_is_found_by_lint_refused_and_counted(
    simulator: SimulatorProcess, tmp_path: Path
) -> None:
    url = simulator.base_url("openai")
    file = tmp_path / "routing.yml"
    priced = policy_over(url, route=HOUSE_MODEL, targets=[HOUSE_MODEL])
    file.write_text(priced.replace(PRICE, f"{PRICE[:-1]}, context_window: 8k}}"))
    assert linted(file).returncode == 0
    file.write_text(priced.replace(PRICE, "{context_window: 8k}"))
    found = linted(file)
    assert found.returncode == 1
    assert "RP331" in found.stdout
    simulator.clear_stats()
    with GatewayProcess(policy_over(url, route="requested")) as gateway:
        refused = posted(gateway, HOUSE_MODEL)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "model_unpriced"
        metrics = httpx.get(f"http://127.0.0.1:{gateway.port}/metrics").text
        assert any("unpriced" in line and line.endswith(" 1.0") for line in metrics.splitlines())
    assert simulator.stats()["total"]["requests"] == 0


def posted(gateway: GatewayProcess, model: str, **members: Any) -> httpx.Response:
    shot = call(1, model=model)
    body = {**httpx.Response(200, content=shot.body).json(), **members}
    return httpx.post(f"http://127.0.0.1:{gateway.port}{shot.path}", json=body, timeout=30)


# --- one row, and a true one ----------------------------------------------------------------------

OUTPUT = 40
SLOW = {"kind": "delay", "at": "headers", "for": "3s"}
# When the client goes: so many events of a stream are the role's, the tokens', the finish reason's.
LEAVING: dict[str, tuple[bool, dict[str, Any], dict[str, Any] | None]] = {
    "a whole answer before its headers": (False, {"leave_ms": 700}, SLOW),
    "a whole answer after its end": (False, {}, None),
    "a stream before its headers": (True, {"leave_ms": 700}, SLOW),
    "a stream after its headers": (True, {"leave_after": 0}, None),
    "a stream after its first chunk": (True, {"leave_after": 1}, None),
    "a stream in the middle": (True, {"leave_after": 5}, None),
    "a stream after its last content": (True, {"leave_after": 15}, None),
    "a stream after its end": (True, {}, None),
}


@pytest.fixture(scope="module")
def plain(simulator: SimulatorProcess) -> Iterator[GatewayProcess]:
    """A gateway with a budget that nothing exhausts; its tests tell their calls by number."""
    budget = "name: all, scope: tenant, limit: $1000/month"
    policy = policy_over(simulator.base_url("openai"), [budget])
    with GatewayProcess(policy) as gateway:
        yield gateway
        assert until(lambda: books(gateway).reserved == 0)
        assert wrong_counters(books(gateway)) == []


class Row(NamedTuple):
    """What the ledger has of a call."""

    source: str
    tokens_in: int | None
    tokens_out: int | None
    cost: int
    unconfirmed: int


def rows_of(gateway: GatewayProcess, number: int) -> list[Row]:
    with closing(gateway.ledger()) as database:
        asked = (
            "select usage_source, tokens_in, tokens_out, cost_nano_usd, unconfirmed_nano_usd "
            "from ledger join decisions on decisions.id = ledger.request "
            "where json_extract(cast(record as text), '$.session_hash') = ?"
        )
        return [Row(*row) for row in database.execute(asked, (session_hash(number),))]


def settled(gateway: GatewayProcess, number: int) -> Row:
    """The one row of a call, once nothing is reserved any more."""
    assert until(lambda: len(rows_of(gateway, number)) > 0)
    assert until(lambda: books(gateway).reserved == 0)
    (row,) = rows_of(gateway, number)
    return row


def done(gateway: GatewayProcess, shot: Shot) -> None:
    asyncio.run(fired(gateway, [shot], Answers()))


@pytest.mark.parametrize("phase", LEAVING)
def test_a_client_that_leaves_is_billed_once_and_truly(
    plain: GatewayProcess, simulator: SimulatorProcess, phase: str
) -> None:
    stream, how, fault = LEAVING[phase]
    number = 1000 + list(LEAVING).index(phase)
    simulator.clear_faults()
    simulator.fault(worst_usage(OUTPUT))
    if fault is not None:
        simulator.fault(fault)
    shot = call(number, stream=stream, max_tokens=OUTPUT)
    done(plain, Shot(shot.path, shot.body, stream, head=shot.head, **how))
    row = settled(plain, number)
    match row.source:
        case "upstream":  # it was read to its end
            told = (PROMPT_TOKENS, OUTPUT, most(OUTPUT), 0)
            assert row[1:] == told
        case "estimated":  # what was seen of it
            assert 0 < row.cost < most(OUTPUT)
            assert row.unconfirmed == 0
        case other:  # sent, and nothing of an answer was seen
            assert other == "unconfirmed"
            assert (row.cost, row.unconfirmed) == (0, most(OUTPUT))
    assert (row.source == "upstream") or how


LONG_ERROR = "the provider is very sorry " * 60


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_usage_that_nobody_reported_is_marked_as_an_estimate(
    plain: GatewayProcess, simulator: SimulatorProcess, stream: bool
) -> None:
    simulator.clear_faults()
    simulator.fault({"kind": "usage", "reported": None})
    done(plain, call(2000 + stream, stream=stream))
    row = settled(plain, 2000 + stream)
    assert (row.source, row.unconfirmed) == ("estimated", 0)
    assert 0 < row.cost < most()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_zero_that_was_reported_stays_zero(
    plain: GatewayProcess, simulator: SimulatorProcess, stream: bool
) -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    simulator.clear_faults()
    simulator.fault({"kind": "usage", "reported": nothing})
    done(plain, call(2010 + stream, stream=stream))
    assert settled(plain, 2010 + stream) == Row("upstream", 0, 0, 0, 0)


def test_the_text_of_an_error_is_no_output(
    plain: GatewayProcess, simulator: SimulatorProcess
) -> None:
    simulator.clear_faults()
    simulator.fault({"kind": "error_event", "after": 4, "message": LONG_ERROR})
    done(plain, call(2020, stream=True))
    row = settled(plain, 2020)
    assert row.source == "estimated"
    assert row.tokens_out is not None and 0 < row.tokens_out <= 4


def test_an_error_instead_of_an_answer_costs_nothing(
    plain: GatewayProcess, simulator: SimulatorProcess
) -> None:
    simulator.clear_faults()
    simulator.fault({"kind": "status", "status": 500, "message": LONG_ERROR})
    done(plain, call(2030))
    assert settled(plain, 2030) == Row("none", None, None, 0, 0)


def test_an_edited_limit_keeps_what_was_spent(simulator: SimulatorProcess) -> None:
    simulator.clear_faults()
    simulator.fault(worst_usage())

    def policy(calls_that_fit: int) -> str:
        limit = dollars(most() * calls_that_fit)
        budget = f"name: all, scope: tenant, limit: {limit}/month"
        return policy_over(simulator.base_url("openai"), [budget])

    with GatewayProcess(policy(2)) as gateway:

        def told() -> int:
            return posted(gateway, "auto").status_code

        assert [told() for _ in range(3)] == [200, 200, 402]
        gateway.policy.write_text(policy(3))
        os.kill(gateway.pid, signal.SIGHUP)
        assert until(lambda: told() == 200)
        assert told() == 402
        gateway.policy.write_text(policy(1))
        os.kill(gateway.pid, signal.SIGHUP)
        assert until(lambda: wrong_counters(books(gateway), most() * 3) == [])
        assert told() == 402


def in_force(client: httpx.Client) -> set[str]:
    """The policies that workers decide by, asked often enough to meet each."""
    shot = call(1)
    told = [client.post("/v1/explain", content=shot.body, headers=JSON) for _ in range(16)]
    return {one.json()["policy"] for one in told}


def test_other_budgets_after_a_reload_know_what_was_spent_before_them(
    simulator: SimulatorProcess,
) -> None:
    simulator.clear_faults()
    simulator.fault(worst_usage())

    def policy(*budgets: str) -> str:
        return policy_over(simulator.base_url("openai"), list(budgets))

    def of_tenant(name: str, calls_that_fit: int, period: str) -> str:
        return f"name: {name}, scope: tenant, limit: {dollars(most() * calls_that_fit)}/{period}"

    # Each request on a connection of its own, for either worker to take.
    apart = httpx.Limits(max_keepalive_connections=0)
    with (
        GatewayProcess(policy(of_tenant("old", 50, "month")), workers=2) as gateway,
        httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", limits=apart) as client,
    ):

        def reload(*budgets: str) -> None:
            before = in_force(client)
            gateway.policy.write_text(policy(*budgets))
            os.kill(gateway.pid, signal.SIGHUP)
            assert until(lambda: len(now := in_force(client)) == 1 and now != before)

        def told(times: int) -> list[int]:
            shot = call(1)
            answers = [
                client.post(shot.path, content=shot.body, headers=JSON) for _ in range(times)
            ]
            return [one.status_code for one in answers]

        assert told(6) == [200] * 6
        # A day was counted by no budget before; of the month, slices are leased below 50 calls.
        reload(of_tenant("daily", 6, "day"), of_tenant("monthly", 40, "month"))
        assert told(4) == [402] * 4
        reload(of_tenant("daily", 9, "day"), of_tenant("monthly", 8, "month"))
        assert told(6) == [200, 200, 402, 402, 402, 402]
        reload(of_tenant("weekly", 9, "week"))
        assert told(2) == [200, 402]
        assert until(lambda: books(gateway).cost == most() * 9)
        assert until(lambda: wrong_counters(books(gateway)) == [])


def gauges(gateway: GatewayProcess) -> dict[str, float]:
    text = httpx.get(f"http://127.0.0.1:{gateway.port}/metrics").text
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#"]
    return {name: float(value) for name, value in rows}


def test_metrics_tell_what_is_set_aside_for_calls_under_way(
    plain: GatewayProcess, simulator: SimulatorProcess
) -> None:
    reserved = 'turnout_purse_nano_usd{part="reserved"}'
    assert until(lambda: gauges(plain).get(reserved) == 0)
    simulator.clear_faults()
    simulator.fault(worst_usage(OUTPUT))
    simulator.fault(SLOW | {"for": "2s"})  # vitals are told once a second
    shots = [call(3000 + number, max_tokens=OUTPUT) for number in range(3)]
    sending = Thread(target=lambda: asyncio.run(fired(plain, shots, Answers(), 3)))
    sending.start()
    try:
        assert until(lambda: gauges(plain)[reserved] == most(OUTPUT) * 3)
        assert gauges(plain)["turnout_bookings_waiting"] == 0
        assert gauges(plain)['turnout_purse_nano_usd{part="free"}'] >= 0
    finally:
        sending.join()
    assert until(lambda: gauges(plain)[reserved] == 0)
    assert [settled(plain, 3000 + number).cost for number in range(3)] == [most(OUTPUT)] * 3
