"""docs/responses.md says of every parameter what becomes of it, and so does the translation."""

import re
from pathlib import Path

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from turnout.adapters import PROVIDERS
from turnout.engine.request import Operation
from turnout.protocols.responses import RESPONSES

PAGE = (Path(__file__).parents[2] / "docs" / "responses.md").read_text(encoding="utf-8")
ROWS = [
    row.split("|")[1:3] for row in PAGE.split("## What becomes of a")[1].split("\n") if "|" in row
]
PARAMETERS = sorted(ResponseCreateParamsBase.__annotations__)
WANTED = {"reasoning": {"mode": "pro"}, "text": {"verbosity": "low"}, "include": ["x"], "tools": []}


@pytest.mark.parametrize("name", [name for name in PARAMETERS if name not in ("model", "input")])
def test_what_the_page_says_of_a_parameter_is_what_becomes_of_it(name: str) -> None:
    (told,) = (told for members, told in ROWS if f"`{name}`" in members)
    assert RESPONSES.as_chat is not None
    asked = {"model": "m", "input": "hi", name: WANTED.get(name, "x" if "choice" in name else 7)}
    said = RESPONSES.as_chat(asked)
    assert (name in said.only) is told.strip().startswith("refused")
    assert (name in said.lost) is told.strip().startswith("dropped")
    assert (said.body.get(name) == asked[name]) is told.strip().startswith("the same")


def test_the_page_names_the_kinds_that_have_the_protocols() -> None:
    table = PAGE.split("*As it came*")[0]
    for name, kind in PROVIDERS.items():
        passes = kind.carries.native & {Operation.RESPONSES, Operation.COMPLETIONS}
        assert (f"`{name}`" in table) is bool(passes), name
    assert re.search(r"`(gpt-3\.5-turbo-instruct|davinci-002|babbage-002)`", table)
