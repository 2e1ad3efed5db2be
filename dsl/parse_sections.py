"""The smaller sections: all but rules and hops, providers, targets and models.

What does not belong here: rules and hops (`parse_rules`), providers and targets (`parse_targets`).
Over 300 lines because there are twelve of them, none of which would fill a file.
"""

import re
from collections.abc import Callable
from typing import Literal, TypeVar

from . import traps, tree
from .document import Hole, ListNode, MapNode, Node, ScalarNode
from .draft import Draft, start_of
from .expression import KEYWORDS
from .source import Span
from .vocabulary import (
    ACTION,
    BREAKERS,
    BUDGET,
    CACHE,
    EMBED,
    EXPECT,
    INVARIANT,
    LIMIT,
    SCOPE,
    TENANT,
    TEST,
    Section,
)

_ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\s+=(?!=)")
_NO_TIME = re.compile(r"0+(\.0+)?\s*(ms|[smhd])?")
_T = TypeVar("_T")
# More failures in a row than this are seen by no one; a breaker that opens for less than a second
# spares nothing, and one that opens for longer than an hour forgets its target.
MOST_FAILURES = 1_000
COOL_DOWNS_US = (1_000_000, 3_600_000_000)
_Step = tuple[int, Literal["alert", "reject"]]


def version(draft: Draft, node: Node) -> int:
    """The version of the language."""
    text = draft.text(node, "`version`")
    if text is not None and text.value != "1":
        message = f"version `{traps.shown(text.value)}` is not known"
        draft.find("RP010", message, text.span, "write `version: 1`")
    return 1


def attributes(draft: Draft, node: Node) -> dict[str, tuple[tree.Text, ...]]:
    """The declared domains."""
    domains: dict[str, tuple[tree.Text, ...]] = {}
    for entry in draft.entries(node, "`attributes`") or ():
        what = f"the domain of `{traps.shown(entry.key.text)}`"
        domains[entry.key.text] = draft.texts(entry.value, what, "a value of a domain")
        if isinstance(entry.value, ListNode) and not entry.value.items:
            help = "list the values, or remove the line: an undeclared attribute is open"
            draft.find("RP008", f"{what} is empty", entry.value.span, help)
    return domains


def definitions(draft: Draft, node: Node) -> tuple[tree.Definition, ...]:
    """The entries of `let`."""
    found: list[tree.Definition] = []
    if isinstance(node, ScalarNode) and _ASSIGNED.match(node.text):
        message = f"`{traps.shown(node.text)}` lacks its `:`"
        draft.find("RP002", message, node.span, traps.with_colon(node.text))
        return ()
    for entry in draft.entries(node, "`let`") or ():
        draft.identifier(entry.key, KEYWORDS)
        expression = draft.condition(entry.value, f"`{traps.shown(entry.key.text)}`")
        if expression is not None:
            name = tree.Text(entry.key.text, entry.key.span)
            found.append(tree.Definition(name, expression))
    return tuple(found)


def lists(draft: Draft, node: Node) -> tuple[tree.ListEntry, ...]:
    """The entries of `lists`."""
    found: list[tree.ListEntry] = []
    for entry in draft.entries(node, "`lists`") or ():
        draft.identifier(entry.key, KEYWORDS)
        what = f"the list `{traps.shown(entry.key.text)}`"
        items = draft.texts(entry.value, what, "an item of a list")
        if isinstance(entry.value, ListNode) and not entry.value.items:
            draft.find("RP008", f"{what} is empty", entry.value.span, "write `[acme, initech]`")
        name = tree.Text(entry.key.text, entry.key.span)
        found.append(tree.ListEntry(name, items, entry.key.span.to(entry.value.span)))
    return tuple(found)


def limits(draft: Draft, node: Node) -> tuple[tree.LimitEntry, ...]:
    """The entries of `require`."""
    names: dict[str, tree.Text] = {}

    def limit(item: Node) -> tree.LimitEntry | None:
        example = '{name: eu_stays_in_eu, when: tenant.region == "eu", target: region == "eu"}'
        values = _complete(draft, item, LIMIT, ("name", "target"), f"write `{example}`")
        if values is None:
            return None
        name = _name(draft, values, "the name of a limit", names, "limits")
        when = draft.condition(values["when"], "`when`") if "when" in values else None
        target = draft.condition(values["target"], "`target`") if "target" in values else None
        if name is None or target is None:
            return None
        return tree.LimitEntry(name, when, target, item.span)

    return _all(draft, node, "`require`", limit)


