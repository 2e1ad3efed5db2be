"""OpenAI's responses: the body, its items, its stream of events."""

# Over 300 lines because it is a protocol of its own: body, tools, stream and errors.

from typing import Any

from turnout.conformance.api import UNKNOWN_MODEL, Api, user
from turnout.conformance.areas.structured import SCHEMA
from turnout.conformance.case import Area, Failed
from turnout.conformance.exchange import Exchange
from turnout.conformance.look import (
    array,
    at,
    filled,
    mapping,
    parsed,
    require,
    same,
    text,
    whole,
)
from turnout.conformance.sources import EVENT_STREAM, python_sdk, reference, spec

AREA = Area("responses", "OpenAI's responses: body, items, events", "responses")

CREATE = reference("responses/create")
OBJECT = reference("responses/object")
EVENTS = reference("responses-streaming")
RESPONSE = spec("Response")
MESSAGE = spec("OutputMessage")
CALL = spec("FunctionToolCall")
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
FORCED = {"type": "function", "name": "get_weather"}
ASKED = "What is the weather in Paris?"
LONG = "Write the numbers from one to sixty as English words, separated by commas."
FORMAT = {"format": {"type": "json_schema", "name": "person", "strict": True, "schema": SCHEMA}}


async def _ask(api: Api, **members: Any) -> Exchange:
    return await api.post(
        "responses", {"model": api.target.model, "input": "Say hello.", **members}
    )


async def _plain(api: Api) -> dict[str, Any]:
    return mapping((await _ask(api)).accepted())


def _item(body: dict[str, Any], kind: str) -> dict[str, Any]:
    for item in array(body, "output"):
        if at(item, "type") == kind:
            return mapping(item)
    raise Failed(f"no item of the output is a `{kind}`")


def _words(body: dict[str, Any]) -> str:
    parts = array(_item(body, "message"), "content")
    return "".join(text(part, "text") for part in parts if at(part, "type") == "output_text")


async def _call(api: Api) -> dict[str, Any]:
    answer = await _ask(api, input=ASKED, tools=[WEATHER], tool_choice=FORCED)
    return _item(mapping(answer.accepted("tool_choice")), "function_call")


def _events(answer: Exchange, *parameters: str) -> list[dict[str, Any]]:
    answer.granted(*parameters)
    data = [event.text for event in answer.events.events if event.text != "[DONE]"]
    require(bool(data), "the stream has no event")
    return [mapping(parsed(words, "the data of an event")) for words in data]


async def _stream(api: Api) -> list[dict[str, Any]]:
    return _events(await _ask(api, stream=True))


async def _call_stream(api: Api) -> list[dict[str, Any]]:
    asked = await _ask(api, input=ASKED, tools=[WEATHER], tool_choice=FORCED, stream=True)
    return _events(asked, "tool_choice")


def _named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    found = [event for event in events if event.get("type") == f"response.{name}"]
    require(bool(found), f"there is no event `response.{name}`")
    return found


def _place(events: list[dict[str, Any]], name: str) -> int:
    return events.index(_named(events, name)[0])


@AREA.case(RESPONSE)
async def the_object_is_named(api: Api) -> None:
    """`object` is `response`."""
    same(at(await _plain(api), "object"), "response", "`object`")


@AREA.case(RESPONSE)
async def the_envelope_is_whole(api: Api) -> None:
    """`id` and `model` are strings, `created_at` is a number of seconds."""
    body = await _plain(api)
    filled(body, "id")
    filled(body, "model")
    created = at(body, "created_at")
    fits = isinstance(created, int | float) and 1_500_000_000 < created < 5_000_000_000
    require(fits, f"`created_at` is {created}")


@AREA.case(RESPONSE)
async def a_whole_answer_is_completed(api: Api) -> None:
    """`status` is `completed`, `error` and `incomplete_details` are null."""
    body = await _plain(api)
    same(at(body, "status"), "completed", "`status`")
    for name in ("error", "incomplete_details"):
        same(at(body, name), None, f"`{name}`")


