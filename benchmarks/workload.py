"""The requests and the policy that soak and benchmark use."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import turnout.policies
from turnout.simulator.process import SimulatorProcess

from .load import Shot

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
PROVIDERS = ("openai", "anthropic", "groq")
_WORDS = (
    "switch track signal lever points siding freight gauge rail sleeper ballast junction platform "
    "timetable engine tender whistle depot crossing gradient tunnel viaduct guard driver coupling"
).split()


def policy(simulator: SimulatorProcess) -> str:
    """The first example policy, its providers being the simulated ones."""
    first = Path(turnout.policies.__file__).with_name("first.yml").read_text(encoding="utf-8")
    rows = [f"  {name}: {{base_url: {simulator.base_url(name)!r}}}" for name in PROVIDERS]
    return "\n".join([first, "providers:", *rows, ""])


def prose(words: int, dice: random.Random) -> str:
    """So many words, near enough a token each."""
    return " ".join(dice.choices(_WORDS, k=words))


def chat(prompt: str, *, stream: bool, max_tokens: int, model: str = "auto") -> bytes:
    """A chat body."""
    messages = [{"role": "user", "content": prompt}]
    body = {"model": model, "messages": messages, "max_tokens": max_tokens, "stream": stream}
    return json.dumps(body).encode()


def mixed(requests: int, seed: int) -> Iterator[Shot]:
    """Half streams, a tenth of all cut off by the client, one in twenty an embedding.

    Prompts of 20 to 900 words, so that every rule of the policy gets its share.
    """
    dice = random.Random(seed)
    for _ in range(requests):
        kind, leaves = dice.random(), dice.random() < 0.1
        prompt = prose(dice.choice((20, 60, 150, 400, 900)), dice)
        if kind < 0.05:
            body = json.dumps({"model": "text-embedding-3-small", "input": prompt}).encode()
            yield Shot(EMBEDDINGS, body, leave_after=dice.randrange(6) if leaves else None)
            continue
        stream = kind < 0.525
        length = dice.randint(5, 30)
        leave = dice.randrange(length if stream else 20) if leaves else None
        yield Shot(CHAT, chat(prompt, stream=stream, max_tokens=length), stream, leave)
