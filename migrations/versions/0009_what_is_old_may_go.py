"""What is old may go: when a command was pruned, what was redacted and its hash, and vacuum for tables that grow.

Revision 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "5s"  # rather give up than queue before a hot table and stop every claim behind it

# Every row of these is changed once or twice after it was written. Postgres' own rule, a fifth of the table, would let two
# million dead rows gather in a table of ten; a fixed number keeps each pass of vacuum as long as the one before.
CHANGED = {"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "50000"}
# Written once, and deleted only by `prune`: what matters is that new pages are marked all-visible and frozen a bit at a
# time, not all at once when the age of transactions forces it.
GROWING = {"autovacuum_vacuum_insert_scale_factor": "0", "autovacuum_vacuum_insert_threshold": "200000"}
# A plan that was right for a thousand rows is made again long before there are ten times as many.
COUNTED = {"autovacuum_analyze_scale_factor": "0.02"}
# Small, and turned over all the time, as the other queues: by count, with room in each page for the next version of a row.
QUEUE = {"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000"}
STORAGE = {
    # each row is changed twice within moments: with room in its page nine in ten stay in it and no index is touched
    "commands": CHANGED | COUNTED | {"fillfactor": "60"},
    "attempts": CHANGED | COUNTED,
    "command_ids": CHANGED | COUNTED,
    "records": CHANGED | GROWING | COUNTED,
    "outcomes": CHANGED | GROWING | COUNTED,
    "publications": CHANGED | GROWING | COUNTED,
    "parked": QUEUE,
    "watches": QUEUE,
}


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    op.create_table(
        "prunings",
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("before_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pruned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("before_at < pruned_at AND count > 0", name=op.f("ck_prunings_past")),
        sa.PrimaryKeyConstraint("what", name=op.f("pk_prunings")),
    )
    op.add_column("command_ids", sa.Column("pruned_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("attempts", sa.Column("redacted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("attempts", sa.Column("body_hash", sa.LargeBinary(), nullable=True))
    op.add_column("attempts", sa.Column("answer_hash", sa.LargeBinary(), nullable=True))
    op.add_column("records", sa.Column("redacted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("records", sa.Column("digest", sa.LargeBinary(), nullable=True))
    for table, parameters in STORAGE.items():
        given = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        op.execute(f"ALTER TABLE {table} SET ({given})")


def downgrade() -> None:
    raise NotImplementedError("revisions only go up: restore, or write the next one")
