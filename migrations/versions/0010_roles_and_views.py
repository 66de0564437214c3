"""Who may do what, as Postgres itself keeps it: four group roles with the least rights, and views to read from.

The roles are the cluster's, the grants are this database's. Roles that are missing and may not be made here are left out:
`grant_ledger_roles()` says which, and may be called again at any time; `migrate` does so each time. A revision that adds a
table, or a statement that needs a further right, replaces that function and calls it.

Revision 0010, after 0009.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "5s"

READ = """
    alembic_version, attempts, audit, audit_head, brakes, command_ids, commands, day_totals, dead_letters, doubts, doubts_seen,
    evidence, lanes, numbers, offsets, outbox, outcomes, parked, prunings, publications, rate, records, redrive_runs, redrives,
    relay_shards, replay_outcomes, replay_plans, replay_runs, skipped_ranges, temp_adjustments, timers, watches"""

# The path. Nothing that is told, read or identified is changed or deleted; of the audit, where Kafka has a row.
WORKER = """
    GRANT INSERT, UPDATE (next_offset, last_offset, last_digest, refusals_in_row, stopped_reason) ON offsets TO ledger_worker;
    GRANT INSERT ON records, evidence, numbers, outcomes, publications, brakes TO ledger_worker;
    GRANT INSERT, UPDATE (verdict, result, error, terminal_event_id) ON command_ids TO ledger_worker;
    GRANT INSERT, UPDATE (state, attempts, first_sent_at, finished_at) ON commands TO ledger_worker;
    GRANT INSERT, UPDATE (known, reported_at, horizon_at, retry_at, duration_ms, rule, code, message, numbers, http_status,
        answer, trace_id) ON attempts TO ledger_worker;
    GRANT INSERT, UPDATE ON lanes TO ledger_worker;
    GRANT INSERT, UPDATE, DELETE ON doubts, parked, watches, timers, day_totals TO ledger_worker;
    GRANT INSERT, UPDATE (ended_at, ended_by, basis) ON temp_adjustments TO ledger_worker;
    GRANT INSERT, UPDATE (published_at, published_partition, published_offset) ON dead_letters TO ledger_worker;
    GRANT INSERT, DELETE, UPDATE (set_aside_reason) ON outbox TO ledger_worker;
    GRANT UPDATE (owner, lease_until) ON relay_shards TO ledger_worker;
    GRANT UPDATE (tokens, filled_at) ON rate TO ledger_worker;
    GRANT UPDATE (published_at, published_partition, published_offset) ON audit TO ledger_worker;
"""

# The command line, less `prune`, `recover` and `migrate`. An outcome needs its row of the audit, see tell_with_audit.
OPERATOR = """
    GRANT INSERT, UPDATE ON offsets TO ledger_operator;
    GRANT INSERT ON skipped_ranges, evidence, numbers, outcomes, redrives, replay_plans TO ledger_operator;
    GRANT INSERT, UPDATE (disposition, command_id) ON records TO ledger_operator;
    GRANT INSERT, UPDATE (verdict, result, error, terminal_event_id) ON command_ids TO ledger_operator;
    GRANT INSERT, UPDATE (state, position, first_sent_at, finished_at) ON commands TO ledger_operator;
    GRANT UPDATE (known, reported_at, rule) ON attempts TO ledger_operator;
    GRANT INSERT, UPDATE ON lanes, redrive_runs, replay_runs, doubts_seen TO ledger_operator;
    GRANT INSERT, UPDATE, DELETE ON doubts, parked, watches, timers TO ledger_operator;
    GRANT INSERT, UPDATE (ended_at, ended_by, basis, fired_by) ON temp_adjustments TO ledger_operator;
    GRANT INSERT, UPDATE (reason, code, field, message, fingerprint, command_id, account_no, failed_at, headers, state,
        redrive_count, triaged_at, triaged_by, triage_reason, published_at, published_partition, published_offset)
        ON dead_letters TO ledger_operator;
    GRANT INSERT, UPDATE (set_aside_reason) ON outbox TO ledger_operator;
    GRANT INSERT, DELETE ON brakes, replay_outcomes TO ledger_operator;
    GRANT UPDATE (tokens, filled_at) ON rate TO ledger_operator;
