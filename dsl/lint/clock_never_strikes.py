"""A clock is longer than another that ends the same wait before it.

`timeout` bounds a hop as a whole: a longer `connect` or `ttft` never strikes, and where the first
wait before a retry (`backoff`) may be longer, the hop is often over before it is tried again.
`deadline` bounds the request in the same way, whatever `defaults` or a hop say of `idle` and
`ttft`. Clocks are compared that the file writes in one place, and with the deadline.

Avoid:

    routing_policy:
      - {name: default, route: openai/gpt-4o, timeout: 5s, ttft: 10s}

Prefer:

    routing_policy:
      - {name: default, route: openai/gpt-4o, timeout: 10s, ttft: 5s}
"""

from collections.abc import Iterator

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.hops import DEADLINE_US
from turnout.dsl.schema import Type
from turnout.dsl.source import Span
from turnout.dsl.units import format_value

from .written import hop_options

CODE = "RP314"
LEVEL: Severity = "warning"

_WITHIN_A_HOP = {
    "connect": "`connect` of {own} never strikes: the hop is over after {whole}",
    "ttft": "`ttft` of {own} never strikes: the hop is over after {whole}",
    "backoff": "a wait before a retry may be as long as {own}, and the hop is over after {whole}",
}


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Clocks longer than the `timeout` beside them, and those longer than the deadline.

    A hop's own `timeout` and the deadline are the business of RP305.
    """
    deadline_us = DEADLINE_US if policy.deadline_us is None else policy.deadline_us
    for options in hop_options(policy):
        yield from _within_hop(options)
        is_default = options is policy.defaults
        for name in ("connect", "ttft", "idle", *(("timeout",) if is_default else ())):
            own_us = getattr(options, f"{name}_us")
            if own_us is None or own_us <= deadline_us or _is_longer(options, name):
                continue
            yield Diagnostic(
                CODE,
                LEVEL,
                f"`{name}` of {_shown(own_us)} never strikes: the deadline is "
                f"{_shown(deadline_us)}",
                options.spans[name],
                "write a shorter one, or raise `deadline:`",
                _place(policy.key_spans.get("deadline"), "the deadline"),
            )


def _within_hop(options: tree.HopOptions) -> Iterator[Diagnostic]:
    for name, told in _WITHIN_A_HOP.items():
        if _is_longer(options, name):
            own, whole = _shown(getattr(options, f"{name}_us")), _shown(options.timeout_us or 0)
            yield Diagnostic(
                CODE,
                LEVEL,
                told.format(own=own, whole=whole),
                options.spans[name],
                "write a shorter one, or a longer `timeout`",
                _place(options.spans.get("timeout"), "the bound on the hop"),
            )


def _is_longer(options: tree.HopOptions, name: str) -> bool:
    """Whether a clock is longer than the timeout written beside it; a wait needs a retry."""
    own_us, whole_us = getattr(options, f"{name}_us"), options.timeout_us
    if name not in _WITHIN_A_HOP or own_us is None or whole_us is None:
        return False
    return own_us > whole_us and not (name == "backoff" and options.retries == 0)


def _place(span: Span | None, told: str) -> tuple[Related, ...]:
    return () if span is None else (Related(told, span),)


def _shown(amount_us: int) -> str:
    return format_value(amount_us, Type.DURATION)
