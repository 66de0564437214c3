"""Stops and starts the intake of one partition by the row that guards it."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def read_stopped(
    connection: AsyncConnection, topic: str | None = None, partition: int | None = None, *, any_row: bool = False
) -> list[tuple[str, int, str | None]]:
    """Read (topic, partition, reason) of the partitions whose intake is stopped; with `any_row` of others too."""
    statement = text("""
        SELECT topic, partition, stopped_reason FROM offsets
        WHERE (:any_row OR stopped_reason IS NOT NULL) AND (CAST(:topic AS text) IS NULL OR topic = :topic)
          AND (CAST(:partition AS int) IS NULL OR partition = :partition) ORDER BY topic, partition
    """)
    given = {"topic": topic, "partition": partition, "any_row": any_row}
    return [tuple(row) for row in await connection.execute(statement, given)]


async def read_stop(connection: AsyncConnection, topic: str, partition: int) -> str | None:
    """Read why a partition's intake is stopped; None where it is not."""
    found = await read_stopped(connection, topic, partition)
    return found[0][2] if found else None


async def stop_intake(
    connection: AsyncConnection, topic: str, partition: int, reason: str, log_start: int | None
) -> bool:
    """Stop a partition before its next batch; `log_start` makes the row of one that was never read.

    Returns False where it is stopped already.
    """
    if log_start is not None:
        made = text("""
            INSERT INTO offsets (topic, partition, next_offset) VALUES (:topic, :partition, :next_offset)
            ON CONFLICT DO NOTHING
        """)
        await connection.execute(made, {"topic": topic, "partition": partition, "next_offset": log_start})
    statement = text("""
        UPDATE offsets SET stopped_reason = :reason
        WHERE topic = :topic AND partition = :partition AND stopped_reason IS NULL RETURNING 1
    """)
    given = {"topic": topic, "partition": partition, "reason": reason}
    return (await connection.execute(statement, given)).scalar() is not None


async def start_intake(connection: AsyncConnection, topic: str, partition: int) -> str | None:
    """Let a partition go on where it was, its refusals in a row counted anew; returns why it was stopped."""
    statement = text("""
        WITH was AS (
            SELECT topic, partition, stopped_reason FROM offsets
            WHERE topic = :topic AND partition = :partition AND stopped_reason IS NOT NULL FOR UPDATE
        )
        UPDATE offsets o SET stopped_reason = NULL, refusals_in_row = 0
        FROM was WHERE o.topic = was.topic AND o.partition = was.partition RETURNING was.stopped_reason
    """)
    reason: str | None = (await connection.execute(statement, {"topic": topic, "partition": partition})).scalar()
    return reason
