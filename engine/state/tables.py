"""The tables, as SQLAlchemy Core sees them: the same in every database.

The migrations make these tables; a test holds the two to each other. Importing this module costs
0.4 s: only stores do. Times are UTC microseconds, money is nano-USD, both 64-bit integers.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData()

# SQLite makes a row id only of a column whose type is exactly INTEGER.
_ROW_ID = BigInteger().with_variant(Integer(), "sqlite")

# One row per request. `record` is the whole record as JSON; the columns are what is searched by.
DECISIONS = Table(
    "decisions",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("rule", Text),
    Column("target", Text),
    Column("pulse", Text),
    Column("record", LargeBinary, nullable=False),
    Index("decisions_time", "time_us"),
)

# One row per attempt whose request bytes left; `engine.ledger.Entry` says what the columns mean.
LEDGER = Table(
    "ledger",
    METADATA,
    Column("id", _ROW_ID, primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("request", Text, nullable=False),
    Column("hop", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("team", Text),
    Column("user", Text),
    Column("key_id", Text),
    Column("model", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("upstream_model", Text, nullable=False),
    Column("rule", Text),
    Column("policy", Text, nullable=False),
    Column("tokens_in", BigInteger),
    Column("tokens_out", BigInteger),
    Column("tokens_cached", BigInteger),
    Column("tokens_cache_write", BigInteger),
    Column("tokens_reasoning", BigInteger),
    Column("usage_source", Text, nullable=False),
    Column("cost_nano_usd", BigInteger, nullable=False),
    Column("unconfirmed_nano_usd", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("fault", Text),
    Column("kind", Text, nullable=False, server_default="answer"),
    Column("payer", Text, nullable=False, server_default="gateway"),
    Column("corrects", BigInteger),
    UniqueConstraint("request", "hop", "attempt", name="ledger_attempt"),
    Index("ledger_time", "time_us"),
    # For the counters that are made in the middle of their stretch.
    Index("ledger_tenant", "tenant", "time_us"),
    Index("ledger_team", "team", "tenant", "time_us", sqlite_where=text("team IS NOT NULL")),
    Index("ledger_user", "user", "tenant", "time_us", sqlite_where=text('"user" IS NOT NULL')),
    Index("ledger_key", "key_id", "time_us", sqlite_where=text("key_id IS NOT NULL")),
    Index("ledger_target", "target", "time_us"),
    Index("ledger_unconfirmed", "time_us", sqlite_where=text("unconfirmed_nano_usd > 0")),
)

# What answers from the cache saved, by quarters of an hour; `engine.savings.Saving` says what the
# columns mean.
SAVINGS = Table(
    "savings",
    METADATA,
    Column("from_us", BigInteger, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("team", Text, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("payer", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("tokens_in", BigInteger, nullable=False),
    Column("tokens_out", BigInteger, nullable=False),
    Column("saved_nano_usd", BigInteger, nullable=False),
)

# Attempts that ended after their request's record was written: mirrors.
LATE = Table(
    "late",
    METADATA,
    Column("request", Text, primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("attempt", LargeBinary, nullable=False),
    Index("late_time", "time_us"),
)

# Live values of all targets, of the ticks that some decision refers to.
PULSES = Table(
    "pulses",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("pulse", LargeBinary, nullable=False),
    Index("pulses_time", "time_us"),
)

# Every policy that decided, by the digest of its canonical text; `time_us`: when a worker last put
# it in force, or said that it was.
POLICIES = Table(
    "policies",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("canonical", Text, nullable=False),
)

# What was spent of a stretch of time by a tenant, team, user, key or model: the sum of its ledger
# rows. Made when a budget first asks for it, with what the ledger has by then.
COUNTERS = Table(
    "counters",
    METADATA,
    Column("id", _ROW_ID, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("to_us", BigInteger, nullable=False),
    Column("settled_nano_usd", BigInteger, nullable=False),
    Column("unconfirmed_nano_usd", BigInteger, nullable=False),
    UniqueConstraint("scope", "tenant", "who", "from_us", "to_us", name="counters_stretch"),
)

# Worker processes that hold leases. `boot` and `heartbeat_us`: of the clock that counts since the
# machine was started. `lost_us`: since when its heartbeat is taken for ended (UTC).
HOLDERS = Table(
    "holders",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("boot", Text, nullable=False),
    Column("joined_us", BigInteger, nullable=False),
    Column("heartbeat_us", BigInteger, nullable=False),
    Column("lost_us", BigInteger),
)

# What a holder has of a counter and the ledger does not account for yet; of a lost holder, what may
# have been spent.
LEASES = Table(
    "leases",
    METADATA,
    Column("holder", Text, primary_key=True),
    Column("counter", BigInteger, primary_key=True),
    Column("nano_usd", BigInteger, nullable=False),
    Index("leases_counter", "counter"),
)

# Clients' keys; `digest` is of the whole text. `settings`: JSON of tier, scopes, models and rates.
# `changed`: the number of `keys` in `revisions` with the row's last change.
KEYS = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("team", Text),
    Column("user", Text),
    Column("digest", Text, nullable=False),
    Column("previous_digest", Text),
    Column("previous_until_us", BigInteger),
    Column("settings", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("changed", BigInteger, nullable=False),
    Index("keys_changed", "changed"),
)

# Tenants that no file names, made through the admin API; `settings` is JSON.
TENANTS = Table(
    "tenants",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("settings", Text, nullable=False),
    Column("changed_us", BigInteger, nullable=False),
)

# Numbers that rise with each change of what workers keep in memory (`keys`, `tenants`).
REVISIONS = Table(
    "revisions",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# Who changed what and who was refused; each row's digest covers the one before it.
AUDIT = Table(
    "audit",
    METADATA,
    Column("number", _ROW_ID, primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Index("audit_time", "time_us"),
)

# What was said once of somebody's spend of a budget in a stretch. `body` is the message; `sent_us`:
# since when whoever is to be told has it, or is past being told.
ALERTS = Table(
    "alerts",
    METADATA,
    Column("id", _ROW_ID, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("to_us", BigInteger, nullable=False),
    Column("budget", Text, nullable=False),
    Column("limit_nano_usd", BigInteger, nullable=False),
    Column("what", Text, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("sent_us", BigInteger),
    UniqueConstraint(
        "scope",
        "tenant",
        "who",
        "from_us",
        "to_us",
        "budget",
        "limit_nano_usd",
        "what",
        name="alerts_once",
    ),
    Index("alerts_time", "time_us"),
)
