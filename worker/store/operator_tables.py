"""The tables that only operators' commands fill; what they mean to the path is read by its stages."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, UUID

from worker.store.tables import instant, metadata

# What operators changed, in the database transaction that changed it.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("audit_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("recorded_at", instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("database_role", sa.Text, nullable=False, server_default=sa.text("current_user")),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("subject", sa.Text),
    sa.Column("value", BYTEA, nullable=False),
    sa.Column("published_at", instant),
    sa.Column("published_partition", sa.Integer),
    sa.Column("published_offset", sa.BigInteger),
    sa.Index("ix_audit_recorded_at", "recorded_at"),
)

# What is stopped for now: calls of everything, of one operation (`doubts`: by a worker itself), or of one account. A row is
# never changed: claims pass over one that is locked, as one that is being released.
brakes = sa.Table(
    "brakes",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text(collation="C"), primary_key=True),
    sa.Column("set_at", instant, nullable=False, server_default=sa.text("now()")),
    sa.Column("set_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.CheckConstraint("kind IN ('all', 'operation', 'doubts', 'account')", name="kind"),
    sa.CheckConstraint("(kind = 'all') = (subject = '')", name="subject"),
)

# Since when doubts of an operation count against LEDGER_OPEN_DOUBTS_MAX: since a person last let it go on.
doubts_seen = sa.Table(
    "doubts_seen",
    metadata,
    sa.Column("operation", sa.Text, primary_key=True),
    sa.Column("seen_at", instant, nullable=False),
)

# What each account let go on a UTC day, in a currency or as a quantity; only where a limit is set.
day_totals = sa.Table(
    "day_totals",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("account_no", sa.Text(collation="C"), primary_key=True),
    sa.Column("operation", sa.Text, primary_key=True),
    sa.Column("unit", sa.Text, primary_key=True),
    sa.Column("used", sa.Numeric, nullable=False),
    postgresql_with={"fillfactor": 80},
)
