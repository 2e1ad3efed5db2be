"""What is refused, and the envelope that says so."""

# Over 300 lines because each thing that can be wrong with a request is a case of its own.

import json
from typing import Any

from turnout.conformance.api import ABSENT, UNKNOWN_MODEL, WRONG_KEY, Api, user
from turnout.conformance.case import Area, Skipped
from turnout.conformance.exchange import Exchange
from turnout.conformance.look import at, filled, require, same, shown, text
from turnout.conformance.sources import (
    RECORDED,
    guide,
    node_sdk,
    python_sdk,
    reference,
    rfc,
    spec,
)

AREA = Area("errors", "what is refused, and how that is told", "chat/completions")

ERROR = spec("ErrorResponse")
CODES = guide("error-codes")
REQUEST = spec("CreateChatCompletionRequest")
UNDECIDED = frozenset({400, 422})


def _told(answer: Exchange, *statuses: int) -> dict[str, Any]:
    """The error of a refusal. Cases of their own are about the rest of the envelope."""
    error = answer.refused(*statuses)
    filled(error, "message")
    return error


def _enveloped(answer: Exchange, *statuses: int) -> dict[str, Any]:
    """The error of a refusal that comes from outside an endpoint, its envelope whole."""
    error = _told(answer, *statuses)
    same(answer.media_type, "application/json", "the content type")
    text(error, "type")
    for name in ("param", "code"):
        value = at(error, name)
        require(value is None or isinstance(value, str), f"`error.{name}` is {shown(value)}")
    return error


async def _bad(api: Api) -> Exchange:
    return await api.chat(messages=ABSENT)


async def _raw(api: Api, body: bytes) -> Exchange:
    return await api.post("chat/completions", body)


@AREA.case(CODES)
async def broken_json_is_refused(api: Api) -> None:
    """A body that is no JSON is refused with 400."""
    _told(await _raw(api, b'{"model": "'), 400)


@AREA.case(CODES)
async def an_empty_body_is_refused(api: Api) -> None:
    """A body without a byte is refused with 400."""
    _told(await _raw(api, b""), 400)


@AREA.case(REQUEST)
async def an_array_as_body_is_refused(api: Api) -> None:
    """A body that is a JSON array is refused with 400."""
    _told(await _raw(api, b"[]"), 400)


@AREA.case(rfc(8259, "8.1"))
async def a_body_that_is_no_utf_8_is_refused(api: Api) -> None:
    """A body that is no UTF-8 is refused with 400."""
    body = json.dumps({"model": api.target.model, "messages": [user("X")]}).encode()
    _told(await _raw(api, body.replace(b'"X"', b'"\xff\xfe"')), 400)


@AREA.case(REQUEST, RECORDED)
async def missing_messages_are_refused(api: Api) -> None:
    """A body without `messages` is refused with 400, and `param` says which member is missing."""
    same(_told(await _bad(api), 400).get("param"), "messages", "`error.param`")


@AREA.case(RECORDED)
async def missing_messages_have_their_code(api: Api) -> None:
    """The code of a missing member is `missing_required_parameter`."""
    same(_told(await _bad(api), 400).get("code"), "missing_required_parameter", "`error.code`")


@AREA.case(RECORDED)
async def empty_messages_are_refused(api: Api) -> None:
    """An empty array of messages is refused with 400, code `empty_array`, param `messages`."""
    error = _told(await api.chat(messages=[]), 400)
    same((error.get("param"), error.get("code")), ("messages", "empty_array"), "`param` and `code`")


@AREA.case(REQUEST)
async def messages_of_another_type_are_refused(api: Api) -> None:
    """Messages that are no array are refused with 400, code `invalid_type`, param `messages`."""
    error = _told(await api.chat(messages="Say hello."), 400)
    same(
        (error.get("param"), error.get("code")), ("messages", "invalid_type"), "`param` and `code`"
    )


@AREA.case(spec("ChatCompletionRequestMessage"))
async def a_message_that_is_no_object_is_refused(api: Api) -> None:
    """A message that is no object is refused with 400."""
    _told(await api.chat(messages=["Say hello."]), 400)


@AREA.case(spec("ChatCompletionRequestMessage"))
async def a_message_without_a_role_is_refused(api: Api) -> None:
    """A message without a role is refused with 400, and `param` leads to it."""
    error = _told(await api.chat(messages=[{"content": "Say hello."}]), 400)
    param = error.get("param")
    require(str(param).startswith("messages"), f"`param` is {shown(param)}")


@AREA.case(spec("ChatCompletionRequestUserMessage"))
async def content_of_another_type_is_refused(api: Api) -> None:
    """Content that is a number is refused with 400."""
    _told(await api.chat(messages=[user(7)]), 400)


