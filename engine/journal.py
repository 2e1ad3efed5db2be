"""The journal: every decision, kept off the request's path.

One queue per process and one thread that empties it: a group is closed 100 ms after its first
record, or at 250 of them (about 500 rows), and written in one transaction with its ledger rows,
the pulse tables that it refers to and the policies that decided.

What can be lost. `kill -9` of the process: the records of the last 200 ms, and whatever a slow
disk has kept waiting in memory. Loss of power: also the last committed groups, since SQLite in WAL
mode with `synchronous=NORMAL` flushes the disk at checkpoints only; the file stays sound. Nothing
is lost in silence: a record that cannot be kept is counted and logged.

What happens when the disk is slow or full. Groups are tried again with growing pauses, records wait
in memory, and `refuses` says why the gateway must refuse paid work: `disk_full` while the disk has
less room than is to be kept free, or took a group not for being full, read-only or broken;
`journal_full` once a group has been hanging or failing for five seconds or `capacity` records wait.
Requests under way may still add as many again.

Over 300 lines because what is taken, what is asked and the thread that writes share one lock.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Literal, NamedTuple

from .disk import Endless, Room
from .purse import Slip
from .record import DecisionRecord, Late, PulseTable, with_late
from .state.store import Group, Store, StoreError, Unwritable

_log = logging.getLogger("turnout.journal")

_GROUP_RECORDS = 250
_GROUP_S = 0.1
_PATIENCE_S = 5.0  # how long a write may hang or fail before paid work is refused
_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)  # between tries of a group; the last one for good
_PULSES_KEPT = 1_200  # ticks: twice the built-in deadline of a request, at one a second
_LOOK_S = 0.05  # between looks for a record that another process may still write


class Counts(NamedTuple):
    """What became of the records so far, for `/metrics` and `/health`.

    `waiting`: in memory. `written`. `retries`: writes that failed and were tried again. `refused`:
    records that the store cannot represent. `lost`: no room in memory, or no disk at the end.
    """

    waiting: int
    written: int
    retries: int
    refused: int
    lost: int


class Journal:
    """Takes decision records from a gateway, finds them again.

    One per process. The thread starts with the first thing to write, so a journal that is only read
    from has none; it must not start before the process was forked.
    """

    def __init__(self, store: Store, *, capacity: int = 10_000, room: Room | None = None) -> None:
        """Keep at most `capacity` records waiting before paid work is to be refused.

        `room` says whether the disk has any; None: nobody looks before a write fails.
        """
        self._store = store
        self._room = room or Endless()
        self._capacity = capacity
        # Guards all that follows. Held for moments only: the event loop takes it.
        self._changed = threading.Condition(threading.Lock())
        self._queue: deque[DecisionRecord] = deque()
        self._waiting: dict[str, DecisionRecord] = {}  # by id; also those being written now
        self._late: dict[str, Late] = {}  # by the request's id; also those being written now
        self._slips: dict[str, Sequence[Slip]] = {}  # by the request's id, as long as these wait
        self._late_slips: dict[str, Sequence[Slip]] = {}
        self._policies: OrderedDict[str, str] = OrderedDict()  # to be written
        self._pulses: OrderedDict[str, PulseTable] = OrderedDict()  # recent, not written yet
        self._newest_pulse: str | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._give_up_at = 0.0  # means something once closing
        self._writing_since: float | None = None
        self._failing = self._losing = False  # each is logged once, until it is over
        self._unwritable = False  # whether the disk has just refused to take a group
        self._written = self._retries = self._refused = self._lost = 0

    @property
    def accepting(self) -> bool:
        """Whether paid work may begin: its record would find room and, in time, a disk."""
        return self.refuses is None

    @property
    def refuses(self) -> Literal["disk_full", "journal_full"] | None:
        """Why paid work may not begin; None where it may. Costs less than 1 µs."""
        if self._unwritable or self._room.is_full:
            return "disk_full"
        since = self._writing_since
        stuck = since is not None and time.monotonic() - since > _PATIENCE_S
        if stuck or len(self._waiting) >= self._capacity or self._closing.is_set():
            return "journal_full"
        return None

    @property
    def free_bytes(self) -> int | None:
        """What the disk had free at the last look; None where nobody looks."""
        return self._room.free_bytes

    @property
    def counts(self) -> Counts:
        """What became of the records so far."""
        return Counts(len(self._waiting), self._written, self._retries, self._refused, self._lost)

    def put(self, record: DecisionRecord, slips: Sequence[Slip] = ()) -> None:
        """Take a record for writing, with what is taken off leases for it; never blocks.

        The record is the journal's from here on.
        """
        with self._changed:
            if len(self._waiting) < 2 * self._capacity and not self._closing.is_set():
                self._losing = False
                self._queue.append(record)
                self._waiting[record.id] = record
                if slips:
                    self._slips[record.id] = slips
                if len(self._queue) in (1, _GROUP_RECORDS):
                    self._wake()
                return
            self._lost += 1
            first, self._losing = not self._losing, True
        if first:
            why = "the journal is closed" if self._closing.is_set() else "too many are waiting"
            _log.error("decision %s is lost, and any that follow: %s", record.id, why)

    def put_late(self, late: Late, slips: Sequence[Slip] = ()) -> None:
        """Take an attempt that ended after its record had been put; never blocks."""
        with self._changed:
            if len(self._late) >= self._capacity or self._closing.is_set():
                self._lost += 1
                return
            self._late[late.record.id] = late
            if slips:
                self._late_slips[late.record.id] = slips
            self._wake()

    def put_pulse(self, table: PulseTable) -> None:
        """Remember a table of live values; it is written if a decision refers to it."""
        with self._changed:
            if table.id == self._newest_pulse:
                return
            self._newest_pulse = table.id
            self._pulses[table.id] = table
            if len(self._pulses) > _PULSES_KEPT:
                self._pulses.popitem(last=False)

    def archive(self, digest: str, canonical: str) -> None:
        """Keep the canonical text of a policy, so that its decisions can be explained.

        Said again, it is kept as long as if it were new.
        """
        with self._changed:
            if not self._closing.is_set():
                self._policies[digest] = canonical
                self._wake()

    async def find(
        self, id: str, tenant: str | None, wait_us: int = 2_000_000
    ) -> DecisionRecord | None:
        """A record by its request id, waited for if it is not written yet.

        Sees what this process has in memory and what any process has written. Another tenant's
        record is not found; `tenant` None stands for all. Raises: StoreError.
        """
        deadline = time.monotonic() + wait_us / 1_000_000
        while True:
            late = self._late.get(id)
            record = self._waiting.get(id) or await asyncio.to_thread(self._store.record, id)
            if record is not None and late is not None:
                record = with_late(record, late.attempt)
            if record is not None and (tenant is None or record.tenant == tenant):
                return record
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            await asyncio.sleep(min(_LOOK_S, left))

    def archived(self, digest: str) -> str | None:
        """The canonical text of an archived policy. Blocks. Raises: StoreError."""
        return self._policies.get(digest) or self._store.policy(digest)

    def pulse(self, id: str) -> PulseTable | None:
        """A table of live values that some decision refers to. Blocks. Raises: StoreError."""
        return self._pulses.get(id) or self._store.pulse(id)

    def close(self, patience_s: float = 10.0) -> None:
        """Write what waits, then stop; blocks. A failing disk is given up on after `patience_s`."""
        with self._changed:
            if not self._closing.is_set():
                self._give_up_at = time.monotonic() + patience_s
                self._closing.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self._store.close()

    # --- the writer ------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Tell the writer, or start it. The lock is held."""
        if self._thread is None:
            # A daemon: a process that forgets `close` must still be able to end.
            self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        while (group := self._next_group()) is not None:
            self._writing_since = time.monotonic()
            self._write(group)
            self._writing_since = None
            self._done(group)

    def _next_group(self) -> Group | None:
        """The next group once it is closed; None when there is nothing more to come."""
        with self._changed:
            stop = self._closing.is_set
            self._changed.wait_for(lambda: self._queue or self._late or self._policies or stop())
            if self._queue and not stop():
                self._changed.wait_for(
                    lambda: len(self._queue) >= _GROUP_RECORDS or stop(), _GROUP_S
                )
            if not self._queue and not self._late and not self._policies:
                return None
            many = min(len(self._queue), _GROUP_RECORDS)
            records = [self._queue.popleft() for _ in range(many)]
            ids = {record.pulse_id: None for record in records if record.pulse_id is not None}
            pulses = [self._pulses[id] for id in ids if id in self._pulses]
            late = list(itertools.islice(self._late.values(), _GROUP_RECORDS))
            return Group(
                records,
                pulses,
                list(self._policies.items()),
                late,
                {one.id: self._slips[one.id] for one in records if one.id in self._slips},
                {
                    one.record.id: self._late_slips[one.record.id]
                    for one in late
                    if one.record.id in self._late_slips
                },
            )

    def _write(self, group: Group) -> None:
        """Write a group, however long it takes; where it cannot be written, write its parts."""
        for pause_s in chain(_PAUSES_S, repeat(_PAUSES_S[-1])):
            try:
                self._store.write(group)
            except StoreError as error:
                if self._closing.is_set() and time.monotonic() >= self._give_up_at:
                    self._lost += len(group.records)
                    _log.error("%d decisions are lost: %s", len(group.records), error)
                    return
                self._retries += 1
                self._unwritable = isinstance(error, Unwritable)
                if not self._failing:
                    self._failing = True
                    _log.error("the journal cannot be written, trying again: %s", error)
                self._pause(pause_s)
            except Exception as error:  # not the disk's fault, so trying again would not help
                self._write_parts(group, error)
                return
            else:
                self._written += len(group.records)
                if self._failing:
                    self._failing = self._unwritable = False
                    _log.warning("the journal can be written again")
                return

    def _write_parts(self, group: Group, error: Exception) -> None:
        parts = [
            *(Group(policies=[policy]) for policy in group.policies),
            *(Group(pulses=[pulse]) for pulse in group.pulses),
            *(Group(records=[one], slips=_of(group.slips, one.id)) for one in group.records),
            *(
                Group(late=[one], late_slips=_of(group.late_slips, one.record.id))
                for one in group.late
            ),
        ]
        if len(parts) > 1:
            for part in parts:
                self._write(part)
            return
        self._refused += len(group.records)
        name = group.records[0].id if group.records else "a policy or pulse table"
        _log.error("cannot write %s: %s: %s", name, type(error).__name__, error)

    def _pause(self, pause_s: float) -> None:
        """Wait, but not beyond the moment at which `close` gives up."""
        if self._closing.wait(pause_s):
            time.sleep(max(min(pause_s, self._give_up_at - time.monotonic()), 0))

    def _done(self, group: Group) -> None:
        """Forget what was written (or given up)."""
        with self._changed:
            for record in group.records:
                self._waiting.pop(record.id, None)
                self._slips.pop(record.id, None)
            for late in group.late:
                self._late.pop(late.record.id, None)
                self._late_slips.pop(late.record.id, None)
            for table in group.pulses:
                self._pulses.pop(table.id, None)
            for digest, _ in group.policies:
                self._policies.pop(digest, None)


def _of(slips: Mapping[str, Sequence[Slip]], id: str) -> dict[str, Sequence[Slip]]:
    return {id: slips[id]} if id in slips else {}
