"""Brakes, the day's totals, and expiries that a person asks for before their hour.

Revision 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "5s"  # rather give up than queue before a hot table and stop every claim behind it


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    op.create_table(
        "brakes",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(collation="C"), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('all', 'operation', 'doubts', 'account')", name=op.f("ck_brakes_kind")),
        sa.CheckConstraint("(kind = 'all') = (subject = '')", name=op.f("ck_brakes_subject")),
        sa.PrimaryKeyConstraint("kind", "subject", name=op.f("pk_brakes")),
    )
    op.create_table(
        "doubts_seen",
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("operation", name=op.f("pk_doubts_seen")),
    )
    op.create_table(
        "day_totals",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("used", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("day", "account_no", "operation", "unit", name=op.f("pk_day_totals")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index("ix_doubts_newest", "doubts", ["operation", "since_at"], unique=False)
    op.drop_index("ix_doubts_operation", "doubts")
    op.add_column("temp_adjustments", sa.Column("fired_by", sa.Text(), nullable=True))
    op.add_column("timers", sa.Column("fired_at", sa.DateTime(timezone=True), nullable=True))
    # what the machine does stays as it was; what a person asked for may come before the hour
    op.drop_constraint(op.f("ck_timers_never_early"), "timers", type_="check")
    op.create_check_constraint(op.f("ck_timers_never_early"), "timers", "fired_at IS NOT NULL OR wake_at >= due_at")


def downgrade() -> None:
    raise NotImplementedError("revisions only go up: restore, or write the next one")
