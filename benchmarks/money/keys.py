"""Keys for a gateway that takes requests with a key only."""

import time
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.processes import GatewayProcess
from turnout.engine.key_terms import new_key
from turnout.engine.state.database import open_database
from turnout.engine.state.keys import StoredKeys

KEYS_ONLY = {"TURNOUT_AUTH": "keys"}


class Minted(NamedTuple):
    """Whose a key is to be, and what else its maker says of it; None: nothing."""

    tenant: str
    team: str | None = None
    user: str | None = None
    scopes: list[str] | None = None
    models: list[str] | None = None
    rpm: int | None = None


def mint(gateway: GatewayProcess, owners: Iterable[Minted]) -> list[str]:
    """Make keys in a gateway's home, as `turnout keys create` does, and return their secrets."""
    database = open_database(gateway.home)
    try:
        kept = StoredKeys(database)
        secrets = []
        for owner in owners:
            key, secret = new_key(owner._asdict(), time.time_ns() // 1000)
            kept.create(key, "cli")
            secrets.append(secret)
        return secrets
    finally:
        database.close()


def key_id(secret: str) -> str:
    """The id of the key whose secret this is, as budgets and the ledger know it."""
    return "key_" + secret.removeprefix("tk_").partition("_")[0]
