"""Decisions, ledger, pulse tables and policies."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first four tables."""
    op.create_table(
        "decisions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("rule", sa.Text),
        sa.Column("target", sa.Text),
        sa.Column("pulse", sa.Text),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_index("decisions_time", "decisions", ["time_us"])
    op.create_table(
        "ledger",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("hop", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("team", sa.Text),
        sa.Column("user", sa.Text),
        sa.Column("key_id", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("upstream_model", sa.Text, nullable=False),
        sa.Column("rule", sa.Text),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("tokens_in", sa.BigInteger),
        sa.Column("tokens_out", sa.BigInteger),
        sa.Column("tokens_cached", sa.BigInteger),
        sa.Column("tokens_cache_write", sa.BigInteger),
        sa.Column("tokens_reasoning", sa.BigInteger),
        sa.Column("usage_source", sa.Text, nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger, nullable=False),
        sa.Column("unconfirmed_nano_usd", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("fault", sa.Text),
        sa.UniqueConstraint("request", "hop", "attempt", name="ledger_attempt"),
    )
    op.create_index("ledger_time", "ledger", ["time_us"])
    op.create_table(
        "pulses",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("pulse", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "policies",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("canonical", sa.Text, nullable=False),
    )