@AREA.case(RESPONSE, python_sdk("types/responses/response.py"))
async def what_was_asked_is_repeated(api: Api) -> None:
    """The answer repeats `tools`, `tool_choice` and `parallel_tool_calls`, as SDKs require."""
    body = await _plain(api)
    same(array(body, "tools"), [], "`tools`")
    at(body, "tool_choice")
    require(isinstance(at(body, "parallel_tool_calls"), bool), "`parallel_tool_calls` is odd")


@AREA.case(MESSAGE)
async def the_output_has_a_message(api: Api) -> None:
    """The output holds a message of the assistant, completed, with an id."""
    item = _item(await _plain(api), "message")
    filled(item, "id")
    same(at(item, "role"), "assistant", "`role`")
    same(at(item, "status"), "completed", "`status` of the item")


@AREA.case(spec("OutputTextContent"))
async def the_message_has_text(api: Api) -> None:
    """The content of the message is `output_text` with text and annotations."""
    parts = array(_item(await _plain(api), "message"), "content")
    require(bool(parts), "`content` is empty")
    same(at(parts[0], "type"), "output_text", "`type` of the part")
    filled(parts[0], "text")
    array(parts[0], "annotations")


@AREA.case(spec("ResponseUsage"))
async def the_usage_adds_up(api: Api) -> None:
    """`usage` has input, output and total tokens, and the total is the sum."""
    usage = mapping(await _plain(api), "usage")
    parts = whole(usage, "input_tokens") + whole(usage, "output_tokens")
    same(whole(usage, "total_tokens"), parts, "`usage.total_tokens`")


@AREA.case(spec("ResponseUsage"), python_sdk("types/responses/response_usage.py"))
async def the_usage_has_details(api: Api) -> None:
    """`usage` says how much of the input was cached and how much of the output was reasoning."""
    usage = mapping(await _plain(api), "usage")
    whole(usage, "input_tokens_details", "cached_tokens")
    whole(usage, "output_tokens_details", "reasoning_tokens")


@AREA.case(CREATE)
async def input_may_be_messages(api: Api) -> None:
    """`input` may be an array of messages."""
    said = {"role": "assistant", "content": "One."}
    history = [user("Say one."), said, user("Say two.")]
    require(_words(mapping((await _ask(api, input=history)).accepted())) != "", "there is no text")


@AREA.case(CREATE)
async def content_may_be_parts(api: Api) -> None:
    """The content of a message may be an array of `input_text`."""
    parts = [{"type": "input_text", "text": "Say hello."}]
    (await _ask(api, input=[user(parts)])).accepted()


@AREA.case(CREATE)
async def an_answer_may_be_sent_back(api: Api) -> None:
    """A message of the output may be sent back as input, with its `output_text`."""
    part = {"type": "output_text", "text": "One.", "annotations": []}
    said = {"type": "message", "role": "assistant", "content": [part], "status": "completed"}
    history = [user("Say one."), said | {"id": "msg_0123456789abcdef"}, user("Say two.")]
    (await _ask(api, input=history)).accepted()


@AREA.case(CREATE)
async def instructions_are_taken(api: Api) -> None:
    """`instructions` are taken."""
    (await _ask(api, instructions="Answer in English.")).accepted()


@AREA.case(CREATE)
async def nulls_stand_for_what_is_left_out(api: Api) -> None:
    """Optional members that the specification calls nullable may be null."""
    names = ("instructions", "max_output_tokens", "temperature", "top_p", "stream", "metadata")
    (await _ask(api, **dict.fromkeys(names))).accepted()


@AREA.case(OBJECT)
async def a_short_limit_is_told(api: Api) -> None:
    """An answer that reached `max_output_tokens` is `incomplete`, for that reason."""
    body = (await _ask(api, input=LONG, max_output_tokens=16)).accepted()
    same(at(body, "status"), "incomplete", "`status`")
    same(at(body, "incomplete_details", "reason"), "max_output_tokens", "the reason")


