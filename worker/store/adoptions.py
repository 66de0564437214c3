"""What `topics adopt` changes: a partition's stored place, where the log no longer bears it out.

A range in `skipped_ranges` ends before its `to_offset`.
"""

from datetime import datetime
from typing import cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.positions import Position, TopicPartition


async def read_now(connection: AsyncConnection) -> datetime:
    """Read the time of this database transaction."""
    return cast("datetime", (await connection.execute(text("SELECT now()"))).scalar_one())


async def skip_range(connection: AsyncConnection, place: TopicPartition, position: Position, log_start: int) -> bool:
    """Move a place on to the log's start and note the range that nobody has read; False if it has moved since."""
    if not await _move(connection, place, position, "next_offset = :log_start", log_start):
        return False
    topic, partition = place
    await connection.execute(
        text("""
            INSERT INTO skipped_ranges (topic, partition, epoch, from_offset, to_offset)
            VALUES (:topic, :partition, :epoch, :from_offset, :to_offset)
        """),
        {
            "topic": topic,
            "partition": partition,
            "epoch": position.epoch,
            "from_offset": position.next_offset,
            "to_offset": log_start,
        },
    )
    return True


async def open_epoch(connection: AsyncConnection, place: TopicPartition, position: Position, log_start: int) -> bool:
    """Begin a new epoch at the start of the topic as it is now; False if the place has moved since."""
    change = """
        epoch = epoch + 1, next_offset = :log_start, last_offset = NULL, last_digest = NULL, refusals_in_row = 0
    """
    return await _move(connection, place, position, change, log_start)


async def _move(
    connection: AsyncConnection, place: TopicPartition, position: Position, change: str, log_start: int
) -> bool:
    topic, partition = place
    statement = text(f"""
        UPDATE offsets SET {change}
        WHERE topic = :topic AND partition = :partition AND epoch = :epoch AND next_offset = :next_offset
    """)
    given = {
        "topic": topic,
        "partition": partition,
        "epoch": position.epoch,
        "next_offset": position.next_offset,
        "log_start": log_start,
    }
    return (await connection.execute(statement, given)).rowcount == 1
