"""A suite that cannot fail proves nothing: each defect fails the cases that are about it."""

import asyncio
import base64
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from turnout.conformance.run import Outcome, run
from turnout.conformance.suite import cases

from .conftest import Clean
from .spoiling import (
    DONE,
    Answer,
    Replay,
    Spoil,
    at,
    chunks,
    events,
    refused,
    typed,
    whole,
)

CHAT = "chat/completions"
SEEN_BY: dict[str, list[str]] = orjson.loads((Path(__file__).parent / "defects.json").read_bytes())


def put(value: Any, *path: str | int) -> Callable[[Any], None]:
    """Set what stands at a path, where the path is there."""

    def change(body: Any) -> None:
        here = body
        for step in path[:-1]:
            if isinstance(step, str) and (not isinstance(here, dict) or step not in here):
                return
            if isinstance(step, int) and (not isinstance(here, list) or len(here) <= step):
                return
            here = here[step]
        here[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[Any], None]:
    """Take away what stands at a path, where it is there."""

    def change(body: Any) -> None:
        here = body
        for step in path[:-1]:
            if isinstance(step, str) and (not isinstance(here, dict) or step not in here):
                return
            if isinstance(step, int) and (not isinstance(here, list) or len(here) <= step):
                return
            here = here[step]
        if isinstance(here, dict):
            here.pop(path[-1], None)

    return change


def each(change: Callable[[Any], None]) -> Callable[[list[Any]], None]:
    def change_all(values: list[Any]) -> None:
        for value in values:
            change(value)

    return change_all


def parts(values: list[Any]) -> list[Any]:
    return [part for value in values for part in value["choices"]]


def roles_again(values: list[Any]) -> None:
    for part in parts(values):
        part["delta"]["role"] = "assistant"


def no_role(values: list[Any]) -> None:
    for part in parts(values):
        part["delta"].pop("role", None)


def finish_again(values: list[Any]) -> list[Any]:
    done: list[Any] = []
    for value in values:
        done.append(value)
        if any(part["finish_reason"] for part in value["choices"]):
            done.append(value)
    return done


def native_finish(values: list[Any]) -> None:
    for part in parts(values):
        if part["finish_reason"] == "stop":
            part["finish_reason"] = "end_turn"


def ids_change(values: list[Any]) -> None:
    for number, value in enumerate(values):
        value["id"] += str(number)


def usage_first(values: list[Any]) -> list[Any]:
    return sorted(values, key=lambda value: value.get("usage") is None)


def usage_beside_choices(values: list[Any]) -> list[Any]:
    if values[-1].get("usage") is None:
        return values
    values[-2]["usage"] = values[-1]["usage"]
    return values[:-1]


def usage_absent_elsewhere(values: list[Any]) -> None:
    for value in values:
        if value.get("usage", 0) is None:
            del value["usage"]


def usage_unasked(values: list[Any]) -> None:
    if "usage" not in values[0]:
        counted = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        values[-1]["usage"] = counted


def fragments(values: list[Any]) -> list[Any]:
    return [call for part in parts(values) for call in part["delta"].get("tool_calls") or ()]


def no_tool_index(values: list[Any]) -> None:
    for call in fragments(values):
        del call["index"]


def tool_index_from_one(values: list[Any]) -> None:
    for call in fragments(values):
        call["index"] += 1


def name_on_each_fragment(values: list[Any]) -> None:
    for call in fragments(values):
        call["function"]["name"] = "get_weather"


def untyped_fragments(values: list[Any]) -> None:
    for call in fragments(values):
        call.pop("type", None)


def content_after_finish(values: list[Any]) -> list[Any]:
    last = next(v for v in reversed(values) if v["choices"])
    part = {"index": 0, "delta": {"content": ""}, "finish_reason": None}
    place = values.index(last) + 1
    return [*values[:place], last | {"choices": [part]}, *values[place:]]


