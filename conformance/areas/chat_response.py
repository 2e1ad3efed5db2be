"""The body of a whole chat completion."""

from typing import Any

from turnout.conformance.api import Api, user
from turnout.conformance.case import Area
from turnout.conformance.look import (
    array,
    at,
    filled,
    mapping,
    one_of,
    require,
    same,
    shown,
    text,
    whole,
)
from turnout.conformance.sources import node_sdk, python_sdk, reference, rfc, spec

AREA = Area("response", "the body of a whole chat answer", "chat/completions")

OBJECT = reference("chat/object")
RESPONSE = spec("CreateChatCompletionResponse")
MESSAGE = spec("ChatCompletionResponseMessage")
USAGE = spec("CompletionUsage")
FINISHES = ("stop", "length", "tool_calls", "content_filter", "function_call")
LONG = [user("Write the numbers from one to sixty as English words, separated by commas.")]
STOPPED = [user("Repeat these words exactly and nothing else: alpha beta gamma delta")]


async def _plain(api: Api) -> dict[str, Any]:
    return mapping((await api.chat()).accepted())


async def _first(api: Api) -> dict[str, Any]:
    return mapping(await _plain(api), "choices", 0)


@AREA.case(OBJECT)
async def the_body_is_one_json_object(api: Api) -> None:
    """The body is one JSON object in UTF-8, with a content type that says so."""
    answer = await api.chat()
    mapping(answer.accepted())
    same(answer.media_type, "application/json", "the content type")


@AREA.case(rfc(8259, "8.1"))
async def the_body_has_no_byte_order_mark(api: Api) -> None:
    """No byte order mark stands before the JSON."""
    answer = await api.chat()
    answer.accepted()
    require(not answer.body.startswith(b"\xef\xbb\xbf"), "the body begins with a byte order mark")


@AREA.case(RESPONSE)
async def the_id_is_text(api: Api) -> None:
    """`id` is a string that is not empty."""
    filled(await _plain(api), "id")


@AREA.case(RESPONSE)
async def each_answer_has_an_id_of_its_own(api: Api) -> None:
    """Two answers have two ids."""
    other = (await api.chat(occasion=1)).accepted()
    require(text(await _plain(api), "id") != text(other, "id"), "two answers have the same id")


@AREA.case(RESPONSE)
async def the_object_is_named(api: Api) -> None:
    """`object` is `chat.completion`."""
    same(at(await _plain(api), "object"), "chat.completion", "`object`")


@AREA.case(RESPONSE)
async def created_is_in_seconds(api: Api) -> None:
    """`created` is a whole number of seconds since 1970."""
    created = whole(await _plain(api), "created")
    require(1_500_000_000 < created < 5_000_000_000, f"`created` is {created}")


@AREA.case(RESPONSE)
async def the_model_is_named(api: Api) -> None:
    """`model` is a string that is not empty."""
    filled(await _plain(api), "model")


@AREA.case(RESPONSE)
async def one_choice_comes_unasked(api: Api) -> None:
    """Without `n` there is one choice."""
    same(len(array(await _plain(api), "choices")), 1, "the number of choices")


@AREA.case(RESPONSE)
async def the_choice_has_its_index(api: Api) -> None:
    """The first choice has the index 0."""
    same(whole(await _first(api), "index"), 0, "`choices[0].index`")


@AREA.case(RESPONSE)
async def the_finish_reason_is_known(api: Api) -> None:
    """`finish_reason` is one of those that the specification lists, never a provider's own word."""
    one_of(at(await _first(api), "finish_reason"), FINISHES, "`choices[0].finish_reason`")


@AREA.case(RESPONSE)
async def a_plain_answer_stops(api: Api) -> None:
    """An answer that came to its end has the finish reason `stop`."""
    same(at(await _first(api), "finish_reason"), "stop", "`choices[0].finish_reason`")


@AREA.case(MESSAGE)
async def the_message_is_the_assistants(api: Api) -> None:
    """The role of the message is `assistant`."""
    same(at(await _first(api), "message", "role"), "assistant", "`choices[0].message.role`")


@AREA.case(MESSAGE)
async def the_content_is_text(api: Api) -> None:
    """The content of a plain answer is a string that is not empty, never an array of parts."""
    filled(await _first(api), "message", "content")


@AREA.case(MESSAGE)
async def the_content_is_whole_characters(api: Api) -> None:
    """No character of the content was broken on its way."""
    asked = [user("Repeat these words exactly and nothing else: Zürich 東京 🚂 café")]
    content = text((await api.chat(messages=asked)).accepted(), "choices", 0, "message", "content")
    broken = any("\ud800" <= letter <= "\udfff" or letter == "\ufffd" for letter in content)
    require(not broken, f"the content has broken characters: {shown(content)}")


