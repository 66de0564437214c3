"""Rows that wait though nothing would ever wake them: what the database alone tells, whatever the worker says."""

from collections.abc import Sequence

import psycopg

_ACTIVE = "('queued', 'sending', 'in_doubt')"
_READINGS = {
    "a command {0} is {1}, and its lane is idle": f"""
        SELECT c.command_id, c.state FROM commands c JOIN lanes l USING (account_no)
        WHERE c.state IN {_ACTIVE} AND l.state = 'idle'""",
    "a command {0} is {1} and has no lane": f"""
        SELECT c.command_id, c.state FROM commands c LEFT JOIN lanes l USING (account_no)
        WHERE c.state IN {_ACTIVE} AND l.account_no IS NULL""",
    "a command {0} is {1}, and its lane has gone on beyond it": f"""
        SELECT c.command_id, c.state FROM commands c JOIN lanes l USING (account_no)
        WHERE c.state IN {_ACTIVE} AND c.position < l.head_position AND l.state <> 'leased'""",
    "a command {0} is being sent, and its lane is {1}": """
        SELECT c.command_id, l.state FROM commands c JOIN lanes l USING (account_no)
        WHERE c.state = 'sending' AND l.state <> 'leased'""",
    "an attempt {0} is open, and its lane is {1}": """
        SELECT a.attempt_id, l.state FROM attempts a JOIN lanes l USING (account_no)
        WHERE a.known = 'open' AND (l.state <> 'leased' OR l.fence <> a.fence)""",
    "a lane {0} is {1} without an hour to wake": """
        SELECT account_no, state FROM lanes WHERE (state = 'held' AND wake_at IS NULL)
            OR (state = 'leased' AND lease_until IS NULL) OR (state = 'ready' AND ready_at IS NULL)""",
    "a command {0} is parked for nobody{1}": """
        SELECT c.command_id, '' FROM commands c LEFT JOIN parked p USING (command_id)
        WHERE c.state = 'parked' AND p.command_id IS NULL""",
    "the temporary adjustment of {0} is open and has no timer{1}": """
        SELECT a.command_id, '' FROM temp_adjustments a LEFT JOIN timers t USING (command_id)
        WHERE a.ended_at IS NULL AND t.command_id IS NULL""",
    "the timer of {0} is due, and its lane is {1}": """
        SELECT t.command_id, l.state FROM timers t JOIN lanes l USING (account_no)
        WHERE t.state = 'due' AND l.state IN ('idle', 'held')""",
    "the timer of {0} is for an adjustment that has ended{1}": """
        SELECT t.command_id, '' FROM timers t LEFT JOIN temp_adjustments a USING (command_id)
        WHERE a.command_id IS NULL OR a.ended_at IS NOT NULL""",
    "an outcome {0} was neither published nor waits for it{1}": """
        SELECT e.event_id, '' FROM outcomes e LEFT JOIN outbox o ON o.kind = 'outcome' AND o.ref_id = e.event_id
            LEFT JOIN publications p USING (event_id)
        WHERE p.event_id IS NULL AND o.ref_id IS NULL""",
    "an outbox row {0} lies in shard {1}, which no relay could hold": """
        SELECT o.outbox_id, o.shard FROM outbox o LEFT JOIN relay_shards s USING (shard) WHERE s.shard IS NULL""",
    "an outbox row {0} was set aside: {1}": """
        SELECT outbox_id, set_aside_reason FROM outbox WHERE set_aside_reason IS NOT NULL""",
}


def stuck(connection: "psycopg.Connection[tuple[object, ...]]") -> Sequence[str]:
    """Tell of every row that waits without a named wake-up; one statement each, so only of a database at rest."""
    stories = []
    for story, statement in _READINGS.items():
        stories += [story.format(*row) for row in connection.execute(statement).fetchall()]
    return stories
