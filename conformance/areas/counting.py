"""Counting the tokens of a request of Anthropic's messages, without an answer."""

from typing import Any

from turnout.conformance.api import UNKNOWN_MODEL, Api, user
from turnout.conformance.areas.messages import WEATHER, post, refused
from turnout.conformance.case import Area
from turnout.conformance.look import require, same, whole
from turnout.conformance.sources import anthropic

AREA = Area("count-tokens", "counting tokens as Anthropic does", "messages/count_tokens")

COUNT = anthropic("messages-count-tokens")


async def _count(api: Api, **members: Any) -> int:
    base = {"model": api.target.model, "messages": [user("Say hello.")]}
    answer = await post(api, {**base, **members}, "messages/count_tokens")
    return whole(answer.accepted(), "input_tokens")


@AREA.case(COUNT)
async def a_count_is_a_number(api: Api) -> None:
    """The answer has `input_tokens`, a whole number above 0."""
    require(await _count(api) > 0, "`input_tokens` is 0")


@AREA.case(COUNT)
async def a_count_needs_no_limit(api: Api) -> None:
    """A count needs no `max_tokens`, and is no message."""
    body = {"model": api.target.model, "messages": [user("Say hello.")]}
    counted = (await post(api, body, "messages/count_tokens")).accepted()
    require("content" not in counted, "the answer has `content`")


@AREA.case(COUNT)
async def more_text_has_more_tokens(api: Api) -> None:
    """A longer message has more tokens."""
    longer = await _count(api, messages=[user("Say hello. " * 20)])
    require(longer > await _count(api) + 20, f"a long message has {longer}")


@AREA.case(COUNT)
async def the_system_prompt_has_tokens(api: Api) -> None:
    """The system prompt is counted."""
    counted = await _count(api, system="Answer in English, in one word.")
    require(counted > await _count(api), f"with a system prompt it is {counted}")


@AREA.case(COUNT)
async def tools_have_tokens(api: Api) -> None:
    """Tools are counted."""
    counted = await _count(api, tools=[WEATHER])
    require(counted > await _count(api), f"with a tool it is {counted}")


@AREA.case(COUNT)
async def missing_messages_are_refused(api: Api) -> None:
    """A body without messages is refused with 400 and `invalid_request_error`."""
    answer = await post(api, {"model": api.target.model}, "messages/count_tokens")
    same(refused(answer, 400)["type"], "invalid_request_error", "`error.type`")


@AREA.case(COUNT)
async def an_unknown_model_is_not_found(api: Api) -> None:
    """A model that nobody knows is refused with 404 and `not_found_error`."""
    body = {"model": UNKNOWN_MODEL, "messages": [user("Say hello.")]}
    answer = await post(api, body, "messages/count_tokens")
    same(refused(answer, 404)["type"], "not_found_error", "`error.type`")
