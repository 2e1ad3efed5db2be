"""Groq: the OpenAI wire, with usage and late errors also under `x_groq` (read by the dialect)."""

from .dialect_openai import OpenAIDialect


class Groq(OpenAIDialect):
    """Groq's OpenAI-compatible API."""

    kind = "groq"
    default_base_url = "https://api.groq.com/openai/v1"
    key_variable = "GROQ_API_KEY"
