"""What only the client's own protocol has is seen by the policy all the same, and counted."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from turnout.engine import tokens
from turnout.engine.readers import READERS
from turnout.engine.request import Caller, Request
from turnout.protocols.client import ClientProtocol
from turnout.protocols.completions import COMPLETIONS
from turnout.protocols.messages import MESSAGES
from turnout.protocols.responses import RESPONSES
from turnout.server.body import read
from turnout.server.chat import CHAT

LONG = "word " * 1000


def request_of(protocol: ClientProtocol, body: dict[str, Any]) -> Request:
    said, raw, native = read(orjson.dumps(body), protocol)
    return Request(
        "req_1", protocol.operation, said, raw, "auto", False, Caller(), {}, 0, 0, native
    )


def message(*content: Any, **members: Any) -> Request:
    turns = [{"role": "user", "content": [{"type": "text", "text": "hi"}, *content]}]
    return request_of(MESSAGES, {"model": "auto", "max_tokens": 9, "messages": turns, **members})


def response(*items: Any, **members: Any) -> Request:
    turn = {"role": "user", "content": "hi"}
    return request_of(RESPONSES, {"model": "auto", "input": [turn, *items], **members})


def value(request: Request, name: str) -> Any:
    seen: Any = SimpleNamespace(request=request, reasons={})
    return READERS[name](seen, name)


def has(request: Request, name: str) -> bool:
    return value(request, name) is True


def after_a_call(content: Any) -> list[Any]:
    return [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n"}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": content}],
        },
    ]


FILE_IMAGE = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
SHOT = {"type": "computer_screenshot", "image_url": "https://img.example/a.png"}


@pytest.mark.parametrize(
    "request_",
    [
        message(FILE_IMAGE),
        message(messages=after_a_call([FILE_IMAGE])),
        message({"type": "document", "source": {"type": "content", "content": [FILE_IMAGE]}}),
        response({"type": "computer_call_output", "call_id": "c", "output": SHOT}),
        response(
            {
                "type": "custom_tool_call_output",
                "call_id": "c",
                "output": [{"type": "input_image", "image_url": "https://img.example/a.png"}],
            }
        ),
        response(prompt={"id": "p", "variables": {"a": {"type": "input_image", "file_id": "f"}}}),
    ],
    ids=["block", "result", "document", "screenshot", "output", "variable"],
)
def test_an_image_is_seen_wherever_it_is(request_: Request) -> None:
    assert has(request_, "has_images")
    assert request_.native is not None and request_.native.only


@pytest.mark.parametrize(
    "request_",
    [
        message(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        message(mcp_servers=[{"type": "url", "url": "https://mcp.example", "name": "m"}]),
        response(tools=[{"type": "web_search"}]),
    ],
    ids=["server-tool", "server", "web-search"],
)
def test_a_tool_that_the_provider_runs_is_a_tool(request_: Request) -> None:
    assert has(request_, "has_tools")
    assert request_.native is not None and request_.native.only


SEARCHED = {
    "type": "search_result",
    "source": "s",
    "title": "t",
    "content": [{"type": "text", "text": LONG}],
}


@pytest.mark.parametrize(
    "request_",
    [
        message(SEARCHED),
        message(messages=after_a_call([SEARCHED])),
        message(
            messages=[
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "web_fetch_tool_result", "tool_use_id": "t", "content": LONG}
                    ],
                },
            ]
        ),
        message({"type": "document", "source": {"type": "odd", "content": LONG}}),
        message({"type": "new_kind", "text": LONG}),
        response({"type": "custom_tool_call_output", "call_id": "c", "output": LONG}),
        response(
            {
                "type": "custom_tool_call_output",
                "call_id": "c",
                "output": [{"type": "input_text", "text": LONG}],
            }
        ),
        response({"type": "shell_call_output", "call_id": "c", "output": [{"stdout": LONG}]}),
        response({"type": "new_kind", "text": LONG}),
        response(prompt={"id": "p", "variables": {"a": LONG}}),
        request_of(COMPLETIONS, {"model": "auto", "prompt": "a", "suffix": LONG}),
    ],
    ids=[
        "search-result",
        "searched-by-a-tool",
        "server-result",
        "document",
        "new-block",
        "custom-output",
        "custom-parts",
        "shell-output",
        "new-item",
        "variable",
        "suffix",
    ],
)
def test_what_nobody_else_can_read_is_counted(request_: Request) -> None:
    assert request_.native is not None and request_.native.only
    low, high = tokens.bounds(request_)
    assert low <= tokens.count(request_) <= high
    assert tokens.count(request_) >= 1000


def test_the_same_conversation_has_as_many_tokens_in_each_protocol() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    url = "https://img.example/a.png"
    talk = request_of(
        CHAT,
        {
            "model": "auto",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look at it"},
                        {"type": "image_url", "image_url": {"url": url}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": "Well",
                    "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": "rain"},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "weather", "description": "d", "parameters": schema},
                }
            ],
        },
    )
    said = request_of(
        MESSAGES,
        {
            "model": "auto",
            "max_tokens": 5,
            "system": "Be brief.",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look at it"},
                        {"type": "image", "source": {"type": "url", "url": url}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Well"},
                        {
                            "type": "tool_use",
                            "id": "c",
                            "name": "weather",
                            "input": {"city": "Oslo"},
                        },
                    ],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "c", "content": "rain"}],
                },
            ],
            "tools": [{"name": "weather", "description": "d", "input_schema": schema}],
        },
    )
    responded = request_of(
        RESPONSES,
        {
            "model": "auto",
            "instructions": "Be brief.",
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Look at it"},
                        {"type": "input_image", "image_url": url},
                    ],
                },
                {"role": "assistant", "content": [{"type": "output_text", "text": "Well"}]},
                {
                    "type": "function_call",
                    "call_id": "c",
                    "name": "weather",
                    "arguments": '{"city":"Oslo"}',
                },
                {"type": "function_call_output", "call_id": "c", "output": "rain"},
            ],
            "tools": [
                {"type": "function", "name": "weather", "description": "d", "parameters": schema}
            ],
        },
    )
    assert tokens.count(talk) == tokens.count(said) == tokens.count(responded)
    for name in ("has_images", "has_tools", "messages"):
        values = [value(one, name) for one in (talk, said, responded)]
        assert values[0] == values[1] == values[2]
