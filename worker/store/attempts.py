"""Attempts: opened with what will be sent, closed once with what came of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.decide import OWNER_SILENT
from worker.store.arrays import arrays
from worker.store.engine import from_arrays, run, sql

OPENED = {
    "attempt_id": "uuid",
    "command_id": "uuid",
    "account_no": "text",
    "kind": "text",
    "number": "int",
    "operation": "text",
    "fence": "bigint",
    "owner": "uuid",
    "opened_at": "timestamptz",
    "send_before_at": "timestamptz",
    "lease_until": "timestamptz",
    "horizon_at": "timestamptz",
    "method": "text",
    "path": "text",
    "query": "text",
    "body": "bytea",
    "numbers": "jsonb",
}
REPORTED = {
    "command_id": "uuid",
    "attempt_id": "uuid",
    "known": "text",
    "reported_at": "timestamptz",
    "horizon_at": "timestamptz",
    "retry_at": "timestamptz",
    "duration_ms": "float8",
    "rule": "text",
    "code": "text",
    "message": "text",
    "numbers": "jsonb",
    "http_status": "int",
    "answer": "bytea",
    "trace_id": "text",
}
_NAMES = ", ".join(OPENED)
_OPEN = f"""
    WITH given AS (SELECT * FROM {from_arrays(OPENED)}),
    opened AS (INSERT INTO attempts ({_NAMES}) SELECT {_NAMES} FROM given)
    UPDATE commands c SET state = 'sending', attempts = given.number
    FROM given WHERE c.command_id = given.command_id AND given.kind = 'write'
"""
_REPORT = f"""
    UPDATE attempts a SET
        -- a person said that it was not applied: only that it was contradicts this
        known = CASE WHEN a.known = 'cleared' AND given.known <> 'confirmed' THEN a.known ELSE given.known END,
        reported_at = given.reported_at, rule = given.rule, code = given.code,
        horizon_at = least(a.horizon_at, coalesce(given.horizon_at, a.horizon_at)), retry_at = given.retry_at,
        duration_ms = given.duration_ms, message = given.message, http_status = given.http_status,
        numbers = coalesce(given.numbers, a.numbers), answer = given.answer, trace_id = given.trace_id
    FROM {from_arrays(REPORTED)}
    WHERE a.command_id = given.command_id AND a.attempt_id = given.attempt_id AND (a.known = 'open' OR a.rule = '{OWNER_SILENT}')
    RETURNING a.attempt_id
"""


async def open_attempts(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Record that these calls will be made; commands that are written for are *sending* from now on."""
    if rows:
        await run(connection, _OPEN, arrays(OPENED, rows))


async def report_attempts(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> set[UUID]:
    """Record what came of attempts, once each; returns those for which this was the first report.

    One whose owner was taken for silent still takes its owner's answer; where a person has cleared it meanwhile, it stays
    cleared unless that answer is that it was applied. What a row leaves out keeps its value.
    """
    return {row[0] for row in await run(connection, _REPORT, arrays(REPORTED, rows))}


async def silence_attempts(
    connection: AsyncConnection, accounts: Sequence[str], fences: Sequence[int], now: datetime
) -> list[tuple[str, str, UUID]]:
    """Give up waiting for the owners of these turns: their writes are in doubt, their looks showed nothing.

    Returns (account_no, kind, command_id) of each turn. They are found by way of the lane's head and its due expiries:
    attempts are many, and an index over open ones would be written twice for each call.
    """
    statement = f"""
        WITH given AS (SELECT * FROM {from_arrays({"account_no": "text", "fence": "bigint"})}),
        turns AS (
            SELECT given.account_no, given.fence, near.command_id FROM given CROSS JOIN LATERAL (
                (SELECT c.command_id FROM lanes l
                 JOIN commands c ON c.account_no = l.account_no AND c.position >= l.head_position
                    AND c.state IN ('queued', 'sending', 'in_doubt')
                 WHERE l.account_no = given.account_no ORDER BY c.position LIMIT 1)
                UNION ALL
                (SELECT t.command_id FROM timers t WHERE t.account_no = given.account_no AND t.state = 'due')
            ) near
        )
        UPDATE attempts a SET known = CASE WHEN a.kind = 'look' THEN 'unreadable' ELSE 'in_doubt' END,
            rule = '{OWNER_SILENT}', message = 'the worker that made the call fell silent',
            reported_at = :now
        FROM turns WHERE a.command_id = turns.command_id AND a.account_no = turns.account_no
            AND a.fence = turns.fence AND a.known = 'open'
        RETURNING a.account_no, a.kind, a.command_id
    """
    rows = await connection.execute(sql(statement), {"account_no": accounts, "fence": fences, "now": now})
    return [(row.account_no, row.kind, row.command_id) for row in rows]
