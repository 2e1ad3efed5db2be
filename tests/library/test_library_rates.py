"""The rates of tenants hold in process too, and what is refused uses up nothing of them."""

from pathlib import Path

import pytest

from turnout import Gateway
from turnout.library.completion import CompletionError

POLICY = (
    "tenants: {default: {rpm: 3, tpm: 100}}\n"
    "routing_policy:\n  - {name: all, route: openai/gpt-4o}\n"
)


async def test_a_request_over_the_rate_is_told_when_to_come_back(tmp_path: Path) -> None:
    file = tmp_path / "routing.yml"
    file.write_text(POLICY)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 200}
    async with Gateway.open(file, {"OPENAI_API_KEY": "unused"}, tmp_path / "home") as gateway:
        for _ in range(5):  # nothing was sent, so nothing was used up
            with pytest.raises(CompletionError, match="100 tokens a minute") as caught:
                await gateway.complete(body)
            assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
        for _ in range(5):
            with pytest.raises(CompletionError) as caught:
                await gateway.embeddings({"model": "nobody/knows", "input": "a"})
            assert caught.value.code == "model_not_found"
