"""Lanes between turns: woken, taken under a lease, and taken back from owners that fell silent."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.store.arrays import written
from worker.store.engine import run, sql
from worker.store.histories import ADJUSTMENT_COLUMNS, COMMAND_COLUMNS, adjustment_row, command_row, read_histories
from worker.store.rest import LANE_COLUMNS, lanes_of
from worker.store.rows import UNTRIED, AdjustmentRow, CommandRow, Head, LaneRow


async def wake_lanes(connection: AsyncConnection, limit: int = 500) -> int:
    """Make held lanes ready whose hour has come; returns how many. Lanes that are locked wait for the next call."""
    statement = """
        WITH due AS (
            SELECT account_no FROM lanes WHERE state = 'held' AND wake_at <= now()
            ORDER BY wake_at LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        UPDATE lanes l SET state = 'ready', ready_at = l.wake_at, wake_at = NULL, hold_reason = NULL
        FROM due WHERE l.account_no = due.account_no RETURNING 1
    """
    return len(await run(connection, statement, {"limit": limit}))


async def lease_ready(
    connection: AsyncConnection, limit: int, *, owner: UUID, lease_s: float, urgent_only: bool
) -> tuple[dict[str, LaneRow], datetime]:
    """Lease the lanes whose turn is next, urgent ones first, passing over those that are locked.

    What each lane's turn is about is read afterwards, by a statement of its own: in this one, a lane that another has
    just left would be seen as it is now, and its commands as they were before.
    """
    statement = f"""
        WITH taken AS (
            SELECT l.account_no, l.urgent, l.ready_at FROM lanes l
            WHERE l.state = 'ready' {"AND l.urgent" if urgent_only else ""}
            ORDER BY l.urgent DESC, l.ready_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ), leased AS (
            UPDATE lanes l SET state = 'leased', fence = l.fence + 1, owner = :owner, ready_at = NULL,
                lease_until = now() + make_interval(secs => :lease_s)
            FROM taken WHERE l.account_no = taken.account_no
            RETURNING {LANE_COLUMNS}, taken.ready_at AS taken_at
        )
        SELECT now(), {LANE_COLUMNS} FROM leased l ORDER BY l.urgent DESC, l.taken_at
    """
    return _lanes(await run(connection, statement, {"limit": limit, "owner": owner, "lease_s": lease_s}))


async def put_off_first(connection: AsyncConnection, by: timedelta, reason: str, *, urgent_only: bool) -> str | None:
    """Hold the lane that `lease_ready` would give first; returns its account."""
    statement = f"""
        UPDATE lanes SET state = 'held', ready_at = NULL, wake_at = now() + :by, hold_reason = :reason
        WHERE account_no = (
            SELECT l.account_no FROM lanes l WHERE l.state = 'ready' {"AND l.urgent" if urgent_only else ""}
            ORDER BY l.urgent DESC, l.ready_at LIMIT 1 FOR UPDATE SKIP LOCKED
        ) RETURNING account_no
    """
    rows = await run(connection, statement, {"by": by, "reason": reason})
    return rows[0][0] if rows else None


async def take_silent(connection: AsyncConnection, limit: int) -> tuple[dict[str, LaneRow], datetime]:
    """Lock lanes whose owner's lease has run out."""
    statement = f"""
        SELECT now(), {LANE_COLUMNS} FROM lanes l
        WHERE l.state = 'leased' AND l.lease_until < now()
        ORDER BY l.lease_until LIMIT :limit FOR UPDATE SKIP LOCKED
    """
    return _lanes(await run(connection, statement, {"limit": limit}))


def _lanes(rows: Sequence[tuple[Any, ...]]) -> tuple[dict[str, LaneRow], datetime]:
    now = rows[0][0] if rows else datetime.min  # noqa: DTZ901 - nobody looks at it where there are no lanes
    return lanes_of(rows), now


async def read_heads(connection: AsyncConnection, lanes: Mapping[str, LaneRow]) -> dict[str, Head]:
    """Say what each lane's next turn is about: a due expiry first, else the command at its head.

    A lane that was made ready only for an expiry while a command holds it gives nothing once the expiry is gone.
    """
    commands, with_expiry = await _head_commands(connection, lanes)
    heads: dict[str, Head] = {}
    if with_expiry:
        due = await _due_expiries(connection, with_expiry)
        histories = await read_histories(connection, [a.command_id for a, _ in due], expiry=True)
        for adjustment, command in due:
            lane = lanes[adjustment.account_no]
            heads[lane.account_no] = Head(lane, command, histories[adjustment.command_id], adjustment)
    waiting = [command for command in commands if command.account_no not in heads]
    histories = await read_histories(connection, [command.command_id for command in waiting if command.attempts])
    for command in waiting:
        lane = lanes[command.account_no]
        heads[lane.account_no] = Head(lane, command, histories.get(command.command_id, UNTRIED))
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


async def _head_commands(
    connection: AsyncConnection, lanes: Mapping[str, LaneRow]
) -> tuple[list[CommandRow], list[str]]:
    """Read the commands at the lanes' heads, and which lanes have an expiry that is due."""
    statement = f"""
        SELECT given.account_no,
               EXISTS (SELECT 1 FROM timers t WHERE t.account_no = given.account_no AND t.state = 'due'), h.*
        FROM unnest(CAST(:accounts AS text[]), CAST(:heads AS bigint[])) AS given(account_no, head)
        LEFT JOIN LATERAL (
            SELECT {COMMAND_COLUMNS} FROM commands c
            WHERE c.account_no = given.account_no AND c.position >= given.head AND c.state IN ('queued', 'in_doubt')
            ORDER BY c.position LIMIT 1
        ) h ON true
    """
    heads = [lane.head_position for lane in lanes.values()]
    given = {"accounts": written("text", list(lanes)), "heads": written("bigint", heads)}
    rows = await run(connection, statement, given)
    return [CommandRow._make(row[2:]) for row in rows if row[2] is not None], [row[0] for row in rows if row[1]]


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
