"""The tables. Hot ones (lanes, timers, doubts, outbox) stay small; `command_ids` and `numbers` are never pruned."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, UUID

from worker.store.storage import hot, long_lived

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

SHARDS = 32
"""Parts of the outbox that relays hold by lease; an account's outcomes are all in one."""

instant = sa.DateTime(timezone=True)
_account = sa.Text(collation="C")


# How far each partition was read; the digest of its last record tells a topic that was made again.
offsets = sa.Table(
    "offsets",
    metadata,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="1"),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("last_offset", sa.BigInteger),
    sa.Column("last_digest", BYTEA),
    sa.Column("refusals_in_row", sa.Integer, nullable=False, server_default="0"),
    sa.Column("stopped_reason", sa.Text),
    sa.CheckConstraint("last_offset < next_offset", name="last_before_next"),
)

# Every record, byte for byte, until it is redacted; its place stays for ever, for `recover` and `replay` ask by it.
records = sa.Table(
    "records",
    metadata,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("offset", sa.BigInteger, primary_key=True),
    sa.Column("produced_at", instant, nullable=False),
    sa.Column("read_at", instant, nullable=False, server_default=sa.text("now()")),
    sa.Column("key", BYTEA),
    sa.Column("value", BYTEA),
    sa.Column("headers", BYTEA, nullable=False),
    sa.Column("disposition", sa.Text, nullable=False),
    sa.Column("command_id", UUID(as_uuid=True)),
    sa.Column("redacted_at", instant),
    sa.Column("digest", BYTEA),
    sa.CheckConstraint(
        "disposition IN ('accepted', 'duplicate', 'conflict', 'refused', 'malformed', 'quarantined')",
        name="disposition",
    ),
    **long_lived(growing=True),
)

