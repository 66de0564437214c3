"""Dead letters are put back, and sorted by persons.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "5s"  # rather give up than queue before a hot table and stop every claim behind it


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    _dead_letters()
    _redrive_runs()
    _redrives()


def _dead_letters() -> None:
    # with constant defaults the rows are not written again
    op.add_column("dead_letters", sa.Column("redrive_count", sa.Integer(), server_default="0", nullable=False))
    op.add_column("dead_letters", sa.Column("state", sa.Text(), server_default="new", nullable=False))
    op.add_column("dead_letters", sa.Column("triaged_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("dead_letters", sa.Column("triaged_by", sa.Text(), nullable=True))
    op.add_column("dead_letters", sa.Column("triage_reason", sa.Text(), nullable=True))
    op.create_check_constraint("state", "dead_letters", "state IN ('new', 'seen', 'ignored', 'redriven')")
    op.create_check_constraint("ignored_says_why", "dead_letters", "state <> 'ignored' OR triage_reason IS NOT NULL")
    op.create_index(
        "ix_dead_letters_fingerprint",
        "dead_letters",
        ["fingerprint", "failed_at", "dead_letter_id"],
        unique=False,
        postgresql_include=["state", "reason", "topic"],
    )


def _redrive_runs() -> None:
    op.create_table(
        "redrive_runs",
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("selection", postgresql.BYTEA(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_redrive_runs")),
    )
    op.create_index(
        "ix_redrive_runs_open",
        "redrive_runs",
        ["selection"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _redrives() -> None:
    op.create_table(
        "redrives",
        sa.Column("dead_letter_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("redriven_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("disposition", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("command_id", sa.UUID(), nullable=True),
        sa.Column("value", postgresql.BYTEA(), nullable=True),
        sa.CheckConstraint("number >= 1", name=op.f("ck_redrives_number")),
        sa.PrimaryKeyConstraint("dead_letter_id", "number", name=op.f("pk_redrives")),
        sa.UniqueConstraint("run_id", "dead_letter_id", name=op.f("uq_redrives_run_id_dead_letter_id")),
    )
    op.create_index(
        "ix_redrives_command_id",
        "redrives",
        ["command_id"],
        unique=False,
        postgresql_where=sa.text("value IS NOT NULL"),
    )
