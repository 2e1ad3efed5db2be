"""How providers are, as `/health` of several workers tells it while they come and go."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from turnout.simulator.process import SimulatorProcess

PATIENCE_S = 30.0
PAGE = Path(__file__).parents[2] / "docs" / "http.md"
BREAKERS = "breakers: {failures: 3, cool_down: 1s}\n"
SHORT = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}


def answers(served: Any) -> list[dict[str, Any]]:
    """`/health` over so many connections that each worker is among those who answer."""
    with httpx.Client(verify=False, headers={"connection": "close"}) as client:
        return [client.get(f"{served.url}/health").json() for _ in range(12)]


def until_all(served: Any, true: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Wait until it is true of what every worker answers."""
    end = time.monotonic() + PATIENCE_S
    while True:
        seen = answers(served)
        if all(map(true, seen)):
            return seen
        assert time.monotonic() < end, seen[:2]
        time.sleep(0.05)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_workers_know_how_providers_are_and_no_completion_was_made(
    workers: str,
    serve: Callable[..., Any],
    first_policy: str,
    simulators: dict[str, SimulatorProcess],
) -> None:
    for simulator in simulators.values():
        simulator.clear_stats()
    simulators["groq"].fault({"kind": "status", "status": 401}, what="models")
    try:
        served = serve(first_policy, "--workers", workers, TURNOUT_PROBE_SECONDS="1")
        until_all(
            served,
            lambda health: (
                {name: one["healthy"] for name, one in health["providers"].items()}
                == {"anthropic": True, "groq": False, "openai": True}
            ),
        )
    finally:
        simulators["groq"].clear_faults()
    (health, *_) = answers(served)
    assert health["status"] == "ok"
    assert health["providers"]["groq"].items() >= {"usable": True, "reason": "auth"}.items()
    assert health["providers"]["openai"]["reason"] is None
    assert health["targets"] == {}
    until_all(served, lambda health: health["providers"]["groq"]["healthy"] is True)
    for name, simulator in simulators.items():
        stats = simulator.stats()
        assert stats["total"]["requests"] == 0
        assert stats["lookups"][name] >= 1
    assert served.stop() == 0


def test_a_provider_that_comes_back_is_known_to_all_workers_without_traffic(
    serve: Callable[..., Any], first_policy: str, simulators: dict[str, SimulatorProcess]
) -> None:
    groq = simulators["groq"]
    served = serve(first_policy + BREAKERS, "--workers", "2", TURNOUT_PROBE_SECONDS="1")
    groq.fault({"kind": "refuse"})
    try:
        end = time.monotonic() + PATIENCE_S
        while not all(health["targets"] for health in answers(served)):
            answer = httpx.post(f"{served.url}/v1/chat/completions", json=SHORT, timeout=30)
            assert answer.status_code == 200  # by another hop
            assert time.monotonic() < end
        seen = until_all(served, lambda health: health["providers"]["groq"]["healthy"] is False)
        shown = str(seen)
        assert all(health["providers"]["groq"]["reason"] == "connect" for health in seen)
        assert "simulated" not in shown
        page = json.loads(re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)[0])
        for part, rows in page.items():
            # Shaped as the page shows it.
            assert {type(one) for one in rows} == {type(one) for one in seen[0][part]}
            for row in rows.values() if part in ("targets", "providers") else ():
                assert all(row.keys() == one.keys() for one in seen[0][part].values())
        assert all(str(one.port(name)) not in shown for name, one in simulators.items())
    finally:
        groq.clear_faults()
    groq.clear_stats()
    until_all(served, lambda health: not health["targets"])
    until_all(served, lambda health: health["providers"]["groq"]["healthy"] is True)
    assert groq.stats()["total"]["requests"] == 0
    assert served.stop() == 0


def test_zero_seconds_probe_nobody(
    serve: Callable[..., Any], first_policy: str, simulators: dict[str, SimulatorProcess]
) -> None:
    served = serve(first_policy, TURNOUT_PROBE_SECONDS="0")
    (health, *_) = answers(served)
    assert {name: one["healthy"] for name, one in health["providers"].items()} == dict.fromkeys(
        simulators
    )
    assert all(one["usable"] for one in health["providers"].values())
