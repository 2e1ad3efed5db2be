"""The sections beside the rules, each against the names of the policy.

Each function reads one section against the policy's names and gives what it means; what is wrong is
handed to `take`, and then what comes back is not used.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from . import tree
from .agree import shown
from .core import Breaking, Budget, Cache, Embedding, Invariant, Limit, Tenant, Term
from .diagnostic import Diagnostic, Related
from .nearest import suggestion
from .refusal import Refused
from .schema import Attribute, Type
from .scope import ROUTE, Place
from .targets import Targets
from .units import quote

EMBED_TIMEOUT_US = 300_000
CACHE_TTL_US = 24 * 3_600_000_000
BUDGET_WAIT_US = 2_000_000
EMBEDS = "embeddings"  # the ability of a target that makes embeddings
# The attribute whose value a budget's `of` is, by its scope; of a model it is a target.
OF = {"tenant": "tenant", "team": "team", "user": "user", "key": "key"}

Condition = Callable[[tree.Expression, Place], Term | None]
Take = Callable[[Diagnostic], None]


def limits(policy: tree.Policy, condition: Condition) -> Iterator[Limit]:
    """`require`: the condition is about the request, the target's about a target's facts too."""
    for entry in policy.limits:
        when = None if entry.when is None else condition(entry.when, Place(facts_beside="target"))
        target = condition(entry.target, Place(has_facts=True))
        if target is not None:
            yield Limit(entry.name.value, when, target, entry.span)


def invariants(policy: tree.Policy, condition: Condition) -> Iterator[Invariant]:
    """`invariants`: about the request and the target that it goes to."""
    place = Place(ROUTE, has_facts=True, has_route=True)
    for entry in policy.invariants:
        test = condition(entry.test, place)
        if test is not None:
            yield Invariant(entry.name.value, entry.kind, test, entry.span)


def embedding(policy: tree.Policy, targets: Targets, take: Take) -> Embedding | None:
    """`embed`: a target that is known, priced, and not known to make no embeddings."""
    entry = policy.embed
    if entry is None:
        return None
    try:
        target = targets.resolve_priced(entry.target.value, entry.target.span)
    except Refused as refused:
        take(refused.diagnostic)
        return None
    # A chat model of the catalogue has abilities, none of which is this one.
    if not target.abilities.get(EMBEDS, not target.abilities):
        take(
            Diagnostic(
                "RP301",
                "error",
                f"`{target.id}` makes no embeddings",
                entry.target.span,
                "name a target that does, such as `openai/text-embedding-3-small`",
            )
        )
    timeout_us = EMBED_TIMEOUT_US if entry.timeout_us is None else entry.timeout_us
    return Embedding(target.id, timeout_us)


def tenants(
    policy: tree.Policy, attributes: Mapping[str, Attribute], take: Take
) -> Iterator[Tenant]:
    """`tenants`: name, tier and region have to be in the declared domains."""
    for entry in policy.tenants:
        _in_domain(entry.name, "tenant", attributes, take)
        if entry.tier is not None:
            _in_domain(entry.tier, "tier", attributes, take)
        if entry.region is not None:
            _in_domain(entry.region, "tenant.region", attributes, take)
        yield Tenant(
            entry.name.value,
            None if entry.tier is None else entry.tier.value,
            None if entry.region is None else entry.region.value,
            entry.rpm,
            entry.tpm,
            entry.concurrency,
        )


def breaking(policy: tree.Policy) -> Breaking:
    """`breakers`: what is not written is as built in."""
    entry, built_in = policy.breakers, Breaking()
    if entry is None:
        return built_in
    return Breaking(
        built_in.failures if entry.failures is None else entry.failures,
        built_in.cool_down_us if entry.cool_down_us is None else entry.cool_down_us,
    )


def written_budgets(policy: tree.Policy) -> tuple[tree.BudgetEntry, ...]:
    """Every budget of the file: those of `budgets` and those of the tenants."""
    of_tenants = (entry.budget for entry in policy.tenants if entry.budget is not None)
    return tuple(chain(policy.budgets, of_tenants))


def budgets(
    policy: tree.Policy, attributes: Mapping[str, Attribute], targets: Targets, take: Take
) -> Iterator[Budget]:
    """`budgets` and those of the tenants, each name once; `of` of a model names a target."""
    seen: dict[str, tree.BudgetEntry] = {}
    for entry in written_budgets(policy):
        name = entry.name.value
        first = seen.setdefault(name, entry)
        if first is not entry:
            take(
                Diagnostic(
                    "RP004",
                    "error",
                    f"there are two budgets `{name}`",
                    entry.name.span,
                    "give one of them another name",
                    (Related("it is named here first", first.name.span),),
                )
            )
        if entry.of is not None and entry.scope in OF:
            _in_domain(entry.of, OF[entry.scope], attributes, take)
        of = None if entry.of is None else entry.of.value
        if entry.of is not None and entry.scope == "model":
            try:
                of = targets.declared(entry.of.value, entry.of.span).id
            except Refused as refused:
                take(refused.diagnostic)
        yield Budget(
            name,
            entry.scope,
            of,
            entry.limit_nano_usd,
            entry.period,
            entry.steps,
            entry.span,
        )


def cache(policy: tree.Policy, condition: Condition) -> Cache | None:
    """`cache`: its conditions are about the request alone."""
    entry = policy.cache
    if entry is None:
        return None
    return Cache(
        CACHE_TTL_US if entry.ttl_us is None else entry.ttl_us,
        None if entry.only is None else condition(entry.only, Place()),
        None if entry.never is None else condition(entry.never, Place()),
    )


def lists(policy: tree.Policy) -> dict[str, tuple[str, ...]]:
    """`lists`: texts by the name of their list."""
    return {entry.name.value: tuple(item.value for item in entry.items) for entry in policy.lists}


def _in_domain(text: tree.Text, name: str, attributes: Mapping[str, Attribute], take: Take) -> None:
    """RP112 where an attribute's values are declared and this is none of them."""
    attribute = attributes.get(name)
    if attribute is None or attribute.type is not Type.ENUM or attribute.domain is None:
        return
    if text.value in attribute.domain:
        return
    take(
        Diagnostic(
            "RP112",
            "error",
            f"`{name}` is never `{quote(text.value)}`",
            text.span,
            suggestion(text.value, attribute.domain)
            or f"it is one of {', '.join(attribute.domain)}: `{shown(text.span)}` would have to "
            "stand under `attributes:`",
        )
    )