@AREA.case(REQUEST)
async def a_missing_model_is_refused(api: Api) -> None:
    """A body without `model` is refused with 400."""
    _told(await api.chat(model=ABSENT), 400)


@AREA.case(REQUEST)
async def a_model_of_another_type_is_refused(api: Api) -> None:
    """A model that is a number is refused with 400."""
    _told(await api.chat(model=7), 400)


@AREA.case(RECORDED)
async def an_unknown_model_is_not_found(api: Api) -> None:
    """A model that nobody knows is refused with 404, code `model_not_found`."""
    same(
        _told(await api.chat(model=UNKNOWN_MODEL), 404).get("code"),
        "model_not_found",
        "`error.code`",
    )


@AREA.case(RECORDED)
async def an_unknown_model_is_named(api: Api) -> None:
    """The message about a model that nobody knows names it."""
    message = _told(await api.chat(model=UNKNOWN_MODEL), 400, 404)["message"]
    require(UNKNOWN_MODEL in message, f"the message is {shown(message)}")


@AREA.case(python_sdk("_streaming.py"), RECORDED)
async def a_stream_is_refused_with_a_status(api: Api) -> None:
    """A stream of an unknown model is refused with a status and JSON, never by an event."""
    answer = await api.stream(model=UNKNOWN_MODEL)
    _told(answer, 400, 404)
    same(answer.media_type, "application/json", "the content type")


@AREA.case(python_sdk("_streaming.py"))
async def a_bad_stream_is_refused_with_a_status(api: Api) -> None:
    """A stream without messages is refused with 400 and JSON."""
    answer = await api.stream(messages=ABSENT)
    _told(answer, 400)
    same(answer.media_type, "application/json", "the content type")


@AREA.case(REQUEST)
async def too_hot_is_refused(api: Api) -> None:
    """A temperature of 3 is refused with 400, param `temperature`."""
    same(_told(await api.chat(temperature=3), 400).get("param"), "temperature", "`error.param`")


@AREA.case(REQUEST)
async def a_temperature_of_another_type_is_refused(api: Api) -> None:
    """A temperature that is a string is refused with 400, param `temperature`."""
    same(_told(await api.chat(temperature="hot"), 400).get("param"), "temperature", "`error.param`")


@AREA.case(REQUEST)
async def no_choices_are_refused(api: Api) -> None:
    """`n: 0` is refused with 400, param `n`."""
    same(_told(await api.chat(n=0), 400).get("param"), "n", "`error.param`")


@AREA.case(REQUEST)
async def too_many_choices_are_refused(api: Api) -> None:
    """`n: 129` is refused with 400, param `n`."""
    same(_told(await api.chat(n=129), 400).get("param"), "n", "`error.param`")


@AREA.case(RECORDED)
async def a_negative_limit_is_refused(api: Api) -> None:
    """A negative `max_completion_tokens` is refused with 400, and named."""
    error = _told(await api.chat(max_completion_tokens=-1), 400)
    same(error.get("param"), "max_completion_tokens", "`error.param`")


@AREA.case(REQUEST)
async def stream_of_another_type_is_refused(api: Api) -> None:
    """`stream` that is a string is refused with 400, param `stream`."""
    same(_told(await api.chat(stream="yes"), 400).get("param"), "stream", "`error.param`")


@AREA.case(REQUEST)
async def tools_of_another_type_are_refused(api: Api) -> None:
    """`tools` that is a string is refused with 400."""
    _told(await api.chat(tools="get_weather"), 400)


@AREA.case(REQUEST)
async def a_format_of_another_type_is_refused(api: Api) -> None:
    """`response_format` that is a string is refused with 400."""
    _told(await api.chat(response_format="json"), 400)


@AREA.case(REQUEST)
async def an_unknown_member_is_taken_or_named(api: Api) -> None:
    """A member that nobody knows is passed on or ignored, or refused with 400 that names it."""
    answer = await api.chat(nobody_knows_this=1)
    if answer.status != 200:
        error = _told(answer, *UNDECIDED)
        said = f"{error['message']} {error.get('param')}"
        require("nobody_knows_this" in said, f"the message is {shown(error['message'])}")


@AREA.case(ERROR)
async def the_envelope_has_four_members(api: Api) -> None:
    """An error has all of `message`, `type`, `param` and `code`, of which two may be null."""
    for answer in (await _bad(api), await api.chat(model=UNKNOWN_MODEL)):
        error = answer.refused(400, 404, 422)
        for name in ("message", "type", "param", "code"):
            at(error, name)


@AREA.case(ERROR)
async def the_message_is_text(api: Api) -> None:
    """`message` is a string that is not empty."""
    filled((await _bad(api)).refused(*UNDECIDED), "message")


