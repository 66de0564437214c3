"""The reading of what is stuck sees each kind of row that nothing would ever wake, and none in a fresh database."""

import psycopg
import pytest

from tests.support.stuck import stuck

ID = "gen_random_uuid()"
LANE = "INSERT INTO lanes (account_no) VALUES ('A');"
LEASED = f"INSERT INTO lanes (account_no, state, owner, lease_until, fence) VALUES ('A', 'leased', {ID}, now(), 7);"
COMMAND = (
    "INSERT INTO commands (command_id, account_no, position, command_type, urgent, payload, issued_at, topic, epoch, "
    f"partition, \"offset\", accepted_at, state) VALUES ({ID}, 'A', 1, 'x', false, '{{}}', now(), 't', 1, 0, 0, now(), '%s');"
)
ATTEMPT = (
    "INSERT INTO attempts (attempt_id, command_id, account_no, number, operation, fence, owner, opened_at, "
    f"send_before_at, lease_until, horizon_at, kind, method, path) VALUES ({ID}, {ID}, 'A', 1, 'x', %s, {ID}, now(), "
    "now(), now(), now(), 'write', 'POST', '/');"
)
OPEN = (
    "INSERT INTO temp_adjustments (command_id, account_no, op_user, expires_at, booked_at) "
    "VALUES ('%s', 'A', 'u', now(), now());"
)
TIMER = "INSERT INTO timers (command_id, account_no, kind, state, due_at, wake_at) VALUES ('%s', 'A', 'expire', '%s', now(), now());"
OUTCOME = (
    "INSERT INTO outcomes (event_id, account_no, account_seq, type, command_id, recorded_at, value, headers) "
    f"VALUES ('%s', 'A', 1, 'x', {ID}, now(), '', '');"
)
OUTBOX = (
    "INSERT INTO outbox (shard, kind, ref_id, recorded_at, set_aside_reason) VALUES (%s, 'outcome', '%s', now(), %s);"
)
ONE = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

STUCK = {
    "is queued, and its lane is idle": LANE + COMMAND % "queued",
    "is in_doubt and has no lane": COMMAND % "in_doubt",
    "its lane has gone on beyond it": LANE
    + "UPDATE lanes SET head_position = 2, next_position = 2;"
    + COMMAND % "queued",
    "is being sent, and its lane is idle": LANE + COMMAND % "sending",
    "is open, and its lane is idle": LANE + ATTEMPT % 1,
    "is open, and its lane is leased": LEASED + ATTEMPT % 6,
    "is parked for nobody": LANE + COMMAND % "parked",
    "is open and has no timer": OPEN % ONE,
    "is due, and its lane is idle": LANE + OPEN % ONE + TIMER % (ONE, "due"),
    "is for an adjustment that has ended": LANE + TIMER % (ONE, "armed"),
    "was neither published nor waits for it": OUTCOME % ONE,
    "lies in shard 99": OUTCOME % ONE + OUTBOX % (99, ONE, "NULL"),
    "was set aside: too large": OUTCOME % ONE + OUTBOX % (0, ONE, "'too large'"),
}
WELL = {
    "a call in flight": LEASED + COMMAND % "sending" + ATTEMPT % 7,
    "an armed timer": LANE + OPEN % ONE + TIMER % (ONE, "armed"),
    "an outcome that waits for its relay": OUTCOME % ONE + OUTBOX % (0, ONE, "NULL"),
    "nothing": "",
}


@pytest.mark.parametrize("story", STUCK)
def test_a_row_that_nothing_wakes_is_told_of(database_url: str, story: str) -> None:
    assert [told for told in _stuck_after(database_url, STUCK[story]) if story in told]


@pytest.mark.parametrize("what", WELL)
def test_what_has_its_wake_up_is_not_told_of(database_url: str, what: str) -> None:
    assert _stuck_after(database_url, WELL[what]) == []


def _stuck_after(database_url: str, statements: str) -> list[str]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        if statements:
            connection.execute(statements)
        return list(stuck(connection))
