"""A server of some mode with keys in a real database, and what it is asked with."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from turnout.engine.audit import Event
from turnout.engine.key_terms import new_key
from turnout.engine.keyring import Keyring
from turnout.engine.keys import Key, digest_of, new_text
from turnout.engine.state.database import open_database
from turnout.engine.state.keys import StoredKeys

ADMIN_KEY = "an-admin-key-of-30-characters!"
HOUR_US = 3_600_000_000


@dataclass
class Heard:
    """An audit that remembers."""

    events: list[Event] = field(default_factory=list)

    def note(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


class Keys:
    """Keys of every condition; `texts` has what each is presented by."""

    def __init__(self, home: Path) -> None:
        self.database = open_database(home)
        self.store = StoredKeys(self.database)
        self.texts: dict[str, str] = {}
        self.keys: dict[str, Key] = {}
        self.make("full", scopes=["ai:read", "ai:write", "admin"])
        self.make("plain")
        self.make("read", scopes=["ai:read"])
        self.make("write", scopes=["ai:write"])
        self.make("admin", scopes=["admin"])
        self.make("ana", tenant="acme", team="search", user="ana")
        self.make("expired", age_us=2 * HOUR_US, expires="1h")
        self.make("revoked")
        self.store.revoke(self.keys["revoked"].id, "cli")
        self.make("rotated")
        before = self.texts["rotated"]
        self.rotate("rotated", HOUR_US)
        self.texts["in grace"] = before
        self.make("over")
        before = self.texts["over"]
        self.rotate("over", 0)
        self.texts["out of grace"] = before
        self.texts["wrong secret"] = new_text(self.keys["full"].id)
        self.texts["unknown"] = new_text("key_000000000000")
        self.texts["cut"] = self.texts["full"][:-1]
        self.texts["SQL"] = "tk_' OR '1'='1' --_x"
        self.texts["a provider's"] = "sk-proj-0123456789abcdef0123456789abcdef"
        self.texts["TURNOUT_ADMIN_KEY"] = ADMIN_KEY

    def make(self, name: str, *, age_us: int = 0, **terms: Any) -> None:
        now_us = time.time_ns() // 1000 - age_us
        key, text = new_key({"tenant": "acme", **terms}, now_us)
        self.keys[name], self.texts[name] = self.store.create(key, "cli"), text

    def rotate(self, name: str, grace_us: int) -> None:
        id = self.keys[name].id
        self.texts[name] = new_text(id)
        self.keys[name] = self.store.rotate(id, digest_of(self.texts[name]), grace_us, "cli")


def bearer(text: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {text}"}


@asynccontextmanager
async def serving(
    serve: Any, stub: Any, keys: Keys, auth: Any, *, admin: bool = True, **settings: Any
) -> AsyncIterator[Any]:
    """The server of a gateway that only pretends, with these keys and an audit that remembers."""
    gateway = replace(stub(), keys=Keyring(keys.store), audit=Heard())
    if admin:
        settings["admin_digest"] = digest_of(ADMIN_KEY)
    async with serve(gateway, auth=auth, **settings) as served:
        yield served