"""

AUDITED = """
    GRANT INSERT (audit_id, recorded_at, actor, database_role, action, reason, subject, value, audit_seq, previous_hash, hash)
        ON audit TO ledger_operator, ledger_pruner;
    GRANT UPDATE (audit_seq, hash) ON audit_head TO ledger_operator, ledger_pruner;
    GRANT INSERT ON outbox TO ledger_pruner;
"""

# What `prune` redacts and deletes. Locking a row asks for the right to change a column of it: where none is changed, that is
# one of no consequence. MAINTAIN is for the locks of whole tables.
PRUNER = """
    GRANT MAINTAIN ON offsets TO ledger_pruner;
    GRANT UPDATE (key, value, headers, digest, redacted_at) ON records TO ledger_pruner;
    GRANT DELETE, UPDATE (query, body, answer, body_hash, answer_hash, redacted_at) ON attempts TO ledger_pruner;
    GRANT DELETE, UPDATE (headers) ON dead_letters TO ledger_pruner;
    GRANT DELETE, UPDATE (value) ON redrives TO ledger_pruner;
    GRANT UPDATE (pruned_at) ON command_ids TO ledger_pruner;
    GRANT DELETE, UPDATE (traceparent) ON commands TO ledger_pruner;
    GRANT DELETE, UPDATE (recorded_at) ON evidence TO ledger_pruner;
    GRANT DELETE, UPDATE (ended_at) ON redrive_runs TO ledger_pruner;
    GRANT DELETE, UPDATE (planned_at) ON replay_plans TO ledger_pruner;
    GRANT DELETE ON outcomes, publications, replay_runs TO ledger_pruner;
    GRANT MAINTAIN ON replay_outcomes TO ledger_pruner;
    GRANT INSERT, UPDATE ON prunings TO ledger_pruner;
"""

READER = """
    GRANT USAGE ON SCHEMA ledger_read TO ledger_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA ledger_read TO ledger_reader;
"""

ROLES = "'{ledger_worker,ledger_operator,ledger_pruner,ledger_reader}'"
# Two migrations at once, of two databases of one cluster, may both find a role missing: the later one then has it.
GRANTS = f"""
    CREATE FUNCTION grant_ledger_roles() RETURNS text[] LANGUAGE plpgsql AS $$
    DECLARE
        role text;
        missing text[] := '{{}}';
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('grant_ledger_roles'));
        FOREACH role IN ARRAY {ROLES}::text[] LOOP
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                BEGIN
                    EXECUTE format('CREATE ROLE %I NOLOGIN', role);
                EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
                    NULL;
                END;
            END IF;
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                missing := missing || role;
            END IF;
        END LOOP;
        IF missing <> '{{}}' THEN
            RETURN missing;
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO ledger_worker, ledger_operator, ledger_pruner', current_schema());
        GRANT SELECT ON {READ} TO ledger_worker, ledger_operator, ledger_pruner;
        {WORKER} {OPERATOR} {AUDITED} {PRUNER} {READER}
        RETURN missing;
    END $$;
    REVOKE EXECUTE ON FUNCTION grant_ledger_roles() FROM PUBLIC
"""  # noqa: S608 - its parts are the texts above

# A constraint trigger's condition is judged where the row is written and its function only where the condition holds, at
# commit: the audit comes last. So a worker pays for looking up a role, and an operator for a look at the chain's head.
TOLD = """
    CREATE FUNCTION tell_with_audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM audit a JOIN audit_head h ON a.audit_seq = h.audit_seq AND a.hash = h.hash
            WHERE a.xmin = CAST(pg_current_xact_id() AS xid)
        ) THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION 'an operator tells an outcome only with its row of the audit' USING ERRCODE = 'insufficient_privilege';
    END $$;
    CREATE CONSTRAINT TRIGGER tell_with_audit AFTER INSERT ON outcomes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (pg_has_role(to_regrole('ledger_operator'), 'USAGE') AND NOT pg_has_role(to_regrole('ledger_worker'), 'USAGE'))
        EXECUTE FUNCTION tell_with_audit();
    CREATE FUNCTION sign_audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT NEW.taken_back AND (NEW.database_role <> current_user OR NEW.hash <> sha256(NEW.value)) THEN
            RAISE EXCEPTION 'a row of the audit names the role that writes it, and has the hash of its bytes'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER sign_audit AFTER INSERT ON audit FOR EACH ROW EXECUTE FUNCTION sign_audit();