def calls_of(body: Any) -> list[Any]:
    return [
        call for choice in body["choices"] for call in choice["message"].get("tool_calls") or ()
    ]


def arguments_as_object(body: Any) -> None:
    for call in calls_of(body):
        call["function"]["arguments"] = {}


def calls_without_type(body: Any) -> None:
    for call in calls_of(body):
        del call["type"]


def calls_finish_with_stop(body: Any) -> None:
    if calls_of(body):
        body["choices"][0]["finish_reason"] = "stop"


def fenced_json(body: Any) -> None:
    message = body["choices"][0]["message"]
    if (message.get("content") or "").startswith("{"):
        message["content"] = f"```json\n{message['content']}\n```"


def parts_for_content(body: Any) -> None:
    for choice in body["choices"]:
        message = choice["message"]
        if message["content"]:
            message["content"] = [{"type": "text", "text": message["content"]}]


def floats_for_base64(body: Any) -> None:
    for item in body["data"]:
        if isinstance(item["embedding"], str):
            raw = base64.b64decode(item["embedding"])
            item["embedding"] = list(struct.unpack(f"<{len(raw) // 4}f", raw))


def big_endian(body: Any) -> None:
    for item in body["data"]:
        if isinstance(item["embedding"], str):
            raw = base64.b64decode(item["embedding"])
            turned = struct.pack(f">{len(raw) // 4}f", *struct.unpack(f"<{len(raw) // 4}f", raw))
            item["embedding"] = base64.b64encode(turned).decode()


def other_order(body: Any) -> None:
    body["data"].reverse()


def no_null_param(body: Any) -> None:
    if body["error"]["param"] is None:
        del body["error"]["param"]


def same_id(request: httpx.Request, answer: Answer) -> Answer:
    return answer.without("x-request-id").having("x-request-id", "req_1")


def html_for_an_unknown_path(request: httpx.Request, answer: Answer) -> Answer:
    if not request.url.path.endswith("/no/such/path"):
        return answer
    page = answer.without("content-type").having("content-type", "text/html")
    return replace(page, body=b"<h1>Not Found</h1>")


def streams_refused_within(request: httpx.Request, answer: Answer) -> Answer:
    if answer.status < 400 or b'"stream": true' not in request.content:
        return answer
    page = answer.without("content-type").having("content-type", "text/event-stream")
    return replace(page, status=200, body=b"data: " + answer.body + b"\n\n")


def broken_json_breaks_it(request: httpx.Request, answer: Answer) -> Answer:
    if request.url.path == f"/v1/{CHAT}" and request.content == b'{"model": "':
        return replace(answer, status=500)
    return answer


def unknown_fields_break_it(request: httpx.Request, answer: Answer) -> Answer:
    if b"nobody_knows_this" in request.content:
        error = {"message": "Bad request", "type": "invalid_request_error"}
        return replace(answer, status=400).with_json(
            {"error": error | {"param": None, "code": None}}
        )
    return answer


def nulls_refused(request: httpx.Request, answer: Answer) -> Answer:
    if request.url.path == f"/v1/{CHAT}" and b'"seed": null' in request.content:
        error = {"message": "seed must be a number", "type": "invalid_request_error"}
        return replace(answer, status=400).with_json(
            {"error": error | {"param": "seed", "code": None}}
        )
    return answer


def slashes_not_found(request: httpx.Request, answer: Answer) -> Answer:
    if b"%2F" in request.url.raw_path:
        return replace(answer, status=404)
    return answer


def no_named_events(given: list[str]) -> list[str]:
    return [e.partition("\n")[2] for e in given]


def two_data_lines(given: list[str]) -> list[str]:
    return [e.replace(',"created"', ',\ndata: "created"', 1) for e in given]


def named_events(given: list[str]) -> list[str]:
    return [f"event: message\n{e}" for e in given]


def skip_a_number(values: list[Any]) -> None:
    for value in values[2:]:
        value["sequence_number"] += 1


