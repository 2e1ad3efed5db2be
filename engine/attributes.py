"""The attributes that a policy may read: ONE table. A new attribute is a row here and its reader.

Name, type, unit, when known, and the text of the reference page stand in the row; how the gateway
reads it for a live request stands in `readers`.
Over 300 lines because it is a table with one row for each attribute.
"""

from turnout.dsl.schema import Attribute, Parameter, Type

GENERATION = ("chat", "completions", "responses", "messages")
REQUEST_TYPES = (*GENERATION, "embeddings")
# The classes of `complexity.score`, each from this score on.
COMPLEXITIES = ((0, "low"), (3_000, "medium"), (5_000, "high"))
LEVELS = tuple(level for _, level in COMPLEXITIES)
TASKS = (
    "chat",
    "classification",
    "code",
    "extraction",
    "math",
    "question",
    "summary",
    "translation",
    "writing",
)
LANGUAGES = (
    "ar",
    "bn",
    "cs",
    "da",
    "de",
    "el",
    "en",
    "es",
    "fa",
    "fi",
    "fr",
    "he",
    "hi",
    "hu",
    "id",
    "it",
    "ja",
    "ko",
    "nl",
    "no",
    "pl",
    "pt",
    "ro",
    "ru",
    "sv",
    "ta",
    "th",
    "tr",
    "uk",
    "ur",
    "vi",
    "zh",
)
BREAKER_STATES = ("closed", "half_open", "open")


def _of_time(name: str, what: str) -> Attribute:
    """A duration that a target is measured by: unknown below enough samples."""
    return Attribute(
        name,
        Type.DURATION,
        f"The target's recent {what}, of all workers, to within 1/64; a second argument names the "
        f'window, `{name}("openai/gpt-4", 5m)`.',
        parameter=Parameter.TARGET,
        live=True,
        minimum=0,
        windowed=True,
    )


