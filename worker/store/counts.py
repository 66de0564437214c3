"""Counts for gauges and for people; each is cheap enough to be read every few seconds."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Counts:
    """How things stand; `adjustments_without_timer` must be 0."""

    lanes: dict[str, int]
    in_doubt: dict[str, int]
    parked: dict[str, int]
    timers_armed: int
    timers_overdue: int
    unpublished: int
    oldest_unpublished_s: float
    adjustments_without_timer: int


async def read_counts(connection: AsyncConnection) -> Counts:
    """Count lanes by state, doubts and parked commands by operation, timers, and what waits to be published."""
    lanes = await _by_name(connection, "SELECT state, count(*) FROM lanes GROUP BY state")
    in_doubt = await _by_name(
        connection, "SELECT operation, count(*) FROM doubts WHERE parked_at IS NULL GROUP BY operation"
    )
    parked = await _by_name(
        connection, "SELECT c.command_type, count(*) FROM parked p JOIN commands c USING (command_id) GROUP BY 1"
    )
    statement = text("""
        SELECT (SELECT count(*) FROM timers WHERE due_at > now()) AS timers_armed,
               (SELECT count(*) FROM timers WHERE due_at <= now()) AS timers_overdue,
               (SELECT count(*) FROM outbox) AS unpublished,
               (SELECT coalesce(extract(epoch FROM now() - min(recorded_at)), 0) FROM outbox) AS oldest_unpublished_s,
               (SELECT count(*) FROM temp_adjustments a LEFT JOIN timers t USING (command_id)
                WHERE a.ended_at IS NULL AND t.command_id IS NULL) AS adjustments_without_timer
    """)
    row = (await connection.execute(statement)).one()
    return Counts(
        lanes,
        in_doubt,
        parked,
        row.timers_armed,
        row.timers_overdue,
        row.unpublished,
        float(row.oldest_unpublished_s),
        row.adjustments_without_timer,
    )


async def _by_name(connection: AsyncConnection, statement: str) -> dict[str, int]:
    return dict((await connection.execute(text(statement))).tuples().all())
