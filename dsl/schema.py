"""What a policy may talk about: types, attributes, targets. Handed in from outside.

The language knows types and units; which attributes exist is `engine.attributes`' table, which
targets exist and what they cost is `engine.catalog`'s. A policy's own `attributes:`, `targets:`,
`providers:` and `models:` are laid over them by `check`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class Type(Enum):
    """The type of a value; the comment says what the Python value in a snapshot is.

    No floats anywhere: what has a fraction is an integer of a small unit.
    """

    BOOL = "bool"  # bool
    NUMBER = "number"  # int: tokens, messages
    DURATION = "duration"  # int, microseconds
    MONEY = "money"  # int, nano-USD
    RATE = "rate"  # int, nano-USD per million tokens
    PERCENT = "percent"  # int, of 10 000
    SCORE = "score"  # int, of 10 000 (`0.7` is 7000; temperatures reach 20 000)
    TIME = "time"  # int, minute of the day
    WEEKDAY = "weekday"  # int, Monday is 0
    DATE = "date"  # int, days since 1970-01-01
    TEXT = "text"  # str, open
    ENUM = "enum"  # str, of a declared domain


Value = bool | int | str

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Parameter(Enum):
    """What an attribute is asked with; the comment says how it is written and its snapshot key."""

    NONE = "none"  # `tokens`
    TARGET = "target"  # `p95("openai/gpt-4")`, `p95("openai/gpt-4", 5m)`: `p95(openai/gpt-4, 5m)`
    HEADER = "header"  # `header["x-team"]`: `header.x-team`
    META = "meta"  # `meta["project"]`: `meta.project`
    SALT = "salt"  # `bucket("canary")`: `bucket(canary)`
    LIST = "list"  # `similar_to("code_review")`: `similar_to(code_review)`
    PATTERN = "pattern"  # `matches("^fix")`: `matches(^fix)`
    BUDGET = "budget"  # `budget("team").left` of the attribute `budget.left`: `budget(team).left`


@dataclass(frozen=True, slots=True)
class Attribute:
    """One thing a condition may read.

    `minimum` and `maximum` are in the type's unit. `live` marks values of a target that change
    with traffic; they are unknown below enough samples unless the target declares a prior.
    `windowed`: a second argument may name the stretch of time. `fetched`: reading it costs a call,
    so it is read last. `untrusted`: the caller writes it. `too_late` says why a condition can never
    read it, where that is so. `hidden`: made by lowering, not for people to write.
    `classes`: the words of an enum that only says where another number lies, each from a least
    value on, rising; `class_of` is that number's name. Both are known, or neither is.
    """

    name: str
    type: Type
    doc: str
    always_known: bool = False
    domain: tuple[str, ...] | None = None
    parameter: Parameter = Parameter.NONE
    live: bool = False
    minimum: int | None = None
    maximum: int | None = None
    windowed: bool = False
    fetched: bool = False
    untrusted: bool = False
    too_late: str | None = None
    hidden: bool = False
    class_of: str | None = None
    classes: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a target's tokens cost. Rates in nano-USD per million tokens, `request` in nano-USD.

    `above`: (prompt tokens, tariff) steps in rising order; the last step that the prompt exceeds
    applies to the whole request.
    """

    input: int
    output: int
    cached: int | None = None
    cache_write: int | None = None
    request: int = 0
    above: tuple[tuple[int, "Tariff"], ...] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """Declared priors of a target, for a cold start. Microseconds and tokens."""

    p95_us: int | None = None
    ttft_us: int | None = None
    output: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A provider's model as a policy names it.

    `id` is the name as written (`groq/llama-3-8b`), `model` the provider's own name that goes
    upstream. `tariff` None: no price is known, and lint refuses the target. Windows in tokens,
    None where unknown. `abilities` holds only what is declared or catalogued. `strict`: whether
    parameters that it lacks refuse a request (None: as the policy says). `concurrency`: attempts
    under way at a time, of all workers together.
    """

    id: str
    provider: str
    model: str
    tariff: Tariff | None
    context_window: int | None = None
    max_output: int | None = None
    region: str | None = None
    expected: Expected = field(default_factory=Expected)
    abilities: Mapping[str, bool] = field(default_factory=dict)
    owner: str | None = None
    tags: tuple[str, ...] = ()
    strict: bool | None = None
    concurrency: int | None = None


class Catalog(Protocol):
    """The targets known without being declared."""

    def find(self, name: str) -> Target | None:
        """The target of a `provider/model` name, aliases and dated names included."""

    def close_to(self, name: str) -> str | None:
        """The known target most like a misspelt one, for a did-you-mean."""

    def requestable(self, providers: Iterable[str]) -> Mapping[str, Target]:
        """Client-facing model names of the built-in mapping, for these providers."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Attributes by name, the catalogue, and the providers that have an adapter.

    `providers` maps a provider's name to True where its targets are free of charge (ollama).
    `kinds` are the dialect kinds a provider of the policy's own may name.
    """

    attributes: Mapping[str, Attribute]
    catalog: Catalog
    providers: Mapping[str, bool]
    kinds: tuple[str, ...]