@AREA.case(ERROR)
async def the_param_is_text_or_null(api: Api) -> None:
    """`param` is a string or null, never the word `None`."""
    param = at((await api.chat(model=UNKNOWN_MODEL)).refused(400, 404), "param")
    require(param is None or isinstance(param, str), f"`param` is {shown(param)}")
    require(param != "None", "`param` is the word None")


@AREA.case(ERROR)
async def the_code_is_text_or_null(api: Api) -> None:
    """`code` is a string or null, never a number: clients in Go cannot read one."""
    for answer in (await _bad(api), await api.chat(model=UNKNOWN_MODEL)):
        code = at(answer.refused(400, 404, 422), "code")
        require(code is None or isinstance(code, str), f"`code` is {shown(code)}")


@AREA.case(RECORDED)
async def the_type_is_invalid_request_error(api: Api) -> None:
    """The type of a request's own fault is `invalid_request_error`."""
    error = (await _bad(api)).refused(*UNDECIDED)
    same(at(error, "type"), "invalid_request_error", "`error.type`")


@AREA.case(node_sdk("core/error.ts"))
async def nothing_stands_beside_the_error(api: Api) -> None:
    """A refusal has `error` as an object, and neither `detail` nor `choices` beside it."""
    answer = await _bad(api)
    answer.refused(*UNDECIDED)
    for name in ("detail", "choices"):
        require(name not in answer.json, f"the body has `{name}`")


@AREA.case(ERROR)
async def an_error_is_json(api: Api) -> None:
    """A refusal has the content type `application/json`."""
    for answer in (await _bad(api), await api.chat(model=UNKNOWN_MODEL)):
        answer.refused(400, 404, 422)
        same(answer.media_type, "application/json", "the content type")


@AREA.case(reference("introduction"))
async def an_unknown_path_is_not_found(api: Api) -> None:
    """A path that there is not is refused with 404 and the envelope."""
    _enveloped(await api.send("GET", "no/such/path"), 404)


@AREA.case(rfc(9110, "15.5.6"))
async def a_wrong_method_is_refused(api: Api) -> None:
    """`DELETE` where only `POST` is taken is refused with 405 or 404 and the envelope."""
    _enveloped(await api.send("DELETE", "chat/completions"), 404, 405)


@AREA.case(rfc(9110, "15.5.16"))
async def another_content_type_is_refused(api: Api) -> None:
    """A body that is said to be plain text is refused with 415 or 400 and the envelope."""
    body = json.dumps({"model": api.target.model, "messages": [user("Say hello.")]}).encode()
    kind = {"content-type": "text/plain"}
    _enveloped(await api.post("chat/completions", body, headers=kind), 400, 415)


@AREA.case(rfc(9110, "9.3.2"))
async def head_has_no_body(api: Api) -> None:
    """`HEAD` is answered without a body, and is no failure of the server."""
    answer = await api.send("HEAD", "models")
    same(answer.body, b"", "the body")
    require(answer.status < 500, f"status {answer.status}")


@AREA.case(rfc(9110, "9.3.7"))
async def options_is_no_failure(api: Api) -> None:
    """`OPTIONS` is no failure of the server."""
    answer = await api.send("OPTIONS", "chat/completions")
    require(answer.status < 500, f"status {answer.status}")


@AREA.case(rfc(9112, "9.3"))
async def a_refusal_spoils_nothing(api: Api) -> None:
    """After a refusal the next request is answered."""
    await _raw(api, b'{"model": 7')
    (await api.chat(occasion=3)).accepted()


async def _with_key(api: Api, credentials: dict[str, str]) -> Exchange:
    """The answer to a request with other credentials, where the right ones are asked for."""
    body = {"model": api.target.model, "messages": [user("Say hello.")]}
    answer = await api.post("chat/completions", body, credentials=credentials)
    if answer.status == 200:
        raise Skipped("keys are not looked at here")
    return answer


@AREA.case(CODES)
async def a_wrong_key_is_refused(api: Api) -> None:
    """A wrong key is refused with 401, code `invalid_api_key`."""
    answer = await _with_key(api, {"authorization": f"Bearer {WRONG_KEY}"})
    same(_told(answer, 401).get("code"), "invalid_api_key", "`error.code`")


@AREA.case(CODES)
async def no_key_is_refused(api: Api) -> None:
    """A request without a key is refused with 401."""
    _told(await _with_key(api, {}), 401)


@AREA.case(CODES)
async def a_wrong_key_is_not_repeated(api: Api) -> None:
    """The refusal of a wrong key does not repeat it."""
    answer = await _with_key(api, {"authorization": f"Bearer {WRONG_KEY}"})
    _told(answer, 400, 401, 403)
    require(WRONG_KEY not in answer.text, "the key is in the answer")
