"""A list of fallbacks as a caller in process writes it, made hops of the program in force.

An entry is a mapping, or a text as a policy writes it (`groq/llama-3-70b (timeout: 2s)`). Values
mean what they mean in the policy language, since its own parser reads them; a target must be known
and priced, as for `route: requested`.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from turnout.dsl import parse_rules, tree
from turnout.dsl.core import Hop
from turnout.dsl.document import examine
from turnout.dsl.draft import Draft
from turnout.dsl.nearest import listed, suggestion
from turnout.dsl.schema import Target
from turnout.dsl.source import Source
from turnout.engine.fallback import Fallback
from turnout.engine.live import Live
from turnout.engine.names import AUTO
from turnout.engine.request import RequestError

Entry = Mapping[str, object] | str

_CLOCKS = ("timeout", "connect", "ttft", "idle", "backoff")
_KEYS = ("provider", "model", *_CLOCKS, "retries", "catch")
_MEANT = {"to": "provider", "target": "provider", "retry": "retries", "on": "catch"}
_EXAMPLE = '{"provider": "groq/llama-3-70b", "timeout": "2s", "retries": 1}'
_MOST_ENTRIES = 32
# What a number of seconds may be: more is no clock, and an int of microseconds holds it.
_LONGEST_S = 86_400.0


class FallbackError(ValueError):
    """A fallback that cannot be tried; `entry` is its place in the list, from 0."""

    def __init__(self, entry: int | None, message: str, help: str) -> None:
        """Say what is wrong where, and what to write instead."""
        where = "fallback" if entry is None else f"fallback[{entry}]"
        super().__init__(f"{where}: {message}: {help}")
        self.entry = entry
        self.help = help


def read_fallback(entries: object, live: Live, model: str) -> Fallback:
    """The hops of a list, in its order; `model` is the body's, AUTO where it names none.

    Cost: 0.2 ms for each entry. Raises: FallbackError.
    """
    if isinstance(entries, str | Mapping) or not isinstance(entries, Sequence):
        raise FallbackError(None, "this is not a list", f"write `[{_EXAMPLE}]`")
    if len(entries) > _MOST_ENTRIES:
        help = f"name at most {_MOST_ENTRIES}"
        raise FallbackError(None, f"{len(entries)} entries are too many", help)
    hops: list[Hop] = []
    targets: dict[str, Target] = {}
    first: dict[str, int] = {}
    for place, entry in enumerate(entries):
        target, hop = _read(place, entry, live, model)
        if target.id in first:
            message = f"`{target.id}` stands at {first[target.id]} already"
            raise FallbackError(place, message, "name each target once")
        first[target.id] = place
        targets[target.id] = target
        hops.append(hop)
    return Fallback(tuple(hops), targets)


def _read(place: int, entry: object, live: Live, model: str) -> tuple[Target, Hop]:
    if isinstance(entry, str):
        written = _parsed(place, json.dumps(entry))
        name = written.to.value
    elif isinstance(entry, Mapping):
        name = _named(place, entry)
        written = _parsed(place, _as_policy(place, entry))
    else:
        message = f"this is {type(entry).__name__}, not a mapping or a text"
        raise FallbackError(place, message, f"write `{_EXAMPLE}`")
    target = _target(place, name, live, model)
    return target, _hop(target, written, live.program.requested)


def _named(place: int, entry: Mapping[str, object]) -> str:
    """The target of a mapping, every key of which is known."""
    for key in entry:
        if key not in _KEYS:
            close = _MEANT.get(str(key))
            help = f"did you mean `{close}`?" if close else suggestion(str(key), _KEYS)
            keys = f"keys here: {', '.join(_KEYS)}"
            raise FallbackError(place, f"unknown key `{_shown(key)}`", help or keys)
    for key in ("provider", "model"):
        value = entry.get(key)
        if value is None and key == "model":
            continue
        if not isinstance(value, str) or not value.strip():
            message = f"`{key}` is no text" if key in entry else f"there is no `{key}`"
            raise FallbackError(place, message, f"write `{_EXAMPLE}`")
    provider, model = str(entry["provider"]), entry.get("model")
    if model is None:
        return provider
    if "/" in provider:
        message = f"`provider` names a model already, and `model` is `{_shown(model)}`"
        raise FallbackError(place, message, "write the model in one of the two")
    return f"{provider}/{model}"


def _as_policy(place: int, entry: Mapping[str, object]) -> str:
    """The options of a mapping as a chain entry of a policy, for its parser."""
    parts = ['to: "a/b"']
    for key in _CLOCKS:
        if entry.get(key) is not None:
            parts.append(f"{key}: {_duration(place, key, entry[key])}")
    if (retries := entry.get("retries")) is not None:
        if isinstance(retries, bool) or not isinstance(retries, int | str):
            message = f"`retries` is `{_shown(retries)}`"
            raise FallbackError(place, message, "write a small whole number, such as `2`")
        parts.append(f"retries: {json.dumps(str(retries))}")
    if (catch := entry.get("catch")) is not None:
        faults = [catch] if isinstance(catch, str) else catch
        if not _is_texts(faults):
            help = 'write a list of faults, such as `["timeout", "5xx"]`'
            raise FallbackError(place, f"`catch` is `{_shown(catch)}`", help)
        parts.append(f"catch: {json.dumps(sorted(faults))}")
    return "{" + ", ".join(parts) + "}"


def _is_texts(value: object) -> TypeGuard[Collection[str]]:
    if not isinstance(value, list | tuple | set | frozenset):
        return False
    return all(isinstance(one, str) for one in value)


def _duration(place: int, key: str, value: object) -> str:
    """A duration as the language writes it; a bare number is of seconds."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"`{key}` is `{_shown(value)}`"
        raise FallbackError(place, message, 'write `"2s"`, or a number of seconds')
    if not 0.001 <= value <= _LONGEST_S:  # nor is it so of what is not a number
        help = f"write from 0.001 to {_LONGEST_S:.0f} seconds"
        raise FallbackError(place, f"`{key}` is `{_shown(value)}` seconds", help)
    return f'"{round(value * 1000)}ms"'


