"""Anthropic's messages."""

# Over 300 lines because it is a protocol of its own: body, tools, stream and errors.

from collections.abc import Mapping
from typing import Any

from turnout.conformance.api import ABSENT, UNKNOWN_MODEL, WRONG_KEY, Api, user
from turnout.conformance.case import Area, Failed, Skipped
from turnout.conformance.exchange import Exchange
from turnout.conformance.look import (
    array,
    at,
    filled,
    mapping,
    one_of,
    parsed,
    require,
    same,
    shown,
    text,
    whole,
)
from turnout.conformance.sources import EVENT_STREAM, anthropic

AREA = Area("messages", "Anthropic's messages: body, tools, stream, errors", "messages")

MESSAGE = anthropic("messages")
STREAM = anthropic("messages-streaming")
ERRORS = anthropic("errors")
TOOLS = anthropic("messages-tool-use")
HEADERS = anthropic("overview")
VERSION = {"anthropic-version": "2023-06-01"}
STOPS = ("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal")
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The name of the city."}},
        "required": ["city"],
    },
}
FORCED = {"type": "tool", "name": "get_weather"}
ASKED = [user("What is the weather in Paris?")]
LONG = [user("Write the numbers from one to sixty as English words, separated by commas.")]


def _key(api: Api) -> dict[str, str]:
    """The key as Anthropic's SDK sends it."""
    return {"x-api-key": api.target.key} if api.target.key else {}


async def post(
    api: Api, body: Any, path: str = "messages", credentials: Mapping[str, str] | None = None
) -> Exchange:
    """Send a request as Anthropic's SDK does."""
    if credentials is None:
        credentials = _key(api)
    return await api.post(path, body, headers=VERSION, credentials=credentials)


def refused(answer: Exchange, *statuses: int) -> dict[str, Any]:
    """The error of a refusal in Anthropic's envelope."""
    error = answer.refused(*statuses)
    same(at(answer.json, "type"), "error", "`type` of the envelope")
    filled(error, "type")
    filled(error, "message")
    return error


async def _ask(api: Api, **members: Any) -> Exchange:
    base = {"model": api.target.model, "max_tokens": 1024, "messages": [user("Say hello.")]}
    body = {name: value for name, value in {**base, **members}.items() if value is not ABSENT}
    return await post(api, body)


async def _plain(api: Api) -> dict[str, Any]:
    return mapping((await _ask(api)).accepted())


async def _tool(api: Api) -> dict[str, Any]:
    answer = await _ask(api, messages=ASKED, tools=[WEATHER], tool_choice=FORCED)
    return mapping(answer.accepted("tool_choice"))


def _called(body: dict[str, Any]) -> dict[str, Any]:
    for block in array(body, "content"):
        if at(block, "type") == "tool_use":
            return mapping(block)
    raise Failed("no block is `tool_use`")


def _events(answer: Exchange, *parameters: str) -> list[dict[str, Any]]:
    answer.granted(*parameters)
    events = [mapping(parsed(e.text, "the data of an event")) for e in answer.events.events]
    require(bool(events), "the stream has no event")
    return [event for event in events if event.get("type") != "ping"]


async def _stream(api: Api) -> list[dict[str, Any]]:
    return _events(await _ask(api, stream=True))


async def _tool_stream(api: Api) -> list[dict[str, Any]]:
    asked = await _ask(api, messages=ASKED, tools=[WEATHER], tool_choice=FORCED, stream=True)
    return _events(asked, "tool_choice")


def _named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    found = [event for event in events if event.get("type") == name]
    require(bool(found), f"there is no event `{name}`")
    return found


@AREA.case(MESSAGE)
async def the_body_is_a_message(api: Api) -> None:
    """The answer has `type: message` and `role: assistant`."""
    body = await _plain(api)
    same(at(body, "type"), "message", "`type`")
    same(at(body, "role"), "assistant", "`role`")


@AREA.case(MESSAGE)
async def id_and_model_are_text(api: Api) -> None:
    """`id` and `model` are strings that are not empty."""
    body = await _plain(api)
    filled(body, "id")
    filled(body, "model")


@AREA.case(MESSAGE)
async def the_content_is_blocks(api: Api) -> None:
    """`content` is an array of blocks, of which one is text."""
    texts = [b for b in array(await _plain(api), "content") if at(b, "type") == "text"]
    require(bool(texts), "no block is text")
    filled(texts[0], "text")


