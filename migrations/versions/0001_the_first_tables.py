"""The first tables.

Revision 0001, after nothing.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "5s"  # rather give up than queue before a hot table and stop every claim behind it
SHARDS = 32


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    _attempts()
    _audit()
    _command_ids()
    _commands()
    _dead_letters()
    _doubts()
    _evidence()
    _lanes()
    _numbers()
    _offsets()
    _outbox()
    _outcomes()
    _parked()
    _rate()
    _records()
    _relay_shards()
    _skipped_ranges()
    _temp_adjustments()
    _timers()
    _watches()
    op.execute("INSERT INTO rate DEFAULT VALUES")
    op.execute(f"INSERT INTO relay_shards (shard) SELECT generate_series(0, {SHARDS - 1})")


def downgrade() -> None:
    raise NotImplementedError("revisions only go up: restore, or write the next one")


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("attempt_id", sa.UUID(), nullable=False),
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.UUID(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("send_before_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("horizon_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("query", sa.Text(), nullable=True),
        sa.Column("body", postgresql.BYTEA(), nullable=True),
        sa.Column("known", sa.Text(), server_default="open", nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_ms", sa.Double(), nullable=True),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("numbers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("answer", postgresql.BYTEA(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind = 'look' OR (method IS NOT NULL AND path IS NOT NULL)", name=op.f("ck_attempts_write_is_stored")
        ),
        sa.CheckConstraint("kind IN ('write', 'expiry', 'look')", name=op.f("ck_attempts_kind")),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_attempts")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index("ix_attempts_command_id", "attempts", ["command_id", "number"], unique=False)


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.UUID(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("database_role", sa.Text(), server_default=sa.text("current_user"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("value", postgresql.BYTEA(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_partition", sa.Integer(), nullable=True),
        sa.Column("published_offset", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_recorded_at", "audit", ["recorded_at"], unique=False)


def _command_ids() -> None:
    op.create_table(
        "command_ids",
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("command_type", sa.Text(), nullable=True),
        sa.Column("content_hash", postgresql.BYTEA(), nullable=False),
        sa.Column("hash_version", sa.SmallInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("terminal_event_id", sa.UUID(), nullable=True),
        sa.CheckConstraint("verdict IN ('succeeded', 'rejected')", name=op.f("ck_command_ids_verdict")),
        sa.CheckConstraint(
            "(verdict IS NULL) = (terminal_event_id IS NULL)", name=op.f("ck_command_ids_verdict_has_event")
        ),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_command_ids")),
        postgresql_with={"fillfactor": 85},
    )


def _commands() -> None:
    op.create_table(
        "commands",
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("command_type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("issued_by", sa.Text(), nullable=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=True),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'rejected')) = (finished_at IS NOT NULL)", name=op.f("ck_commands_finished")
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'sending', 'in_doubt', 'parked', 'succeeded', 'rejected')",
            name=op.f("ck_commands_state"),
        ),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_commands")),
        sa.UniqueConstraint("account_no", "position", name=op.f("uq_commands_account_no_position")),
        postgresql_with={"fillfactor": 80},
    )


def _dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("dead_letter_id", sa.UUID(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("command_id", sa.UUID(), nullable=True),
        sa.Column("account_no", sa.Text(collation="C"), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("headers", postgresql.BYTEA(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_partition", sa.Integer(), nullable=True),
        sa.Column("published_offset", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "reason IN ('MALFORMED', 'TOO_LARGE', 'REFUSED', 'ID_CONFLICT', 'QUARANTINED')",
            name=op.f("ck_dead_letters_reason"),
        ),
        sa.PrimaryKeyConstraint("dead_letter_id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint(
            "topic", "epoch", "partition", "offset", name=op.f("uq_dead_letters_topic_epoch_partition_offset")
        ),
    )
    op.create_index("ix_dead_letters_failed_at", "dead_letters", ["failed_at", "dead_letter_id"], unique=False)


def _doubts() -> None:
    op.create_table(
        "doubts",
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("is_expiry", sa.Boolean(), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("attempt_number", sa.Integer(), nullable=False),
        sa.Column("since_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("notice_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("command_id", "is_expiry", name=op.f("pk_doubts")),
        postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 5000},
    )
    op.create_index(
        "ix_doubts_notice", "doubts", ["notice_at"], unique=False, postgresql_where=sa.text("notice_at IS NOT NULL")
    )
    op.create_index("ix_doubts_operation", "doubts", ["operation"], unique=False)


def _evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("evidence_id", sa.UUID(), nullable=False),
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("evidence_id", name=op.f("pk_evidence")),
    )
    op.create_index("ix_evidence_command_id", "evidence", ["command_id"], unique=False)


def _lanes() -> None:
    op.create_table(
        "lanes",
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("state", sa.Text(), server_default="idle", nullable=False),
        sa.Column("urgent", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wake_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("owner", sa.UUID(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_position", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("head_position", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("account_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(state = 'leased') = (owner IS NOT NULL) AND (state = 'leased') = (lease_until IS NOT NULL)",
            name=op.f("ck_lanes_leased"),
        ),
        sa.CheckConstraint(
            "state <> 'held' OR (wake_at IS NOT NULL AND hold_reason IS NOT NULL)", name=op.f("ck_lanes_held")
        ),
        sa.CheckConstraint("state <> 'ready' OR ready_at IS NOT NULL", name=op.f("ck_lanes_ready")),
        sa.CheckConstraint("state IN ('idle', 'ready', 'leased', 'held')", name=op.f("ck_lanes_state")),
        sa.CheckConstraint("head_position <= next_position", name=op.f("ck_lanes_head_before_next")),
        sa.PrimaryKeyConstraint("account_no", name=op.f("pk_lanes")),
        postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 5000},
    )
    op.create_index(
        "ix_lanes_lease", "lanes", ["lease_until"], unique=False, postgresql_where=sa.text("state = 'leased'")
    )
    op.create_index(
        "ix_lanes_ready",
        "lanes",
        [sa.literal_column("urgent DESC"), "ready_at"],
        unique=False,
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_index("ix_lanes_wake", "lanes", ["wake_at"], unique=False, postgresql_where=sa.text("state = 'held'"))


def _numbers() -> None:
    op.create_table(
        "numbers",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(collation="C"), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.CheckConstraint("kind IN ('adjust_no', 'serial_num', 'order_id')", name=op.f("ck_numbers_kind")),
        sa.PrimaryKeyConstraint("kind", "number", name=op.f("pk_numbers")),
    )
    op.create_index("ix_numbers_command_id", "numbers", ["command_id"], unique=False)


def _offsets() -> None:
    op.create_table(
        "offsets",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="1", nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("last_offset", sa.BigInteger(), nullable=True),
        sa.Column("last_digest", postgresql.BYTEA(), nullable=True),
        sa.Column("refusals_in_row", sa.Integer(), server_default="0", nullable=False),
        sa.Column("stopped_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("last_offset < next_offset", name=op.f("ck_offsets_last_before_next")),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("pk_offsets")),
    )


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("outbox_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ref_id", sa.UUID(), nullable=False),
        sa.Column("ordered_by", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_aside_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('outcome', 'dead_letter', 'audit')", name=op.f("ck_outbox_kind")),
        sa.PrimaryKeyConstraint("outbox_id", name=op.f("pk_outbox")),
        postgresql_with={"fillfactor": 100, "autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 5000},
    )
    op.create_index("ix_outbox_shard", "outbox", ["shard", "outbox_id"], unique=False)
    op.create_index(
        "ix_outbox_set_aside",
        "outbox",
        ["shard", "ordered_by"],
        unique=False,
        postgresql_where=sa.text("set_aside_reason IS NOT NULL"),
    )


def _outcomes() -> None:
    op.create_table(
        "outcomes",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("account_seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("value", postgresql.BYTEA(), nullable=False),
        sa.Column("headers", postgresql.BYTEA(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_partition", sa.Integer(), nullable=True),
        sa.Column("published_offset", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("account_seq >= 1", name=op.f("ck_outcomes_account_seq")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_outcomes")),
        sa.UniqueConstraint("account_no", "account_seq", name=op.f("uq_outcomes_account_no_account_seq")),
        postgresql_with={"fillfactor": 90},
    )
    op.create_index("ix_outcomes_command_id", "outcomes", ["command_id"], unique=False)


def _parked() -> None:
    op.create_table(
        "parked",
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("in_doubt", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_parked")),
    )


def _rate() -> None:
    op.create_table(
        "rate",
        sa.Column("only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("tokens", sa.Double(), server_default="0", nullable=False),
        sa.Column("filled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint('"only"', name=op.f("ck_rate_one_row")),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_rate")),
    )


def _records() -> None:
    op.create_table(
        "records",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("produced_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("key", postgresql.BYTEA(), nullable=True),
        sa.Column("value", postgresql.BYTEA(), nullable=True),
        sa.Column("headers", postgresql.BYTEA(), nullable=False),
        sa.Column("disposition", sa.Text(), nullable=False),
        sa.Column("command_id", sa.UUID(), nullable=True),
        sa.CheckConstraint(
            "disposition IN ('accepted', 'duplicate', 'conflict', 'refused', 'malformed', 'quarantined')",
            name=op.f("ck_records_disposition"),
        ),
        sa.PrimaryKeyConstraint("topic", "epoch", "partition", "offset", name=op.f("pk_records")),
    )


def _relay_shards() -> None:
    op.create_table(
        "relay_shards",
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("owner", sa.UUID(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_relay_shards")),
    )


def _skipped_ranges() -> None:
    op.create_table(
        "skipped_ranges",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("from_offset", sa.BigInteger(), nullable=False),
        sa.Column("to_offset", sa.BigInteger(), nullable=False),
        sa.Column("adopted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "epoch", "from_offset", name=op.f("pk_skipped_ranges")),
    )


def _temp_adjustments() -> None:
    op.create_table(
        "temp_adjustments",
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("adjust_no", sa.Text(), nullable=True),
        sa.Column("op_user", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("basis", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "ended_by IN ('timer', 'command', 'brokerage', 'unknown')", name=op.f("ck_temp_adjustments_ended_by")
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name=op.f("ck_temp_adjustments_ended")),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_temp_adjustments")),
    )
    op.create_index("ix_temp_adjustments_adjust_no", "temp_adjustments", ["adjust_no"], unique=False)
    op.create_index(
        "ix_temp_adjustments_open",
        "temp_adjustments",
        ["command_id"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _timers() -> None:
    op.create_table(
        "timers",
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="armed", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wake_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('expire', 'watch')", name=op.f("ck_timers_kind")),
        sa.CheckConstraint("state IN ('armed', 'due')", name=op.f("ck_timers_state")),
        sa.CheckConstraint("wake_at >= due_at", name=op.f("ck_timers_never_early")),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_timers")),
        postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 5000},
    )
    op.create_index(
        "ix_timers_due", "timers", ["account_no", "due_at"], unique=False, postgresql_where=sa.text("state = 'due'")
    )
    op.create_index(
        "ix_timers_wake", "timers", ["wake_at", "command_id"], unique=False, postgresql_where=sa.text("state = 'armed'")
    )


def _watches() -> None:
    op.create_table(
        "watches",
        sa.Column("command_id", sa.UUID(), nullable=False),
        sa.Column("account_no", sa.Text(collation="C"), nullable=False),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("looks", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_watches")),
    )
    op.create_index("ix_watches_look_at", "watches", ["look_at"], unique=False)
