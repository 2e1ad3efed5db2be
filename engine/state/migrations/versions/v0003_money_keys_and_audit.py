"""Counters of budgets with what is leased from them, keys, tenants, the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TIME = sa.BigInteger
_MONEY = sa.BigInteger
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OF_COUNTERS = (
    ("tenant", ["tenant"], None),
    ("team", ["team", "tenant"], "team IS NOT NULL"),
    ("user", ["user", "tenant"], '"user" IS NOT NULL'),
    ("key", ["key_id"], "key_id IS NOT NULL"),
    ("target", ["target"], None),
)


def upgrade() -> None:
    """Make the tables; ledger rows say who paid, and which row they correct."""
    op.add_column("ledger", sa.Column("payer", sa.Text, nullable=False, server_default="gateway"))
    op.add_column("ledger", sa.Column("corrects", sa.BigInteger))
    for name, columns, where in _OF_COUNTERS:
        op.create_index(
            f"ledger_{name}",
            "ledger",
            [*columns, "time_us"],
            sqlite_where=None if where is None else sa.text(where),
        )
    unconfirmed = sa.text("unconfirmed_nano_usd > 0")
    op.create_index("ledger_unconfirmed", "ledger", ["time_us"], sqlite_where=unconfirmed)
    op.create_table(
        "counters",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("from_us", _TIME, nullable=False),
        sa.Column("to_us", _TIME, nullable=False),
        sa.Column("settled_nano_usd", _MONEY, nullable=False),
        sa.Column("unconfirmed_nano_usd", _MONEY, nullable=False),
        sa.UniqueConstraint("scope", "tenant", "who", "from_us", "to_us", name="counters_stretch"),
    )
    op.create_table(
        "holders",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("boot", sa.Text, nullable=False),
        sa.Column("joined_us", _TIME, nullable=False),
        sa.Column("heartbeat_us", _TIME, nullable=False),
        sa.Column("lost_us", _TIME),
    )
    op.create_table(
        "leases",
        sa.Column("holder", sa.Text, primary_key=True),
        sa.Column("counter", sa.BigInteger, primary_key=True),
        sa.Column("nano_usd", _MONEY, nullable=False),
    )
    op.create_index("leases_counter", "leases", ["counter"])
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("team", sa.Text),
        sa.Column("user", sa.Text),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("previous_digest", sa.Text),
        sa.Column("previous_until_us", _TIME),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("created_us", _TIME, nullable=False),
        sa.Column("expires_us", _TIME),
        sa.Column("revoked_us", _TIME),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("keys_changed", "keys", ["changed"])
    op.create_table(
        "tenants",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("changed_us", _TIME, nullable=False),
    )
    op.create_table(
        "revisions",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("number", _ROW_ID, primary_key=True),
        sa.Column("time_us", _TIME, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
    )
    op.create_index("audit_time", "audit", ["time_us"])
    op.create_index("late_time", "late", ["time_us"])
    op.create_index("pulses_time", "pulses", ["time_us"])
    op.create_table(
        "alerts",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("from_us", _TIME, nullable=False),
        sa.Column("to_us", _TIME, nullable=False),
        sa.Column("budget", sa.Text, nullable=False),
        sa.Column("limit_nano_usd", _MONEY, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("time_us", _TIME, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("sent_us", _TIME),
        sa.UniqueConstraint(
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
    )
    op.create_index("alerts_time", "alerts", ["time_us"])
