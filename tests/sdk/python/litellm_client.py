"""litellm as a client: `openai/…` with `api_base`."""

import os

import litellm
from checks import EMBEDDING, HELLO, KEY, UNFINISHED, UNKNOWN, URL, WEATHER, check, raised, run

HERE = {"api_base": URL, "api_key": KEY}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
USER = [{"role": "user", "content": HELLO}]


@check
def chat(model):
    answer = litellm.completion(f"openai/{model}", USER, **HERE)
    assert "hello" in answer.choices[0].message.content
    assert answer.usage.total_tokens > 0


@check
def stream(model):
    chunks = list(litellm.completion(f"openai/{model}", USER, stream=True, **HERE))
    assert "hello" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@check
def tools(model):
    asked = [{"role": "user", "content": WEATHER}]
    first = litellm.completion(f"openai/{model}", asked, tools=[TOOL], **HERE)
    call = first.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    asked += [
        first.choices[0].message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    second = litellm.completion(f"openai/{model}", asked, tools=[TOOL], **HERE)
    assert "sunny" in second.choices[0].message.content


@check
def embeddings():
    answer = litellm.embedding(f"openai/{EMBEDDING}", ["hello"], **HERE)
    assert len(answer.data[0]["embedding"]) == 1536


@check
def variable():
    os.environ |= {"OPENAI_API_BASE": URL, "OPENAI_API_KEY": KEY}
    assert "hello" in litellm.completion("openai/gpt-4o", USER).choices[0].message.content


@check
def unfinished():
    def ask():
        list(litellm.completion(f"openai/{UNFINISHED}", USER, stream=True, **HERE))

    error = raised(litellm.exceptions.MidStreamFallbackError, ask)
    assert "ended early" in str(error)


@check
def unknown():
    error = raised(
        litellm.NotFoundError, lambda: litellm.completion(f"openai/{UNKNOWN}", USER, **HERE)
    )
    assert "does not" in str(error) or UNKNOWN in str(error)


run()
