"""What is kept of one command or one account, for `explain`. Reads only, by index, however old the command is."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.store.arrays import arrays
from worker.store.engine import from_arrays
from worker.store.shown import Shown, all_shown, text_of

PLACE = {"topic": "text", "partition": "int", "at": "bigint"}


async def find_numbered(connection: AsyncConnection, number: str) -> list[UUID]:
    """Find the commands that the brokerage gave this number."""
    statement = text("""
        SELECT DISTINCT command_id FROM numbers
        WHERE number = :number AND kind IN ('adjust_no', 'serial_num', 'order_id') ORDER BY command_id
    """)
    return list((await connection.execute(statement, {"number": number})).scalars())


async def read_identity(connection: AsyncConnection, command_id: UUID) -> Shown | None:
    """Read what is known for ever of a command, and where it stands if it was accepted."""
    statement = text("""
        SELECT i.command_id, i.account_no, coalesce(c.command_type, i.command_type) AS command_type,
               coalesce(c.state, i.verdict) AS state, c.position, i.result, i.error, c.payload, c.issued_by, c.issued_at,
               c.correlation_id, c.not_after, c.expires_at, c.accepted_at, c.attempts, c.first_sent_at, c.finished_at,
               c.topic, c.partition, c."offset", i.pruned_at, i.terminal_event_id, p.parked_at, p.reason AS parked_reason, p.in_doubt AS parked_in_doubt,
               d.reason AS doubt_reason, d.since_at AS doubt_since_at
        FROM command_ids i LEFT JOIN commands c USING (command_id) LEFT JOIN parked p USING (command_id)
            LEFT JOIN doubts d ON d.command_id = i.command_id AND NOT d.is_expiry
        WHERE i.command_id = :command_id
    """)
    found = all_shown((await connection.execute(statement, {"command_id": command_id})).mappings())
    return found[0] if found else None


async def read_lane(connection: AsyncConnection, account_no: str, before: int | None = None) -> Shown | None:
    """Read an account's lane, the command at its head and how many wait; `ahead` counts those before a place."""
    statement = text("""
        SELECT l.account_no, l.state, l.hold_reason, l.wake_at, l.ready_at, l.owner, l.lease_until, l.fence,
               l.account_seq, l.head_position, l.next_position, h.command_id AS head_command_id,
               h.command_type AS head_command_type, h.state AS head_state,
               (SELECT count(*) FROM commands c WHERE c.account_no = l.account_no AND c.position >= l.head_position
                  AND c.state IN ('queued', 'sending', 'in_doubt')) AS waiting,
               (SELECT count(*) FROM commands c WHERE c.account_no = l.account_no AND c.position >= l.head_position
                  AND c.state IN ('queued', 'sending', 'in_doubt') AND c.position < :before) AS ahead
        FROM lanes l LEFT JOIN LATERAL (
            SELECT c.command_id, c.command_type, c.state FROM commands c
            WHERE c.account_no = l.account_no AND c.position >= l.head_position
              AND c.state IN ('queued', 'sending', 'in_doubt')
            ORDER BY c.position LIMIT 1
        ) h ON true
        WHERE l.account_no = :account_no
    """)
    given = {"account_no": account_no, "before": before or 0}
    found = all_shown((await connection.execute(statement, given)).mappings())
    return found[0] if found else None


async def read_records(connection: AsyncConnection, command_id: UUID, places: Sequence[dict[str, Any]]) -> list[Shown]:
    """Read the records that named a command from these places, each with its dead letter, if it became one.

    A record that a person edited named another one, or none.
    """
    statement = text(f"""
        SELECT r.topic, r.epoch, r.partition, r."offset", r.produced_at, r.read_at, r.disposition, r.key, r.command_id,
               d.dead_letter_id, d.reason AS dead_letter_reason, d.code, d.field, d.message
        FROM {from_arrays(PLACE)}
        JOIN offsets o ON o.topic = given.topic AND o.partition = given.partition
        CROSS JOIN LATERAL generate_series(1, o.epoch) AS e(epoch)
        JOIN records r ON r.topic = given.topic AND r.epoch = e.epoch AND r.partition = given.partition
            AND r."offset" = given.at
        LEFT JOIN dead_letters d ON d.topic = r.topic AND d.epoch = r.epoch AND d.partition = r.partition
            AND d."offset" = r."offset"
        WHERE r.command_id = :command_id OR EXISTS (
            SELECT 1 FROM redrives x
            WHERE x.command_id = :command_id AND x.value IS NOT NULL AND x.dead_letter_id = d.dead_letter_id
        )
        ORDER BY r.read_at, r.topic, r.partition, r."offset"
    """)
    rows = all_shown(
        (await connection.execute(statement, arrays(PLACE, places) | {"command_id": command_id})).mappings()
    )
    return [row | {"key": text_of(row["key"])} for row in rows]


