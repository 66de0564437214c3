"""Outcomes are never changed again: where Kafka has each is a narrow row of its own. Two indexes fewer on the path.

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "5s"


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    op.execute("LOCK TABLE outcomes IN ACCESS EXCLUSIVE MODE")  # no mark may come between the copy and the drop
    _publications()
    # both are read by command alone, so one index serves for identity and for that
    op.drop_constraint("pk_attempts", "attempts")
    op.create_primary_key("pk_attempts", "attempts", ["command_id", "attempt_id"])
    op.drop_index("ix_attempts_command_id", "attempts")
    # a relay reads its shards' oldest rows in the sequence of the primary key
    op.drop_index("ix_outbox_shard", "outbox")


def _publications() -> None:
    op.create_table(
        "publications",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("published_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_publications")),
    )
    op.execute("""
        INSERT INTO publications (event_id, published_at, partition, "offset")
        SELECT event_id, published_at, published_partition, published_offset FROM outcomes WHERE published_at IS NOT NULL
    """)
    op.execute("ALTER TABLE outcomes RESET (fillfactor)")
    for column in ("published_at", "published_partition", "published_offset"):
        op.drop_column("outcomes", column)
