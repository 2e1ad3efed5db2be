"""instructor: typed extraction, by a tool and by a JSON schema."""

import instructor
from checks import KEY, UNFINISHED, UNKNOWN, URL, check, raised, run
from instructor.core import InstructorRetryException
from openai import OpenAI
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    people: int


ASKED = [{"role": "user", "content": "Describe the city named 'Paris'"}]


def client(mode):
    return instructor.from_openai(OpenAI(base_url=URL, api_key=KEY, max_retries=0), mode=mode)


@check
def tools(model):
    city = client(instructor.Mode.TOOLS).create(
        model=model, messages=ASKED, response_model=City, max_retries=0
    )
    assert city.model_dump() == {"name": "Paris", "people": 1}
    assert city._raw_response.usage.total_tokens > 0


@check
def typed(model):
    city = client(instructor.Mode.JSON_SCHEMA).create(
        model=model, messages=ASKED, response_model=City, max_retries=0
    )
    assert city.model_dump() == {"name": "Paris", "people": 1}


@check
def stream(model):
    parts = client(instructor.Mode.TOOLS).create_partial(
        model=model, messages=ASKED, response_model=City, max_retries=0
    )
    assert list(parts)[-1].name == "Paris"


@check
def unfinished():
    def ask():
        parts = client(instructor.Mode.TOOLS).create_partial(
            model=UNFINISHED, messages=ASKED, response_model=City, max_retries=0
        )
        list(parts)

    assert "ended early" in str(raised(Exception, ask))


@check
def unknown():
    def ask():
        client(instructor.Mode.TOOLS).create(
            model=UNKNOWN, messages=ASKED, response_model=City, max_retries=0
        )

    assert "model_not_found" in str(raised(InstructorRetryException, ask))


run()
