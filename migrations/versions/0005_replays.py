"""Plans of replays, how far their runs have come, and what a republishing has still to send.

Revision 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "5s"  # rather give up than queue before a hot table and stop every claim behind it


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    op.create_table(
        "replay_plans",
        sa.Column("plan_id", sa.UUID(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("filters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("ids", sa.ARRAY(sa.UUID()), nullable=True),
        sa.Column("ranges", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("classes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("to_feed", sa.BigInteger(), nullable=False),
        sa.Column("forgotten", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_replay_plans")),
    )
    op.create_index("ix_replay_plans_planned_at", "replay_plans", ["planned_at", "plan_id"], unique=False)
    op.create_table(
        "replay_runs",
        sa.Column("plan_id", sa.UUID(), nullable=False),
        sa.Column("to_topic", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", "to_topic", name=op.f("pk_replay_runs")),
    )
    op.create_table(
        "replay_outcomes",
        sa.Column("plan_id", sa.UUID(), nullable=False),
        sa.Column("to_topic", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", "to_topic", "number", name=op.f("pk_replay_outcomes")),
    )


def downgrade() -> None:
    raise NotImplementedError("revisions only go up: restore, or write the next one")