def shorter_done(values: list[Any]) -> None:
    for value in values:
        if value["type"] == "response.output_text.done":
            value["text"] = value["text"][:-1]


def one_less(values: list[Any]) -> list[Any]:
    return values[:-1]


def double_delta(values: list[Any]) -> list[Any]:
    return [v for value in values for v in [value] * (1 + (value["type"] == "message_delta"))]


def block_index_from_one(values: list[Any]) -> None:
    for value in values:
        if "index" in value:
            value["index"] += 1


def input_as_text(body: Any) -> None:
    for block in body["content"]:
        if block["type"] == "tool_use":
            block["input"] = "{}"


# What is spoilt, and how. Which cases must see it is in `defects.json`.
DEFECTS: dict[str, Spoil] = {
    "a stream without [DONE]": events(CHAT, lambda given: given[:-1]),
    "[DONE] twice": events(CHAT, lambda given: [*given, f"data: {DONE}"]),
    "[DONE] with a space": events(CHAT, lambda given: [*given[:-1], "data: [DONE] "]),
    "two data lines in an event": events(CHAT, two_data_lines),
    "events with names": events(CHAT, named_events),
    "no blank line at the end": at(
        CHAT, lambda a: replace(a, body=a.body[:-1]) if a.streams else a
    ),
    "a body that breaks off": at(CHAT, lambda a: replace(a, breaks=a.streams)),
    "a stream as plain text": at(
        CHAT,
        lambda a: (
            a.without("content-type").having("content-type", "text/plain") if a.streams else a
        ),
    ),
    "the role in each delta": chunks(roles_again),
    "no role": chunks(no_role),
    "the finish twice": chunks(finish_again),
    "a finish reason of Anthropic's in a stream": chunks(native_finish),
    "a delta after the finish": chunks(content_after_finish),
    "an id for each chunk": chunks(ids_change),
    "object of a whole answer in chunks": chunks(each(put("chat.completion", "object"))),
    "error: null in chunks": chunks(each(put(None, "error"))),
    "no index on choices of chunks": chunks(
        lambda values: [p.pop("index") for p in parts(values)] and None
    ),
    "usage first": chunks(usage_first),
    "usage beside choices": chunks(usage_beside_choices),
    "no usage: null on other chunks": chunks(usage_absent_elsewhere),
    "usage that nobody asked for": chunks(usage_unasked),
    "tool fragments without index": chunks(no_tool_index),
    "tool indices from one": chunks(tool_index_from_one),
    "the tool's name on each fragment": chunks(name_on_each_fragment),
    "tool fragments without type": chunks(untyped_fragments),
    "arguments as an object": whole(CHAT, arguments_as_object),
    "calls without type": whole(CHAT, calls_without_type),
    "calls that finish with stop": whole(CHAT, calls_finish_with_stop),
    "JSON in a fence": whole(CHAT, fenced_json),
    "content as parts": whole(CHAT, parts_for_content),
    "no usage": whole(CHAT, drop("usage")),
    "a total that is no sum": whole(CHAT, put(1, "usage", "total_tokens")),
    "a finish reason of Anthropic's": whole(CHAT, put("end_turn", "choices", 0, "finish_reason")),
    "created in milliseconds": whole(CHAT, put(1_700_000_000_000, "created")),
    "created as a fraction": whole(CHAT, put(1_700_000_000.5, "created")),
    "no id": whole(CHAT, drop("id")),
    "error: null in a success": whole(CHAT, put(None, "error")),
    "an error without param where it is null": refused(no_null_param),
    "a code as a number": refused(put(400, "error", "code")),
    "the word None for param": refused(put("None", "error", "param")),
    "an error as a string": refused(put("it failed", "error")),
    "detail for error": refused(put([], "detail")),
    "another type of error": refused(put("BadRequestError", "error", "type")),
    "HTML for an unknown path": (html_for_an_unknown_path),
    "errors of streams within the stream": (streams_refused_within),
    "500 for broken JSON": (broken_json_breaks_it),
    "400 for an unknown member, unnamed": (unknown_fields_break_it),
    "400 for nulls": (nulls_refused),
    "no request id": (lambda _, answer: answer.without("x-request-id")),
    "the same request id": (same_id),
    "a cookie of the upstream": at(CHAT, lambda answer: answer.having("set-cookie", "__cf_bm=1")),
    "an account of the upstream": at(
        CHAT, lambda answer: answer.having("openai-organization", "acme")
    ),
    "two content types": at(CHAT, lambda answer: answer.having("content-type", "application/json")),
    "floats for base64": whole("embeddings", floats_for_base64),
    "base64 in the other byte order": whole("embeddings", big_endian),
    "embeddings in another order": whole("embeddings", other_order),
    "embeddings without usage": whole("embeddings", drop("usage")),
    "escaped slashes not found": (slashes_not_found),
    "models without owner": whole("models", drop("data", 0, "owned_by")),
    "completions with messages": whole(
        "completions", put({"role": "assistant"}, "choices", 0, "message")
    ),
    "responses without usage details": whole("responses", drop("usage", "input_tokens_details")),
    "responses without tools": whole("responses", drop("tools")),
    "a number left out": typed("responses", skip_a_number),
    "a done text cut short": typed("responses", shorter_done),
    "a stream of responses cut short": typed("responses", one_less),
    "responses without event names": events("responses", no_named_events),
    "messages without event names": events("messages", no_named_events),
    "message_delta twice": typed("messages", double_delta),
    "message_stop left out": typed("messages", one_less),
    "block indices from one": typed("messages", block_index_from_one),
    "input as text": whole("messages", input_as_text),
    "a finish reason of OpenAI's": whole("messages", put("stop", "stop_reason")),
    "OpenAI's envelope for messages": refused(drop("type"), "messages"),
    "no request-id on messages": at("messages", lambda answer: answer.without("request-id")),
    "counts of nothing": whole("messages/count_tokens", put(0, "input_tokens")),
}


