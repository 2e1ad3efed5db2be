"""How hard a model of Gemini's is asked to think: by a level or a budget, as its family knows.

| `reasoning_effort` | Gemini 2.5: `thinkingBudget` | Gemini 3 and later: `thinkingLevel` |
|---|---|---|
| `none` | 0; Pro 128, the least it takes | `MINIMAL`; Pro `LOW` |
| `minimal` | 1 024 | `MINIMAL`; Pro `LOW` |
| `low` | 1 024 | `LOW` |
| `medium` | 8 192 | `MEDIUM`; Gemini 3 Pro, which has none, `HIGH` |
| `high` and above | 24 576 | `HIGH` |

The budgets are Google's own of its OpenAI endpoint. Pro cannot stop thinking: `none` is then named
as dropped. Anthropic's `thinking` gives its budget to Gemini 2.5 as it is; the later families get
the level of the row that it fits into. Thoughts are asked for wherever thinking was.
"""

import re
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
Family = tuple[int, int]

_VERSION = re.compile(r"gemini-(\d{1,3})(?:\.(\d{1,3}))?(?![\d.])")
_NEWEST: Family = (3, 1)  # what `gemini-flash-latest` is at least

_BUDGETS = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576}
_LEVELS = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM"}
_EFFORTS = frozenset(("none", "minimal", "low", "medium", "high", "xhigh", "max"))
_MOST = 24_576
_MOST_OF_PRO = 32_768
_LEAST_OF_PRO = 128


def family(model: str) -> Family:
    """The version that a model's name says; (0, 0) for what is no model of Gemini's."""
    found = _VERSION.search(model)
    if found is not None:
        return int(found[1]), int(found[2] or 0)
    return _NEWEST if "gemini-" in model and "latest" in model else (0, 0)


def thinking_config(body: Mapping[str, Any], model: str, dropped: list[str]) -> Json:
    """Gemini's `thinkingConfig` for what the client asked; empty where it asked nothing.

    Adds to `dropped` what this model does not do.
    """
    effort, thinking = body.get("reasoning_effort"), body.get("thinking")
    thinking = thinking if isinstance(thinking, dict) else {}
    if not effort and not thinking:
        return {}
    version = family(model)
    if version < (2, 5):
        dropped.extend(name for name in ("reasoning_effort", "thinking") if body.get(name))
        return {}
    if effort and not (isinstance(effort, str) and effort in _EFFORTS):
        dropped.append("reasoning_effort")
        effort = None
    budget = thinking.get("budget_tokens")
    if type(budget) is not int or budget < 1:
        budget = None
    if thinking.get("type") == "disabled":
        effort, budget = "none", None
    told = _budget if version < (3, 0) else _level
    config = told(effort, budget, version, "pro" in model)
    if effort == "none" and "pro" in model:
        dropped.append("reasoning_effort" if body.get("reasoning_effort") else "thinking")
    if effort == "none":
        return config
    return {**config, "includeThoughts": True} if effort or thinking else config


def _budget(effort: str | None, budget: int | None, version: Family, pro: bool) -> Json:
    most = _MOST_OF_PRO if pro else _MOST
    if budget is not None:
        return {"thinkingBudget": min(budget, most)}
    if effort is None:
        return {}
    told = _BUDGETS.get(effort, _MOST)
    return {"thinkingBudget": max(told, _LEAST_OF_PRO) if pro else told}


def _level(effort: str | None, budget: int | None, version: Family, pro: bool) -> Json:
    if effort is None:
        if budget is None:
            return {}
        effort = next(
            (name for name in ("low", "medium") if budget <= _BUDGETS[name]),
            "high",
        )
    level = _LEVELS.get(effort, "HIGH")
    if pro and level == "MINIMAL":
        level = "LOW"
    if pro and level == "MEDIUM" and version == (3, 0):
        level = "HIGH"
    return {"thinkingLevel": level}
