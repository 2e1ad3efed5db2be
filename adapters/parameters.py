"""Parameters of chat that a target may be unable to honour, and what becomes of them then.

Nothing is lost in silence: what shapes the answer is refused, which sends the request to the next
hop; what only steers it is left out and named, or refused too under `parameters: strict` (which
`Upstream` sees to, whatever left it out). Nulls and values that ask for nothing count as absent.
To add a parameter: its row in `PARAMETERS`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from turnout.engine.provider import Call, Fault, ProviderError


class Parameter(NamedTuple):
    """Whether it shapes the answer, and the values that ask for nothing."""

    shapes: bool
    idle: tuple[object, ...] = ()


PARAMETERS: Mapping[str, Parameter] = {
    # what shapes the answer
    "n": Parameter(True, (1,)),
    "logprobs": Parameter(True, (False,)),
    "top_logprobs": Parameter(True, (0,)),
    "response_format": Parameter(True, ({"type": "text"},)),
    "tools": Parameter(True, ([],)),
    "functions": Parameter(True, ([],)),
    "function_call": Parameter(True, ("none", "auto")),
    "modalities": Parameter(True, (["text"],)),
    "audio": Parameter(True),
    "prediction": Parameter(False),
    "web_search_options": Parameter(True),
    "stop": Parameter(True, ([], "")),
    # what steers it
    "temperature": Parameter(False),
    "top_p": Parameter(False),
    "top_k": Parameter(False),
    "seed": Parameter(False),
    "presence_penalty": Parameter(False, (0,)),
    "frequency_penalty": Parameter(False, (0,)),
    "logit_bias": Parameter(False, ({},)),
    "parallel_tool_calls": Parameter(False, (True,)),
    "reasoning_effort": Parameter(False),
    "thinking": Parameter(False),
    "verbosity": Parameter(False),
    "user": Parameter(False),
    "safety_identifier": Parameter(False),
    "prompt_cache_key": Parameter(False),
    "prompt_cache_retention": Parameter(False),
    "metadata": Parameter(False, ({},)),
    "store": Parameter(False, (False,)),
    "service_tier": Parameter(False, ("auto", "default")),
}


def honoured(call: Call, lacks: frozenset[str]) -> dict[str, Any]:
    """The body without what this wire lacks and without what asks for nothing.

    Members that are no parameter of chat stay: the adapter knows whether its wire has them.
    Adds to `call.dropped`. Raises: ProviderError UNSUPPORTED for what shapes the answer.
    """
    gone = left_out(call, lacks)
    call.dropped.extend(_unsaid(call.body.get("messages")))
    return {
        name: value
        for name, value in call.body.items()
        if name not in gone and value is not None and not asks_nothing(name, value)
    }


def _unsaid(messages: object) -> list[str]:
    """The members of messages that steer, and that only OpenAI's wire has."""
    turns = [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    named = any(one.get("name") and one.get("role") not in ("tool", "function") for one in turns)
    heard = any(one.get("audio") and one.get("role") == "assistant" for one in turns)
    return ["messages.name"] * named + ["messages.audio"] * heard


def left_out(call: Call, lacks: frozenset[str]) -> list[str]:
    """The members of the body that must not be sent to a wire that lacks these parameters.

    Adds to `call.dropped` those that ask for something. Raises: ProviderError UNSUPPORTED for what
    shapes the answer.
    """
    refuse_foreign(call)
    gone: list[str] = []
    if not lacks and not call.refused:
        return gone
    for name, value in call.body.items():
        if name not in lacks and name not in call.refused:
            continue
        gone.append(name)
        if value is None or asks_nothing(name, value):
            continue
        known = PARAMETERS.get(name)
        if known is not None and known.shapes:
            raise unsupported(name)
        if (
            name == "thinking"
            and call.body.get("reasoning_effort")
            and ("reasoning_effort" not in lacks)
        ):
            # The body says the same in chat's own words.
            continue
        if not (name in call.refused and value == 1):
            call.dropped.append(name)
    return gone


def asks_nothing(name: str, value: object) -> bool:
    """Whether this value of a parameter is what happens without it."""
    known = PARAMETERS.get(name)
    # JSON tells 1 from true; Python does not.
    return known is not None and any(
        value == one and isinstance(value, bool) is isinstance(one, bool) for one in known.idle
    )


def refuse_foreign(call: Call) -> None:
    """Look at what only the request's own protocol has, before it is translated.

    Adds to `call.dropped`. Raises: ProviderError UNSUPPORTED for what nobody else can honour.
    """
    native = call.request.native
    if native is None:
        return
    if native.only:
        raise unsupported(native.only[0])
    call.dropped.extend(native.lost)


def refuse_losses(call: Call) -> None:
    """Look at what was left out, before anything is sent. Raises: ProviderError UNSUPPORTED."""
    if call.strict and call.dropped:
        raise unsupported(call.losses[0])


def unsupported(param: str, message: str | None = None) -> ProviderError:
    """The fault of a parameter that a target cannot honour."""
    told = message or f"`{param}` is not supported by this provider"
    return ProviderError(Fault.UNSUPPORTED, told, param=param)