def _of_budget(part: str, type_: Type, doc: str) -> Attribute:
    """A part of a budget: unknown where none applies to the caller, never 0."""
    return Attribute(
        f"budget.{part}",
        type_,
        doc + " Unknown where no such budget applies to the caller.",
        parameter=Parameter.BUDGET,
        minimum=None if part == "left" else 0,
    )


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(
        "request_type",
        Type.ENUM,
        "What is asked for. A rule that does not test it is about generation only.",
        always_known=True,
        domain=REQUEST_TYPES,
    ),
    Attribute(
        "tokens",
        Type.NUMBER,
        "Input tokens: messages, tools and images, counted with o200k_base for every target.",
        always_known=True,
        minimum=0,
    ),
    Attribute(
        "prompt_tokens",
        Type.NUMBER,
        "The same as `tokens`.",
        always_known=True,
        minimum=0,
    ),
    Attribute(
        "max_tokens",
        Type.NUMBER,
        "The output limit that the request names; unknown if it names none.",
        minimum=0,
    ),
    Attribute(
        "temperature",
        Type.SCORE,
        "The sampling temperature that the request names, 0 to 2; unknown if it names none.",
        minimum=0,
        maximum=20_000,
    ),
    Attribute("messages", Type.NUMBER, "How many messages there are.", True, minimum=0),
    Attribute("n", Type.NUMBER, "How many answers are asked for.", True, minimum=0),
    Attribute("model", Type.TEXT, "The model name that the client asked for.", True),
    Attribute("stream", Type.BOOL, "Whether the answer is streamed.", True),
    Attribute("has_tools", Type.BOOL, "Whether tools are offered to the model.", True),
    Attribute("has_images", Type.BOOL, "Whether a message holds an image.", True),
    Attribute("has_audio", Type.BOOL, "Whether a message holds audio.", True),
    Attribute("has_schema", Type.BOOL, "Whether a JSON answer is asked for.", True),
    Attribute("tier", Type.TEXT, "The caller's tier; `default` without one.", True),
    Attribute("tenant", Type.TEXT, "The caller's tenant; `default` without one.", True),
    Attribute("team", Type.TEXT, "The team of the caller's key; unknown without one."),
    Attribute("user", Type.TEXT, "The user of the caller's key; unknown without one."),
    Attribute(
        "time",
        Type.TIME,
        "The time of day in the policy's timezone.",
        always_known=True,
        minimum=0,
        maximum=1439,
    ),
    Attribute("weekday", Type.WEEKDAY, "The day of the week in the policy's timezone.", True),
    Attribute(
        "date",
        Type.DATE,
        "The calendar day in the policy's timezone.",
        True,
        minimum=0,
        maximum=2_932_896,  # 9999-12-31, the last day that can be written
    ),
    Attribute(
        "tenant.region",
        Type.TEXT,
        "The region of the caller's tenant, from `tenants:`; unknown without one.",
    ),
    Attribute("key", Type.TEXT, "The id of the caller's key; unknown without one."),
    Attribute(
        "provider",
        Type.TEXT,
        "The provider of what the client asked for; unknown where it left the choice to the "
        "policy (`model: auto`).",
    ),
    Attribute(
        "session",
        Type.TEXT,
        "The sha256 of the session: of the header `x-turnout-session`, else the body's "
        "`prompt_cache_key`, else its `user`, else the request's id.",
        always_known=True,
        untrusted=True,
    ),
    Attribute(
        "cached_tokens",
        Type.NUMBER,
        "Input tokens that the provider had in its cache.",
        minimum=0,
        too_late="it is known only after the answer",
    ),
    Attribute(
        "complexity",
        Type.ENUM,
        "How hard the request looks, from its words and shape alone (docs/complexity.md).",
        domain=LEVELS,
        class_of="complexity.score",
        classes=COMPLEXITIES,
    ),
    Attribute(
        "complexity.score",
        Type.SCORE,
        "The number that `complexity` is made of, 0 to 1.",
        minimum=0,
        maximum=10_000,
    ),
    Attribute(
        "task",
        Type.ENUM,
        "What kind of work is asked for, from the last user message.",
        domain=TASKS,
    ),
    Attribute(
        "language",
        Type.ENUM,
        "The language of the last user message, as its ISO 639-1 code; unknown where it cannot "
        "be told.",
        domain=LANGUAGES,
    ),
    Attribute(
        "header",
        Type.TEXT,
        'A request header, `header["x-team"]`; caller-controlled; unknown if absent.',
        parameter=Parameter.HEADER,
        untrusted=True,
    ),
    Attribute(
        "meta",
        Type.TEXT,
        'A tag of the request, `meta["project"]`: from the header `x-turnout-tags: k=v,…`, else '
        "the body's `metadata`; caller-controlled; unknown if absent.",
        parameter=Parameter.META,
        untrusted=True,
    ),
    Attribute(
        "contains_any",
        Type.BOOL,
        "Whether the last user message holds a text of the list, upper and lower case alike.",
        parameter=Parameter.LIST,
    ),
    Attribute(
        "matches",
        Type.BOOL,
        "Whether the pattern (RE2) is found anywhere in the last user message.",
        parameter=Parameter.PATTERN,
    ),
    Attribute(
        "similar_to",
        Type.SCORE,
        "How close the last user message comes to the closest text of the list, by the embeddings "
        "of `embed:`; unknown where the call fails or is late.",
        parameter=Parameter.LIST,
        minimum=0,
        maximum=10_000,
        fetched=True,
    ),
    Attribute(
        "bucket",
        Type.NUMBER,
        "A number of 0 to 9999 that a session keeps, other for each salt.",
        always_known=True,
        parameter=Parameter.SALT,
        minimum=0,
        maximum=9_999,
    ),
    Attribute(
        "bucket.user",
        Type.NUMBER,
        "Like `bucket`, kept by the user of the caller's key, or by the session without one.",
        always_known=True,
        parameter=Parameter.SALT,
        minimum=0,
        maximum=9_999,
    ),
    Attribute(
        "bucket.tenant",
        Type.NUMBER,
        "Like `bucket`, kept by the tenant.",
        always_known=True,
        parameter=Parameter.SALT,
        minimum=0,
        maximum=9_999,
    ),
    Attribute(
        "bucket.request",
        Type.NUMBER,
        "Like `bucket`, of this one request.",
        always_known=True,
        parameter=Parameter.SALT,
        minimum=0,
        maximum=9_999,
    ),
    _of_budget("left", Type.MONEY, "What is left of the caller's budget in this period."),
    _of_budget("used", Type.MONEY, "What the caller spent of its budget in this period."),
    _of_budget("limit", Type.MONEY, "What the caller may spend in a period."),
    _of_budget("resets_in", Type.DURATION, "How long this period of the budget still lasts."),
    _of_time("p50", "median latency"),
    _of_time("p90", "90th percentile of latency"),
    _of_time("p95", "95th percentile of latency"),
    _of_time("p99", "99th percentile of latency"),
    _of_time("ttft.p50", "median time to the first token"),
    _of_time("ttft.p95", "95th percentile of the time to the first token"),
    Attribute(
        "error_rate",
        Type.PERCENT,
        "The target's recent share of failed attempts, of all workers.",
        parameter=Parameter.TARGET,
        live=True,
        minimum=0,
        maximum=10_000,
        windowed=True,
    ),
    Attribute(
        "rate_limited",
        Type.BOOL,
        "Whether the target refused for its rate (429) and asked to wait until later than now.",
        always_known=True,
        parameter=Parameter.TARGET,
        live=True,
    ),
    Attribute(
        "healthy",
        Type.BOOL,
        "False while the target's breaker is open, or while its provider does not answer the free "
        "question whether it is there.",
        always_known=True,
        parameter=Parameter.TARGET,
        live=True,
    ),
    Attribute(
        "breaker",
        Type.ENUM,
        "The state of the target's circuit breaker, which all workers share: `breakers:`. While it "
        "is `open` no request waits for the target; `half_open`, one attempt tries it.",
        always_known=True,
        domain=BREAKER_STATES,
        parameter=Parameter.TARGET,
        live=True,
    ),
    Attribute(
        "inflight",
        Type.NUMBER,
        "Attempts at the target that are under way, of all workers, as of the last second or two.",
        always_known=True,
        parameter=Parameter.TARGET,
        live=True,
        minimum=0,
    ),
    Attribute(
        "expected_output",
        Type.NUMBER,
        "Output tokens to expect of the target: the least of what the request allows and the "
        "target's recent median or declared prior. `cost` is computed from it.",
        parameter=Parameter.TARGET,
        minimum=0,
    ),
    Attribute(
        "usable",
        Type.BOOL,
        "Whether the credential of the target's provider is there; absent means it is.",
        parameter=Parameter.TARGET,
        hidden=True,
    ),
    Attribute(
        "held",
        Type.BOOL,
        "Whether a comparison under `hold:` is latched.",
        parameter=Parameter.SALT,
        hidden=True,
    ),
)

BY_NAME: dict[str, Attribute] = {attribute.name: attribute for attribute in ATTRIBUTES}