def invariants(draft: Draft, node: Node) -> tuple[tree.InvariantEntry, ...]:
    """The entries of `invariants`."""
    names: dict[str, tree.Text] = {}
    help = "write `{name: bounded_bill, never: worst_case(cost) > $2}`"

    def invariant(item: Node) -> tree.InvariantEntry | None:
        before = len(draft.findings)
        values = _complete(draft, item, INVARIANT, ("name",), help)
        if values is None:
            return None
        name = _name(draft, values, "the name of an invariant", names, "invariants")
        written = [key for key in values if key in ("never", "always")]
        if not written and len(draft.findings) == before:
            message = "this invariant has neither `never` nor `always`"
            draft.find("RP008", message, name.span if name else start_of(item), help)
        if len(written) == 2 and isinstance(item, MapNode):
            second = next(e.key.span for e in item.entries if e.key.text == written[1])
            message = "an invariant is either `never` or `always`"
            draft.find("RP005", message, second, "write two invariants")
        tests = [draft.condition(values[key], f"`{key}`") for key in written]
        if name is None or not tests or tests[0] is None:
            return None
        return tree.InvariantEntry(name, written[0], tests[0], item.span)  # type: ignore[arg-type]

    return _all(draft, node, "`invariants`", invariant)


def embed(draft: Draft, node: Node) -> tree.EmbedEntry | None:
    """The section `embed`."""
    help = "write `{target: openai/text-embedding-3-small, timeout: 300ms}`"
    values = _complete(draft, node, EMBED, ("target",), help)
    if values is None:
        return None
    target = draft.text(values["target"], "`target`") if "target" in values else None
    timeout = draft.duration_us(values["timeout"], "`timeout`") if "timeout" in values else None
    return None if target is None else tree.EmbedEntry(target, timeout, node.span)


def cache(draft: Draft, node: Node) -> tree.CacheEntry | None:
    """The section `cache`."""
    values = draft.section(node, CACHE)
    if values is None:
        return None
    return tree.CacheEntry(
        ttl_us=_ttl_us(draft, values["ttl"]) if "ttl" in values else None,
        only=draft.condition(values["only"], "`only`") if "only" in values else None,
        never=draft.condition(values["never"], "`never`") if "never" in values else None,
        span=node.span,
    )


def _ttl_us(draft: Draft, node: Node) -> int | None:
    if isinstance(node, ScalarNode) and _NO_TIME.fullmatch(node.text.strip()):
        # Whoever writes this wants no cache; what is said of other durations leads nowhere.
        help = "remove `cache:` where nothing is to be kept, or write `24h`"
        draft.find("RP010", "`ttl` must be above zero", node.span, help)
        return None
    return draft.duration_us(node, "`ttl`")


def breakers(draft: Draft, node: Node) -> tree.BreakersEntry | None:
    """The section `breakers`."""
    values = draft.section(node, BREAKERS)
    if values is None:
        return None
    failures, wait = values.get("failures"), values.get("cool_down")
    return tree.BreakersEntry(
        failures=draft.count(failures, "`failures`", most=MOST_FAILURES) if failures else None,
        cool_down_us=draft.duration_us(wait, "`cool_down`", *COOL_DOWNS_US) if wait else None,
        span=node.span,
    )


# --- money ---------------------------------------------------------------------------------------


def budgets(draft: Draft, node: Node) -> tuple[tree.BudgetEntry, ...]:
    """The entries of `budgets`."""
    names: dict[str, tree.Text] = {}

    def budget(item: Node) -> tree.BudgetEntry | None:
        help = "write `{name: team, scope: team, limit: $20/day}`"
        values = _complete(draft, item, BUDGET, ("name", "scope", "limit"), help)
        if values is None:
            return None
        name = _name(draft, values, "the name of a budget", names, "budgets")
        scope = draft.word(values["scope"], "scope", SCOPE) if "scope" in values else None
        of = draft.text(values["of"], "`of`") if "of" in values else None
        limit = draft.allowance(values["limit"], "`limit`") if "limit" in values else None
        steps = _steps(draft, values["at"]) if "at" in values else ()
        if name is None or scope is None or limit is None:
            return None
        return tree.BudgetEntry(
            name,
            scope.value,  # type: ignore[arg-type]
            of,
            limit[0],
            limit[1],
            steps,
            item.span,
        )

    return _all(draft, node, "`budgets`", budget)


def _steps(draft: Draft, node: Node) -> tuple[_Step, ...]:
    found: dict[int, Literal["alert", "reject"]] = {}
    for entry in draft.entries(node, "`at`") or ():
        share = draft.share(entry.key, "a step of `at`")
        action = draft.word(entry.value, "action", ACTION)
        if share in found:
            message = f"the step `{traps.shown(entry.key.text)}` is written twice"
            draft.find("RP004", message, entry.key.span, "keep one of the two")
        elif share is not None and action is not None:
            found[share] = "alert" if action.value == "alert" else "reject"
    if isinstance(node, MapNode) and not node.entries:
        draft.find("RP008", "`at` is empty", node.span, "write `{80%: alert, 100%: reject}`")
    return tuple(sorted(found.items()))


