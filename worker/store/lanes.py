"""Lanes between turns: woken, taken under a lease, and taken back from owners that fell silent."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.store.engine import sql
from worker.store.histories import COMMAND_COLUMNS, adjustment_row, command_row, read_histories
from worker.store.rest import LANE_COLUMNS
from worker.store.rows import AdjustmentRow, CommandRow, Head, History, LaneRow

ADJUSTMENT_COLUMNS = """
    a.adjust_no, a.op_user, a.ended_by,
    EXISTS (
        SELECT 1 FROM doubts d JOIN commands e ON e.command_id = d.command_id
        WHERE d.account_no = a.account_no AND d.operation = 'temp.expire' AND NOT d.is_expiry
            AND (e.payload #>> '{adjust,command_id}' = CAST(a.command_id AS text)
                 OR e.payload #>> '{adjust,adjust_no}' = a.adjust_no)
    ) AS command_doubted
"""


async def wake_lanes(connection: AsyncConnection, limit: int = 500) -> int:
    """Make held lanes ready whose hour has come; returns how many. Lanes that are locked wait for the next call."""
    statement = sql("""
        WITH due AS (
            SELECT account_no FROM lanes WHERE state = 'held' AND wake_at <= now()
            ORDER BY wake_at LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        UPDATE lanes l SET state = 'ready', ready_at = l.wake_at, wake_at = NULL, hold_reason = NULL
        FROM due WHERE l.account_no = due.account_no
    """)
    return (await connection.execute(statement, {"limit": limit})).rowcount


async def take_ready(
    connection: AsyncConnection, limit: int, *, urgent_only: bool
) -> tuple[dict[str, LaneRow], datetime]:
    """Lock the lanes whose turn is next, urgent ones first, passing over those that are locked."""
    statement = sql(f"""
        SELECT {LANE_COLUMNS}, now() AS db_now FROM lanes l
        WHERE l.state = 'ready' {"AND l.urgent" if urgent_only else ""}
        ORDER BY l.urgent DESC, l.ready_at LIMIT :limit FOR UPDATE SKIP LOCKED
    """)
    return _lanes((await connection.execute(statement, {"limit": limit})).all())


async def put_off_first(connection: AsyncConnection, by: timedelta, reason: str, *, urgent_only: bool) -> str | None:
    """Hold the lane that `take_ready` would give first; returns its account."""
    lanes, _ = await take_ready(connection, 1, urgent_only=urgent_only)
    statement = sql("""
        UPDATE lanes SET state = 'held', ready_at = NULL, wake_at = now() + :by, hold_reason = :reason
        WHERE account_no = ANY(:accounts)
    """)
    await connection.execute(statement, {"by": by, "reason": reason, "accounts": list(lanes)})
    return next(iter(lanes), None)


async def take_silent(connection: AsyncConnection, limit: int) -> tuple[dict[str, LaneRow], datetime]:
    """Lock lanes whose owner's lease has run out."""
    statement = sql(f"""
        SELECT {LANE_COLUMNS}, now() AS db_now FROM lanes l
        WHERE l.state = 'leased' AND l.lease_until < now()
        ORDER BY l.lease_until LIMIT :limit FOR UPDATE SKIP LOCKED
    """)
    return _lanes((await connection.execute(statement, {"limit": limit})).all())


def _lanes(rows: Sequence[Any]) -> tuple[dict[str, LaneRow], datetime]:
    now = rows[-1].db_now if rows else datetime.min  # noqa: DTZ901 - nobody looks at it where there are no lanes
    return {row.account_no: LaneRow(*row[:-1]) for row in rows}, now


async def read_heads(connection: AsyncConnection, lanes: Mapping[str, LaneRow]) -> dict[str, Head]:
    """Say what each lane's next turn is about: a due expiry first, else the command at its head.

    A lane that was made ready only for an expiry while a command holds it gives nothing once the expiry is gone.
    """
    heads: dict[str, Head] = {}
    due = await _due_expiries(connection, list(lanes))
    if due:
        histories = await read_histories(connection, [a.command_id for a, _ in due], expiry=True)
        for adjustment, command in due:
            lane = lanes[adjustment.account_no]
            heads[lane.account_no] = Head(lane, command, histories[adjustment.command_id], adjustment)
    waiting = [lane for account_no, lane in lanes.items() if account_no not in heads]
    commands = await _head_commands(connection, waiting)
    tried = [command.command_id for command in commands if command.attempts]
    histories = await read_histories(connection, tried)
    for command in commands:
        lane = lanes[command.account_no]
        heads[lane.account_no] = Head(lane, command, histories.get(command.command_id, History()))
    return heads


async def _due_expiries(connection: AsyncConnection, accounts: Sequence[str]) -> list[tuple[AdjustmentRow, CommandRow]]:
    statement = sql(f"""
        SELECT DISTINCT ON (t.account_no) {COMMAND_COLUMNS}, {ADJUSTMENT_COLUMNS}
        FROM timers t JOIN temp_adjustments a USING (command_id) JOIN commands c USING (command_id)
        WHERE t.account_no = ANY(:accounts) AND t.state = 'due'
        ORDER BY t.account_no, t.due_at, t.command_id
    """)
    rows = (await connection.execute(statement, {"accounts": accounts})).mappings()
    return [(adjustment_row(row), command_row(row)) for row in rows]


async def _head_commands(connection: AsyncConnection, lanes: Collection[LaneRow]) -> list[CommandRow]:
    if not lanes:
        return []
    statement = sql(f"""
        SELECT h.* FROM unnest(CAST(:accounts AS text[]), CAST(:heads AS bigint[])) AS given(account_no, head)
        CROSS JOIN LATERAL (
            SELECT {COMMAND_COLUMNS} FROM commands c
            WHERE c.account_no = given.account_no AND c.position >= given.head AND c.state IN ('queued', 'in_doubt')
            ORDER BY c.position LIMIT 1
        ) h
    """)
    given = {"accounts": [lane.account_no for lane in lanes], "heads": [lane.head_position for lane in lanes]}
    return [CommandRow(*row) for row in await connection.execute(statement, given)]


async def read_adjusting(
    connection: AsyncConnection, *, command_ids: Collection[UUID], adjust_nos: Collection[str]
) -> list[tuple[AdjustmentRow, CommandRow]]:
    """Read temporary adjustments, by temp.adjust's id or by number, each with its temp.adjust."""
    if not command_ids and not adjust_nos:
        return []
    statement = sql(f"""
        SELECT {COMMAND_COLUMNS}, {ADJUSTMENT_COLUMNS}
        FROM temp_adjustments a JOIN commands c USING (command_id)
        WHERE a.command_id = ANY(:ids) OR a.adjust_no = ANY(:numbers)
    """)
    rows = await connection.execute(statement, {"ids": list(command_ids), "numbers": list(adjust_nos)})
    return [(adjustment_row(row), command_row(row)) for row in rows.mappings()]
