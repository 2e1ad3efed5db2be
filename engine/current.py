"""The policy in force, kept up with its files while the gateway serves.

All workers of one `TURNOUT_HOME` and path have one of these, and one of them leads: it alone looks
at the files, has each candidate judged, and puts in force what is fit. The others see that on the
board and follow, with exactly the texts that were judged. What is not fit changes nothing but
`rejected`. One class for whatever follows a file: what a policy is made into, and what becomes of
that, is handed in.

Over 300 lines because leading and following share one state, and each is little without the other.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.include import gather

from . import judgement
from .audit import Audit, Event, Outcome, Unheard
from .board import Board
from .bundle import Bundle, Mark, Reading, marks_of, read_main
from .checker import Checker
from .include import beside
from .judgement import Rejected, instant
from .revision import Kept, Revision
from .watch import Watch

FOLLOW_S = 0.1  # between two looks at what the leader has put in force
POLL_S = 2.0  # between two looks at the marks of files that nothing was told of
TAKE_OVER_S = 0.5  # between two looks at whether somebody leads
RETRY_S = 1.0  # before another try to load what another worker has put in force; doubled
LONGEST_RETRY_S = 60.0
QUIET_S = 0.1  # files have to be left alone that long before they are read,
HASTE_S = 1.0  # but no longer than this is waited for it
_NOTHING = "nothing"  # in place of a digest, where nothing was ever put in force
_ROUNDS = 5  # judged in vain, because the files were others meanwhile

_log = logging.getLogger("turnout.policy")

T = TypeVar("T")


class Unfit(Exception):
    """A policy without errors that must not, or cannot, be put in force here."""

    def __init__(self, rejected: Rejected) -> None:
        """Keep why."""
        self.rejected = rejected
        super().__init__(str(rejected))


@dataclass(frozen=True, slots=True)
class Begun:
    """What a gateway begins with: a policy, and why it is not that of the file, if it is not.

    `revision` None: with nothing, until the file is fit.
    """

    revision: Revision | None
    rejected: Rejected | None = None


@dataclass(frozen=True, slots=True)
class _Standing:
    """How things stand for one worker; of two the one with the higher `order` is the newer.

    `judged` counts how often `rejected` has changed. `digest` is that of the bundle.
    """

    number: int
    judged: int
    digest: str
    at_us: int
    rejected: Rejected | None = None

    @property
    def order(self) -> tuple[int, int, int]:
        return self.number, self.at_us, self.judged

    def packed(self) -> bytes:
        no = self.rejected
        return json.dumps(
            [self.number, self.judged, self.digest, self.at_us, no and no.packed()]
        ).encode()

    @classmethod
    def unpacked(cls, told: bytes) -> "_Standing | None":
        """None for what another version of this program may have told."""
        try:
            number, judged, digest, at_us, no = json.loads(told)
            return cls(number, judged, digest, at_us, no and Rejected.unpacked(no))
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class _Failed:
    """Why what another worker told could not be put in force here, and when to try again."""

    problem: Rejected
    tries: int
    next_at: float


class Current(Generic[T]):
    """Follows one policy file; a `Companion` of the gateway.

    `make` turns texts into what is put in force; it runs in a thread and raises PolicyError or
    Unfit. `put` puts that in force, at once and for every request that begins from then on.
    """

    def __init__(
        self,
        path: str,
        begun: Begun,
        kept: Kept,
        board: Board,
        make: Callable[[Bundle], T],
        put: Callable[[T], Awaitable[None]],
        *,
        name: str = "policy",
        on_loaded: Callable[[], None] = lambda: None,
        on_rejected: Callable[[Rejected | None], None] = lambda _: None,
        digest_of: Callable[[T], str] = lambda _: "",
        place: str = "in force",
        checker: Checker | None = None,
        audit: Audit | None = None,
    ) -> None:
        """Follow the file at `path`; what `begun` has is in force already.

        `name` tells several followers apart. `on_loaded` is called after `put`, `on_rejected` where
        a change was refused, or (None) where the file is again what is in force. `digest_of` is the
        hash by which the log and answers name what is put in force; `place` is where the log says
        that it is. `audit` is told what the worker that leads has judged, once for all workers.
        """
        self.name = name
        self._path = path
        self._revision = begun.revision
        self._kept = kept
        self._board = board
        self._topic = f"{name}_{kept.key}"
        self._make = make
        self._put = put
        self._on_loaded = on_loaded
        self._on_rejected = on_rejected
        self._digest_of = digest_of
        self._place = place
        self._checker = checker or Checker()
        self._audit = audit or Unheard()
        self._loaded_us = time.time_ns() // 1000
        self._standing = _Standing(0, 0, _NOTHING, 0, begun.rejected)
        if (first := begun.revision) is not None:
            self._standing = _Standing(
                first.number, 0, first.bundle.digest, first.at_us, begun.rejected
            )
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()  # what leads and what follows may both want to switch
        self._marks: Mapping[str, Mark] = {}  # of the files as they were last judged
        self._is_kept = True  # whether what is in force could be written down
        self._highest = self._standing.number  # of what any worker is known to have put in force
        self._behind: Rejected | None = None  # why that of another worker cannot be in force here

    # --- what is asked ---------------------------------------------------------------------------

    @property
    def rejected(self) -> Rejected | None:
        """Why the files as they are now are not in force; None where they are."""
        return self._standing.rejected or self._behind

    def health(self) -> dict[str, Any]:
        """How it stands, for `/health`."""
        no = self.rejected
        return {
            "file": self._path,
            "revision": self._standing.number,
            "loaded_at": None if self._revision is None else instant(self._loaded_us),
            "rejected": None if no is None else no.to_json(),
        }

    def look_again(self) -> None:
        """Look at the files now, and judge them again though they may be the same (SIGHUP)."""
        self._marks = {}
        self._changed.set()

    # --- work ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow until cancelled."""
        self._tell()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name=f"{self.name}: follow")
            tasks.create_task(self._lead(), name=f"{self.name}: lead")

    # --- following -------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Put in force what another worker has put in force: the newest that can be."""
        told: set[_Standing] = set()
        failed: dict[_Standing, _Failed] = {}
        while True:
            if (found := self._board.look(self._topic)) is not None:
                told = {one for one in map(_Standing.unpacked, found) if one is not None}
                failed = {one: how for one, how in failed.items() if one in told}
                self._highest = max([self._highest, *(one.number for one in told)])
            # One that cannot be had here must not stand in the way of another.
            for one in sorted(told, key=lambda one: one.order, reverse=True):
                if one.order <= self._standing.order:
                    break
                if one in failed and time.monotonic() < failed[one].next_at:
                    continue
                async with self._one_at_a_time:
                    problem = await self._catch_up(one)
                if problem is None:
                    break
                before = failed.get(one)
                if before is None:
                    _log.error("revision %d of %s: %s", one.number, self._path, problem)
                elif before.problem.kind == problem.kind:
                    problem = before.problem  # since when it is so
                tries = 0 if before is None else before.tries
                next_at = time.monotonic() + min(RETRY_S * 2**tries, LONGEST_RETRY_S)
                failed[one] = _Failed(problem, tries + 1, next_at)
            self._fall_behind(failed)
            await asyncio.sleep(FOLLOW_S)

    def _fall_behind(self, failed: "Mapping[_Standing, _Failed]") -> None:
        """Say why what is in force elsewhere is not here, once it was tried again, or no more."""
        ahead = [
            one for one, how in failed.items() if how.tries > 1 and one.order > self._standing.order
        ]
        newest = max(ahead, key=lambda one: one.order, default=None)
        now = None if newest is None else failed[newest].problem
        if (before := self._behind) == now:
            return
        self._behind = now
        if before is None or now is None:
            self._on_rejected(self.rejected)

    async def _catch_up(self, told: _Standing) -> Rejected | None:
        """Come to stand where another worker stands; why that cannot be, None where it is so."""
        if told.order <= self._standing.order:
            return None
        if told.digest != self._standing.digest:
            revision = await asyncio.to_thread(self._found, told)
            if revision is None:
                reason = "another worker has put it in force, and here it is not to be found"
                return judgement.rejected("unreadable", reason)
            made = await self._made(revision.bundle)
            if isinstance(made, Rejected):
                reason = f"another worker has put it in force, and here it cannot be: {made.reason}"
                return replace(made, reason=reason)
            await self._switch(revision, made)
        elif self._revision is not None and told.number != self._revision.number:
            self._revision = Revision(told.number, told.at_us, self._revision.bundle)
        before, self._standing = self._standing, told
        if told.rejected != before.rejected:
            self._on_rejected(self.rejected)
        self._tell()
        return None

    def _found(self, told: _Standing) -> Revision | None:
        """The texts that another worker has put in force: kept, or still in the files. Blocks."""
        kept = self._kept.read()
        if kept is not None and kept.bundle.digest == told.digest:
            return Revision(told.number, told.at_us, kept.bundle)
        try:
            source = read_main(self._path)
        except (OSError, ValueError):  # also of text that is not UTF-8
            return None
        reading = Reading(source, beside(self._path))
        gather(source, reading)
        bundle = reading.bundle
        return Revision(told.number, told.at_us, bundle) if bundle.digest == told.digest else None

    async def _made(self, bundle: Bundle) -> T | Rejected:
        """What is put in force of a policy, or why it cannot be."""
        try:
            return await asyncio.to_thread(self._make, bundle)
        except PolicyError as error:
            return judgement.of_findings(error.diagnostics)
        except Unfit as error:
            return error.rejected
        except Exception as error:  # a defect of ours must not end the following of the files
            _log.exception("%s could not be made ready", self._path)
            return judgement.rejected("broken", f"it breaks the gateway ({type(error).__name__})")

    async def _switch(self, revision: Revision, made: T) -> None:
        await self._put(made)
        self._revision = revision
        self._loaded_us = time.time_ns() // 1000
        self._on_loaded()

    def _tell(self) -> None:
        self._board.post(self._topic, self._standing.packed())

    # --- leading ---------------------------------------------------------------------------------

    async def _lead(self) -> None:
        """Look at the files whenever this worker leads; it may lose that, and have it again."""
        while True:
            if self._board.leads(self._topic):
                await self._look_after()
            await asyncio.sleep(TAKE_OVER_S)

    async def _look_after(self) -> None:
        """Look at the files for as long as this worker leads."""
        self._marks = {}  # another may have led since they were judged
        watch = Watch(self._changed.set)
        try:
            await watch.follow(self._files())
            while self._board.leads(self._topic):
                await self._consider()
                await watch.follow(self._files())
                if await asyncio.to_thread(marks_of, self._marks) != self._marks:
                    self._changed.set()  # before it was watched
                await self._checker.rest()
                await self._change()
        finally:
            await watch.close()
            await self._checker.close()

    def _files(self) -> set[str]:
        """The files that decide: those in force, and those that were last judged."""
        return {self._path, *self._files_in_force(), *self._marks}

    def _files_in_force(self) -> tuple[str, ...]:
        return () if self._revision is None else self._revision.bundle.files

    def _is_what_is_in_force(self) -> bool:
        """Whether the files hold what is in force already. Blocks; reads them."""
        return self._revision is not None and self._revision.bundle.is_on_disk()

    async def _change(self) -> None:
        """Wait until something may have changed, or it is time to look, and all is quiet again."""
        try:
            async with asyncio.timeout(POLL_S):
                await self._changed.wait()
        except TimeoutError:
            return
        await self._checker.prepare()
        end = time.monotonic() + HASTE_S
        while self._changed.is_set() and time.monotonic() < end:
            self._changed.clear()
            await asyncio.sleep(QUIET_S)

    async def _consider(self) -> None:
        """Judge the files, where they are others than those last judged."""
        self._changed.clear()
        for _ in range(_ROUNDS):
            marks = await asyncio.to_thread(marks_of, self._files())
            if marks == self._marks:
                return
            if await asyncio.to_thread(self._is_what_is_in_force):
                self._marks = marks
                self._stand(None)
                return
            checked = await self._checker.check(self._path)
            # As they were before they were read: what has changed since is another candidate.
            marks |= checked.marks
            if await asyncio.to_thread(marks_of, checked.marks) == checked.marks:
                break
        async with self._one_at_a_time:
            no = checked.rejected
            if checked.bundle is not None and no is None:
                no = await self._accept(checked.bundle)
            if no is not None:
                self._stand(no)
        files = {self._path, *self._files_in_force(), *checked.marks}
        self._marks = {file: found for file, found in marks.items() if file in files}

    async def _accept(self, bundle: Bundle) -> Rejected | None:
        """Put a candidate in force that was found fit, for all workers; or why it cannot be."""
        made = await self._made(bundle)
        if isinstance(made, Rejected):
            return made
        number = 1 + max(self._standing.number, self._highest)
        revision = Revision(number, time.time_ns() // 1000, bundle)
        # Others load it from there as soon as they hear of it, and so it comes first.
        await self._keep(revision)
        await self._switch(revision, made)
        self._standing = _Standing(revision.number, 0, bundle.digest, revision.at_us)
        self._tell()
        digest = self._digest_of(made)
        shown = f" ({digest[:19]})" if digest else ""
        _log.info("revision %d of %s is %s%s", revision.number, self._path, self._place, shown)
        self._note("policy.load", "done", digest=digest, revision=revision.number)
        return None

    async def _keep(self, revision: Revision) -> None:
        try:
            await asyncio.to_thread(self._kept.write, revision)
            self._is_kept = True
        except OSError as error:
            if self._is_kept:
                self._is_kept = False
                _log.warning(
                    "the policy in force cannot be kept under TURNOUT_HOME, so that a restart will "
                    "not know it: %s",
                    (error.strerror or str(error)).lower(),
                )

    def _stand(self, no: Rejected | None) -> None:
        """Say of the files as they are now that they are in force (None), or why they are not."""
        before = self._standing
        if no is None and before.rejected is None:
            return
        self._standing = _Standing(
            before.number, before.judged + 1, before.digest, before.at_us, no
        )
        self._tell()
        self._on_rejected(no)
        if no is None:
            self._note("policy.restore", "done", revision=before.number)
        else:
            self._note("policy.reject", "failed", kind=no.kind, reason=no.reason)
        if no is None:
            _log.info("%s is again what is %s", self._path, self._place)
        elif self._revision is None:
            _log.warning("%s was refused, and nothing is %s: %s", self._path, self._place, no)
        else:
            _log.warning("%s was refused, what was %s stays: %s", self._path, self._place, no)

    def _note(self, action: str, outcome: Outcome, **detail: str | int | None) -> None:
        detail |= {"what": self.name}
        self._audit.note(Event("file", action, self._path, outcome, detail))
