"""Runs the checks of one client, and prints what came of each: `{"<check> <model>": null | why}`.

A client's file registers functions with `@check`. Each is run for each model of `MODELS`, or once
where it takes no model. No test framework: these files run in the clients' own environments.
"""

import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

URL = os.environ["TURNOUT_URL"] + "/v1"
KEY = "any key"
EMBEDDING = "text-embedding-3-small"
# Where the policy of the tests sends them: to OpenAI, to Groq, to Anthropic.
MODELS = ("gpt-4o", "gpt-4.1", "gpt-4o-mini")
UNKNOWN = "no-such-model"
UNFINISHED = "gpt-3.5-turbo"  # its streams end in the middle, as if they were complete
HELLO = "Say hello."
WEATHER = "Please call get_weather in Paris"

_checks: list[Callable[..., Any]] = []


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a check."""
    _checks.append(function)
    return function


def raised(kind: type[BaseException], call: Callable[[], Any]) -> Any:
    """Return the exception that a call raises; it must be of a kind."""
    try:
        value = call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}, but {value!r}")


def run() -> None:
    """Run them all and print what came of each."""
    told: dict[str, str | None] = {}
    for function in _checks:
        takes_model = bool(inspect.signature(function).parameters)
        for model in MODELS if takes_model else ("",):
            name = f"{function.__name__} {model}".strip()
            try:
                function(model) if takes_model else function()
            except Exception:
                told[name] = traceback.format_exc()
            else:
                told[name] = None
    json.dump(told, sys.stdout)
