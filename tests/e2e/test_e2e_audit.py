"""What a gateway of several processes leaves in the audit log, and that it holds together."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from .conftest import Served
from .test_e2e_disk import until


def rows(served: Served) -> list[dict[str, Any]]:
    with sqlite3.connect(f"file:{served.home}/turnout.db?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("select * from audit order by number")]


def actions(served: Served) -> list[str]:
    return [row["action"] for row in rows(served)]


def test_who_started_it_and_what_became_of_the_policy_is_in_one_chain(
    serve: Callable[..., Served], first_policy: str
) -> None:
    served = serve(first_policy, "--workers", "2", TURNOUT_PROBE_SECONDS="0")
    policy = served.home.parent / "routing.yml"
    until(lambda: actions(served).count("gateway.start") == 2)
    policy.write_text(first_policy.replace("tokens < 100", "tokens < 120"))
    until(lambda: "policy.load" in actions(served))
    policy.write_text(first_policy.replace("tokens < 100", "tokens < nonsense"))
    until(lambda: "policy.reject" in actions(served))
    policy.write_text(first_policy.replace("tokens < 100", "tokens < 120"))
    until(lambda: "policy.restore" in actions(served))
    # A worker that is killed leaves no gap; the one in its place goes on with the chain.
    pid = int(rows(served)[0]["object"].split()[1])
    os.kill(pid, signal.SIGKILL)
    until(lambda: actions(served).count("gateway.start") == 3)
    assert served.stop() == 0
    found = rows(served)
    assert [row["number"] for row in found] == list(range(1, len(found) + 1))
    by = [row["action"] for row in found if row["actor"] == "file"]
    assert by == ["policy.load", "policy.reject", "policy.restore"]
    loaded, rejected, _ = (json.loads(row["detail"]) for row in found if row["actor"] == "file")
    assert loaded["digest"].startswith("sha256:")
    assert (loaded["revision"], loaded["what"]) == (2, "policy")
    assert rejected["kind"] == "findings"
    assert actions(served).count("gateway.stop") == 2
    verified = subprocess.run(
        [sys.executable, "-m", "turnout", "audit", "verify", "--journal", str(served.home)],
        capture_output=True,
        text=True,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
