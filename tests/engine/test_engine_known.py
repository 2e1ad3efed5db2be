"""Whom a budget is told of is whom it holds."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.dsl.core import Budget
from turnout.dsl.source import Source, Span
from turnout.engine.counter import Known, counters_of
from turnout.engine.request import Caller
from turnout.engine.spent import tenant_of, who
from turnout.engine.tenant_settings import account

SPAN = Span(Source("", ""), 0, 0)
NAMES = ["a", "b", "c"]
SCOPES = ["tenant", "team", "user", "key", "model"]
CALLERS = st.builds(
    Caller,
    st.sampled_from(NAMES),
    team=st.sampled_from([None, *NAMES]),
    user=st.sampled_from([None, *NAMES]),
    key_id=st.sampled_from([None, *NAMES]),
)


@settings(max_examples=100)
@given(
    scope=st.sampled_from(SCOPES),
    of=st.sampled_from([None, *NAMES]),
    tenant=st.sampled_from([None, *NAMES]),
    callers=st.lists(CALLERS, max_size=8),
)
def test_a_budget_is_told_of_exactly_whom_it_holds(
    scope: Any, of: str | None, tenant: str | None, callers: list[Caller]
) -> None:
    if scope in ("tenant", "model"):  # what is stored of the former names it, and has none of these
        of, tenant = tenant or of, None if scope == "model" else tenant
    budget = Budget("x", scope, of, 1, "day", (), SPAN, tenant)
    there, held = [], set()
    for caller in callers:
        name = who(scope, caller, "a")
        if name is not None:
            there.append((tenant_of(scope, caller.tenant), name))
        held |= {(c.tenant, c.who) for c in counters_of([budget], "UTC", caller, "a", 0)}
    assert set(Known(there).about(budget)) == held


@pytest.mark.parametrize("scope", ["tenant", "team", "user", "key"])
def test_a_stored_budget_holds_its_tenant_alone(scope: str) -> None:
    text = f'{{"budgets": [{{"limit": "$1/day", "scope": "{scope}"}}]}}'
    budgets = account("acme", text).budgets
    held = [
        bool(counters_of(budgets, "UTC", Caller(tenant, team="x", user="y", key_id="z"), "t", 0))
        for tenant in ("acme", "beta")
    ]
    assert held == [True, False]


def test_what_there_is_of_others_is_not_searched() -> None:
    known = Known((f"t{n % 100}", f"u{n}") for n in range(10_000))
    each = Budget("each", "user", None, 1, "day", (), SPAN, "t7")
    assert len(known.about(each)) == 100
    named = Budget("one", "user", "u107", 1, "day", (), SPAN, "t7")
    assert list(known.about(named)) == [("t7", "u107")]
    assert list(known.about(Budget("two", "user", "u108", 1, "day", (), SPAN, "t7"))) == []
