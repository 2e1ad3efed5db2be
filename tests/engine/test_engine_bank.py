"""The bank and the store: counters that say what the ledger says, leases, and corrections."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.engine.bank import TERM_US, Ask, Held, LostHolder
from turnout.engine.books import Drift
from turnout.engine.counter import Counter
from turnout.engine.purse import Exceeded, Slip
from turnout.engine.record import MIRROR_HOP, Late
from turnout.engine.state.database import FILE
from turnout.engine.state.store import Group

from .vault import NOW_US, Vault, counter, paid

W = 1_000
ACME = counter("tenant", "acme", 100 * W)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    vault = Vault(tmp_path)
    yield vault
    vault.close()


def used(vault: Vault, *which: tuple[str, str]) -> list[tuple[int, int]]:
    told = vault.books.standings([counter(scope, who, 0) for scope, who in which])
    return [(one.settled_nano_usd, one.unconfirmed_nano_usd) for one in told]


def leased(vault: Vault, nano_usd: int) -> tuple[str, int]:
    """A holder with a lease of this much of ACME, and the counter's number."""
    bank = vault.bank()
    holder = bank.join()
    room = bank.lease(holder, [Ask((ACME,), nano_usd)], {})[ACME.stretch]
    assert room.granted_nano_usd == nano_usd and room.number is not None
    return holder, room.number


def test_a_counter_made_in_the_middle_of_its_stretch_has_what_was_spent_before(
    vault: Vault,
) -> None:
    vault.store.write(Group([paid("a", 3 * W, 2 * W), paid("b", W, tenant="other")]))
    vault.store.write(Group([paid("c", 9 * W, at_us=ACME.from_us - 1)]))
    leased(vault, W)
    assert used(vault, ("tenant", "acme")) == [(3 * W, 2 * W)]
    vault.store.write(Group([paid("d", W)]))
    assert used(vault, ("tenant", "acme")) == [(4 * W, 2 * W)]
    assert vault.books.recount() == []


def test_a_row_counts_wherever_it_belongs_whatever_was_booked(vault: Vault) -> None:
    bank = vault.bank()
    counters = (ACME, counter("user", "ana", W), counter("model", "openai/gpt-4", W))
    bank.lease(bank.join(), [Ask(counters, 1)], {})
    vault.store.write(Group([paid("a", 5, user="ana"), paid("b", 7, target="openai/gpt-4o")]))
    told = used(vault, ("tenant", "acme"), ("user", "ana"), ("model", "openai/gpt-4"))
    assert told == [(12, 0), (5, 0), (5, 0)]


def test_what_a_caller_pays_himself_counts_against_nothing(vault: Vault) -> None:
    leased(vault, W)
    record = paid("a", 5 * W)
    record.attempts[0].payer = "caller"
    vault.store.write(Group([record]))
    assert used(vault, ("tenant", "acme")) == [(0, 0)]


def test_a_group_that_is_written_again_counts_once(vault: Vault) -> None:
    holder, number = leased(vault, 10 * W)
    first = Group([paid("a", W)], slips={"a": [Slip(holder, number, W)]})
    both = Group(
        [paid("a", W), paid("b", 2 * W)],
        slips={"a": [Slip(holder, number, W)], "b": [Slip(holder, number, 2 * W)]},
    )
    for group in (first, first, both, both):
        vault.store.write(group)
    assert used(vault, ("tenant", "acme")) == [(3 * W, 0)]
    assert vault.leases() == {holder: 7 * W}


def test_the_slips_of_a_copy_come_with_its_own_row(vault: Vault) -> None:
    holder, number = leased(vault, 10 * W)
    record = paid("a", W)
    copy = replace(record.attempts[0], kind="mirror", hop=MIRROR_HOP, cost_nano_usd=4 * W)
    late = Group(late=[Late(record, copy)], late_slips={"a": [Slip(holder, number, 4 * W)]})
    vault.store.write(late)
    vault.store.write(Group([record], slips={"a": [Slip(holder, number, W)]}))
    vault.store.write(late)
    assert used(vault, ("tenant", "acme")) == [(5 * W, 0)]
    assert vault.leases() == {holder: 5 * W}


def test_a_group_that_cannot_be_written_moves_nothing(vault: Vault) -> None:
    holder, number = leased(vault, 10 * W)
    slips: dict[str, Sequence[Slip]] = {"a": [Slip(holder, number, W)]}
    broken = paid("a", W)
    broken.attempts[0].hop = "x" * 3  # type: ignore[assignment]
    object.__setattr__(broken.attempts[0], "cost_nano_usd", 2**70)
    broken.attempts[0].unconfirmed_nano_usd = -(2**70)
    with pytest.raises(Exception, match="too large"):
        vault.store.write(Group([broken], slips=slips))
    assert used(vault, ("tenant", "acme")) == [(0, 0)] and vault.leases() == {holder: 10 * W}


