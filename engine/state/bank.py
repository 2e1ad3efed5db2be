"""The bank: counters, who holds leases, and what is left, in a `Database`.

Each method is one transaction. A counter's row is made when it is first asked for, from the sums of
the ledger; from then on the store adds every new ledger row to it (`counted`), so that both always
say the same. What is on lease is taken off by the store, in the transaction of the ledger row that
says what became of it.
"""

import json
import secrets
import time
from collections import Counter as Sums
from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlalchemy import Connection

from turnout.engine.bank import TERM_US, Ask, Held, LostHolder, Room, Stretch
from turnout.engine.boot import boot_id, boot_us
from turnout.engine.ledger import Entry
from turnout.engine.purse import Slip

from .database import Database

# Of what is left, so much of it at most is leased beyond what is asked for: near the ceiling a
# slice is one call.
_EXTRA_PART = 16
# Columns of the ledger, by the scope of the counters that they are summed up in.
COLUMN = {
    "tenant": "tenant",
    "team": "team",
    "user": '"user"',
    "key": "key_id",
    "model": "target",
}


class SqlBank:
    """A `Bank` over the tables `counters`, `holders` and `leases`."""

    def __init__(
        self,
        database: Database,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        since_boot_us: Callable[[], int] = boot_us,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        """Keep them in this database; `since_boot_us` is what heartbeats are told by."""
        self._database = database
        self._now_us = now_us
        self._since_boot_us = since_boot_us
        self._boot = boot

    def join(self) -> str:
        """A new holder; what it is called."""
        holder = f"h_{secrets.token_hex(8)}"
        row = (holder, self._boot(), self._now_us(), self._since_boot_us())
        with self._database.writing() as bank:
            bank.exec_driver_sql(
                "INSERT INTO holders (id, boot, joined_us, heartbeat_us) VALUES (?, ?, ?, ?)", row
            )
        return holder

    def renew(self, holder: str) -> None:
        """Say that a holder lives. Raises: LostHolder."""
        now_us = self._since_boot_us()
        with self._database.writing() as bank:
            # Not one that is too old by now: whoever looks at this moment has it for lost already.
            renewed = bank.exec_driver_sql(
                "UPDATE holders SET heartbeat_us = ?"
                " WHERE id = ? AND lost_us IS NULL AND boot = ? AND heartbeat_us >= ?",
                (now_us, holder, self._boot(), now_us - TERM_US),
            )
            if not renewed.rowcount:
                raise LostHolder(holder)

    def reap(self) -> int:
        """Take for lost who did not renew in time; forget those of whom nothing is left."""
        dead = (self._boot(), self._since_boot_us() - TERM_US)
        with self._database.reading() as reading:
            found = reading.exec_driver_sql(
                f"SELECT 1 WHERE EXISTS {_DEAD} OR EXISTS {_DONE}", dead
            )
            if found.first() is None:
                return 0
        with self._database.writing() as bank:
            bank.exec_driver_sql(
                "DELETE FROM leases WHERE nano_usd <= 0"
                " AND holder IN (SELECT id FROM holders WHERE lost_us IS NOT NULL)"
            )
            lost = bank.exec_driver_sql(
                "UPDATE holders SET lost_us = ?"
                " WHERE lost_us IS NULL AND (boot <> ? OR heartbeat_us < ?)",
                (self._now_us(), *dead),
            ).rowcount
            bank.exec_driver_sql(
                "DELETE FROM holders WHERE lost_us IS NOT NULL"
                " AND NOT EXISTS (SELECT 1 FROM leases WHERE holder = holders.id)"
            )
        return lost

    def lease(
        self, holder: str, asks: Sequence[Ask], held: Mapping[Stretch, Held]
    ) -> dict[Stretch, Room]:
        """Lease what these bookings lack. Raises: LostHolder."""
        stretches = list(dict.fromkeys(one.stretch for ask in asks for one in ask.counters))
        with self._database.reading() as reading:
            _check(reading, holder)
            rooms = _rooms(reading, stretches)
        if all(room.number is not None for room in rooms.values()):
            if not _granted(asks, held, rooms):
                return rooms
        with self._database.writing() as bank:
            _check(bank, holder)
            rooms = _rooms(bank, stretches)
            missing = [one for one, room in rooms.items() if room.number is None]
            if missing:
                make_counters(bank, missing)
                rooms |= _rooms(bank, missing)
            granted = _granted(asks, held, rooms)
            bank_rows = [(holder, rooms[one].number, nano_usd) for one, nano_usd in granted.items()]
            if bank_rows:
                bank.exec_driver_sql(
                    "INSERT INTO leases (holder, counter, nano_usd) VALUES (?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET nano_usd = nano_usd + excluded.nano_usd",
                    bank_rows,
                )
        for one, nano_usd in granted.items():
            room = rooms[one]
            rooms[one] = room._replace(
                granted_nano_usd=nano_usd, leased_nano_usd=room.leased_nano_usd + nano_usd
            )
        return rooms

    def give_back(self, parts: Sequence[Slip]) -> None:
        """Take what was free off leases."""
        if parts:
            with self._database.writing() as bank:
                take_off(bank, parts)

    def leave(self, holder: str) -> None:
        """Let a holder go; what is still on its leases is lost with it."""
        with self._database.writing() as bank:
            bank.exec_driver_sql("DELETE FROM leases WHERE holder = ? AND nano_usd <= 0", (holder,))
            bank.exec_driver_sql(
                "UPDATE holders SET lost_us = coalesce(lost_us, ?)"
                " WHERE id = ? AND EXISTS (SELECT 1 FROM leases WHERE holder = holders.id)",
                (self._now_us(), holder),
            )
            bank.exec_driver_sql(
                "DELETE FROM holders WHERE id = ?"
                " AND NOT EXISTS (SELECT 1 FROM leases WHERE holder = holders.id)",
                (holder,),
            )

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


_DEAD = "(SELECT 1 FROM holders WHERE lost_us IS NULL AND (boot <> ? OR heartbeat_us < ?))"
_DONE = (
    "(SELECT 1 FROM holders WHERE lost_us IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM leases WHERE holder = holders.id AND nano_usd > 0))"
)


def counted(bank: Connection, rows: Iterable[Entry]) -> None:
    """Add new rows of the ledger to every counter that they belong to.

    To be called in the transaction that writes the rows, once for each.
    """
    paid = [
        row
        for row in rows
        if row.payer == "gateway" and (row.cost_nano_usd or row.unconfirmed_nano_usd)
    ]
    if not paid:
        return
    by_who: dict[tuple[str, str], list[Entry]] = {}
    for row in paid:
        for of in _whose(row):
            by_who.setdefault(of, []).append(row)
    found = bank.exec_driver_sql(
        "SELECT c.id, c.scope, c.who, c.from_us, c.to_us FROM json_each(?) AS w"
        " CROSS JOIN counters AS c"
        " ON c.scope = w.value ->> 0 AND c.who = w.value ->> 1"
        " AND c.from_us <= ? AND c.to_us > ?",
        (
            json.dumps(list(by_who)),
            max(row.time_us for row in paid),
            min(row.time_us for row in paid),
        ),
    ).all()
    sums = []
    for number, scope, who, from_us, to_us in found:
        its = [row for row in by_who[scope, who] if from_us <= row.time_us < to_us]
        settled = sum(row.cost_nano_usd for row in its)
        unconfirmed = sum(row.unconfirmed_nano_usd for row in its)
        if settled or unconfirmed:
            sums.append((settled, unconfirmed, number))
    if sums:
        bank.exec_driver_sql(
            "UPDATE counters SET settled_nano_usd = settled_nano_usd + ?,"
            " unconfirmed_nano_usd = unconfirmed_nano_usd + ? WHERE id = ?",
            sums,
        )


def take_off(bank: Connection, slips: Iterable[Slip]) -> None:
    """Take slips off the leases that they are of; a lease that is used up is forgotten.

    One that somebody has released meanwhile stays gone.
    """
    sums: Sums[tuple[str, int]] = Sums()
    for slip in slips:
        sums[slip.holder, slip.counter] += slip.nano_usd
    rows = [(holder, number, nano_usd) for (holder, number), nano_usd in sums.items() if nano_usd]
    if not rows:
        return
    bank.exec_driver_sql(
        "UPDATE leases SET nano_usd = max(nano_usd - ?, 0) WHERE holder = ? AND counter = ?",
        [(nano_usd, holder, number) for holder, number, nano_usd in rows],
    )
    bank.exec_driver_sql(
        "DELETE FROM leases WHERE holder = ? AND counter = ? AND nano_usd = 0",
        [(holder, number) for holder, number, _ in rows],
    )


def make_counters(bank: Connection, stretches: Iterable[Stretch]) -> None:
    """Make counters that there are not yet, from what the ledger has of them."""
    for scope, who, from_us, to_us in stretches:
        settled, unconfirmed = sums_of(bank, (scope, who, from_us, to_us))
        bank.exec_driver_sql(
            "INSERT INTO counters"
            " (scope, who, from_us, to_us, settled_nano_usd, unconfirmed_nano_usd)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (scope, who, from_us, to_us, settled, unconfirmed),
        )


def sums_of(reading: Connection, stretch: Stretch) -> tuple[int, int]:
    """What the ledger has of a counter: settled, and unconfirmed."""
    scope, who, from_us, to_us = stretch
    row = reading.exec_driver_sql(
        "SELECT coalesce(sum(cost_nano_usd), 0), coalesce(sum(unconfirmed_nano_usd), 0) FROM ledger"
        f" WHERE {COLUMN[scope]} = ? AND time_us >= ? AND time_us < ? AND payer = 'gateway'",
        (who, from_us, to_us),
    ).one()
    return int(row[0]), int(row[1])


def lost_leases(reading: Connection) -> dict[Stretch, int]:
    """What lost holders have on lease, of each counter."""
    rows = reading.exec_driver_sql(
        "SELECT c.scope, c.who, c.from_us, c.to_us, sum(l.nano_usd) FROM leases AS l"
        " JOIN counters AS c ON c.id = l.counter LEFT JOIN holders AS h ON h.id = l.holder"
        " WHERE h.id IS NULL OR h.lost_us IS NOT NULL GROUP BY c.id"
    )
    return {(scope, who, from_us, to_us): lost for scope, who, from_us, to_us, lost in rows}


def _whose(row: Entry) -> list[tuple[str, str]]:
    of = (
        ("tenant", row.tenant),
        ("team", row.team),
        ("user", row.user),
        ("key", row.key_id),
        ("model", row.target),
    )
    return [(scope, who) for scope, who in of if who is not None]


def _check(reading: Connection, holder: str) -> None:
    """Raises: LostHolder."""
    found = reading.exec_driver_sql(
        "SELECT 1 FROM holders WHERE id = ? AND lost_us IS NULL", (holder,)
    )
    if found.first() is None:
        raise LostHolder(holder)


def _rooms(reading: Connection, stretches: Sequence[Stretch]) -> dict[Stretch, Room]:
    """How counters are; those that have no row are unspent here."""
    rooms = dict.fromkeys(stretches, Room(None, 0, 0, 0))
    rows = reading.exec_driver_sql(
        "SELECT c.scope, c.who, c.from_us, c.to_us, c.id,"
        " c.settled_nano_usd + c.unconfirmed_nano_usd,"
        " coalesce(sum(l.nano_usd) FILTER (WHERE h.id IS NULL OR h.lost_us IS NOT NULL), 0),"
        " coalesce(sum(l.nano_usd) FILTER (WHERE h.id IS NOT NULL AND h.lost_us IS NULL), 0)"
        " FROM json_each(?) AS w CROSS JOIN counters AS c"
        " ON c.scope = w.value ->> 0 AND c.who = w.value ->> 1"
        " AND c.from_us = w.value ->> 2 AND c.to_us = w.value ->> 3"
        " LEFT JOIN leases AS l ON l.counter = c.id LEFT JOIN holders AS h ON h.id = l.holder"
        " GROUP BY c.id",
        (json.dumps(stretches),),
    )
    for scope, who, from_us, to_us, number, used, lost, leased in rows:
        rooms[scope, who, from_us, to_us] = Room(number, 0, used + lost, leased)
    return rooms


def _granted(
    asks: Sequence[Ask], held: Mapping[Stretch, Held], rooms: Mapping[Stretch, Room]
) -> dict[Stretch, int]:
    """What is leased for these bookings, of each counter, in nano-USD; those with nothing left out.

    What a booking has free already is its own before anything is leased for it.
    """
    free = {one: held[one].free_nano_usd if one in held else 0 for one in rooms}
    taken: dict[Stretch, int] = dict.fromkeys(rooms, 0)
    ceilings: dict[Stretch, int] = {}
    blocked: set[Stretch] = set()
    for ask in asks:
        if any(
            counter.ceiling_nano_usd - rooms[counter.stretch].used_nano_usd < ask.nano_usd
            for counter in ask.counters
        ):
            continue  # it will not fit whatever others give back, and stands in nobody's way
        lacks: dict[Stretch, int] = {}
        fits = True
        for counter in ask.counters:
            one, room = counter.stretch, rooms[counter.stretch]
            lack = ask.nano_usd - free[one]
            if lack > 0:
                left = counter.ceiling_nano_usd - room.used_nano_usd - room.leased_nano_usd
                if left - taken[one] < lack:
                    blocked.add(one)
                    fits = False
                lacks[one] = lack
            fits = fits and one not in blocked
        if not fits:
            continue
        for counter in ask.counters:
            one = counter.stretch
            lack = lacks.get(one, 0)
            taken[one] += lack
            free[one] += lack - ask.nano_usd
            ceilings[one] = min(
                ceilings.get(one, counter.ceiling_nano_usd), counter.ceiling_nano_usd
            )
    for one, nano_usd in taken.items():
        if nano_usd and one not in blocked and one in held:
            room = rooms[one]
            left = ceilings[one] - room.used_nano_usd - room.leased_nano_usd - nano_usd
            taken[one] += max(min(held[one].extra_nano_usd, left // _EXTRA_PART), 0)
    return {one: nano_usd for one, nano_usd in taken.items() if nano_usd}
