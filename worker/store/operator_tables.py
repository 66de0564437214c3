"""The tables that only operators' commands fill; what they mean to the path is read by its stages."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, UUID

from worker.store.tables import instant, metadata

# What operators changed, in the database transaction that changed it; a trigger refuses all but new rows and the relay's
# mark. `value` is what is published; its number and the hash of the row before it are in it, and `hash` is over all of it.
# Rows from before the chain have number 0; those that `recover` took back from the topic may share one.
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
    sa.Column("audit_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("previous_hash", BYTEA),
    sa.Column("hash", BYTEA),
    sa.Column("taken_back", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint(
        "(audit_seq = 0) = (hash IS NULL) AND (audit_seq = 0) = (previous_hash IS NULL)", name="chained"
    ),
    sa.Index("ix_audit_recorded_at", "recorded_at"),
    sa.Index("ix_audit_seq", "audit_seq", "recorded_at", "audit_id"),
    sa.Index("ix_audit_hash", "hash"),
)
sa.Index(
    "uq_audit_number",
    audit.c.audit_seq,
    unique=True,
    postgresql_where=sa.text("audit_seq > 0 AND NOT taken_back"),
)

# The last row of the chain: whoever writes the audit holds it until commit, the last of all locks.
audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("audit_seq", sa.BigInteger, nullable=False),
    sa.Column("hash", BYTEA, nullable=False),
    sa.CheckConstraint('"only"', name="one_row"),
)