@AREA.case(CALL)
async def a_forced_tool_is_called(api: Api) -> None:
    """The function that `tool_choice` names is called, by an item with a `call_id`."""
    call = await _call(api)
    filled(call, "call_id")
    same(at(call, "name"), "get_weather", "`name`")


@AREA.case(CALL)
async def arguments_are_json_in_a_string(api: Api) -> None:
    """`arguments` is a string that holds one JSON object, which fits the parameters."""
    text(parsed(text(await _call(api), "arguments"), "`arguments`"), "city")


@AREA.case(spec("FunctionToolCallOutput"))
async def a_result_is_taken(api: Api) -> None:
    """A call and its output are taken, and answered."""
    call = {
        "type": "function_call",
        "call_id": "call_1",
        "name": "get_weather",
        "arguments": '{"city": "Paris"}',
    }
    result = {"type": "function_call_output", "call_id": "call_1", "output": "21 degrees"}
    answer = await _ask(api, input=[user(ASKED), call, result], tools=[WEATHER])
    require(bool(array(answer.accepted(), "output")), "`output` is empty")


@AREA.case(spec("TextResponseFormatJsonSchema"))
async def a_schema_gives_json(api: Api) -> None:
    """With `text.format` a strict schema, the text is an object with its members."""
    answer = await _ask(api, input="Describe Ada, 36, a writer from London.", text=FORMAT)
    body = mapping(answer.accepted("text", "json_schema"))
    person = mapping(parsed(_words(body), "the text"))
    same(sorted(person), sorted(SCHEMA["required"]), "the members")


@AREA.case(EVENTS, EVENT_STREAM)
async def each_event_is_named_as_its_type(api: Api) -> None:
    """Each event has a name, which is the `type` of its data."""
    answer = await _ask(api, stream=True)
    for event, data in zip(answer.events.events, _events(answer), strict=False):
        same(event.name, at(data, "type"), "the event's name")


@AREA.case(EVENTS)
async def the_stream_ends_well(api: Api) -> None:
    """A stream has the content type `text/event-stream`, and its body ends with its last event."""
    answer = await _ask(api, stream=True)
    _events(answer)
    same(answer.media_type, "text/event-stream", "the content type")
    require(answer.broken is None, f"the body broke off: {answer.broken}")
    same(answer.events.rest, "", "what follows the last blank line")


@AREA.case(EVENTS)
async def events_are_numbered(api: Api) -> None:
    """`sequence_number` counts up by one from event to event."""
    numbers = [whole(event, "sequence_number") for event in await _stream(api)]
    same(numbers, list(range(numbers[0], numbers[0] + len(numbers))), "the numbers")


@AREA.case(EVENTS)
async def a_stream_begins_with_created(api: Api) -> None:
    """The first events are `response.created` and `response.in_progress`, with the response."""
    events = await _stream(api)
    same(at(events[0], "type"), "response.created", "the first event")
    same(at(events[0], "response", "status"), "in_progress", "`response.status`")
    same(at(events[1], "type"), "response.in_progress", "the second event")


@AREA.case(EVENTS)
async def a_stream_ends_with_completed(api: Api) -> None:
    """The last event is `response.completed`, with the response as a whole and its usage."""
    last = (await _stream(api))[-1]
    same(at(last, "type"), "response.completed", "the last event")
    same(at(last, "response", "status"), "completed", "`response.status`")
    whole(last, "response", "usage", "total_tokens")


@AREA.case(EVENTS)
async def all_events_are_of_one_response(api: Api) -> None:
    """The response has the same id at its beginning and its end."""
    events = await _stream(api)
    same(at(events[-1], "response", "id"), filled(events[0], "response", "id"), "`response.id`")


