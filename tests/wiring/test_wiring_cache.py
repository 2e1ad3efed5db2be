"""Where answers are kept: as the settings say, and nowhere while no policy asks for it."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from turnout import Completion, Gateway
from turnout.engine.state.answers import FILE
from turnout.settings import Settings
from turnout.simulator.process import SimulatorProcess
from turnout.wiring import build_gateway

RULES = "routing_policy:\n  - {name: all, route: openai/gpt-4}\n"
CACHE = "cache: {ttl: 1h}\n"


def started(home: Path, rules: str, **environment: str) -> dict[str, Any]:
    """What a worker with this policy says of its cache, once it serves."""
    home.mkdir(exist_ok=True)
    (home / "routing.yml").write_text(rules)
    given = {"TURNOUT_HOME": str(home), "OPENAI_API_KEY": "any", **environment}
    settings = Settings.load(given, policy=str(home / "routing.yml"))

    async def serve() -> dict[str, Any]:
        gateway = build_gateway(settings)
        await gateway.start()
        try:
            return dict(gateway.health()["cache"])
        finally:
            await gateway.close()

    return asyncio.run(serve())


def test_a_file_of_answers_is_made_only_where_the_policy_has_a_cache(tmp_path: Path) -> None:
    assert started(tmp_path / "without", RULES)["store"] == "ok"
    assert not (tmp_path / "without" / FILE).exists()
    assert started(tmp_path / "with", CACHE + RULES)["store"] == "ok"
    assert (tmp_path / "with" / FILE).stat().st_mode & 0o777 == 0o600


def test_without_room_on_the_disk_workers_keep_answers_in_memory_alone(tmp_path: Path) -> None:
    told = started(tmp_path / "home", CACHE + RULES, TURNOUT_CACHE_DISK_BYTES="0")
    assert (told["store"], told["answers"], told["bytes"]) == ("none", 0, 0)
    assert not (tmp_path / "home" / FILE).exists()


def test_a_file_that_cannot_be_used_stops_no_gateway(tmp_path: Path) -> None:
    (tmp_path / "home" / FILE / "in the way").mkdir(parents=True)
    assert started(tmp_path / "home", CACHE + RULES)["answers"] == 0


@pytest.fixture(scope="module")
def openai() -> Any:
    with SimulatorProcess(["openai"], "--latency", "*=1ms/1ms") as simulator:
        yield simulator


async def test_in_process_too_the_same_is_asked_once_and_kept_for_the_next_gateway(
    tmp_path: Path, openai: Any
) -> None:
    address = openai.base_url("openai")
    (tmp_path / "routing.yml").write_text(
        f"{CACHE}{RULES}providers: {{openai: {{base_url: '{address}'}}}}\n"
    )
    asked = {
        "model": "gpt-4",
        "temperature": 0,
        "messages": [{"role": "user", "content": "Say hello."}],
    }
    told: list[Completion] = []
    for _ in range(2):
        async with Gateway.open(
            tmp_path / "routing.yml", environment={"OPENAI_API_KEY": "any"}, home=tmp_path
        ) as gateway:
            for _ in range(2):
                answer = await gateway.complete(asked)
                assert isinstance(answer, Completion)
                told.append(answer)
    first, *others = told
    assert [one.cost == 0 for one in told] == [False, True, True, True]
    assert [one.attempts[-1].outcome for one in told] == ["ok", "cached", "cached", "cached"]
    for one in others:
        assert orjson.dumps(one.body) == orjson.dumps(first.body)
        assert one.usage == first.usage
