"""The rules of a policy and the fallback chain: routes in all their forms, hops, options.

What does not belong here: which keys there are (`vocabulary`); whether targets exist (`check`).
Over 300 lines because a rule, its route and its hops share their options.
"""

import re
from collections.abc import Mapping

from . import example, habits, traps, tree
from .diagnostic import Related
from .document import ListNode, MapNode, Node, ScalarNode, hop_form
from .draft import Draft, start_of
from .source import Span
from .vocabulary import (
    CHOICE,
    CLOCKS,
    DEFAULTS,
    FAULT,
    FORMS,
    HOP,
    HOP_OPTIONS,
    MEASURE,
    MIRROR,
    OPTIONS,
    RAMP,
    ROUTE,
    ROUTED,
    ROUTES,
    RULE,
    RULE_OPTIONS,
    SET,
    STICKY,
    Section,
    Value,
    Words,
)

MAX_RETRIES = 10
MAX_TARGETS = 100  # of a chain, a choice or a split: each more is work for every request

_BESIDE = re.compile(rf"([^\s/]++/\S++)\s++({'|'.join((*OPTIONS, 'when'))})")
_KEYED = re.compile(r"([^\s/]+/[^\s(\[]+)")
_FORM = re.compile(r"\s*([A-Za-z_]+)(?![\w/.:@-]*/)\s*[:=(]?\s*([0-9]*)")
_HELP = "write `- {name: default, route: openai/gpt-4}`"
# field of a request -> least and most
_NUMBERS = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
_MAX_SEED = 2**53
_Values = Mapping[str, Node]


def rules(draft: Draft, node: Node | None, root: MapNode) -> tuple[tree.Rule, ...]:
    """The rules of a file; a finding where there is none and nothing else is wrong."""
    if node is None:
        if not draft.findings:
            message = "the policy has no `routing_policy`"
            draft.find("RP008", message, start_of(root), _HELP)
        return ()
    is_empty = (isinstance(node, ListNode) and not node.items) or (
        isinstance(node, ScalarNode) and node.is_null
    )
    if is_empty:
        key = next(e.key for e in root.entries if e.key.text == "routing_policy")
        draft.find("RP008", "`routing_policy` has no rule", key.span, _HELP)
        return ()
    if isinstance(node, MapNode) and any(entry.key.text in RULE.names for entry in node.entries):
        first = node.entries[0].key
        message = "a rule starts with a `-`, and there is none here"
        help = f"write `- {traps.shown(first.text)}: …`, and its other keys below that"
        draft.find("RP009", message, first.span, help)
        return ()
    names: dict[str, tree.Text] = {}
    found = [_rule(draft, item, names) for item in draft.items(node, "`routing_policy`")]
    return tuple(rule for rule in found if rule is not None)


def chain(draft: Draft, node: Node, what: str) -> tuple[tree.HopEntry, ...]:
    """The entries of `fallback_chain`, or of a rule's `fallback`."""
    if _too_many(draft, node, what):
        return ()
    found = [_entry(draft, item) for item in draft.items(node, what)]
    return tuple(entry for entry in found if entry is not None)


def defaults(draft: Draft, node: Node) -> tuple[tree.HopOptions, tree.RuleOptions]:
    """The options that hold for every rule that does not write its own."""
    values = draft.section(node, DEFAULTS) or {}
    return _options(draft, values), _rule_options(draft, values)


def _rule(draft: Draft, node: Node, names: dict[str, tree.Text]) -> tree.Rule | None:
    before = len(draft.findings)
    values = draft.section(node, RULE)
    if values is None:
        return None
    complete = len(draft.findings) == before
    name = draft.text(values["name"], "the name of a rule") if "name" in values else None
    if name is not None:
        draft.name(name, names, "rules")
    condition = None
    if "condition" in values:
        condition = draft.condition(values["condition"], "`condition`")
    route = _route(draft, values["route"]) if "route" in values else None
    for key, value in (("name", "cheap_for_simple"), ("route", "openai/gpt-4")):
        if complete:
            span = name.span if name else start_of(node)
            whose = f"the rule `{name.value}`" if name else "this rule"
            draft.missing(values, key, whose, span, f"write `{key}: {value}`")
    options = _options(draft, values)
    extra = _rule_options(draft, values)
    fallback = chain(draft, values["fallback"], "`fallback`") if "fallback" in values else None
    if route is not None and isinstance(route[0], tree.RejectRoute):
        _without_effect(draft, node)
    if name is None or route is None:
        return None
    options = _both(draft, options, route[1])
    return tree.Rule(name, condition, route[0], options, fallback, node.span, extra)


