"""Every fault as its client meets it, over real sockets."""

import json
import socket
import time
from typing import Any

import anthropic
import httpx
import openai
import pytest

from turnout.simulator.process import SimulatorProcess

BODY: dict[str, Any] = {
    "model": "gpt-4",
    "messages": [{"role": "user", "content": "hello brave new world"}],
}
KEY = {"authorization": "Bearer k"}


def post(simulator: SimulatorProcess, provider: str = "openai", **body: Any) -> httpx.Response:
    url = simulator.base_url(provider) + "/chat/completions"
    return httpx.post(url, json={**BODY, **body}, headers=KEY, timeout=5)


def events_until_the_end(simulator: SimulatorProcess) -> tuple[list[str], Exception | None]:
    """The events of a stream that came whole, and how the stream broke if it did."""
    text, broken = "", None
    url = simulator.base_url("openai") + "/chat/completions"
    with httpx.stream("POST", url, json={**BODY, "stream": True}, headers=KEY) as response:
        assert response.status_code == 200
        try:
            for piece in response.iter_text():
                text += piece
        except httpx.TransportError as error:
            broken = error
    return text.split("\n\n")[:-1], broken


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_a_status_has_openais_envelope(
    simulator: SimulatorProcess,
    client: openai.OpenAI,
    status: int,
    kind: type[openai.APIStatusError],
) -> None:
    simulator.fault({"kind": "status", "status": status, "message": "no luck"})
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**BODY)
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    assert caught.value.body["message"] == "no luck"
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("status", "name"),
    [(429, "rate_limit_error"), (500, "api_error"), (529, "overloaded_error")],
)
def test_a_status_has_anthropics_envelope(
    simulator: SimulatorProcess, claude: anthropic.Anthropic, status: int, name: str
) -> None:
    simulator.fault({"kind": "status", "status": status})
    with pytest.raises(anthropic.APIStatusError) as caught:
        claude.messages.create(
            model="claude-x", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
        )
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == name


def test_a_status_can_say_when_to_come_back_and_why(simulator: SimulatorProcess) -> None:
    fault = {"kind": "status", "status": 429, "retry_after": 7, "code": "insufficient_quota"}
    simulator.fault({**fault, "type": "insufficient_quota"})
    answer = post(simulator)
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"]["code"] == "insufficient_quota"


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        ({"at": "headers"}, {}),
        ({"at": "headers"}, {"stream": True}),
        ({"at": "first_token"}, {}),
        ({"at": "first_token"}, {"stream": True}),
        ({"at": "chunk", "after": 3}, {}),
        ({"at": "chunk", "after": 3}, {"stream": True}),
    ],
)
def test_a_delay_delays_and_then_the_answer_is_whole(
    simulator: SimulatorProcess, fault: dict[str, Any], body: dict[str, Any]
) -> None:
    simulator.fault({"kind": "delay", "for": "150ms", **fault}, times=1)
    started = time.monotonic()
    answer = post(simulator, **body)
    assert time.monotonic() - started >= 0.15
    assert answer.status_code == 200
    assert "world" in answer.text
    assert post(simulator, **body).elapsed.total_seconds() < 0.15


@pytest.mark.parametrize(
    ("at", "events"),
    [("headers", None), ("first_token", 0), ("chunk", 4)],
)
def test_a_hang_lasts_until_the_client_goes(
    simulator: SimulatorProcess, at: str, events: int | None
) -> None:
    simulator.fault({"kind": "delay", "at": at, "after": 4})
    seen = None
    url = simulator.base_url("openai") + "/chat/completions"
    with pytest.raises(httpx.ReadTimeout):
        with httpx.stream(
            "POST", url, json={**BODY, "stream": True}, headers=KEY, timeout=0.2
        ) as response:
            seen = 0
            for piece in response.iter_text():
                seen += piece.count("\n\n")
    assert seen == events
    wait_for_count(simulator, "cut_by_client", 1)


@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.parametrize(
    ("by", "error"), [("fin", httpx.RemoteProtocolError), ("rst", httpx.ReadError)]
)
def test_a_cut_stream_breaks_after_that_many_events(
    simulator: SimulatorProcess, after: int, by: str, error: type[Exception]
) -> None:
    simulator.fault({"kind": "cut", "after": after, "by": by})
    events, broken = events_until_the_end(simulator)
    assert len(events) == after
    assert isinstance(broken, error)


