"""What operators list: doubts, parked commands, timers, and what is kept of each. Reads only."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.errors import NothingMatchedError
from worker.store.shown import Shown, all_shown, text_of


async def list_doubts(
    connection: AsyncConnection,
    *,
    account_no: str | None = None,
    command_id: UUID | None = None,
    operation: str | None = None,
    older_than_s: float | None = None,
    parked: bool | None = None,
    after: UUID | None = None,
    limit: int,
) -> list[Shown]:
    """List open doubts, the oldest first; `decidable_at` is when none of their calls can take effect any more.

    Raises NothingMatchedError for an `after` that is not in doubt any more.
    """
    since_at = await _of_last(connection, "SELECT since_at FROM doubts", after)
    statement = text("""
        WITH page AS MATERIALIZED (
            SELECT d.* FROM doubts d
            WHERE (CAST(:account_no AS text) IS NULL OR d.account_no = :account_no)
              AND (CAST(:command_id AS uuid) IS NULL OR d.command_id = :command_id)
              AND (CAST(:operation AS text) IS NULL OR d.operation = :operation)
              AND (CAST(:older_than_s AS float8) IS NULL OR d.since_at <= now() - make_interval(secs => :older_than_s))
              AND (CAST(:parked AS boolean) IS NULL OR (d.parked_at IS NOT NULL) = :parked)
              AND (CAST(:since_at AS timestamptz) IS NULL OR (d.since_at, d.command_id) > (:since_at, :after))
            ORDER BY d.since_at, d.command_id, d.is_expiry LIMIT :limit
        )
        SELECT d.command_id, d.account_no, d.operation, d.is_expiry AS expiry, d.since_at,
               extract(epoch FROM now() - d.since_at)::float8 AS age_s, d.parked_at, d.reason,
               c.command_type, c.state, c.payload, c.not_after, tried.decidable_at, tried.first_doubt_at,
               tried.decidable_at <= now() AS decidable, last.rule AS last_rule, last.message AS last_message,
               l.state AS lane_state, l.wake_at AS lane_wake_at, l.lease_until, t.wake_at AS timer_wake_at, w.look_at
        FROM page d LEFT JOIN commands c USING (command_id) LEFT JOIN lanes l ON l.account_no = d.account_no
            LEFT JOIN timers t ON t.command_id = d.command_id AND d.is_expiry
            LEFT JOIN watches w ON w.command_id = d.command_id AND NOT d.is_expiry
            CROSS JOIN LATERAL (
                SELECT max(a.horizon_at) AS decidable_at, min(a.opened_at) AS first_doubt_at FROM attempts a
                WHERE a.command_id = d.command_id AND (a.kind = 'expiry') = d.is_expiry AND a.kind <> 'look'
                  AND a.known IN ('open', 'in_doubt')
            ) tried
            LEFT JOIN LATERAL (
                SELECT a.rule, a.message FROM attempts a
                WHERE a.command_id = d.command_id AND (a.kind = 'expiry') = d.is_expiry AND a.known <> 'open'
                ORDER BY a.opened_at DESC LIMIT 1
            ) last ON true
        ORDER BY d.since_at, d.command_id, d.is_expiry
    """)
    given = {
        "account_no": account_no,
        "command_id": command_id,
        "operation": operation,
        "older_than_s": older_than_s,
        "parked": parked,
        "since_at": since_at,
        "after": after,
        "limit": limit,
    }
    return all_shown((await connection.execute(statement, given)).mappings())


async def list_parked(
    connection: AsyncConnection,
    *,
    account_no: str | None = None,
    command_id: UUID | None = None,
    older_than_s: float | None = None,
    after: UUID | None = None,
    limit: int,
) -> list[Shown]:
    """List what waits for a person, the oldest first.

    Raises NothingMatchedError for an `after` that is not parked any more.
    """
    parked_at = await _of_last(connection, "SELECT parked_at FROM parked", after)
    statement = text("""
        WITH page AS MATERIALIZED (
            SELECT p.* FROM parked p
            WHERE (CAST(:account_no AS text) IS NULL OR p.account_no = :account_no)
              AND (CAST(:command_id AS uuid) IS NULL OR p.command_id = :command_id)
              AND (CAST(:older_than_s AS float8) IS NULL OR p.parked_at <= now() - make_interval(secs => :older_than_s))
              AND (CAST(:parked_at AS timestamptz) IS NULL OR (p.parked_at, p.command_id) > (:parked_at, :after))
            ORDER BY p.parked_at, p.command_id LIMIT :limit
        )
        SELECT p.command_id, p.account_no, c.command_type, p.parked_at,
               extract(epoch FROM now() - p.parked_at)::float8 AS age_s, p.in_doubt, p.reason, c.attempts,
               c.accepted_at, c.first_sent_at, c.issued_by, c.correlation_id, c.not_after, c.expires_at, c.payload
        FROM page p JOIN commands c USING (command_id) ORDER BY p.parked_at, p.command_id
    """)
    given = {
        "account_no": account_no,
        "command_id": command_id,
        "older_than_s": older_than_s,
        "parked_at": parked_at,
        "after": after,
        "limit": limit,
    }
    return all_shown((await connection.execute(statement, given)).mappings())


async def _of_last(connection: AsyncConnection, select: str, after: UUID | None) -> datetime | None:
    """Read where the page before ended; its last row may have been decided meanwhile."""
    if after is None:
        return None
    statement = text(f"{select} WHERE command_id = :after ORDER BY 1 DESC LIMIT 1")
    found: datetime | None = (await connection.execute(statement, {"after": after})).scalar_one_or_none()
    if found is None:
        raise NothingMatchedError(
            f"--after {after} is not listed any more (it was decided, or ended): begin with the first page"
        )
    return found


async def list_timers(
    connection: AsyncConnection,
    *,
    account_no: str | None = None,
    overdue: bool = False,
    after: UUID | None = None,
    limit: int,
) -> list[Shown]:
    """List live timers, the next first; with `overdue` only those past their hour.

    Raises NothingMatchedError for an `after` whose timer is not live any more.
    """
    due_at = await _of_last(connection, "SELECT due_at FROM timers", after)
    statement = text("""
        SELECT t.command_id, t.account_no, a.adjust_no, t.kind, t.state, t.due_at, t.wake_at, t.due_at <= now() AS overdue
        FROM timers t JOIN temp_adjustments a USING (command_id)
        WHERE (CAST(:account_no AS text) IS NULL OR t.account_no = :account_no)
          AND (NOT :overdue OR t.due_at <= now())
          AND (CAST(:due_at AS timestamptz) IS NULL OR (t.due_at, t.command_id) > (:due_at, :after))
        ORDER BY t.due_at, t.command_id LIMIT :limit
    """)
    given = {"account_no": account_no, "overdue": overdue, "due_at": due_at, "after": after, "limit": limit}
    return all_shown((await connection.execute(statement, given)).mappings())


async def read_adjustment(connection: AsyncConnection, command_id: UUID) -> list[Shown]:
    """Read one temporary adjustment with its timer, if it still has one."""
    statement = text("""
        SELECT a.command_id, a.account_no, a.adjust_no, a.op_user, a.expires_at, a.booked_at, a.ended_at, a.ended_by,
               a.basis, t.kind AS timer, t.state AS timer_state, t.due_at, t.wake_at, t.due_at <= now() AS overdue
        FROM temp_adjustments a LEFT JOIN timers t USING (command_id) WHERE a.command_id = :command_id
    """)
    return all_shown((await connection.execute(statement, {"command_id": command_id})).mappings())


async def list_attempts(connection: AsyncConnection, command_id: UUID, *, expiry: bool | None = None) -> list[Shown]:
    """List every call and look for a command, in the order in which they began; `expiry` picks one sort of calls."""
    statement = text("""
        SELECT kind, number, operation, opened_at, send_before_at, horizon_at, method, path, query, body, known AS verdict,
               reported_at, retry_at, duration_ms, rule, code, message, numbers, http_status, answer, trace_id, redacted_at,
               encode(body_hash, 'hex') AS body_hash, encode(answer_hash, 'hex') AS answer_hash
        FROM attempts
        WHERE command_id = :command_id AND (CAST(:expiry AS boolean) IS NULL OR (kind = 'expiry') = :expiry)
        ORDER BY opened_at, kind DESC, number
    """)
    rows = all_shown((await connection.execute(statement, {"command_id": command_id, "expiry": expiry})).mappings())
    return [row | {"body": text_of(row["body"]), "answer": text_of(row["answer"])} for row in rows]


async def list_evidence(connection: AsyncConnection, command_id: UUID) -> list[Shown]:
    """List what looks and persons said about a command."""
    statement = text("""
        SELECT kind, recorded_at, actor, reason, detail FROM evidence
        WHERE command_id = :command_id ORDER BY recorded_at
    """)
    return all_shown((await connection.execute(statement, {"command_id": command_id})).mappings())


async def list_outcomes(connection: AsyncConnection, *, command_id: UUID) -> list[Shown]:
    """List a command's outcomes in their sequence, with where Kafka has them."""
    return await _outcomes(connection, "o.command_id = :wanted ORDER BY o.account_seq", {"wanted": command_id})


async def list_last_outcomes(connection: AsyncConnection, account_no: str, limit: int) -> list[Shown]:
    """List an account's last outcomes, the latest first."""
    given = {"wanted": account_no, "limit": limit}
    return await _outcomes(connection, "o.account_no = :wanted ORDER BY o.account_seq DESC LIMIT :limit", given)


async def _outcomes(connection: AsyncConnection, condition: str, given: dict[str, Any]) -> list[Shown]:
    statement = text(f"""
        SELECT o.event_id, o.account_no, o.account_seq, o.type, o.command_id, o.recorded_at, p.published_at,
               p.partition AS published_partition, p."offset" AS published_offset, b.set_aside_reason, o.value
        FROM outcomes o LEFT JOIN publications p USING (event_id)
            LEFT JOIN outbox b ON b.kind = 'outcome' AND b.ref_id = o.event_id AND p.event_id IS NULL
                AND b.set_aside_reason IS NOT NULL
        WHERE {condition}
    """)
    rows = all_shown((await connection.execute(statement, given)).mappings())
    return [row | {"value": text_of(row["value"])} for row in rows]
