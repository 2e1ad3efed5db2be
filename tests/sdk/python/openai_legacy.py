"""openai 0.28, which has `openai.api_base`."""

import os
import subprocess
import sys

import openai
from checks import EMBEDDING, HELLO, KEY, UNFINISHED, UNKNOWN, URL, WEATHER, check, raised, run

openai.api_base = URL
openai.api_key = KEY
USER = [{"role": "user", "content": HELLO}]
FUNCTION = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@check
def chat(model):
    answer = openai.ChatCompletion.create(model=model, messages=USER)
    assert "hello" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    usage = answer["usage"]
    assert usage.prompt_tokens + usage.completion_tokens == usage.total_tokens > 0


@check
def stream(model):
    chunks = list(openai.ChatCompletion.create(model=model, messages=USER, stream=True))
    assert "hello" in "".join(c.choices[0].delta.get("content") or "" for c in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert "usage" not in chunks[-1]  # nobody asked


@check
def tools(model):
    asked = [{"role": "user", "content": WEATHER}]
    wanted = [{"type": "function", "function": FUNCTION}]
    answer = openai.ChatCompletion.create(model=model, messages=asked, tools=wanted)
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    asked += [
        answer.choices[0].message.to_dict_recursive(),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    answer = openai.ChatCompletion.create(model=model, messages=asked, tools=wanted)
    assert "sunny" in answer.choices[0].message.content


@check
def completion(model):
    answer = openai.Completion.create(model=model, prompt=HELLO, max_tokens=50)
    assert answer.object == "text_completion"
    assert "hello" in answer.choices[0].text


@check
def embeddings():
    one = openai.Embedding.create(model=EMBEDDING, input="hello")
    assert len(one.data[0].embedding) == 1536


@check
def models():
    assert openai.Model.retrieve("openai/gpt-4o").id == "openai/gpt-4o"


@check
def variable():
    command = [sys.executable, "-c", "import openai; print(openai.api_base)"]
    told = subprocess.run(command, env={**os.environ, "OPENAI_API_BASE": URL}, capture_output=True)
    assert told.stdout.decode().strip() == URL


@check
def unfinished():
    asked = {"model": UNFINISHED, "messages": USER, "stream": True}
    raised(openai.error.APIError, lambda: list(openai.ChatCompletion.create(**asked)))


@check
def unknown():
    error = raised(
        openai.error.InvalidRequestError,
        lambda: openai.ChatCompletion.create(model=UNKNOWN, messages=USER),
    )
    assert error.http_status == 404
    assert error.code == "model_not_found"


run()