def _parsed(place: int, text: str) -> tree.HopEntry:
    """An entry as the language's parser reads it."""
    draft = Draft()
    document = examine(Source(f"fallback[{place}]", f"fallback: [{text}]\n"))
    found: tuple[tree.HopEntry, ...] = ()
    if document.root is not None:
        found = parse_rules.chain(draft, document.root.entries[0].value, "`fallback`")
    for finding in (*document.findings, *draft.findings):
        if finding.severity == "error":
            raise FallbackError(place, finding.message, finding.help or f"write `{_EXAMPLE}`")
    if not found or found[0].when is not None:
        message = "`when` has no place here" if found else "this names no target"
        raise FallbackError(place, message, f"write `{_EXAMPLE}`")
    return found[0]


def _target(place: int, name: str, live: Live, model: str) -> Target:
    """The target of a name, known and priced; a provider alone stands for the body's model there.

    Raises: FallbackError.
    """
    name = name.strip()
    providers = live.program.providers
    if "/" not in name and name in providers:
        if model == AUTO:
            message = f"`{name}` alone means the body's model there, and the body names none"
            raise FallbackError(place, message, f"write `{name}/` and the model")
        before, slash, rest = model.partition("/")
        name = f"{name}/{rest if slash and before in providers else model}"
    try:
        target = live.names.resolve(name, lambda: live.usable).target
    except RequestError as error:
        problem = "is not known" if error.status == 404 else "has no known price"
        help = error.message.partition(". ")[2].rstrip(".")
        if error.status == 404 and not (help and "/" in name):  # else it names a whole target
            _check_provider(place, name, live)
        help = help or "write `provider/model`, such as `openai/gpt-4o`"
        raise FallbackError(place, f"the target `{_shown(name)}` {problem}", help) from None
    if target is None:
        message = f"`{_shown(name)}` leaves the choice to the policy"
        raise FallbackError(place, message, "write `provider/model`, such as `openai/gpt-4o`")
    return target


def _check_provider(place: int, name: str, live: Live) -> None:
    """Say of an unknown name that there is no such provider, where that is what is wrong with it.

    Raises: FallbackError.
    """
    provider, slash, _ = name.partition("/")
    if provider in live.program.providers:
        return
    help = suggestion(provider, live.program.providers)
    if help is None and slash:
        help = f"providers here: {listed(sorted(live.program.providers))}"
    if help is not None:
        raise FallbackError(place, f"unknown provider `{_shown(provider)}`", help)


def _hop(target: Target, entry: tree.HopEntry, usual: Hop) -> Hop:
    """The hop of an entry; what it does not say is as the file's `defaults:` have it."""
    options = entry.options
    written = {
        f"{name}_us": value
        for name in ("timeout", "connect", "ttft", "idle")
        if (value := getattr(options, f"{name}_us")) is not None
    }
    clocks = replace(
        usual.clocks,
        **written,
        written_timeout=options.timeout_us is not None,
        written_ttft=options.ttft_us is not None,
    )
    catch = usual.catch
    if options.catch is not None:
        catch = frozenset(fault.value for fault in options.catch)
    return replace(
        usual,
        target=target.id,
        clocks=clocks,
        retries=usual.retries if options.retries is None else options.retries,
        catch=catch,
        when=None,
        span=entry.span,
        backoff_us=usual.backoff_us if options.backoff_us is None else options.backoff_us,
    )


def _shown(value: object, most: int = 60) -> str:
    text = str(value)
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(c if c.isprintable() else "?" for c in text)