@AREA.case(MESSAGE)
async def a_plain_answer_ends_its_turn(api: Api) -> None:
    """An answer that came to its end has the stop reason `end_turn` and no stop sequence."""
    body = await _plain(api)
    same(at(body, "stop_reason"), "end_turn", "`stop_reason`")
    same(at(body, "stop_sequence"), None, "`stop_sequence`")


@AREA.case(MESSAGE)
async def the_usage_has_two_numbers(api: Api) -> None:
    """`usage` has `input_tokens` and `output_tokens`, both above 0."""
    body = await _plain(api)
    for name in ("input_tokens", "output_tokens"):
        require(whole(body, "usage", name) > 0, f"`usage.{name}` is 0")


@AREA.case(MESSAGE)
async def a_short_limit_is_told(api: Api) -> None:
    """An answer that reached `max_tokens` has the stop reason `max_tokens`, and keeps to it."""
    body = (await _ask(api, messages=LONG, max_tokens=16)).accepted()
    same(at(body, "stop_reason"), "max_tokens", "`stop_reason`")
    used = whole(body, "usage", "output_tokens")
    require(used <= 16, f"`usage.output_tokens` is {used}")


@AREA.case(MESSAGE)
async def a_stop_sequence_ends_the_answer(api: Api) -> None:
    """A stop sequence ends the answer and is not in it."""
    asked = [user("Repeat these words exactly and nothing else: alpha beta gamma delta")]
    answer = await _ask(api, messages=asked, stop_sequences=["gamma"])
    body = answer.accepted("stop_sequences")
    one_of(at(body, "stop_reason"), ("stop_sequence", "end_turn"), "`stop_reason`")
    for block in array(body, "content"):
        require("gamma" not in (block.get("text") or ""), "the stop sequence is in the answer")


@AREA.case(MESSAGE)
async def system_may_be_a_string(api: Api) -> None:
    """`system` may be a string."""
    (await _ask(api, system="Answer in English.")).accepted()


@AREA.case(MESSAGE)
async def system_may_be_blocks(api: Api) -> None:
    """`system` may be an array of text blocks, with `cache_control` on them."""
    block = {"type": "text", "text": "Answer in English.", "cache_control": {"type": "ephemeral"}}
    (await _ask(api, system=[block])).accepted()


@AREA.case(MESSAGE)
async def content_may_be_blocks(api: Api) -> None:
    """The content of a message may be an array of text blocks."""
    blocks = [{"type": "text", "text": "Say"}, {"type": "text", "text": "hello."}]
    (await _ask(api, messages=[user(blocks)])).accepted()


@AREA.case(MESSAGE)
async def a_conversation_may_be_continued(api: Api) -> None:
    """A history of user and assistant messages is taken."""
    history = [user("Say one."), {"role": "assistant", "content": "One."}, user("Say two.")]
    (await _ask(api, messages=history)).accepted()


@AREA.case(MESSAGE)
async def temperature_and_metadata_are_taken(api: Api) -> None:
    """`temperature` and `metadata.user_id` are taken."""
    (await _ask(api, temperature=0.5, metadata={"user_id": "u-1"})).accepted("temperature")


@AREA.case(TOOLS)
async def a_forced_tool_is_called(api: Api) -> None:
    """The tool that `tool_choice` names is called, in a block with an id, its name and input."""
    call = _called(await _tool(api))
    filled(call, "id")
    same(at(call, "name"), "get_weather", "`name`")


@AREA.case(TOOLS)
async def the_input_is_an_object(api: Api) -> None:
    """`input` is an object that fits the schema, never JSON in a string."""
    text(_called(await _tool(api)), "input", "city")


@AREA.case(TOOLS)
async def a_call_stops_with_tool_use(api: Api) -> None:
    """The stop reason of a call is `tool_use`."""
    same(at(await _tool(api), "stop_reason"), "tool_use", "`stop_reason`")


@AREA.case(TOOLS)
async def any_calls_a_tool(api: Api) -> None:
    """With `tool_choice: any` some tool is called."""
    answer = await _ask(api, messages=ASKED, tools=[WEATHER], tool_choice={"type": "any"})
    _called(mapping(answer.accepted("tool_choice")))


@AREA.case(TOOLS)
async def none_calls_no_tool(api: Api) -> None:
    """With `tool_choice: none` no tool is called."""
    answer = await _ask(api, messages=ASKED, tools=[WEATHER], tool_choice={"type": "none"})
    for block in array(answer.accepted("tool_choice"), "content"):
        require(at(block, "type") != "tool_use", "a tool is called")


