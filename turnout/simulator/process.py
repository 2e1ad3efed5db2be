"""Starts a simulator as a process, for tests, the demo and benchmarks."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from .server import CONTROL

_START_S = 30.0
_STOP_S = 5.0


class SimulatorProcess:
    """A simulator in a process of its own; ends with the `with` block, or with this process."""

    def __init__(self, providers: Sequence[str] = (), *options: str) -> None:
        """Prepare to play `providers` (`NAME[:PORT]`, default all) with further options."""
        self._command = [sys.executable, "-m", "turnout.simulator", "--print-ports", "json"]
        self._command += ["--control-port", "0", "--port", "0", "--until-stdin-closes"]
        for provider in providers:
            self._command += ["--provider", provider]
        self._command += options
        self._process: subprocess.Popen[str] | None = None
        self._addresses: dict[str, dict[str, Any]] = {}

    def start(self) -> Self:
        """Start it and wait until all ports are open. Raises: RuntimeError."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait(_START_S)
            raise RuntimeError(f"the simulator ended with exit code {code} before it was ready")
        self._addresses = json.loads(line)
        return self

    def stop(self) -> int:
        """End it and return its exit code; 0 if it was not running."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def pid(self) -> int:
        """The process id. Raises: RuntimeError if it is not running."""
        if self._process is None:
            raise RuntimeError("the simulator is not running")
        return self._process.pid

    @property
    def providers(self) -> list[str]:
        """The providers it plays."""
        return [name for name in self._addresses if name != CONTROL]

    def base_url(self, provider: str) -> str:
        """Return a provider's base URL, as a policy's `base_url` wants it."""
        return str(self._addresses[provider]["base_url"])

    @property
    def control_url(self) -> str:
        """Where faults are ordered and traffic is counted (`/_sim/…`)."""
        return str(self._addresses[CONTROL]["base_url"])

    def port(self, provider: str) -> int:
        """Return a provider's port."""
        return int(self._addresses[provider]["port"])

    def fault(
        self,
        fault: dict[str, Any],
        *,
        model: str = "*",
        times: int | None = None,
        rate: float | None = None,
        seed: int = 0,
        what: str = "calls",
    ) -> int:
        """Order a fault (see `faults`) and return its id. Raises: ValueError if it is none."""
        order: dict[str, Any] = {"what": what, "model": model, "fault": fault, "times": times}
        order |= {"rate": rate, "seed": seed}
        return int(self._control("POST", "faults", order)["id"])

    def clear_faults(self) -> None:
        """End all faults and open closed listeners again."""
        self._control("DELETE", "faults")

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults in force, each with its `hits`."""
        return list(self._control("GET", "faults")["faults"])

    def stats(self) -> dict[str, Any]:
        """Return the counts: `total`, `models` by `provider/model`, `lookups` by provider.

        See `traffic.Tally`.
        """
        return self._control("GET", "stats")

    def clear_stats(self) -> None:
        """Start counting anew."""
        self._control("DELETE", "stats")

    def requests(self, last: int = 10) -> list[dict[str, Any]]:
        """Return the last requests, oldest first: provider, model, path, headers, body."""
        return list(self._control("GET", f"requests?last={last}")["requests"])

    def _control(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.control_url}/_sim/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"connection": "close"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from None
