"""Keys for a gateway that takes requests with a key only."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.processes import GatewayProcess

KEYS_ONLY = {"TURNOUT_AUTH": "keys"}
_SECRET = re.compile(r"\btk_[\w.-]+")


class Minted(NamedTuple):
    """Whose a key is to be, and what else its maker says of it; None: nothing."""

    tenant: str
    team: str | None = None
    user: str | None = None
    scopes: str | None = None
    models: str | None = None
    rpm: str | None = None


def mint(gateway: GatewayProcess, owners: Iterable[Minted]) -> list[str]:
    """Make keys in a gateway's home as its operator would, and return their secrets."""
    return [_mint(gateway, owner) for owner in owners]


def _mint(gateway: GatewayProcess, owner: Minted) -> str:
    command = [sys.executable, "-m", "turnout", "keys", "create"]
    for name, value in owner._asdict().items():
        command += [] if value is None else [f"--{name}", value]
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    made = subprocess.run(
        command,
        env=kept | {"TURNOUT_HOME": str(gateway.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = _SECRET.search(made.stdout)
    if found is None:
        raise RuntimeError(f"no key in what `turnout keys create` said:\n{made.stdout}")
    return found.group()


def key_id(secret: str) -> str:
    """The id of the key whose secret this is, as budgets and the ledger know it."""
    return "key_" + secret.removeprefix("tk_").partition("_")[0]
