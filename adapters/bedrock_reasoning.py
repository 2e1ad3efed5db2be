"""What a model on Bedrock is asked beside the wire that all share: by its maker, how to think.

Converse carries what makers call differently in `additionalModelRequestFields`, and refuses a
request with a field that the model does not know. So a parameter whose name is not known for a
model's maker is left out and named.
"""

import re
from collections.abc import Mapping
from typing import Any

from turnout.engine.provider import Call

Json = dict[str, Any]

_MAKER = re.compile(r"(?:^|[./])(anthropic|amazon|cohere|mistral|openai)\.")
# Models of Claude that think by a budget of tokens; the later ones by an effort.
_BUDGETED = re.compile(r"claude-(3-7|(sonnet|opus|haiku)-4-(5|1|0|20\d{6}))")
_THOUGHTLESS = re.compile(r"claude-(v2|instant|3-(?!7)|(sonnet|opus|haiku)-?3)")
# As many tokens of thinking as Anthropic's own OpenAI endpoint and the SDKs take for the words.
_BUDGETS = {"low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_NOVA_EFFORTS = ("low", "medium", "high")


def maker(model: str) -> str | None:
    """Who made the model of an id, a profile's (`us.…`) or an ARN; None where it does not say."""
    found = _MAKER.search(model)
    return found[1] if found else None


def verifies_thinking(model: str) -> bool:
    """Whether a model takes thinking back; of an ARN that names none it is not known, and tried."""
    return maker(model) in ("anthropic", "amazon", None)


def additional(body: Mapping[str, Any], call: Call) -> tuple[Json, Json]:
    """The additional fields, and what goes into `outputConfig`, for `top_k` and thinking.

    Adds to `call.dropped`. A temperature beside thinking is the model's to refuse.
    """
    made_by = maker(call.upstream_model)
    fields: Json = {}
    output: Json = {}
    if (top_k := body.get("top_k")) is not None:
        if made_by in ("anthropic", "mistral"):
            fields["top_k"] = top_k
        elif made_by == "cohere":
            fields["k"] = top_k
        elif made_by == "amazon":
            fields["inferenceConfig"] = {"topK": top_k}
        else:
            call.dropped.append("top_k")
    thinking, effort = body.get("thinking"), body.get("reasoning_effort")
    if thinking is not None:
        if made_by == "anthropic" and _can_think(body):
            fields["thinking"] = thinking
        else:
            call.dropped.append("thinking")
    if effort is not None and effort != "none":
        asked = _effort(effort, made_by, body, call)
        if asked is None:
            if not ("thinking" in fields and _is_said_by_thinking(call)):
                call.dropped.append("reasoning_effort")
        else:
            fields |= asked[0]
            output |= asked[1]
    return fields, output


def _is_said_by_thinking(call: Call) -> bool:
    """Whether the effort only says once more what the client's `thinking` says."""
    native = call.request.native
    return native is not None and native.named.get("reasoning_effort") == "thinking"


def _effort(
    effort: object, made_by: str | None, body: Mapping[str, Any], call: Call
) -> tuple[Json, Json] | None:
    """What asks this model for an effort: additional fields and output config; None: nothing."""
    model = call.upstream_model
    if not isinstance(effort, str):
        return None
    if made_by == "openai":
        return {"reasoning_effort": effort}, {}
    effort = "low" if effort == "minimal" else effort
    if made_by == "amazon" and "nova-2" in model and effort in _NOVA_EFFORTS:
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}, {}
    if made_by != "anthropic" or effort not in _EFFORTS or _THOUGHTLESS.search(model):
        return None
    if body.get("thinking") is not None:
        # The object says how; the effort bounds it where the model knows of efforts.
        return None if _BUDGETED.search(model) else ({}, {"effort": effort})
    if not _can_think(body) or body.get("temperature") not in (None, 1):
        return None
    if not _BUDGETED.search(model):
        return {"thinking": {"type": "adaptive"}}, {"effort": effort}
    asked = body.get("max_completion_tokens", body.get("max_tokens"))
    limits = [limit for limit in (asked, call.max_output) if isinstance(limit, int)]
    budget = _BUDGETS[effort]
    if limits and min(limits) <= budget:
        # The budget is part of the limit, and Claude refuses one that leaves nothing to say.
        budget = min(limits) // 2
    return (
        ({"thinking": {"type": "enabled", "budget_tokens": budget}}, {}) if budget >= 1024 else None
    )


def _can_think(body: Mapping[str, Any]) -> bool:
    """Whether Claude takes thinking with this request.

    Not with a forced tool, and not in the middle of tool calls that were begun without thinking
    (by another provider, or by a client that lost the signatures).
    """
    choice = body.get("tool_choice")
    if choice == "required" or isinstance(choice, dict):
        return False
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        role = message.get("role") if isinstance(message, dict) else None
        if role == "assistant":
            return not message.get("tool_calls") or bool(message.get("thinking_blocks"))
        if role != "tool":
            break
    return True
