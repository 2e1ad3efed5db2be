"""Parameters of chat that a target may be unable to honour, and what becomes of them then.

Nothing is lost in silence: what shapes the answer is refused, which sends the request to the next
hop; what only steers it is left out and named. Nulls and values that ask for nothing count as
absent. To add a parameter: its row in `PARAMETERS`.
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
    refuse_foreign(call)
    body: dict[str, Any] = {}
    for name, value in call.body.items():
        if value is None:
            continue
        known = PARAMETERS.get(name)
        if known is not None and _is_idle(value, known.idle):
            continue
        if name in lacks or name in call.refused:
            if known is not None and known.shapes:
                raise unsupported(name)
            if not (name in call.refused and value == 1):
                call.dropped.append(name)
            continue
        body[name] = value
    return body


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


def unsupported(param: str, message: str | None = None) -> ProviderError:
    """The fault of a parameter that a target cannot honour."""
    told = message or f"`{param}` is not supported by this provider"
    return ProviderError(Fault.UNSUPPORTED, told, param=param)


def _is_idle(value: object, idle: tuple[object, ...]) -> bool:
    # JSON tells 1 from true; Python does not.
    return any(value == one and isinstance(value, bool) is isinstance(one, bool) for one in idle)