@AREA.case(EVENTS)
async def items_and_parts_open_and_close(api: Api) -> None:
    """Item, part and text are opened in this order, and closed in the reverse one."""
    events = await _stream(api)
    added = [_named(events, "output_item.added")[-1], _named(events, "output_item.done")[-1]]
    same(at(added[1], "item", "id"), filled(added[0], "item", "id"), "`item.id`")
    order = ("content_part.added", "output_text.delta", "output_text.done", "content_part.done")
    places = [_place(events, name) for name in order]
    places = [events.index(added[0]), *places, events.index(added[1])]
    same(places, sorted(places), "the places of the events")


@AREA.case(EVENTS)
async def deltas_add_up(api: Api) -> None:
    """The deltas of the text add up to what `response.output_text.done` says."""
    events = await _stream(api)
    deltas = "".join(text(event, "delta") for event in _named(events, "output_text.delta"))
    require(deltas != "", "the stream has no text")
    same(text(_named(events, "output_text.done")[0], "text"), deltas, "the text at the end")
    same(_words(mapping(events[-1], "response")), deltas, "the text of the response")


@AREA.case(EVENTS)
async def deltas_say_where_they_belong(api: Api) -> None:
    """Each delta has the id of its item, its output index and its content index."""
    events = await _stream(api)
    item = filled(_named(events, "output_item.added")[-1], "item", "id")
    for event in _named(events, "output_text.delta"):
        same(at(event, "item_id"), item, "`item_id`")
        whole(event, "output_index")
        whole(event, "content_index")


@AREA.case(EVENTS)
async def a_streamed_call_adds_up(api: Api) -> None:
    """The deltas of a call's arguments add up to its JSON."""
    events = await _call_stream(api)
    deltas = _named(events, "function_call_arguments.delta")
    written = "".join(text(event, "delta") for event in deltas)
    text(parsed(written, "the arguments put together"), "city")
    done = _named(events, "function_call_arguments.done")[0]
    same(at(done, "arguments"), written, "the arguments at the end")


@AREA.case(EVENTS)
async def a_streamed_call_is_an_item(api: Api) -> None:
    """A streamed call opens an item with its `call_id` and name, and the response holds it."""
    events = await _call_stream(api)
    opened = [e["item"] for e in _named(events, "output_item.added")]
    calls = [item for item in opened if at(item, "type") == "function_call"]
    require(bool(calls), "no item is a `function_call`")
    same(at(calls[0], "name"), "get_weather", "`name`")
    held = _item(mapping(events[-1], "response"), "function_call")
    same(at(held, "call_id"), filled(calls[0], "call_id"), "`call_id`")


@AREA.case(EVENTS)
async def a_short_stream_is_incomplete(api: Api) -> None:
    """A stream that reached `max_output_tokens` ends with `response.incomplete`."""
    events = _events(await _ask(api, input=LONG, max_output_tokens=16, stream=True))
    same(at(events[-1], "type"), "response.incomplete", "the last event")
    reason = at(events[-1], "response", "incomplete_details", "reason")
    same(reason, "max_output_tokens", "the reason")


@AREA.case(spec("ErrorResponse"))
async def broken_json_is_refused(api: Api) -> None:
    """A body that is no JSON is refused with 400 and OpenAI's envelope."""
    error = (await api.post("responses", b'{"model": "')).refused(400)
    for name in ("message", "type", "param", "code"):
        at(error, name)


@AREA.case(CREATE)
async def input_of_another_type_is_refused(api: Api) -> None:
    """`input` that is a number is refused with 400."""
    filled((await _ask(api, input=7)).refused(400), "message")


@AREA.case(CREATE)
async def an_unknown_model_is_not_found(api: Api) -> None:
    """A model that nobody knows is refused with code `model_not_found`, streamed or not."""
    for members in ({}, {"stream": True}):
        answer = await _ask(api, model=UNKNOWN_MODEL, **members)
        same(at(answer.refused(400, 404), "code"), "model_not_found", "`error.code`")
