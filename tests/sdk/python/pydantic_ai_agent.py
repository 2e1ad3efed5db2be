"""pydantic-ai: an agent with a tool and a typed result."""

import os

from checks import HELLO, KEY, UNFINISHED, UNKNOWN, URL, check, raised, run
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class City(BaseModel):
    """A city."""

    name: str
    people: int


def named(model, kind=OpenAIChatModel):
    return kind(model, provider=OpenAIProvider(base_url=URL, api_key=KEY))


@check
def chat(model):
    answer = Agent(named(model)).run_sync(HELLO)
    assert "hello" in answer.output
    used = answer.usage if not callable(answer.usage) else answer.usage()
    assert used.input_tokens > 0 and used.output_tokens > 0


@check
def stream(model):
    told = Agent(named(model)).run_stream_sync(HELLO)
    assert "hello" in "".join(told.stream_text(delta=True))


@check
def tools(model):
    agent = Agent(named(model))
    asked = []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Tell the weather of a city."""
        asked.append(city)
        return f"sunny in {city}"

    answer = agent.run_sync("Please call get_weather in Paris")
    assert asked == ["Paris"]
    assert "sunny in Paris" in answer.output


@check
def typed(model):
    answer = Agent(named(model), output_type=City).run_sync("Describe Paris")
    assert isinstance(answer.output, City)


@check
def responses(model):
    answer = Agent(named(model, OpenAIResponsesModel)).run_sync(HELLO)
    assert "hello" in answer.output


@check
def variable():
    os.environ |= {"OPENAI_BASE_URL": URL, "OPENAI_API_KEY": KEY}
    assert "hello" in Agent(OpenAIChatModel("gpt-4o")).run_sync(HELLO).output


@check
def unfinished():
    def ask():
        list(Agent(named(UNFINISHED)).run_stream_sync(HELLO).stream_text(delta=True))

    assert "ended early" in str(raised(Exception, ask))


@check
def unknown():
    error = raised(ModelHTTPError, lambda: Agent(named(UNKNOWN)).run_sync(HELLO))
    assert error.status_code == 404
    assert error.body["code"] == "model_not_found"


run()
