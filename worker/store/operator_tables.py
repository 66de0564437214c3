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