def test_a_bill_above_its_reservation_is_booked_in_full(vault: Vault) -> None:
    holder, number = leased(vault, 2 * W)
    vault.store.write(Group([paid("a", 150 * W)], slips={"a": [Slip(holder, number, 2 * W)]}))
    assert used(vault, ("tenant", "acme")) == [(150 * W, 0)] and vault.leases() == {}
    bank = vault.bank()
    room = bank.lease(bank.join(), [Ask((ACME,), 1)], {})[ACME.stretch]
    assert (room.granted_nano_usd, room.used_nano_usd) == (0, 150 * W)


def test_who_does_not_renew_is_lost_and_its_late_slips_still_count_once(vault: Vault) -> None:
    holder, number = leased(vault, 10 * W)
    bank = vault.bank()
    vault.wait(TERM_US / 1e6 - 0.1)
    assert bank.reap() == 0
    bank.renew(holder)
    vault.wait(TERM_US / 1e6 + 0.1)
    assert vault.books.standings([ACME])[0].unconfirmed_nano_usd == 10 * W  # before anyone reaps
    assert bank.reap() == 1
    with pytest.raises(LostHolder):
        bank.renew(holder)
    with pytest.raises(LostHolder):
        bank.lease(holder, [Ask((ACME,), W)], {})
    vault.store.write(Group([paid("a", 4 * W)], slips={"a": [Slip(holder, number, 4 * W)]}))
    (now,) = vault.books.standings([ACME])
    assert (now.settled_nano_usd, now.unconfirmed_nano_usd) == (4 * W, 6 * W)
    bank.give_back([Slip(holder, number, 6 * W)])
    assert bank.reap() == 0
    (now,) = vault.books.standings([ACME])
    assert (now.used_nano_usd, now.reserved_nano_usd) == (4 * W, 0)


def test_after_a_restart_of_the_machine_nobody_of_before_lives(vault: Vault) -> None:
    leased(vault, 10 * W)
    vault.boot = "another"
    assert vault.books.standings([ACME])[0].reserved_nano_usd == 0
    assert vault.bank().reap() == 1


def test_near_the_ceiling_nothing_is_leased_beyond_what_is_asked_for(vault: Vault) -> None:
    bank = vault.bank()
    holder = bank.join()
    far = bank.lease(holder, [Ask((ACME,), W)], {ACME.stretch: Held(0, 50 * W)})
    assert far[ACME.stretch].granted_nano_usd == W + 99 * W // 16
    near = replace_ceiling(110)
    room = bank.lease(holder, [Ask((near,), 100 * W)], {ACME.stretch: Held(0, 50 * W)})
    assert room[ACME.stretch].granted_nano_usd == 100 * W


def replace_ceiling(calls: int) -> Counter:
    return ACME._replace(ceiling_nano_usd=calls * W)


def test_a_counter_that_drifted_is_found_and_set_right(vault: Vault, tmp_path: Path) -> None:
    leased(vault, W)
    vault.store.write(Group([paid("a", 5 * W)]))
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("UPDATE counters SET settled_nano_usd = 1")
    drift = Drift(*ACME.stretch, 1, 0, 5 * W, 0)
    assert vault.books.recount() == [drift]
    assert vault.books.repair() == [drift]
    assert vault.books.recount() == [] and used(vault, ("tenant", "acme")) == [(5 * W, 0)]


def test_a_correction_is_appended_and_moves_its_counters(vault: Vault) -> None:
    leased(vault, W)
    vault.store.write(Group([paid("a", 0, 9 * W), paid("b", 0, 5 * W)]))
    first, second = vault.books.unconfirmed()
    assert [one.left_nano_usd for one in (first, second)] == [9 * W, 5 * W]
    vault.books.correct(first.number, 4 * W)
    vault.books.correct(second.number, 0)
    assert used(vault, ("tenant", "acme")) == [(4 * W, 0)]
    assert vault.books.unconfirmed() == [] and vault.books.recount() == []
    with pytest.raises(LookupError):
        vault.books.correct(first.number, W)
    with vault.database.reading() as reading:
        rows = reading.exec_driver_sql(
            "SELECT kind, corrects, cost_nano_usd, unconfirmed_nano_usd FROM ledger ORDER BY id"
        ).all()
    assert [tuple(row) for row in rows] == [
        ("answer", None, 0, 9 * W),
        ("answer", None, 0, 5 * W),
        ("correction", first.number, 4 * W, -9 * W),
        ("correction", second.number, 0, -5 * W),
    ]


def lost(vault: Vault, *asks: Ask) -> None:
    """Let a worker end that had these leases."""
    bank = vault.bank()
    bank.lease(bank.join(), asks, {})
    vault.wait(2 * TERM_US / 1e6)
    bank.reap()