def _without_effect(draft: Draft, rule: Node) -> None:
    """Refuse what a rule that rejects says about targets: nobody is asked."""
    for entry in rule.entries if isinstance(rule, MapNode) else ():
        if entry.key.text in (*OPTIONS, "fallback", "set", "mirror"):
            message = f"`{entry.key.text}` has no effect here: the rule rejects, and asks no target"
            draft.find("RP005", message, entry.key.span, "remove it")


# --- routes --------------------------------------------------------------------------------------


def _route(draft: Draft, node: Node) -> tuple[tree.Route, tree.HopOptions] | None:
    if isinstance(node, ListNode):
        help = "write one target, and the others under `fallback:`, or `{first_of: [a/x, b/y]}`"
        draft.find("RP009", "a route is one target, not a list", start_of(node), help)
        return None
    if isinstance(node, ScalarNode) and _form_alone(draft, node):
        return None
    if not isinstance(node, MapNode):
        hop = _hop(draft, node, "a route", HOP_OPTIONS.without("when"))
        return None if hop is None else (hop[0], _options(draft, hop[1]))
    if _beside(draft, node):
        return None
    before = len(draft.findings)
    values = draft.section(node, ROUTE) or {}
    complete = len(draft.findings) == before
    written = [key for key in values if key in (*FORMS, "to")]
    if not written and not complete:
        return None  # the word that says which form it is may be the misspelt one
    if not written or written == ["to"]:
        if not _own_keys(draft, node, values, ROUTED):
            return None
        return _target_of(draft, node, values, complete)
    form = written[0]
    if len(written) > 1:
        second = next(e.key.span for e in node.entries if e.key.text == written[1])
        message = f"a route has one form, and here are `{form}` and `{written[1]}`"
        draft.find("RP005", message, second, "keep one of the two")
        return None
    if not _own_keys(draft, node, values, ROUTES[form]):
        return None
    route: tree.Route | None
    if form in CHOICE:
        route = _choice(draft, node, form, values)
    elif form == "split":
        route = _split(draft, node, values)
    else:
        route = _reject(draft, node, values)
    return None if route is None else (route, tree.HopOptions())


def _form_alone(draft: Draft, node: ScalarNode) -> bool:
    """Refuse `route: reject 429`, a form of a route that lacks its braces."""
    match = _FORM.match(node.text)
    form = match and (match[1] if match[1] in FORMS else habits.FORMS.get(match[1].lower()))
    if match is None or form is None:
        return False
    help = f"write `{example.mapping(ROUTES[form], match[2])}`"
    draft.find("RP009", f"`{match[1]}` alone is no route", node.span, help)
    return True


def _own_keys(draft: Draft, node: MapNode, values: _Values, section: Section) -> bool:
    """Whether all keys belong to the form that the route is of."""
    foreign = [
        e.key for e in node.entries if e.key.text in values and e.key.text not in section.names
    ]
    for key in foreign:
        if key.text in OPTIONS:
            help = "write it in the rule, beside `route:`"
        elif section is ROUTED:
            owners = [word for word, form in ROUTES.items() if key.text in form.names]
            help = f"it belongs to `{owners[0]}`" if owners else "remove it"
        else:
            help = f"keys here: {', '.join(section.names)}"
        draft.find("RP005", f"`{key.text}` has no place in {section.what}", key.span, help)
    return not foreign


def _choice(draft: Draft, node: MapNode, form: str, values: _Values) -> tree.ChoiceRoute | None:
    before = len(draft.findings)
    targets = _candidates(draft, values[form], form)
    by = None
    if "by" in values:
        by = draft.word(values["by"], "measure", MEASURE)
    where = draft.condition(values["where"], "`where`") if "where" in values else None
    if len(draft.findings) > before and draft.failed and not targets:
        return None
    return tree.ChoiceRoute(form, targets, by, where, node.span)  # type: ignore[arg-type]


