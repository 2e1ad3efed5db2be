"""The chaos scenarios as their users run them, only smaller: the bounds hold there too."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.chaos.__main__ import CHAOS
from benchmarks.chaos.answers import Judgement, Stream, asking, prompt_of
from benchmarks.chaos.thirty import TARGETS, policy_over
from benchmarks.findings import Findings, section
from benchmarks.load import Outcome, Shot, Told
from benchmarks.scenarios import sections_of
from turnout.engine.policy import Policy
from turnout.simulator.text import answer

ROOT = Path(__file__).parents[2]


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )


@pytest.mark.uncounted
@pytest.mark.parametrize("scenario", CHAOS.scenarios)
def test_the_bounds_of_a_scenario_hold_at_small_counts(scenario: str) -> None:
    done = chaos(scenario, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(", all hold\n\nall bounds hold\n")
    assert "its bound holds" in done.stdout.partition(f"{scenario}: ")[0]


def test_an_unknown_scenario_is_refused_with_those_there_are() -> None:
    done = chaos("thrity")
    assert done.returncode == 2
    assert "no scenario `thrity`; there are thirty, cut" in done.stderr


def test_the_page_shows_each_figure_with_its_bound(capsys: pytest.CaptureFixture[str]) -> None:
    found = Findings("title")
    found.told("told", 1)
    found.held("held", "a|b", "c", True)
    found.none("none", ["d"])
    text = CHAOS.page({"drain": "## drain\n", "cut": section(found, "7 requests", 3.0)})
    assert "## title\n\n7 requests, 3 s." in text
    assert text.endswith("\n\n## drain\n")
    assert "| told | 1 |  |  |" in text
    assert "| held | a/b | c | yes |" in text
    assert "| none | 1: d | none | **no** |" in text
    assert capsys.readouterr().out.count("FAILED") == 1
    assert found.summary == "2 bounds, 1 broken: none"


def test_a_scenario_that_runs_again_replaces_its_own_section_only() -> None:
    sections = {"cut": "## cut: a\n\nfirst\n", "drain": "## drain: b\n\nsecond\n"}
    assert sections_of(CHAOS.page(sections)) == sections


# --- the judge: what it must not let pass --------------------------------------------------------

POLICY = Policy.parse(policy_over(TARGETS, {"openai": "http://127.0.0.1:9"}))
TARGET = "openai/gpt-4o-mini"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
BROKEN = b'data: {"error":{"message":"m","type":"t","param":null,"code":"c"}}\n\n'


def shot(stream: bool) -> Shot:
    return next(one for one in asking(range(2)) if one.stream is stream)


def said(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()


def judged(one: Shot, body: bytes, status: int = 200) -> tuple[Judgement, Outcome]:
    judgement = Judgement(POLICY)
    outcome = Outcome(status=status)
    judgement(one, outcome, Told(f"http/1.1 {status}\r\nx-turnout-model: {TARGET}", body))
    return judgement, outcome


def right(one: Shot) -> str:
    return answer("gpt-4o-mini", prompt_of(one))


def test_a_right_stream_is_right() -> None:
    one = shot(stream=True)
    judgement, outcome = judged(one, ROLE + said(right(one)) + END + DONE)
    assert (judgement.right, judgement.wrong, outcome.failure) == (1, [], None)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda text: ROLE + said(text) + said(text) + END + DONE, id="said twice"),
        pytest.param(lambda text: ROLE + said(text[:-1]) + END + DONE, id="something is missing"),
        pytest.param(lambda text: ROLE + ROLE + said(text) + END + DONE, id="two roles"),
        pytest.param(lambda text: said(text) + END + DONE, id="no role"),
        pytest.param(lambda text: ROLE + said(text) + END + DONE + DONE, id="two ends"),
        pytest.param(lambda text: ROLE + said(text) + END, id="no end"),
        pytest.param(lambda text: ROLE + said(text) + DONE, id="no finish reason"),
        pytest.param(lambda text: ROLE + said("request 7") + END + DONE, id="of another request"),
        pytest.param(lambda text: ROLE + b"data: {\n\n" + said(text) + END + DONE, id="garbage"),
        pytest.param(lambda text: ROLE + said(text) + BROKEN + BROKEN, id="two errors"),
        pytest.param(
            lambda text: ROLE + said(text[:9]) + BROKEN + DONE, id="an end after an error"
        ),
        pytest.param(lambda text: ROLE + BROKEN + said(text), id="more after an error"),
        pytest.param(lambda text: ROLE + BROKEN, id="an error before any content"),
    ],
)
def test_a_stream_that_is_not_right_is_wrong(spoil: Callable[[str], bytes]) -> None:
    one = shot(stream=True)
    judgement, outcome = judged(one, spoil(right(one)))
    assert (judgement.right, judgement.cut) == (0, 0)
    assert len(judgement.wrong) == 1
    assert outcome.failure


def test_a_stream_that_broke_after_content_is_counted_apart() -> None:
    one = shot(stream=True)
    judgement, _ = judged(one, ROLE + said(right(one)[:9]) + BROKEN)
    assert (judgement.right, judgement.cut, judgement.wrong) == (0, 1, [])


@pytest.mark.parametrize(
    ("status", "body", "declared"),
    [
        (504, b'{"message":"m","type":"timeout","param":null,"code":"upstream_timeout"}', True),
        (500, b'{"message":"m","type":"server_error","param":null,"code":"oops"}', False),
        (504, b'{"message":"m","type":"timeout"}', False),
        (502, b'"bad gateway"', False),
    ],
)
def test_an_error_that_is_not_declared_is_wrong(status: int, body: bytes, declared: bool) -> None:
    judgement, _ = judged(shot(stream=False), b'{"error":%b}' % body, status)
    assert bool(judgement.refused) is declared
    assert bool(judgement.wrong) is not declared


def test_half_a_stream_is_read_event_by_event() -> None:
    read = Stream.read(ROLE + said("a") + said("b"))
    assert (read.text, read.roles, read.dones) == ("ab", 1, 0)
