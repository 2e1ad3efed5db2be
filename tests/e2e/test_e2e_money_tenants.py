"""Budgets stored with tenants whose teams, users and keys are called alike, and a killed worker."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, NamedTuple

import httpx
import pytest

from benchmarks.chaos.books import until
from benchmarks.money.bank import books, wrong_counters
from benchmarks.money.calls import TARGET, call, dollars, most, policy_over, worst_usage
from benchmarks.money.keys import KEYS_ONLY, Minted, key_id, mint
from benchmarks.processes import GatewayProcess
from turnout.engine.state.accounts import StoredTenants
from turnout.engine.state.database import open_database
from turnout.simulator.process import SimulatorProcess

ADMIN = "an-admin-key-of-30-characters!"
OWNERS = {
    "acme": Minted("acme", "search", "ana"),
    "beta": Minted("beta", "search", "ana"),
    "late": Minted("late", "ads", "eve"),
}
FITTING = {"acme": 2, "beta": 8}  # calls of the team `search`, by tenant
BILL = Decimal(most()) / 10**9


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(["openai"], "--latency", "*=5ms/1ms") as running:
        yield running


class House(NamedTuple):
    """A gateway, an operator's client, and a key of each tenant."""

    gateway: GatewayProcess
    admin: httpx.Client
    keys: dict[str, str]

    def ask(self, tenant: str) -> httpx.Response:
        shot = call(1)
        headers = {
            "content-type": "application/json",
            "authorization": f"Bearer {self.keys[tenant]}",
        }
        return httpx.post(
            f"{self.admin.base_url}{shot.path}", content=shot.body, headers=headers, timeout=60
        )

    def store(self, tenant: str, *budgets: dict[str, str]) -> None:
        settings = {"budgets": list(budgets)}
        self.admin.put(f"/v1/admin/tenants/{tenant}", json=settings).raise_for_status()

    def told(self, path: str, tenant: str | None = None) -> Any:
        """A document, for a tenant's key or for the operator."""
        headers = {} if tenant is None else {"authorization": f"Bearer {self.keys[tenant]}"}
        response = self.admin.get(path, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    def turnout(self, *words: str, status: int = 0) -> str:
        """What a command prints on this gateway's home."""
        done = subprocess.run(
            [sys.executable, "-m", "turnout", *words, "--journal", str(self.gateway.home)],
            cwd=self.gateway.home,
            env=os.environ | {"TURNOUT_POLICY": str(self.gateway.policy)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr


@contextmanager
def house_of(
    simulator: SimulatorProcess,
    workers: int,
    budgets: tuple[str, ...] = (),
    stored: Mapping[str, list[dict[str, str]]] | None = None,
) -> Iterator[House]:
    policy = policy_over(simulator.base_url("openai"), budgets)
    environment = KEYS_ONLY | {"TURNOUT_ADMIN_KEY": ADMIN}
    gateway = GatewayProcess(policy, workers=workers, environment=environment)
    keys = dict(zip(OWNERS, mint(gateway, OWNERS.values()), strict=True))
    database = open_database(gateway.home)
    for tenant, its in (stored or {}).items():
        StoredTenants(database).put(tenant, {"budgets": its}, "cli")
    database.close()
    with (
        gateway,
        httpx.Client(
            base_url=f"http://127.0.0.1:{gateway.port}",
            headers={"authorization": f"Bearer {ADMIN}"},
            timeout=30,
        ) as admin,
    ):
        yield House(gateway, admin, keys)


# --- whose a budget is ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(simulator: SimulatorProcess) -> Iterator[House]:
    """Two tenants, one of which has used up what its team `search` has; the other goes on."""
    simulator.clear_faults()
    simulator.fault(worst_usage())
    with house_of(simulator, 1) as one:
        for tenant, calls in FITTING.items():
            one.store(
                tenant,
                {"scope": "team", "of": "search", "limit": f"{dollars(most() * calls)}/day"},
                {"scope": "user", "name": f"{tenant}_each", "limit": "$9/month"},
                {"scope": "key", "limit": "$8/week"},
            )
        # A budget that nobody has spent of, and one of a team that is another tenant's.
        one.store("late", {"scope": "team", "of": "search", "limit": "$7/day"})
        assert until(lambda: len(one.told("/v1/budgets", "beta")["budgets"]) == 3)
        told = [one.ask("acme").status_code for _ in range(FITTING["acme"] + 1)]
        assert told == [*[200] * FITTING["acme"], 402]
        assert [one.ask("beta").status_code for _ in range(3)] == [200] * 3
        assert until(lambda: books(one.gateway).rows == 5)
        assert until(lambda: books(one.gateway).reserved == 0)
        yield one


def shown(budgets: list[dict[str, Any]]) -> list[tuple[str, str, str, int]]:
    """Each budget: its name, whose it is, of which tenant, and how many calls were spent of it."""
    return [
        (one["name"], one["who"], one["tenant"], int(Decimal(one["settled"]) / BILL))
        for one in budgets
    ]


def expected(house: House, tenant: str, calls: int) -> list[tuple[str, str, str, int]]:
    """The budgets of a tenant."""
    return [
        (f"{tenant}_team", "search", tenant, calls),
        (f"{tenant}_each", "ana", tenant, calls),
        (f"{tenant}_key", key_id(house.keys[tenant]), tenant, calls),
    ]


def test_the_refusal_names_the_tenant_s_own_budget(house: House) -> None:
    error = house.ask("acme").json()["error"]
    assert (error["code"], "`acme_team`" in error["message"]) == ("budget_exceeded", True)


def test_each_tenant_is_shown_its_own_budgets_and_an_operator_each_once(house: House) -> None:
    acme, beta = expected(house, "acme", 2), expected(house, "beta", 3)
    late = [("late_team", "search", "late", 0)]
    assert shown(house.told("/v1/budgets", "acme")["budgets"]) == acme
    assert shown(house.told("/v1/budgets", "beta")["budgets"]) == beta
    assert shown(house.told("/v1/budgets?tenant=acme")["budgets"]) == acme
    assert shown(house.told("/v1/budgets?tenant=late")["budgets"]) == late
    assert sorted(shown(house.told("/v1/budgets")["budgets"])) == sorted([*acme, *beta, *late])
    text = house.turnout("budget")
    for line in ("acme_team  team search of acme ", "beta_team  team search of beta "):
        assert text.count(line) == 1
    assert "acme_team  team search of beta" not in text


@pytest.mark.parametrize("by", ["team", "user", "key"])
def test_costs_show_each_row_with_the_budget_of_its_tenant(house: House, by: str) -> None:
    whose = {"team": "{}_team", "user": "{}_each", "key": "{}_key"}[by]
    calls = {"acme": 2, "beta": 3}
    wanted = {(tenant, whose.format(tenant), number) for tenant, number in calls.items()}

    def rows(document: dict[str, Any]) -> set[tuple[str, str, int]]:
        return {
            (one["tenant"], one["budget"]["name"], int(Decimal(one["budget"]["spent"]) / BILL))
            for one in document["rows"]
        }

    assert rows(house.told(f"/v1/costs?by={by}")) == wanted
    for tenant, number in calls.items():
        one = {(tenant, whose.format(tenant), number)}
        assert rows(house.told(f"/v1/costs?by={by}&tenant={tenant}")) == one
        own = house.told("/v1/costs", tenant)["total"]["budget"]
        assert (own["name"], own["who"]) == (f"{tenant}_each", "ana")


def test_the_command_shows_a_tenant_s_team_with_its_own_budget(house: House) -> None:
    said = house.turnout("costs", "--by", "team", "--tenant", "beta", "--format", "json")
    (row,) = json.loads(said)["rows"]
    assert (row["tenant"], row["name"], row["calls"]) == ("beta", "search", 3)
    assert row["budget"]["name"] == "beta_team"
    assert "beta" in house.turnout("costs", "--by", "team", "--tenant", "beta")


def test_costs_of_one_key_by_day_show_its_own_budget_beside_other_tenants(house: House) -> None:
    (row,) = house.told(f"/v1/costs?key={key_id(house.keys['beta'])}")["rows"]
    assert row["budget"]["name"] == "beta_key"


def test_an_alert_is_of_the_tenant_that_spent(house: House) -> None:
    told = "budget `acme_team` of the team `search` of the tenant `acme` has reached 100%"
    assert until(lambda: told in house.gateway.log())
    log = house.gateway.log()
    assert log.count(told) == 1
    assert "`acme_team` of the team `search` of the tenant `beta`" not in log
    assert "`beta_team`" not in log.replace("`beta_team` of the team `search` of the tenant", "")
    assert "has reached" not in "".join(line for line in log.splitlines() if "`beta_" in line)


# --- a worker that is killed ---------------------------------------------------------------------

UNDER_WAY = 3


def test_what_a_killed_worker_had_under_way_is_unconfirmed_until_it_is_said_once(
    simulator: SimulatorProcess,
) -> None:
    simulator.clear_faults()
    simulator.fault({"kind": "delay", "at": "headers", "for": "60s"})
    limit = f"{dollars(most() * 10)}/day"
    acme = [{"limit": limit}, {"scope": "team", "limit": limit}]
    big = f"name: big, scope: model, of: {TARGET}, limit: $5/month"
    with house_of(simulator, 2, (big,), {"acme": acme}) as house:
        gateway = house.gateway
        with ThreadPoolExecutor(UNDER_WAY) as pool:
            simulator.clear_stats()
            asked = [pool.submit(house.ask, "acme") for _ in range(UNDER_WAY)]
            assert until(lambda: simulator.stats()["total"]["requests"] == UNDER_WAY)
            for worker in gateway.serving:
                os.kill(worker, signal.SIGKILL)
            for one in asked:
                assert isinstance(one.exception(), httpx.TransportError)
        simulator.clear_faults()
        simulator.fault(worst_usage())
        assert until(lambda: books(gateway).reserved == 0)

        (before,) = (b for b in house.told("/v1/budgets")["budgets"] if b["name"] == "acme_team")
        assert (before["tenant"], before["settled"], before["reserved"]) == ("acme", "0", "0")
        assert Decimal(before["unconfirmed"]) >= BILL * UNDER_WAY
        dry = json.loads(house.turnout("budget", "reconcile", "--dry-run", "--format", "json"))
        lost = sorted(dry["unconfirmed"], key=lambda one: -Decimal(one["at_most"]))
        assert {(one["tenant"], one["id"].rpartition(":")[2]) for one in lost} == {("acme",) * 2}
        assert all(one["about"].startswith("acme, a worker that was killed") for one in lost)
        assert sum(Decimal(one["at_most"]) for one in lost) >= BILL * UNDER_WAY
        assert len(lost) in (1, 2) and books(gateway).rows == 0

        # One has cost all that was under way, as the bill says, and the other nothing.
        said = ["--over", "--charge", f"{lost[0]['id']}=${UNDER_WAY * BILL}"]
        said += [word for one in lost[1:] for word in ("--release", one["id"])]
        done = house.turnout("budget", "reconcile", *said, "--format", "json")
        assert [one["cost"] for one in json.loads(done)["corrected"]].count("0.00375") == 1
        again = house.turnout("budget", "reconcile", *said, status=2)
        assert "nothing unconfirmed has the id" in again
        again = house.turnout("budget", "reconcile")
        assert "all counters are as the ledger says\nnothing is unconfirmed" in again
        found = books(gateway)
        assert (found.rows, found.cost, found.unconfirmed) == (len(lost), most() * UNDER_WAY, 0)
        assert (found.lost, wrong_counters(found)) == (0, [])
        # The workers in their place know it, too: what is left is spent to the last call.
        left = 10 - UNDER_WAY
        assert [house.ask("acme").status_code for _ in range(left)] == [200] * left
        assert house.ask("acme").status_code == 402
        assert until(lambda: books(gateway).rows == len(lost) + left)
        assert wrong_counters(books(gateway)) == []
