"""The audit is a chain that only grows: rows have numbers and name the row before them, and none is changed or removed.

Rows from before have no number. What the chain begins with is a digest over all of them, so that it seals them too.

Revision 0006, after 0005.
"""

from zlib import crc32

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "5s"
SHARDS = 32
ORDERED_BY = "(audit)"

# Whoever owns the tables can take the triggers away; docs/runbooks/audit.md says what that leaves behind.
APPEND_ONLY = """
    CREATE FUNCTION keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        seen audit;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            IF NEW.audit_seq > 0 THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'a row of the audit has a number: this program is older than the database'
                USING ERRCODE = 'insufficient_privilege';
        ELSIF TG_OP = 'UPDATE' AND OLD.published_at IS NULL THEN
            seen := NEW;
            seen.published_at := OLD.published_at;
            seen.published_partition := OLD.published_partition;
            seen.published_offset := OLD.published_offset;
            IF seen IS NOT DISTINCT FROM OLD THEN
                RETURN NEW;
            END IF;
        END IF;
        RAISE EXCEPTION 'the audit only grows: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
    END $$;
    CREATE TRIGGER keep_audit BEFORE INSERT OR UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION keep_audit();
    CREATE TRIGGER keep_audit_whole BEFORE TRUNCATE ON audit EXECUTE FUNCTION keep_audit();
    CREATE FUNCTION keep_audit_head() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND NEW.audit_seq >= OLD.audit_seq THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'the audit only grows: % of its head is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
    END $$;
    CREATE TRIGGER keep_audit_head BEFORE UPDATE OR DELETE ON audit_head
        FOR EACH ROW EXECUTE FUNCTION keep_audit_head();
    CREATE TRIGGER keep_audit_head_whole BEFORE TRUNCATE ON audit_head EXECUTE FUNCTION keep_audit_head()
"""


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    op.add_column("audit", sa.Column("audit_seq", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("audit", sa.Column("previous_hash", postgresql.BYTEA(), nullable=True))
    op.add_column("audit", sa.Column("hash", postgresql.BYTEA(), nullable=True))
    op.add_column("audit", sa.Column("taken_back", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_check_constraint(
        op.f("ck_audit_chained"),
        "audit",
        "(audit_seq = 0) = (hash IS NULL) AND (audit_seq = 0) = (previous_hash IS NULL)",
    )
    op.create_index("ix_audit_seq", "audit", ["audit_seq", "recorded_at", "audit_id"])
    op.create_index("ix_audit_hash", "audit", ["hash"])
    op.create_index(
        "uq_audit_number",
        "audit",
        ["audit_seq"],
        unique=True,
        postgresql_where=sa.text("audit_seq > 0 AND NOT taken_back"),
    )
    op.create_table(
        "audit_head",
        sa.Column("only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("audit_seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", postgresql.BYTEA(), nullable=False),
        sa.CheckConstraint('"only"', name=op.f("ck_audit_head_one_row")),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_audit_head")),
    )
    op.execute("""
        INSERT INTO audit_head (audit_seq, hash)
        SELECT 0, sha256(coalesce(string_agg(sha256(value), ''::bytea ORDER BY recorded_at, audit_id), ''::bytea)) FROM audit
    """)
    shard = crc32(ORDERED_BY.encode()) % SHARDS
    outbox = sa.table("outbox", sa.column("ordered_by"), sa.column("shard"), sa.column("kind"))
    op.execute(sa.update(outbox).where(outbox.c.kind == "audit").values(ordered_by=ORDERED_BY, shard=shard))
    op.execute(APPEND_ONLY)


def downgrade() -> None:
    raise NotImplementedError("revisions only go up: restore, or write the next one")
