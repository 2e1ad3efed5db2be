"""`turnout serve --shadow`: a second policy beside the first, over real processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

ACTING = """
routing_policy:
  - {name: short, condition: tokens < 100, route: groq/llama-3-8b}
  - {name: rest, route: openai/gpt-4}
"""
NEXT = ACTING.replace("100", "50").replace("openai/gpt-4", "openai/gpt-4o-mini")


def ask(url: str, words: int) -> httpx.Response:
    body = {"model": "auto", "messages": [{"role": "user", "content": "word " * words}]}
    response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert response.status_code == 200
    return response


def turnout(served: Any, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "turnout", *words],
        env=os.environ | {"TURNOUT_HOME": str(served.home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shadow(served: Any, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(turnout(served, "shadow", "--format", "json", *words))
    return found


def counted(served: Any, requests: int) -> dict[str, Any]:
    """What is listed, once so many requests are written."""
    end = time.monotonic() + 20
    while (found := shadow(served))["requests"] < requests:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def test_what_differs_is_counted_by_pair_over_all_workers_and_listed_with_its_requests(
    serve: Callable[..., Any], addresses: str, tmp_path: Path
) -> None:
    beside = tmp_path / "next.yml"
    beside.write_text(NEXT + addresses)
    served = serve(ACTING + addresses, "--workers", "2", "--shadow", str(beside))
    assert f"in its shadow {beside}" in served.lines[-1]
    answers = [ask(served.url, words) for words in (5, 60, 65, 300, 7, 70)]
    assert [one.headers["x-turnout-model"] for one in answers] == [
        "groq/llama-3-8b" if words < 100 else "openai/gpt-4" for words in (5, 60, 65, 300, 7, 70)
    ]

    found = counted(served, 6)
    assert (found["agree"], found["differ"], found["undecided"]) == (2, 4, {})
    first, second = found["pairs"]
    assert (first["rule"], first["shadow_rule"], first["requests"]) == ("short", "rest", 3)
    assert (second["rule"], second["shadow_rule"], second["requests"]) == ("rest", "rest", 1)
    assert float(second["cost"]["then"]) < float(second["cost"]["now"])
    assert first["priced"] == 3

    listed = shadow(served, "--pair", "short", "rest")["differing"]
    moved = [answers[at].headers["x-request-id"] for at in (5, 2, 1)]
    assert [one["id"] for one in listed] == moved
    assert (listed[0]["target"], listed[0]["shadow_target"]) == (
        "groq/llama-3-8b",
        "openai/gpt-4o-mini",
    )
    assert len(shadow(served, "--pair", "short", "rest", "--limit", "1")["differing"]) == 1

    text = turnout(served, "trace", "--shadow", moved[0])
    assert "differs from groq/llama-3-8b" in text and "tokens < 50" in text
    document = httpx.get(f"{served.url}/v1/traces/{moved[0]}").json()
    assert document["shadow"]["agrees"] is False
    assert document["shadow"]["rule"] == "rest"

    metrics = httpx.get(f"{served.url}/metrics").text
    row = 'turnout_shadow_decisions_total{agrees="false",rule="short",shadow_rule="rest"} 3.0'
    assert row in metrics
    health = httpx.get(f"{served.url}/health").json()
    assert health["shadow"]["hash"] == found["shadow"][0] != health["policy"]["hash"]


def test_a_shadow_that_changes_while_serving_is_taken_up_or_left(
    serve: Callable[..., Any], addresses: str, tmp_path: Path
) -> None:
    beside = tmp_path / "next.yml"
    beside.write_text(NEXT + addresses)
    served = serve(ACTING + addresses, TURNOUT_SHADOW=str(beside))

    def health() -> dict[str, Any]:
        told: dict[str, Any] = httpx.get(f"{served.url}/health").json()["shadow"]
        return told

    def until(true: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not true():
            assert time.monotonic() < end, health()
            time.sleep(0.05)

    first = health()["hash"]
    beside.write_text("routing_policy: [{name: a, condition: tokns < 1, route: openai/gpt-4}]\n")
    until(lambda: health()["rejected"])
    assert health()["hash"] == first
    beside.write_text(ACTING + addresses)
    until(lambda: health()["hash"] != first)
    assert health()["rejected"] is None
    ask(served.url, 60)
    assert counted(served, 1)["agree"] == 1


FAILING = NEXT + "tests: [{name: t, given: {tokens: 5}, expect: rest}]\n"
UNUSABLE = {
    "errors": (ACTING.replace("tokens", "tokns"), "findings", "did you mean `tokens`"),
    "failing": (FAILING, "tests", "1 of 1 test of the policy failed"),
    "missing": (None, "unreadable", "next.yml"),
    "tenant": ("attributes: {tenant: [acme]}\n" + NEXT, "", "TURNOUT_TENANT_ID"),
}


@pytest.mark.parametrize("how", UNUSABLE)
def test_a_shadow_that_cannot_be_used_stops_no_start_and_is_taken_up_when_mended(
    serve: Callable[..., Any], addresses: str, tmp_path: Path, how: str
) -> None:
    text, kind, said = UNUSABLE[how]
    beside = tmp_path / "next.yml"
    if text is not None:
        beside.write_text(text + addresses)
    workers = "2" if how == "errors" else "1"
    flags = ("--workers", workers, "--shadow", str(beside))
    served = serve(ACTING + addresses, *flags, TURNOUT_TENANT_ID="initech")
    assert f"nothing in its shadow, as {beside} cannot be used" in served.lines[-1]
    log = served.log.read_text()
    assert said in log
    assert f"warning: the shadow `{beside}` cannot be used; nothing decides beside" in log
    health = httpx.get(f"{served.url}/health").json()["shadow"]
    assert (health["hash"], health["file"]) == (None, str(beside))
    assert not kind or health["rejected"]["kind"] == kind
    assert "turnout_shadow_rejected 1.0" in httpx.get(f"{served.url}/metrics").text
    ask(served.url, 60)

    beside.write_text(NEXT + addresses)
    end = time.monotonic() + 30
    while (health := httpx.get(f"{served.url}/health").json()["shadow"])["rejected"]:
        assert time.monotonic() < end, health
        time.sleep(0.05)
    assert health["hash"] is not None
    assert "what was in" not in served.log.read_text()


def test_the_last_good_shadow_decides_beside_where_its_file_is_bad_at_the_start(
    serve: Callable[..., Any], addresses: str, tmp_path: Path
) -> None:
    beside = tmp_path / "next.yml"
    beside.write_text(NEXT + addresses)
    first = serve(ACTING + addresses, "--shadow", str(beside))
    digest = httpx.get(f"{first.url}/health").json()["shadow"]["hash"]
    assert first.stop() == 0
    beside.unlink()
    served = serve(ACTING + addresses, "--shadow", str(beside))
    assert f"in its shadow the last good policy of {beside}" in served.lines[-1]
    health = httpx.get(f"{served.url}/health").json()["shadow"]
    assert health["hash"] == digest and health["rejected"]["kind"] == "unreadable"
