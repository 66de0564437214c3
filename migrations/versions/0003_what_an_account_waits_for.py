"""Find what an account has in doubt, parked and armed, however many others have.

Revision 0003, after 0002.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "5s"  # rather give up than queue before a hot table and stop every claim behind it


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    op.create_index("ix_doubts_account_no", "doubts", ["account_no"])
    op.create_index("ix_parked_account_no", "parked", ["account_no"])
    op.create_index("ix_timers_account_no", "timers", ["account_no", "due_at"])
