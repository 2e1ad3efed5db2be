"""What people write who know other tools and languages, and what it is here: tables, no code.

Whoever meets an unknown word asks its table before it looks for a misspelling. Words are compared
in lower case. What people write for a key of the file stands with the keys (`vocabulary`), what
they write for a unit with the units (`units`).
"""

from collections.abc import Mapping

NOTHING = frozenset({"null", "none", "nil", "undefined", "nan"})
"""What stands for a missing value elsewhere: here it is unknown, and `known(x)` asks."""

LEADING = frozenset({"if", "when", "where", "condition", "rule"})
"""What stands in front of a condition elsewhere."""

ALWAYS = frozenset({"else", "default", "always", "otherwise", "any", "all", "everything"})
"""What people write as the condition of a rule for the rest."""

# what people write between two values -> the operator
OPERATORS: Mapping[str, str] = {
    "and": "and",
    "but": "and",
    "if": "and",
    "when": "and",
    "where": "and",
    "or": "or",
    "unless": "and not",
    "not": "not",
    "in": "in",
    "is in": "in",
    "one of": "in",
    "is one of": "in",
    "not one of": "not in",
    "is not in": "not in",
    "isn": "!=",  # of `isn't`
    "isnt": "!=",
    "xor": "(a or b) and not (a and b)",
    "is": "==",
    "is not": "!=",
    "eq": "==",
    "equal": "==",
    "equals": "==",
    "equal to": "==",
    "is equal to": "==",
    "ne": "!=",
    "neq": "!=",
    "not equal": "!=",
    "not equals": "!=",
    "not equal to": "!=",
    "is not equal to": "!=",
    "lt": "<",
    "below": "<",
    "under": "<",
    "less than": "<",
    "is less than": "<",
    "is below": "<",
    "is under": "<",
    "before": "<",
    "gt": ">",
    "above": ">",
    "over": ">",
    "exceeds": ">",
    "more than": ">",
    "greater than": ">",
    "is more than": ">",
    "is greater than": ">",
    "is above": ">",
    "is over": ">",
    "le": "<=",
    "lte": "<=",
    "at most": "<=",
    "is at most": "<=",
    "ge": ">=",
    "gte": ">=",
    "at least": ">=",
    "is at least": ">=",
    "after": ">=",
    "since": ">=",
    "has": "has",
    "contains": "has",
    "includes": "has",
    "startswith": "starts_with",
    "starts with": "starts_with",
    "begins with": "starts_with",
    "endswith": "ends_with",
    "ends with": "ends_with",
    "match": "matches",
    "regex": "matches",
    "like": "matches",
    "ilike": "matches",
    "rlike": "matches",
    "between": "in lo..hi",
    "mod": "a range of `bucket(…)`",
}

# what people write behind a value -> the condition; `{}` is the value
TESTS: Mapping[str, str] = {
    **{f"is {word}": "not known({})" for word in (*NOTHING, "missing", "unknown", "empty")},
    **{f"is not {word}": "known({})" for word in (*NOTHING, "missing", "unknown", "empty")},
    "isnull": "not known({})",
    "notnull": "known({})",
    **dict.fromkeys(("exists", "is set", "is known", "is defined", "is present"), "known({})"),
    **dict.fromkeys(("is not set", "is not known", "is not defined"), "not known({})"),
    "is true": "{} == true",
    "is not true": "{} == false",
    "is false": "{} == false",
    "is not false": "{} == true",
}

LONGEST = max(phrase.count(" ") + 1 for phrase in (*OPERATORS, *TESTS))
"""How many words the longest phrase of these tables has."""

_FOR_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "tokens": (
        "token_count", "tokens_count", "num_tokens", "n_tokens", "total_tokens", "input_tokens",
        "prompt_length", "context_length", "input_length", "length", "size",
    ),
    "max_tokens": (
        "output_tokens", "completion_tokens", "max_output", "max_output_tokens",
        "max_completion_tokens",
    ),
    "messages": ("num_messages", "message_count", "messages_count", "turns", "history"),
    "model": ("model_name", "model_id", "requested_model", "engine"),
    "stream": ("streaming", "streamed", "is_stream", "is_streaming"),
    "has_tools": ("tools", "tool_calls", "tool_choice", "functions", "has_functions", "function"),
    "has_images": ("images", "image", "vision", "has_image", "has_vision", "multimodal"),
    "has_audio": ("audio", "voice"),
    "has_schema": ("json", "json_mode", "has_json", "response_format", "structured_output"),
    "request_type": ("type", "kind", "endpoint", "path", "operation", "method", "request"),
    "tier": ("plan", "subscription", "user_tier", "customer_tier", "tenant.tier", "user.tier"),
    "tenant": (
        "customer", "customer_id", "org", "org_id", "organization", "account", "tenant_id",
    ),
    "team": ("group", "department", "team_id", "team_name"),
    "user": ("user_id", "username", "end_user", "user.id", "email"),
    "key": ("api_key", "apikey", "key_id", "api_key_id"),
    "tenant.region": ("country", "geo", "location", "user_region", "user.region"),
    "session": ("session_id", "conversation", "conversation_id", "thread_id"),
    "time": ("hour", "hours", "hour_of_day", "time_of_day", "minute", "now", "clock", "local_time"),
    "weekday": ("day", "day_of_week", "dow", "dayofweek", "weekend", "is_weekend"),
    "date": ("today", "month", "year", "day_of_month", "current_date"),
    "language": ("lang", "locale"),
    "complexity": ("difficulty",),
    "task": ("intent", "category", "topic", "use_case"),
    "latency": (
        "duration", "latency_ms", "latency_s", "response_time", "elapsed", "avg_latency",
    ),
    "p50": ("median", "median_latency", "p50_latency", "latency_p50"),
    "p95": ("p95_latency", "latency_p95", "p95_ms"),
    "p99": ("p99_latency", "latency_p99", "p99_ms"),
    "ttft.p95": ("time_to_first_token",),
    "cost": ("price", "cost_usd", "estimated_cost", "expected_cost", "spend"),
    "error_rate": ("errors", "failure_rate", "failures", "errorrate", "success_rate"),
    "healthy": ("health", "is_healthy", "available", "is_available", "up"),
    "breaker": ("circuit", "circuit_breaker", "circuit_state"),
    "inflight": ("in_flight", "concurrency", "active_requests", "queue", "load"),
    'header["x-team"]': ("headers",),
    'meta["project"]': ("metadata", "tag"),
    'matches("…")': ("prompt", "content", "text", "message", "body", "input", "last_message"),
    'bucket("canary")': ("random", "rand", "percentage", "hash"),
    'budget("team").left': ("budget_left", "remaining_budget", "budget_remaining", "balance"),
}  # fmt: skip
ATTRIBUTES: Mapping[str, str] = {
    word: attribute for attribute, words in _FOR_ATTRIBUTES.items() for word in words
}
"""What people write for an attribute, with how that one is written."""