"""

# Names are looked for among our tables, never in the caller's temporary ones.
FIXED_PATH = """
    DO $$
    DECLARE
        name text;
    BEGIN
        FOREACH name IN ARRAY '{grant_ledger_roles,tell_with_audit,sign_audit,keep_audit,keep_audit_head}'::text[] LOOP
            EXECUTE format('ALTER FUNCTION %I() SET search_path = %I, pg_temp', name, current_schema());
        END LOOP;
    END $$
"""

# What the views show of a command's payload: what it was about, never who it says or its remark.
ABOUT = {
    "security_type": ("c.payload ->> 'security_type'", "CASH or STOCK, of a temp.adjust"),
    "direction": (
        "coalesce(c.payload ->> 'direction', c.payload ->> 'side')",
        "CREDIT or DEBIT; of an order Buy or Sell",
    ),
    "currency": ("c.payload ->> 'currency'", "currency of the amount"),
    "amount": ("CAST(c.payload ->> 'amount' AS numeric)", "amount of money"),
    "symbol": (
        "coalesce(c.payload ->> 'symbol', c.payload ->> 'counter_id')",
        "symbol, or counter_id where that was given",
    ),
    "quantity": ("CAST(c.payload ->> 'quantity' AS numeric)", "quantity of a security"),
}
ID = "the command's id"
ACCOUNT = "the account"

VIEWS = {
    "commands": (
        "Every command that was accepted, and where it stands.",
        "FROM commands c LEFT JOIN command_ids i USING (command_id) LEFT JOIN parked p USING (command_id)",
        {
            "command_id": ("c.command_id", ID),
            "account_no": ("c.account_no", ACCOUNT),
            "command_type": ("c.command_type", "its type"),
            "state": ("c.state", "queued, sending, in_doubt, parked, succeeded or rejected"),
            **ABOUT,
            "issued_by": ("c.issued_by", "who sent it, as it says of itself"),
            "issued_at": ("c.issued_at", "when, as it says of itself"),
            "correlation_id": ("c.correlation_id", "what it was sent with"),
            "not_after": ("c.not_after", "after this it is not called any more"),
            "expires_at": ("c.expires_at", "when its temporary adjustment ends"),
            "accepted_at": ("c.accepted_at", "when it was accepted"),
            "first_sent_at": ("c.first_sent_at", "when it was first sent to the brokerage"),
            "finished_at": ("c.finished_at", "when it succeeded or was rejected"),
            "attempts": ("c.attempts", "how many calls were made for it"),
            "adjust_no": ("i.result ->> 'adjust_no'", "the brokerage's number of the adjustment"),
            "serial_num": ("i.result ->> 'serial_num'", "the brokerage's number of the freeze"),
            "order_id": ("i.result ->> 'order_id'", "the brokerage's number of the order"),
            "error_code": ("i.error ->> 'code'", "why it was rejected"),
            "parked_at": ("p.parked_at", "since when it waits for a person"),
            "parked_reason": ("p.reason", "why it waits for a person"),
            "topic": ("c.topic", "where it was read"),
            "partition": ("c.partition", "where it was read"),
            "offset": ('c."offset"', "where it was read"),
        },
    ),
    "outcomes": (
        "Every outcome, as it is published.",
        # told is a function of its own row: the bytes are read once, not once for each column
        """FROM outcomes o CROSS JOIN LATERAL jsonb_to_record(CAST(convert_from(o.value, 'UTF8') AS jsonb)) AS told(
               command_type text, occurred_at timestamptz, issued_by text, correlation_id text, attempts int, result jsonb,
               error jsonb, decided_by text, refers_to uuid, source jsonb)
           LEFT JOIN publications p USING (event_id)""",
        {
            "event_id": ("o.event_id", "its id, the same however often it is published"),
            "type": ("o.type", "what happened"),
            "command_id": ("o.command_id", ID),
            "command_type": ("told.command_type", "the command's type, as given"),
            "account_no": ("o.account_no", ACCOUNT),
            "account_seq": ("o.account_seq", "its number among the account's outcomes, from 1 without a gap"),
            "occurred_at": ("told.occurred_at", "when it happened"),
            "recorded_at": ("o.recorded_at", "when it was recorded"),
            "issued_by": ("told.issued_by", "who sent the command, as it says of itself"),
            "correlation_id": ("told.correlation_id", "what the command was sent with"),
            "attempts": ("told.attempts", "how many calls were made by then"),
            "adjust_no": ("told.result ->> 'adjust_no'", "the brokerage's number of the adjustment"),
            "serial_num": ("told.result ->> 'serial_num'", "the brokerage's number of the freeze"),
            "order_id": ("told.result ->> 'order_id'", "the brokerage's number of the order"),
            "expires_at": ("CAST(told.result ->> 'expires_at' AS timestamptz)", "when the temporary adjustment ends"),
            "ended_by": ("told.result ->> 'ended_by'", "who ended it: timer, command, brokerage or unknown"),
            "basis": ("told.result ->> 'basis'", "how that is known: answer, inferred or person"),
            "error_code": ("told.error ->> 'code'", "code of the error, see codes.md"),
            "error_message": ("told.error ->> 'message'", "the error in words"),
            "error_origin": ("told.error ->> 'origin'", "validation, policy or brokerage"),
            "error_field": ("told.error ->> 'field'", "the field that is wrong"),
            "decided_by": ("told.decided_by", "the person who decided, if one did"),
            "refers_to": ("told.refers_to", "the outcome that this one is about"),
            "source_topic": ("told.source ->> 'topic'", "where the command was read"),
            "source_partition": ("CAST(told.source ->> 'partition' AS int)", "where the command was read"),
            "source_offset": ("CAST(told.source ->> 'offset' AS bigint)", "where the command was read"),
            "published_at": ("p.published_at", "when Kafka had it; null while it waits"),
            "published_partition": ("p.partition", "where Kafka has it"),
            "published_offset": ('p."offset"', "where Kafka has it"),
        },
    ),
    "open_doubts": (
        "What is in doubt now: a call that may or may not have been applied.",
        "FROM doubts d LEFT JOIN commands c USING (command_id)",
        {
            "command_id": ("d.command_id", ID),
            "of_expiry": ("d.is_expiry", "the doubt is about ending this temp.adjust's adjustment"),
            "account_no": ("d.account_no", ACCOUNT),
            "operation": ("d.operation", "what was called, a command's type"),
            **ABOUT,
            "attempt_number": ("d.attempt_number", "the first call that is in doubt"),
            "since_at": ("d.since_at", "since when"),
            "parked_at": ("d.parked_at", "since when a person must decide; null while it is looked at by itself"),
            "reason": ("d.reason", "why, and what is waited for"),
        },
    ),
    "temporary_adjustments": (
        "Every temporary adjustment that was booked, and how it ended.",
        "FROM temp_adjustments a LEFT JOIN commands c USING (command_id) LEFT JOIN timers t USING (command_id)",
        {
            "command_id": ("a.command_id", "the temp.adjust's id"),
            "account_no": ("a.account_no", ACCOUNT),
            "adjust_no": ("a.adjust_no", "the brokerage's number; null where it is not known"),
            **ABOUT,
            "expires_at": ("a.expires_at", "its hour"),
            "booked_at": ("a.booked_at", "when it was known to be booked"),
            "next_try_at": ("t.wake_at", "when it is next asked to end; null when it has ended"),
            "ended_at": ("a.ended_at", "when it was known to have ended; null while it is open"),
            "ended_by": ("a.ended_by", "timer, command, brokerage or unknown"),
            "basis": ("a.basis", "how that is known: answer, inferred or person"),
            "fired_by": ("a.fired_by", "the person who ended it before its hour, if one did"),
        },
    ),
}


def upgrade() -> None:
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    op.execute("CREATE SCHEMA ledger_read")
    for view, (what, source, columns) in VIEWS.items():
        shown = ", ".join(f'{expression} AS "{name}"' for name, (expression, _) in columns.items())
        op.execute(f"CREATE VIEW ledger_read.{view} AS SELECT {shown} {source}")
        op.execute(f"COMMENT ON VIEW ledger_read.{view} IS '{what}'")
        for name, (_, meaning) in columns.items():
            _comment(f'ledger_read.{view}."{name}"', meaning)
    op.execute(GRANTS)
    op.execute(TOLD)
    op.execute(FIXED_PATH)
    op.execute("SELECT grant_ledger_roles()")


def _comment(column: str, meaning: str) -> None:
    quoted = meaning.replace("'", "''")
    op.execute(f"COMMENT ON COLUMN {column} IS '{quoted}'")


def downgrade() -> None:
    raise NotImplementedError("revisions only go up: restore, or write the next one")
