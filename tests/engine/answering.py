"""What the tests of shared answers keep, and processes that keep it: `answering.py MODE FOLDER …`.

`fill FOLDER SEED`: puts answers until it is killed. `claim FOLDER NUMBER`: takes a claim, says so,
and keeps it. `make FOLDER KEYS`: for each key in turn, makes the answer where the claim is its own
and waits for it where not; prints the numbers that it made. `raise FOLDER TIMES`: raises numbers.
"""

import random
import sys
import time
from hashlib import sha256
from pathlib import Path

from turnout.engine.cached import CachedAnswer, CacheError, Key
from turnout.engine.request import Usage
from turnout.engine.state.answers import SqliteAnswers
from turnout.engine.state.generations import SharedGenerations

MOST_BYTES = 8_000_000
FOREVER_US = 1 << 60
KEYS = 60  # that fillers put again and again


def a_key(number: object, tenant: str = "acme") -> Key:
    return Key(tenant, sha256(f"{tenant} {number}".encode()).digest())


def a_body(key: Key, seed: int) -> bytes:
    """Of 40 bytes to 30 KB; tells whose it is from its first byte to its last."""
    chance = random.Random(key.digest + seed.to_bytes(4))
    words = [chance.randbytes(4).hex() for _ in range(50)]
    length = chance.choice([4, 100, 1000, 4000])
    text = " ".join(chance.choice(words) for _ in range(length)).encode()
    return (
        b"%s %04d %s" % (key.digest.hex().encode(), seed, sha256(text).hexdigest().encode()) + text
    )


def is_of(key: Key, body: bytes) -> bool:
    """Whether a body was put under this key, and is whole."""
    seed = int(body[65:69])
    return body == a_body(key, seed)


def an_answer(
    body: bytes,
    *,
    stored_us: int = 1_000_000,
    target: str = "openai/gpt-4o",
    model: str = "gpt-4o",
    rule: str | None = None,
    tags: tuple[str, ...] = (),
    cost: int = 70,
) -> CachedAnswer:
    return CachedAnswer(
        body=body,
        native=False,
        target=target,
        model=model,
        rule=rule,
        tags=tags,
        usage=Usage(10, 20),
        cost_nano_usd=cost,
        dropped=(),
        stored_us=stored_us,
    )


def _fill(folder: Path, seed: int) -> None:
    answers, numbers = SqliteAnswers(folder, MOST_BYTES), SharedGenerations(folder / "run")
    chance = random.Random(seed)
    print("began", flush=True)
    while True:
        key = a_key(chance.randrange(KEYS))
        body = a_body(key, chance.randrange(1000))
        try:
            answers.put(key, an_answer(body), FOREVER_US, numbers.of("acme"))
        except CacheError:
            time.sleep(0.001)


def _claim(folder: Path, number: int) -> None:
    answers = SqliteAnswers(folder, MOST_BYTES)
    print(answers.get_or_claim(a_key(number), 0), flush=True)
    time.sleep(600)


def _make(folder: Path, keys: int) -> None:
    answers, numbers = SqliteAnswers(folder, MOST_BYTES), SharedGenerations(folder / "run")
    for number in range(keys):
        key = a_key(number)
        while (found := answers.get_or_claim(key, 0)) is False:
            time.sleep(0.000_2)
        if found is True:
            print(number)
            answers.put(key, an_answer(a_body(key, 0)), FOREVER_US, numbers.of("acme"))


def _raise(folder: Path, times: int) -> None:
    numbers = SharedGenerations(folder / "run")
    for _ in range(times):
        numbers.raise_("acme")


if __name__ == "__main__":
    mode, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    {"fill": _fill, "claim": _claim, "make": _make, "raise": _raise}[mode](folder, count)