# what people write as a function -> what to do instead
FUNCTIONS: Mapping[str, str] = {
    **dict.fromkeys(LEADING, "remove `{}`"),
    **dict.fromkeys(
        ("exists", "isset", "defined", "is_set", "has_value", "isnotnull", "notnull"),
        "write `known(…)`",
    ),
    **dict.fromkeys(("isnull", "is_null", "missing", "empty", "isempty"), "write `not known(…)`"),
    **dict.fromkeys(("coalesce", "ifnull", "nvl", "default", "get", "or_else"), "write `x ?? y`"),
    **dict.fromkeys(
        ("len", "length", "count", "size", "count_tokens", "tokens_count"),
        "`tokens` and `messages` are counts already",
    ),
    **dict.fromkeys(
        ("contains", "includes", "has", "regex", "regexp", "re_match", "match", "search"),
        'write `x has "…"` or `x matches "…"`',
    ),
    "startswith": 'write `x starts_with "…"`',
    "endswith": 'write `x ends_with "…"`',
    **dict.fromkeys(("any", "any_of", "or", "either"), "write `a or b`"),
    **dict.fromkeys(("all", "all_of", "and", "both"), "write `a and b`"),
    "between": "write `x in lo..hi`",
    **dict.fromkeys(("now", "hour", "current_time"), "write `time in 09:00..18:00`"),
    **dict.fromkeys(("today", "date", "current_date"), "write `date >= 2026-10-01`"),
    **dict.fromkeys(("weekday", "day", "dayofweek"), "write `weekday in Mon..Fri`"),
    **dict.fromkeys(("random", "rand", "sample", "percent"), 'write `bucket("canary") < 500`'),
    **dict.fromkeys(("lower", "upper", "trim", "strip"), "text is compared as it is: remove it"),
    **dict.fromkeys(
        ("round", "int", "float", "str", "bool", "abs", "ceil", "floor"),
        "values have their types already: remove it",
    ),
    **dict.fromkeys(("avg", "mean", "median"), 'write `p50("openai/gpt-4")`'),
}

# what people write as the `kind` of a provider -> the dialect it speaks, where it is no kind
KINDS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "vllm", "lmstudio", "llamacpp", "llamacppserver", "localai", "litellm", "tgi",
            "sglang", "openrouter", "together", "fireworks", "deepseek", "mistral", "xai", "azure",
            "perplexity", "openaicompatible", "openailike", "openaicompat", "compatible", "custom",
            "generic", "http", "chatgpt", "gpt", "proxy", "gateway", "portkey", "nim", "nvidia",
            "cerebras", "jan", "textgenerationwebui",
        ),
        "openai",
    ),
    "claude": "anthropic",
    **dict.fromkeys(("google", "googleai", "googlegemini", "googleaistudio"), "gemini"),
    **dict.fromkeys(("aws", "awsbedrock", "amazonbedrock", "amazon"), "bedrock"),
    "azureopenai": "azure",
    "azureoai": "azure",
    "togetherai": "together",
    "fireworksai": "fireworks",
    "mistralai": "mistral",
    "grok": "xai",
}  # fmt: skip
"""Compared without signs and spaces: `LM-Studio` is `lmstudio`."""

# what people write as a route -> the form of a route
FORMS: Mapping[str, str] = {
    **dict.fromkeys(("deny", "block", "refuse", "drop", "forbid", "error", "abort"), "reject"),
    **dict.fromkeys(("cheapest", "lowest_cost", "least_cost", "cost"), "cheapest_of"),
    **dict.fromkeys(("fastest", "lowest_latency", "least_latency", "latency"), "fastest_of"),
    **dict.fromkeys(("first", "first_available", "any", "priority", "failover"), "first_of"),
    **dict.fromkeys(("weighted", "ab", "canary", "random", "round_robin"), "split"),
}
