"""Tool calls: forced, required, forbidden, streamed, and their results sent back.

Over 300 lines because a case is a function, and an area keeps its cases together.
"""

from typing import Any

from turnout.conformance.api import Api, user
from turnout.conformance.case import Area
from turnout.conformance.chat_stream import ChatStream
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
from turnout.conformance.sources import guide, node_sdk, python_sdk, reference, spec

AREA = Area("tools", "tool calls and their results", "chat/completions")

CALL = spec("ChatCompletionMessageToolCall")
FRAGMENT = spec("ChatCompletionMessageToolCallChunk")
CHOICE = spec("ChatCompletionToolChoiceOption")
CALLING = guide("function-calling")
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The name of the city."},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time now.",
        "parameters": {"type": "object", "properties": {}},
    },
}
FORCED = {"type": "function", "function": {"name": "get_weather"}}
ASKED = [user("What is the weather in Paris, in celsius?")]


def _called(id: str, city: str) -> dict[str, Any]:
    arguments = f'{{"city": "{city}", "unit": "celsius"}}'
    function = {"name": "get_weather", "arguments": arguments}
    return {"id": id, "type": "function", "function": function}


def _result(id: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


async def _ask(api: Api, **members: Any) -> Exchange:
    return await api.chat(**{"messages": ASKED, "tools": [WEATHER], **members})


async def _forced(api: Api) -> dict[str, Any]:
    return mapping((await _ask(api, tool_choice=FORCED)).accepted("tool_choice"), "choices", 0)


async def _call(api: Api) -> dict[str, Any]:
    return mapping(await _forced(api), "message", "tool_calls", 0)


async def _streamed(api: Api) -> ChatStream:
    return ChatStream(await _ask(api, tool_choice=FORCED, stream=True), "tool_choice")


@AREA.case(CHOICE)
async def a_forced_tool_is_called(api: Api) -> None:
    """The function that `tool_choice` names is called."""
    same(at(await _call(api), "function", "name"), "get_weather", "the name of the function")


@AREA.case(CALL)
async def a_call_has_an_id(api: Api) -> None:
    """A call has an `id` that is not empty, for its result to refer to."""
    filled(await _call(api), "id")


@AREA.case(CALL)
async def each_call_has_an_id_of_its_own(api: Api) -> None:
    """The calls of two answers have two ids."""
    again = (await _ask(api, tool_choice=FORCED, occasion=1)).accepted("tool_choice")
    other = text(again, "choices", 0, "message", "tool_calls", 0, "id")
    require(text(await _call(api), "id") != other, "two calls have the same id")


@AREA.case(CALL)
async def a_call_says_that_it_is_a_function(api: Api) -> None:
    """`type` of a call is `function`."""
    same(at(await _call(api), "type"), "function", "`type` of the call")


@AREA.case(CALL)
async def arguments_are_json_in_a_string(api: Api) -> None:
    """`arguments` is a string that holds one JSON object, never the object itself."""
    mapping(parsed(text(await _call(api), "function", "arguments"), "`arguments`"))


@AREA.case(CALL)
async def arguments_fit_the_parameters(api: Api) -> None:
    """A forced call has the arguments that its schema requires."""
    given = parsed(text(await _call(api), "function", "arguments"), "`arguments`")
    text(given, "city")
    one_of(at(given, "unit"), ("celsius", "fahrenheit"), "`unit`")


@AREA.case(spec("ChatCompletionResponseMessage"))
async def content_beside_a_call_is_text_or_null(api: Api) -> None:
    """`content` of a message that calls a tool is there, as null or a string."""
    content = at(await _forced(api), "message", "content")
    require(content is None or isinstance(content, str), f"`content` is {shown(content)}")


@AREA.case(reference("chat/object"), CALLING)
async def a_forced_call_finishes(api: Api) -> None:
    """The finish reason of a forced call is `tool_calls`, or `stop` as OpenAI has it there."""
    one_of(at(await _forced(api), "finish_reason"), ("tool_calls", "stop"), "`finish_reason`")


@AREA.case(CHOICE)
async def required_calls_a_tool(api: Api) -> None:
    """With `tool_choice: required` some tool is called."""
    body = (await _ask(api, tool_choice="required")).accepted("tool_choice")
    require(bool(array(body, "choices", 0, "message", "tool_calls")), "`tool_calls` is empty")


@AREA.case(reference("chat/object"))
async def a_call_finishes_with_tool_calls(api: Api) -> None:
    """The finish reason of a required call is `tool_calls`."""
    body = (await _ask(api, tool_choice="required")).accepted("tool_choice")
    same(at(body, "choices", 0, "finish_reason"), "tool_calls", "`choices[0].finish_reason`")


@AREA.case(CHOICE)
async def none_calls_no_tool(api: Api) -> None:
    """With `tool_choice: none` no tool is called."""
    body = (await _ask(api, tool_choice="none")).accepted("tool_choice")
    require(not at(body, "choices", 0, "message").get("tool_calls"), "a tool is called")


@AREA.case(CHOICE)
async def auto_is_taken(api: Api) -> None:
    """`tool_choice: auto`, the default, is taken."""
    (await _ask(api, tool_choice="auto")).accepted("tool_choice")


@AREA.case(CHOICE)
async def the_forced_one_of_two_is_called(api: Api) -> None:
    """Of two tools the one that `tool_choice` names is called."""
    both = [CLOCK, WEATHER]
    body = (await _ask(api, tools=both, tool_choice=FORCED)).accepted("tool_choice")
    name = at(body, "choices", 0, "message", "tool_calls", 0, "function", "name")
    same(name, "get_weather", "the name of the function")


@AREA.case(spec("ParallelToolCalls"))
async def parallel_calls_can_be_turned_off(api: Api) -> None:
    """With `parallel_tool_calls: false` one tool is called at most."""
    answer = await _ask(api, tool_choice="required", parallel_tool_calls=False)
    calls = array(answer.accepted("parallel_tool_calls"), "choices", 0, "message", "tool_calls")
    same(len(calls), 1, "the number of calls")


@AREA.case(spec("FunctionObject"))
async def a_strict_tool_is_taken(api: Api) -> None:
    """A function may be `strict`; its arguments then fit the schema."""
    strict = {"type": "function", "function": WEATHER["function"] | {"strict": True}}  # type: ignore[operator]
    body = (await _ask(api, tools=[strict], tool_choice=FORCED)).accepted("strict")
    call = mapping(body, "choices", 0, "message", "tool_calls", 0)
    given = parsed(text(call, "function", "arguments"), "`arguments`")
    same(sorted(mapping(given)), ["city", "unit"], "the names of the arguments")


@AREA.case(spec("FunctionParameters"))
async def a_function_may_have_no_parameters(api: Api) -> None:
    """A function without `parameters` is called with an empty object, written `{}`."""
    bare = {"type": "function", "function": {"name": "get_time"}}
    forced = {"type": "function", "function": {"name": "get_time"}}
    body = (await _ask(api, tools=[bare], tool_choice=forced)).accepted("tool_choice")
    call = mapping(body, "choices", 0, "message", "tool_calls", 0)
    mapping(parsed(text(call, "function", "arguments"), "`arguments`"))


@AREA.case(CALLING)
async def a_result_is_taken(api: Api) -> None:
    """A call with `content: null` and its result are taken, and answered."""
    called = {"role": "assistant", "content": None, "tool_calls": [_called("call_1", "Paris")]}
    history = [*ASKED, called, _result("call_1", '{"celsius": 21}')]
    body = (await _ask(api, messages=history)).accepted()
    filled(body, "choices", 0, "finish_reason")


@AREA.case(CALLING)
async def content_may_be_left_out_beside_a_call(api: Api) -> None:
    """An assistant's message with `tool_calls` needs no `content`."""
    called = {"role": "assistant", "tool_calls": [_called("call_1", "Paris")]}
    (await _ask(api, messages=[*ASKED, called, _result("call_1", "21")])).accepted()


@AREA.case(spec("ChatCompletionRequestToolMessage"))
async def a_result_may_be_parts(api: Api) -> None:
    """The result of a tool may be an array of text parts."""
    called = {"role": "assistant", "content": None, "tool_calls": [_called("call_1", "Paris")]}
    result = _result("call_1", [{"type": "text", "text": "21 degrees"}])
    (await _ask(api, messages=[*ASKED, called, result])).accepted()


@AREA.case(CALLING)
async def results_of_parallel_calls_are_taken(api: Api) -> None:
    """Two calls of one message and their two results are taken."""
    calls = [_called("call_1", "Paris"), _called("call_2", "Rome")]
    called = {"role": "assistant", "content": None, "tool_calls": calls}
    history = [*ASKED, called, _result("call_1", "21"), _result("call_2", "25")]
    (await _ask(api, messages=history)).accepted()


@AREA.case(CALLING)
async def a_conversation_goes_on_after_a_result(api: Api) -> None:
    """After a result and its answer the conversation goes on."""
    called = {"role": "assistant", "content": None, "tool_calls": [_called("call_1", "Paris")]}
    said = {"role": "assistant", "content": "It is 21 degrees."}
    history = [*ASKED, called, _result("call_1", "21"), said, user("Thank you.")]
    (await _ask(api, messages=history)).accepted()


@AREA.case(FRAGMENT, python_sdk("lib/streaming/chat/_completions.py"))
async def each_fragment_has_its_index(api: Api) -> None:
    """Each fragment of a streamed call has its `index`; clients put them together by it."""
    for fragment in (await _streamed(api)).calls():
        whole(fragment, "index")


@AREA.case(FRAGMENT)
async def indices_count_from_zero(api: Api) -> None:
    """The indices of a message's calls count from 0, whatever else the message holds."""
    indices = sorted({whole(fragment, "index") for fragment in (await _streamed(api)).calls()})
    same(indices, list(range(len(indices))), "the indices")


@AREA.case(FRAGMENT)
async def the_first_fragment_says_what_is_called(api: Api) -> None:
    """The first fragment of a call has its id, its type and the function's name."""
    first = (await _streamed(api)).calls()[0]
    filled(first, "id")
    same(at(first, "type"), "function", "`type` of the first fragment")
    same(at(first, "function", "name"), "get_weather", "the name of the function")


@AREA.case(FRAGMENT, node_sdk("lib/ChatCompletionStream.ts"))
async def id_and_name_come_once(api: Api) -> None:
    """Later fragments repeat neither id nor name: clients that add them up would double them."""
    fragments = (await _streamed(api)).calls()
    firsts = {whole(fragment, "index") for fragment in fragments}
    ids = [fragment["id"] for fragment in fragments if fragment.get("id")]
    names = [f["function"]["name"] for f in fragments if (f.get("function") or {}).get("name")]
    same(len(ids), len(firsts), "the number of ids")
    same(len(names), len(firsts), "the number of names")


@AREA.case(FRAGMENT)
async def fragments_add_up_to_json(api: Api) -> None:
    """The arguments of all fragments of a call are one JSON object, in order."""
    pieces = [
        text(fragment, "function", "arguments")
        for fragment in (await _streamed(api)).calls()
        if whole(fragment, "index") == 0 and (fragment.get("function") or {}).get("arguments")
    ]
    given = parsed("".join(pieces), "the arguments put together")
    text(given, "city")


@AREA.case(spec("CreateChatCompletionStreamResponse"))
async def a_streamed_call_finishes(api: Api) -> None:
    """A streamed call finishes once, with `tool_calls`, or `stop` where it was forced."""
    finishes = (await _streamed(api)).finishes()
    same(len(finishes), 1, "the number of finish reasons")
    one_of(finishes[0], ("tool_calls", "stop"), "the finish reason")


@AREA.case(reference("chat/streaming"))
async def a_streamed_required_call_finishes_with_tool_calls(api: Api) -> None:
    """A streamed call that was required finishes with `tool_calls`."""
    stream = ChatStream(await _ask(api, tool_choice="required", stream=True), "tool_choice")
    same(stream.finishes(), ["tool_calls"], "the finish reasons")


@AREA.case(reference("chat/streaming"))
async def a_streamed_call_has_one_role(api: Api) -> None:
    """The role comes once, with the first delta, where a tool is called too."""
    deltas = (await _streamed(api)).deltas()
    roles = [delta["role"] for delta in deltas if delta.get("role")]
    same(roles, ["assistant"], "the roles")
    same(deltas[0].get("role"), "assistant", "the role of the first delta")
