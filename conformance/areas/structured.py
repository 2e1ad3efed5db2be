"""Answers in JSON: any object, or by a schema."""

import json
from typing import Any

from turnout.conformance.api import Api, user
from turnout.conformance.case import Area
from turnout.conformance.chat_stream import ChatStream
from turnout.conformance.exchange import Exchange
from turnout.conformance.look import array, at, mapping, one_of, parsed, same, text, whole
from turnout.conformance.sources import guide, spec

AREA = Area("structured", "answers in JSON, by a schema or not", "chat/completions")

GUIDE = guide("structured-outputs")
FORMAT = spec("ResponseFormatJsonSchema")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "role": {"type": "string", "enum": ["reader", "writer"]},
        "is_member": {"type": "boolean"},
        "address": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "zip": {"type": ["string", "null"]}},
            "required": ["city", "zip"],
            "additionalProperties": False,
        },
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age", "role", "is_member", "address", "tags"],
    "additionalProperties": False,
}
STRICT = {
    "type": "json_schema",
    "json_schema": {"name": "person", "strict": True, "schema": SCHEMA},
}
PERSON = [user("Describe Ada, 36, a writer and member from London with two tags.")]


async def _by_schema(api: Api, **members: Any) -> Exchange:
    return await api.chat(**{"messages": PERSON, "response_format": STRICT, **members})


async def _person(api: Api) -> dict[str, Any]:
    body = (await _by_schema(api)).accepted("response_format", "json_schema")
    return mapping(parsed(text(body, "choices", 0, "message", "content"), "the content"))


def _fits(person: dict[str, Any]) -> None:
    same(sorted(person), sorted(SCHEMA["required"]), "the members")
    text(person, "name")
    whole(person, "age")
    one_of(at(person, "role"), ("reader", "writer"), "`role`")
    one_of(at(person, "is_member"), (True, False), "`is_member`")


@AREA.case(spec("ResponseFormatJsonObject"))
async def json_object_is_an_object(api: Api) -> None:
    """With the format `json_object` the content is one JSON object and nothing around it."""
    asked = [user('Answer in JSON: {"greeting": a greeting}.')]
    answer = await api.chat(messages=asked, response_format={"type": "json_object"})
    body = answer.accepted("response_format", "json_object")
    mapping(parsed(text(body, "choices", 0, "message", "content"), "the content"))


@AREA.case(FORMAT, GUIDE)
async def a_schema_gives_json(api: Api) -> None:
    """With a strict schema the content is one JSON object, in a string."""
    await _person(api)


@AREA.case(GUIDE)
async def a_schema_gives_its_members(api: Api) -> None:
    """The object has all members of a strict schema and no others."""
    same(sorted(await _person(api)), sorted(SCHEMA["required"]), "the members")


@AREA.case(GUIDE)
async def a_schema_gives_its_types(api: Api) -> None:
    """Strings, whole numbers, booleans and enums are what the schema says."""
    _fits(await _person(api))


@AREA.case(GUIDE)
async def a_schema_may_nest(api: Api) -> None:
    """Objects and arrays within the object fit their schema, nullable members too."""
    person = await _person(api)
    address = mapping(person, "address")
    same(sorted(address), ["city", "zip"], "the members of `address`")
    text(address, "city")
    for tag in range(len(array(person, "tags"))):
        text(person, "tags", tag)


@AREA.case(GUIDE)
async def a_structured_answer_stops(api: Api) -> None:
    """A structured answer finishes with `stop`, and calls no tool that the client has not sent."""
    body = (await _by_schema(api)).accepted("response_format", "json_schema")
    choice = mapping(body, "choices", 0)
    same(at(choice, "finish_reason"), "stop", "`finish_reason`")
    same(mapping(choice, "message").get("tool_calls") or None, None, "`tool_calls`")


@AREA.case(GUIDE)
async def a_streamed_object_adds_up(api: Api) -> None:
    """The deltas of a streamed structured answer add up to an object that fits the schema."""
    stream = ChatStream(await _by_schema(api, stream=True), "response_format", "json_schema")
    _fits(mapping(parsed(stream.content(), "the content put together")))


@AREA.case(GUIDE)
async def a_streamed_object_stops(api: Api) -> None:
    """A streamed structured answer finishes with `stop`."""
    stream = ChatStream(await _by_schema(api, stream=True), "response_format", "json_schema")
    same(stream.finishes(), ["stop"], "the finish reasons")


@AREA.case(FORMAT)
async def a_schema_goes_with_a_system_message(api: Api) -> None:
    """A schema is kept to beside a system message."""
    system = {"role": "system", "content": "You describe people."}
    answer = await _by_schema(api, messages=[system, *PERSON])
    body = answer.accepted("response_format", "json_schema")
    _fits(mapping(json.loads(text(body, "choices", 0, "message", "content"))))