def corrections(vault: Vault) -> list[tuple[object, ...]]:
    with vault.database.reading() as reading:
        return [
            tuple(row)
            for row in reading.exec_driver_sql(
                'SELECT tenant, team, "user", target, cost_nano_usd, corrects FROM ledger'
                " WHERE kind = 'correction' ORDER BY id"
            )
        ]


TEAM = counter("team", "search", 100 * W)
ANA, BOB = counter("user", "ana", 100 * W), counter("user", "bob", 100 * W)
GPT = counter("model", "openai/gpt-4o", 100 * W)


def test_what_a_lost_worker_may_have_spent_is_not_free_in_a_stretch_that_is_new(
    vault: Vault,
) -> None:
    # Such as the budget of a day beside that of a month, or the same one in another time zone.
    zoned = ACME._replace(from_us=ACME.from_us - 3600_000_000, to_us=ACME.to_us - 3600_000_000)
    day = ACME._replace(from_us=NOW_US - 1, to_us=NOW_US + 1)
    before, after = day._replace(from_us=0, to_us=NOW_US), day._replace(from_us=NOW_US + 1)
    other = day._replace(who="other")
    lost(vault, Ask((ACME, zoned), 60 * W))
    bank = vault.bank()
    holder = bank.join()
    rooms = bank.lease(holder, [Ask((day, before, after, other), 100 * W)], {})
    used = [rooms[one.stretch].used_nano_usd for one in (day, before, after, other)]
    assert used == [60 * W, 0, 0, 0]
    assert bank.lease(holder, [Ask((day,), 41 * W)], {})[day.stretch].granted_nano_usd == 0
    assert bank.lease(holder, [Ask((day,), 40 * W)], {})[day.stretch].granted_nano_usd == 40 * W
    # It is one loss, and what it has cost is said once.
    (loss,) = vault.books.losses()
    assert loss.nano_usd == 60 * W
    vault.books.settle_lost(loss, 5 * W)
    assert vault.books.losses() == []
    told = vault.books.standings([ACME, zoned, day])
    assert [one.settled_nano_usd for one in told] == [5 * W] * 3
    assert [one.unconfirmed_nano_usd for one in told] == [0] * 3


def test_what_a_lost_worker_had_is_one_loss_and_one_row_however_many_counters_it_was_of(
    vault: Vault,
) -> None:
    day = ACME._replace(from_us=NOW_US - 10**6, to_us=NOW_US + 10**6)
    lost(vault, Ask((ACME, day, TEAM, ANA, GPT), 10 * W))
    (loss,) = vault.books.losses()
    assert (loss.tenant, loss.nano_usd, len(loss.leases)) == ("acme", 10 * W, 5)
    vault.books.settle_lost(loss, 3 * W)
    assert corrections(vault) == [("acme", "search", "ana", "openai/gpt-4o", 3 * W, None)]
    names = ("tenant", "acme"), ("team", "search"), ("user", "ana"), ("model", "openai/gpt-4o")
    assert used(vault, *names) == [(3 * W, 0)] * 4
    assert vault.books.losses() == [] and vault.books.recount() == [] and not vault.leases()
    with pytest.raises(LookupError):
        vault.books.settle_lost(loss, 0)


def test_a_loss_is_of_a_user_only_where_no_other_can_have_spent_it(vault: Vault) -> None:
    lost(vault, Ask((ACME, ANA), 4 * W), Ask((ACME, BOB), 5 * W), Ask((ACME, TEAM), 2 * W))
    (loss,) = vault.books.losses()
    assert loss.nano_usd == 11 * W
    vault.books.settle_lost(loss, 11 * W)
    assert corrections(vault) == [("acme", None, None, "", 11 * W, None)]
    assert used(vault, ("tenant", "acme"), ("user", "ana")) == [(11 * W, 0), (0, 0)]


def test_losses_of_several_tenants_are_told_apart_and_models_follow_them(vault: Vault) -> None:
    other = counter("tenant", "other", 100 * W)
    lost(vault, Ask((ACME, GPT), 4 * W), Ask((other, GPT), 6 * W))
    first, second = vault.books.losses()
    assert [(one.tenant, one.nano_usd) for one in (first, second)] == [
        ("acme", 4 * W),
        ("other", 6 * W),
    ]
    vault.books.settle_lost(first, W)
    assert corrections(vault) == [("acme", None, None, "openai/gpt-4o", W, None)]
    assert used(vault, ("model", "openai/gpt-4o")) == [(W, 9 * W)]
    vault.books.settle_lost(vault.books.losses()[0], 0)
    assert used(vault, ("tenant", "acme"), ("tenant", "other")) == [(W, 0), (0, 0)]
    assert not vault.leases() and vault.books.recount() == []


