"""The database says which releases may work with it, so that an older one knows whether a newer revision is in its way.

Revision 0011, after 0010. From here on a revision either expands or says which releases can work with what it leaves.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

oldest_release = None  # it expands

LOCK_TIMEOUT = "5s"


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    # beside the revision, in the row that alembic keeps: whoever may read the one may read the other
    op.add_column("alembic_version", sa.Column("oldest_release", sa.Text(), nullable=True))
    op.execute("""
        COMMENT ON COLUMN alembic_version.oldest_release IS
        'Newest revision of the oldest release that may work with this database; null while no revision has contracted'
    """)


def downgrade() -> None:
    raise NotImplementedError("revisions only go up: restore, or write the next one")
