"""What `policy explain` is given and cannot use: refused in words, never guessed."""

from pathlib import Path

import pytest

from turnout.cli import policy

POLICY = """routing_policy:
  - {name: short, condition: "tokens < 100 and temperature < 1.5", route: groq/llama-3-8b}
  - {name: default, route: openai/gpt-4}
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "routing.yml"
    path.write_text(POLICY, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('{"max_tokens": ' + "9" * 5_000 + "}", "a number in it is too large"),
        ('{"temperature": NaN}', "`NaN` is no value"),
        ('{"temperature": -Infinity}', "`-Infinity` is no value"),
        ("[1]", "is not the body of a chat request"),
        ("{", "is not JSON (line 1, column 2)"),
        ("[" * 100_000, "is nested too deeply"),
        ("{}", "`messages` is missing"),
        ("null", "is not the body of a chat request"),
        ('{"messages": "hi"}', "`messages` must be an array of messages, not a string"),
        ('{"messages": []}', "`messages` is empty"),
        ('{"messages": ["hi"]}', "`messages[0]` must be an object, not a string"),
        ('{"messages": [{"role": 1}]}', "`messages[0].role` must be a string, not `1`"),
        ('{"messages": [{"role": "user", "content": 5}]}', "`messages[0].content` must be"),
        (
            '{"messages": [{"role": "user", "content": [7]}]}',
            "`messages[0].content[0]` must be an object",
        ),
        ('{"model": 5, "messages": [{"role": "user"}]}', "`model` must be a string, not `5`"),
        (
            '{"messages": [{"role": "user"}], "max_tokens": "many"}',
            "`max_tokens` must be a whole number that is not negative, not a string",
        ),
        ('{"messages": [{"role": "user"}], "tools": [1]}', "`tools` must be an array of objects"),
    ],
)
def test_a_body_that_is_no_request_is_an_input_error(
    written: Path, capsys: pytest.CaptureFixture[str], body: str, told: str
) -> None:
    request = written.with_name("body.json")
    request.write_text(body, encoding="utf-8")
    assert policy(["explain", str(written), "--request", str(request)]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["tokens=50", "tokens=60"], "`tokens` is given twice"),
        (["tokens=-5"], "`tokens` is never below 0"),
        (["tokens=1e3"], "unknown unit `e3`"),
        (["tokens=99999999999999999999"], "is too large"),
        (["tokens=5", "at=Mon 10:00 Tue"], "says the weekday twice"),
    ],
)
def test_a_value_that_cannot_be_meant_is_an_input_error(
    written: Path, capsys: pytest.CaptureFixture[str], given: list[str], told: str
) -> None:
    words = [word for value in given for word in ("--given", value)]
    assert policy(["explain", str(written), *words]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert not said.out