# The identity of every command for ever: duplicates are answered from here.
command_ids = sa.Table(
    "command_ids",
    metadata,
    sa.Column("command_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("account_no", _account, nullable=False),
    sa.Column("command_type", sa.Text),
    sa.Column("content_hash", BYTEA, nullable=False),
    sa.Column("hash_version", sa.SmallInteger, nullable=False),
    sa.Column("verdict", sa.Text),
    sa.Column("result", JSONB),
    sa.Column("error", JSONB),
    sa.Column("terminal_event_id", UUID(as_uuid=True)),
    sa.Column("pruned_at", instant),
    sa.CheckConstraint("verdict IN ('succeeded', 'rejected')", name="verdict"),
    sa.CheckConstraint("(verdict IS NULL) = (terminal_event_id IS NULL)", name="verdict_has_event"),
    **long_lived(fillfactor=85),
)

# What was accepted, and where it stands. `position` is its place in the account's lane.
commands = sa.Table(
    "commands",
    metadata,
    sa.Column("command_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("account_no", _account, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("command_type", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="queued"),
    sa.Column("urgent", sa.Boolean, nullable=False),
    sa.Column("payload", JSONB, nullable=False),
    sa.Column("issued_by", sa.Text),
    sa.Column("issued_at", instant, nullable=False),
    sa.Column("correlation_id", sa.Text),
    sa.Column("not_after", instant),
    sa.Column("expires_at", instant),
    sa.Column("traceparent", sa.Text),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("accepted_at", instant, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("first_sent_at", instant),
    sa.Column("finished_at", instant),
    sa.UniqueConstraint("account_no", "position"),
    sa.CheckConstraint("state IN ('queued', 'sending', 'in_doubt', 'parked', 'succeeded', 'rejected')", name="state"),
    sa.CheckConstraint("(state IN ('succeeded', 'rejected')) = (finished_at IS NOT NULL)", name="finished"),
    **long_lived(fillfactor=60),
)

# One row per account: whose turn it is, until when, and what it waits for.
lanes = sa.Table(
    "lanes",
    metadata,
    sa.Column("account_no", _account, primary_key=True),
    sa.Column("state", sa.Text, nullable=False, server_default="idle"),
    sa.Column("urgent", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("ready_at", instant),
    sa.Column("wake_at", instant),
    sa.Column("hold_reason", sa.Text),
    sa.Column("owner", UUID(as_uuid=True)),
    sa.Column("lease_until", instant),
    sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("next_position", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("head_position", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("account_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("state IN ('idle', 'ready', 'leased', 'held')", name="state"),
    sa.CheckConstraint(
        "(state = 'leased') = (owner IS NOT NULL) AND (state = 'leased') = (lease_until IS NOT NULL)", name="leased"
    ),
    sa.CheckConstraint("state <> 'held' OR (wake_at IS NOT NULL AND hold_reason IS NOT NULL)", name="held"),
    sa.CheckConstraint("state <> 'ready' OR ready_at IS NOT NULL", name="ready"),
    sa.CheckConstraint("head_position <= next_position", name="head_before_next"),
    **hot(),
)
sa.Index("ix_lanes_ready", lanes.c.urgent.desc(), lanes.c.ready_at, postgresql_where=sa.text("state = 'ready'"))
sa.Index("ix_lanes_wake", lanes.c.wake_at, postgresql_where=sa.text("state = 'held'"))
sa.Index("ix_lanes_lease", lanes.c.lease_until, postgresql_where=sa.text("state = 'leased'"))

# One call each, with what was sent, byte for byte, and what came of it. A look is an attempt too, of kind `look`.
attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("attempt_id", UUID(as_uuid=True), nullable=False),
    sa.Column("command_id", UUID(as_uuid=True), nullable=False),
    sa.Column("account_no", _account, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("owner", UUID(as_uuid=True), nullable=False),
    sa.Column("opened_at", instant, nullable=False),
    sa.Column("send_before_at", instant, nullable=False),
    sa.Column("lease_until", instant, nullable=False),
    sa.Column("horizon_at", instant, nullable=False),
    sa.Column("method", sa.Text),
    sa.Column("path", sa.Text),
    sa.Column("query", sa.Text),
    sa.Column("body", BYTEA),
    sa.Column("known", sa.Text, nullable=False, server_default="open"),
    sa.Column("reported_at", instant),
    sa.Column("retry_at", instant),
    sa.Column("duration_ms", sa.Double),
    sa.Column("rule", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("numbers", JSONB),
    sa.Column("http_status", sa.Integer),
    sa.Column("answer", BYTEA),
    sa.Column("trace_id", sa.Text),
    sa.Column("redacted_at", instant),
    sa.Column("body_hash", BYTEA),
    sa.Column("answer_hash", BYTEA),
    sa.CheckConstraint("kind IN ('write', 'expiry', 'look')", name="kind"),
    sa.CheckConstraint("kind = 'look' OR (method IS NOT NULL AND path IS NOT NULL)", name="write_is_stored"),
    sa.PrimaryKeyConstraint("command_id", "attempt_id"),  # attempts are looked for by their command alone
    **long_lived(fillfactor=80),
)

# What is in doubt now: an open question with its next step. The row goes when the doubt is cleared.
doubts = sa.Table(
    "doubts",
    metadata,
    sa.Column("command_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("is_expiry", sa.Boolean, primary_key=True),
    sa.Column("account_no", _account, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("attempt_number", sa.Integer, nullable=False),
    sa.Column("since_at", instant, nullable=False),
    sa.Column("notice_at", instant),
    sa.Column("parked_at", instant),
    sa.Column("reason", sa.Text, nullable=False),
    **hot(),
)
sa.Index("ix_doubts_notice", doubts.c.notice_at, postgresql_where=sa.text("notice_at IS NOT NULL"))
sa.Index("ix_doubts_account_no", doubts.c.account_no)
sa.Index("ix_doubts_newest", doubts.c.operation, doubts.c.since_at)

# What waits for a person.
parked = sa.Table(
    "parked",
    metadata,
    sa.Column("command_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("account_no", _account, nullable=False),
    sa.Column("parked_at", instant, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("in_doubt", sa.Boolean, nullable=False),
    sa.Index("ix_parked_account_no", "account_no"),
    **hot(),
)

# Parked commands and verdicts by absence are looked at again: a look may confirm, never reject.
watches = sa.Table(
    "watches",
    metadata,
    sa.Column("command_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("account_no", _account, nullable=False),
    sa.Column("look_at", instant, nullable=False),
    sa.Column("until_at", instant, nullable=False),
    sa.Column("looks", sa.Integer, nullable=False, server_default="0"),
    sa.Index("ix_watches_look_at", "look_at"),
    **hot(),
)

# What a look or a person said about a command; append only.
evidence = sa.Table(
    "evidence",
    metadata,
    sa.Column("evidence_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("command_id", UUID(as_uuid=True), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("recorded_at", instant, nullable=False),
    sa.Column("actor", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("detail", JSONB, nullable=False),
    sa.Index("ix_evidence_command_id", "command_id"),
)

# The brokerage's numbers and whose they are.
numbers = sa.Table(
    "numbers",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("number", sa.Text(collation="C"), primary_key=True),
    sa.Column("account_no", _account, nullable=False),
    sa.Column("command_id", UUID(as_uuid=True), nullable=False),
    sa.CheckConstraint("kind IN ('adjust_no', 'serial_num', 'order_id')", name="kind"),
)
sa.Index("ix_numbers_command_id", numbers.c.command_id)

# Temporary adjustments that were booked.
temp_adjustments = sa.Table(
    "temp_adjustments",
    metadata,
    sa.Column("command_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("account_no", _account, nullable=False),
    sa.Column("adjust_no", sa.Text),
    sa.Column("op_user", sa.Text, nullable=False),
    sa.Column("expires_at", instant, nullable=False),
    sa.Column("booked_at", instant, nullable=False),
    sa.Column("ended_at", instant),
    sa.Column("ended_by", sa.Text),
    sa.Column("basis", sa.Text),
    sa.Column("fired_by", sa.Text),
    sa.CheckConstraint("ended_by IN ('timer', 'command', 'brokerage', 'unknown')", name="ended_by"),
    sa.CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="ended"),
)
sa.Index("ix_temp_adjustments_adjust_no", temp_adjustments.c.adjust_no)
sa.Index("ix_temp_adjustments_open", temp_adjustments.c.command_id, postgresql_where=sa.text("ended_at IS NULL"))

# One live row per open temporary adjustment. `due_at` is its hour; `wake_at` the next try, never before the hour, but for
# one that a person has fired.
timers = sa.Table(
    "timers",
    metadata,
    sa.Column("command_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("account_no", _account, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="armed"),
    sa.Column("due_at", instant, nullable=False),
    sa.Column("wake_at", instant, nullable=False),
    sa.Column("fired_at", instant),
    sa.CheckConstraint("kind IN ('expire', 'watch')", name="kind"),
    sa.CheckConstraint("state IN ('armed', 'due')", name="state"),
    sa.CheckConstraint("fired_at IS NOT NULL OR wake_at >= due_at", name="never_early"),
    **hot(),
)
sa.Index("ix_timers_account_no", timers.c.account_no, timers.c.due_at)
sa.Index("ix_timers_wake", timers.c.wake_at, timers.c.command_id, postgresql_where=sa.text("state = 'armed'"))
sa.Index("ix_timers_due", timers.c.account_no, timers.c.due_at, postgresql_where=sa.text("state = 'due'"))

# Every outcome, serialised once.
outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("event_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("account_no", _account, nullable=False),
    sa.Column("account_seq", sa.BigInteger, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("command_id", UUID(as_uuid=True), nullable=False),
    sa.Column("recorded_at", instant, nullable=False),
    sa.Column("value", BYTEA, nullable=False),
    sa.Column("headers", BYTEA, nullable=False),
    sa.UniqueConstraint("account_no", "account_seq"),
    sa.CheckConstraint("account_seq >= 1", name="account_seq"),
    # a command may have been sent again any number of times: its repeats are counted apart from the rest
    sa.Index("ix_outcomes_of_command", "command_id", "type", "recorded_at"),
    **long_lived(growing=True),
)

# Where Kafka has an outcome; a row of its own, so that outcomes, which are wide, are written once and never changed.
publications = sa.Table(
    "publications",
    metadata,
    sa.Column("event_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("published_at", instant, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    **long_lived(growing=True),
)

# Records that were not taken, each with its reason; the bytes are in `records`.
dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("dead_letter_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("code", sa.Text),
    sa.Column("field", sa.Text),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("command_id", UUID(as_uuid=True)),
    sa.Column("account_no", _account),
    sa.Column("failed_at", instant, nullable=False),
    sa.Column("headers", BYTEA, nullable=False),
    sa.Column("published_at", instant),
    sa.Column("published_partition", sa.Integer),
    sa.Column("published_offset", sa.BigInteger),
    sa.Column("redrive_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("state", sa.Text, nullable=False, server_default="new"),
    sa.Column("triaged_at", instant),
    sa.Column("triaged_by", sa.Text),
    sa.Column("triage_reason", sa.Text),
    sa.UniqueConstraint("topic", "epoch", "partition", "offset"),
    sa.CheckConstraint("state IN ('new', 'seen', 'ignored', 'redriven')", name="state"),
    sa.CheckConstraint("state <> 'ignored' OR triage_reason IS NOT NULL", name="ignored_says_why"),
    sa.CheckConstraint("reason IN ('MALFORMED', 'TOO_LARGE', 'REFUSED', 'ID_CONFLICT', 'QUARANTINED')", name="reason"),
    sa.Index("ix_dead_letters_failed_at", "failed_at", "dead_letter_id"),
    # the groups of a list are counted in this index alone
    sa.Index(
        "ix_dead_letters_fingerprint",
        "fingerprint",
        "failed_at",
        "dead_letter_id",
        postgresql_include=["state", "reason", "topic"],
    ),
)

# What is still to be published, in order; the bytes are where `ref_id` points. A row goes when the broker has it.
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("outbox_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("shard", sa.SmallInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("ref_id", UUID(as_uuid=True), nullable=False),
    sa.Column("ordered_by", sa.Text),
    sa.Column("recorded_at", instant, nullable=False),
    sa.Column("set_aside_reason", sa.Text),
    sa.CheckConstraint("kind IN ('outcome', 'dead_letter', 'audit')", name="kind"),
    sa.Index("ix_outbox_set_aside", "shard", "ordered_by", postgresql_where=sa.text("set_aside_reason IS NOT NULL")),
    **hot(fillfactor=100),
)
relay_shards = sa.Table(
    "relay_shards",
    metadata,
    sa.Column("shard", sa.SmallInteger, primary_key=True),
    sa.Column("owner", UUID(as_uuid=True)),
    sa.Column("lease_until", instant),
)

# The fleet's calls per second: one row, borrowed from in chunks.
rate = sa.Table(
    "rate",
    metadata,
    sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("tokens", sa.Double, nullable=False, server_default="0"),
    sa.Column("filled_at", instant, nullable=False, server_default=sa.text("now()")),
    sa.CheckConstraint('"only"', name="one_row"),
)
