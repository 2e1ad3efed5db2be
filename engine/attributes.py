"""The attributes that a policy may read: ONE table. A new attribute is a row here and its reader.

Name, type, unit, when known, and the text of the reference page stand in the row; how the gateway
reads it for a live request stands in `decide.READERS`.
"""

from turnout.dsl.schema import Attribute, Parameter, Type

GENERATION = ("chat", "completions", "responses", "messages")
REQUEST_TYPES = (*GENERATION, "embeddings")

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
        "The sampling temperature that the request names; unknown if it names none.",
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
    Attribute("date", Type.DATE, "The calendar day in the policy's timezone.", True),
    Attribute(
        "header",
        Type.TEXT,
        'A request header, `header["x-team"]`; caller-controlled; unknown if absent.',
        parameter=Parameter.HEADER,
    ),
    Attribute(
        "p95",
        Type.DURATION,
        "The target's recent 95th percentile of latency.",
        parameter=Parameter.TARGET,
        live=True,
        minimum=0,
    ),
    Attribute(
        "p50",
        Type.DURATION,
        "The target's recent median latency.",
        parameter=Parameter.TARGET,
        live=True,
        minimum=0,
    ),
    Attribute(
        "error_rate",
        Type.PERCENT,
        "The target's recent share of failed attempts.",
        parameter=Parameter.TARGET,
        live=True,
        minimum=0,
        maximum=10_000,
    ),
    Attribute(
        "expected_output",
        Type.NUMBER,
        "Output tokens to expect of the target: the least of what the request allows and the "
        "target's recent median or declared prior. `cost` is computed from it.",
        parameter=Parameter.TARGET,
        minimum=0,
    ),
)

BY_NAME: dict[str, Attribute] = {attribute.name: attribute for attribute in ATTRIBUTES}
