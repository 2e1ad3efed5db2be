"""What is told of a run: counts, reasons and pages, and never the key."""

import asyncio
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from xml.etree import ElementTree

import httpx
import pytest

from turnout.conformance.api import Target
from turnout.conformance.page import as_html
from turnout.conformance.report import Report, as_json, as_junit
from turnout.conformance.run import Outcome, UnreachableError, run
from turnout.conformance.suite import chosen

KEY = "tk-canary/+secret"
FORMS: dict[str, Callable[[Report], str]] = {
    "json": as_json,
    "junit": as_junit,
    "html": as_html,
}
Answer = Callable[[httpx.Request], httpx.Response]


def reported(
    answer: Answer, *areas: str, ids: tuple[str, ...] = (), key: str | None = KEY
) -> Report:
    target = Target("http://nowhere.test/v1", "gpt-4o", key)
    asked = run(target, chosen(areas, ids=ids), transport=httpx.MockTransport(answer))
    return Report(target, asyncio.run(asked), 1.5)


def echoing(request: httpx.Request) -> httpx.Response:
    """A server that tells all that it was sent."""
    if request.method == "GET":
        return httpx.Response(200, json={"data": []})
    said = {"message": dict(request.headers), "html": "<script>alert(1)</script>"}
    return httpx.Response(418, json={"error": said, "escaped": "tk-canary%2F%2Bsecret"})


def nowhere(request: httpx.Request) -> httpx.Response:
    if request.url.path.endswith("/models"):
        return httpx.Response(200, json={"object": "list", "data": []})
    return httpx.Response(404, json={"detail": "Not Found"})


@pytest.mark.parametrize("form", FORMS)
def test_no_form_holds_the_key(form: str) -> None:
    written = FORMS[form](reported(echoing))
    assert "canary" not in written
    assert "•••" in written


def test_text_of_a_server_is_no_markup() -> None:
    page = as_html(reported(echoing, "request"))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_page_loads_nothing() -> None:
    loaded: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            if tag in ("link", "script", "img", "iframe") or "src" in given:
                loaded.append(tag)

    page = as_html(reported(echoing))
    Reader().feed(page)
    assert loaded == []
    assert "url(" not in page and "@import" not in page


def test_counts_add_up_in_json_and_junit() -> None:
    report = reported(echoing, "models", "request")
    told = json.loads(as_json(report))
    assert sum(told["counts"].values()) == len(told["cases"]) == len(report.results)
    root = ElementTree.fromstring(as_junit(report))
    assert root.get("tests") == str(len(report.results))
    failed = root.findall(".//failure")
    assert len(failed) == told["counts"]["failed"] == int(root.get("failures", "0"))
    assert all("expected: " in (failure.text or "") for failure in failed)


def test_an_area_that_answers_404_to_all_is_not_offered() -> None:
    report = reported(nowhere, "messages", "responses", "models")
    assert {r.outcome for r in report.results if r.case.area != "models"} == {Outcome.NOT_OFFERED}
    assert report.by_area["models"][Outcome.NOT_OFFERED] == 0
    assert report.counts[Outcome.PASSED] < 12  # what is not offered is never passed


def test_a_parameter_that_a_model_does_not_support_is_skipped_with_its_words() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        words = "Unsupported parameter: 'n'"
        error = {"message": words, "type": "t", "param": "n", "code": "unsupported_parameter"}
        return httpx.Response(400, json={"error": error})

    report = reported(answer, ids=("response.n-choices-have-their-indices",))
    (result,) = report.results
    assert result.outcome is Outcome.SKIPPED
    assert result.seen == "the model does not take `n`: Unsupported parameter: 'n'"


def test_a_failure_shows_what_was_seen_and_the_answer() -> None:
    (result,) = reported(echoing, ids=("request.a-seed-is-taken",)).results
    assert result.seen == "status 418"
    assert result.exchange is not None
    assert re.match(r'POST /chat/completions \{"model": "gpt-4o"', result.exchange)


def test_an_answer_of_a_shape_that_nobody_foresaw_is_a_failure() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"choices": [{"message": {"tool_calls": [None]}}]})

    for result in reported(answer).results:
        assert result.outcome in (Outcome.FAILED, Outcome.SKIPPED, Outcome.PASSED)


def test_a_refused_key_ends_the_run() -> None:
    with pytest.raises(UnreachableError, match="the key is refused with status 401"):
        reported(lambda _: httpx.Response(401), "models")


def test_a_server_that_does_not_answer_ends_the_run() -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(UnreachableError, match="ConnectError"):
        reported(silent, "models")


def test_keys_are_asked_about_where_one_is_needed() -> None:
    error = {"message": "no", "type": "t", "param": None, "code": "invalid_api_key"}

    def guarded(request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return httpx.Response(401, json={"error": error})
        return httpx.Response(200, json={"data": []})

    ids = ("errors.a-wrong-key-is-refused", "errors.no-key-is-refused")
    report = reported(guarded, ids=ids)
    assert [result.outcome for result in report.results] == [Outcome.PASSED] * 2


def test_a_cookie_of_one_answer_does_not_go_with_the_next_request() -> None:
    sent: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("cookie"))
        return httpx.Response(200, json={"data": []}, headers={"set-cookie": "a=b; path=/"})

    reported(answer, "models")
    assert len(sent) > 1
    assert set(sent) == {None}


def test_an_answer_is_asked_for_once_however_many_cases_look_at_it() -> None:
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            asked.append(request.content)
        return httpx.Response(200, json={})

    plain = tuple(
        f"response.{name}"
        for name in ("the-id-is-text", "the-object-is-named", "created-is-in-seconds")
    )
    reported(answer, ids=plain)
    assert len(asked) == 1


def test_a_wait_that_is_asked_for_is_kept() -> None:
    answers = iter([429, 200])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={})
        return httpx.Response(next(answers), json={"id": "x"}, headers={"retry-after": "0"})

    (result,) = reported(answer, ids=("response.the-id-is-text",)).results
    assert result.outcome is Outcome.PASSED
