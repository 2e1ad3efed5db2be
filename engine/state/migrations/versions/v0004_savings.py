"""What answers from the cache saved."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NAMES = ("tenant", "team", "user", "key_id", "model", "target", "rule", "payer")
_SUMS = ("calls", "tokens_in", "tokens_out", "saved_nano_usd")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "savings",
        sa.Column("from_us", sa.BigInteger, primary_key=True),
        *(sa.Column(name, sa.Text, primary_key=True) for name in _NAMES),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
    )
