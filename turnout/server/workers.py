"""Several workers on one socket: started together, replaced when they die, stopped together."""

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import cast

from turnout.engine.metrics import forget_process, share_between_processes
from turnout.settings import Settings, SettingsError

from .app import GatewayFactory
from .log import log_to_stderr
from .stop import Stop
from .worker import STOPPED, Ready, run_worker

# Beyond the drain: time to write out what is queued before a worker is killed.
_CLOSING_S = 15.0
# Between the end of a worker and the start of the next; doubled while they do not live long.
_LONGEST_PAUSE_S = 30.0
_SOUND_S = 60.0
# Workers that may die while they start, of all together, before the start is given up.
_MOST_STILLBORN = 3
# What may come to a worker before it can deal with it.
_BLOCKED = {signal.SIGINT, signal.SIGHUP}

_log = logging.getLogger("turnout.server")


class WorkerError(Exception):
    """A worker that could not start; the message is for people."""


def run_workers(
    settings: Settings,
    gateway_factory: GatewayFactory,
    listening: socket.socket,
    stop: Stop,
    on_ready: Callable[[Ready], None],
) -> None:
    """Serve with `settings.workers` processes until asked to stop.

    The factory must be a function that another interpreter can import. `on_ready` is called once,
    when all of them take requests. Raises: WorkerError if at the beginning one says that it cannot
    start, or too many die of it.
    """
    counted = share_between_processes(settings.home / "metrics")
    crew = _Crew(settings, gateway_factory, listening, stop, counted)
    try:
        crew.start(on_ready)
        crew.watch()
    finally:
        crew.dismiss()
        shutil.rmtree(counted, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process; of `report` can be read its `Ready`, or a string: why it cannot start."""

    process: SpawnProcess
    report: Connection
    hired_at: float


class _Crew:
    """The processes, by the handle that tells of their end."""

    def __init__(
        self,
        settings: Settings,
        gateway_factory: GatewayFactory,
        listening: socket.socket,
        stop: Stop,
        folder: Path,
    ) -> None:
        self._settings = settings
        self._gateway_factory = gateway_factory
        self._listening = listening
        self._stop = stop
        self._folder = folder
        # A new interpreter for each: no lock, thread or counter is inherited half-way.
        self._context = multiprocessing.get_context("spawn")
        # Else the first worker's start starts it, and unblocks SIGINT in doing so.
        resource_tracker.ensure_running()
        self._workers: dict[int, _Worker] = {}
        self._failures = 0
        self._awake, wake = os.pipe()
        os.set_blocking(wake, False)
        stop.wake_with(lambda: _poke(wake))
        self._hung_up = False
        if settings.looks_again:
            signal.signal(signal.SIGHUP, lambda *_: self._hang_up(wake))

    def start(self, on_ready: Callable[[Ready], None]) -> None:
        """Start all workers and wait until they take requests."""
        for _ in range(self._settings.workers):
            self._hire()
        starting = dict(self._workers)
        told: Ready | str | None = None
        stillborn = 0
        while starting and not self._stop.asked:
            reports = {worker.report.fileno(): at for at, worker in starting.items()}
            for report in self._wait(reports):
                worker = starting.pop(reports[report])
                try:
                    told = worker.report.recv()
                except (EOFError, OSError):
                    stillborn += 1
                    if stillborn > _MOST_STILLBORN:
                        worker.process.join()
                        raise WorkerError(
                            f"workers ended before they were ready, {stillborn} times, the last "
                            f"with {worker.process.exitcode}"
                        ) from None
                    del self._workers[worker.process.sentinel]
                    starting |= self._replace(worker)
                if isinstance(told, str):
                    raise WorkerError(told)
        if isinstance(told, Ready) and not self._stop.asked:
            on_ready(told)

    def watch(self) -> None:
        """Replace workers that die, until asked to stop."""
        while not self._stop.asked:
            for handle in self._wait(self._workers):
                self._replace(self._workers.pop(handle))

    def dismiss(self) -> None:
        """Stop all workers: no new connections, a drain, then the end."""
        self._listening.close()
        self._signal(signal.SIGTERM)
        hurried = False
        limits = self._settings.limits
        bound_s = (limits.drain_delay_us + limits.drain_us) / 1e6 + _CLOSING_S
        end = time.monotonic() + bound_s
        while self._workers and time.monotonic() < end:
            for handle in self._wait(self._workers, end - time.monotonic()):
                self._workers.pop(handle).process.join()
            if self._stop.hurried and not hurried:
                hurried = True
                self._signal(signal.SIGTERM)
        for worker in self._workers.values():
            _log.error("worker %s does not end and is killed", worker.process.pid)
            worker.process.kill()
            worker.process.join()
        if self._stop.asked:
            _log.info(STOPPED)

    def _wait(self, handles: Iterable[int], seconds: float | None = None) -> list[int]:
        """Those of the handles that have news; none of them if somebody asked to stop."""
        seen = cast(list[int], wait([*handles, self._awake], seconds))
        if self._awake in seen:
            os.read(self._awake, 64)
        if self._hung_up:
            self._hung_up = False
            # Whichever of them follows the policy's files looks at them.
            self._signal(signal.SIGHUP)
        return [handle for handle in seen if handle != self._awake]

    def _hang_up(self, wake: int) -> None:
        self._hung_up = True
        _poke(wake)

    def _hire(self) -> dict[int, _Worker]:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work,
            args=(self._settings, self._gateway_factory, self._listening, theirs),
            name="turnout-worker",
        )
        # Ctrl-C goes to the whole group; the workers leave it to this process. They inherit it as
        # blocked, until they ignore it: never ignored here, where it would be lost for good.
        # SIGHUP would end a worker that is not ready for it yet.
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
        theirs.close()
        hired = {process.sentinel: _Worker(process, ours, time.monotonic())}
        self._workers |= hired
        return hired

    def _replace(self, worker: _Worker) -> dict[int, _Worker]:
        """Start another worker in the place of one that is dead, unless asked to stop."""
        process = worker.process
        process.join()
        if process.pid is not None:
            forget_process(self._folder, process.pid)
        if time.monotonic() - worker.hired_at > _SOUND_S:
            self._failures = 0
        pause_s = min(0.5 * 2**self._failures, _LONGEST_PAUSE_S)
        self._failures += 1
        _log.error(
            "worker %s ended with %s%s; another one starts in %.1f s",
            process.pid,
            process.exitcode,
            _reason(worker.report),
            pause_s,
        )
        self._wait((), pause_s)
        return {} if self._stop.asked else self._hire()

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            if worker.process.pid is not None and worker.process.is_alive():
                os.kill(worker.process.pid, number)


def _reason(report: Connection) -> str:
    """What a worker said of why it could not start, in brackets; nothing where it did."""
    with contextlib.suppress(EOFError, OSError):
        while report.poll():
            told = report.recv()
            if isinstance(told, str):
                return f" ({told})"
    return ""


def _poke(wake: int) -> None:
    """Wake who waits at the other end of a pipe; one that is full wakes as well."""
    with contextlib.suppress(BlockingIOError):
        os.write(wake, b"!")


def _work(
    settings: Settings,
    gateway_factory: GatewayFactory,
    listening: socket.socket,
    report: Connection,
) -> None:
    """The life of one worker process."""
    for number in _BLOCKED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
    stop = Stop()
    stop.catch(signal.SIGTERM)
    log_to_stderr(settings)
    threading.Thread(target=_follow_parent, args=(stop,), daemon=True).start()
    try:
        run_worker(settings, gateway_factory, listening, stop, report.send)
    except SettingsError as error:
        report.send(str(error))
        sys.exit(1)
    except Exception:
        # Not left to what a process does by itself, which is to print it as it is.
        _log.critical("this worker broke", exc_info=True)
        sys.exit(1)


def _follow_parent(stop: Stop) -> None:
    """Stop when the process that started this one is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        stop.ask()
