"""Anthropic itself, or a gateway in front of it."""

from .dialect_anthropic import AnthropicDialect


class Anthropic(AnthropicDialect):
    """Anthropic's Messages API."""

    kind = "anthropic"
    default_base_url = "https://api.anthropic.com/v1"
    key_variable = "ANTHROPIC_API_KEY"