def _candidates(draft: Draft, node: Node, form: str) -> tuple[tree.Text, ...]:
    if _too_many(draft, node, f"`{form}`"):
        return ()
    before = len(draft.findings)
    targets = draft.texts(node, f"`{form}`", "a candidate")
    for target in targets:
        _plain_target(draft, target)
    if isinstance(node, ListNode) and len(draft.findings) == before and len(targets) < 2:
        message = f"`{form}` needs at least two targets to choose from"
        draft.find(
            "RP008", message, start_of(node), f"write `{form}: [openai/gpt-4, groq/llama-3-8b]`"
        )
    return targets


def _split(draft: Draft, node: MapNode, values: _Values) -> tree.SplitRoute | None:
    before = len(draft.findings)
    shares = _shares(draft, values["split"], "`split`", least=0)
    if isinstance(values["split"], MapNode) and len(draft.findings) == before and len(shares) < 2:
        message = "`split` needs at least two targets"
        help = "write `split: {openai/gpt-4: 95%, groq/llama-3-8b: 5%}`"
        draft.find("RP008", message, start_of(values["split"]), help)
    sticky = draft.word(values["sticky"], "`sticky`", STICKY) if "sticky" in values else None
    ramp = _ramp(draft, values["ramp"], shares) if "ramp" in values else None
    return tree.SplitRoute(shares, sticky, ramp, node.span)


def _shares(draft: Draft, node: Node, what: str, least: int) -> tuple[tree.Share, ...]:
    found: list[tree.Share] = []
    if _too_many(draft, node, what):
        return ()
    for entry in draft.entries(node, what) or ():
        target = tree.Text(entry.key.text, entry.key.span)
        _plain_target(draft, target)
        share = draft.share(entry.value, f"the share of `{traps.shown(target.value)}`", least)
        if share is not None:
            found.append(tree.Share(target, share, entry.value.span))
    return tuple(found)


def _too_many(draft: Draft, node: Node, what: str) -> bool:
    """Whether more targets are named than any request can try; a finding then."""
    match node:
        case ListNode(parts) | MapNode(parts):
            count = len(parts)
        case _:
            return False
    if count > MAX_TARGETS:
        message = f"{what} names {count} targets, more than {MAX_TARGETS}"
        draft.find("RP010", message, start_of(node), "name the few that matter")
    return count > MAX_TARGETS


def _ramp(draft: Draft, node: Node, arms: tuple[tree.Share, ...]) -> tree.Ramp | None:
    if not isinstance(node, MapNode):
        draft.section(node, RAMP)
        return None
    before = len(draft.findings)
    known = {arm.target.value for arm in arms}
    days = {e.key.text: e.value for e in node.entries if e.key.text in RAMP.names}
    rest = tuple(e for e in node.entries if e.key.text not in RAMP.names)
    shares: list[tree.Share] = []
    for entry in rest:
        if "/" not in entry.key.text:
            draft.unknown_key(entry.key, RAMP)
            continue
        target = tree.Text(entry.key.text, entry.key.span)
        if known:
            draft.reference(target, "target of the split", known)
        share = draft.share(entry.value, f"the share of `{traps.shown(target.value)}`", least=0)
        if share is not None:
            shares.append(tree.Share(target, share, entry.value.span))
    if len(draft.findings) == before:
        help = "write `{openai/gpt-4: 50%, from: 2026-10-01, to: 2026-10-08}`"
        for key in RAMP.names:
            draft.missing(days, key, "`ramp`", start_of(node), help)
        if not shares:
            draft.find("RP008", "`ramp` names no share", start_of(node), help)
    starts = draft.date(days["from"], "`from`") if "from" in days else None
    ends = draft.date(days["to"], "`to`") if "to" in days else None
    if starts is None or ends is None:
        return None
    if ends <= starts:
        message = "`to` is not after `from`"
        draft.find("RP010", message, days["to"].span, "write a later day")
    return tree.Ramp(tuple(shares), starts, ends, node.span)


def _reject(draft: Draft, node: MapNode, values: _Values) -> tree.RejectRoute | None:
    where = values["reject"]
    status = draft.integer(where, "`reject`", 400, 599, "429")
    message = draft.text(values["message"], "`message`") if "message" in values else None
    wait_us = None
    if "retry_after" in values:
        wait_us = draft.duration_us(values["retry_after"], "`retry_after`")
    if status is None:
        return None
    return tree.RejectRoute(status, message, wait_us, node.span)