def test_what_others_spent_at_a_model_is_no_part_of_a_tenants_loss(vault: Vault) -> None:
    lost(vault, Ask((ACME, GPT), 4 * W), Ask((GPT,), 6 * W))  # of who has no budget but the model's
    (loss,) = vault.books.losses()
    assert (loss.tenant, loss.nano_usd) == ("acme", 4 * W)
    vault.books.settle_lost(loss, 4 * W)
    assert used(vault, ("tenant", "acme"), ("model", "openai/gpt-4o")) == [(4 * W, 0)] * 2
    assert vault.books.losses() == [] and not vault.leases() and vault.books.recount() == []


def test_a_correction_can_be_said_anew_and_again(vault: Vault) -> None:
    lost(vault, Ask((ACME,), 4 * W))
    number = vault.books.settle_lost(vault.books.losses()[0], 3 * W)
    again = vault.books.correct_again(number, W)
    vault.books.correct_again(again, 2 * W)
    assert [row[4:] for row in corrections(vault)] == [
        (3 * W, None),
        (-2 * W, number),
        (W, number),
    ]
    assert used(vault, ("tenant", "acme")) == [(2 * W, 0)] and vault.books.recount() == []
    assert vault.books.correction(again).cost_nano_usd == 2 * W
    vault.store.write(Group([paid("a", W)]))
    with pytest.raises(LookupError):
        vault.books.correct_again(again + 2, 0)


def test_many_users_have_counters_of_their_own(vault: Vault) -> None:
    bank = vault.bank()
    holder = bank.join()
    users = [counter("user", f"u{n}", 10 * W) for n in range(3_000)]
    rooms = bank.lease(holder, [Ask((ACME, one), 1) for one in users[:90]], {})
    assert len(rooms) == 91
    with vault.database.writing() as writing:
        writing.exec_driver_sql(
            "INSERT INTO counters (scope, tenant, who, from_us, to_us, settled_nano_usd,"
            " unconfirmed_nano_usd) VALUES (?, ?, ?, ?, ?, 0, 0)",
            [one.stretch for one in users[90:]],
        )
    vault.store.write(Group([paid(f"r{n}", 2, user=f"u{n}") for n in range(200)]))
    known = vault.books.known("user", ACME.from_us, ACME.to_us)
    assert sum(one.settled_nano_usd for one in known) == 400 and len(known) == 3_000


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["acme", "beta"]),
            st.sampled_from([None, "search", "ads"]),
            st.sampled_from([None, "ana"]),
            st.integers(1, 9),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_tenants_with_teams_and_users_of_the_same_names_share_no_counter(
    calls: list[tuple[str, str | None, str | None, int, bool]],
) -> None:
    with TemporaryDirectory() as folder:
        vault = Vault(Path(folder))
        bank, holder = vault.bank(), vault.bank().join()
        for number, (tenant, team, user, cost, is_leased) in enumerate(calls):
            of = [
                counter(scope, who, 1_000, tenant)
                for scope, who in (("tenant", tenant), ("team", team), ("user", user))
                if who is not None
            ]
            slips = []
            if is_leased:
                rooms = bank.lease(holder, [Ask(tuple(of), 10)], {})
                slips = [Slip(holder, rooms[one.stretch].number or 0, 10) for one in of]
            record = paid(f"r{number}", cost, tenant=tenant, team=team, user=user)
            vault.store.write(Group([record], slips={record.id: slips}))
        wanted: dict[tuple[str, str, str], int] = {}
        for tenant, team, user, cost, _ in calls:
            for scope, who in (("team", team), ("user", user)):
                if who is not None:
                    wanted[scope, tenant, who] = wanted.get((scope, tenant, who), 0) + cost
        for (scope, tenant, who), cost in wanted.items():
            told = vault.books.standings([counter(scope, who, 0, tenant)])[0]
            assert (told.settled_nano_usd, told.reserved_nano_usd) == (cost, 0)
        assert vault.books.recount() == []
        vault.close()


def test_a_team_that_spends_all_leaves_its_namesake_elsewhere_everything(vault: Vault) -> None:
    ours, theirs = vault.worker(), vault.worker()
    acme, beta = (counter("team", "search", 5 * W, tenant) for tenant in ("acme", "beta"))
    booked = vault.run(ours.book([acme], 5 * W, 0))
    vault.store.write(vault.group(ours.settle(booked, 5 * W), 5 * W, team="search"))
    with pytest.raises(Exceeded):
        vault.run(ours.book([acme], W, 0))
    for purse in (ours, theirs):
        rest = vault.run(purse.book([beta], 5 * W // 2, 0))
        purse.settle(rest, 0)
    assert vault.books.recount() == []
