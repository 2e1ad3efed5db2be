"""What is known of tenants: the file wins, then what is stored, then the environment."""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.dsl.check import compile_policy
from turnout.dsl.core import Budget, Program
from turnout.dsl.source import Source, Span
from turnout.engine.accounts import Account, Accounts, ChangedMeanwhile, default_budget
from turnout.engine.audit import Event
from turnout.engine.catalog import language_schema
from turnout.engine.counter import counters_of
from turnout.engine.rates import Rate
from turnout.engine.request import Caller, RequestError
from turnout.engine.state.accounts import StoredTenants
from turnout.engine.state.database import Database, open_database
from turnout.engine.state.store import StoreError
from turnout.engine.tenant_settings import WrongSettings, account, read_settings
from turnout.engine.tenants import Tenants

RULES = "routing_policy:\n  - {name: all, route: openai/gpt-4o}\n"


def program(text: str = "") -> Program:
    return compile_policy(Source("routing.yml", text + RULES), language_schema())


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
def store(database: Database) -> StoredTenants:
    return StoredTenants(database, lambda: 1_000_000)


class Heard:
    """An audit that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def note(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


def audited(database: Database) -> list[tuple[str, str, str, dict[str, Any]]]:
    with database.reading() as reading:
        rows = reading.exec_driver_sql("SELECT actor, action, object, detail FROM audit").all()
    return [(actor, action, object, json.loads(detail)) for actor, action, object, detail in rows]


# --- who is believed -----------------------------------------------------------------------------


def test_the_file_wins_whole_over_what_is_stored(store: StoredTenants) -> None:
    store.put("acme", {"rpm": 1, "tpm": 9, "budgets": [{"limit": "$1/day"}]}, "cli")
    store.put("initech", {"tpm": 9, "budgets": [{"limit": "$1/day"}]}, "cli")
    accounts, file = Accounts(store), program("tenants: {acme: {rpm: 600, tier: pro}}\n")
    accounts.refresh()
    assert accounts.rates_of(file, Caller("acme")) == (Rate("tenant:acme", "requests", 600),)
    assert accounts.rates_of(file, Caller("initech")) == (Rate("tenant:initech", "tokens", 9),)
    assert accounts.budgets_of(file, Caller("acme")) == ()
    assert [one.of for one in accounts.budgets(file)] == ["initech"]
    assert accounts.tenant(file, "nobody").rpm is None


def test_rates_of_a_key_stand_beside_those_of_its_tenant() -> None:
    caller = Caller("acme", key_id="key_1", rpm=60, tpm=70)
    assert Accounts().rates_of(program("tenants: {acme: {rpm: 600}}\n"), caller) == (
        Rate("tenant:acme", "requests", 600),
        Rate("key:key_1", "requests", 60),
        Rate("key:key_1", "tokens", 70),
    )


@pytest.mark.parametrize(
    ("text", "stored", "expected"),
    [
        ("", {}, [("acme", 7_000_000_000, "month")]),
        ("tenants: {acme: {budget: $5/day}}\n", {}, [("acme", 5_000_000_000, "day")]),
        (
            "budgets: [{name: each, scope: tenant, limit: $2/week}]\n",
            {},
            [("each", 2_000_000_000, "week")],
        ),
        ("", {"budgets": [{"limit": "$3/week"}]}, [("acme", 3_000_000_000, "week")]),
        (
            "",
            {"budgets": [{"limit": "$3/week", "scope": "user"}]},
            [("acme_user", 3_000_000_000, "week"), ("acme", 7_000_000_000, "month")],
        ),
    ],
    ids=["nobody else", "the file", "each tenant", "stored", "stored of users"],
)
def test_the_budget_of_the_environment_is_the_one_that_nobody_else_says(
    text: str, stored: dict[str, Any], expected: list[object], store: StoredTenants
) -> None:
    store.put("acme", stored, "cli")
    accounts = Accounts(store, default_budget("acme", 7_000_000_000))
    accounts.refresh()
    file = program(text)
    for found in (accounts.budgets(file), accounts.budgets_of(file, Caller("acme"))):
        assert [(one.name, one.limit_nano_usd, one.period) for one in found] == expected
    others = accounts.budgets_of(file, Caller("initech"))
    assert [one.name for one in others] == [
        one.name for one in file.budgets if one.of in (None, "initech")
    ]


@settings(max_examples=30)
@given(
    budgets=st.lists(
        st.tuples(
            st.sampled_from(["tenant", "team", "user", "key", "model"]),
            st.sampled_from([None, "a", "b", "openai/gpt-4o"]),
            st.integers(1, 9),
        ),
        max_size=8,
    ),
    caller=st.builds(
        Caller,
        st.sampled_from(["a", "b"]),
        team=st.sampled_from([None, "a", "b"]),
        user=st.sampled_from([None, "a"]),
        key_id=st.sampled_from([None, "b"]),
    ),
)
def test_the_budgets_of_a_caller_are_all_that_its_requests_count_against(
    budgets: list[tuple[Any, str | None, int]], caller: Caller
) -> None:
    span = Span(Source("", ""), 0, 0)
    file = replace(
        program(),
        budgets=tuple(
            Budget(f"b{number}", scope, of, usd, "day", (), span)
            for number, (scope, of, usd) in enumerate(budgets)
        ),
    )
    found = Accounts().budgets_of(file, caller)
    for target in ("openai/gpt-4o", "a"):
        counters = counters_of(file.budgets, "UTC", caller, target, 0)
        assert counters_of(found, "UTC", caller, target, 0) == counters


def test_thousands_of_budgets_of_others_are_not_looked_at() -> None:
    span = Span(Source("", ""), 0, 0)
    budgets = [Budget(f"b{n}", "tenant", f"t{n}", 1, "day", (), span) for n in range(2_000)]
    file = replace(program(), budgets=tuple(budgets))
    accounts = Accounts()
    assert [one.of for one in accounts.budgets_of(file, Caller("t1999"))] == ["t1999"]
    again = replace(file, budgets=())
    assert accounts.budgets_of(again, Caller("t1999")) == ()


def test_tier_and_region_of_a_stored_tenant_are_its_callers(store: StoredTenants) -> None:
    store.put("acme", {"tier": "pro", "region": "eu"}, "cli")
    store.put("odd", {"tier": "gold"}, "cli")
    accounts = Accounts(store)
    accounts.refresh()
    file = program("attributes: {tier: [free, pro]}\n")
    assert accounts.complete(file, Caller("acme")) == Caller("acme", "pro", region="eu")
    assert accounts.complete(file, Caller("acme", "free")).tier == "free"  # its key's own
    assert accounts.complete(file, Caller("odd")).tier == "default"  # the policy has no such tier
    assert accounts.complete(file, Caller("nobody")) == Caller("nobody")


def test_a_tenant_that_the_policy_leaves_out_is_told_so(store: StoredTenants) -> None:
    file = program("attributes: {tenant: [acme, initech]}\n")
    accounts = Accounts(store)
    accounts.refresh()
    accounts.check(file, "acme")
    accounts.check(program(), "hooli")
    with pytest.raises(RequestError, match="`hooli` is none of them") as caught:
        accounts.check(file, "hooli")
    assert (caught.value.status, caught.value.code) == (403, "tenant_not_in_policy")


def test_a_stored_tenant_that_cannot_be_read_is_not_let_through(
    store: StoredTenants, database: Database
) -> None:
    with database.writing() as writing:
        writing.exec_driver_sql("INSERT INTO tenants VALUES ('acme', '{\"rpm\": \"x\"}', 1)")
    accounts = Accounts(store)
    accounts.refresh()
    with pytest.raises(RequestError) as caught:
        accounts.check(program(), "acme")
    assert caught.value.code == "tenant_unreadable"
    accounts.check(program("tenants: {acme: {}}\n"), "acme")


class Unreachable:
    """Tenants that nobody can read at first."""

    def __init__(self, store: StoredTenants) -> None:
        self.store, self.is_down = store, True

    def changed(self, after: int) -> tuple[int, Mapping[str, Account]] | None:
        if self.is_down:
            raise StoreError("disk I/O error")
        return self.store.changed(after)


def test_before_tenants_were_read_once_none_is_served_but_those_of_the_file(
    store: StoredTenants,
) -> None:
    store.put("acme", {"budgets": [{"name": "all", "limit": "$1/day"}]}, "cli")
    unreachable = Unreachable(store)
    accounts = Accounts(unreachable)
    accounts.refresh()
    with pytest.raises(RequestError) as caught:
        accounts.check(program(), "acme")
    assert (caught.value.status, caught.value.code) == (503, "tenants_unavailable")
    accounts.check(program("tenants: {acme: {}}\n"), "acme")
    unreachable.is_down = False
    accounts.refresh()
    accounts.check(program(), "acme")
    unreachable.is_down = True  # what is known stays
    accounts.refresh()
    accounts.check(program(), "acme")
    assert [one.name for one in accounts.budgets_of(program(), Caller("acme"))] == ["all"]


def test_a_change_is_seen_at_the_next_look_and_costs_nothing_before(store: StoredTenants) -> None:
    accounts = Accounts(store)
    accounts.refresh()
    number = store.changed(-1)
    assert number is not None and store.changed(number[0]) is None
    store.put("acme", {"concurrency": 3}, "cli")
    assert accounts.tenant(program(), "acme").concurrency is None
    accounts.refresh()
    assert accounts.tenant(program(), "acme").concurrency == 3
    store.remove("acme", "cli")
    accounts.refresh()
    assert accounts.tenant(program(), "acme").concurrency is None


# --- what operators write ------------------------------------------------------------------------

COUNTS = st.integers(1, 10**15)
NAMES = st.text("abcäß _-/.", min_size=1, max_size=12).filter(lambda s: s == s.strip())
CENTS = st.integers(1, 10**8)
LIMITS = st.builds(
    lambda cents, period: f"${cents // 100}.{cents % 100:02}/{period}",
    CENTS,
    st.sampled_from(("day", "week", "month")),
)
STEPS = st.dictionaries(
    st.integers(1, 100).map("{}%".format), st.sampled_from(("alert", "reject")), min_size=1
)
BUDGETS = st.lists(
    st.fixed_dictionaries(
        {"limit": LIMITS, "name": NAMES},
        optional={
            "scope": st.sampled_from(("team", "user", "key")),
            "of": NAMES,
            "at": STEPS,
        },
    ).filter(lambda one: "of" not in one or "scope" in one),
    max_size=4,
    unique_by=lambda one: str(one["name"]),
)
SETTINGS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "tier": NAMES,
        "region": NAMES,
        "rpm": COUNTS,
        "tpm": COUNTS,
        "concurrency": COUNTS,
        "budgets": BUDGETS,
    },
)


@given(SETTINGS)
@settings(deadline=None)
def test_what_is_written_is_read_and_nothing_is_dropped(written: dict[str, Any]) -> None:
    read = read_settings("acme", written)
    assert read_settings("acme", read) == read
    assert read.keys() == written.keys()
    assert {name: read[name] for name in read if name != "budgets"} == {
        name: written[name] for name in written if name != "budgets"
    }
    kept: Account = account("acme", json.dumps(read))
    assert len(kept.budgets) == len(written.get("budgets", ()))
    for one, said, budget in zip(
        read.get("budgets", ()), written.get("budgets", ()), kept.budgets, strict=True
    ):
        assert one.keys() == said.keys()
        amount, period = said["limit"][1:].split("/")
        whole, cents = amount.split(".")
        assert budget.limit_nano_usd == (int(whole) * 100 + int(cents)) * 10_000_000
        assert (budget.period, budget.name) == (period, said["name"])
        assert len(budget.steps) == len(said.get("at", ()))
        assert {**one, "limit": 0} == {**said, "limit": 0}


@pytest.mark.parametrize(
    ("written", "message", "param"),
    [
        ({"budget": "$5/day"}, "Unknown field `budget`: did you mean `budgets`?", "budget"),
        ({"rmp": 5}, "Unknown field `rmp`: did you mean `rpm`?", "rmp"),
        ({"zzzzzz": 5}, "Unknown field `zzzzzz`: it may be one of", "zzzzzz"),
        (
            {"budgets": [{"amount": "$5/day", "limit": "$5/day"}]},
            "Unknown field `budgets.0.amount`: did you mean `limit`?",
            "budgets.0.amount",
        ),
        ({"budgets": [{}]}, "`budgets.0.limit` is missing.", "budgets.0.limit"),
        ({"budgets": {}}, "`budgets` must be a list of budgets.", "budgets"),
        ({"budgets": ["$5"]}, "`budgets.0` must be an object.", "budgets.0"),
        ({"budgets": [{"limit": "$5"}]}, "write one such as `$20/day`", "budgets.0.limit"),
        ({"budgets": [{"limit": "$0/day"}]}, "no amount of money above 0", "budgets.0.limit"),
        ({"budgets": [{"limit": 5}]}, "write one such as `$20/day`", "budgets.0.limit"),
        ({"budgets": [{"limit": "$5/day", "at": {"80": "alert"}}]}, "no share", "budgets.0.at"),
        (
            {"budgets": [{"limit": "$5/day", "at": {"80%": "warn"}}]},
            "unknown action",
            "budgets.0.at",
        ),
        (
            {"budgets": [{"limit": "$5/day", "scope": "model"}]},
            "stands in the policy file",
            "budgets.0.scope",
        ),
        (
            {"budgets": [{"limit": "$5/day", "of": "b"}]},
            "cannot be of the tenant `b`",
            "budgets.0.of",
        ),
        ({"budgets": [{"limit": "$5/day"}] * 2}, "There are two budgets", "budgets.1.name"),
        ({"rpm": 0}, "a whole number above 0", "rpm"),
        ({"rpm": True}, "a whole number above 0", "rpm"),
        ({"rpm": 1.5}, "a whole number above 0", "rpm"),
        ({"tpm": "$5"}, "it is no count", "tpm"),
        ({"tier": 5}, "printable characters", "tier"),
        ({"tier": "a\nb"}, "printable characters", "tier"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_named(written: dict[str, Any], message: str, param: str) -> None:
    with pytest.raises(WrongSettings) as caught:
        read_settings("acme", written)
    assert message in caught.value.message and caught.value.param == param


def test_numbers_may_be_written_as_in_a_policy() -> None:
    assert read_settings("acme", {"tpm": "200k", "rpm": None}) == {"tpm": 200_000}


# --- operators -----------------------------------------------------------------------------------


def refusal_of(call: Any, *arguments: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize("name", ["\uff41cme", "cafe\u0301", "\ufb01ne"])
def test_a_name_that_reads_as_another_is_refused(store: StoredTenants, name: str) -> None:
    tenants = Tenants(store, lambda: None, Heard())
    error = refusal_of(tenants.put, name, {}, "admin")
    assert (error.status, error.code) == (400, "invalid_tenant")
    assert f"write `{unicodedata.normalize('NFKC', name)}`" in error.message


def test_changes_and_refusals_are_in_the_audit_log(
    store: StoredTenants, database: Database
) -> None:
    heard = Heard()
    file = program("attributes: {tier: [pro]}\ntenants: {hooli: {rpm: 5}}\n")
    tenants = Tenants(store, lambda: file, heard)
    tenants.put("acme", {"rpm": 5}, "key_1")
    tenants.put("acme", {"rpm": 6, "budgets": [{"limit": "$1/day"}]}, "admin")
    tenants.remove("acme", "cli")
    assert audited(database) == [
        ("key_1", "tenant.create", "acme", {"after.rpm": 5}),
        (
            "admin",
            "tenant.change",
            "acme",
            {"before.rpm": 5, "after.rpm": 6, "after.budgets.0": '{"limit":"$1/day"}'},
        ),
        (
            "cli",
            "tenant.delete",
            "acme",
            {"before.rpm": 6, "before.budgets.0": '{"limit":"$1/day"}'},
        ),
    ]
    for call, status, code in (
        (lambda: tenants.put("hooli", {}, "cli"), 409, "in_policy_file"),
        (lambda: tenants.remove("hooli", "cli"), 409, "in_policy_file"),
        (lambda: tenants.put("acme", {"rmp": 5}, "cli"), 400, "invalid_tenant"),
        (lambda: tenants.put(" ", {}, "cli"), 400, "invalid_tenant"),
        (lambda: tenants.put("acme", {"tier": "prro"}, "cli"), 400, "invalid_tenant"),
        (lambda: tenants.remove("acme", "cli"), 404, "tenant_not_found"),
    ):
        error = refusal_of(call)
        assert (error.status, error.code) == (status, code)
        event = heard.events[-1]
        assert event.outcome == "refused" and event.detail["code"] == code
    assert len(heard.events) == 6


def test_who_changes_what_somebody_else_has_changed_is_told(store: StoredTenants) -> None:
    tenants = Tenants(store, lambda: None, Heard())
    first, is_new = tenants.put("acme", {"rpm": 5}, "cli", "")
    assert is_new
    assert refusal_of(tenants.put, "acme", {"rpm": 6}, "cli", "").status == 412
    second, is_new = tenants.put("acme", {"rpm": 7}, "cli", first["revision"])
    assert not is_new and second["revision"] != first["revision"]
    error = refusal_of(tenants.put, "acme", {"rpm": 8}, "cli", first["revision"])
    assert error.code == "tenant_changed" and second["revision"] in error.message
    assert refusal_of(tenants.remove, "acme", "cli", first["revision"]).status == 412
    assert tenants.show("acme")["settings"] == {"rpm": 7}
    with pytest.raises(ChangedMeanwhile):
        store.remove("acme", "cli", "0")


def test_tenants_of_the_file_are_shown_as_it_writes_them(store: StoredTenants) -> None:
    store.put("acme", {"rpm": 5}, "cli")
    file = program("tenants: {hooli: {tier: pro, rpm: 600, tpm: 200k, budget: $100/month}}\n")
    tenants = Tenants(store, lambda: file, Heard())
    acme, hooli = tenants.all()
    assert (acme["source"], acme["settings"]) == ("stored", {"rpm": 5})
    assert hooli == {
        "name": "hooli",
        "source": "policy",
        "settings": {
            "tier": "pro",
            "rpm": 600,
            "tpm": 200_000,
            "budgets": [{"name": "hooli", "scope": "tenant", "of": "hooli", "limit": "$100/month"}],
        },
    }
    assert tenants.show("hooli") == hooli
