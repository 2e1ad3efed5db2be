"""LlamaIndex: both of its OpenAI classes, and embeddings."""

from functools import partial

import openai
from checks import EMBEDDING, HELLO, KEY, UNFINISHED, UNKNOWN, URL, WEATHER, check, raised, run
from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    people: int


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


def clients(model):
    yield OpenAI(model=model, api_base=URL, api_key=KEY)
    yield OpenAILike(
        model=model, api_base=URL, api_key=KEY, is_chat_model=True, is_function_calling_model=True
    )


@check
def chat(model):
    for client in clients(model):
        answer = client.chat([ChatMessage(role=MessageRole.USER, content=HELLO)])
        assert "hello" in answer.message.content
        assert answer.additional_kwargs["total_tokens"] > 0
        assert "hello" in client.complete(HELLO).text


@check
def stream(model):
    for client in clients(model):
        asked = [ChatMessage(role=MessageRole.USER, content=HELLO)]
        assert "hello" in "".join(part.delta for part in client.stream_chat(asked))


@check
def tools(model):
    for client in clients(model):
        tool = FunctionTool.from_defaults(get_weather)
        answer = client.predict_and_call([tool], WEATHER)
        assert "sunny in" in str(answer)


@check
def typed(model):
    for client in clients(model):
        assert isinstance(client.as_structured_llm(City).complete("Describe Paris").raw, City)


@check
def embeddings():
    vectors = OpenAIEmbedding(model=EMBEDDING, api_base=URL, api_key=KEY)
    one, two = vectors.get_text_embedding_batch(["hello", "a b c"])
    assert len(one) == len(two) == 1536
    assert one != two


@check
def names():
    raised(ValueError, lambda: OpenAI(model="auto", api_base=URL, api_key=KEY).complete(HELLO))
    other = OpenAILike(model="auto", api_base=URL, api_key=KEY, is_chat_model=True)
    assert "hello" in other.complete(HELLO).text


@check
def unfinished():
    for client in clients(UNFINISHED):
        error = raised(openai.APIError, partial(list, client.stream_complete(HELLO)))
        assert "ended early" in str(error)


@check
def unknown():
    client = OpenAILike(model=UNKNOWN, api_base=URL, api_key=KEY, is_chat_model=True)
    error = raised(openai.NotFoundError, lambda: client.complete(HELLO))
    assert error.code == "model_not_found"


run()
