"""How the providers of the OpenAI wire list their models, and where one page ends."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]

_CREATED = 1687882411


class Part(NamedTuple):
    """One page of names; `token` is where the next one begins, empty at the last."""

    names: Sequence[str]
    token: str


def part(names: Sequence[str], size: str, usual: int, token: str) -> Part:
    """The page that is asked for by its size and the place where it begins."""
    many = int(size) if size.isdecimal() and int(size) > 0 else usual
    start = int(token) if token.isdecimal() else 0
    end = start + min(many, 1000)
    return Part(names[start:end], str(end) if end < len(names) else "")


def listing(provider: str, names: Sequence[str]) -> object:
    """The list of a provider's models, in its own form."""
    items = [item(provider, name) for name in names]
    if provider == "together":
        return items
    if provider == "openrouter":
        return {"data": items}
    return {"object": "list", "data": items}


def item(provider: str, name: str) -> Json:
    """What a provider says of one model."""
    plain: Json = {"id": name, "object": "model", "created": _CREATED, "owned_by": provider}
    own = _OWN.get(provider)
    return plain if own is None else own(plain)


def about_key() -> Json:
    """What OpenRouter says of the key that it was asked with."""
    return {
        "data": {
            "label": "sk-or-v1-sim...ted",
            "limit": None,
            "limit_remaining": None,
            "usage": 0,
            "is_free_tier": False,
            "is_provisioning_key": False,
            "rate_limit": {"requests": -1, "interval": "10s", "note": "This field is deprecated."},
        }
    }


def _azure(plain: Json) -> Json:
    return {
        "id": plain["id"],
        "object": "model",
        "status": "succeeded",
        "created_at": _CREATED,
        "updated_at": _CREATED,
        "lifecycle_status": "generally-available",
        "deprecation": {"inference": 1_800_000_000},
        "capabilities": {
            "fine_tune": False,
            "inference": True,
            "completion": False,
            "chat_completion": not str(plain["id"]).startswith("text-embedding"),
            "embeddings": str(plain["id"]).startswith("text-embedding"),
        },
    }


def _deepseek(plain: Json) -> Json:
    return {"id": plain["id"], "object": "model", "owned_by": "deepseek"}


def _fireworks(plain: Json) -> Json:
    return plain | {
        "owned_by": "fireworks",
        "kind": "HF_BASE_MODEL",
        "supports_chat": True,
        "supports_image_input": False,
        "supports_tools": True,
        "context_length": 131_072,
    }


def _groq(plain: Json) -> Json:
    return plain | {
        "owned_by": "Meta",
        "active": True,
        "context_window": 131_072,
        "public_apps": None,
        "max_completion_tokens": 32_768,
    }


def _mistral(plain: Json) -> Json:
    return plain | {
        "owned_by": "mistralai",
        "name": plain["id"],
        "description": "Simulated.",
        "max_context_length": 131_072,
        "aliases": [],
        "deprecation": None,
        "default_model_temperature": 0.3,
        "type": "base",
        "capabilities": {
            "completion_chat": True,
            "completion_fim": False,
            "function_calling": True,
            "fine_tuning": False,
            "vision": False,
        },
    }


def _openrouter(plain: Json) -> Json:
    return {
        "id": plain["id"],
        "canonical_slug": plain["id"],
        "name": plain["id"],
        "created": _CREATED,
        "description": "Simulated.",
        "context_length": 128_000,
        "architecture": {
            "modality": "text->text",
            "input_modalities": ["text"],
            "output_modalities": ["text"],
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": {"prompt": "0.000003", "completion": "0.000015"},
        "top_provider": {"context_length": 128_000, "is_moderated": False},
        "supported_parameters": ["max_tokens", "temperature", "tools"],
    }


def _together(plain: Json) -> Json:
    return {
        "id": plain["id"],
        "object": "model",
        "created": _CREATED,
        "type": "chat",
        "running": False,
        "display_name": plain["id"],
        "organization": "Simulated",
        "link": "",
        "context_length": 131_072,
        "config": {"chat_template": None, "stop": [], "bos_token": None, "eos_token": None},
        "pricing": {"hourly": 0, "input": 0.88, "output": 0.88, "base": 0, "finetune": 0},
    }


def _vllm(plain: Json) -> Json:
    return plain | {
        "owned_by": "vllm",
        "root": plain["id"],
        "parent": None,
        "max_model_len": 32_768,
        "permission": [{"id": "modelperm-simulated", "object": "model_permission"}],
    }


_OWN: Mapping[str, Callable[[Json], Json]] = {
    "azure": _azure,
    "deepseek": _deepseek,
    "fireworks": _fireworks,
    "groq": _groq,
    "mistral": _mistral,
    "openrouter": _openrouter,
    "together": _together,
    "vllm": _vllm,
}