@AREA.case(TOOLS)
async def a_result_is_taken(api: Api) -> None:
    """A call and its result are taken, and answered."""
    call = {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_01", "content": "21 degrees"}
    history = [*ASKED, {"role": "assistant", "content": [call]}, user([result])]
    (await _ask(api, messages=history, tools=[WEATHER])).accepted()


@AREA.case(TOOLS)
async def results_of_parallel_calls_are_taken(api: Api) -> None:
    """Two calls of one message, and their two results in the next, are taken."""
    calls = [
        {"type": "tool_use", "id": f"toolu_{city}", "name": "get_weather", "input": {"city": city}}
        for city in ("Paris", "Rome")
    ]
    results = [
        {
            "type": "tool_result",
            "tool_use_id": f"toolu_{city}",
            "content": [{"type": "text", "text": "21"}],
        }
        for city in ("Paris", "Rome")
    ]
    history = [*ASKED, {"role": "assistant", "content": calls}, user(results)]
    (await _ask(api, messages=history, tools=[WEATHER])).accepted()


@AREA.case(STREAM)
async def a_stream_is_an_event_stream(api: Api) -> None:
    """A stream has the content type `text/event-stream` and ends well."""
    answer = await _ask(api, stream=True)
    _events(answer)
    same(answer.media_type, "text/event-stream", "the content type")
    require(answer.broken is None, f"the body broke off: {answer.broken}")
    same(answer.events.rest, "", "what follows the last blank line")


@AREA.case(STREAM, EVENT_STREAM)
async def each_event_is_named_as_its_type(api: Api) -> None:
    """Each event has a name, which is the `type` of its data: the SDK reads by it."""
    answer = await _ask(api, stream=True)
    _events(answer)
    for event in answer.events.events:
        same(event.name, parsed(event.text, "the data of an event").get("type"), "the event's name")


@AREA.case(STREAM)
async def message_start_comes_first(api: Api) -> None:
    """The first event is `message_start` with an empty message and the usage so far."""
    first = (await _stream(api))[0]
    same(at(first, "type"), "message_start", "the first event")
    same(array(first, "message", "content"), [], "`message.content`")
    same(at(first, "message", "stop_reason"), None, "`message.stop_reason`")
    whole(first, "message", "usage", "input_tokens")
    whole(first, "message", "usage", "output_tokens")


@AREA.case(STREAM)
async def message_stop_comes_last(api: Api) -> None:
    """The last event is `message_stop`; no `[DONE]` follows."""
    answer = await _ask(api, stream=True)
    answer.granted()
    require("[DONE]" not in answer.text, "there is `[DONE]`")
    same(at(_events(answer)[-1], "type"), "message_stop", "the last event")


@AREA.case(STREAM)
async def blocks_open_and_close(api: Api) -> None:
    """Blocks are opened, filled and closed one after the other, with indices from 0."""
    opened: int | None = None
    closed = 0
    for event in await _stream(api):
        kind = event.get("type")
        if kind == "content_block_start":
            same(opened, None, "the open block")
            opened = whole(event, "index")
            same(opened, closed, "`index` of a block")
        elif kind in ("content_block_delta", "content_block_stop"):
            same(whole(event, "index"), opened, f"`index` of a `{kind}`")
        if kind == "content_block_stop":
            opened, closed = None, closed + 1
    require(closed > 0, "there is no block")
    same(opened, None, "the block that is still open")


@AREA.case(STREAM)
async def text_comes_in_deltas(api: Api) -> None:
    """Text comes as `text_delta` in blocks that begin empty."""
    events = await _stream(api)
    start = _named(events, "content_block_start")[-1]
    same(at(start, "content_block", "text"), "", "`content_block.text`")
    deltas = [e["delta"] for e in _named(events, "content_block_delta")]
    words = [text(d, "text") for d in deltas if at(d, "type") == "text_delta"]
    require("".join(words) != "", "the stream has no text")


@AREA.case(STREAM)
async def message_delta_has_the_end(api: Api) -> None:
    """One `message_delta` has the stop reason and the tokens of the answer."""
    deltas = _named(await _stream(api), "message_delta")
    same(len(deltas), 1, "the number of `message_delta`")
    same(at(deltas[0], "delta", "stop_reason"), "end_turn", "`delta.stop_reason`")
    require(whole(deltas[0], "usage", "output_tokens") > 0, "`usage.output_tokens` is 0")


@AREA.case(STREAM)
async def the_end_follows_the_blocks(api: Api) -> None:
    """`message_delta` comes after all blocks, just before `message_stop`."""
    kinds = [event.get("type") for event in await _stream(api)]
    same(kinds[-2:], ["message_delta", "message_stop"], "the last two events")


@AREA.case(STREAM)
async def a_streamed_call_opens_a_block(api: Api) -> None:
    """A streamed call opens a `tool_use` block with its id, its name and an empty input."""
    blocks = [
        mapping(e, "content_block") for e in _named(await _tool_stream(api), "content_block_start")
    ]
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    require(bool(calls), "no block is `tool_use`")
    filled(calls[0], "id")
    same(at(calls[0], "name"), "get_weather", "`name`")
    same(at(calls[0], "input"), {}, "`input`")


@AREA.case(STREAM)
async def fragments_of_input_add_up(api: Api) -> None:
    """The `input_json_delta` of a call add up to one JSON object."""
    deltas = [e["delta"] for e in _named(await _tool_stream(api), "content_block_delta")]
    pieces = [text(d, "partial_json") for d in deltas if at(d, "type") == "input_json_delta"]
    text(parsed("".join(pieces), "the input put together"), "city")


@AREA.case(STREAM)
async def a_streamed_call_stops_with_tool_use(api: Api) -> None:
    """The stop reason of a streamed call is `tool_use`."""
    deltas = _named(await _tool_stream(api), "message_delta")
    same(at(deltas[0], "delta", "stop_reason"), "tool_use", "`delta.stop_reason`")


@AREA.case(ERRORS)
async def broken_json_is_refused(api: Api) -> None:
    """A body that is no JSON is refused with 400 in Anthropic's envelope."""
    error = refused(await post(api, b'{"model": "'), 400)
    same(error["type"], "invalid_request_error", "`error.type`")


@AREA.case(MESSAGE)
async def a_missing_limit_is_refused(api: Api) -> None:
    """A body without `max_tokens` is refused with 400, and the message names it."""
    error = refused(await _ask(api, max_tokens=ABSENT), 400)
    require("max_tokens" in error["message"], f"the message is {shown(error['message'])}")


@AREA.case(MESSAGE)
async def missing_messages_are_refused(api: Api) -> None:
    """A body without `messages` is refused with 400 and `invalid_request_error`."""
    error = refused(await _ask(api, messages=ABSENT), 400)
    same(error["type"], "invalid_request_error", "`error.type`")


@AREA.case(ERRORS)
async def an_unknown_model_is_not_found(api: Api) -> None:
    """A model that nobody knows is refused with 404 and `not_found_error`."""
    error = refused(await _ask(api, model=UNKNOWN_MODEL), 404)
    same(error["type"], "not_found_error", "`error.type`")


@AREA.case(ERRORS)
async def a_stream_is_refused_with_a_status(api: Api) -> None:
    """A stream of an unknown model is refused with a status and JSON, never by an event."""
    answer = await _ask(api, model=UNKNOWN_MODEL, stream=True)
    refused(answer, 400, 404)
    same(answer.media_type, "application/json", "the content type")


@AREA.case(HEADERS)
async def an_answer_has_a_request_id(api: Api) -> None:
    """An answer and a refusal have the header `request-id`, which the SDK shows."""
    for answer in (await _ask(api), await _ask(api, messages=ABSENT)):
        require(bool(answer.header("request-id")), "there is no `request-id`")


@AREA.case(ERRORS)
async def a_wrong_key_is_refused(api: Api) -> None:
    """A wrong key is refused with 401 and `authentication_error`."""
    body = {"model": api.target.model, "max_tokens": 64, "messages": [user("Say hello.")]}
    answer = await post(api, body, credentials={"x-api-key": WRONG_KEY})
    if answer.status == 200:
        raise Skipped("keys are not looked at here")
    same(refused(answer, 401)["type"], "authentication_error", "`error.type`")


@AREA.case(HEADERS)
async def a_key_may_be_a_bearer_token(api: Api) -> None:
    """The key is taken as a Bearer token too, as the SDK sends its `auth_token`."""
    body = {"model": api.target.model, "max_tokens": 64, "messages": [user("Say hello.")]}
    answer = await post(api, body, credentials=api.credentials)
    if answer.status == 401:
        refused(answer, 401)
        raise Skipped("this key is no token for Bearer")
    answer.accepted()