@pytest.mark.parametrize("by", ["fin", "rst"])
def test_a_cut_body_breaks_in_the_middle(simulator: SimulatorProcess, by: str) -> None:
    simulator.fault({"kind": "cut", "by": by}, times=1)
    with pytest.raises(httpx.TransportError):
        post(simulator)
    assert post(simulator).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("form", "content_type", "length"), [("html", "text/html", None), ("empty", None, 0)]
)
def test_an_answer_can_be_a_page_or_nothing(
    simulator: SimulatorProcess,
    stream: bool,
    form: str,
    content_type: str | None,
    length: int | None,
) -> None:
    simulator.fault({"kind": "malformed", "form": form})
    answer = post(simulator, stream=stream)
    assert answer.status_code == 200
    if content_type is not None:
        assert answer.headers["content-type"].startswith(content_type)
        assert "<html>" in answer.text
    if length is not None:
        assert len(answer.content) == length


def test_a_body_can_be_json_that_ends_early(simulator: SimulatorProcess) -> None:
    simulator.fault({"kind": "malformed", "form": "json"})
    answer = post(simulator)
    assert answer.headers["content-type"] == "application/json"
    with pytest.raises(ValueError):
        answer.json()


def test_one_event_of_a_stream_can_be_garbage(
    simulator: SimulatorProcess, client: openai.OpenAI
) -> None:
    simulator.fault({"kind": "malformed", "form": "chunk", "after": 2})
    chunks = client.chat.completions.create(**BODY, stream=True)
    seen = []
    with pytest.raises(ValueError):
        seen.extend(iter(chunks))
    events, broken = events_until_the_end(simulator)
    assert broken is None
    assert events[-1] == "data: [DONE]"
    assert "chatcmpl-broken" in events[2]


@pytest.mark.parametrize("after", [3, 10_000])
def test_a_stream_can_end_without_its_end(simulator: SimulatorProcess, after: int) -> None:
    simulator.fault({"kind": "unfinished", "after": after})
    events, broken = events_until_the_end(simulator)
    assert broken is None
    assert len(events) == min(after, 17)
    assert not any('"stop"' in event or "[DONE]" in event for event in events)


def test_a_stream_can_break_off_with_an_error_event(
    simulator: SimulatorProcess, client: openai.OpenAI
) -> None:
    simulator.fault({"kind": "error_event", "after": 3, "message": "engine melted"})
    with pytest.raises(openai.APIError, match="engine melted"):
        list(client.chat.completions.create(**BODY, stream=True))
    events, _ = events_until_the_end(simulator)
    assert len(events) == 4


def test_anthropic_breaks_off_with_its_own_error_event(
    simulator: SimulatorProcess, claude: anthropic.Anthropic
) -> None:
    simulator.fault({"kind": "error_event", "status": 529})
    with (
        pytest.raises(anthropic.APIStatusError, match="overloaded_error"),
        claude.messages.stream(
            model="claude-x", max_tokens=50, messages=[{"role": "user", "content": "hi"}]
        ) as stream,
    ):
        stream.get_final_message()


def test_a_closed_listener_refuses_until_faults_are_cleared(simulator: SimulatorProcess) -> None:
    simulator.fault({"kind": "refuse"}, model="openai/*")
    with pytest.raises(httpx.ConnectError):
        post(simulator)
    assert post(simulator, "groq").status_code == 200
    simulator.clear_faults()
    assert post(simulator).status_code == 200


def test_a_closed_listener_can_open_again_by_itself(simulator: SimulatorProcess) -> None:
    simulator.fault({"kind": "refuse", "for": "100ms"}, model="openai")
    with pytest.raises(httpx.ConnectError):
        post(simulator)
    deadline = time.monotonic() + 5
    while True:
        try:
            assert post(simulator).status_code == 200
            return
        except httpx.ConnectError:
            assert time.monotonic() < deadline