# --- hops ----------------------------------------------------------------------------------------


def _entry(draft: Draft, node: Node) -> tree.HopEntry | None:
    if isinstance(node, MapNode):
        if _beside(draft, node):
            return None
        before = len(draft.findings)
        values = draft.section(node, HOP) or {}
        target = _target_of(draft, node, values, len(draft.findings) == before)
        when = draft.condition(values["when"], "`when`") if "when" in values else None
        return target and tree.HopEntry(target[0], target[1], when, node.span)
    hop = _hop(draft, node, "an entry of a chain", HOP_OPTIONS)
    if hop is None:
        return None
    when = draft.condition(hop[1]["when"], "`when`") if "when" in hop[1] else None
    return tree.HopEntry(hop[0], _options(draft, hop[1]), when, node.span)


def _beside(draft: Draft, node: MapNode) -> bool:
    """Refuse `groq/llama-3-8b timeout: 2s` and `groq/llama-3-8b: {timeout: 2s}`."""
    entry = node.entries[0] if node.entries else None
    target = entry and _KEYED.match(entry.key.text)
    if entry and target and not _BESIDE.fullmatch(entry.key.text):
        help = f"write `{{to: {target[1]}, timeout: 2s}}`"
        message = "a target and its options stand side by side"
        draft.find("RP009", message, entry.key.span, help)
        return True
    glued = entry and _BESIDE.fullmatch(entry.key.text)
    if not entry or not glued or not isinstance(entry.value, ScalarNode):
        return False
    name, option = glued.groups()
    value = f"{option}: {traps.shown(entry.value.text)}"
    help = f"write `{name} ({value})`, or `{{to: {name}, {value}}}`"
    message = f"the option `{option}` stands beside its target"
    draft.find("RP002", message, entry.key.span, help)
    return True


def _target_of(
    draft: Draft, node: MapNode, values: _Values, complete: bool
) -> tuple[tree.Text, tree.HopOptions] | None:
    if "to" not in values:
        if complete:
            help = "write `{to: openai/gpt-4, timeout: 5s}`"
            draft.find("RP008", "no target is named here", start_of(node), help)
        _options(draft, values)
        return None
    to = draft.text(values["to"], "`to`")
    options = _options(draft, values)
    if to is not None:
        _plain_target(draft, to)
    return None if to is None else (to, options)


def _plain_target(draft: Draft, target: tree.Text) -> None:
    """A target without options: there is no place for them here."""
    if "(" in target.value:
        help = "write the target alone; its options stand beside it, as in `{to: a/x, timeout: 5s}`"
        draft.find("RP010", "options cannot stand inside a target's name", target.span, help)


def _hop(
    draft: Draft, node: Node, what: str, section: Section
) -> tuple[tree.Text, dict[str, Node]] | None:
    """A target with options as `target (timeout: 2s)`, or the target alone."""
    form = hop_form(node) if isinstance(node, ScalarNode) else None
    if form is None:
        to = draft.text(node, what)
        glued = to and _BESIDE.match(to.value)
        if to and glued and to.value[glued.end() :].strip():
            value = traps.shown(to.value[glued.end() :].lstrip("= "))
            help = f"write `{glued[1]} ({glued[2]}: {value})`"
            message = f"the option `{glued[2]}` stands beside its target"
            draft.find("RP002", message, to.span, help)
            return None
        return None if to is None else (to, {})
    target, options, findings = form
    if options is None or findings:
        draft.findings += findings
        return None
    values = draft.section(options, section)
    to = draft.text(target, what)
    # what the options hold is made plain by `options` and `condition`, hence later
    draft.recovered(node, target.text, options)
    return None if to is None else (to, values or {})


# --- options -------------------------------------------------------------------------------------


def _options(draft: Draft, values: _Values) -> tree.HopOptions:
    clocks = {
        f"{key}_us": draft.duration_us(values[key], f"`{key}`")
        for key in (*CLOCKS, "backoff")
        if key in values
    }
    retries = None
    if "retries" in values:
        retries = draft.count(values["retries"], "`retries`", least=0, most=MAX_RETRIES)
    catch = _faults(draft, values["catch"]) if "catch" in values else None
    spans = {key: values[key].span for key in OPTIONS if key in values}
    return tree.HopOptions(**clocks, retries=retries, catch=catch, spans=spans)