async def read_redrives(
    connection: AsyncConnection, command_id: UUID, dead_letter_ids: Sequence[UUID], limit: int
) -> list[Shown]:
    """Read how these dead letters were put back as this command, or as whatever a person made of them."""
    statement = text("""
        SELECT x.dead_letter_id, x.number, x.redriven_at, x.actor, x.reason, x.disposition, x.command_id,
               x.value IS NOT NULL AS edited
        FROM redrives x
        WHERE x.dead_letter_id = ANY(:ids) AND (x.command_id = :command_id OR x.value IS NOT NULL)
        ORDER BY x.redriven_at DESC, x.number DESC LIMIT :limit
    """)
    given = {"ids": list(dead_letter_ids), "command_id": command_id, "limit": limit}
    return all_shown((await connection.execute(statement, given)).mappings())


PLACES_LOOKED_AT = 1000


async def read_before(connection: AsyncConnection, account_no: str, position: int, accepted_at: str) -> Shown:
    """Say how many commands were not finished before a place when its command was accepted, and which ended last.

    Only the places next before it are looked at, `PLACES_LOOKED_AT` of them: an account may have had millions.
    """
    statement = text("""
        SELECT count(*) AS count, max(finished_at) AS ended_at,
               (array_agg(command_id ORDER BY finished_at DESC NULLS FIRST))[1] AS last
        FROM commands
        WHERE account_no = :account_no AND position < :position AND position >= :position - :looked_at
          AND (finished_at IS NULL OR finished_at > CAST(:accepted_at AS timestamptz))
    """)
    given = {
        "account_no": account_no,
        "position": position,
        "looked_at": PLACES_LOOKED_AT,
        "accepted_at": accepted_at,
    }
    [found] = all_shown((await connection.execute(statement, given)).mappings())
    return found


async def read_waiting(connection: AsyncConnection, account_no: str, head: int, limit: int) -> list[Shown]:
    """Read the next commands that wait in a lane, in their sequence."""
    statement = text("""
        SELECT command_id, command_type, position, state, accepted_at, not_after, payload FROM commands
        WHERE account_no = :account_no AND position >= :head AND state IN ('queued', 'sending', 'in_doubt')
        ORDER BY position LIMIT :limit
    """)
    given = {"account_no": account_no, "head": head, "limit": limit}
    return all_shown((await connection.execute(statement, given)).mappings())


async def read_doubt_balance(connection: AsyncConnection, account_no: str) -> list[Shown]:
    """Count an account's open doubts and add up what they are about, by operation and currency or security."""
    statement = text("""
        SELECT d.operation, d.is_expiry AS expiry,
               CASE WHEN c.payload ->> 'amount' IS NOT NULL THEN c.payload ->> 'currency'
                    ELSE coalesce(c.payload ->> 'symbol', c.payload ->> 'counter_id') END AS unit,
               count(*) AS count, min(d.since_at) AS oldest_at,
               sum(CAST(coalesce(c.payload ->> 'amount', c.payload ->> 'quantity') AS numeric))::text AS amount
        FROM doubts d LEFT JOIN commands c USING (command_id)
        WHERE d.account_no = :account_no GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """)
    return all_shown((await connection.execute(statement, {"account_no": account_no})).mappings())


async def read_open_adjustments(connection: AsyncConnection, account_no: str, limit: int) -> list[Shown]:
    """Read an account's temporary adjustments that have not ended, the next hour first, each with its timer."""
    statement = text("""
        SELECT t.command_id, a.adjust_no, t.kind AS timer, t.state AS timer_state, a.expires_at, t.wake_at,
               t.due_at <= now() AS overdue, c.payload
        FROM timers t JOIN temp_adjustments a USING (command_id) JOIN commands c USING (command_id)
        WHERE t.account_no = :account_no ORDER BY t.due_at, t.command_id LIMIT :limit
    """)
    given = {"account_no": account_no, "limit": limit}
    return all_shown((await connection.execute(statement, given)).mappings())
