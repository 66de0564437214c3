"""${message.capitalize() if message else "Say what it brings"}.

Revision ${up_revision}, after ${(down_revision or "nothing") | comma,n}.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

# None: it only expands. Else the newest revision of the oldest release that can work with what it leaves: docs/upgrade.md
oldest_release = None

LOCK_TIMEOUT = "5s"  # rather give up than queue before a hot table and stop every claim behind it


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    raise NotImplementedError("revisions only go up: restore, or write the next one")