def failed_with(clean: Clean, spoil: Spoil) -> set[str]:
    replay = Replay(clean.recorder, spoil)
    results = asyncio.run(run(clean.target, cases(), transport=replay))
    assert not [r for r in results if r.outcome is Outcome.NOT_OFFERED]
    return {result.case.id for result in results if result.outcome is Outcome.FAILED}


def test_nothing_spoilt_fails_nothing(clean: Clean) -> None:
    assert failed_with(clean, lambda _, answer: answer) == set()


@pytest.mark.parametrize("what", DEFECTS)
def test_a_defect_fails_the_cases_that_are_about_it(what: str, clean: Clean) -> None:
    assert sorted(failed_with(clean, DEFECTS[what])) == SEEN_BY[what]


def test_the_table_of_defects_is_whole() -> None:
    assert list(SEEN_BY) == list(DEFECTS)
    assert len(DEFECTS) >= 30
    assert all(SEEN_BY.values())


def blank(status: int, body: object) -> Spoil:
    def spoil(request: httpx.Request, answer: Answer) -> Answer:
        if request.url.path == "/v1/models" and request.method == "GET":
            return answer  # by which the suite sees that somebody is there
        return replace(answer, status=status).with_json(body)

    return spoil


def test_each_case_can_fail(clean: Clean) -> None:
    """In front of servers that answer nothing, or an error, to everything."""
    error = {"message": "x", "type": "y", "param": None, "code": None}
    failing = failed_with(clean, blank(200, {})) | failed_with(clean, blank(500, {"error": error}))
    failing |= {id for ids in SEEN_BY.values() for id in ids}
    cannot = {result.case.id for result in clean.results} - failing
    # What never fails here is skipped here, or about the list of models.
    skipped = {r.case.id for r in clean.results if r.outcome is Outcome.SKIPPED}
    assert {id for id in cannot if not id.startswith("models.")} <= skipped
