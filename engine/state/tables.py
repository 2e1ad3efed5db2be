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
    UniqueConstraint("request", "hop", "attempt", name="ledger_attempt"),
    Index("ledger_time", "time_us"),
)

# Attempts that ended after their request's record was written: mirrors.
LATE = Table(
    "late",
    METADATA,
    Column("request", Text, primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("attempt", LargeBinary, nullable=False),
)

# Live values of all targets, of the ticks that some decision refers to.
PULSES = Table(
    "pulses",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("pulse", LargeBinary, nullable=False),
)

# Every policy that ever decided, by the digest of its canonical text.
POLICIES = Table(
    "policies",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Column("canonical", Text, nullable=False),
)
