"""What an attempt was for, and attempts that end after their request."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Mark ledger rows by kind; keep late attempts beside their decisions."""
    op.add_column("ledger", sa.Column("kind", sa.Text, nullable=False, server_default="answer"))
    op.create_table(
        "late",
        sa.Column("request", sa.Text, primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.LargeBinary, nullable=False),
    )
