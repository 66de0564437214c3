"""The tables that only operators' commands fill; what they mean to the path is read by its stages."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, UUID

from worker.store.tables import instant, metadata

# Ranges that `topics adopt` passed over: nobody has read them.
skipped_ranges = sa.Table(
    "skipped_ranges",
    metadata,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("from_offset", sa.BigInteger, primary_key=True),
    sa.Column("to_offset", sa.BigInteger, nullable=False),
    sa.Column("adopted_at", instant, nullable=False, server_default=sa.text("now()")),
)

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

sa.Index("ix_audit_taken_back", audit.c.action, postgresql_where=sa.text("taken_back"))

# The last row of the chain: whoever writes the audit holds it until commit, the last of all locks.
audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("audit_seq", sa.BigInteger, nullable=False),
    sa.Column("hash", BYTEA, nullable=False),
    sa.CheckConstraint('"only"', name="one_row"),
)

# One redrive that a person began: the same selection given again goes on with it until it is done.
redrive_runs = sa.Table(
    "redrive_runs",
    metadata,
    sa.Column("run_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("selection", BYTEA, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("begun_at", instant, nullable=False),
    sa.Column("ended_at", instant),
)
sa.Index("ix_redrive_runs_open", redrive_runs.c.selection, unique=True, postgresql_where=sa.text("ended_at IS NULL"))

# One dead letter put back, and what became of it. `value` are the new bytes of one that was edited: what was read stays
# in `records`. `command_id` is what it is now known by, if it could be read.
redrives = sa.Table(
    "redrives",
    metadata,
    sa.Column("dead_letter_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("run_id", UUID(as_uuid=True), nullable=False),
    sa.Column("redriven_at", instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("disposition", sa.Text, nullable=False),
    sa.Column("message", sa.Text),
    sa.Column("command_id", UUID(as_uuid=True)),
    sa.Column("value", BYTEA),
    sa.CheckConstraint("number >= 1", name="number"),
    sa.UniqueConstraint("run_id", "dead_letter_id"),
)
sa.Index("ix_redrives_command_id", redrives.c.command_id, postgresql_where=sa.text("value IS NOT NULL"))

# What a range of a topic was found to be, when somebody planned to replay it; `ids` are those that were asked for.
replay_plans = sa.Table(
    "replay_plans",
    metadata,
    sa.Column("plan_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("planned_at", instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("filters", JSONB, nullable=False),
    sa.Column("ids", sa.ARRAY(UUID(as_uuid=True))),
    sa.Column("ranges", JSONB, nullable=False),
    sa.Column("classes", JSONB, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("to_feed", sa.BigInteger, nullable=False),
    sa.Column("forgotten", sa.BigInteger, nullable=False),
    sa.Index("ix_replay_plans_planned_at", "planned_at", "plan_id"),
)

# How far each run of a plan has come: fed into intake, or its outcomes published to `to_topic`, empty for the former.
replay_runs = sa.Table(
    "replay_runs",
    metadata,
    sa.Column("plan_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("to_topic", sa.Text, primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("begun_at", instant, nullable=False),
    sa.Column("ended_at", instant),
    sa.Column("progress", JSONB, nullable=False),
    sa.Column("counts", JSONB, nullable=False),
)

# What a republishing still has to send, in its sequence; the rows go when it has ended.
replay_outcomes = sa.Table(
    "replay_outcomes",
    metadata,
    sa.Column("plan_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("to_topic", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("event_id", UUID(as_uuid=True), nullable=False),
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

# Up to what age each sort of row was pruned or redacted, when last, and how many in all.
prunings = sa.Table(
    "prunings",
    metadata,
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("before_at", instant, nullable=False),
    sa.Column("pruned_at", instant, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.CheckConstraint("before_at < pruned_at AND count > 0", name="past"),
)
