"""How much a request is to think, as Anthropic's `thinking` and `output_config.effort`.

Thinking steers; where something that shapes the answer stands against it, thinking gives way and is
named as dropped:

- a forced tool (also one that stands for a schema);
- a limit on the output that leaves no room beside the smallest budget;
- with a budget, a tool's result whose call comes without its thinking: Anthropic wants the signed
  blocks back, and they may have been another provider's, or lost by the client.

With thinking, `temperature` and `top_k` give way, and a `top_p` below 0.95.
"""

from collections.abc import Mapping
from typing import Any

from .anthropic_models import BUDGETS, LEAST_BUDGET, Model, effort

Json = dict[str, Any]


def thinking(
    body: Mapping[str, Any],
    translated: Json,
    model: Model,
    dropped: list[str],
) -> None:
    """Add to a translated body what the chat body asks of thinking; takes out what cannot be.

    `translated` has its messages, its limit and its choice of a tool already.
    """
    asked = "thinking" if isinstance(body.get("thinking"), dict) else "reasoning_effort"
    level = body.get("reasoning_effort")
    wanted = _wanted(body, translated["max_tokens"], model)
    if wanted is None:
        if body.get(asked) is not None and not (_is_off(body) and not model.thinking):
            dropped.append(asked)
    elif wanted["type"] in ("enabled", "adaptive") and not _may(translated, wanted, model):
        dropped.append(asked)
        wanted = None
    if wanted is not None:
        translated["thinking"] = wanted
    if isinstance(level, str) and (named := effort(level, model.efforts)) is not None:
        translated.setdefault("output_config", {})["effort"] = named
        if asked in dropped and asked == "reasoning_effort":
            # The effort is carried after all, on what is not thinking.
            dropped.remove(asked)
    _without_sampling(translated, model, wanted, dropped)


def _wanted(body: Mapping[str, Any], limit: int, model: Model) -> Json | None:
    """The `thinking` member, as this model takes it; None where it takes none."""
    given = body.get("thinking")
    if isinstance(given, dict):
        kind = given.get("type")
        if kind in model.thinking:
            return dict(given)
        if kind in ("enabled", "adaptive") and "adaptive" in model.thinking:
            display = {"display": given["display"]} if "display" in given else {}
            return {"type": "adaptive", **display}
        if kind == "adaptive" and "enabled" in model.thinking:
            return _budget(BUDGETS["medium"], limit)
        if kind in ("disabled", "between_tools") and model.off is not None:
            return {"type": model.off}
        return None
    level = body.get("reasoning_effort")
    if level == "none":
        return None if model.off is None else {"type": model.off}
    if not isinstance(level, str) or level not in ("max", *BUDGETS):
        return None
    if "adaptive" in model.thinking:
        return {"type": "adaptive"}
    if "enabled" in model.thinking:
        return _budget(BUDGETS.get(level, BUDGETS["xhigh"]), limit)
    return None


def _is_off(body: Mapping[str, Any]) -> bool:
    given = body.get("thinking")
    if isinstance(given, dict):
        return given.get("type") in ("disabled", "between_tools")
    return body.get("reasoning_effort") == "none"


def _budget(tokens: int, limit: int) -> Json:
    """A budget that leaves at least half of the output to the answer, where there is room."""
    return {"type": "enabled", "budget_tokens": min(tokens, max(limit // 2, LEAST_BUDGET))}


def _may(translated: Mapping[str, Any], wanted: Mapping[str, Any], model: Model) -> bool:
    choice = translated.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] in ("any", "tool"):
        return False
    if wanted["type"] == "adaptive":
        return True
    budget = wanted.get("budget_tokens")
    room = isinstance(budget, int) and LEAST_BUDGET <= budget < translated["max_tokens"]
    return room and comes_with_thinking(translated["messages"])


def comes_with_thinking(turns: list[Json]) -> bool:
    """Whether the calls whose results come last stand behind their thinking."""
    for turn in reversed(turns):
        content = turn.get("content")
        kinds = [block.get("type") for block in content] if isinstance(content, list) else []
        if turn.get("role") == "user":
            if "tool_result" not in kinds:
                return True
        elif "tool_use" in kinds:
            return kinds[0] in ("thinking", "redacted_thinking")
    return True


def _without_sampling(
    translated: Json, model: Model, wanted: Mapping[str, Any] | None, dropped: list[str]
) -> None:
    thinks = wanted is not None and wanted["type"] in ("enabled", "adaptive")
    if model.sampling and not thinks:
        return
    for name in ("temperature", "top_p", "top_k"):
        value = translated.get(name)
        if value is None:
            continue
        if name == "top_p" and model.sampling and isinstance(value, int | float) and value >= 0.95:
            continue
        del translated[name]
        if not (name != "top_k" and value == 1):
            dropped.append(name)