def test_connections_kept_alive_do_not_outlive_a_closed_listener(
    simulator: SimulatorProcess,
) -> None:
    with httpx.Client(headers=KEY) as client:
        url = simulator.base_url("openai") + "/chat/completions"
        assert client.post(url, json=BODY).status_code == 200
        simulator.fault({"kind": "refuse"}, model="openai/*")
        wait_for_refusal(simulator)
        with pytest.raises(httpx.TransportError):
            client.post(url, json=BODY)


@pytest.mark.parametrize("at", ["accept", "request"])
def test_a_reset_is_a_reset(simulator: SimulatorProcess, at: str) -> None:
    simulator.fault({"kind": "reset", "at": at}, times=1)
    # At once after the accept it may already be the connecting that is told.
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", simulator.port("openai")), timeout=5) as peer,
    ):
        peer.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
        )
        if peer.recv(100) == b"":
            pytest.fail("closed in order instead of reset")
    assert post(simulator).status_code == 200


def test_times_model_and_kind_of_request_select(simulator: SimulatorProcess) -> None:
    simulator.fault({"kind": "status", "status": 500}, model="openai/gpt-4o*", times=2)
    simulator.fault({"kind": "unfinished"})  # means streams only
    asked = ["gpt-4", "gpt-4o", "gpt-4o-mini", "gpt-4o"]
    statuses = [post(simulator, model=model).status_code for model in asked]
    assert statuses == [200, 500, 500, 200]
    assert [one["hits"] for one in simulator.faults()] == [2, 0]


def test_a_rate_hits_its_share_and_the_same_ones_for_the_same_seed(
    simulator: SimulatorProcess,
) -> None:
    runs = []
    for _ in range(2):
        simulator.clear_faults()
        simulator.fault({"kind": "status", "status": 500}, rate=0.3, seed=7)
        with httpx.Client(headers=KEY) as client:
            url = simulator.base_url("openai") + "/chat/completions"
            runs.append([client.post(url, json=BODY).status_code for _ in range(100)])
    assert runs[0] == runs[1]
    assert 15 < runs[0].count(500) < 45


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "nonsense"},
        {"kind": "status"},
        {"kind": "status", "status": 200},
        {"kind": "delay", "for": "soon"},
        {"kind": "cut", "after": 1, "extra": True},
        {},
    ],
)
def test_a_fault_that_is_none_is_refused(
    simulator: SimulatorProcess, fault: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="fault"):
        simulator.fault(fault)
    assert simulator.faults() == []


def wait_for_count(simulator: SimulatorProcess, name: str, count: int) -> None:
    deadline = time.monotonic() + 5
    while simulator.stats()["total"][name] != count:
        assert time.monotonic() < deadline, simulator.stats()


def wait_for_refusal(simulator: SimulatorProcess) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            socket.create_connection(("127.0.0.1", simulator.port("openai")), timeout=1).close()
        except ConnectionRefusedError:
            return
        assert time.monotonic() < deadline


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "reported", [{"prompt_tokens": 7, "completion_tokens": 100, "total_tokens": 107}, None]
)
def test_an_ordered_usage_is_told_instead_of_the_true_one(
    simulator: SimulatorProcess, stream: bool, reported: dict[str, int] | None
) -> None:
    simulator.fault({"kind": "usage", "reported": reported})
    response = post(simulator, stream=stream, stream_options={"include_usage": True})
    assert response.status_code == 200
    told = [
        json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")
    ]
    told = told or [response.json()]
    assert [one["usage"] for one in told if one.get("usage")] == ([reported] if reported else [])
    assert simulator.stats()["total"]["completed"] == 1


def test_an_ordered_usage_reaches_what_lies_deeper(simulator: SimulatorProcess) -> None:
    simulator.fault({"kind": "usage", "reported": {"input_tokens": 0, "output_tokens": 0}})
    response = httpx.post(
        simulator.base_url("anthropic") + "/messages",
        json={**BODY, "model": "claude-x", "max_tokens": 5, "stream": True},
        headers={"x-api-key": "k", "anthropic-version": "2023-06-01"},
    )
    lines = [line for line in response.text.splitlines() if '"usage":' in line]
    assert len(lines) == 2
    assert all('"usage":{"input_tokens":0,"output_tokens":0}' in line for line in lines)
