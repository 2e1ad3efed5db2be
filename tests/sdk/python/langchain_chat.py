"""LangChain: chat, a tool, a typed answer, embeddings; its own suite is `langchain_standard`."""

import openai
from checks import EMBEDDING, HELLO, KEY, UNFINISHED, UNKNOWN, URL, WEATHER, check, raised, run
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

PARIS = "Describe the city named 'Paris'"


class City(BaseModel):
    """A city."""

    name: str
    people: int


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


def client(model):
    # Beside a base URL, LangChain asks for a stream's usage only where it is told to.
    return ChatOpenAI(model=model, base_url=URL, api_key=KEY, stream_usage=True)


@check
def chat(model):
    answer = client(model).invoke(HELLO)
    assert "hello" in answer.content
    used = answer.usage_metadata
    assert used["input_tokens"] + used["output_tokens"] == used["total_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"


@check
def stream(model):
    whole = None
    for chunk in client(model).stream(HELLO):
        whole = chunk if whole is None else whole + chunk
    assert "hello" in whole.content
    assert whole.usage_metadata["output_tokens"] > 0


@check
def tools(model):
    bound = client(model).bind_tools([get_weather])
    asked = [HumanMessage(WEATHER)]
    call = bound.invoke(asked)
    assert [one["name"] for one in call.tool_calls] == ["get_weather"]
    result = get_weather.invoke(call.tool_calls[0])
    assert isinstance(result, ToolMessage)
    assert "sunny in" in bound.invoke([*asked, call, result]).content


@check
def typed(model):
    for method in ("json_schema", "function_calling"):
        city = client(model).with_structured_output(City, method=method).invoke(PARIS)
        assert city == City(name="Paris", people=1)


@check
def embeddings():
    vectors = OpenAIEmbeddings(model=EMBEDDING, base_url=URL, api_key=KEY)
    one, two = vectors.embed_documents(["hello", "a b c"])
    assert len(one) == len(two) == 1536
    assert one != two
    assert any(vectors.embed_query("hello"))


@check
def token_ids():  # what LangChain makes of a text, unless it is told not to count
    asked = {"model": "ollama/nomic-embed-text", "base_url": URL, "api_key": KEY}
    as_ids = OpenAIEmbeddings(**asked).embed_query("naïve, brown fox")
    as_text = OpenAIEmbeddings(**asked, check_embedding_ctx_length=False)
    assert as_ids == as_text.embed_query("naïve, brown fox")


@check
def unfinished():
    raised(openai.APIError, lambda: list(client(UNFINISHED).stream(HELLO)))


@check
def unknown():
    error = raised(openai.NotFoundError, lambda: client(UNKNOWN).invoke(HELLO))
    assert error.code == "model_not_found"


run()