@AREA.case(MESSAGE)
async def the_refusal_is_null(api: Api) -> None:
    """`refusal` of an answer that refuses nothing is null, or not there."""
    message = mapping(await _first(api), "message")
    same(message.get("refusal"), None, "`choices[0].message.refusal`")


@AREA.case(MESSAGE)
async def a_plain_answer_calls_no_tool(api: Api) -> None:
    """A message that calls no tool has no `tool_calls` and no `function_call`."""
    message = mapping(await _first(api), "message")
    for name in ("tool_calls", "function_call"):
        require(not message.get(name), f"`{name}` is {shown(message.get(name))}")


@AREA.case(RESPONSE)
async def logprobs_are_null_unasked(api: Api) -> None:
    """`logprobs` that nobody asked for are null, or not there."""
    same((await _first(api)).get("logprobs"), None, "`choices[0].logprobs`")


@AREA.case(USAGE)
async def the_usage_is_three_numbers(api: Api) -> None:
    """`usage` has the three counts as whole numbers."""
    body = await _plain(api)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        whole(body, "usage", name)


@AREA.case(USAGE)
async def details_of_the_usage_are_numbers(api: Api) -> None:
    """Details of the usage, where there are any, are whole numbers or null."""
    usage = mapping(await _plain(api), "usage")
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        for key, value in (usage.get(name) or {}).items():
            if value is not None:
                whole(usage, name, key)


@AREA.case(node_sdk("core/error.ts"), python_sdk("_streaming.py"))
async def a_success_has_no_error(api: Api) -> None:
    """An answer with status 200 has no `error`."""
    body = await _plain(api)
    require("error" not in body, f"`error` is {shown(body.get('error'))}")


@AREA.case(RESPONSE)
async def tier_and_fingerprint_are_text(api: Api) -> None:
    """`service_tier` and `system_fingerprint`, where they are there, are strings or null."""
    body = await _plain(api)
    for name in ("service_tier", "system_fingerprint"):
        if body.get(name) is not None:
            text(body, name)


@AREA.case(OBJECT)
async def a_short_limit_is_told(api: Api) -> None:
    """An answer that reached `max_completion_tokens` has the finish reason `length`."""
    body = (await api.chat(messages=LONG, max_completion_tokens=16)).accepted()
    same(at(body, "choices", 0, "finish_reason"), "length", "`choices[0].finish_reason`")


@AREA.case(OBJECT)
async def a_stop_sequence_ends_the_answer(api: Api) -> None:
    """An answer that met a stop sequence has the finish reason `stop`."""
    body = (await api.chat(messages=STOPPED, stop=["gamma"])).accepted("stop")
    same(at(body, "choices", 0, "finish_reason"), "stop", "`choices[0].finish_reason`")


@AREA.case(spec("StopConfiguration"))
async def a_stop_sequence_is_left_out(api: Api) -> None:
    """The stop sequence is not in the content."""
    body = (await api.chat(messages=STOPPED, stop=["gamma"])).accepted("stop")
    content = at(body, "choices", 0, "message", "content") or ""
    require("gamma" not in content, f"the content is {shown(content)}")


@AREA.case(RESPONSE)
async def n_choices_have_their_indices(api: Api) -> None:
    """With `n: 2` there are two choices, with the indices 0 and 1."""
    choices = array((await api.chat(n=2)).accepted("n"), "choices")
    same(sorted(whole(choice, "index") for choice in choices), [0, 1], "the indices")


@AREA.case(RESPONSE)
async def each_of_n_choices_is_whole(api: Api) -> None:
    """Each of two choices has its message and its finish reason."""
    for choice in array((await api.chat(n=2)).accepted("n"), "choices"):
        filled(choice, "message", "content")
        one_of(at(choice, "finish_reason"), FINISHES, "`finish_reason`")


@AREA.case(spec("ChatCompletionTokenLogprob"))
async def logprobs_come_when_asked(api: Api) -> None:
    """With `logprobs: true` each token has its text, its log probability and its bytes."""
    body = (await api.chat(logprobs=True)).accepted("logprobs")
    tokens = array(body, "choices", 0, "logprobs", "content")
    require(bool(tokens), "`choices[0].logprobs.content` is empty")
    for token in tokens:
        text(token, "token")
        value = at(token, "logprob")
        require(isinstance(value, int | float) and value <= 0.001, f"`logprob` is {shown(value)}")
        require(at(token, "bytes") is None or isinstance(token["bytes"], list), "`bytes` is odd")


@AREA.case(spec("ChatCompletionTokenLogprob"))
async def top_logprobs_are_as_many_as_asked(api: Api) -> None:
    """With `top_logprobs: 2` each token has at most two alternatives."""
    body = (await api.chat(logprobs=True, top_logprobs=2)).accepted("top_logprobs", "logprobs")
    for token in array(body, "choices", 0, "logprobs", "content"):
        alternatives = array(token, "top_logprobs")
        require(len(alternatives) <= 2, f"a token has {len(alternatives)} alternatives")
