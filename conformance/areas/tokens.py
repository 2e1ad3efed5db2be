"""The tokens that answers account for."""

import re
from typing import Any

from turnout.conformance.api import Api, user
from turnout.conformance.areas.chat_response import LONG
from turnout.conformance.areas.tools import WEATHER
from turnout.conformance.case import Area, Skipped
from turnout.conformance.look import at, mapping, require, same, whole
from turnout.conformance.sources import COUNTING, spec

AREA = Area("tokens", "the tokens that answers account for", "chat/completions")

USAGE = spec("CompletionUsage")
LIMIT = 16
# Ten tokens in cl100k_base and in o200k_base; the form of one message adds seven.
FOX = "The quick brown fox jumps over the lazy dog."
FOX_PROMPT = 17
# Reasoning models count a little otherwise, so they are not asked.
COUNTED = re.compile(r"(?:^|/)(?:gpt-3\.5|gpt-4)")
TOLERANCE = 1


async def _usage(api: Api, **members: Any) -> dict[str, Any]:
    return mapping((await api.chat(**members)).accepted(), "usage")


async def _prompt(api: Api, **members: Any) -> int:
    return whole(await _usage(api, **members), "prompt_tokens")


async def _counted_by_the_rules(api: Api, messages: list[dict[str, Any]]) -> int:
    """The prompt's tokens of an answer by one of OpenAI's models that count by these rules."""
    body = (await api.chat(messages=messages)).accepted()
    model = body.get("model")
    if not isinstance(model, str) or not COUNTED.search(model):
        raise Skipped("the rules are published for gpt-3.5 and gpt-4 models")
    return whole(body, "usage", "prompt_tokens")


@AREA.case(USAGE)
async def the_total_is_the_sum(api: Api) -> None:
    """`total_tokens` is the sum of `prompt_tokens` and `completion_tokens`."""
    usage = await _usage(api)
    parts = whole(usage, "prompt_tokens") + whole(usage, "completion_tokens")
    same(whole(usage, "total_tokens"), parts, "`usage.total_tokens`")


@AREA.case(USAGE)
async def a_prompt_has_tokens(api: Api) -> None:
    """A prompt has at least one token."""
    require(await _prompt(api) > 0, "`usage.prompt_tokens` is 0")


@AREA.case(USAGE)
async def an_answer_has_tokens(api: Api) -> None:
    """An answer has at least one token."""
    require(whole(await _usage(api), "completion_tokens") > 0, "`usage.completion_tokens` is 0")


@AREA.case(USAGE)
async def the_same_prompt_counts_the_same(api: Api) -> None:
    """The same prompt has the same number of tokens again."""
    same(await _prompt(api, occasion=1), await _prompt(api), "`usage.prompt_tokens`")


@AREA.case(COUNTING)
async def more_text_has_more_tokens(api: Api) -> None:
    """A longer prompt has more tokens."""
    longer = await _prompt(api, messages=[user("Say hello. " + FOX * 5)])
    require(longer > await _prompt(api) + 20, f"five sentences more have {longer} tokens in all")


@AREA.case(COUNTING)
async def a_system_message_has_tokens(api: Api) -> None:
    """A system message is counted."""
    system = {"role": "system", "content": FOX}
    told = await _prompt(api, messages=[system, user("Say hello.")])
    require(told >= await _prompt(api) + 8, f"with a system message it is {told}")


@AREA.case(COUNTING)
async def a_history_has_tokens(api: Api) -> None:
    """Earlier messages are counted."""
    history = [user(FOX), {"role": "assistant", "content": FOX}, user("Say hello.")]
    told = await _prompt(api, messages=history)
    require(told >= await _prompt(api) + 16, f"with a history it is {told}")


@AREA.case(COUNTING)
async def tools_have_tokens(api: Api) -> None:
    """The tools that are offered are counted."""
    told = await _prompt(api, tools=[WEATHER])
    require(told >= await _prompt(api) + 10, f"with a tool it is {told}")


@AREA.case(COUNTING)
async def a_message_counts_by_the_rules(api: Api) -> None:
    """A plain message has the tokens of OpenAI's published rules, give or take one."""
    told = await _counted_by_the_rules(api, [user(FOX)])
    require(abs(told - FOX_PROMPT) <= TOLERANCE, f"`prompt_tokens` is {told}, not {FOX_PROMPT}")


@AREA.case(COUNTING)
async def two_messages_count_by_the_rules(api: Api) -> None:
    """A system message adds its text, its role and three, give or take one."""
    system = {"role": "system", "content": FOX}
    told = await _counted_by_the_rules(api, [system, user(FOX)])
    wanted = FOX_PROMPT + 14
    require(abs(told - wanted) <= TOLERANCE, f"`prompt_tokens` is {told}, not {wanted}")


@AREA.case(spec("CreateChatCompletionRequest"))
async def the_limit_holds(api: Api) -> None:
    """An answer has no more tokens than `max_completion_tokens`."""
    told = whole(await _usage(api, messages=LONG, max_completion_tokens=LIMIT), "completion_tokens")
    require(told <= LIMIT, f"`completion_tokens` is {told}, above {LIMIT}")


@AREA.case(spec("CreateChatCompletionRequest"))
async def all_choices_are_counted(api: Api) -> None:
    """With `n: 2` the tokens of both choices are counted, and the prompt's once."""
    answer = await api.chat(messages=LONG, max_completion_tokens=LIMIT, n=2)
    usage = mapping(answer.accepted("n"), "usage")
    told = whole(usage, "completion_tokens")
    require(LIMIT < told <= 2 * LIMIT, f"`completion_tokens` of two choices is {told}")
    alone = await _prompt(api, messages=LONG, max_completion_tokens=LIMIT)
    same(whole(usage, "prompt_tokens"), alone, "`prompt_tokens`")


@AREA.case(USAGE)
async def cached_tokens_are_part_of_the_prompt(api: Api) -> None:
    """Cached tokens are part of the prompt's, so no more than those."""
    usage = await _usage(api)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    require(cached <= whole(usage, "prompt_tokens"), f"`cached_tokens` is {cached}")


@AREA.case(USAGE)
async def reasoning_tokens_are_part_of_the_answer(api: Api) -> None:
    """Reasoning tokens are part of the answer's, so no more than those."""
    usage = await _usage(api)
    reasoned = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    told = at(usage, "completion_tokens")
    require(reasoned <= told, f"`reasoning_tokens` is {reasoned}")