def tenants(draft: Draft, node: Node) -> tuple[tree.TenantEntry, ...]:
    """The entries of `tenants`; a budget there is one of scope tenant, named as the tenant."""
    found: list[tree.TenantEntry] = []
    for entry in draft.entries(node, "`tenants`") or ():
        name = tree.Text(entry.key.text, entry.key.span)
        empty = isinstance(entry.value, ScalarNode) and entry.value.is_null
        section = TENANT.called(f"the tenant `{traps.shown(name.value)}`")
        values = {} if empty else draft.section(entry.value, section)
        if values is None:
            continue
        budget = None
        if "budget" in values:
            limit = draft.allowance(values["budget"], "`budget`")
            if limit is not None:
                span = values["budget"].span
                budget = tree.BudgetEntry(
                    name,
                    "tenant",
                    name,
                    limit[0],
                    limit[1],
                    (),
                    span,
                )
        found.append(
            tree.TenantEntry(
                name=name,
                tier=draft.text(values["tier"], "`tier`") if "tier" in values else None,
                region=draft.text(values["region"], "`region`") if "region" in values else None,
                rpm=draft.count(values["rpm"], "`rpm`") if "rpm" in values else None,
                tpm=draft.count(values["tpm"], "`tpm`") if "tpm" in values else None,
                budget=budget,
                span=entry.key.span.to(entry.value.span),
                concurrency=draft.count(values["concurrency"], "`concurrency`")
                if "concurrency" in values
                else None,
            )
        )
    return tuple(found)


# --- tests ---------------------------------------------------------------------------------------


def tests(draft: Draft, node: Node) -> tuple[tree.TestCase, ...]:
    """The entries of `tests`."""
    return _all(draft, node, "`tests`", lambda item: _test(draft, item))


def _test(draft: Draft, node: Node) -> tree.TestCase | None:
    before = len(draft.findings)
    values = draft.section(node, TEST)
    if values is None:
        return None
    complete = len(draft.findings) == before
    given: dict[str, tuple[object, Span]] = {}
    for entry in draft.entries(values["given"], "`given`") or () if "given" in values else ():
        if isinstance(entry.value, ScalarNode):
            given[entry.key.text] = (draft.data(entry.value), entry.value.span)
        elif not isinstance(entry.value, Hole):
            message = f"the value of `{traps.shown(entry.key.text)}` is not a single value"
            draft.find("RP009", message, start_of(entry.value), "write one value")
    rule = route = None
    if "expect" in values and isinstance(values["expect"], MapNode):
        expect = draft.section(values["expect"], EXPECT) or {}
        rule = draft.text(expect["rule"], "`rule`") if "rule" in expect else None
        route = draft.text(expect["route"], "`route`") if "route" in expect else None
    elif "expect" in values:
        rule = draft.text(values["expect"], "`expect`")
    if complete and rule is None and route is None and len(draft.findings) == before:
        help = "write the name of the rule: `expect: cheap_for_simple`"
        draft.find("RP008", "this test expects nothing", start_of(node), help)
    return tree.TestCase(
        name=draft.text(values["name"], "the name of a test") if "name" in values else None,
        given=given,
        at=draft.text(values["at"], "`at`") if "at" in values else None,
        expect_rule=rule,
        expect_route=route,
        span=node.span,
    )


# --- what they share -----------------------------------------------------------------------------


def _all(draft: Draft, node: Node, what: str, read: Callable[[Node], _T | None]) -> tuple[_T, ...]:
    found = [read(item) for item in draft.items(node, what)]
    return tuple(entry for entry in found if entry is not None)


def _complete(
    draft: Draft, node: Node, section: Section, keys: tuple[str, ...], help: str
) -> dict[str, Node] | None:
    """The values of a section with a finding for each key it lacks, if nothing else is wrong."""
    before = len(draft.findings)
    values = draft.section(node, section)
    if values is not None and len(draft.findings) == before:
        for key in keys:
            draft.missing(values, key, section.what, start_of(node), help)
    return values


def _name(
    draft: Draft, values: dict[str, Node], what: str, names: dict[str, tree.Text], plural: str
) -> tree.Text | None:
    name = draft.text(values["name"], what) if "name" in values else None
    if name is not None:
        draft.name(name, names, plural)
    return name