def _faults(draft: Draft, node: Node) -> tuple[tree.Text, ...]:
    single = isinstance(node, ScalarNode) and not node.is_null
    found: dict[str, tree.Text] = {}
    for item in (node,) if single else draft.items(node, "`catch`"):
        text = draft.word(item, "fault", FAULT)
        if text is not None and text.value in found:
            message = f"`{traps.shown(text.value)}` is listed twice"
            draft.twice(text, found[text.value], message)
        elif text is not None:
            found[text.value] = text
    return tuple(found.values())


def _both(draft: Draft, rule: tree.HopOptions, route: tree.HopOptions) -> tree.HopOptions:
    """A rule's options and those written in its route: each may be given in one place."""
    for key in rule.spans.keys() & route.spans.keys():
        draft.find(
            "RP004",
            f"`{key}` is written twice for this rule",
            max(rule.spans[key], route.spans[key], key=lambda span: span.start),
            "keep one of the two",
            related=(Related("also written here", rule.spans[key]),),
        )
    merged = {
        name: getattr(route, name) if getattr(route, name) is not None else getattr(rule, name)
        for name in (*(f"{clock}_us" for clock in (*CLOCKS, "backoff")), "retries", "catch")
    }
    return tree.HopOptions(**merged, spans={**rule.spans, **route.spans})


def _rule_options(draft: Draft, values: _Values) -> tree.RuleOptions:
    tags = None
    if "tags" in values:
        tags = draft.texts(values["tags"], "`tags`", "a tag")
    return tree.RuleOptions(
        hold_us=draft.duration_us(values["hold"], "`hold`") if "hold" in values else None,
        sets=_sets(draft, values["set"]) if "set" in values else None,
        mirror=_mirror(draft, values["mirror"]) if "mirror" in values else None,
        expires=draft.date(values["expires"], "`expires`") if "expires" in values else None,
        tags=tags,
        spans={key: values[key].span for key in RULE_OPTIONS if key in values},
    )


def _mirror(draft: Draft, node: Node) -> tree.MirrorEntry | None:
    before = len(draft.findings)
    values = draft.section(node, MIRROR)
    if values is None:
        return None
    if len(draft.findings) == before:
        for key, example in (("to", "openai/gpt-4"), ("sample", "5%")):
            draft.missing(values, key, "`mirror`", start_of(node), f"write `{key}: {example}`")
    to = draft.text(values["to"], "`to`") if "to" in values else None
    sample = draft.share(values["sample"], "`sample`") if "sample" in values else None
    if to is not None:
        _plain_target(draft, to)
    return None if to is None or sample is None else tree.MirrorEntry(to, sample, node.span)


_Set = tuple[tree.Text, bool | int | float | str, Span]


def _sets(draft: Draft, node: Node) -> tuple[_Set, ...]:
    values = draft.section(node, SET)
    if values is None or not isinstance(node, MapNode):
        return ()
    found: list[_Set] = []
    for entry in node.entries:
        if entry.key.text not in values:
            continue
        value = _set(draft, entry.key.text, entry.value)
        if value is not None:
            name = tree.Text(entry.key.text, entry.key.span)
            found.append((name, value, entry.value.span))
    if not node.entries:
        draft.find("RP008", "`set` is empty", node.span, "write `{max_tokens: 1k}`, or remove it")
    return tuple(found)


def _set(draft: Draft, field: str, node: Node) -> bool | int | float | str | None:
    what = f"`{field}`"
    if field in _NUMBERS:
        return draft.number(node, what, *_NUMBERS[field])
    kind = next(key.kind for key in SET.keys if key.name == field)
    text: tree.Text | None
    match kind:
        case Value.INTEGER:
            return draft.integer(node, what, -_MAX_SEED, _MAX_SEED, "7")
        case Value.COUNT:
            return draft.count(node, what)
        case Value.FLAG:
            return draft.flag(node, what)
        case Words():
            text = draft.word(node, what, kind)
        case _:
            text = draft.text(node, what)
    return None if text is None else text.value
