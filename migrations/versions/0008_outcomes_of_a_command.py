"""Find a command's outcomes by type and time, however often it was sent, and what of the audit was taken back.

Revision 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "5s"  # rather give up than queue before a hot table and stop every claim behind it


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    # it serves whatever the one on the id alone served
    op.create_index("ix_outcomes_of_command", "outcomes", ["command_id", "type", "recorded_at"], unique=False)
    op.drop_index("ix_outcomes_command_id", "outcomes")
    op.create_index("ix_audit_taken_back", "audit", ["action"], unique=False, postgresql_where=sa.text("taken_back"))


def downgrade() -> None:
    raise NotImplementedError("revisions only go up: restore, or write the next one")
