"""The bank: counters, who holds leases, and what is left, in a `Database`.

Each method is one transaction. A counter's row is made when it is first asked for, from the sums of
the ledger; from then on the store adds every new ledger row to it (`counted`), so that both always
say the same. What is on lease is taken off by the store, in the transaction of the ledger row that
says what became of it.
"""

import json
import secrets
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from turnout.engine.bank import Ask, Held, LostHolder, Room, Stretch
from turnout.engine.purse import Slip

from .counters import make_counters, take_off
from .database import Database
from .holders import FOUND_LOST, LIVES, LOST, Clocks

# Of what is left, so much of it at most is leased beyond what is asked for: near the ceiling a
# slice is one call, and nothing more once that part is less than one.
_EXTRA_PART = 16


class SqlBank:
    """A `Bank` over the tables `counters`, `holders` and `leases`."""

    def __init__(self, database: Database, clocks: Clocks | None = None) -> None:
        """Keep them in this database."""
        self._database = database
        self._clocks = clocks or Clocks()

    def join(self) -> str:
        """A new holder; what it is called."""
        holder = f"h_{secrets.token_hex(8)}"
        clocks = self._clocks
        row = (holder, clocks.boot(), clocks.now_us(), clocks.since_boot_us())
        with self._database.writing() as bank:
            bank.exec_driver_sql(
                "INSERT INTO holders (id, boot, joined_us, heartbeat_us) VALUES (?, ?, ?, ?)", row
            )
        return holder

    def renew(self, holder: str) -> None:
        """Say that a holder lives. Raises: LostHolder."""
        given = (self._clocks.since_boot_us(), holder, *self._clocks.in_time())
        with self._database.writing() as bank:
            # Not one that is too old by now: whoever looks at this moment has it for lost already.
            renewed = bank.exec_driver_sql(
                f"UPDATE holders AS h SET heartbeat_us = ? WHERE h.id = ? AND {LIVES}", given
            )
            if not renewed.rowcount:
                raise LostHolder(holder)

    def reap(self) -> int:
        """Take for lost who did not renew in time; forget those of whom nothing is left."""
        in_time = self._clocks.in_time()
        with self._database.reading() as reading:
            found = reading.exec_driver_sql(
                f"SELECT 1 FROM holders AS h WHERE {_UNFOUND} OR {_DONE} LIMIT 1", in_time
            )
            if found.first() is None:
                return 0
        with self._database.writing() as bank:
            bank.exec_driver_sql(
                "DELETE FROM leases WHERE nano_usd <= 0"
                " AND holder IN (SELECT id FROM holders WHERE lost_us IS NOT NULL)"
            )
            lost = bank.exec_driver_sql(
                f"UPDATE holders AS h SET lost_us = ? WHERE {_UNFOUND}",
                (self._clocks.now_us(), *in_time),
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
                (self._clocks.now_us(), holder),
            )
            bank.exec_driver_sql(
                "DELETE FROM holders WHERE id = ?"
                " AND NOT EXISTS (SELECT 1 FROM leases WHERE holder = holders.id)",
                (holder,),
            )

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


# Who is lost and was not found to be; and who was, and has nothing left.
_UNFOUND = f"(h.lost_us IS NULL AND {LOST})"
_DONE = (
    "(h.lost_us IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM leases WHERE holder = h.id AND nano_usd > 0))"
)


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
        "SELECT c.scope, c.tenant, c.who, c.from_us, c.to_us, c.id,"
        " c.settled_nano_usd + c.unconfirmed_nano_usd,"
        f" coalesce(sum(l.nano_usd) FILTER (WHERE {FOUND_LOST}), 0),"
        f" coalesce(sum(l.nano_usd) FILTER (WHERE NOT {FOUND_LOST}), 0)"
        " FROM json_each(?) AS w CROSS JOIN counters AS c"
        " ON c.scope = w.value ->> 0 AND c.tenant = w.value ->> 1 AND c.who = w.value ->> 2"
        " AND c.from_us = w.value ->> 3 AND c.to_us = w.value ->> 4"
        " LEFT JOIN leases AS l ON l.counter = c.id LEFT JOIN holders AS h ON h.id = l.holder"
        " GROUP BY c.id",
        (json.dumps(stretches),),
    )
    for scope, tenant, who, from_us, to_us, number, used, lost, leased in rows:
        rooms[scope, tenant, who, from_us, to_us] = Room(number, 0, used + lost, leased)
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
    largest = max((ask.nano_usd for ask in asks), default=0)
    for one, nano_usd in taken.items():
        if nano_usd and one not in blocked and one in held:
            room = rooms[one]
            left = ceilings[one] - room.used_nano_usd - room.leased_nano_usd - nano_usd
            if left // _EXTRA_PART >= largest:
                taken[one] += min(held[one].extra_nano_usd, left // _EXTRA_PART)
    return {one: nano_usd for one, nano_usd in taken.items() if nano_usd}
