"""One connection to each of a gateway's workers, whichever the kernel gave it to.

All workers accept from one socket, so who has a connection is asked of the kernel: its inode stands
in `/proc/net/tcp`, and among the open files of its owner.
"""

import contextlib
import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path

from benchmarks.processes import GatewayProcess

_MOST_TRIES = 400
_ACCEPTED_S = 5.0


@contextmanager
def one_each(gateway: GatewayProcess) -> Iterator[dict[int, http.client.HTTPConnection]]:
    """Connections by the process id of the worker that has it, one for each worker.

    Raises: RuntimeError if a worker takes none.
    """
    wanted = set(gateway.serving)
    found: dict[int, http.client.HTTPConnection] = {}
    others: list[http.client.HTTPConnection] = []
    try:
        for _ in range(_MOST_TRIES):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
            connection.request("GET", "/ready")
            connection.getresponse().read()
            owner = _owner(connection, gateway.port, wanted)
            if owner is None or owner in found:
                # Kept open: a worker with fewer connections is likelier to take the next.
                others.append(connection)
            else:
                found[owner] = connection
            if found.keys() == wanted:
                break
        else:
            raise RuntimeError(f"only {len(found)} of {len(wanted)} workers take connections")
        for connection in others:
            connection.close()
        yield found
    finally:
        for connection in (*found.values(), *others):
            connection.close()


def _owner(connection: http.client.HTTPConnection, port: int, workers: set[int]) -> int | None:
    """The worker that has the other end of a connection."""
    own_port = connection.sock.getsockname()[1]
    deadline = time.monotonic() + _ACCEPTED_S
    while time.monotonic() < deadline:
        inode = _inode(port, own_port)
        for pid in workers:
            if inode is not None and f"socket:[{inode}]" in _files(pid):
                return pid
        time.sleep(0.005)
    return None


def _inode(port: int, peer: int) -> str | None:
    """The inode of the socket that is connected from `port` to `peer`, both here."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        here, there = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
        if (here, there) == (port, peer) and fields[9] != "0":
            return fields[9]
    return None


def _files(pid: int) -> set[str]:
    """What the open files of a process are."""
    found = set()
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.readlink(file))
    return found


def open_files(pids: list[int]) -> int:
    """How many files these processes have open together."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def threads(pids: list[int]) -> int:
    """How many threads these processes have together."""
    return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids)


def asked(connection: http.client.HTTPConnection, prompt: str) -> Message:
    """Ask for an answer on a connection. Returns: its headers, none of them where it failed."""
    body = {"model": "auto", "messages": [{"role": "user", "content": prompt}]}
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    answer.read()
    return answer.headers if answer.status == 200 else Message()
