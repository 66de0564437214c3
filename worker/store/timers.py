"""Timers: which are due, and what the due ones change. Lanes are locked first, as everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.lanes import LaneState
from worker.store.engine import run, sql
from worker.store.rest import lock_lanes, write_lanes


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer whose time has come."""

    command_id: UUID
    account_no: str
    kind: str
    due_at: datetime


async def read_due(connection: AsyncConnection, kind: str, limit: int) -> list[DueTimer]:
    """Read timers of a kind whose time has come, the oldest first, without locking them; `now()` is the database's.

    The index on (wake_at, command_id) ends the walk at now; `clock_timestamp()` would walk it to its end.
    """
    statement = sql("""
        SELECT command_id, account_no, kind, due_at FROM timers
        WHERE state = 'armed' AND kind = :kind AND wake_at <= now() ORDER BY wake_at, command_id LIMIT :limit
    """)
    return [DueTimer(*row) for row in await connection.execute(statement, {"kind": kind, "limit": limit})]


async def seconds_to_next(connection: AsyncConnection) -> float | None:
    """Seconds until the next timer's time; None when none is armed."""
    statement = """
        SELECT CAST(extract(epoch FROM wake_at - now()) AS float8) FROM timers
        WHERE state = 'armed' ORDER BY wake_at, command_id LIMIT 1
    """
    rows = await run(connection, statement, {})
    return rows[0][0] if rows else None


async def make_due(connection: AsyncConnection, timers: Sequence[DueTimer]) -> int:
    """Make these expiries the next turns of their lanes; returns how many were still armed and due."""
    lanes, now = await lock_lanes(connection, {timer.account_no for timer in timers})
    statement = sql("""
        UPDATE timers SET state = 'due'
        WHERE command_id = ANY(:ids) AND state = 'armed' AND kind = 'expire' AND wake_at <= now()
        RETURNING account_no
    """)
    given = {"ids": [timer.command_id for timer in timers]}
    accounts = list((await connection.execute(statement, given)).scalars())
    for account_no in set(accounts):
        lane = lanes[account_no]
        if lane.state != LaneState.LEASED:
            lane.state, lane.urgent, lane.ready_at = LaneState.READY.value, True, lane.ready_at or now
    await write_lanes(connection, [lanes[account_no] for account_no in set(accounts)])
    return len(accounts)


async def rearm(connection: AsyncConnection, command_id: UUID, wake_at: datetime) -> None:
    """Let a watch look again at `wake_at`."""
    statement = sql("UPDATE timers SET wake_at = :wake_at WHERE command_id = :command_id")
    await connection.execute(statement, {"command_id": command_id, "wake_at": wake_at})
