"""Completions of a prompt, the endpoint before chat."""

from typing import Any

from turnout.conformance.api import UNKNOWN_MODEL, Api
from turnout.conformance.case import Area, Skipped
from turnout.conformance.chat_stream import DONE, ChatStream
from turnout.conformance.exchange import Exchange
from turnout.conformance.look import array, at, filled, mapping, one_of, require, same, text, whole
from turnout.conformance.sources import reference, spec

AREA = Area("completions", "completions of a prompt, the older endpoint", "completions")

CREATE = reference("completions/create")
RESPONSE = spec("CreateCompletionResponse")
FINISHES = ("stop", "length", "content_filter")


async def _ask(api: Api, **members: Any) -> Exchange:
    base = {"model": api.target.model, "prompt": "Once upon a time", "max_tokens": 32}
    answer = await api.post("completions", {**base, **members})
    if answer.status == 404 and "model" not in members and "model" in answer.text:
        raise Skipped("the model does not complete prompts")
    return answer


async def _choice(api: Api) -> dict[str, Any]:
    return mapping((await _ask(api)).accepted(), "choices", 0)


@AREA.case(RESPONSE)
async def the_object_is_named(api: Api) -> None:
    """`object` is `text_completion`."""
    same(at((await _ask(api)).accepted(), "object"), "text_completion", "`object`")


@AREA.case(RESPONSE)
async def the_envelope_is_whole(api: Api) -> None:
    """`id` and `model` are strings, `created` is a whole number."""
    body = (await _ask(api)).accepted()
    filled(body, "id")
    filled(body, "model")
    whole(body, "created")


@AREA.case(RESPONSE)
async def a_choice_has_text(api: Api) -> None:
    """A choice has its text as a string, its index, and no message."""
    choice = await _choice(api)
    filled(choice, "text")
    same(whole(choice, "index"), 0, "`choices[0].index`")
    require("message" not in choice, "the choice has a `message`")


@AREA.case(RESPONSE)
async def the_finish_reason_is_known(api: Api) -> None:
    """`finish_reason` is one of those that the specification lists."""
    one_of(at(await _choice(api), "finish_reason"), FINISHES, "`choices[0].finish_reason`")


@AREA.case(RESPONSE)
async def a_short_limit_is_told(api: Api) -> None:
    """A completion that reached `max_tokens` has the finish reason `length`."""
    body = (await _ask(api, max_tokens=3, prompt="Count: one, two, three, four,")).accepted()
    same(at(body, "choices", 0, "finish_reason"), "length", "`choices[0].finish_reason`")


@AREA.case(spec("CompletionUsage"))
async def the_usage_adds_up(api: Api) -> None:
    """The total of the usage is the sum of its parts."""
    usage = mapping((await _ask(api)).accepted(), "usage")
    parts = whole(usage, "prompt_tokens") + whole(usage, "completion_tokens")
    same(whole(usage, "total_tokens"), parts, "`usage.total_tokens`")


@AREA.case(CREATE)
async def a_stream_has_text(api: Api) -> None:
    """A stream has chunks of `text_completion` with text, and ends with `[DONE]`."""
    stream = ChatStream(await _ask(api, stream=True))
    for chunk in stream.chunks:
        same(at(chunk, "object"), "text_completion", "`object` of a chunk")
    parts = [part for chunk in stream.chunks for part in array(chunk, "choices")]
    require("".join(text(part, "text") for part in parts) != "", "the stream has no text")
    same(stream.data[-1], DONE, "the last event")


@AREA.case(CREATE)
async def a_stream_finishes_once(api: Api) -> None:
    """A choice of a stream finishes once."""
    same(len(ChatStream(await _ask(api, stream=True)).finishes()), 1, "the number of finishes")


@AREA.case(spec("ChatCompletionStreamOptions"))
async def a_stream_has_usage_when_asked(api: Api) -> None:
    """With `include_usage` the last chunk has usage and no choices."""
    asked = await _ask(api, stream=True, stream_options={"include_usage": True})
    last = ChatStream(asked).chunks[-1]
    whole(last, "usage", "total_tokens")
    same(array(last, "choices"), [], "`choices` of the last chunk")


@AREA.case(RESPONSE)
async def an_unknown_model_is_not_found(api: Api) -> None:
    """A model that nobody knows is refused with 404, code `model_not_found`."""
    error = (await _ask(api, model=UNKNOWN_MODEL)).refused(404)
    same(at(error, "code"), "model_not_found", "`error.code`")


@AREA.case(CREATE)
async def a_prompt_of_another_type_is_refused(api: Api) -> None:
    """A prompt that is an object is refused with 400."""
    text((await _ask(api, prompt={"a": 1})).refused(400), "message")
