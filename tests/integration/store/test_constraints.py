"""Invariants that Postgres keeps, whatever the code does: each refuses a row that breaks it."""

import pytest

from tests.integration.store.world import World
from worker.errors import DataRefusedError

ID = "gen_random_uuid()"
LANE = "INSERT INTO lanes (account_no, {0}) VALUES ('A', {1})"
OFFSET = "INSERT INTO offsets (topic, partition, next_offset, last_offset) VALUES ('t', 0, {0})"
RECORD = (
    'INSERT INTO records (topic, epoch, partition, "offset", produced_at, headers, disposition) '
    "VALUES ('t', 1, 0, 0, now(), '', {0})"
)
IDENTITY = (
    "INSERT INTO command_ids (command_id, account_no, content_hash, hash_version, verdict, terminal_event_id) "
    f"VALUES ({ID}, 'A', '', 1, {{0}})"
)
COMMAND = (
    "INSERT INTO commands (command_id, account_no, position, command_type, urgent, payload, issued_at, topic, epoch, "
    f"partition, \"offset\", accepted_at, state, finished_at) VALUES ({ID}, 'A', 1, 'x', false, '{{{{}}}}', now(), "
    "'t', 1, 0, 0, now(), {0})"
)
ATTEMPT = (
    "INSERT INTO attempts (attempt_id, command_id, account_no, number, operation, fence, owner, opened_at, "
    f"send_before_at, lease_until, horizon_at, kind, method, path) VALUES ({ID}, {ID}, 'A', 1, 'x', 1, {ID}, now(), "
    "now(), now(), now(), {0})"
)
NUMBER = f"INSERT INTO numbers (kind, number, account_no, command_id) VALUES ({{0}}, '1', 'A', {ID})"
ADJUSTMENT = (
    "INSERT INTO temp_adjustments (command_id, account_no, op_user, expires_at, booked_at, ended_at, ended_by) "
    f"VALUES ({ID}, 'A', 'u', now(), now(), {{0}})"
)
TIMER = f"INSERT INTO timers (command_id, account_no, kind, state, due_at, wake_at) VALUES ({ID}, 'A', {{0}})"
OUTCOME = (
    "INSERT INTO outcomes (event_id, account_no, account_seq, type, command_id, recorded_at, value, headers) "
    f"VALUES ({ID}, 'A', {{0}}, 'x', {ID}, now(), '', '')"
)
LETTER = (
    'INSERT INTO dead_letters (dead_letter_id, topic, epoch, partition, "offset", reason, message, fingerprint, '
    f"failed_at, headers) VALUES ({ID}, 't', 1, 0, 0, {{0}}, '', '', now(), '')"
)
TRIAGE = (
    'INSERT INTO dead_letters (dead_letter_id, topic, epoch, partition, "offset", reason, message, fingerprint, '
    f"failed_at, headers, state) VALUES ({ID}, 't', 1, 0, 0, 'REFUSED', '', '', now(), '', {{0}})"
)
REDRIVE = (
    "INSERT INTO redrives (dead_letter_id, number, run_id, redriven_at, actor, reason, disposition) "
    f"VALUES ({ID}, 0, {ID}, now(), 'ann', 'why', 'accepted')"
)
OUTBOX = f"INSERT INTO outbox (shard, kind, ref_id, recorded_at) VALUES (0, {{0}}, {ID}, now())"
AUDIT = (
    "INSERT INTO audit (audit_id, recorded_at, actor, action, reason, value, audit_seq, previous_hash, hash) "
    f"VALUES ({ID}, now(), 'ann', 'pause', 'why', '', {{0}})"
)
BRAKE = "INSERT INTO brakes (kind, subject, set_by, reason) VALUES ({0}, 'ann', 'why')"

PRUNING = "INSERT INTO prunings (what, before_at, pruned_at, count) VALUES ('commands', {0})"

VIOLATIONS = {
    "ck_prunings_past": PRUNING.format("now(), now() - interval '1 s', 1"),
    "ck_audit_chained": AUDIT.format("1, '', NULL"),
    "ck_audit_head_one_row": """INSERT INTO audit_head ("only", audit_seq, hash) VALUES (false, 0, '')""",
    "pk_audit_head": "INSERT INTO audit_head (audit_seq, hash) VALUES (0, '')",
    "ck_lanes_state": LANE.format("state", "'busy'"),
    "ck_lanes_leased": LANE.format("state, ready_at, owner", f"'ready', now(), {ID}"),
    "ck_lanes_held": LANE.format("state, wake_at", "'held', now()"),
    "ck_lanes_ready": LANE.format("state", "'ready'"),
    "ck_lanes_head_before_next": LANE.format("head_position", "2"),
    "ck_offsets_last_before_next": OFFSET.format("5, 5"),
    "ck_records_disposition": RECORD.format("'lost'"),
    "ck_command_ids_verdict": IDENTITY.format(f"'maybe', {ID}"),
    "ck_command_ids_verdict_has_event": IDENTITY.format("'succeeded', NULL"),
    "ck_commands_state": COMMAND.format("'done', NULL"),
    "ck_commands_finished": COMMAND.format("'succeeded', NULL"),
    "ck_attempts_kind": ATTEMPT.format("'guess', 'GET', '/'"),
    "ck_attempts_write_is_stored": ATTEMPT.format("'write', NULL, NULL"),
    "ck_numbers_kind": NUMBER.format("'serial'"),
    "ck_temp_adjustments_ended_by": ADJUSTMENT.format("now(), 'nobody'"),
    "ck_temp_adjustments_ended": ADJUSTMENT.format("now(), NULL"),
    "ck_timers_kind": TIMER.format("'alarm', 'armed', now(), now()"),
    "ck_timers_state": TIMER.format("'expire', 'off', now(), now()"),
    "ck_timers_never_early": TIMER.format("'expire', 'armed', now(), now() - interval '1 s'"),
    "ck_outcomes_account_seq": OUTCOME.format("0"),
    "ck_dead_letters_reason": LETTER.format("'ODD'"),
    "ck_dead_letters_state": TRIAGE.format("'odd'"),
    "ck_dead_letters_ignored_says_why": TRIAGE.format("'ignored'"),
    "ck_redrives_number": REDRIVE,
    "ck_outbox_kind": OUTBOX.format("'letter'"),
    "ck_brakes_kind": BRAKE.format("'some', 'x'"),
    "ck_brakes_subject": BRAKE.format("'account', ''"),
    "ck_rate_one_row": 'INSERT INTO rate ("only") VALUES (false)',
    "pk_rate": "INSERT INTO rate DEFAULT VALUES",
}


async def test_each_invariant_refuses_what_breaks_it(world: World) -> None:
    for name, statement in VIOLATIONS.items():
        with pytest.raises(DataRefusedError, match=name):
            await world.sql(statement)


async def test_no_invariant_is_without_its_test(world: World) -> None:
    rows = await world.sql(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
    )
    assert {row.conname for row in rows} <= set(VIOLATIONS)


@pytest.mark.parametrize(
    "statement",
    [
        AUDIT.format("1, '', sha256('')"),
        OUTCOME.format("1"),
        COMMAND.format("'queued', NULL"),
        LETTER.format("'REFUSED'"),
    ],
)
async def test_a_place_in_a_sequence_is_given_once(world: World, statement: str) -> None:
    await world.sql(statement)
    with pytest.raises(DataRefusedError, match="uq_"):
        await world.sql(statement)
