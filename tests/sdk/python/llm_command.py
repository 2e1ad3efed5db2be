"""The `llm` command, with the models of an `extra-openai-models.yaml`."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import HELLO, KEY, MODELS, UNFINISHED, UNKNOWN, URL, check, run

HOME = Path(tempfile.mkdtemp())
COMMAND = Path(sys.executable).with_name("llm")
(HOME / "extra-openai-models.yaml").write_text(
    json.dumps(
        [
            {
                "model_id": f"turnout-{name}",
                "model_name": name,
                "api_base": URL,
                "supports_tools": True,
                "supports_schema": True,
            }
            for name in (*MODELS, UNKNOWN, UNFINISHED)
        ]
    )
)


def llm(*arguments, fails=False):
    environment = os.environ | {"LLM_USER_PATH": str(HOME), "OPENAI_API_KEY": KEY}
    done = subprocess.run(
        [COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stdout + done.stderr if fails or "--usage" in arguments else done.stdout


@check
def chat():  # the command takes a second to start: each check once
    told = llm("-m", f"turnout-{MODELS[2]}", "--no-stream", "--usage", HELLO)
    assert "hello" in told
    assert "Token usage" in told


@check
def stream():
    assert "hello" in llm("-m", f"turnout-{MODELS[2]}", HELLO)


@check
def tools():
    told = llm("-m", f"turnout-{MODELS[2]}", "-T", "llm_version", "Please call llm_version")
    assert "simulated answer" in told


@check
def typed():
    told = llm("-m", f"turnout-{MODELS[0]}", "--no-stream", "--schema", "name, people int", "Paris")
    assert set(json.loads(told)) == {"name", "people"}


@check
def unfinished():
    assert "ended early" in llm("-m", f"turnout-{UNFINISHED}", HELLO, fails=True)


@check
def unknown():
    assert "model_not_found" in llm("-m", f"turnout-{UNKNOWN}", HELLO, fails=True)


run()
