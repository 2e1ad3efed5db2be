"""The gateway as a process, and what the kernel knows of a process: CPU time and memory."""

import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from turnout.adapters import PROVIDERS

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STOP_S = 60.0
_SERVES = "turnout serves http://"
KEY_VARIABLES = tuple(kind.key_variable for kind in PROVIDERS.values())


class GatewayProcess:
    """`turnout serve` with a policy and a home of its own; ends with the `with` block.

    `text` is the policy's, which may be changed until it starts.
    """

    def __init__(
        self,
        policy: str,
        *,
        workers: int = 1,
        cores: set[int] | None = None,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare to serve the text of a policy, on certain cores if given; port 0: a free one."""
        self.text = policy
        self._workers = workers
        self._cores = cores
        self._environment = dict(environment or {})
        self.port = port
        self._folder = tempfile.TemporaryDirectory(prefix="turnout-bench-")
        self._process: subprocess.Popen[str] | None = None

    @property
    def home(self) -> Path:
        """The gateway's `TURNOUT_HOME`."""
        return Path(self._folder.name)

    @property
    def pid(self) -> int:
        """The process id of `turnout serve`."""
        assert self._process is not None
        return self._process.pid

    @property
    def policy(self) -> Path:
        """The file of its policy."""
        return self.home / "routing.yml"

    @property
    def serving(self) -> list[int]:
        """The process ids of those that take requests: its workers, or itself where it is alone."""
        return workers_of(self.pid) if self._workers > 1 else [self.pid]

    def start(self) -> Self:
        """Start, and wait for nothing."""
        self.policy.write_text(self.text, encoding="utf-8")
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        environment = {**kept, **dict.fromkeys(KEY_VARIABLES, "simulated")}
        environment["TURNOUT_HOME"] = str(self.home)
        environment |= self._environment
        command = [sys.executable, "-m", "turnout", "serve", "--policy", str(self.policy)]
        with (self.home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), "--workers", str(self._workers)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        return self

    def __enter__(self) -> Self:
        """Start, and wait until it serves. Raises: RuntimeError with its log if it does not."""
        self.start()
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_SERVES):
                self.port = int(line.removeprefix(_SERVES).split()[0].rpartition(":")[2])
                break
        else:
            raise RuntimeError(f"the gateway did not start:\n{self.log()}")
        if self._cores is not None:
            for pid in (self.pid, *children(self.pid)):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setaffinity(int(task.name), self._cores)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop and remove the home."""
        self.stop()
        self.clean()

    def restart(self) -> None:
        """Start what was stopped or killed once more, its home as it is, and wait until it serves.

        Raises: RuntimeError with its log if it does not.
        """
        self.__enter__()

    def clean(self) -> None:
        """Remove the home; for who has called `start` instead of a `with` block."""
        self._folder.cleanup()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit code; the home stays until the block ends."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.returncode

    def log(self) -> str:
        """What it wrote to its log so far."""
        return (self.home / "log").read_text(encoding="utf-8", errors="replace")

    def cpu_us(self) -> int:
        """CPU time, user and system, of it and its workers so far (a kernel tick is 10 ms)."""
        return sum(cpu_us(pid) for pid in (self.pid, *children(self.pid)))

    def rss_bytes(self) -> int:
        """Resident memory of it and its workers."""
        return sum(rss_bytes(pid) for pid in (self.pid, *children(self.pid)))

    def ledger(self) -> sqlite3.Connection:
        """Open its database for reading."""
        return sqlite3.connect(f"file:{self.home / 'turnout.db'}?mode=ro", uri=True)


class ModuleProcess:
    """A server that is run by `python -m`, and says in its first line where; ends with `with`."""

    def __init__(self, module: str, *arguments: str, cores: set[int] | None = None) -> None:
        """Prepare to run it, on certain cores if given."""
        self._command = [sys.executable, "-m", module, *arguments]
        self._cores = cores
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        """Start, and wait until it serves. Raises: RuntimeError if it does not."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._command} did not start")
        self.port = int(line.split()[-1])
        if self._cores is not None:
            for task in Path(f"/proc/{self._process.pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), self._cores)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_STOP_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def cpu_us(self) -> int:
        """CPU time, user and system, so far."""
        assert self._process is not None
        return cpu_us(self._process.pid)


class BareProcess(ModuleProcess):
    """The HTTP server alone (`benchmarks.bare`); ends with the `with` block."""

    def __init__(self, chunks: int, *, cores: set[int] | None = None) -> None:
        """Prepare to stream so many chunks, on certain cores if given."""
        super().__init__("benchmarks.bare", str(chunks), cores=cores)


def cpu_us(pid: int) -> int:
    """Return the CPU time of a process and its finished children, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) * 1_000_000 // _TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for t in tasks for child in (t / "children").read_text().split()]
    except FileNotFoundError:
        return []


def workers_of(pid: int) -> list[int]:
    """Return those of a process's children that take requests, oldest first."""
    return [child for child in sorted(children(pid)) if b"spawn_main" in _command_of(child)]


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


def machine() -> str:
    """Say what it was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()}"


def versions() -> str:
    """Say what was measured: the interpreter and the packages that matter."""
    names = ("turnout", "sanic", "uvloop", "httpx", "orjson", "tiktoken", "sqlalchemy")
    return ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]
    )
