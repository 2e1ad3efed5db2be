"""A ledger for tests and examples of commands about money: January 2025, of one tenant."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from turnout.engine.ledger import Entry
from turnout.engine.state.database import FILE, open_database

# day, team, user, target, rule, tokens in and out, cost, what may have been spent, who paid
ROWS = (
    (6, "search", "ana", "openai/gpt-4o", "big", 12_000, 3_400, 64_000_000, 0, "gateway"),
    (6, "search", "bob", "groq/llama-3-8b", "small", 900, 210, 61_800, 0, "gateway"),
    (7, "ads", "eve", "openai/gpt-4o", "big", 88_000, 9_100, 311_000_000, 0, "gateway"),
    (7, "search", "ana", "openai/gpt-4o", "big", None, None, 0, 250_000_000, "gateway"),
    (21, "search", "ana", "mistral/mistral-large", "big", 41_000, 7_700, 238_500_000, 0, "gateway"),
    (21, "ads", "eve", "openai/gpt-4o", "big", 5_000, 900, 21_500_000, 0, "caller"),
    (31, "ads", None, "groq/llama-3-8b", None, 2_000, 500, 140_000, 0, "gateway"),
)  # fmt: skip


def keep_ledger(home: Path) -> Path:
    """Make a database with these rows; the home."""
    open_database(home).close()
    columns = ",".join(f'"{name}"' for name in Entry._fields)
    marks = ",".join("?" * len(Entry._fields))
    with sqlite3.connect(home / FILE) as connection:
        connection.executemany(
            f"INSERT INTO ledger ({columns}) VALUES ({marks})",
            [_entry(number, *row) for number, row in enumerate(ROWS)],
        )
    return home


def _entry(
    number: int,
    day: int,
    team: str,
    user: str | None,
    target: str,
    rule: str | None,
    tokens_in: int | None,
    tokens_out: int | None,
    cost: int,
    unconfirmed: int,
    payer: str,
) -> Entry:
    at = datetime(2025, 1, day, 12, number, tzinfo=UTC)
    return Entry(
        time_us=int(at.timestamp()) * 1_000_000,
        request=f"req_{number}",
        hop=0,
        attempt=1,
        tenant="acme",
        team=team,
        user=user,
        key_id=None,
        model="auto",
        target=target,
        upstream_model=target.partition("/")[2],
        rule=rule,
        policy="sha256:x",
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_cached=0,
        tokens_cache_write=0,
        tokens_reasoning=0,
        usage_source="unconfirmed" if unconfirmed else "upstream",
        cost_nano_usd=cost,
        unconfirmed_nano_usd=unconfirmed,
        outcome="failed" if unconfirmed else "ok",
        fault="timeout" if unconfirmed else None,
        kind="answer",
        payer=payer,
    )
