"""LangChain's own standard tests for chat models and embeddings, against the gateway.

Run by pytest in the clients' environment. What is switched off says why.
"""

import base64
from typing import Any

import pytest
from checks import EMBEDDING, KEY, URL
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import (
    ChatModelIntegrationTests,
    EmbeddingsIntegrationTests,
    chat_models,
)

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Fetched:
    """What the suite would have fetched from elsewhere."""

    content = PIXEL


@pytest.fixture(autouse=True)
def nothing_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures come from here: the tests reach nothing but the gateway."""
    monkeypatch.setattr(chat_models.httpx, "get", lambda *_, **__: Fetched)


class Chat(ChatModelIntegrationTests):
    """What holds wherever the policy sends the model."""

    named: str

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.named, "base_url": URL, "api_key": KEY, "stream_usage": True}

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True


class TestSame(Chat):
    """To OpenAI."""

    named = "gpt-4o"

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "gpt-4"  # the policy sends it to the same target; the answer names what was asked


class TestOtherMaker(Chat):
    """To Groq, by a model that the catalogue knows not to see pictures."""

    named = "gpt-4.1"

    @property
    def supports_image_inputs(self) -> bool:
        return False

    @property
    def supports_json_mode(self) -> bool:
        return True


class TestOtherProtocol(Chat):
    """To Anthropic, which has schemas for answers but no JSON without one."""

    named = "gpt-4o-mini"


class TestEmbeddings(EmbeddingsIntegrationTests):
    """To OpenAI, as arrays of token ids."""

    @property
    def embeddings_class(self) -> type[OpenAIEmbeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": EMBEDDING, "base_url": URL, "api_key": KEY}
