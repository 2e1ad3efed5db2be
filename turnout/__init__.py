"""Turnout: a declarative policy engine that routes LLM traffic."""

__version__ = "0.1.0"
